"""The endpoint: routes, limits, the token, transport faults and the count of it all."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import ModuleType
from typing import Any

import httpx
from langchain_core.messages import HumanMessage
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordkit.cases.base import Case
from coordkit.experiment import simulated_model
from coordkit.faults import Simulation, uniform
from coordkit.serve import answers, chat, embeddings, responses
from coordkit.serve.errors import LOST, ApiError
from coordkit.serve.once import Cut, Once
from coordkit.serve.upstream import Upstream
from coordkit.simulated import ModelUnavailable

Work = Callable[[HttpRequest, Any], Awaitable[Response]]

ROUTES = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/metrics")
COUNTERS = {
    "requests": ("Requests answered.", ["route", "status"]),
    "faults": ("Faults injected.", ["mode"]),
    "paid": ("Replies worked out, which a provider would bill.", ["route"]),
    "replayed": ("Replies given again to the same Idempotency-Key.", ["route"]),
}


@dataclass(frozen=True)
class Options:
    """Settings of the endpoint.

    Args:
        simulation: reliability, correlation, seed and mix of the faults.
        upstream: base URL of a real model's endpoint to put the faults in front of; empty answers
            with the simulated model.
        token: what callers must send as their API key; empty lets everybody in.
        stall: seconds that a ``timed_out`` fault keeps the caller waiting before it gets a 408.
        body_limit: largest request body in bytes.
    """

    simulation: Simulation = field(default_factory=Simulation)
    upstream: str = ""
    token: str = field(default="", repr=False)
    stall: float = 0.0
    body_limit: int = 1_000_000


def make_app(options: Options, cases: Sequence[Case] = ()) -> Starlette:
    """The endpoint as an ASGI application.

    Any model name is taken, so that an agent need not be changed to be put to the test.

    Args:
        options: settings.
        cases: whose prompts the simulated model answers with skill; it answers any other prompt
            plausibly.
    """
    endpoint = _Endpoint(options, cases)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with endpoint.upstream.client if endpoint.upstream else nullcontext():
            yield

    def post(path: str, work: Work) -> Route:
        return Route(path, partial(endpoint.answer, work), methods=["POST"])

    return Starlette(
        routes=[
            post("/v1/chat/completions", partial(endpoint.complete, chat)),
            post("/v1/responses", partial(endpoint.complete, responses)),
            post("/v1/embeddings", endpoint.embed),
            Route("/v1/models", endpoint.models),
            Route("/v1/models/{name:path}", endpoint.models),
            Route("/metrics", endpoint.measured),
        ],
        middleware=[Middleware(endpoint.guard)],
        exception_handlers={
            HTTPException: _as_json,
            RecursionError: _as_json,
            httpx.HTTPError: _as_json,
            ClientDisconnect: _as_json,
            ModelUnavailable: endpoint.lose,
        },
        lifespan=lifespan,
    )


async def _as_json(request: HttpRequest, error: Exception) -> Response:
    """An error in OpenAI's shape: the endpoint's own, the way's to the upstream, or a route's."""
    if isinstance(error, httpx.TimeoutException):
        error = ApiError(504, "the upstream took too long", "upstream_timeout")
    elif isinstance(error, httpx.HTTPError):
        what = "cannot be reached" if isinstance(error, httpx.ConnectError) else "broke off"
        message = f"the upstream {what}: {type(error).__name__}"
        error = ApiError(502, message, "upstream_error")
    elif isinstance(error, ClientDisconnect):
        error = ApiError(400, "the request broke off", "invalid_request")
    elif isinstance(error, RecursionError):
        error = ApiError(400, "the body is nested too deeply", "invalid_json")
    assert isinstance(error, HTTPException)
    if not isinstance(error, ApiError):
        code = HTTPStatus(error.status_code).name.lower()
        message = f"{request.method} {request.url.path}: {error.detail}"
        error = ApiError(error.status_code, message, code, headers=dict(error.headers or {}))
    return Json(error.body(), error.status_code, error.headers)


class Json(JSONResponse):
    """JSON in ASCII: half a surrogate pair, which models do write, has no UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


