"""Exercises of notebook 03: when to send a request again, and how far to divide the work."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from coordkit.exercises import exercise
from coordkit.faults import Simulation


class _Refused(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code


def _chain(*errors: Exception) -> Exception:
    """The first of the errors, caused by the second, caused by the third."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def _judge_worth_retrying(attempt: Any) -> str:
    for name, error, right in (
        ("a 429", _Refused(429), True),
        ("a 503", _Refused(503), True),
        ("a 400", _Refused(400), False),
        ("a 401", _Refused(401), False),
        ("a TimeoutError", TimeoutError(), True),
        ("a ValueError without a cause", ValueError(), False),
        ("an error caused by a 429", _chain(RuntimeError(), _Refused(429)), True),
        ("an error caused by a 422", _chain(RuntimeError(), _Refused(422)), False),
        (
            "an error whose cause was caused by a ConnectionError",
            _chain(RuntimeError(), ValueError(), ConnectionError()),
            True,
        ),
    ):
        if (got := attempt(error)) is not right:
            return f"{name} {'is' if right else 'is not'} worth sending again, you said {got!r}"
    return ""


@exercise(
    hints=(
        "is_transient judges one error; error.__cause__ is the next one, or None at the end.",
        "Loop: while error is not None, ask is_transient(error), then go on to error.__cause__.",
    ),
    judge=_judge_worth_retrying,
)
def worth_retrying(error):
    """True if the error, or any error that caused it, is transport's."""
    from coordkit.layers.execution import is_transient

    while error is not None:
        if is_transient(error):
            return True
        error = error.__cause__
    return False


@exercise(
    hints=(
        "A request is lost for good if every one of its d deliveries is: lost ** d.",
        "Count d up from 1 until (1 - lost ** d) ** requests reaches the target.",
    ),
    cases=[
        (f"{lost:.0%} of deliveries lost, {n} request(s), target {target:.1%}", lost, n, target)
        for lost, n, target in (
            (0.10, 1, 0.95),
            (0.02, 10, 0.999),
            (0.30, 22, 0.99),
            (0.00, 8, 0.99),
            (0.05, 4, 0.5),
        )
    ],
)
def deliveries_needed(lost, requests, target):
    """Fewest deliveries of each request (1 or more) so that all get through."""
    deliveries = 1
    while (1 - lost**deliveries) ** requests < target:
        deliveries += 1
    return deliveries


@exercise(
    hints=(
        "All answers must be right: step_reliability(g) ** answers. How many hand-overs are there?",
        "answers // g calls have answers // g - 1 hand-overs, which all hold with "
        "(1 - seam) ** hand_overs; take the divisor with the largest product.",
    ),
    cases=[
        (f"{answers} answers, p = {p}, a seam that loses {seam:.0%}", answers, seam, Simulation(p))
        for answers, seam, p in (
            (12, 0.00, 0.96),
            (12, 0.03, 0.96),
            (12, 0.30, 0.96),
            (8, 0.05, 0.90),
            (7, 0.10, 0.99),
        )
    ],
)
def answers_per_call(answers, seam, model):
    """How many answers to ask for in one call: a divisor of `answers`."""
    sizes = [g for g in range(1, answers + 1) if answers % g == 0]

    def success(g):
        hand_overs = answers // g - 1
        return model.step_reliability(g) ** answers * (1 - seam) ** hand_overs

    return max(sizes, key=success)
