"""Statistics of repeated trials: intervals for failure rates, paired differences, pass^k, ICC.

A table of outcomes is a two-dimensional array, one row per task and one column per trial, holding
True or False (or 1 and 0). Trials of one task resemble each other, so the task, not the trial, is
the unit of evidence in every interval and test here.
"""

from dataclasses import dataclass
from math import comb, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri  # scipy.stats takes a second to import


def _table(outcomes: ArrayLike) -> NDArray[np.bool_]:
    """The outcomes as a non-empty tasks x trials table of bool, or ValueError."""
    table = np.asarray(outcomes)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"expected a non-empty tasks x trials table, got shape {table.shape}")
    if not np.isin(table, (0, 1)).all():
        raise ValueError("outcomes must be True or False")
    return table.astype(bool)


def wilson(failures: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for a rate, as (low, high) fractions (Wilson 1927).

    `failures` out of `n` > 0 independent observations; both may be fractional, as an effective
    sample size is. Raises ValueError unless 0 <= failures <= n and 0 < confidence < 1.
    """
    if not (0 <= failures <= n and n > 0 and 0 < confidence < 1):
        need = "need 0 <= failures <= n, n > 0 and a confidence between 0 and 1"
        raise ValueError(f"{need}, got {failures} of {n} at {confidence}")
    z, n, rate = float(ndtri((1 + confidence) / 2)), float(n), float(failures / n)
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    low = 0.0 if failures == 0 else centre - half  # the ends are exact, rounding would miss them
    return low, 1.0 if failures == n else centre + half


def intraclass_correlation(outcomes: ArrayLike) -> float:
    """How alike trials of one task are: the one-way ANOVA estimator of the ICC for binary data.

    0 when trials of a task are no more alike than any others, 1 when they always agree; chance may
    take it below 0, to -1 / (trials - 1) at most. nan when all outcomes are the same. Ridout,
    Demetrio & Firth (1999). Raises ValueError for fewer than two tasks or two trials.
    """
    table = _table(outcomes)
    tasks, trials = table.shape
    if tasks < 2 or trials < 2:
        raise ValueError(f"the ICC needs two tasks and two trials, got {tasks} x {trials}")
    means = table.mean(axis=1)
    between = trials * np.sum((means - means.mean()) ** 2) / (tasks - 1)
    within = trials * np.sum(means * (1 - means)) / (tasks * (trials - 1))
    spread = between + (trials - 1) * within
    return float((between - within) / spread) if spread > 0 else nan


def failure_interval(failed: ArrayLike) -> tuple[float, float]:
    """95 % Wilson interval for the failure rate of a tasks x trials table, as (low, high).

    With n tasks and K trials the sample counts as n K / (1 + (K - 1) ICC) observations (the design
    effect, Kish 1965), the ICC being clipped to [0, 1]. With one trial per task this is `wilson`.
    If all outcomes are the same the ICC is unknown and taken as 1: only tasks count.
    """
    table = _table(failed)
    tasks, trials = table.shape
    alike = 1.0 if table.all() or not table.any() or tasks == 1 else 0.0
    if trials > 1 and not alike:
        alike = max(0.0, intraclass_correlation(table))
    effective = tasks * trials / (1 + (trials - 1) * alike)
    return wilson(float(table.mean()) * effective, effective)


@dataclass(frozen=True)
class PairedDifference:
    """A change in failure rate on the same tasks: `delta` = after - before, negative is better.

    `low` and `high` bound it (fractions); `p_value` tests that no task's rate changed.
    """

    delta: float
    low: float
    high: float
    p_value: float


def paired_difference(before: ArrayLike, after: ArrayLike) -> PairedDifference:
    """Difference in failure rate between two tables of failures on the same tasks, row by row.

    Interval: 95 %, normal, over the tasks' differences, with four half-observations added (+1, -1
    and two of 0), which for one trial per task is the interval of Agresti & Min (2005). It is
    centred a little nearer 0 than `delta`. p-value: exact sign test over tasks by the direction of
    their net change, which for one trial per task is the exact McNemar test; 1 if no task changed.
    Raises ValueError if the tables do not have the same tasks.
    """
    old, new = _table(before).mean(axis=1), _table(after).mean(axis=1)
    if old.size != new.size:
        raise ValueError(f"before has {old.size} tasks and after has {new.size}")
    change = new - old
    n = change.size + 2
    centre = change.sum() / n
    variance = (np.sum(change**2) + 1) / n - centre**2
    half = float(ndtri(0.975)) * sqrt(variance / n)
    worse, better = int(np.count_nonzero(change > 0)), int(np.count_nonzero(change < 0))
    p_value = min(1.0, 2 * float(bdtr(min(worse, better), worse + better, 0.5)))
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return PairedDifference(float(change.mean()), float(low), float(high), p_value)


def pass_hat_k(succeeded: ArrayLike, k: int) -> float:
    """Unbiased estimate of pass^k, the probability that k trials of a task all succeed.

    With c successes in n trials of a task it is comb(c, k) / comb(n, k), averaged over tasks
    (tau-bench, Yao et al. 2024). Raises ValueError unless 1 <= k <= trials.
    """
    table = _table(succeeded)
    trials = table.shape[1]
    if not 1 <= k <= trials:
        raise ValueError(f"k must lie between 1 and the {trials} trials per task, got {k}")
    return float(np.mean([comb(int(c), k) / comb(trials, k) for c in table.sum(axis=1)]))
