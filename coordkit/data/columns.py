"""Whose column is which: guesses that a person can read, correct, and keep in columns.toml.

A guess comes from names (English and German) and from what the cells look like. Where cells can be
read in two ways nothing is guessed: it is a problem, and its line says how to settle it.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from difflib import SequenceMatcher, get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError

from coordkit.data.files import BANK_FILES, READERS, DataError, RawTable, read_raw, read_text
from coordkit.data.schemas import ALL_TABLES, CURRENCIES, SIGNS, Table, show

FILE = "columns.toml"
DAY_FIRST: Final = "day-first"
MONTH_FIRST: Final = "month-first"
WAYS = {"dates": (DAY_FIRST, MONTH_FIRST), "decimal": (".", ",")}  # setting -> what it can be
ALIKE = 0.75  # of 1: names that differ by a letter or two
NOT_IT = 3
OUT, IN = {"s", "soll", "d", "dr", "debit"}, {"h", "haben", "c", "cr", "credit"}  # of the account

# What files and columns are called elsewhere, as `_plain` writes it; the first is ours.
FILE_NAMES = {
    "invoices": "invoices invoice rechnungen rechnung ausgangsrechnungen openitems offeneposten "
    "opos forderungen receivables invoicelines",
    "payments": "payments payment zahlungen bank bankfeed bankstatement statement kontoauszug "
    "kontoauszuege kontoumsaetze umsaetze umsatz umsatzanzeige zahlungseingaenge transactions",
    "customers": "customers customer kunden debitoren clients",
    "tickets": "tickets ticket messages nachrichten anfragen emails requests",
    "orders": "orders order bestellungen auftraege",
}
NAMES = {
    "invoice_id": "invoice invoiceno invoicenumber invoicenr number rechnung rechnungsnr "
    "rechnungsnummer rechnungnr rgnr belegnummer belegnr",
    "customer_id": "customerno customernumber custno clientid accountid kundennr kundennummer kdnr "
    "debitorennummer kundenid account debitor customer",
    "customer_name": "customername clientname company kundenname firma debitorname name1 customer "
    "client kunde name",
    "issued_on": "issued issuedate issuedon invoicedate date rechnungsdatum belegdatum datum "
    "ausgestellt ausgestelltam created createdat",
    "due_on": "due duedate dueon payby faellig faelligam faelligkeit faelligkeitsdatum "
    "nettofaelligkeit zahlbarbis",
    "paid_on": "paid paiddate paidon paidat bezahlt bezahltam ausgleichsdatum",
    "amount": "amount total gross grossamount value sum betrag bruttobetrag brutto summe umsatz "
    "rechnungsbetrag gutschrift betraginbelegwaehrung",
    "currency": "currency ccy curr waehrung whg belegwaehrung",
    "payment_id": "payment paymentid transactionid txid transaction bankreference zahlungsid "
    "zahlungsnr buchungsid umsatzid transaktion transaktionsid lfdnr",
    "received_on": "received receivedon receiveddate bookingdate valuedate valuta buchungstag "
    "buchungsdatum buchung wertstellung eingang eingangsdatum eingegangenam date datum createdat "
    "created transactiondate",
    "payer_name": "payer payername debtor sender from auftraggeber auftraggeberempfaenger "
    "beguenstigterauftraggeber zahler zahlungspflichtiger absender namezahlungsbeteiligter "
    "beguenstigterzahlungspflichtiger counterparty partnername customername name",
    "remittance_text": "remittance remittanceinformation reference paymentreference text "
    "description memo details verwendungszweck zweck buchungstext",
    "also_known_as": "aka alsoknownas alias aliases tradingnames handelsname handelsnamen",
    "ticket_id": "ticket ticketno ticketnumber ticketnr messageid anfragenr",
    "message": "text body content nachricht anfrage beschreibung",
    "order_id": "order orderno ordernumber bestellung bestellnr bestellnummer auftrag auftragsnr",
    "placed_on": "placed orderdate placedon bestelldatum bestelltam auftragsdatum date datum "
    "createdat",
    "status": "state orderstatus lieferstatus",
    "delivered_on": "delivered deliverydate deliveredon geliefert geliefertam lieferdatum "
    "zugestelltam",
    "total": "amount ordertotal grandtotal gross summe betrag gesamtbetrag gesamt bestellwert",
    "paid_with": "paymentmethod paidwith method zahlungsart zahlart zahlungsmittel bezahltmit",
    "receipt": "hasreceipt proofofpurchase beleg kassenbon quittung",
    "line_id": "line lineno linenumber position positionsnr posnr",
    "description": "text item article artikel beschreibung bezeichnung",
}


@dataclass(frozen=True)
class Columns:
    """How one file is to be read.

    Args:
        file: its name; empty if there is none.
        columns: our column -> theirs, "" for none.
        values: our column -> one value for every row, for what the file does not say.
        dates: how dates like 03/04/2026 are read where the column itself does not show it:
            ``day-first`` or ``month-first``; empty if not said.
        decimal: likewise for amounts like 1,234: "." or ",".
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    file: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    dates: Literal["", "day-first", "month-first"] = ""
    decimal: Literal["", ".", ","] = ""


