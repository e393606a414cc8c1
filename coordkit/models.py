"""Your model in place of the simulated one: every call kept, priced, bounded and free of keys.

Nothing that was answered is paid twice. What was in flight when a run was killed, at most
``--concurrency`` requests, or had failed in transport is sent again under the same Idempotency-Key:
``coordkit serve`` then gives the reply of before, also in front of a provider that does not know
that header; such a provider, asked directly, may bill it again.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.exceptions import (
    ModelAuthenticationError,
    ModelConnectionError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelTimeoutError,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from coordkit import forms
from coordkit.prices import Prices, list_price
from coordkit.prompt import Prompt
from coordkit.response_cache import Kept, ResponseCache

SIMULATED = "simulated"
TIMEOUT = 60.0  # seconds that a request may take
RESENDS = 2  # of a request that got no answer; here and not in the client, so that each is paid
WAIT = 0.5  # seconds before the first, doubled each time; longer if Retry-After says so
LONGEST_WAIT = 60.0
MAX_TOKENS = 4096  # of one reply; with the prompt it bounds what a call can cost
GIVE_UP = 20  # requests in a row without any answer: the endpoint is gone
_RETRYABLE = {408, 409, 429}  # and all from 500: the endpoint's own trouble
_MAYBE_BILLED = {408, 502, 504, 520, 522, 524}  # the work may have been done and the answer lost
_FATAL = {401, 402, 403, 404}
_FATAL_WORDS = ("insufficient_quota", "Idempotency-Key")
_SECRET_NAME = re.compile(r"(^AUTHORIZATION|KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$")
_ACCOUNT = re.compile(r"https?://([^/@\s]*:([^/@\s]+))@")  # name and password in an address


class ModelProblem(Exception):
    """Something about the model that its user can mend: one clear line, without keys."""


class BudgetReached(ModelProblem):
    """The next call could exceed the budget."""


class NotInCache(ModelProblem):
    """A replay met a request whose answer was never kept."""


class Unavailable(ConnectionError):
    """Nothing came back: worth a retry, and a loud failure if that does not help."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


# --- money ---------------------------------------------------------------------------------------


class Meter:
    """What calls have cost so far, and whether the next one may be made.

    Args:
        prices: USD per million tokens; None if they are not known.
        budget: USD that may be spent; None sets no limit.

    Attributes:
        spent: USD, by the tokens that the endpoint reports; what may be billed unseen counts at
            its worst.
        unseen, lost: the part of ``spent`` that is such, and how many requests it stands for.
        sent, kept: requests sent, and answers found among the responses kept before.

    Raises:
        ModelProblem: if there is a budget without prices.
    """

    def __init__(self, prices: Prices | None, budget: float | None = None) -> None:
        if budget is not None and prices is None:
            raise ModelProblem(
                "a budget needs prices, and the price table has none for this model: give "
                "--price-in and --price-out, USD per million tokens"
            )
        self.prices, self.budget = prices, budget
        self.spent, self.sent, self.kept = 0.0, 0, 0
        self.unseen, self.lost = 0.0, 0
        self._in_flight: list[float] = []  # what each call under way can cost at worst
        self._silent = 0
        self._settled = threading.Condition()

    @contextmanager
    def reserve(
        self, request_bytes: int, reply_tokens: int, ended: threading.Event
    ) -> Iterator[None]:
        """Set aside what one delivery of a request can cost at worst, until it is settled.

        Args:
            request_bytes: size of what is sent; no token is shorter than a byte.
            reply_tokens: most tokens that may come back.
            ended: set when the run that asks has ended.

        Raises:
            BudgetReached: if even with all calls in flight settled the budget might be exceeded.
            ModelProblem: if the run has ended.
        """
        worst = self.prices.of_tokens(request_bytes, reply_tokens) if self.prices else 0.0
        with self._settled:
            self._settled.wait_for(
                lambda: ended.is_set() or not self._in_flight or self._fits(worst)
            )
            if ended.is_set():
                raise ModelProblem("the run has ended")
            if not self._fits(worst):
                raise BudgetReached(
                    f"stopped before the budget of {self.budget:g} USD would be exceeded: "
                    f"{self._cost()} spent, and the next call could cost {worst:.4f}; "
                    "the same command with a higher --budget-usd goes on, and what is paid is kept"
                )
            self._in_flight.append(worst)
            self.sent += 1
        try:
            yield
        finally:
            with self._settled:
                self._in_flight.remove(worst)
                self._settled.notify_all()

    def _fits(self, worst: float) -> bool:
        """Whether the budget has room for one more call besides those under way."""
        return self.budget is None or self.spent + sum(self._in_flight) + worst <= self.budget

    def pay(self, sent: float, received: float, answered: bool = True) -> None:
        """Add the cost of a call; an answer also shows that the endpoint is there."""
        with self._settled:
            self._silent = 0 if answered else self._silent
            cost = self.prices.of_tokens(sent, received) if self.prices else 0.0
            self.spent += cost
            if not answered:
                self.unseen, self.lost = self.unseen + cost, self.lost + 1

    def nothing_came(self, last: str) -> None:
        """Count a request that stayed without an answer.

        Raises:
            ModelProblem: if it was one too many in a row.
        """
        with self._settled:
            self._silent += 1
            if self._silent >= GIVE_UP:
                raise ModelProblem(f"{GIVE_UP} requests in a row got no answer; the last: {last}")

    def _cost(self) -> str:
        """What was spent, and how much of it for requests that may have been billed unseen."""
        lost = f", {self.unseen:.4f} of it at worst for {self.lost:,} that got no answer"
        return f"{self.spent:.4f} USD{lost if self.lost else ''}"

    def __str__(self) -> str:
        cost = self._cost() if self.prices else "at unknown prices"
        return f"{self.sent:,} requests sent ({cost}), {self.kept:,} answers from the cache"


