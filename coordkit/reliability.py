"""Reliability of a chain of model steps: closed forms, and the same model simulated with NumPy.

A step of a task succeeds with probability q. Tasks differ: q is drawn from a Beta distribution with
mean p (reliability per step) and intra-class correlation rho, and every call on that step of that
task shares it, so a retry of a hard step tends to fail again. In the usual parameters
a = p (1 - rho) / rho and b = (1 - p) (1 - rho) / rho; rho = 0 makes q the constant p, rho = 1 makes
it 0 or 1 for good. Different steps of a task draw their q independently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

_TABLE_SIZE = 2**13  # equally likely difficulties: shares are off by less than 1 / 2**13
_BLOCK = 2**16  # runs drawn together, so that the arrays stay in the processor's cache


def check_fractions(**values: float) -> None:
    """Raise a ValueError that names the first of `values` outside 0 to 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}")


def check_count(name: str, value: int, least: int) -> None:
    """Raise a ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value}")


def chain(p: float, steps: int) -> float:
    """Probability that `steps` independent steps of reliability `p` all succeed: p ** steps."""
    check_fractions(p=p)
    check_count("steps", steps, 0)
    return float(p**steps)


def pass_hat_k(p: float, rho: float, k: int) -> float:
    """Probability that k trials of one task all succeed: E[q^k], the beta-binomial pass^k.

    `p` is the mean success rate and `rho` the intra-class correlation, both in [0, 1].
    E[q^k] is the product over i < k of (a + i) / (a + b + i) (Skellam 1948), here multiplied
    through by rho so that rho = 0 (p ** k) and rho = 1 (p) need no special case.
    """
    check_fractions(p=p, rho=rho)
    check_count("k", k, 0)
    i = np.arange(1, k)
    factors = (p * (1 - rho) + i * rho) / (1 - rho + i * rho)
    return float(p * np.prod(factors)) if k else 1.0


def whole_task_correlation(p: float, rho: float, steps: int) -> float:
    """Intra-class correlation of the outcome of a whole task whose steps each have `rho`.

    With P = p^n it is ((p^2 + rho p (1-p))^n - P^2) / (P (1-P)); to first order in rho that is
    P rho n (1-p) / p / (1-P). Computed as a ratio of two geometric sums, which is the same number,
    does not cancel near p = 1 and shows that it never exceeds rho.
    """
    check_fractions(p=p, rho=rho)
    check_count("steps", steps, 1)
    i = np.arange(steps)
    again = p + rho * (1 - p)  # probability that a step succeeds, given that it did before
    return float(rho * np.sum(again**i * p ** (steps - 1 - i)) / np.sum(float(p) ** i))


@dataclass(frozen=True)
class Pipeline:
    """A chain of steps with re-asks, a verifier, retries and a reviewer.

    A step makes one call, plus `reasks` more on average because nobody remembers the answer (the
    whole part always, the fraction by chance); its answer is right if all these calls are. The
    verifier rejects a wrong answer with probability `catch` and a right one with `false_alarm`.
    A rejected step starts afresh, up to `retries` times; rejected once more, the task is *held*
    and stops. A passed answer, right or wrong, goes on. If `escalated` > 0 there is a reviewer,
    who gets that share of the finished tasks, picked at random, and every held one. Whatever
    reaches the reviewer leaves right with probability `reviewer_accuracy`, else wrong.

    steps: at least 1. retries: at least 0. reasks: calls, at least 0. All others: 0 to 1.
    `correlation` is rho. Raises ValueError outside these ranges.
    """

    steps: int = 6
    reliability: float = 0.97
    correlation: float = 0.0
    reasks: float = 0.0
    catch: float = 0.0
    false_alarm: float = 0.0
    retries: int = 0
    escalated: float = 0.0
    reviewer_accuracy: float = 1.0

    def __post_init__(self) -> None:
        values = vars(self).copy()
        check_count("steps", values.pop("steps"), 1)
        check_count("retries", values.pop("retries"), 0)
        if not 0 <= (reasks := values.pop("reasks")) < inf:
            raise ValueError(f"reasks must be a finite number of at least 0, got {reasks}")
        check_fractions(**values)


@dataclass(frozen=True)
class Outcome:
    """What becomes of a task: `success` + `silent` + `loud` = 1.

    `silent`: wrong and shipped. `loud`: held, with no reviewer to take it. `escalated`: the share
    of tasks a reviewer saw (they also count under the other heads). `calls`: model calls per task.
    """

    success: float
    silent: float
    loud: float
    escalated: float
    calls: float


def beta_quadrature(p: float, rho: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Jacobi nodes and weights for the Beta of q (Golub & Welsch 1969).

    Exact for polynomials up to degree 2 nodes - 1. The recurrence coefficients of the Jacobi
    polynomials (DLMF 18.9) are multiplied through by rho, so rho = 0 and rho = 1 work too, where
    scipy.special.roots_jacobi does not.
    """

    def scaled(i: np.ndarray, share: float = 1.0) -> np.ndarray:  # rho (i + share (a + b))
        return i * rho + share * (1 - rho)

    k = np.arange(2, nodes)  # the first two terms are written out: the general one is 0 / 0
    lean = (2 * p - 1) * (1 - 3 * rho)
    later = lean * (1 - rho) / scaled(2 * k - 2) / scaled(2 * k)
    diagonal = np.concatenate([[p, (1 + lean / (1 + rho)) / 2], (1 + later) / 2])[:nodes]
    squares = scaled(k - 1, p) * scaled(k - 1, 1 - p) / scaled(2 * k - 2) ** 2
    squares *= k * rho * scaled(k - 2) / scaled(2 * k - 1) / scaled(2 * k - 3)
    beside = np.sqrt(np.concatenate([[rho * p * (1 - p)], squares]))[: nodes - 1]
    q, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    return np.clip(q, 0, 1), vectors[0] ** 2


