"""The closed forms against textbook limits, against SciPy and against three ways of simulating."""

import random
from dataclasses import astuple, replace
from math import isnan, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom

from coordkit.reliability import (
    Outcome,
    Pipeline,
    chain,
    difficulty_quantile,
    end_to_end,
    fit_pass_curve,
    pass_hat_k,
    simulate,
    whole_task_correlation,
)

fractions = st.floats(0, 1)
pipelines = st.builds(
    Pipeline,
    steps=st.integers(1, 7),
    reliability=fractions,
    correlation=fractions,
    reasks=st.floats(0, 3),
    catch=fractions,
    false_alarm=fractions,
    retries=st.integers(0, 3),
    escalated=st.one_of(st.just(0.0), fractions),
    reviewer_accuracy=fractions,
)
FULL = Pipeline(
    steps=4,
    reliability=0.9,
    correlation=0.32,
    reasks=0.6,
    catch=0.8,
    false_alarm=0.1,
    retries=2,
    escalated=0.2,
    reviewer_accuracy=0.9,
)


def close(value: float) -> Any:
    return pytest.approx(value, abs=1e-9)


def test_six_steps_at_97_percent_are_83_percent() -> None:
    assert chain(0.97, 6) == pytest.approx(0.833, abs=5e-4)
    assert end_to_end(Pipeline()).success == close(chain(0.97, 6))
    assert simulate(Pipeline(), 200_000, seed=1).success == pytest.approx(0.833, abs=4e-3)


@given(fractions, fractions, st.integers(1, 9))
def test_correlation_alone_does_not_change_one_pass_of_the_chain(
    p: float, rho: float, steps: int
) -> None:
    outcome = end_to_end(Pipeline(steps=steps, reliability=p, correlation=rho))
    assert outcome.success == close(chain(p, steps))
    assert outcome.calls == close(steps)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(1, 8))
def test_pass_hat_k_is_the_beta_binomial(p: float, rho: float, k: int) -> None:
    a, b = p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho
    assert pass_hat_k(p, rho, k) == close(float(betabinom.pmf(k, k, a, b)))


@given(fractions, st.integers(1, 8))
def test_pass_hat_k_limits(p: float, k: int) -> None:
    assert pass_hat_k(p, 0, k) == close(chain(p, k))
    assert pass_hat_k(p, 1, k) == close(p)
    assert pass_hat_k(p, 0.3, 0) == 1


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.99))
def test_difficulty_quantile_inverts_the_beta(p: float, rho: float) -> None:
    q = difficulty_quantile(np.array([0.1, 0.4, 0.8]), p, rho)
    inside = (q > 1e-6) & (q < 1 - 1e-6)  # beyond, floating point has no more room
    a, b = p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho
    assert beta.cdf(q, a, b)[inside] == pytest.approx(np.array([0.1, 0.4, 0.8])[inside], abs=1e-6)
    assert np.all(np.diff(q) >= 0)


@pytest.mark.parametrize("p", [0, 0.3, 0.97, 1])
@pytest.mark.parametrize("rho", [0, 1e-300, 1e-12, 1e-6, 0.32, 0.999, 1 - 1e-12, 1])
def test_difficulties_have_the_stated_mean_and_correlation(p: float, rho: float) -> None:
    q = difficulty_quantile((np.arange(20_000) + 0.5) / 20_000, p, rho)
    assert q.mean() == pytest.approx(p, abs=1e-4)
    assert (q**2).mean() == pytest.approx(pass_hat_k(p, rho, 2), abs=1e-4)


@given(st.floats(0.1, 0.95), fractions, st.integers(1, 8))
def test_whole_task_correlation_is_the_stated_formula(p: float, rho: float, n: int) -> None:
    product = p**n
    exact = ((p**2 + rho * p * (1 - p)) ** n - product**2) / (product * (1 - product))
    assert whole_task_correlation(p, rho, n) == pytest.approx(exact, abs=1e-7)
    assert whole_task_correlation(p, rho, n) <= rho + 1e-12


