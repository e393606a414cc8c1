"""What each table must look like: its columns, what a cell must be, and its value.

`validate` holds a table of text against this with pandera, lazily: every problem is collected and
named by file, row and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd

from coordkit.data.files import MAX_CELL
from coordkit.data.generate_billing import KINDS
from coordkit.data.generate_support import INTENTS

MAX_AMOUNT = Decimal(10) ** 9

KIND_ALIASES = {
    "early_discount_2pct": "early_discount",
    "bank_fee_15": "bank_fee",
    "partial": "short_payment",
    "no_reference": "exact",
    "typo": "exact",
}

YES_NO = {
    **dict.fromkeys(("y", "true", "1", "ja", "j"), "yes"),
    **dict.fromkeys(("n", "false", "0", "nein"), "no"),
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

SIGNS = {"€": "EUR", "£": "GBP"}  # those that mean one currency

Rule = tuple[str, Callable[[str], bool]]  # what is wrong with a cell, and whether it is right
LENGTH: Rule = (f"is above {MAX_CELL:,} characters; shorten it", lambda cell: len(cell) <= MAX_CELL)


@dataclass(frozen=True)
class Kind:
    """What a column holds.

    Args:
        rules: of those that a cell breaks, the first is reported.
        value: the value of a cell that breaks none.
        reads: ``date`` or ``amount`` where it may be written in several ways.
        blank: whether a cell may be blank; then its value is "".
    """

    rules: tuple[Rule, ...] = ()
    value: Callable[[str], object] = str
    reads: str = ""
    blank: bool = False

    def of(self, cell: str) -> object:
        """The value of a sound cell."""
        return self.value(cell) if cell or not self.blank else ""


def _is_amount(cell: str) -> bool:
    return re.fullmatch(r"-?[0-9]+(\.[0-9]{1,2})?", cell) is not None


def _is_date(cell: str) -> bool:
    try:
        date.fromisoformat(cell)
    except ValueError:
        return False
    return len(cell) == 10


def _cents(cell: str) -> Decimal:
    return Decimal(cell).quantize(Decimal("0.01"))


def _code(cell: str) -> str:
    return SIGNS.get(cell, cell.upper())


def _ids(cell: str) -> str:
    return ";".join(part.strip() for part in cell.split(";") if part.strip())


def _choice(options: Iterable[str], aliases: dict[str, str] | None = None, many: str = "") -> Kind:
    """One of some words, or several of them between separators; capitals do not count."""
    known = {option: option for option in options}
    unknown = f"is unknown; use one of {', '.join(known)}"
    known |= aliases or {}

    def parts(cell: str) -> list[str]:
        cell = cell.casefold()
        return [part.strip() for part in cell.split(many)] if many else [cell]

    return Kind(
        ((unknown, lambda cell: all(part in known for part in parts(cell))),),
        lambda cell: many.join(known[part] for part in parts(cell)),
    )


_FILLED: Rule = ("is blank; fill it in", bool)
_NO_LIST: Rule = (
    'has a ";", which separates ids in a list; give one id without it',
    lambda cell: ";" not in cell,
)
_MONEY: tuple[Rule, ...] = (
    ("is not an amount; write it like 1234.56", _is_amount),
    ("is negative; amounts here are positive", lambda cell: Decimal(cell) >= 0),
    (f"is above {MAX_AMOUNT:,}; check the decimal point", lambda c: Decimal(c) <= MAX_AMOUNT),
)
_NOT_ZERO: Rule = (
    "is zero; remove the row or correct the amount",
    lambda cell: Decimal(cell) != 0,
)

ANY = Kind(blank=True)
TEXT = Kind((_FILLED,))
ID = Kind((_NO_LIST, _FILLED))
IDS = Kind(value=_ids, blank=True)
MONEY_OR_ZERO = Kind(_MONEY, _cents, reads="amount")
MONEY = replace(MONEY_OR_ZERO, rules=(*_MONEY, _NOT_ZERO))
DATE = Kind(
    (("is not a date; write it like 2026-06-30", _is_date),), date.fromisoformat, reads="date"
)
DATE_OR_BLANK = replace(DATE, blank=True)
CURRENCY = Kind(
    (("is not an ISO 4217 currency code; write it like EUR", lambda c: _code(c) in CURRENCIES),),
    _code,
)
PAYMENT_KIND = replace(_choice([*KINDS, "redelivered"], KIND_ALIASES), blank=True)
INTENT_LIST = replace(_choice(INTENTS, many=";"), blank=True)


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: what its file is called, without the ending.
        columns: name -> what it holds.
        key: no two rows may share it.
        optional: columns that may be absent: then blank.
        labels: columns that may all be absent; without the first the others are something else.
        required: whether the table may be absent.
        guess: whether files and columns of other names may be taken for it.
        numbered: a column that the row's number stands in for where the file has none.
        feed: whether it is a bank's: then what is below zero was paid, not received.
    """

    name: str
    columns: dict[str, Kind]
    key: str = ""
    optional: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    required: bool = True
    guess: bool = True
    numbered: str = ""
    feed: bool = False

    def empty(self) -> pd.DataFrame:
        """The table without rows."""
        return pd.DataFrame(columns=list(self.columns), dtype=object)


