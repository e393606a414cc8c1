"""Checking an exercise, and each solution against results that were worked out by hand."""

from decimal import Decimal
from typing import Any

import pytest

from coordkit.exercises import context, execution, exercise, human, planning, state, verification
from coordkit.exercises import your_data as data
from coordkit.exercises import your_model as model
from coordkit.faults import Simulation


@exercise(hints=("Twice.", "x + x"), cases=[("three", 3), ("nothing", 0)])
def double(x: int) -> int:
    """Double a number."""
    return 2 * x


def test_the_three_verdicts() -> None:
    def starter(x: int) -> int:
        raise NotImplementedError

    assert repr(double.check(lambda x: 2 * x)) == "Correct."
    assert repr(double.check(lambda x: x)) == "Incorrect: three: expected 6, not 3"
    assert repr(double.check(starter)) == "Not attempted."
    assert repr(double.check(None)) == "Not attempted."


def test_an_answer_that_raises_is_told_so_and_shows_no_traceback() -> None:
    assert repr(double.check(lambda x: x["a"])) == (
        "Incorrect: your code raised TypeError: 'int' object is not subscriptable"
    )


def test_hints_go_from_first_to_last_and_the_solution_is_shown() -> None:
    assert repr(double.hint()) == "Hint 1 (1 more): Twice."
    assert repr(double.hint(2)) == repr(double.hint(9)) == "Hint 2: x + x"
    shown = repr(double.solution())
    assert shown.startswith("One solution:\n\n    def double") and "return 2 * x" in shown


def test_an_attempt_that_changes_what_it_is_given_changes_no_case() -> None:
    @exercise(hints=(), cases=[("a list", [1, 2])])
    def first(xs: list[int]) -> int:
        return xs[0]

    for _ in range(2):
        assert repr(first.check(lambda xs: xs.pop())) == "Incorrect: a list: expected 1, not 2"
        assert repr(first.check(lambda xs: xs.pop(0))) == "Correct."


def test_a_posting_that_is_never_committed_is_not_posted() -> None:
    def left_open(ledger: Any, key: str, entries: Any) -> bool:
        """Right in all but its end: an error is undone, a success is not kept."""
        rows = []
        rows.extend(entries)
        claim = ledger.execute("INSERT OR IGNORE INTO processed VALUES (?)", (key,))
        if claim.rowcount:
            ledger.executemany("INSERT INTO entries VALUES (?, ?)", rows)
        return bool(claim.rowcount)

    assert "transaction was left open" in repr(state.post_once.check(left_open))


SHOWN = "[invoices/INV-1]\nnote: see invoices/INV-3\n"
WORKED_OUT: list[tuple[Any, tuple[Any, ...], Any]] = [
    (context.rank_by_overlap, ("A b", {"x": "b", "y": "a, B", "z": "c"}), ["y", "x"]),
    (context.fit_budget, (["aaaa", "bbbbbbbbbb", "cc"], 8), ["aaaa", "cc"]),
    (context.fit_budget, (["aaaa"], 3), []),
    (context.unsupported_sources, (["invoices/INV-1"], SHOWN), []),
    (context.unsupported_sources, (["invoices/INV-3"], SHOWN), ["invoices/INV-3"]),
    (planning.ready_steps, (planning.SUPPORT, set()), ["classify"]),
    (planning.ready_steps, (planning.SUPPORT, {"classify"}), ["order", "billing"]),
    (execution.deliveries_needed, (0.1, 1, 0.95), 2),
    (execution.deliveries_needed, (0.0, 8, 0.99), 1),
    (execution.answers_per_call, (12, 0.0, Simulation()), 1),
    (execution.answers_per_call, (12, 0.9, Simulation()), 12),
    (verification.bounded_retry, ([], 2, 2), "accept"),
    (verification.bounded_retry, (["wrong total"], 1, 2), "again"),
    (verification.bounded_retry, (["wrong total"], 2, 2), "hold"),
    (verification.bounded_retry, (["wrong total"], 0, 0), "hold"),
    (verification.retries_needed, (0.9, 0.0, 0.95), 1),
    (verification.retries_needed, (0.8, 1.0, 0.95), None),
    (human.worth, (0.10, 0.95, 1.5, 50.0), True),
    (human.worth, (0.02, 0.95, 1.5, 50.0), False),
    (data.sure_label, ("inv-1", Decimal(7), {"INV-1": Decimal(7)}), "INV-1"),
    (data.sure_label, ("INV-1", Decimal(6), {"INV-1": Decimal(7)}), ""),
    (data.sure_label, ("INV-11", Decimal(7), {"INV-1": Decimal(7)}), ""),
    (model.may_send, (0.50, 0.40, 0.10, 1.00), True),
    (model.may_send, (0.50, 0.40, 0.11, 1.00), False),
    (model.may_send, (0.20, 0.79, 0.02, 1.00), False),
    (model.longest_chain, (0.9, 0.8), 2),
    (model.longest_chain, (0.5, 0.6), 0),
]


@pytest.mark.parametrize(("solved", "arguments", "right"), WORKED_OUT)
def test_the_solution_gives_what_was_worked_out(solved: Any, arguments: Any, right: Any) -> None:
    assert solved.solve(*arguments) == right
