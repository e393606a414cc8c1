"""What is asked of the endpoint and what it answers, whatever the wire format.

A request of one of the kit's cases (its prompt names it) goes to the simulated model as it is. Any
other gets a plausible reply with the same faults on it, at the same rates and from the same mix.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from coordkit.cases.base import Case
from coordkit.experiment import simulated_model
from coordkit.faults import MALFORMED, SLIPS, TRANSPORT, Simulation, apply_slip, pick_mode, uniform
from coordkit.faults import slips as goes_wrong
from coordkit.prompt import Prompt, Request
from coordkit.serve.schemas import plain, plausible
from coordkit.simulated import ALL_MODES, ModelUnavailable, SimulatedChatModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ask:
    """One request for a completion.

    Args:
        messages: the conversation.
        functions: the tools on offer, as OpenAI writes a function: name, parameters.
        schema: the response schema, written in the same way; None for a reply in words.
        choice: ``auto``, ``none``, ``required`` or the name of the tool to call.
        redelivered: how often the client has sent this before: the official clients say so in
            the header ``x-stainless-retry-count``.
    """

    messages: Sequence[BaseMessage]
    functions: Sequence[Mapping[str, Any]] = ()
    schema: Mapping[str, Any] | None = None
    choice: str = "auto"
    redelivered: int = 0

    def schema_of(self, tool: str = "") -> Mapping[str, Any] | None:
        """JSON schema of a tool's parameters, or without a tool of the answer; None for words."""
        if not tool:
            return (self.schema.get("parameters") or {}) if self.schema else None
        found = next((f for f in self.functions if f["name"] == tool), {})
        return found.get("parameters") or {}

    @property
    def text(self) -> str:
        """What users and tools said."""
        return "\n".join(m.text for m in self.messages if isinstance(m, HumanMessage | ToolMessage))

    def size(self) -> int:
        """Tokens, at four characters each, as the simulated model counts them."""
        offers = [*self.functions, *([self.schema] if self.schema else [])]
        return (sum(len(m.text) for m in self.messages) + sum(len(str(f)) for f in offers)) // 4


@dataclass
class Part:
    """One thing in a reply: words, a JSON answer, or a tool call.

    Args:
        text: the words, or the JSON.
        tool: name of the tool called; empty for words and answers.
        id: of the tool call.
        schema: JSON schema of the answer or of the tool's parameters; None for words.
    """

    text: str
    tool: str = ""
    id: str = ""
    schema: Mapping[str, Any] | None = None


@dataclass
class Reply:
    """What is answered, the modes of the faults in it, and its size in tokens."""

    parts: list[Part]
    faults: list[str] = field(default_factory=list)
    tokens: tuple[int, int] = (0, 0)


def request_of(ask: Ask) -> Request:
    """Which request this is; it keys the dice.

    The prompts of the kit name it. Any other request is named by a hash of all its messages, so
    the endpoint needs no memory: the same conversation meets the same dice, whoever asks and
    whenever. A client that sends it again after a transport fault says so in a header (see
    `Ask`), and meets the next delivery's dice; without the header it meets the same fault.
    """
    named = _named(ask.messages)
    if named is None:
        heard = [
            [m.type, m.content, [(c["name"], c["args"]) for c in getattr(m, "tool_calls", [])]]
            for m in ask.messages
        ]
        key = blake2b(json.dumps(heard, sort_keys=True).encode(), digest_size=8).hexdigest()
        named = Request(f"adhoc/{key}", str(ask.schema["name"]) if ask.schema else "chat")
    return replace(named, delivery=named.delivery + ask.redelivered)


def _named(messages: Sequence[BaseMessage]) -> Request | None:
    try:
        return Prompt.read(messages).request
    except (ValueError, RecursionError):  # somebody's own "## Task", which is not ours
        return None


def fault_of(simulation: Simulation, request: Request) -> str:
    """The mode of the fault that hits a request which no skill knows; empty for none.

    Raises:
        ModelUnavailable: if it is lost in transport.
    """
    if not goes_wrong(simulation, request):
        return ""
    mode = pick_mode(simulation, request, ALL_MODES)
    if mode in TRANSPORT:
        raise ModelUnavailable(mode, request)
    return mode


