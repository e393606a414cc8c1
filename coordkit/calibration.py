"""How reliable one step of your model is, from a small labelled run, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from langchain_core.language_models import BaseChatModel

from coordkit.experiment import Settings, failure_of, make_bench, simulated_model
from coordkit.prompt import Answer
from coordkit.reliability import chain
from coordkit.simulated import faultless
from coordkit.stack import Stack
from coordkit.statistics import wilson

CHAIN = Stack.rung(4)  # every step asked once, in order, with what it needs, unchecked
NOT_COMPARED = ("sources", "confidence")


def step_outcomes(
    settings: Settings,
    model: BaseChatModel,
    ignore: Iterable[str] = NOT_COMPARED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Run tasks as an unchecked chain and compare every step's answer with the right one.

    The right answers are those of the case's exact rules, on the tasks where the rules' outcome
    is the label's; the other tasks are left out. A step counts if all before it were right, so
    that it is judged by its own work.

    Args:
        settings: the case and its tasks.
        model: the model.
        ignore: fields that are not compared; add those whose wording is free.
        progress: called with tasks done and tasks in all.

    Returns:
        One row per task and step that counts: ``task``, ``step``, ``number`` (from 1), ``right``.
    """
    bench = make_bench(settings, CHAIN, model)
    case = bench.at.case
    exact = make_bench(settings, CHAIN, faultless(simulated_model(case)))
    rows: list[dict[str, Any]] = []
    for done, task in enumerate(case.tasks):
        progress(done, len(case.tasks))
        rules = exact.run(task)
        if failure_of(exact, task, rules) or not rules.get("answers"):  # delivered twice: no step
            continue
        given = bench.run(task).get("answers", {})
        for number, step in enumerate(bench.at.plan, 1):
            answer, right = given.get(step), rules["answers"][step]
            same = answer is not None and _part(answer, ignore) == _part(right, ignore)
            rows.append({"task": task.id, "step": step, "number": number, "right": same})
            if not same:
                break
    return pd.DataFrame(rows, columns=["task", "step", "number", "right"])


def _part(answer: Answer, ignore: Iterable[str]) -> Answer:
    return {name: value for name, value in answer.items() if name not in ignore}


def reliability(outcomes: pd.DataFrame) -> tuple[float, float, float]:
    """Share of steps that were right, with its 95 % Wilson interval."""
    wrong, n = int((~outcomes["right"].astype(bool)).sum()), len(outcomes)
    low, high = wilson(wrong, n)
    return 1 - wrong / n, 1 - high, 1 - low


def predicted_failure(outcomes: pd.DataFrame, steps: Iterable[int]) -> pd.DataFrame:
    """Failure rates of chains of such steps: 1 − p^n.

    Args:
        outcomes: of `step_outcomes`.
        steps: numbers of steps.

    Returns:
        ``rate``, ``low``, ``high`` (fractions) over the number of steps.
    """
    p, low, high = reliability(outcomes)
    rows = {n: [1 - chain(p, n), 1 - chain(high, n), 1 - chain(low, n)] for n in steps}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["rate", "low", "high"])


def measured_failure(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Share of tasks that had gone wrong by the n-th step, in the shape of `predicted_failure`."""
    tasks = outcomes["task"].nunique()
    wrong = outcomes[~outcomes["right"].astype(bool)]
    rows = {}
    for n in range(1, int(outcomes["number"].max()) + 1):
        failures = int((wrong["number"] <= n).sum())
        rows[n] = [failures / tasks, *wilson(failures, tasks)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["rate", "low", "high"])
