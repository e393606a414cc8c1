"""Plotly figures of the results, in one manner.

The title states the finding, axes carry units, intervals are 95 %. Colours are Okabe and Ito's,
which colour-blind people can tell apart; backgrounds are transparent and text is mid-grey, so that
a figure can be read on a light and on a dark page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.colors import hex_to_rgb

from coordkit.ladder import Entry, Summary, added, finding, percent, points
from coordkit.layers import LAYERS
from coordkit.stack import Stack

# Okabe & Ito (2008), "Color Universal Design".
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
GREY = "#767676"  # contrast 4.5 against white and 4.2 against a dark page

LOOKS = ((BLUE, "circle", "solid"), (ORANGE, "diamond", "dash"), (VERMILION, "square", "dot"))
FORMULA_LOOKS = ((VERMILION, "dash"), (PURPLE, "dot"), (GREY, "dashdot"))
FATES = {"harmless": SKY, "repaired": GREEN, "escalated": BLUE, "shipped": VERMILION}
SEEN_TO = {"execution": ORANGE, "verification": GREEN, "human": BLUE, "none": GREY}
CHANGE = "change in failure rate, percentage points (left of 0: fewer failures)"
TOP_CAUSES = 10
LINE = 76  # characters of a title in one line at the usual width

_AXIS = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True}
_AT_TOP = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 24, "l": 14}}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"color": GREY, "size": 13},
        "title": {"font": {"size": 15}, **_AT_TOP},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        "margin": {"l": 60, "r": 20, "t": 110, "b": 60},
        "height": 430,
        "bargap": 0.35,
    }
)


def whiskers(middle: ArrayLike, low: ArrayLike, high: ArrayLike, **look: Any) -> dict[str, Any]:
    """Error bars from ends.

    Args:
        middle, low, high: a value and the ends of its interval per point, in the axis' unit.
        look: further properties, such as ``color``.
    """
    centre = np.asarray(middle, dtype=float)
    up, down = np.asarray(high, dtype=float) - centre, centre - np.asarray(low, dtype=float)
    return {"array": up.tolist(), "arrayminus": down.tolist(), "symmetric": False, **look}


def titled_figure(
    title: str, traces: Sequence[Any], x: str | None = None, y: str | None = None, **layout: Any
) -> go.Figure:
    """A figure in the kit's look, with room for its title and legend.

    Args:
        title: the finding; broken into lines where it is long, and without a full stop.
        traces: what it shows.
        x, y: titles of the axes, with their units.
        layout: further properties of the layout.
    """
    lines = wrap(title.removesuffix("."), LINE)
    figure = go.Figure(traces)
    # room for the title, and for the legend where there is one
    legend = layout.get("showlegend", len(figure.data) > 1)
    room = 30 + 20 * len(lines) + (35 if legend else 5)
    texts = {"title_text": "<br>".join(lines), "xaxis_title_text": x, "yaxis_title_text": y}
    return figure.update_layout({"template": TEMPLATE, "margin_t": room, **texts, **layout})


def _measured(
    name: str, x: Any, frame: pd.DataFrame, rate: str, marker: dict[str, Any], **look: Any
) -> go.Scatter:
    """Marks with their intervals, percent, from columns of fractions: a rate, low and high."""
    y, low, high = (100 * frame[column] for column in (rate, "low", "high"))
    look = {"mode": "markers", "marker": {"size": 9, **marker}, **look}
    return go.Scatter(name=name, x=x, y=y, error_y=whiskers(y, low, high), **look)


def _joined(curves: Mapping[str, pd.DataFrame], x: str, rate: str) -> list[go.Scatter]:
    """A line through the marks of each curve; x: the column along the axis, fractions too."""
    return [
        _measured(
            name, 100 * curve[x], curve, rate, {"symbol": symbol}, mode="lines+markers",
            line={"color": colour, "dash": dash},
        )
        for (name, curve), (colour, symbol, dash) in zip(curves.items(), LOOKS, strict=False)
    ]  # fmt: skip


def _intervals(
    x: Sequence[str], y: Sequence[float], low: ArrayLike, high: ArrayLike, **look: Any
) -> go.Scatter:
    """Grey intervals on bars."""
    error, dot = whiskers(y, low, high, color=GREY), {"size": 1, "color": GREY}
    look = {"mode": "markers", "marker": dot, "hoverinfo": "skip", **look}
    return go.Scatter(x=x, y=y, error_y=error, **look)


def _figures(x: Sequence[str], y: Sequence[float], text: Sequence[str], **look: Any) -> go.Scatter:
    """Numbers above bars."""
    look = {"mode": "text", "textposition": "top center", "hoverinfo": "skip", **look}
    return go.Scatter(x=x, y=y, text=text, **look)


def _effects_figure(
    title: str,
    x: str,
    labels: Sequence[str],
    effects: Mapping[str, Any],
    gap: float = 0.26,
    **layout: Any,
) -> go.Figure:
    """One row of marks with intervals per label, about a line at nothing.

    Args:
        title, x: the finding; what the effects are, with their unit.
        labels: of the rows, which are 1 apart.
        effects: by name, (effect, low, high) per label, fractions; None leaves a gap.
        gap: between the marks of a row.
        layout: further properties of the layout.
    """
    traces: list[Any] = []
    for (name, values), (colour, symbol, _) in zip(effects.items(), LOOKS, strict=False):
        offset = gap * (len(traces) - (len(effects) - 1) / 2)
        known = [i for i, (effect, *_) in enumerate(values) if effect is not None]
        middle, low, high = 100 * np.array([values[i] for i in known], dtype=float).T
        trace = go.Scatter(
            x=middle.tolist(), y=[i + offset for i in known], error_x=whiskers(middle, low, high),
            customdata=[labels[i] for i in known], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 10},
            hovertemplate=f"%{{customdata}}, {name}: %{{x:.1f}} points<extra></extra>",
        )  # fmt: skip
        traces.append(trace)
    n = len(labels)
    rows = {"tickvals": [*range(n)], "ticktext": labels, "range": [n - 0.5, -0.5]}
    figure = titled_figure(title, traces, x, yaxis=rows, yaxis_showgrid=False, **layout)
    return figure.add_vline(x=0, line={"color": GREY, "width": 1})


# --- the ladder ----------------------------------------------------------------------------------


def names(summary: Summary) -> list[str]:
    """What to call each entry on an axis: its rung and what it adds."""
    entries = summary["rungs"]
    return [_name(entry, before) for before, entry in zip([None, *entries], entries, strict=False)]


def _name(entry: Entry, before: Entry | None) -> str:
    rung = entry["rung"]
    if rung is None:
        return " + ".join(entry["layers"])
    if rung == 0:
        return "0 bare model"
    if before:
        return f"{rung} {added(entry, before)}"
    return "1 context" if rung == 1 else f"{rung} layers 1 to {rung}"


def _broken(name: str) -> str:
    """A name broken into lines, to stand below a narrow bar: the rung's number on its own."""
    number, _, rest = name.partition(" ")
    return f"{number}<br>{rest}" if number.isdigit() else "<br>".join(wrap(name, 16))