NOTHING_SAID = Columns()
Lines = dict[str, list[str]]  # for columns.toml, by section


def find(directory: Path, table: Table, said: Columns) -> tuple[RawTable | None, Columns]:
    """A table's file, read, and its mapping; None if there is no file.

    Raises: DataError if there are several, or it cannot be read.
    """
    path = _find_file(directory, table, said)
    if path is None:
        return None, said
    raw = read_raw(path)
    return raw, guess(raw, table, said)


def _find_file(directory: Path, table: Table, said: Columns) -> Path | None:
    """The file of a table: the one that columns.toml names, or the one called most like it."""
    if said.file:
        return directory / said.file
    if table.name not in FILE_NAMES:
        path = directory / f"{table.name}.csv"
        return path if path.exists() else None
    ranks = {path: _rank(path, table) for path in _files(directory)}
    best = min(ranks.values(), default=NOT_IT)
    found = [path for path, rank in ranks.items() if rank == best < NOT_IT]
    if len(found) > 1:
        both = " and ".join(path.name for path in found)
        why = f'{both}: which holds the {table.name}? put file = "NAME" under [{table.name}]'
        raise DataError([f"{why} in {FILE}"])
    return found[0] if found else None


def _files(directory: Path) -> list[Path]:
    return sorted(p for p in directory.iterdir() if p.suffix.lower() in READERS)


def _rank(path: Path, table: Table) -> int:
    """0 if a file has our name, 1 if another for it, 2 if words of its name mean no other table.

    The last is not enough for a table that is not needed.
    """
    statement = path.suffix.lower() in BANK_FILES
    if statement and table.name != "payments":
        return NOT_IT
    if path.stem == table.name:
        return 0
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", path.stem))
    if plain("".join(words)) in FILE_NAMES[table.name].split():
        return 1
    told = {plain(word) for word in [*words, *map("".join, pairwise(words))]}
    meant = {name for name, known in FILE_NAMES.items() if told & set(known.split())}
    surely = table.required and meant == {table.name}
    return 2 if surely or (statement and not meant) else NOT_IT


def no_file(directory: Path, table: Table) -> tuple[str, Lines]:
    """A table that is needed and has no file: what to do, and the line for columns.toml.

    A file called like a table of ours, such as labels.csv or examples.csv, is not another.
    """
    ours = f"{table.name}.csv: is missing from {directory}; add it (or .xlsx, .parquet)"
    lines: Lines = {}
    taken = {known.name for known in ALL_TABLES}
    there = {path.stem: path.name for path in _files(directory) if path.stem not in taken}
    if not there:
        return f"{ours}; the folder holds no other table", lines
    near = there.get(nearest(there, [table.name, *FILE_NAMES[table.name].split()]), "")
    _add_line(lines, table.name, "file", near, "its name")
    return f"{ours}, or say which of {', '.join(map(show, [*there.values()][:8]))} it is", lines


