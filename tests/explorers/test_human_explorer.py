"""The human notebook's sliders and its approval widget, without a browser."""

import json
from typing import Any

import pandas as pd
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from coordkit.approval import ApprovalWidget
from coordkit.cases import load_case
from coordkit.experiment import Settings, make_bench
from coordkit.explorers.human import (
    human_explorer,
    human_response,
    operate,
    risk_coverage,
    tired_reviews,
)
from coordkit.faults import Simulation
from coordkit.layers.human import reason_to_ask
from coordkit.stack import Stack, Workplace, build

TRIALS = pd.DataFrame(
    {
        "confidence": [0.9, 0.8, 0.4, 0.2, 0.95],
        "failed": [False, True, True, False, False],
        "must": [False, False, False, False, True],
    }
)


def test_operate_counts_reviews_failures_and_money() -> None:
    got = operate(TRIALS, 0.5, accuracy=0.9, per_review=2, per_failure=100)
    assert got.escalated == pytest.approx(3 / 5)  # two below the floor, one by rule
    assert got.failed == pytest.approx(1 / 5 + 0.1 * 3 / 5)
    assert got.cost == pytest.approx(2 * 3 / 5 + 100 * got.failed)


def test_whoever_must_be_asked_is_asked_at_floor_zero() -> None:
    assert operate(TRIALS, 0, 1, 1, 1).escalated == pytest.approx(1 / 5)


def test_a_confidence_at_the_floor_is_not_below_it_in_the_sliders_and_in_the_stack() -> None:
    case = load_case("billing", tasks=1)
    for confidence, floor, asked in ((0.4, 0.4, False), (0.4, 0.41, True)):
        one = pd.DataFrame({"confidence": [confidence], "failed": [False], "must": [False]})
        assert operate(one, floor, 1, 1, 1).escalated == asked
        assert bool(reason_to_ask(case, "", {}, confidence, floor, risky=False)) == asked


def test_risk_coverage_takes_the_most_confident_first() -> None:
    curve = risk_coverage([0.1, 0.9, 0.5, 0.7], [True, False, True, False], points=4)
    assert list(curve["coverage"]) == [0.25, 0.5, 0.75, 1.0]
    assert list(curve["failures"]) == [0, 0, 1, 2]
    assert ((curve["low"] <= curve["risk"]) & (curve["risk"] <= curve["high"])).all()
    with pytest.raises(ValueError, match="one confidence"):
        risk_coverage([0.5], [])


def test_the_cheapest_point_is_on_the_curve() -> None:
    shown = human_response(TRIALS, 0.3, 0.95, 1.5, 50)
    total, best = shown.traces[2]["y"], shown.traces[4]["y"][0]
    assert best == min(total) and f"{best:.2f} USD." in shown.text


def test_a_slider_moves_the_chosen_point() -> None:
    explorer = human_explorer(TRIALS)
    explorer.sliders["floor"].value = 1.0
    assert explorer.figure.data[3].x[0] == pytest.approx(100)


def test_a_tired_reviewer_errs_more_towards_the_end_of_a_shift() -> None:
    case = load_case("billing", tasks=150)
    reviews = tired_reviews(case, fatigues=(0.0, 0.5), accuracy=0.95).set_index("fatigue")
    assert reviews["n"].groupby("fatigue").sum().tolist() == [600, 600]
    expected = 0.95 - reviews.index.to_numpy() * reviews["shift"]
    error = (expected * (1 - expected) / reviews["n"]) ** 0.5
    assert ((reviews["accuracy"] - expected).abs() < 4 * error).all()
    tired = reviews.loc[0.5, "accuracy"]
    assert tired.iloc[-1] < tired.iloc[0] - 0.2
    assert (tired_reviews(case, (0.0,), accuracy=1.0)["accuracy"] == 1).all()


# --- the approval widget ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def waiting_task() -> tuple[Workplace, Any]:
    """A workplace and a task whose refund needs a person."""
    at = make_bench(Settings("billing", tasks=300), Stack.rung(6)).at
    for task in at.case.tasks:
        if at.case.needs_approval(at.case.actions(at.case.reference(task)), at.environment):
            _, config = interrupted(at, task)
            widget = ApprovalWidget(build(at, SAVER), config, at)
            if "high stakes" in widget.reason.value:
                return at, task
    raise AssertionError("no task needs a person")


