"""Billing: its grader against outcomes typed by hand, its readers, and its model at its best."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from coordkit.cases import load_case
from coordkit.cases.base import Evidence, Row, Task, figure, read_limit
from coordkit.cases.billing import (
    USUAL_IDS,
    USUAL_LIMIT,
    Billing,
    after_discount,
    check_explain,
    check_extract,
    check_match,
    check_post,
    claims_in,
    name_likeness,
    read_terms,
)
from coordkit.data import read_billing, write_dataset
from coordkit.environment import Environment
from coordkit.experiment import Bench, run_trial, simulated_model
from coordkit.faults import Simulation
from coordkit.layers.human import SimulatedReviewer
from coordkit.stack import Stack, Workplace

ACCOUNTS = ("receivable", "discount", "bank_charges", "on_account", "refund", "suspense")
NO_SLIPS = Simulation(reliability=1)


@pytest.fixture(scope="module")
def billing() -> Billing:
    case = load_case("billing")
    assert isinstance(case, Billing) and len(case.tasks) == 2000
    return case


@pytest.fixture(scope="module")
def environment(billing: Billing) -> Environment:
    return billing.environment()


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    return [tasks[i * len(tasks) // count] for i in range(count)]


def bench_of(case: Billing, stack: Stack) -> Bench:
    """A bench whose model never slips and whose reviewer never errs."""
    model = simulated_model(case, NO_SLIPS)
    at = Workplace(case, model, stack, case.environment())
    return Bench(at, SimulatedReviewer(accuracy=1, fatigue=0))


# --- by hand: one small month, and the ledger that a clerk would write ---------------------------

CUSTOMERS = """customer_id,customer_name,also_known_as,currency
C-0001,Acme Tools Ltd,Northwind Traders,USD
C-0002,Bolt Bakery GmbH,,EUR
C-0003,Cedar Mills Inc,,USD
"""
INVOICES = """invoice_id,customer_id,customer_name,issued_on,due_on,amount,currency,paid_on
INV-30001,C-0001,Acme Tools Ltd,2026-06-01,2026-07-01,1000.00,USD,
INV-30002,C-0001,Acme Tools Ltd,2026-06-01,2026-07-01,250.50,USD,
INV-30003,C-0001,Acme Tools Ltd,2026-06-01,2026-07-01,333.25,USD,
INV-30004,C-0001,Acme Tools Ltd,2026-05-01,2026-05-31,800.00,USD,2026-05-20
INV-30005,C-0002,Bolt Bakery GmbH,2026-06-01,2026-07-01,640.00,EUR,
INV-30006,C-0002,Bolt Bakery GmbH,2026-06-01,2026-07-01,120.25,EUR,
INV-30007,C-0003,Cedar Mills Inc,2026-06-01,2026-07-01,99.99,USD,
INV-30008,C-0003,Cedar Mills Inc,2026-06-01,2026-07-01,450.00,USD,
INV-30009,C-0003,Cedar Mills Inc,2026-05-01,2026-05-31,75.00,USD,2026-05-28
"""
ACME = """# Payment terms: Acme Tools Ltd (C-0001)
Early-payment discount: 2% if paid within 10 days of the invoice date.
Bank charges: shared; up to 15.00 per transfer is accepted.
Foreign currency: invoices in USD may be paid in EUR at 0.9200 EUR per USD.
Over-payments: refunded.
"""
BOLT = """# Payment terms: Bolt Bakery GmbH (C-0002)
Early-payment discount: none. Bank charges: borne by the customer. Over-payments: kept on account.
"""
HOUSE = """# House rules
Early-payment discount: none. Bank charges: borne by the customer. Over-payments: kept on account.
Refunds above 500.00 need a person's approval.
"""
ACME_PAYS, BOLT_PAYS, CEDAR_PAYS = "Acme Tools Ltd", "Bolt Bakery GmbH", "Cedar Mills Inc"
# what, received in June on, payer, amount, currency, text, settles, kind, the ledger in cents
MONTH = [
    ("in full", 5, ACME_PAYS, "1000.00", "USD", "PAYMENT INV-30001 ACME", "INV-30001", "exact",
     [("receivable", "INV-30001", 100000)]),
    ("no reference", 5, ACME_PAYS, "250.50", "USD", "TRANSFER", "INV-30002", "exact",
     [("receivable", "INV-30002", 25050)]),
    ("another customer's reference", 5, CEDAR_PAYS, "99.99", "USD", "INV-30001", "INV-30007",
     "exact", [("receivable", "INV-30007", 9999)]),
    ("a trading name", 5, "NORTHWIND TRADERS", "1000.00", "USD", "inv 30001", "INV-30001", "exact",
     [("receivable", "INV-30001", 100000)]),
    ("discount on the last day", 11, ACME_PAYS, "980.00", "USD", "INV-30001 LESS 2% DISC",
     "INV-30001", "early_discount",
     [("receivable", "INV-30001", 98000), ("discount", "INV-30001", 2000)]),
    ("discount of half a cent more", 5, ACME_PAYS, "326.59", "USD", "INV-30003 LESS 2% DISC",
     "INV-30003", "early_discount",
     [("receivable", "INV-30003", 32659), ("discount", "INV-30003", 666)]),
    ("discount without a reference", 5, ACME_PAYS, "980.00", "USD", "TRANSFER LESS 2% DISC",
     "INV-30001", "early_discount",
     [("receivable", "INV-30001", 98000), ("discount", "INV-30001", 2000)]),
    ("discount a day late", 12, ACME_PAYS, "980.00", "USD", "INV-30001 LESS 2% DISC", "INV-30001",
     "short_payment", [("receivable", "INV-30001", 98000)]),
    ("discount never agreed", 5, CEDAR_PAYS, "441.00", "USD", "INV-30008 LESS 2% DISC",
     "INV-30008", "short_payment", [("receivable", "INV-30008", 44100)]),
    ("charges shared", 5, ACME_PAYS, "235.50", "USD", "INV-30002 CHARGES SHA", "INV-30002",
     "bank_fee", [("receivable", "INV-30002", 23550), ("bank_charges", "INV-30002", 1500)]),
    ("charges too high", 5, ACME_PAYS, "235.49", "USD", "INV-30002 CHARGES SHA", "INV-30002",
     "short_payment", [("receivable", "INV-30002", 23549)]),
    ("charges never agreed", 5, BOLT_PAYS, "635.00", "EUR", "INV-30005 CHARGES SHA", "INV-30005",
     "short_payment", [("receivable", "INV-30005", 63500)]),
    ("half", 5, ACME_PAYS, "500.00", "USD", "INV-30001 1ST HALF", "INV-30001", "short_payment",
     [("receivable", "INV-30001", 50000)]),
    ("surplus refunded", 5, ACME_PAYS, "1100.00", "USD", "INV-30001", "INV-30001", "over_payment",
     [("receivable", "INV-30001", 100000), ("refund", "INV-30001", 10000)]),
    ("surplus kept", 5, BOLT_PAYS, "700.00", "EUR", "INV-30005", "INV-30005", "over_payment",
     [("receivable", "INV-30005", 64000), ("on_account", "INV-30005", 6000)]),
    ("surplus, terms silent", 5, CEDAR_PAYS, "500.00", "USD", "INV-30008", "INV-30008",
     "over_payment", [("receivable", "INV-30008", 45000), ("on_account", "INV-30008", 5000)]),
    ("foreign currency", 5, ACME_PAYS, "920.00", "EUR", "INV-30001", "INV-30001", "fx",
     [("receivable", "INV-30001", 100000)]),
    ("two invoices", 5, BOLT_PAYS, "760.25", "EUR", "INV-30006 + INV-30005", "INV-30006;INV-30005",
     "batch", [("receivable", "INV-30005", 64000), ("receivable", "INV-30006", 12025)]),
    ("paid before", 5, CEDAR_PAYS, "75.00", "USD", "INV-30009", "INV-30009", "duplicate",
     [("refund", "INV-30009", 7500)]),
    ("paid before, a lot", 5, ACME_PAYS, "800.00", "USD", "INV-30004", "INV-30004", "duplicate",
     [("refund", "INV-30004", 80000)]),
    ("a stranger", 5, "Zephyr Yachts SA", "320.10", "USD", "CONSULTING JUNE", "", "unmatched",
     [("suspense", "", 32010)]),
    ("a stranger who guesses", 5, "Zephyr Yachts SA", "1000.00", "USD", "INV-93000", "",
     "unmatched", [("suspense", "", 100000)]),
]  # fmt: skip
HEAD = "payment_id,received_on,payer_name,amount,currency,remittance_text,settles_invoice,kind"
AGAIN = "BNK-000001,2026-06-06,Acme Tools Ltd,1000.00,USD,PAYMENT INV-30001 ACME,INV-30001"


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Billing:
    folder = tmp_path_factory.mktemp("month")
    lines = [
        f"BNK-{n:06d},2026-06-{day:02d},{','.join(cells)}"
        for n, (_, day, *cells, _) in enumerate(MONTH, start=1)
    ]
    payments = "\n".join([HEAD, *lines, f"{AGAIN},redelivered", ""])
    files = {"customers.csv": CUSTOMERS, "invoices.csv": INVOICES, "payments.csv": payments}
    files |= {"terms/C-0001.md": ACME, "terms/C-0002.md": BOLT, "terms/house.md": HOUSE}
    write_dataset(files, folder)
    return Billing(read_billing(folder))


@pytest.mark.parametrize(
    "line", range(len(MONTH) + 1), ids=[*(m[0] for m in MONTH), "delivered again"]
)
def test_grader_and_model_agree_with_a_clerk(month: Billing, line: int) -> None:
    task = month.tasks[line]
    expected = MONTH[line][-1] if line < len(MONTH) else []
    assert month.wrong(task, [(*row, "") for row in expected]) == ""
    bench = bench_of(month, Stack.rung(6))
    state = bench.run(task)
    done = [row[:3] for row in bench.at.environment.actions(f"{task.id}/trial-0")]
    assert sorted(done) == sorted(expected)
    asked = (state.get("verdict") or {}).get("reason", "")
    assert asked.startswith("high stakes") == (task.labels["kind"] == "duplicate" and line == 19)


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("INV-1 LESS 2% DISC", ["discount"]),
        ("INV-1 less 3 % discount for early payment", ["discount"]),
        ("RE-1 abzgl. 2% Skonto", ["discount"]),
        ("RE-1 SKONTOABZUG 3%", ["discount"]),
        ("INVOICE NO 123 LESS 2% DISC", ["discount"]),
        ("RE-1 ohne  Skonto", []),
        ("RE-1 ohne 2% Skonto", []),
        ("RE-1 keinen Skonto", []),
        ("RE-1 o. Skonto", []),
        ("RE-1 skontofrei", []),
        ("RE-1 Skontofrist versäumt", []),
        ("RE-1 Skonto nicht abgezogen", []),
        ("INV-1 no discount", []),
        ("INV-1 less nothing, no cash disc", []),
        ("INV-1 less charges, as discussed", []),
        ("DISCOUNT LESS", []),
        ("INV-1 SHA", ["shared_charges"]),
        ("INV-1 Shaw Ltd", []),
        ("RE-1 2. Teilzahlung", ["part_payment"]),
        ("RE-1 Anzahlung", ["part_payment"]),
        ("INV-1 HALF NOW", ["part_payment"]),
        ("INV-1 PARTS", []),
        ("Skonto SHA Teilbetrag", ["discount", "shared_charges", "part_payment"]),
    ],
)
def test_claims_are_read_in_english_and_german(text: str, claims: list[str]) -> None:
    assert claims_in(text) == claims


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1250", "1250"), ("1,250.00", "1250.00"), ("1.250,00", "1250.00"), ("1.250", "1250"),
        ("1.250.000", "1250000"), ("2,5", "2.5"), ("0.5", "0.5"), ("1.2.3", "12.3"),
    ],
)  # fmt: skip
def test_a_figure_in_the_rules_is_read_as_people_write_it(text: str, amount: str) -> None:
    assert figure(text) == Decimal(amount)
    house = f"EARLY-PAYMENT discount: {text} % if paid within 9 days. Bank charges: shared; up to "
    terms = read_terms("", house + text)
    assert (terms["discount"], terms["days"], terms["charges"]) == (
        Decimal(amount), 9, Decimal(amount)
    )  # fmt: skip
    for limit in (text, f"EUR {text}", f"£{text}", f"{text} EUR"):
        assert read_limit(f"Refunds above {limit} need a person.", 500.0) == float(amount)


def test_what_the_house_rules_do_not_say_is_as_documented() -> None:
    assert read_limit("Refunds above , need a person", USUAL_LIMIT) == 500.0
    assert read_terms("", "We pay what we like.") == {
        "discount": 0, "days": 0, "charges": 0, "surplus": "on_account"
    }  # fmt: skip


def test_every_kind_stands_in_the_month(month: Billing, billing: Billing) -> None:
    kinds = {task.labels["kind"] for task in billing.tasks}
    assert kinds == {task.labels["kind"] for task in month.tasks}


# --- the grader ----------------------------------------------------------------------------------


def test_every_reference_outcome_is_right(billing: Billing, environment: Environment) -> None:
    for task in billing.tasks:
        rows = billing.actions(billing.reference(task))
        environment.write(task.id, rows)
        found = environment.actions(task.id)
        assert billing.wrong(task, found) == "", task
        assert billing.wrong(task, found[::-1]) == "", "the order of entries says nothing"


def seeded_wrongs(rows: list[Row], ids: list[str], rng: Random) -> Iterator[tuple[str, list[Row]]]:
    """Outcomes like the right one but for one seeded mistake, with the grader's word for each."""
    i = rng.randrange(len(rows))
    account, reference, amount, note = rows[i]

    def instead(row: Row) -> list[Row]:
        return [*rows[:i], row, *rows[i + 1 :]]

    other = rng.choice([x for x in ids if x != reference])
    elsewhere = rng.choice([a for a in ACCOUNTS if a not in {row[0] for row in rows}])
    yield "wrong invoice", instead((account, other, amount, note))
    yield "wrong invoice", [(a, other, c, n) for a, _, c, n in rows]
    yield "wrong amount", instead((account, reference, amount + 1, note))
    yield "wrong amount", instead((account, reference, amount - 1, note))
    yield "", instead((elsewhere, reference, amount, note))
    yield "", [*rows, (elsewhere, reference, 1, note)]
    yield "", [*rows, (account, other, 1, note)]
    yield "", rows[:i] + rows[i + 1 :]
    yield "", rows + rows
    yield "nothing posted", []


