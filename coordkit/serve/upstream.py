"""The way to a real model: what is asked goes on as it is, and faults are put in front of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from coordkit.serve.schemas import Json

_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding "
    "upgrade host content-length content-encoding accept-encoding expect".split()
)


class Upstream:
    """A real model's endpoint. What fails on the way to it raises an error of httpx.

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

    async def send(self, request: HttpRequest, body: Json | None) -> httpx.Response:
        """Send a request on; the answer's body is still to be read."""
        route = request.url.path.removeprefix("/v1")
        url = f"{self.url}{route}" + (f"?{request.url.query}" if request.url.query else "")
        headers = _kept(request.headers)
        if self.own_token:
            headers.pop("authorization", None)
            if key := os.environ.get("OPENAI_API_KEY"):
                headers["authorization"] = f"Bearer {key}"
        content = None if body is None else json.dumps(body)
        out = self.client.build_request(request.method, url, content=content, headers=headers)
        return await self.client.send(out, stream=True)

    async def whole(self, request: HttpRequest, body: Json) -> Any:
        """The upstream's answer as JSON, or as it came if it is an error or no JSON."""
        unstreamed = {k: v for k, v in body.items() if k != "stream_options"} | {"stream": False}
        answer = await self.send(request, unstreamed)
        content = await answer.aread()
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if answer.status_code == 200 and isinstance(found, dict) and not found.get("error"):
            return found
        return Response(content, answer.status_code, _kept(answer.headers))

    async def pass_through(self, request: HttpRequest, body: Json | None) -> Response:
        """The upstream's answer, byte for byte, as it comes."""
        answer = await self.send(request, body)
        return StreamingResponse(answer.aiter_bytes(), answer.status_code, _kept(answer.headers))


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go on, up or back."""
    return {k: v for k, v in headers.items() if k.lower() not in _HOP_BY_HOP}
