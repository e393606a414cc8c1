"""Billing reconciliation: one task is one line of the bank feed, graded on the ledger.

Four agents: extract -> match -> explain -> post.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, Field

from coordkit.cases.base import (
    FIGURE,
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
    figure,
    read_limit,
)
from coordkit.data.tables import BillingTables
from coordkit.environment import Environment, cents
from coordkit.ids import IdForms
from coordkit.prompt import Answer, Prompt
from coordkit.simulated import Call, Skill

Claim = Literal["discount", "shared_charges", "part_payment"]
Kind = Literal[
    "exact",
    "early_discount",
    "bank_fee",
    "short_payment",
    "over_payment",
    "fx",
    "duplicate",
    "batch",
    "unmatched",
]
Account = Literal["receivable", "discount", "bank_charges", "on_account", "refund", "suspense"]


class Extract(StepAnswer):
    """What the bank line says."""

    payment_id: str = Field(description="The bank's id of the line.")
    received_on: str = Field(description="The date it was received, YYYY-MM-DD.")
    payer: str = Field(description="The payer's name as printed.")
    references: list[str] = Field(description="Each invoice id in the text, put in the house form.")
    amount: float = Field(description="The amount received.")
    currency: str = Field(description="The currency received, as an ISO 4217 code.")
    claims: list[Claim] = Field(description="What the text claims about the amount, if anything.")


class Match(StepAnswer):
    """Which invoices the payment settles."""

    customer_id: str = Field(description="The customer who paid; empty if unknown.")
    invoices: list[str] = Field(description="Ids of the invoices settled; empty if none fits.")
    amounts: list[float] = Field(description="Those invoices' amounts, in the same order.")
    currency: str = Field(description="The invoices' currency; empty if there are none.")


class Explain(StepAnswer):
    """Why the amount received differs from the invoices, if it does."""

    kind: Kind = Field(description="The one explanation that the terms allow.")
    difference: float = Field(
        description="Invoices' total minus amount received, both in the invoices' currency."
    )
    surplus_to: Literal["none", "on_account", "refund"] = Field(
        description="Where money goes that settles nothing; none if there is no such money."
    )


class Entry(BaseModel):
    """One ledger entry."""

    account: Account = Field(description="The account to post to.")
    invoice_id: str = Field(description="The invoice concerned; empty for suspense.")
    amount: float = Field(description="The amount, positive.")


class Post(StepAnswer):
    """The ledger entries to post."""

    entries: list[Entry] = Field(description="The entries, together accounting for the payment.")


USUAL_IDS = IdForms(("INV-12345",), ("invoice", "inv", "rechnung"))


def extract_step(ids: IdForms) -> Step:
    """The first step; only its data say how a house writes its invoice ids."""
    letters, rest = ids.bare()
    return Step(
        "extract",
        Extract,
        "You read one line of a bank feed. Copy the payer, the amount and the currency. List every "
        f"invoice id in the remittance text, written in the house form ({ids}, whether printed "
        f"as '{letters.lower()} {rest}' or '{letters}#{rest}'). Note the claims: 'discount' where "
        "it deducts a cash discount, 'shared_charges' where charges are SHA, 'part_payment' for "
        "halves and parts.",
        reads_task=True,
    )


STEPS = (
    extract_step(USUAL_IDS),
    Step(
        "match",
        Match,
        "You match a payment to invoices. An invoice id in the references counts only if that "
        "invoice exists and belongs to the payer, who may be written otherwise or trade under "
        "another name. If no reference counts, take the payer's open invoice whose amount equals "
        "the payment, or equals it after the discount or bank charge that the payment claims and "
        "the payer's terms allow. If nothing fits, leave the invoices empty.",
        needs=("extract",),
        tools=("get_invoices", "search_customers", "list_open_invoices", "get_terms"),
    ),
    Step(
        "explain",
        Explain,
        "You explain the difference between invoices and payment from the customer's terms; where "
        "they are silent the house terms apply. duplicate: the invoice was already paid. fx: paid "
        "in another currency at the agreed rate. batch: several invoices, paid in full. "
        "early_discount: discount claimed, agreed, and paid within its days. bank_fee: shared "
        "charges claimed, agreed, and within the accepted maximum. Any other shortfall is "
        "short_payment. over_payment: the terms say whether the surplus is refunded or kept on "
        "account. A duplicate is always refunded. unmatched: no invoice was found.",
        needs=("extract", "match"),
        tools=("get_invoices", "get_terms"),
    ),
    Step(
        "post",
        Post,
        "You write the ledger entries. receivable: what each invoice is credited, in its own "
        "currency (its full amount for exact, fx, batch and over_payment; what was received "
        "otherwise). discount and bank_charges: the allowed difference. on_account or refund: the "
        "surplus; a duplicate is refunded whole, with no receivable entry. An unmatched payment "
        "goes to suspense whole, with no invoice id.",
        needs=("extract", "match", "explain"),
    ),
)


# --- what terms documents say -----------------------------------------------------------------

_DISCOUNT = re.compile(
    rf"Early-payment discount: (?:none|({FIGURE}) ?% if paid within (\d+) days)", re.IGNORECASE
)
_CHARGES = re.compile(rf"Bank charges: (?:borne|shared; up to ({FIGURE}))", re.IGNORECASE)
_SURPLUS = re.compile(r"Over-payments: (refunded|kept on account)", re.IGNORECASE)
RULE_LINES = {  # what is read from terms/house.md
    "discount": _DISCOUNT,
    "bank charges": _CHARGES,
    "over-payments": _SURPLUS,
    "approval": LIMIT,
}


def read_terms(customer: str, house: str) -> dict[str, Any]:
    """A customer's terms, with the house terms where the customer's document is silent."""

    def find(pattern: re.Pattern[str]) -> re.Match[str] | None:
        return pattern.search(customer) or pattern.search(house)

    discount, charges, surplus = find(_DISCOUNT), find(_CHARGES), find(_SURPLUS)
    return {
        "discount": figure(discount.group(1) or "0") if discount else Decimal(0),
        "days": int(discount.group(2) or 0) if discount else 0,
        "charges": figure(charges.group(1) or "0") if charges else Decimal(0),
        "surplus": "refund" if surplus and surplus[1].lower() == "refunded" else "on_account",
    }


USUAL_TERMS = {  # what a model assumes when it is shown no terms at all
    "discount": Decimal(2),
    "days": 10,
    "charges": Decimal(15),
    "surplus": "on_account",
}
USUAL_LIMIT = 500.0  # a refund above it wants a person, where the house rules name none


def after_discount(amount: Decimal, percent: Decimal) -> Decimal:
    """An amount less a percentage, rounded half up to cents."""
    return (amount * (1 - percent / 100)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def money(amount: Any) -> Decimal:
    """An amount as an exact decimal with two places."""
    return Decimal(cents(amount)) / 100


# --- the simulated model's competence ---------------------------------------------------------

_LEGAL = frozenset(
    "ltd limited inc incorporated llc gmbh corp corporation co company plc ag sa bv kg sarl".split()
)


def name_likeness(a: str, b: str) -> float:
    """Share of words that two names have in common, 0 to 1; case, order, legal form ignored."""
    plain = [name.casefold().replace(".", "") for name in (a, b)]
    words = [set(re.findall(r"\w+", name)) - _LEGAL for name in plain]
    union = words[0] | words[1]
    return len(words[0] & words[1]) / len(union) if union else 0.0


def goes_by(customer: Mapping[str, Any], payer: str) -> float:
    """Share of words that a payer's name has in common with the customer's name, or another's."""
    names = [customer.get("customer_name", ""), *customer.get("also_known_as", "").split(";")]
    return max(name_likeness(name, payer) for name in names)


