"""Readers accept what is sound and name file, row and column of what is not."""

import pickle
import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordkit.data import (
    DataError,
    generate_billing,
    generate_support,
    read_billing,
    read_support,
    write_dataset,
)
from coordkit.data.generate_support import POLICIES
from coordkit.data.schemas import CURRENCIES
from coordkit.data.tables import DEFAULT_HOUSE

BILLING = {
    "invoices.csv": """invoice_id,customer_id,customer_name,issued_on,due_on,amount,currency
W1,C1,Ada Li,2026-06-01,2026-07-01,100.00,USD
W2,C2,Max Ito,2026-06-02,2026-07-02,50.5,USD
""",
    "payments.csv": (
        "payment_id,received_on,payer_name,amount,currency,remittance_text,settles_invoice,kind\n"
        "P1,2026-06-03,Ada Li,98.00,USD,W1 LESS 2% DISC,W1,early_discount_2pct\n"
        "P1,2026-06-04,Ada Li,98.00,USD,W1 LESS 2% DISC,W1,redelivered\n"
        "P2,2026-06-05,Max Ito,50.50,USD,,W2,no_reference\n"
        "P3,2026-06-06,Nobody,7.00,USD,HELLO,,unmatched\n"
    ),
}
SUPPORT = {
    "tickets.csv": (
        "ticket_id,received_on,customer_id,message,intents,order_id,refund_amount,invoice_line\n"
        'T1,2026-06-03,C1,"Where is it, and when?",order_status; refund,O1,0.00,L1\n'
        "T2,2026-06-04,C1,Refund O2,refund,O2,30.00,\n"
    ),
    "orders.csv": (
        "order_id,customer_id,placed_on,status,delivered_on,total,currency,paid_with,receipt\n"
        "O1,C1,2026-05-20,shipped,,20.00,EUR,card-1,yes\n"
        "O2,C1,2026-05-10,delivered,2026-05-15,30.00,EUR,card-1,yes\n"
    ),
    "invoices.csv": (
        "line_id,invoice_id,customer_id,issued_on,description,amount,currency,order_id\n"
        "L1,I1,C1,2026-05-21,Order O1,20.00,EUR,O1\n"
    ),
}


def problems_of(reader, files, directory):
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (directory / name).write_bytes(raw)
    with pytest.raises(DataError) as caught:
        reader(directory)
    return caught.value.problems


def test_a_sound_billing_directory_with_the_least_files(tmp_path):
    write_dataset(BILLING, tmp_path)
    tables = read_billing(tmp_path)
    assert tables.invoices.loc[1, "amount"] == Decimal("50.50")
    assert str(tables.invoices.loc[1, "amount"]) == "50.50"
    assert tables.invoices.loc[0, "issued_on"] == date(2026, 6, 1)
    assert list(tables.invoices["paid_on"]) == ["", ""]
    kinds = ["early_discount", "redelivered", "exact", "unmatched"]
    assert list(tables.payments["kind"]) == kinds
    assert tables.customers.empty
    assert list(tables.customers) == ["customer_id", "customer_name", "also_known_as", "currency"]
    assert tables.documents == {"terms/house": DEFAULT_HOUSE}


@pytest.mark.parametrize(
    "sentence",
    [
        "Early-payment discount: 2% if paid within 30 days of the invoice date.",
        "Bank charges: shared; up to 15.00 per transfer is accepted.",
        "Over-payments: kept on account.",
    ],
)
def test_the_built_in_house_rules_have_the_sentence(sentence):
    assert sentence in DEFAULT_HOUSE


def test_a_sound_support_directory_takes_examples_and_policies_from_the_package(tmp_path):
    write_dataset(SUPPORT, tmp_path)
    tables = read_support(tmp_path)
    assert list(tables.tickets["intents"]) == ["order_status;refund", "refund"]
    assert list(tables.orders["delivered_on"]) == ["", date(2026, 5, 15)]
    assert len(tables.examples) > 250
    assert tables.documents == {f"policies/{name}": text for name, text in POLICIES.items()}