def _spoken(name: str) -> str:
    """A name from an axis as it reads in a sentence."""
    plain = name.replace("<br>", " ")
    return f"rung {plain}" if plain[0].isdigit() else plain


def ladder_figure(summary: Summary) -> go.Figure:
    """Failure rate by rung with its interval, split into silent and loud, and escalations.

    Args:
        summary: as `coordkit.ladder.summarise` returns it.
    """
    entries, x = summary["rungs"], [_broken(name) for name in names(summary)]
    keys = ("failure_rate", "ci_low", "ci_high")
    rate, low, high = ([100 * e[key] for e in entries] for key in keys)
    asked = [100 * e["escalated"] / e["trials"] for e in entries]
    top = max(*asked, *high)
    bars = [
        go.Bar(
            x=x,
            y=[100 * e[key] / e["trials"] for e in entries],
            customdata=[[e[key], e["trials"]] for e in entries],
            name=f"{key}: {meaning}",
            marker_color=colour,
            hovertemplate="%{y:.1f} %, %{customdata[0]} of %{customdata[1]} trials",
        )
        for key, meaning, colour in (
            ("silent", "wrong and shipped", VERMILION),
            ("loud", "held, crashed, rejected", ORANGE),
        )
    ]
    intervals = _intervals(x, rate, low, high, error_y_thickness=2, showlegend=False)
    above = [  # the intervals, and clear of the escalations' marks
        0.02 * top + (share if end - 0.02 * top < share < end + 0.12 * top else end)
        for end, share in zip(high, asked, strict=True)
    ]
    figures = _figures(x, above, [percent(e["failure_rate"]) for e in entries], showlegend=False)
    outline = {"width": 1, "color": "white"}
    escalations = go.Scatter(
        x=x, y=[share or None for share in asked], mode="markers", name="escalated to a person",
        marker={"symbol": "diamond", "size": 11, "color": BLUE, "line": outline},
        hovertemplate="%{y:.1f} % escalated<extra></extra>",
    )  # fmt: skip
    return titled_figure(
        finding(summary),
        [*bars, intervals, figures, escalations],
        "rung of the ladder and the layer it adds",
        "share of trials, %",
        barmode="stack",
        yaxis_range=[0, 1.15 * top],
    )