def guess(raw: RawTable, table: Table, said: Columns = NOTHING_SAID) -> Columns:
    """Guess which of a file's columns are ours; what was said stands.

    Args:
        raw: the file.
        table: what we look for.
        said: what columns.toml says.
    Returns: the whole mapping. No column of theirs is taken twice unless it was said. Where there
        is no column of currencies, the one of the amounts is a value: "Betrag (EUR)", "12,00 €".
    """
    found = {ours: theirs for ours, theirs in said.columns.items() if ours in table.columns}
    values = {ours: value for ours, value in said.values.items() if ours in table.columns}
    _guess_by_name(found, values, raw, table)
    if table.labels and not found.get(table.labels[0]):
        unsaid = set(table.labels) - said.columns.keys()
        found = {ours: theirs for ours, theirs in found.items() if ours not in unsaid}
    amounts = found.get("amount") or found.get("total")
    if amounts in raw.header and "currency" in table.columns.keys() - found.keys() - values.keys():
        code = _unit_of(amounts, raw.cells(amounts))
        values |= {"currency": code} if code else {}
    ordered = {ours: found[ours] for ours in table.columns if found.get(ours)}
    return Columns(raw.file, ordered, values, said.dates, said.decimal)


def _guess_by_name(
    found: dict[str, str], values: Mapping[str, str], raw: RawTable, table: Table
) -> None:
    """Take our very name, then our name however written, then the closest synonym, over all pairs.

    So "Datum" goes to who needs it most, and "id" to the table's first column. Of two columns that
    differ in a sign or a unit only, none is taken.
    """
    left = [theirs for theirs in raw.header if theirs not in found.values()]
    spelled = Counter(map(plain, set(left)))
    pairs = sorted(
        (rank, place, ours, theirs)
        for place, ours in enumerate(table.columns)
        if ours not in found and ours not in values
        for rank, name in enumerate([ours, *_names(ours), *([] if place else ["id"])])
        for theirs in left
        if (plain(theirs) == name and spelled[name] == 1 if rank else theirs.strip() == ours)
    )
    for _, _, ours, theirs in pairs:
        if ours not in found and theirs not in found.values():
            found[ours] = theirs


def _names(ours: str) -> list[str]:
    """What a column is called, as `plain` writes it."""
    return [plain(ours), *NAMES.get(ours, "").split()]


_UMLAUTS = {ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue", ord("ß"): "ss", ord("#"): "no"}
_CODES = "|".join(sorted(CURRENCIES))
_UNIT = re.compile(rf"(?<![^\W\d_])(?:{_CODES})(?![^\W\d_])|[$€£¥]")
_UNIT_LAST = re.compile(rf"[\s_(\[]+(?:in\s+)?(?:{_CODES}|UTC|[$€£¥])[)\]]?\s*$")


def plain(name: str) -> str:
    """A name without its unit, case, umlauts, spaces and signs, as names are compared."""
    spelled = _UNIT_LAST.sub("", unicodedata.normalize("NFC", name))
    return re.sub(r"[^a-z0-9]", "", spelled.casefold().translate(_UMLAUTS))


def _unit_of(name: str, cells: list[str]) -> str:
    """The one currency that a column's name, or each of its cells, tells; empty if none does."""
    texts = (name, *filter(None, cells))
    head, *units = ({SIGNS.get(unit, unit) for unit in _UNIT.findall(text)} for text in texts)
    every = head.union(*units)
    sure = len(every) == 1 and every <= CURRENCIES and (head or all(units))
    return every.pop() if sure else ""


# --- dates ----------------------------------------------------------------------------------------

_TIME = re.compile(
    r",?[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?$"
)
_YEAR_FIRST = re.compile(r"(\d{4})([-/.]|(?=\d{4}$))(\d{1,2})\2(\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d\d)")
_NAMED = re.compile(r"(\d{1,2})[. -]+([^\W\d]{3,9})\.?,?[ -]+(\d{4})")
_AMERICAN = re.compile(r"([^\W\d]{3,9})\.? (\d{1,2}),? (\d{4})")
_MONTHS = {
    name: number
    for number, names in enumerate(
        ["jan january januar", "feb february februar", "mar march mär märz maerz", "apr april",
         "may mai", "jun june juni", "jul july juli", "aug august", "sep sept september",
         "oct october okt oktober", "nov november", "dec december dez dezember"], 1,
    )
    for name in names.split()
}  # fmt: skip


def read_dates(cell: str) -> dict[str, date]:
    """The ways to read a date: order -> date; both orders if it can be read in either.

    Year first, a month's name, and dots (day first, as in German) leave one way only.
    """
    text = _AMERICAN.sub(r"\2 \1 \3", _TIME.sub("", cell))
    if match := _NAMED.fullmatch(text):
        text = f"{match[3]}-{_MONTHS.get(match[2].casefold(), 0)}-{match[1]}"
    ways: dict[str, tuple[str, ...]] = {}  # order -> year, month, day
    if match := _YEAR_FIRST.fullmatch(text):
        ways = dict.fromkeys((DAY_FIRST, MONTH_FIRST), match.group(1, 3, 4))
    elif match := _YEAR_LAST.fullmatch(text):
        ways = {DAY_FIRST: match.group(4, 3, 1), MONTH_FIRST: match.group(4, 1, 3)}
        if match[2] == ".":
            del ways[MONTH_FIRST]
    found = {}
    for order, (year, month, day) in ways.items():
        with suppress(ValueError):  # there is no 31 June, and no month 0
            found[order] = date(int(f"20{year}"[-4:]), int(month), int(day))
    return found


# --- amounts --------------------------------------------------------------------------------------

_SIGNS = re.compile(rf"^([-(]?)\s*(?:US\$|[$€£¥]|Fr\.|{_CODES})\s*|\s*(?:[$€£¥]|{_CODES})([-)]?)$")
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "−": "-"})
_AMOUNT = {
    mark: re.compile(
        rf"(\d+|\d{{1,3}}(?:([{thousands} '])\d{{3}})(?:\2\d{{3}})*)(?:[{mark}](\d+))?"
    )
    for mark, thousands in ((".", ","), (",", "."))
}