def test_ones_own_policy_replaces_the_packaged_one(tmp_path):
    write_dataset(SUPPORT | {"policies/refunds.md": "No refunds."}, tmp_path)
    documents = read_support(tmp_path).documents
    assert documents["policies/refunds"] == "No refunds."
    assert documents["policies/general"] == POLICIES["general"]


def test_generated_data_comes_back_as_it_was_made(tmp_path):
    files = generate_billing(60, 0)
    write_dataset(files, tmp_path / "billing")
    billing = read_billing(tmp_path / "billing")
    assert (
        billing.payments.astype(str).to_csv(index=False, lineterminator="\n")
        == (files["payments.csv"])
    )
    assert billing.documents["terms/house"] == files["terms/house.md"]
    files = generate_support(60, 0)
    write_dataset(files, tmp_path / "support")
    support = read_support(tmp_path / "support")
    for name in ("tickets", "orders", "invoices", "examples"):
        text = getattr(support, name).astype(str).to_csv(index=False, lineterminator="\n")
        assert text == files[f"{name}.csv"]


def test_byte_order_mark_crlf_and_blank_rows_are_tolerated(tmp_path):
    text = BILLING["invoices.csv"].replace("\n", "\r\n") + "\r\n,,,,,,\r\n"
    write_dataset(BILLING | {"invoices.csv": "\ufeff" + text}, tmp_path)
    assert list(read_billing(tmp_path).invoices["invoice_id"]) == ["W1", "W2"]


BROKEN_BILLING = [
    ("invoices.csv", "100.00", "1 00", r"invoices.csv row 2, column amount: '1 00' is not an am"),
    ("invoices.csv", "100.00", "nan", r"row 2, column amount: 'nan' is not an amount"),
    ("invoices.csv", "100.00", "-100.00", r"row 2, column amount: '-100.00' is negative"),
    ("invoices.csv", "100.00", "0.00", r"row 2, column amount: '0.00' is zero"),
    ("invoices.csv", "100.00", "1000000000.01", r"row 2, column amount: .* above 1,000,000,000"),
    ("invoices.csv", "100.00", "9" * 5_000, r"row 2, column amount: .* above 1,000,000,000"),
    (
        "invoices.csv",
        "2026-06-01",
        "01/06/2026",
        r"row 2, column issued_on: .* can be 2026-06-01 or",
    ),
    ("invoices.csv", "2026-06-01", "2026-02-30", r"row 2, column issued_on: .* is not a date"),
    ("invoices.csv", "50.5,USD", "50.5,USX", r"row 3, column currency: 'USX' is not an ISO 4217"),
    ("invoices.csv", "W2", "W1", r"row 3, column invoice_id: 'W1' stands in an earlier row"),
    ("invoices.csv", "W2", "", r"row 3, column invoice_id: '' is blank"),
    ("invoices.csv", "W2", "W1;W2", r"row 3, column invoice_id: 'W1;W2' has a \";\""),
    ("invoices.csv", ",due_on", ",until", r"invoices.csv row 1, column due_on: is missing"),
    ("invoices.csv", "customer_id", "amount", r"row 1, column amount: stands twice"),
    ("invoices.csv", ",50.5,", ",50,5,", r"invoices.csv row 3: has 8 cells, the header has 7"),
    ("invoices.csv", "Ada Li", "Ada\0Li", r"invoices.csv row 2: has a NUL byte"),
    ("invoices.csv", "Max Ito", '"Max Ito', r"invoices.csv row 3: is not CSV"),
    ("invoices.csv", "Max Ito", "x" * 10_000_000, r"row 3, column customer_name: .* 100,000 char"),
    ("payments.csv", "W2,no_reference", "W9,exact", r"row 4, column settles_invoice: 'W9' is not"),
    ("payments.csv", "no_reference", "exakt", r"row 4, column kind: 'exakt' is unknown; use one"),
    ("payments.csv", "P2", "P1", r"row 4, column payment_id: 'P1' stands in an earlier row"),
    ("payments.csv", "04,Ada Li,98.00", "04,Ada Li,97.00", r"row 3, column kind: redelivered, but"),
    ("payments.csv", "HELLO,,", "HELLO,W2,", r"row 5, column settles_invoice: 'W2' does not go"),
    ("payments.csv", "USD,,W2", "USD,,", r"row 4, column settles_invoice: '' does not go with"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), BROKEN_BILLING)
