"""Verification: every check knows right from wrong, and what a rejection leads to."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from coordkit.cases import billing as billing_case
from coordkit.cases import support as support_case
from coordkit.cases.base import Case, Evidence, Task
from coordkit.experiment import Recorder, failure_of
from coordkit.layers.verification import check_citations, verify, verify_all
from coordkit.prompt import Answer, Prompt
from coordkit.stack import Stack

TEAM = ("context", "planning", "execution", "state")


@dataclass(frozen=True)
class Worked:
    """A task worked by a faultless model, with verification on."""

    case: Case
    task: Task
    state: Mapping[str, Any]
    failure: str

    @property
    def answers(self) -> Mapping[str, Answer]:
        return self.state["answers"]

    def evidence(self, step: str) -> Evidence:
        """What a check of a step may look at."""
        needed = {name: self.answers[name] for name in self.case.step(step).needs}
        return Evidence(self.task.fields, needed, frozenset(), ENVIRONMENTS[self.case.name])


ENVIRONMENTS: dict[str, Any] = {}


def _some_of_each_kind(case: Case) -> list[Task]:
    """Up to a dozen tasks of each kind; a kind of a ticket is what it asks for."""
    kinds: dict[str, list[Task]] = {}
    for task in case.tasks:
        if not task.repeated:
            kinds.setdefault(task.labels.get("kind") or task.labels["intents"][0], []).append(task)
    return [task for tasks in kinds.values() for task in tasks[:12]]


@pytest.fixture(scope="module")
def every(billing, support, environment_of, bench) -> dict[str, list[Worked]]:
    """Tasks of every kind, worked."""
    found: dict[str, list[Worked]] = {}
    for case in (billing, support):
        ENVIRONMENTS[case.name] = environment_of(case)
        at = bench(case, *TEAM, "verification")
        states = [(task, at.run(task)) for task in _some_of_each_kind(case)]
        found[case.name] = [Worked(case, t, s, failure_of(at, t, s)) for t, s in states]
    return found


@pytest.fixture(scope="module")
def worked(every) -> dict[str, list[Worked]]:
    """Those that came out right."""
    return {name: [w for w in works if not w.failure] for name, works in every.items()}


# --- each check on what is right ------------------------------------------------------------------

CHECKED = [
    ("billing", step, check)
    for step, check in [
        ("extract", billing_case.check_extract),
        ("match", billing_case.check_match),
        ("explain", billing_case.check_explain),
        ("post", billing_case.check_post),
    ]
] + [
    ("support", step, check)
    for step, check in [
        ("classify", support_case.check_classify),
        ("order", support_case.check_order),
        ("billing", support_case.check_billing),
        ("decide", support_case.check_decide),
        ("draft", support_case.check_reply),
        ("respond", support_case.check_respond),
    ]
]


def test_every_check_of_both_cases_is_tested_here(billing, support) -> None:
    declared = [
        (case.name, step, getattr(check, "func", check))  # some are told the house's ids
        for case in (billing, support)
        for step, checks in case.checks().items()
        for check in checks
    ]
    assert declared == CHECKED
    assert {check for _, _, check in CHECKED} == {check for check, _, _, _ in WRONG}


@pytest.mark.parametrize(("case", "step", "check"), CHECKED)
def test_a_check_passes_right_answers(worked, case, step, check) -> None:
    right = worked[case]
    assert len(right) > 40
    for work in right:
        assert check(work.answers[step], work.evidence(step)) == [], work.task.id


# --- each check on what is wrong ------------------------------------------------------------------

Change = Callable[[Answer, Worked], Any]


def setting(**fields: Any) -> Change:
    """A change that sets fields; a function is given the old value."""

    def change(answer: Answer, work: Worked) -> None:
        for name, value in fields.items():
            answer[name] = value(answer[name]) if callable(value) else value

    return change


def in_list(field: str, index: int = 0, **fields: Any) -> Change:
    """A change within one item of a list."""

    def change(answer: Answer, work: Worked) -> None:
        setting(**fields)(answer[field][index], work)

    return change


def other_customers(kind: str, key: str) -> Callable[[Answer, Worked], None]:
    """A change to a record of the same kind that is somebody else's."""

    def change(answer: Answer, work: Worked) -> None:
        customer = work.answers["classify"]["customer_id"]
        rows = ENVIRONMENTS[work.case.name].rows(kind)
        column = next(iter(rows[0]))
        answer[key] = next(row[column] for row in rows if row["customer_id"] != customer)

    return change