_CLAIMS = {  # in English and German, as people write them
    "discount": re.compile(
        # Not where the word says that there is none.
        r"\A(?!.*(?:\b(?:ohne|kein\w*|nicht|ver(?:fallen|s(?:ä|ae)umt)|without|w/o|o\.)(?!\w)|"
        r"\b(?:no|not)\s+(?:\w+\s+)?(?:disc|skonto)|skontof))"
        r"(?:(?>.*?\bLESS\b).*?\bDISC(?:OUNTS?)?\b|.*?\bSKONTO)",  # each scans a text once
        re.IGNORECASE | re.DOTALL,
    ),
    "shared_charges": re.compile(r"\bSHA\b"),
    "part_payment": re.compile(r"\b(HALF|PART|TEIL(ZAHLUNG|BETRAG)|ANZAHLUNG)\b", re.IGNORECASE),
}


def claims_in(text: str) -> list[str]:
    """What a remittance text claims about the amount: discount, shared_charges, part_payment."""
    return [claim for claim, words in _CLAIMS.items() if words.search(text)]


def extract(prompt: Prompt) -> Answer:
    """Read a bank line by pattern."""
    line = prompt.task
    text = line.get("remittance_text", "")
    if not line:
        prompt.guess("task")
    return {
        "payment_id": line.get("payment_id", ""),
        "received_on": line.get("received_on", ""),
        "payer": line.get("payer_name", ""),
        "references": USUAL_IDS.told(prompt.instruction).find(text),
        "amount": float(line.get("amount", 0)),
        "currency": line.get("currency", ""),
        "claims": claims_in(text),
        "sources": [],
    }