def test_one_fault_in_billing_is_named(tmp_path, file, old, new, message):
    assert old in BILLING[file]
    files = BILLING | {file: BILLING[file].replace(old, new, 1)}
    assert any(
        re.search(message, problem) for problem in problems_of(read_billing, files, tmp_path)
    )


BROKEN_SUPPORT = [
    ("tickets.csv", "T2", "T1", r"tickets.csv row 3, column ticket_id: 'T1' stands in an earlier"),
    ("tickets.csv", "; refund", "; refnd", r"row 2, column intents: .*unknown; use one of order_s"),
    ("tickets.csv", "refund,O2", "refund,O9", r"row 3, column order_id: 'O9' is not in orders.csv"),
    ("tickets.csv", "L1", "L9", r"row 2, column invoice_line: 'L9' is not in invoices.csv"),
    ("tickets.csv", "30.00", "-30.00", r"row 3, column refund_amount: '-30.00' is negative"),
    ("tickets.csv", ",refund_amount", ",x", r"tickets.csv row 1, column refund_amount: is missing"),
    ("orders.csv", "O2", "O1", r"orders.csv row 3, column order_id: 'O1' stands in an earlier row"),
    ("orders.csv", "shipped", "sent", r"orders.csv row 2, column status: 'sent' is unknown"),
    ("orders.csv", "2026-05-15", "", r"orders.csv row 3, column delivered_on: give a date"),
    ("orders.csv", "yes", "maybe", r"orders.csv row 2, column receipt: 'maybe' is unknown"),
    ("invoices.csv", "EUR,O1", "EUR,O9", r"invoices.csv row 2, column order_id: 'O9' is not in or"),
    ("invoices.csv", "\nL1", "\nL1,I,C,2026-01-01,x,1,EUR,\nL1", r"row 3, column line_id: 'L1' st"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), BROKEN_SUPPORT)
