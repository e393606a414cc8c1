"""The same table comes out of every kind of file."""

from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordkit.data import DataError, read_billing, write_dataset
from coordkit.data.files import read_raw
from coordkit.own_data import describe

INVOICES = """invoice_id,customer_id,customer_name,issued_on,due_on,amount,currency
INV-1001,C1,Ada Lï,2026-06-01,2026-07-01,1100.00,EUR
INV-1002,C2,Max Ito,2026-06-02,2026-07-02,50.5,EUR
"""
PAYMENTS = """payment_id,received_on,payer_name,amount,currency,remittance_text
P1,2026-06-13,Ada Lï,1100.00,EUR,INV-1001
P2,2026-06-14,Max Ito,50.50,EUR,INV-1002
"""
MT940 = """:20:STARTUMS
:25:10020030/1234567
:28C:1/1
:60F:C260601EUR1000,00
:61:2606130613CR1100,00N051NONREF//BANKREF1
:86:166?00GUTSCHRIFT?20SVWZ+INV-1001 THANK?21 YOU?32ADA LI
:61:2606140614DR20,00N005NONREF//BANKREF2
:86:105?00LASTSCHRIFT?20SVWZ+RENT?32LANDLORD
:61:2606140614CR50,50N051NONREF//BANKREF3
:86:166?00GUTSCHRIFT?20SVWZ+INV-1002?32MAX ITO
:62F:C260614EUR2130,50
-
"""
ENTRY = """<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{sign}</CdtDbtInd><Sts>BOOK</Sts>
<BookgDt><Dt>2026-06-13</Dt></BookgDt><AcctSvcrRef>{ref}</AcctSvcrRef><NtryDtls><TxDtls>
<RltdPties><Dbtr><Nm>{name}</Nm></Dbtr></RltdPties><RmtInf><Ustrd>{text}</Ustrd></RmtInf>
</TxDtls></NtryDtls></Ntry>"""
CAMT = (
    '<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">'
    "<BkToCstmrStmt><Stmt><Acct><Id><IBAN>DE00</IBAN></Id></Acct>"
    + ENTRY.format(amount="1100.00", sign="CRDT", ref="R1", name="Ada Li", text="INV-1001 thanks")
    + ENTRY.format(amount="20.00", sign="DBIT", ref="R2", name="Us", text="Rent")
    + ENTRY.format(amount="50.50", sign="CRDT", ref="R3", name="Max Ito", text="INV-1002")
    + "</Stmt></BkToCstmrStmt></Document>"
)


def typed(text):
    """A CSV text as a frame with real dates and numbers, as spreadsheets have them."""
    frame = pd.read_csv(pd.io.common.StringIO(text))
    for column in frame:
        if column.endswith("_on"):
            frame[column] = pd.to_datetime(frame[column])
    return frame


@pytest.fixture
def folder(tmp_path):
    write_dataset({"invoices.csv": INVOICES, "payments.csv": PAYMENTS}, tmp_path)
    return tmp_path


def same(folder):
    """Whether the folder gives the tables that its CSV files gave."""
    tables = read_billing(folder)
    assert list(tables.invoices["amount"]) == [Decimal("1100.00"), Decimal("50.50")]
    assert list(tables.invoices["issued_on"]) == [date(2026, 6, 1), date(2026, 6, 2)]
    assert list(tables.invoices["customer_name"]) == ["Ada Lï", "Max Ito"]
    assert list(tables.payments["received_on"]) == [date(2026, 6, 13), date(2026, 6, 14)]
    return True


def test_csv_xlsx_and_parquet_give_the_same_table(folder):
    assert same(folder)
    for name, text in (("invoices", INVOICES), ("payments", PAYMENTS)):
        (folder / f"{name}.csv").unlink()
        typed(text).to_excel(folder / f"{name}.xlsx", index=False)
    assert same(folder)
    for name, text in (("invoices", INVOICES), ("payments", PAYMENTS)):
        (folder / f"{name}.xlsx").unlink()
        typed(text).to_parquet(folder / f"{name}.parquet", index=False)
    assert same(folder)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8-sig"])
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separators_and_encodings_are_noticed(folder, encoding, separator):
    text = INVOICES.replace(",", separator).replace("1100.00", "1.100,00").replace("50.5", "50,5")
    (folder / "invoices.csv").write_bytes(text.encode(encoding))
    assert same(folder)
    note = read_raw(folder / "invoices.csv").note
    assert repr(separator) in note and ("Windows-1252" in note) == (encoding != "utf-8-sig")


LETTERHEAD = '"Girokonto";"DE00"\n"Zeitraum:";"01.06.2026 - 30.06.2026"\n\n'


def test_what_stands_above_a_header_is_left_out(folder):
    text = LETTERHEAD + INVOICES.replace(",", ";")
    (folder / "invoices.csv").write_text(text, encoding="utf-8")
    assert same(folder)
    table = read_raw(folder / "invoices.csv")
    assert table.top == 4 and [row for row, _ in table.rows] == [5, 6]
    assert "the header is row 4" in table.note
    (folder / "invoices.csv").write_text(text.replace("1100.00", "x"), encoding="utf-8")
    with pytest.raises(DataError, match=r"^invoices.csv row 5, column amount: 'x'"):
        read_billing(folder)
    (folder / "invoices.csv").unlink()
    typed(INVOICES).to_excel(folder / "invoices.xlsx", index=False, startrow=3)
    assert same(folder) and read_raw(folder / "invoices.xlsx").top == 4


