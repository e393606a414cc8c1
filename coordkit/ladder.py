"""From the table of trials to results: what each layer did, up the ladder and knocked out.

Pure functions. The dictionary that `summarise` returns is what ``coordkit ladder --json`` writes,
one per case; its key ``mechanism`` says what became of the faults and why trials failed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coordkit.experiment import Settings
from coordkit.layers import LAYERS
from coordkit.stack import Stack
from coordkit.statistics import PairedDifference, failure_interval, paired_difference, pass_hat_k

FULL = Stack.rung(len(LAYERS))
FATES = ("harmless", "repaired", "escalated", "shipped")
CHANCE = 0.05  # a change with a larger p-value is reported as one that chance may explain

Summary = dict[str, Any]
Entry = dict[str, Any]


def task_matrix(table: pd.DataFrame, stack_label: str) -> NDArray[np.bool_]:
    """Which trials of a stack failed, tasks x trials, the tasks sorted by id.

    Args:
        table: trials, as `coordkit.experiment.run` returns them.
        stack_label: a stack's label.

    Raises:
        ValueError: if the table has no such stack, or not every trial of every task.
    """
    part = table[table["stack"] == stack_label]
    if part.empty:
        raise ValueError(f"the table has no trials of the stack {stack_label}")
    matrix = part.pivot(index="task", columns="trial", values="failed")
    if matrix.isna().any(axis=None):
        raise ValueError(f"some tasks of the stack {stack_label} lack trials")
    return matrix.to_numpy(dtype=bool)


def summarise(table: pd.DataFrame, settings: Settings, rungs: Sequence[int]) -> Summary:
    """The results of a ladder as plain data.

    Args:
        table: trials; knock-outs are reported where the full stack and the one without the layer
            are both in it.
        settings: what was measured.
        rungs: the rungs to report, 0 to 6, in ascending order.

    Returns:
        ``case``, ``model``, ``seed``, ``tasks``, ``settings``, ``mechanism`` (see `mechanism`) and
        ``rungs``: one entry per rung. Rates, differences and interval ends (95 %) are fractions.

        - ``rung``, ``layers``: its number (null for another stack) and the layers that are on.
        - ``trials``, ``failures``, ``failure_rate``, ``ci_low``, ``ci_high``.
        - ``silent``, ``loud`` (they add up to ``failures``) and ``escalated``: numbers of trials.
        - ``delta``, ``delta_ci_low``, ``delta_ci_high``, ``p_value``: failure rate minus that of
          the rung reported before, paired by task (exact McNemar); null for the first.
        - ``knockout_delta``, ``knockout_ci_low``, ``knockout_ci_high``, ``knockout_p_value``: for
          the layer that this rung adds, the failure rate of all six layers without it minus that
          of all six (positive: it helps). ``knockout_escalated``: trials escalated without it.
          Null where not measured.
        - ``calls_per_task``, ``tokens_per_task`` (in and out), ``cost_per_task_usd`` (null if no
          prices are known) and ``seconds`` (modelled latency of the calls, not the wall clock):
          means over trials.
        - ``pass_hat_k``: pass^1 to pass^K for K trials per task; only with several trials.

    Raises:
        ValueError: if the table lacks a rung.
    """
    return _summary(table, settings, [Stack.rung(k) for k in rungs])


def summarise_stack(table: pd.DataFrame, settings: Settings, stack: Stack) -> Summary:
    """The results of one stack, in the shape of `summarise` with one entry."""
    return _summary(table, settings, [stack])


def rung_of(layers: Sequence[str]) -> int | None:
    """The rung with exactly these layers, None if they are no rung of the ladder."""
    return len(layers) if tuple(layers) == LAYERS[: len(layers)] else None


def _summary(table: pd.DataFrame, settings: Settings, stacks: Sequence[Stack]) -> Summary:
    return {
        "case": settings.case,
        "model": settings.model,
        "seed": settings.simulation.seed,
        "tasks": int(table["task"].nunique()),
        "settings": settings.as_dict(),
        "rungs": [_entry(table, *pair) for pair in zip(stacks, [None, *stacks], strict=False)],
        "mechanism": mechanism(table),
    }


def mechanism(table: pd.DataFrame) -> dict[str, Any]:
    """How the failures of a ladder come about: what becomes of faults, and what fails why.

    Args:
        table: trials of one case; stacks that are no rungs are left out.

    Returns:
        ``rungs``, one entry per rung in the table, in ascending order:

        - ``rung``, ``faults_per_trial`` (transport faults and look-up slips included), and
          ``calls_per_trial``.
        - ``fates``: share of its faults that were harmless, repaired, escalated, shipped; null
          where there were no faults.
        - ``failures``, ``causes``: what was wrong and why, each as a share of all trials, the
          commonest first; either adds up to the failure rate.

        ``asking_again``: what the ladder's rung 3 (nobody shares state) has over rung 4 (state is
        shared): ``faults_per_trial``, and ``calls``, the share of rung 3's calls that rung 4
        saves. Null where one of the two was not measured.
    """
    parts = dict(tuple(table.groupby("stack", sort=False)))
    ladder = [Stack.rung(k).label for k in range(len(LAYERS) + 1)]
    rungs = {k: _mechanics(k, parts[label]) for k, label in enumerate(ladder) if label in parts}
    asking = None
    if 3 in rungs and 4 in rungs:
        alone, shared = rungs[3], rungs[4]
        asking = {
            "faults_per_trial": alone["faults_per_trial"] - shared["faults_per_trial"],
            "calls": 1 - shared["calls_per_trial"] / alone["calls_per_trial"],
        }
    return {"rungs": list(rungs.values()), "asking_again": asking}


def _mechanics(rung: int, part: pd.DataFrame) -> Entry:
    fates = Counter(fault["fate"] for book in part["faults"] for fault in json.loads(book))
    failed, total = part[part["failed"].astype(bool)], fates.total()
    return {
        "rung": rung,
        "faults_per_trial": total / len(part),
        "calls_per_trial": float(part["calls"].mean()),
        "fates": {fate: fates[fate] / total if total else None for fate in FATES},
        **{
            name: {term: n / len(part) for term, n in Counter(failed[column]).most_common()}
            for name, column in (("failures", "failure"), ("causes", "cause"))
        },
    }


def _entry(table: pd.DataFrame, stack: Stack, before: Stack | None) -> Entry:
    failed = task_matrix(table, stack.label)
    part = table[table["stack"] == stack.label]
    layers = [layer for layer in LAYERS if stack.has(layer)]
    low, high = failure_interval(failed)
    cost = float(part["cost_usd"].mean())
    loud = int(part["loud"].sum())
    entry = {
        "rung": rung_of(layers),
        "layers": layers,
        "trials": int(failed.size),
        "failures": int(failed.sum()),
        "failure_rate": float(failed.mean()),
        "ci_low": low,
        "ci_high": high,
        "silent": int(failed.sum()) - loud,
        "loud": loud,
        "escalated": int(part["escalated"].sum()),
        **_change(table, before, failed),
        **_knockout(table, rung_of(layers)),
        "calls_per_task": float(part["calls"].mean()),
        "tokens_per_task": float((part["input_tokens"] + part["output_tokens"]).mean()),
        "cost_per_task_usd": None if math.isnan(cost) else cost,
        "seconds": float(part["seconds"].mean()),
    }
    trials = failed.shape[1]
    if trials > 1:
        entry["pass_hat_k"] = [pass_hat_k(~failed, k) for k in range(1, trials + 1)]
    return entry


def _change(table: pd.DataFrame, before: Stack | None, failed: NDArray[np.bool_]) -> Entry:
    change = paired_difference(task_matrix(table, before.label), failed) if before else None
    return _named(change, "delta", "delta_ci_low", "delta_ci_high", "p_value")


def _knockout(table: pd.DataFrame, rung: int | None) -> Entry:
    """What the full stack loses without the layer that a rung adds."""
    without = FULL.without(LAYERS[rung - 1]).label if rung else ""
    loss = asked = None
    if rung and {FULL.label, without} <= set(table["stack"]):
        loss = paired_difference(task_matrix(table, FULL.label), task_matrix(table, without))
        asked = int(table.loc[table["stack"] == without, "escalated"].sum())
    keys = ("knockout_delta", "knockout_ci_low", "knockout_ci_high", "knockout_p_value")
    return {**_named(loss, *keys), "knockout_escalated": asked}


def _named(change: PairedDifference | None, *keys: str) -> Entry:
    """A difference, its interval and its p-value under these names; None where not measured."""
    return dict(zip(keys, astuple(change) if change else [None] * 4, strict=True))


# --- in words ------------------------------------------------------------------------------------


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * fraction:.1f} %"


def points(fraction: float | None, sign: str = "+") -> str:
    """A difference in percentage points, with its sign; empty for none."""
    return "" if fraction is None else f"{100 * fraction:{sign}.1f}".replace("-", "−")


def interval(low: float | None, high: float | None, sign: str = "+") -> str:
    """An interval in percentage points; empty for none."""
    return "" if low is None else f"{points(low, sign)} to {points(high, sign)}"


def p_text(p: float | None) -> str:
    """A p-value as it is printed; empty for none."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def usd(amount: float | None) -> str:
    """An amount with four decimals; ``unknown`` for none."""
    return "unknown" if amount is None else f"{amount:.4f}"