def match(prompt: Prompt) -> Answer | list[Call]:
    """By reference if it is the payer's, otherwise by payer and amount."""
    (line,) = prompt.needed("extract")
    references, payer = line.get("references", []), line.get("payer", "")
    if "get_invoices" in prompt.tools and prompt.rounds == 0:
        first = [Call("get_invoices", {"invoice_ids": references})] if references else []
        return [*first, Call("search_customers", {"name": payer})]
    customers = {c["customer_id"]: goes_by(c, payer) for c in prompt.rows("customers")}
    shown = {r["invoice_id"]: r for r in prompt.rows("invoices") if "amount" in r}
    likeness = {
        i: max(customers.get(r["customer_id"], 0), name_likeness(r["customer_name"], payer))
        for i, r in shown.items()
    }
    found = [shown[i] for i in references if likeness.get(i, 0) >= 0.5]
    if found:
        return _matched(found)
    best = max(customers.values(), default=0)
    alike = [c for c, score in customers.items() if score == best >= 0.5]
    if "list_open_invoices" in prompt.tools and prompt.rounds == 1 and alike:
        tools = ("list_open_invoices", "get_terms")
        return [Call(tool, {"customer_id": c}) for c in alike[:8] for tool in tools]
    own = [r for i, r in shown.items() if likeness[i] >= 0.5]
    fitting = [r for r in own if _fits(prompt, line, r)]
    return _matched(fitting[:1]) if fitting else _guess_match(prompt, line, shown)


def _terms(prompt: Prompt, customer_id: str) -> dict[str, Any]:
    customer, house = prompt.document(f"terms/{customer_id}"), prompt.document("terms/house")
    if customer or house:
        return read_terms(customer, house)
    prompt.guess("terms")
    return USUAL_TERMS


def _fits(prompt: Prompt, line: Answer, invoice: Mapping[str, Any]) -> bool:
    paid, amount = money(line.get("amount", 0)), money(invoice["amount"])
    if invoice.get("paid_on") or invoice["currency"] != line.get("currency"):
        return False
    if paid == amount:
        return True
    claims = line.get("claims", [])
    if "discount" in claims:
        terms = _terms(prompt, invoice["customer_id"])
        return bool(terms["discount"] and paid == after_discount(amount, terms["discount"]))
    if "shared_charges" in claims:
        return bool(0 < amount - paid <= _terms(prompt, invoice["customer_id"])["charges"])
    return False