def test_every_seeded_wrong_outcome_is_wrong(billing: Billing) -> None:
    rng, ids = Random(7), [row["invoice_id"] for row in billing.environment().rows("invoices")]
    for task in billing.tasks:
        first = replace(task, repeated=False)
        labels = dict(task.labels)
        if task.repeated:  # the first delivery's outcome is wrong when it is posted again
            (kind,) = {t.labels["kind"] for t in billing.tasks if t.id == task.key}
            first = replace(first, labels=labels | {"kind": kind})
            rows = billing.actions(billing.reference(first))
            assert billing.wrong(task, rows) == "posted twice"
            assert billing.wrong(task, rows[:1]) == "posted twice"
            continue
        rows = billing.actions(billing.reference(first))
        for term, wrong in seeded_wrongs(rows, ids, rng):
            found = billing.wrong(task, wrong)
            assert found and (not term or found == term), (task, wrong)


def test_refunds_above_the_limit_need_a_person(billing: Billing, environment: Environment) -> None:
    assert billing.approval_limit == 500.0
    for amount, needed in ((50000, False), (50001, True)):
        rows = [("receivable", "INV-20001", 900000, ""), ("refund", "INV-20001", amount, "")]
        assert billing.needs_approval(rows, environment) is needed
    split = [("refund", "INV-20001", 30000, ""), ("refund", "INV-20002", 30000, "")]
    assert billing.needs_approval(split, environment), "two halves make a whole"