def effect_figure(summary: Summary) -> go.Figure:
    """What each layer changes: added on the ladder (down is good), knocked out of all six (up is).

    Args:
        summary: as `coordkit.ladder.summarise` returns it, of two rungs or more.

    Raises:
        ValueError: if the summary has no change to show.
    """
    entries = summary["rungs"][1:]
    if not entries:
        raise ValueError("a single rung has no change to show")
    labels = [added(entry, before) for before, entry in pairwise(summary["rungs"])]
    kinds = {
        "added on the ladder": ("delta", "delta_ci_low", "delta_ci_high"),
        "knocked out of all six": ("knockout_delta", "knockout_ci_low", "knockout_ci_high"),
    }
    effects = {
        name: [[entry[key] for key in keys] for entry in entries]
        for name, keys in kinds.items()
        if any(entry[keys[0]] is not None for entry in entries)
    }
    title = _effect_title(summary["case"], entries, labels)
    return _effects_figure(title, CHANGE, labels, effects)


def _effect_title(case: str, entries: Sequence[Entry], labels: Sequence[str]) -> str:
    most, label = min(zip(entries, labels, strict=True), key=lambda pair: pair[0]["delta"])
    fewer = f"{-100 * most['delta']:.1f} points fewer failures"
    title = f"{case}: on the ladder {label} changes most ({fewer})"
    # a rung may add several layers; one was out
    losses = {e["layers"][-1]: e["knockout_delta"] for e in entries}
    losses = {layer: loss for layer, loss in losses.items() if loss is not None}
    if not losses:
        return title
    missed = max(losses, key=lambda layer: losses[layer])
    more = f"{100 * losses[missed]:.1f} more"
    if len(losses) == 1:
        return f"{title}; knocked out of all six, {missed} alone: {more}"
    those = "all six" if len(losses) == len(LAYERS) else " and ".join(losses)
    return f"{title}; of {those}, {missed} is missed most ({more})"


