"""The labels of generated tickets follow the policies, checked from the tables alone."""

import csv
import io
import re
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from coordkit.data import generate_support
from coordkit.data.generate_support import EXAMPLES, INTENTS, POLICIES
from coordkit.language import mask, split_sentences

SAMPLE = Path(__file__).parents[2] / "data" / "support"
ABOUT_ORDERS = {"order_status", "refund", "cancellation", "address_change"}
NUMBER = r"(?:ORD-|ord-|#|order )(\d{5})\b"


def rows(files, name):
    return list(csv.DictReader(io.StringIO(files[name])))


def orders_by_customer(files):
    found = defaultdict(list)
    for order in rows(files, "orders.csv"):
        found[order["customer_id"]].append(order)
    return found


def order_meant(ticket, own):
    """Policy: the number given if it is theirs; without a number the most recent; else none."""
    numbers = set(re.findall(NUMBER, ticket["message"]))
    if numbers:
        (number,) = numbers
        return next((order for order in own if order["order_id"] == f"ORD-{number}"), None)
    earlier = [order for order in own if order["placed_on"] <= ticket["received_on"]]
    latest = max(order["placed_on"] for order in earlier)
    (order,) = [order for order in earlier if order["placed_on"] == latest]
    return order


def order_refund(order, received_on):
    if order["receipt"] == "no" or order["status"] not in ("delivered", "lost"):
        return Decimal(0)
    if order["status"] == "delivered":
        waited = date.fromisoformat(received_on) - date.fromisoformat(order["delivered_on"])
        assert waited.days >= 0
        if waited.days > 30:
            return Decimal(0)
    return Decimal(order["total"])


def irregular_line(ticket, lines):
    """The one line in the last 45 days that makes the invoice double, and the refund for it."""
    first = (date.fromisoformat(ticket["received_on"]) - timedelta(days=45)).isoformat()
    window = [line for line in lines if first <= line["issued_on"] <= ticket["received_on"]]
    renewals = [line for line in window if line["description"].startswith("Annual renewal")]
    charged = defaultdict(list)
    for line in window:
        if not line["order_id"]:
            charged[line["description"], line["amount"]].append(line)
    twice = [same for same in charged.values() if len(same) > 1]
    assert len(renewals) + len(twice) == 1, ticket
    if renewals:
        return renewals[0]["line_id"], Decimal(0)
    (same,) = twice
    assert len(same) == 2
    return max(line["line_id"] for line in same), Decimal(same[0]["amount"])


def check_labels(files):
    orders = orders_by_customer(files)
    lines = defaultdict(list)
    for line in rows(files, "invoices.csv"):
        lines[line["customer_id"]].append(line)
    for ticket in rows(files, "tickets.csv"):
        intents, customer = set(ticket["intents"].split(";")), ticket["customer_id"]
        order_id, line_id, refund = "", "", Decimal(0)
        if intents & ABOUT_ORDERS and (order := order_meant(ticket, orders[customer])):
            order_id = order["order_id"]
            if "refund" in intents:
                refund += order_refund(order, ticket["received_on"])
        if "invoice_question" in intents:
            line_id, back = irregular_line(ticket, lines[customer])
            refund += back
        label = (ticket["order_id"], ticket["invoice_line"], Decimal(ticket["refund_amount"]))
        assert label == (order_id, line_id, refund), ticket


@settings(max_examples=20, deadline=None)
@given(tasks=st.integers(1, 400), seed=st.integers(0, 2**32))
def test_a_clerk_who_only_reads_reaches_every_label(tasks, seed):
    files = generate_support(tasks, seed)
    check_labels(files)
    assert len(rows(files, "tickets.csv")) == tasks


def test_the_clerk_notices_wrong_labels():
    files = generate_support(200, 0)
    late = files | {"orders.csv": files["orders.csv"].replace("lost", "shipped")}
    with pytest.raises(AssertionError):
        check_labels(late)


