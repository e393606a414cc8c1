"""Notebook 00's sliders: a pipeline's settings against its end-to-end success, and real runs.

The curve and the readout are the closed form of `coordkit.reliability`; the button runs the relay
(`coordkit.cases.relay`) through real LangGraph graphs at the same setting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from scipy.stats import ttest_1samp

from coordkit.cases.relay import COPY_ONLY, Forgetful, Relay
from coordkit.experiment import Bench, failure_of
from coordkit.faults import Simulation
from coordkit.layers.human import SimulatedReviewer
from coordkit.layers.planning import SKILLS
from coordkit.plots import BLUE, GREEN, GREY, ORANGE, VERMILION, titled_figure, whiskers
from coordkit.reliability import Outcome, Pipeline, chain, end_to_end
from coordkit.stack import Stack, Workplace
from coordkit.statistics import wilson
from coordkit.widgets import Dial, Explorer, Shown

MOST_STEPS = 12
DIALS = (
    Dial("steps", "steps", 1, MOST_STEPS, 1, 6),
    Dial("reliability", "reliability per step", 0.80, 1.0, 0.005, 0.97, ".1%"),
    Dial("correlation", "correlation of retries", 0.0, 1.0, 0.02, 0.0, ".2f"),
    Dial("reasks", "re-asks per step", 0.0, 3.0, 0.1, 0.0, ".1f"),
    Dial("catch", "verifier catches", 0.0, 1.0, 0.05, 0.0, ".0%"),
    Dial("false_alarm", "verifier's false alarms", 0.0, 0.5, 0.01, 0.0, ".0%"),
    Dial("retries", "retries after a rejection", 0, 4, 1, 2),
    Dial("escalated", "share escalated", 0.0, 1.0, 0.05, 0.0, ".0%"),
    Dial("reviewer_accuracy", "reviewer's accuracy", 0.5, 1.0, 0.01, 0.95, ".0%"),
)


def gap_response(**values: float) -> Shown:
    """What a setting of the sliders shows, by formula alone.

    Args:
        values: the fields of `coordkit.reliability.Pipeline`, with its units and ranges.

    Returns:
        The readout, and four traces: p ** n alone, this pipeline by number of steps, the pipeline
        at its own number of steps, and an empty place for what is measured.
    """
    pipeline = Pipeline(**values)  # type: ignore[arg-type]
    steps = list(range(1, MOST_STEPS + 1))
    alone = [100 * chain(pipeline.reliability, n) for n in steps]
    curve = [100 * end_to_end(replace(pipeline, steps=n)).success for n in steps]
    outcome = end_to_end(pipeline)
    here = {"x": [pipeline.steps], "y": [100 * outcome.success]}
    traces = [{"x": steps, "y": alone}, {"x": steps, "y": curve}, here, {}]
    return Shown(readout(pipeline, outcome), traces)


def readout(pipeline: Pipeline, outcome: Outcome) -> str:
    """The figures of a setting in words."""
    words = (
        f"<b>End to end {outcome.success:.1%}</b>: {_steps(pipeline.steps)} at "
        f"{pipeline.reliability:.1%} (alone {chain(pipeline.reliability, pipeline.steps):.1%}). "
        f"Wrong and shipped {outcome.silent:.1%}, held {outcome.loud:.1%}, escalated "
        f"{outcome.escalated:.1%}; {outcome.calls:.1f} model calls a task."
    )
    if idle := _idle(pipeline):
        words += f"<br>No effect at this setting: {', '.join(idle)}."
    return words


def _steps(n: int) -> str:
    return f"{n} step{'s' if n > 1 else ''}"


def _idle(pipeline: Pipeline) -> list[str]:
    """The sliders that change nothing where the others stand."""
    checked = pipeline.catch or pipeline.false_alarm
    alone = not (pipeline.reasks or (checked and pipeline.retries))
    idle = {
        "correlation (a step is tried once)": alone,
        "retries (nothing is rejected)": not checked,
        "reviewer (nothing is escalated)": not pipeline.escalated,
    }
    return [name for name, without_effect in idle.items() if without_effect]


def measure_relay(
    pipeline: Pipeline,
    tasks: int = 300,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Run the relay at a pipeline's setting; how many of the tasks end right.

    Every field is realised, in a compiled LangGraph with a simulated model: steps are agents;
    re-asks are further calls within a step (`coordkit.cases.relay.Forgetful`); the verifier is the
    verification layer with a check that errs at the set rates; the reviewer is the human layer's,
    without fatigue.

    Args:
        pipeline: the setting.
        tasks: number of tasks, each one graph run (some milliseconds per step).
        seed: seed of all dice.
        progress: called with tasks done and tasks in all.
    """
    p = pipeline
    relay = Relay(
        p.steps, tasks,
        catch=p.catch, false_alarm=p.false_alarm, escalated=p.escalated, seed=seed,
    )  # fmt: skip
    dice = Simulation(p.reliability, p.correlation, seed=seed, mix=COPY_ONLY)
    model = Forgetful(skills={**SKILLS, **relay.skills()}, simulation=dice, reasks=p.reasks)
    verification = ["verification"] if p.catch or p.false_alarm else []
    human = ["human"] if p.escalated else []
    layers = ["planning", "execution", "state", *verification, *human]
    stack = Stack.of(*layers, retries=p.retries, confidence_floor=0.0)
    reviewer = SimulatedReviewer(p.reviewer_accuracy, fatigue=0.0, seed=seed)
    bench, right = Bench(Workplace(relay, model, stack, relay.environment()), reviewer), 0
    for done, task in enumerate(relay.tasks, 1):
        right += not failure_of(bench, task, bench.run(task))
        progress(done, tasks)
    return right


