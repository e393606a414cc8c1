"""Support: its grader against replies typed by hand, its readers, and its model at its best."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.cases import load_case
from coordkit.cases.base import Evidence, Row, Task, read_limit
from coordkit.cases.support import (
    USUAL_IDS,
    USUAL_LIMIT,
    Support,
    check_billing,
    check_classify,
    check_decide,
    check_order,
    check_reply,
    check_respond,
    classify_with,
    read_window,
)
from coordkit.data import read_support, write_dataset
from coordkit.environment import Environment
from coordkit.experiment import Bench, Recorder, run_trial, simulated_model
from coordkit.faults import Simulation
from coordkit.layers.human import SimulatedReviewer
from coordkit.simulated import SimulatedChatModel
from coordkit.stack import Stack, Workplace

NO_SLIPS = Simulation(reliability=1)


@pytest.fixture(scope="module")
def support() -> Support:
    case = load_case("support")
    assert isinstance(case, Support) and len(case.tasks) == 2000
    return case


@pytest.fixture(scope="module")
def environment(support: Support) -> Environment:
    return support.environment()


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    return [tasks[i * len(tasks) // count] for i in range(count)]


class Reads:
    """A reader of messages who makes no mistakes: it was told the intents of every message."""

    def __init__(self, case: Support) -> None:
        self.known = {t.fields["message"]: list(t.labels["intents"]) for t in case.tasks}

    def intents(self, message: str) -> tuple[list[str], float]:
        return self.known.get(message, ["product_question"]), 1.0


@cache
def model_of(case: Support) -> SimulatedChatModel:
    """Kept, for its reader of messages takes a second to train."""
    return simulated_model(case, NO_SLIPS)


def bench_of(case: Support, stack: Stack, understands: bool = True) -> Bench:
    """A bench whose model never slips and whose reviewer never errs."""
    model = model_of(case)
    if understands:
        skills = {**model.skills, "Classify": classify_with(Reads(case))}  # type: ignore[arg-type]
        model = model.model_copy(update={"skills": skills})
    at = Workplace(case, model, stack, case.environment())
    return Bench(at, SimulatedReviewer(accuracy=1, fatigue=0))


# --- by hand: one small shop, and what a good clerk would answer and do --------------------------

ORDERS = """order_id,customer_id,placed_on,status,delivered_on,total,currency,paid_with,receipt
ORD-50001,C-0001,2026-06-01,shipped,,80.00,USD,card-1111,yes
ORD-50002,C-0001,2026-06-05,processing,,35.50,USD,card-1111,yes
ORD-50003,C-0001,2026-06-25,delivered,2026-06-28,12.00,USD,card-1111,yes
ORD-50004,C-0002,2026-05-02,delivered,2026-05-11,64.25,USD,paypal-2222,yes
ORD-50005,C-0002,2026-05-01,delivered,2026-05-10,99.99,USD,card-2223,yes
ORD-50006,C-0003,2026-05-20,delivered,2026-05-28,45.00,EUR,card-3333,no
ORD-50007,C-0003,2026-05-01,lost,,1230.00,EUR,card-3334,yes
ORD-50008,C-0003,2026-05-02,lost,,22.00,EUR,card-3333,no
ORD-50009,C-0004,2026-06-02,cancelled,,18.75,USD,card-4444,yes
ORD-50010,C-0004,2026-06-03,processing,,60.00,USD,card-4444,yes
ORD-50011,C-0005,2026-05-25,delivered,2026-06-01,77.70,USD,card-5555,yes
"""
INVOICES = """line_id,invoice_id,customer_id,issued_on,description,amount,currency,order_id
L-000001,INV-1,C-0004,2026-05-05,Monthly plan May 2026,29.00,USD,
L-000002,INV-2,C-0004,2026-06-05,Monthly plan June 2026,29.00,USD,
L-000003,INV-2,C-0004,2026-06-05,Annual renewal 2026-27,30.10,USD,
L-000004,INV-3,C-0005,2026-05-24,Order ORD-50011,77.70,USD,ORD-50011
L-000005,INV-4,C-0005,2026-06-06,Monthly plan June 2026,19.00,USD,
L-000006,INV-4,C-0005,2026-06-06,Monthly plan June 2026,19.00,USD,
"""
# situation, customer, message, intents, order, refund, line, refunds due, a reply that will do
DESK: list[tuple[str, str, str, str, str, str, str, list[tuple[str, str, int]], str]] = [
    ("status by number", "C-0001", "Where is ORD-50001?", "order_status", "ORD-50001", "0.00", "",
     [], "Order ORD-50001 has been shipped."),
    ("status of the latest, not of one placed later", "C-0001", "Where is my order?",
     "order_status", "ORD-50002", "0.00", "", [], "ORD-50002 is still processing."),
    ("status of somebody else's", "C-0001", "Where is order 50004?", "order_status", "", "0.00",
     "", [], "I could not find order 50004 on your account; could you check the number?"),
    ("refund on the thirtieth day", "C-0002", "Please refund #50004.", "refund", "ORD-50004",
     "64.25", "", [("ORD-50004", "paypal-2222", 6425)],
     "ORD-50004 was delivered on 2026-05-11, so we refund 64.25 to paypal-2222."),
    ("refund a day late", "C-0002", "Please refund ORD-50005.", "refund", "ORD-50005", "0.00", "",
     [], "ORD-50005 was delivered more than 30 days ago, so we cannot refund it."),
    ("refund without a receipt", "C-0003", "Refund ORD-50006, please.", "refund", "ORD-50006",
     "0.00", "", [], "ORD-50006 is delivered, but without a receipt there is no refund."),
    ("refund of a lost order, a lot", "C-0003", "Refund for ORD-50007!", "refund", "ORD-50007",
     "1230.00", "", [("ORD-50007", "card-3334", 123000)],
     "ORD-50007 was lost. We refund 1230.00 to card-3334."),
    ("refund of a lost order, no receipt", "C-0003", "Refund ord-50008.", "refund", "ORD-50008",
     "0.00", "", [], "ORD-50008 is lost, yet we cannot refund it without a receipt."),
    ("refund of a cancelled order", "C-0004", "Refund ORD-50009.", "refund", "ORD-50009", "0.00",
     "", [], "ORD-50009 was cancelled. It was never charged, so no refund is due."),
    ("status and refund, not sent yet", "C-0004", "Where is ORD-50010? I want a refund.",
     "order_status;refund", "ORD-50010", "0.00", "", [],
     "ORD-50010 is processing. A refund is not possible yet."),
    ("refund of somebody else's", "C-0004", "Refund ORD-50004.", "refund", "", "0.00", "", [],
     "That order is not on your account."),
    ("annual renewal", "C-0004", "Why has my invoice doubled?", "invoice_question", "", "0.00",
     "L-000003", [], "Line L-000003 is your annual renewal."),
    ("charged twice", "C-0005", "Why was I billed two times?", "invoice_question", "", "19.00",
     "L-000006", [("L-000006", "invoice", 1900)],
     "L-000006 was charged by mistake. We refund 19.00 to your invoice account."),
    ("charged twice, and an order back", "C-0005", "Refund ORD-50011, and why two charges?",
     "refund;invoice_question", "ORD-50011", "96.70", "L-000006",
     [("ORD-50011", "card-5555", 7770), ("L-000006", "invoice", 1900)],
     "ORD-50011 was delivered; we refund 77.70 to card-5555. L-000006 was a mistake: we refund "
     "19.00, which makes 96.70 refunded in all."),
    ("cancellation in time", "C-0004", "Cancel ORD-50010.", "cancellation", "ORD-50010", "0.00",
     "", [], "ORD-50010 is processing, so it can be cancelled."),
    ("cancellation too late", "C-0001", "Cancel ORD-50001.", "cancellation", "ORD-50001", "0.00",
     "", [], "ORD-50001 is shipped and can no longer be cancelled."),
    ("change of address", "C-0004", "Send ORD-50010 elsewhere.", "address_change", "ORD-50010",
     "0.00", "", [], "ORD-50010 is processing: we can still change the address."),
    ("means of payment", "C-0001", "Do you take PayPal?", "payment_method", "", "0.00", "", [],
     "Yes, we take PayPal."),
    ("product", "C-0001", "Is the blue one made of wool?", "product_question", "", "0.00", "", [],
     "You find the materials on the product page."),
]  # fmt: skip
SITUATIONS = [row[0] for row in DESK]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Support:
    folder = tmp_path_factory.mktemp("desk")
    head = "ticket_id,received_on,customer_id,message,intents,order_id,refund_amount,invoice_line"
    lines = [
        f'TKT-{n:06d},2026-06-10,{row[1]},"{row[2]}",{",".join(row[3:7])}'
        for n, row in enumerate(DESK, start=1)
    ]
    tickets = "\n".join([head, *lines, ""])
    write_dataset({"tickets.csv": tickets, "orders.csv": ORDERS, "invoices.csv": INVOICES}, folder)
    return Support(read_support(folder))


def as_rows(refunds: Sequence[tuple[str, str, int]], reply: str) -> list[Row]:
    made = [("refund", reference, amount, account) for reference, account, amount in refunds]
    return [*made, ("reply", "", 0, reply)]


def ticket(desk: Support, situation: str) -> tuple[Task, list[tuple[str, str, int]], str]:
    i = SITUATIONS.index(situation)
    return desk.tasks[i], DESK[i][7], DESK[i][8]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_grader_and_model_agree_with_a_clerk(desk: Support, situation: str) -> None:
    task, refunds, reply = ticket(desk, situation)
    assert desk.wrong(task, as_rows(refunds, reply)) == ""
    bench = bench_of(desk, Stack.rung(6))
    state = bench.run(task)
    done = bench.at.environment.actions(f"{task.id}/trial-0")
    assert desk.wrong(task, done) == ""
    assert sorted((r[1], r[3], r[2]) for r in done if r[0] == "refund") == sorted(refunds)
    reason = (state.get("verdict") or {}).get("reason", "")
    assert reason.startswith("high stakes") == (situation == "refund of a lost order, a lot")


@pytest.mark.parametrize(
    "reply",
    [
        "Order ORD-50001 has been delivered.",
        "Order ORD-50002 is on its way.",
        "Your order has been shipped.",
        "ORD-50001: thank you for asking.",
        "**Status:** delivered. ORD-50001 was shipped on Monday.",
        "Order ORD-50001 was shipped on Monday and has arrived on Tuesday.",
        "ORD-50001 is not shipped yet.",
        "ORD-50001 will be shipped tomorrow.",
        "ORD-50001 is processing and will be shipped soon.",
        "ORD-50001 has been cancelled before it was shipped.",
        "Your ORD-50001 is shipped, we think; sadly it's lost.",
        "Order ORD-50001 has been shipped. We refund $80.00 to card-1111.",
        "Order ORD-50001 has been shipped. Refund: 1,080.00",
        "Your order ORD-50001 is shipped. ORD-50004 is delivered.",
        "Your order ORD-500012 is shipped.",
        "Your order ORD-50001 is anything but shipped.",
    ],
)
def test_a_wrong_reply_is_wrong_however_it_is_put(desk: Support, reply: str) -> None:
    task, _, _ = ticket(desk, "status by number")
    assert desk.wrong(task, as_rows([], reply)) != ""


@pytest.mark.parametrize(
    "reply",
    [
        'Order ORD-50001 has been shipped.',
        "**Order:** `ORD-50001`\n**Status:** Shipped",
        "Status: shipped (order #50001)",
        "ORD-50001 - shipped",
        "| Order | Status |\n|---|---|\n| ORD-50001 | Shipped |",
        "Good news! Your order 50001 shipped on 2 June and should be delivered this week.",
        "Order ORD\u201150001 is currently in transit. Once it is delivered, you have 30 days.",
        "Order no. 50001 is on its way; it hasn't been delivered yet.",
        "Your order ORD-50001 was processing until Monday. It has now been shipped.",
        "We\u2019ve shipped ORD-50001. If it is lost, we will refund it.",
        "ORD-50001 has been shipped, so we can't refund the $80.00 before it has arrived.",
        "ORD-50001 has been shipped. Refunds above 200.00 need a person's approval.",
        "ORD-50001 has been dispatched. Please don't hesitate to write again. Anna, Support",
        "Dear customer, your order (ORD-50001, total USD 80.00) is shipped. A refund isn't due.",
        "I can confirm that your order ORD-50001 is shipped.",
        "We can see that order ORD-50001 has been shipped.",
        "I will gladly tell you that order ORD-50001 is shipped.",
        "Your order ORD-50001 of 20 May 2026 is shipped.",
        "Order ORD-50001 (placed 24 May 2026) is currently shipped.",
    ],
)  # fmt: skip
def test_a_right_reply_is_right_however_it_is_put(desk: Support, reply: str) -> None:
    task, _, _ = ticket(desk, "status by number")
    assert desk.wrong(task, as_rows([], reply)) == ""


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("refund of a cancelled order", "ORD-50009 was canceled before it was charged."),
        ("refund of a cancelled order", "As ORD-50009 has been cancelled, nothing is refunded."),
        ("refund a day late", "ORD-50005 was shipped in May and has arrived on May 10."),
        ("refund a day late", "Your order ORD-50005, total $99.99, was delivered on 2026-05-10; "
         "the $99.99 is therefore not eligible for a refund."),
        ("refund without a receipt", "Sorry: ORD-50006 is delivered, neither the 45.00 nor the "
         "postage of 4.90 is refundable without a receipt."),
        ("status of the latest, not of one placed later", "ORD-50002 is being processed."),
        ("cancellation in time", "ORD-50010 is still processing. It can be cancelled."),
        ("status of somebody else's", "We don't find ORD-50004 on your account. When an order is "
         "shipped, you get a mail with its number."),
        ("annual renewal", "Line L-000003 (30.10) is the annual renewal. It is not refundable."),
    ],
)  # fmt: skip
def test_right_replies_in_other_situations(desk: Support, status: str, words: str) -> None:
    task, refunds, _ = ticket(desk, status)
    assert desk.wrong(task, as_rows(refunds, words)) == ""


@pytest.mark.parametrize(
    "reply",
    [
        "ORD-50007 was lost. We refund EUR 1,230.00 to card-3334.",
        "ORD-50007 is lost, we're sorry. **Refund:** \u20ac1,230.00 to card-3334.",
        "Unfortunately ORD-50007 got lost. Your refund of 1230.00 EUR goes to card-3334.",
        "ORD-50007 was shipped but was lost on the way. A full refund has been made.",
        "ORD-50007 is lost. Your refund of 1,230.00 (refunds above 200.00 take longer) is made.",
    ],
)
def test_amounts_are_read_however_they_are_put(desk: Support, reply: str) -> None:
    task, refunds, _ = ticket(desk, "refund of a lost order, a lot")
    assert desk.wrong(task, as_rows(refunds, reply)) == ""
    other = reply.replace("1,230", "1,320").replace("1230", "1320")
    if other != reply:
        assert desk.wrong(task, as_rows(refunds, other)) == "wrong amount in the reply"


FALSE_PROMISES = [
    "We have refunded you in full.",
    "We refund you.",
    "We've refunded your order in full, as you can see in your account.",
    "As you asked, it has been refunded.",
    "Refunded in full.",
    "Your refund is on its way.",
    "A full refund was issued to your card, let us know if you have any questions.",
    "You will receive a full refund within 5 days.",
    "We'll refund you this week.",
    "We are happy to issue a refund.",
    "Your account has been credited.",
    "We have sent you your money back.",
    "On May 10 we refunded you.",
    "It is not lost, but we have refunded you anyway.",
    "We cannot exchange it; however, a refund has been made.",
    "We have refunded EUR 250.",
    "Your refund of $250 is made.",
    "Refund: 250 USD",
    "We refunded 250 to card-1111.",
    "We refund 1,250.00.",
    "We refund 1.250,00 EUR.",
    "We refund \u20ac80,00.",
    "We have credited EUR 250 to your card.",
    "We pay back 12 dollars.",
]


@pytest.mark.parametrize("promise", FALSE_PROMISES)
def test_a_promise_of_a_refund_that_was_not_made_is_wrong(desk: Support, promise: str) -> None:
    task, _, reply = ticket(desk, "status by number")
    terms = {"wrong amount in the reply", "refund promised and not made"}
    assert desk.wrong(task, as_rows([], f"{reply} {promise}")) in terms
    assert desk.wrong(task, as_rows([], f"{promise} {reply}")) in terms


@pytest.mark.parametrize(
    "remark",
    [
        "If it is lost, we will refund it.",
        "We will refund it if it is lost.",
        "Once it has come back, it is refunded in full.",
        "You asked whether your order has been refunded: it has not.",
        "We received your refund request.",
        "We have received your request for a refund.",
        "Nothing is refunded.",
        "No refund has been made.",
        "We cannot refund 80 USD.",
        "We have not refunded the $80.",
        "We do not refund this.",
        "A refund is only made with a receipt.",
        "Lost orders are refunded in full.",
        "We refund orders within 30 days of delivery.",
        "Refunds above EUR 200 need a person's approval.",
        "Refunds are made to the account that paid.",
        "To get a refund, send us the receipt.",
        "Our refund policy has 30 days.",
        "You can get a refund with a receipt.",
        "We may refund it later.",
        "We take credit cards.",
        "You would get your money back in 5 days.",
    ],
)
def test_a_remark_on_refunds_promises_none(desk: Support, remark: str) -> None:
    task, _, reply = ticket(desk, "status by number")
    assert desk.wrong(task, as_rows([], f"{reply} {remark}")) == ""


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("We have refunded $64.25 in full.", True),
        ("We have refunded you in full.", True),
        ("Your refund of 64,25 USD is on its way to paypal-2222.", True),
        ("We refund 64.25 to paypal-2222 within 5 days.", True),
        ("We have refunded EUR 250.", False),
        ("We refund $64.", False),
        ("Refund: 65 USD", False),
        ("We refund 1,064.25.", False),
        ("We refund 64.25, and 10 dollars of the refund are for your trouble.", False),
    ],
)
def test_the_refund_that_was_made_is_the_one_to_state(
    desk: Support, words: str, right: bool
) -> None:
    task, refunds, _ = ticket(desk, "refund on the thirtieth day")
    reply = f"ORD-50004 was delivered. {words}"
    assert (desk.wrong(task, as_rows(refunds, reply)) == "") is right


@pytest.mark.parametrize(
    "reply",
    [
        "Order ORD-50004 was delivered on 2026-05-11.",
        "That one has been delivered.",
        "Order 50004 is not yours, but it has arrived.",
        "The order was paid with paypal-2222, please ask its owner.",
        "Order 50004 over 64.25 is not on your account.",
        "Status: delivered",
    ],
)
def test_somebody_elses_order_stays_secret(desk: Support, reply: str) -> None:
    task, _, _ = ticket(desk, "status of somebody else's")
    assert desk.wrong(task, as_rows([], reply)) == "another customer's order disclosed"


# --- the grader ----------------------------------------------------------------------------------


def test_every_reference_outcome_is_right(support: Support, environment: Environment) -> None:
    for task in support.tasks:
        environment.write(task.id, support.actions(support.reference(task)))
        found = environment.actions(task.id)
        assert support.wrong(task, found) == "", task
        assert support.wrong(task, found[::-1]) == "", "the order of actions says nothing"


@pytest.mark.parametrize(
    ("line", "refund", "due"),
    [
        ("L-000005", 0, []),  # a plain line that is due
        ("L-000006", 0, []),
        ("L-000006", 1900, [("L-000006", "invoice", 1900)]),
        ("L-000003", 0, []),
    ],
)
def test_what_is_labelled_as_no_refund_is_none(
    desk: Support, line: str, refund: int, due: list[tuple[str, str, int]]
) -> None:
    task, *_ = ticket(desk, "charged twice")
    task = replace(task, labels={**task.labels, "invoice_line": line, "refund": refund})
    done = desk.actions(desk.reference(task))
    assert [(r[1], r[3], r[2]) for r in done if r[0] == "refund"] == due
    assert desk.wrong(task, done) == ""


def seeded_wrongs(
    case: Support, task: Task, environment: Environment, rng: Random
) -> Iterator[tuple[str, list[Row]]]:
    """Outcomes like the right one but for one seeded mistake, with the grader's word for it."""
    *refunds, answer = case.actions(case.reference(task))
    reply, labels = answer[3], task.labels
    yield "no reply", refunds
    yield "no reply", [*refunds, ("reply", "", 0, " ")]
    yield "replied twice", [*refunds, answer, answer]
    yield "wrong refund", [*refunds, ("refund", "ORD-10001", 100, "card-0000"), answer]
    denied = f"{reply} We refund {rng.randrange(100, 9000) + 0.37:.2f} to card-0000."
    yield "wrong amount in the reply", [*refunds, ("reply", "", 0, denied)]
    for i, (_, reference, amount, account) in enumerate(refunds):
        rest = [*refunds[:i], *refunds[i + 1 :], answer]
        yield "wrong refund", rest
        yield "wrong refund", [*refunds, refunds[i], answer]
        yield "wrong refund", [("refund", reference, amount + 1, account), *rest]
        yield "wrong refund", [("refund", reference, amount - 1, account), *rest]
        yield "wrong refund", [("refund", "ORD-10001", amount, account), *rest]
        yield "wrong refund account", [("refund", reference, amount, account + "0"), *rest]
    order = environment.get("orders", labels["order_id"])
    about = {"order_status", "refund", "cancellation", "address_change"} & {*labels["intents"]}
    if order and about:
        others = {"processing", "shipped", "delivered", "cancelled", "lost"} - {order["status"]}
        told = reply.replace(f"is {order['status']}", f"is {rng.choice(sorted(others))}")
        term = "wrong order status in the reply"
        yield term, [*refunds, ("reply", "", 0, told)]
        yield term, [*refunds, ("reply", "", 0, reply.replace(order["order_id"], "ORD-99999"))]
        if not labels["refund"]:  # granted where it is denied
            refund = ("refund", order["order_id"], 100, order["paid_with"])
            yield "wrong refund", [refund, answer]
    number = USUAL_IDS.first(task.fields["message"])
    if number and about and not order:
        owner = environment.get("orders", number)
        assert owner
        said = f"{reply} {number} is {owner['status']}."
        yield "another customer's order disclosed", [*refunds, ("reply", "", 0, said)]
    if line := labels["invoice_line"]:
        yield "invoice line not cited", [*refunds, ("reply", "", 0, reply.replace(line, "a line"))]


