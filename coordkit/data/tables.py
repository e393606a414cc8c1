"""Read and check the tables of a billing or support directory; write a generated one.

A reader collects every problem it can find, each with file, row (as a spreadsheet counts: the
header is row 1), column and remedy, and raises them together as one `DataError`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from coordkit.data.generate_billing import KINDS, house_rules
from coordkit.data.generate_support import EXAMPLES, INTENTS, POLICIES

# Used when a billing directory has no terms/house.md: the customs that a plain bank feed shows.
DEFAULT_HOUSE = house_rules(
    discount="2% if paid within 30 days of the invoice date",
    charges="shared; up to 15.00 per transfer is accepted",
)

MAX_CELL = 100_000  # characters in a cell, bytes in a document
MAX_AMOUNT = Decimal(10) ** 9
SHOWN = 20  # problems in a DataError's message

KIND_ALIASES = {
    "early_discount_2pct": "early_discount",
    "bank_fee_15": "bank_fee",
    "partial": "short_payment",
    "no_reference": "exact",
    "typo": "exact",
}

# ISO 4217, active codes of money (no metals, funds or test codes).
CURRENCIES = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN "
    "BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL "
    "GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF "
    "KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN "
    "MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD "
    "SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH "
    "UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG".split()
)

NOT_CSV = {  # first bytes -> what the file really is
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


class DataError(ValueError):
    """What is wrong with a data directory, one problem a line.

    Args:
        problems: one line each; the message shows the first 20 and how many more there are.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(list(problems))  # as args, so that the error survives pickling
        self.problems = list(problems)

    def __str__(self) -> str:
        more = len(self.problems) - SHOWN
        return "\n".join(self.problems[:SHOWN] + ([f"and {more} more"] if more > 0 else []))


@dataclass(frozen=True)
class BillingTables:
    """A checked billing directory: amounts Decimal, dates date, all else str, blanks ""."""

    invoices: pd.DataFrame
    payments: pd.DataFrame
    customers: pd.DataFrame
    documents: dict[str, str]  # "terms/house", "terms/C-0004", ... -> text


@dataclass(frozen=True)
class SupportTables:
    """A checked support directory: amounts Decimal, dates date, all else str, blanks ""."""

    tickets: pd.DataFrame
    orders: pd.DataFrame
    invoices: pd.DataFrame
    examples: pd.DataFrame
    documents: dict[str, str]  # "policies/refunds", ... -> text


Parser = Callable[[str], object]  # the value of a cell; ValueError says what is wrong with it


def _text(cell: str) -> str:
    if not cell:
        raise ValueError("is blank; fill it in")
    return cell


def _id(cell: str) -> str:
    if ";" in cell:
        raise ValueError('has a ";", which separates ids in a list; give one id without it')
    return _text(cell)


def _any(cell: str) -> str:
    return cell


def _ids(cell: str) -> str:
    return ";".join(part.strip() for part in cell.split(";") if part.strip())


def _money_or_zero(cell: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]{1,2})?", cell):
        raise ValueError("is not an amount; write it like 1234.56, without separators or symbols")
    value = Decimal(cell)
    if value < 0:
        raise ValueError("is negative; amounts here are positive")
    if value > MAX_AMOUNT:
        raise ValueError(f"is above {MAX_AMOUNT:,}; check the decimal point")
    return value.quantize(Decimal("0.01"))


def _money(cell: str) -> Decimal:
    value = _money_or_zero(cell)
    if value == 0:
        raise ValueError("is zero; remove the row or correct the amount")
    return value


def _date(cell: str) -> date:
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise ValueError("is not a date; write it like 2026-06-30") from None


def _currency(cell: str) -> str:
    if cell not in CURRENCIES:
        raise ValueError("is not an ISO 4217 currency code; write it like EUR")
    return cell


def _or_blank(parser: Parser) -> Parser:
    return lambda cell: parser(cell) if cell else ""


def _one_of(options: Iterable[str], aliases: dict[str, str] | None = None) -> Parser:
    allowed = {option: option for option in options} | (aliases or {})

    def parse(cell: str) -> str:
        if cell not in allowed:
            raise ValueError(f"is unknown; use one of {', '.join(allowed)}")
        return allowed[cell]

    return parse