def _matched(invoices: Sequence[Mapping[str, Any]]) -> Answer:
    first = invoices[0] if invoices else {"customer_id": "", "currency": ""}
    return {
        "customer_id": first["customer_id"],
        "invoices": [r["invoice_id"] for r in invoices],
        "amounts": [float(r["amount"]) for r in invoices],
        "currency": first["currency"],
        "sources": [f"invoices/{r['invoice_id']}" for r in invoices],
    }


def _guess_match(prompt: Prompt, line: Answer, shown: Mapping[str, Any]) -> Answer:
    """Nothing fits what is shown. After look-ups that is the answer; without them, a guess."""
    references, paid = line.get("references", []), line.get("amount", 0.0)
    if prompt.rounds:
        return _matched([])
    prompt.guess("invoices")
    if references:  # take the ids as printed, for what was paid
        amounts = [round(paid / len(references), 2)] * len(references)
        taken = {"invoices": references, "amounts": amounts, "currency": line.get("currency", "")}
        return _matched([]) | taken
    return _matched(sorted(shown.values(), key=lambda r: abs(float(r["amount"]) - paid))[:1])


def explain(prompt: Prompt) -> Answer | list[Call]:
    """Compare invoices with payment under the customer's terms."""
    line, matched = prompt.needed("extract", "match")
    invoices = matched.get("invoices", [])
    if not invoices:
        return {"kind": "unmatched", "difference": 0.0, "surplus_to": "none", "sources": []}
    if "get_terms" in prompt.tools and prompt.rounds == 0:
        return [
            Call("get_invoices", {"invoice_ids": invoices}),
            Call("get_terms", {"customer_id": matched.get("customer_id", "")}),
        ]
    shown = [r for r in prompt.rows("invoices") if r["invoice_id"] in invoices and "amount" in r]
    if len(shown) < len(invoices):
        prompt.guess("invoices")
    customer = matched.get("customer_id", "")
    terms = _terms(prompt, customer)
    kind, difference = _explanation(line, matched, shown, terms)
    documents = [d for d in (f"terms/{customer}", "terms/house") if prompt.document(d)]
    return {
        "kind": kind,
        "difference": float(difference),
        "surplus_to": {"duplicate": "refund", "over_payment": terms["surplus"]}.get(kind, "none"),
        "sources": documents + [f"invoices/{r['invoice_id']}" for r in shown],
    }


def _total(matched: Answer) -> Decimal:
    return sum(map(money, matched.get("amounts", [])), Decimal(0))


def _explanation(
    line: Answer,
    matched: Answer,
    shown: Sequence[Mapping[str, Any]],
    terms: Mapping[str, Any],
) -> tuple[str, Decimal]:
    total, paid = _total(matched), money(line.get("amount", 0))
    if any(r.get("paid_on") for r in shown):
        return "duplicate", Decimal(0)
    if matched.get("currency") and line.get("currency") != matched["currency"]:
        return "fx", Decimal(0)
    difference = total - paid
    if difference < 0:
        return "over_payment", difference
    if difference == 0:
        return ("batch" if len(matched["invoices"]) > 1 else "exact"), difference
    claims = line.get("claims", [])
    if "discount" in claims and terms["discount"]:
        in_time = _days(line, shown) <= terms["days"]
        if in_time and paid == after_discount(total, terms["discount"]):
            return "early_discount", difference
    if "shared_charges" in claims and difference <= terms["charges"]:
        return "bank_fee", difference
    return "short_payment", difference


def _days(line: Answer, shown: Sequence[Mapping[str, Any]]) -> int:
    """Days from the invoice to the payment; 0 where the dates are not known."""
    received = line.get("received_on", "")
    days = [days_between(r.get("issued_on", ""), received) for r in shown]
    return max((waited for waited in days if waited is not None), default=0)


