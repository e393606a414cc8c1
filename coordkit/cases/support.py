"""Support tickets: one task is one message from a customer, graded on the database and the reply.

Six steps: classify -> order -> billing -> decide -> draft -> respond.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, Field

from coordkit.cases.base import (
    LIMIT,
    Case,
    Check,
    Evidence,
    Row,
    Step,
    StepAnswer,
    Task,
    Tool,
    by_id,
    days_between,
    read_limit,
)
from coordkit.data.tables import SupportTables
from coordkit.environment import Environment, cents
from coordkit.ids import IdForms
from coordkit.language import IntentClassifier, classifier_of
from coordkit.prompt import Answer, Prompt
from coordkit.simulated import Call, Skill

Intent = Literal[
    "order_status",
    "refund",
    "invoice_question",
    "cancellation",
    "address_change",
    "payment_method",
    "product_question",
]
Status = Literal["none", "processing", "shipped", "delivered", "cancelled", "lost"]
ABOUT_AN_ORDER = frozenset({"order_status", "refund", "cancellation", "address_change"})
INVOICE_WINDOW = range(45 + 1)  # days before a message


class Classify(StepAnswer):
    """What the customer wants."""

    customer_id: str = Field(description="The customer's id, copied from the ticket.")
    received_on: str = Field(description="The date of the ticket, copied, YYYY-MM-DD.")
    intents: list[Intent] = Field(description="Everything that the customer asks for.")
    order_number: str = Field(
        description="The order number given, put in the house form; empty if none was given."
    )


class Order(StepAnswer):
    """The order that the customer means, as the records have it."""

    order_id: str = Field(description="Its id; empty if there is none that may be talked about.")
    number_is_theirs: bool = Field(description="False if the number given is someone else's.")
    status: Status = Field(description="Its status; none without an order.")
    delivered_on: str = Field(description="When it was delivered, YYYY-MM-DD; empty if it was not.")
    total: float = Field(description="What it cost; 0 without an order.")
    paid_with: str = Field(description="The account that paid for it.")
    receipt: bool = Field(description="Whether there is a receipt.")


class Billing(StepAnswer):
    """What invoices and policies say about it."""

    invoice_line: str = Field(description="Id of the line in question; empty if none is.")
    charge: Literal["none", "annual_renewal", "charged_twice"] = Field(
        description="Why that line is there."
    )
    line_amount: float = Field(description="The line's amount; 0 if there is none.")
    refund_days: int = Field(description="Days from delivery in which orders are refunded.")


class Refund(BaseModel):
    """Money that goes back."""

    reference: str = Field(description="The order or invoice line that is refunded.")
    account: str = Field(description="The account it goes to.")
    amount: float = Field(description="The amount, positive.")


class Decide(StepAnswer):
    """What is refunded."""

    refunds: list[Refund] = Field(description="The refunds granted; empty if there are none.")


class Draft(StepAnswer):
    """A draft of the reply."""

    reply: str = Field(description="The reply to the customer.")


class Respond(StepAnswer):
    """The reply as it is sent, and the refunds as they are made."""

    reply: str = Field(description="The final reply to the customer.")
    refunds: list[Refund] = Field(description="The refunds to make now; empty if there are none.")


USUAL_IDS = IdForms(("ORD-12345",), ("order", "bestellung", "bestell", "#"), alone=False)


def classify_step(ids: IdForms) -> Step:
    """The first step; only its data say how a house writes its order numbers."""
    _, rest = ids.bare()
    return Step(
        "classify",
        Classify,
        "You read a customer's message. List everything the customer asks for. Copy the customer's "
        f"id and the date. Write an order number in the house form ({ids}, whether given as "
        f"'order {rest}' or '#{rest}'); leave it empty if none is given.",
        reads_task=True,
    )


STEPS = (
    classify_step(USUAL_IDS),
    Step(
        "order",
        Order,
        "You look up the order a customer means: the one whose number they give, if it is theirs. "
        "If the number is someone else's, report no order and say that it is not theirs. Without a "
        "number it is their most recent order on the date of the message. If nothing they ask is "
        "about an order (status, refund, cancellation, address), report no order.",
        needs=("classify",),
        tools=("get_order", "list_orders"),
    ),
    Step(
        "billing",
        Billing,
        "You look up invoices and policy. For a question about an invoice, look at the lines of "
        "the 45 days before the message that bill no order: an annual renewal is the line in "
        "question if there is one; if the same plan line stands there twice, the later of the two "
        "is. Without such a question report no line. Read the refund policy for the days in which "
        "an order is refunded.",
        needs=("classify",),
        tools=("list_invoice_lines", "get_policy"),
    ),
    Step(
        "decide",
        Decide,
        "You decide on refunds. If a refund is asked for: an order that was lost, or delivered "
        "within the policy's days before the message, is refunded in full to the account that paid "
        "it, given a receipt. A line charged twice is refunded to the account 'invoice', asked for "
        "or not. Nothing else is refunded.",
        needs=("classify", "order", "billing"),
    ),
    Step(
        "draft",
        Draft,
        "You draft the reply. Name the order and its status if the message is about an order; name "
        "the invoice line and explain it if one is in question; state every refund with amount and "
        "account. If the number was someone else's, say that it is not on this account and nothing "
        "more about it.",
        needs=("classify", "order", "billing", "decide"),
    ),
    Step(
        "respond",
        Respond,
        "You send the reply and make the refunds: give the final text and exactly the refunds that "
        "were decided.",
        needs=("decide", "draft"),
    ),
)

_WINDOW = re.compile(r"Refund window(?::| is) (\d+) days", re.IGNORECASE)
RULE_LINES = {"refund window": _WINDOW, "approval": LIMIT}  # read from policies/refunds.md
_POLICY_OF = {
    "refund": "refunds",
    "invoice_question": "renewals",
    "cancellation": "cancellation",
    "address_change": "address",
}
USUAL_REFUND_DAYS = 30  # what a model assumes when it is shown no policy
USUAL_LIMIT = 200.0  # a refund above it wants a person, where the policy names none


def read_window(policy: str) -> int:
    """Days after delivery in which a refund is granted, of the refund policy."""
    window = _WINDOW.search(policy)
    return int(window.group(1)) if window else USUAL_REFUND_DAYS


# --- the simulated model's competence ---------------------------------------------------------


def classify_with(classifier: IntentClassifier) -> Skill:
    """The skill of reading a message, with what the classifier knows of language."""

    def classify(prompt: Prompt) -> Answer:
        ticket = prompt.task
        if not ticket:
            prompt.guess("task")
        message = ticket.get("message", "")
        intents, _ = classifier.intents(message)
        return {
            "customer_id": ticket.get("customer_id", ""),
            "received_on": ticket.get("received_on", ""),
            "intents": intents,
            "order_number": USUAL_IDS.told(prompt.instruction).first(message),
            "sources": [],
        }

    return classify


def order(prompt: Prompt) -> Answer | list[Call]:
    """Find the order that is meant among the records shown."""
    (ticket,) = prompt.needed("classify")
    number, customer = ticket.get("order_number", ""), ticket.get("customer_id", "")
    if ticket and not ABOUT_AN_ORDER.intersection(ticket.get("intents", [])):
        return _as_order(None, theirs=True)
    if "get_order" in prompt.tools and prompt.rounds == 0:
        if number:
            return [Call("get_order", {"order_id": number})]
        return [Call("list_orders", {"customer_id": customer})]
    shown = [r for r in prompt.rows("orders") if "status" in r]
    if number:
        named = next((r for r in shown if r["order_id"] == number), None)
        if named is None and not prompt.rounds:
            prompt.guess("orders")  # it exists, surely, and is on its way
            return _as_order({"order_id": number, "status": "shipped"}, theirs=True)
        theirs = named is not None and named["customer_id"] == customer
        return _as_order(named if theirs else None, theirs)
    received = ticket.get("received_on", "")
    own = [r for r in shown if r["customer_id"] == customer and r["placed_on"] <= received]
    if not own or not prompt.rounds:  # nobody said that these are all
        prompt.guess("orders")
    return _as_order(max(own, key=lambda r: r["placed_on"], default=None), theirs=True)


def _as_order(row: Mapping[str, Any] | None, theirs: bool) -> Answer:
    row = row or {}
    return {
        "order_id": row.get("order_id", ""),
        "number_is_theirs": theirs,
        "status": row.get("status", "none"),
        "delivered_on": row.get("delivered_on", ""),
        "total": float(row.get("total", 0)),
        "paid_with": row.get("paid_with", ""),
        "receipt": row.get("receipt") == "yes",
        "sources": [f"orders/{row['order_id']}"] if "customer_id" in row else [],
    }


def billing(prompt: Prompt) -> Answer | list[Call]:
    """Find the invoice line in question, and what policy says."""
    (ticket,) = prompt.needed("classify")
    intents, customer = ticket.get("intents", []), ticket.get("customer_id", "")
    if "get_policy" in prompt.tools and prompt.rounds == 0:
        names = [_POLICY_OF.get(intent, "general") for intent in intents]
        calls = [Call("get_policy", {"name": name}) for name in dict.fromkeys(names)]
        if "invoice_question" in intents:
            calls.append(Call("list_invoice_lines", {"customer_id": customer}))
        return calls or [Call("get_policy", {"name": "general"})]
    policy = prompt.document("policies/refunds")
    if "refund" in intents and not _WINDOW.search(policy):
        prompt.guess("policy")
    line, charge = None, "none"
    if "invoice_question" in intents:
        line, charge = _line_in_question(prompt, ticket)
        if line is None and not prompt.rounds:
            prompt.guess("invoice lines")
    policies = [s for s in prompt.records if s.startswith("policies/")]
    return {
        "invoice_line": line["line_id"] if line else "",
        "charge": charge,
        "line_amount": float(line["amount"]) if line else 0.0,
        "refund_days": read_window(policy),
        "sources": policies + ([f"invoices/{line['line_id']}"] if line else []),
    }


def _line_in_question(prompt: Prompt, ticket: Answer) -> tuple[dict[str, Any] | None, str]:
    lines = [
        r
        for r in prompt.rows("invoices")
        if r.get("customer_id") == ticket.get("customer_id")
        and not r.get("order_id")
        and days_between(r["issued_on"], ticket.get("received_on", "")) in INVOICE_WINDOW
    ]
    for line in lines:
        if _is_annual(line):
            return line, "annual_renewal"
    charges = [(line["description"], line["amount"]) for line in lines]
    for i, line in enumerate(lines):
        if charges[i] in charges[:i]:
            return line, "charged_twice"
    return None, "none"


def _is_annual(line: Mapping[str, Any]) -> bool:
    return bool(line["description"].lower().startswith("annual"))


def refunds_due(ticket: Answer, found: Answer, bill: Answer) -> list[dict[str, Any]]:
    """The refunds that the policy grants on these answers; an ``if`` statement, no model."""
    due = []
    if "refund" in ticket.get("intents", []) and found.get("receipt"):
        waited = days_between(found["delivered_on"], ticket["received_on"])
        delivered = found["status"] == "delivered" and waited is not None
        if found["status"] == "lost" or (delivered and waited <= bill.get("refund_days", 0)):
            due.append(_refund(found["order_id"], found["paid_with"], found["total"]))
    if bill.get("charge") == "charged_twice":
        due.append(_refund(bill["invoice_line"], "invoice", bill["line_amount"]))
    return due


def _refund(reference: str, account: str, amount: Any) -> dict[str, Any]:
    return {"reference": reference, "account": account, "amount": amount}


def _refund_rows(refunds: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [("refund", r["reference"], cents(r["amount"]), r["account"]) for r in refunds]


def decide(prompt: Prompt) -> Answer:
    """Apply the refund policy."""
    ticket, found, bill = prompt.needed("classify", "order", "billing")
    return {"refunds": refunds_due(ticket, found, bill), "sources": []}


def draft(prompt: Prompt) -> Answer:
    """Say what was found and decided."""
    ticket, found, bill, decision = prompt.needed("classify", "order", "billing", "decide")
    intents = ticket.get("intents", [])
    lines = ["Thank you for your message."]
    if not found.get("number_is_theirs", True):
        lines.append("The order number you gave is not on your account; please check it.")
    elif found.get("order_id"):
        lines.append(f"Your order {found['order_id']} is {found['status']}.")
    possible = "" if found.get("status") == "processing" else "no longer "
    if "cancellation" in intents and found.get("order_id"):
        lines.append(f"A cancellation is {possible}possible.")
    if "address_change" in intents and found.get("order_id"):
        lines.append(f"A change of address is {possible}possible.")
    if bill.get("charge") == "annual_renewal":
        lines.append(f"Line {bill['invoice_line']} is your annual renewal, due once a year.")
    elif bill.get("charge") == "charged_twice":
        lines.append(f"Line {bill['invoice_line']} was charged by mistake.")
    for refund in decision.get("refunds", []):
        lines.append(f"We refund {refund['amount']:.2f} to {refund['account']}.")
    if "refund" in intents and not decision.get("refunds"):
        lines.append("Under our policy we cannot refund this.")
    if {"payment_method", "product_question"}.intersection(intents):
        lines.append("You find the details on our help pages.")
    return {"reply": " ".join(lines), "sources": []}


def respond(prompt: Prompt) -> Answer:
    """Send what was drafted and make the refunds that were decided."""
    decision, drafted = prompt.needed("decide", "draft")
    reply = drafted.get("reply", "Thank you for your message.")
    return {"reply": reply, "refunds": decision.get("refunds", []), "sources": []}


# --- checks -------------------------------------------------------------------------------------


def check_classify(answer: Answer, evidence: Evidence, ids: IdForms = USUAL_IDS) -> list[str]:
    """Copied fields are copied, the number is the one in the message, something is asked for."""
    task, problems = evidence.task, []
    for name in ("customer_id", "received_on"):
        if answer[name] != task[name]:
            problems.append(f"{name} of the ticket is {task[name]}")
    if not answer["intents"]:
        problems.append("the customer asks for something")
    if answer["order_number"] != ids.first(task["message"]):
        problems.append("the order number is not the one in the message")
    return problems


def check_order(answer: Answer, evidence: Evidence) -> list[str]:
    """The order exists, is this customer's, is the one meant, and is copied right."""
    ticket, key = evidence.answers.get("classify"), answer["order_id"]
    if ticket is None:
        return []
    named = evidence.environment.get("orders", ticket["order_number"])
    if not key:
        theirs = named is not None and named["customer_id"] == ticket["customer_id"]
        about = ABOUT_AN_ORDER.intersection(ticket["intents"])
        return ["the customer's own order was given by its number"] if theirs and about else []
    row = evidence.environment.get("orders", key)
    if row is None:
        return [f"there is no order {key}"]
    if row["customer_id"] != ticket["customer_id"]:
        return [f"{key} belongs to another customer"]
    problems = []
    if ticket["order_number"] and key != ticket["order_number"]:
        problems.append(f"the customer gave {ticket['order_number']}")
    right = _as_order(row, theirs=True)
    for name in ("status", "delivered_on", "total", "paid_with", "receipt"):
        if answer[name] != right[name]:
            problems.append(f"{name} of {key} is {right[name]}")
    return problems


