"""coordkit.ladder: numbers and sentences from a table of trials."""

import json

import pandas as pd
import pytest

from coordkit.experiment import Settings
from coordkit.ladder import finding, mechanism, summarise, summarise_stack, task_matrix
from coordkit.layers import LAYERS
from coordkit.stack import Stack
from coordkit.statistics import paired_difference, wilson

SETTINGS = Settings("billing", tasks=20)
TOP = {"case", "model", "seed", "tasks", "settings", "rungs", "mechanism"}
KEYS = set(
    "rung layers trials failures failure_rate ci_low ci_high silent loud escalated delta "
    "delta_ci_low delta_ci_high p_value knockout_delta knockout_p_value calls_per_task "
    "tokens_per_task cost_per_task_usd seconds".split()
)


def trials(stack: Stack, failing: int, loud: int = 0, escalated: int = 0, n: int = 20, k: int = 1):
    """Trials of one stack: the first `failing` tasks fail in every trial, `loud` of them loudly."""
    return pd.DataFrame(
        {
            "stack": stack.label,
            "task": f"T-{i:03d}",
            "trial": trial,
            "failed": i < failing,
            "failure": "wrong amount" if i < failing else "",
            "cause": "misread" if i < failing else "",
            "faults": "[]",
            "loud": i < loud,
            "escalated": i < escalated,
            "calls": 4,
            "input_tokens": 100,
            "output_tokens": 20,
            "cost_usd": 0.5,
            "seconds": 2.0,
        }
        for i in range(n)
        for trial in range(k)
    )


