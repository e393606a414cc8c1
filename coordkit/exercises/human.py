"""Exercises of the human notebook."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from coordkit.exercises import exercise


class _Refund(TypedDict, total=False):
    amount: float
    approved: float


def _judge_ask(ask_before_paying: Any) -> str:
    for amount, verdict, right, what in (
        (80.0, None, 80.0, "a refund of 80.00 needs no person and is paid"),
        (100.0, None, 100.0, "a refund of exactly 100.00 needs no person"),
        (650.0, {"decision": "approve"}, 650.0, "650.00, approved"),
        (650.0, {"decision": "edit", "amount": 65.0}, 65.0, "650.00, edited to 65.00"),
        (650.0, {"decision": "reject"}, 0.0, "650.00, rejected"),
    ):
        paid: list[float] = []
        graph: Any = StateGraph(_Refund)
        graph.add_node("ask", ask_before_paying)
        graph.add_node("pay", lambda state, to=paid: to.append(state.get("approved", -1.0)))
        graph.add_edge(START, "ask")
        graph.add_edge("ask", "pay")
        compiled = graph.compile(checkpointer=InMemorySaver())
        thread = {"configurable": {"thread_id": what}}
        asked = compiled.invoke({"amount": amount}, thread).get("__interrupt__")
        if bool(asked) != bool(verdict):
            return f"{what}: " + ("nobody need be asked" if asked else "no person was asked")
        if asked:
            if asked[0].value != {"amount": amount}:
                return f"{what}: show the person {{'amount': {amount}}}, not {asked[0].value!r}"
            compiled.invoke(Command(resume=verdict), thread)
        if paid != [right]:
            return f"{what}: expected {[right]} to be paid, but {paid} was"
    return ""


@exercise(
    hints=(
        "interrupt(value) from langgraph.types pauses; when resumed, it returns the verdict.",
        "Up to and including 100.00, return at once without interrupting.",
        "A rejected refund pays 0.0.",
    ),
    judge=_judge_ask,
)
def ask_before_paying(state):
    """{"approved": what to pay} for state["amount"]; a person decides above 100.00."""
    from langgraph.types import interrupt

    amount = state["amount"]
    if amount <= 100:
        return {"approved": amount}
    verdict = interrupt({"amount": amount})
    if verdict["decision"] == "edit":
        return {"approved": verdict["amount"]}
    return {"approved": amount if verdict["decision"] == "approve" else 0.0}


@exercise(
    hints=(
        "Unreviewed, a task costs risk * per_failure on average.",
        "Reviewed, it costs the review, and the failures that the reviewer leaves or makes.",
    ),
    cases=[
        (f"risk {p}, accuracy {a}, {one} USD a review, {lost} USD a failure", p, a, one, lost)
        for p, a, one, lost in (
            (0.10, 0.95, 1.5, 50.0),
            (0.02, 0.95, 1.5, 50.0),
            (0.30, 0.60, 1.5, 50.0),
            (0.05, 1.00, 1.5, 50.0),
            (0.02, 1.00, 1.5, 50.0),
            (0.20, 0.90, 8.0, 50.0),
            (0.20, 0.90, 8.0, 100.0),
        )
    ],
)
def worth_a_review(risk, accuracy, per_review, per_failure):
    """Whether reviewing costs less than not reviewing: True or False.

    risk: share of these tasks that fail unreviewed; accuracy: share of reviewed tasks that end
    right; per_review, per_failure: USD.
    """
    return per_review + (1 - accuracy) * per_failure < risk * per_failure


ask_first, worth = ask_before_paying, worth_a_review  # their names in the notebook
