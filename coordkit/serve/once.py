"""The Idempotency-Key header: a request that is sent again is neither worked out nor paid again.

As in the IETF draft "The Idempotency-Key HTTP Header Field", but that a request whose first
delivery is still worked on waits for the outcome instead of getting a 409. Only what was paid is
kept: after an error or an injected fault in transport the same key may try again. What was cut off
on its way was paid, so the next delivery gets all of it; but an upstream's reply that holds an
error, or a stream of its that lacks its end, is no reply and not kept. A streamed request with a
key is streamed when its reply is whole. A step that is asked once more after a fault in transport
is another request: its prompt says so, and it has a key of its own.

The replies are kept in memory: a client may die at any moment, but if the endpoint itself does,
what was in flight is worked out, and paid, again.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from coordkit.serve.answers import digest
from coordkit.serve.errors import ApiError

KEPT = 1000  # replies; only the newest are asked for again, as they were in flight at a kill
# Nobody gets what somebody else has paid.
_CALLER = (
    *("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-goog-api-key"),
    *("openai-organization", "openai-project"),
)
_ENDS = (b"data: [DONE]", b'"response.completed"')


class Cut(Response):
    """A stream that breaks off in the middle; its body is all of it, for a later delivery."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of the body, and less than its length says."""
        half = self.body[: len(self.body) // 2]
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})


class Once:
    """What was answered to requests with a key, and what is being worked out.

    Args:
        most: replies kept; the one that nobody has asked for longest goes first.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._seen: OrderedDict[str, tuple[str, asyncio.Task[Response]]] = OrderedDict()

    async def answer(
        self, request: HttpRequest, raw: Any, work: Callable[[], Awaitable[Response]]
    ) -> tuple[Response, bool]:
        """The reply to a request: the one before if it has the key of an earlier one.

        Args:
            request: its headers and route.
            raw: the JSON of its body.
            work: works a reply out; it goes on when the client has gone away.

        Returns:
            The reply, and whether it was given before.

        Raises:
            ApiError: 422 if the key was another request's; else as ``work`` does.
        """
        key = request.headers.get("idempotency-key", "").strip('"')
        if not key:
            return await work(), False
        name = digest([key, *(request.headers.get(header) for header in _CALLER)])
        asked = digest([request.url.path, request.url.query, raw])
        again = name in self._seen
        if not again:
            self._seen[name] = asked, asyncio.create_task(self._keep(name, work))
        first, task = self._seen[name]
        if asked != first:
            message = (
                "this Idempotency-Key was sent with another request; give each its own "
                "(coordkit: with another --seed)"
            )
            raise ApiError(422, message, "idempotency_key_reused")
        self._seen.move_to_end(name)
        found = await asyncio.shield(task)
        if again:
            headers = {**found.headers, "Idempotent-Replayed": "true"}
            found = Response(found.body, found.status_code, headers)
        return found, again

    async def _keep(self, name: str, work: Callable[[], Awaitable[Response]]) -> Response:
        paid = False
        try:
            found = await _read(await work())
            paid = found.status_code < 300 and _is_reply(found)
            return found
        finally:
            if not paid:
                del self._seen[name]
            if (spare := len(self._seen) - self.most) > 0:
                ended = [other for other, (_, task) in self._seen.items() if task.done()]
                for other in ended[:spare]:
                    del self._seen[other]


def _is_reply(answer: Response) -> bool:
    """Whether a body is a whole reply: gateways send errors with status 200, and cut streams."""
    body = bytes(answer.body)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return any(end in body for end in _ENDS)
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and not found.get("error")


async def _read(answer: Response) -> Response:
    """A reply with its whole body, so that it can be sent more than once."""
    if not isinstance(answer, StreamingResponse):
        return answer
    parts = [part async for part in answer.body_iterator]
    body = b"".join(part.encode() if isinstance(part, str) else bytes(part) for part in parts)
    return Response(body, answer.status_code, dict(answer.headers))
