"""The verification sliders' pure function."""

import json

import pandas as pd
import pytest

from coordkit.explorers.verification import (
    slip_fates,
    verification_explorer,
    verification_response,
)
from coordkit.reliability import Pipeline, end_to_end


def test_it_shows_the_closed_form() -> None:
    shown = verification_response(0.96, 0.8, 0.1, 2, 0.32)
    right = end_to_end(
        Pipeline(steps=4, reliability=0.96, correlation=0.32, catch=0.8, false_alarm=0.1, retries=2)
    )
    success, silent, loud, chosen = (trace["y"] for trace in shown.traces)
    assert success[2] == pytest.approx(100 * right.success)
    assert (success[2], silent[2], loud[2]) == tuple(chosen)
    assert f"{right.calls:.2f} model calls" in shown.text
    totals = [sum(parts) for parts in zip(success, silent, loud, strict=True)]
    assert totals == pytest.approx([100] * 7)


def test_retries_help_less_where_they_fail_alike() -> None:
    def gain(rho: float) -> float:
        y = verification_response(0.9, 1.0, 0.0, 0, rho).traces[0]["y"]
        return float(y[3] - y[0])

    assert gain(0.0) > gain(0.32) > gain(0.76) > gain(1.0) == pytest.approx(0)


@pytest.mark.parametrize("edge", [(0.5, 0, 0, 0, 0), (1, 1, 0.5, 6, 1), (0.5, 1, 0.5, 6, 0)])
def test_the_ends_of_the_sliders_work(edge: tuple[float, float, float, int, float]) -> None:
    assert "success" in verification_response(*edge).text


def test_a_slider_moves_figure_and_readout() -> None:
    explorer = verification_explorer()
    before = explorer.readout.value
    explorer.sliders["retries"].value = 5
    assert explorer.readout.value != before and "5 retries" in explorer.readout.value
    assert list(explorer.figure.data[3].x) == [5, 5, 5]


def test_slip_fates_counts_each_slip_once_and_leaves_transport_out() -> None:
    def book(*slips: tuple[str, str]) -> str:
        return json.dumps([{"mode": m, "step": "post", "fate": f} for m, f in slips])

    trials = pd.DataFrame(
        {
            "failure": ["", "held", "wrong amount"],
            "faults": [
                book(("wrong_pick", "repaired"), ("timed_out", "repaired")),
                book(("wrong_pick", "repaired"), ("wrong_pick", "shipped")),
                book(("stale_value", "shipped"), ("stale_value", "harmless")),
            ],
        }
    )
    fates = slip_fates(trials)
    assert list(fates.index) == ["wrong_pick", "stale_value"]
    columns = ["slips", "repaired", "held", "shipped", "harmless", "caught"]
    assert list(fates.loc["wrong_pick", columns]) == [3, 2, 1, 0, 0, 1.0]
    assert list(fates.loc["stale_value", columns]) == [2, 0, 0, 1, 1, 0.0]
    low, high = fates[["low", "high"]].to_numpy()[1]
    assert low == 0 < high < 1
    assert list(slip_fates(trials, "step")["slips"]) == [5]
