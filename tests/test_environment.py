"""The environment: records with their sources, search, and what a trial does and cannot undo."""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.environment import Environment, cents
from coordkit.prompt import read_records

CUSTOMERS = pd.DataFrame(
    {
        "customer_id": ["C-0002", "C-0001", "C-0003"],
        "customer_name": ["Müller & Söhne GmbH", 'Acme "Tools" Ltd', "O'Neil Bakery"],
        "also_known_as": ["", "Acme Hardware", ""],
    }
)
INVOICES = pd.DataFrame(
    {
        "invoice_id": ["INV-1", "INV-2", "INV-3"],
        "customer_id": ["C-0001", "C-0002", "C-0001"],
        "amount": [Decimal("10.50"), Decimal("99.00"), Decimal("7.25")],
        "paid_on": ["", "2026-06-01", ""],
    }
)
DOCUMENTS = {
    "terms/house": "Bank charges: borne by the customer.",
    "terms/C-0001": "Bank charges: shared.\nOver-payments: refunded to Acme.",
}
TABLES = {"customers": CUSTOMERS, "invoices": INVOICES}
ROW = ("refund", "INV-1", 1050, "")


@pytest.fixture
def environment() -> Iterator[Environment]:
    made = Environment(TABLES, DOCUMENTS)
    yield made
    made.close()


@given(st.integers(-(10**12), 10**12))
def test_cents_are_exact_for_any_amount_with_two_places(n: int) -> None:
    assert cents(str(Decimal(n) / 100)) == n
    assert cents(n / 100) == n


def test_rows_come_as_text_in_the_order_of_the_table(environment: Environment) -> None:
    assert [row["customer_id"] for row in environment.rows("customers")] == [
        "C-0002",
        "C-0001",
        "C-0003",
    ]
    assert environment.rows("invoices", customer_id="C-0001") == [
        {"invoice_id": "INV-1", "customer_id": "C-0001", "amount": "10.50", "paid_on": ""},
        {"invoice_id": "INV-3", "customer_id": "C-0001", "amount": "7.25", "paid_on": ""},
    ]
    assert environment.rows("invoices", customer_id="C-0001", paid_on="2026-06-01") == []


def test_a_row_is_got_by_its_id(environment: Environment) -> None:
    found = environment.get("customers", "C-0003")
    assert found is not None
    assert found["customer_name"] == "O'Neil Bakery"
    assert environment.get("customers", "C-9") is None
    assert environment.get("customers", "' OR 1 --") is None


def test_records_are_shown_with_their_sources_and_without_blanks(environment: Environment) -> None:
    shown = environment.show("invoices", environment.rows("invoices"))
    assert dict(read_records(shown)) == {
        "invoices/INV-1": {"invoice_id": "INV-1", "customer_id": "C-0001", "amount": "10.50"},
        "invoices/INV-2": {
            "invoice_id": "INV-2",
            "customer_id": "C-0002",
            "amount": "99.00",
            "paid_on": "2026-06-01",
        },
        "invoices/INV-3": {"invoice_id": "INV-3", "customer_id": "C-0001", "amount": "7.25"},
    }


def test_documents_are_read_by_source(environment: Environment) -> None:
    assert environment.document("terms/house") == f"[terms/house] {DOCUMENTS['terms/house']}"
    assert environment.document("invoices/INV-2").startswith('[invoices/INV-2] {"invoice_id"')
    assert environment.document("terms/C-9") == ""


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("ACME HARDWARE", "customers/C-0001"),
        ("muller", "customers/C-0002"),
        ('"Acme" AND NOT (x OR NEAR', "customers/C-0001"),
        ("O'Neil", "customers/C-0003"),
        ("over-payments refunded", "terms/C-0001"),
    ],
)
def test_search_finds_the_nearest_first(environment: Environment, text: str, first: str) -> None:
    found = environment.search(text, 3)
    assert read_records(found[0])[0][0] == first


@given(st.text(max_size=40))
def test_no_text_upsets_the_search(text: str) -> None:
    assert len(SHARED.search(text, 2)) <= 2
    assert len(SHARED.search(text, 2, kind="customers")) <= 2


SHARED = Environment(TABLES, DOCUMENTS)


def test_search_can_be_kept_to_one_kind_and_to_a_number(environment: Environment) -> None:
    sources = [read_records(t)[0][0] for t in environment.search("Acme C-0001", 9, "customers")]
    assert sources[0] == "customers/C-0001"
    assert all(source.startswith("customers/") for source in sources)
    assert len(environment.search("Acme C-0001", 1)) == 1
    assert environment.search("", 5) == []
    assert environment.search("nowhere", 5) == []


def test_field_names_are_not_words_to_find_a_record_by(environment: Environment) -> None:
    assert environment.search("customer_name", 5) == []


def test_words_in_every_text_do_not_decide_a_search() -> None:
    """A word that a tenth of many texts have tells nothing apart; the rarer word decides."""
    documents = {f"notes/{i}": f"payment number{i}" for i in range(100)}
    found = Environment({}, documents).search("payment number77", 5)
    assert found == ["[notes/77] payment number77"]