@pytest.fixture
def table() -> pd.DataFrame:
    failing = [15, 9, 10, 8, 5, 2, 1]
    rungs = [trials(Stack.rung(k), n, loud=n // 2, escalated=k) for k, n in enumerate(failing)]
    full = Stack.rung(6)
    # the full stack without the human layer is rung 5, which is there already
    out = [trials(full.without(layer), 3 + i, escalated=7) for i, layer in enumerate(LAYERS[:5])]
    return pd.concat([*rungs, *out], ignore_index=True)


def test_the_contract(table: pd.DataFrame) -> None:
    summary = summarise(table, SETTINGS, range(7))
    assert set(summary) == TOP
    assert (summary["case"], summary["seed"], summary["tasks"]) == ("billing", 0, 20)
    assert [entry["rung"] for entry in summary["rungs"]] == list(range(7))
    for k, entry in enumerate(summary["rungs"]):
        assert set(entry) >= KEYS
        assert entry["layers"] == list(LAYERS[:k])
        assert entry["silent"] + entry["loud"] == entry["failures"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_numbers_of_a_rung(table: pd.DataFrame) -> None:
    entry = summarise(table, SETTINGS, range(7))["rungs"][1]
    assert (entry["trials"], entry["failures"], entry["failure_rate"]) == (20, 9, 0.45)
    assert (entry["ci_low"], entry["ci_high"]) == pytest.approx(wilson(9, 20))
    assert (entry["silent"], entry["loud"], entry["escalated"]) == (5, 4, 1)
    assert (entry["calls_per_task"], entry["tokens_per_task"]) == (4, 120)
    assert (entry["cost_per_task_usd"], entry["seconds"]) == (0.5, 2.0)
    assert "pass_hat_k" not in entry


def test_a_change_is_after_minus_before(table: pd.DataFrame) -> None:
    first, second, *_ = summarise(table, SETTINGS, range(7))["rungs"]
    assert first["delta"] is first["delta_ci_low"] is first["p_value"] is None
    assert second["delta"] == pytest.approx(9 / 20 - 15 / 20)
    assert second["delta_ci_low"] < second["delta"] < second["delta_ci_high"]
    assert second["p_value"] == pytest.approx(2 * 0.5**6)  # six tasks changed, all one way


def test_a_change_is_against_the_rung_shown_before(table: pd.DataFrame) -> None:
    zero, three, five = summarise(table, SETTINGS, [0, 3, 5])["rungs"]
    assert zero["delta"] is None
    assert three["delta"] == pytest.approx((8 - 15) / 20)
    assert five["delta"] == pytest.approx((2 - 8) / 20)


def test_a_knockout_belongs_to_the_layer_that_the_rung_adds(table: pd.DataFrame) -> None:
    entries = summarise(table, SETTINGS, range(7))["rungs"]
    assert entries[0]["knockout_delta"] is None
    wanted = [(n - 1) / 20 for n in (3, 4, 5, 6, 7, 2)]
    assert [e["knockout_delta"] for e in entries[1:]] == pytest.approx(wanted)
    full, without = Stack.rung(6), Stack.rung(6).without("state")
    loss = paired_difference(task_matrix(table, full.label), task_matrix(table, without.label))
    assert entries[4]["knockout_p_value"] == loss.p_value
    assert entries[4]["knockout_ci_low"] == loss.low
    assert entries[4]["knockout_escalated"] == 7


def test_no_knockout_without_the_full_stack(table: pd.DataFrame) -> None:
    part = table[table["stack"] != Stack.rung(6).label]
    entries = summarise(part, SETTINGS, range(6))["rungs"]
    assert all(entry["knockout_delta"] is None for entry in entries)


def test_several_trials_give_pass_hat_k() -> None:
    entry = summarise(trials(Stack.rung(0), failing=5, k=3), SETTINGS, [0])["rungs"][0]
    assert entry["trials"] == 60
    assert entry["pass_hat_k"] == pytest.approx([0.75, 0.75, 0.75])  # tasks fail always or never


def test_any_stack_can_be_summarised() -> None:
    stack = Stack.of("verification", "context")
    summary = summarise_stack(trials(stack, failing=5), SETTINGS, stack)
    (entry,) = summary["rungs"]
    assert entry["rung"] is None
    assert entry["layers"] == ["context", "verification"]
    assert "with context + verification, 25.0 % of 20 trials fail" in finding(summary)
    rung = Stack.of("context")
    assert summarise_stack(trials(rung, failing=5), SETTINGS, rung)["rungs"][0]["rung"] == 1


def test_the_finding_says_so_where_most_tasks_went_to_a_person() -> None:
    stack = Stack.of("context", "human")
    asked = trials(stack, failing=0).assign(escalated=True)
    told = "% of 20 trials fail (95 % interval 0.0 to 16.1 %), with a person asked about 100.0 % of"
    assert told in finding(summarise_stack(asked, SETTINGS, stack))
    few = asked.assign(escalated=[i % 2 == 0 for i in range(len(asked))])
    assert "person" not in finding(summarise_stack(few, SETTINGS, stack))


def test_the_finding_names_the_largest_fall(table: pd.DataFrame) -> None:
    assert finding(summarise(table, SETTINGS, range(7))) == (
        "billing: context removes the most failures (75.0 % → 45.0 %); "
        "from rung 0 to rung 6 the failure rate goes 75.0 % → 5.0 %."
    )


def test_the_finding_says_when_chance_may_explain_it(table: pd.DataFrame) -> None:
    text = finding(summarise(table, SETTINGS, [5, 6]))
    assert "human removes the most failures (10.0 % → 5.0 %, which chance may explain)" in text


def test_the_finding_of_a_jump_names_all_its_layers(table: pd.DataFrame) -> None:
    text = finding(summarise(table, SETTINGS, [0, 3, 6]))
    assert "context + planning + execution" in text or "state + verification + human" in text
    assert " remove the most failures" in text


def test_the_finding_admits_that_nothing_helps() -> None:
    table = pd.concat([trials(Stack.rung(0), 3), trials(Stack.rung(1), 5)])
    assert "no layer lowers the failure rate" in finding(summarise(table, SETTINGS, [0, 1]))


def test_the_matrix_pairs_tasks_whatever_their_order(table: pd.DataFrame) -> None:
    shuffled = table.sample(frac=1, random_state=1)
    label = Stack.rung(1).label
    assert (task_matrix(shuffled, label) == task_matrix(table, label)).all()
    assert task_matrix(table, label)[:9].all()
    assert not task_matrix(table, label)[9:].any()


def test_the_matrix_refuses_what_is_not_there(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no trials of the stack planning"):
        task_matrix(table, "planning")
    gap = trials(Stack.rung(0), failing=2, k=2).drop(index=3)
    with pytest.raises(ValueError, match="lack trials"):
        task_matrix(gap, "none")


# --- the mechanism -------------------------------------------------------------------------------


def by_hand(stack: Stack, *rows: tuple[int, str, str, str]) -> pd.DataFrame:
    """Trials typed in: (calls, fates, failure, cause) each; a fate by its first letter."""
    names = {"h": "harmless", "r": "repaired", "e": "escalated", "s": "shipped"}
    return pd.DataFrame(
        {
            "stack": stack.label,
            "failed": bool(failure),
            "failure": failure,
            "cause": cause,
            "calls": calls,
            "faults": json.dumps(
                [{"mode": "m", "step": "s", "attempt": 1, "fate": names[f]} for f in fates]
            ),
        }
        for calls, fates, failure, cause in rows
    )


HAND = [
    by_hand(Stack.rung(3), (12, "hhs", "wrong amount", "m@s"), (8, "h", "", ""),
            (10, "s", "held", "misread"), (10, "", "", "")),
    by_hand(Stack.rung(4), (6, "h", "", ""), (6, "s", "held", "m@s"), (4, "", "", ""),
            (4, "", "held", "misread")),
    by_hand(Stack.rung(5), (6, "rr", "", ""), (6, "h", "", ""), (6, "", "", ""), (6, "", "", "")),
    by_hand(Stack.rung(6).without("state"), (99, "sssss", "held", "m@s")),
]  # fmt: skip


def test_the_mechanism_of_a_table_typed_in() -> None:
    found = mechanism(pd.concat(HAND[::-1], ignore_index=True))
    three, four, five = found["rungs"]
    assert [entry["rung"] for entry in found["rungs"]] == [3, 4, 5], "rungs only, in order"
    assert (three["faults_per_trial"], three["calls_per_trial"]) == (5 / 4, 10)
    assert three["fates"] == {"harmless": 0.6, "repaired": 0, "escalated": 0, "shipped": 0.4}
    assert three["failures"] == {"wrong amount": 0.25, "held": 0.25}
    assert three["causes"] == {"m@s": 0.25, "misread": 0.25}
    assert four["failures"] == {"held": 0.5}
    assert five["fates"]["repaired"] == pytest.approx(2 / 3)
    assert five["failures"] == five["causes"] == {}
    assert found["asking_again"] == {"faults_per_trial": 5 / 4 - 2 / 4, "calls": 0.5}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_mechanism_says_nothing_of_what_was_not_measured() -> None:
    assert mechanism(HAND[3]) == {"rungs": [], "asking_again": None}
    assert mechanism(pd.concat([HAND[0], HAND[2]]))["asking_again"] is None
    (entry,) = mechanism(by_hand(Stack.rung(0), (1, "", "", "")))["rungs"]
    assert set(entry["fates"].values()) == {None}
