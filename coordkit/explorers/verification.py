"""Sliders of the verification notebook: what checks and retries turn slips into."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from coordkit.faults import TRANSPORT
from coordkit.plots import BLUE, GREEN, GREY, ORANGE, VERMILION, titled_figure
from coordkit.reliability import Pipeline, end_to_end
from coordkit.statistics import wilson
from coordkit.widgets import Dial, Explorer, Shown

STEPS = 4  # as many as the billing case has
MOST_RETRIES = 6


def verification_response(
    reliability: float, catch: float, false_alarms: float, retries: int, correlation: float
) -> Shown:
    """What becomes of a chain of four checked steps, by the number of retries allowed.

    Args:
        reliability: probability 0..1 that one attempt at a step is right.
        catch: share 0..1 of wrong answers that the checks reject.
        false_alarms: share 0..1 of right answers that the checks reject.
        retries: answers asked again after a rejection before the task is held, 0..6.
        correlation: correlation 0..1 of repeated attempts at the same step.

    Returns:
        Success, silent and loud failures in percent for 0 to 6 retries, the chosen number marked;
        the readout adds the model calls. Exact, by `coordkit.reliability.end_to_end`.
    """
    chain = Pipeline(STEPS, reliability, correlation, catch=catch, false_alarm=false_alarms)
    x = list(range(MOST_RETRIES + 1))
    outcomes = [end_to_end(replace(chain, retries=allowed)) for allowed in x]
    here = outcomes[retries]
    text = (
        f"{retries} retries: success {here.success:.1%}, silent failures {here.silent:.1%}, "
        f"loud (held) {here.loud:.1%}, {here.calls:.2f} model calls per task. "
        f"Unchecked: {reliability**STEPS:.1%} success, all failures silent, {STEPS} calls."
    )
    traces: list[dict[str, Any]] = [
        {"x": x, "y": [100 * getattr(o, name) for o in outcomes]}
        for name in ("success", "silent", "loud")
    ]
    traces.append({"x": [retries] * 3, "y": [trace["y"][retries] for trace in traces]})
    best = max(outcome.success for outcome in outcomes)
    title = (
        f"{STEPS} checked steps: {here.success:.1%} succeed with {retries} retries, "
        f"{best:.1%} at best with up to {MOST_RETRIES}"
    )
    return Shown(text, traces, title)


def verification_explorer() -> Explorer:
    """Sliders for reliability, checks, retries and correlation beside success and failures.

    The catch rate and the false alarms start at plain round values; the rest at the kit's defaults.
    """
    styles = [
        ("success", GREEN, "circle", "solid"),
        ("silent failure: shipped", VERMILION, "square", "dash"),
        ("loud failure: held", ORANGE, "diamond", "dot"),
    ]
    traces = [
        go.Scatter(
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 8},
            hovertemplate="%{x} retries: %{y:.2f} %",
        )
        for name, colour, symbol, dash in styles
    ]
    ring = {"symbol": "circle-open", "size": 18, "color": BLUE, "line": {"width": 3}}
    traces.append(go.Scatter(name="chosen", mode="markers", marker=ring, hoverinfo="skip"))
    figure = titled_figure("Checked steps", traces)
    figure.update_xaxes(title_text="retries allowed per step", dtick=1)
    figure.update_yaxes(title_text="share of tasks, %", range=[0, 104], color=GREY)
    dials = [
        Dial("reliability", "reliability of a step", 0.5, 1, 0.01, 0.96, ".0%"),
        Dial("catch", "slips caught", 0, 1, 0.01, 0.8, ".0%"),
        Dial("false_alarms", "false alarms", 0, 0.5, 0.01, 0.0, ".0%"),
        Dial("retries", "retries", 0, MOST_RETRIES, 1, 2),
        Dial("correlation", "correlation of retries", 0, 1, 0.01, 0.32),
    ]
    return Explorer(dials, figure, verification_response)


def slip_fates(trials: pd.DataFrame, by: str = "mode") -> pd.DataFrame:
    """What the checks did with the injected slips, from the fault books.

    Args:
        trials: trials of a stack with verification and without the human layer, as
            `coordkit.experiment.run` returns them. Transport faults are left out: deliveries are
            repeated by the execution layer, no check sees them.
        by: ``mode`` or ``step``.

    Returns:
        One row per mode or step, the most caught first: ``slips``; ``repaired`` (sent back, then
        right), ``held`` (in a task that was held, so nothing wrong went out), ``shipped`` (in a
        task that failed otherwise), ``harmless``; ``caught``: share repaired or held, with its
        95 % Wilson interval ``low`` to ``high``, fractions.
    """
    rows = [
        (slip[by], "held" if failure == "held" and slip["fate"] == "shipped" else slip["fate"])
        for failure, book in zip(trials["failure"], trials["faults"], strict=True)
        for slip in json.loads(book)
        if slip["mode"] not in TRANSPORT
    ]
    slips = pd.DataFrame(rows, columns=[by, "fate"])
    counts: Any = pd.crosstab(slips[by], slips["fate"])
    counts = counts.reindex(columns=["repaired", "held", "shipped", "harmless"], fill_value=0)
    counts.columns.name = None
    counts.insert(0, "slips", counts.sum(axis=1))
    caught = counts["repaired"] + counts["held"]
    counts["caught"] = caught / counts["slips"]
    ends = [wilson(c, n) for c, n in zip(caught, counts["slips"], strict=True)]
    counts["low"], counts["high"] = zip(*ends, strict=True)
    fates: pd.DataFrame = counts.sort_values(["caught", "slips"], ascending=False)
    return fates
