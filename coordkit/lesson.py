"""What every layer's notebook does: tell a trial, measure before and after, say what came out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coordkit.experiment import Bench, Settings, run
from coordkit.faults import Simulation
from coordkit.ladder import FULL, task_matrix
from coordkit.layers import LAYERS
from coordkit.stack import Stack
from coordkit.statistics import failure_interval, paired_difference

CASES = ("billing", "support")
COMPARISONS = {"ladder": "added on the ladder", "knockout": "knocked out of all six"}


class Progress:
    """A progress bar that is gone when the work is done, so that it leaves no output behind."""

    def __init__(self, description: str) -> None:
        from ipywidgets import IntProgress

        self.bar = IntProgress(description=description, style={"description_width": "initial"})

    def __enter__(self) -> Progress:
        from IPython.display import display

        bundle = self.bar._repr_mimebundle_()
        del bundle["text/plain"]  # nbval would miss it in the committed notebook
        display(bundle, raw=True)
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` trials are finished."""
        self.bar.max, self.bar.value = total, done

    def __exit__(self, *error: object) -> None:
        self.bar.close()


def measure(
    case: str,
    stacks: Sequence[Stack],
    tasks: int = 300,
    *,
    data: str | Path = "",
    **simulation: Any,
) -> pd.DataFrame:
    """Run stacks on tasks spread evenly over a case and return one row per trial.

    Args:
        case: billing or support, or your own as ``module:factory``.
        stacks: what to measure; one given twice is measured once.
        tasks: number of tasks; with 300 an interval is about ±5 points wide.
        data: folder of your own tables; empty takes the sample.
        simulation: settings of the simulated model, such as ``reliability=0.9`` or ``seed=1``.

    Finished stacks are kept in ``runs/`` (or the folder that COORDKIT_RUNS names), so that a second
    call costs nothing.
    """
    settings = Settings(case, tasks=tasks, data=str(data), simulation=Simulation(**simulation))
    with Progress(f"{case}: {len(set(stacks))} stacks, {tasks} tasks") as progress:
        table, _ = run(settings, list(stacks), runs_folder(), progress=progress)
    return table


def telling(bench: Bench, task: str, *headings: str) -> None:
    """Run one task and print the parts of its story (`coordkit.trace.tell`) that a lesson needs.

    Args:
        bench: the stack and case to run it on.
        task: its id.
        headings: beginnings of the blocks to print, such as ``"Task"``, ``"agent match"``,
            ``"Verdict"``; all blocks if none is given.

    Raises:
        KeyError: if the case has no such task.
    """
    from coordkit.trace import tell

    known = {t.id: t for t in bench.at.case.tasks}
    blocks = tell(bench, known[task]).split("\n\n")
    print("\n\n".join(b for b in blocks if b.startswith(headings or "")))


def runs_folder() -> Path:
    """Where notebooks keep what they measure: COORDKIT_RUNS, or runs/ beside notebooks/."""
    if named := os.environ.get("COORDKIT_RUNS"):
        return Path(named)
    here = Path.cwd()
    return (here.parent if here.name == "notebooks" else here) / "runs"


def comparisons(layer: str) -> dict[str, tuple[Stack, Stack]]:
    """The two pairs of stacks, without and with a layer: on the ladder and out of all six."""
    k = LAYERS.index(layer) + 1
    return {
        "ladder": (Stack.rung(k - 1), Stack.rung(k)),
        "knockout": (FULL.without(layer), FULL),
    }


def before_after(layer: str, tasks: int = 300) -> pd.DataFrame:
    """What a layer does to both cases: added on the ladder, and knocked out of all six.

    Args:
        layer: one of the six.
        tasks: tasks per case.

    Returns:
        One row per case and comparison. ``without``, ``with``: failure rate, percent, each with its
        95 % interval in ``without_ci`` and ``with_ci``; ``change`` with ``low`` and ``high``:
        with minus without, percentage points, paired by task; ``p``: exact McNemar;
        ``escalated``, ``calls`` and ``usd``: percent of tasks, model calls and cost per task,
        without → with.
    """
    rows = []
    pairs = comparisons(layer)
    for case in CASES:
        table = measure(case, [s for pair in pairs.values() for s in pair], tasks)
        for name, pair in pairs.items():
            rows.append({"case": case, "comparison": COMPARISONS[name], **_changes(table, *pair)})
    return pd.DataFrame(rows).set_index(["case", "comparison"])


def costs(layer: str, comparison: str = "ladder", tasks: int = 300) -> pd.DataFrame:
    """What a layer costs: means per task without and with it, and the ratio of the two.

    Args:
        layer: one of the six.
        comparison: ``ladder`` or ``knockout``, as in `comparisons`.
        tasks: tasks per case, as for `before_after`, whose trials are used again.

    Returns:
        Per case the rows ``without``, ``with`` and ``ratio``; columns ``calls``, ``input_tokens``,
        ``output_tokens``, ``seconds`` (modelled) and ``cost_usd`` (calls and reviews).
    """
    pair = comparisons(layer)[comparison]
    digits = {"calls": 1, "input_tokens": 0, "output_tokens": 0, "seconds": 2, "cost_usd": 4}
    tables: dict[str, pd.DataFrame] = {}
    for case in CASES:
        means = measure(case, pair, tasks).groupby("stack")[list(digits)].mean()
        means = means.loc[[stack.label for stack in pair]].set_axis(["without", "with"])
        tables[case] = means.round(digits)
        tables[case].loc["ratio"] = (means.loc["with"] / means.loc["without"]).round(2)
    return pd.concat(tables, names=["case", layer])


def _changes(table: pd.DataFrame, without: Stack, with_layer: Stack) -> dict[str, Any]:
    before, after = (task_matrix(table, s.label) for s in (without, with_layer))
    change = paired_difference(before, after)
    means = table.groupby("stack")[["escalated", "calls", "cost_usd"]].mean()
    a, b = means.loc[without.label], means.loc[with_layer.label]
    return {
        "without": round(100 * before.mean(), 1),
        "without_ci": _interval(before),
        "with": round(100 * after.mean(), 1),
        "with_ci": _interval(after),
        "change": round(100 * change.delta, 1),
        "low": round(100 * change.low, 1),
        "high": round(100 * change.high, 1),
        "p": float(f"{change.p_value:.2g}"),
        "escalated": f"{100 * a['escalated']:.1f} → {100 * b['escalated']:.1f}",
        "calls": f"{a['calls']:.1f} → {b['calls']:.1f}",
        "usd": f"{a['cost_usd']:.4f} → {b['cost_usd']:.4f}",
    }


def _interval(failed: Any) -> str:
    low, high = failure_interval(failed)
    return f"{100 * low:.1f} to {100 * high:.1f}"