BILLING_LABELS = ("kind", "settles_invoice")
SUPPORT_LABELS = ("intents", "order_id", "refund_amount", "invoice_line")

INVOICES = Table(
    "invoices",
    {
        "invoice_id": ID,
        "customer_id": TEXT,
        "customer_name": TEXT,
        "issued_on": DATE,
        "due_on": DATE,
        "amount": MONEY,
        "currency": CURRENCY,
        "paid_on": DATE_OR_BLANK,
    },
    key="invoice_id",
    optional=("paid_on",),
)
PAYMENTS = Table(
    "payments",
    {
        "payment_id": TEXT,
        "received_on": DATE,
        "payer_name": TEXT,
        "amount": MONEY,
        "currency": CURRENCY,
        "remittance_text": ANY,
        "settles_invoice": IDS,
        "kind": PAYMENT_KIND,
    },
    labels=BILLING_LABELS,
    numbered="payment_id",
    feed=True,
)
CUSTOMERS = Table(
    "customers",
    {
        "customer_id": TEXT,
        "customer_name": TEXT,
        "also_known_as": IDS,
        "currency": CURRENCY,
    },
    key="customer_id",
    optional=("also_known_as", "currency"),
    required=False,
)
TICKETS = Table(
    "tickets",
    {
        "ticket_id": TEXT,
        "received_on": DATE,
        "customer_id": TEXT,
        "message": TEXT,
        "intents": INTENT_LIST,
        "order_id": ANY,
        "refund_amount": replace(MONEY_OR_ZERO, blank=True),
        "invoice_line": ANY,
    },
    key="ticket_id",
    labels=SUPPORT_LABELS,
)
ORDERS = Table(
    "orders",
    {
        "order_id": ID,
        "customer_id": TEXT,
        "placed_on": DATE,
        "status": _choice(["processing", "shipped", "delivered", "cancelled", "lost"]),
        "delivered_on": DATE_OR_BLANK,
        "total": MONEY,
        "currency": CURRENCY,
        "paid_with": TEXT,
        "receipt": _choice(["yes", "no"], YES_NO),
    },
    key="order_id",
)
INVOICE_LINES = Table(
    "invoices",
    {
        "line_id": ID,
        "invoice_id": TEXT,
        "customer_id": TEXT,
        "issued_on": DATE,
        "description": TEXT,
        "amount": MONEY,
        "currency": CURRENCY,
        "order_id": ANY,
    },
    key="line_id",
    required=False,
)
SENTENCES = Table(
    "examples",
    {"text": TEXT, "intent": _choice([*INTENTS, "smalltalk"]), "wording_id": TEXT},
    required=False,
    guess=False,
)
BILLING_LABEL_FILE = Table(
    "labels",
    {
        "payment_id": TEXT,
        "kind": _choice([*KINDS, "redelivered"], KIND_ALIASES),
        "settles_invoice": IDS,
    },
    key="payment_id",
    required=False,
    guess=False,
)
SUPPORT_LABEL_FILE = Table(
    "labels",
    {
        "ticket_id": TEXT,
        "intents": replace(INTENT_LIST, blank=False),
        "order_id": ANY,
        "refund_amount": MONEY_OR_ZERO,
        "invoice_line": ANY,
    },
    key="ticket_id",
    required=False,
    guess=False,
)
TABLES = {
    "billing": (INVOICES, PAYMENTS, CUSTOMERS),
    "support": (TICKETS, ORDERS, INVOICE_LINES),
}
ALL_TABLES = (
    *(table for tables in TABLES.values() for table in tables),
    SENTENCES,
    BILLING_LABEL_FILE,
    SUPPORT_LABEL_FILE,
)


