"""Read a table from whatever file a person has: CSV, XLSX, Parquet, or a bank's MT940 or CAMT.053.

Every cell comes back as stripped text, in a frame whose index is the row in the file (the header
of a sheet is row 1; a bank's file counts its entries from 1).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

SHOWN, SHOWN_OF_ONE = 20, 5  # problems in a DataError's message, and of one column
MAX_CELL = 100_000  # characters in a cell, bytes in a document
BANK_FILES = (".sta", ".mt940", ".xml")

NOT_TEXT = {  # first bytes -> what the file really is
    b"PK\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "HTML or XML",
}
# What stands above ASCII in Windows-1252 text: Western letters, money, punctuation.
WESTERN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿŠšŽžŒœŸ€£¥§°´’‘“”–—…\u00a0«»ªº"
)
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
        seen, shown = Counter[str](), list[str]()
        for problem in self.problems:
            column = re.sub(r" row \d+", "", problem.partition(":")[0])
            seen[column] += 1
            if seen[column] <= SHOWN_OF_ONE and len(shown) < SHOWN:
                shown.append(problem)
        more = len(self.problems) - len(shown)
        rest = f"and {more:,} more" if more else ""
        return "\n".join(filter(None, [*shown, rest, self.paste]))


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
            (CAMT.053).
    Returns: the table, without what stands above its header (a bank's letterhead, a title). What a
        bank's file says was paid is below zero.
    Raises: DataError, each problem with file and row, if there is nothing to go on with.
    """
    name, suffix = path.name, path.suffix.lower()
    if suffix not in READERS:
        raise DataError([f"{name}: cannot be read; use one of {', '.join(READERS)}"])
    what, reader = READERS[suffix]
    raw = read_bytes(path, name)
    try:
        table = reader(name, raw)
    except DataError:
        raise
    except Exception:  # whatever a library raises on what it does not understand
        raise DataError([f"{name}: is not {what}; export it again"]) from None
    if table.rows:
        return table
    if table.problems:
        raise DataError(table.problems)
    what = (
        "has a header but no rows; add rows" if table.header else "is empty; add a header and rows"
    )
    raise DataError([f"{name}: {what}"])


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
    return _decoded(read_bytes(path, name), name)


