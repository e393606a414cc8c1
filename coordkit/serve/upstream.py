"""The way to a real model: what is asked goes on as it is, and faults are put in front of it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from coordkit.serve.errors import ApiError

_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding "
    "upgrade host content-length content-encoding accept-encoding expect".split()
)


class Upstream:
    """A real model's endpoint.

    Args:
        url: its base, such as ``https://api.example.com/v1``.
        own_token: whether callers authenticate to us. Then their header is not sent on, and the
            key is read from ``OPENAI_API_KEY``; otherwise theirs goes upstream as it is.
        timeout: seconds to wait for the first and for every further byte.
    """

    def __init__(self, url: str, own_token: bool, timeout: float = 600.0) -> None:
        if httpx.URL(url).scheme not in ("http", "https") or not httpx.URL(url).host:
            raise ValueError(f"the upstream must be a URL such as https://host/v1, not '{url}'")
        self.url, self.own_token = url.rstrip("/"), own_token
        self.client = httpx.AsyncClient(timeout=httpx.Timeout(timeout, connect=10.0))

    def headers(self, request: HttpRequest) -> dict[str, str]:
        """The caller's headers, as they go upstream."""
        kept = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        if self.own_token:
            kept.pop("authorization", None)
            if key := os.environ.get("OPENAI_API_KEY"):
                kept["authorization"] = f"Bearer {key}"
        return kept

    async def send(self, request: HttpRequest, body: Mapping[str, Any] | None) -> httpx.Response:
        """Send a request on; the answer's body is still to be read.

        Raises:
            ApiError: 502 if nobody answers, 504 if the answer takes too long.
        """
        route = request.url.path.removeprefix("/v1")
        url = f"{self.url}{route}" + (f"?{request.url.query}" if request.url.query else "")
        content = None if body is None else json.dumps(body).encode()
        out = self.client.build_request(
            request.method, url, content=content, headers=self.headers(request)
        )
        try:
            return await self.client.send(out, stream=True)
        except httpx.TimeoutException:
            raise ApiError(504, "the upstream took too long", "upstream_timeout") from None
        except httpx.HTTPError as error:
            kind = type(error).__name__
            raise ApiError(
                502, f"the upstream cannot be reached: {kind}", "upstream_error"
            ) from None

    async def whole(self, request: HttpRequest, body: Mapping[str, Any]) -> Any:
        """The upstream's answer as JSON, or as it came if it is an error or no JSON."""
        answer = await self.send(request, {k: v for k, v in body.items() if k != "stream_options"}
                                 | {"stream": False})  # fmt: skip
        try:
            content = await answer.aread()
        except httpx.HTTPError as error:
            raise _broke_off(error) from None
        finally:
            await answer.aclose()
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if answer.status_code == 200 and isinstance(found, dict):
            return found
        return Response(content, answer.status_code, passed_on(answer))

    async def pass_through(self, request: HttpRequest, body: Mapping[str, Any] | None) -> Response:
        """The upstream's answer, byte for byte, as it comes."""
        answer = await self.send(request, body)
        return StreamingResponse(_bytes(answer), answer.status_code, passed_on(answer))

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()


def passed_on(answer: httpx.Response) -> dict[str, str]:
    """The upstream's headers, as they go back."""
    return {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    except httpx.HTTPError as error:
        raise _broke_off(error) from None
    finally:
        await answer.aclose()


def _broke_off(error: httpx.HTTPError) -> ApiError:
    kind = type(error).__name__
    return ApiError(502, f"the upstream broke off: {kind}", "upstream_error")