def test_the_house_sets_the_limit(tmp_path: Path) -> None:
    files = {"invoices.csv": INVOICES, "payments.csv": f"{HEAD}\n{AGAIN},exact\n"}
    for name, limit in (("500.00", 500), ("1,250.00", 1250)):
        house = {"terms/house.md": HOUSE.replace("500.00", name)}
        write_dataset(files | house, tmp_path / name)
        assert Billing(read_billing(tmp_path / name)).approval_limit == limit


# --- readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("PAYMENT INV-20417 ACME", ["INV-20417"]),
        ("inv 20417", ["INV-20417"]),
        ("INV#20417", ["INV-20417"]),
        ("inv.20417", ["INV-20417"]),
        ("Inv. No. 20417", ["INV-20417"]),
        ("INVOICE NO 20417", ["INV-20417"]),
        ("Invoice No: 20417", ["INV-20417"]),
        ("invoice nr. 20417", ["INV-20417"]),
        ("Invoice number 20417", ["INV-20417"]),
        ("Rechnung INV20417", ["INV-20417"]),
        ("/RFB/INV-20417/INV-20418", ["INV-20417", "INV-20418"]),
        ("INV-20418 AND inv 20417, INV-20418", ["INV-20418", "INV-20417"]),
        ("INV-20417LESS 2% DISC", []),
        ("JUNE INVOICE ACME 2026", []),
        ("INVOICE JUNE 2026", []),
        ("REF 77-28984", []),
        ("ORDER 39929 ACME", []),
        ("LESS 2% DISC 1ST HALF", []),
        ("W12345 ab-678901", []),  # other houses' forms
        ("", []),
    ],
)
def test_references_are_read(text: str, found: list[str]) -> None:
    assert USUAL_IDS.find(text) == found