def read_amounts(cell: str) -> dict[str, str]:
    """The ways to read an amount: decimal mark -> the amount written like -1234.56.

    Signs of currency and separators of thousands are dropped; 1,234 can be read in two ways.
    """
    text = _SIGNS.sub(r"\1\2", cell.translate(_SPACES).strip())
    minus = re.fullmatch(r"\((.+)\)|(.+)-|-(.+)", text)
    text = next(filter(None, minus.groups())).strip() if minus else text
    found = {}
    for mark, pattern in _AMOUNT.items():
        if match := pattern.fullmatch(text):
            whole, decimals = re.sub(r"\D", "", match[1]), match[3]
            found[mark] = f"{'-' if minus else ''}{whole}{f'.{decimals}' if decimals else ''}"
    return found


_READ: dict[str, Callable[[str], Mapping[str, Any]]] = {
    "dates": read_dates,
    "decimal": read_amounts,
}

# --- applying a mapping ---------------------------------------------------------------------------


@dataclass
class Mapped:
    """A file's cells under our names.

    Attributes:
        cells: dates written like 2026-06-30 and amounts like 1234.56 where they can be read.
        problems: what is missing, stands twice, or can be read in two ways.
        read: our column -> how its dates or amounts were read.
        unjudged: our columns that have a problem, and so are not among the cells.
        paste: lines for columns.toml that name the missing columns.
        left_out: payments made (below zero or marked so, without a label): rows that are not among
            the cells.
    """

    cells: pd.DataFrame
    problems: list[str] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)
    unjudged: list[str] = field(default_factory=list)
    paste: Lines = field(default_factory=dict)
    left_out: int = 0


def apply(mapping: Columns, raw: RawTable, table: Table, said: Columns = NOTHING_SAID) -> Mapped:
    """Put a file's cells under our names and write dates and amounts in one way.

    Args:
        mapping: which column is which.
        raw: the file.
        table: what it holds.
        said: what columns.toml says already.
    """
    index = [row for row, _ in raw.rows]
    mapped = Mapped(pd.DataFrame(index=index))
    for ours, kind in table.columns.items():
        theirs = mapping.columns.get(ours)
        try:
            column = _cells(ours, mapping, raw, table, said)
            if kind.reads and theirs and column:
                way = getattr(mapping, kind.reads)
                column, mapped.read[ours] = _one_way(column, kind.reads, way, raw, theirs, table)
        except DataError as error:
            mapped.problems += error.problems
            mapped.unjudged.append(ours)
            continue
        if column is not None:
            mapped.cells[ours] = pd.Series(column, index=index, dtype=object)
    known = {*mapping.columns, *said.columns}
    missing = [ours for ours in mapped.unjudged if ours not in known]
    mapped.paste = _proposed(missing, mapping, raw, table)
    if table.feed and "amount" in mapped.cells:
        made = mapped.cells["amount"].str.fullmatch(r"-[0-9.]+") | _marked_made(raw, mapping)
        made &= mapped.cells.filter(items=table.labels).isin([""]).all(axis=1)
        if not made.all():  # a file of nothing else has its signs the other way round
            mapped.cells, mapped.left_out = mapped.cells[~made], int(made.sum())
    return mapped


