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
from dataclasses import asdict, dataclass, field
from datetime import date
from difflib import SequenceMatcher, get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError

from coordkit.data.files import BANK_FILES, SHEETS, DataError, RawTable, read_raw, read_text
from coordkit.data.schemas import ALL_TABLES, CURRENCIES, SIGNS, Table, show

FILE = "columns.toml"
DAY_FIRST: Final = "day-first"
MONTH_FIRST: Final = "month-first"
ALIKE = 0.75  # of 1: names that differ by a letter or two
NOT_IT = 3
OUT, IN = {"s", "soll", "d", "dr", "debit"}, {"h", "haben", "c", "cr", "credit"}  # of the account
Order = Literal["", "day-first", "month-first"]
Decimals = Literal["", ".", ","]
ORDERS, DECIMALS = get_args(Order), get_args(Decimals)

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
    dates: Order = ""
    decimal: Decimals = ""


NOTHING_SAID = Columns()


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
    if said.file or not table.guess:
        path = directory / (said.file or f"{table.name}.csv")
        return path if said.file or path.exists() else None
    ranks = {path: _rank(path, table) for path in _files(directory)}
    best = min(ranks.values(), default=NOT_IT)
    found = [path for path, rank in ranks.items() if rank == best < NOT_IT]
    if len(found) > 1:
        both = " and ".join(path.name for path in found)
        why = f'{both}: which holds the {table.name}? put file = "NAME" under [{table.name}]'
        raise DataError([f"{why} in {FILE}"])
    return found[0] if found else None


def _files(directory: Path) -> list[Path]:
    return sorted(p for p in directory.iterdir() if p.suffix.lower() in (*SHEETS, *BANK_FILES))


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


def no_file(directory: Path, table: Table) -> tuple[str, str | None]:
    """A table that is needed and has no file: what to do, and the file with the nearest name.

    None if there is none that has not the name of another table.
    """
    ours = f"{table.name}.csv: is missing from {directory}; add it (or .xlsx, .parquet)"
    there = {path.stem: path.name for path in _files(directory) if path.stem not in FILE_NAMES}
    if not there:
        return f"{ours}; the folder holds no other table", None
    near = there.get(nearest(there, [table.name, *FILE_NAMES[table.name].split()]), "")
    return f"{ours}, or say which of {', '.join(map(show, [*there.values()][:8]))} it is", near


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
    open_ours = [ours for ours in table.columns if ours not in found and ours not in said.values]
    left = [theirs for theirs in raw.header if theirs not in found.values()]
    for ours in open_ours:  # by our very name first
        if theirs := [name for name in left if name.strip() == ours]:
            found[ours] = theirs[0]
            left = [name for name in left if name != theirs[0]]
    _guess_by_name([ours for ours in open_ours if ours not in found], left, table, found)
    if table.labels and not found.get(table.labels[0]):
        found = {ours: theirs for ours, theirs in found.items() if ours not in table.labels}
    ordered = {ours: found[ours] for ours in table.columns if found.get(ours)}
    values = {ours: value for ours, value in said.values.items() if ours in table.columns}
    amounts = ordered.get("amount") or ordered.get("total")
    if amounts in raw.header and "currency" in set(open_ours) - set(found):
        code = _unit_of(amounts, raw.cells(amounts))
        values |= {"currency": code} if code else {}
    return Columns(raw.file, ordered, values, said.dates, said.decimal)


def _guess_by_name(ours: list[str], left: list[str], table: Table, found: dict[str, str]) -> None:
    """Take our name, however written, then the closest synonym, over all pairs.

    So "Datum" goes to who needs it most, and "id" to the table's first column. Of two columns that
    differ in a sign or a unit only, none is taken.
    """
    known = {name: [plain(name), *NAMES.get(name, "").split() * table.guess] for name in ours}
    known.get(next(iter(table.columns)), []).extend(["id"] * table.guess)
    spelled = Counter(map(plain, set(left)))
    pairs = sorted(
        (rank, place, name, theirs)
        for place, name in enumerate(ours)
        for rank, synonym in enumerate(known[name])
        for theirs in left
        if plain(theirs) == synonym and spelled[synonym] == 1
    )
    for _, _, name, theirs in pairs:
        if name not in found and theirs not in found.values():
            found[name] = theirs


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