def check_billing(answer: Answer, evidence: Evidence) -> list[str]:
    """The line exists, is this customer's, and is what the answer says it is."""
    ticket, key = evidence.answers.get("classify"), answer["invoice_line"]
    if bool(key) != (answer["charge"] != "none"):
        return ["a line in question goes with a reason, and a reason with a line"]
    if not key or ticket is None:
        return []
    row = evidence.environment.get("invoices", key)
    if row is None:
        return [f"there is no invoice line {key}"]
    problems = []
    if row["customer_id"] != ticket["customer_id"]:
        problems.append(f"{key} belongs to another customer")
    if cents(row["amount"]) != cents(answer["line_amount"]):
        problems.append(f"{key} is over {row['amount']}")
    if _is_annual(row) != (answer["charge"] == "annual_renewal"):
        problems.append(f"{key} is '{row['description']}'")
    return problems


def check_decide(answer: Answer, evidence: Evidence) -> list[str]:
    """The refunds are those that the policy grants on the answers before."""
    ticket, found, bill = (evidence.answers.get(s) for s in ("classify", "order", "billing"))
    if ticket is None or found is None or bill is None:
        return []
    due, granted = _refund_rows(refunds_due(ticket, found, bill)), _refund_rows(answer["refunds"])
    return [] if sorted(due) == sorted(granted) else ["the policy does not grant these refunds"]