def test_mix_is_as_said():
    tickets = rows(generate_support(20_000, 1), "tickets.csv")
    intents = Counter(ticket["intents"] for ticket in tickets)
    said = {"order_status": 27, "refund": 22, "invoice_question": 14, "cancellation": 9}
    said |= {"address_change": 7, "payment_method": 4, "product_question": 5}
    for intent, share in said.items():  # nine in a hundred of them got a second intent
        assert intents[intent] / 20_000 == pytest.approx(share * 0.0091, abs=0.012), intent
    assert intents["order_status;refund"] / 20_000 == pytest.approx(0.12, abs=0.012)
    two = sum(";" in ticket["intents"] for ticket in tickets)
    assert two / 20_000 == pytest.approx(0.20, abs=0.012)
    asked = [t for t in tickets if set(t["intents"].split(";")) & ABOUT_ORDERS]
    given_number = [t for t in asked if re.search(NUMBER, t["message"])]
    assert len(given_number) / len(asked) == pytest.approx(0.75, abs=0.01)
    foreign = sum(not ticket["order_id"] for ticket in given_number)
    assert foreign / len(given_number) == pytest.approx(0.04, abs=0.01)


def test_no_order_is_asked_back_twice_and_no_customer_asks_twice_about_an_invoice():
    tickets = rows(generate_support(3_000, 2), "tickets.csv")
    refunds = [t["order_id"] for t in tickets if "refund" in t["intents"] and t["order_id"]]
    assert len(refunds) == len(set(refunds))
    askers = [t["customer_id"] for t in tickets if "invoice_question" in t["intents"]]
    assert len(askers) == len(set(askers))


def test_every_message_contains_a_sentence_of_each_intent_it_is_labelled_with():
    files = generate_support(300, 0)
    patterns = defaultdict(list)
    for example in rows(files, "examples.csv"):
        parts = [re.escape(part) for part in example["text"].split("{order}")]
        patterns[example["intent"]].append(re.compile(NUMBER.join(parts)))
    for ticket in rows(files, "tickets.csv"):
        assert "{" not in ticket["message"]
        for intent in ticket["intents"].split(";"):
            assert any(p.search(ticket["message"]) for p in patterns[intent]), ticket


def test_wordings_are_used_about_equally_often():
    files = generate_support(20_000, 0)
    used = Counter(
        sentence
        for ticket in rows(files, "tickets.csv")
        for sentence in split_sentences(ticket["message"])
    )
    counts = [
        used[example["text"]]
        for example in rows(files, "examples.csv")
        if example["intent"] == "refund" and "{order}" not in example["text"]
    ]
    assert chisquare(counts).pvalue > 0.001


def test_a_message_splits_into_the_sentences_it_was_made_of():
    files = generate_support(2_000, 3)
    intent_of = {
        mask(example["text"]): example["intent"] for example in rows(files, "examples.csv")
    }
    for ticket in rows(files, "tickets.csv"):
        intents = [intent_of[mask(part)] for part in split_sentences(ticket["message"])]
        assert sorted(set(intents) - {"smalltalk"}) == sorted(ticket["intents"].split(";")), ticket


def test_example_sentences_are_many_and_different():
    examples = list(csv.DictReader(EXAMPLES.open(encoding="utf-8", newline="")))
    texts = [mask(example["text"]) for example in examples]
    assert len(set(texts)) == len(texts), "nor may two differ only in case or closing mark"
    wordings = defaultdict(set)
    for example in examples:
        wordings[example["intent"]].add(example["wording_id"])
        assert not re.search(r"[.?!] ", example["text"]), "one sentence each"
        assert example["text"][-1] in ".?!", example["text"]
    assert set(wordings) == {*INTENTS, "smalltalk"}
    assert all(len(wordings[intent]) >= 50 for intent in INTENTS)
    sentences = Counter(example["intent"] for example in examples)
    assert all(sentences[intent] >= 140 for intent in INTENTS)
    assert sentences["smalltalk"] >= 120


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("refunds", "Refund window: 30 days from delivery."),
        ("refunds", "A receipt is required."),
        ("refunds", "Refunds above 200.00 need a person's approval."),
    ],
)
def test_policies_have_the_sentence(policy, sentence):
    assert sentence in POLICIES[policy]


def test_same_seed_same_bytes_and_another_seed_other_bytes():
    assert generate_support(100, 5) == generate_support(100, 5)
    assert generate_support(100, 5)["tickets.csv"] != generate_support(100, 6)["tickets.csv"]


def test_the_committed_sample_can_be_remade():
    made = generate_support(2_000, 0)
    assert {path.relative_to(SAMPLE).as_posix() for path in SAMPLE.rglob("*.*")} == set(made)
    for name, text in made.items():
        assert (SAMPLE / name).read_bytes() == text.encode(), name


@pytest.mark.parametrize("tasks", [0, -1, 200_001])
def test_an_impossible_size_is_refused(tasks):
    with pytest.raises(ValueError, match="between 1 and 200,000"):
        generate_support(tasks, 0)