def post(prompt: Prompt) -> Answer:
    """Ledger entries from the three answers before."""
    line, matched, explained = prompt.needed("extract", "match", "explain")
    paid, kind = float(line.get("amount", 0)), explained.get("kind", "exact")
    invoices, amounts = matched.get("invoices", []), matched.get("amounts", [])
    difference = abs(explained.get("difference", 0.0))
    first = invoices[0] if invoices else ""
    entries: list[tuple[str, str, float]] = []
    if kind == "unmatched" or not invoices:
        entries = [("suspense", "", paid)]
    elif kind == "duplicate":
        entries = [("refund", first, paid)]
    elif kind in ("early_discount", "bank_fee"):
        account = "discount" if kind == "early_discount" else "bank_charges"
        entries = [("receivable", first, paid), (account, first, difference)]
    elif kind == "short_payment":
        entries = [("receivable", first, paid)]
    else:
        entries = [("receivable", i, a) for i, a in zip(invoices, amounts, strict=False)]
        if kind == "over_payment":
            entries.append((explained.get("surplus_to", "on_account"), first, difference))
    fields = ("account", "invoice_id", "amount")
    return {"entries": [dict(zip(fields, e, strict=True)) for e in entries], "sources": []}


# --- checks: necessary conditions that code can establish -------------------------------------


def check_extract(answer: Answer, evidence: Evidence) -> list[str]:
    """The line's own fields copied, its references found and nothing else."""
    task, problems = evidence.task, []
    if cents(answer["amount"]) != cents(task["amount"]) or answer["currency"] != task["currency"]:
        problems.append(f"the line says {task['amount']} {task['currency']}")
    if answer["received_on"] != task["received_on"]:
        problems.append(f"the line was received on {task['received_on']}")
    digits = re.sub(r"\D", "", task["remittance_text"])
    for reference in answer["references"]:
        if re.sub(r"\D", "", reference) not in digits:
            problems.append(f"{reference} is not in the remittance text")
    return problems


def check_match(answer: Answer, evidence: Evidence) -> list[str]:
    """Invoices exist, belong to the customer unless that is unknown, and carry these amounts."""
    problems, customer = [], answer["customer_id"]
    if len(answer["amounts"]) != len(answer["invoices"]):
        problems.append("give one amount for each invoice")
    for invoice_id, amount in zip(answer["invoices"], answer["amounts"], strict=False):
        invoice = evidence.environment.get("invoices", invoice_id)
        if invoice is None:
            problems.append(f"there is no invoice {invoice_id}")
        elif customer and invoice["customer_id"] != customer:
            problems.append(f"{invoice_id} does not belong to customer {customer}")
        elif cents(invoice["amount"]) != cents(amount) or invoice["currency"] != answer["currency"]:
            problems.append(f"{invoice_id} is over {invoice['amount']} {invoice['currency']}")
    return problems + _left_out(answer, evidence)


def _left_out(answer: Answer, evidence: Evidence) -> list[str]:
    """References that are the payer's own invoices, by name, and yet were not matched."""
    line, problems = evidence.answers.get("extract", {}), []
    for reference in line.get("references", []):
        invoice = evidence.environment.get("invoices", reference)
        if invoice is None or reference in answer["invoices"]:
            continue
        customer = evidence.environment.get("customers", invoice["customer_id"]) or invoice
        if goes_by(customer, line["payer"]) >= 0.5:
            problems.append(f"{reference} exists and is the payer's, yet you left it out")
    return problems


