"""Make one month of bank payments with the invoices, customers and terms they belong to.

What makes a label right is said in words by `house_rules`; the generator builds every line so that
those rules lead to its label and to no other. Money is in whole cents here, so nothing is rounded
by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import product
from typing import TypeVar

import numpy as np
import pandas as pd

T = TypeVar("T")

MAX_TASKS = 200_000
# Shares of the kinds of payment, from the shape of a public retail ledger; they are normalised.
KINDS = {
    "exact": 70.0,
    "early_discount": 6.0,
    "bank_fee": 5.0,
    "short_payment": 5.0,
    "over_payment": 2.5,
    "fx": 3.0,
    "batch": 4.0,
    "duplicate": 1.5,
    "unmatched": 1.0,
}
REDELIVERED = 0.015  # the bank sends this share of its lines a second time
REFERENCES = {"clean": 0.78, "otherwise": 0.08, "mistyped": 0.06, "missing": 0.08}
ODD_NAME = 0.15  # share of lines whose payer name is not written as on the invoice
BANK_DAYS = [day for n in range(1, 31) if (day := date(2026, 6, n)).weekday() < 5]
FEES = (500, 750, 1000, 1250, 1500, 2000)  # cents

# Three lists without a common word: any three words name one firm in whatever order they stand.
# No word contains SHA or DISC, which mean something in a remittance text.
FIRST = (
    "Alder Ashby Bellweather Birch Calder Carraway Dunmore Eastwick Falcon Fenwick Garland Granite "
    "Hadley Hawthorn Ivory Juniper Kestrel Kingsley Larkspur Linden Maple Merrick Northgate Oakley "
    "Orchard Pembroke Pinnacle Quarry Redwood Riverside Rowan Saffron Sterling Summit Thistle "
    "Tilbury Upton Verity Westmoor Willow"
).split()
SECOND = (
    "Anchor Beacon Bridge Canal Castle Copper Crown Delta Ferry Forge Garden Harbour Hill Island "
    "Lantern Meadow Mill Mountain Park Port River Silver Spring Station Stone Tower Valley Village "
    "Water Wharf"
).split()
TRADE = (
    "Bakery Bikes Books Brewing Catering Ceramics Chemicals Clinics Coffee Dairy Design Electric "
    "Fabrics Farms Fitness Foods Freight Furniture Glass Hotels Labs Lighting Logistics Marine "
    "Optics Paper Pharmacy Plumbing Press Textiles"
).split()
SUFFIXES = {  # currency -> legal form -> the same form written otherwise
    "USD": {"Inc": "Incorporated", "LLC": "L.L.C.", "Corp": "Corporation"},
    "EUR": {"GmbH": "G.m.b.H.", "B.V.": "BV", "SARL": "S.A.R.L."},
    "GBP": {"Ltd": "Limited", "plc": "P.L.C."},
}
FOREIGN = {  # invoice currency -> payment currency and a round rate, varied by customer
    "USD": [("EUR", 0.92), ("GBP", 0.78)],
    "EUR": [("USD", 1.09), ("GBP", 0.85)],
    "GBP": [("EUR", 1.18), ("USD", 1.28)],
}

CLEAN = (
    "PAYMENT {ref} {name}",
    "PAYMENT {ref} {name}",
    "{ref}",
    "{ref} {name}",
    "{name} {ref} JUNE",
    "INVOICE {ref} / {name}",
    "/RFB/{ref}",
    "SETTLEMENT OF {ref}",
    "YOUR INVOICE {ref} THANK YOU",
)
OTHERWISE = (
    "inv-{digits}",
    "INV {digits}",
    "inv#{digits}",
    "Rechnung INV{digits}",
    "Inv. No. {digits}",
    "payment invoice no {digits}",
)
MISSING = (
    "{name} ONLINE TRANSFER",
    "{name}",
    "JUNE INVOICE {name}",
    "PAYMENT THANK YOU",
    "TRANSFER",
)
JOINERS = (" ", ", ", " + ", "/", " AND ")
SHARED_CHARGES = ("(CHARGES SHA)", "CHARGES SHA", "FEES SHA", "SHA CHARGES DEDUCTED")
PARTS = ("PART PAYMENT", "ON ACCOUNT REST FOLLOWS", "INSTALMENT 1")
STRANGERS = (
    "{name} ONLINE TRANSFER",
    "CONSULTING JUNE",
    "REF 77-{digits}",
    "ORDER {digits} {name}",
    "INV-9{digits}",  # six digits: no invoice has this number
)
TERMS_PROSE = (
    "Invoices go to the accounts office as PDF.",
    "Deliveries are made on weekdays before noon.",
    "The customer confirms its bank details every January.",
    "Payment is due {days} days from the invoice date.",
    "Orders above 5,000.00 are confirmed in writing.",
    "These terms were last reviewed in March 2026.",
    "Pallets are returned free of charge.",
    "Prices are fixed until the end of the year.",
    "Questions about a delivery go to the depot and not to accounts.",
)


def house_rules(discount: str, charges: str) -> str:
    """Write the house rules for payments.

    Args:
        discount: what follows "Early-payment discount: ", without the full stop.
        charges: what follows "Bank charges: ", without the full stop.
    Returns: the text of a `terms/house.md`.
    """
    return f"""# House rules for payments