def test_a_word_is_common_from_a_tenth_of_many_texts_and_twenty_more() -> None:
    words = [("seldom" if i < 70 else "often" if i < 141 else "late") for i in range(500)]
    documents = {f"notes/{i}": f"{word} number{i}" for i, word in enumerate(words)}
    search = Environment({}, documents).search
    assert len(search("seldom number499", 9)) == 9  # 70 of 500 have it: it is looked for
    assert search("often number499", 9) == ["[notes/499] late number499"]  # 71 have it


# --- what a trial does ---------------------------------------------------------------------------


def test_actions_are_kept_in_order_and_apart_by_trial(environment: Environment) -> None:
    other = ("receivable", "INV-2", 9900, "note")
    assert environment.write("a/trial-0", [ROW, other])
    assert environment.write("a/trial-1", [other])
    assert environment.write("a/trial-0", [ROW])
    assert environment.actions("a/trial-0") == [ROW, other, ROW]
    assert environment.actions("a/trial-1") == [other]
    assert environment.actions("a/trial-2") == []


def test_a_copy_has_the_same_data_and_goes_its_own_way(environment: Environment) -> None:
    copy = environment.copy()
    assert copy.rows("invoices") == environment.rows("invoices")
    assert copy.search("Acme tools", 3) == environment.search("Acme tools", 3) != []
    copy.write("t/trial-0", [ROW], key="k")
    assert copy.actions("t/trial-0") == [ROW]
    assert environment.actions("t/trial-0") == []
    assert not environment.was_processed("t/trial-0", "k")
    copy.close()
    assert environment.get("invoices", "INV-1")  # lives on when its copy is closed


def test_the_same_key_is_written_once_per_trial(environment: Environment) -> None:
    assert environment.write("t", [ROW], key="BNK-1")
    assert not environment.write("t", [ROW], key="BNK-1")
    assert environment.actions("t") == [ROW]
    assert environment.was_processed("t", "BNK-1")
    assert not environment.was_processed("u", "BNK-1")
    assert environment.write("u", [ROW], key="BNK-1")


def test_without_a_key_nothing_remembers(environment: Environment) -> None:
    assert environment.write("t", [ROW])
    assert environment.write("t", [ROW])
    assert environment.actions("t") == [ROW, ROW]


def test_work_done_before_the_trial_is_not_done_again(environment: Environment) -> None:
    environment.write("t", [], key="BNK-1")
    environment.write("t", [], key="BNK-1")
    assert not environment.write("t", [ROW], key="BNK-1", approval=("person", "approve"))
    assert environment.actions("t") == []
    assert environment.approvals("t") == []


def test_an_approval_is_kept_with_the_action_it_allows(environment: Environment) -> None:
    environment.write("t", [ROW], approval=("person", "approve"))
    assert environment.approvals("t") == [("person", "approve")]


def test_a_write_that_fails_leaves_nothing(environment: Environment) -> None:
    broken: Any = ("refund", None, 1, "")
    with pytest.raises(sqlite3.IntegrityError):
        environment.write("t", [ROW, broken], key="BNK-1", approval=("person", "approve"))
    assert environment.actions("t") == []
    assert environment.approvals("t") == []
    assert not environment.was_processed("t", "BNK-1")


def test_clearing_forgets_one_trial_and_no_other(environment: Environment) -> None:
    for trial in ("t", "u"):
        environment.write(trial, [ROW], key="BNK-1", approval=("person", "approve"))
    environment.clear("t")
    assert (environment.actions("t"), environment.approvals("t")) == ([], [])
    assert not environment.was_processed("t", "BNK-1")
    assert environment.actions("u") == [ROW]
    assert environment.was_processed("u", "BNK-1")


def test_a_reopened_file_has_its_data_and_what_trials_did(tmp_path: Path) -> None:
    path = tmp_path / "environment.sqlite"
    first = Environment(TABLES, DOCUMENTS, path)
    first.write("t", [ROW], key="BNK-1")
    first.close()
    again = Environment(TABLES, DOCUMENTS, path)
    assert again.actions("t") == [ROW]
    assert not again.write("t", [ROW], key="BNK-1")
    assert len(again.rows("invoices")) == 3
    assert again.search("Acme Hardware", 1) == [again.document("customers/C-0001")]
    again.close()


def test_a_name_is_found_where_every_word_of_it_is_common() -> None:
    names = ["Acme Tools", "Bolt Bakery"]
    customers = pd.DataFrame({"customer_id": ["C-1", "C-2"], "customer_name": names})
    invoices = pd.DataFrame(
        {"invoice_id": [f"INV-{i}" for i in range(200)], "customer_name": names * 100}
    )
    environment = Environment({"customers": customers, "invoices": invoices}, {})
    (found,) = environment.search("acme tools", 8, kind="customers")
    assert "C-1" in found


@pytest.mark.parametrize("name", ["actions", "processed", "approvals", "texts", "search"])
def test_a_table_cannot_have_the_name_of_one_that_is_kept_besides(name: str) -> None:
    with pytest.raises(ValueError, match=f"another name is needed for the table {name}"):
        Environment({name: pd.DataFrame({"a_id": ["1"]})}, {})