# --- keys ----------------------------------------------------------------------------------------


def secrets_of(inner: BaseChatModel | None = None) -> list[str]:
    """What must never be written down: keys in the environment and in the model object."""
    found = list(_secrets_in({**os.environ, **(vars(inner) if inner else {})}))
    found += [json.dumps(value)[1:-1] for value in found]  # as a quoting endpoint echoes it
    return sorted({value for value in found if len(value) >= 8}, key=len, reverse=True)


def _secrets_in(values: Mapping[Any, Any]) -> Iterator[str]:
    """Secrets among an object's fields, and in mappings such as default_headers, however deep."""
    for name, value in values.items():
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif isinstance(value, str):
            if _SECRET_NAME.search(str(name).upper().replace("-", "_")):
                yield value.removeprefix("Bearer ")
            if found := _ACCOUNT.match(value):
                account, password = map(unquote, found.groups())
                yield from (password, b64encode(account.encode()).decode())  # as it is sent


def scrub(text: str, secrets: Iterable[str]) -> str:
    """A text with every secret blotted out."""
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return text


def endpoint_of(url: str | None) -> str:
    """An endpoint's address without user, password and query."""
    if not url:
        return "default"
    parts = urlsplit(url)
    host, path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
    return parts._replace(netloc=host, path=path, query="", fragment="").geturl()


# --- the model -----------------------------------------------------------------------------------


class _Request(NamedTuple):
    """One request in one form."""

    form: str
    messages: Sequence[BaseMessage]
    tools: Sequence[Any]
    key: str  # its fingerprint: its place among the responses, and the Idempotency-Key
    size: int  # in bytes


