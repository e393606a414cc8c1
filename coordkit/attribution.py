"""Which layer pays for itself: Shapley shares over all 64 stacks, the frontier, the faults' ends.

A layer's worth depends on what else is on. Its Shapley share is the failure rate that it removes,
averaged over all orders in which the six layers can be switched on.

``coordkit stacks billing support --csv data/stacks_64.csv`` measures the committed table again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coordkit.data.sample import SAMPLES
from coordkit.experiment import Settings
from coordkit.faults import TRANSPORT
from coordkit.layers import LAYERS
from coordkit.stack import Stack
from coordkit.statistics import wilson

TABLE = SAMPLES / "stacks_64.csv"
Coalition = frozenset[str]


def subsets(players: Sequence[str]) -> list[Coalition]:
    """All subsets of the players, the empty one first and the full one last."""
    sizes = range(len(players) + 1)
    return [frozenset(chosen) for size in sizes for chosen in combinations(players, size)]


def shapley_weights(players: Sequence[str]) -> NDArray[np.float64]:
    """The matrix W for which W @ failures of all subsets gives each player's Shapley share.

    Shapley (1953): player i's share is the sum over subsets S without i, of n players, of
    |S|! (n - |S| - 1)! / n! times what i changes there; here failure(S) - failure(S with i).

    Args:
        players: their names, each once.

    Returns:
        One row per player, one column per subset in the order of `subsets`.
    """
    every = subsets(players)
    column = {subset: j for j, subset in enumerate(every)}
    weights = np.zeros((len(players), len(every)))
    n = len(players)
    for i, player in enumerate(players):
        for subset in every:
            if player not in subset:
                weight = factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n)
                weights[i, column[subset]] += weight
                weights[i, column[subset | {player}]] -= weight
    return weights


def shapley_shares(failed: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Each layer's share of what all six remove from the failure rate, with a 95 % interval.

    The tasks are resampled, all 64 outcomes of a task together, for every stack met the same
    tasks and the same dice (percentile bootstrap, Efron 1979).

    Args:
        failed: whether a task failed under a stack: one row per task, one column per label.
        resamples: bootstrap samples, 1 or more.

    Returns:
        One row per layer: ``share``, ``low``, ``high``, fractions of tasks. Shares sum to what all
        six remove; one is negative for a layer that harms.
    """
    labels = [stack.label for stack in all_stacks()]
    outcomes = failed[labels].to_numpy(dtype=float)
    per_task = outcomes @ shapley_weights(LAYERS).T  # the shares are linear in the failures
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(per_task), np.full(len(per_task), 1 / len(per_task)), resamples)
    low, high = np.percentile(counts @ per_task / len(per_task), [2.5, 97.5], axis=0)
    columns = {"share": per_task.mean(axis=0), "low": low, "high": high}
    return pd.DataFrame(columns, index=pd.Index(LAYERS, name="layer"))


def pareto(cost: Sequence[float], failure: Sequence[float]) -> list[int]:
    """Which points no other point beats: none is at most as dear and fails at most as often.

    Args:
        cost, failure: of each point; lower is better in both.

    Returns:
        The places of these points by rising cost; of equal points the first.
    """
    order = sorted(range(len(cost)), key=lambda i: (cost[i], failure[i], i))
    best, kept = float("inf"), list[int]()
    for i in order:
        if failure[i] < best:
            kept.append(i)
            best = failure[i]
    return kept


def cost_and_failure(stacks: pd.DataFrame, case: str) -> pd.DataFrame:
    """Every stack of a case as a point for `coordkit.plots.frontier_figure`.

    Args:
        stacks: the table that `read_stacks` returns.
        case: one of its cases.

    Returns:
        One row per stack: ``stack``, ``usd`` and ``escalated`` per task; ``failure``, ``low``,
        ``high``: fraction of tasks with its 95 % Wilson interval.
    """
    part = stacks[stacks["case"] == case].reset_index(drop=True)
    bad = part["failed"].str.count("1")
    ends = [wilson(k, n) for k, n in zip(bad, part["tasks"], strict=True)]
    points = part[["stack", "usd", "escalated"]].assign(failure=bad / part["tasks"])
    return points.assign(low=[low for low, _ in ends], high=[high for _, high in ends])