def _marked_made(raw: RawTable, mapping: Columns) -> Any:
    """Which rows are payments made by a column that says nothing else, such as Soll/Haben."""
    for name in raw.header:
        marks = [cell.casefold() for cell in raw.cells(name)]
        if name not in mapping.columns.values() and set(marks) <= {*OUT, *IN} and set(marks) & OUT:
            return pd.Series([mark in OUT for mark in marks], [row for row, _ in raw.rows])
    return False


def _cells(
    ours: str, mapping: Columns, raw: RawTable, table: Table, said: Columns
) -> list[str] | None:
    """The cells of a column of ours; None where the file may lack it.

    Raises: DataError if it is missing, named and not there, or there twice and not the same.
    """
    if ours in mapping.values:
        return [mapping.values[ours]] * len(raw.rows)
    theirs = mapping.columns.get(ours, "")
    left = unused(raw, mapping)[:8]
    options = f"say which of {', '.join(map(show, left))} it is" if left else "give its value"
    if theirs in raw.header and theirs:
        places = [i for i, name in enumerate(raw.header) if name == theirs]
        if all(row[i] == row[places[0]] for _, row in raw.rows for i in places[1:]):
            return raw.cells(theirs)
        what = "stands twice; remove one"
    elif theirs:
        what = f"is named in {FILE}, but not there; {options} there"
    elif _is_numbered(ours, mapping, raw, table, said):
        return [f"row-{row:06d}" for row, _ in raw.rows]
    elif ours in table.optional or (
        ours in table.labels and not mapping.columns.keys() & set(table.labels)
    ):
        return None
    elif ours in said.columns:
        what = f"is blank in {FILE}; {options} there"
    else:
        what = f"is missing; add it, or {options} in {FILE}"
    raise DataError([f"{raw.file} row {raw.top}, column {theirs or ours}: {what}"])


def _is_numbered(ours: str, mapping: Columns, raw: RawTable, table: Table, said: Columns) -> bool:
    """Whether a feed's rows have their numbers for ids: it has no column that could be meant."""
    if not table.feed or ours != next(iter(table.columns)):
        return False
    differ = [
        name for name in unused(raw, mapping) if 2 * len(set(raw.cells(name))) > len(raw.rows)
    ]
    return ours in said.columns or not nearest(differ, _names(ours))


def unused(raw: RawTable, mapping: Columns) -> list[str]:
    """A file's columns that are none of ours."""
    return [name for name in raw.header if name and name not in mapping.columns.values()]


def _one_way(
    column: list[str], setting: str, said: str, raw: RawTable, theirs: str, table: Table
) -> tuple[list[str], str]:
    """Read a whole column in one way; and in which, if that makes a difference.

    The way is what was said, or else the one that most of the cells that allow one only allow.
    Raises: DataError if a cell can be read in two ways and nothing tells in which.
    """
    one, other = WAYS[setting]
    ways = [_READ[setting](cell) for cell in column]
    torn = [i for i, way in enumerate(ways) if len(way) == 2 and way[one] != way[other]]
    ones, others = (sum(list(way) == [only] for way in ways) for only in (one, other))
    if torn and not said and ones == others:
        i, options = torn[0], f'{setting} = "{one}" or {setting} = "{other}"'
        where = f"{raw.file} row {raw.rows[i][0]}, column {theirs}"
        both = f"{show(column[i])} can be {ways[i][one]} or {ways[i][other]}"
        tells = f"nothing in the column tells; put {options} under [{table.name}] in {FILE}"
        raise DataError([f"{where}: {both}, and {tells}"])
    chosen = said or (other if others > ones else one)
    text = [str(way.get(chosen, cell)) for way, cell in zip(ways, column, strict=True)]
    return text, chosen if torn or ones or others else ""


