"""What is asked of the endpoint and what it answers, whatever the wire format.

A request of one of the kit's cases (its prompt names it) goes to the simulated model as it is. Any
other gets a plausible reply with the same faults on it, at the same rates and from the same mix.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from coordkit.faults import MALFORMED, TRANSPORT, Simulation, pick_mode, uniform, with_slip
from coordkit.faults import slips as goes_wrong
from coordkit.prompt import Prompt, Request, as_json
from coordkit.serve.schemas import Json, plain, plausible
from coordkit.simulated import ALL_MODES, ModelUnavailable, SimulatedChatModel

Said = tuple[Json, str]  # where a reply says something: an object of its JSON, and the key

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ask:
    """One request for a completion.

    Args:
        messages: the conversation.
        functions: the tools on offer, as OpenAI writes a function: name, parameters.
        schema: the response schema, written in the same way; None for a reply in words.
        choice: ``auto``, ``none``, ``required`` or the name of the tool to call.
    """

    messages: Sequence[BaseMessage]
    functions: Sequence[Mapping[str, Any]] = ()
    schema: Mapping[str, Any] | None = None
    choice: str = "auto"


@dataclass(frozen=True)
class Part:
    """One thing in a reply: words, a JSON answer, or a tool call.

    Args:
        text: the words, or the JSON.
        tool: name of the tool called; empty for words and answers.
        id: of the tool call.
    """

    text: str
    tool: str = ""
    id: str = ""


@dataclass(frozen=True)
class Reply:
    """What is answered, its size in tokens, and the modes of the faults in it."""

    parts: Sequence[Part]
    tokens: tuple[int, int]
    faults: Sequence[str] = ()


def request_of(ask: Ask, redelivered: int = 0) -> Request:
    """Which request this is; it keys the dice.

    The prompts of the kit name it. Any other request is named by a hash of all its messages, so
    the endpoint needs no memory: the same conversation meets the same dice, whoever asks and
    whenever. A client that sends it again after a transport fault says so in a header, and meets
    the next delivery's dice; without the header it meets the same fault.

    Args:
        ask: the request.
        redelivered: how often the client has sent this before.
    """
    try:
        named = Prompt.read(ask.messages).request
    except (ValueError, RecursionError):  # somebody's own "## Task", which is not ours
        named = None
    if named:
        return replace(named, delivery=named.delivery + redelivered)
    heard = [
        [m.type, m.content, [(c["name"], c["args"]) for c in getattr(m, "tool_calls", [])]]
        for m in ask.messages
    ]
    step = str(ask.schema["name"]) if ask.schema else "chat"
    return Request(f"adhoc/{digest(heard)}", step, delivery=1 + redelivered)


def digest(data: Any) -> str:
    """A short name for data: the same for the same."""
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).hexdigest()


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


def from_skill(model: SimulatedChatModel, ask: Ask, request: Request) -> Reply | None:
    """The simulated model's reply, exactly as in process; None if no skill knows what is asked.

    Raises:
        ModelUnavailable: if the reply is lost in transport.
    """
    offers = [f for f in ask.functions if ask.choice in ("auto", "required", f["name"])]
    functions = [*offers, *([ask.schema] if ask.schema else [])]
    if not any(model.asked(f) for f in functions):
        return None
    tools = [{"type": "function", "function": dict(f)} for f in functions]
    try:
        # Not invoke(): a cache or a tracer set up for the client must not see the server's call.
        message = model._generate(list(ask.messages), tools=tools).generations[0].message
    except ModelUnavailable:
        raise
    except Exception:  # a prompt in our form whose contents are not ours
        _log.info("a skill could not read the prompt of %s", request, exc_info=True)
        return None
    assert isinstance(message, AIMessage) and message.usage_metadata
    answer, parts = ask.schema and ask.schema["name"], []
    for call in [*message.tool_calls, *message.invalid_tool_calls]:
        text = call["args"] if isinstance(call["args"], str) else as_json(call["args"])
        own = call["name"] == answer
        parts.append(Part(text) if own else Part(text, str(call["name"]), str(call["id"])))
    tokens = message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]
    return Reply(parts, tokens, [fault["mode"] for fault in message.response_metadata["faults"]])


# --- requests that no skill knows ----------------------------------------------------------------


def from_nothing(ask: Ask, request: Request) -> Reply:
    """A plausible reply: a tool call, an answer that fits the schema, or a short echo."""
    users = [m.text for m in ask.messages if isinstance(m, HumanMessage)]
    said = users[-1] if users else ""
    called = None if ask.schema else _function_to_call(ask)
    if function := ask.schema or called:
        text = as_json(plausible(function.get("parameters") or {}, said))
        part = Part(text, called["name"], f"call_{digest(str(request))}") if called else Part(text)
    else:
        heard = ask.messages[-1].text if isinstance(ask.messages[-1], ToolMessage) else said
        words = " ".join(heard.split())[:300]
        part = Part(f'I read: "{words}". That is all that a simulated model says.')
    offers = [*ask.functions, *([ask.schema] if ask.schema else [])]
    size = sum(len(m.text) for m in ask.messages) + sum(len(str(f)) for f in offers)
    return Reply([part], (size // 4, len(part.text) // 4))


def _function_to_call(ask: Ask) -> Mapping[str, Any] | None:
    """The tool that is asked for; else one a turn in the order they are offered, then words."""
    turn = sum(bool(getattr(m, "tool_calls", None)) for m in ask.messages)
    if ask.choice == "none" or not ask.functions or (ask.choice == "auto" and turn):
        return None
    named = [function for function in ask.functions if function["name"] == ask.choice]
    return (named or ask.functions[turn:] or ask.functions[-1:])[0]


# --- faults on what was answered -----------------------------------------------------------------


def strike(
    said: Sequence[Said], mode: str, simulation: Simulation, request: Request, ask: Ask
) -> str:
    """Put one fault into a reply.

    Args:
        said: words, answers and tool calls of the reply's JSON, in order; one is changed.
        mode: the fault's mode; where the reply does not admit it, it becomes another.
        simulation: the mix and the seed.
        request: keys the draws.
        ask: near misses and stale values come from what was asked.

    Returns:
        The mode that it became; empty if there was nothing to hit.
    """
    said = [(holder, key) for holder, key in said if holder[key] or key == "arguments"]
    if not said:
        return ""
    u = uniform(simulation.seed, "place", request)
    holder, key = said[int(u * len(said))]
    text, tool = holder[key], holder["name"] if key == "arguments" else ""
    if mode in MALFORMED:
        cut = mode == "truncated_json" or '"' not in text
        holder[key] = text[: len(text) // 2] if cut else text.replace('"', "", 1)
        return mode
    others = sorted({str(f["name"]) for f in ask.functions} - {tool})
    if mode == "wrong_tool_or_step" and tool and others:
        holder["name"] = others[int(uniform(simulation.seed, "tool", request) * len(others))]
        return mode
    return _slip(holder, key, mode, simulation, request, ask, u)


def _slip(
    holder: Json, key: str, mode: str, simulation: Simulation, request: Request, ask: Ask, u: float
) -> str:
    """Put a slip into what is said there, of this mode or of another that it admits."""
    text, value = holder[key], _read(holder[key])
    answer = value if isinstance(value, dict) else {"": value}
    schema = _schema_of(ask, holder["name"] if key == "arguments" else "")
    heard = [m.text for m in ask.messages if isinstance(m, HumanMessage | ToolMessage)]
    prompt = Prompt(None, text="\n".join(heard))
    hit = with_slip(simulation, request, mode, answer, schema, prompt)
    mode, after = hit or (mode, spoilt(answer, u))
    if after is None:
        return ""
    result = after if isinstance(value, dict) else after[""]
    holder[key] = result if value == text else as_json(result)
    return mode


def _read(text: str) -> Any:
    """The JSON in a text, or the text if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _schema_of(ask: Ask, tool: str) -> Json:
    """The schema of a tool's parameters, or without a tool of the answer."""
    offers = [f for f in ask.functions if f["name"] == tool] if tool else [ask.schema or {}]
    return plain(offers[0].get("parameters")) if offers else {}


def spoilt(answer: Json, u: float) -> Json | None:
    """An answer with one value made wrong by its kind, where no slip of the mix can hit it.

    Args:
        answer: the right answer; it is not changed.
        u: uniform draw that picks the value.

    Returns:
        The spoilt answer; None if it holds no value.
    """
    result = copy.deepcopy(answer)
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
        holder[key] = value.rpartition(" ")[0] or value[:-1] or "unknown"
    else:
        holder[key] = "unknown"
    return result


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in an answer that holds no others."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            yield from _leaves(item)
        else:
            yield value, key
