"""The endpoint: routes, limits, the token, transport faults and the count of it all."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from sklearn.feature_extraction.text import HashingVectorizer
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordkit.cases.base import Case
from coordkit.faults import Simulation, uniform
from coordkit.serve import chat, responses
from coordkit.serve.answers import Ask, SimulatedAnswers, fault_of, request_of, strike
from coordkit.serve.errors import ApiError, lost
from coordkit.serve.once import Cut, Once
from coordkit.serve.schemas import SchemaError
from coordkit.serve.upstream import Upstream
from coordkit.simulated import ModelUnavailable

Work = Callable[[HttpRequest, Any], Awaitable[Response]]

MODEL = "simulated"
ROUTES = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/metrics")


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


class Metrics:
    """Counts of requests and faults since the start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "coordkit_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self.faults = Counter(
            "coordkit_faults", "Faults injected.", ["mode"], registry=self.registry
        )
        self.paid = Counter(
            "coordkit_paid",
            "Replies worked out, which a provider would bill.",
            ["route"],
            registry=self.registry,
        )
        self.replayed = Counter(
            "coordkit_replayed",
            "Replies given again to the same Idempotency-Key.",
            ["route"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The counts in Prometheus' text format."""
        return generate_latest(self.registry)


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
        yield
        if endpoint.upstream:
            await endpoint.upstream.close()

    async def completions(request: HttpRequest) -> Response:
        return await endpoint.answer(request, partial(endpoint.complete, chat))

    async def answers(request: HttpRequest) -> Response:
        return await endpoint.answer(request, partial(endpoint.complete, responses))

    async def embeddings(request: HttpRequest) -> Response:
        return await endpoint.answer(request, endpoint.embed)

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/v1/responses", answers, methods=["POST"]),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            Route("/v1/models", endpoint.models),
            Route("/v1/models/{name:path}", endpoint.models),
            Route("/metrics", endpoint.measured),
        ],
        exception_handlers={ApiError: _as_json, HTTPException: _as_json},
        lifespan=lifespan,
    )
    app.add_middleware(_Guard, endpoint=endpoint)
    return app


