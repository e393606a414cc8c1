"""The labels of generated payments follow the rules, checked from the tables alone."""

import csv
import io
import re
import time
from collections import Counter, defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordkit.data import generate_billing
from coordkit.data.generate_billing import HOUSE

SAMPLE = Path(__file__).parents[2] / "data" / "billing"
LEGAL_FORMS = set(
    "inc incorporated llc l.l.c. corp corporation gmbh g.m.b.h. b.v. bv sarl s.a.r.l. "
    "ltd limited plc p.l.c.".split()
)


def rows(files, name):
    return list(csv.DictReader(io.StringIO(files[name])))


def cents(value):
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def firm(name):
    """A name without legal form, case and order of words."""
    return frozenset(name.lower().split()) - LEGAL_FORMS


class Clerk:
    """Decides payments by the rules, from the tables and the terms in words."""

    def __init__(self, files):
        self.files = files
        self.invoices = {row["invoice_id"]: row for row in rows(files, "invoices.csv")}
        self.of_customer = defaultdict(list)
        for row in self.invoices.values():
            self.of_customer[row["customer_id"]].append(row)
        self.customers = {}
        for row in rows(files, "customers.csv"):
            for name in [row["customer_name"], *filter(None, row["also_known_as"].split(";"))]:
                assert firm(name) not in self.customers, "two customers could be meant"
                self.customers[firm(name)] = row["customer_id"]
        self.seen = set()

    def term(self, customer, pattern):
        own = re.search(pattern, self.files.get(f"terms/{customer}.md", ""))
        return own.groups() if own else None

    def explain(self, payment, invoice):
        """The kind of payment that this is for one open invoice."""
        paid, due = Decimal(payment["amount"]), Decimal(invoice["amount"])
        customer = invoice["customer_id"]
        if payment["currency"] != invoice["currency"]:
            theirs, ours = payment["currency"], invoice["currency"]
            (rate,) = self.term(
                customer,
                rf"Foreign currency: invoices in {ours} may be paid in {theirs} "
                rf"at (\d\.\d{{4}}) {theirs} per {ours}\.",
            )
            assert paid == cents(due * Decimal(rate))
            return "fx"
        if paid >= due:
            return "exact" if paid == due else "over_payment"
        claimed = re.search(r"LESS ([\d.]+)% DISC", payment["remittance_text"])
        agreed = self.term(
            customer,
            r"Early-payment discount: ([\d.]+)% if paid within (\d+) days of the invoice date\.",
        )
        if claimed and agreed and claimed[1] == agreed[0]:
            waited = date.fromisoformat(payment["received_on"]) - date.fromisoformat(
                invoice["issued_on"]
            )
            net = cents(due * (100 - Decimal(agreed[0])) / 100)
            if waited.days <= int(agreed[1]) and paid == net:
                return "early_discount"
        charge = self.term(
            customer, r"Bank charges: shared; up to ([\d.]+) per transfer is accepted\."
        )
        if "SHA" in payment["remittance_text"] and charge and due - paid <= Decimal(charge[0]):
            return "bank_fee"
        return "short_payment"

    def decide(self, payment):
        """The invoices that a payment settles, and its kind."""
        if payment["payment_id"] in self.seen:
            return None, "redelivered"
        self.seen.add(payment["payment_id"])
        customer = self.customers.get(firm(payment["payer_name"]))
        if customer is None:
            return set(), "unmatched"
        numbers = re.findall(r"(?<!\d)\d{5}(?!\d)", payment["remittance_text"])
        named = [self.invoices.get(f"INV-{number}") for number in numbers]
        named = [row for row in named if row and row["customer_id"] == customer]
        if len(named) > 1:
            assert Decimal(payment["amount"]) == sum(Decimal(row["amount"]) for row in named)
            return {row["invoice_id"] for row in named}, "batch"
        if not named:  # by amount among the open ones: exactly one fits
            fits = ("exact", "early_discount", "bank_fee")
            named = [
                row
                for row in self.of_customer[customer]
                if not row["paid_on"]
                and row["currency"] == payment["currency"]
                and self.explain(payment, row) in fits
            ]
            assert len(named) == 1, payment
        (invoice,) = named
        kind = "duplicate" if invoice["paid_on"] else self.explain(payment, invoice)
        return {invoice["invoice_id"]}, kind


def check_labels(files):
    clerk = Clerk(files)
    for payment in rows(files, "payments.csv"):
        settles, kind = clerk.decide(payment)
        assert kind == payment["kind"], payment
        if settles is not None:
            assert settles == set(filter(None, payment["settles_invoice"].split(";"))), payment


