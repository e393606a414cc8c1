"""coordkit.plots: the figures show the numbers they are given."""

import json
from collections import Counter
from copy import deepcopy

import pandas as pd
import plotly.graph_objects as go
import pytest

from coordkit.experiment import Settings, ladder_stacks, run
from coordkit.ladder import Summary, finding, summarise
from coordkit.plots import (
    GREY,
    before_after_figure,
    causes_figure,
    effect_figure,
    fates_figure,
    formula_figure,
    frontier_figure,
    ladder_figure,
    names,
    prediction_figure,
    sankey_figure,
    shares_figure,
    waterfall_figure,
    whiskers,
)
from coordkit.stack import Stack


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, pd.DataFrame]:
    """A ladder of 12 billing tasks."""
    settings = Settings("billing", tasks=12)
    table, _ = run(settings, ladder_stacks(), tmp_path_factory.mktemp("runs"), processes=1)
    return summarise(table, settings, range(7)), table


def trace_of(figure: go.Figure, name: str) -> go.Scatter | go.Bar:
    (found,) = [t for t in figure.data if t.name and t.name.startswith(name)]
    return found


def title(figure: go.Figure) -> str:
    return figure.layout.title.text.replace("<br>", " ")


def test_the_ladder_stacks_silent_and_loud_to_the_failure_rate(measured) -> None:
    summary, _ = measured
    figure = ladder_figure(summary)
    silent, loud = trace_of(figure, "silent"), trace_of(figure, "loud")
    rates = [100 * entry["failure_rate"] for entry in summary["rungs"]]
    assert figure.layout.barmode == "stack"
    assert [a + b for a, b in zip(silent.y, loud.y, strict=True)] == pytest.approx(rates)
    assert title(figure) + "." == finding(summary)
    assert "%" in figure.layout.yaxis.title.text


def test_the_ladder_draws_the_interval(measured) -> None:
    summary, _ = measured
    (bars,) = [t for t in ladder_figure(summary).data if t.error_y.array is not None]
    ends = zip(bars.y, bars.error_y.arrayminus, bars.error_y.array, strict=True)
    for entry, (y, below, above) in zip(summary["rungs"], ends, strict=True):
        assert y - below == pytest.approx(100 * entry["ci_low"])
        assert y + above == pytest.approx(100 * entry["ci_high"])


def test_the_ladder_shows_escalations_where_there_are_any(measured) -> None:
    summary = deepcopy(measured[0])
    for entry, n in zip(summary["rungs"], [0, 0, 0, 0, 0, 3, 6], strict=True):
        entry["escalated"] = n
    marks = trace_of(ladder_figure(summary), "escalated")
    assert list(marks.y) == [None] * 5 + [25.0, 50.0]


def test_the_effects_are_failures_removed(measured) -> None:
    summary, _ = measured
    figure = effect_figure(summary)
    entries = summary["rungs"][1:]
    added, knocked = trace_of(figure, "added"), trace_of(figure, "knocked")
    assert list(added.x) == pytest.approx([100 * e["delta"] for e in entries])
    assert list(knocked.x) == pytest.approx([100 * e["knockout_delta"] for e in entries])
    for mark, low, entry in zip(added.x, added.error_x.arrayminus, entries, strict=True):
        assert mark - low == pytest.approx(100 * entry["delta_ci_low"])
    assert list(figure.layout.yaxis.ticktext) == [e["layers"][-1] for e in entries]
    assert "percentage points" in figure.layout.xaxis.title.text


def test_without_knockouts_only_the_ladder_is_drawn(measured) -> None:
    summary = deepcopy(measured[0])
    for entry in summary["rungs"]:
        entry["knockout_delta"] = None
    figure = effect_figure(summary)
    assert [t.name for t in figure.data] == ["added on the ladder"]
    assert "of all six" not in title(figure)


def test_the_title_speaks_of_the_knockouts_that_were_measured(measured) -> None:
    summary = deepcopy(measured[0])
    gains = zip(summary["rungs"][1:], [1, 2, 3, 6, 5, 4], strict=True)
    for entry, knockout in gains:
        entry["knockout_delta"] = knockout / 100
    assert "; of all six, state is missed most (6.0 more)" in title(effect_figure(summary))
    part = {**summary, "rungs": summary["rungs"][4:]}
    assert title(effect_figure(part)).endswith(
        "; of verification and human, verification is missed most (5.0 more)"
    )
    jump = {**summary, "rungs": [summary["rungs"][3], summary["rungs"][6]]}
    assert title(effect_figure(jump)).endswith("; knocked out of all six, human alone: 4.0 more")