class MeteredChatModel(BaseChatModel):
    """Any chat model, with its responses kept, its cost metered and its failures sorted.

    What comes back unreadable is a malformed answer, which the layers count; what does not come
    back is `Unavailable`, which they retry; what the user must mend is a `ModelProblem`, which
    ends the run.

    Args:
        inner: the model; None only replays.
        label: what it is called in results, such as ``openai:NAME``.
        endpoint: its address, without secrets.
        sampling: what else determines its answers.
        responses: where they are kept.
        meter: counts, and stops before the budget is exceeded.
        sample: another number asks everything afresh.
        resends: how often a request without an answer is sent again, with waits in between.
        ended: set when the run that this model is for has ended: then it sends nothing more.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    inner: BaseChatModel | None = Field(default=None, exclude=True, repr=False)
    label: str
    endpoint: str = "default"
    sampling: dict[str, Any] = Field(default_factory=dict)
    responses: ResponseCache = Field(default_factory=ResponseCache, exclude=True, repr=False)
    meter: Meter = Field(default_factory=lambda: Meter(None), exclude=True, repr=False)
    sample: int = 0
    resends: int = 0
    ended: threading.Event = Field(default_factory=threading.Event, exclude=True, repr=False)
    _known: dict[str, bool] = PrivateAttr(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "metered"

    @property
    def identity(self) -> dict[str, Any]:
        """What an experiment's settings say of the model; the same model gives the same."""
        sampling = json.dumps({**self.sampling, "sample": self.sample}, sort_keys=True)
        return {"model": self.label, "endpoint": self.endpoint, "sampling": sampling}

    @contextmanager
    def running(self) -> Iterator[MeteredChatModel]:
        """This model for one run: if that ends early, its threads send nothing more."""
        model = self.model_copy(update={"ended": threading.Event()})
        try:
            yield model
        except BaseException:
            model.ended.set()
            raise

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        """Offer tools, one of which must be called; in which form is settled when asking."""
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=formatted, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        tools = kwargs.get("tools") or []
        form = self.form(lookups=len(tools) > 1) if tools else forms.PLAIN
        reply = self._send(form, messages, tools)
        message = forms.read(form, reply, tools)
        if form == forms.PLAIN and tools and not message.tool_calls:
            again = self._send(form, forms.repair(messages, reply), tools)
            message = forms.read(form, again, tools)
            message.usage_metadata = add_usage(reply.usage_metadata, again.usage_metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])

    # --- which form ---

    def form(self, lookups: bool) -> str:
        """The first form of request that this model understands, found out once by trying.

        Args:
            lookups: whether there are look-up tools beside the answer.
        """
        choices = forms.LOOKUP_FORMS if lookups else forms.ANSWER_FORMS
        return next(form for form in choices if form == forms.PLAIN or self._works(form))

    def _works(self, form: str) -> bool:
        if form not in self._known:
            self._known[form] = any(self._passes(form, attempt) for attempt in range(2))
        return self._known[form]

    def _passes(self, form: str, attempt: int) -> bool:
        """Whether the reply to a probe can be used.

        A form may be refused, or end in a server's error: some servers answer so to what they do
        not support. It is kept like any other reply, and tried again by the next run.
        """
        messages, tools = forms.probe(attempt)
        try:
            return forms.fits(forms.read(form, self._send(form, messages, tools), tools), tools)
        except Unavailable as error:
            if error.status_code != 500:
                raise
            return False

    def check(self) -> None:
        """See that the endpoint answers, before hours are planned on it.

        Raises:
            ModelProblem: if it does not, or does not know the model or the key; for a replay, if
                no answer of this model at this endpoint is kept.
        """
        if self.inner is None:
            if self.endpoint not in self.responses.count(self.label):
                raise self._not_kept("")
            return
        problem = ""
        try:
            if self.form(lookups=True) == self.form(lookups=False) == forms.PLAIN:
                reply = self._send(forms.PLAIN, *forms.probe(0))
                problem = reply.response_metadata.get("problem", "")
        except Unavailable as error:
            problem = str(error)
        if problem:
            raise ModelProblem(f"{self.label} at {self.endpoint} cannot be used: {problem}")

    def _not_kept(self, asked: str) -> NotInCache:
        found = [f"{n:,} from {where}" for where, n in self.responses.count(self.label).items()]
        return NotInCache(
            f"the cache has no answer of {self.label} at {self.endpoint}{asked}; of this model it "
            f"has {' and '.join(found) or 'none'}. A replay needs the model, OPENAI_BASE_URL and "
            "settings of the run that filled the cache; leave out --replay to ask the model"
        )

    # --- one request ---

    def _send(self, form: str, messages: Sequence[BaseMessage], tools: Sequence[Any]) -> AIMessage:
        """The reply to one request: kept before, or asked for now and kept before it is used."""
        request = self._request(form, messages, tools)
        with self.responses.once(request.key):
            kept = self.responses.get(request.key)
            if kept is None or (kept.failed and self.inner is not None):
                kept, name = self._ask(request), _named(messages)
                self.responses.keep(request.key, kept, self.label, self.endpoint, name)
            else:
                self.meter.kept += 1
        if not kept.failed:
            (message,) = messages_from_dict([kept.reply])
            assert isinstance(message, AIMessage)
            return message
        problem, status = kept.reply["error"], kept.reply["status_code"]
        if _is_retryable(status):
            raise Unavailable(problem, status)
        about = {"problem": problem}  # a malformed answer, which the layers count
        return AIMessage("", response_metadata=about, usage_metadata=_usage(0, 0))

    def _request(
        self, form: str, messages: Sequence[BaseMessage], tools: Sequence[Any]
    ) -> _Request:
        """A request with its fingerprint; a trial needs no place in it: the prompt names it."""
        body = json.dumps([[_essence(m) for m in messages], tools], sort_keys=True).encode()
        about = [self.label, self.endpoint, form, self.sampling, self.sample]
        digest = blake2b(json.dumps(about, sort_keys=True, default=str).encode(), digest_size=16)
        digest.update(body)
        return _Request(form, messages, tools, digest.hexdigest(), len(body))

    def _ask(self, request: _Request) -> Kept:
        """The answer to a request, sent again while that may help; or why there is none."""
        if self.inner is None:
            raise self._not_kept(f" to {_named(request.messages)}")
        for resent in range(self.resends + 1):
            found = self._deliver(self.inner, request)
            if isinstance(found, Kept):
                return found
            problem = _one_line(found, secrets_of(self.inner))
            status = status_of(found)
            if status in _FATAL or any(word in problem for word in _FATAL_WORDS):
                why = f"{self.label} at {self.endpoint} refused the request ({status}): {problem}"
                raise ModelProblem(why)
            if not _is_retryable(status):
                break
            if resent < self.resends:
                time.sleep(_pause(found, resent))
        else:
            self.meter.nothing_came(problem)
        return Kept({"error": problem, "status_code": status}, failed=True)

    def _deliver(self, inner: BaseChatModel, request: _Request) -> Kept | Exception:
        """Send a request once and pay for it: the answer to keep, or why there is none."""
        form, messages, tools, key, size = request
        most = self.sampling.get("max_tokens") or MAX_TOKENS
        with self.meter.reserve(size, most, self.ended):
            try:
                reply = forms.send(inner, form, messages, tools, **_under(key, inner))
            except Exception as error:
                found = _cut_short(error)
                if found is None:
                    if _may_be_billed(error):
                        self.meter.pay(size, most, answered=False)
                    return error
                reply = found
            usage = reply.usage_metadata or _counted(size, reply)
            self.meter.pay(usage["input_tokens"], usage["output_tokens"])
        reply = reply.model_copy(update={"usage_metadata": usage, "id": None})
        text = json.dumps(message_to_dict(reply), ensure_ascii=False)
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
        return Kept(json.loads(scrub(text, secrets_of(inner))))


