"""The environment: one SQLite database behind the tools, in memory or in a file.

Tables loaded from the case's data are read-only by convention. What agents change is kept per
trial, so that thousands of trials share one database and none can see another's doings.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coordkit.prompt import write_record

_WORD = re.compile(r"\w+", re.UNICODE)

_TRIAL_TABLES = """
CREATE TABLE IF NOT EXISTS actions (
    trial TEXT NOT NULL, seq INTEGER NOT NULL, account TEXT NOT NULL, reference TEXT NOT NULL,
    cents INTEGER NOT NULL, note TEXT NOT NULL DEFAULT '', PRIMARY KEY (trial, seq));
CREATE TABLE IF NOT EXISTS processed (
    trial TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (trial, key));
CREATE TABLE IF NOT EXISTS approvals (
    trial TEXT NOT NULL, reviewer TEXT NOT NULL, decision TEXT NOT NULL);
"""


def cents(amount: float | str | Any) -> int:
    """An amount of money in cents, rounded to the nearest."""
    return round(float(amount) * 100)


class Environment:
    """A case's records, its documents with a full-text index, and what each trial has done.

    Args:
        tables: record kind -> DataFrame; the first column is the record's id.
        documents: source id -> text.
        path: file to keep the database in; None keeps it in memory.

    A reopened file keeps its trial tables (that is what a resumed run needs) and its data.
    Raises: ValueError if a kind has the name of a table that is kept here besides.
    """

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame],
        documents: Mapping[str, str],
        path: str | Path | None = None,
    ) -> None:
        if taken := {"actions", "processed", "approvals", "texts", "search"} & set(tables):
            raise ValueError(f"another name is needed for the table {', '.join(sorted(taken))}")
        self.connection = sqlite3.connect(str(path or ":memory:"), check_same_thread=False)
        self.connection.row_factory = sqlite3.Row
        self.connection.executescript(_TRIAL_TABLES)
        self.keys = {kind: str(frame.columns[0]) for kind, frame in tables.items()}
        self._common: frozenset[str] | None = None
        query = "SELECT 1 FROM sqlite_master WHERE name = 'search'"
        if not self.connection.execute(query).fetchone():
            self._load(tables, documents)

    def copy(self) -> Environment:
        """The same, in memory and from now on apart: far quicker than to load the data again."""
        other = Environment.__new__(Environment)
        other.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.connection.backup(other.connection)
        other.connection.row_factory = sqlite3.Row
        other.keys, other._common = self.keys, self._common
        return other

    def _load(self, tables: Mapping[str, pd.DataFrame], documents: Mapping[str, str]) -> None:
        """A file that was cut short while loading has no search yet, and is loaded again."""
        run = self.connection.execute
        for kind, frame in tables.items():
            frame.astype(str).to_sql(kind, self.connection, index=False, if_exists="replace")
            for column in frame.filter(regex="_id$"):
                run(f'CREATE INDEX "{kind}_{column}" ON "{kind}" ("{column}")')
        with self.connection:
            run("BEGIN")
            run("CREATE TABLE texts (source TEXT UNIQUE, body TEXT, words TEXT)")
            self.connection.executemany(
                "INSERT INTO texts VALUES (?, ?, ?)", self._searchable(tables, documents)
            )
            run("CREATE VIRTUAL TABLE search USING fts5(source, words, content='texts')")
            run("INSERT INTO search(search) VALUES ('rebuild')")

    def _searchable(
        self, tables: Mapping[str, pd.DataFrame], documents: Mapping[str, str]
    ) -> Iterable[tuple[str, str, str]]:
        """Source id, text as written for a prompt, and the words to find it by."""
        for kind in tables:
            for row in self.rows(kind):
                source, fields = self.as_record(kind, row)
                yield source, write_record(source, fields), " ".join(map(str, fields.values()))
        for source, text in documents.items():
            yield source, write_record(source, text), text

    def as_record(self, kind: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A row with its source id; blank fields are left out to keep prompts short."""
        fields = {name: value for name, value in dict(row).items() if value != ""}
        return f"{kind}/{row[self.keys[kind]]}", fields

    def rows(self, kind: str, **equal: str) -> list[dict[str, Any]]:
        """The rows of a table whose columns equal the given values, in id order of loading."""
        where = " AND ".join(f'"{column}" = ?' for column in equal) or "1"
        query = f'SELECT * FROM "{kind}" WHERE {where} ORDER BY rowid'
        return [dict(row) for row in self.connection.execute(query, tuple(equal.values()))]

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """One row by its id, or None."""
        found = self.rows(kind, **{self.keys[kind]: key})
        return found[0] if found else None

    def show(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Rows as records with their source ids, one per line."""
        return "\n".join(write_record(*self.as_record(kind, row)) for row in rows)

    def document(self, source: str) -> str:
        """A document or record as written for a prompt, empty if there is none."""
        query = "SELECT body FROM texts WHERE source = ?"
        found = self.connection.execute(query, (source,)).fetchone()
        return str(found["body"]) if found else ""

    def search(self, text: str, limit: int, kind: str = "") -> list[str]:
        """Full-text search (BM25) over records and documents, best first, written for a prompt.

        Args:
            text: any text; its words are quoted and OR-ed.
            limit: most results to return.
            kind: restrict to one kind of record, such as ``customers``.
        """
        found = list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))
        # Of a house with few customers, all the words of a name may be common.
        words = [word for word in found if word not in self._common_words()] or found
        if not words:
            return []
        match = " OR ".join(f'"{word}"' for word in words)
        if kind:
            match = f'source : "{kind}" AND words : ({match})'
        query = (
            "SELECT body FROM texts JOIN (SELECT rowid AS found, rank AS place FROM search "
            "WHERE search MATCH ? ORDER BY rank, rowid LIMIT ?) ON texts.rowid = found "
            "ORDER BY place, found"
        )
        return [row["body"] for row in self.connection.execute(query, (match, limit))]

    def _common_words(self) -> frozenset[str]:
        """Words in more than a tenth of all texts: they tell nothing apart and cost most."""
        if self._common is None:
            self.connection.execute(
                "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, search, row)"
            )
            query = (
                "SELECT term FROM temp.vocabulary GROUP BY term "
                "HAVING SUM(doc) > 20 + (SELECT COUNT(*) FROM texts) / 10"
            )
            self._common = frozenset(row[0] for row in self.connection.execute(query))
        return self._common

    # --- what a trial does -------------------------------------------------------------------

    def clear(self, trial: str) -> None:
        """Forget everything a trial has done."""
        with self.connection:
            for table in ("actions", "processed", "approvals"):
                self.connection.execute(f"DELETE FROM {table} WHERE trial = ?", (trial,))

    def was_processed(self, trial: str, key: str) -> bool:
        """Whether the ledger of this trial already holds this idempotency key."""
        query = "SELECT 1 FROM processed WHERE trial = ? AND key = ?"
        return self.connection.execute(query, (trial, key)).fetchone() is not None

    def write(
        self,
        trial: str,
        actions: Sequence[tuple[str, str, int, str]],
        key: str = "",
        approval: tuple[str, str] | None = None,
    ) -> bool:
        """Write a trial's actions in one transaction.

        Args:
            trial: the trial that acts.
            actions: (account, reference, cents, note) each; none to note only that the work of
                this key was done before the trial began.
            key: idempotency key; empty writes without looking whether it was done before.
            approval: (reviewer, decision) that allows the actions, kept with them.

        Returns:
            False if the key was known and nothing was written.
        """
        with self.connection:
            if key:
                insert = "INSERT OR IGNORE INTO processed VALUES (?, ?)"
                if self.connection.execute(insert, (trial, key)).rowcount == 0:
                    return False
            if approval:
                self.connection.execute(
                    "INSERT INTO approvals VALUES (?, ?, ?)", (trial, *approval)
                )
            start = len(self.actions(trial))
            self.connection.executemany(
                "INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?)",
                [(trial, start + i, *action) for i, action in enumerate(actions)],
            )
        return True

    def actions(self, trial: str) -> list[tuple[str, str, int, str]]:
        """What a trial has written: (account, reference, cents, note), in order."""
        query = "SELECT account, reference, cents, note FROM actions WHERE trial = ? ORDER BY seq"
        return [tuple(row) for row in self.connection.execute(query, (trial,))]

    def approvals(self, trial: str) -> list[tuple[str, str]]:
        """(reviewer, decision) of a trial, in order."""
        query = "SELECT reviewer, decision FROM approvals WHERE trial = ?"
        return [tuple(row) for row in self.connection.execute(query, (trial,))]

    def close(self) -> None:
        """Close the database."""
        self.connection.close()
