"""Exercises of the verification notebook."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd

from coordkit.cases.base import Evidence
from coordkit.environment import Environment
from coordkit.exercises import exercise


def _judge_check(check: Any) -> str:
    orders = pd.DataFrame(
        [("A-1", "C-1", "40.00"), ("A-2", "C-2", "7.50"), ("A-3", "C-1", "0.10")],
        columns=["order_id", "customer_id", "total"],
    )
    environment = Environment({"orders": orders}, {})
    evidence = Evidence({"customer_id": "C-1"}, {}, frozenset(), environment)
    for order_id, total, good, what in (
        ("A-1", 40.00, True, "the customer's own order with its own total"),
        ("A-3", 0.10, True, "an order whose total is 0.10"),
        ("A-9", 40.00, False, "an order that does not exist"),
        ("A-2", 7.50, False, "another customer's order"),
        ("A-1", 4.00, False, "a wrong total"),
        ("A-3", 0.11, False, "a total that is one cent off"),
    ):
        found = check({"order_id": order_id, "total": total}, evidence)
        if not isinstance(found, list) or not all(isinstance(p, str) for p in found):
            return f"return a list of objections (texts), empty if there are none, not {found!r}"
        if good and found:
            return f"a false alarm: {what} was rejected with {found}"
        if not good and not found:
            return f"passed unnoticed: {what}"
    return ""


@exercise(
    hints=(
        'evidence.environment.get("orders", order_id) returns the row as a dict, or None.',
        'Compare the row\'s customer_id with evidence.task["customer_id"].',
        "Everything in a row is text. Compare money in whole cents: round(100 * float(text)).",
    ),
    judge=_judge_check,
)
def check_own_order(answer, evidence):
    """Objections to answer["order_id"] and answer["total"], a list of texts; empty if right."""
    row = evidence.environment.get("orders", answer["order_id"])
    if row is None:
        return [f"there is no order {answer['order_id']}"]
    problems = []
    if row["customer_id"] != evidence.task["customer_id"]:
        problems.append(f"{answer['order_id']} belongs to another customer")
    if round(100 * float(row["total"])) != round(100 * answer["total"]):
        problems.append(f"the total of {answer['order_id']} is {row['total']}")
    return problems


@exercise(
    hints=(
        "A good answer is accepted, however many bad ones came before.",
        "With two retries, the third rejection holds the task.",
    ),
    cases=[
        ("no objections", [], 0, 2),
        ("no objections after two rejections", [], 2, 2),
        ("the first rejection of two that may be retried", ["wrong total"], 0, 2),
        ("the second rejection with two retries allowed", ["wrong total"], 1, 2),
        ("the third rejection with two retries allowed", ["wrong total"], 2, 2),
        ("a rejection with no retries allowed", ["wrong total"], 0, 0),
        ("two objections, four rejections before, five retries", ["a", "b"], 4, 5),
    ],
)
def next_move(problems, rejections, retries):
    """Return "accept", "again" or "hold".

    problems: objections to this answer; rejections: earlier answers of this step that were
    rejected; retries: how often a step may be asked again.
    """
    if not problems:
        return "accept"
    return "hold" if rejections >= retries else "again"


@exercise(
    hints=(
        "Pipeline(steps=1, reliability=p, correlation=rho, catch=1.0, retries=r) describes it.",
        "end_to_end(pipeline).success is its success rate; try r = 0, 1, ... 10.",
    ),
    cases=[
        (f"p = {p}, rho = {rho}, target {target}", p, rho, target)
        for (p, rho), target in product(
            [(0.9, 0.0), (0.9, 0.32), (0.96, 0.32), (0.8, 0.76), (0.7, 0.1), (0.8, 1.0)],
            [0.75, 0.95, 0.99],
        )
    ],
)
def retries_needed(p, rho, target):
    """The fewest retries (0 to 10) with success >= target, or None.

    p: reliability of an attempt, 0..1; rho: correlation of attempts, 0..1; target: 0..1.
    """
    from coordkit.reliability import Pipeline, end_to_end

    for retries in range(11):
        step = Pipeline(steps=1, reliability=p, correlation=rho, catch=1.0, retries=retries)
        if end_to_end(step).success >= target:
            return retries
    return None


own_order, bounded_retry = check_own_order, next_move  # their names in the notebook
