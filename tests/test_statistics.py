"""Intervals and tests against SciPy, published examples, and their own promises by simulation."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from coordkit.reliability import difficulty_quantile
from coordkit.reliability import pass_hat_k as expected_pass_hat_k
from coordkit.statistics import (
    failure_interval,
    intraclass_correlation,
    paired_difference,
    pass_hat_k,
    wilson,
)

shapes = st.tuples(st.integers(2, 12), st.integers(1, 5))
tables = shapes.flatmap(lambda shape: arrays(bool, shape))
pairs = shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def draw(rng: np.random.Generator, tasks: int, trials: int, rate: float, rho: float) -> np.ndarray:
    """A beta-binomial table of outcomes."""
    q = difficulty_quantile(rng.random((tasks, 1)), rate, rho)
    return rng.random((tasks, trials)) < q


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    for confidence in (0.8, 0.95, 0.99):
        theirs = binomtest(*counts).proportion_ci(confidence, method="wilson")
        assert wilson(*counts, confidence) == pytest.approx(theirs, abs=1e-12)


def test_wilson_published_values() -> None:
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I: score method, no correction."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize("arguments", [(-1, 5), (6, 5), (0, 0), (1, 5, 1.0), (1, 5, 0.0)])
def test_wilson_refuses_nonsense(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"need|confidence"):
        wilson(*arguments)


def test_icc_by_hand() -> None:
    """Tasks 11, 10, 00: between 0.5, within 1/6 mean square, so (1/2 - 1/6) / (1/2 + 1/6)."""
    assert intraclass_correlation([[1, 1], [1, 0], [0, 0]]) == pytest.approx(0.5)
    assert intraclass_correlation([[1, 1], [0, 0]]) == pytest.approx(1)
    assert intraclass_correlation([[1, 0], [1, 0]]) == pytest.approx(-1)
    assert isnan(intraclass_correlation([[1, 1], [1, 1]]))


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.32, 0.7, 1.0])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_icc_recovers_rho(rho: float, rate: float) -> None:
    table = draw(np.random.default_rng(11), 20_000, 4, rate, rho)
    assert intraclass_correlation(table) == pytest.approx(rho, abs=0.03)


@given(st.lists(st.booleans(), min_size=1))
def test_one_trial_per_task_is_plain_wilson(failed: list[bool]) -> None:
    table = np.array(failed)[:, None]
    assert failure_interval(table) == pytest.approx(wilson(sum(failed), len(failed)), abs=1e-12)


def test_trials_that_always_agree_count_as_one() -> None:
    column = np.array([[True], [False], [False], [True], [False]])
    repeated = np.repeat(column, 8, axis=1)
    assert failure_interval(repeated) == pytest.approx(failure_interval(column))
    spotless = np.zeros((40, 5), dtype=bool)
    assert failure_interval(spotless) == pytest.approx(wilson(0, 40))


@pytest.mark.parametrize(("tasks", "rate", "rho"), [(100, 0.2, 0.32), (60, 0.2, 0.0)])
def test_failure_interval_covers(tasks: int, rate: float, rho: float) -> None:
    rng = np.random.default_rng(5)
    hits = plain_hits = 0
    for _ in range(800):
        table = draw(rng, tasks, 4, rate, rho)
        low, high = failure_interval(table)
        hits += low <= rate <= high
        low, high = wilson(int(table.sum()), table.size)
        plain_hits += low <= rate <= high
    assert 0.93 <= hits / 800 <= 0.98
    if rho:  # what the design effect is for
        assert plain_hits / 800 < 0.88


def matched(
    both: int, before_only: int, after_only: int, neither: int
) -> tuple[np.ndarray, np.ndarray]:
    cells = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, before_only, after_only, neither], 0)
    return cells[:, :1], cells[:, 1:]


def test_paired_difference_on_the_prime_ministers_approval() -> None:
    """Agresti, Categorical Data Analysis, table 10.1: 794, 150, 86, 570; Wald (-0.059, -0.021)."""
    result = paired_difference(*matched(794, 150, 86, 570))
    assert result.delta == pytest.approx(-64 / 1600)
    assert (result.low, result.high) == pytest.approx((-0.059, -0.021), abs=5e-4)
    assert result.p_value == pytest.approx(binomtest(86, 236).pvalue)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(sum))
def test_one_trial_is_agresti_min_and_exact_mcnemar(cells: tuple[int, int, int, int]) -> None:
    """The interval as Agresti & Min write it: Wald after adding 0.5 to each of the four cells."""
    result = paired_difference(*matched(*cells))
    _, b, c, _ = (cell + 0.5 for cell in cells)
    n = sum(cells) + 2
    half = 1.959964 * np.sqrt((b + c) - (c - b) ** 2 / n) / n
    expected = max(-1, (c - b) / n - half), min(1, (c - b) / n + half)
    assert (result.low, result.high) == pytest.approx(expected, abs=1e-6)
    discordant = cells[1] + cells[2]
    exact = binomtest(cells[2], discordant).pvalue if discordant else 1
    assert result.p_value == pytest.approx(exact)


def test_no_change_is_no_evidence() -> None:
    table = np.array([[1, 0], [0, 0], [1, 1]])
    result = paired_difference(table, table[:, ::-1])
    assert (result.delta, result.p_value) == (0, 1)
    assert result.low < 0 < result.high


@given(pairs)
def test_swapping_before_and_after_mirrors_the_result(pair: tuple[np.ndarray, np.ndarray]) -> None:
    there, back = paired_difference(*pair), paired_difference(pair[1], pair[0])
    assert (there.delta, there.low, there.high, there.p_value) == pytest.approx(
        (-back.delta, -back.high, -back.low, back.p_value)
    )
    assert -1 <= there.low <= there.delta <= there.high <= 1


@given(pairs, st.randoms(use_true_random=False))
def test_order_of_tasks_does_not_matter(pair: tuple[np.ndarray, np.ndarray], rng: object) -> None:
    before, after = pair
    order = list(range(len(before)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    assert failure_interval(before[order]) == pytest.approx(failure_interval(before))
    assert pass_hat_k(before[order], 1) == pytest.approx(pass_hat_k(before, 1))
    one, two = paired_difference(before, after), paired_difference(before[order], after[order])
    assert (one.low, one.high, one.p_value) == pytest.approx((two.low, two.high, two.p_value))


@pytest.mark.parametrize("trials", [1, 4])
def test_paired_interval_covers_and_test_holds_its_level(trials: int) -> None:
    rng = np.random.default_rng(17)
    hits = rejections = 0
    for _ in range(600):
        q = difficulty_quantile(rng.random((80, 1)), 0.25, 0.32)
        before, again, after = (rng.random((80, trials)) < x for x in (q, q, 0.5 * q))
        result = paired_difference(before, after)
        hits += result.low <= -0.125 <= result.high
        rejections += paired_difference(before, again).p_value < 0.05
    assert 0.93 <= hits / 600 <= 0.985
    assert rejections / 600 <= 0.06


@given(tables.filter(lambda table: table.shape[1] > 1))
def test_pass_hat_k_is_the_share_of_all_successful_subsets(table: np.ndarray) -> None:
    """Choosing k of the trials in every possible way is what the combinatorial formula counts."""
    for k in range(1, table.shape[1] + 1):
        subsets = combinations(range(table.shape[1]), k)
        share = np.mean([table[:, list(chosen)].all(axis=1).mean() for chosen in subsets])
        assert pass_hat_k(table, k) == pytest.approx(share)


def test_pass_hat_k_estimates_the_beta_binomial_curve() -> None:
    table = draw(np.random.default_rng(2), 20_000, 5, 0.8, 0.32)
    for k in range(1, 6):
        assert pass_hat_k(table, k) == pytest.approx(expected_pass_hat_k(0.8, 0.32, k), abs=0.015)


def test_tables_are_checked() -> None:
    with pytest.raises(ValueError, match="tasks x trials"):
        failure_interval([True, False])
    with pytest.raises(ValueError, match="non-empty"):
        failure_interval(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="True or False"):
        failure_interval([[0.5, 1.0]])
    with pytest.raises(ValueError, match="two trials"):
        intraclass_correlation([[1], [0]])
    with pytest.raises(ValueError, match="2 tasks"):
        paired_difference([[1], [0]], [[1]])
    for k in (0, 3):
        with pytest.raises(ValueError, match="between 1 and"):
            pass_hat_k([[1, 0]], k)
