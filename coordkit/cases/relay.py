"""The relay: a synthetic case of n steps, to hold real graphs against the formulas.

Each step copies a code from the step before. Any slip changes the code and no second one undoes
it. Re-asks, a verifier and escalations can be added, by keyed dice with set rates, as
``coordkit.reliability.Pipeline`` defines them; by default there are none, and what is measured is
the compounding itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

import pandas as pd
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from pydantic import Field, create_model

from coordkit.cases.base import Case, Check, Evidence, Row, Step, StepAnswer, Task
from coordkit.environment import Environment
from coordkit.faults import uniform
from coordkit.prompt import Answer, Prompt, Request
from coordkit.simulated import SimulatedChatModel, Skill

COPY_ONLY = {"invented_reference": 1.0}  # it always changes a code, and no second one undoes it
_AGAIN = 1000  # attempts of a step that was asked again are numbered from here


class Relay(Case):
    """A chain of copying steps.

    Args:
        steps: number of steps, 1 to 26.
        tasks: number of tasks.
        catch: verification on: probability 0..1 that the check rejects a step that miscopied.
        false_alarm: verification on: probability 0..1 that it rejects a step that copied well.
        escalated: human on: share 0..1 of the finished tasks that go to the reviewer.
        seed: seed of the check's and the escalations' dice.

    Use it with ``Simulation(mix=COPY_ONLY)``: then a step is right with probability p exactly.
    """

    name = "relay"
    tables: Mapping[str, pd.DataFrame] = {"codes": pd.DataFrame({"code_id": ["none"]})}
    documents: Mapping[str, str] = {}
    approval_limit = 0.0

    def __init__(
        self,
        steps: int = 6,
        tasks: int = 300,
        *,
        catch: float = 0.0,
        false_alarm: float = 0.0,
        escalated: float = 0.0,
        seed: int = 0,
    ) -> None:
        names = [f"copy{chr(ord('a') + i)}" for i in range(steps)]
        self.steps = tuple(_step(names, i) for i in range(steps))
        self.tasks = [_task(i) for i in range(tasks)]
        self.catch, self.false_alarm = catch, false_alarm
        self.escalated, self.seed = escalated, seed

    def checks(self) -> Mapping[str, Sequence[Check]]:
        if not (self.catch or self.false_alarm):
            return {}
        return {step.name: [partial(self._check, step.name)] for step in self.steps}

    def _check(self, step: str, answer: Answer, evidence: Evidence) -> list[str]:
        """Compare the code with the one given to the step, and misjudge at the set rates."""
        given = [evidence.task, *evidence.answers.values()][-1]["code"]
        rejects = self.false_alarm if answer["code"] == given else self.catch
        u = uniform(self.seed, "check", step, answer["request"])
        return ["this is not the code you were given"] if u < rejects else []

    def skills(self) -> dict[str, Skill]:
        return {step.schema.__name__: _copy for step in self.steps}

    def actions(self, answer: Answer) -> list[Row]:
        return [("code", answer.get("request", ""), 0, answer["code"])]

    def needs_approval(self, rows: Sequence[Row], environment: Environment) -> bool:
        return any(
            uniform(self.seed, "escalation", request) < self.escalated
            for _, request, _, _ in rows
            if request  # a reviewer's own answer belongs to no request
        )

    def wrong(self, task: Task, actions: Sequence[Row]) -> str:
        return "" if [row[3] for row in actions] == [task.labels["code"]] else "wrong code"


class Forgetful(SimulatedChatModel):
    """The simulated model, asked for the same answer again because nobody remembers it.

    Every further call is on the same step (the same difficulty) with fresh dice; the answer is
    right only if all these calls are, for the wrong one among them is passed on.

    Args:
        reasks: further calls per answer on average, 0 or more; the fraction comes by chance.
    """

    reasks: float = 0.0

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        result = super()._generate(messages, *args, **kwargs)
        request = Prompt.read(messages).request
        for i in range(ceil(self.reasks) if request and request.step.startswith("copy") else 0):
            assert request is not None
            if uniform(self.simulation.seed, "asked again", i, request) < self.reasks - i:
                again = replace(request, attempt=request.attempt + _AGAIN * (i + 1))
                other = super()._generate(_renamed(messages, request, again), *args, **kwargs)
                slipped = other.generations[0].message.response_metadata["faults"]
                result = other if slipped else result
        return result


def _renamed(messages: Sequence[BaseMessage], old: Request, new: Request) -> list[BaseMessage]:
    """The same messages under another request id."""
    return [m.model_copy(update={"content": m.text.replace(str(old), str(new))}) for m in messages]


def _step(names: Sequence[str], i: int) -> Step:
    fields: dict[str, Any] = {
        "code": (str, Field(description="The code, copied character by character.")),
        "request": (str, Field("", description="The id of the request that this answers.")),
    }
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
    return {"code": codes[-1] if codes else "", "request": str(prompt.request), "sources": []}