def own_other_order(answer: Answer, work: Worked) -> None:
    customer = work.answers["classify"]["customer_id"]
    rows = ENVIRONMENTS["support"].rows("orders", customer_id=customer)
    row = next(row for row in rows if row["order_id"] != answer["order_id"])
    answer.update(support_case._as_order(row, theirs=True))


def without_last(values: list[Any]) -> list[Any]:
    return values[:-1]


def plus_cent(amount: float) -> float:
    return round(amount + 0.01, 2)


def kind(*kinds: str) -> Callable[[Worked], bool]:
    return lambda work: work.answers["explain"]["kind"] in kinds


def with_own_number(work: Worked) -> bool:
    return bool(work.answers["order"]["order_id"] and work.answers["classify"]["order_number"])


def with_two_orders(work: Worked) -> bool:
    customer = work.answers["classify"]["customer_id"]
    rows = ENVIRONMENTS["support"].rows("orders", customer_id=customer)
    return with_own_number(work) and len(rows) > 1


def with_line(work: Worked) -> bool:
    return bool(work.answers["billing"]["invoice_line"])


def with_refund(work: Worked) -> bool:
    return bool(work.answers["decide"]["refunds"])


def with_order(work: Worked) -> bool:
    return bool(work.answers["order"]["order_id"])


def anything(work: Worked) -> bool:
    return True


def _state_of(work: Worked) -> str:
    return str(work.answers["order"]["status"])


def says_otherwise(answer: Answer, work: Worked) -> None:
    status = _state_of(work)
    other = "shipped" if status != "shipped" else "delivered"
    answer["reply"] = answer["reply"].replace(f"is {status}", f"is {other}")


def says_both(answer: Answer, work: Worked) -> None:
    never_had = "lost" if _state_of(work) != "lost" else "delivered"
    answer["reply"] += f" It was {never_had}."


X, M, E, P = (check for case, _, check in CHECKED if case == "billing")
CLASSIFY, ORDER, BILLING, DECIDE, REPLY, RESPOND = (
    check for case, _, check in CHECKED if case == "support"
)
INVENTED = {"account": "refund", "invoice_id": "INV-999999", "amount": 10.0}
GIFT = {"reference": "ORD-99999", "account": "card", "amount": 10.0}

