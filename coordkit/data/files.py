"""Read a table from whatever file a person has: CSV, XLSX, Parquet, or a bank's MT940 or CAMT.053.

Every cell comes back as stripped text, in a frame whose index is the row in the file (the header
of a sheet is row 1; a bank's file counts its entries from 1).
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

SHOWN, SHOWN_OF_ONE = 20, 5  # problems in a DataError's message, and of one column
MAX_CELL = 100_000  # characters in a cell, bytes in a document
SHEETS, BANK_FILES = (".csv", ".xlsx", ".parquet"), (".sta", ".mt940", ".xml")

NOT_TEXT = {  # first bytes -> what the file really is
    b"PK\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "HTML or XML",
}
STATEMENT = ["payment_id", "received_on", "payer_name", "amount", "currency", "remittance_text"]


class DataError(ValueError):
    """What is wrong with a data directory, one problem a line.

    Args:
        problems: one line each; the message shows the first 20, of one column the first 5, and how
            many more there are.
        paste: lines for columns.toml that mend some of them; shown last.
    """

    def __init__(self, problems: Sequence[str], paste: str = "") -> None:
        super().__init__(list(problems), paste)  # as args, so that the error survives pickling
        self.problems, self.paste = list(problems), paste

    def __str__(self) -> str:
        seen, shown, hidden = Counter[str](), list[str](), Counter[str]()
        for problem in self.problems:
            column = re.sub(r" row \d+", "", problem.partition(":")[0])
            seen[column] += 1
            if seen[column] <= SHOWN_OF_ONE and len(shown) < SHOWN:
                shown.append(problem)
            else:
                hidden[column] += 1
        for column, most in hidden.most_common(1):
            where = f", {most:,} of them in {column}" if most > 1 else ""
            shown.append(f"and {hidden.total():,} more{where}")
        return "\n".join([*shown, *filter(None, [self.paste])])


@dataclass(frozen=True)
class RawTable:
    """A table as it stands in its file.

    Attributes:
        file: the file's name, for messages.
        header: the column names, as written; one may stand twice.
        rows: (row in the file, its cells as text).
        note: what was noticed in reading, such as another encoding; empty if nothing.
        top: the header's row in the file.
        problems: rows that cannot be read; they are not among ``rows``.
    """

    file: str
    header: list[str]
    rows: list[tuple[int, list[str]]]
    note: str = ""
    top: int = 1
    problems: Sequence[str] = ()

    def cells(self, name: str) -> list[str]:
        """The cells of a column, of the first one if several are called so."""
        place = self.header.index(name)
        return [row[place] for _, row in self.rows]


def read_raw(path: Path) -> RawTable:
    """Read a table.

    Args:
        path: its ending says what it is: .csv, .xlsx, .parquet, .sta or .mt940 (MT940), .xml
            (CAMT.053). Of a bank's file only the money received is read.
    Returns: the table, without what stands above its header (a bank's letterhead, a title).
    Raises: DataError, each problem with file and row, if there is nothing to go on with.
    """
    readers: dict[str, Callable[[Path], RawTable]] = {
        ".csv": _read_csv, ".xlsx": _read_xlsx, ".parquet": _read_parquet,
        ".sta": _read_mt940, ".mt940": _read_mt940, ".xml": _read_camt,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise DataError([f"{path.name}: cannot be read; use one of {', '.join(readers)}"])
    table = readers[path.suffix.lower()](path)
    if not table.header and not table.problems:
        raise DataError([f"{table.file}: is empty; add a header and rows"])
    if not table.rows and table.problems:
        raise DataError(table.problems)
    if not table.rows:
        raise DataError([f"{table.file}: has a header but no rows; add rows"])
    return table


def read_bytes(path: Path, name: str) -> bytes:
    """The bytes of a file.

    Raises: DataError if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        why = f"{name}: cannot be read ({error.strerror}); check the file"
        raise DataError([why]) from None


def read_text(path: Path, name: str) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises: DataError if it is something else.
    """
    raw = read_bytes(path, name)
    if b"\0" in raw:
        row = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise DataError([f"{name} row {row}: has a NUL byte; save the file as UTF-8 again"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise DataError([f"{name} row {row}: {byte}; save the file as UTF-8"]) from None


def _read_csv(path: Path) -> RawTable:
    name, raw = path.name, read_bytes(path, path.name)
    really = next((what for start, what in NOT_TEXT.items() if raw.startswith(start)), "")
    if really:
        raise DataError([f"{name}: is {really}, not CSV; save it as CSV (UTF-8)"])
    notes = []
    try:
        text = read_text(path, name)
    except DataError:
        if not _is_western(raw):
            raise
        text = raw.decode("cp1252")
        notes.append("read as Windows-1252 (Latin-1), for it is not UTF-8")
    separator = _separator(text)
    if separator != ",":
        notes.append(f"separated by {separator!r}")
    rows, broken = _csv_rows(text, name, separator)
    return _below_the_letterhead(name, rows, notes, broken)


def _below_the_letterhead(
    file: str, rows: list[tuple[int, list[str]]], notes: list[str], broken: Sequence[str] = ()
) -> RawTable:
    """Find the header: the first row not half empty beside the fullest third of the rows.

    Rows with more cells than the header, or less, are problems; blank cells too many are cut.
    """
    if not rows:
        return RawTable(file, [], [], problems=broken)
    filled = [sum(map(bool, cells)) for _, cells in rows]
    usual = sorted(filled)[-1 - len(filled) // 3]
    start = next((i for i, cells in enumerate(filled[:-1]) if 2 * cells > usual), 0)
    top, header = rows[start]
    if start:
        notes = [*notes, f"the header is row {top}"]
    sound, problems = [], []
    for row, cells in rows[start + 1 :]:
        cells = cells[: len(header)] if not any(cells[len(header) :]) else cells
        if len(cells) == len(header):
            sound.append((row, cells))
        else:
            problems.append(
                f"{file} row {row}: has {len(cells)} cells, the header has {len(header)}; "
                "put a cell that has the separator in it in double quotes"
            )
    return RawTable(file, header, sound, "; ".join(notes), top, [*problems, *broken])


def _is_western(raw: bytes) -> bool:
    """Whether bytes that are no UTF-8 are plausibly Windows-1252 text: letters, no control bytes.

    What is above ASCII must be letters and signs of money or punctuation next to plain text.
    """
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if re.search(rb"\xc3[\x80-\xbf]", raw):
        return False  # UTF-8 with a broken byte elsewhere: its umlauts would come out as two signs
    odd = [c for c in text if ord(c) > 126]
    plain = all(c.isalpha() or c in "€£¥§°´’‘“”–—…\u00a0«»" for c in odd)
    return plain and not re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f]", text) and len(odd) * 4 < len(text)


def _separator(text: str) -> str:
    """What stands between the cells: in the first row that has any, the most frequent."""
    for line in text.splitlines():
        plain = re.sub(r'"[^"]*"', "", line)
        if line.strip(',;\t| "') and re.search(r"[,;\t|]", plain):
            return max(",;\t|", key=plain.count)
    return ","


def _csv_rows(
    text: str, file: str, separator: str
) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Split CSV text into rows of stripped cells, each with its number; leave out blank rows.

    Returns: the rows, and what is wrong with the one after which nothing can be read.
    """
    rows: list[tuple[int, list[str]]] = []
    row = 0
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # so that we name the cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row, cells in enumerate(reader, 1):
            if any(cell.strip() for cell in cells):
                rows.append((row, [cell.strip() for cell in cells]))
    except csv.Error as error:
        return rows, [f"{file} row {row + 1}: is not CSV ({error}); check the double quotes"]
    finally:
        csv.field_size_limit(limit)
    return rows, []


# --- files that know what is a date and what a number -------------------------------------------


def _as_text(cell: Any) -> str:
    """A typed cell as the text that we would have written."""
    if cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Decimal):
        cell = float(cell)
    if isinstance(cell, float):
        cents = round(cell, 2)
        if abs(cents - cell) < 1e-9 * max(1.0, abs(cell)):
            return str(int(cents)) if cents == int(cents) and abs(cents) < 1e15 else f"{cents:.2f}"
        return f"{cell:.6f}"  # six decimals, so that it cannot pass for thousands
    return str(cell).strip()


