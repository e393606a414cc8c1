"""The forms in which a model can be asked for an answer, and which of them it understands.

The layers always ask in one way: with tools, one of which must be called; a response schema is a
tool too. Endpoints differ in what they support, so what is sent is one of three forms of the
same request. Which one is found out by trying, never by a provider's name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.utils.function_calling import (
    convert_to_json_schema,
    convert_to_openai_tool,
)

from coordkit.cases.base import Step, StepAnswer
from coordkit.layers.planning import describe, plan_schema
from coordkit.prompt import Request, write_prompt

SCHEMA = "json_schema"  # the endpoint holds the reply to the schema; for answers without look-ups
TOOLS = "function_calling"
PLAIN = "plain_json"  # the schema stands in the prompt, the JSON is read from the text
ANSWER_FORMS = (SCHEMA, TOOLS, PLAIN)
LOOKUP_FORMS = (TOOLS, PLAIN)

Tool = dict[str, Any]  # as the chat-completions interface writes one

_ONE = "Answer with one JSON object that fits this JSON schema, and nothing else:\n"
_MANY = (
    'Answer with one JSON object {"tool": NAME, "arguments": {...}} and nothing else. The tools, '
    "with the JSON schema of each one's arguments:\n"
)
_REPAIR = "That could not be read as the JSON object that was asked for. Send only that object."


def send(
    inner: BaseChatModel,
    form: str,
    messages: Sequence[BaseMessage],
    tools: Sequence[Tool],
    **options: Any,
) -> AIMessage:
    """Send one request in one form and return the model's message as it came.

    In a context of its own: who listens to the whole turn is not to hear its parts as well.

    Args:
        inner: the model.
        form: one of the three.
        messages: the conversation.
        tools: on offer; a response schema is one too.
        options: what else the model takes with a call, such as ``extra_headers``.
    """

    def sent() -> AIMessage:
        if form == TOOLS:
            return inner.bind_tools(tools, tool_choice="any", **options).invoke(messages)
        if form == PLAIN:
            return inner.invoke(in_words(messages, tools), **options)
        schema = convert_to_json_schema(tools[0])
        asked = inner.with_structured_output(
            schema, method="json_schema", include_raw=True, **options
        )
        found: Any = asked.invoke(messages)
        raw: AIMessage = found["raw"]
        return raw

    return Context().run(sent)


def in_words(messages: Sequence[BaseMessage], tools: Sequence[Tool]) -> list[BaseMessage]:
    """A conversation with its tools written out, for a model that knows only text."""
    functions = [tool["function"] for tool in tools]
    if not functions:
        return list(messages)
    written: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage) and message.tool_calls:
            calls = [{"tool": c["name"], "arguments": c["args"]} for c in message.tool_calls]
            written += [AIMessage(json.dumps(call, ensure_ascii=False)) for call in calls]
        elif isinstance(message, ToolMessage):
            written.append(HumanMessage(f"The tool's result:\n{message.text}"))
        else:
            written.append(message)
    rules, shown = (_ONE, functions[0]["parameters"]) if len(functions) == 1 else (_MANY, functions)
    told = f"{written[0].text}\n\n{rules}{json.dumps(shown, ensure_ascii=False)}"
    return [written[0].model_copy(update={"content": told}), *written[1:]]


def read(form: str, reply: AIMessage, tools: Sequence[Tool]) -> AIMessage:
    """A reply as a call of one of the tools, whatever form it came in.

    What cannot be read stays as it is: without a tool call it counts as a malformed answer.
    """
    if form == TOOLS:
        # A half-readable reply goes on with its readable calls: each call needs a result.
        half = reply.tool_calls and reply.invalid_tool_calls
        update: dict[str, Any] = {"invalid_tool_calls": [], "additional_kwargs": {}} if half else {}
    else:
        call = read_call(str(reply.text), [tool["function"]["name"] for tool in tools])
        update = {"content": "", "tool_calls": [call]} if call else {}
    return reply.model_copy(update=update)


def read_call(text: str, names: Sequence[str]) -> dict[str, Any] | None:
    """The call that a text makes of one of these tools, None if it makes none.

    With one tool the first JSON object in the text is its arguments; with several it names one.
    """
    found = first_object(text)
    if found is None:
        return None
    name, arguments = found.get("tool"), found.get("arguments")
    if len(names) == 1:
        name, arguments = names[0], found
    if name not in names or not isinstance(arguments, dict):
        return None
    return {"name": name, "args": arguments, "id": "call_0", "type": "tool_call"}


def first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, prose and code fences around it ignored."""
    decoder, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(text, start)
            return found if isinstance(found, dict) else None
        except (json.JSONDecodeError, RecursionError):
            start = text.find("{", start + 1)
    return None


def repair(messages: Sequence[BaseMessage], reply: AIMessage) -> list[BaseMessage]:
    """The conversation that asks once more for an answer that could not be read."""
    return [*messages, AIMessage(str(reply.text) or "(nothing)"), HumanMessage(_REPAIR)]


# --- the probe -----------------------------------------------------------------------------------


def probe(attempt: int) -> tuple[list[BaseMessage], list[Tool]]:
    """A tiny request that shows whether a form works: put two steps in order.

    The simulated model knows this schema too, so that its endpoint passes the probe.
    """
    names = [("read", "write"), ("collect", "answer")][attempt % 2]
    steps = [Step(names[0], StepAnswer, ""), Step(names[1], StepAnswer, "", needs=(names[0],))]
    instruction = "Put these steps in an order in which every step comes after those it needs:\n"
    request = Request("coordkit/probe", "planner", attempt=attempt + 1)
    tool = convert_to_openai_tool(plan_schema(steps))
    return write_prompt(instruction + describe(steps), request), [tool]


def fits(reply: AIMessage, tools: Sequence[Tool]) -> bool:
    """Whether a reply to the probe calls the tool with its argument; the order may be wrong."""
    function = tools[0]["function"]
    wanted = set(function["parameters"]["properties"])
    return any(c["name"] == function["name"] and wanted <= set(c["args"]) for c in reply.tool_calls)