def _intents(cell: str) -> str:
    one = _one_of(INTENTS)
    return ";".join(str(one(part.strip())) for part in cell.split(";"))


@dataclass(frozen=True)
class _Table:
    """A table's file, its columns with what turns a cell into a value, and its key."""

    file: str
    columns: dict[str, Parser]
    key: str = ""  # no two rows may share it
    optional: tuple[str, ...] = ()  # columns that may be absent: then blank
    required: bool = True

    def empty(self) -> pd.DataFrame:
        return pd.DataFrame(columns=list(self.columns), dtype=object)


INVOICES = _Table(
    "invoices.csv",
    {
        "invoice_id": _id,
        "customer_id": _text,
        "customer_name": _text,
        "issued_on": _date,
        "due_on": _date,
        "amount": _money,
        "currency": _currency,
        "paid_on": _or_blank(_date),
    },
    key="invoice_id",
    optional=("paid_on",),
)
PAYMENTS = _Table(
    "payments.csv",
    {
        "payment_id": _text,
        "received_on": _date,
        "payer_name": _text,
        "amount": _money,
        "currency": _currency,
        "remittance_text": _any,
        "settles_invoice": _ids,
        "kind": _one_of([*KINDS, "redelivered"], KIND_ALIASES),
    },
)
CUSTOMERS = _Table(
    "customers.csv",
    {
        "customer_id": _text,
        "customer_name": _text,
        "also_known_as": _ids,
        "currency": _currency,
    },
    key="customer_id",
    required=False,
)
TICKETS = _Table(
    "tickets.csv",
    {
        "ticket_id": _text,
        "received_on": _date,
        "customer_id": _text,
        "message": _text,
        "intents": _intents,
        "order_id": _any,
        "refund_amount": _money_or_zero,
        "invoice_line": _any,
    },
    key="ticket_id",
)
ORDERS = _Table(
    "orders.csv",
    {
        "order_id": _id,
        "customer_id": _text,
        "placed_on": _date,
        "status": _one_of(["processing", "shipped", "delivered", "cancelled", "lost"]),
        "delivered_on": _or_blank(_date),
        "total": _money,
        "currency": _currency,
        "paid_with": _text,
        "receipt": _one_of(["yes", "no"]),
    },
    key="order_id",
)
INVOICE_LINES = _Table(
    "invoices.csv",
    {
        "line_id": _id,
        "invoice_id": _text,
        "customer_id": _text,
        "issued_on": _date,
        "description": _text,
        "amount": _money,
        "currency": _currency,
        "order_id": _any,
    },
    key="line_id",
    required=False,
)
SENTENCES = _Table(
    "examples.csv",
    {"text": _text, "intent": _one_of([*INTENTS, "smalltalk"]), "wording_id": _text},
    required=False,
)


def read_billing(directory: Path) -> BillingTables:
    """Read and check a billing directory.

    Args:
        directory: has invoices.csv and payments.csv; may have customers.csv and terms/*.md. Without
            terms/house.md the house rules are `DEFAULT_HOUSE`.
    Returns: the tables, in the order of the files.
    Raises: DataError naming everything that is wrong.
    """
    directory, problems = _existing(directory), list[str]()
    invoices = _read_table(directory, INVOICES, problems)
    payments = _read_table(directory, PAYMENTS, problems)
    customers = _read_table(directory, CUSTOMERS, problems)
    documents = {"terms/house": DEFAULT_HOUSE} | _read_documents(directory, "terms", problems)
    _check_known(PAYMENTS.file, payments["settles_invoice"], invoices, INVOICES, problems)
    problems += _payment_problems(payments)
    if problems:
        raise DataError(problems)
    return BillingTables(_plain(invoices), _plain(payments), _plain(customers), documents)


