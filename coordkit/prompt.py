"""The prompt: what an agent sends to a model, and how the simulated model reads it back.

An agent's knowledge reaches the model through these sections and nothing else. Records and task
fields are JSON, so that no text in a customer's message can pass itself off as a section.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

Answer = dict[str, Any]

# json.dumps(..., ensure_ascii=False) makes an encoder at each call.
as_json = json.JSONEncoder(ensure_ascii=False).encode

_SECTIONS = ("Request", "Task", "From earlier steps", "Records and documents", "Critique")
_HEADING = re.compile(rf"^## ({'|'.join(_SECTIONS)})\n", re.MULTILINE)
_SOURCE = re.compile(r"^\[([\w.-]+/[^\]\n]+)\] ?", re.MULTILINE)
_INDENTED = r" \g<0>"
_REQUEST = re.compile(r"^(.+)/trial-(\d+)/(\w+)/attempt-(\d+)/delivery-(\d+)$")


@dataclass(frozen=True)
class Request:
    """Names one model request, as a tracing header would; it also keys the simulated dice.

    Args:
        task: case and task, such as ``billing/BNK-000017``.
        step: the step asked for.
        trial: 0-based trial of the task.
        attempt: 1-based count of answers asked of this step in this trial.
        delivery: 1-based count of times this attempt was sent (a transport retry sends it again).
    """

    task: str
    step: str
    trial: int = 0
    attempt: int = 1
    delivery: int = 1

    def __str__(self) -> str:
        return (
            f"{self.task}/trial-{self.trial}/{self.step}"
            f"/attempt-{self.attempt}/delivery-{self.delivery}"
        )

    @classmethod
    def parse(cls, text: str) -> Request | None:
        """Read a request from its written form; None if the text is no request."""
        match = _REQUEST.match(text.strip())
        if match is None:
            return None
        task, trial, step, attempt, delivery = match.groups()
        return cls(task, step, int(trial), int(attempt), int(delivery))


def write_record(source: str, body: str | Mapping[str, Any]) -> str:
    """One record or document with its source id in front, as models and people read it.

    Lines of a document that look like a section or a source are indented, so that they are not.
    """
    if not isinstance(body, str):
        return f"[{source}] {json.dumps(body, ensure_ascii=False)}"
    return f"[{source}] {_SOURCE.sub(_INDENTED, _HEADING.sub(_INDENTED, body))}"


@lru_cache(maxsize=4096)
def read_records(text: str) -> tuple[tuple[str, Any], ...]:
    """The (source, body) pairs in a text; a body is a dict for a record, a str for a document."""
    marks = list(_SOURCE.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    pairs = []
    for mark, end in zip(marks, ends, strict=False):
        body = text[mark.end() : end].strip()
        pairs.append((mark.group(1), _read_body(body)))
    return tuple(pairs)


def _read_body(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith("{") else text
    except json.JSONDecodeError:  # a document that begins with a brace
        return text


def write_prompt(
    instruction: str,
    request: Request,
    *,
    task: Mapping[str, Any] | None = None,
    answers: Mapping[str, Answer] | None = None,
    records: str = "",
    critique: str = "",
) -> list[BaseMessage]:
    """Compose the messages of one model request.

    Args:
        instruction: what to do, in plain words (the system message).
        request: identifies the request.
        task: the task's own fields, when this step is shown them.
        answers: what earlier steps answered, by step.
        records: records and documents, written with ``write_record``, one per line.
        critique: what a verifier found wrong with the previous answer.
    """
    contents = {
        "Request": str(request),
        "Task": as_json(task) if task is not None else "",
        "From earlier steps": "\n".join(
            f"{step}: {as_json(answer)}" for step, answer in (answers or {}).items()
        ),
        "Records and documents": records,
        "Critique": critique,
    }
    body = "\n\n".join(f"## {name}\n{text}" for name, text in contents.items() if text)
    return [SystemMessage(instruction), HumanMessage(body)]


def text_of(message: BaseMessage) -> str:
    """The text of a message; LangChain's own accessor is slow for the usual plain string."""
    return message.content if isinstance(message.content, str) else str(message.text)


@dataclass
class Prompt:
    """What a model can see of one request, read back from its messages.

    Attributes:
        request: which request this is, if the prompt says so.
        instruction: the system text.
        task: the task's fields, empty if not shown.
        answers: earlier steps' answers that were passed on.
        records: every record or document shown, by source id (tool results included).
        critique: the verifier's objections to the previous answer.
        tools: names of the look-up tools on offer.
        rounds: how many rounds of tool results are in the conversation.
        guessed: what the reader had to guess, noted by the skills.
    """

    request: Request | None
    instruction: str = ""
    task: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    critique: str = ""
    tools: frozenset[str] = frozenset()
    rounds: int = 0
    text: str = ""
    guessed: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, messages: Sequence[BaseMessage], tools: Iterable[str] = ()) -> Prompt:
        """Read a conversation; text outside the known sections is kept in ``text`` only."""
        system = "\n".join(text_of(m) for m in messages if isinstance(m, SystemMessage))
        human = "\n".join(text_of(m) for m in messages if isinstance(m, HumanMessage))
        results = [text_of(m) for m in messages if isinstance(m, ToolMessage)]
        parts = _HEADING.split(human)
        sections = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
        records: dict[str, Any] = {}
        for block in (sections.get("Records and documents", ""), *results):
            records.update(read_records(block))
        answers = {}
        for line in filter(None, sections.get("From earlier steps", "").split("\n")):
            step, _, answer = line.partition(": ")
            answers[step] = json.loads(answer)
        calls = [m for m in messages if isinstance(m, AIMessage) and m.tool_calls]
        return cls(
            request=Request.parse(sections.get("Request", "")),
            instruction=system,
            task=json.loads(sections["Task"]) if "Task" in sections else {},
            answers=answers,
            records=records,
            critique=sections.get("Critique", ""),
            tools=frozenset(tools),
            rounds=len(calls),
            text="\n".join([human, *results]),
        )

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The records of one kind, such as ``invoices``, in the order shown."""
        start = kind + "/"
        return [r for s, r in self.records.items() if s.startswith(start) and isinstance(r, dict)]

    def document(self, source: str) -> str:
        """A document's text, empty if it is not in the prompt."""
        body = self.records.get(source, "")
        return body if isinstance(body, str) else ""

    def needed(self, *steps: str) -> list[Answer]:
        """Earlier steps' answers; one that is not in the prompt is empty, and a guess."""
        for step in steps:
            if step not in self.answers:
                self.guess(step)
        return [self.answers.get(step, {}) for step in steps]

    def guess(self, what: str) -> None:
        """Note that something needed was not in the prompt and had to be guessed."""
        self.guessed.append(what)
