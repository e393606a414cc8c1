"""Exercises of the notebook on your own model."""

from __future__ import annotations

from typing import Any

from coordkit.exercises import Exercise
from coordkit.reliability import chain


def _judge_may_send(may_send: Any) -> str:
    cases = [
        ((0.00, 0.00, 0.01, 1.00), True, "nothing spent yet"),
        ((0.50, 0.40, 0.10, 1.00), True, "exactly the budget at worst"),
        ((0.50, 0.40, 0.11, 1.00), False, "one cent over it at worst"),
        ((0.95, 0.00, 0.06, 1.00), False, "little left"),
        ((0.20, 0.79, 0.02, 1.00), False, "calls in flight may cost what is left"),
        ((0.00, 0.00, 0.00, 0.00), True, "a free call without a budget to spend"),
    ]
    for arguments, right, what in cases:
        if (given := may_send(*arguments)) != right:
            return f"{what}, {arguments}: expected {right}, not {given!r}"
    return ""


may_send = Exercise(
    name="may_send",
    question="May the next call be made, so that the budget cannot be exceeded?",
    starter='''
def may_send(spent, in_flight, worst, budget):
    """Whether the next call can be made without any risk to the budget.

    spent: USD paid; in_flight: USD that calls under way can cost at worst;
    worst: USD that the next call can cost at worst; budget: USD in all.
    """
    raise NotImplementedError
''',
    answer='''
def may_send(spent, in_flight, worst, budget):
    """Whether the next call can be made without any risk to the budget."""
    return round(spent + in_flight + worst, 9) <= budget
''',
    hints=(
        "Think of everything that may still be charged, not only of what has been.",
        "0.5 + 0.4 + 0.1 is a little more than 1 in binary: round before you compare.",
    ),
    judge=_judge_may_send,
)


def _longest(p: float, target: float) -> int:
    n = 0
    while n < 1000 and chain(p, n + 1) >= target:
        n += 1
    return n


def _judge_longest_chain(longest_chain: Any) -> str:
    for p in (0.5, 0.9, 0.92, 0.96, 0.99):
        for target in (0.6, 0.8, 0.95):
            if (given := longest_chain(p, target)) != (right := _longest(p, target)):
                return f"p = {p}, target {target}: expected {right}, not {given!r}"
    return ""


longest_chain = Exercise(
    name="longest_chain",
    question="How many dependent steps can your model do and still reach a target success rate?",
    starter='''
def longest_chain(p, target):
    """The largest number of dependent steps whose success rate is at least the target.

    p: reliability of a step, 0..1; target: success rate wanted, 0..1.
    """
    raise NotImplementedError
''',
    answer='''
def longest_chain(p, target):
    """The largest number of dependent steps whose success rate is at least the target."""
    n = 0
    while p ** (n + 1) >= target:
        n += 1
    return n
''',
    hints=(
        "n steps succeed together with probability p ** n.",
        "Count up from 0.",
    ),
    judge=_judge_longest_chain,
)
