"""Whose column is which: good guesses, and no guess where cells can be read in two ways."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.data import DataError, read_billing
from coordkit.data.columns import (
    DAY_FIRST,
    MONTH_FIRST,
    Columns,
    apply,
    guess,
    nearest,
    read_amounts,
    read_dates,
    read_said,
    write_said,
)
from coordkit.data.files import RawTable
from coordkit.data.schemas import INVOICES, PAYMENTS


def raw(header, *rows):
    return RawTable("x.csv", header, [*enumerate(map(list, rows), 2)])


def test_german_names_are_known():
    header = ["Rechnungs-Nr.", "Kunden-Nr.", "Kunde", "Rechnungsdatum", "Fällig am", "Betrag"]
    found = guess(raw([*header, "Währung", "Bezahlt am"]), INVOICES).columns
    assert found == dict(zip(INVOICES.columns, [*header, "Währung", "Bezahlt am"], strict=True))


def test_our_own_names_come_before_any_synonym():
    header = ["amount", "total", "invoice_id", "id", "customer_id", "customer_name"]
    found = guess(raw([*header, "issued_on", "date", "due_on", "currency"]), INVOICES).columns
    assert all(ours == theirs for ours, theirs in found.items())
    assert "paid_on" not in found


def test_a_generic_name_goes_to_who_needs_it_and_is_not_taken_twice():
    found = guess(raw(["Datum", "Betrag", "Name", "Zweck"]), PAYMENTS).columns
    assert found == {
        "received_on": "Datum", "amount": "Betrag", "payer_name": "Name", "remittance_text": "Zweck"
    }  # fmt: skip


def test_what_was_said_stands_and_is_not_guessed_again():
    said = Columns(columns={"amount": "Brutto"}, values={"currency": "EUR"})
    found = guess(raw(["Betrag", "Brutto", "Währung"]), PAYMENTS, said)
    assert found.columns == {"amount": "Brutto"} and found.values == {"currency": "EUR"}


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_a_date_is_read_back_however_it_is_written(day):
    both = {DAY_FIRST: day, MONTH_FIRST: day}
    for form in ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y-%m-%dT08:30:00Z", "%d %b %Y", "%d. %B %Y"):
        assert read_dates(day.strftime(form)) == both
    assert read_dates(day.strftime("%d.%m.%Y")) == {DAY_FIRST: day}
    assert read_dates(day.strftime("%d/%m/%y"))[DAY_FIRST] == day
    assert read_dates(day.strftime("%m/%d/%Y"))[MONTH_FIRST] == day


@pytest.mark.parametrize("cell", ["", "soon", "2026-02-30", "31.02.2026", "13/13/2026", "2026-6"])
def test_what_is_no_date_is_read_in_no_way(cell):
    assert read_dates(cell) == {}


@given(
    st.decimals(Decimal(0), Decimal(10) ** 8, places=2),
    st.sampled_from(["{}", "€ {}", "{} €", "EUR {}", "{} USD", "$ {}"]),
    st.booleans(),
)
def test_an_amount_is_read_back_however_it_is_written(amount, sign, negative):
    right = f"{'-' if negative else ''}{amount:.2f}"
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans({",": ".", ".": ","}))
    minus = "-" if negative else ""
    for mark, text in ((".", english), (",", german)):
        assert read_amounts(minus + sign.format(text)) == {mark: right}
    assert read_amounts(f"{minus}{amount:.2f}") == {".": right}
    assert read_amounts(f"{english.replace(',', ' ')}")["."] == f"{amount:.2f}"
    assert read_amounts(f"({english})")["."] == f"-{amount:.2f}"


@pytest.mark.parametrize("cell", ["", "nan", "1 00", "1,2,3", "12a", "--5", "1.234.5", "€"])
def test_what_is_no_amount_is_read_in_no_way(cell):
    assert read_amounts(cell) == {}


NOTHING_SAID = Columns()


def column(kind, cells, said=NOTHING_SAID):
    """Problems and cells of one column of payments."""
    name = "received_on" if kind == "date" else "amount"
    table = raw([name], *[[cell] for cell in cells])
    others = {ours: "x" for ours in PAYMENTS.columns if ours != name}
    mapping = Columns("x.csv", {name: name}, others, said.dates, said.decimal)
    mapped = apply(mapping, table, PAYMENTS)
    return mapped.problems, list(mapped.cells.get(name, []))


def test_one_cell_decides_a_column():
    cells = ["03/04/2026", "13/04/2026"]
    assert column("date", cells) == ([], ["2026-04-03", "2026-04-13"])
    assert column("date", ["03/04/2026", "04/13/2026"]) == ([], ["2026-03-04", "2026-04-13"])
    assert column("amount", ["1,234", "7.50"]) == ([], ["1234", "7.50"])
    assert column("amount", ["1.234", "7,50"]) == ([], ["1234", "7.50"])


def test_a_column_that_can_be_read_in_two_ways_is_one_problem_that_says_how_to_settle_it():
    (problem,), cells = column("date", ["03/04/2026", "05/06/2026"])
    assert problem.startswith("x.csv row 2, column received_on: '03/04/2026' can be 2026-04-03 or")
    assert 'dates = "day-first" or dates = "month-first" under [payments]' in problem and not cells
    (problem,), _ = column("amount", ["1,234", "12"])
    assert "row 2, column amount: '1,234' can be 1234 or 1.234" in problem
    assert column("date", ["03/04/2026"], Columns(dates=MONTH_FIRST)) == ([], ["2026-03-04"])
    assert column("amount", ["1,234"], Columns(decimal=".")) == ([], ["1234"])


def test_a_contradiction_is_not_settled_by_counting_the_undecided():
    (problem,), _ = column("date", ["03/04/2026", "13/04/2026", "04/13/2026"])
    assert "can be" in problem


def test_the_same_day_and_month_is_no_doubt():
    assert column("date", ["04/04/2026"]) == ([], ["2026-04-04"])


def test_columns_toml_is_read_back_as_written(tmp_path):
    said = {
        "payments": Columns("Bank.csv", {"amount": 'Be"trag'}, {"currency": "EUR"}, DAY_FIRST, ","),
        "invoices": Columns(columns={"due_on": "Fällig"}),
    }
    write_said(tmp_path, said)
    assert read_said(tmp_path) == said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[payments", "columns.toml: "),
        ('[payments]\ndates = "eu"', 'use "day-first" or "month-first"'),
        ('[payments]\ndecimal = ";"', 'use "." or ","'),
        ("[payments.columns]\namount = 3", "3 is not text"),
        ('[payments]\ncolour = "x"', "each table has file, columns, values, dates, decimal"),
        ('payments = "x"', "columns.toml"),
        ("[payments]\ncolumns = 3", "columns = 3 is not in its place"),
        ('[payments]\ncolumns = "x"', "columns = 'x' is not in its place"),
    ],
)
def test_a_columns_toml_that_cannot_be_understood_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "columns.toml").write_text(text)
    with pytest.raises(DataError) as caught:
        read_billing(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_column_that_was_named_and_is_not_there(tmp_path):
    (tmp_path / "Zahlungen.csv").write_text("a;b\n1;2\n")
    (tmp_path / "columns.toml").write_text('[payments.columns]\namount = "Betrag"\n')
    with pytest.raises(DataError) as caught:
        read_billing(tmp_path)
    problems = str(caught.value)
    assert "Zahlungen.csv row 1, column Betrag: is named in columns.toml, but not there" in problems
    assert "column received_on: is missing; add it, or say which of 'a', 'b' it is" in problems


GERMAN = "Rechnungsnummr;Kdnr;Kunde;Ausgestelt;Termin;Summme;Whg\n"


def test_missing_columns_come_with_a_block_to_paste_that_reads_the_file(tmp_path):
    (tmp_path / "payments.csv").write_text(",".join(PAYMENTS.columns) + "\n")
    row = "R1;K1;Ada Li;01.06.2026;bald;100,00;EUR\n"
    (tmp_path / "invoices.csv").write_text(GERMAN + row)
    with pytest.raises(DataError) as caught:
        read_billing(tmp_path)
    told = str(caught.value)
    block = told[told.index("[invoices.columns]") :]
    assert 'invoice_id = "Rechnungsnummr"  # a guess' in block
    assert 'amount = "Summme"  # a guess' in block
    assert 'due_on = ""  # put your' in block, "nothing is like it, and its cells are no dates"
    (tmp_path / "columns.toml").write_text(block.replace('due_on = ""', 'due_on = "Termin"'))
    with pytest.raises(DataError, match="column Termin: 'bald' is not a date") as caught:
        read_billing(tmp_path)
    assert "is missing" not in str(caught.value)


def test_a_name_is_near_only_if_a_letter_or_two_differ():
    assert nearest(["Betrg", "Datum"], ["betrag", "summe"]) == "Betrg"
    assert nearest(["Betreff", "Land"], ["betrag", "summe"]) == ""
    assert nearest([], ["betrag"]) == nearest(["Betrag"], []) == ""


def test_a_spare_column_is_proposed_by_its_cells_only_if_no_other_could_be_it():
    header = [name for name in INVOICES.columns if name not in ("due_on", "paid_on")]
    cells = ["I1", "C1", "Ada", "2026-06-01", "5.00", "EUR"]
    one = raw([*header, "Frist", "Notiz"], [*cells, "2026-06-30", "gut"])
    two = raw([*header, "Frist", "Mahnung"], [*cells, "2026-06-30", "2026-07-30"])
    for table, proposed in ((one, '"Frist"'), (two, '""')):
        lines = apply(guess(table, INVOICES), table, INVOICES).paste
        assert lines["invoices.columns"]["due_on"].startswith(proposed)
    assert "due_on" not in guess(one, INVOICES).columns, "a proposal is never taken unasked"


def test_a_missing_file_names_those_that_are_there(tmp_path):
    (tmp_path / "Rechnungn.csv").write_text("a\n1\n")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError) as caught:
        read_billing(tmp_path)
    told = str(caught.value)
    assert "say which of 'Rechnungn.csv' it is" in told and "notes.txt" not in told
    assert '[invoices]\nfile = "Rechnungn.csv"' in told
    assert '[payments]\nfile = ""' in told
    (tmp_path / "Rechnungn.csv").unlink()
    with pytest.raises(DataError, match=r"invoices.csv: is missing .* the folder holds no table"):
        read_billing(tmp_path)


def test_two_files_for_one_table_are_a_question(tmp_path):
    for name in ("Bank.csv", "Zahlungen.csv"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(DataError, match=r"Bank.csv and Zahlungen.csv: which holds the payments\?"):
        read_billing(tmp_path)
