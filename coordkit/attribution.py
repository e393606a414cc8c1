"""Which layer pays for itself: Shapley shares over all 64 stacks, the frontier, the faults' ends.

A layer's worth depends on what else is on. Its Shapley share is the failure rate that it removes,
averaged over all orders in which the six layers can be switched on.

``python -m coordkit.attribution --tasks 500 billing support`` measures all 64 stacks again and
writes ``data/stacks_64.csv``; ``--processes 2`` shares the work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from coordkit.data.sample import SAMPLES
from coordkit.experiment import Recorder, Settings, failure_of, make_bench
from coordkit.faults import TRANSPORT, Simulation
from coordkit.layers import LAYERS
from coordkit.stack import Stack

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


def shapley(
    failure: Mapping[Coalition, float], players: Sequence[str] = LAYERS
) -> dict[str, float]:
    """Each player's share of what all of them together remove from the failure rate.

    Args:
        failure: failure rate (0..1) of every subset of the players.
        players: their names.

    Returns:
        Shares that sum to failure(none) - failure(all); negative for a player that harms.

    Raises:
        KeyError: if a subset has no failure rate.
    """
    rates = np.array([failure[subset] for subset in subsets(players)])
    shares = shapley_weights(players) @ rates
    return dict(zip(players, map(float, shares), strict=True))


def shapley_shares(
    failed: pd.DataFrame, resamples: int = 2000, seed: int = 0, confidence: float = 0.95
) -> pd.DataFrame:
    """Shapley shares of the layers with bootstrap intervals.

    The tasks are resampled, all 64 outcomes of a task together, for every stack met the same
    tasks and the same dice (percentile bootstrap, Efron 1979).

    Args:
        failed: whether a task failed under a stack: one row per task, one column per label.
        resamples: bootstrap samples, 1 or more.
        seed: seed of the resampling.
        confidence: of the interval, between 0 and 1.

    Returns:
        One row per layer: ``share``, ``low``, ``high``, fractions of tasks.
    """
    labels = [Stack(layers=subset).label for subset in subsets(LAYERS)]
    outcomes = failed[labels].to_numpy(dtype=float)
    per_task = outcomes @ shapley_weights(LAYERS).T  # the shares are linear in the failures
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(per_task), np.full(len(per_task), 1 / len(per_task)), resamples)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(counts @ per_task / len(per_task), [tail, 100 - tail], axis=0)
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


def measure_stack(settings: Settings, stack: Stack) -> dict[str, Any]:
    """Run every task once under one stack.

    Returns:
        ``case``, ``stack``, ``tasks``, ``seed``; ``failed``: one digit per task in the order of
        the feed, 1 for a failure; ``escalated`` (share), ``calls`` and ``usd``: means per task.
    """
    bench, prices = make_bench(settings, stack), settings.prices
    failed, escalated, calls, usd = "", 0, 0, 0.0
    tasks = bench.at.case.tasks
    for task in tasks:
        recorder = Recorder()
        state = bench.run(task, 0, recorder)
        failed += "1" if failure_of(bench, task, state) else "0"
        asked = bool((state.get("verdict") or {}).get("reason"))
        spent_in, spent_out = recorder.tokens()
        escalated += asked
        calls += len(recorder.replies) + len(recorder.errors)
        usd += asked * prices.per_review
        usd += (spent_in * prices.input_per_million + spent_out * prices.output_per_million) / 1e6
    n = len(tasks)
    return {
        "case": settings.case, "stack": stack.label, "tasks": n, "seed": settings.simulation.seed,
        "failed": failed, "escalated": round(escalated / n, 6), "calls": round(calls / n, 4),
        "usd": round(usd / n, 6),
    }  # fmt: skip


def measure_stacks(
    case: str, stacks: Iterable[Stack], tasks: int, seed: int = 0, processes: int = 1
) -> pd.DataFrame:
    """Measure stacks on tasks spread evenly over a case's feed, one row per stack.

    Args:
        case: billing or support.
        stacks: what to measure.
        tasks: tasks per stack.
        seed: seed of the simulated model.
        processes: worker processes.
    """
    settings = Settings(case, tasks=tasks, simulation=Simulation(seed=seed))
    work = (delayed(measure_stack)(settings, stack) for stack in stacks)
    return pd.DataFrame(Parallel(n_jobs=processes)(work))


def acts_as(stack: Stack) -> Stack:
    """The stack that makes the same graph: without execution a plan has nothing to order."""
    return stack if stack.has("execution") else stack.without("planning")


def measure_all(case: str, tasks: int, seed: int = 0, processes: int = 1) -> pd.DataFrame:
    """All 64 stacks of a case; the 16 whose graph is another's are run once and told twice."""
    every = [Stack(layers=subset) for subset in subsets(LAYERS)]
    distinct = list(dict.fromkeys(map(acts_as, every)))
    rows = measure_stacks(case, distinct, tasks, seed, processes).set_index("stack", drop=False)
    told = [rows.loc[acts_as(stack).label].to_dict() | {"stack": stack.label} for stack in every]
    return pd.DataFrame(told)


def read_stacks(path: Path = TABLE) -> pd.DataFrame:
    """The measured table: columns as `measure_stack` describes them."""
    return pd.read_csv(path, comment="#", dtype={"failed": str}, keep_default_na=False)


def outcomes(table: pd.DataFrame, case: str) -> pd.DataFrame:
    """Whether each task failed under each stack: one row per task, one column per label."""
    part = table[table["case"] == case]
    columns = zip(part["stack"], part["failed"], strict=True)
    return pd.DataFrame({label: [digit == "1" for digit in digits] for label, digits in columns})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all 64 stacks and write the table."""
    parser = argparse.ArgumentParser(prog="python -m coordkit.attribution", description=__doc__)
    parser.add_argument("cases", nargs="*", default=["billing", "support"])
    parser.add_argument("--tasks", type=int, default=200, help="tasks per stack")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    dice = Simulation(seed=options.seed)
    head = (
        "# All 64 stacks, one row each; 'failed' has one digit per task in the order of the feed.\n"
        f"# Made by: python -m coordkit.attribution --tasks {options.tasks} --seed {options.seed} "
        f"{' '.join(options.cases)}\n"
        f"# reliability {dice.reliability}, correlation {dice.correlation}, other settings at "
        "their defaults\n"
    )
    frames = [
        measure_all(case, options.tasks, options.seed, options.processes) for case in options.cases
    ]
    text = pd.concat(frames).to_csv(index=False, lineterminator="\n")
    options.out.write_text(head + text, encoding="utf-8")
    print(f"{options.out}: {sum(map(len, frames))} rows")


if __name__ == "__main__":
    main()