@given(
    st.lists(st.integers(1000, 999_999), unique=True, max_size=5),
    st.sampled_from(["INV-{}", "inv {}", "Inv#{}", "INVOICE {}", "inv. no. {}"]),
    st.sampled_from([" ", ", ", " + ", "/", " AND "]),
)
def test_references_are_all_found_in_order(numbers: list[int], style: str, joiner: str) -> None:
    text = "PAYMENT " + joiner.join(style.format(n) for n in numbers) + " ACME LTD CHARGES SHA"
    assert USUAL_IDS.find(text) == [f"INV-{n}" for n in numbers]


def test_references_are_read_in_every_line_that_must_carry_them(billing: Billing) -> None:
    always = {"short_payment", "over_payment", "fx", "batch", "duplicate"}
    lines = [task for task in billing.tasks if task.labels["kind"] in always]
    assert len(lines) > 250
    for task in lines:
        assert USUAL_IDS.find(task.fields["remittance_text"]) == task.labels["settles"]


@pytest.mark.parametrize(
    ("a", "b", "likeness"),
    [
        ("Acme Tools Ltd", "ACME TOOLS LIMITED", 1),
        ("Acme Tools", "Tools Acme, Inc.", 1),
        ("Kestrel Mill Labs B.V.", "KESTREL MILL LABS BV", 1),
        ("Kestrel Mill Labs S.A.R.L.", "Kestrel Mill Labs", 1),
        ("Straße GmbH", "STRASSE", 1),
        ("Acme Tools Ltd", "Acme Bakery Ltd", 1 / 3),
        ("Acme Tools Ltd", "Bolt Bakery Ltd", 0),
        ("Ltd", "Ltd", 0),
        ("", "", 0),
        ("Acme", "", 0),
    ],
)
def test_name_likeness(a: str, b: str, likeness: float) -> None:
    assert name_likeness(a, b) == pytest.approx(likeness)


