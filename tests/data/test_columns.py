"""Whose column is which: good guesses, and no guess where cells can be read in two ways."""

import tomllib
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.data import DataError, read_billing
from coordkit.data.columns import (
    DAY_FIRST,
    MONTH_FIRST,
    Columns,
    apply,
    find,
    guess,
    nearest,
    read_amounts,
    read_dates,
    read_said,
    write_said,
)
from coordkit.data.files import RawTable
from coordkit.data.schemas import CUSTOMERS, INVOICES, PAYMENTS

CAMT = """<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">
<BkToCstmrStmt><Stmt><Acct><Id><IBAN>DE00</IBAN></Id></Acct><Ntry><Amt Ccy="EUR">1.00</Amt>
<CdtDbtInd>CRDT</CdtDbtInd><BookgDt><Dt>2026-06-13</Dt></BookgDt></Ntry></Stmt></BkToCstmrStmt>
</Document>"""


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


@pytest.mark.parametrize(
    ("table", "ours", "names"),
    [
        (
            INVOICES,
            "due_on",
            ["Fälligkeitsdatum", "Nettofälligkeit", "Due Date (UTC)", "Fa\u0308llig"],
        ),
        (INVOICES, "invoice_id", ["Invoice #", "id", "Belegnr."]),
        (
            INVOICES,
            "amount",
            ["Betrag (EUR)", "Betrag in EUR", "Umsatz [€]", "Amount USD", "Total"],
        ),
        (PAYMENTS, "received_on", ["Buchungstag", "Wertstellung", "Created at", "Buchung"]),
        (
            PAYMENTS,
            "payer_name",
            ["Auftraggeber", "Auftraggeber/Empfänger", "Zahlungspflichtige*r"],
        ),
        (PAYMENTS, "remittance_text", ["Verwendungszweck", "Payment Reference"]),
    ],
)
def test_headers_as_banks_and_programs_write_them(table, ours, names):
    for name in names:
        assert guess(raw([name]), table).columns == {ours: name}


def test_of_columns_that_differ_in_a_unit_only_none_is_taken_and_no_id_is_a_customers():
    assert "amount" not in guess(raw(["Betrag (EUR)", "Betrag (USD)"]), PAYMENTS).columns
    assert "amount" not in guess(raw(["Betrag (EUR, Vorjahr)"]), PAYMENTS).columns
    assert guess(raw(["id", "Number"]), INVOICES).columns == {"invoice_id": "Number"}


@pytest.mark.parametrize(
    ("header", "cells", "currency"),
    [
        ("Betrag (EUR)", ["1,00"], "EUR"),
        ("Betrag (€)", ["1,00 EUR"], "EUR"),
        ("Betrag", ["£ 1.00", "2.00 GBP", ""], "GBP"),
        ("Betrag", ["£ 1.00", "2.00"], None),
        ("Betrag (EUR)", ["$ 1.00"], None),
        ("Betrag (EUR)", ["1.00 USD"], None),
        ("Betrag ($)", ["1.00"], None),
        ("Betrag", ["1.00"], None),
    ],
)
def test_a_currency_comes_from_the_amounts_only_if_they_tell_one(header, cells, currency):
    table = raw([header], *[[cell] for cell in cells])
    assert guess(table, PAYMENTS).values.get("currency") == currency
    told = Columns(columns={"currency": "Whg"})
    assert not guess(table, PAYMENTS, told).values, "a column that was named comes first"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        *[(name, PAYMENTS) for name in ("Kontoauszug_2026-06.csv", "umsaetze-123-20260630.csv",
          "transactions_june.csv", "bank_statement_26.csv", "BankStatement.xlsx", "camt053_7.xml")],
        *[(name, INVOICES) for name in ("Rechnungen 2026.csv", "Offene Posten 06.xlsx")],
        ("Kunden 2026.csv", CUSTOMERS),
    ],
)  # fmt: skip
def test_files_are_known_by_words_of_their_names(tmp_path, name, table):
    (tmp_path / name).write_text(CAMT if name.endswith("xml") else "a,b\n1,2\n")
    if name.endswith("xlsx"):
        pd.DataFrame({"a": [1]}).to_excel(tmp_path / name)
    raw_table, _ = find(tmp_path, table, NOTHING_SAID)
    assert raw_table is not None and raw_table.file == name


