"""Make one month of support tickets with the orders, invoice lines and policies they need.

What makes a label right is said in words by `POLICIES`. A message is put together from the
hand-written sentences in examples.csv, one per intent, with small talk around them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from coordkit.data.generate_billing import MAX_TASKS, csv_text, draw_shares, money, pick

EXAMPLES = Path(__file__).with_name("examples.csv")

# What a ticket asks for, in percent; single intents get a second one in 9 % of tickets.
REQUESTS = {
    ("order_status",): 27.0,
    ("refund",): 22.0,
    ("order_status", "refund"): 12.0,
    ("invoice_question",): 14.0,
    ("cancellation",): 9.0,
    ("address_change",): 7.0,
    ("payment_method",): 4.0,
    ("product_question",): 5.0,
}
SECOND_INTENT = 0.09
SECOND = {
    "order_status": ("address_change", "product_question", "payment_method"),
    "refund": ("product_question", "payment_method", "invoice_question"),
    "invoice_question": ("payment_method", "refund", "product_question"),
    "cancellation": ("refund", "product_question"),
    "address_change": ("order_status", "product_question"),
    "payment_method": ("product_question", "order_status"),
    "product_question": ("payment_method", "order_status"),
}
INTENTS = tuple(SECOND)
# For each intent about an order, how far that order has got. The first one found in a ticket rules.
PROGRESS = {
    "refund": {
        "recent": 0.50,
        "old": 0.12,
        "lost": 0.12,
        "shipped": 0.12,
        "processing": 0.07,
        "cancelled": 0.07,
    },
    "cancellation": {"processing": 0.60, "shipped": 0.25, "recent": 0.15},
    "address_change": {"processing": 0.60, "shipped": 0.30, "recent": 0.10},
    "order_status": {
        "shipped": 0.40,
        "processing": 0.25,
        "recent": 0.20,
        "lost": 0.10,
        "cancelled": 0.05,
    },
}
DAYS = {  # progress -> least and most days between the last event and the ticket
    "processing": (0, 4),
    "shipped": (3, 10),
    "recent": (0, 30),
    "old": (31, 60),
    "lost": (15, 40),
    "cancelled": (1, 20),
}
NO_NUMBER = 0.25  # of tickets about an order: the latest order is meant
FOREIGN_NUMBER = 0.04  # of tickets that give a number: somebody else's
RECEIPT = 0.92
RENEWAL = 0.70  # of invoice questions; the others were charged twice
PLANS = (1900, 2900, 3900, 4900, 7900, 9900, 14900)  # cents a month
MONTHS = {3: "March", 4: "April", 5: "May", 6: "June"}

POLICIES = {
    "refunds": """# Refunds

The order meant is the one whose number the customer gives, if it is theirs. Without a number it is
their most recent order. If the number belongs to somebody else, say nothing about that order and
refund nothing.

A delivered order is refunded in full if it is asked for in time and with a receipt.
Refund window: 30 days from delivery.
A receipt is required.
An order lost on the way is refunded in full as well, with a receipt but without a time limit.
Cancelled orders were never charged, so there is nothing to refund. Orders still in processing or
already shipped are not refunded yet.

The money goes back to the account that paid for the order.
Refunds above 200.00 need a person's approval.
""",
    "renewals": """# Invoices and renewals

Questions about an invoice are answered from the customer's invoice lines of the 45 days before the
message.

An annual renewal is billed once a year together with the monthly plan and makes that invoice about
twice as high as usual. It is due, so explain the line and refund nothing.

If the same monthly line was charged twice, with the same description and amount, refund one of
them: the line with the later number. Refunds for an invoice line go to the account "invoice".
""",
    "cancellation": """# Cancelling an order

An order can be cancelled while it is processing. Once it is shipped, delivered or lost it can no
longer be cancelled. Orders are charged when they ship, so a cancellation moves no money.
""",
    "address": """# Changing an address

The delivery address can be changed while the order is processing. After that the parcel is on its
way and we cannot redirect it. No money moves.
""",
    "general": """# General

Payment: we take the usual credit and debit cards, PayPal and bank transfer. We take no cash,
cheques or crypto-currency. Cards on file are changed in the account under "Payment"; they are
charged when an order ships.

