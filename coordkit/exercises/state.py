"""Exercises of notebook 04: a reducer, an idempotency key, and posting once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from coordkit.exercises import exercise


def _judge_append_new(attempt: Any) -> str:
    a, b, c, late = ({"id": i, "n": n} for i, n in (("a", 1), ("b", 2), ("c", 3), ("a", 9)))
    for old, new, right in (
        ([], [a], [a]),
        ([a, b], [c], [a, b, c]),
        ([a, b], [b], [a, b]),
        ([a, b], [c, a, c], [a, b, c]),
        ([a, b], [], [a, b]),
        ([a, b], [late], [a, b]),
    ):
        given = deepcopy((old, new))
        got = attempt(*given)
        if given != (old, new):
            return "it changed a list that it was given; a reducer returns a new value"
        if got != right:
            return f"{old} and then {new} should give {right}, not {got!r}"
    return ""


@exercise(
    hints=(
        "The update itself may hold the same id twice.",
        "A dict keeps its keys in order of insertion: setdefault(entry['id'], entry).",
    ),
    judge=_judge_append_new,
)
def append_new(old, new):
    """Reducer: old entries in their order, then new ones with an id not seen before."""
    by_id = {}
    for entry in [*old, *new]:
        by_id.setdefault(entry["id"], entry)
    return list(by_id.values())


_LINE = {
    "payment_id": "BNK-7",
    "received_on": "2026-06-08",
    "payer_name": "Granite Garden Brewing LLC",
    "amount": "191.98",
    "currency": "USD",
    "remittance_text": "/RFB/INV-20396",
}


def _judge_delivery_key(attempt: Any) -> str:
    key = attempt(dict(_LINE))
    if not isinstance(key, str) or not key:
        return f"return a text that is not empty, not {key!r}"
    for what, line in {
        "the file was read again and the fields came in another order": dict(
            reversed(_LINE.items())
        ),
        "the feed now adds when it was sent": _LINE | {"sent_at": "2026-06-09T05:00"},
        "the feed pads the bank's id with spaces": _LINE | {"payment_id": " BNK-7 "},
        "the payer's name was written in capitals": _LINE
        | {"payer_name": "GRANITE GARDEN BREWING LLC"},
    }.items():
        if attempt(line) != key:
            return f"{what}: it is the same payment, and its key has changed"
    if attempt(_LINE | {"payment_id": "BNK-8"}) == key:
        return "two payments alike in all but the bank's id share a key: the second would be lost"
    return ""


@exercise(
    hints=(
        "A hash of the whole line fails both ways: which field does the sender promise to keep?",
        "The bank's payment_id, without the spaces around it.",
    ),
    judge=_judge_delivery_key,
)
def delivery_key(line):
    """The same key for every delivery of a payment, another one for every other payment."""
    return line["payment_id"].strip()


_TABLES = """
CREATE TABLE processed (key TEXT PRIMARY KEY);
CREATE TABLE entries (account TEXT NOT NULL, cents INTEGER NOT NULL);
"""
_COUNTS = "SELECT (SELECT count(*) FROM processed), (SELECT count(*) FROM entries)"
_ROWS = (("receivable", 19198), ("discount", 392))


class _Killed(Exception):
    pass


def _cut_short() -> Iterator[tuple[str, int]]:
    yield _ROWS[0]
    raise _Killed


def _judge_post_once(attempt: Any) -> str:
    ledger = sqlite3.connect(":memory:")
    ledger.executescript(_TABLES)
    raised = "the error"
    for key, rows, right, keys_and_entries, what in (
        ("BNK-7", _ROWS, True, (1, 2), "a first posting of two entries"),
        ("BNK-7", _ROWS, False, (1, 2), "posted again under the same key"),
        ("BNK-8", _cut_short(), raised, (1, 2), "cut short by an error, which the caller must get"),
        ("BNK-8", _ROWS, True, (2, 4), "the next try after one that was cut short"),
    ):
        try:
            said = attempt(ledger, key, rows)
        except _Killed:
            said = raised
        if ledger.in_transaction:
            return f"{what}: the transaction was left open, neither kept nor undone"
        left = ledger.execute(_COUNTS).fetchone()
        if said is not right or left != keys_and_entries:
            return (
                f"{what}: expected {right} and (keys, entries) = {keys_and_entries} in the ledger, "
                f"not {said!r} and {left}"
            )
    return ""


@exercise(
    hints=(
        "`with ledger:` commits at its end and rolls back on an error.",
        "Inside it, INSERT OR IGNORE the key first; a rowcount of 0 means that it was known.",
    ),
    judge=_judge_post_once,
)
def post_once(ledger, key, entries):
    """Post (account, cents) entries under a key; False if it was done before.

    `ledger` is an sqlite3 connection with tables processed(key) and entries(account, cents).
    """
    with ledger:
        claim = ledger.execute("INSERT OR IGNORE INTO processed VALUES (?)", (key,))
        if claim.rowcount == 0:
            return False
        ledger.executemany("INSERT INTO entries VALUES (?, ?)", entries)
    return True
