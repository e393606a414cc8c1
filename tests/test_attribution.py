"""coordkit.attribution: Shapley's axioms, the frontier, the faults' ends, the committed table."""

import json
from math import factorial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.attribution import (
    added_by,
    all_stacks,
    cost_and_failure,
    dealt_with,
    fault_flows,
    outcomes,
    pareto,
    read_stacks,
    shapley_shares,
    shapley_weights,
    stack_rows,
    subsets,
    write_stacks,
)
from coordkit.experiment import Settings
from coordkit.layers import LAYERS
from coordkit.stack import Stack

PLAYERS = ("a", "b", "c", "d")


def shapley(failure, players=PLAYERS) -> dict[str, float]:
    rates = np.array([failure[subset] for subset in subsets(players)])
    return dict(zip(players, shapley_weights(players) @ rates, strict=True))


games = st.lists(st.floats(0, 1), min_size=16, max_size=16).map(
    lambda rates: dict(zip(subsets(PLAYERS), rates, strict=True))
)


@given(games)
def test_the_shares_sum_to_what_all_remove(failure) -> None:
    shares = shapley(failure, PLAYERS)
    removed = failure[frozenset()] - failure[frozenset(PLAYERS)]
    assert sum(shares.values()) == pytest.approx(removed, abs=1e-12)


@given(games)
def test_a_null_layer_gets_nothing(failure) -> None:
    idle = {subset: failure[subset - {"c"}] for subset in failure}
    assert shapley(idle, PLAYERS)["c"] == pytest.approx(0, abs=1e-12)


@given(games)
def test_layers_that_do_the_same_get_the_same(failure) -> None:
    swap = {"a": "b", "b": "a"}
    alike = {
        subset: (failure[subset] + failure[frozenset(swap.get(p, p) for p in subset)]) / 2
        for subset in failure
    }
    shares = shapley(alike, PLAYERS)
    assert shares["a"] == pytest.approx(shares["b"], abs=1e-12)


@given(games, games)
def test_shares_of_a_sum_are_sums_of_shares(one, other) -> None:
    both = shapley({s: one[s] + other[s] for s in one}, PLAYERS)
    a, b = shapley(one, PLAYERS), shapley(other, PLAYERS)
    assert all(both[p] == pytest.approx(a[p] + b[p], abs=1e-12) for p in PLAYERS)


def test_a_game_worked_by_hand() -> None:
    # alone, a removes 0.4 and b 0.2; together 0.5: a's share is (0.4 + 0.3) / 2
    failure = {frozenset(): 0.6, frozenset("a"): 0.2, frozenset("b"): 0.4, frozenset("ab"): 0.1}
    assert shapley(failure, ("a", "b")) == pytest.approx({"a": 0.35, "b": 0.15})


def test_every_order_counts_once() -> None:
    weights = shapley_weights(LAYERS)
    assert weights.shape == (6, 64)
    assert np.where(weights < 0, weights, 0).sum(axis=1) == pytest.approx(-1)
    assert weights[0, -1] == pytest.approx(-factorial(5) / factorial(6))


def test_bootstrap_intervals_hold_the_share_and_narrow_with_tasks() -> None:
    rng = np.random.default_rng(1)
    labels = [Stack(layers=s).label for s in subsets(LAYERS)]
    few = pd.DataFrame({label: rng.random(40) < 0.5 - 0.04 * label.count("+") for label in labels})
    many = pd.concat([few] * 9, ignore_index=True)
    shares, narrow = shapley_shares(few, 500), shapley_shares(many, 500)
    assert list(shares.index) == list(LAYERS)
    assert ((shares["low"] <= shares["share"]) & (shares["share"] <= shares["high"])).all()
    width = (shares["high"] - shares["low"]) / (narrow["high"] - narrow["low"])
    assert width.mean() == pytest.approx(3, rel=0.2)
    assert shapley_shares(few, 500).equals(shares)