def end_to_end(pipeline: Pipeline) -> Outcome:
    """Exact outcome probabilities and expected calls of a pipeline.

    Given q, an attempt is right with probability s, passes right with s (1 - false_alarm), passes
    wrong with (1 - s) (1 - catch) and is rejected otherwise; retries add up as a geometric sum.
    All are polynomials in q, so the quadrature over the Beta is exact up to rounding.
    """
    steps, share, accuracy = pipeline.steps, pipeline.escalated, pipeline.reviewer_accuracy
    whole, part = divmod(pipeline.reasks, 1)
    degree = (int(whole) + 2) * (pipeline.retries + 1)
    q, weight = beta_quadrature(pipeline.reliability, pipeline.correlation, degree // 2 + 1)
    s = q ** (1 + whole) * (1 - part * (1 - q))
    rejected = s * pipeline.false_alarm + (1 - s) * pipeline.catch
    attempts = np.sum([rejected**i for i in range(pipeline.retries + 1)], axis=0)
    right = float(weight @ (s * (1 - pipeline.false_alarm) * attempts))
    wrong = float(weight @ ((1 - s) * (1 - pipeline.catch) * attempts))
    held = float(weight @ rejected ** (pipeline.retries + 1))
    begun = sum((right + wrong) ** i for i in range(steps))  # steps reached, on average
    calls = (1 + pipeline.reasks) * float(weight @ attempts) * begun
    all_right, all_held = right**steps, held * begun
    all_wrong = max(0.0, 1 - all_right - all_held)
    seen = share * (all_right + all_wrong) + all_held if share else 0.0
    success = (1 - share) * all_right + accuracy * seen
    silent = (1 - share) * all_wrong + (1 - accuracy) * seen
    return Outcome(success, silent, 0.0 if share else all_held, seen, calls)


def difficulty_quantile(u: ArrayLike, p: float, rho: float) -> NDArray[np.float64]:
    """The success probability q below which a share `u` of tasks lies (inverse Beta CDF).

    Feed it uniform numbers to draw difficulties. `u`, `p` and `rho` lie in [0, 1]. Below
    rho = 1e-8, q is taken as the constant p, for the inverse CDF fails on so narrow a peak.
    """
    check_fractions(p=p, rho=rho)
    share = np.asarray(u, dtype=float)
    if rho < 1e-8 or p in (0, 1):
        return np.full(share.shape, float(p))
    if rho == 1:
        return (share >= 1 - p).astype(float)
    return np.asarray(betaincinv(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho, share))


@lru_cache(maxsize=64)
def _difficulty_table(p: float, rho: float) -> NDArray[np.float32]:
    midpoints = (np.arange(_TABLE_SIZE) + 0.5) / _TABLE_SIZE
    return difficulty_quantile(midpoints, p, rho).astype(np.float32)


def _attempt(
    pipeline: Pipeline, q: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """One attempt at a step by each run: which are right, which passed, and the calls made."""
    right = rng.random(q.size, dtype=np.float32) < q
    calls = q.size
    for i in range(ceil(pipeline.reasks)):
        asked = rng.random(q.size, dtype=np.float32) < pipeline.reasks - i
        right &= ~asked | (rng.random(q.size, dtype=np.float32) < q)
        calls += int(np.count_nonzero(asked))
    if not (pipeline.catch or pipeline.false_alarm):
        return right, np.ones_like(right), calls
    rejection = np.where(right, pipeline.false_alarm, pipeline.catch)
    return right, rng.random(q.size) >= rejection, calls


def _run_block(pipeline: Pipeline, runs: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Take `runs` runs through all steps: how many end right, how many wrong, and the calls.

    Only runs still going are kept, those right so far first: nothing else tells them apart.
    """
    table = _difficulty_table(pipeline.reliability, pipeline.correlation)
    first_right, going, calls = runs, runs, 0
    for _ in range(pipeline.steps):
        q = table[rng.integers(0, _TABLE_SIZE, going, dtype=np.uint16)]
        right, passed, made = _attempt(pipeline, q, rng)
        calls += made
        for _ in range(pipeline.retries):
            again = np.flatnonzero(~passed)
            right[again], passed[again], made = _attempt(pipeline, q[again], rng)
            calls += made
        first_right = int(np.count_nonzero(right[:first_right] & passed[:first_right]))
        going = int(np.count_nonzero(passed))
    return first_right, going - first_right, calls


def simulate(pipeline: Pipeline, runs: int, seed: int) -> Outcome:
    """The outcome of `runs` simulated tasks: difficulties, slips, checks and reviews are all drawn.

    The independent check on `end_to_end`; sampling error of a share x is sqrt(x (1 - x) / runs).
    """
    check_count("runs", runs, 1)
    rng = np.random.Generator(np.random.SFC64(seed))  # NumPy's fastest
    sizes = [_BLOCK] * (runs // _BLOCK) + [runs % _BLOCK]
    counts = np.array([_run_block(pipeline, size, rng) for size in sizes])
    right, wrong, calls = (int(total) for total in counts.sum(axis=0))
    share, held = pipeline.escalated, runs - right - wrong
    seen_right, seen_wrong = int(rng.binomial(right, share)), int(rng.binomial(wrong, share))
    seen = seen_right + seen_wrong + (held if share else 0)
    mended = int(rng.binomial(seen, pipeline.reviewer_accuracy))
    success, silent = right - seen_right + mended, wrong - seen_wrong + seen - mended
    loud = 0 if share else held
    return Outcome(success / runs, silent / runs, loud / runs, seen / runs, calls / runs)


def fit_pass_curve(pass_rates: Sequence[float]) -> tuple[float, float]:
    """Mean and rho of the beta-binomial curve through pass^1, pass^2, ... (fractions).

    The mean is pass^1, the success rate over all trials; rho is the least-squares fit to the rest,
    nan for a mean of 0 or 1, which fits every rho. Raises ValueError for fewer than two rates or
    a rate outside [0, 1].
    """
    if len(pass_rates) < 2:
        raise ValueError("a pass curve needs at least pass^1 and pass^2")
    from scipy.optimize import minimize_scalar  # slow to import, and seldom wanted

    check_fractions(**{f"pass^{k}": rate for k, rate in enumerate(pass_rates, 1)})
    mean = float(pass_rates[0])

    def squared_error(rho: float) -> float:
        return sum((pass_hat_k(mean, rho, k) - x) ** 2 for k, x in enumerate(pass_rates, 1))

    fit = minimize_scalar(squared_error, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    return mean, float(fit.x) if 0 < mean < 1 else nan