These rules hold for every customer. A customer's own payment terms come first where they say
something else.

## Which invoice a payment settles
An invoice number in the remittance text settles that invoice if it exists and belongs to the
payer. If the number is missing, mistyped or another customer's, match the payment by payer and
amount among the payer's open invoices: the same amount, or the amount less an agreed discount or
an agreed bank charge that the text claims. One transfer may settle several invoices if it pays
their sum. A payment from someone who is not a customer, without a valid invoice number, is held in
suspense.

## Differences
Early-payment discount: {discount}. A discount taken late or without an agreement is a short
payment.
Bank charges: {charges}. A deduction for charges without an agreement, or above the agreed
maximum, is a short payment. Shared charges are marked SHA in the remittance text.
Part payments are short payments: the rest of the invoice stays open.
Over-payments: kept on account.
A payment in another currency is accepted only at the rate in the customer's terms.

## Paid twice
A payment for an invoice that has already been paid goes back to the payer.
A bank line delivered again with the same payment number is not posted a second time.

## Approval
Refunds above 500.00 need a person's approval.
"""


HOUSE = house_rules("none", "borne by the customer")


@dataclass
class Customer:
    """A customer with what was agreed; 0 or blank where nothing was."""

    customer_id: str
    words: tuple[str, ...]
    suffix: str
    currency: str
    trading: list[str]
    days_to_pay: int
    discount: int  # tenths of a percent
    discount_days: int  # from the invoice date
    max_fee: int  # cents per transfer
    foreign: str  # currency
    rate: int  # ten-thousandths of it per unit of invoice currency
    surplus: str  # "refunded" or "kept on account"
    amounts: list[int] = field(default_factory=list)  # cents of every invoice
    taken: set[int] = field(default_factory=set)  # those, and less the discount

    @property
    def name(self) -> str:
        """The name as it stands on invoices."""
        return " ".join((*self.words, self.suffix))

    def admits(self, cents: int) -> bool:
        """Say whether an invoice of this amount stays the only match for what may be paid on it."""
        return all(abs(cents - other) > self.max_fee for other in self.amounts) and not (
            self.taken & {cents, less_discount(cents, self.discount)}
        )


@dataclass
class Invoice:
    """An invoice; its number is given when all invoices are in order of date."""

    customer: Customer
    issued_on: date
    cents: int
    paid_on: date | None = None
    number: int = 0

    @property
    def invoice_id(self) -> str:
        """The number as printed: INV-20417."""
        return f"INV-{self.number}"


@dataclass
class Line:
    """A bank line before its reference is written."""

    received_on: date
    kind: str
    cents: int
    invoices: list[Invoice]  # none: from a stranger
    claim: str = ""  # what the text says about a difference
    currency: str = ""  # blank: the customer's


def less_discount(cents: int, tenths: int) -> int:
    """Take a discount in tenths of a percent off an amount in cents, rounding half up."""
    return (cents * (1000 - tenths) + 500) // 1000


def csv_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Write rows as comma-separated text with newline line ends."""
    return pd.DataFrame(list(rows)).to_csv(index=False, lineterminator="\n")


