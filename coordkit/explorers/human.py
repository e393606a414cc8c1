"""Sliders of the human notebook: whom to ask, and what asking costs and saves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from coordkit.cases.base import Case
from coordkit.faults import uniform
from coordkit.layers.human import Review, SimulatedReviewer
from coordkit.plots import BLUE, GREEN, GREY, VERMILION, titled_figure
from coordkit.statistics import wilson
from coordkit.widgets import Dial, Explorer, Shown

FLOORS = tuple(round(0.02 * i, 2) for i in range(51))


@dataclass(frozen=True)
class Operation:
    """What a confidence floor comes to, per task.

    Attributes:
        escalated: share of tasks that a person sees, 0..1.
        failed: share of tasks that fail in the end, 0..1.
        cost: USD per task, reviews and failures together.
    """

    escalated: float
    failed: float
    cost: float


def operate(
    trials: pd.DataFrame, floor: float, accuracy: float, per_review: float, per_failure: float
) -> Operation:
    """Failures and cost if everything below a confidence floor is shown to a person.

    Args:
        trials: one row per task run without the human layer: ``confidence`` 0..1, ``failed``, and
            ``must``: a person is asked whatever the confidence (high stakes, or held).
        floor: confidence below which a person is asked, 0..1.
        accuracy: probability 0..1 that a reviewed task ends right; a wrong review also spoils what
            was right.
        per_review: USD per review.
        per_failure: USD that a failed task costs.
    """
    asked = trials["must"].to_numpy(bool) | (trials["confidence"].to_numpy() < floor)
    wrong = trials["failed"].to_numpy(bool) & ~asked
    escalated = float(asked.mean())
    failed = float(wrong.mean() + (1 - accuracy) * escalated)
    return Operation(escalated, failed, per_review * escalated + per_failure * failed)


def risk_coverage(
    confidence: Sequence[float], failed: Sequence[bool], points: int = 10
) -> pd.DataFrame:
    """Failure rate of the most confident answers, by how many of them are let through.

    Args:
        confidence: reported confidence per task, 0..1.
        failed: whether the task failed.
        points: equally spaced coverages to report, 1 or more.

    Returns:
        ``coverage`` and ``risk`` as fractions, ``low`` and ``high`` (95 % Wilson), ``n`` tasks let
        through and ``failures`` among them. Ties are taken in the order given (El-Yaniv & Wiener
        2010, "On the Foundations of Noise-free Selective Classification", JMLR 11).

    Raises:
        ValueError: without tasks, or if the two differ in length.
    """
    if not len(confidence) or len(confidence) != len(failed):
        raise ValueError("need one confidence and one outcome for each of one or more tasks")
    order = np.argsort(-np.asarray(confidence, float), kind="stable")
    wrong = np.cumsum(np.asarray(failed, int)[order])
    rows = []
    for i in range(1, points + 1):
        n = max(1, round(len(wrong) * i / points))
        failures = int(wrong[n - 1])
        low, high = wilson(failures, n)
        rows.append((n / len(wrong), failures / n, low, high, n, failures))
    return pd.DataFrame(rows, columns=["coverage", "risk", "low", "high", "n", "failures"])


def tired_reviews(
    case: Case, fatigues: Sequence[float] = (0.0, 0.05, 0.3), accuracy: float = 0.95, times: int = 4
) -> pd.DataFrame:
    """How often a simulated reviewer decides rightly, by the quarter of the shift.

    Args:
        case: its tasks are reviewed; half the proposals are right, half belong to another task.
        fatigues: accuracies lost by the end of a shift, 0..1 each.
        accuracy: probability 0..1 that a fresh reviewer decides rightly.
        times: reviews per task.

    Returns:
        One row per fatigue and quarter: ``shift`` (middle of the quarter, 0..1), ``accuracy`` with
        ``low`` and ``high`` (95 % Wilson), ``n`` reviews.
    """
    rightly = defaultdict[tuple[float, float], list[bool]](list)
    for fatigue, (place, task), trial in product(fatigues, enumerate(case.tasks), range(times)):
        reviewer = SimulatedReviewer(accuracy, fatigue)
        proposal = case.reference(case.tasks[place - place % 2])  # every other is its neighbour's
        right = "edit" if case.wrong(task, case.actions(proposal)) else "approve"
        verdict = reviewer(Review(case, task, "low confidence", proposal, trial))
        quarter = int(4 * uniform("shift", reviewer.seed, case.name, task.id, trial))
        rightly[fatigue, (quarter + 0.5) / 4].append(verdict.decision == right)
    rows = [
        (*part, sum(right) / len(right), *wilson(sum(right), len(right)), len(right))
        for part, right in sorted(rightly.items())
    ]
    return pd.DataFrame(rows, columns=["fatigue", "shift", "accuracy", "low", "high", "n"])


def human_response(
    trials: pd.DataFrame, floor: float, accuracy: float, per_review: float, per_failure: float
) -> Shown:
    """What the sliders of `human_explorer` show; arguments as for `operate`."""
    sweep = {f: operate(trials, f, accuracy, per_review, per_failure) for f in FLOORS}
    here = operate(trials, floor, accuracy, per_review, per_failure)
    cheapest, best = min(sweep.items(), key=lambda at: at[1].cost)
    text = (
        f"Floor {floor:.2f}: {here.escalated:.1%} of tasks go to a person, {here.failed:.1%} fail, "
        f"{here.cost:.2f} USD per task "
        f"(reviews {per_review * here.escalated:.2f}, failures {per_failure * here.failed:.2f}). "
        f"Cheapest here: floor {cheapest:.2f}, {best.escalated:.1%} to a person, "
        f"{best.cost:.2f} USD."
    )
    x = [100 * o.escalated for o in sweep.values()]
    traces: list[dict[str, Any]] = [
        {"x": x, "y": [per_failure * o.failed for o in sweep.values()]},
        {"x": x, "y": [per_review * o.escalated for o in sweep.values()]},
        {"x": x, "y": [o.cost for o in sweep.values()]},
        {"x": [100 * here.escalated], "y": [here.cost]},
        {"x": [100 * best.escalated], "y": [best.cost]},
    ]
    title = (
        f"Asking about {here.escalated:.0%} of tasks costs {here.cost:.2f} USD a task; "
        f"the cheapest share is {best.escalated:.0%}, at {best.cost:.2f}"
    )
    return Shown(text, traces, title)


def human_explorer(trials: pd.DataFrame) -> Explorer:
    """Sliders for the confidence floor, the reviewer and the prices beside the cost per task.

    Args:
        trials: as for `operate`, measured in the notebook.
    """
    lines = [
        ("cost of failures", VERMILION, "dash"),
        ("cost of reviews", BLUE, "dot"),
        ("both", GREY, "solid"),
    ]
    traces = [
        go.Scatter(name=name, mode="lines", line={"color": colour, "dash": dash, "width": 3})
        for name, colour, dash in lines
    ]
    for name, colour, symbol in (("chosen", BLUE, "circle"), ("cheapest", GREEN, "diamond")):
        marker = {"symbol": symbol, "size": 13, "color": colour}
        traces.append(go.Scatter(name=name, mode="markers", marker=marker))
    figure = titled_figure("Cost of asking", traces)
    figure.update_xaxes(title_text="tasks shown to a person, %", range=[0, 102])
    figure.update_yaxes(title_text="USD per task", rangemode="tozero")
    dials = [
        Dial("floor", "confidence floor", 0, 1, 0.02, 0.3),
        Dial("accuracy", "reviewer's accuracy", 0.5, 1, 0.01, 0.95, ".0%"),
        Dial("per_review", "USD per review", 0, 20, 0.5, 1.5),
        Dial("per_failure", "USD per failure", 0, 200, 5, 50),
    ]
    return Explorer(dials, figure, partial(human_response, trials))
