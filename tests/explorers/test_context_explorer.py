"""The sliders of context: the nearest measured setting is shown, and the readout agrees with it."""

import pandas as pd
import pytest

from coordkit.explorers.context import (
    compare_sizes,
    context_explorer,
    measure_sizes,
    nearest,
    sizes_figure,
)

ROWS = [
    ("dump", 0, 30, 50.0, 37.7, 62.3, 400),
    ("dump", 6000, 24, 40.0, 28.6, 52.6, 2000),
    ("retrieval", 0, 30, 50.0, 37.7, 62.3, 400),
    ("retrieval", 12, 3, 5.0, 1.7, 13.7, 1000),
]
COLUMNS = ["approach", "size", "failed", "failure", "low", "high", "tokens"]
SIZES = pd.DataFrame(ROWS, columns=COLUMNS).assign(tasks=60)


@pytest.mark.parametrize(
    ("approach", "asked", "size"),
    [("dump", 0, 0), ("dump", 3000, 0), ("dump", 3001, 6000), ("retrieval", 99, 12)],
)
def test_the_nearest_measured_setting_is_taken(approach, asked, size) -> None:
    assert nearest(SIZES, approach, asked)["size"] == size


def test_the_readout_gives_the_measured_rates_and_marks_them() -> None:
    shown = compare_sizes(SIZES, thousands=6, texts=12)
    assert "40.0 % fail" in shown.text and "5.0 % fail" in shown.text
    assert "2.0 times as many tokens" in shown.text and "do not overlap" in shown.text
    assert shown.traces[2:] == [{"x": [2000], "y": [40.0]}, {"x": [1000], "y": [5.0]}]
    assert "overlap, so" in compare_sizes(SIZES, thousands=6, texts=0).text


def test_the_title_names_the_best_of_both() -> None:
    title = sizes_figure(SIZES, "billing").layout.title.text.replace("<br>", " ")
    assert "40.0 % for 2,000 tokens" in title and "5.0 % for 1,000" in title


def test_a_slider_moves_the_mark() -> None:
    explorer = context_explorer(SIZES, "billing")
    explorer.sliders["texts"].value = 0
    assert tuple(explorer.figure.data[3].x) == (400,)


def test_sizes_are_measured_and_more_context_costs_more_tokens() -> None:
    sizes = measure_sizes("billing", (0, 4000), (3,), tasks=4)
    assert list(sizes["approach"]) == ["dump", "dump", "retrieval"]
    assert sizes["tokens"][1] > sizes["tokens"][0] > 0
    assert (sizes["low"] <= sizes["failure"]).all() and (sizes["failure"] <= sizes["high"]).all()
