"""Exercises of notebook 02: what can start, mending a plan, and a loop that ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, TypedDict

from coordkit.cases.base import Step, StepAnswer
from coordkit.cases.billing import STEPS as BILLING
from coordkit.cases.support import STEPS as SUPPORT
from coordkit.exercises import Exercise
from coordkit.layers.planning import check_plan


def _step(name: str, *needs: str) -> Step:
    return Step(name, StepAnswer, "", needs)


_DIAMOND = (_step("a"), _step("b", "a"), _step("c", "a"), _step("d", "b", "c"))
_WORKFLOWS: tuple[Sequence[Step], ...] = (_DIAMOND, BILLING, SUPPORT)


def _judge_ready(ready: Callable[[Sequence[Step], set[str]], list[str]]) -> str:
    for steps in _WORKFLOWS:
        done: set[str] = set()
        for step in [None, *steps]:
            done = done | ({step.name} if step else set())
            wanted = [s.name for s in steps if s.name not in done and set(s.needs) <= done]
            got = ready(steps, set(done))
            if not isinstance(got, list):
                return f"return a list of names, not {got!r}"
            if got != wanted:
                needs = {s.name: s.needs for s in steps}
                return f"needs {needs}, done {sorted(done)}: expected {wanted}, got {got}"
    return ""


ready_steps = Exercise(
    name="ready_steps",
    question="Which steps can start now, perhaps side by side?",
    starter='''
def ready_steps(steps, done: set[str]) -> list[str]:
    """Names of the steps that are not done and whose needs all are, in the order of `steps`."""
    raise NotImplementedError
''',
    answer='''
def ready_steps(steps, done: set[str]) -> list[str]:
    """Names of the steps that are not done and whose needs all are, in the order of `steps`."""
    return [s.name for s in steps if s.name not in done and set(s.needs) <= done]
''',
    hints=(
        "Every step has a name and needs, a tuple of names.",
        "set(step.needs) <= done is true if all of them are done.",
    ),
    judge=_judge_ready,
)


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


mend_plan = Exercise(
    name="mend_plan",
    question="Mend a bad plan instead of asking again: nothing missing, doubled or too early.",
    starter='''
def mend_plan(plan: list[str], steps) -> list[str]:
    """A plan that passes check_plan; a right one is returned as it is."""
    raise NotImplementedError
''',
    answer='''
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
''',
    hints=(
        "First drop doubles and strangers, and add what is missing at the end.",
        "dict.fromkeys keeps the order and drops doubles.",
        "Then take, again and again, the first waiting step whose needs are all placed.",
    ),
    judge=_judge_mend,
)


class _Job(TypedDict, total=False):
    attempts: int
    ok: bool
    status: str


def _looped(node: Any, start: _Job) -> tuple[Any, str]:
    """Run a node in a loop until it is ok or held."""
    from langgraph.errors import GraphRecursionError
    from langgraph.graph import END, START, StateGraph

    def again(state: _Job) -> str:
        return END if state.get("ok") or state.get("status") == "held" else "work"

    graph: StateGraph[Any] = StateGraph(_Job)
    graph.add_node("work", node)
    graph.add_edge(START, "work")
    graph.add_conditional_edges("work", again, ["work", END])
    try:
        return graph.compile().invoke(start, {"recursion_limit": 30}), ""
    except GraphRecursionError:
        return None, "the loop never ended: LangGraph stopped it. Does `attempts` grow?"


def _judge_bounded(bounded: Callable[[Callable[[Any], Any], int], Callable[[Any], Any]]) -> str:
    for limit, succeeds_at in ((3, 99), (1, 99), (5, 3), (4, 4), (2, 1)):
        calls: list[int] = []

        def work(
            state: Any, calls: list[int] = calls, succeeds_at: int = succeeds_at
        ) -> dict[str, Any]:
            calls.append(1)
            return {"ok": len(calls) >= succeeds_at}

        node = bounded(work, limit)
        if not callable(node):
            return f"return a node, that is a function of the state, not {node!r}"
        end, problem = _looped(node, {"attempts": 0, "ok": False})
        if problem:
            return f"limit {limit}: {problem}"
        made = min(limit, succeeds_at)
        if len(calls) != made or end.get("attempts") != made:
            return (
                f"limit {limit}, right at attempt {succeeds_at}: expected {made} attempts, the "
                f"node ran {len(calls)} times and the state says {end.get('attempts')}"
            )
        if end.get("ok") != (succeeds_at <= limit):
            return "what the node itself returned (ok) was lost"
        held = end.get("status") == "held"
        if held != (succeeds_at > limit):
            return f"limit {limit}, right at attempt {succeeds_at}: status is {end.get('status')!r}"
    return ""


bounded_node = Exercise(
    name="bounded_node",
    question="Wrap a LangGraph node so that its retries end.",
    starter='''
def bounded_node(node, limit: int):
    """A node that does what `node` does, adds 1 to state["attempts"] each time, and sets
    status to "held" if the attempt numbered `limit` was still not ok."""
    raise NotImplementedError
''',
    answer='''
def bounded_node(node, limit: int):
    """A node that does what `node` does, adds 1 to state["attempts"] each time, and sets
    status to "held" if the attempt numbered `limit` was still not ok."""

    def bounded(state):
        update = {**node(state), "attempts": state["attempts"] + 1}
        if not update["ok"] and update["attempts"] >= limit:
            update["status"] = "held"
        return update

    return bounded
''',
    hints=(
        "Return a new function of the state. Only what a node returns changes the state.",
        'Start from {**node(state), "attempts": state["attempts"] + 1}.',
    ),
    judge=_judge_bounded,
)
