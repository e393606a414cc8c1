"""The wire format of ``/v1/chat/completions``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coordkit.serve.answers import Ask, Part, Reply
from coordkit.serve.errors import ApiError, invalid

Json = dict[str, Any]
PIECE = 40  # characters of a tool call or an answer in one chunk of a stream


class Wire(BaseModel):
    """Types are not converted; fields that a simulated model has no use for are let through."""

    model_config = ConfigDict(strict=True, extra="allow")


class Function(Wire):
    """A function as a tool or response schema names it."""

    name: str = Field(min_length=1)
    parameters: Json | None = None


class Tool(Wire):
    """A tool on offer."""

    type: Literal["function"]
    function: Function


class NamedSchema(Wire):
    """What ``json_schema`` holds."""

    name: str = Field("answer", min_length=1)
    json_schema: Json | None = Field(None, alias="schema")


class Format(Wire):
    """What the reply is to look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class Called(Wire):
    """A function that was called."""

    name: str
    arguments: str


class ToolCall(Wire):
    """A tool call of an earlier turn."""

    id: str
    type: Literal["function"] = "function"
    function: Called


class Message(Wire):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class ToolChoice(Wire):
    """A tool that must be called."""

    type: Literal["function"]
    function: Function


class StreamOptions(Wire):
    """Settings of a stream."""

    include_usage: bool = False


class Body(Wire):
    """A request."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    response_format: Format | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None


def parse(raw: Any, redelivered: int = 0) -> tuple[Ask, bool]:
    """Read a request.

    Args:
        raw: the JSON of its body.
        redelivered: how often it was sent before.

    Returns:
        The request, and whether a stream is wanted.

    Raises:
        ApiError: 400, with the field that is wrong.
    """
    try:
        body = Body.model_validate(raw)
    except ValidationError as error:
        raise invalid(error) from None
    choice = body.tool_choice or "auto"
    ask = Ask(
        to_messages([m.model_dump(exclude_unset=True) for m in body.messages]),
        [tool.function.model_dump(exclude_unset=True) for tool in body.tools or []],
        as_function(body.response_format),
        choice if isinstance(choice, str) else choice.function.name,
        redelivered,
    )
    return ask, bool(body.stream)


def to_messages(messages: Sequence[Json]) -> list[BaseMessage]:
    """Messages in OpenAI's form as LangChain's.

    Raises:
        ApiError: 400, with the message that cannot be read.
    """
    result = []
    for i, message in enumerate(messages):
        if message["role"] == "tool" and "tool_call_id" not in message:
            raise ApiError(400, "a tool message needs its tool_call_id", param=f"messages.{i}")
        try:
            result += convert_to_messages([{**message, "content": message.get("content") or ""}])
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            line = str(error).partition("\n")[0]
            raise ApiError(400, f"cannot be read: {line}", param=f"messages.{i}") from None
    return result


def as_function(wanted: Format | None) -> Json | None:
    """A response format as the function that the answer would be handed to."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object" or wanted.json_schema is None:
        return {"name": "answer", "parameters": {"type": "object"}}
    named = wanted.json_schema
    return {
        "name": named.name,
        "parameters": named.json_schema or {"type": "object"},
        **({"description": named.description} if hasattr(named, "description") else {}),
    }


def render(reply: Reply, model: str, name: str) -> Json:
    """A reply as the endpoint's JSON.

    Args:
        reply: what is answered.
        model: the model's name, as it was asked for.
        name: unique to the request.
    """
    calls = [
        {
            "id": part.id,
            "type": "function",
            "function": {"name": part.tool, "arguments": part.text},
        }
        for part in reply.parts
        if part.tool
    ]
    words = "".join(part.text for part in reply.parts if not part.tool)
    message: Json = {"role": "assistant", "content": words if words or not calls else None}
    message |= {"refusal": None} | ({"tool_calls": calls} if calls else {})
    sent, written = reply.tokens
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 0,  # the same request gives the same bytes
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "tool_calls" if calls else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": sent,
            "completion_tokens": written,
            "total_tokens": sent + written,
        },
    }


def events(whole: Json, raw: Json) -> Iterator[str]:
    """A reply as the server-sent events of a stream, ended by ``[DONE]``.

    Args:
        whole: the reply's JSON.
        raw: the request's.
    """
    usage = (raw.get("stream_options") or {}).get("include_usage", False)
    head = {k: whole.get(k) for k in ("id", "created", "model")}
    head |= {"object": "chat.completion.chunk"} | ({"usage": None} if usage else {})
    for choice in whole.get("choices", []):
        for delta in _deltas(choice["message"]):
            yield _event({**head, "choices": [_choice(choice, delta, None)]})
        yield _event({**head, "choices": [_choice(choice, {}, choice.get("finish_reason"))]})
    if usage:
        yield _event({**head, "choices": [], "usage": whole.get("usage")})
    yield "data: [DONE]\n\n"


def _choice(choice: Json, delta: Json, reason: str | None) -> Json:
    return {"index": choice.get("index", 0), "delta": delta, "finish_reason": reason}


def _deltas(message: Json) -> Iterator[Json]:
    yield {"role": "assistant", "content": "" if message.get("content") is not None else None}
    for piece in pieces(message.get("content") or ""):
        yield {"content": piece}
    for i, call in enumerate(message.get("tool_calls") or []):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {
            "tool_calls": [{"index": i, "id": call["id"], "type": "function", "function": function}]
        }
        for piece in pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": i, "function": {"arguments": piece}}]}


def pieces(text: str) -> list[str]:
    """A text in the pieces of a stream."""
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)]


def _event(data: Json) -> str:
    return f"data: {json.dumps(data)}\n\n"


def parts_of(whole: Json, ask: Ask) -> list[Part]:
    """What somebody else's reply says, for faults to hit."""
    parts = []
    for message in _messages(whole):
        if isinstance(message.get("content"), str):
            parts.append(Part(message["content"], schema=ask.schema_of()))
        for call in message.get("tool_calls") or []:
            f = call.get("function") or {}
            name = str(f.get("name"))
            parts.append(Part(str(f.get("arguments")), name, schema=ask.schema_of(name)))
    return parts


def put_back(whole: Json, parts: Sequence[Part]) -> None:
    """Write the parts over those of the reply that they were read from."""
    after = iter(parts)
    for message in _messages(whole):
        if isinstance(message.get("content"), str):
            message["content"] = next(after).text
        for call in message.get("tool_calls") or []:
            part = next(after)
            call["function"] = {"name": part.tool, "arguments": part.text}


def _messages(whole: Mapping[str, Any]) -> list[Json]:
    choices = whole.get("choices") or []
    return [c["message"] for c in choices if isinstance(c.get("message"), dict)]