def _decoded(raw: bytes, name: str) -> str:
    if b"\0" in raw:
        row = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise DataError([f"{name} row {row}: has a NUL byte; save the file as UTF-8 again"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = error.object.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise DataError([f"{name} row {row}: {byte}; save the file as UTF-8"]) from None


def _read_csv(name: str, raw: bytes) -> RawTable:
    really = next((what for start, what in NOT_TEXT.items() if raw.startswith(start)), "")
    if really:
        raise DataError([f"{name}: is {really}, not CSV; save it as CSV (UTF-8)"])
    notes = []
    if western := _is_western(raw):
        notes.append("read as Windows-1252 (Latin-1), for it is not UTF-8")
    text = raw.decode("cp1252") if western else _decoded(raw, name)
    separator = _separator(text)
    if separator != ",":
        notes.append(f"separated by {separator!r}")
    rows, broken = _csv_rows(text, name, separator)
    return _below_the_letterhead(name, rows, notes, broken)


def _below_the_letterhead(
    file: str, rows: list[tuple[int, list[str]]], notes: list[str], broken: Sequence[str] = ()
) -> RawTable:
    """Find the header: the first row not half empty beside the fullest third of the rows.

    Rows with more cells than the header, or less, are problems; blank rows are left out, and blank
    cells too many are cut.
    """
    rows = [(row, cells) for row, cells in rows if any(cells)]
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
    """Whether bytes are no UTF-8, but plausibly Windows-1252 text: Western letters, mostly ASCII.

    Text of another encoding would come out garbled, and payers are matched by their names. Nor may
    a letter of UTF-8 be among it, with a byte broken elsewhere: it would be two or three signs.
    """
    try:
        raw.decode("utf-8-sig")
        return False
    except UnicodeDecodeError:
        if re.search(rb"[\xc3-\xc5][\x80-\xbf]|\xe2[\x80-\xbf]{2}|^\xef\xbb\xbf", raw):
            return False
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    odd = [sign for sign in text if ord(sign) > 126]
    if not all(sign in WESTERN for sign in odd) or 4 * len(odd) >= len(text):
        return False
    # Nor four accented letters in a row: that is Cyrillic or Greek of another code page.
    return not re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f]|[À-ÖØ-öø-ÿ]{4}", text)


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
    """Split CSV text into rows of stripped cells, each with its number.

    Returns: the rows, and what is wrong with the one after which nothing can be read.
    """
    rows: list[tuple[int, list[str]]] = []
    csv.field_size_limit(2**31 - 1)  # so that it is we who name a huge cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row, cells in enumerate(reader, 1):
            rows.append((row, [cell.strip() for cell in cells]))
    except csv.Error as error:
        broken = f"{file} row {len(rows) + 1}: is not CSV ({error}); check the double quotes"
        return rows, [broken]
    return rows, []


# --- files that know what is a date and what a number -------------------------------------------


def _as_text(cell: Any) -> str:
    """A typed cell as the text that we would have written."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, date):
        return f"{cell:%Y-%m-%d}"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float | Decimal):  # of more than two decimals all, or it is thousands
        return f"{cell:.6f}".removesuffix("0000").removesuffix(".00")
    return str(cell).strip()


def _typed(file: str, rows: Iterable[Sequence[Any]], *note: str) -> RawTable:
    text = [(row, [_as_text(cell) for cell in cells]) for row, cells in enumerate(rows, 1)]
    return _below_the_letterhead(file, text, list(note))


def _read_xlsx(name: str, raw: bytes) -> RawTable:
    from openpyxl import load_workbook

    sheet, *others = load_workbook(io.BytesIO(raw), read_only=True, data_only=True).worksheets
    ignored = f"; {len(others)} more sheets are not read" if others else ""
    return _typed(name, sheet.iter_rows(values_only=True), f"sheet {sheet.title!r}{ignored}")


def _read_parquet(name: str, raw: bytes) -> RawTable:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(raw))
    cells = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return _typed(name, [table.column_names, *cells])


# --- bank statements ------------------------------------------------------------------------------


def _statement(file: str, entries: Iterable[Sequence[Any]], kind: str) -> RawTable:
    """Entries as a table; one without the bank's reference has its number."""
    rows: list[tuple[int, list[str]]] = []
    first: dict[str, list[str]] = {}
    for row, entry in enumerate(entries, 1):
        reference, *cells = (" ".join(_as_text(cell).split()) for cell in entry)
        if reference in ("", "NONREF", "NOTPROVIDED"):
            reference = f"entry-{row:06d}"
        if not cells[2].strip("-0."):  # no money came or went
            continue
        # The parts of one collective entry share its reference.
        if first.setdefault(reference, cells[1:]) != cells[1:]:
            reference = f"{reference}/{row}"
        rows.append((row, [reference, *cells]))
    if not rows:
        raise DataError([f"{file}: has no {kind} entries; check that it is a statement"])
    return RawTable(file, STATEMENT, rows, kind)


def _read_mt940(name: str, raw: bytes) -> RawTable:
    import mt940

    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    entries = [entry.data for entry in mt940.parse(text.replace("\r\n", "\n")) if entry.data]
    return _statement(name, map(_mt940_entry, entries), "MT940")


def _mt940_entry(data: dict[str, Any]) -> Sequence[Any]:
    purpose = data.get("purpose") or data.get("transaction_details") or ""
    return (
        data.get("bank_reference") or data.get("customer_reference"),
        data["date"],
        data.get("applicant_name") or "unknown",
        data["amount"].amount,  # signed by debit and credit
        data["amount"].currency,
        f"{purpose} {data.get('extra_details') or ''}",
    )


def _read_camt(name: str, raw: bytes) -> RawTable:
    from pycamt.parser import Camt053Parser

    entries = Camt053Parser(raw).get_transactions()
    return _statement(name, map(_camt_entry, entries), "CAMT.053")


def _camt_entry(entry: dict[str, Any]) -> Sequence[Any]:
    texts = [entry.get(key) for key in ("RemittanceInformationFull", "RemittanceInformation")]
    text = " ".join(dict.fromkeys(filter(None, texts))) or entry.get("AdditionalEntryInformation")
    received = entry.get("CreditDebitIndicator") == "CRDT"
    return (
        entry.get("TransactionID") or entry.get("EndToEndId"),
        (entry.get("BookingDate") or entry.get("ValueDate") or "")[:10],
        entry.get("DebtorName") or "unknown",
        f"{'' if received else '-'}{(entry['Amount'] or '').lstrip('-')}",
        entry.get("Currency"),
        text,
    )


READERS: dict[str, tuple[str, Callable[[str, bytes], RawTable]]] = {
    ".csv": ("CSV", _read_csv),
    ".xlsx": ("an Excel workbook", _read_xlsx),
    ".parquet": ("a Parquet file", _read_parquet),
    ".sta": ("MT940", _read_mt940),
    ".mt940": ("MT940", _read_mt940),
    ".xml": ("CAMT.053", _read_camt),
}