def test_a_header_that_lacks_a_name_is_still_the_header_and_blank_cells_too_many_are_cut(folder):
    (folder / "invoices.csv").write_text(INVOICES.replace(",currency", ""), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_billing(folder)
    assert [p.partition(":")[0] for p in caught.value.problems] == [
        "invoices.csv row 2", "invoices.csv row 3"]  # fmt: skip
    (folder / "invoices.csv").write_text(INVOICES.replace("EUR\n", "EUR,,\n"), encoding="utf-8")
    assert same(folder)


def test_utf_8_with_a_broken_byte_is_not_taken_for_windows_1252(folder):
    raw = INVOICES.replace("Ito", "Süß").encode() + b"\xfc"
    (folder / "invoices.csv").write_bytes(raw)
    with pytest.raises(DataError, match=r"invoices.csv row 4: byte 0xfc is not UTF-8"):
        read_billing(folder)


def test_a_wrong_cell_of_a_sheet_is_named_by_its_row(folder):
    frame = typed(INVOICES).astype(object)
    frame.loc[1, "amount"] = "fifty"
    (folder / "invoices.csv").unlink()
    frame.to_excel(folder / "invoices.xlsx", index=False)
    with pytest.raises(DataError, match=r"^invoices.xlsx row 3, column amount: 'fifty' is not"):
        read_billing(folder)


@pytest.mark.parametrize(
    ("payer", "encoding"),
    [
        ("Jäger", "cp850"),
        ("Łódź Śląsk", "iso8859-2"),
        ("Łódź Śląsk", "cp1250"),
        ("Иванов", "cp1251"),
        ("Παπάς", "cp1253"),
        ("中国", "gbk"),
    ],
)
def test_another_encoding_is_refused_and_not_read_garbled(folder, payer, encoding):
    (folder / "invoices.csv").write_bytes(INVOICES.replace("Ada Lï", payer).encode(encoding))
    with pytest.raises(DataError, match=r"invoices.csv row \d: byte 0x.. is not UTF-8"):
        read_billing(folder)


@pytest.mark.parametrize("sign", ["€", "Ž", "ü"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_8_that_is_damaged_is_refused(folder, sign, mark):
    (folder / "invoices.csv").write_bytes((mark + INVOICES.replace("Ito", sign)).encode() + b"\xfc")
    with pytest.raises(DataError, match="byte 0xfc is not UTF-8"):
        read_billing(folder)


def test_a_line_of_a_statement_that_moves_no_money_is_left_out(folder):
    (folder / "payments.csv").unlink()
    nothing = ":61:2606150615C0,00NTRFNONREF//B999\n:86:Kontoabschluss\n"
    text = MT940.replace(":62F:", f"{nothing}:62F:", 1)
    assert nothing in text
    (folder / "bank.sta").write_text(text, encoding="utf-8")
    assert list(read_billing(folder).payments["amount"]) == [Decimal("1100.00"), Decimal("50.50")]


@pytest.mark.parametrize(("name", "text"), [("bank.sta", MT940), ("payments.xml", CAMT)])
def test_a_bank_statement_is_a_feed_of_what_was_received(folder, name, text):
    (folder / "payments.csv").unlink()
    (folder / name).write_text(text, encoding="utf-8")
    payments = read_billing(folder).payments
    assert list(payments["amount"]) == [Decimal("1100.00"), Decimal("50.50")]
    assert list(payments["payer_name"].str.title()) == ["Ada Li", "Max Ito"]
    assert [text.split()[0] for text in payments["remittance_text"]] == ["INV-1001", "INV-1002"]
    assert payments["received_on"][0] == date(2026, 6, 13) and set(payments["currency"]) == {"EUR"}
    assert payments["payment_id"].nunique() == 2
    assert "1 payments made are left out" in describe(folder, "billing")


@pytest.mark.parametrize("name", ["payments.sta", "payments.xml", "payments.xlsx", "x.parquet"])
@pytest.mark.parametrize("content", [b"", b"hello", b"<a>", b"PK\x03\x04", b":20:A\n:61:26x"])
def test_a_file_that_is_not_what_it_says_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_raw(folder / name)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")


def test_xml_entities_are_not_expanded(folder):
    (folder / "secret.txt").write_text("SECRET")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{folder}/secret.txt">]>'
    text = CAMT.replace("?>", "?>" + entity, 1).replace("INV-1002", "&e;")
    (folder / "payments.xml").write_text(text)
    (folder / "payments.csv").unlink()
    try:
        shown = str(read_raw(folder / "payments.xml").rows)
    except DataError:
        return
    assert "SECRET" not in shown


CELLS = st.sampled_from(
    ["", "x", "-1", "1,5", "1.234", "03/04/2026", "2026-13-01", "INV-1001", ";", '"', "é", "\0",
     "9" * 30, "=1+1", "NaN", "1e5", "  ", "EUR", "\u202e", "INV-1001;INV-1002", "²", "٣"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_mutated_table_loads_or_is_refused_with_a_location(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mutated")
    files = {"invoices.csv": INVOICES, "payments.csv": PAYMENTS}
    for name in files:
        for _ in range(data.draw(st.integers(0, 3))):
            lines = files[name].splitlines()
            row = data.draw(st.integers(0, len(lines) - 1))
            cells = lines[row].split(",")
            cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(CELLS)
            extra = data.draw(st.sampled_from(["", "", "", ",", ";"]))
            lines[row] = ",".join(cells) + extra
            files[name] = "\n".join(lines) + "\n"
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    for name, text in files.items():
        (folder / name).write_bytes(text.encode(encoding, errors="replace"))
    try:
        tables = read_billing(folder)
    except DataError as error:
        assert error.problems
        assert all(p.startswith(("invoices.csv", "payments.csv")) for p in error.problems)
    else:
        assert all(isinstance(v, Decimal) and v > 0 for v in tables.invoices["amount"])
        assert all(isinstance(v, date) for v in tables.payments["received_on"])
        assert tables.invoices["invoice_id"].is_unique