def test_what_a_layer_adds_depends_on_its_company() -> None:
    # verification harms alone (+10 points) and helps once context is on (-10 points)
    def fails(layers) -> int:
        checked = "verification" in layers
        return 50 + (10 * checked if "context" not in layers else -30 - 10 * checked)

    failed = pd.DataFrame(
        {Stack(layers=s).label: [True] * fails(s) + [False] * (100 - fails(s))
         for s in subsets(LAYERS)}
    )  # fmt: skip
    assert added_by("verification", failed, context=False) == pytest.approx(10)
    assert added_by("verification", failed, context=True, human=False) == pytest.approx(-10)
    assert added_by("verification", failed) == pytest.approx(0)


def test_points_of_cost_and_failure_are_the_table_s() -> None:
    table = read_stacks()
    points = cost_and_failure(table, "support").set_index("stack")
    row = table[(table["case"] == "support") & (table["stack"] == "context")].iloc[0]
    assert points.loc["context", "failure"] == row["failed"].count("1") / row["tasks"]
    assert points.loc["context", "usd"] == row["usd"]
    assert (points["low"] <= points["failure"]).all()
    assert (points["failure"] <= points["high"]).all()


def test_the_frontier_leaves_out_what_is_beaten() -> None:
    assert pareto([1, 2, 3, 4], [0.5, 0.6, 0.2, 0.2]) == [0, 2]
    assert pareto([1, 1, 1], [0.5, 0.3, 0.3]) == [1]


@pytest.mark.parametrize(
    ("mode", "fate", "layer"),
    [
        ("timed_out", "repaired", "execution"),
        ("wrong_pick", "repaired", "verification"),
        ("malformed_json", "repaired", "verification"),
        ("wrong_pick", "escalated", "human"),
        ("wrong_pick", "shipped", "none"),
        ("timed_out", "harmless", "none"),
    ],
)
def test_who_dealt_with_a_fault(mode, fate, layer) -> None:
    assert dealt_with({"mode": mode, "fate": fate}) == layer


def test_every_fault_flows_once() -> None:
    book = [{"mode": "wrong_pick", "fate": "repaired"}, {"mode": "timed_out", "fate": "shipped"}]
    table = pd.DataFrame({"faults": [json.dumps(book), "[]", json.dumps(book[:1])]})
    flows = fault_flows(table)
    assert flows["faults"].sum() == 3
    assert flows.set_index("mode")["faults"].to_dict() == {"wrong_pick": 2, "timed_out": 1}


def test_a_row_per_stack_from_one_row_per_trial(tmp_path) -> None:
    trials = pd.DataFrame(
        [
            {"stack": stack.label, "task": task, "failed": task == "b" and len(stack.layers) < 6,
             "escalated": stack.has("human"), "calls": len(stack.layers) + 1, "cost_usd": 0.25}
            for stack in all_stacks() for task in "ab"
        ]
    )  # fmt: skip
    rows = stack_rows(trials, Settings("support", tasks=2)).set_index("stack")
    assert len(rows) == 64 and set(rows["case"]) == {"support"} and set(rows["tasks"]) == {2}
    assert rows.loc["none", "failed"] == "01"
    assert rows.loc[Stack.rung(6).label, ["failed", "escalated", "calls"]].tolist() == ["00", 1, 7]
    write_stacks([rows.reset_index()], tmp_path / "all.csv")
    again = read_stacks(tmp_path / "all.csv").set_index("stack")
    assert again["failed"].equals(rows["failed"])  # leading noughts are kept


def test_the_committed_table_is_whole() -> None:
    table = read_stacks()
    labels = {Stack(layers=s).label for s in subsets(LAYERS)}
    for case, part in table.groupby("case"):
        assert set(part["stack"]) == labels and len(part) == 64
        assert (part["failed"].str.len() == part["tasks"]).all()
        assert outcomes(table, str(case)).shape == (part["tasks"].iloc[0], 64)
        full = part.set_index("stack").loc[[Stack.rung(6).label, "none"], "usd"]
        assert full.iloc[0] > full.iloc[1]