# --- columns.toml ---------------------------------------------------------------------------------


def _proposed(missing: list[str], mapping: Columns, raw: RawTable, table: Table) -> Lines:
    """Lines for columns.toml: a column for each missing one, or a place to put it."""
    lines: Lines = {}
    left = unused(raw, mapping)
    for ours in missing:
        near = nearest(left, _names(ours))
        left = [name for name in left if name != near]
        if near:
            _add_line(lines, f"{table.name}.columns", ours, near, "a guess, please check")
        elif ours == "currency":
            _add_line(lines, f"{table.name}.values", ours, "", 'of every row, like "EUR"')
        else:
            _add_line(lines, f"{table.name}.columns", ours, "", "put your column's name here")
    return lines


def nearest(theirs: Iterable[str], known: Iterable[str]) -> str:
    """The name that is written most like one of those known; empty if none is much like one."""
    spelled = {plain(name): name for name in theirs}
    pairs = [
        (SequenceMatcher(None, near, plain(name)).ratio(), near)
        for name in known
        for near in get_close_matches(plain(name), spelled, 1, ALIKE)
    ]
    return spelled[max(pairs)[1]] if pairs else ""


def _add_line(lines: Lines, section: str, key: str, value: str, why: str = "") -> None:
    """Put ``key = "value"  # why`` under a section."""
    text = json.dumps(value, ensure_ascii=False) + (f"  # {why}" if why else "")
    lines.setdefault(section, []).append(f"{key} = {text}")


def _toml(lines: Lines) -> str:
    return "\n".join(text for head, keys in lines.items() for text in (f"[{head}]", *keys))


def to_paste(lines: Lines, directory: Path) -> str:
    """Lines for columns.toml as an error shows them; empty if there are none."""
    if not lines:
        return ""
    there = (directory / FILE).exists()
    head = f"To put into {FILE}, under these headings:" if there else f"To paste into {FILE}:"
    return f"{head}\n{_toml(lines)}"


def read_said(directory: Path) -> dict[str, Columns]:
    """What columns.toml says, by table; empty without it.

    Raises: DataError if it cannot be understood.
    """
    path = directory / FILE
    text = read_text(path, FILE) if path.exists() else ""
    try:
        said = TypeAdapter(dict[str, Columns]).validate_python(tomllib.loads(text))
    except ValidationError as error:
        known = f"each table has {', '.join(asdict(NOTHING_SAID))}"
        raise DataError(
            [
                f"{FILE}: {'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}; {known}"
                for e in error.errors()
            ]
        ) from None
    except ValueError as error:
        raise DataError([f"{FILE}: {error}; correct it there"]) from None
    if problems := [*_unknown_names(said)]:
        raise DataError(problems)
    return said


def _unknown_names(said: Mapping[str, Columns]) -> Iterator[str]:
    """Tables and columns of ours that columns.toml names and that there are not."""
    known: dict[str, dict[str, object]] = {}
    for table in ALL_TABLES:  # invoices are another table in each case
        known.setdefault(table.name, {}).update(table.columns)
    for name, columns in said.items():
        if name not in known:
            yield f"{FILE}: there is no table {show(name)}; there are {', '.join(known)}"
            continue
        for ours in [*columns.columns, *columns.values]:
            if ours not in known[name]:
                has = ", ".join(known[name])
                yield f"{FILE}: {name} has no column {show(ours)}; ours are {has}"


def write_said(directory: Path, said: Mapping[str, Columns]) -> None:
    """Write columns.toml."""
    lines: Lines = {}
    for name, columns in said.items():
        for key, part in asdict(columns).items():
            many = isinstance(part, Mapping)
            for ours, theirs in (part if many else {key: part}).items():
                _add_line(lines, f"{name}.{key}" if many else name, ours, theirs)
    (directory / FILE).write_text(_toml(lines) + "\n", encoding="utf-8")
