"""The wire format of ``/v1/responses``. Nothing is stored: a request carries its conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from coordkit.serve.answers import Ask, Part, Reply
from coordkit.serve.chat import Json, NamedSchema, Wire, pieces, to_messages
from coordkit.serve.errors import ApiError, invalid


class Tool(Wire):
    """A tool on offer."""

    type: Literal["function"]
    name: str = Field(min_length=1)
    parameters: Json | None = None


class ToolChoice(Wire):
    """A tool that must be called."""

    type: Literal["function"]
    name: str


class Format(NamedSchema):
    """What the reply is to look like."""

    type: Literal["text", "json_object", "json_schema"]


class Text(Wire):
    """Settings of the words."""

    format: Format | None = None


class Item(Wire):
    """One item of the conversation."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Json] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Json] | None = None


class Body(Wire):
    """A request."""

    model: str = Field(min_length=1)
    input: str | list[Item] = Field(min_length=1)
    instructions: str | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    text: Text | None = None
    stream: bool | None = None
    previous_response_id: None = None
    conversation: None = None
    background: Literal[False] | None = None


def parse(raw: Any, redelivered: int = 0) -> tuple[Ask, bool]:
    """Read a request; see `coordkit.serve.chat.parse`."""
    if isinstance(raw, dict):
        for name in ("previous_response_id", "conversation"):
            if raw.get(name) is not None:
                message = f"{name}: nothing is stored here; send the whole conversation as input"
                raise ApiError(400, message, "unsupported_parameter", name)
    try:
        body = Body.model_validate(raw)
    except ValidationError as error:
        raise invalid(error) from None
    items = [Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    head = [Item(role="system", content=body.instructions)] if body.instructions else []
    choice = body.tool_choice or "auto"
    wanted = body.text.format if body.text else None
    ask = Ask(
        to_messages(list(_as_chat([*head, *items]))),
        [tool.model_dump(exclude_unset=True, exclude={"type"}) for tool in body.tools or []],
        _as_function(wanted),
        choice if isinstance(choice, str) else choice.name,
        redelivered,
    )
    return ask, bool(body.stream)


def _as_function(wanted: Format | None) -> Json | None:
    if wanted is None or wanted.type == "text":
        return None
    return {"name": wanted.name, "parameters": wanted.json_schema or {"type": "object"}}


def _as_chat(items: Sequence[Item]) -> Iterator[Json]:
    """The items as messages of a chat; calls that follow each other are one turn's."""
    calls: list[Json] = []
    for item in items:
        if item.type == "function_call":
            function = {"name": item.name or "", "arguments": item.arguments or ""}
            calls.append({"id": item.call_id or "", "type": "function", "function": function})
            continue
        if calls:
            yield {"role": "assistant", "content": "", "tool_calls": calls}
            calls = []
        if item.type == "function_call_output":
            text = _words(item.output)
            yield {"role": "tool", "content": text, "tool_call_id": item.call_id or ""}
        elif item.type == "message" and item.role:
            yield {"role": item.role, "content": _words(item.content)}
        elif item.type != "reasoning":
            message = f"input items of type '{item.type}' are not supported"
            raise ApiError(400, message, "unsupported", "input")
    if calls:
        yield {"role": "assistant", "content": "", "tool_calls": calls}


def _words(content: str | list[Json] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(str(block.get("text", "")) for block in content)


def render(reply: Reply, model: str, name: str) -> Json:
    """A reply as the endpoint's JSON; see `coordkit.serve.chat.render`."""
    output: list[Json] = []
    for i, part in enumerate(reply.parts):
        if part.tool:
            item: Json = {"type": "function_call", "id": f"fc_{name}_{i}", "call_id": part.id}
            item |= {"name": part.tool, "arguments": part.text}
        else:
            words = {"type": "output_text", "text": part.text, "annotations": []}
            item = {"type": "message", "id": f"msg_{name}_{i}", "role": "assistant"}
            item |= {"content": [words]}
        output.append({**item, "status": "completed"})
    sent, written = reply.tokens
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": model,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            "input_tokens": sent,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sent + written,
        },
    }


def events(whole: Json, raw: Json) -> Iterator[str]:
    """A reply as the server-sent events of a stream.

    Args:
        whole: the reply's JSON.
        raw: the request's.
    """
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    every: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for i, item in enumerate(whole.get("output") or []):
        every += _item_events(i, item)
    every.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(every):
        data = json.dumps({**event, "sequence_number": number})
        yield f"event: {event['type']}\ndata: {data}\n\n"


def _item_events(i: int, item: Json) -> Iterator[Json]:
    at = {"item_id": item.get("id"), "output_index": i}
    empty = {**item, "status": "in_progress"}
    called = item.get("type") == "function_call"
    if called:
        empty["arguments"] = ""
    elif "content" in item:
        empty["content"] = []
    yield {"type": "response.output_item.added", "output_index": i, "item": empty}
    if called:
        kind = "response.function_call_arguments"
        for piece in pieces(item["arguments"]):
            yield {"type": f"{kind}.delta", **at, "delta": piece}
        done = {"arguments": item["arguments"], "name": item["name"]}
        yield {"type": f"{kind}.done", **at, **done}
    for j, block in enumerate(item.get("content") or []):
        if block.get("type") == "output_text":
            yield from _text_events({**at, "content_index": j}, block)
    yield {"type": "response.output_item.done", "output_index": i, "item": item}


def _text_events(at: Json, block: Json) -> Iterator[Json]:
    text = block["text"]
    logprobs: Json = {"logprobs": []}
    yield {"type": "response.content_part.added", **at, "part": {**block, "text": ""}}
    for piece in pieces(text):
        yield {"type": "response.output_text.delta", **at, "delta": piece, **logprobs}
    yield {"type": "response.output_text.done", **at, "text": text, **logprobs}
    yield {"type": "response.content_part.done", **at, "part": block}


def parts_of(whole: Json, ask: Ask) -> list[Part]:
    """What somebody else's reply says, for faults to hit."""
    parts = []
    for item in _said(whole):
        if item.get("type") == "output_text":
            parts.append(Part(str(item["text"]), schema=ask.schema_of()))
        else:
            name = str(item["name"])
            parts.append(Part(str(item["arguments"]), name, schema=ask.schema_of(name)))
    return parts


def put_back(whole: Json, parts: Sequence[Part]) -> None:
    """Write the parts over those of the reply that they were read from."""
    for item, part in zip(_said(whole), parts, strict=True):
        if item.get("type") == "output_text":
            item["text"] = part.text
        else:
            item["name"], item["arguments"] = part.tool, part.text


def _said(whole: Json) -> list[Json]:
    """The function calls and texts in a reply, in order."""
    found: list[Json] = []
    for item in whole.get("output") or []:
        if item.get("type") == "function_call":
            found.append(item)
        elif item.get("type") == "message":
            blocks = item.get("content") or []
            found += [b for b in blocks if b.get("type") == "output_text"]
    return found
