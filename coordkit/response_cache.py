"""Every response that a model has given, kept in one SQLite file and never asked for again.

LangChain's own cache interface has a key of prompt and settings and knows of answers only. Here
are kept besides: what the endpoint refused or failed to deliver (a replay meets the same), and a
lock per request, so that no two threads send one.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT = 60.0  # seconds, for other processes on the same file
_TABLE = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, endpoint TEXT NOT NULL, request TEXT NOT NULL,
    kept_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, reply TEXT NOT NULL, failed INTEGER NOT NULL)
"""


@dataclass(frozen=True)
class Kept:
    """A response as it was kept.

    Attributes:
        reply: the message as plain data, or for a failed delivery its text and HTTP status.
        failed: whether nothing was delivered, so that only a replay may take it for the answer.
    """

    reply: dict[str, Any]
    failed: bool = False


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let no reader hold up a writer; SQLite itself waits for no one who switches as well."""
    until = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)


class ResponseCache:
    """The file of responses; any number of threads and of processes may use it.

    Two processes that ask the same at the same moment both send it; threads of one send it once.

    Args:
        path: the file; None keeps the responses in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._in_flight: dict[str, threading.Lock] = {}
        self._connection = sqlite3.connect(
            str(path or ":memory:"), timeout=WAIT, check_same_thread=False, isolation_level=None
        )
        _write_ahead(self._connection)
        self._connection.execute(_TABLE)

    @contextmanager
    def once(self, key: str) -> Iterator[None]:
        """Hold a request for as long as it is in flight: a second thread waits for the answer."""
        with self._lock:
            lock = self._in_flight.setdefault(key, threading.Lock())
        with lock:
            yield

    def get(self, key: str) -> Kept | None:
        """What was kept under a key, if anything was."""
        with self._lock:
            query = "SELECT reply, failed FROM responses WHERE key = ?"
            found = self._connection.execute(query, (key,)).fetchone()
        return Kept(json.loads(found[0]), bool(found[1])) if found else None

    def keep(self, key: str, kept: Kept, model: str, endpoint: str, request: str) -> None:
        """Write a response; once this returns, a kill of the process does not lose it."""
        row = (key, model, endpoint, request, json.dumps(kept.reply), kept.failed)
        insert = "INSERT OR REPLACE INTO responses (key, model, endpoint, request, reply, failed)"
        with self._lock:
            self._connection.execute(f"{insert} VALUES (?, ?, ?, ?, ?, ?)", row)

    def count(self, model: str) -> dict[str, int]:
        """Number of responses kept of a model, by endpoint; failed deliveries are not counted."""
        query = "SELECT endpoint, COUNT(*) FROM responses WHERE model = ? AND NOT failed"
        with self._lock:
            return dict(self._connection.execute(f"{query} GROUP BY endpoint", (model,)).fetchall())