def money(cents: int) -> str:
    """Write an amount in cents like 1234.56."""
    return f"{cents // 100}.{cents % 100:02d}"


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def draw_shares(rng: np.random.Generator, shares: dict[T, float], size: int) -> list[T]:
    """Draw `size` keys with probabilities in proportion to their shares."""
    weights = np.array(list(shares.values()))
    keys = list(shares)
    return [keys[i] for i in rng.choice(len(keys), size=size, p=weights / weights.sum())]


def generate_billing(tasks: int, seed: int) -> dict[str, str]:
    """Make a billing data set.

    Args:
        tasks: rows in payments.csv, redelivered ones included, 1 to 200,000.
        seed: any non-negative integer; the same seed gives the same bytes.
    Returns: relative file name -> text.
    Raises: ValueError if tasks is out of range.
    """
    if not 1 <= tasks <= MAX_TASKS:
        raise ValueError(f"tasks must be between 1 and {MAX_TASKS:,}, not {tasks}")
    rng = np.random.default_rng(seed)
    copies = round(tasks * REDELIVERED / (1 + REDELIVERED))
    names = _names(rng)
    customers = _customers(rng, max(40, tasks // 16), names)
    month = _Month(rng, customers)
    lines = [month.line(kind) for kind in draw_shares(rng, KINDS, tasks - copies)]
    month.leave_open(4)
    month.number_invoices()
    owners = {invoice.number: invoice.customer for invoice in month.invoices}
    lines.sort(key=lambda line: line.received_on)
    rows = [
        {"payment_id": f"BNK-{n:06d}"} | _payment(rng, line, owners, names)
        for n, line in enumerate(lines, start=1)
    ]
    terms = {
        f"terms/{customer.customer_id}.md": text
        for customer in customers
        if (text := _terms(rng, customer))
    }
    return {
        "invoices.csv": csv_text(map(_invoice, month.invoices)),
        "payments.csv": csv_text(_with_copies(rng, rows, copies)),
        "customers.csv": csv_text(
            {
                "customer_id": customer.customer_id,
                "customer_name": customer.name,
                "also_known_as": ";".join(customer.trading),
                "currency": customer.currency,
            }
            for customer in customers
        ),
        "terms/house.md": HOUSE,
        **terms,
    }


def _names(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Shuffle all names; whoever needs one pops it, so that no two firms share theirs."""
    names = list(product(FIRST, SECOND, TRADE))
    return [names[i] for i in rng.permutation(len(names))]


def _customers(
    rng: np.random.Generator, size: int, names: list[tuple[str, str, str]]
) -> list[Customer]:
    """Make customers: 4 in 10 with a discount, 4 with shared charges, 15 % with a foreign rate."""
    ranks = [rng.permutation(size) * 20 // size for _ in range(4)]  # twentieths, so exact shares
    currencies = draw_shares(rng, {"USD": 0.80, "EUR": 0.15, "GBP": 0.05}, size)
    customers = []
    for i, currency in enumerate(currencies):
        has_discount, shares_fee, has_rate, surplus = (int(rank[i]) for rank in ranks)
        foreign, rate = pick(rng, FOREIGN[currency])
        customers.append(
            Customer(
                customer_id=f"C-{i + 1:04d}",
                words=names.pop(),
                suffix=pick(rng, list(SUFFIXES[currency])),
                currency=currency,
                trading=[" ".join(names.pop()) for _ in range(pick(rng, (0, 0, 0, 1, 1, 2)))],
                days_to_pay=pick(rng, (14, 30, 30, 45)),
                discount=pick(rng, (10, 15, 20, 20, 30)) if has_discount < 8 else 0,
                discount_days=pick(rng, (7, 10, 14)) if has_discount < 8 else 0,
                max_fee=pick(rng, (1000, 1500, 2000)) if shares_fee < 8 else 0,
                foreign=foreign if has_rate < 3 else "",
                rate=round(rate * rng.uniform(0.98, 1.02) * 10_000) if has_rate < 3 else 0,
                surplus="refunded" if surplus < 6 else "kept on account" if surplus < 12 else "",
            )
        )
    return customers


class _Month:
    """The lines of the month and the invoices that they are about."""

    def __init__(self, rng: np.random.Generator, customers: list[Customer]) -> None:
        self.rng = rng
        self.everyone = customers
        self.without_discount = [c for c in customers if not c.discount]
        self.able = {  # to pay in these ways
            "early_discount": [c for c in customers if c.discount],
            "bank_fee": [c for c in customers if c.max_fee],
            "fx": [c for c in customers if c.foreign],
        }
        self.invoices: list[Invoice] = []

    def bill(self, customer: Customer, issued_on: date, low: int = 2_000) -> Invoice:
        """Add an invoice of `low` to 6,000,000 cents that no other of the customer's resembles."""
        while True:
            cents = round(90_000 * self.rng.lognormal(0.0, 1.0))
            if low <= cents <= 6_000_000 and customer.admits(cents):
                break
        customer.amounts.append(cents)
        customer.taken |= {cents, less_discount(cents, customer.discount)}
        self.invoices.append(Invoice(customer, issued_on, cents))
        return self.invoices[-1]

    def days_before(self, day: date, low: int, high: int) -> date:
        """Draw a date `low` to `high` days before `day`."""
        return day - timedelta(days=int(self.rng.integers(low, high + 1)))

    def line(self, kind: str) -> Line:
        """Make one bank line of the kind, with its invoices."""
        day = pick(self.rng, BANK_DAYS)
        if kind == "unmatched":
            cents = round(90_000 * self.rng.lognormal(0.0, 1.0)) + 1
            return Line(day, kind, cents, [], currency=pick(self.rng, ("USD", "USD", "EUR")))
        if kind == "short_payment":
            return self._short_payment(day)
        customer = pick(self.rng, self.able.get(kind, self.everyone))
        if kind == "early_discount":
            issued_on = self.days_before(day, 1, customer.discount_days)
            return self._discounted(day, kind, customer, issued_on, customer.discount)
        if kind == "bank_fee":
            fee = pick(self.rng, [fee for fee in FEES if fee <= customer.max_fee])
            invoice = self.bill(customer, self.days_before(day, 3, 40), low=6_000)
            return Line(day, kind, invoice.cents - fee, [invoice], pick(self.rng, SHARED_CHARGES))
        return self._whole(day, kind, customer)

    def _whole(self, day: date, kind: str, customer: Customer) -> Line:
        """One or more invoices paid in full, twice, in another currency, or with more on top."""
        count = int(self.rng.integers(2, 5)) if kind == "batch" else 1
        issued = [self.days_before(day, 3, 40) for _ in range(count)]
        invoices = [self.bill(customer, issued_on) for issued_on in issued]
        cents = sum(invoice.cents for invoice in invoices)
        if kind == "fx":
            cents = (cents * customer.rate + 5_000) // 10_000
            return Line(day, kind, cents, invoices, currency=customer.foreign)
        if kind == "duplicate":
            invoices[0].issued_on = self.days_before(date(2026, 5, 20), 0, 30)
            invoices[0].paid_on = self.days_before(date(2026, 5, 31), 0, 10)
        if kind == "over_payment":
            step = pick(self.rng, (1_000, 5_000, 10_000, 100_000))
            cents = (cents // step + 1) * step  # rounded up generously
        return Line(day, kind, cents, invoices)

    def _discounted(
        self, day: date, kind: str, customer: Customer, issued_on: date, tenths: int
    ) -> Line:
        """An invoice paid less a discount."""
        invoice = self.bill(customer, issued_on)
        claim = f"LESS {tenths / 10:g}% DISC"
        return Line(day, kind, less_discount(invoice.cents, tenths), [invoice], claim)

    def _short_payment(self, day: date) -> Line:
        """A third took a discount and a sixth a charge without a right to it; half paid a part."""
        kind, way = "short_payment", self.rng.random()
        if way < 1 / 3:
            if self.rng.random() < 0.5:  # late
                customer = pick(self.rng, self.able["early_discount"])
                days, tenths = customer.discount_days, customer.discount
                issued_on = self.days_before(day, days + 1, days + 15)
            else:  # never agreed
                customer = pick(self.rng, self.without_discount)
                tenths, issued_on = 20, self.days_before(day, 1, 14)
            return self._discounted(day, kind, customer, issued_on, tenths)
        customer = pick(self.rng, self.everyone)
        invoice = self.bill(customer, self.days_before(day, 3, 40), low=6_000)
        if way < 1 / 2:
            fee = customer.max_fee + 500 if customer.max_fee else pick(self.rng, FEES)
            paid, claim = invoice.cents - fee, pick(self.rng, SHARED_CHARGES)
        elif way < 3 / 4:
            paid, claim = invoice.cents // 2, "1ST HALF"
        else:
            paid = round(invoice.cents * self.rng.uniform(0.2, 0.8))
            claim = pick(self.rng, PARTS)
        return Line(day, kind, paid, [invoice], claim)

    def leave_open(self, each: int) -> None:
        """Add invoices that nobody pays this month, so that a wrong pick is possible."""
        for customer in self.everyone:
            for _ in range(each):
                self.bill(customer, self.days_before(date(2026, 6, 30), 0, 60))

    def number_invoices(self) -> None:
        """Number the invoices by date, mixed over customers within a day."""
        order = self.rng.permutation(len(self.invoices))
        self.invoices = sorted((self.invoices[i] for i in order), key=lambda i: i.issued_on)
        for number, invoice in enumerate(self.invoices, start=20_001):
            invoice.number = number


def _payment(
    rng: np.random.Generator,
    line: Line,
    owners: dict[int, Customer],
    names: list[tuple[str, str, str]],
) -> dict[str, str]:
    """Write a bank line as a row of payments.csv, without its number."""
    if line.invoices:
        customer = line.invoices[0].customer
        payer, currency = _payer_name(rng, customer), line.currency or customer.currency
        text = f"{_reference(rng, line, payer, owners)} {line.claim}".strip()
    else:
        currency = line.currency
        payer = " ".join((*names.pop(), pick(rng, list(SUFFIXES["USD"]))))
        digits = f"{rng.integers(10_000, 100_000)}"
        text = pick(rng, STRANGERS).format(name=payer.upper(), digits=digits)
    return {
        "received_on": line.received_on.isoformat(),
        "payer_name": payer,
        "amount": money(line.cents),
        "currency": currency,
        "remittance_text": text,
        "settles_invoice": ";".join(invoice.invoice_id for invoice in line.invoices),
        "kind": line.kind,
    }


def _payer_name(rng: np.random.Generator, customer: Customer) -> str:
    """Write a payer's name, in 15 % of lines not as on the invoice."""
    if rng.random() >= ODD_NAME:
        return customer.name
    first, second, trade = customer.words
    return pick(
        rng,
        [
            customer.name.upper(),
            " ".join(customer.words),
            " ".join((*customer.words, SUFFIXES[customer.currency][customer.suffix])),
            f"{second} {trade} {first}",
            *customer.trading,
        ],
    )


def _reference(
    rng: np.random.Generator, line: Line, payer: str, owners: dict[int, Customer]
) -> str:
    """Write what the remittance text says about the invoices."""
    name = payer.upper()
    refs = [invoice.invoice_id for invoice in line.invoices]
    if len(refs) > 1:
        return pick(rng, CLEAN).format(ref=pick(rng, JOINERS).join(refs), name=name)
    # Only these can be matched without their number; the other kinds keep it readable.
    free = line.kind in ("exact", "early_discount", "bank_fee")
    shares = REFERENCES if free else {key: REFERENCES[key] for key in ("clean", "otherwise")}
    style = draw_shares(rng, shares, 1)[0]
    if style == "missing":
        return pick(rng, MISSING).format(name=name)
    digits = str(line.invoices[0].number)
    if style == "otherwise":
        return pick(rng, OTHERWISE).format(digits=digits)
    if style == "mistyped":
        digits = _mistype(rng, digits, owners)
    return pick(rng, CLEAN).format(ref=f"INV-{digits}", name=name)


def _mistype(rng: np.random.Generator, digits: str, owners: dict[int, Customer]) -> str:
    """Transpose two digits or get one wrong, never hitting an invoice of the same customer."""
    owner = owners[int(digits)]
    while True:
        i = int(rng.integers(len(digits) - 1))
        if rng.random() < 0.5:
            wrong = digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :]
        else:
            wrong = digits[: i + 1] + str(rng.integers(10)) + digits[i + 2 :]
        if owners.get(int(wrong)) is not owner:  # so it also differs from the right number
            return wrong


def _terms(rng: np.random.Generator, customer: Customer) -> str:
    """Write a customer's payment terms; empty if nothing was agreed and nobody wrote it down."""
    agreed = (customer.discount, customer.max_fee, customer.foreign, customer.surplus)
    if not any(agreed) and rng.random() < 0.7:
        return ""
    facts = ["Early-payment discount: none.", "Bank charges: borne by the customer."]
    if customer.discount:
        granted = f"{customer.discount / 10:g}% if paid within {customer.discount_days} days"
        facts[0] = f"Early-payment discount: {granted} of the invoice date."
    if customer.max_fee:
        fee = money(customer.max_fee)
        facts[1] = f"Bank charges: shared; up to {fee} per transfer is accepted."
    if customer.foreign:
        ours, theirs = customer.currency, customer.foreign
        facts.append(
            f"Foreign currency: invoices in {ours} may be paid in {theirs} "
            f"at {customer.rate / 10_000:.4f} {theirs} per {ours}."
        )
    if customer.surplus:
        facts.append(f"Over-payments: {customer.surplus}.")
    prose = [TERMS_PROSE[i] for i in rng.permutation(len(TERMS_PROSE))[: len(facts)]]
    sentences = [*facts, *(text.format(days=customer.days_to_pay) for text in prose)]
    body = [sentences[i] for i in rng.permutation(len(sentences))]
    heading = f"# Payment terms: {customer.name} ({customer.customer_id})"
    return "\n\n".join([heading, *body]) + "\n"


def _invoice(invoice: Invoice) -> dict[str, object]:
    """An invoice as a row of invoices.csv."""
    customer = invoice.customer
    return {
        "invoice_id": invoice.invoice_id,
        "customer_id": customer.customer_id,
        "customer_name": customer.name,
        "issued_on": invoice.issued_on,
        "due_on": invoice.issued_on + timedelta(days=customer.days_to_pay),
        "amount": money(invoice.cents),
        "currency": customer.currency,
        "paid_on": invoice.paid_on,
    }


def _with_copies(
    rng: np.random.Generator, rows: list[dict[str, str]], copies: int
) -> list[dict[str, str]]:
    """The bank feed, with some lines delivered a second time up to three days later."""
    again = []
    for i in rng.choice(len(rows), size=copies, replace=False):
        day = date.fromisoformat(rows[i]["received_on"])
        later = min(day + timedelta(days=int(rng.integers(0, 4))), date(2026, 6, 30))
        again.append(rows[i] | {"received_on": later.isoformat(), "kind": "redelivered"})
    # Stable: a line comes before its copy.
    return sorted([*rows, *again], key=lambda row: row["received_on"])
