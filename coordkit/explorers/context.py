"""Sliders of layer 1: how much of a dump, or how many retrieved texts, a prompt is given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from coordkit.experiment import Settings, run
from coordkit.lesson import Progress, runs_folder
from coordkit.plots import BLUE, VERMILION, titled_figure, whiskers
from coordkit.stack import Stack
from coordkit.statistics import wilson
from coordkit.widgets import Dial, Explorer, Shown

APPROACHES = {"dump": "naive dump", "retrieval": "retrieval"}


def measure_sizes(
    case: str,
    dumps: Sequence[int],
    retrieved: Sequence[int],
    tasks: int = 60,
) -> pd.DataFrame:
    """Run one prompt per task (layers 2 to 6 off) with more and more context in it.

    Args:
        case: billing or support.
        dumps: characters of the naive dump, each at least 0.
        retrieved: numbers of retrieved records and documents, each at least 0.
        tasks: tasks per setting.

    Returns:
        One row per setting. ``approach``: dump or retrieval; ``size``: characters or texts;
        ``tasks``; ``failed``: number of tasks; ``failure``, ``low``, ``high``: percent with the
        95 % Wilson interval; ``tokens``: mean input tokens per task.
    """
    todo = [("dump", n, Stack.of(dump_characters=n)) for n in dumps]
    todo += [("retrieval", n, Stack.of("context", retrieved=n)) for n in retrieved]
    rows = []
    with Progress(f"{case}: {len(todo)} settings, {tasks} tasks") as progress:
        for done, (approach, size, stack) in enumerate(todo):
            progress(done, len(todo))
            settings = Settings(case, tasks=tasks, stack=stack)
            table, _ = run(settings, [stack], runs_folder())
            rows.append({"approach": approach, "size": size, **_rates(table)})
    return pd.DataFrame(rows)


def _rates(table: pd.DataFrame) -> dict[str, Any]:
    failed, tasks = int(table["failed"].sum()), len(table)
    low, high = wilson(failed, tasks)
    return {
        "tasks": tasks,
        "failed": failed,
        "failure": round(100 * failed / tasks, 1),
        "low": round(100 * low, 1),
        "high": round(100 * high, 1),
        "tokens": round(table["input_tokens"].mean()),
    }


def nearest(sizes: pd.DataFrame, approach: str, size: float) -> pd.Series[Any]:
    """The measured setting of an approach whose size is nearest to the one asked for.

    Args:
        sizes: as `measure_sizes` returns it.
        approach: dump or retrieval.
        size: characters or texts; between two settings the smaller one wins a tie.
    """
    rows = sizes[sizes["approach"] == approach].sort_values("size")
    return rows.iloc[(rows["size"] - size).abs().argmin()]


def compare_sizes(sizes: pd.DataFrame, thousands: float, texts: int) -> Shown:
    """What a dump and a retrieval cost and break, at the measured settings nearest to the sliders.

    Args:
        sizes: as `measure_sizes` returns it.
        thousands: thousand characters of the dump, at least 0.
        texts: records and documents retrieved, at least 0.
    """
    dump, found = nearest(sizes, "dump", 1000 * thousands), nearest(sizes, "retrieval", texts)
    apart = dump["low"] > found["high"] or found["low"] > dump["high"]
    told = "do not overlap" if apart else "overlap, so that these tasks do not tell the two apart"
    text = (
        f"Dump of {dump['size']:,} characters: {_told(dump)}.<br>"
        f"Retrieval of {found['size']} texts: {_told(found)}.<br>"
        f"The dump sends {dump['tokens'] / found['tokens']:.1f} times as many tokens. "
        f"The two intervals {told}. ({dump['tasks']} tasks per setting; the nearest measured "
        "settings are shown.)"
    )
    marks = [{"x": [row["tokens"]], "y": [row["failure"]]} for row in (dump, found)]
    return Shown(text, [{}, {}, *marks])


def _told(row: pd.Series[Any]) -> str:
    return (
        f"<b>{row['failure']:.1f} % fail</b> ({row['low']:.1f} to {row['high']:.1f}), "
        f"{row['tokens']:,} tokens a task"
    )


def sizes_figure(sizes: pd.DataFrame, case: str) -> go.Figure:
    """Failure rate against the size of the prompt, for dumps and retrieval, with intervals.

    Args:
        sizes: as `measure_sizes` returns it.
        case: its name, for the title.
    """
    traces, marks = [], []
    for (approach, name), colour in zip(APPROACHES.items(), (VERMILION, BLUE), strict=True):
        rows = sizes[sizes["approach"] == approach].sort_values("tokens")
        traces.append(
            go.Scatter(
                x=rows["tokens"],
                y=rows["failure"],
                error_y=whiskers(rows["failure"], rows["low"], rows["high"]),
                customdata=rows["size"],
                mode="lines+markers",
                name=name,
                line_color=colour,
                hovertemplate=f"{name}, size %{{customdata:,}}: %{{y:.1f}} %<extra></extra>",
            )
        )
        ring = {"symbol": "circle-open", "size": 18, "color": colour, "line": {"width": 3}}
        marks.append(go.Scatter(mode="markers", marker=ring, hoverinfo="skip", showlegend=False))
    figure = titled_figure(_title(sizes, case), [*traces, *marks])
    figure.update_xaxes(title_text="tokens sent per task (logarithmic)", type="log")
    return figure.update_yaxes(title_text="failed tasks, %", rangemode="tozero")


def _title(sizes: pd.DataFrame, case: str) -> str:
    ordered = sizes.sort_values(["failure", "tokens"]).drop_duplicates("approach")
    best = ordered.set_index("approach").to_dict("index")
    dump, found = best["dump"], best["retrieval"]
    return (
        f"{case}: the best dump fails {dump['failure']:.1f} % for {dump['tokens']:,} tokens, "
        f"the best retrieval {found['failure']:.1f} % for {found['tokens']:,}"
    )


def context_explorer(sizes: pd.DataFrame, case: str) -> Explorer:
    """Sliders over what `measure_sizes` has measured.

    Args:
        sizes: as `measure_sizes` returns it.
        case: its name, for the title.
    """
    top = sizes.groupby("approach")["size"].max()
    dials = [
        Dial("thousands", "dump, thousand characters", 0, int(top["dump"]) // 1000, 1, 6),
        Dial("texts", "texts retrieved", 0, int(top["retrieval"]), 1, 12),
    ]
    return Explorer(dials, sizes_figure(sizes, case), partial(compare_sizes, sizes))