def show(cell: str) -> str:
    """Quote a cell for a message, shortened, with characters that do not print made visible."""
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def validate(
    cells: pd.DataFrame, table: Table, file: str, theirs: dict[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Hold a table of text against what it must look like.

    Args:
        cells: columns by our names, the index being the row in the file; a column may be absent.
        table: what it must look like.
        file: its file, for messages.
        theirs: what a column is called in the file.
    Returns: the table of values (cells that are wrong stay text), and what is wrong with it.
    """
    from pandera.errors import SchemaErrors

    problems: list[str] = []
    try:
        _schema(table, tuple(cells.columns)).validate(cells, lazy=True)
    except SchemaErrors as error:
        problems = _lines(error.failure_cases, table, file, theirs)
    frame = pd.DataFrame(index=cells.index, columns=list(table.columns), dtype=object)
    for name, kind in table.columns.items():
        if name not in cells:
            frame[name] = pd.Series("", index=cells.index, dtype=object)
        else:
            value = _value_if_sound if problems else Kind.of
            values = [value(kind, cell) for cell in cells[name]]
            frame[name] = pd.Series(values, index=cells.index, dtype=object)
    return frame, problems


def _value_if_sound(kind: Kind, cell: str) -> object:
    sound = all(right(cell) for _, right in kind.rules)  # all() stops at the first that is broken
    return kind.of(cell) if sound else cell


def _schema(table: Table, columns: tuple[str, ...]) -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            name: pa.Column(
                object,
                [_check(kind, place) for place in range(len(kind.rules) + 1)],
                unique=name == table.key,
                report_duplicates="exclude_first",
            )
            for name, kind in table.columns.items()
            if name in columns
        }
    )


def _check(kind: Kind, place: int) -> Any:
    """One rule as a pandera check; it lets pass what breaks an earlier rule of the column."""
    import pandera.pandas as pa

    rules = (LENGTH, *kind.rules)

    def sound(cell: str) -> bool:
        if not cell and kind.blank:
            return True
        return not all(right(cell) for _, right in rules[:place]) or rules[place][1](cell)

    return pa.Check(sound, element_wise=True, error=rules[place][0])


def _lines(cases: pd.DataFrame, table: Table, file: str, theirs: dict[str, str]) -> list[str]:
    """pandera's failure cases as lines, in the order of rows and columns."""
    order = list(table.columns)
    found = [
        (int(row), order.index(column), check, str(cell))
        for row, column, check, cell in zip(
            cases["index"], cases["column"], cases["check"], cases["failure_case"], strict=True
        )
    ]
    twice = "stands in an earlier row already; remove one of them"
    return [
        f"{file} row {row}, column {theirs.get(order[place], order[place])}: {show(cell)} "
        f"{twice if check == 'field_uniqueness' else check}"
        for row, place, check, cell in sorted(found)
    ]