def _by_rung(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The trials of each rung in the table, by its name; of each stack if none is a rung."""
    parts = {str(label): part for label, part in table.groupby("stack", sort=False)}
    rungs = {Stack.rung(k).label: f"{k} {name}" for k, name in enumerate(["bare model", *LAYERS])}
    rungs = {label: name for label, name in rungs.items() if label in parts}
    shown = rungs or {label: label for label in parts}
    return {_broken(name): parts[label] for label, name in shown.items()}


def causes_figure(table: pd.DataFrame) -> go.Figure:
    """The commonest causes of failure by rung, as numbers of trials.

    Args:
        table: trials, as `coordkit.experiment.run` returns them.
    """
    counts = {
        name: Counter(part.loc[part["failed"], "cause"]) for name, part in _by_rung(table).items()
    }
    total = sum(counts.values(), Counter[str]())
    top = [cause for cause, _ in total.most_common(TOP_CAUSES)]
    rows = [[count[cause] for count in counts.values()] for cause in top]
    if rare := len(total) - len(top):
        rows.append([c.total() - sum(c[cause] for cause in top) for c in counts.values()])
        top.append(f"{rare} other causes")
    cells = go.Heatmap(
        x=list(counts), y=top, z=rows, text=[[n or "" for n in row] for row in rows],
        texttemplate="%{text}", colorscale=[[0, "rgba(213,94,0,0)"], [1, VERMILION]],
        showscale=False, xgap=2, ygap=2,
        hovertemplate="%{y}: %{z} failed trials at rung %{x}<extra></extra>",
    )  # fmt: skip
    told = "; ".join(_leading(*rung) for rung in _first_and_last(counts))
    figure = titled_figure(f"Why trials fail: {told}", [cells], height=140 + 26 * len(top))
    figure.update_xaxes(title_text="rung; cells: failed trials", title_standoff=14, showgrid=False)
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def _leading(name: str, counts: Counter[str]) -> str:
    """Which cause leads at a rung, in words."""
    at, total, most = f"at {_spoken(name)}", counts.total(), max(counts.values(), default=0)
    if not counts:
        return f"{at} nothing fails"
    first, *others = [cause for cause, n in counts.items() if n == most]
    if others:
        return f"{at}, no one cause leads the {total} failures"
    return f'{at}, "{first}" leads ({most} of {total} failures)'


def _first_and_last(counts: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    """The first rung and the last; once if there is only one."""
    return [*counts.items()][:: max(1, len(counts) - 1)]


def fates_figure(table: pd.DataFrame) -> go.Figure:
    """What became of the injected faults by rung, as numbers of faults.

    Args:
        table: trials, as `coordkit.experiment.run` returns them.
    """
    books = {
        name: Counter(fault["fate"] for book in part["faults"] for fault in json.loads(book))
        for name, part in _by_rung(table).items()
    }
    bars = [
        go.Bar(
            x=list(books), y=[book[fate] for book in books.values()], name=fate,
            marker_color=colour, hovertemplate=f"%{{y}} {fate}<extra></extra>",
        )
        for fate, colour in FATES.items()
    ]  # fmt: skip
    told = ", ".join(
        f"{book['shipped']} of {book.total()} at {_spoken(name)}"
        for name, book in _first_and_last(books)
    )
    title = f"Injected faults that shipped in a failed trial: {told}"
    return titled_figure(title, bars, "rung", "injected faults", barmode="stack")


# --- one layer -----------------------------------------------------------------------------------


def before_after_figure(frame: pd.DataFrame, layer: str) -> go.Figure:
    """What a layer changes on each case, with intervals.

    Args:
        frame: as `coordkit.lesson.before_after` returns it.
        layer: its name, for the title.
    """
    names = frame.index.unique("comparison")
    parts = {name: frame.xs(name, level="comparison") for name in names}
    ladder = parts[names[0]]
    cases = list(ladder.index)
    effects = {
        name: (part.loc[cases, ["change", "low", "high"]] / 100).to_numpy()
        for name, part in parts.items()
    }
    told = ", ".join(
        f"{case}: {row['without']:.1f} → {row['with']:.1f} %" for case, row in ladder.iterrows()
    )
    title = f"Failure rate without → with {layer} (ladder): {told}"
    return _effects_figure(title, CHANGE, cases, effects, height=300)


def blind_spots_figure(fates: pd.DataFrame) -> go.Figure:
    """Which share of the slips the checks catch, by fault mode or step.

    Args:
        fates: as `coordkit.explorers.verification.slip_fates` returns it.
    """
    labels = [f"{name} ({n})" for name, n in fates["slips"].items()]
    bars = [
        go.Bar(
            y=labels, x=100 * fates[list(parts)].sum(axis=1) / fates["slips"], name=name,
            orientation="h", marker_color=colour, hovertemplate="%{x:.0f} %",
        )
        for name, parts, colour in (
            ("caught: repaired or held", ("repaired", "held"), GREEN),
            ("passed, harmless", ("harmless",), SKY),
            ("passed, in a wrong outcome", ("shipped",), VERMILION),
        )
    ]  # fmt: skip
    caught, low, high = (100 * fates[column] for column in ("caught", "low", "high"))
    intervals = go.Scatter(
        y=labels, x=caught, error_x=whiskers(caught, low, high, color=GREY, thickness=2),
        mode="markers", marker={"size": 5, "color": GREY}, name="95 % interval of caught",
        hoverinfo="skip",
    )  # fmt: skip
    best, worst = fates.index[0], fates.index[-1]
    title = (
        f"Checks catch {caught.iloc[0]:.0f} % of {best} and {caught.iloc[-1]:.0f} % of {worst}; "
        f"{fates['shipped'].sum()} of {fates['slips'].sum()} slips passed into a wrong outcome"
    )
    height = 200 + 34 * len(labels)
    figure = titled_figure(title, [*bars, intervals], barmode="stack", height=height)
    figure.update_xaxes(title_text="share of slips, %", range=[0, 101])
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def retries_figure(measured: pd.DataFrame, exact: pd.DataFrame) -> go.Figure:
    """Success by retries allowed and correlation: measured with intervals, and the closed form.

    Args:
        measured: ``rho``, ``retries``, ``success``, ``low``, ``high`` (fractions).
        exact: ``rho``, ``retries``, ``success`` (fractions).
    """
    traces, gains = [], []
    for (rho, line), (colour, symbol, dash) in zip(exact.groupby("rho"), LOOKS, strict=False):
        marks, success = measured[measured["rho"] == rho], 100 * line["success"]
        name, mark = f"rho = {rho:g}", {"color": colour, "symbol": symbol}
        look = {"mode": "lines", "line": {"color": colour, "dash": dash}}
        traces += [
            go.Scatter(x=line["retries"], y=success, name=f"{name}, formula", **look),
            _measured(f"{name}, measured", marks["retries"], marks, "success", mark),
        ]
        gains.append(f"{100 * marks['success'].iloc[-1]:.0f} % (rho {rho:g})")
    last = measured["retries"].max()
    title = f"{last} retries of a checked step brought success to {', '.join(gains)}"
    figure = titled_figure(title, traces, "retries allowed", "success, % of tasks", margin_t=130)
    return figure.update_xaxes(dtick=1)


def risk_coverage_figure(curves: dict[str, pd.DataFrame]) -> go.Figure:
    """Failure rate of what is let through, by the share that is let through.

    Args:
        curves: name -> as `coordkit.explorers.human.risk_coverage` returns it.
    """
    traces, told = _joined(curves, "coverage", "risk"), []
    for trace, (name, curve) in zip(traces, curves.items(), strict=False):
        trace.customdata = curve[["failures", "n"]]
        trace.hovertemplate = "%{y:.1f} %, %{customdata[0]} of %{customdata[1]} tasks"
        half = (curve["coverage"] - 0.5).abs().argmin()
        risk = 100 * curve["risk"]
        told.append(f"{name} {risk.iloc[-1]:.1f} → {risk.iloc[half]:.1f} %")
    title = f"Failure rate, all → the more confident half: {', '.join(told)}"
    x, y = "tasks let through, the most confident first, %", "failures among them, %"
    return titled_figure(title, traces, x, y, yaxis_rangemode="tozero")


def fatigue_figure(reviews: pd.DataFrame) -> go.Figure:
    """A reviewer's accuracy through a shift.

    Args:
        reviews: ``fatigue``, ``shift`` (middle of the part of the shift, 0..1), ``accuracy``,
            ``low``, ``high`` (fractions).
    """
    parts = {f"fatigue {fatigue:g}": part for fatigue, part in reviews.groupby("fatigue")}
    last = {name: 100 * part["accuracy"].iloc[-1] for name, part in parts.items()}
    told = ", ".join(f"{right:.0f} % ({name})" for name, right in last.items())
    return titled_figure(
        f"Reviews right in the last part of a shift: {told}",
        _joined(parts, "shift", "accuracy"),
        "time into the shift, %",
        "reviews right, %",
    )


# --- the whole stack -----------------------------------------------------------------------------


def waterfall_figure(summary: Summary) -> go.Figure:
    """The ladder as a waterfall: where it starts, what each layer takes off, what is left.

    Args:
        summary: as `coordkit.ladder.summarise` returns it, of two rungs or more. The intervals are
            those of the rate at both ends, and of the paired change in between, cut off at 0 %.
    """
    entries = summary["rungs"]
    rates = [100 * e["failure_rate"] for e in entries]
    changes = [100 * e["delta"] for e in entries[1:]]
    added_layers = [added(e, before) for before, e in pairwise(entries)]
    x = ["bare<br>model" if entries[0]["rung"] == 0 else "start", *added_layers, "what<br>is left"]
    ends, base = [*rates, rates[-1]], [0, *rates[:-1], 0]
    low, high = _ends_of_steps(entries, "low"), _ends_of_steps(entries, "high")
    colours = [GREY, *(GREEN if change <= 0 else VERMILION for change in changes), GREY]
    bars = go.Bar(
        x=x, y=[rates[0], *changes, rates[-1]], base=base,
        marker_color=[*map(_faint, colours)],  # so that the intervals stand out
        hovertemplate="%{x}: %{y:+.1f} points<extra></extra>",
    )  # fmt: skip
    text = [f"{rates[0]:.1f}", *(points(e["delta"]) for e in entries[1:]), f"{rates[-1]:.1f}"]
    tops = [max(three) for three in zip(ends, base, high, strict=True)]
    above = [top + 0.02 * max(tops) for top in tops]  # clear of the intervals
    return titled_figure(
        finding(summary),
        [bars, _intervals(x, ends, low, high), _figures(x, above, text)],
        "layer added, with the 95 % interval of the change (cut off at 0 %)",
        "failure rate, % of trials",
        showlegend=False,
        yaxis={"range": [0, 1.15 * max(tops)], "showgrid": False},
    )


def _ends_of_steps(entries: Sequence[Entry], end: str) -> list[float]:
    """One end of each bar's interval, percent: of the rate outside, of the change within."""
    changed = [
        100 * max(0, before["failure_rate"] + e[f"delta_ci_{end}"])
        for before, e in pairwise(entries)
    ]
    return [100 * entries[0][f"ci_{end}"], *changed, 100 * entries[-1][f"ci_{end}"]]


def shares_figure(shares: dict[str, pd.DataFrame]) -> go.Figure:
    """Shapley shares of the failures removed, with intervals.

    Args:
        shares: by case, as `coordkit.attribution.shapley_shares` returns them.
    """
    layers, columns = list(next(iter(shares.values())).index), ["share", "low", "high"]
    effects = {case: frame.loc[layers, columns].to_numpy() for case, frame in shares.items()}
    told = "; ".join(_most_and_harm(case, frame) for case, frame in shares.items())
    title = f"Shapley shares: {told}"
    x = "failures removed, percentage points of tasks, 95 % interval"
    return _effects_figure(title, x, layers, effects, gap=0.22, height=400)


def _most_and_harm(case: str, frame: pd.DataFrame) -> str:
    """Which layer takes most off a case's failure rate, and which ones surely add to it."""
    most, harm = frame["share"].idxmax(), frame.loc[frame["high"] < 0, "share"]
    told = f"in {case} {most} removes {100 * frame['share'].max():.1f} points"
    return told + "".join(f", {layer} adds {-100 * share:.1f}" for layer, share in harm.items())


def frontier_figure(points: pd.DataFrame, best: Sequence[int], case: str) -> go.Figure:
    """Failure against cost per task; the stacks that no other beats in both are joined.

    Args:
        points: one row per stack: ``stack``, ``usd`` per task, and ``failure``, ``low`` and
            ``high`` as fractions.
        best: places of the stacks on the frontier, by rising cost.
        case: for the title.
    """
    edge = points.iloc[list(best)]
    others = points.drop(edge.index)
    look = {
        "line": {"shape": "hv", "dash": "dot"},
        "hovertemplate": "%{customdata}<br>%{y:.1f} % fail, %{x:.4f} USD a task<extra></extra>",
    }
    traces = [
        _measured(
            f"{name} ({len(part)})", part["usd"], part, "failure", mark, mode=mode,
            customdata=part["stack"], error_y_visible=part is edge, **look,
        )
        for name, part, mode, mark in (
            ("every other stack", others, "markers", {"color": SKY, "size": 7}),
            ("frontier", edge, "lines+markers", {"color": VERMILION, "size": 10}),
        )
    ]  # fmt: skip
    first, last = (
        f"{100 * stack['failure']:.1f} % for {stack['usd']:.4f} USD"
        for stack in (edge.iloc[0], edge.iloc[-1])
    )
    count = f"{len(edge)} of {len(points)} stacks are on the frontier"
    figure = titled_figure(f"{case}: {count}, from {first} to {last} a task", traces)
    figure.update_xaxes(title_text="cost per task, USD (logarithmic)", type="log")
    return figure.update_yaxes(title_text="failure rate, % of tasks", rangemode="tozero")


def sankey_figure(flows: pd.DataFrame, name: str) -> go.Figure:
    """Where each injected fault ended: from its mode through the layer that dealt with it.

    Args:
        flows: as `coordkit.attribution.fault_flows` returns them.
        name: case and stack, for the title.
    """
    modes = flows.groupby("mode")["faults"].sum().sort_values(ascending=False).index
    seen = {*flows["layer"], *flows["fate"]}
    colours = dict.fromkeys(modes, GREY)  # of the nodes
    colours |= {node: colour for node, colour in (SEEN_TO | FATES).items() if node in seen}
    place = {node: i for i, node in enumerate(colours)}
    links = [
        (place[left], place[right], n, _faint(colours[right]))
        for ends in (["mode", "layer"], ["layer", "fate"])
        for left, right, n in flows.groupby(ends)["faults"].sum().reset_index().to_numpy()
    ]
    source, target, value, colour = map(list, zip(*links, strict=True))
    labels = ["no layer" if node == "none" else node.replace("_", " ") for node in colours]
    diagram = go.Sankey(
        node={"label": labels, "color": [*colours.values()], "pad": 14, "line": {"width": 0}},
        link={"source": source, "target": target, "value": value, "color": colour},
        textfont={"color": GREY, "size": 13, "shadow": "none"},
    )
    shipped = flows.loc[flows["fate"] == "shipped", "faults"].sum()
    title = (
        f"{name}: {shipped} of {flows['faults'].sum()} injected faults shipped in a failed trial"
    )
    return titled_figure(title, [diagram])


def _faint(colour: str) -> str:
    return "rgba({},{},{},0.4)".format(*hex_to_rgb(colour))


# --- formulas ------------------------------------------------------------------------------------


def formula_figure(
    measured: dict[str, pd.DataFrame], formulas: dict[str, pd.Series], title: str, x_title: str
) -> go.Figure:
    """Measured failure rates with their intervals beside what formulas say.

    Args:
        measured: by name, ``rate``, ``low`` and ``high`` (fractions) over x in the index.
        formulas: by name, the rate (fraction) over x in the index.
        title: the finding.
        x_title: what x is, with its unit.
    """
    traces = []
    for (name, frame), (colour, symbol, _) in zip(measured.items(), LOOKS, strict=False):
        mark = {"color": colour, "symbol": symbol}
        traces.append(_measured(name, list(frame.index), frame, "rate", mark))
    for (name, series), (colour, dash) in zip(formulas.items(), FORMULA_LOOKS, strict=False):
        look = {"mode": "lines", "line": {"color": colour, "dash": dash}}
        traces.append(go.Scatter(x=list(series.index), y=100 * series, name=name, **look))
    figure = titled_figure(title, traces, x_title, "failure rate, %", yaxis_rangemode="tozero")
    return figure.update_traces(hovertemplate="%{x}: %{y:.1f} %")


def prediction_figure(predicted: pd.DataFrame, measured: pd.DataFrame) -> go.Figure:
    """Failure rates predicted from one step's reliability beside those measured.

    Args:
        predicted, measured: ``rate``, ``low`` and ``high`` (fractions) over the number of steps.
    """
    x, band = [*predicted.index], [*predicted["high"], *predicted["low"][::-1]]
    told = "%{x} steps: %{y:.1f} %"
    traces = [
        go.Scatter(
            x=[*x, *x[::-1]], y=[100 * rate for rate in band], fill="toself", mode="none",
            fillcolor=_faint(VERMILION), name="95 % interval of the prediction", hoverinfo="skip",
        ),
        go.Scatter(
            x=x, y=100 * predicted["rate"], mode="lines", name="predicted, 1 − pⁿ",
            line={"color": VERMILION, "dash": "dash"}, hovertemplate=told,
        ),
        _measured(
            "measured", [*measured.index], measured, "rate", {"color": BLUE}, hovertemplate=told
        ),
    ]  # fmt: skip
    far = int((predicted["rate"] - measured["rate"]).abs().argmax())
    rates = [f"{100 * frame['rate'].iloc[far]:.1f} %" for frame in (predicted, measured)]
    title = f"Furthest apart at step {x[far]}: {rates[0]} predicted, {rates[1]} measured"
    figure = titled_figure(title, traces, "steps that depend on each other", "tasks gone wrong, %")
    figure.update_xaxes(dtick=1)
    return figure.update_yaxes(rangemode="tozero")
