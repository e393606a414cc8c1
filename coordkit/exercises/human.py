"""Exercises of the human notebook."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from coordkit.exercises import Exercise


class _Refund(TypedDict, total=False):
    amount: float
    approved: float


def _judge_ask(ask_before_paying: Any) -> str:
    cases = [
        (80.0, None, [80.0], "a refund of 80.00 needs no person and is paid"),
        (100.0, None, [100.0], "a refund of exactly 100.00 needs no person"),
        (650.0, {"decision": "approve"}, [650.0], "650.00, approved"),
        (650.0, {"decision": "edit", "amount": 65.0}, [65.0], "650.00, edited to 65.00"),
        (650.0, {"decision": "reject"}, [0.0], "650.00, rejected"),
    ]
    for amount, verdict, right, what in cases:
        paid: list[float] = []
        graph: Any = StateGraph(_Refund)
        graph.add_node("ask", ask_before_paying)
        graph.add_node("pay", lambda state, to=paid: to.append(state.get("approved", -1.0)))
        graph.add_edge(START, "ask")
        graph.add_edge("ask", "pay")
        graph.add_edge("pay", END)
        thread: Any = {"configurable": {"thread_id": what}}
        compiled = graph.compile(checkpointer=InMemorySaver())
        state = compiled.invoke({"amount": amount}, thread)
        asked = state.get("__interrupt__")
        if bool(asked) != (verdict is not None):
            return f"{what}: " + ("nobody need be asked" if asked else "no person was asked")
        if asked:
            if asked[0].value != {"amount": amount}:
                return f"{what}: show the person {{'amount': {amount}}}, not {asked[0].value!r}"
            compiled.invoke(Command(resume=verdict), thread)
        if paid != right:
            return f"{what}: expected {right} to be paid, but {paid} was"
    return ""


def _judge_worth(worth_a_review: Any) -> str:
    cases = [
        (0.10, 0.95, 1.5, 50.0),
        (0.02, 0.95, 1.5, 50.0),
        (0.30, 0.60, 1.5, 50.0),
        (0.05, 1.00, 1.5, 50.0),
        (0.02, 1.00, 1.5, 50.0),
        (0.20, 0.90, 8.0, 50.0),
        (0.20, 0.90, 8.0, 100.0),
    ]
    for risk, accuracy, per_review, per_failure in cases:
        right = per_review + (1 - accuracy) * per_failure < risk * per_failure
        given = worth_a_review(risk, accuracy, per_review, per_failure)
        if not isinstance(given, bool) or given != right:
            return (
                f"risk {risk}, accuracy {accuracy}, {per_review} USD a review, {per_failure} USD "
                f"a failure: expected {right}, not {given!r}"
            )
    return ""


ask_first = Exercise(
    name="ask_before_paying",
    question=(
        'Write the node before "pay": above 100.00, interrupt with {"amount": amount}; what it '
        'is resumed with is {"decision": "approve"}, {"decision": "reject"} or '
        '{"decision": "edit", "amount": ...}. Return {"approved": amount to pay}.'
    ),
    starter='''
def ask_before_paying(state):
    """{"approved": what to pay} for state["amount"]; a person decides above 100.00."""
    raise NotImplementedError
''',
    answer='''
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
''',
    hints=(
        "interrupt(value) from langgraph.types pauses; when resumed, it returns the verdict.",
        "Up to and including 100.00, return at once without interrupting.",
        "A rejected refund pays 0.0.",
    ),
    judge=_judge_ask,
)

worth = Exercise(
    name="worth_a_review",
    question="Is a review of a kind of task worth its money? A wrong review leaves it failed.",
    starter='''
def worth_a_review(risk, accuracy, per_review, per_failure):
    """Whether reviewing costs less than not reviewing: True or False.

    risk: share of these tasks that fail unreviewed; accuracy: share of reviewed tasks that end
    right; per_review, per_failure: USD.
    """
    raise NotImplementedError
''',
    answer='''
def worth_a_review(risk, accuracy, per_review, per_failure):
    """Whether reviewing costs less than not reviewing: True or False.

    risk: share of these tasks that fail unreviewed; accuracy: share of reviewed tasks that end
    right; per_review, per_failure: USD.
    """
    return per_review + (1 - accuracy) * per_failure < risk * per_failure
''',
    hints=(
        "Unreviewed, a task costs risk * per_failure on average.",
        "Reviewed, it costs the review, and the failures that the reviewer leaves or makes.",
    ),
    judge=_judge_worth,
)