Products: sizes, materials, stock and manuals stand on each product page. What is not there is
answered by the product team within one working day.

None of these questions moves money.
""",
}


@dataclass
class Order:
    """An order, as a row of orders.csv; numbered when all orders are in order of date."""

    order_id: str
    customer_id: str
    placed_on: date
    status: str
    delivered_on: date | None
    total: int  # cents
    currency: str
    paid_with: str
    receipt: str  # yes or no


@dataclass
class InvoiceLine:
    """A line of a customer's invoice; numbered by date."""

    customer_id: str
    issued_on: date
    description: str
    cents: int
    order: Order | None = None
    line_id: str = ""


@dataclass
class Ticket:
    """A ticket before its message is written."""

    received_on: date
    customer_id: str
    intents: tuple[str, ...]
    order: Order | None  # the one that the customer means
    line: InvoiceLine | None = None  # the one that the invoice question is about
    charged_twice: bool = False
    gives: Order | None = None  # the one whose number is in the message

    @property
    def subject(self) -> Order | None:
        """The order that may be talked about: none if the number given is somebody else's."""
        return self.order if self.gives in (None, self.order) else None

    @property
    def refund(self) -> int:
        """What the policies grant, in cents."""
        total = self.line.cents if self.line and self.charged_twice else 0
        if "refund" in self.intents and self.subject:
            total += _refund_due(self.subject, self.received_on)
        return total