def added(entry: Entry, before: Entry | None) -> str:
    """The layers that an entry has and the one before it has not, joined with ``+``."""
    known = before["layers"] if before else []
    return " + ".join(layer for layer in entry["layers"] if layer not in known)


def finding(summary: Summary) -> str:
    """What the numbers say, in one sentence."""
    entries = summary["rungs"]
    if len(entries) == 1:
        return _one_stack(summary["case"], entries[0])
    first, last = entries[0], entries[-1]
    start, end = percent(first["failure_rate"]), percent(last["failure_rate"])
    ladder = (
        f"from rung {first['rung']} to rung {last['rung']} the failure rate goes {start} → {end}"
    )
    before, best = min(pairwise(entries), key=lambda pair: pair[1]["delta"])
    if best["delta"] >= 0:
        return f"{summary['case']}: no layer lowers the failure rate; {ladder}."
    name = added(best, before)
    verb = "remove" if "+" in name else "removes"
    doubt = ", which chance may explain" if best["p_value"] > CHANCE else ""
    change = f"{percent(before['failure_rate'])} → {percent(best['failure_rate'])}"
    return (
        f"{summary['case']}: {name} {verb} the most failures ({change}{doubt}); "
        f"{ladder}{_by_people(last)}."
    )


def _by_people(entry: Entry) -> str:
    """A low failure rate is not the stack's own where most tasks went to a person."""
    share = entry["escalated"] / entry["trials"]
    return f", with a person asked about {percent(share)} of the tasks" if share > 0.5 else ""


def _one_stack(case: str, entry: Entry) -> str:
    layers = " + ".join(entry["layers"]) or "no layers"
    span = f"95 % interval {interval(entry['ci_low'], entry['ci_high'], '')} %"
    return (
        f"{case}: with {layers}, {percent(entry['failure_rate'])} of {entry['trials']:,} trials "
        f"fail ({span}){_by_people(entry)}."
    )
