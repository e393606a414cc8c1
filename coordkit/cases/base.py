"""What a case is: its steps, tools, checks, actions and grader. A new case is one file."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field, model_validator

from coordkit.environment import Environment
from coordkit.prompt import Answer

FOUND = 3  # most records and documents that the usual look-up returns
MOST = 10**12  # largest number in an answer; its cents still fit a database's integer
FIGURE = r"\d[\d.,]*(?<=\d)"  # in what rules say in words
LIMIT = re.compile(
    rf"Refunds above (?:[A-Z]{{3}} ?|[€£$] ?)?({FIGURE})(?: ?[A-Z]{{3}}| ?[€£$])? need",
    re.IGNORECASE,
)


def figure(text: str) -> Decimal:
    """A figure as people write it: 1,250.00 and 1.250,00 and 1.250 are one, 2,5 is two and a half.

    A mark with three digits behind it separates thousands; with others, the last is the decimal's.
    """
    whole, mark, rest = re.fullmatch(r"(.*?)(?:([.,])(\d{1,2}|\d{4,}))?", text).groups()  # type: ignore[union-attr]
    return Decimal(re.sub(r"[.,]", "", whole) + (f".{rest}" if mark else ""))


def read_limit(rules: str, usual: float) -> float:
    """The refund above which rules want a person; the usual one where they name none."""
    limit = LIMIT.search(rules)
    return float(figure(limit.group(1))) if limit else usual


def days_between(first: str, last: str) -> int | None:
    """Days from one date to another, both YYYY-MM-DD; None where either is none."""
    try:
        return (date.fromisoformat(last) - date.fromisoformat(first)).days
    except ValueError:
        return None


def by_id(table: pd.DataFrame) -> dict[str, dict[Any, str]]:
    """The rows of a table as text, by its first column."""
    return {row[table.columns[0]]: row for row in table.astype(str).to_dict("records")}


class StepAnswer(BaseModel):
    """What every step's answer has besides its own fields."""

    sources: list[str] = Field(
        default_factory=list,
        description="The ids in square brackets of the records and documents that you relied on.",
    )
    confidence: float = Field(
        default=0.5, ge=0, le=1, description="How sure you are that this answer is right, 0 to 1."
    )

    @model_validator(mode="before")
    @classmethod
    def _sane_numbers(cls, answer: Any) -> Any:
        """Reject what JSON readers let through and no ledger takes: NaN, and endless amounts."""
        if any(not abs(number) <= MOST for number in _numbers(answer)):
            raise ValueError(f"numbers must lie between -{MOST:,} and {MOST:,}")
        return answer


def _numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value, however deep."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(part)


@dataclass(frozen=True)
class Step:
    """One thing that an agent must produce.

    Args:
        name: name of the step and of its agent.
        schema: the response schema.
        instruction: what to do, for a model or a person.
        needs: earlier steps whose answers this one works from.
        tools: names of the look-up tools of this step's agent.
        reads_task: whether the agent is handed the task itself; others work from answers.
    """

    name: str
    schema: type[StepAnswer]
    instruction: str
    needs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    reads_task: bool = False


@dataclass(frozen=True)
class Task:
    """One unit of work.

    Args:
        id: unique within the case.
        fields: what the model may be shown of it.
        key: idempotency key: two deliveries of the same work share it.
        labels: the right outcome; only the grader and the simulated reviewer read it.
        repeated: whether an earlier task of the feed has the same key.
    """

    id: str
    fields: Mapping[str, Any]
    key: str
    labels: Mapping[str, Any] = field(repr=False)
    repeated: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a check may look at besides the answer: never a label.

    Args:
        task: the task's fields.
        answers: the earlier answers that the agent worked from.
        seen: source ids of the records and documents that the agent was shown.
        environment: the database behind the tools.
    """

    task: Mapping[str, Any]
    answers: Mapping[str, Answer]
    seen: frozenset[str]
    environment: Environment


Row = tuple[str, str, int, str]  # (account, reference, cents, note): one action in the environment
Check = Callable[[Answer, Evidence], Sequence[str]]
Tool = Callable[..., str]


class Case(ABC):
    """A workflow with its data, environment, steps, tools and grader.

    Attributes:
        name: the case's name in the command line and in results.
        steps: the steps, in the order of the written workflow.
        tables: record kind -> DataFrame, what can be looked up; the first column is the id.
        documents: source id -> text.
        tasks: the tasks, in the order of the feed.
        approval_limit: money (in the case's main currency) above which an action that cannot be
            undone needs a person's approval.
        pays_out: the account of actions that send money out of the house for good.
        left_out: how many tasks of the data have no labels and are not among ``tasks``.
    """

    name: str
    steps: tuple[Step, ...]
    tables: Mapping[str, pd.DataFrame]
    documents: Mapping[str, str]
    tasks: Sequence[Task]
    approval_limit: float
    pays_out: str = "refund"
    left_out: int = 0

    def environment(self, path: Path | None = None) -> Environment:
        """A fresh environment with this case's data, in memory or in a file."""
        return Environment(self.tables, self.documents, path) if path else self._loaded.copy()

    @cached_property
    def _loaded(self) -> Environment:
        return Environment(self.tables, self.documents)

    def tools(self, environment: Environment) -> dict[str, Tool]:
        """Look-up tools by name: typed functions with docstrings that return records.

        A case that names none of its own has ``search``, over everything in its environment.
        """

        def search(text: str) -> str:
            """Find the records and documents that share words with a text, best first."""
            return "\n".join(environment.search(text, FOUND))

        return {"search": search}

    @abstractmethod
    def checks(self) -> Mapping[str, Sequence[Check]]:
        """Referential, arithmetic and policy checks per step."""

    @abstractmethod
    def skills(self) -> dict[str, Any]:
        """Schema name -> the simulated model's competence: a function of the prompt alone."""

    @abstractmethod
    def actions(self, answer: Answer) -> list[Row]:
        """What the last step's answer does: (account, reference, cents, note) rows to write."""

    def money_out(self, rows: Sequence[Row]) -> int:
        """Cents that actions send out of the house for good."""
        return sum(cents for account, _, cents, _ in rows if account == self.pays_out)

    def needs_approval(self, rows: Sequence[Row], environment: Environment) -> bool:
        """Whether actions need a person; below the limit an ``if`` statement suffices."""
        return self.money_out(rows) > round(self.approval_limit * 100)

    def reference(self, task: Task) -> Answer:
        """The last step's right answer, for the grader and the reviewer; the labels as they are."""
        return {**task.labels, "sources": []}

    def wrong(self, task: Task, actions: Sequence[Row]) -> str:
        """What is wrong with what was done for a task, in one term; empty if it is right.

        Right is what the reference answer does, once; a case may tell more finely.
        """
        right = [] if task.repeated else self.actions(self.reference(task))
        if sorted(actions) == sorted(right):
            return ""
        return "done twice" if task.repeated else "wrong outcome" if actions else "nothing done"

    def step(self, name: str) -> Step:
        """A step by name.

        Raises:
            KeyError: if the case has no such step.
        """
        return {step.name: step for step in self.steps}[name]
