"""What each table must look like: its columns, what a cell must be, and its value.

`validate` holds a table of text against this with pandera, lazily: every problem is collected and
named by file, row and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

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
        reads: where it may be written in several ways, the setting that tells: ``dates`` or
            ``decimal``.
        blank: whether a cell may be blank; then its value is "".
    """

    rules: tuple[Rule, ...] = ()
    value: Callable[[str], object] = str
    reads: str = ""
    blank: bool = False

    def wrong(self, cell: str) -> str:
        """What is wrong with a cell; empty if nothing."""
        if not cell and self.blank:
            return ""
        return next((what for what, right in (LENGTH, *self.rules) if not right(cell)), "")

    def sound(self, cell: str) -> bool:
        """Whether nothing is wrong with a cell."""
        return not self.wrong(cell)

    def of(self, cell: str) -> object:
        """The value of a cell; one that is blank or wrong stays text."""
        return self.value(cell) if cell and self.sound(cell) else cell


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


def _or_blank(kind: Kind) -> Kind:
    return replace(kind, blank=True)


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
_NOT_ZERO: Rule = ("is zero; remove the row or correct the amount", lambda c: Decimal(c) != 0)
_A_DATE: Rule = ("is not a date; write it like 2026-06-30", _is_date)
_A_CODE: Rule = (
    "is not an ISO 4217 currency code; write it like EUR",
    lambda cell: _code(cell) in CURRENCIES,
)