def check_explain(answer: Answer, evidence: Evidence) -> list[str]:
    """The difference adds up and the terms allow the explanation."""
    line, matched = evidence.answers.get("extract"), evidence.answers.get("match")
    if line is None or matched is None:
        return []
    kind, difference = answer["kind"], money(answer["difference"])
    if (kind == "unmatched") != (not matched["invoices"]):
        return ["unmatched is for payments without an invoice, and only for them"]
    rows = [evidence.environment.get("invoices", i) for i in matched["invoices"]]
    if (kind == "duplicate") != any(r and r.get("paid_on") for r in rows):
        return ["duplicate is for invoices that were paid before, and only for them"]
    if (kind == "fx") != (line["currency"] != matched["currency"]) and kind != "unmatched":
        return ["fx is for payments in another currency, and only for them"]
    if kind in ("duplicate", "fx", "unmatched"):
        return []
    total = _total(matched)
    if difference != total - money(line["amount"]):
        return [f"the invoices' total {total} less {line['amount']} received is not {difference}"]
    terms = read_terms(
        evidence.environment.document(f"terms/{matched['customer_id']}"),
        evidence.environment.document("terms/house"),
    )
    return _check_policy(answer, difference, total, terms)


def _check_policy(
    answer: Answer, difference: Decimal, total: Decimal, terms: Mapping[str, Any]
) -> list[str]:
    kind, problems = answer["kind"], []
    if (difference == 0) != (kind in ("exact", "batch")):
        problems.append(f"a difference of {difference} is not '{kind}'")
    if (difference < 0) != (kind == "over_payment"):
        problems.append("over_payment is for more money than was due, and only for that")
    if kind == "early_discount" and total - difference != after_discount(total, terms["discount"]):
        problems.append("the terms do not allow this discount")
    if kind == "bank_fee" and difference > terms["charges"]:
        problems.append("the terms do not allow these bank charges")
    if kind == "over_payment" and answer["surplus_to"] != terms["surplus"]:
        problems.append("the terms say where a surplus goes")
    return problems


def check_post(answer: Answer, evidence: Evidence) -> list[str]:
    """Entries account for the payment, name its invoices, and credit none beyond its amount."""
    line, matched = evidence.answers.get("extract"), evidence.answers.get("match")
    explained, problems = evidence.answers.get("explain"), []
    if line is None or matched is None or explained is None:
        return []
    sums: Counter[str] = Counter()
    for entry in answer["entries"]:
        sums[entry["account"]] += cents(entry["amount"])
        if entry["invoice_id"] not in (matched["invoices"] or [""]):
            problems.append(f"'{entry['invoice_id']}' is not among the matched invoices")
    allowance = sums["discount"] + sums["bank_charges"]
    received = cents(line["amount"])
    if explained["kind"] == "fx":
        received = sum(cents(a) for a in matched["amounts"])
    if sum(sums.values()) - allowance != received:
        problems.append(f"the entries do not add up to the {line['amount']} received")
    whole = {"unmatched": "suspense", "duplicate": "refund"}  # nothing of these is receivable
    allowed = {"early_discount": "discount", "bank_fee": "bank_charges"}
    expected = {"receivable", allowed.get(explained["kind"], ""), explained["surplus_to"]}
    if explained["kind"] in whole:
        expected = {whole[explained["kind"]]}
    if unexpected := set(sums) - expected:
        problems.append(f"'{explained['kind']}' has no entry on {', '.join(sorted(unexpected))}")
    owed = cents(explained["difference"]) if explained["kind"] in allowed else 0
    if owed > 0 and allowance != owed:
        problems.append("post the allowed difference to its account")
    return problems


