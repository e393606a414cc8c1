"""Layer 3, execution: who does a step, with which tools, and what a failed call costs.

Off: one generalist prompt asks for every answer at once, without tools or retries. On: one
specialist per step with its own tools, and LangGraph retries what transport loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import RetryPolicy
from pydantic import BaseModel, ValidationError, create_model

from coordkit.cases.base import Step
from coordkit.layers.context import ToolBox
from coordkit.prompt import Answer, read_records

GENERALIST = "generalist"
_RETRYABLE_STATUS = {408, 409, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Turn:
    """What came of asking a model.

    Attributes:
        answer: the answer, or None if it did not fit the schema.
        problem: why there is no answer.
        seen: source ids of the records that tools returned.
    """

    answer: Answer | None
    problem: str = ""
    seen: frozenset[str] = frozenset()


def is_transient(error: Exception) -> bool:
    """Whether an error is transport's, so that sending the same request again may help."""
    kinds = [kind.__name__ for kind in type(error).__mro__]  # clients have classes of their own
    if any("Connection" in kind or "Timeout" in kind for kind in kinds):
        return True
    return getattr(error, "status_code", None) in _RETRYABLE_STATUS


def retry_policy(attempts: int, wait: float) -> RetryPolicy:
    """LangGraph's retries for transport faults only; wrong answers are not its business.

    Args:
        attempts: deliveries of one request, the first included.
        wait: seconds before the first retry, doubled each time; 0 with a simulated model.
    """
    return RetryPolicy(
        max_attempts=attempts, initial_interval=wait, jitter=wait > 0, retry_on=is_transient
    )


def generalist_schema(steps: Sequence[Step]) -> type[BaseModel]:
    """One response schema that asks for every step's answer."""
    fields: dict[str, Any] = {step.name: (step.schema, ...) for step in steps}
    return create_model("AllSteps", __doc__="The answers to all steps, in order.", **fields)


def generalist_instruction(steps: Sequence[Step]) -> str:
    """All the steps' instructions in one prompt."""
    return "\n".join(f"{step.name}: {step.instruction}" for step in steps)


@cache
def _as_tool(schema: type[BaseModel]) -> dict[str, Any]:
    """A response schema as a tool; worth keeping, for it takes a millisecond to work out."""
    return convert_to_openai_tool(schema)


def ask(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    schema: type[BaseModel],
    tools: Sequence[str] = (),
    toolbox: ToolBox | None = None,
    rounds: int = 3,
) -> Turn:
    """Ask a model for one answer, letting it call look-up tools first.

    Args:
        model: any LangChain chat model that can bind tools.
        messages: the prompt.
        schema: the response schema, offered to the model as the tool that ends the turn.
        tools: names of the look-up tools on offer.
        toolbox: where the tools run.
        rounds: rounds of look-ups allowed before the turn counts as failed.
    """
    offers: list[Any] = [toolbox.schemas[name] for name in tools] if toolbox else []
    bound = model.bind_tools([*offers, _as_tool(schema)], tool_choice="any")
    conversation, seen = list(messages), set[str]()
    for _ in range(rounds + 1):
        reply: AIMessage = bound.invoke(conversation)
        submitted = [c for c in reply.tool_calls if c["name"] == schema.__name__]
        if submitted:
            return _validated(submitted[0]["args"], schema, frozenset(seen))
        if not reply.tool_calls or toolbox is None:
            return Turn(None, "the output is not valid JSON for the schema", frozenset(seen))
        conversation.append(reply)
        for call in reply.tool_calls:
            result = toolbox.call(call["name"], call["args"])
            seen.update(source for source, _ in read_records(result))
            conversation.append(ToolMessage(result or "no results", tool_call_id=call["id"]))
    return Turn(None, "no answer within the allowed rounds of tool calls", frozenset(seen))


def _validated(arguments: Answer, schema: type[BaseModel], seen: frozenset[str]) -> Turn:
    try:
        return Turn(schema.model_validate(arguments).model_dump(), seen=seen)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Turn(None, f"the output does not fit the schema at {where}: {first['msg']}", seen)
