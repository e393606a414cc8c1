"""What a case need not say itself."""

import pandas as pd

from coordkit.cases.base import Case, Task
from coordkit.cases.relay import Relay
from coordkit.environment import Environment


class Plain(Relay):
    """A case that leaves its grader to the base."""

    pays_out = "code"
    approval_limit = 5.0
    wrong = Case.wrong
    needs_approval = Case.needs_approval


def test_a_case_is_graded_by_what_its_reference_answer_does() -> None:
    case = Plain(1, 2)
    task, other = case.tasks
    right = case.actions(case.reference(task))
    assert case.reference(task) == {**task.labels, "sources": []}
    assert case.wrong(task, right) == ""
    assert case.wrong(task, case.actions(case.reference(other))) == "wrong outcome"
    assert case.wrong(task, [*right, *right]) == "wrong outcome"
    assert case.wrong(task, []) == "nothing done"


def test_a_second_delivery_is_right_if_nothing_is_done() -> None:
    case = Plain(1, 1)
    task = Task("again", {}, "key", case.tasks[0].labels, repeated=True)
    assert case.wrong(task, []) == ""
    assert case.wrong(task, case.actions(case.reference(task))) == "done twice"


def test_only_what_is_paid_out_needs_approval() -> None:
    case = Plain(1, 1)
    environment = case.environment()
    above, other = [("code", "x", 501, "")], [("refund", "x", 501, "")]
    assert case.needs_approval(above, environment)
    assert not case.needs_approval(other, environment)
    assert not case.needs_approval([("code", "x", 500, "")], environment)


def test_a_case_without_tools_of_its_own_can_search() -> None:
    case = Plain(1, 1)
    tables = {"codes": pd.DataFrame({"code_id": ["one", "two"], "word": ["blue", "red"]})}
    tools = Case.tools(case, Environment(tables, {"rules/house": "red is the limit"}))
    assert [*tools] == ["search"] and tools["search"].__doc__
    found = tools["search"]("blue")
    assert "[codes/one]" in found and "[codes/two]" not in found
    assert "[codes/two]" in tools["search"]("red") and "[rules/house]" in tools["search"]("red")
    assert tools["search"]("green") == ""