SAVER = InMemorySaver()


def interrupted(at: Workplace, task: Any) -> tuple[Any, Any]:
    """A fresh run of the task up to its interrupt."""
    at.environment.clear(f"{task.id}/trial-0")
    SAVER.delete_thread(task.id)
    graph = build(at, SAVER)
    config: Any = {"configurable": {"thread_id": task.id}, "recursion_limit": 200}
    fields = {"id": task.id, "key": task.key, "fields": dict(task.fields)}
    graph.invoke({"task": fields, "trial": 0, "status": "running", "problem": ""}, config)
    return graph, config


def widget_of(waiting: tuple[Workplace, Any]) -> ApprovalWidget:
    at, task = waiting
    graph, config = interrupted(at, task)
    return ApprovalWidget(graph, config, at)


def written(waiting: tuple[Workplace, Any]) -> tuple[list[Any], list[Any]]:
    at, task = waiting
    name = f"{task.id}/trial-0"
    return at.environment.actions(name), at.environment.approvals(name)


def test_approve_acts_once_and_says_so(waiting_task: tuple[Workplace, Any]) -> None:
    widget = widget_of(waiting_task)
    assert "high stakes" in widget.reason.value and "refund" in widget.text.value
    assert written(waiting_task) == ([], [])
    widget.approve.click()
    widget.approve.click()  # a second press does nothing
    rows, approvals = written(waiting_task)
    assert [row[0] for row in rows] == ["refund"] and approvals == [("you", "approve")]
    assert "refund" in widget.status.value and widget.reject.disabled


def test_reject_writes_nothing(waiting_task: tuple[Workplace, Any]) -> None:
    widget = widget_of(waiting_task)
    widget.reject.click()
    assert written(waiting_task)[0] == [] and "nothing written" in widget.status.value


def test_edit_acts_on_the_text(waiting_task: tuple[Workplace, Any]) -> None:
    widget = widget_of(waiting_task)
    answer = json.loads(widget.text.value)
    answer["entries"][0]["amount"] = 12.5
    widget.text.value = json.dumps(answer)
    widget.approve.click()  # not what the reviewer now sees: refused
    assert "press Edit" in widget.status.value and written(waiting_task)[0] == []
    widget.edit.click()
    assert written(waiting_task)[0][0][2] == 1250 and "12.50" in widget.status.value


@pytest.mark.parametrize(
    ("text", "told"),
    [("{not json", "Not JSON, line 1, column 2"), ("[]", "the whole text"), ("{}", "entries")],
)
def test_wrong_text_gives_one_line_and_loses_nothing(
    waiting_task: tuple[Workplace, Any], text: str, told: str
) -> None:
    widget = widget_of(waiting_task)
    widget.text.value = text
    widget.edit.click()
    assert told in widget.status.value and "\n" not in widget.status.value
    assert widget.text.value == text and not widget.edit.disabled
    assert written(waiting_task)[0] == []
    widget.reject.click()
    assert "rejected" in widget.status.value


def test_a_held_task_has_nothing_to_approve() -> None:
    garbled = Simulation(reliability=0, correlation=0, mix={"malformed_json": 1})
    at = make_bench(Settings("billing", tasks=1, simulation=garbled), Stack.rung(6)).at
    held = at, at.case.tasks[0]
    widget = widget_of(held)
    assert "held" in widget.reason.value and widget.text.value == "{}"
    assert widget.approve.disabled and not (widget.edit.disabled or widget.reject.disabled)
    widget.approve.click()
    assert "Waiting" in widget.status.value and written(held)[0] == []
    widget.reject.click()
    assert "rejected" in widget.status.value


def test_with_nothing_waiting_the_buttons_are_off(waiting_task: tuple[Workplace, Any]) -> None:
    widget = widget_of(waiting_task)
    widget.approve.click()
    again = ApprovalWidget(widget.graph, widget.config, widget.at)
    assert "Nothing waits" in again.reason.value and again.approve.disabled