@given(st.text(max_size=40), st.text(max_size=40))
def test_name_likeness_is_a_symmetric_share(a: str, b: str) -> None:
    assert 0 <= name_likeness(a, b) == name_likeness(b, a) <= 1
    assert name_likeness(a, a) in (0, 1)


def test_only_one_customer_goes_by_a_payers_name(
    billing: Billing, environment: Environment
) -> None:
    """No line of the sample is like two customers' names by the half that the matching asks for."""
    names = {
        row["customer_id"]: [row["customer_name"], *filter(None, row["also_known_as"].split(";"))]
        for row in environment.rows("customers")
    }
    owner = {row["invoice_id"]: row["customer_id"] for row in environment.rows("invoices")}
    for task in spread(billing.tasks, 500):
        payer, settles = task.fields["payer_name"], task.labels["settles"]
        score = {c: max(name_likeness(n, payer) for n in own) for c, own in names.items()}
        best = [c for c, s in score.items() if s == max(score.values()) and s >= 0.5]
        if settles:
            assert best == [owner[settles[0]]], task


def test_customer_terms_come_before_house_terms() -> None:
    terms = read_terms(ACME, HOUSE)
    assert terms == {
        "discount": Decimal(2),
        "days": 10,
        "charges": Decimal(15),
        "surplus": "refund",
    }
    generous = HOUSE.replace("discount: none", "discount: 3% if paid within 7 days")
    assert read_terms("", generous)["discount"] == 3
    assert read_terms(ACME, generous)["discount"] == 2
    assert read_terms(BOLT, generous)["discount"] == 0, "'none' is an agreement too"
    assert read_terms("", HOUSE) == read_terms(BOLT, "")
    assert read_terms("", "")["charges"] == 0