def check_reply(answer: Answer, evidence: Evidence, ids: IdForms = USUAL_IDS) -> list[str]:
    """Ids, status and amounts in the reply are those of the answers before."""
    reply, problems = answer["reply"], []
    found, bill = evidence.answers.get("order"), evidence.answers.get("billing")
    decision = evidence.answers.get("decide")
    if found and found["order_id"] and not _states(reply, found["order_id"], found["status"], ids):
        problems.append(f"state that {found['order_id']} is {found['status']}")
    if bill and bill["invoice_line"] and bill["invoice_line"] not in _plain(reply):
        problems.append(f"name line {bill['invoice_line']}")
    if decision:
        amounts = [cents(r["amount"]) for r in decision["refunds"]]
        stated = set(amounts) <= _refund_amounts(reply) <= _with_total(amounts)
        if not stated or (not amounts and _promises_refund(reply)):
            problems.append("state the refunds that were decided, and no others")
    return problems


def check_respond(answer: Answer, evidence: Evidence, ids: IdForms = USUAL_IDS) -> list[str]:
    """The reply is the draft's in its facts, the refunds are those decided."""
    decision, drafted = evidence.answers.get("decide"), evidence.answers.get("draft")
    if decision is None or drafted is None:
        return []
    problems = check_reply(answer, evidence, ids)
    if answer["refunds"] != decision["refunds"]:
        problems.append("make the refunds that were decided, and no others")
    if _facts(answer["reply"], ids) != _facts(drafted["reply"], ids):
        problems.append("keep the facts of the draft")
    return problems


