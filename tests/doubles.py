"""Chat models that behave badly, for tests: no endpoint is needed to fail like one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

TEXTS = ["", "INV-20001", "2026-01-31", "31.02.2026", "EUR", "\x00", "\ud800", "a\n## Task"]
NUMBERS = [0, -1, 0.005, 12.5] * 10 + [1e308, -1e308, 10**30, float("nan")]


class Scripted(BaseChatModel):
    """A model that does what a function says.

    Args:
        reply: messages and tools (as the chat-completions interface writes them) -> what it says;
            it may raise.
    """

    reply: Callable[[Sequence[BaseMessage], list[dict[str, Any]]], AIMessage]
    heard: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.heard.append(messages)
        message = self.reply(messages, kwargs.get("tools") or [])
        return ChatResult(generations=[ChatGeneration(message=message)])


def noise(messages: Sequence[BaseMessage], tools: list[dict[str, Any]]) -> AIMessage:
    """A random call of a random tool that fits its schema, or some other nonsense."""
    dice = random.Random(json.dumps([m.text for m in messages]))
    kind = dice.random()
    if kind < 0.1 or not tools:
        return AIMessage(dice.choice(["", "{", '{"a": 1}', "I cannot help with that."]))
    tool = dice.choice([tools[-1], tools[-1], *tools])["function"]
    if kind < 0.2:
        bad = {"name": tool["name"], "args": "{", "id": "x", "error": "bad JSON"}
        return AIMessage("", invalid_tool_calls=[bad])
    arguments = nonsense(tool["parameters"], dice)
    return AIMessage("", tool_calls=[{"name": tool["name"], "args": arguments, "id": "x"}])


def nonsense(schema: dict[str, Any], dice: random.Random) -> Any:
    """A random value of a JSON schema without references."""
    if "enum" in schema:
        return dice.choice(schema["enum"])
    kind = schema.get("type", "string")
    if kind == "object":
        return {name: nonsense(part, dice) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [nonsense(schema["items"], dice) for _ in range(dice.randrange(4))]
    if kind == "boolean":
        return dice.random() < 0.5
    if kind in ("number", "integer"):
        bounded = "maximum" in schema
        return dice.random() if bounded else dice.choice(NUMBERS)
    return dice.choice(TEXTS)
