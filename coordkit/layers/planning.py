"""Layer 2, planning: who decides what comes next.

Off: the model picks the next step each time, within a hop budget. On: the model writes one plan
for the workflow, code checks it against the steps' dependencies, and it becomes the graph's edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, Field, create_model

from coordkit.cases.base import Case, Step
from coordkit.layers.execution import ask, is_transient
from coordkit.prompt import Answer, Prompt, Request, write_prompt

DONE = "done"
_ROUTING = (
    "You lead a team that works on one task. Each member does one step; a step can only start when "
    "the answers it needs are there. Given the latest answers, name the step to do next, or 'done' "
    "when the last step has been answered. The steps, in the order of the written procedure:\n"
)
_PLANNING = (
    "You plan a workflow. Put all of these steps in an order in which every step comes after the "
    "steps that it needs:\n"
)


def describe(steps: Iterable[Step]) -> str:
    """The steps and what each needs, one per line, for a prompt."""
    return "\n".join(f"- {s.name} (needs: {', '.join(s.needs) or 'the task'})" for s in steps)


def next_step_schema(steps: Sequence[Step]) -> type[BaseModel]:
    """Response schema of the router: one of the steps, or done."""
    choice = Literal[(*(s.name for s in steps), DONE)]  # type: ignore[valid-type]
    fields: dict[str, Any] = {"next_step": (choice, Field(description="Its name."))}
    return create_model("NextStep", __doc__="The step to do next.", **fields)


def plan_schema(steps: Sequence[Step]) -> type[BaseModel]:
    """Response schema of a plan: the steps in order."""
    choice = Literal[tuple(s.name for s in steps)]  # type: ignore[valid-type]
    description = "Every step once, in working order."
    fields: dict[str, Any] = {"order_of_steps": (list[choice], Field(description=description))}  # type: ignore[valid-type]
    return create_model("Plan", __doc__="The order of work.", **fields)


def check_plan(plan: Sequence[str], steps: Sequence[Step]) -> list[str]:
    """What is wrong with a plan: steps missing, repeated, or placed before what they need."""
    problems = []
    for step in steps:
        if plan.count(step.name) != 1:
            problems.append(f"{step.name} must be there once, not {plan.count(step.name)} times")
            continue
        before = plan[: plan.index(step.name)]
        problems += [f"{step.name} comes before {n}" for n in step.needs if n not in before]
    return problems


def dependency_order(steps: Sequence[Step]) -> list[str]:
    """The steps sorted by their dependencies alone, without a model."""
    return list(TopologicalSorter({s.name: s.needs for s in steps}).static_order())


def make_plan(case: Case, model: BaseChatModel, tries: int = 3) -> list[str]:
    """Ask the model for a plan until it passes the check; then fall back on the dependencies.

    Args:
        case: the workflow to plan.
        model: any chat model.
        tries: how often to ask; each objection goes back to the model.
    """
    schema, critique = plan_schema(case.steps), ""
    for attempt in range(1, tries + 1):
        request = Request(f"{case.name}/workflow", "planner", attempt=attempt)
        messages = write_prompt(_PLANNING + describe(case.steps), request, critique=critique)
        try:
            answer = ask(model, messages, schema).answer
        except Exception as error:
            if not is_transient(error):
                raise
            continue
        plan = answer["order_of_steps"] if answer else []
        problems = check_plan(plan, case.steps)
        if not problems:
            return list(plan)
        critique = "; ".join(problems)
    return dependency_order(case.steps)


def choose_next(case: Case, model: Any, request: Request, answers: dict[str, Answer]) -> str | None:
    """Ask the model which step comes next, showing it the answers it can see; None if garbled."""
    messages = write_prompt(_ROUTING + describe(case.steps), request, answers=answers)
    answer = ask(model, messages, next_step_schema(case.steps)).answer
    return str(answer["next_step"]) if answer else None


# --- the simulated model's competence -----------------------------------------------------------


def _read_steps(prompt: Prompt) -> list[tuple[str, list[str]]]:
    lines = [x[2:-1] for x in prompt.instruction.split("\n") if x.startswith("- ")]
    pairs = [line.split(" (needs: ") for line in lines]
    return [(n, [] if needs == "the task" else needs.split(", ")) for n, needs in pairs]


def pick_next_step(prompt: Prompt) -> Answer:
    """The step after the latest one that is visible, in the order of the procedure."""
    names = [name for name, _ in _read_steps(prompt)]
    last = max((names.index(a) for a in prompt.answers if a in names), default=-1)
    return {"next_step": names[last + 1] if last + 1 < len(names) else DONE}


def order_steps(prompt: Prompt) -> Answer:
    """The steps sorted by what they need."""
    return {"order_of_steps": list(TopologicalSorter(dict(_read_steps(prompt))).static_order())}


SKILLS = {"NextStep": pick_next_step, "Plan": order_steps}
