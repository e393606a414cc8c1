"""Sliders for state: what asking again and posting twice cost a chain."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from coordkit.plots import BLUE, GREY, VERMILION, titled_figure
from coordkit.reliability import Pipeline, check_fractions, end_to_end
from coordkit.widgets import Dial, Explorer, Shown

MOST = 3.0  # re-asks per step on the axis
POINTS = 25


@dataclass(frozen=True)
class Memory:
    """Success and calls per task of a chain without and with shared state; fractions and counts."""

    without: float
    shared: float
    calls_without: float
    calls_shared: float


def remember(
    steps: int, reliability: float, correlation: float, reasks: float, redelivered: float
) -> Memory:
    """End-to-end success without and with shared state, in closed form.

    Args:
        steps: of the chain, 1 or more.
        reliability: of one answer, 0 to 1.
        correlation: of repeated attempts at one step of one task, 0 to 1.
        reasks: times an answer is asked for again on average because nobody remembers it.
        redelivered: share of tasks that are second deliveries of work already done, 0 to 1.

    Returns:
        Without state a redelivered task is posted again, which is a failure whatever the agents
        answer; with state the ledger stops it before any call. Every further answer that is wrong
        spoils the task here (`coordkit.reliability.Pipeline`), which is harsher than the graphs:
        there, many slips turn out to be harmless.

    Raises:
        ValueError: if an argument is outside its range.
    """
    check_fractions(redelivered=redelivered)
    without = end_to_end(Pipeline(steps, reliability, correlation, reasks))
    shared = end_to_end(Pipeline(steps, reliability, correlation))
    return Memory(
        (1 - redelivered) * without.success,
        (1 - redelivered) * shared.success + redelivered,
        without.calls,
        (1 - redelivered) * shared.calls,
    )


def show_memory(
    steps: int, reliability: float, correlation: float, reasks: float, redelivered: float
) -> Shown:
    """What the sliders show: see `remember` for the arguments."""
    x = [MOST * i / (POINTS - 1) for i in range(POINTS)]
    curve = [remember(steps, reliability, correlation, r, redelivered) for r in x]
    here = remember(steps, reliability, correlation, reasks, redelivered)
    gain = 100 * (here.shared - here.without)
    return Shown(
        f"Without state {here.without:.1%} succeed with {here.calls_without:.1f} answers asked per "
        f"task; with state {here.shared:.1%} with {here.calls_shared:.1f}.",
        [
            {"x": x, "y": [100 * m.without for m in curve]},
            {"x": x, "y": [100 * m.shared for m in curve]},
            {"x": [reasks] * 2, "y": [100 * here.without, 100 * here.shared]},
        ],
        f"{reasks:.2f} re-asks per step and {redelivered:.1%} redelivered tasks "
        f"cost {gain:.1f} points of success",
    )


def state_explorer() -> Explorer:
    """Sliders for the chain, re-asks, the correlation of repeats and redelivered work."""
    lines = [
        go.Scatter(name="without shared state", line={"color": VERMILION, "dash": "dot"}),
        go.Scatter(name="with shared state", line={"color": BLUE}),
        go.Scatter(
            mode="markers", showlegend=False, hoverinfo="skip", marker={"color": GREY, "size": 10}
        ),
    ]
    figure = titled_figure("With and without shared state", lines)
    figure.update_xaxes(title_text="re-asks per step, on average", range=[-0.05, MOST + 0.05])
    figure.update_yaxes(title_text="success of the whole task, %", range=[0, 101])
    dials = [
        Dial("steps", "steps", 1, 12, 1, 4),
        Dial("reliability", "reliability of one answer", 0.8, 1.0, 0.005, 0.96, ".1%"),
        Dial("correlation", "correlation of repeats", 0.0, 1.0, 0.02, 0.32),
        Dial("reasks", "re-asks per step", 0.0, MOST, 0.05, 0.75),
        Dial("redelivered", "redelivered tasks", 0.0, 0.2, 0.005, 0.015, ".1%"),
    ]
    return Explorer(dials, figure, show_memory)