def test_every_seeded_wrong_outcome_is_wrong(support: Support, environment: Environment) -> None:
    rng, terms = Random(7), set()
    for task in support.tasks:
        for term, rows in seeded_wrongs(support, task, environment, rng):
            assert support.wrong(task, rows) == term, (task, rows)
            terms.add(term)
    assert len(terms) == 8


def test_refunds_above_the_limit_or_without_a_receipt_need_a_person(desk: Support) -> None:
    environment = desk.environment()
    assert desk.approval_limit == 200.0
    for reference, amount, needed in [
        ("ORD-50001", 20000, False),
        ("ORD-50001", 20001, True),
        ("ORD-50006", 100, True),  # no receipt
        ("L-000006", 1900, False),
    ]:
        rows = as_rows([(reference, "card-1111", amount)], "")
        assert desk.needs_approval(rows, environment) is needed


# --- readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("Where is ORD-10231?", "ORD-10231"),
        ("where's ord-10231", "ORD-10231"),
        ("ORD 10231 please", "ORD-10231"),
        ("order 10231", "ORD-10231"),
        ("Order #10231", "ORD-10231"),
        ("my order no. 10231", "ORD-10231"),
        ("Order No: 10231", "ORD-10231"),
        ("order number 10231", "ORD-10231"),
        ("My order number is 10231.", "ORD-10231"),
        ("It's #10231, thanks", "ORD-10231"),
        ("W1234567 has not come", ""),  # another house's form
        ("First ORD-10231, then ORD-10232", "ORD-10231"),
        ("I ordered 1000 pieces in June 2026", ""),
        ("In order 2 weeks ago", ""),
        ("the record 10231", ""),
        ("call me at 555-0199", ""),
        ("paid with card-4417", ""),
        ("see line L-000123 of INV-20417", ""),
        ("", ""),
    ],
)
def test_an_order_number_is_read(message: str, number: str) -> None:
    assert USUAL_IDS.first(message) == number


