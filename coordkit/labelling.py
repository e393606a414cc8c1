"""Labels for one's own tasks: proposed where an exact rule decides, asked of a person elsewhere.

What a person says goes to labels.csv in the data folder at once, so nothing is lost when a notebook
is closed. A task that nobody labelled is left out of every measurement, and counted.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from coordkit.data.files import DataError
from coordkit.data.generate_support import POLICIES
from coordkit.data.schemas import BILLING_LABELS, SUPPORT_LABELS
from coordkit.data.tables import BillingTables, SupportTables, read_labels
from coordkit.ids import IdForms

Tables = BillingTables | SupportTables
T = TypeVar("T", BillingTables, SupportTables)
FILE = "labels.csv"
RULE, DOUBTFUL = "rule", "doubtful"
_TOKEN = re.compile(r"[^\W_][\w/.-]*[^\W_]|[^\W_]")

# A message has an intent for sure if one of these, and always the same, matches every sentence of
# it that is no courtesy. Strict: most messages have a sentence that no rule knows, and are asked.
KEYWORDS = {
    "order_status": r"where (?:is|are)|where's|when (?:will|does|is) .*(?:arrive|come|delivered)|"
    r"track|status of|not (?:yet )?arrived|hasn't arrived|"
    r"still waiting for (?:my|the) (?:order|parcel|package|delivery)|\bis late\b",
    "refund": r"refund|money back|reimburse|send (?:it|this|them) back|return (?:it|this|the)",
    "invoice_question": r"invoice|bill(?:ed)?\b|charged|charge\b",
    "cancellation": r"\bcancel|call off",
    "address_change": r"address|deliver (?:it |this )?(?:elsewhere|somewhere else)|moved",
    "payment_method": r"payment method|pay (?:by|with)|change my card|new card|direct debit",
    "product_question": r"does (?:it|this) (?:have|fit|work|come)|is (?:it|this) compatible|"
    r"in stock|what size|how do i use",
}
_COURTESY = re.compile(
    r"(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day)|greetings|thanks?|"
    r"thank you|cheers|"
    r"(?:best|kind|warm) (?:regards|wishes)|regards|sincerely|please (?:answer|respond|reply|help)|"
    r"looking forward|hope to hear|(?:my|the) order number is|i hope you|sorry to bother|"
    r"(?:it's|it is|this is|i am (?:writing|contacting you)|i'm writing) (?:about|regarding)|"
    r"i have a (?:quick )?question)\b[^.!?]*[.!?]?$",
    re.IGNORECASE,
)
_INTENTS = {intent: re.compile(words, re.IGNORECASE) for intent, words in KEYWORDS.items()}


@dataclass(frozen=True)
class Labelled(Generic[T]):
    """Tables in which every task has its labels.

    Attributes:
        tables: the tables, without the tasks that nobody labelled.
        given: tasks labelled in the table itself.
        by_person: in labels.csv.
        by_rule: by an exact rule.
        left_out: by nobody; they are not in the tables.
    """

    tables: T
    given: int
    by_person: int
    by_rule: int
    left_out: int

    def __str__(self) -> str:
        done = self.given + self.by_person + self.by_rule
        left = "; the others are left out" if self.left_out else ""
        return (
            f"{done:,} of {done + self.left_out:,} tasks labelled ({self.given:,} in the table, "
            f"{self.by_person:,} in {FILE}, {self.by_rule:,} by exact rules){left}"
        )


def task_table(tables: Tables) -> tuple[str, str, tuple[str, ...]]:
    """Where the tasks are: the attribute of the tables, the id's column, the labels' columns."""
    if isinstance(tables, BillingTables):
        return "payments", "payment_id", BILLING_LABELS
    return "tickets", "ticket_id", SUPPORT_LABELS


def label(tables: T, folder: Path) -> Labelled[T]:
    """Complete the labels of tables: from labels.csv, then by exact rules; leave out the rest.

    Args:
        tables: as read; a task whose first label is blank has none.
        folder: where labels.csv is, if there is one.
    Raises: DataError if labels.csv is wrong, or if not a single task has labels.
    """
    name, key, columns = task_table(tables)
    tasks: pd.DataFrame = getattr(tables, name).copy()
    given = tasks[columns[0]] != ""
    if given.all():
        return Labelled(tables, len(tasks), 0, 0, 0)
    said = read_labels(folder, tables).set_index(key)
    proposed = propose(tables)
    by_person = ~given & tasks[key].isin(said.index) & ~tasks[key].duplicated()
    by_rule = ~given & ~by_person & ~proposed[DOUBTFUL]
    for column in columns:
        tasks.loc[by_person, column] = tasks.loc[by_person, key].map(said[column])
        tasks.loc[by_rule, column] = proposed.loc[by_rule, column]
    known = given | by_person | by_rule
    firsts = tasks.loc[known & (tasks[columns[0]] != "redelivered"), key]
    known &= tasks[key].isin(firsts)  # a line delivered again goes with its first
    if not known.any():
        why = f"no task of {folder} has labels and no exact rule decides one; label some first"
        raise DataError([why])
    if isinstance(tables, BillingTables):
        tasks = _redelivered_as_first(tasks)
    changes: dict[str, Any] = {name: tasks[known].reset_index(drop=True)}
    given_now, person_now, rule_now = (
        int((mask & known).sum()) for mask in (given, by_person, by_rule)
    )
    left_out = int((~known).sum())
    return Labelled(replace(tables, **changes), given_now, person_now, rule_now, left_out)


def _redelivered_as_first(payments: pd.DataFrame) -> pd.DataFrame:
    """A line delivered again settles what its first settles, whoever labelled that."""
    first = payments.drop_duplicates("payment_id").set_index("payment_id")["settles_invoice"]
    again = payments["kind"] == "redelivered"
    payments.loc[again, "settles_invoice"] = payments.loc[again, "payment_id"].map(first)
    return payments


def propose(tables: Tables) -> pd.DataFrame:
    """Labels for every task that has none, from exact rules; pure.

    Returns: one row per task, in the order of the tables: the labels' columns (a best guess where
        doubtful, for a person to correct), ``rule`` (what decided, or why it is doubtful) and
        ``doubtful``.
    """
    if isinstance(tables, BillingTables):
        return _propose_billing(tables)
    return _propose_support(tables)


# --- billing ------------------------------------------------------------------------------------

Proposal = tuple[str, str, str, bool]  # kind, settles_invoice, rule, doubtful


def _propose_billing(tables: BillingTables) -> pd.DataFrame:
    invoices = {str(r["invoice_id"]): r for r in tables.invoices.to_dict("records")}
    by_capitals = {" ".join(name.upper().split()): name for name in invoices}
    payments = tables.payments.to_dict("records")
    longest = max((len(_TOKEN.findall(name)) for name in by_capitals), default=0)
    named = [_named(str(line["remittance_text"]), by_capitals, longest) for line in payments]
    content = [
        (p["payment_id"], p["payer_name"], p["amount"], p["remittance_text"]) for p in payments
    ]
    first = {line: i for i, line in reversed([*enumerate(content)])}
    times = Counter(n for i, names in enumerate(named) for n in names if first[content[i]] == i)
    rows: list[Proposal] = []
    for i, line in enumerate(payments):
        if first[content[i]] < i:
            earlier = rows[first[content[i]]]
            rows.append(("redelivered", earlier[1], "the same line came before", False))
        else:
            rows.append(_propose_line(line, [invoices[n] for n in named[i]], times, tables))
    columns = [*BILLING_LABELS, RULE, DOUBTFUL]
    return pd.DataFrame(rows, columns=columns, index=tables.payments.index)


def _named(text: str, known: Mapping[str, str], longest: int) -> list[str]:
    """The invoices whose whole id stands in a text; an id may be of several words, as RE 5002."""
    text = " ".join(text.upper().split())
    words, found, until = [word.span() for word in _TOKEN.finditer(text)], list[str](), 0
    for i, (start, _) in enumerate(words):
        ends = [end for _, end in words[i : i + longest]]
        end = next((end for end in reversed(ends) if text[start:end] in known), 0)
        if end > until:  # what is part of a longer id is none by itself
            found.append(known[text[start:end]])
            until = end
    return list(dict.fromkeys(found))


def _propose_line(
    line: Mapping[Any, Any], found: Sequence[Mapping[Any, Any]], times: Counter[str],
    tables: BillingTables,
) -> Proposal:  # fmt: skip
    from coordkit.cases.billing import after_discount, claims_in, name_likeness, read_terms

    if len(found) != 1:
        ids = ";".join(str(invoice["invoice_id"]) for invoice in found)
        why = "it names several invoices" if found else "it names no invoice by its exact id"
        return ("batch" if found else "unmatched", ids, why, True)
    (invoice,) = found
    one, paid, owed = str(invoice["invoice_id"]), line["amount"], invoice["amount"]
    customer = str(invoice["customer_id"])
    terms = read_terms(
        tables.documents.get(f"terms/{customer}", ""), tables.documents["terms/house"]
    )
    discounted = bool(terms["discount"]) and paid == after_discount(owed, terms["discount"])
    in_time = (line["received_on"] - invoice["issued_on"]).days <= terms["days"]
    names = [str(invoice["customer_name"]), *_aliases(tables.customers, customer)]
    doubts = {
        "the invoice was paid before": ("duplicate", invoice["paid_on"] != ""),
        "several payments name this invoice": ("exact", times[one] > 1),
        "the payer is not the invoice's customer": (
            "exact", max(name_likeness(n, str(line["payer_name"])) for n in names) < 0.5),
        "it is in another currency": ("fx", line["currency"] != invoice["currency"]),
    }  # fmt: skip
    for why, (kind, doubtful) in doubts.items():
        if doubtful:
            return (kind, one, why, True)
    if paid == owed:
        return ("exact", one, "names one open invoice of this amount", False)
    if discounted and in_time:
        claimed = "discount" in claims_in(str(line["remittance_text"]))
        unclaimed = "it claims no discount and may be a short payment"
        why = "names one open invoice, less the agreed discount" if claimed else unclaimed
        return ("early_discount", one, why, not claimed)
    kind = "over_payment" if paid > owed else "short_payment"
    return (kind, one, f"the amount differs by {paid - owed:+.2f}", True)


def _aliases(customers: pd.DataFrame, customer_id: str) -> list[str]:
    found = customers.loc[customers["customer_id"] == customer_id, "also_known_as"]
    return [name for names in found for name in str(names).split(";") if name]


# --- support ------------------------------------------------------------------------------------


def _propose_support(tables: SupportTables) -> pd.DataFrame:
    from coordkit.cases.support import USUAL_IDS, read_window

    policy = tables.documents.get("policies/refunds", "")
    own_words = _without_figures(policy) != _without_figures(POLICIES["refunds"])
    days = read_window(policy)
    orders = {str(r["order_id"]): r for r in tables.orders.astype(str).to_dict("records")}
    ids, tickets = (
        USUAL_IDS.of(tables.orders["order_id"]),
        tables.tickets.astype(str).to_dict("records"),
    )
    rows = [_propose_ticket(ticket, orders, days, ids, own_words) for ticket in tickets]
    columns = [*SUPPORT_LABELS, RULE, DOUBTFUL]
    return pd.DataFrame(rows, columns=columns, index=tables.tickets.index)


def _without_figures(text: str) -> str:
    return re.sub(r"\d[\d.,]*", "#", " ".join(text.split()))


def _propose_ticket(
    ticket: Mapping[Any, str],
    orders: Mapping[str, Mapping[Any, str]],
    days: int,
    ids: IdForms,
    own_words: bool,
) -> tuple[str, str, Decimal, str, str, bool]:
    from coordkit.cases.support import refunds_due

    read, unknown = _read(ticket["message"])
    numbers = ids.find(ticket["message"])
    number = next(iter(numbers), "")
    order = orders.get(number, {})
    theirs = bool(order) and order["customer_id"] == ticket["customer_id"]
    guess = read or ["product_question"]
    asked = {"intents": guess, "received_on": ticket["received_on"]}
    found = {**order, "receipt": order["receipt"] == "yes"} if theirs else {}
    due = refunds_due(asked, found, {"refund_days": days})
    amount = sum((Decimal(str(refund["amount"])) for refund in due), Decimal("0.00"))
    doubts = {
        "no keyword says what is asked": not read,
        "no rule knows one of its sentences": unknown,
        "several keywords say what is asked": len(read) > 1,
        "a person has to find the invoice line": "invoice_question" in read,
        "it gives no order number": not number,
        "it gives several order numbers": len(numbers) > 1,
        "the order is not this customer's": not theirs,
        "the refund policy has words of its own": own_words and "refund" in read,
    }
    why = next((why for why, doubtful in doubts.items() if doubtful), "")
    rule = why or f"one keyword rule ({guess[0]}) and the customer's own order"
    return (";".join(guess), number if theirs else "", amount, "", rule, bool(why))


def _read(message: str) -> tuple[list[str], bool]:
    """The intents that keywords find in a message, and whether some sentence fits no rule."""
    from coordkit.language import split_sentences

    found: list[str] = []
    unknown = False
    for sentence in split_sentences(message):
        here = [name for name, words in _INTENTS.items() if words.search(sentence)]
        unknown |= not here and not _COURTESY.match(sentence)
        found += [name for name in here if name not in found]
    return found, unknown


# --- what a person says -----------------------------------------------------------------------


def save_label(folder: Path, tables: Tables, task_id: str, labels: Mapping[str, str]) -> Path:
    """Write one task's labels to labels.csv, in place of earlier ones; whole or not at all.

    Raises: DataError if the labels cannot be right; then nothing is written.
    """
    _, key, columns = task_table(tables)
    path = folder / FILE
    read_labels(folder, tables)  # what is wrong already is said before anything is added
    before = path.read_bytes() if path.exists() else None
    rows: dict[str, dict[str, str]] = {}
    if before is not None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = {row[key]: row for row in csv.DictReader(file)}
    rows[task_id] = {key: task_id} | {column: labels.get(column, "") for column in columns}
    partial = folder / f".{FILE}.{os.getpid()}"
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [key, *columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    partial.replace(path)
    try:
        read_labels(folder, tables)
    except DataError:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        raise
    return path


def doubtful_tasks(tables: Tables, folder: Path) -> pd.DataFrame:
    """The tasks to ask a person about: doubtful, and not in labels.csv yet; with the guesses."""
    name, key, columns = task_table(tables)
    tasks: pd.DataFrame = getattr(tables, name)
    proposed = propose(tables)
    open_tasks = (tasks[columns[0]] == "") & proposed[DOUBTFUL] & ~tasks[key].duplicated()
    open_tasks &= ~tasks[key].isin(read_labels(folder, tables)[key])
    return tasks.drop(columns=list(columns)).join(proposed).loc[open_tasks]


def labeller(tables: Tables, folder: Path) -> Any:
    """A widget that asks for the doubtful tasks one by one; Tab moves, Enter and Space press.

    Args:
        tables: as read.
        folder: where labels.csv is kept.
    """
    from coordkit.widgets import Labeller

    _, key, columns = task_table(tables)
    return Labeller(
        doubtful_tasks(tables, folder).astype(str),
        key,
        columns,
        lambda task_id, labels: save_label(folder, tables, task_id, labels),
    )