def _typed(file: str, rows: Iterable[tuple[int, Sequence[Any]]], *note: str) -> RawTable:
    text = [(row, [_as_text(cell) for cell in cells]) for row, cells in rows]
    return _below_the_letterhead(
        file, [(row, cells) for row, cells in text if any(cells)], list(note)
    )


def _read_xlsx(path: Path) -> RawTable:
    from openpyxl import load_workbook

    raw = io.BytesIO(read_bytes(path, path.name))
    try:
        book = load_workbook(raw, read_only=True, data_only=True)
        sheet, others = book.worksheets[0], len(book.worksheets) - 1
        rows = [(i, list(cells)) for i, cells in enumerate(sheet.iter_rows(values_only=True), 1)]
    except (zipfile.BadZipFile, KeyError, ValueError, IndexError, TypeError, OSError, SyntaxError):
        raise DataError([f"{path.name}: is not an Excel workbook; save it as .xlsx"]) from None
    ignored = f"; {others} more sheets are not read" if others else ""
    return _typed(path.name, rows, f"sheet {sheet.title!r}{ignored}")


def _read_parquet(path: Path) -> RawTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = read_bytes(path, path.name)
    try:
        table = pq.read_table(io.BytesIO(raw))
        cells = zip(*(column.to_pylist() for column in table.columns), strict=True)
    except (pa.ArrowException, OSError, ValueError):
        raise DataError([f"{path.name}: is not a Parquet file; save it again"]) from None
    return _typed(path.name, [(1, table.column_names), *enumerate(cells, 2)])