def _under(key: str, inner: BaseChatModel) -> dict[str, Any]:
    """What a client of OpenAI's interface takes to send a request's key, as LangChain names it."""
    if "openai_api_base" not in type(inner).model_fields:
        return {}
    own = getattr(inner, "model_kwargs", {}).get("extra_headers", {})
    return {"extra_headers": {**own, "Idempotency-Key": key}}


def _cut_short(error: Exception) -> AIMessage | None:
    """The reply in an error that a client raises over one that was cut off or filtered."""
    completion: Any = getattr(error, "completion", None)
    if not (usage := getattr(completion, "usage", None)):
        return None
    counted = _usage(usage.prompt_tokens, usage.completion_tokens)
    return AIMessage(completion.choices[0].message.content or "", usage_metadata=counted)


def _is_retryable(status: int | None) -> bool:
    return status is not None and (status in _RETRYABLE or status >= 500)


def _may_be_billed(error: Exception) -> bool:
    """Whether the work may have been done although no usable answer came of it."""
    if _never_sent(error):
        return False
    status, lost = status_of(error), isinstance(error, ModelConnectionError | ConnectionError)
    return lost or status is None or status in _MAYBE_BILLED


def _never_sent(error: BaseException | None) -> bool:
    """Whether a request did not even reach the endpoint."""
    import httpx  # only real models need it

    while error is not None:
        if isinstance(error, ConnectionRefusedError | httpx.ConnectError | httpx.ConnectTimeout):
            return True
        error = error.__cause__ or error.__context__
    return False