@pytest.mark.parametrize("name", ["customer_payments.csv", "Bankier.csv", "Kunden Newsletter.csv"])
def test_a_file_whose_name_means_two_tables_or_one_that_is_not_needed_is_not_taken(tmp_path, name):
    (tmp_path / name).write_text("a,b\n1,2\n")
    assert all(
        find(tmp_path, table, NOTHING_SAID)[0] is None for table in (PAYMENTS, INVOICES, CUSTOMERS)
    )


def test_what_was_said_stands_and_is_not_guessed_again():
    said = Columns(columns={"amount": "Brutto"}, values={"currency": "EUR"})
    found = guess(raw(["Betrag", "Brutto", "Währung"]), PAYMENTS, said)
    assert found.columns == {"amount": "Brutto"} and found.values == {"currency": "EUR"}


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_a_date_is_read_back_however_it_is_written(day):
    both = {DAY_FIRST: day, MONTH_FIRST: day}
    times = ("%Y-%m-%dT08:30:00Z", "%Y-%m-%d 12:34:56 -0400", "%b %d, %Y, 08:30 PM")
    for form in ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d %b %Y", "%d. %B %Y", "%B %d, %Y", *times):
        assert read_dates(day.strftime(form)) == both
    assert read_dates(day.strftime("%d.%m.%Y")) == {DAY_FIRST: day}
    assert read_dates(day.strftime("%d/%m/%y"))[DAY_FIRST] == day
    assert read_dates(day.strftime("%m/%d/%Y"))[MONTH_FIRST] == day


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "soon",
        "2026-02-30",
        "31.02.2026",
        "13/13/2026",
        "2026-6",
        "Feb 30, 2026",
        "12 Marketing 2026",
        "3 Foo 2026",
    ],
)
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
        (
            '[payments]\ndates = "eu"',
            "payments.dates = 'eu': Input should be '', 'day-first' or 'month-first'",
        ),
        ('[payments]\ndecimal = ";"', "payments.decimal = ';': Input should be '', '.' or ','"),
        (
            "[payments.columns]\namount = 3",
            "payments.columns.amount = 3: Input should be a valid string",
        ),
        ('[payment]\nfile = "x"', "no table 'payment'; there are invoices, payments, customers, "),
        (
            '[payments.columns]\namout = "x"',
            "payments has no column 'amout'; ours are payment_id, received_on, payer_name, amount",
        ),
        ('[payments.values]\ncurency = "EUR"', "payments has no column 'curency'"),
        ('[payments]\ncolour = "x"', "each table has file, columns, values, dates, decimal"),
        ('payments = "x"', "columns.toml"),
        ("[payments]\ncolumns = 3", "payments.columns = 3: Input should be a valid dictionary"),
        ('[payments]\ncolumns = "x"', "payments.columns = 'x': Input should be a valid dictionary"),
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


def test_a_column_of_a_near_name_is_proposed_and_never_taken_unasked():
    header = [name for name in INVOICES.columns if name not in ("due_on", "paid_on")]
    cells = ["I1", "C1", "Ada", "2026-06-01", "5.00", "EUR"]
    for theirs, proposed in (("Faeligkeit", '"Faeligkeit"'), ("Frist", '""')):
        table = raw([*header, theirs], [*cells, "2026-06-30"])
        mapping = guess(table, INVOICES)
        lines = apply(mapping, table, INVOICES).paste
        assert lines["invoices.columns"][0].startswith(f"due_on = {proposed}")
        assert "due_on" not in mapping.columns


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
    with pytest.raises(
        DataError, match=r"invoices.csv: is missing .* the folder holds no other table"
    ):
        read_billing(tmp_path)