# --- bank statements ------------------------------------------------------------------------------


def _statement(file: str, entries: Sequence[tuple[bool, list[str]]], kind: str) -> RawTable:
    """Entries (credit?, cells) as a table of what was received."""
    rows = [(i, cells) for i, (credit, cells) in enumerate(entries, 1) if credit]
    left_out = len(entries) - len(rows)
    first: dict[str, list[str]] = {}
    for i, cells in rows:  # the parts of one collective entry share its reference
        if first.setdefault(cells[0], cells[2:]) != cells[2:]:
            cells[0] = f"{cells[0]}/{i}"
    note = f"{kind}; {left_out} payments made are left out" if left_out else kind
    return RawTable(file, STATEMENT, rows, note)


def _read_mt940(path: Path) -> RawTable:
    import mt940

    raw = read_bytes(path, path.name)
    encoding = "utf-8-sig" if _decodes(raw) else "cp1252"
    try:
        parsed = mt940.parse(raw.decode(encoding, errors="replace").replace("\r\n", "\n"))
        entries = [_mt940_entry(dict(t.data), i) for i, t in enumerate(parsed, 1) if t.data]
    except (ValueError, RuntimeError, KeyError, AttributeError, TypeError, AssertionError) as error:
        why = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise DataError([f"{path.name}: is not MT940 ({why}); ask the bank again"]) from None
    if not entries:
        raise DataError([f"{path.name}: has no MT940 entries; check that it is a statement"])
    return _statement(path.name, entries, "MT940")


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return True


def _mt940_entry(data: dict[str, Any], number: int) -> tuple[bool, list[str]]:
    amount = data["amount"]  # an Amount: signed by debit and credit
    purpose = data.get("purpose") or data.get("transaction_details") or ""
    reference = data.get("bank_reference") or data.get("customer_reference") or ""
    cells = [
        _reference(reference, number),
        date(data["date"].year, data["date"].month, data["date"].day).isoformat(),
        data.get("applicant_name") or "unknown",
        str(amount.amount),
        amount.currency or "",
        " ".join(filter(None, (str(purpose), data.get("extra_details") or ""))),
    ]
    return amount.amount > 0, [" ".join(str(cell).split()) for cell in cells]


def _reference(text: str | None, number: int) -> str:
    """The bank's reference, or the entry's number where the bank gives none."""
    return text if text and text not in ("NONREF", "NOTPROVIDED") else f"entry-{number:06d}"


def _read_camt(path: Path) -> RawTable:
    from lxml.etree import LxmlError
    from pycamt.parser import Camt053ParseError, Camt053Parser

    raw = read_bytes(path, path.name)
    try:
        found = Camt053Parser(raw).get_transactions()
        entries = [_camt_entry(entry, i) for i, entry in enumerate(found, 1)]
    except (Camt053ParseError, LxmlError, SyntaxError, ValueError, AttributeError, KeyError):
        raise DataError([f"{path.name}: is not CAMT.053; export the statement again"]) from None
    return _statement(path.name, entries, "CAMT.053")


def _camt_entry(entry: dict[str, Any], number: int) -> tuple[bool, list[str]]:
    texts = [entry.get(key) for key in ("RemittanceInformationFull", "RemittanceInformation")]
    text = " ".join(dict.fromkeys(filter(None, texts))) or entry.get("AdditionalEntryInformation")
    cells = [
        _reference(entry.get("TransactionID") or entry.get("EndToEndId"), number),
        (entry.get("BookingDate") or entry.get("ValueDate") or "")[:10],
        entry.get("DebtorName") or "unknown",
        entry["Amount"] or "",
        entry.get("Currency") or "",
        text or "",
    ]
    return entry.get("CreditDebitIndicator") == "CRDT", [" ".join(c.split()) for c in cells]
