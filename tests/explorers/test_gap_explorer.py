import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coordkit.explorers.gap import (
    DIALS,
    GapExplorer,
    gap_response,
    measure_relay,
    measured_trace,
    pass_curve_figure,
)
from coordkit.reliability import Pipeline, chain, end_to_end, fit_pass_curve

PUBLISHED = Path(__file__).resolve().parents[2] / "data" / "published_pass_hat_k.csv"
DEFAULTS = {dial.name: dial.value for dial in DIALS}
EVERYTHING = Pipeline(3, 0.8, 0.4, 0.6, 0.7, 0.1, 1, 0.3, 0.9)


def test_the_dials_are_the_pipeline_s_fields_and_start_at_the_formula() -> None:
    assert set(DEFAULTS) == set(vars(Pipeline()))
    shown = gap_response(**DEFAULTS)
    assert "End to end 83.3%" in shown.text
    alone, curve, here, measured = shown.traces
    assert here == {"x": [6], "y": [pytest.approx(100 * chain(0.97, 6))]}
    assert list(curve["y"]) == pytest.approx(list(alone["y"])) and measured == {}


@pytest.mark.parametrize("dial", DIALS, ids=lambda d: d.name)
def test_every_dial_may_go_to_its_ends(dial) -> None:
    for value in (dial.low, dial.high):
        shown = gap_response(**{**vars(EVERYTHING), dial.name: value})
        expected = end_to_end(Pipeline(**{**vars(EVERYTHING), dial.name: value})).success
        assert f"End to end {expected:.1%}" in shown.text


def test_the_readout_says_which_sliders_do_nothing() -> None:
    assert "No effect" not in gap_response(**vars(EVERYTHING)).text
    idle = gap_response(**DEFAULTS).text
    assert all(name in idle for name in ("correlation", "retries", "reviewer"))


@pytest.mark.parametrize(
    "pipeline",
    [
        Pipeline(4, 0.9, 0.5, reasks=1.3),
        Pipeline(3, 0.8, 0.5, catch=0.7, false_alarm=0.15, retries=2),
        EVERYTHING,
    ],
    ids=["re-asks", "verifier", "everything"],
)
def test_real_graphs_do_what_the_sliders_say(pipeline: Pipeline) -> None:
    tasks, expected = 250, end_to_end(pipeline).success
    measured = measure_relay(pipeline, tasks) / tasks
    assert abs(measured - expected) < 4 * (expected * (1 - expected) / tasks) ** 0.5


def test_measuring_drops_a_point_that_stays_with_its_setting() -> None:
    explorer = GapExplorer(tasks=20)
    points = explorer.figure.data[-1]
    assert not points.y
    explorer.button.click()
    assert points.x == (6,) and re.search(r"Measured [\d.]+%", explorer.report.value)
    assert not explorer.button.disabled and explorer.bar.value == 20
    explorer.sliders["steps"].value = 3  # the same curve
    assert points.x == (6,) and "Nothing measured" in explorer.report.value
    explorer.sliders["reasks"].value = 1.0  # another curve
    assert not points.y
    explorer.sliders["reasks"].value, explorer.sliders["steps"].value = 0.0, 6
    explorer.button.click()
    assert len(points.y) == 2 and "40 graph runs" in explorer.report.value


def test_no_points_make_an_empty_trace() -> None:
    assert measured_trace([], 20)["x"] == []


def test_the_published_curves_give_the_default_correlation_and_the_figure_s_title() -> None:
    rates = pd.read_csv(PUBLISHED, comment="#").filter(like="pass_").to_numpy()
    assert rates.shape == (16, 4)
    fits = np.array([fit_pass_curve(curve / 100) for curve in rates])
    assert np.median(fits[:, 1]) == pytest.approx(0.32, abs=0.005)
    independent = 100 * fits[:, :1] ** np.arange(1, 5)
    figure = pass_curve_figure(rates, independent, rates)
    off = (independent - rates)[:, 3].mean()
    title = figure.layout.title.text.replace("<br>", " ").replace("−", "-")
    assert f"{off:+.1f} points at pass^4" in title