class SimulatedAnswers:
    """The simulated model behind the endpoint; it keeps nothing between requests.

    Args:
        cases: whose prompts it has skills for; of their data it sees only what is in a prompt.
        simulation: settings of the dice.
    """

    def __init__(self, cases: Sequence[Case], simulation: Simulation) -> None:
        self.simulation = simulation
        self.models = {case.name: simulated_model(case, simulation) for case in cases}

    def reply(self, ask: Ask, dice: bool = True) -> Reply:
        """Answer a request.

        Args:
            ask: the request.
            dice: False answers without faults.

        Raises:
            ModelUnavailable: if the reply is lost in transport.
        """
        request = request_of(ask)
        model = self.models.get(request.task.partition("/")[0])
        if model:
            known = _from_skill(
                model if dice else model.model_copy(update={"dice": False}), ask, request
            )
            if known:
                return known
        mode = fault_of(self.simulation, request) if dice else ""
        reply = _from_nothing(ask)
        if mode and (struck := strike(reply.parts, mode, self.simulation, request, ask)):
            reply.faults.append(struck)
        return reply


def _from_skill(model: SimulatedChatModel, ask: Ask, request: Request) -> Reply | None:
    """The simulated model's reply, exactly as in process; None if no skill knows what is asked."""
    offers = [f for f in ask.functions if ask.choice in ("auto", "required", f["name"])]
    functions = [*offers, *([ask.schema] if ask.schema else [])]
    if not any(model.asked(f) for f in functions):
        return None
    messages = list(ask.messages)
    if ask.redelivered:
        sent = replace(request, delivery=request.delivery - ask.redelivered)
        messages = [
            m.model_copy(update={"content": m.text.replace(str(sent), str(request))})
            if isinstance(m, HumanMessage)
            else m
            for m in messages
        ]
    tools = [{"type": "function", "function": dict(f)} for f in functions]
    try:
        # Not invoke(): a cache or a tracer set up for the client must not see the server's call.
        message = model._generate(messages, tools=tools).generations[0].message
    except ModelUnavailable:
        raise
    except Exception:  # a prompt in our form whose contents are not ours
        _log.info("a skill could not read the prompt of %s", request, exc_info=True)
        return None
    assert isinstance(message, AIMessage)
    return _as_reply(message, ask)


def _as_reply(message: AIMessage, ask: Ask) -> Reply:
    calls: list[tuple[str, str, str]] = [
        (c["name"], json.dumps(c["args"], ensure_ascii=False), c["id"] or "")
        for c in message.tool_calls
    ]
    broken = message.invalid_tool_calls
    calls += [(c["name"] or "", c["args"] or "", c["id"] or "") for c in broken]
    parts = []
    for name, text, call_id in calls:
        answers = ask.schema is not None and name == ask.schema["name"]
        parts.append(Part(text) if answers else Part(text, name, call_id))
    usage, faults = message.usage_metadata, message.response_metadata["faults"]
    assert usage
    tokens = usage["input_tokens"], usage["output_tokens"]
    return Reply(parts, [fault["mode"] for fault in faults], tokens)


# --- requests that no skill knows ----------------------------------------------------------------