ANY = Kind(blank=True)
TEXT = Kind((_FILLED,))
ID = Kind((_NO_LIST, _FILLED))
IDS = Kind(value=_ids, blank=True)
MONEY_OR_ZERO = Kind(_MONEY, _cents, reads="decimal")
MONEY = replace(MONEY_OR_ZERO, rules=(*_MONEY, _NOT_ZERO))
DATE = Kind((_A_DATE,), date.fromisoformat, reads="dates")
CURRENCY = Kind((_A_CODE,), _code)
PAYMENT_KIND = _choice([*KINDS, "redelivered"], KIND_ALIASES)
INTENT_LIST = _choice(INTENTS, many=";")


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: what its file is called, without the ending.
        columns: name -> what it holds.
        key: no two rows may share it.
        optional: columns that may be absent: then blank.
        labels: columns that may all be absent; without the first the others are something else,
            unless columns.toml names them: then the first is missing.
        refers: column of ids -> the table and the column that must have them.
        required: whether the table may be absent.
        feed: whether it is a bank's: then the row's number stands in for an id that the file has
            not, and what is below zero was paid, not received.
    """

    name: str
    columns: dict[str, Kind]
    key: str = ""
    optional: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    refers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    required: bool = True
    feed: bool = False

    def empty(self) -> pd.DataFrame:
        """The table without rows."""
        return pd.DataFrame(columns=list(self.columns), dtype=object)


def _columns(names: str, **others: Kind) -> dict[str, Kind]:
    """Columns by name: dates, amounts and currencies as they are called, other kinds as said."""
    usual = {"amount": MONEY, "total": MONEY, "currency": CURRENCY} | others
    return {name: usual.get(name, DATE if name.endswith("_on") else TEXT) for name in names.split()}


INVOICE, ORDER, LINE = ("invoices", "invoice_id"), ("orders", "order_id"), ("invoices", "line_id")
BILLING_LABELS = ("kind", "settles_invoice")
SUPPORT_LABELS = ("intents", "order_id", "refund_amount", "invoice_line")

INVOICES = Table(
    "invoices",
    _columns(
        "invoice_id customer_id customer_name issued_on due_on amount currency paid_on",
        invoice_id=ID,
        paid_on=_or_blank(DATE),
    ),
    key="invoice_id",
    optional=("paid_on",),
)
PAYMENTS = Table(
    "payments",
    _columns(
        "payment_id received_on payer_name amount currency remittance_text settles_invoice kind",
        remittance_text=ANY,
        settles_invoice=IDS,
        kind=_or_blank(PAYMENT_KIND),
    ),
    labels=BILLING_LABELS,
    refers={"settles_invoice": INVOICE},
    feed=True,
)
CUSTOMERS = Table(
    "customers",
    _columns("customer_id customer_name also_known_as currency", also_known_as=IDS),
    key="customer_id",
    optional=("also_known_as", "currency"),
    required=False,
)
TICKETS = Table(
    "tickets",
    _columns(
        "ticket_id received_on customer_id message intents order_id refund_amount invoice_line",
        intents=_or_blank(INTENT_LIST),
        order_id=ANY,
        refund_amount=_or_blank(MONEY_OR_ZERO),
        invoice_line=ANY,
    ),
    key="ticket_id",
    labels=SUPPORT_LABELS,
    refers={"order_id": ORDER, "invoice_line": LINE},
)
ORDERS = Table(
    "orders",
    _columns(
        "order_id customer_id placed_on status delivered_on total currency paid_with receipt",
        order_id=ID,
        status=_choice(["processing", "shipped", "delivered", "cancelled", "lost"]),
        delivered_on=_or_blank(DATE),
        receipt=_choice(["yes", "no"], YES_NO),
    ),
    key="order_id",
)
INVOICE_LINES = Table(
    "invoices",
    _columns(
        "line_id invoice_id customer_id issued_on description amount currency order_id",
        line_id=ID,
        order_id=ANY,
    ),
    key="line_id",
    refers={"order_id": ORDER},
    required=False,
)
SENTENCES = Table(
    "examples",
    _columns("text intent wording_id", intent=_choice([*INTENTS, "smalltalk"])),
    required=False,
)
BILLING_LABEL_FILE = Table(
    "labels",
    _columns("payment_id kind settles_invoice", kind=PAYMENT_KIND, settles_invoice=IDS),
    key="payment_id",
    refers={"payment_id": ("payments", "payment_id"), "settles_invoice": INVOICE},
    required=False,
)
SUPPORT_LABEL_FILE = Table(
    "labels",
    _columns(
        "ticket_id intents order_id refund_amount invoice_line",
        intents=INTENT_LIST,
        order_id=ANY,
        refund_amount=MONEY_OR_ZERO,
        invoice_line=ANY,
    ),
    key="ticket_id",
    optional=("order_id", "invoice_line"),
    refers={"ticket_id": ("tickets", "ticket_id"), "order_id": ORDER, "invoice_line": LINE},
    required=False,
)
TABLES = {
    "billing": (INVOICES, PAYMENTS, CUSTOMERS),
    "support": (TICKETS, ORDERS, INVOICE_LINES),
}
ALL_TABLES = (
    *TABLES["billing"],
    *TABLES["support"],
    SENTENCES,
    BILLING_LABEL_FILE,
    SUPPORT_LABEL_FILE,
)


def show(cell: str) -> str:
    """Quote a cell for a message, shortened, with characters that do not print made visible."""
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def validate(
    cells: pd.DataFrame, table: Table, file: str, theirs: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Hold a table of text against what it must look like.

    Args:
        cells: columns by our names, the index being the row in the file; a column may be absent.
        table: what it must look like.
        file: its file, for messages.
        theirs: what a column is called in the file.
    Returns: the table of values (cells that are wrong stay text), and what is wrong with it.
    """
    import pandera.pandas as pa
    from pandera.errors import SchemaErrors

    schema = pa.DataFrameSchema(
        {
            name: pa.Column(
                object,
                pa.Check(kind.sound, element_wise=True),
                unique=name == table.key,
                report_duplicates="exclude_first",
            )
            for name, kind in table.columns.items()
            if name in cells
        }
    )
    problems: list[str] = []
    try:
        schema.validate(cells, lazy=True)
    except SchemaErrors as error:
        problems = _lines(error.failure_cases, table, file, theirs)
    values = {
        name: [kind.of(cell) for cell in cells[name]] if name in cells else ""
        for name, kind in table.columns.items()
    }
    return pd.DataFrame(values, index=cells.index, dtype=object), problems


def _lines(cases: pd.DataFrame, table: Table, file: str, theirs: Mapping[str, str]) -> list[str]:
    """pandera's failure cases as lines, in the order of rows and columns."""
    place = {name: i for i, name in enumerate(table.columns)}
    found = [
        (int(row), place[name], check == "field_uniqueness", name, str(cell))
        for row, name, check, cell in cases[["index", "column", "check", "failure_case"]].to_numpy()
    ]
    twice = "stands in an earlier row already; remove one of them"
    return [
        f"{file} row {row}, column {theirs.get(name, name)}: {show(cell)} "
        f"{twice if again else table.columns[name].wrong(cell)}"
        for row, _, again, name, cell in sorted(found)
    ]