class _Endpoint:
    """What the routes share."""

    def __init__(self, options: Options, cases: Sequence[Case]) -> None:
        self.options, self.once = options, Once()
        self.skilled = {case.name: simulated_model(case, options.simulation) for case in cases}
        self.upstream: Upstream | None = None
        if options.upstream:
            self.upstream = Upstream(options.upstream, own_token=bool(options.token))
        self.registry = CollectorRegistry()
        self.counters = {
            name: Counter(f"coordkit_{name}", *about, registry=self.registry)
            for name, about in COUNTERS.items()
        }

    def count(self, counter: str, *labels: str) -> None:
        """Count one more."""
        self.counters[counter].labels(*labels).inc()

    def guard(self, app: ASGIApp) -> ASGIApp:
        """Ask for the token and count what is answered; plain ASGI, so streams pass untouched."""
        error = ApiError(401, "the API key is not the endpoint's token", "invalid_api_key")
        refusal = Json(error.body(), 401, {"WWW-Authenticate": "Bearer"})
        wanted = f"Bearer {self.options.token}".encode()

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            async def counted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.count("requests", route, message["status"])
                await send(message)

            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            route = next((r for r in ROUTES if scope["path"].startswith(r)), "other")
            given = dict(scope["headers"]).get(b"authorization", b"")
            admitted = not self.options.token or hmac.compare_digest(given, wanted)
            await (app if admitted else refusal)(scope, receive, counted)

        return guarded

    async def read(self, request: HttpRequest) -> Any:
        """The request's body as JSON.

        Raises:
            ApiError: 413 if it is too large, 400 if it is no JSON object.
        """
        limit, body = self.options.body_limit, b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    message = f"the body is larger than {limit:,} bytes"
                    raise ApiError(413, message, "body_too_large", headers={"Connection": "close"})
            raw = json.loads(body)
            json.dumps(raw, allow_nan=False)  # Python reads NaN and 1e999 too; JSON has neither
        except ValueError:
            raise ApiError(400, "the body is not valid JSON", "invalid_json") from None
        if not isinstance(raw, dict):
            raise ApiError(400, "the body must be a JSON object", "invalid_json")
        return raw

    async def answer(self, work: Work, request: HttpRequest) -> Response:
        """Answer a request, once if it has a key, and count what is paid."""
        raw, route = await self.read(request), request.url.path

        async def paid() -> Response:
            found = await work(request, raw)
            if found.status_code < 300:
                self.count("paid", route)
            return found

        found, again = await self.once.answer(request, raw, paid)
        if again:
            self.count("replayed", route)
        return found

    async def complete(self, wire: ModuleType, request: HttpRequest, raw: Any) -> Response:
        """Answer a request for a completion, or fail it as the dice say.

        Raises:
            ApiError: 400 if it is wrong, 502 if the upstream's answer is.
            ModelUnavailable: if the reply is lost in transport.
        """
        cut = False
        try:
            try:
                whole = await self._reply(wire, request, raw)
            except ModelUnavailable as fault:
                cut = bool(raw.get("stream")) and self._cuts(fault)
                if not cut:
                    raise
                whole = await self._reply(wire, request, raw, dice=False)
            if isinstance(whole, Response):
                return whole
            if not raw.get("stream"):
                return Json(whole)
            events = "".join(wire.events(whole, raw))
        except (KeyError, TypeError, AttributeError):
            if not self.upstream:
                raise
            message = "the upstream's answer is not in OpenAI's form"
            raise ApiError(502, message, "upstream_error") from None
        if cut:
            self.count("faults", "cut_stream")
        return Cut(events) if cut else Response(events, media_type=Cut.media_type)

    def _cuts(self, fault: ModelUnavailable) -> bool:
        """Half of the server errors that hit a stream hit it after it began."""
        seed = self.options.simulation.seed
        return fault.mode == "server_error" and uniform(seed, "cut", fault.request) < 0.5

    async def _reply(
        self, wire: ModuleType, request: HttpRequest, raw: Any, dice: bool = True
    ) -> Any:
        """The JSON of the reply with its faults, or the upstream's answer as it came."""
        ask, simulation = wire.parse(raw), self.options.simulation
        named = answers.request_of(ask, _redelivered(request))
        model = self.skilled.get(named.task.partition("/")[0])
        if model and not dice:
            model = model.model_copy(update={"dice": False})
        reply = answers.from_skill(model, ask, named) if model else None
        mode = answers.fault_of(simulation, named) if dice and not reply else ""
        if self.upstream:
            send = self.upstream.whole if mode or not dice else self.upstream.pass_through
            whole = await send(request, raw)
        else:
            reply = reply or answers.from_nothing(ask, named)
            whole = wire.render(reply, raw["model"], answers.digest(str(named)))
            for fault in reply.faults:
                self.count("faults", fault)
        if mode and not isinstance(whole, Response):
            struck = answers.strike(wire.said(whole), mode, simulation, named, ask)
            if struck:
                self.count("faults", struck)
        return whole

    async def lose(self, request: HttpRequest, fault: Exception) -> Response:
        """A transport fault: a status instead of a reply, after a stall if it is a time-out."""
        assert isinstance(fault, ModelUnavailable)
        self.count("faults", fault.mode)
        if fault.mode == "timed_out":
            await asyncio.sleep(self.options.stall)
        status, message = LOST[fault.mode]
        headers = {"Retry-After": "1"} if status == 429 else None
        return Json(ApiError(status, message, fault.mode).body(), status, headers)

    async def embed(self, request: HttpRequest, raw: Any) -> Response:
        """Embeddings. Faults are transport's alone."""
        body = embeddings.Body.read(raw)
        ask = answers.Ask([HumanMessage(json.dumps(body.texts()))])
        answers.fault_of(self.options.simulation, answers.request_of(ask, _redelivered(request)))
        if self.upstream:
            return await self.upstream.pass_through(request, raw)
        return Json(embeddings.render(body))

    async def models(self, request: HttpRequest) -> Response:
        """The one model there is, or the upstream's."""
        if self.upstream:
            return await self.upstream.pass_through(request, None)
        one = {"id": "simulated", "object": "model", "created": 0, "owned_by": "coordkit"}
        asked = request.path_params.get("name", "")
        if asked not in ("", one["id"]):
            message = f"there is no model '{asked}'; the one listed is '{one['id']}'"
            raise ApiError(404, message, "model_not_found", "model")
        return Json(one if asked else {"object": "list", "data": [one]})

    async def measured(self, request: HttpRequest) -> Response:
        """The counts, in plain text."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def _redelivered(request: HttpRequest) -> int:
    """How often it was sent before: the official clients say so."""
    given = request.headers.get("x-stainless-retry-count", "0")
    return int(given) if re.fullmatch("[0-9]{1,3}", given) else 0