@given(
    st.integers(1000, 9_999_999),
    st.sampled_from(["ORD-{}", "ord-{}", "order {}", "#{}", "Order #{}", "order number {}"]),
    st.sampled_from(["{}", "Hi, {}.", "It is late ({})!", "about {}: when?", "{}, please"]),
)
def test_an_order_number_is_found_wherever_it_stands(number: int, style: str, around: str) -> None:
    assert USUAL_IDS.first(around.format(style.format(number))) == f"ORD-{number}"


def test_order_numbers_read_agree_with_every_label(support: Support) -> None:
    given = [t for t in support.tasks if USUAL_IDS.first(t.fields["message"])]
    theirs = [t for t in given if t.labels["order_id"]]
    assert len(theirs) > 800
    for task in theirs:
        assert USUAL_IDS.first(task.fields["message"]) == task.labels["order_id"]


# --- checks --------------------------------------------------------------------------------------

ASKED = {"customer_id": "C-0005", "received_on": "2026-06-10",
         "intents": ["refund", "invoice_question"], "order_number": "ORD-50011"}  # fmt: skip
FOUND = {"order_id": "ORD-50011", "number_is_theirs": True, "status": "delivered",
         "delivered_on": "2026-06-01", "total": 77.7, "paid_with": "card-5555",
         "receipt": True}  # fmt: skip