def test_whole_task_correlation_is_about_nine_tenths_of_a_steps() -> None:
    ratio = whole_task_correlation(0.96, 0.32, 6) / 0.32
    first_order = 0.96**6 * 6 * 0.04 / 0.96 / (1 - 0.96**6)
    assert 0.9 < first_order < ratio < 0.95
    assert whole_task_correlation(1, 0.32, 6) == close(0.32)
    assert whole_task_correlation(0, 0.32, 6) == close(0.32**6)


def tell(pipeline: Pipeline, dice: random.Random) -> Outcome:
    """One run, as the docstring of Pipeline tells it: the plainest code that could be right."""
    p, rho, wrong, calls = pipeline.reliability, pipeline.correlation, False, 0
    for _ in range(pipeline.steps):
        q = dice.betavariate(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho)
        for _ in range(1 + pipeline.retries):
            asks = 1 + int(pipeline.reasks) + (dice.random() < pipeline.reasks % 1)
            calls += asks
            right = all(dice.random() < q for _ in range(asks))
            passed = dice.random() >= (pipeline.false_alarm if right else pipeline.catch)
            if passed:
                break
        wrong |= not right
        if not passed:
            break
    seen = pipeline.escalated > 0 and (not passed or dice.random() < pipeline.escalated)
    if seen:
        wrong = dice.random() >= pipeline.reviewer_accuracy
    held = not passed and not seen
    return Outcome(not held and not wrong, not held and wrong, held, seen, calls)


@pytest.mark.parametrize("pipeline", [FULL, replace(FULL, escalated=0.0), Pipeline(4, 0.9, 0.3, 2)])
def test_closed_form_tells_the_story_of_the_docstring(pipeline: Pipeline) -> None:
    dice = random.Random(7)
    told = np.array([astuple(tell(pipeline, dice)) for _ in range(20_000)], dtype=float)
    error = told.std(axis=0) / sqrt(len(told))
    exact = np.array(astuple(end_to_end(pipeline)))
    assert np.all(np.abs(told.mean(axis=0) - exact) <= 4 * error + 1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pipelines)
def test_simulation_agrees_with_closed_form_within_sampling_error(pipeline: Pipeline) -> None:
    batches = np.array([astuple(simulate(pipeline, 4_000, seed)) for seed in range(25)])
    exact = np.array(astuple(end_to_end(pipeline)))
    error = batches.std(axis=0, ddof=1) / 5
    # A share so small that no batch met it has no measured error; 1e-3 covers the tabulated Beta.
    assert np.all(np.abs(batches.mean(axis=0) - exact) <= 6 * error + 1e-3)


@given(pipelines)
def test_probabilities_sum_to_one(pipeline: Pipeline) -> None:
    exact = end_to_end(pipeline)
    assert exact.success + exact.silent + exact.loud == close(1)
    assert all(-1e-12 <= share <= 1 + 1e-12 for share in astuple(exact)[:4])
    most = (1 + pipeline.reasks) * pipeline.steps * (1 + pipeline.retries)
    assert 1 + pipeline.reasks <= exact.calls * (1 + 1e-9) <= most * (1 + 2e-9)
    drawn = simulate(pipeline, 50, seed=3)
    assert drawn.success + drawn.silent + drawn.loud == close(1)


@given(fractions, st.integers(1, 6), st.integers(0, 4))
def test_perfect_verifier_at_both_ends_of_correlation(p: float, n: int, retries: int) -> None:
    independent = end_to_end(Pipeline(n, p, 0.0, catch=1.0, retries=retries))
    assert independent.success == close((1 - (1 - p) ** (retries + 1)) ** n)
    hopeless = end_to_end(Pipeline(n, p, 1.0, catch=1.0, retries=retries))
    assert hopeless.success == close(p**n)
    assert independent.silent == close(0)
    assert hopeless.loud == close(1 - p**n)


def test_retry_of_a_correlated_slip_by_hand() -> None:
    """One step, one retry, perfect verifier: success is 1 - E[(1-q)^2] = 2p - E[q^2]."""
    outcome = end_to_end(Pipeline(1, 0.96, 0.32, catch=1.0, retries=1))
    assert outcome.success == close(2 * 0.96 - pass_hat_k(0.96, 0.32, 2))
    assert outcome.calls == close(1.04)