def _pause(error: Exception, resent: int) -> float:
    """Seconds to wait before a request is sent again: as Retry-After says, or ever longer."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    told: Any = headers.get("retry-after", "0")
    seconds = float(told) if str(told).replace(".", "", 1).isdigit() else 0.0  # it may be a date
    longer: float = WAIT * 2**resent
    return min(max(seconds, longer), LONGEST_WAIT)


def _named(messages: Sequence[BaseMessage]) -> str:
    """What a request is called in errors: the id in its prompt, if it has one."""
    try:
        return str(Prompt.read(messages[:2]).request or "a request")
    except (ValueError, RecursionError):  # somebody's own "## Task", which is not ours
        return "a request"


def _essence(message: BaseMessage) -> list[Any]:
    """What of a message the endpoint gets, as plain data."""
    calls = [[c["name"], c["args"]] for c in getattr(message, "tool_calls", [])]
    return [message.type, message.content, calls]


def _usage(sent: int, received: int) -> UsageMetadata:
    return UsageMetadata(input_tokens=sent, output_tokens=received, total_tokens=sent + received)


def _counted(size: int, reply: AIMessage) -> UsageMetadata:
    """Usage where the endpoint reports none: four characters as one token."""
    calls = [*reply.tool_calls, *reply.invalid_tool_calls]
    written = len(str(reply.text)) + sum(len(str(call["args"])) for call in calls)
    return _usage(size // 4, written // 4)


def _one_line(error: Exception, secrets: Iterable[str]) -> str:
    """An error in one line, scrubbed before it is cut: half a key is still a secret."""
    text = scrub(" ".join(str(error).split()), secrets) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " …"


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error stands for, None if it is no transport's."""
    status = getattr(error, "status_code", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and status >= 400:
        return status
    kinds: dict[int, Any] = {
        401: ModelAuthenticationError,
        403: ModelPermissionDeniedError,
        404: ModelNotFoundError,
        408: (ModelTimeoutError, TimeoutError),
        503: (ModelConnectionError, ConnectionError),
    }
    return next((status for status, kind in kinds.items() if isinstance(error, kind)), None)


# --- making one ----------------------------------------------------------------------------------


def make(
    spec: str | BaseChatModel = SIMULATED,
    *,
    cache: Path | ResponseCache | None = None,
    prices: Prices | None = None,
    budget: float | None = None,
    replay: bool = False,
    sample: int = 0,
    temperature: float | None = None,
    max_tokens: int = MAX_TOKENS,
    timeout: float = TIMEOUT,
) -> BaseChatModel:
    """A chat model that any experiment takes in place of the simulated one.

    Args:
        spec: ``simulated``; ``openai:NAME`` for any endpoint of that interface (its key and its
            address from OPENAI_API_KEY and OPENAI_BASE_URL); another string of LangChain's
            ``init_chat_model``; or a LangChain chat model, which must have a timeout.
        cache: file of the responses kept; None keeps them for this object only.
        prices: USD per million tokens; None takes the list price, if the table has one.
        budget: USD that this object may spend.
        replay: answer from the cache alone: no key, no network.
        sample: another number asks everything afresh.
        temperature: None leaves it to the provider.
        max_tokens: most tokens of one reply.
        timeout: seconds that a request may take.

    Raises:
        ModelProblem: if the model cannot be made, or has a budget and no price.
    """
    if spec == SIMULATED:
        return _simulated()
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    inner: BaseChatModel | None
    if isinstance(spec, str):
        label = spec
        address = os.environ.get("OPENAI_BASE_URL") if spec.startswith("openai:") else None
        inner = None if replay else _from_name(spec, timeout, sampling)
    else:
        _check(spec, budget)
        name = _first_text(spec, "model_name", "model", "model_id", "deployment_name")
        label = f"{type(spec).__name__}:{name}" if name else type(spec).__name__
        address = _first_text(spec, "openai_api_base", "azure_endpoint", "base_url", "endpoint_url")
        own = re.sub(r" at 0x\w+", "", str(spec._identifying_params))
        sampling["max_tokens"] = getattr(spec, "max_tokens", None) or max_tokens
        sampling["own"] = blake2b(own.encode(), digest_size=8).hexdigest()  # may hold a secret
        inner = None if replay else spec
    return MeteredChatModel(
        inner=inner,
        label=label,
        endpoint=endpoint_of(address),
        sampling=sampling,
        responses=cache if isinstance(cache, ResponseCache) else ResponseCache(cache),
        meter=Meter(prices or list_price(label), budget),
        sample=sample,
        resends=RESENDS if getattr(inner, "max_retries", None) == 0 else 0,
    )


def _simulated() -> BaseChatModel:
    """The simulated model with the skills of every case that comes with the kit."""
    from coordkit.cases import load_case
    from coordkit.data.sample import CASES
    from coordkit.layers.planning import SKILLS
    from coordkit.simulated import SimulatedChatModel

    skills = [load_case(name, tasks=1).skills() for name in CASES]
    return SimulatedChatModel(skills={**SKILLS, **{k: v for s in skills for k, v in s.items()}})


def _from_name(spec: str, timeout: float, sampling: Mapping[str, Any]) -> BaseChatModel:
    """The model that a string names, with its timeout set."""
    options = {k: v for k, v in sampling.items() if v is not None}
    options |= {"timeout": timeout, "max_retries": 0}
    try:
        if spec.startswith("openai:"):
            from langchain_openai import ChatOpenAI

            return ChatOpenAI(model=spec.removeprefix("openai:"), **options)
        from langchain.chat_models import init_chat_model

        made: BaseChatModel = init_chat_model(spec, **options)
        return made
    except Exception as raised:  # each provider has its own errors for a missing key
        problem = _one_line(raised, secrets_of())
    if not spec.startswith("openai:"):
        problem += (
            "; write simulated, openai:NAME for any OpenAI-compatible endpoint, or PROVIDER:NAME "
            "with the packages langchain and the provider's installed"
        )
    elif not os.environ.get("OPENAI_API_KEY"):
        problem = "set OPENAI_API_KEY (any text will do for a server that wants none)"
    raise ModelProblem(f"the model {spec} cannot be made: {problem}")


def _check(inner: BaseChatModel, budget: float | None) -> None:
    """A model of the user's own must not wait for ever, nor spend what nobody counts."""
    fields, kind = type(inner).model_fields, type(inner).__name__
    waits = fields.keys() & {"timeout", "request_timeout", "default_request_timeout"}
    if waits and all(getattr(inner, name) is None for name in waits):
        raise ModelProblem(f"give your {kind} a timeout, such as timeout={TIMEOUT}")
    if budget is None:
        return
    if "max_tokens" in fields and not getattr(inner, "max_tokens", None):
        raise ModelProblem(f"with a budget, give your {kind} a limit: max_tokens={MAX_TOKENS}")
    if getattr(inner, "max_retries", 0) != 0:
        why = "so that every request is counted"
        raise ModelProblem(f"with a budget, give your {kind} max_retries=0, {why}")


def _first_text(inner: BaseChatModel, *names: str) -> str | None:
    """The first of these attributes that a model has as a text."""
    return next((v for n in names if isinstance(v := getattr(inner, n, None), str)), None)
