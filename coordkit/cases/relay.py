"""The relay: a synthetic case of n steps, to hold real graphs against the formulas.

Each step copies a code from the step before. Any slip changes the code, nothing else can go wrong
and nothing repairs it: what is measured is the compounding itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, create_model

from coordkit.cases.base import Case, Check, Row, Step, StepAnswer, Task, Tool
from coordkit.environment import Environment
from coordkit.prompt import Answer, Prompt
from coordkit.simulated import Skill

COPY_ONLY = {"invented_reference": 1.0}  # it always changes a code, and no second one undoes it


class Relay(Case):
    """A chain of copying steps.

    Args:
        steps: number of steps, 1 or more.
        tasks: number of tasks.

    Use it with ``Simulation(mix=COPY_ONLY)``: then a step is right with probability p exactly.
    """

    name = "relay"
    approval_limit = 0.0

    def __init__(self, steps: int = 6, tasks: int = 300) -> None:
        names = [f"copy{chr(ord('a') + i)}" for i in range(steps)]
        self.steps = tuple(_step(names, i) for i in range(steps))
        self.tasks = [_task(i) for i in range(tasks)]

    def environment(self, path: Path | None = None) -> Environment:
        return Environment({"codes": pd.DataFrame({"code_id": ["none"]})}, {}, path)

    def tools(self, environment: Environment) -> dict[str, Tool]:
        return {}

    def checks(self) -> Mapping[str, Sequence[Check]]:
        return {}

    def skills(self) -> dict[str, Skill]:
        return {step.schema.__name__: _copy for step in self.steps}

    def actions(self, answer: Answer) -> list[Row]:
        return [("code", "", 0, answer["code"])]

    def reference(self, task: Task) -> Answer:
        return {"code": task.labels["code"], "sources": []}

    def wrong(self, task: Task, actions: Sequence[Row]) -> str:
        return "" if [row[3] for row in actions] == [task.labels["code"]] else "wrong code"


def _step(names: Sequence[str], i: int) -> Step:
    description = "The code, copied character by character."
    fields: dict[str, Any] = {"code": (str, Field(description=description))}
    schema = create_model(names[i].capitalize(), __base__=StepAnswer, **fields)
    needs = (names[i - 1],) if i else ()
    return Step(names[i], schema, "Copy the code you are given.", needs, reads_task=not i)


def _task(i: int) -> Task:
    code = f"CODE-{(i * 7919 + 12345) % 10**6:06d}"
    return Task(id=f"code-{i:05d}", fields={"code": code}, key=str(i), labels={"code": code})


def _copy(prompt: Prompt) -> Answer:
    seen = [prompt.task, *prompt.answers.values()]
    codes = [str(found.get("code", "")) for found in seen if found]
    if not codes:
        prompt.guess("code")
    return {"code": codes[-1] if codes else "", "sources": []}
