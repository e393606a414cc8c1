"""Labels for one's own tasks: proposed where an exact rule decides, asked of a person elsewhere.

What a person says goes to labels.csv in the data folder at once, so nothing is lost when a notebook
is closed. A task that nobody labelled is left out of every measurement, and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
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
    if name == "payments":  # a line delivered again settles what its first settles
        settled = tasks.groupby(key)["settles_invoice"]
        tasks["settles_invoice"] = settled.transform("first")
    changes: dict[str, Any] = {name: tasks[known].reset_index(drop=True)}
    masks = (given & known, by_person & known, by_rule & known, ~known)
    return Labelled(replace(tables, **changes), *(int(mask.sum()) for mask in masks))


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
    names = tables.customers[["customer_id", "also_known_as"]]
    known = tables.invoices.merge(names, how="left").fillna({"also_known_as": ""})
    invoices = {row["invoice_id"]: row for row in known.to_dict("records")}
    by_capitals = {" ".join(name.upper().split()): name for name in invoices}
    longest = max((len(_TOKEN.findall(name)) for name in by_capitals), default=0)
    payments = tables.payments
    again = payments["payment_id"].duplicated()
    named = [_named(text, by_capitals, longest) for text in payments["remittance_text"]]
    firsts = [names for names, repeated in zip(named, again, strict=True) if not repeated]
    times = Counter(name for names in firsts for name in names)
    rows = [
        _propose_line(line, [invoices[name] for name in names], times, tables.documents)
        for line, names in zip(payments.to_dict("records"), named, strict=True)
    ]
    proposed = pd.DataFrame(rows, columns=[*BILLING_LABELS, RULE, DOUBTFUL], index=payments.index)
    proposed.loc[again, "kind"] = "redelivered"
    proposed.loc[again, [RULE, DOUBTFUL]] = "the same line came before", False
    return proposed


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
    line: Mapping[Any, Any],
    found: Sequence[Mapping[Any, Any]],
    times: Counter[str],
    documents: Mapping[str, str],
) -> Proposal:
    from coordkit.cases.billing import after_discount, claims_in, goes_by, read_terms

    if len(found) != 1:
        ids = ";".join(str(invoice["invoice_id"]) for invoice in found)
        why = "it names several invoices" if found else "it names no invoice by its exact id"
        return ("batch" if found else "unmatched", ids, why, True)
    (invoice,) = found
    one, paid, owed = str(invoice["invoice_id"]), line["amount"], invoice["amount"]
    own_terms = documents.get(f"terms/{invoice['customer_id']}", "")
    terms = read_terms(own_terms, documents["terms/house"])
    discounted = bool(terms["discount"]) and paid == after_discount(owed, terms["discount"])
    in_time = (line["received_on"] - invoice["issued_on"]).days <= terms["days"]
    doubts = {
        "the invoice was paid before": ("duplicate", invoice["paid_on"] != ""),
        "several payments name this invoice": ("exact", times[one] > 1),
        "the payer is not the invoice's customer": (
            "exact", goes_by(invoice, line["payer_name"]) < 0.5),
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


# --- support ------------------------------------------------------------------------------------


def _propose_support(tables: SupportTables) -> pd.DataFrame:
    from coordkit.cases.base import by_id
    from coordkit.cases.support import USUAL_IDS, read_window

    policy = tables.documents.get("policies/refunds", "")
    own_words = _without_figures(policy) != _without_figures(POLICIES["refunds"])
    days = read_window(policy)
    orders = by_id(tables.orders)
    ids = USUAL_IDS.of(tables.orders["order_id"])
    tickets = tables.tickets.astype(str).to_dict("records")
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
    said = read_labels(folder, tables).astype(str).set_index(key)
    said.loc[task_id] = [labels.get(column, "") for column in columns]
    with TemporaryDirectory(dir=folder, prefix=".") as aside:
        said.to_csv(Path(aside) / FILE, lineterminator="\n")
        read_labels(Path(aside), tables)
        return (Path(aside) / FILE).replace(folder / FILE)


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