WRONG: list[tuple[Any, str, Callable[[Worked], bool], Change]] = [
    (X, "amount", anything, setting(amount=plus_cent)),
    (X, "currency", anything, setting(currency="XXX")),
    (X, "date", anything, setting(received_on="2020-01-01")),
    (X, "reference", anything, setting(references=["INV-987654321"])),
    (M, "invented invoice", kind("exact"), setting(invoices=["INV-999999"])),
    (M, "amount", kind("exact"), setting(amounts=lambda a: [plus_cent(x) for x in a])),
    (M, "too few amounts", kind("batch"), setting(amounts=without_last)),
    (M, "customer", kind("exact"), setting(customer_id="C-9999")),
    (M, "currency", kind("exact"), setting(currency="XXX")),
    (M, "left out", kind("batch"), setting(invoices=without_last, amounts=without_last)),
    (E, "unmatched with an invoice", kind("exact"), setting(kind="unmatched")),
    (E, "exact without an invoice", kind("unmatched"), setting(kind="exact")),
    (E, "duplicate of an open one", kind("exact"), setting(kind="duplicate")),
    (E, "paid before", kind("duplicate"), setting(kind="exact")),
    (E, "fx in one currency", kind("exact"), setting(kind="fx")),
    (E, "fx missed", kind("fx"), setting(kind="exact")),
    (E, "sum", kind("short_payment"), setting(difference=plus_cent)),
    (E, "exact with a difference", kind("short_payment"), setting(kind="exact")),
    (E, "short without a difference", kind("exact"), setting(kind="short_payment")),
    (E, "short for over", kind("over_payment"), setting(kind="short_payment")),
    (E, "over for short", kind("short_payment"), setting(kind="over_payment")),
    (E, "discount not agreed", kind("bank_fee"), setting(kind="early_discount")),
    (E, "surplus", kind("over_payment"), setting(surplus_to="none")),
    (P, "amount", kind("exact"), in_list("entries", amount=plus_cent)),
    (P, "invoice", kind("exact"), in_list("entries", invoice_id="INV-999999")),
    (P, "account", kind("exact"), in_list("entries", account="refund")),
    (P, "nothing", kind("exact"), setting(entries=[])),
    (P, "twice", kind("exact"), setting(entries=lambda e: e + e)),
    (P, "one more", kind("exact"), setting(entries=lambda e: [*e, INVENTED])),
    (P, "batch item dropped", kind("batch"), setting(entries=without_last)),
    (P, "fx item dropped", kind("fx"), setting(entries=without_last)),
    (P, "discount left open", kind("early_discount"), setting(entries=without_last)),
    (P, "charges left open", kind("bank_fee"), setting(entries=without_last)),
    (P, "discount as charges", kind("early_discount"),
     in_list("entries", -1, account="bank_charges")),
    (P, "surplus kept", kind("over_payment"), setting(entries=without_last)),
    (P, "suspense named", kind("unmatched"), in_list("entries", invoice_id="INV-999999")),
    (P, "suspense elsewhere", kind("unmatched"), in_list("entries", account="refund")),
    (CLASSIFY, "customer", anything, setting(customer_id="CUST-0")),
    (CLASSIFY, "date", anything, setting(received_on="2020-01-01")),
    (CLASSIFY, "nothing asked", anything, setting(intents=[])),
    (CLASSIFY, "number", anything, setting(order_number="ORD-1")),
    (ORDER, "invented", with_order, setting(order_id="ORD-1")),
    (ORDER, "another customer's", with_order, other_customers("orders", "order_id")),
    (ORDER, "not the one named", with_two_orders, own_other_order),
    (ORDER, "status", with_order, setting(status=lambda s: "lost" if s != "lost" else "shipped")),
    (ORDER, "date", with_order, setting(delivered_on="2020-01-01")),
    (ORDER, "total", with_order, setting(total=plus_cent)),
    (ORDER, "account", with_order, setting(paid_with="cash")),
    (ORDER, "receipt", with_order, setting(receipt=lambda r: not r)),
    (ORDER, "none though named", with_own_number, setting(order_id="")),
    (BILLING, "no reason", with_line, setting(charge="none")),
    (BILLING, "no line", anything, setting(invoice_line="", charge="charged_twice")),
    (BILLING, "invented", with_line, setting(invoice_line="L-0")),
    (BILLING, "another customer's", with_line, other_customers("invoices", "invoice_line")),
    (BILLING, "amount", with_line, setting(line_amount=plus_cent)),
    (BILLING, "reason", with_line, setting(
        charge=lambda c: "annual_renewal" if c == "charged_twice" else "charged_twice")),
    (DECIDE, "gift", anything, setting(refunds=lambda r: [*r, GIFT])),
    (DECIDE, "denied", with_refund, setting(refunds=[])),
    (DECIDE, "amount", with_refund, in_list("refunds", amount=plus_cent)),
    (DECIDE, "account", with_refund, in_list("refunds", account="other")),
    (DECIDE, "reference", with_refund, in_list("refunds", reference="ORD-1")),
    (REPLY, "order unnamed", with_order, setting(reply="Thank you for your message.")),
    (REPLY, "status", with_order, says_otherwise),
    (REPLY, "second status", with_order, says_both),
    (REPLY, "line unnamed", with_line, setting(reply="Thank you for your message.")),
    (REPLY, "refund unsaid", with_refund, setting(
        reply=lambda r: r.partition("We refund")[0])),
    (REPLY, "refund promised", anything, setting(reply=lambda r: r + " We refund 12.34.")),
    (RESPOND, "gift", anything, setting(refunds=lambda r: [*r, GIFT])),
    (RESPOND, "refund forgotten", with_refund, setting(refunds=[])),
    (RESPOND, "status", with_order, says_otherwise),
    (RESPOND, "another order", with_order, setting(reply=lambda r: r + " See ORD-1.")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "name", "applies", "change"), WRONG, ids=[f"{c.__name__}-{n}" for c, n, _, _ in WRONG]
)
def test_a_check_rejects_wrong_answers(worked, check, name, applies, change) -> None:
    case, step = next((case, step) for case, step, other in CHECKED if other is check)
    fitting = [work for work in worked[case] if applies(work)]
    assert fitting, f"no task to try {name} on"
    for work in fitting:
        answer = deepcopy(dict(work.answers[step]))
        change(answer, work)
        assert answer != work.answers[step]
        assert check(answer, work.evidence(step)), work.task.id