def generate_support(tasks: int, seed: int) -> dict[str, str]:
    """Make a support data set.

    Args:
        tasks: rows in tickets.csv, 1 to 200,000.
        seed: any non-negative integer; the same seed gives the same bytes.
    Returns: relative file name -> text.
    Raises: ValueError if tasks is out of range.
    """
    if not 1 <= tasks <= MAX_TASKS:
        raise ValueError(f"tasks must be between 1 and {MAX_TASKS:,}, not {tasks}")
    rng = np.random.default_rng(seed)
    requests = [_with_second(rng, request) for request in draw_shares(rng, REQUESTS, tasks)]
    asking = sum("invoice_question" in request for request in requests)
    customers = max(40, tasks // 3, asking)  # each asks about an invoice at most once
    shop = _Shop(rng, customers)
    tickets = [shop.ticket(request) for request in requests]
    shop.subscribe_others()
    shop.number_everything()
    shop.give_numbers([ticket for ticket in tickets if ticket.order])
    tickets.sort(key=lambda ticket: ticket.received_on)
    sentences = _sentences()
    return {
        "tickets.csv": csv_text(
            {"ticket_id": f"TKT-{n:06d}"} | _ticket(rng, ticket, sentences)
            for n, ticket in enumerate(tickets, start=1)
        ),
        "orders.csv": csv_text(
            vars(order) | {"total": money(order.total)} for order in shop.orders
        ),
        "invoices.csv": csv_text(_invoice_lines(shop)),
        "examples.csv": EXAMPLES.read_text(encoding="utf-8"),
        **{f"policies/{name}.md": text for name, text in POLICIES.items()},
    }


def _with_second(rng: np.random.Generator, request: tuple[str, ...]) -> tuple[str, ...]:
    """Add a second intent to some single ones."""
    if len(request) == 1 and rng.random() < SECOND_INTENT:
        return (*request, pick(rng, SECOND[request[0]]))
    return request


def _refund_due(order: Order, day: date) -> int:
    """Apply the refund policy to an order; cents."""
    in_time = order.delivered_on is not None and (day - order.delivered_on).days <= 30
    granted = order.receipt == "yes" and (order.status == "lost" or in_time)
    return order.total if granted else 0


class _Shop:
    """The customers' orders and invoice lines."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.orders: list[Order] = []
        self.lines: list[InvoiceLine] = []
        self.customers = [f"C-{n:04d}" for n in range(1, size + 1)]
        shares = {"USD": 0.80, "EUR": 0.15, "GBP": 0.05}
        self.currency = dict(zip(self.customers, draw_shares(rng, shares, size), strict=True))
        self.account = {customer: self._account() for customer in self.customers}
        self.unasked = [self.customers[i] for i in rng.permutation(size)]
        for customer in self.customers:
            # Something older, so that "the most recent" is a choice.
            delivered_on = date(2026, 3, 1) - timedelta(days=int(rng.integers(0, 60)))
            self._add_order(customer, "old", delivered_on)

    def _account(self) -> str:
        return f"{pick(self.rng, ('card', 'card', 'paypal'))}-{self.rng.integers(10_000):04d}"

    def _add_order(self, customer: str, progress: str, last_event: date) -> Order:
        """Add an order whose delivery, or else placing, was on `last_event`; bill it if shipped."""
        delivered = progress in ("recent", "old")
        placed_on = last_event - timedelta(days=int(self.rng.integers(3, 10)) if delivered else 0)
        while not 800 <= (cents := round(8_000 * self.rng.lognormal(0.0, 0.9))) <= 150_000:
            pass
        order = Order(
            order_id="",
            customer_id=customer,
            placed_on=placed_on,
            status="delivered" if delivered else progress,
            delivered_on=last_event if delivered else None,
            total=cents,
            currency=self.currency[customer],
            paid_with=self.account[customer] if self.rng.random() < 0.7 else self._account(),
            receipt="yes" if self.rng.random() < RECEIPT else "no",
        )
        self.orders.append(order)
        if progress not in ("processing", "cancelled"):
            shipped_on = placed_on + timedelta(days=1)
            self.lines.append(InvoiceLine(customer, shipped_on, "Order", cents, order))
        return order

    def _subscribe(self, customer: str, billing_day: int) -> InvoiceLine:
        """Add four monthly lines; return the one of June."""
        price = pick(self.rng, PLANS)
        for month, name in MONTHS.items():
            issued_on = date(2026, month, billing_day)
            description = f"Monthly plan {name} 2026"
            self.lines.append(InvoiceLine(customer, issued_on, description, price))
        return self.lines[-1]

    def ticket(self, intents: tuple[str, ...]) -> Ticket:
        """Make a ticket with the order and the invoice lines that it is about."""
        rng = self.rng
        day = date(2026, 6, int(rng.integers(1, 31)))
        about_invoice = "invoice_question" in intents
        customer = self.unasked.pop() if about_invoice else pick(rng, self.customers)
        ticket = Ticket(day, customer, intents, order=None)
        progress = next((shares for key, shares in PROGRESS.items() if key in intents), None)
        if progress:
            state = draw_shares(rng, progress, 1)[0]
            low, high = DAYS[state]
            last_event = day - timedelta(days=int(rng.integers(low, high + 1)))
            ticket.order = self._add_order(customer, state, last_event)
        if about_invoice:
            self._add_irregularity(ticket)
        return ticket

    def _add_irregularity(self, ticket: Ticket) -> None:
        """Let the June invoice double: by an annual renewal, or by charging the plan twice."""
        billing_day = int(self.rng.integers(1, min(ticket.received_on.day, 28) + 1))
        plan = self._subscribe(ticket.customer_id, billing_day)
        ticket.charged_twice = bool(self.rng.random() >= RENEWAL)
        ticket.line = InvoiceLine(ticket.customer_id, plan.issued_on, plan.description, plan.cents)
        if not ticket.charged_twice:
            ticket.line.description = "Annual renewal 2026-27"
            ticket.line.cents = round(plan.cents * self.rng.uniform(0.95, 1.05))
        self.lines.append(ticket.line)

    def subscribe_others(self) -> None:
        """Give a fifth of the customers without an invoice question a plan, too."""
        for customer in self.unasked[::5]:
            self._subscribe(customer, billing_day=int(self.rng.integers(1, 29)))

    def number_everything(self) -> None:
        """Number orders and lines by date; within a day, in order of making."""
        self.orders.sort(key=lambda order: order.placed_on)
        for number, order in enumerate(self.orders, start=10_001):
            order.order_id = f"ORD-{number}"
        self.lines.sort(key=lambda line: line.issued_on)
        for number, line in enumerate(self.lines, start=1):
            line.line_id = f"L-{number:06d}"
            if line.order:
                line.description = f"Order {line.order.order_id}"

    def give_numbers(self, tickets: list[Ticket]) -> None:
        """Decide which tickets give an order number: 75 %, a few of them somebody else's."""
        dates = defaultdict(list)
        for order in self.orders:
            dates[order.customer_id].append(order.placed_on)
        could_omit = [i for i, ticket in enumerate(tickets) if _is_latest(ticket, dates)]
        wanted = min(round(NO_NUMBER * len(tickets)), len(could_omit))
        omitted = set(self.rng.choice(could_omit, size=wanted, replace=False)) if wanted else set()
        for i, ticket in enumerate(tickets):
            if i not in omitted:
                foreign = self.rng.random() < FOREIGN_NUMBER
                ticket.gives = self._someone_elses(ticket.customer_id) if foreign else ticket.order

    def _someone_elses(self, customer: str) -> Order:
        while (order := pick(self.rng, self.orders)).customer_id == customer:
            pass
        return order


def _is_latest(ticket: Ticket, dates: dict[str, list[date]]) -> bool:
    """Say whether the order meant is the customer's only most recent one."""
    assert ticket.order
    first, last = ticket.order.placed_on, ticket.received_on
    since = [day for day in dates[ticket.customer_id] if first <= day <= last]
    return len(since) == 1


def _sentences() -> dict[str, list[str]]:
    """Read the example sentences by intent; small talk by its use: greeting, filler, closing."""
    rows = pd.read_csv(EXAMPLES)
    use = rows["wording_id"].str.partition("-")[0]
    by = rows["intent"].where(rows["intent"] != "smalltalk", use)
    return {str(name): list(texts) for name, texts in rows["text"].groupby(by)}


def _message(rng: np.random.Generator, ticket: Ticket, sentences: dict[str, list[str]]) -> str:
    """Put a message together: a sentence per intent, small talk, and the number if it is given."""
    numbered = ticket.gives is not None
    chosen = [
        pick(rng, [text for text in sentences[intent] if numbered or "{order}" not in text])
        for intent in ticket.intents
    ]
    if numbered and not any("{order}" in text for text in chosen):
        chosen.insert(pick(rng, (0, len(chosen))), pick(rng, sentences["number"]))
    if rng.random() < 0.25:
        chosen.insert(pick(rng, (0, len(chosen))), pick(rng, sentences["filler"]))
    if rng.random() < 0.5:
        chosen.insert(0, pick(rng, sentences["greeting"]))
    if rng.random() < 0.5:
        chosen.append(pick(rng, sentences["closing"]))
    return " ".join(_fill(rng, text, ticket.gives) for text in chosen)


def _fill(rng: np.random.Generator, text: str, order: Order | None) -> str:
    """Write the order's number into a sentence, in one of the ways that people do."""
    if order is None or "{order}" not in text:
        return text
    ways = ["ORD-{}", "ORD-{}", "ORD-{}", "#{}", "ord-{}"]
    if "order" not in text.replace("{order}", "").lower():
        ways.append("order {}")
    return text.replace("{order}", pick(rng, ways).format(order.order_id.removeprefix("ORD-")))


def _ticket(
    rng: np.random.Generator, ticket: Ticket, sentences: dict[str, list[str]]
) -> dict[str, object]:
    """A ticket as a row of tickets.csv, without its number."""
    return {
        "received_on": ticket.received_on,
        "customer_id": ticket.customer_id,
        "message": _message(rng, ticket, sentences),
        "intents": ";".join(ticket.intents),
        "order_id": ticket.subject.order_id if ticket.subject else "",
        "refund_amount": money(ticket.refund),
        "invoice_line": ticket.line.line_id if ticket.line else "",
    }


def _invoice_lines(shop: _Shop) -> Iterator[dict[str, object]]:
    """The rows of invoices.csv."""
    numbers: dict[object, int] = {}  # one invoice per order, or per customer and day
    for line in shop.lines:
        order_id = line.order.order_id if line.order else ""
        invoice = order_id or (line.customer_id, line.issued_on)
        yield {
            "line_id": line.line_id,
            "invoice_id": f"INV-{numbers.setdefault(invoice, 20_001 + len(numbers))}",
            "customer_id": line.customer_id,
            "issued_on": line.issued_on,
            "description": line.description,
            "amount": money(line.cents),
            "currency": shop.currency[line.customer_id],
            "order_id": order_id,
        }