def test_one_rung_has_no_effect_to_show(measured) -> None:
    summary = {**measured[0], "rungs": measured[0]["rungs"][:1]}
    with pytest.raises(ValueError, match="single rung"):
        effect_figure(summary)


def test_every_failure_is_in_one_cell_of_the_causes(measured) -> None:
    _, table = measured
    (cells,) = causes_figure(table).data
    for k in range(7):
        failed = table.loc[table["stack"] == Stack.rung(k).label, "failed"].sum()
        assert sum(row[k] for row in cells.z) == failed


def test_rare_causes_are_put_together() -> None:
    causes = [f"cause {i}" for i in range(14) for _ in range(20 - i)]
    table = pd.DataFrame({"stack": "none", "failed": True, "cause": causes})
    (cells,) = causes_figure(table).data
    assert list(cells.y) == [*(f"cause {i}" for i in range(10)), "4 other causes"]
    assert cells.z[-1][0] == sum(20 - i for i in range(10, 14))


def test_a_tie_of_causes_has_no_leader() -> None:
    table = pd.DataFrame({"stack": "none", "failed": True, "cause": ["a", "a", "b"]})
    assert '"a" leads (2 of 3 failures)' in title(causes_figure(table))
    assert "no one cause leads the 2 failures" in title(causes_figure(table[1:]))


def test_every_fault_is_in_one_bar_of_the_fates(measured) -> None:
    _, table = measured
    figure = fates_figure(table)
    for k in range(7):
        books = table.loc[table["stack"] == Stack.rung(k).label, "faults"].map(json.loads)
        counts = Counter(fault["fate"] for book in books for fault in book)
        assert {t.name: t.y[k] for t in figure.data if t.y[k]} == dict(counts)


def test_a_stack_that_is_no_rung_is_shown_by_its_layers(measured) -> None:
    _, table = measured
    label = Stack.rung(6).without("state").label
    (cells,) = causes_figure(table[table["stack"] == label]).data
    assert [x.replace("<br>", "") for x in cells.x] == [label]


@pytest.mark.parametrize("draw", [causes_figure, fates_figure])
def test_a_table_without_failures_can_be_drawn(draw, measured) -> None:
    _, table = measured
    clean = table[~table["failed"] & (table["faults"] == "[]")]
    assert title(draw(clean))


def test_figures_can_be_read_on_any_background(measured) -> None:
    summary, table = measured
    drawn = [ladder_figure(summary), effect_figure(summary), causes_figure(table)]
    for figure in [*drawn, fates_figure(table)]:
        look = figure.layout.template.layout
        assert look.paper_bgcolor == look.plot_bgcolor == "rgba(0,0,0,0)"
        assert look.font.color == "#767676"
        assert max(map(len, figure.layout.title.text.split("<br>"))) <= 76


def test_names(measured) -> None:
    summary, _ = measured
    assert names(summary)[:2] == ["0 bare model", "1 context"]
    entries = [summary["rungs"][k] for k in (3, 5)]
    assert names({**summary, "rungs": entries}) == ["3 layers 1 to 3", "5 state + verification"]
    other = {**entries[0], "rung": None, "layers": ["context", "human"]}
    assert names({**summary, "rungs": [other]}) == ["context + human"]


def test_the_waterfall_steps_from_the_first_rate_to_the_last(measured) -> None:
    summary, _ = measured
    bars, whiskers, figures = waterfall_figure(summary).data
    rates = [100 * entry["failure_rate"] for entry in summary["rungs"]]
    ends = [base + y for base, y in zip(bars.base, bars.y, strict=True)]
    assert ends == pytest.approx([*rates, rates[-1]])
    drawn = zip(summary["rungs"][1:], ends[1:], whiskers.error_y.array[1:], strict=False)
    for entry, y, above in drawn:
        change = 100 * (entry["delta_ci_high"] - entry["delta"])
        assert above == pytest.approx(change) and y == pytest.approx(100 * entry["failure_rate"])
    error = whiskers.error_y
    for y, middle, up, down in zip(figures.y, ends, error.array, error.arrayminus, strict=True):
        assert y > middle + up, "a figure stands clear of its interval"
        assert middle - down >= -1e-9, "no rate is below 0 %"


def test_every_fault_passes_the_sankey_once() -> None:
    flows = pd.DataFrame(
        [("wrong_pick", "verification", "repaired", 3), ("timed_out", "none", "shipped", 2)],
        columns=["mode", "layer", "fate", "faults"],
    )
    figure = sankey_figure(flows, "billing")
    (diagram,) = figure.data
    labels, link = diagram.node.label, diagram.link
    named = {
        (labels[a], labels[b]): n
        for a, b, n in zip(link.source, link.target, link.value, strict=True)
    }
    assert named == {
        ("wrong pick", "verification"): 3,
        ("timed out", "no layer"): 2,
        ("verification", "repaired"): 3,
        ("no layer", "shipped"): 2,
    }
    assert "2 of 5" in title(figure)
    assert diagram.textfont.color == GREY and diagram.textfont.shadow == "none"