@pytest.mark.parametrize(("case", "step", "check"), CHECKED)
def test_checks_need_only_what_the_step_was_given(worked, case, step, check) -> None:
    """Without earlier answers a check does what it can, and accuses nobody of the rest."""
    for work in worked[case][:40]:
        evidence = Evidence(work.task.fields, {}, frozenset(), ENVIRONMENTS[case])
        assert check(work.answers[step], evidence) == []


# --- verify ---------------------------------------------------------------------------------------


def evidence_of(*seen: str) -> Evidence:
    return Evidence({}, {}, frozenset(seen), None)


def test_only_sources_that_were_shown_may_be_cited() -> None:
    answer = {"sources": ["terms/house", "invoices/INV-1"]}
    assert check_citations(answer, evidence_of("terms/house", "invoices/INV-1", "other/1")) == []
    assert check_citations(answer, evidence_of("terms/house")) == [
        "you were not shown invoices/INV-1"
    ]
    assert check_citations({}, evidence_of()) == []


def test_all_objections_are_collected() -> None:
    checks = [lambda a, e: ["one", "two"], lambda a, e: [], lambda a, e: ["three"]]
    problems = verify({"sources": ["x/1"]}, checks, evidence_of())
    assert problems == ["you were not shown x/1", "one", "two", "three"]


def test_no_answer_is_an_objection_of_its_own() -> None:
    assert verify(None, [], evidence_of(), "bad JSON") == ["bad JSON"]
    assert verify(None, [], evidence_of()) == ["there is no answer"]


def test_one_call_for_all_steps_is_checked_step_by_step(worked, billing) -> None:
    names = [step.name for step in billing.steps]
    work = next(work for work in worked["billing"] if kind("exact")(work))
    seen = frozenset(s for answer in work.answers.values() for s in answer["sources"])
    evidence = Evidence(work.task.fields, {}, seen, ENVIRONMENTS["billing"])
    answers = deepcopy(dict(work.answers))
    assert verify_all(billing, answers, evidence, names) == []
    answers["explain"]["kind"] = "duplicate"
    problems = verify_all(billing, answers, evidence, names)
    assert problems and {p.split(":")[0] for p in problems} <= {"explain", "post"}
    assert problems[0].startswith("explain: ")


# --- what a rejection leads to --------------------------------------------------------------------


def scripted_answers(case: Case, schema: str, wrong: int, spoil: Change):
    """A step's skill that spoils its first answers in each run."""
    skill = case.skills()[schema]

    def act(prompt: Prompt) -> Any:
        result = skill(prompt)
        if isinstance(result, dict) and prompt.request.attempt <= wrong:
            spoil(result, None)
        return result

    return act


def prompts_for(recorder: Recorder, step: str) -> list[Prompt]:
    """The first prompt of every attempt at a step."""
    prompts = [Prompt.read(p) for p in recorder.prompts]
    return list(
        {p.request.attempt: p for p in reversed(prompts) if p.request.step == step}.values()
    )[::-1]


def exact(case: Case) -> Task:
    return next(t for t in case.tasks if t.labels["kind"] == "exact" and not t.repeated)


def test_the_critique_reaches_the_next_prompt(billing, bench) -> None:
    spoilt = scripted_answers(billing, "Extract", 1, setting(amount=1.0))
    at, recorder = bench(billing, *TEAM, "verification", skills={"Extract": spoilt}), Recorder()
    task = exact(billing)
    state = at.run(task, recorder=recorder)
    first, second = prompts_for(recorder, "extract")
    objection = f"the line says {task.fields['amount']} {task.fields['currency']}"
    assert (first.critique, second.critique) == ("", objection)
    assert all(p.critique == "" for p in prompts_for(recorder, "match"))
    assert failure_of(at, task, state) == ""
    (entry,) = [e for e in state["log"] if e["layer"] == "verification"]
    assert (entry["step"], entry["attempt"], entry["rejected"]) == ("extract", 1, "again")


