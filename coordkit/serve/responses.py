"""The wire format of ``/v1/responses``. Nothing is stored: a request carries its conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from pydantic import Field

from coordkit.serve.answers import Ask, Reply, Said
from coordkit.serve.chat import Function, NamedSchema, Wire, pieces, to_messages
from coordkit.serve.errors import ApiError
from coordkit.serve.schemas import Json


class Tool(Function):
    """A tool on offer, or the one that must be called."""

    type: Literal["function"]


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
    tool_choice: Literal["none", "auto", "required"] | Tool | None = None
    text: Text | None = None
    stream: bool | None = None
    background: Literal[False] | None = None


def parse(raw: Json) -> Ask:
    """Read a request; see `coordkit.serve.chat.parse`."""
    for name in ("previous_response_id", "conversation"):
        if raw.get(name) is not None:
            message = f"{name}: nothing is stored here; send the whole conversation as input"
            raise ApiError(400, message, "unsupported_parameter", name)
    body = Body.read(raw)
    system = [{"role": "system", "content": body.instructions}] if body.instructions else []
    asked = body.input
    heard = [{"role": "user", "content": asked}] if isinstance(asked, str) else _as_chat(asked)
    wanted, choice = body.text and body.text.format, body.tool_choice or "auto"
    return Ask(
        to_messages([*system, *heard]),
        [tool.model_dump(exclude_unset=True, exclude={"type"}) for tool in body.tools or []],
        wanted.as_function() if wanted and wanted.type != "text" else None,
        choice if isinstance(choice, str) else choice.name,
    )


def _as_chat(items: Sequence[Item]) -> Iterator[Json]:
    """The items as messages of a chat; calls that follow each other are one turn's."""
    for kind, group in groupby(items, key=lambda item: item.type):
        if kind == "function_call":
            calls = [
                {
                    "id": i.call_id or "",
                    "function": {"name": i.name or "", "arguments": i.arguments or ""},
                }
                for i in group
            ]
            yield {"role": "assistant", "tool_calls": calls}
        elif kind == "function_call_output":
            for item in group:
                yield {
                    "role": "tool",
                    "content": _words(item.output),
                    "tool_call_id": item.call_id or "",
                }
        elif kind == "message":
            yield from ({"role": item.role, "content": _words(item.content)} for item in group)
        elif kind != "reasoning":
            message = f"input items of type '{kind}' are not supported"
            raise ApiError(400, message, "unsupported", "input")


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
    unset = ("error", "incomplete_details", "instructions", "metadata", "temperature", "top_p")
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": model,
        "output": output,
        **dict.fromkeys(unset),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": sent,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sent + written,
        },
    }


def events(whole: Json, raw: Json) -> Iterator[str]:
    """A reply as the server-sent events of a stream; see `coordkit.serve.chat.events`."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    every: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for i, item in enumerate(whole["output"]):
        every += _item_events(i, item)
    every.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(every):
        data = json.dumps({**event, "sequence_number": number})
        yield f"event: {event['type']}\ndata: {data}\n\n"


def _item_events(i: int, item: Json) -> Iterator[Json]:
    at = {"item_id": item.get("id"), "output_index": i}
    empty = {k: v for k, v in {"arguments": "", "content": []}.items() if k in item}
    begun = {**item, **empty, "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": i, "item": begun}
    if item["type"] == "function_call":
        call = {**at, "name": item["name"]}
        yield from _spoken("response.function_call_arguments", call, "arguments", item)
    for j, block in enumerate(item.get("content") or []):
        if block["type"] == "output_text":
            part = {**at, "content_index": j}
            empty = {**block, "text": ""}
            yield {"type": "response.content_part.added", **part, "part": empty}
            yield from _spoken("response.output_text", {**part, "logprobs": []}, "text", block)
            yield {"type": "response.content_part.done", **part, "part": block}
    yield {"type": "response.output_item.done", "output_index": i, "item": item}


def _spoken(kind: str, at: Json, key: str, said: Json) -> Iterator[Json]:
    for piece in pieces(said[key]):
        yield {"type": f"{kind}.delta", **at, "delta": piece}
    yield {"type": f"{kind}.done", **at, key: said[key]}


def said(whole: Json) -> list[Said]:
    """Where a reply says something, for faults to hit."""
    found: list[Said] = []
    for item in whole["output"]:
        if item["type"] == "function_call":
            found.append((item, "arguments"))
        elif item["type"] == "message":
            blocks = item["content"]
            found += [(b, "text") for b in blocks if b["type"] == "output_text"]
    return found
