"""Read and check the tables of a billing or support directory; write a generated one.

A reader collects every problem it can find, each with file, row (as a spreadsheet counts: the
header is row 1), column and remedy, and raises them together as one `DataError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coordkit.data.columns import Columns, Lines, apply, find, no_file, read_said, to_paste
from coordkit.data.files import MAX_CELL, DataError, read_text
from coordkit.data.generate_billing import house_rules
from coordkit.data.generate_support import EXAMPLES, POLICIES
from coordkit.data.schemas import (
    BILLING_LABEL_FILE,
    CUSTOMERS,
    INVOICE_LINES,
    INVOICES,
    ORDERS,
    PAYMENTS,
    SENTENCES,
    SUPPORT_LABEL_FILE,
    TICKETS,
    Table,
    show,
    validate,
)

# Used when a billing directory has no terms/house.md: the customs that a plain bank feed shows.
DEFAULT_HOUSE = house_rules(
    discount="2% if paid within 30 days of the invoice date",
    charges="shared; up to 15.00 per transfer is accepted",
)


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


def read_billing(directory: Path) -> BillingTables:
    """Read and check a billing directory.

    Args:
        directory: has invoices and payments; may have customers and terms/*.md. Each table is a
            CSV, XLSX or Parquet file, the payments also MT940 or CAMT.053; columns.toml says what
            cannot be guessed. Without terms/house.md the house rules are `DEFAULT_HOUSE`.
    Returns: the tables, in the order of the files. A payment that nobody labelled has a blank kind.
    Raises: DataError naming everything that is wrong.
    """
    folder = _Folder(directory)
    tables = folder.read_all(INVOICES, PAYMENTS, CUSTOMERS)
    documents = {"terms/house": DEFAULT_HOUSE} | folder.documents("terms")
    folder.check_unmatched(PAYMENTS, tables["payments"])
    if PAYMENTS.name not in folder.lost:
        _check_repeated(folder, tables["payments"])
    folder.complain()
    return BillingTables(**_numbered_anew(tables), documents=documents)


def read_support(directory: Path) -> SupportTables:
    """Read and check a support directory.

    Args:
        directory: has tickets and orders; may have invoices (invoice lines), examples.csv and
            policies/*.md. What it lacks of the last two comes with the package. Files and columns
            are found as in `read_billing`.
    Returns: the tables, in the order of the files. A ticket that nobody labelled has blank intents.
    Raises: DataError naming everything that is wrong.
    """
    folder = _Folder(directory)
    tables = folder.read_all(TICKETS, ORDERS, INVOICE_LINES, SENTENCES)
    if tables["examples"].empty:
        tables["examples"] = _Folder(EXAMPLES.parent).read(SENTENCES)
    documents = {f"policies/{name}": text for name, text in POLICIES.items()}
    documents |= folder.documents("policies")
    for row, status, delivered_on in _cells(tables["orders"], "status", "delivered_on"):
        if (status == "delivered") != (delivered_on != ""):
            what = "give a date if the status is delivered, and only then; the status is"
            folder.note(ORDERS, row, "delivered_on", f'{what} "{status}"')
    for row, intents, refund in _cells(tables["tickets"], "intents", "refund_amount"):
        if intents and refund == "":
            what = "is blank; a labelled ticket has an amount, 0.00 for none"
            folder.note(TICKETS, row, "refund_amount", what)
    folder.complain()
    return SupportTables(**_numbered_anew(tables), documents=documents)


def read_labels(directory: Path, tables: BillingTables | SupportTables) -> pd.DataFrame:
    """Read and check labels.csv, what a person said about tasks without labels.

    Args:
        directory: the data directory; without labels.csv in it nothing was said.
        tables: its tables, which the labels must fit.
    Returns: one row per labelled task: its id and the labels' columns.
    Raises: DataError naming everything that is wrong.
    """
    folder = _Folder(directory)
    table = BILLING_LABEL_FILE if isinstance(tables, BillingTables) else SUPPORT_LABEL_FILE
    labels = folder.read(table)
    folder.check_references(table, labels, vars(tables))
    folder.check_unmatched(table, labels)
    folder.complain()
    return labels.reset_index(drop=True)


class _Folder:
    """A data directory being read; its problems are collected.

    Raises: DataError if there is no such directory, or columns.toml cannot be understood.
    """

    def __init__(self, directory: Path) -> None:
        self.path = Path(directory)
        if not self.path.is_dir():
            raise DataError([f"{directory}: there is no such directory; check the path"])
        self.problems: list[str] = []
        self.said = read_said(self.path)
        self.lost: set[str] = set()  # tables with rows that could not be read
        self._paste: Lines = {}
        self._files: dict[str, str] = {}

    def file(self, table: str) -> str:
        """The name of a table's file, for messages."""
        return self._files.get(table, f"{table}.csv")

    def read_all(self, *tables: Table) -> dict[str, pd.DataFrame]:
        """Tables as `read` gives them, by name; their references are checked."""
        frames = {table.name: self.read(table) for table in tables}
        for table in tables:
            self.check_references(table, frames[table.name], frames)
        return frames

    def read(self, table: Table) -> pd.DataFrame:
        """A table of values, its index the row in the file; empty if the file cannot be used.

        Columns that cannot be judged are left out of it.
        """
        said = self.said.get(table.name, Columns())
        try:
            raw, mapping = find(self.path, table, said)
        except DataError as error:
            self.problems += error.problems
            self.lost.add(table.name)
            return table.empty()
        if raw is None:
            if table.required:
                problem, lines = no_file(self.path, table)
                self.problems.append(problem)
                self.lost.add(table.name)
                self._paste |= lines
            return table.empty()
        self._files[table.name] = raw.file
        mapped = apply(mapping, raw, table, said)
        frame, problems = validate(mapped.cells, table, raw.file, mapping.columns)
        self.problems += [*mapped.problems, *raw.problems, *problems]
        self._paste |= mapped.paste
        if raw.problems:
            self.lost.add(table.name)
        return frame.drop(columns=mapped.unjudged)

    def documents(self, folder: str) -> dict[str, str]:
        """The Markdown files of a folder, by source id such as "terms/house"."""
        found = {}
        for path in sorted((self.path / folder).glob("*.md")):
            name = f"{folder}/{path.name}"
            try:
                found[f"{folder}/{path.stem}"] = text = read_text(path, name)
                if len(text) > MAX_CELL:
                    raise DataError([f"{name}: is above {MAX_CELL:,} characters; shorten it"])
            except DataError as error:
                self.problems += error.problems
        return found

    def check_references(
        self, table: Table, frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]
    ) -> None:
        """Note ids that the table which should have them has not, if that could be read."""
        for column, (other, key) in table.refers.items():
            if other in self.lost or key not in tables[other]:
                continue
            known = set(tables[other][key])
            where = f"in {self.file(other)}" if other in self._files else f"among the {other}"
            for row, ids in _cells(frame, column):
                for one in filter(None, str(ids).split(";")):
                    if one not in known:
                        remedy = f"is not {where}; correct it or add it there"
                        self.note(table, row, column, f"{show(one)} {remedy}")

    def check_unmatched(self, table: Table, frame: pd.DataFrame) -> None:
        """Note payments that settle an invoice and are unmatched, or neither."""
        allowed = ("", "redelivered") if table is PAYMENTS else ("",)
        for row, kind, settles in _cells(frame, "kind", "settles_invoice"):
            if kind not in allowed and (kind == "unmatched") != (settles == ""):
                what = f"{show(settles)} does not go with the kind {show(kind)}"
                what += "; blank goes with the kind unmatched, and only with it"
                self.note(table, row, "settles_invoice", what)

    def note(self, table: Table, row: int, column: str, what: str) -> None:
        """Note what is wrong with a cell."""
        self.problems.append(f"{self.file(table.name)} row {row}, column {column}: {what}")

    def complain(self) -> None:
        """Raise what was found, if anything."""
        if self.problems:
            raise DataError(self.problems, to_paste(self._paste, self.path))


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
        others = f" and {len(strangers) - 1} more of its files" if strangers[1:] else ""
        what = f"{out} has another data set's {strangers[0]}{others}"
        raise DataError([f"{what}; choose an empty directory"])
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))


def _numbered_anew(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: frame.reset_index(drop=True) for name, frame in tables.items()}


def _cells(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Go through some columns with the row number in front; nothing if one cannot be judged."""
    if not set(columns) <= set(frame):
        return iter(())
    return zip(frame.index, *(frame[column] for column in columns), strict=True)


def _check_repeated(folder: _Folder, payments: pd.DataFrame) -> None:
    """Note payment numbers used twice for what is not the same line."""
    content = ("payer_name", "amount", "currency", "remittance_text", "settles_invoice")
    first: dict[str, list[object]] = {}
    for row, payment_id, kind, *line in _cells(payments, "payment_id", "kind", *content):
        same = first.get(payment_id) == line
        if kind == "redelivered" and not same:
            what = "redelivered, but no earlier row has the payment_id"
            remedy = "and the same content; correct the kind or the row"
            folder.note(PAYMENTS, row, "kind", f"{what} {show(payment_id)} {remedy}")
        elif payment_id in first and not (kind in ("", "redelivered") and same):
            what = f"{show(payment_id)} stands in an earlier row already"
            remedy = "a line delivered twice is identical and has the kind redelivered"
            folder.note(PAYMENTS, row, "payment_id", f"{what}; {remedy}")
        elif kind != "redelivered":
            first.setdefault(payment_id, line)