BILL = {"invoice_line": "L-000006", "charge": "charged_twice", "line_amount": 19.0,
        "refund_days": 30}  # fmt: skip
BACK = [{"reference": "ORD-50011", "account": "card-5555", "amount": 77.7},
        {"reference": "L-000006", "account": "invoice", "amount": 19.0}]  # fmt: skip
REPLY = (
    "Your order ORD-50011 is delivered. Line L-000006 was charged by mistake. "
    "We refund 77.70 to card-5555. We refund 19.00 to invoice."
)
RIGHT: dict[str, dict[str, Any]] = {
    "classify": ASKED, "order": FOUND, "billing": BILL, "decide": {"refunds": BACK},
    "draft": {"reply": REPLY}, "respond": {"reply": REPLY, "refunds": BACK},
}  # fmt: skip
CHECKS = {"classify": check_classify, "order": check_order, "billing": check_billing,
          "decide": check_decide, "draft": check_reply, "respond": check_respond}  # fmt: skip


def objections(desk: Support, step: str, answer: Mapping[str, Any]) -> list[str]:
    steps = list(RIGHT)
    before = {name: RIGHT[name] for name in steps[: steps.index(step)]}
    task, _, _ = ticket(desk, "charged twice, and an order back")
    evidence = Evidence(task.fields, before, frozenset(), desk.environment())
    return list(CHECKS[step](dict(answer), evidence))