@settings(max_examples=20, deadline=None)
@given(tasks=st.integers(1, 400), seed=st.integers(0, 2**32))
def test_a_clerk_who_only_reads_reaches_every_label(tasks, seed):
    files = generate_billing(tasks, seed)
    check_labels(files)
    assert len(rows(files, "payments.csv")) == tasks


def test_the_clerk_notices_a_wrong_label_and_a_missing_term():
    files = generate_billing(400, 0)
    wrong = files | {"payments.csv": files["payments.csv"].replace("early_discount", "exact")}
    with pytest.raises(AssertionError):
        check_labels(wrong)
    silent = {name: text for name, text in files.items() if not name.startswith("terms/C-")}
    with pytest.raises((AssertionError, TypeError)):
        check_labels(silent)


def test_redelivered_lines_repeat_an_earlier_one_and_the_feed_is_in_order():
    feed = rows(generate_billing(2_000, 3), "payments.csv")
    first = {}
    for line in feed:
        content = {key: line[key] for key in line if key not in ("received_on", "kind")}
        if line["kind"] == "redelivered":
            assert content == first[line["payment_id"]]
        else:
            assert first.setdefault(line["payment_id"], content) is content
    assert [line["received_on"] for line in feed] == sorted(line["received_on"] for line in feed)
    assert sum(line["kind"] == "redelivered" for line in feed) == 30  # 1.5 on 100 others


def test_forty_thousand_lines_are_quick_and_mixed_as_said():
    started = time.perf_counter()
    files = generate_billing(40_000, 1)
    assert time.perf_counter() - started < 20
    feed = [line for line in rows(files, "payments.csv") if line["kind"] != "redelivered"]
    kinds = Counter(line["kind"] for line in feed)
    said = {
        "exact": 70,
        "early_discount": 6,
        "bank_fee": 5,
        "short_payment": 5,
        "over_payment": 2.5,
    }
    said |= {"fx": 3, "batch": 4, "duplicate": 1.5, "unmatched": 1}
    total = sum(said.values())
    for kind, share in said.items():
        assert kinds[kind] / len(feed) == pytest.approx(share / total, abs=0.01), kind
    exact = [line for line in feed if line["kind"] == "exact"]
    clean = sum(line["settles_invoice"] in line["remittance_text"] for line in exact)
    assert clean / len(exact) == pytest.approx(0.78, abs=0.015)
    open_invoices = sum(not row["paid_on"] for row in rows(files, "invoices.csv"))
    assert 1.2 < open_invoices / len(feed) < 1.4


def test_some_mistyped_numbers_are_other_customers_invoices():
    files = generate_billing(2_000, 0)
    numbers = {row["invoice_id"] for row in rows(files, "invoices.csv")}
    misleading = [
        line
        for line in rows(files, "payments.csv")
        if (found := re.search(r"INV-\d{5}\b", line["remittance_text"]))
        and found[0] in numbers
        and found[0] not in line["settles_invoice"]
    ]
    assert len(misleading) > 20


def test_amounts_are_within_bounds_and_unique_per_customer():
    invoices = rows(generate_billing(2_000, 4), "invoices.csv")
    pairs = {(row["customer_id"], row["amount"]) for row in invoices}
    assert len(pairs) == len(invoices)
    assert all(20 <= Decimal(row["amount"]) <= 60_000 for row in invoices)


@pytest.mark.parametrize(
    "sentence",
    [
        "Early-payment discount: none.",
        "Bank charges: borne by the customer.",
        "Over-payments: kept on account.",
        "Refunds above 500.00 need a person's approval.",
    ],
)
def test_house_rules_have_the_sentence(sentence):
    assert sentence in HOUSE


def test_same_seed_same_bytes_and_another_seed_other_bytes():
    assert generate_billing(100, 5) == generate_billing(100, 5)
    assert generate_billing(100, 5)["payments.csv"] != generate_billing(100, 6)["payments.csv"]


def test_the_committed_sample_can_be_remade():
    made = generate_billing(2_000, 0)
    assert {path.relative_to(SAMPLE).as_posix() for path in SAMPLE.rglob("*.*")} == set(made)
    for name, text in made.items():
        assert (SAMPLE / name).read_bytes() == text.encode(), name


@pytest.mark.parametrize("tasks", [0, -1, 200_001])
def test_an_impossible_size_is_refused(tasks):
    with pytest.raises(ValueError, match="between 1 and 200,000"):
        generate_billing(tasks, 0)