def added_by(layer: str, failed: pd.DataFrame, **company: bool) -> float:
    """Points of failure that a layer adds, mean over the stacks in which others are on or off.

    Args:
        layer: the one that is switched on.
        failed: outcomes by stack, as `outcomes` returns them.
        company: other layers by name, True for on, False for off; any that are not named vary.
    """
    base = [
        Stack(layers=subset)
        for subset in subsets(LAYERS)
        if layer not in subset and all((name in subset) == on for name, on in company.items())
    ]
    rates = failed.mean()
    change = [rates[Stack(s.layers | {layer}).label] - rates[s.label] for s in base]
    return 100 * float(np.mean(change))


def dealt_with(fault: Mapping[str, Any]) -> str:
    """The layer that dealt with a fault of the fault book; ``none`` if no layer did.

    A repaired transport fault got through by execution's retries; any other repaired fault was
    sent back by verification's checks; an escalated one was in a task that a person saw.
    """
    if fault["fate"] == "repaired":
        return "execution" if fault["mode"] in TRANSPORT else "verification"
    return "human" if fault["fate"] == "escalated" else "none"


def fault_flows(table: pd.DataFrame) -> pd.DataFrame:
    """How many faults of each mode were dealt with by which layer, and their fate.

    Args:
        table: trials with their fault books, as `coordkit.experiment.run` returns them.

    Returns:
        Columns ``mode``, ``layer``, ``fate``, ``faults``; every fault counts once.
    """
    book = [fault for faults in table["faults"] for fault in json.loads(faults)]
    rows = [(fault["mode"], dealt_with(fault), fault["fate"]) for fault in book]
    frame = pd.DataFrame(rows, columns=["mode", "layer", "fate"])
    return frame.value_counts().rename("faults").reset_index().sort_values(["mode", "fate"])


# --- the 64 stacks, measured ---------------------------------------------------------------------


def all_stacks() -> list[Stack]:
    """All 64, by number of layers."""
    return [Stack(layers=subset) for subset in subsets(LAYERS)]


def stack_rows(trials: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The table of all 64 stacks.

    Args:
        trials: one trial per task of each of `all_stacks`, in the order of the feed.
        settings: what they were measured with.

    Returns:
        One row per stack: ``case``, ``stack``, ``tasks``, ``seed``; ``failed``: one digit per task
        in the order of the feed, 1 for a failure; ``escalated`` (share), ``calls``, ``usd``: means
        per task.
    """
    groups = trials.groupby("stack", sort=False)
    rows = groups.agg(
        tasks=("task", "size"),
        failed=("failed", lambda failed: "".join("1" if f else "0" for f in failed)),
        escalated=("escalated", "mean"),
        calls=("calls", "mean"),
        usd=("cost_usd", "mean"),
    ).round({"escalated": 6, "calls": 4, "usd": 6})
    told = rows.loc[[stack.label for stack in all_stacks()]].reset_index()
    told.insert(0, "case", settings.case)
    told.insert(3, "seed", settings.simulation.seed)
    return told


def write_stacks(tables: Sequence[pd.DataFrame], path: Path) -> None:
    """Write what `stack_rows` returned for each case as one CSV file."""
    head = "# All 64 stacks; 'failed' has one digit per task in the order of the feed, 1: failed.\n"
    text = pd.concat(tables).to_csv(index=False, lineterminator="\n")
    path.write_text(head + text, encoding="utf-8")


def read_stacks(path: Path = TABLE) -> pd.DataFrame:
    """The measured table: columns as `stack_rows` describes them."""
    return pd.read_csv(path, comment="#", dtype={"failed": str}, keep_default_na=False)


def outcomes(table: pd.DataFrame, case: str) -> pd.DataFrame:
    """Whether each task failed under each stack: one row per task, one column per label."""
    part = table[table["case"] == case]
    columns = zip(part["stack"], part["failed"], strict=True)
    return pd.DataFrame({label: [digit == "1" for digit in digits] for label, digits in columns})