def read_support(directory: Path) -> SupportTables:
    """Read and check a support directory.

    Args:
        directory: has tickets.csv and orders.csv; may have invoices.csv (invoice lines),
            examples.csv and policies/*.md. What it lacks of the last two comes with the package.
    Returns: the tables, in the order of the files.
    Raises: DataError naming everything that is wrong.
    """
    directory, problems = _existing(directory), list[str]()
    tickets = _read_table(directory, TICKETS, problems)
    orders = _read_table(directory, ORDERS, problems)
    lines = _read_table(directory, INVOICE_LINES, problems)
    home = directory if (directory / SENTENCES.file).exists() else EXAMPLES.parent
    examples = _read_table(home, SENTENCES, problems)
    documents = {f"policies/{name}": text for name, text in POLICIES.items()}
    documents |= _read_documents(directory, "policies", problems)
    _check_known(TICKETS.file, tickets["order_id"], orders, ORDERS, problems)
    _check_known(TICKETS.file, tickets["invoice_line"], lines, INVOICE_LINES, problems)
    _check_known(INVOICE_LINES.file, lines["order_id"], orders, ORDERS, problems)
    for row, status, delivered_on in _cells(orders, "status", "delivered_on"):
        if (status == "delivered") != (delivered_on != ""):
            problems.append(
                f"orders.csv row {row}, column delivered_on: give a date if the status is "
                f'delivered, and only then; the status is "{status}"'
            )
    if problems:
        raise DataError(problems)
    return SupportTables(
        _plain(tickets), _plain(orders), _plain(lines), _plain(examples), documents
    )


def write_dataset(files: dict[str, str], out: Path) -> None:
    """Write a generated data set.

    Args:
        files: relative file name -> text, as `generate_billing` or `generate_support` returns it.
        out: the directory; made if missing. Files of the same names are replaced.
    Raises: DataError if `out` holds tables or documents of another data set, which would mix in;
        OSError if it cannot be written.
    """
    present = {
        path.relative_to(out).as_posix() for path in [*out.rglob("*.csv"), *out.rglob("*.md")]
    }
    if strangers := sorted(present - set(files)):
        raise DataError(
            [
                f"{out / name} is not part of this data set; delete it or choose an empty directory"
                for name in strangers
            ]
        )
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))


def _existing(directory: Path) -> Path:
    if not Path(directory).is_dir():
        raise DataError([f"{directory}: there is no such directory; check the path"])
    return Path(directory)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=True)


def _cells(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Go through some columns with the row number of the file in front."""
    return zip(frame.index, *(frame[column] for column in columns), strict=True)


def _show(cell: str) -> str:
    """Quote a cell for a message, shortened, with odd characters made visible."""
    return ascii(cell if len(cell) <= 40 else cell[:37] + "...")


def _read_text(path: Path, name: str, problems: list[str]) -> str | None:
    """Read a text file; None after noting what is wrong with it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        problems.append(f"{name}: cannot be read ({error.strerror}); check the file")
        return None
    really = next((what for start, what in NOT_CSV.items() if raw.startswith(start)), "")
    if really and path.suffix == ".csv":
        problems.append(f"{name}: is {really}, not CSV; save it as CSV (UTF-8)")
        return None
    if b"\0" in raw:
        row = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        problems.append(f"{name} row {row}: has a NUL byte; save the file as CSV (UTF-8) again")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        problems.append(
            f"{name} row {row}: byte 0x{raw[error.start]:02x} is not UTF-8; "
            "save the file with the encoding UTF-8"
        )
        return None


def _read_documents(directory: Path, folder: str, problems: list[str]) -> dict[str, str]:
    """Read the Markdown files of a folder, by source id such as "terms/house"."""
    documents = {}
    for path in sorted((directory / folder).glob("*.md")):
        text = _read_text(path, f"{folder}/{path.name}", problems)
        if text is not None and len(text) > MAX_CELL:
            problems.append(f"{folder}/{path.name}: is above {MAX_CELL:,} characters; shorten it")
        documents[f"{folder}/{path.stem}"] = text or ""
    return documents


def _read_table(directory: Path, table: _Table, problems: list[str]) -> pd.DataFrame:
    """Read a table, its index being the row in the file; empty if the file cannot be used."""
    path = directory / table.file
    if not path.exists():
        if table.required:
            problems.append(f"{table.file}: is missing from {directory}; add it")
        return table.empty()
    text = _read_text(path, table.file, problems)
    rows = _csv_rows(text, table.file, problems) if text is not None else []
    if not rows or not _check_header(rows[0][1], table, problems):
        return table.empty()
    header = rows[0][1]
    if len(rows) == 1:
        problems.append(f"{table.file}: has a header but no rows; add rows")
    values = [_parse_row(row, cells, header, table, problems) for row, cells in rows[1:]]
    index = [row for row, _ in rows[1:]]
    frame = pd.DataFrame(values, columns=list(table.columns), index=index, dtype=object)
    if table.key:
        for row, value in frame.loc[frame[table.key].duplicated(), table.key].items():
            problems.append(
                f"{table.file} row {row}, column {table.key}: {_show(value)} stands in an earlier "
                "row already; remove one of them"
            )
    return frame


def _csv_rows(text: str, file: str, problems: list[str]) -> list[tuple[int, list[str]]]:
    """Split CSV text into rows of stripped cells, each with its number; leave out blank rows."""
    rows: list[tuple[int, list[str]]] = []
    row = 0
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # so that we name the cell
    try:
        for row, cells in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1):
            if not any(cells):
                continue
            if rows and len(cells) != len(rows[0][1]):
                problems.append(
                    f"{file} row {row}: has {len(cells)} cells, the header has {len(rows[0][1])}; "
                    "put a cell with a comma in double quotes"
                )
                continue
            rows.append((row, [cell.strip() for cell in cells]))
    except csv.Error as error:
        problems.append(f"{file} row {row + 1}: is not CSV ({error}); check the double quotes")
    finally:
        csv.field_size_limit(limit)
    if not rows:
        problems.append(f"{file}: is empty; add a header and rows")
    return rows


