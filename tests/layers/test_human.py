"""Human: when a person is asked, what the answer leads to, and the reviewers."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from coordkit.cases.base import Case, Task
from coordkit.experiment import SimulatedReviewer, failure_of, run_trial
from coordkit.faults import Simulation
from coordkit.layers.human import Review, Verdict, as_verdict, at_the_terminal, reason_to_ask
from coordkit.prompt import Prompt
from coordkit.stack import Stack, trial_id

TEAM = ("context", "planning", "execution", "state")


class Desk:
    """An approver that keeps what it was shown and gives one verdict."""

    def __init__(self, verdict: Callable[[Review], Verdict]) -> None:
        self.verdict, self.seen = verdict, list[Review]()

    def __call__(self, review: Review) -> Verdict:
        self.seen.append(review)
        return self.verdict(review)


def approve(review: Review) -> Verdict:
    return Verdict("approve", reviewer="Ada")


def reject(review: Review) -> Verdict:
    return Verdict("reject", reviewer="Ada")


def put_right(review: Review) -> Verdict:
    return Verdict("edit", review.case.reference(review.task), "Ada")


def refund_due(case: Case, task: Task) -> int:
    """Cents that should go out for a task."""
    return 0 if task.repeated else case.money_out(case.actions(case.reference(task)))


def first(case: Case, fits: Callable[[Task], bool]) -> Task:
    return next(task for task in case.tasks if not task.repeated and fits(task))


@pytest.fixture(scope="module")
def large(billing) -> Task:
    """A payment that has to go back and needs a person."""
    return first(billing, lambda task: refund_due(billing, task) > billing.approval_limit * 100)


@pytest.fixture(scope="module")
def ordinary(billing) -> Task:
    return first(billing, lambda task: task.labels["kind"] == "exact")


def outcome(at: Any, task: Task) -> tuple[list, list, str]:
    """Rows written, approvals kept, and what is wrong."""
    state = at.run(task)
    environment, name = at.at.environment, trial_id(state)
    failure = failure_of(at, task, state)
    return environment.actions(name), environment.approvals(name), failure


# --- when a person is asked -----------------------------------------------------------------------


def test_high_stakes_interrupt(billing, bench, large) -> None:
    desk = Desk(approve)
    at = bench(billing, *TEAM, "human", approver=desk)
    rows, approvals, failure = outcome(at, large)
    (review,) = desk.seen
    assert review.reason == (
        f"high stakes: beyond what the rules allow without a person ({billing.approval_limit:.2f})"
    )
    assert (review.task, review.trial) == (large, 0)
    assert billing.actions(review.proposal) == rows == billing.actions(billing.reference(large))
    assert (approvals, failure) == ([("Ada", "approve")], "")


def test_the_lowest_confidence_of_all_interrupts(billing, bench) -> None:
    desk = Desk(approve)
    stack = Stack.of(*TEAM, "human", confidence_floor=0.99)
    at = bench(billing, stack=stack, approver=desk)
    lowest = set()
    for task in [t for t in billing.tasks if t.labels["kind"] == "exact" and not t.repeated][:8]:
        state = at.run(task)
        reports = {step: answer["confidence"] for step, answer in state["answers"].items()}
        lowest.add(min(reports, key=reports.__getitem__))
        review = desk.seen[-1]
        assert review.reason == f"low confidence: {min(reports.values()):.2f}"
        assert billing.actions(review.proposal) == billing.actions(billing.reference(task))
    assert len(desk.seen) == 8 and lowest - {"post"}, "only the last step was looked at"


def _held(billing: Case) -> dict[str, Any]:
    """Skills with which every task of the case is held."""

    def match(prompt: Prompt) -> Any:
        nowhere = {"invoices": ["INV-999999"], "amounts": [1.0], "customer_id": "", "currency": ""}
        return {**nowhere, "sources": []}

    return {"Match": match}


def test_a_held_task_interrupts_without_a_proposal(billing, bench, ordinary) -> None:
    desk = Desk(put_right)
    layers = (*TEAM, "verification", "human")
    at = bench(billing, *layers, approver=desk, skills=_held(billing))
    rows, approvals, failure = outcome(at, ordinary)
    (review,) = desk.seen
    assert review.reason.startswith("held: there is no invoice INV-999999")
    assert review.proposal is None
    assert (approvals, failure) == ([("Ada", "edit")], "")
    assert rows == billing.actions(billing.reference(ordinary))


def test_nobody_is_asked_about_what_is_ordinary(billing, bench, ordinary) -> None:
    rows, approvals, failure = outcome(bench(billing, *TEAM, "human"), ordinary)
    assert rows and (approvals, failure) == ([("house rules", "approve")], "")


@pytest.mark.parametrize("name", ["billing", "support"])
def test_a_small_refund_within_the_rules_needs_no_person(billing, support, bench, name) -> None:
    case = {"billing": billing, "support": support}[name]
    limit = case.approval_limit * 100
    at = bench(case, *TEAM, "human", stack=Stack.of(*TEAM, "human", confidence_floor=0.0))
    small = [task for task in case.tasks if 0 < refund_due(case, task) <= limit][:5]
    paid = 0
    for task in small:
        rows, approvals, _ = outcome(at, task)  # the bench fails if it asks a person
        paid += case.money_out(rows)
        assert approvals == [("house rules", "approve")]
    assert paid > 0


def test_a_refund_without_a_receipt_needs_a_person(support, environment_of) -> None:
    environment = environment_of(support)
    row = next(r for r in environment.rows("orders") if r["receipt"] == "no")
    with_receipt = next(r for r in environment.rows("orders") if r["receipt"] == "yes")
    assert support.needs_approval([("refund", row["order_id"], 100, "card")], environment)
    assert not support.needs_approval([("refund", with_receipt["order_id"], 1, "")], environment)
    assert not support.needs_approval([("reply", "", 0, "hello")], environment)


@pytest.mark.parametrize(
    ("held", "proposal", "confidence", "risky", "reason"),
    [
        ("", {"a": 1}, 0.3, False, ""),
        ("", {"a": 1}, 0.29, False, "low confidence"),
        ("", {"a": 1}, 0.9, True, "high stakes"),
        ("", {"a": 1}, 0.1, True, "high stakes"),
        ("sums differ", {"a": 1}, 0.9, True, "held: sums differ"),
        ("", None, 0.9, False, "held: no answer"),
    ],
)
def test_why_a_person_is_asked(billing, held, proposal, confidence, risky, reason) -> None:
    found = reason_to_ask(billing, held, proposal, confidence, 0.3, risky)
    assert found.startswith(reason) and bool(found) == bool(reason)


# --- what the answer leads to ---------------------------------------------------------------------


def test_an_edit_is_carried_out_instead(billing, bench, large) -> None:
    other = {"entries": [{"account": "suspense", "invoice_id": "", "amount": 1.0}]}
    desk = Desk(lambda review: Verdict("edit", other, "Ada"))
    rows, approvals, _ = outcome(bench(billing, *TEAM, "human", approver=desk), large)
    assert rows == [("suspense", "", 100, "")]
    assert approvals == [("Ada", "edit")]


def test_a_rejection_is_a_loud_failure_and_nothing_happens(billing, bench, large) -> None:
    at = bench(billing, *TEAM, "human", approver=Desk(reject))
    assert outcome(at, large) == ([], [], "rejected")
    row = run_trial(at, large)
    assert (row["failed"], row["loud"], row["escalated"], row["decision"]) == (
        True,
        True,
        True,
        "reject",
    )
    assert row["cause"] == "reviewer"


def test_an_edit_without_an_answer_does_not_carry_out_the_proposal(billing, bench, large) -> None:
    desk = Desk(lambda review: Verdict("edit"))
    at = bench(billing, *TEAM, "human", approver=desk)
    assert outcome(at, large) == ([], [], "rejected")


def test_there_is_nothing_to_approve_in_a_held_task(billing, bench, ordinary) -> None:
    """Not even the answer that a wandering router got before the task was held."""
    layers = (*TEAM, "verification", "human")
    at = bench(billing, *layers, approver=Desk(approve), skills=_held(billing))
    assert outcome(at, ordinary) == ([], [], "rejected")

    skills, turn = billing.skills(), iter(["extract", "match", "explain", "post", "match"])
    again = {
        "NextStep": lambda prompt: {"next_step": next(turn)},
        "Match": lambda prompt: (
            skills["Match"](prompt)
            if prompt.request.attempt == 1
            else _held(billing)["Match"](prompt)
        ),
    }
    layers = ("context", "execution", "state", "verification", "human")
    wandering = bench(billing, *layers, approver=Desk(approve), skills=again)
    assert outcome(wandering, ordinary) == ([], [], "rejected")


def test_without_the_layer_a_large_refund_goes_out_unapproved(billing, bench, large) -> None:
    rows, approvals, failure = outcome(bench(billing, *TEAM), large)
    assert billing.money_out(rows) > billing.approval_limit * 100
    assert (approvals, failure) == ([], "unapproved")


@pytest.mark.parametrize("name", ["billing", "support"])
def test_no_refund_goes_out_without_its_approval(billing, support, bench, name) -> None:
    case = {"billing": billing, "support": support}[name]
    at = bench(
        case,
        *TEAM,
        "human",
        simulation=Simulation(reliability=0.9),
        approver=SimulatedReviewer(accuracy=0.7),
    )
    refunds = by_a_person = 0
    for task in case.tasks:
        rows, approvals, failure = outcome(at, task)
        assert failure != "unapproved"
        if case.money_out(rows):
            refunds += 1
            assert len(approvals) == 1
        if case.needs_approval(rows, at.at.environment):
            by_a_person += 1
            assert approvals[0][0] == "simulated"
    assert len(case.tasks) == 300
    assert refunds > by_a_person > 0


@pytest.mark.parametrize("accuracy", [1.0, 0.0])
def test_what_a_simulated_reviewer_decides_is_never_signed_by_a_person(
    billing, support, bench, accuracy
) -> None:
    """Right or wrong, approved or edited: the approvals table says who it was."""
    stack = Stack.of(*TEAM, "verification", "human", confidence_floor=0.6)
    reviewer = SimulatedReviewer(accuracy, 0.0)
    signed = Counter[tuple[str, str]]()
    for case in (billing, support):
        at = bench(case, stack=stack, simulation=Simulation(reliability=0.8), approver=reviewer)
        for task in case.tasks[:60]:
            state = at.run(task)
            asked = bool((state.get("verdict") or {}).get("reason"))
            kept = at.at.environment.approvals(trial_id(state))
            assert {name for name, _ in kept} <= {"simulated" if asked else "house rules"}
            signed.update(kept)
            assert not asked or state["verdict"]["reviewer"] == "simulated"
    assert signed["simulated", "approve"] > 3
    assert accuracy == 0 or signed["simulated", "edit"] > 3


# --- reviewers ------------------------------------------------------------------------------------


def reviews(case: Case) -> list[tuple[Review, bool]]:
    """Proposals, right and wrong by turns, and whether each is right."""
    tasks = [task for task in case.tasks if not task.repeated]
    made = []
    for i in range(2000):
        task, trial = tasks[i % len(tasks)], i // len(tasks)
        right = i % 2 == 0
        proposal = case.reference(task) if right else {"entries": []}
        made.append((Review(case, task, "high stakes", proposal, trial), right))
    return made


def decides_rightly(reviewer: SimulatedReviewer, review: Review, right: bool) -> bool:
    verdict = reviewer(review)
    if right:
        assert verdict.decision in ("approve", "reject")
        return verdict.decision == "approve"
    if verdict.decision == "edit":
        assert verdict.answer == review.case.reference(review.task)
    else:
        assert verdict.decision == "approve"
    return verdict.decision == "edit"


@pytest.mark.parametrize(
    ("accuracy", "fatigue"), [(0.95, 0.05), (0.8, 0.0), (0.8, 0.6), (1.0, 0.0), (0.0, 0.0)]
)
def test_a_simulated_reviewer_is_as_good_as_set(billing, accuracy, fatigue) -> None:
    reviewer = SimulatedReviewer(accuracy, fatigue)
    rightly = [decides_rightly(reviewer, review, right) for review, right in reviews(billing)]
    expected = accuracy - fatigue / 2  # the place in the shift is uniform
    error = (expected * (1 - expected) / len(rightly)) ** 0.5
    assert abs(sum(rightly) / len(rightly) - expected) <= 4 * error


def test_a_simulated_reviewer_repeats_itself_in_any_order(billing) -> None:
    made = [review for review, _ in reviews(billing)][:200]
    forwards = [SimulatedReviewer(0.5)(review) for review in made]
    assert forwards == [SimulatedReviewer(0.5)(review) for review in reversed(made)][::-1]
    assert forwards != [SimulatedReviewer(0.5, seed=1)(review) for review in made]


def test_a_tired_reviewer_only_gets_worse(billing) -> None:
    made = reviews(billing)
    fresh, tired = SimulatedReviewer(0.9, 0.0), SimulatedReviewer(0.9, 0.5)
    pairs = [(decides_rightly(fresh, *m), decides_rightly(tired, *m)) for m in made]
    assert (False, True) not in pairs and (True, False) in pairs


def test_without_a_proposal_the_reviewer_gives_the_answer_or_rejects(billing, ordinary) -> None:
    review = Review(billing, ordinary, "held: sums differ", None)
    assert SimulatedReviewer(1, 0)(review) == Verdict(
        "edit", billing.reference(ordinary), "simulated"
    )
    assert SimulatedReviewer(0, 0)(review).decision == "reject"


def test_a_verdict_may_come_as_plain_data() -> None:
    verdict = Verdict("edit", {"a": 1}, "Ada")
    assert as_verdict({"decision": "edit", "answer": {"a": 1}, "reviewer": "Ada"}) == verdict
    assert as_verdict(verdict) is verdict


def at_the_keyboard(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    typed = iter(lines)
    monkeypatch.setattr("builtins.input", lambda question="": next(typed))


def test_the_terminal_shows_the_case_and_takes_a_decision(
    billing, ordinary, monkeypatch, capsys
) -> None:
    review = Review(billing, ordinary, "high stakes", {"entries": ["the proposal"]})
    for typed, decision in [("a", "approve"), (" Approve ", "approve"), ("R", "reject")]:
        at_the_keyboard(monkeypatch, typed)
        assert at_the_terminal(review) == Verdict(decision)
    shown = capsys.readouterr().out
    for text in (ordinary.id, "high stakes", "the proposal", ordinary.fields["remittance_text"]):
        assert text in shown


def test_the_terminal_takes_an_edit_and_asks_again_for_nonsense(
    billing, ordinary, monkeypatch, capsys
) -> None:
    review = Review(billing, ordinary, "held: sums differ", None)
    answer = {"entries": []}
    at_the_keyboard(monkeypatch, "", "x", "a", "e", "{not json", "e", json.dumps(answer))
    assert at_the_terminal(review) == Verdict("edit", answer)
    assert "that is not JSON" in capsys.readouterr().out


def test_the_terminal_is_an_approver(billing, bench, large, monkeypatch) -> None:
    at_the_keyboard(monkeypatch, "a")
    rows, approvals, failure = outcome(
        bench(billing, *TEAM, "human", approver=at_the_terminal), large
    )
    assert rows and (approvals, failure) == ([("person", "approve")], "")