class Billing(Case):
    """Billing reconciliation on the given tables.

    Args:
        tables: invoices, payments, customers and terms documents.
    """

    name = "billing"

    def __init__(self, tables: BillingTables) -> None:
        customers = tables.customers
        if customers.empty:  # the invoices name their customers too
            customers = tables.invoices[["customer_id", "customer_name"]].drop_duplicates()
        self.tables = {"invoices": tables.invoices, "customers": customers}
        self.documents = tables.documents
        self.approval_limit = read_limit(self.documents.get("terms/house", ""), USUAL_LIMIT)
        self._invoices = by_id(tables.invoices)
        ids = USUAL_IDS.of(tables.invoices["invoice_id"])
        self.steps = (extract_step(ids), *STEPS[1:])
        self.tasks = _tasks(tables.payments)

    def tools(self, environment: Environment) -> dict[str, Tool]:
        def get_invoices(invoice_ids: list[str]) -> str:
            """Look invoices up by their ids."""
            lines = []
            for key in invoice_ids:
                row = environment.get("invoices", key) or {"invoice_id": key, "found": "no"}
                lines.append(environment.show("invoices", [row]))
            return "\n".join(lines)

        def search_customers(name: str) -> str:
            """Find customers by a name, a trading name or part of one."""
            return "\n".join(environment.search(name, 8, kind="customers"))

        def list_open_invoices(customer_id: str) -> str:
            """List a customer's invoices that are not paid yet."""
            rows = environment.rows("invoices", customer_id=customer_id)
            return environment.show("invoices", [r for r in rows if not r.get("paid_on")])

        def get_terms(customer_id: str) -> str:
            """Read a customer's payment terms, and the house terms that apply otherwise."""
            found = [environment.document(f"terms/{key}") for key in (customer_id, "house")]
            return "\n".join(filter(None, found))

        tools = (get_invoices, search_customers, list_open_invoices, get_terms)
        return {tool.__name__: tool for tool in tools}

    def checks(self) -> Mapping[str, Sequence[Check]]:
        return {
            "extract": [check_extract],
            "match": [check_match],
            "explain": [check_explain],
            "post": [check_post],
        }

    def skills(self) -> dict[str, Skill]:
        return {"Extract": extract, "Match": match, "Explain": explain, "Post": post}

    def actions(self, answer: Answer) -> list[Row]:
        return [(e["account"], e["invoice_id"], cents(e["amount"]), "") for e in answer["entries"]]

    def reference(self, task: Task) -> Answer:
        if task.repeated:
            return {"entries": [], "sources": []}
        paid = money(task.fields["amount"])
        matched = _matched([self._invoices[i] for i in task.labels["settles"]])
        customer = self.documents.get(f"terms/{matched['customer_id']}", "")
        explained = {
            "kind": task.labels["kind"],
            "difference": float(_total(matched) - paid),
            "surplus_to": read_terms(customer, self.documents.get("terms/house", ""))["surplus"],
        }
        answers = {"extract": {"amount": float(paid)}, "match": matched, "explain": explained}
        return post(Prompt(None, answers=answers))

    def wrong(self, task: Task, actions: Sequence[Row]) -> str:
        right, done = _balances(self.actions(self.reference(task))), _balances(actions)
        if done == right:
            return ""
        if task.repeated:
            return "posted twice"
        if not done:
            return "nothing posted"
        if {r[1] for r in done} != {r[1] for r in right}:
            return "wrong invoice"
        if {r[0] for r in done} != {r[0] for r in right}:
            return "wrong account"
        return "wrong amount"


def _balances(actions: Sequence[Row]) -> list[tuple[str, str, int]]:
    """What entries come to, per account and invoice: two halves are as good as a whole."""
    sums: Counter[tuple[str, str]] = Counter()
    for account, invoice_id, amount, _ in actions:
        sums[account, invoice_id] += amount
    return sorted((*place, amount) for place, amount in sums.items() if amount)


def _tasks(payments: pd.DataFrame) -> list[Task]:
    """One task per bank line; a line delivered again is a task of its own with the same key."""
    columns = ["payment_id", "received_on", "payer_name", "amount", "currency", "remittance_text"]
    tasks, seen = [], Counter[str]()
    for row in payments.astype(str).to_dict("records"):
        key = row["payment_id"]
        seen[key] += 1
        name = key if seen[key] == 1 else f"{key}#{seen[key]}"
        fields = {column: row[column] for column in columns}
        settles = [i for i in row["settles_invoice"].split(";") if i]
        labels = {"kind": row["kind"], "settles": settles}
        tasks.append(Task(name, fields, key, labels, repeated=seen[key] > 1))
    return tasks
