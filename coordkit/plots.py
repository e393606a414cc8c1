"""Plotly figures of the results, in one manner.

The title states the finding, axes carry units, intervals are 95 %. Colours are Okabe and Ito's,
which colour-blind people can tell apart; backgrounds are transparent and text is mid-grey, so that
a figure can be read on a light and on a dark page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from coordkit.ladder import Entry, Summary, added, finding, percent, rung_of
from coordkit.layers import LAYERS

# Okabe & Ito (2008), "Color Universal Design".
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
GREY = "#767676"  # contrast 4.5 against white and 4.2 against a dark page

FATES = {"harmless": SKY, "repaired": GREEN, "escalated": BLUE, "shipped": VERMILION}
CHANGE = "change in failure rate, percentage points (left of 0: fewer failures)"
TOP_CAUSES = 10
LINE = 76  # characters of a title in one line at the usual width

TEMPLATE = go.layout.Template(
    layout={
        "font": {"color": GREY, "size": 13},
        "title": {
            "font": {"size": 15},
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 24, "l": 14},
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True},
        "legend": {
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "normal",
        },
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


def titled_figure(title: str, traces: Sequence[Any], **layout: Any) -> go.Figure:
    """A figure in the kit's look, with room for its title and legend.

    Args:
        title: the finding; broken into lines where it is long.
        traces: what it shows.
        layout: further properties of the layout.
    """
    lines = wrap(title, LINE)
    figure = go.Figure(traces)
    # room for the title, and for the legend where there is one
    top = 30 + 20 * len(lines) + (35 if len(figure.data) > 1 else 5)
    return figure.update_layout(
        template=TEMPLATE, title_text="<br>".join(lines), margin_t=top, **layout
    )


def names(summary: Summary) -> list[str]:
    """What to call each entry on an axis: its rung and what it adds."""
    entries = summary["rungs"]
    return [_name(entry, before) for before, entry in zip([None, *entries], entries, strict=False)]


def _name(entry: Entry, before: Entry | None) -> str:
    if entry["rung"] is None:
        return " + ".join(entry["layers"])
    if entry["rung"] == 0:
        return "0 bare model"
    return f"{entry['rung']} {added(entry, before) if before else _first(entry['rung'])}"


def _first(rung: int) -> str:
    return "context" if rung == 1 else f"layers 1 to {rung}"


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
    asked = [100 * e["escalated"] / e["trials"] for e in entries]
    top = max(*asked, *(100 * e["ci_high"] for e in entries))
    escalations = go.Scatter(
        x=x,
        y=[share or None for share in asked],
        mode="markers",
        name="escalated to a person",
        marker={
            "symbol": "diamond",
            "size": 11,
            "color": BLUE,
            "line": {"width": 1, "color": "white"},
        },
        hovertemplate="%{y:.1f} % escalated<extra></extra>",
    )
    figure = titled_figure(
        finding(summary),
        [
            _share(x, entries, "silent", "silent: wrong and shipped", VERMILION),
            _share(x, entries, "loud", "loud: held, crashed, rejected", ORANGE),
            _intervals(x, entries),
            _rates(x, entries, asked, top),
            escalations,
        ],
        barmode="stack",
    )
    figure.update_yaxes(title_text="share of trials, %", range=[0, 1.15 * top])
    return figure.update_xaxes(title_text="rung of the ladder and the layer it adds")


def _intervals(x: list[str], entries: Sequence[Entry]) -> go.Scatter:
    rate, low, high = (
        [100 * e[key] for e in entries] for key in ("failure_rate", "ci_low", "ci_high")
    )
    error = whiskers(rate, low, high, color=GREY, thickness=2)
    marker = {"size": 1, "color": GREY}
    return go.Scatter(
        x=x,
        y=rate,
        error_y=error,
        mode="markers",
        marker=marker,
        hoverinfo="skip",
        showlegend=False,
    )


def _rates(
    x: list[str], entries: Sequence[Entry], asked: Sequence[float], top: float
) -> go.Scatter:
    """The failure rates in figures above their intervals, clear of the escalations' marks."""
    y = []
    for entry, share in zip(entries, asked, strict=True):
        high = 100 * entry["ci_high"]
        y.append(0.02 * top + (share if high - 0.02 * top < share < high + 0.12 * top else high))
    text = [percent(e["failure_rate"]) for e in entries]
    return go.Scatter(
        x=x, y=y, mode="text", text=text, textposition="top center", hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip


def _share(x: list[str], entries: Sequence[Entry], key: str, name: str, colour: str) -> go.Bar:
    return go.Bar(
        x=x,
        y=[100 * e[key] / e["trials"] for e in entries],
        customdata=[[e[key], e["trials"]] for e in entries],
        name=name,
        marker_color=colour,
        hovertemplate="%{y:.1f} %, %{customdata[0]} of %{customdata[1]} trials",
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
    labels = [added(e, before) for before, e in zip(summary["rungs"], entries, strict=False)]
    ladder = [(e["delta"], e["delta_ci_low"], e["delta_ci_high"]) for e in entries]
    knockout = [
        (e["knockout_delta"], e["knockout_ci_low"], e["knockout_ci_high"])
        if e["knockout_delta"] is not None
        else None
        for e in entries
    ]
    traces = [_effects(labels, ladder, -0.13, "added on the ladder", BLUE, "circle")]
    if any(knockout):
        name = "knocked out of all six"
        traces.append(_effects(labels, knockout, 0.13, name, ORANGE, "diamond"))
    figure = titled_figure(_effect_title(summary["case"], entries, labels), traces)
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text=CHANGE)
    ticks = list(range(len(labels)))
    return figure.update_yaxes(
        tickvals=ticks, ticktext=labels, range=[len(labels) - 0.5, -0.5], showgrid=False
    )


def _effects(
    labels: Sequence[str],
    effects: Sequence[tuple[float, float, float] | None],
    offset: float,
    name: str,
    colour: str,
    symbol: str,
) -> go.Scatter:
    """One mark with its interval per layer; (effect, low, high) as fractions, None leaves a gap."""
    known = [i for i, effect in enumerate(effects) if effect]
    middle, low, high = 100 * np.array([effects[i] for i in known], dtype=float).T
    return go.Scatter(
        x=middle.tolist(),
        y=[i + offset for i in known],
        error_x=whiskers(middle, low, high),
        customdata=[labels[i] for i in known],
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": 10},
        hovertemplate=f"%{{customdata}}, {name}: %{{x:.1f}} points<extra></extra>",
    )


def _effect_title(case: str, entries: Sequence[Entry], labels: Sequence[str]) -> str:
    up = min(range(len(entries)), key=lambda i: entries[i]["delta"])
    text = (
        f"{case}: on the ladder {labels[up]} changes most ({-100 * entries[up]['delta']:.1f} points"
    )
    measured = [i for i, e in enumerate(entries) if e["knockout_delta"] is not None]
    if not measured:
        return text + " fewer failures)"
    out = max(measured, key=lambda i: entries[i]["knockout_delta"])
    loss = f"{100 * entries[out]['knockout_delta']:.1f} more"
    names = [entries[i]["layers"][-1] for i in measured]  # a rung may add several; one was out
    missed = entries[out]["layers"][-1]
    if len(names) == 1:
        return text + f" fewer failures); knocked out of all six, {missed} alone: {loss}"
    those = "all six" if len(names) == len(LAYERS) else " and ".join(names)
    return text + f" fewer failures); of {those}, {missed} is missed most ({loss})"


def _by_rung(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The trials of each rung in the table, by its name; of each stack if none is a rung."""
    parts: dict[str, pd.DataFrame] = {}
    ranked = []
    for label, part in table.groupby("stack", sort=False):
        layers = [] if label == "none" else str(label).split("+")
        ranked.append((rung_of(layers), str(label), layers, part))
    rungs = sorted((r for r in ranked if r[0] is not None), key=lambda r: r[0] or 0)
    for rung, label, layers, part in rungs or ranked:
        name = label if rung is None else f"{rung} {layers[-1] if layers else 'bare model'}"
        parts[_broken(name)] = part
    return parts


def causes_figure(table: pd.DataFrame) -> go.Figure:
    """The commonest causes of failure by rung, as numbers of trials.

    Args:
        table: trials, as `coordkit.experiment.run` returns them.
    """
    parts = _by_rung(table)
    counts = {name: Counter(part.loc[part["failed"], "cause"]) for name, part in parts.items()}
    total = sum(counts.values(), Counter[str]())
    top = [cause for cause, _ in total.most_common(TOP_CAUSES)]
    rows = [[counts[name][cause] for name in parts] for cause in top]
    if len(total) > TOP_CAUSES:
        rows.append(
            [counts[name].total() - sum(r[i] for r in rows) for i, name in enumerate(parts)]
        )
        top.append(f"{len(total) - TOP_CAUSES} other causes")
    cells = go.Heatmap(
        x=list(parts),
        y=top,
        z=rows,
        text=[[n or "" for n in row] for row in rows],
        texttemplate="%{text}",
        colorscale=[[0, "rgba(213,94,0,0)"], [1, VERMILION]],
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="%{y}: %{z} failed trials at rung %{x}<extra></extra>",
    )
    figure = titled_figure(_causes_title(parts, counts), [cells], height=140 + 26 * len(top))
    figure.update_xaxes(title_text="rung; cells: failed trials", title_standoff=14, showgrid=False)
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def _causes_title(parts: dict[str, pd.DataFrame], counts: dict[str, Counter[str]]) -> str:
    names = list(parts)
    told = []
    for name in dict.fromkeys([names[0], names[-1]]):
        plain = _spoken(name)
        if not counts[name]:
            told.append(f"at {plain} nothing fails")
            continue
        (cause, n), *others = counts[name].most_common(2)
        if others and others[0][1] == n:
            told.append(f"at {plain}, no one cause leads the {counts[name].total()} failures")
            continue
        told.append(f'at {plain}, "{cause}" leads ({n} of {counts[name].total()} failures)')
    return "Why trials fail: " + "; ".join(told)


def fates_figure(table: pd.DataFrame) -> go.Figure:
    """What became of the injected faults by rung, as numbers of faults.

    Args:
        table: trials, as `coordkit.experiment.run` returns them.
    """
    parts = _by_rung(table)
    books = {
        name: Counter(fault["fate"] for book in part["faults"] for fault in json.loads(book))
        for name, part in parts.items()
    }
    bars = [
        go.Bar(
            x=list(parts),
            y=[books[name][fate] for name in parts],
            name=fate,
            marker_color=colour,
            hovertemplate=f"%{{y}} {fate}<extra></extra>",
        )
        for fate, colour in FATES.items()
    ]
    figure = titled_figure(_fates_title(books), bars, barmode="stack")
    figure.update_xaxes(title_text="rung")
    return figure.update_yaxes(title_text="injected faults")


def _fates_title(books: dict[str, Counter[str]]) -> str:
    told = [
        f"{book['shipped']} of {book.total()} at {_spoken(name)}"
        for name, book in [*books.items()][:: max(1, len(books) - 1)]
    ]
    return "Injected faults that shipped in a failed trial: " + ", ".join(told)


def before_after_figure(frame: pd.DataFrame, layer: str) -> go.Figure:
    """What a layer changes on each case, with intervals.

    Args:
        frame: as `coordkit.lesson.before_after` returns it.
        layer: its name, for the title.
    """
    cases = list(dict.fromkeys(frame.index.get_level_values("case")))
    looks = ((BLUE, "circle"), (ORANGE, "diamond"))
    traces = []
    names = list(dict.fromkeys(frame.index.get_level_values("comparison")))
    for place, (name, (colour, symbol)) in enumerate(zip(names, looks, strict=True)):
        rows = frame.xs(name, level="comparison").loc[cases]
        effects = [
            tuple(row) for row in (rows[["change", "low", "high"]] / 100).itertuples(index=False)
        ]
        traces.append(_effects(cases, effects, 0.26 * place - 0.13, name, colour, symbol))
    told = ", ".join(
        f"{case}: {row['without']:.1f} → {row['with']:.1f} %"
        for case, row in frame.xs(names[0], level="comparison").iterrows()
    )
    figure = titled_figure(
        f"Failure rate without → with {layer} (ladder): {told}", traces, height=300
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text=CHANGE)
    ticks = list(range(len(cases)))
    return figure.update_yaxes(
        tickvals=ticks, ticktext=cases, range=[len(cases) - 0.5, -0.5], showgrid=False
    )


def blind_spots_figure(fates: pd.DataFrame) -> go.Figure:
    """Which share of the slips the checks catch, by fault mode or step.

    Args:
        fates: as `coordkit.explorers.verification.slip_fates` returns it.
    """
    labels = [f"{name} ({n})" for name, n in fates["slips"].items()]
    traces = [
        go.Bar(
            y=labels,
            x=100 * fates[list(parts)].sum(axis=1) / fates["slips"],
            name=name,
            orientation="h",
            marker_color=colour,
            hovertemplate="%{x:.0f} %",
        )
        for name, parts, colour in (
            ("caught: repaired or held", ("repaired", "held"), GREEN),
            ("passed, harmless", ("harmless",), SKY),
            ("passed, in a wrong outcome", ("shipped",), VERMILION),
        )
    ]
    caught = 100 * fates["caught"]
    error = whiskers(caught, 100 * fates["low"], 100 * fates["high"], color=GREY, thickness=2)
    marker = {"size": 5, "color": GREY}
    traces.append(
        go.Scatter(
            y=labels,
            x=caught,
            error_x=error,
            mode="markers",
            marker=marker,
            name="95 % interval of caught",
            hoverinfo="skip",
        )
    )
    best, worst = fates.index[0], fates.index[-1]
    title = (
        f"Checks catch {caught.iloc[0]:.0f} % of {best} and {caught.iloc[-1]:.0f} % of {worst}; "
        f"{fates['shipped'].sum()} of {fates['slips'].sum()} slips passed into a wrong outcome"
    )
    figure = titled_figure(title, traces, barmode="stack", height=200 + 34 * len(labels))
    figure.update_xaxes(title_text="share of slips, %", range=[0, 101])
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def retries_figure(measured: pd.DataFrame, exact: pd.DataFrame) -> go.Figure:
    """Success by retries allowed and correlation: measured with intervals, and the closed form.

    Args:
        measured: ``rho``, ``retries``, ``success``, ``low``, ``high`` (fractions).
        exact: ``rho``, ``retries``, ``success`` (fractions).
    """
    traces = []
    styles = ((BLUE, "circle", "solid"), (ORANGE, "diamond", "dash"), (VERMILION, "square", "dot"))
    gains = []
    for (rho, line), (colour, symbol, dash) in zip(exact.groupby("rho"), styles, strict=False):
        marks = measured[measured["rho"] == rho]
        y = 100 * marks["success"]
        error = whiskers(y, 100 * marks["low"], 100 * marks["high"])
        name = f"rho = {rho:g}"
        traces.append(
            go.Scatter(
                x=line["retries"],
                y=100 * line["success"],
                mode="lines",
                name=f"{name}, formula",
                line={"color": colour, "dash": dash},
            )
        )
        traces.append(
            go.Scatter(
                x=marks["retries"],
                y=y,
                error_y=error,
                mode="markers",
                name=f"{name}, measured",
                marker={"color": colour, "symbol": symbol, "size": 9},
            )
        )
        gains.append(f"{100 * line['success'].iloc[-1]:.0f} % at rho = {rho:g}")
    last = exact["retries"].max()
    figure = titled_figure(
        f"{last} retries of a checked step bring success to " + ", ".join(gains), traces
    )
    figure.update_layout(margin_t=130)
    figure.update_xaxes(title_text="retries allowed", dtick=1)
    return figure.update_yaxes(title_text="success, % of tasks")


def risk_coverage_figure(curves: dict[str, pd.DataFrame]) -> go.Figure:
    """Failure rate of what is let through, by the share that is let through.

    Args:
        curves: name -> as `coordkit.explorers.human.risk_coverage` returns it.
    """
    traces, told = [], []
    styles = ((BLUE, "circle", "solid"), (ORANGE, "diamond", "dash"))
    for (name, curve), (colour, symbol, dash) in zip(curves.items(), styles, strict=False):
        y = 100 * curve["risk"]
        error = whiskers(y, 100 * curve["low"], 100 * curve["high"])
        traces.append(
            go.Scatter(
                x=100 * curve["coverage"],
                y=y,
                error_y=error,
                name=name,
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"symbol": symbol, "size": 9},
                customdata=curve[["failures", "n"]],
                hovertemplate="%{y:.1f} %, %{customdata[0]} of %{customdata[1]} tasks",
            )
        )
        half = curve.iloc[(curve["coverage"] - 0.5).abs().argmin()]
        told.append(f"{name} {y.iloc[-1]:.1f} → {100 * half['risk']:.1f} %")
    figure = titled_figure(
        "Failure rate, all → the more confident half: " + ", ".join(told), traces
    )
    figure.update_xaxes(title_text="tasks let through, the most confident first, %")
    return figure.update_yaxes(title_text="failures among them, %", rangemode="tozero")


def fatigue_figure(reviews: pd.DataFrame) -> go.Figure:
    """A reviewer's accuracy through a shift.

    Args:
        reviews: ``fatigue``, ``shift`` (middle of the part of the shift, 0..1), ``accuracy``,
            ``low``, ``high`` (fractions).
    """
    styles = ((BLUE, "circle", "solid"), (ORANGE, "diamond", "dash"), (VERMILION, "square", "dot"))
    traces, told = [], []
    for (fatigue, part), (colour, symbol, dash) in zip(
        reviews.groupby("fatigue"), styles, strict=False
    ):
        y = 100 * part["accuracy"]
        error = whiskers(y, 100 * part["low"], 100 * part["high"])
        traces.append(
            go.Scatter(
                x=100 * part["shift"],
                y=y,
                error_y=error,
                mode="lines+markers",
                name=f"fatigue {fatigue:g}",
                line={"color": colour, "dash": dash},
                marker={"symbol": symbol, "size": 9},
            )
        )
        told.append(f"{y.iloc[-1]:.0f} % (fatigue {fatigue:g})")
    figure = titled_figure("Reviews right in the last part of a shift: " + ", ".join(told), traces)
    figure.update_xaxes(title_text="time into the shift, %")
    return figure.update_yaxes(title_text="reviews right, %")


# --- the whole stack -----------------------------------------------------------------------------


def waterfall_figure(summary: Summary) -> go.Figure:
    """The ladder as a waterfall: where it starts, what each layer takes off, what is left.

    Args:
        summary: as `coordkit.ladder.summarise` returns it, of two rungs or more. The intervals are
            those of the rate at both ends, and of the paired change in between.
    """
    entries = summary["rungs"]
    rates = [100 * e["failure_rate"] for e in entries]
    changes = [100 * e["delta"] for e in entries[1:]]
    added_layers = [added(e, before) for before, e in pairwise(entries)]
    x = ["bare<br>model" if entries[0]["rung"] == 0 else "start", *added_layers, "what<br>is left"]
    ends, base = [*rates, rates[-1]], [0, *rates[:-1], 0]
    low, high = _ends_of_steps(entries, "low"), _ends_of_steps(entries, "high")
    bars = go.Bar(
        x=x,
        y=[rates[0], *changes, rates[-1]],
        base=base,
        marker_color=[GREY, *(GREEN if c <= 0 else VERMILION for c in changes), GREY],
        hovertemplate="%{x}: %{y:+.1f} points<extra></extra>",
    )
    intervals = go.Scatter(
        x=x,
        y=ends,
        error_y=whiskers(ends, low, high, color=GREY),
        mode="markers",
        marker={"size": 1, "color": GREY},
        hoverinfo="skip",
    )
    text = [f"{rates[0]:.1f}", *(f"{c:+.1f}" for c in changes), f"{rates[-1]:.1f}"]
    tops = [max(three) for three in zip(ends, base, high, strict=True)]
    figures = go.Scatter(
        x=x,
        y=tops,
        text=[t.replace("-", "−") for t in text],
        mode="text",
        textposition="top center",
        hoverinfo="skip",
    )
    figure = titled_figure(finding(summary), [bars, intervals, figures], showlegend=False)
    figure.update_xaxes(title_text="layer added, with the 95 % interval of the change")
    # Room for the figures above the bars, and for an interval's end below.
    room = [1.1 * min(0, *low), 1.15 * max(tops)]
    return figure.update_yaxes(title_text="failure rate, % of trials", range=room)


def _ends_of_steps(entries: Sequence[Entry], end: str) -> list[float]:
    """One end of each bar's interval, percent: of the rate outside, of the change within."""
    changed = [
        100 * (before["failure_rate"] + e[f"delta_ci_{end}"]) for before, e in pairwise(entries)
    ]
    return [100 * entries[0][f"ci_{end}"], *changed, 100 * entries[-1][f"ci_{end}"]]


def shares_figure(shares: dict[str, pd.DataFrame]) -> go.Figure:
    """Shapley shares of the failures removed, with intervals.

    Args:
        shares: by case, as `coordkit.attribution.shapley_shares` returns them.
    """
    looks = [(BLUE, "circle"), (ORANGE, "diamond"), (GREEN, "square")]
    layers = [str(layer) for layer in next(iter(shares.values())).index]
    traces, told = [], []
    for place, ((case, frame), look) in enumerate(zip(shares.items(), looks, strict=False)):
        effects = list(frame.loc[layers, ["share", "low", "high"]].itertuples(index=False))
        offset = 0.22 * place - 0.11 * (len(shares) - 1)
        traces.append(_effects(layers, effects, offset, case, *look))
        best = frame["share"].argmax()
        told.append(f"{case}: {layers[best]} {100 * frame['share'].max():.1f} points")
    title = "Largest Shapley share of the failures removed: " + ", ".join(told)
    figure = titled_figure(title, traces, height=400)
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="failures removed, percentage points of tasks, 95 % interval")
    ticks = list(range(len(layers)))
    return figure.update_yaxes(
        tickvals=ticks, ticktext=layers, range=[len(layers) - 0.5, -0.5], showgrid=False
    )


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
    marks = [
        ("every other stack", others, "markers", SKY, 7),
        ("frontier", edge, "lines+markers", VERMILION, 10),
    ]
    traces = [
        go.Scatter(
            x=part["usd"],
            y=100 * part["failure"],
            error_y=whiskers(
                *(100 * part[end] for end in ("failure", "low", "high")),
                visible=name == "frontier",
            ),
            customdata=part["stack"],
            mode=mode,
            name=f"{name} ({len(part)})",
            line={"shape": "hv", "dash": "dot"},
            marker={"color": colour, "size": size},
            hovertemplate="%{customdata}<br>%{y:.1f} % fail, %{x:.4f} USD a task<extra></extra>",
        )
        for name, part, mode, colour, size in marks
    ]
    a, b = edge.iloc[0], edge.iloc[-1]
    title = (
        f"{case}: {len(edge)} of {len(points)} stacks are on the frontier, from "
        f"{100 * a['failure']:.1f} % for {a['usd']:.4f} USD to {100 * b['failure']:.1f} % for "
        f"{b['usd']:.4f} USD a task"
    )
    figure = titled_figure(title, traces)
    figure.update_xaxes(title_text="cost per task, USD (logarithmic)", type="log")
    return figure.update_yaxes(title_text="failure rate, % of tasks", rangemode="tozero")


SEEN_TO = {"execution": ORANGE, "verification": GREEN, "human": BLUE, "none": GREY}


def sankey_figure(flows: pd.DataFrame, name: str) -> go.Figure:
    """Where each injected fault ended: from its mode through the layer that dealt with it.

    Args:
        flows: as `coordkit.attribution.fault_flows` returns them.
        name: case and stack, for the title.
    """
    modes = list(flows.groupby("mode")["faults"].sum().sort_values(ascending=False).index)
    layers = [layer for layer in SEEN_TO if (flows["layer"] == layer).any()]
    fates = [fate for fate in FATES if (flows["fate"] == fate).any()]
    nodes: list[tuple[str, str]] = [("mode", str(mode)) for mode in modes]
    nodes += [("layer", layer) for layer in layers] + [("fate", fate) for fate in fates]
    place = {node: i for i, node in enumerate(nodes)}
    links: list[tuple[int, int, int, str]] = []
    for left, right, looks in (("mode", "layer", SEEN_TO), ("layer", "fate", FATES)):
        sums = flows.groupby([left, right], as_index=False)["faults"].sum()
        for a, b, n in sums.itertuples(index=False):
            links.append((place[left, str(a)], place[right, str(b)], int(n), looks[str(b)]))
    called = {"none": "no layer"}
    source, target, value, colours = (list(column) for column in zip(*links, strict=True))
    diagram = go.Sankey(
        node={
            "label": [called.get(text, text).replace("_", " ") for _, text in nodes],
            "color": [GREY] * len(modes) + [SEEN_TO[v] for v in layers] + [FATES[f] for f in fates],
            "pad": 14,
            "line": {"width": 0},
        },
        link={
            "source": source,
            "target": target,
            "value": value,
            "color": [_faint(str(colour)) for colour in colours],
        },
        textfont={"color": GREY, "size": 13, "shadow": "none"},
    )
    total = int(flows["faults"].sum())
    shipped = int(flows.loc[flows["fate"] == "shipped", "faults"].sum())
    title = f"{name}: {shipped} of {total} injected faults shipped in a failed trial"
    return titled_figure(title, [diagram])


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.4)"


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
    looks = [(BLUE, "circle"), (ORANGE, "diamond"), (GREEN, "square")]
    lines = [(VERMILION, "dash"), (PURPLE, "dot"), (GREY, "dashdot")]
    traces = [
        go.Scatter(
            x=list(frame.index),
            y=100 * frame["rate"],
            error_y=whiskers(*(100 * frame[end] for end in ("rate", "low", "high"))),
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 9},
            hovertemplate="%{x}: %{y:.1f} %",
        )
        for (name, frame), (colour, symbol) in zip(measured.items(), looks, strict=False)
    ]
    traces += [
        go.Scatter(
            x=list(series.index),
            y=100 * series,
            mode="lines",
            name=name,
            line={"color": colour, "dash": dash},
            hovertemplate="%{x}: %{y:.1f} %",
        )
        for (name, series), (colour, dash) in zip(formulas.items(), lines, strict=False)
    ]
    figure = titled_figure(title, traces)
    figure.update_xaxes(title_text=x_title)
    return figure.update_yaxes(title_text="failure rate, %", rangemode="tozero")


