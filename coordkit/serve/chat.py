"""The wire format of ``/v1/chat/completions``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal, Self

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coordkit.serve.answers import Ask, Reply, Said
from coordkit.serve.errors import ApiError
from coordkit.serve.schemas import Json

PIECE = 40  # characters of a tool call or an answer in one chunk of a stream
_BRANCH = re.compile(r"\.(str|list\[.*)$")  # of a union, as pydantic adds it to a field's name


class Wire(BaseModel):
    """Types are not converted; fields that a simulated model has no use for are let through."""

    model_config = ConfigDict(strict=True, extra="allow")

    @classmethod
    def read(cls, raw: Json) -> Self:
        """Read a request.

        Raises:
            ApiError: 400, with the first field that is wrong.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = _BRANCH.sub("", ".".join(map(str, first["loc"])))
            raise ApiError(400, f"{where}: {first['msg']}", param=where) from None


class Function(Wire):
    """A function as a tool or a call of one names it."""

    name: str = Field(min_length=1)
    parameters: Json | None = None


class Tool(Wire):
    """A tool on offer, or the one that must be called."""

    type: Literal["function"]
    function: Function


class NamedSchema(Wire):
    """A response schema."""

    name: str = Field(default="answer", min_length=1)
    description: str | None = None
    parameters: Json | None = Field(default=None, alias="schema")

    def as_function(self) -> Json:
        """The function that the answer would be handed to."""
        fields = {"name", "description", "parameters"}
        named = self.model_dump(include=fields, exclude_none=True)
        return {"parameters": {"type": "object"}, **named}


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
    function: Called


class Message(Wire):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Body(Wire):
    """A request."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | Tool | None = None
    response_format: Format | None = None
    stream: bool | None = None
    stream_options: Json | None = None
    n: Literal[1] | None = None


def parse(raw: Json) -> Ask:
    """Read a request.

    Args:
        raw: the JSON of its body.

    Raises:
        ApiError: 400, with the field that is wrong.
    """
    body = Body.read(raw)
    wanted, choice = body.response_format, body.tool_choice or "auto"
    named = (wanted.json_schema or NamedSchema()) if wanted and wanted.type != "text" else None
    return Ask(
        to_messages(raw["messages"]),
        [tool["function"] for tool in raw.get("tools") or []],
        named.as_function() if named else None,
        choice if isinstance(choice, str) else choice.function.name,
    )


def to_messages(messages: Sequence[Json]) -> list[BaseMessage]:
    """Messages in OpenAI's form as LangChain's.

    Raises:
        ApiError: 400, with the message that cannot be read.
    """
    result = []
    for i, message in enumerate(messages):
        if message["role"] == "tool" and not message.get("tool_call_id"):
            raise ApiError(400, "a tool message needs its tool_call_id", param=f"messages.{i}")
        try:
            result += convert_to_messages([{**message, "content": message.get("content") or ""}])
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            line = str(error).partition("\n")[0]
            raise ApiError(400, f"cannot be read: {line}", param=f"messages.{i}") from None
    return result


def render(reply: Reply, model: str, name: str) -> Json:
    """A reply as the endpoint's JSON.

    Args:
        reply: what is answered.
        model: the model's name, as it was asked for.
        name: unique to the request.
    """
    calls = [
        {"id": p.id, "type": "function", "function": {"name": p.tool, "arguments": p.text}}
        for p in reply.parts
        if p.tool
    ]
    words = "".join(part.text for part in reply.parts if not part.tool)
    message: Json = {"role": "assistant", "content": words if words or not calls else None}
    message |= {"refusal": None} | ({"tool_calls": calls} if calls else {})
    reason = "tool_calls" if calls else "stop"
    sent, written = reply.tokens
    usage = {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 0,  # the same request gives the same bytes
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": usage,
    }


def events(whole: Json, raw: Json) -> Iterator[str]:
    """A reply as the server-sent events of a stream, ended by ``[DONE]``.

    Args:
        whole: the reply's JSON.
        raw: the request's.
    """
    usage = (raw.get("stream_options") or {}).get("include_usage")
    head = {k: whole.get(k) for k in ("id", "created", "model")}
    head |= {"object": "chat.completion.chunk"} | ({"usage": None} if usage else {})
    for choice in whole["choices"]:
        for delta in [*_deltas(choice["message"]), {}]:  # the last one says why it ends
            reason = None if delta else choice["finish_reason"]
            piece = {"index": choice["index"], "delta": delta, "finish_reason": reason}
            yield _event({**head, "choices": [piece]})
    if usage:
        yield _event({**head, "choices": [], "usage": whole.get("usage")})
    yield "data: [DONE]\n\n"


def _event(data: Json) -> str:
    return f"data: {json.dumps(data)}\n\n"


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


def said(whole: Json) -> list[Said]:
    """Where a reply says something, for faults to hit."""
    found: list[Said] = []
    for choice in whole["choices"]:
        message = choice["message"]
        if isinstance(message.get("content"), str):
            found.append((message, "content"))
        calls = message.get("tool_calls") or []
        found += [(call["function"], "arguments") for call in calls if "function" in call]
    return found