def test_reasks_by_hand() -> None:
    """Half the attempts ask once more: each step is E[q^2] for these and p for the others."""
    step = (0.96 + pass_hat_k(0.96, 0.32, 2)) / 2
    outcome = end_to_end(Pipeline(4, 0.96, 0.32, reasks=0.5))
    assert (outcome.success, outcome.calls) == (close(step**4), close(6))


def test_reviewer_decides_what_reaches_them() -> None:
    everything = end_to_end(replace(FULL, escalated=1.0))
    assert (everything.success, everything.silent) == (close(0.9), close(0.1))
    assert (everything.loud, everything.escalated) == (0, close(1))
    nobody, sample = end_to_end(replace(FULL, escalated=0.0)), end_to_end(FULL)
    assert nobody.escalated == 0 < nobody.loud
    assert sample.escalated == close(nobody.loud + 0.2 * (1 - nobody.loud))


@given(pipelines, fractions)
def test_monotone(pipeline: Pipeline, other: float) -> None:
    pipeline = replace(pipeline, escalated=0.0)

    def success(**changes: Any) -> float:
        return end_to_end(replace(pipeline, **changes)).success

    slack = 1e-9
    assert success(retries=pipeline.retries + 1) >= success() - slack
    low, high = sorted((pipeline.reliability, other))
    fair = {"catch": max(pipeline.catch, pipeline.false_alarm)}
    assert success(reliability=high, **fair) >= success(reliability=low, **fair) - slack
    more = pipeline.reasks + other
    assert success(reasks=more, **fair) <= success(**fair) + slack
    low, high = sorted((pipeline.catch, other))
    silent = [end_to_end(replace(pipeline, catch=c, retries=0)).silent for c in (low, high)]
    assert silent[1] <= silent[0] + slack
    low, high = sorted((pipeline.correlation, other))
    perfect = {"catch": 1.0, "false_alarm": 0.0, "reasks": 0.0}
    assert success(correlation=high, **perfect) <= success(correlation=low, **perfect) + slack


def test_simulation_repeats_under_its_seed_only() -> None:
    assert simulate(FULL, 70_000, seed=1) == simulate(FULL, 70_000, seed=1)
    assert simulate(FULL, 70_000, seed=1) != simulate(FULL, 70_000, seed=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"reliability": 1.01},
        {"correlation": -0.1},
        {"reasks": -1},
        {"reasks": float("inf")},
        {"catch": float("nan")},
        {"false_alarm": 2},
        {"retries": -1},
        {"escalated": -0.5},
        {"reviewer_accuracy": 1.5},
    ],
)
def test_pipeline_names_the_value_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Pipeline(**wrong)


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.99))
def test_fit_recovers_its_own_curve(p: float, rho: float) -> None:
    mean, found = fit_pass_curve([pass_hat_k(p, rho, k) for k in range(1, 6)])
    assert mean == close(p)
    assert found == pytest.approx(rho, abs=1e-4)


# pass^1..4, retail, from the leaderboard submissions in sierra-research/tau2-bench (2025-06-09).
PUBLISHED = {
    "gpt-4.1": [0.740, 0.642, 0.581, 0.523],
    "gpt-4.1-mini": [0.614, 0.498, 0.423, 0.369],
    "o4-mini": [0.683, 0.587, 0.521, 0.468],
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_curves_are_correlated_beta_binomials(model: str) -> None:
    curve = PUBLISHED[model]
    mean, rho = fit_pass_curve(curve)

    def squared_error(rho: float) -> float:
        return sum((pass_hat_k(mean, rho, k) - rate) ** 2 for k, rate in enumerate(curve, 1))

    assert [pass_hat_k(mean, rho, k) for k in range(1, 5)] == pytest.approx(curve, abs=0.015)
    assert squared_error(rho) < min(squared_error(rho - 0.01), squared_error(rho + 0.01))
    assert chain(mean, 4) < curve[3] - 0.15  # independent trials would fall far below


def test_fit_refuses_or_shrugs_where_it_must() -> None:
    assert isnan(fit_pass_curve([1.0, 1.0, 1.0])[1])
    with pytest.raises(ValueError, match="at least"):
        fit_pass_curve([0.5])
    with pytest.raises(ValueError, match="pass"):
        fit_pass_curve([79.6, 67.4])
