"""Exercises of notebook 02: what can start, mending a plan, and a loop that ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, permutations
from typing import Any, TypedDict

from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph

from coordkit.cases.base import Step, StepAnswer
from coordkit.cases.billing import STEPS as BILLING
from coordkit.cases.support import STEPS as SUPPORT
from coordkit.exercises import exercise
from coordkit.layers.planning import check_plan

_DIAMOND = [
    Step(name, StepAnswer, "", needs=tuple(needs))
    for name, needs in {"a": "", "b": "a", "c": "a", "d": "bc"}.items()
]
_WORKFLOWS: tuple[Sequence[Step], ...] = (_DIAMOND, BILLING, SUPPORT)


@exercise(
    hints=(
        "Every step has a name and needs, a tuple of names.",
        "set(step.needs) <= done is true if all of them are done.",
    ),
    cases=[
        (f"needs { ({s.name: s.needs for s in steps}) }, done {done}", steps, set(done))
        for steps in _WORKFLOWS
        for done in ([s.name for s in steps[:n]] for n in range(len(steps) + 1))
    ],
)
def ready_steps(steps, done: set[str]) -> list[str]:
    """Names of the steps that are not done and whose needs all are, in the order of `steps`."""
    return [s.name for s in steps if s.name not in done and set(s.needs) <= done]


def _judge_mend(mend: Callable[[list[str], Sequence[Step]], list[str]]) -> str:
    dice = random.Random(3)
    for steps in _WORKFLOWS:
        names = [s.name for s in steps]
        plans = [list(p) for p in permutations(names)][:: 1 if len(names) < 5 else 37]
        plans += [[], names[1:], [*names, names[0]], ["lunch", *names]]
        plans += [dice.choices(names, k=dice.randint(1, 8)) for _ in range(20)]
        for plan in plans:
            got = mend(list(plan), steps)
            if not isinstance(got, list):
                return f"return a list of names, not {got!r}"
            if extra := [name for name in got if name not in names]:
                return f"{plan} became {got}, but {extra[0]} is no step of the workflow"
            if problems := check_plan(got, steps):
                return f"{plan} became {got}: {problems[0]}"
            if not check_plan(plan, steps) and set(plan) == set(names) and got != plan:
                return f"{plan} was right and must stay as it is, not become {got}"
    return ""


@exercise(
    hints=(
        "First drop doubles and strangers, and add what is missing at the end.",
        "dict.fromkeys keeps the order and drops doubles.",
        "Then take, again and again, the first waiting step whose needs are all placed.",
    ),
    judge=_judge_mend,
)
def mend_plan(plan: list[str], steps) -> list[str]:
    """A plan that passes check_plan; a right one is returned as it is."""
    needs = {s.name: set(s.needs) for s in steps}
    waiting = [n for n in dict.fromkeys([*plan, *needs]) if n in needs]
    mended: list[str] = []
    while waiting:
        ready = next(n for n in waiting if needs[n] <= set(mended))
        mended.append(ready)
        waiting.remove(ready)
    return mended


class _Job(TypedDict, total=False):
    attempts: int
    ok: bool
    status: str


def _loop(node: Any) -> dict[str, Any]:
    """The state in which a loop around a node ends: when it is ok or held."""
    graph: StateGraph[Any] = StateGraph(_Job)
    graph.add_node("work", node)
    graph.add_edge(START, "work")
    graph.add_conditional_edges(
        "work", lambda state: END if state["ok"] or state.get("status") == "held" else "work"
    )
    return graph.compile().invoke({"attempts": 0, "ok": False}, {"recursion_limit": 30})


def _attempt(numbers: Iterator[int], good: int, state: _Job) -> _Job:
    return {"ok": next(numbers) >= good}


def _judge_bounded(bounded: Callable[[Callable[[Any], Any], int], Callable[[Any], Any]]) -> str:
    for limit, good in ((3, 99), (1, 99), (5, 3), (4, 4), (2, 1)):
        numbers = count(1)
        node = bounded(partial(_attempt, numbers, good), limit)
        if not callable(node):
            return f"return a node, that is a function of the state, not {node!r}"
        given = f"limit {limit}, right at attempt {good}"
        try:
            end = _loop(node)
        except GraphRecursionError:
            return f"{given}: the loop never ended: LangGraph stopped it. Does `attempts` grow?"
        end |= {"held": end.pop("status", "") == "held", "times run": next(numbers) - 1}
        made = min(limit, good)
        right = {"attempts": made, "ok": good <= limit, "held": good > limit, "times run": made}
        if end != right:
            return f"{given}: expected {right}, not {end}"
    return ""


@exercise(
    hints=(
        "Return a new function of the state. Only what a node returns changes the state.",
        'Start from {**node(state), "attempts": state["attempts"] + 1}.',
    ),
    judge=_judge_bounded,
)
def bounded_node(node, limit: int):
    """A node that does what `node` does, adds 1 to state["attempts"] each time, and sets
    status to "held" if the attempt numbered `limit` was still not ok."""

    def bounded(state):
        update = {**node(state), "attempts": state["attempts"] + 1}
        if not update["ok"] and update["attempts"] >= limit:
            update["status"] = "held"
        return update

    return bounded