@pytest.mark.parametrize("ending", [".", " per transfer is accepted.", ", no more", ""])
def test_terms_end_where_a_sentence_ends(ending: str) -> None:
    charges = f"Bank charges: shared; up to 12.50{ending}"
    assert read_terms(charges, HOUSE)["charges"] == Decimal("12.50")


@given(st.sampled_from(["1", "1.5", "2", "3"]), st.integers(1, 90), st.decimals(0, 99, places=2))
def test_read_terms_reads_what_was_written(percent: str, days: int, fee: Decimal) -> None:
    text = (
        f"Bank charges: shared; up to {fee} per transfer is accepted.\n\nThanks for your trade.\n\n"
        f"Early-payment discount: {percent}% if paid within {days} days of the invoice date.\n"
    )
    terms = read_terms(text, HOUSE)
    assert (terms["discount"], terms["days"], terms["charges"]) == (Decimal(percent), days, fee)


@given(st.integers(1, 10**9), st.integers(0, 1000))
def test_after_discount_rounds_half_up(cents: int, tenths: int) -> None:
    left = after_discount(Decimal(cents) / 100, Decimal(tenths) / 10)
    assert left == Decimal((cents * (1000 - tenths) + 500) // 1000) / 100


# --- checks --------------------------------------------------------------------------------------

LINE = {"received_on": "2026-06-05", "payer": "Acme Tools Ltd", "references": ["INV-30001"],
        "amount": 980.0, "currency": "USD", "claims": ["discount"]}  # fmt: skip
MATCHED = {"customer_id": "C-0001", "invoices": ["INV-30001"], "amounts": [1000.0],
           "currency": "USD"}  # fmt: skip
WHY = {"kind": "early_discount", "difference": 20.0, "surplus_to": "none"}
POSTED = [{"account": "receivable", "invoice_id": "INV-30001", "amount": 980.0},
          {"account": "discount", "invoice_id": "INV-30001", "amount": 20.0}]  # fmt: skip
RIGHT: dict[str, dict[str, Any]] = {
    "extract": LINE,
    "match": MATCHED,
    "explain": WHY,
    "post": {"entries": POSTED},
}
CHECKS = {
    "extract": check_extract,
    "match": check_match,
    "explain": check_explain,
    "post": check_post,
}


def objections(month: Billing, step: str, answer: dict[str, Any]) -> list[str]:
    steps = list(RIGHT)
    before = {name: RIGHT[name] for name in steps[: steps.index(step)]}
    task = next(t for t in month.tasks if t.fields["remittance_text"] == "INV-30001 LESS 2% DISC")
    fields = dict(task.fields) | {"received_on": "2026-06-05"}
    return list(CHECKS[step](answer, Evidence(fields, before, frozenset(), month.environment())))


@pytest.mark.parametrize("step", RIGHT)
def test_checks_pass_what_is_right(month: Billing, step: str) -> None:
    assert objections(month, step, RIGHT[step]) == []


def test_an_unknown_customer_is_no_objection_and_hides_none(month: Billing) -> None:
    """The schema wants it empty then, and nothing posted depends on it."""
    unknown = {**MATCHED, "customer_id": ""}
    assert objections(month, "match", unknown) == []
    assert objections(month, "match", {**unknown, "amounts": [980.0]}) == [
        "INV-30001 is over 1000.00 USD"
    ]


@pytest.mark.parametrize(
    ("step", "slip", "objection"),
    [
        ("extract", {"amount": 890.0}, "the line says 980.00 USD"),
        ("extract", {"currency": "EUR"}, "the line says"),
        ("extract", {"received_on": "2026-05-06"}, "received on 2026-06-05"),
        ("extract", {"references": ["INV-30010"]}, "not in the remittance text"),
        ("match", {"invoices": ["INV-39999"]}, "there is no invoice INV-39999"),
        ("match", {"customer_id": "C-0003"}, "does not belong"),
        ("match", {"amounts": [980.0]}, "is over 1000.00 USD"),
        ("match", {"currency": "EUR"}, "is over 1000.00 USD"),
        ("match", {"amounts": []}, "one amount for each"),
        ("match", {"invoices": [], "amounts": []}, "yet you left it out"),
        ("explain", {"kind": "exact"}, "is not 'exact'"),
        ("explain", {"kind": "over_payment"}, "more money than was due"),
        ("explain", {"kind": "bank_fee"}, "do not allow these bank charges"),
        ("explain", {"kind": "duplicate"}, "paid before"),
        ("explain", {"kind": "fx"}, "another currency"),
        ("explain", {"kind": "unmatched"}, "without an invoice"),
        ("explain", {"difference": 19.99}, "is not 19.99"),
        ("post", {"entries": POSTED[:1]}, "post the allowed difference"),
        ("post", {"entries": POSTED[1:]}, "do not add up"),
        ("post", {"entries": [*POSTED, POSTED[0]]}, "do not add up"),
        ("post", {"entries": [{**e, "invoice_id": "INV-30002"} for e in POSTED]}, "not among"),
        ("post", {"entries": [POSTED[0], {**POSTED[1], "account": "bank_charges"}]}, "no entry on"),
        ("post", {"entries": [{**POSTED[0], "account": "suspense"}, POSTED[1]]}, "no entry on"),
    ],
)  # fmt: skip
def test_checks_object_to_a_slip(
    month: Billing, step: str, slip: dict[str, Any], objection: str
) -> None:
    assert objection in "; ".join(objections(month, step, {**RIGHT[step], **slip}))


# --- a model that never slips --------------------------------------------------------------------


def test_with_all_layers_and_no_slips_nothing_fails_and_no_check_errs(billing: Billing) -> None:
    bench = bench_of(billing, Stack.rung(6))
    for task in spread(billing.tasks, 600):
        state = bench.run(task)
        rows = bench.at.environment.actions(f"{task.id}/trial-0")
        assert billing.wrong(task, rows) == "", task
        assert not any("rejected" in note for note in state.get("log", [])), task


MISSING, REPEATED, UNAPPROVED = "missing", "posted twice", "unapproved"


class WithRecords(BaseRetriever):
    """Finds what the test says."""

    records: list[str]

    def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
        pairs = [record[1:].split("] ", 1) for record in self.records]
        return [Document(body, metadata={"source": source}) for source, body in pairs]


def needed(case: Billing, environment: Environment, task: Task) -> list[str]:
    """The records and documents that a clerk would lay out for a line."""
    rows = [environment.get("invoices", i) for i in task.labels["settles"]]
    customers = {row["customer_id"] for row in rows if row}
    sources = [f"{kind}/{c}" for c in sorted(customers) for kind in ("customers", "terms")]
    records = [environment.document(source) for source in [*sources, "terms/house"]]
    records += [environment.document(f"invoices/{i}") for i in task.labels["settles"]]
    return [record for record in records if record]


@pytest.mark.parametrize("rung", [0, 1])
def test_a_bare_prompt_fails_for_what_it_lacks_and_no_longer_with_it(
    billing: Billing, environment: Environment, rung: int
) -> None:
    bench, informed = (bench_of(billing, Stack.rung(rung)) for _ in range(2))
    tasks = spread(billing.tasks, 150)
    rows = [run_trial(bench, task) for task in tasks]
    causes = {row["cause"].split(":")[0] for row in rows if row["failed"]}
    assert causes == {MISSING, REPEATED, UNAPPROVED}
    for task, row in zip(tasks, rows, strict=True):
        if row["cause"].startswith(MISSING):
            show(informed, needed(billing, environment, task))
            risky = billing.needs_approval(billing.actions(billing.reference(task)), environment)
            assert run_trial(informed, task)["failure"] == (UNAPPROVED if risky else ""), task


def show(bench: Bench, records: list[str]) -> None:
    """Put just these records into the prompt, whether by a dump or by retrieval."""
    bench.at.dump, bench.at.retriever = "\n".join(records), WithRecords(records=records)


def test_a_plan_has_nothing_to_order_while_one_prompt_does_it_all(billing: Billing) -> None:
    benches = [bench_of(billing, Stack.rung(rung)) for rung in (1, 2)]
    for task in spread(billing.tasks, 100):
        one, two = (run_trial(bench, task) | {"stack": ""} for bench in benches)
        assert one == two


@pytest.mark.parametrize(
    ("line", "lacks", "failure"),
    [
        ("surplus refunded", "terms/", "wrong account"),
        ("discount never agreed", "terms/", "wrong account"),
        ("charges shared", "invoices/INV-30002", "wrong account"),
        ("a trading name", "invoices/INV-30001", ""),  # paid as billed: the guess happens to fit
        ("no reference", "invoices/INV-30002", "wrong invoice"),
    ],
)
def test_what_one_document_is_worth(month: Billing, line: str, lacks: str, failure: str) -> None:
    task = month.tasks[[m[0] for m in MONTH].index(line)]
    records = needed(month, month.environment(), task)
    bench = bench_of(month, Stack.rung(0))
    show(bench, records)
    assert run_trial(bench, task)["failure"] == ""
    left = [record for record in records if not record.startswith(f"[{lacks}")]
    assert len(left) < len(records)
    show(bench, left)
    row = run_trial(bench, task)
    assert row["failure"] == failure
    assert row["cause"].startswith("missing" if failure else "")
