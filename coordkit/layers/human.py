"""Layer 6, human: a person decides what should not be automatic.

Off: everything is automatic. On: an action that cannot be undone, an answer with low confidence
or a held task interrupts the graph; a reviewer approves, edits or rejects.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from coordkit.cases.base import Case, Task
from coordkit.faults import uniform
from coordkit.prompt import Answer

Decision = Literal["approve", "edit", "reject"]


@dataclass(frozen=True)
class Review:
    """What a reviewer is shown.

    Attributes:
        case, task: what is being worked on.
        reason: why a person is asked: high stakes, low confidence or held.
        proposal: the answer that would be acted on; None if there is none.
        trial: 0-based trial.
    """

    case: Case
    task: Task
    reason: str
    proposal: Answer | None
    trial: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a reviewer decided.

    Attributes:
        decision: approve, edit or reject.
        answer: the edited answer, for an edit.
        reviewer: who decided.
    """

    decision: Decision
    answer: Answer | None = None
    reviewer: str = "person"


Approver = Callable[[Review], Verdict]


@dataclass(frozen=True)
class SimulatedReviewer:
    """A reviewer who is right with a set probability; the only simulated part that knows the truth.

    When right: approves what is right, puts right what is wrong. When wrong: rejects what is right,
    approves what is wrong (or rejects where there is no proposal).

    Args:
        accuracy: probability of a right decision when fresh, 0..1.
        fatigue: accuracy lost by the end of a shift, 0..1; where in the shift a review falls is
            drawn per task, so that it does not depend on the order of a simulation.
        seed: seed of the draws.
    """

    accuracy: float = 0.95
    fatigue: float = 0.05
    seed: int = 0

    def __call__(self, review: Review) -> Verdict:
        key = (self.seed, review.case.name, review.task.id, review.trial)
        accuracy = self.accuracy - self.fatigue * uniform("shift", *key)
        reference = review.case.reference(review.task)
        proposal = review.proposal
        is_right = proposal is not None and not review.case.wrong(
            review.task, review.case.actions(proposal)
        )
        if uniform("review", *key) < accuracy:
            if is_right:
                return Verdict("approve", reviewer="simulated")
            return Verdict("edit", reference, "simulated")
        approves = proposal is not None and not is_right
        return Verdict("approve" if approves else "reject", reviewer="simulated")


def at_the_terminal(review: Review) -> Verdict:
    """Ask the person at the terminal."""
    print(f"\n{review.case.name} {review.task.id}: {review.reason}")
    print(json.dumps(dict(review.task.fields), indent=2, ensure_ascii=False))
    print("proposed:", json.dumps(review.proposal, indent=2, ensure_ascii=False))
    while True:
        choice = input("[a]pprove, [e]dit or [r]eject? ").strip().lower()[:1]
        if choice == "a" and review.proposal is not None:
            return Verdict("approve")
        if choice == "r":
            return Verdict("reject")
        if choice == "e":
            try:
                return Verdict("edit", json.loads(input("the right answer, as JSON: ")))
            except json.JSONDecodeError as error:
                print(f"that is not JSON: {error}")


def reason_to_ask(
    case: Case, held: str, proposal: Answer | None, confidence: float, floor: float, risky: bool
) -> str:
    """Why a person must look at this, empty if nobody need.

    Args:
        case: gives the approval limit for the wording.
        held: verification's objection, if it held the task.
        proposal: the answer that would be acted on.
        confidence: the lowest confidence that the agents reported, 0..1.
        floor: confidence below which a person is asked.
        risky: whether the action needs approval under the house rules.
    """
    if held or proposal is None:
        return f"held: {held or 'no answer'}"
    if risky:
        return (
            f"high stakes: beyond what the rules allow without a person ({case.approval_limit:.2f})"
        )
    return f"low confidence: {confidence:.2f}" if confidence < floor else ""


def as_verdict(value: Any) -> Verdict:
    """A verdict from what a graph was resumed with."""
    return value if isinstance(value, Verdict) else Verdict(**value)