def test_a_rejected_answer_is_never_passed_on(billing, bench) -> None:
    spoilt = scripted_answers(billing, "Extract", 1, setting(amount=1.0))
    recorder = Recorder()
    bench(billing, *TEAM, "verification", skills={"Extract": spoilt}).run(
        exact(billing), recorder=recorder
    )
    passed_on = [p.answers["extract"] for p in map(Prompt.read, recorder.prompts) if p.answers]
    assert passed_on and all(answer["amount"] != 1.0 for answer in passed_on)


@pytest.mark.parametrize("retries", [0, 2])
def test_after_bounded_retries_the_task_is_held(billing, bench, retries) -> None:
    spoilt = scripted_answers(billing, "Match", 99, setting(customer_id="C-9999"))
    stack = Stack.of(*TEAM, "verification", retries=retries)
    at, recorder = bench(billing, stack=stack, skills={"Match": spoilt}), Recorder()
    task = exact(billing)
    state = at.run(task, recorder=recorder)
    assert len(prompts_for(recorder, "match")) == retries + 1
    assert prompts_for(recorder, "explain") == []
    assert state["status"] == "held" and "C-9999" in state["problem"]
    assert at.at.environment.actions(f"{task.id}/trial-0") == []
    assert failure_of(at, task, state) == "held"
    rejected = [e["rejected"] for e in state["log"] if "rejected" in e]
    assert rejected == ["again"] * retries + ["held"]


def test_every_answer_has_retries_of_its_own(billing, bench) -> None:
    skills = {
        "Extract": scripted_answers(billing, "Extract", 2, setting(amount=1.0)),
        "Match": scripted_answers(billing, "Match", 2, setting(customer_id="C-9999")),
        "Explain": scripted_answers(billing, "Explain", 2, setting(kind="duplicate")),
    }
    at, task = bench(billing, *TEAM, "verification", skills=skills), exact(billing)
    state = at.run(task)
    assert failure_of(at, task, state) == ""
    assert state["attempts"] == {"extract": 3, "match": 3, "explain": 3, "post": 1}


def test_retries_work_where_agents_ask_again_and_a_router_leads(billing, bench) -> None:
    spoilt = scripted_answers(billing, "Match", 1, setting(customer_id="C-9999"))
    layers = ("context", "execution", "verification")
    at, task = bench(billing, *layers, skills={"Match": spoilt}), exact(billing)
    state = at.run(task)
    assert failure_of(at, task, state) == ""
    assert state["attempts"]["match"] == 3  # asked, sent back, and asked again by post


def test_the_one_prompt_of_a_generalist_is_sent_back_too(billing, bench) -> None:
    spoilt = scripted_answers(billing, "Extract", 1, setting(amount=1.0))
    at, recorder = bench(billing, "context", "verification", skills={"Extract": spoilt}), Recorder()
    task = exact(billing)
    state = at.run(task, recorder=recorder)
    first, second = map(Prompt.read, recorder.prompts)
    assert first.critique == "" and second.critique.startswith("extract: the line says")
    assert failure_of(at, task, state) == ""


def test_a_citation_of_what_was_not_shown_is_sent_back(billing, bench) -> None:
    spoilt = scripted_answers(billing, "Match", 1, setting(sources=["invoices/INV-999999"]))
    at, recorder = bench(billing, *TEAM, "verification", skills={"Match": spoilt}), Recorder()
    at.run(exact(billing), recorder=recorder)
    _, second = prompts_for(recorder, "match")
    assert second.critique == "you were not shown invoices/INV-999999"


def test_without_the_layer_a_wrong_answer_goes_on(billing, bench) -> None:
    spoilt = scripted_answers(billing, "Match", 1, setting(invoices=["INV-999999"]))
    at, task = bench(billing, *TEAM, skills={"Match": spoilt}), exact(billing)
    assert failure_of(at, task, at.run(task)) == "wrong invoice"


@pytest.mark.parametrize("case", ["billing", "support"])
def test_a_faultless_model_is_never_sent_back(every, case) -> None:
    for work in every[case]:
        sent_back = [e for e in work.state.get("log", []) if e["layer"] == "verification"]
        assert sent_back == [] and work.state["status"] == "done", work.task.id