async def _as_json(request: HttpRequest, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
        message = f"{request.method} {request.url.path}: {error.detail}"
        error = ApiError(error.status_code, message, code, headers=dict(error.headers or {}))
    assert isinstance(error, ApiError)
    return Json(error.body(), error.status, error.headers)


class Json(JSONResponse):
    """JSON in ASCII: half a surrogate pair, which models do write, has no UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


class _Guard:
    """Asks for the token and counts what is answered; plain ASGI, so streams pass untouched."""

    def __init__(self, app: ASGIApp, endpoint: _Endpoint) -> None:
        self.app, self.endpoint = app, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        route = next((r for r in ROUTES if path == r or path.startswith(r + "/")), "other")

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.endpoint.metrics.requests.labels(route, message["status"]).inc()
            await send(message)

        answer: ASGIApp = self.app
        if not self._admits(scope):
            error = ApiError(401, "the API key is not the endpoint's token", "invalid_api_key")
            answer = Json(error.body(), 401, {"WWW-Authenticate": "Bearer"})
        await answer(scope, receive, counted)

    def _admits(self, scope: Scope) -> bool:
        token = self.endpoint.options.token
        given = dict(scope["headers"]).get(b"authorization", b"")
        return not token or hmac.compare_digest(given, f"Bearer {token}".encode())


class _Endpoint:
    """What the routes share."""

    def __init__(self, options: Options, cases: Sequence[Case]) -> None:
        self.options, self.metrics, self.once = options, Metrics(), Once()
        self.answers = SimulatedAnswers(cases, options.simulation)
        self.upstream: Upstream | None = None
        if options.upstream:
            self.upstream = Upstream(options.upstream, own_token=bool(options.token))

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
        except ClientDisconnect:
            raise ApiError(400, "the request broke off", "incomplete") from None
        except (ValueError, RecursionError):
            raise ApiError(400, "the body is not valid JSON", "invalid_json") from None
        if not isinstance(raw, dict):
            raise ApiError(400, "the body must be a JSON object", "invalid_json")
        return raw

    async def answer(self, request: HttpRequest, work: Work) -> Response:
        """Answer a request, once if it has a key, and count what is paid."""
        raw, route = await self.read(request), request.url.path

        async def paid() -> Response:
            found = await work(request, raw)
            if found.status_code < 300:
                self.metrics.paid.labels(route).inc()
            return found

        found, again = await self.once.answer(request, raw, paid)
        if again:
            self.metrics.replayed.labels(route).inc()
        return found

    async def complete(self, wire: ModuleType, request: HttpRequest, raw: Any) -> Response:
        """Answer a request for a completion, or fail it as the dice say."""
        try:
            ask, streamed = wire.parse(raw, _redelivered(request))
            try:
                if self.upstream:
                    return await self._from_upstream(request, raw, ask, streamed, wire)
                whole = self._simulated(raw, ask, wire)
            except ModelUnavailable as fault:
                if streamed and self._cuts(fault):
                    return await self._cut(request, raw, ask, wire)
                return await self._lose(fault.mode)
        except SchemaError as error:
            raise ApiError(400, f"a schema in the request is {error}", "invalid_schema") from None
        except RecursionError:
            raise ApiError(400, "the body is nested too deeply", "invalid_json") from None
        return _stream(wire.events(whole, raw)) if streamed else Json(whole)

    def _simulated(self, raw: Any, ask: Ask, wire: ModuleType, dice: bool = True) -> Any:
        reply = self.answers.reply(ask, dice)
        self._count(reply.faults)
        name = format(int(2**64 * uniform("id", request_of(ask))), "016x")
        return wire.render(reply, raw["model"], name)

    async def _from_upstream(
        self, request: HttpRequest, raw: Any, ask: Ask, streamed: bool, wire: ModuleType
    ) -> Response:
        assert self.upstream
        named, simulation = request_of(ask), self.options.simulation
        mode = fault_of(simulation, named)
        if not mode:
            return await self.upstream.pass_through(request, raw)
        whole = await self.upstream.whole(request, raw)
        if isinstance(whole, Response):
            return whole
        try:
            parts = wire.parts_of(whole, ask)
            struck = strike(parts, mode, simulation, named, ask)
            wire.put_back(whole, parts)
            answer = _stream(list(wire.events(whole, raw))) if streamed else Json(whole)
        except (KeyError, TypeError, AttributeError):
            message = "the upstream's answer is not in OpenAI's form"
            raise ApiError(502, message, "upstream_error") from None
        self._count([struck] if struck else [])
        return answer

    def _cuts(self, fault: ModelUnavailable) -> bool:
        """Half of the server errors that hit a stream hit it after it began."""
        seed = self.options.simulation.seed
        return fault.mode == "server_error" and uniform(seed, "cut", fault.request) < 0.5

    async def _cut(self, request: HttpRequest, raw: Any, ask: Ask, wire: ModuleType) -> Response:
        """A stream that breaks off in the middle."""
        if self.upstream:
            whole = await self.upstream.whole(request, raw)
            if isinstance(whole, Response):
                return whole
        else:
            whole = self._simulated(raw, ask, wire, dice=False)
        self._count(["cut_stream"])
        return Cut(list(wire.events(whole, raw)))

    async def _lose(self, mode: str) -> Response:
        """A transport fault: a status instead of a reply, after a stall if it is a time-out."""
        self._count([mode])
        if mode == "timed_out":
            await asyncio.sleep(self.options.stall)
        raise lost(mode)

    def _count(self, modes: Iterable[str]) -> None:
        for mode in modes:
            self.metrics.faults.labels(mode).inc()

    async def embed(self, request: HttpRequest, raw: Any) -> Response:
        """Embeddings: the words of each text, hashed. Faults are transport's alone."""
        texts = _texts(raw)
        named = request_of(
            Ask([HumanMessage(json.dumps(texts))], redelivered=_redelivered(request))
        )
        try:
            fault_of(self.options.simulation, named)
        except ModelUnavailable as fault:
            return await self._lose(fault.mode)
        if self.upstream:
            return await self.upstream.pass_through(request, raw)
        return Json(_embedded(raw, texts))

    async def models(self, request: HttpRequest) -> Response:
        """The one model there is, or the upstream's."""
        if self.upstream:
            return await self.upstream.pass_through(request, None)
        one = {"id": MODEL, "object": "model", "created": 0, "owned_by": "coordkit"}
        name = request.path_params.get("name", MODEL)
        if name != MODEL:
            message = f"there is no model '{name}'; the one listed is '{MODEL}'"
            raise ApiError(404, message, "model_not_found", "model")
        return Json(one if request.path_params else {"object": "list", "data": [one]})

    async def measured(self, request: HttpRequest) -> Response:
        """The counts, in plain text."""
        return PlainTextResponse(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _redelivered(request: HttpRequest) -> int:
    given = request.headers.get("x-stainless-retry-count", "0")
    return min(int(given), 1000) if given.isascii() and given.isdigit() and len(given) < 5 else 0


def _stream(events: Iterable[str]) -> Response:
    return StreamingResponse(_async(events), media_type="text/event-stream")


async def _async(events: Iterable[str]) -> AsyncIterator[str]:
    for event in events:
        yield event


def _texts(raw: dict[str, Any]) -> list[str]:
    """The texts to embed; lists of token ids are taken as words.

    Raises:
        ApiError: 400 if they are of another type.
    """
    given = raw.get("input")
    if isinstance(given, str) or (isinstance(given, list) and _are(given, int)):
        given = [given]
    if not isinstance(raw.get("model"), str):
        raise ApiError(400, "model: must be a string", param="model")
    if not isinstance(given, list) or not given:
        raise ApiError(400, "input: must be a text or a list of texts", param="input")
    texts = [" ".join(map(str, g)) if isinstance(g, list) and _are(g, int) else g for g in given]
    if not _are(texts, str):
        raise ApiError(400, "input: must be a text or a list of texts", param="input")
    return texts


def _are(values: list[Any], kind: type) -> bool:
    return bool(values) and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)


def _embedded(raw: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Unit vectors of hashed words, by scikit-learn: alike if words are shared."""
    size, form = raw.get("dimensions", 256), raw.get("encoding_format", "float")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 4096:
        raise ApiError(400, "dimensions: must be an integer from 1 to 4096", param="dimensions")
    if form not in ("float", "base64"):
        raise ApiError(400, "encoding_format: must be float or base64", param="encoding_format")
    words = HashingVectorizer(n_features=size, token_pattern=r"\w+")
    rows = words.transform(texts).toarray().astype("<f4")

    def written(row: np.ndarray[Any, Any]) -> Any:
        return base64.b64encode(row.tobytes()).decode() if form == "base64" else row.tolist()

    data = [
        {"object": "embedding", "index": i, "embedding": written(r)} for i, r in enumerate(rows)
    ]
    tokens = sum(map(len, texts)) // 4
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": raw["model"], "usage": usage}