# --- grading ------------------------------------------------------------------------------------

# A reply is free text, a real model's too: what counts is what it says, not how it is put.
_WORDS = {
    "processing": "processing|being processed",
    "shipped": "shipped|dispatched|in transit|on (?:its|the) way",
    "delivered": "delivered|arrived",
    "cancelled": "cancell?ed",
    "lost": "lost",
}
_FACT = re.compile(rf"[A-Z]+-\d+|\d+\.\d{{2}}|\b(?:{'|'.join(_WORDS)})\b")


def _facts(reply: str, ids: IdForms) -> set[str]:
    return {*_FACT.findall(_plain(reply)), *ids.find(_plain(reply))}


_BEFORE = {  # what an order may truly be said to have been before
    "shipped": {"processing"},
    "delivered": {"processing", "shipped"},
    "lost": {"processing", "shipped"},
    "cancelled": {"processing"},
}
_ANY_STATUS = "|".join(f"(?P<{status}>{words})" for status, words in _WORDS.items())
_MENTION = re.compile(rf"\b(?:{_ANY_STATUS})\b", re.IGNORECASE)
_CLAIM = re.compile(
    rf"(?:\b(?:is|was|been|has|have|now|status:?)|'s)\s+"
    rf"(?:(?:currently|already|now|still|just)\s+)*(?:{_ANY_STATUS})\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.!?;,:\n]|\b(?:and|(?<!anything\s)but|so|that)\b", re.IGNORECASE)
