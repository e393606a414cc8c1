"""Chains with and without shared state: the closed form behind the sliders."""

import timeit

import pytest

from coordkit.explorers.state import remember, show_memory, state_explorer

USUAL = {"steps": 4, "reliability": 0.96, "correlation": 0.32, "reasks": 0.75, "redelivered": 0.015}


def test_without_re_asks_and_redelivery_state_changes_nothing() -> None:
    got = remember(4, 0.96, 0.32, 0, 0)
    assert got.without == got.shared == pytest.approx(0.96**4)
    assert got.calls_without == got.calls_shared == pytest.approx(4)


def test_independent_re_asks_are_further_steps() -> None:
    got = remember(4, 0.96, 0, 1, 0)
    assert got.without == pytest.approx(0.96**8)
    assert got.calls_without == pytest.approx(8)


def test_correlated_re_asks_cost_less() -> None:
    free, bound = (remember(4, 0.96, rho, 1, 0).without for rho in (0, 0.9))
    assert free < bound < 0.96**4


def test_redelivered_tasks_fail_without_and_cost_nothing_with_state() -> None:
    got = remember(4, 1, 0, 0, 0.1)
    assert (got.without, got.shared) == (pytest.approx(0.9), pytest.approx(1))
    assert got.calls_shared == pytest.approx(3.6)


def test_nonsense_is_refused() -> None:
    for wrong in ({"redelivered": -0.1}, {"reliability": 1.2}, {"steps": 0}, {"reasks": -1}):
        with pytest.raises(ValueError):
            remember(**{**USUAL, **wrong})


def test_the_readout_says_what_the_lines_show_and_moves_quickly() -> None:
    shown, got = show_memory(**USUAL), remember(**USUAL)
    assert f"{got.without:.1%}" in shown.text and f"{got.shared:.1%}" in shown.text
    assert shown.traces[2]["y"] == [100 * got.without, 100 * got.shared]
    assert min(timeit.repeat(lambda: show_memory(**USUAL), number=1, repeat=5)) < 0.05


def test_the_sliders_move_the_figure() -> None:
    explorer = state_explorer()
    assert explorer.values() == USUAL
    before = explorer.readout.value
    explorer.sliders["reasks"].value = 2
    assert explorer.readout.value != before
    assert "2.00 re-asks" in explorer.figure.layout.title.text