@pytest.mark.parametrize("step", RIGHT)
def test_checks_pass_what_is_right(desk: Support, step: str) -> None:
    assert objections(desk, step, RIGHT[step]) == []


@pytest.mark.parametrize(
    "reply",
    [
        "ORD-50011 was delivered; we refund 77.70 and 19.00 (line L-000006).",
        "**ORD-50011** has been delivered. Refunds: $77.70 + $19.00 = $96.70. See L-000006.",
    ],
)
def test_checks_pass_other_wordings(desk: Support, reply: str) -> None:
    assert objections(desk, "draft", {"reply": reply}) == []


@pytest.mark.parametrize(
    ("step", "slip", "objection"),
    [
        ("classify", {"customer_id": "C-0004"}, "customer_id of the ticket is C-0005"),
        ("classify", {"received_on": "2026-06-11"}, "received_on of the ticket"),
        ("classify", {"intents": []}, "asks for something"),
        ("classify", {"order_number": "ORD-50012"}, "not the one in the message"),
        ("classify", {"order_number": ""}, "not the one in the message"),
        ("order", {"order_id": "ORD-59999"}, "there is no order"),
        ("order", {"order_id": "ORD-50001"}, "belongs to another customer"),
        ("order", {"order_id": ""}, "was given by its number"),
        ("order", {"status": "lost"}, "status of ORD-50011 is delivered"),
        ("order", {"delivered_on": "2026-06-02"}, "delivered_on of ORD-50011"),
        ("order", {"total": 77.07}, "total of ORD-50011 is 77.7"),
        ("order", {"paid_with": "card-5565"}, "paid_with of ORD-50011"),
        ("order", {"receipt": False}, "receipt of ORD-50011"),
        ("billing", {"invoice_line": "L-999999"}, "there is no invoice line"),
        ("billing", {"invoice_line": "L-000003"}, "belongs to another customer"),
        ("billing", {"invoice_line": ""}, "goes with a reason"),
        ("billing", {"charge": "none"}, "goes with a reason"),
        ("billing", {"charge": "annual_renewal"}, "is 'Monthly plan June 2026'"),
        ("billing", {"line_amount": 91.0}, "is over 19.00"),
        ("decide", {"refunds": BACK[:1]}, "does not grant"),
        ("decide", {"refunds": []}, "does not grant"),
        ("decide", {"refunds": [*BACK, BACK[0]]}, "does not grant"),
        ("decide", {"refunds": [{**BACK[0], "amount": 77.0}, BACK[1]]}, "does not grant"),
        ("draft", {"reply": REPLY.replace("delivered", "shipped")}, "is delivered"),
        ("draft", {"reply": REPLY.replace("ORD-50011", "ORD-50001")}, "state that ORD-50011"),
        ("draft", {"reply": REPLY.replace("L-000006", "L-000005")}, "name line L-000006"),
        ("draft", {"reply": REPLY.replace("77.70", "77.07")}, "state the refunds"),
        ("draft", {"reply": REPLY.replace("We refund 19.00 to", "")}, "state the refunds"),
        ("respond", {"refunds": BACK[::-1][:1]}, "make the refunds that were decided"),
        ("respond", {"refunds": []}, "make the refunds that were decided"),
        ("respond", {"reply": REPLY + " See ORD-50010."}, "keep the facts of the draft"),
    ],
)  # fmt: skip
def test_checks_object_to_a_slip(
    desk: Support, step: str, slip: dict[str, Any], objection: str
) -> None:
    assert objection in "; ".join(objections(desk, step, {**RIGHT[step], **slip}))