_TIME = (
    r"(?:,?[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?"
    r"(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?)?"
)
_YEAR_FIRST = re.compile(rf"(\d{{4}})(?:([-/.])(\d{{1,2}})\2(\d{{1,2}})|(\d\d)(\d\d)){_TIME}")
_YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}|\d\d){_TIME}")
_NAMED = re.compile(rf"(\d{{1,2}})[. -]+([^\W\d]{{3,9}})\.?,?[ -]+(\d{{4}}){_TIME}")
_AMERICAN = re.compile(rf"([^\W\d]{{3,9}})\.? (\d{{1,2}}),? (\d{{4}}){_TIME}")
_MONTHS = {
    name: number
    for number, names in enumerate(
        ["jan january januar", "feb february februar", "mar march mär märz maerz", "apr april",
         "may mai", "jun june juni", "jul july juli", "aug august", "sep sept september",
         "oct october okt oktober", "nov november", "dec december dez dezember"], 1,
    )
    for name in names.split()
}  # fmt: skip


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None


def read_dates(cell: str) -> dict[str, date]:
    """The ways to read a date: order -> date; both orders if it can be read in either.

    Year first, a month's name, and dots (day first, as in German) leave one way only.
    """
    both = (DAY_FIRST, MONTH_FIRST)
    found: dict[str, date | None] = {}
    if match := _YEAR_FIRST.fullmatch(cell):
        year, _, month, day, month2, day2 = match.groups()
        found = dict.fromkeys(both, _day(int(year), int(month or month2), int(day or day2)))
    elif match := _NAMED.fullmatch(_AMERICAN.sub(r"\2 \1 \3", cell)):
        month = _MONTHS.get(match[2].casefold(), 0)  # there is no month 0, so no day either
        found = dict.fromkeys(both, _day(int(match[3]), month, int(match[1])))
    elif match := _YEAR_LAST.fullmatch(cell):
        first, sign, second, year = match.groups()
        found = {DAY_FIRST: _day(int(year), int(second), int(first))}
        if sign != ".":
            found[MONTH_FIRST] = _day(int(year), int(first), int(second))
    return {order: day for order, day in found.items() if day is not None}


# --- amounts --------------------------------------------------------------------------------------

_SIGNS = re.compile(
    rf"^(?:US\$|[$€£¥]|Fr\.|{'|'.join(sorted(CURRENCIES))})\s*|"
    rf"\s*(?:[$€£¥]|{'|'.join(sorted(CURRENCIES))})$"
)
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
    text = cell.translate(_SPACES).strip()
    minus = re.fullmatch(r"\((.+)\)|(.+)-|-(.+)", text)
    text = next(filter(None, minus.groups())).strip() if minus else text
    text = _SIGNS.sub("", text).strip()
    if text.startswith("-") and not minus:  # "EUR -5.00"
        minus, text = re.match("-", text), text[1:]
    found = {}
    for mark, pattern in _AMOUNT.items():
        if match := pattern.fullmatch(text):
            whole, decimals = re.sub(r"\D", "", match[1]), match[3]
            sign = "-" if minus else ""
            found[mark] = f"{sign}{whole}" + (f".{decimals}" if decimals else "")
    return found


# --- applying a mapping ---------------------------------------------------------------------------

