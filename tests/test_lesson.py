from pathlib import Path

import pytest

from coordkit.experiment import Settings, make_bench
from coordkit.ladder import FULL
from coordkit.layers import LAYERS
from coordkit.lesson import before_after, comparisons, costs, measure, telling
from coordkit.stack import Stack


@pytest.mark.parametrize("layer", LAYERS)
def test_each_comparison_differs_in_the_layer_alone(layer: str) -> None:
    pairs = comparisons(layer)
    for without, with_layer in pairs.values():
        assert with_layer.layers - without.layers == {layer}
        assert without.layers < with_layer.layers
    assert pairs["knockout"][1] == FULL


def test_the_table_agrees_with_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COORDKIT_RUNS", raising=False)
    frame = before_after("verification", tasks=60)
    assert list(frame.index) == [
        ("billing", "added on the ladder"),
        ("billing", "knocked out of all six"),
        ("support", "added on the ladder"),
        ("support", "knocked out of all six"),
    ]
    row = frame.iloc[0]
    trials = measure("billing", [Stack.rung(4), Stack.rung(5)], tasks=60)
    rates = trials.groupby("stack")["failed"].mean()
    assert row["without"] == round(100 * rates[Stack.rung(4).label], 1) > 0
    assert row["with"] == round(100 * rates[Stack.rung(5).label], 1)
    assert row["change"] == round(100 * (rates.iloc[1] - rates.iloc[0]), 1)
    assert row["low"] < row["change"] < row["high"]
    assert (tmp_path / "runs").is_dir(), "kept, so that a second call costs nothing"


def test_telling_prints_only_the_parts_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    bench = make_bench(Settings("billing", tasks=20), Stack.rung(3))
    telling(bench, bench.at.case.tasks[0].id, "Task", "agent match", "Verdict")
    told = capsys.readouterr().out
    starts = [block.split()[0] for block in told.split("\n\n")]
    assert starts[0] == "Task" and starts[-1] == "Verdict" and set(starts[1:-1]) == {"agent"}
    assert "agent extract" not in told
    with pytest.raises(KeyError):
        telling(bench, "BNK-NONE")


def test_costs_are_means_of_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORDKIT_RUNS", str(tmp_path))
    table = costs("context", tasks=10)
    pair = comparisons("context")["ladder"]
    means = measure("support", pair, tasks=10).groupby("stack")["input_tokens"].mean()
    off, on = (means[stack.label] for stack in pair)
    assert table.loc[("support", "without"), "input_tokens"] == pytest.approx(off, abs=0.5)
    assert table.loc[("support", "ratio"), "input_tokens"] == pytest.approx(on / off, abs=0.005)