class GapExplorer(Explorer):
    """The sliders with a button that measures: real graphs, and a point with its interval.

    Args:
        tasks: graph runs per measurement. Each measurement has dice of its own.

    Points stay on the figure while the curve is theirs, that is until another slider than the
    number of steps is moved; they come back with their setting.
    """

    def __init__(self, tasks: int = 300) -> None:
        self.tasks = tasks
        self.measured: list[tuple[Pipeline, int]] = []  # setting, tasks that ended right
        self._shown: list[tuple[int, int]] = []  # steps, tasks that ended right
        self.button = ipywidgets.Button(
            description=f"Measure: run {tasks} tasks",
            button_style="primary",
            layout={"width": "16em"},
        )
        self.button.on_click(self._measure)
        self.bar = ipywidgets.IntProgress(max=tasks, layout={"display": "none"})
        self.report = ipywidgets.HTML()
        self.report.add_class("coordkit-measured")
        super().__init__(DIALS, gap_figure(), gap_response)
        row = ipywidgets.HBox([self.button, self.bar, self.report])
        self.children = (*self.children[:-1], row, self.children[-1])  # type: ignore[has-type]

    def _moved(self, change: Any = None) -> None:
        with self.figure.batch_update():
            super()._moved(change)
            self._show_measured()

    def _measure(self, button: Any) -> None:
        pipeline, self.button.disabled = Pipeline(**self.values()), True
        self.bar.layout.display = ""
        try:
            right = measure_relay(pipeline, self.tasks, len(self.measured), self._progress)
        finally:
            self.button.disabled, self.bar.layout.display = False, "none"
        self.measured.append((pipeline, right))
        with self.figure.batch_update():
            self._show_measured()

    def _progress(self, done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            self.bar.value = done

    def _show_measured(self) -> None:
        now = Pipeline(**self.values())
        points = [(p.steps, r) for p, r in self.measured if replace(p, steps=now.steps) == now]
        if points != self._shown:  # Plotly takes its time over an update that changes nothing
            self.figure.data[-1].update(measured_trace(points, self.tasks))
            self._shown = points
        here = [right for p, right in self.measured if p == now]
        self.report.value = report(now, here, self.tasks)


def measured_share(right: int, tasks: int) -> tuple[float, float, float]:
    """Share of tasks that ended right and its 95 % Wilson interval, in percent."""
    low, high = wilson(right, tasks)
    return 100 * right / tasks, 100 * low, 100 * high


def report(pipeline: Pipeline, right: list[int], tasks: int) -> str:
    """The measurements at one setting in words, pooled if there are several."""
    if not right:
        return "Nothing measured at this setting yet."
    runs = tasks * len(right)
    share, low, high = measured_share(sum(right), runs)
    formula = 100 * end_to_end(pipeline).success
    verdict = "the formula lies in it" if low <= formula <= high else "the formula lies outside"
    return f"<b>Measured {share:.1f}%</b> ({low:.1f} to {high:.1f}%; {runs} graph runs): {verdict}."


def measured_trace(points: list[tuple[int, int]], tasks: int) -> dict[str, Any]:
    """The points' trace from (steps, tasks that ended right); made anew, as Plotly likes it."""
    shares = np.array([measured_share(right, tasks) for _, right in points]).reshape(-1, 3).T
    error = whiskers(*shares)
    return {"x": [steps for steps, _ in points], "y": shares[0].tolist(), "error_y": error}


def gap_figure() -> go.Figure:
    """The figure that the sliders move."""
    names = ("steps alone: pⁿ", "this pipeline", "the sliders' setting", "measured, 95 % interval")
    traces = [
        go.Scatter(name=names[0], mode="lines", line={"color": GREY, "dash": "dot"}),
        go.Scatter(name=names[1], mode="lines", line={"color": BLUE, "width": 3}),
        go.Scatter(name=names[2], mode="markers", marker={"color": BLUE, "size": 13}),
        go.Scatter(
            name=names[3], mode="markers",
            marker={"color": VERMILION, "size": 11, "symbol": "diamond",
                    "line": {"width": 1, "color": "white"}},
            error_y={"color": VERMILION, "thickness": 2},
        ),
    ]  # fmt: skip
    figure = titled_figure("End-to-end success falls with every step", traces, height=380)
    figure.add_hrect(60, 75, fillcolor=ORANGE, opacity=0.15, line_width=0, layer="below")
    figure.add_annotation(
        x=0.7, y=60, text="60 to 75 %: where measured systems are said to land",
        showarrow=False, xanchor="left", yanchor="bottom", font={"size": 12},
    )  # fmt: skip
    figure.update_xaxes(title_text="steps in a row", range=[0.6, MOST_STEPS + 0.4], dtick=1)
    return figure.update_yaxes(title_text="tasks that end right, %", range=[0, 103])


def pass_curve_figure(
    published: ArrayLike, independent: ArrayLike, correlated: ArrayLike
) -> go.Figure:
    """Published pass^k against two models of it, each averaged over the submissions.

    Args:
        published, independent, correlated: submissions x k tables of pass^1, pass^2, ..., percent.

    Returns:
        The figure; its title says how far off the models are at the last k.
    """
    tables = [np.asarray(table, dtype=float) for table in (published, independent, correlated)]
    count, last = tables[0].shape
    ks = list(range(1, last + 1))
    means = [table.mean(axis=0) for table in tables]
    off = [float(mean[-1] - means[0][-1]) for mean in means[1:]]
    low, high = ttest_1samp(tables[0], 0).confidence_interval()
    scatter = go.Scatter(
        x=[k for k in ks for _ in range(count)],
        y=tables[0].T.ravel(),
        name="published, one submission",
        mode="markers",
        marker={"color": GREY, "size": 6, "opacity": 0.5},
    )
    error = whiskers(means[0], low, high)
    lines = [
        go.Scatter(
            x=ks, y=means[0], name="published, mean and 95 % interval", error_y=error,
            mode="lines+markers", line={"color": VERMILION, "width": 3},
        ),
        go.Scatter(x=ks, y=means[1], name="independent: p^k", line={"color": BLUE, "dash": "dash"}),
        go.Scatter(x=ks, y=means[2], name="correlated", line={"color": GREEN, "dash": "dot"}),
    ]  # fmt: skip
    title = (
        f"Independence is off by {off[0]:+.1f} points at pass^{last}, "
        f"the correlated model by {off[1]:+.1f} (mean of {count} submissions)"
    )
    figure = titled_figure(title.replace("-", "−"), [scatter, *lines])
    figure.update_xaxes(title_text="k: trials of a task that must all succeed", dtick=1)
    return figure.update_yaxes(title_text="pass^k, % of tasks", range=[0, 100])