Lines = dict[str, list[str]]  # for columns.toml, by section


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
    unjudged: set[str] = field(default_factory=set)
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
    _note_headers(mapped, mapping, raw, table, said)
    for ours, kind in table.columns.items():
        if ours in mapped.unjudged:
            continue
        if ours in mapping.values:
            column = [mapping.values[ours]] * len(index)
        elif theirs := mapping.columns.get(ours, ""):
            column = raw.cells(theirs)
            if kind.reads:
                way = mapping.dates if kind.reads == "date" else mapping.decimal
                where = (index, f"{raw.file} row {{}}, column {theirs}")
                column, how = _one_way(column, kind.reads, way, where, mapped.problems, table.name)
                mapped.read |= {ours: how} if how else {}
                if how == "two ways":
                    mapped.unjudged.add(ours)
                    continue
        elif ours == table.numbered:
            column = [f"row-{row:06d}" for row in index]
        else:
            continue
        mapped.cells[ours] = pd.Series(column, index=index, dtype=object)
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


def _note_headers(
    mapped: Mapped, mapping: Columns, raw: RawTable, table: Table, said: Columns
) -> None:
    """Note columns that are missing, named and not there, or there twice and not the same."""
    missing = []
    left = [name for name in raw.header if name and name not in mapping.columns.values()]
    options = f"say which of {', '.join(map(show, left[:8]))} it is" if left else "give its value"
    for ours in table.columns:
        theirs = mapping.columns.get(ours, "")
        if ours in mapping.values:
            continue
        if theirs and theirs not in raw.header:
            what = f"is named in {FILE}, but not there; {options} there"
        elif theirs:
            places = [i for i, name in enumerate(raw.header) if name == theirs]
            if all(row[i] == row[places[0]] for _, row in raw.rows for i in places[1:]):
                continue
            what = "stands twice; remove one"
        elif ours not in _needed(mapping, table) or (
            ours == table.numbered and (ours in said.columns or not _most_differ(ours, left, raw))
        ):
            continue
        elif ours in said.columns:
            what = f"is blank in {FILE}; {options} there"
        else:
            what = f"is missing; add it, or {options} in {FILE}"
            missing.append(ours)
        mapped.unjudged.add(ours)
        mapped.problems.append(f"{raw.file} row {raw.top}, column {theirs or ours}: {what}")
    mapped.paste = _proposed(missing, left, raw, table)


def _most_differ(ours: str, left: list[str], raw: RawTable) -> str:
    """The column with the nearest name of those that could number the rows."""
    return nearest(
        [name for name in left if 2 * len(set(raw.cells(name))) > len(raw.rows)], _names(ours)
    )


def _names(ours: str) -> list[str]:
    return [ours, *NAMES.get(ours, "").split()]


def _proposed(missing: list[str], left: list[str], raw: RawTable, table: Table) -> Lines:
    """Lines for columns.toml: a column for each missing one, or a place to put it."""
    lines: Lines = {}
    for ours in missing:
        near = nearest(left, _names(ours)) or _alike(ours, left, raw, table)
        left = [name for name in left if name != near]
        if near:
            add_line(lines, f"{table.name}.columns", ours, near, "a guess, please check")
        elif ours == "currency":
            add_line(lines, f"{table.name}.values", ours, "", 'of every row, like "EUR"')
        else:
            add_line(lines, f"{table.name}.columns", ours, "", "put your column's name here")
    return lines


def add_line(lines: Lines, section: str, key: str, value: str, why: str = "") -> None:
    """Put ``key = "value"  # why`` under a section."""
    text = json.dumps(value, ensure_ascii=False) + (f"  # {why}" if why else "")
    lines.setdefault(section, []).append(f"{key} = {text}")


def to_paste(lines: Lines, directory: Path) -> str:
    """What to put into columns.toml: under the sections that it has, and one block for its end."""
    path = directory / FILE
    written = read_text(path, FILE).splitlines() if path.exists() else []
    has = {line.partition("#")[0].strip() for line in written}
    told, new = list[str](), list[str]()
    for section, keys in lines.items():
        if (head := f"[{section}]") in has:
            told += [f"To put into {FILE} below its line {head}:", *keys]
        else:
            new += [head, *keys]
    where = f"To paste {'at the end of' if written else 'into'} {FILE}:"
    return "\n".join([*told, *([where, *new] if new else [])])