def _check_header(header: list[str], table: _Table, problems: list[str]) -> bool:
    """Note columns that are missing or stand twice; say whether the header will do."""
    if len(header) == 1 and (separator := re.search(r"[;\t|]", header[0])):
        problems.append(
            f"{table.file} row 1: is separated by {separator[0]!r}; save it with commas instead"
        )
        return False
    wanted = [column for column in table.columns if column not in table.optional]
    missing = [column for column in wanted if column not in header]
    twice = [column for column in table.columns if header.count(column) > 1]
    for column in missing:
        problems.append(f"{table.file} row 1, column {column}: is missing; add it")
    for column in twice:
        problems.append(f"{table.file} row 1, column {column}: stands twice; remove one")
    return not missing and not twice


def _parse_row(
    row: int, cells: list[str], header: list[str], table: _Table, problems: list[str]
) -> list[object]:
    """Turn the cells of a row into values, leaving as they are those that are wrong."""
    by_name = dict(zip(header, cells, strict=True))
    values: list[object] = []
    for column, parse in table.columns.items():
        value: object = by_name.get(column, "")
        try:
            if len(str(value)) > MAX_CELL:
                raise ValueError(f"is above {MAX_CELL:,} characters; shorten it")
            value = parse(str(value)) if column in by_name else ""
        except ValueError as error:
            where = f"{table.file} row {row}, column {column}"
            problems.append(f"{where}: {_show(str(value))} {error}")
        values.append(value)
    return values


def _check_known(
    file: str,
    lists: pd.Series,
    known: pd.DataFrame,
    table: _Table,
    problems: list[str],
) -> None:
    """Note ids in a column that the key of another table does not have."""
    if known.empty and table.required:
        return  # already noted; every id would be unknown
    keys = set(known[table.key])
    for row, ids in lists.items():
        problems += [
            f"{file} row {row}, column {lists.name}: {_show(one)} is not in {table.file}; "
            "correct it or add it there"
            for one in str(ids).split(";")
            if one and one not in keys
        ]


def _payment_problems(payments: pd.DataFrame) -> Iterator[str]:
    """Find payment numbers used twice and labels that contradict each other."""
    content = ("payer_name", "amount", "currency", "remittance_text", "settles_invoice")
    first: dict[str, list[object]] = {}
    for row, payment_id, kind, *line in _cells(payments, "payment_id", "kind", *content):
        where = f"{PAYMENTS.file} row {row}, column"
        if kind == "redelivered":
            if first.get(payment_id) != line:
                yield (
                    f"{where} kind: redelivered, but no earlier row has the payment_id "
                    f"{_show(payment_id)} and the same content; correct the kind or the row"
                )
            continue
        if payment_id in first:
            yield (
                f"{where} payment_id: {_show(payment_id)} stands in an earlier row already; "
                "a line delivered twice is identical and has the kind redelivered"
            )
        if (kind == "unmatched") != (line[-1] == ""):
            yield (
                f"{where} settles_invoice: {_show(line[-1])} does not go with the kind "
                f"{_show(kind)}; it is blank for unmatched, and only then"
            )
        first.setdefault(payment_id, line)