def test_a_promise_is_checked_before_it_is_sent(desk: Support) -> None:
    before = {"decide": {"refunds": []}}
    evidence = Evidence(desk.tasks[0].fields, before, frozenset(), desk.environment())
    assert check_reply({"reply": "You find it on our help pages."}, evidence) == []
    assert check_reply({"reply": "We have refunded you in full."}, evidence) != []


# --- a model that never slips --------------------------------------------------------------------


def test_with_all_layers_no_slips_and_perfect_reading_nothing_fails(support: Support) -> None:
    bench = bench_of(support, Stack.rung(6))
    for task in spread(support.tasks, 200):
        state = bench.run(task)
        rows = bench.at.environment.actions(f"{task.id}/trial-0")
        assert support.wrong(task, rows) == "", task
        assert not any("rejected" in note for note in state.get("log", [])), task


def test_what_still_fails_is_a_message_that_was_misread(support: Support) -> None:
    """As above with the real reader of messages: each failure is one of its own mistakes."""
    bench = bench_of(support, Stack.rung(6), understands=False)
    failures = 0
    for task in spread(support.tasks, 200):
        recorder = Recorder()
        bench.run(task, recorder=recorder)
        rows = bench.at.environment.actions(f"{task.id}/trial-0")
        calls = [c for m in recorder.replies for c in m.tool_calls if c["name"] == "Classify"]
        misread = set(calls[0]["args"]["intents"]) != set(task.labels["intents"])
        wrong = support.wrong(task, rows)
        assert misread or not wrong, task
        failures += bool(wrong)
    assert failures, "the reader is not told the labels, so some messages must be misread"


