"""The router as a Markov chain: against a simulation, its closed form, and what must hold."""

import re

import numpy as np
import pytest

from coordkit.explorers.planning import (
    LONGEST,
    ceiling,
    hop_matrix,
    planning_explorer,
    respond,
    route,
)
from coordkit.reliability import chain, difficulty_quantile


def simulated(
    steps: int, budget: int, right: float, rho: float, runs: int
) -> tuple[list[float], float]:
    """The same router played out choice by choice, with what was done kept as a list."""
    rng = np.random.default_rng(1)
    counts, hops = {"in_order": 0, "broken": 0, "stopped": 0}, 0
    for q in difficulty_quantile(rng.random(runs), right, rho):
        done: list[int] = []
        fate = "stopped"
        for _ in range(budget):
            hops += 1
            best = max(done, default=0) + 1
            others = [c for c in range(1, steps + 2) if c != best]
            choice = best if rng.random() < q else int(rng.choice(others))
            if choice == steps + 1:
                first = list(dict.fromkeys(done))
                fate = "in_order" if first == list(range(1, steps + 1)) else "broken"
                break
            done.append(choice)
        counts[fate] += 1
    return [n / runs for n in counts.values()], hops / runs


@pytest.mark.parametrize(
    ("steps", "budget", "right", "rho"),
    [(4, 5, 0.9, 0.0), (4, 8, 0.8, 0.3), (6, 12, 0.96, 0.32), (2, 4, 0.5, 0.0)],
)
def test_the_chain_agrees_with_a_simulation(steps, budget, right, rho) -> None:
    runs = 20_000
    shares, hops = simulated(steps, budget, right, rho, runs)
    exact = route(steps, budget, right, rho)
    for seen, share in zip(shares, exact[-1], strict=True):
        assert abs(seen - share) < 4 * np.sqrt(share * (1 - share) / runs) + 1e-9
    assert hops == pytest.approx(exact[:-1, 2].sum(), rel=0.02)


@pytest.mark.parametrize("steps", [1, 4, 9])
@pytest.mark.parametrize("right", [0.0, 0.7, 1.0])
def test_every_row_of_the_matrix_is_a_distribution_and_linear_in_q(steps, right) -> None:
    matrix = hop_matrix(steps, right)
    assert (matrix >= 0).all() and matrix.sum(axis=1) == pytest.approx(1)
    mixed = right * hop_matrix(steps, 1.0) + (1 - right) * hop_matrix(steps, 0.0)
    assert matrix == pytest.approx(mixed)


@pytest.mark.parametrize("steps", [2, 6])
def test_the_tightest_budget_leaves_the_straight_run_only(steps) -> None:
    in_order, _, stopped = route(steps, steps + 1, 0.9).T
    assert in_order[-1] == pytest.approx(chain(0.9, steps + 1))
    assert in_order[-2] == 0 and stopped[0] == 1


@pytest.mark.parametrize("rho", [0.0, 0.32, 1.0])
def test_a_large_budget_reaches_the_ceiling(rho) -> None:
    assert route(4, 300, 0.9, rho)[-1, 0] == pytest.approx(ceiling(4, 0.9, rho), abs=1e-4)


def test_a_faultless_router_needs_no_more_than_the_straight_run() -> None:
    shares = route(6, 7, 1.0, 0.3)
    assert shares[-1] == pytest.approx((1, 0, 0))
    assert shares[:-1, 2].sum() == pytest.approx(7), "hops"


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"budget": -1}, {"right": 1.1}, {"rho": -0.1}], ids=str
)
def test_values_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        route(**{"steps": 4, "budget": 8, "right": 0.9, "rho": 0.1, **wrong})


def test_the_readout_says_what_the_figure_shows() -> None:
    shown = respond(steps=6, budget=10, right=0.96, rho=0.32)
    exact = route(6, 10, 0.96, 0.32)
    assert f"{exact[-1, 0]:.1%}" in shown.text and f"{ceiling(6, 0.96, 0.32):.1%}" in shown.text
    shares = np.array([trace["y"] for trace in shown.traces[:3]])
    assert shares.shape == (3, LONGEST + 1) and shares.sum(axis=0) == pytest.approx(100)
    assert shares[0, 10] == pytest.approx(100 * exact[-1, 0])


def test_the_readout_counts_a_call_for_each_hop_within_the_budget() -> None:
    """A budget below the straight run is used up by most tasks, and not a hop more."""
    assert "; 3.0 router calls a task" in respond(steps=6, budget=3, right=1.0, rho=0.3).text
    for budget in (1, 5, 10):
        _, hops = simulated(6, budget, 0.8, 0.32, 4_000)
        (told,) = re.findall(r"([\d.]+) router calls", respond(6, budget, 0.8, 0.32).text)
        assert float(told) == pytest.approx(hops, abs=0.15)


def test_a_slider_moves_the_figure() -> None:
    explorer = planning_explorer()
    before = explorer.readout.value
    explorer.sliders["right"].value = 0.8
    assert explorer.readout.value != before
    assert "80%" in explorer.figure.layout.title.text
