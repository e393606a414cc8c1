"""Exercises of notebook 03: when to send a request again, and how far to divide the work."""

from __future__ import annotations

from typing import Any

from coordkit.exercises import Exercise
from coordkit.faults import Simulation
from coordkit.prompt import Request
from coordkit.simulated import ModelUnavailable


class _Refused(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code


def _caused_by(outer: Exception, *inner: Exception) -> Exception:
    error = outer
    for cause in inner:
        error.__cause__ = cause
        error = cause
    return outer


def _errors() -> list[tuple[str, Exception, bool]]:
    lost = ModelUnavailable("rate_limited", Request("billing/B-1", "match"))
    return [
        ("a 429", _Refused(429), True),
        ("a 503", _Refused(503), True),
        ("a 400", _Refused(400), False),
        ("a 401", _Refused(401), False),
        ("a TimeoutError", TimeoutError(), True),
        ("a ValueError without a cause", ValueError("not JSON"), False),
        ("an error caused by a 429", _caused_by(RuntimeError("call failed"), lost), True),
        (
            "an error whose cause was caused by a ConnectionError",
            _caused_by(RuntimeError("call failed"), ValueError("no body"), ConnectionError()),
            True,
        ),
        ("an error caused by a 422", _caused_by(RuntimeError("call failed"), _Refused(422)), False),
    ]


def _judge_worth_retrying(attempt: Any) -> str:
    for name, error, right in _errors():
        got = attempt(error)
        if not isinstance(got, bool):
            return f"return True or False; for {name} it returned {got!r}"
        if got != right:
            return f"{name} {'is' if right else 'is not'} worth sending again, and you said {got}"
    return ""


worth_retrying = Exercise(
    name="worth_retrying",
    question="Clients wrap errors: the 429 is in the `__cause__` of what you catch, or in the "
    "cause of the cause. Say whether the error, or anything that caused it, is transient.",
    starter='''\
def worth_retrying(error):
    """True if the error, or any error that caused it, is transport's."""
    raise NotImplementedError
''',
    answer='''\
from coordkit.layers.execution import is_transient


def worth_retrying(error):
    """True if the error, or any error that caused it, is transport's."""
    while error is not None:
        if is_transient(error):
            return True
        error = error.__cause__
    return False
''',
    hints=(
        "is_transient judges one error; error.__cause__ is the next one, or None at the end.",
        "Loop: while error is not None, ask is_transient(error), then go on to error.__cause__.",
    ),
    judge=_judge_worth_retrying,
)


def _judge_deliveries_needed(attempt: Any) -> str:
    for lost, requests, target in [
        (0.1, 1, 0.95), (0.02, 10, 0.999), (0.3, 22, 0.99), (0.0, 8, 0.99), (0.05, 4, 0.5),
    ]:  # fmt: skip
        right = next(d for d in range(1, 100) if (1 - lost**d) ** requests >= target)
        got = attempt(lost, requests, target)
        if got != right:
            return (
                f"with {lost:.0%} of deliveries lost, {requests} request(s) all arrive with "
                f"probability {target:.1%} or more after {right} deliveries each, you said {got!r}"
            )
    return ""


deliveries_needed = Exercise(
    name="deliveries_needed",
    question="A task needs a number of requests, each delivery of one is lost with a probability, "
    "independently. Return the fewest deliveries per request with which all requests get through "
    "with at least the target probability.",
    starter='''\
def deliveries_needed(lost, requests, target):
    """Fewest deliveries of each request (1 or more) so that all get through."""
    raise NotImplementedError
''',
    answer='''\
def deliveries_needed(lost, requests, target):
    """Fewest deliveries of each request (1 or more) so that all get through."""
    deliveries = 1
    while (1 - lost**deliveries) ** requests < target:
        deliveries += 1
    return deliveries
''',
    hints=(
        "A request is lost for good if every one of its d deliveries is: lost ** d.",
        "Count d up from 1 until (1 - lost ** d) ** requests reaches the target.",
    ),
    judge=_judge_deliveries_needed,
)


def _division(answers: int, per_call: int, seam: float, model: Simulation) -> float:
    hand_overs = answers // per_call - 1
    return float(model.step_reliability(per_call) ** answers * (1 - seam) ** hand_overs)


def _judge_answers_per_call(attempt: Any) -> str:
    for answers, seam, model in [
        (12, 0.0, Simulation()),
        (12, 0.03, Simulation()),
        (12, 0.3, Simulation()),
        (8, 0.05, Simulation(reliability=0.9)),
        (7, 0.1, Simulation(reliability=0.99)),
    ]:
        sizes = [size for size in range(1, answers + 1) if answers % size == 0]
        right = max(sizes, key=lambda size: _division(answers, size, seam, model))
        got = attempt(answers, seam, model)
        if got != right:
            told = f"{answers} answers, p = {model.reliability}, a seam that loses {seam:.0%}"
            if got not in sizes:
                return f"{told}: return one of {sizes}, not {got!r}"
            shares = [f"{_division(answers, size, seam, model):.3f}" for size in (right, got)]
            return f"{told}: {right} a call succeed {shares[0]}, your {got} a call {shares[1]}"
    return ""


answers_per_call = Exercise(
    name="answers_per_call",
    question="A task takes a number of answers. Asking for g of them in one call makes each as "
    "reliable as model.step_reliability(g); every hand-over between calls loses the task with "
    "probability seam. Return the g, a divisor of the number of answers, that succeeds most often.",
    starter='''\
def answers_per_call(answers, seam, model):
    """How many answers to ask for in one call: a divisor of `answers`."""
    raise NotImplementedError
''',
    answer='''\
def answers_per_call(answers, seam, model):
    """How many answers to ask for in one call: a divisor of `answers`."""
    sizes = [g for g in range(1, answers + 1) if answers % g == 0]

    def success(g):
        hand_overs = answers // g - 1
        return model.step_reliability(g) ** answers * (1 - seam) ** hand_overs

    return max(sizes, key=success)
''',
    hints=(
        "All answers must be right: step_reliability(g) ** answers. How many hand-overs are there?",
        "answers // g calls have answers // g - 1 hand-overs, which all hold with "
        "(1 - seam) ** hand_overs; take the divisor with the largest product.",
    ),
    judge=_judge_answers_per_call,
)