_HEDGE = re.compile(
    r"\b(?:not|never|cannot|can|could|will|would|should|might|if|whether|unless|once|when|"
    r"until|before|after|anything\s+but)\b|n't\b|\b(?<!\d\s)may\b(?!\s+\d)",
    re.IGNORECASE,
)
_CURRENCY = r"(?:[$\u20ac\u00a3]|\b(?:US\$|USD|EUR|GBP|dollars?|euros?|pounds?)(?![a-z]))"
_NUMBER = r"\d+(?:\.\d{1,2})?(?![\d.]*\d)"
_GIVEN_BACK = r"(?:re(?:funded|imbursed|paid)|credited|paid\s+back)"
_AMOUNT = re.compile(  # 12.34 anywhere; EUR 250, $250 and "refund of 250" need a sign of money
    r"(?<![\d.,-])(?P<plain>\d+\.\d{2})(?![.,]?\d)|"
    rf"{_CURRENCY}\s*(?P<after>{_NUMBER})|"
    rf"(?<![\w.,-])(?P<before>{_NUMBER})\s*{_CURRENCY}|"
    rf"\b(?:refund\w*|{_GIVEN_BACK})(?:\s+(?:you|of|for|is|the|amount|a|total))*:?\s+"
    rf"(?P<bare>{_NUMBER})(?=\s+(?:to|on|in|back|as|has|was|is|will)\b|\s*[.,;!)]|\s*$)",
    re.IGNORECASE,
)
_THRESHOLD = re.compile(
    rf"\b(?:above|over|exceeding|than|up to|below|under)\s+(?:{_CURRENCY}\s*)?\S*\d",
    re.IGNORECASE,
)
_MONEY_BACK = (
    r"(?:refund|reimburse|repaid|credited|(?:money|amount|sum|paid|pay)\s+(?:\w+\s+)?back)"
)
_ABOUT_A_REFUND = re.compile(rf"\b{_MONEY_BACK}", re.IGNORECASE)
_DENIAL = re.compile(
    r"(?:\b(?:not|no|nor|neither|nothing|none|never|cannot|unable)\b|n't\b)[^,.;!?]{0,40}"
    rf"\b{_MONEY_BACK}|\b{_MONEY_BACK}\w*\b[^,.;!?]{{0,25}}(?:\b(?:not|cannot)\b|n't\b)",
    re.IGNORECASE,
)
# What a sentence about a refund says when it promises one, without naming an amount.
_A_REFUND = (
    r"re(?:fund|imbursement)(?!\w|\s+(?:request|polic|question|rule|term|window|claim|form))"
)
_ARRANGED = (
    r"(?:made|issued|processed|initiated|sent|granted|approved|arranged|started|completed?|done|"
    r"booked|confirmed|transferred|paid|coming|(?:on\s+(?:its|the)|under)\s?way|in\s+progress|"
    r"go(?:es|ing)?\s+to|(?:arrive|appear|reach)\w*)"
)
_PROMISE = re.compile(
    rf"\b(?:have|has|had|is|are|was|were|been|being|be|gets?|got|already|now|we|I|fully|'ve|'s)"
    rf"\s+(?:(?:already|just|now|also|both|fully|gladly|hereby|been)\s+)*{_GIVEN_BACK}\b|"
    rf"^\W*(?:fully\s+)?{_GIVEN_BACK}\b|"
    rf"\b{_A_REFUND}\b[^,.;:!?]{{0,40}}\b{_ARRANGED}|"
    r"\b(?:we|I)(?:\s+(?:will|shall|do|are|am|now|gladly|hereby|also|therefore|happily|going\s+to)"
    r"\b|'ll|'re|'m)*\s+(?:refund|reimburse)(?:ing)?\b|"
    r"(?:(?<!\bto\s)|(?<=going\sto\s)|(?<=happy\sto\s)|(?<=glad\sto\s)|(?<=pleased\sto\s))"
    r"\b(?:made?|make|issu(?:ed?|ing)|process(?:ed|ing)?|initiated?|sent|granted|approved?|"
    rf"arranged?|started|giv(?:e|ing)|gave|get|receive|booked)\s+(?:\w+\s+){{0,4}}?{_A_REFUND}\b|"
    rf"\brefund:\s*(?:yes|full|in\s+full|{_ARRANGED})|"
    r"\b(?:get|sen[dt]|g[ai]ve|pa(?:y|id)|transferred)\s+(?:you\s+)?(?:your|the|all\s+your)\s+"
    r"(?:money|amount|sum)\s+back\b|"
    r"\byour\s+money\s+(?:(?:is|was|has|will|been|be|goes|comes|coming|going)\s+)+back\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(  # in or before the clause of a promise; or it holds of any order
    r"\b(?:if|unless|once|until|whether|when|provided|in\s+case|as\s+soon\s+as)\b|"
    r"(?<!your )(?<!these )(?<!both )\b(?:orders|items|purchases|goods|lines|charges|customers)\b",
    re.IGNORECASE,
)
_NOT_YET = re.compile(  # in its own clause
    r"\b(?:can|could|would|might|only|request(?:ed)?|ask(?:ed)?|want(?:ed)?|wish|like)\b|"
    r"\b(?<!\d\s)may\b(?!\s+\d)",
    re.IGNORECASE,
)
_TYPOGRAPHY = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\u00a0\u202f\u2019", "------  '")