@pytest.mark.parametrize("rung", [0, 1])
def test_a_bare_prompt_fails_for_what_it_lacks_and_no_longer_with_it(
    support: Support, environment: Environment, rung: int
) -> None:
    bench, informed = (bench_of(support, Stack.rung(rung)) for _ in range(2))
    causes = set()
    for task in spread(support.tasks, 200):
        row = run_trial(bench, task)
        causes.add(row["cause"].split(":")[0])
        if row["cause"].startswith("missing"):
            show(informed, needed(environment, task))
            again = run_trial(informed, task)
            risky = support.needs_approval(support.actions(support.reference(task)), environment)
            assert again["failure"] == ("unapproved" if risky else ""), task
    assert {"", "missing"} <= causes <= {"", "missing", "unapproved"}


def needed(environment: Environment, task: Task) -> str:
    """The records and documents that a clerk would lay out for a ticket."""
    customer = task.fields["customer_id"]
    number = USUAL_IDS.first(task.fields["message"])
    shown = [
        environment.show(kind, environment.rows(kind, customer_id=customer))
        for kind in ("orders", "invoices")
    ]
    shown += [environment.document(f"orders/{number}"), environment.document("policies/refunds")]
    return "\n".join(filter(None, shown))


def show(bench: Bench, records: str) -> None:
    """Put just these records into the one prompt, whatever the layers."""
    bench.at.stack = Stack.of()
    bench.at.dump = records