def test_the_frontier_is_joined_and_the_rest_is_not() -> None:
    points = pd.DataFrame(
        {"stack": ["a", "b", "c"], "usd": [0.1, 0.2, 0.3], "failure": [0.5, 0.6, 0.1],
         "low": 0.05, "high": 0.7}
    )  # fmt: skip
    figure = frontier_figure(points, [0, 2], "billing")
    edge = trace_of(figure, "frontier")
    assert list(edge.x) == [0.1, 0.3] and list(edge.y) == [50, 10]
    assert list(trace_of(figure, "every").x) == [0.2]
    assert "2 of 3" in title(figure)


def test_shares_and_formulas_are_drawn_in_percent() -> None:
    shares = pd.DataFrame({"share": [0.2, 0.1], "low": 0.05, "high": 0.3}, index=["state", "human"])
    figure = shares_figure({"billing": shares})
    assert list(figure.data[0].x) == pytest.approx([20, 10])
    assert title(figure) == "Shapley shares: in billing state removes 20.0 points"
    harm = shares.assign(share=[0.2, -0.1], high=[0.3, -0.05])
    told = "Shapley shares: in a state removes 20.0 points, human adds 10.0; in b state removes"
    assert title(shares_figure({"a": harm, "b": shares})) == f"{told} 20.0 points"
    rates = pd.DataFrame({"rate": [0.1], "low": [0.05], "high": [0.2]}, index=[1])
    drawn = formula_figure({"measured": rates}, {"formula": rates["rate"]}, "a title", "steps")
    assert [list(trace.y) for trace in drawn.data] == [[10], [10]]
    assert list(drawn.data[0].error_y.array) == pytest.approx([10])


def test_whiskers_are_lengths_from_the_middle() -> None:
    bars = whiskers([10.0, 5.0], [8.0, 5.0], [13.0, 9.0], color="red")
    assert bars == {
        "array": [3.0, 4.0], "arrayminus": [2.0, 0.0], "symmetric": False, "color": "red",
    }  # fmt: skip


def test_no_title_is_taken_for_mathematics() -> None:
    """Plotly hands a text with two dollar signs to MathJax, which leaves nothing of it."""
    rows = [("none", 0.001, 0.5), ("context", 0.002, 0.2), ("human", 0.09, 0.4)]
    points = pd.DataFrame(rows, columns=["stack", "usd", "failure"]).assign(low=0.1, high=0.6)
    title = frontier_figure(points, [0, 1], "billing").layout.title.text
    assert "$" not in title and "0.0010 USD" in title


def test_a_prediction_has_a_band_and_the_measurement_whiskers() -> None:
    ends = {"low": [0.0, 0.1], "high": [0.2, 0.4]}
    predicted = pd.DataFrame({"rate": [0.1, 0.19], **ends}, index=[1, 2])
    measured = pd.DataFrame({"rate": [0.1, 0.3], **ends}, index=[1, 2])
    figure = prediction_figure(predicted, measured)
    band = trace_of(figure, "95 % interval of the prediction")
    assert list(band.x) == [1, 2, 2, 1] and list(band.y) == pytest.approx([20, 40, 10, 0])
    assert list(trace_of(figure, "predicted, 1 − pⁿ").y) == pytest.approx([10, 19])
    points = trace_of(figure, "measured")
    assert list(points.y) == pytest.approx([10, 30])
    assert list(points.error_y.arrayminus) == pytest.approx([10, 20])
    assert "19.0 % predicted, 30.0 % measured" in title(figure)


def test_before_and_after_are_drawn_with_the_signs_of_the_table() -> None:
    rows = [("billing", name, 12.3, 9.0, -3.3, -6.1, -0.5) for name in ("added", "knocked out")]
    columns = ["case", "comparison", "without", "with", "change", "low", "high"]
    frame = pd.DataFrame(rows, columns=columns).set_index(["case", "comparison"])
    figure = before_after_figure(frame, "state")
    (mark,) = figure.data[0].x
    assert mark == pytest.approx(-3.3) and "left of 0: fewer" in figure.layout.xaxis.title.text
    assert mark - figure.data[0].error_x.arrayminus[0] == pytest.approx(-6.1)
    worse = before_after_figure(frame.assign(change=3.3, low=0.5, high=6.1), "state")
    assert worse.data[0].x[0] == pytest.approx(3.3)