def prediction_figure(predicted: pd.DataFrame, measured: pd.DataFrame) -> go.Figure:
    """Failure rates predicted from one step's reliability beside those measured.

    Args:
        predicted, measured: ``rate``, ``low`` and ``high`` (fractions) over the number of steps.
    """
    x, band = [*predicted.index], [*predicted["high"], *predicted["low"][::-1]]
    traces = [
        go.Scatter(
            x=[*x, *x[::-1]], y=[100 * rate for rate in band], fill="toself", mode="none",
            fillcolor=_faint(VERMILION), name="95 % interval of the prediction", hoverinfo="skip",
        ),
        go.Scatter(
            x=x, y=100 * predicted["rate"], mode="lines", name="predicted, 1 − pⁿ",
            line={"color": VERMILION, "dash": "dash"}, hovertemplate="%{x} steps: %{y:.1f} %",
        ),
        go.Scatter(
            x=[*measured.index], y=100 * measured["rate"], mode="markers", name="measured",
            error_y=whiskers(*(100 * measured[end] for end in ("rate", "low", "high"))),
            marker={"color": BLUE, "size": 9}, hovertemplate="%{x} steps: %{y:.1f} %",
        ),
    ]  # fmt: skip
    apart = list((predicted["rate"] - measured["rate"]).abs())
    far = apart.index(max(apart))
    rates = [f"{100 * frame['rate'].iloc[far]:.1f} %" for frame in (predicted, measured)]
    title = f"Furthest apart at step {x[far]}: {rates[0]} predicted, {rates[1]} measured"
    figure = titled_figure(title, traces)
    figure.update_xaxes(title_text="steps that depend on each other", dtick=1)
    return figure.update_yaxes(title_text="tasks gone wrong, %", rangemode="tozero")