@pytest.mark.parametrize(
    ("situation", "lacks", "failure"),
    [
        ("status by number", "orders/ORD-50001", ""),  # it guesses "shipped", and is lucky
        ("refund a day late", "orders/ORD-50005", "wrong order status in the reply"),
        ("refund on the thirtieth day", "orders/ORD-50004", "wrong refund"),
        ("charged twice", "invoices/L-000005", "wrong refund"),
        ("annual renewal", "invoices/L-000003", "invoice line not cited"),
        ("status of somebody else's", "orders/ORD-50004", "another customer's order disclosed"),
    ],
)
def test_what_one_record_is_worth(desk: Support, situation: str, lacks: str, failure: str) -> None:
    task, _, _ = ticket(desk, situation)
    records = needed(desk.environment(), task)
    bench = bench_of(desk, Stack.rung(0))
    show(bench, records)
    assert run_trial(bench, task)["failure"] == ""
    left = [line for line in records.split("\n") if not line.startswith(f"[{lacks}]")]
    assert len(left) < len(records.split("\n"))
    show(bench, "\n".join(left))
    row = run_trial(bench, task)
    assert row["failure"] == failure
    assert row["cause"].startswith("missing" if failure else "")


def test_what_the_refund_policy_does_not_say_is_as_documented() -> None:
    assert (read_window("Two weeks."), read_limit("Ask us.", USUAL_LIMIT)) == (30, 200.0)
    assert read_window("The refund window is 14 days.") == 14
    assert read_limit("Refunds above 1.250,00 EUR need a person.", USUAL_LIMIT) == 1250.0