def nearest(theirs: Iterable[str], known: Iterable[str]) -> str:
    """The name that is written most like one of those known; empty if none is much like one."""
    spelled = {plain(name): name for name in theirs}
    pairs = [
        (SequenceMatcher(None, near, plain(name)).ratio(), near)
        for name in known
        for near in get_close_matches(plain(name), spelled, 1, ALIKE)
    ]
    return spelled[max(pairs)[1]] if pairs else ""


def _alike(ours: str, left: list[str], raw: RawTable, table: Table) -> str:
    """The one spare column whose cells can be read as dates (or amounts), if there is one only."""
    reads = table.columns[ours].reads
    read: Callable[[str], Mapping[str, Any]] = read_dates if reads == "date" else read_amounts
    cells = {name: raw.cells(name) for name in left}
    fit = [n for n, column in cells.items() if any(column) and all(map(read, filter(None, column)))]
    return fit[0] if reads and len(fit) == 1 else ""


def _needed(mapping: Columns, table: Table) -> set[str]:
    """Our columns that the file must have."""
    labelled = bool(table.labels) and table.labels[0] in mapping.columns
    spared = {*mapping.values, *table.optional, *(() if labelled else table.labels)}
    return set(table.columns) - spared


Where = tuple[list[int], str]  # rows in the file, and how to name one


def _one_way(
    column: list[str], reads: str, said: str, where: Where, problems: list[str], table: str
) -> tuple[list[str], str]:
    """Read a whole column in one way, or note that it could be read in two.

    The way is what was said, or else the one that most of the cells that allow one only allow.
    Where most dates have the year first, one that has not is left to be refused by itself.
    """
    both = (DAY_FIRST, MONTH_FIRST) if reads == "date" else (".", ",")
    read: Callable[[str], Mapping[str, Any]] = read_dates if reads == "date" else read_amounts
    ways = [read(cell) for cell in column]
    torn = [i for i, w in enumerate(ways) if len(w) == 2 and w[both[0]] != w[both[1]]]
    only = [sum(way in w and len(w) == 1 for w in ways) for way in both]
    way = said or both[only[1] > only[0]]
    settled: set[int] = set()
    if torn and not said and only[0] == only[1]:
        if reads != "date" or len(torn) > sum(map(bool, map(_YEAR_FIRST.fullmatch, column))):
            i, key = torn[0], "dates" if reads == "date" else "decimal"
            options = " or ".join(f'{key} = "{way}"' for way in both)
            problems.append(
                f"{where[1].format(where[0][i])}: {show(column[i])} can be {ways[i][both[0]]} or "
                f"{ways[i][both[1]]}, and nothing in the column tells; "
                f"put {options} under [{table}] in {FILE}"
            )
            return [""] * len(column), "two ways"
        settled = set(torn)
    text = [
        str(w[way]) if way in w and i not in settled else cell
        for i, (w, cell) in enumerate(zip(ways, column, strict=True))
    ]
    return text, way if torn or any(only) else ""


# --- columns.toml ---------------------------------------------------------------------------------


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


def write_said(directory: Path, said: Mapping[str, Columns]) -> Path:
    """Write columns.toml; returns its path."""
    lines: Lines = {}
    for name, columns in said.items():
        for key, part in asdict(columns).items():
            section = name if isinstance(part, str) else f"{name}.{key}"
            for ours, theirs in {key: part}.items() if isinstance(part, str) else part.items():
                if theirs or not isinstance(part, str):
                    add_line(lines, section, ours, theirs)
    path = directory / FILE
    text = "\n".join(line for head, keys in lines.items() for line in (f"[{head}]", *keys, ""))
    path.write_text(text, encoding="utf-8")
    return path