def _from_nothing(ask: Ask) -> Reply:
    """A plausible reply: a tool call, an answer that fits the schema, or a short echo."""
    users = [m.text for m in ask.messages if isinstance(m, HumanMessage)]
    said = users[-1] if users else ""
    if ask.schema is not None:
        schema = ask.schema.get("parameters") or {}
        part = Part(json.dumps(plausible(schema, said), ensure_ascii=False), schema=schema)
    elif function := _function_to_call(ask):
        schema, name = function.get("parameters") or {}, str(function["name"])
        text = json.dumps(plausible(schema, said), ensure_ascii=False)
        key = blake2b(str(request_of(ask)).encode(), digest_size=8).hexdigest()
        part = Part(text, name, f"call_{key}", schema)
    else:
        heard = ask.messages[-1].text if isinstance(ask.messages[-1], ToolMessage) else said
        words = " ".join(heard.split())[:300]
        part = Part(f'I read: "{words}". That is all that a simulated model says.')
    return Reply([part], [], (ask.size(), len(part.text) // 4))


def _function_to_call(ask: Ask) -> Mapping[str, Any] | None:
    """The tool that is asked for; else one a turn in the order they are offered, then words."""
    if ask.choice == "none" or not ask.functions:
        return None
    for function in ask.functions:
        if function["name"] == ask.choice:
            return function
    turn = sum(bool(getattr(m, "tool_calls", None)) for m in ask.messages)
    if ask.choice == "auto" and turn:
        return None
    return ask.functions[min(turn, len(ask.functions) - 1)]


# --- faults on what somebody else answered -------------------------------------------------------


def strike(
    parts: Sequence[Part], mode: str, simulation: Simulation, request: Request, ask: Ask
) -> str:
    """Put one fault into a reply.

    Args:
        parts: the reply; the one that is hit is changed.
        mode: the fault's mode; where the reply does not admit it, it becomes another.
        simulation: the mix and the seed.
        request: keys the draws.
        ask: near misses and stale values come from what was asked.

    Returns:
        The mode that it became; empty if there was nothing to hit.
    """
    parts = [part for part in parts if part.text or part.tool]
    u = uniform(simulation.seed, "place", request)
    if not parts:
        return ""
    part = parts[int(u * len(parts))]
    if mode in MALFORMED:
        part.text = garbled(part.text, mode)
        return mode
    others = sorted({str(f["name"]) for f in ask.functions} - {part.tool})
    if mode == "wrong_tool_or_step" and part.tool and others:
        part.tool = others[int(uniform(simulation.seed, "tool", request) * len(others))]
        return mode
    return _strike_content(part, mode, simulation, request, ask, u)


def _strike_content(
    part: Part, mode: str, simulation: Simulation, request: Request, ask: Ask, u: float
) -> str:
    answer, in_words = _content(part)
    schema = {} if in_words else plain(part.schema or {})
    prompt = Prompt(None, text=ask.text)
    broken = {m: apply_slip(m, answer, schema, prompt, u) for m in SLIPS}
    possible = [m for m in SLIPS if broken[m] is not None and simulation.mix.get(m)]
    if possible and mode not in possible:
        mode = pick_mode(simulation, request, possible, "second mode")
    after = broken[mode] if possible else spoilt(answer, u)
    if after is None:
        return ""
    part.text = (
        str(after["text"]) if in_words else json.dumps(_unwrapped(after), ensure_ascii=False)
    )
    return mode


def _content(part: Part) -> tuple[dict[str, Any], bool]:
    """What a part says as an object, and whether it was words."""
    try:
        value = json.loads(part.text)
    except (ValueError, RecursionError):
        return {"text": part.text}, True
    if isinstance(value, dict):
        return value, False
    return ({"text": part.text}, True) if part.schema is None else ({"": value}, False)


def _unwrapped(value: dict[str, Any]) -> Any:
    return value[""] if set(value) == {""} else value


def garbled(text: str, mode: str) -> str:
    """A text as a malformed reply: cut in the middle, or JSON without its first quote."""
    if mode == "truncated_json" or '"' not in text:
        return text[: len(text) // 2]
    return text.replace('"', "", 1)


def spoilt(answer: dict[str, Any], u: float) -> dict[str, Any] | None:
    """An answer with one value made wrong by its kind, where no slip of the mix can hit it.

    Args:
        answer: the right answer; it is not changed.
        u: uniform draw that picks the value.

    Returns:
        The spoilt answer; None if it holds no value.
    """
    result = json.loads(json.dumps(answer))
    leaves = list(_leaves(result))
    if not leaves:
        return None
    holder, key = leaves[int(u * len(leaves))]
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = value + 1
    elif isinstance(value, str):
        words = value.split()
        holder[key] = " ".join(words[:-1]) if len(words) > 1 else value[:-1] or "unknown"
    else:
        holder[key] = "unknown"
    return result  # type: ignore[no-any-return]


def _leaves(value: Any) -> Any:
    """(container, key) of every value in an answer that holds no others."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        if isinstance(item, dict | list) and item:
            yield from _leaves(item)
        elif not isinstance(item, dict | list):
            yield value, key
