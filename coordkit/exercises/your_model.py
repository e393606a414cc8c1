"""Exercises of the notebook on your own model."""

from __future__ import annotations

from itertools import product

from coordkit.exercises import exercise


@exercise(
    hints=(
        "Think of everything that may still be charged, not only of what has been.",
        "0.5 + 0.4 + 0.1 is a little more than 1 in binary: round before you compare.",
    ),
    cases=[
        (f"{what}, {usd}", *usd)
        for what, usd in {
            "nothing spent yet": (0.00, 0.00, 0.01, 1.00),
            "exactly the budget at worst": (0.50, 0.40, 0.10, 1.00),
            "one cent over it at worst": (0.50, 0.40, 0.11, 1.00),
            "little left": (0.95, 0.00, 0.06, 1.00),
            "calls in flight may cost what is left": (0.20, 0.79, 0.02, 1.00),
            "a free call without a budget to spend": (0.00, 0.00, 0.00, 0.00),
        }.items()
    ],
)
def may_send(spent, in_flight, worst, budget):
    """Whether the next call can be made without any risk to the budget.

    spent: USD paid; in_flight: USD that calls under way can cost at worst;
    worst: USD that the next call can cost at worst; budget: USD in all.
    """
    return round(spent + in_flight + worst, 9) <= budget


@exercise(
    hints=(
        "n steps succeed together with probability p ** n.",
        "Count up from 0.",
    ),
    cases=[
        (f"p = {p}, target {target}", p, target)
        for p, target in product([0.5, 0.9, 0.92, 0.96, 0.99], [0.6, 0.8, 0.95])
    ],
)
def longest_chain(p, target):
    """The largest number of dependent steps whose success rate is at least the target.

    p: reliability of a step, 0..1; target: success rate wanted, 0..1.
    """
    n = 0
    while p ** (n + 1) >= target:
        n += 1
    return n