def test_what_labels_and_examples_are_called_is_not_offered_for_a_missing_table(tmp_path):
    for name in ("labels.csv", "examples.csv"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(DataError) as caught:
        read_billing(tmp_path)
    assert str(caught.value).count("; the folder holds no other table") == 2
    (tmp_path / "Juni.csv").write_text("a\n1\n")
    with pytest.raises(DataError) as caught:
        read_billing(tmp_path)
    assert str(caught.value).count("say which of 'Juni.csv' it is") == 2


def test_two_files_for_one_table_are_a_question(tmp_path):
    for name in ("Bank.csv", "Zahlungen.csv"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(DataError, match=r"Bank.csv and Zahlungen.csv: which holds the payments\?"):
        read_billing(tmp_path)


INVOICE = "invoice_id,customer_id,customer_name,issued_on,due_on,amount,currency\n"
INVOICE += "R1,K1,Ada,2026-06-01,2026-07-01,100.00,EUR\n"
PAYMENT = "payment_id,received_on,payer_name,amount,currency,remittance_text\n"
PAYMENT += "P1,2026-06-13,Ada,100.00,EUR,R1\nP2,2026-06-14,Ada,5.00,EUR,R1\n"


def refused(folder, **files):
    """The error of a folder with these files."""
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_billing(folder)
    return caught.value


def test_headers_rows_and_cells_of_all_tables_are_told_at_once_with_one_block_to_paste(tmp_path):
    error = refused(
        tmp_path,
        invoices=INVOICE.replace("due_on", "Zahlbarbi").replace("100.00", "zwei"),
        payments=PAYMENT.replace("payer_name", "Absendr").replace("06-13", "06-31") + "P3,x\n",
    )
    for where in (
        "invoices.csv row 1, column due_on: is missing",
        "invoices.csv row 2, column amount",
        "payments.csv row 1, column payer_name",
        "payments.csv row 2, column received_on",
        "payments.csv row 4: has 2 cells",
    ):
        assert sum(problem.startswith(where) for problem in error.problems) == 1
    assert len(error.problems) == 5, "and nothing that only follows from them"
    block = str(error).partition("To paste into columns.toml:\n")[2]
    assert list(tomllib.loads(block)) == ["invoices", "payments"]
    (tmp_path / "columns.toml").write_text(block, encoding="utf-8")
    assert "is missing" not in str(refused(tmp_path))


def test_a_block_fits_a_columns_toml_that_has_some_of_it(tmp_path):
    (tmp_path / "columns.toml").write_text('[payments.columns] # mine\npayer_name = "Wer"\n')
    (tmp_path / "Juni.csv").write_text(INVOICE)
    payments = PAYMENT.replace("payer_name", "Wer").replace("received_on", "Eingng")
    error = refused(tmp_path, payments=payments)
    assert error.paste == (
        "To put into columns.toml, under these headings:\n"
        '[invoices]\nfile = ""  # its name\n'
        '[payments.columns]\nreceived_on = "Eingng"  # a guess, please check'
    )
    (tmp_path / "Juni.csv").unlink()
    alone = refused(tmp_path)
    assert "invoices.csv: is missing" in str(alone) and "the folder holds no other" in str(alone)
    assert "[invoices]" not in alone.paste
    (tmp_path / "columns.toml").write_text('[payments.columns]\nreceived_on = ""\n')
    error = refused(tmp_path, invoices=INVOICE, payments=payments.replace("Wer", "payer_name"))
    (problem,) = error.problems
    assert "column received_on: is blank in columns.toml; say which of 'Eingng' it is" in problem
    assert not error.paste, "a key that is there already must not be pasted again"


def test_a_missing_currency_comes_with_the_line_for_every_row(tmp_path):
    payments = PAYMENT.replace(",currency", "").replace(",EUR", "")
    error = refused(tmp_path, invoices=INVOICE, payments=payments)
    assert '[payments.values]\ncurrency = ""  # of every row, like "EUR"' in error.paste
    (tmp_path / "columns.toml").write_text(error.paste.partition("\n")[2].replace('""', '"EUR"'))
    assert set(read_billing(tmp_path).payments["currency"]) == {"EUR"}


def test_a_file_that_cannot_be_read_to_its_end_makes_no_other_table_wrong(tmp_path):
    payments = PAYMENT.replace("_text", "_text,kind,settles_invoice").replace(
        ",R1\n", ",R1,exact,R1\n"
    )
    error = refused(tmp_path, invoices=INVOICE.replace("R1,", 'R0,"', 1), payments=payments)
    assert [problem.partition(":")[0] for problem in error.problems] == ["invoices.csv row 2"]
    lines = INVOICE.replace("EUR\n", "EUR,x\n") + INVOICE.replace("R1", "R2").splitlines()[1]
    assert [p[:20] for p in refused(tmp_path, invoices=lines).problems] == ["invoices.csv row 2: "]
    (problem,) = refused(tmp_path, invoices=INVOICE.replace("invoice_id", "Wert")).problems
    assert problem.startswith("invoices.csv row 1, column invoice_id: is missing")
    error = refused(tmp_path, invoices=INVOICE.replace("R1,", "R0,"))
    assert "payments.csv row 2, column settles_invoice: 'R1' is not in invoices.csv" in str(error)


def test_a_bank_feed_without_ids_is_numbered(tmp_path):
    (tmp_path / "invoices.csv").write_text(INVOICE)
    without = "\n".join(line.partition(",")[2] for line in PAYMENT.splitlines())
    for payments in (without, PAYMENT.replace("payment_id", "Transaktionsart")):
        (tmp_path / "payments.csv").write_text(payments.replace("P2", "P1"))
        ids = read_billing(tmp_path).payments["payment_id"]
        assert list(ids) == ["row-000002", "row-000003"]
    error = refused(tmp_path, payments=PAYMENT.replace("payment_id", "Transaktions-I"))
    assert "column payment_id: is missing" in str(error), "one of a near name could be meant"
    (tmp_path / "columns.toml").write_text('[payments.columns]\npayment_id = ""\n')
    assert read_billing(tmp_path).payments["payment_id"][0] == "row-000002", "there is none"


@pytest.mark.parametrize("marks", ["H S H", "Haben Soll Haben", "CR DR cr"])
def test_payments_made_by_a_mark_of_their_own_are_left_out(marks):
    header = ["Umsatz-ID", "Buchungstag", "Auftraggeber", "Betrag", "S/H", "Währung", "Text"]

    def kept(*marks):
        lines = [
            [f"P{i}", f"1{i}.06.2026", "Ada", f"{i},00", mark, "EUR", f"INV-{i}"]
            for i, mark in enumerate(marks, 1)
        ]
        found = raw(header, *lines)
        mapped = apply(guess(found, PAYMENTS), found, PAYMENTS)
        return list(mapped.cells["payment_id"]), mapped.left_out

    assert kept(*marks.split()) == (["P1", "P3"], 1)
    assert kept("?", *marks.split()[1:]) == (["P1", "P2", "P3"], 0), "another column"
    assert kept(*3 * marks.split()[:1])[1] == kept(*3 * marks.split()[1:2])[1] == 0


def test_payments_made_are_left_out_of_a_feed_unless_they_are_labelled_or_all_there_is(tmp_path):
    (tmp_path / "invoices.csv").write_text(INVOICE)
    (tmp_path / "payments.csv").write_text(PAYMENT.replace("5.00", "-5.00"))
    assert list(read_billing(tmp_path).payments["payment_id"]) == ["P1"]
    error = refused(tmp_path, payments=PAYMENT.replace(",5", ",-5").replace(",100", ",-100"))
    assert len(error.problems) == 2 and "'-5.00' is negative" in str(error)
    labelled = PAYMENT.replace("_text", "_text,kind,settles_invoice").replace(
        ",R1\n", ",R1,exact,R1\n"
    )
    error = refused(tmp_path, payments=labelled.replace("5.00", "-5.00"))
    assert "row 3, column amount: '-5.00' is negative" in str(error)
    error = refused(tmp_path, invoices=INVOICE.replace("100.00", "-100.00"), payments=PAYMENT)
    assert "invoices.csv row 2, column amount: '-100.00' is negative" in str(error)


def test_a_column_that_stands_twice_with_the_same_cells_is_read(tmp_path):
    twice = PAYMENT.replace("currency,", "currency,currency,").replace("EUR,", "EUR,EUR,")
    (tmp_path / "invoices.csv").write_text(INVOICE.replace("EUR", "eur"))
    (tmp_path / "payments.csv").write_text(twice)
    tables = read_billing(tmp_path)
    assert set(tables.payments["currency"]) == set(tables.invoices["currency"]) == {"EUR"}
    error = refused(tmp_path, payments=twice.replace("EUR,EUR", "EUR,USD", 1))
    assert "column currency: stands twice; remove one" in str(error)


def test_a_label_column_that_was_named_is_not_left_out_without_a_word():
    feed = raw(["payment_id", "gehört zu"], ["P1", "I1"])
    said = Columns(columns={"settles_invoice": "gehört zu"})
    mapping = guess(feed, PAYMENTS, said)
    assert mapping.columns["settles_invoice"] == "gehört zu"
    (problem,) = [p for p in apply(mapping, feed, PAYMENTS).problems if "column kind" in p]
    assert "is missing; add it" in problem
    assert "kind" not in str(apply(guess(feed, PAYMENTS), feed, PAYMENTS).problems)