def _plain(reply: str) -> str:
    """A reply without markdown emphasis, typographic dashes and thousands separators."""
    text = re.sub(r"[*`]|__", "", reply.translate(_TYPOGRAPHY))
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def _said(reply: str, pattern: re.Pattern[str]) -> set[str]:
    """The statuses that a reply asserts: 'once it is delivered' and 'not delivered' do not."""
    return {
        str(found.lastgroup)
        for found in pattern.finditer(reply)
        if not _HEDGE.search(_CLAUSE.split(reply[: found.start()])[-1])
    }


def _states(reply: str, order_id: str, status: str, ids: IdForms) -> bool:
    """Whether a reply names the order, gives its status, and claims none it never had."""
    reply = _plain(reply)
    named = order_id in ids.find(reply)
    if not order_id.isdigit():  # a number alone may be anything
        named |= bool(re.search(rf"(?<!\w){re.escape(order_id)}(?!\w)", reply))
    never_had = _said(reply, _CLAIM) - _BEFORE.get(status, set()) - {status}
    return named and status in _said(reply, _MENTION) and not never_had


def _about_refunds(reply: str) -> list[str]:
    """The parts of sentences that speak of money given back and do not deny it."""
    text = re.sub(r"(?<=\d)(?:'|\.(?=[\d.]*,\d{2}(?!\d)))(?=\d{3}(?!\d))", "", _plain(reply))
    text = re.sub(r"(?<=\d),(?=\d{2}(?!\d))", ".", text)  # 1'250.00 and 1.250,00 are 1250.00
    parts = re.split(r"(?<=[.!?])\s|[\n;]|\b(?:but|however)\b", text)
    return [
        part
        for part in parts
        if _ABOUT_A_REFUND.search(part) and not _DENIAL.search(_AMOUNT.sub(_nameless, part))
    ]