def test_one_fault_in_support_is_named(tmp_path, file, old, new, message):
    assert old in SUPPORT[file]
    files = SUPPORT | {file: SUPPORT[file].replace(old, new, 1)}
    assert any(
        re.search(message, problem) for problem in problems_of(read_support, files, tmp_path)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "invoices.csv: is empty"),
        (b"\n\n", "invoices.csv: is empty"),
        (BILLING["invoices.csv"].splitlines()[0], "invoices.csv: has a header but no rows"),
        (BILLING["invoices.csv"].encode("utf-16"), "is UTF-16 text, not CSV"),
        (b"PK\x03\x04rest", "is an Excel or zip file, not CSV"),
        (b'{"a": 1}', "is JSON, not CSV"),
        (b"<!doctype html>", "is HTML or XML, not CSV"),
        (b"\x89PNG\r\n\x1a\n", "row 1: byte 0x89 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_named_once(tmp_path, content, message):
    (problem,) = problems_of(read_billing, BILLING | {"invoices.csv": content}, tmp_path)
    assert message in problem


def test_missing_files_are_named_together(tmp_path):
    missing = problems_of(read_billing, {}, tmp_path)
    assert [problem.split(":")[0] for problem in missing] == ["invoices.csv", "payments.csv"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(DataError, match="no such directory"):
        read_support(tmp_path / "nowhere")


def test_without_invoice_lines_a_ticket_cannot_name_one(tmp_path):
    files = {name: SUPPORT[name] for name in ("tickets.csv", "orders.csv")}
    (problem,) = problems_of(read_support, files, tmp_path)
    assert "row 2, column invoice_line: 'L1' is not among the invoices" in problem


def test_a_document_in_another_encoding_is_named(tmp_path):
    write_dataset(BILLING, tmp_path)
    (tmp_path / "terms").mkdir()
    (tmp_path / "terms" / "C1.md").write_bytes("Müller".encode("latin-1"))
    with pytest.raises(DataError, match=r"terms/C1.md row 1: byte 0xfc is not UTF-8"):
        read_billing(tmp_path)


def test_an_oversized_document_is_named(tmp_path):
    write_dataset(SUPPORT | {"policies/refunds.md": "x" * 100_001}, tmp_path)
    with pytest.raises(DataError, match=r"policies/refunds.md: is above 100,000 characters"):
        read_support(tmp_path)


def test_a_directory_in_place_of_a_file_is_named(tmp_path):
    write_dataset({"invoices.csv/x": "", "payments.csv": BILLING["payments.csv"]}, tmp_path)
    with pytest.raises(DataError, match=r"invoices.csv: cannot be read"):
        read_billing(tmp_path)


@settings(max_examples=100, deadline=None)
@given(
    raw=st.binary()
    | st.text(alphabet=',";\n\r0.-W\0é').map(lambda text: (BILLING["invoices.csv"] + text).encode())
)
def test_whatever_stands_in_a_file_the_only_error_is_a_data_error(tmp_path_factory, raw):
    directory = tmp_path_factory.mktemp("any")
    write_dataset(BILLING, directory)
    (directory / "invoices.csv").write_bytes(raw)
    try:
        tables = read_billing(directory)
    except DataError as error:
        assert all(
            problem.startswith(("invoices.csv", "payments.csv")) for problem in error.problems
        )
    else:
        assert list(tables.invoices["invoice_id"]) == ["W1", "W2"]


def test_faults_in_several_files_come_together_and_rows_count_as_in_a_spreadsheet(tmp_path):
    files = {
        "invoices.csv": BILLING["invoices.csv"].replace("\nW2", "\n\nW2").replace("50.5", "x"),
        "payments.csv": BILLING["payments.csv"].replace("W1 LESS 2% DISC", '"W1\nLESS"'),
    }
    files["payments.csv"] = files["payments.csv"].replace("7.00", "seven")
    first, second = problems_of(read_billing, files, tmp_path)
    assert first.startswith("invoices.csv row 4, column amount")  # after a blank row
    assert second.startswith("payments.csv row 5, column amount")  # after cells with a line break


def test_the_message_shows_twenty_problems_and_the_error_survives_pickling():
    error = DataError([f"problem {i}" for i in range(25)])
    lines = str(error).splitlines()
    assert lines[:20] == [f"problem {i}" for i in range(20)]
    assert lines[20:] == ["and 5 more"]
    assert str(DataError(["only one"], "[x]")) == "only one\n[x]"
    cells = [f"a.csv row {i}, column x: bad" for i in range(9)]
    lines = str(DataError([*cells, "b.csv row 2, column y: bad"])).splitlines()
    assert len(lines) == 7 and lines[5] == "b.csv row 2, column y: bad"
    assert lines[6] == "and 4 more"
    again = pickle.loads(pickle.dumps(DataError(cells, "[x]")))
    assert (again.problems, again.paste) == (cells, "[x]")


def test_a_data_set_is_not_mixed_into_another(tmp_path):
    write_dataset({"a.csv": "1\n", "terms/C-1.md": "old"}, tmp_path)
    write_dataset({"a.csv": "2\n", "terms/C-1.md": "new"}, tmp_path)
    assert (tmp_path / "a.csv").read_text() == "2\n"
    with pytest.raises(DataError, match=r"has another data set's terms/C-1.md; choose"):
        write_dataset({"a.csv": "3\n"}, tmp_path)
    assert (tmp_path / "a.csv").read_text() == "2\n"


def test_currency_codes_are_three_capitals():
    assert all(re.fullmatch("[A-Z]{3}", code) for code in CURRENCIES)
    assert {"USD", "EUR", "GBP", "JPY", "CHF"} <= CURRENCIES