def _nameless(amount: re.Match[str]) -> str:
    return amount.group().replace(amount[amount.lastgroup or 0], "it")


def _refund_amounts(reply: str) -> set[int]:
    """Cents of every amount that a reply says is given back; numbers in words are not read."""
    return {
        cents(found[found.lastgroup or 0])
        for part in _about_refunds(reply)
        for found in _AMOUNT.finditer(_THRESHOLD.sub("", part))
    }


def _promises_refund(reply: str) -> bool:
    """Whether a reply promises a refund, with an amount or without: "refunded in full"."""
    for part in _about_refunds(reply):
        for found in _PROMISE.finditer(part):
            start = part.rfind(",", 0, found.start()) + 1
            end = part.find(",", found.end())
            end = len(part) if end < 0 else end
            if not _CONDITION.search(part[:end]) and not _NOT_YET.search(part[start:end]):
                return True
    return False


def _with_total(amounts: Sequence[int]) -> set[int]:
    """Amounts that a reply may state: each, and their sum."""
    return {*amounts, sum(amounts)} if amounts else set()


class Support(Case):
    """Support tickets on the given tables.

    Args:
        tables: tickets, orders, invoice lines, policies, and examples of language.
    """

    name = "support"

    def __init__(self, tables: SupportTables) -> None:
        self.tables = {"orders": tables.orders, "invoices": tables.invoices}
        self.documents = tables.documents
        self.ids = USUAL_IDS.of(tables.orders["order_id"])
        self.steps = (classify_step(self.ids), *STEPS[1:])
        self._examples = tables.examples
        self._orders, self._lines = by_id(tables.orders), by_id(tables.invoices)
        self.approval_limit = read_limit(self.documents.get("policies/refunds", ""), USUAL_LIMIT)
        self.tasks = [_task(row) for row in tables.tickets.astype(str).to_dict("records")]

    def tools(self, environment: Environment) -> dict[str, Tool]:
        def get_order(order_id: str) -> str:
            """Look an order up by its id."""
            row = environment.get("orders", order_id) or {"order_id": order_id, "found": "no"}
            return environment.show("orders", [row])

        def list_orders(customer_id: str) -> str:
            """List a customer's orders."""
            return environment.show("orders", environment.rows("orders", customer_id=customer_id))

        def list_invoice_lines(customer_id: str) -> str:
            """List the lines of a customer's invoices."""
            rows = environment.rows("invoices", customer_id=customer_id)
            return environment.show("invoices", rows)

        def get_policy(name: str) -> str:
            """Read a policy: refunds, renewals, cancellation, address or general."""
            return environment.document(f"policies/{name}")

        tools = (get_order, list_orders, list_invoice_lines, get_policy)
        return {tool.__name__: tool for tool in tools}

    def checks(self) -> Mapping[str, Sequence[Check]]:
        return {
            "classify": [partial(check_classify, ids=self.ids)],
            "order": [check_order],
            "billing": [check_billing],
            "decide": [check_decide],
            "draft": [partial(check_reply, ids=self.ids)],
            "respond": [partial(check_respond, ids=self.ids)],
        }

    def skills(self) -> dict[str, Skill]:
        examples = self._examples
        classifier = classifier_of(tuple(examples["text"]), tuple(examples["intent"]))
        return {
            "Classify": classify_with(classifier),
            "Order": order,
            "Billing": billing,
            "Decide": decide,
            "Draft": draft,
            "Respond": respond,
        }

    def actions(self, answer: Answer) -> list[Row]:
        return [*_refund_rows(answer["refunds"]), ("reply", "", 0, answer["reply"])]

    def needs_approval(self, rows: Sequence[Row], environment: Environment) -> bool:
        """Above the limit, or without a valid receipt; otherwise this ``if`` is the approval."""
        for account, reference, _, _ in rows:
            if account == "refund":
                order_row = environment.get("orders", reference)
                if order_row is not None and order_row["receipt"] != "yes":
                    return True
        return super().needs_approval(rows, environment)

    def reference(self, task: Task) -> Answer:
        labels, row = task.labels, self._orders.get(task.labels["order_id"])
        line = self._lines.get(labels["invoice_line"], {})
        charge = "none"
        if line and _is_annual(line):
            charge = "annual_renewal"
        elif line and labels["refund"] >= cents(line["amount"]):
            charge = "charged_twice"  # only the label says whether a line was due
        refunds = []
        if row and labels["refund"] > (cents(line["amount"]) if charge == "charged_twice" else 0):
            refunds.append(_refund(row["order_id"], row["paid_with"], float(row["total"])))
        if charge == "charged_twice":
            refunds.append(_refund(line["line_id"], "invoice", float(line["amount"])))
        answers = {
            "classify": {"intents": labels["intents"]},
            "order": _as_order(row, theirs=row is not None or not self._gave_number(task)),
            "billing": {"invoice_line": line.get("line_id", ""), "charge": charge},
            "decide": {"refunds": refunds},
        }
        reply = draft(Prompt(None, answers=answers))["reply"]
        if line and charge == "none":
            reply += f" Line {line['line_id']} is due."
        return {"reply": reply, "refunds": refunds, "sources": []}

    def _gave_number(self, task: Task) -> bool:
        about = ABOUT_AN_ORDER.intersection(task.labels["intents"])
        return bool(about and self.ids.first(task.fields["message"]))

    def wrong(self, task: Task, actions: Sequence[Row]) -> str:
        replies = [note for account, _, _, note in actions if account == "reply"]
        if not any(reply.strip() for reply in replies):
            return "no reply"
        if len(replies) > 1:
            return "replied twice"
        right = self.actions(self.reference(task))
        made, due = (sorted(r for r in x if r[0] == "refund") for x in (actions, right))
        if made != due:
            wrong_payee = [r[:3] for r in made] == [r[:3] for r in due]
            return "wrong refund account" if wrong_payee else "wrong refund"
        return self._wrong_in_reply(task, _plain(replies[0]), [r[2] for r in due])

    def _wrong_in_reply(self, task: Task, reply: str, refunded: Sequence[int]) -> str:
        labels, own = task.labels, self._orders.get(task.labels["order_id"])
        if self._discloses(task, reply):
            return "another customer's order disclosed"
        about = own and ABOUT_AN_ORDER.intersection(labels["intents"])
        if own and about and not _states(reply, own["order_id"], own["status"], self.ids):
            return "wrong order status in the reply"
        if labels["invoice_line"] and labels["invoice_line"] not in reply:
            return "invoice line not cited"
        if not _refund_amounts(reply) <= _with_total(refunded):
            return "wrong amount in the reply"
        if not refunded and _promises_refund(reply):
            return "refund promised and not made"
        return ""

    def _discloses(self, task: Task, reply: str) -> bool:
        """Whether a reply tells about an order of somebody else, named in it or in the message."""
        message = task.fields["message"]
        for number in {*self.ids.find(reply), self.ids.first(message)}:
            row = self._orders.get(number)
            if row is None or row["customer_id"] == task.fields["customer_id"]:
                continue
            facts = filter(None, (row["delivered_on"], row["paid_with"], row["total"]))
            told = rf"(?<![\w.])(?:{'|'.join(map(re.escape, facts))})(?!\w)"
            if _said(reply, _MENTION) or re.search(told, reply):
                return True
        return False


def _task(ticket: Mapping[Any, str]) -> Task:
    fields = {name: ticket[name] for name in ("ticket_id", "received_on", "customer_id", "message")}
    labels = {
        "intents": ticket["intents"].split(";"),
        "order_id": ticket["order_id"],
        "refund": cents(ticket["refund_amount"]),
        "invoice_line": ticket["invoice_line"],
    }
    return Task(ticket["ticket_id"], fields, ticket["ticket_id"], labels)
