"""Exercises of the notebook on one's own data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from coordkit.exercises import exercise


def _judge_read_amount(read_amount: Any) -> str:
    for text, decimal, right, what in (
        ("1234.56", ".", Decimal("1234.56"), "an amount with a decimal point"),
        ("1.234,56", ",", Decimal("1234.56"), "dots between thousands and a decimal comma"),
        ("1,234", ".", Decimal("1234"), "a comma between thousands, and no decimals"),
        ("1 234 567,89 €", ",", Decimal("1234567.89"), "spaces between thousands, a sign"),
        ("€12,50", ",", Decimal("12.50"), "a sign of currency in front"),
        ("-3,00", ",", Decimal("-3.00"), "a negative amount"),
        ("12 pieces", ".", "a ValueError", "no amount"),
        ("", ",", "a ValueError", "no amount"),
        ("1,5,0", ",", "a ValueError", "no amount"),
    ):
        try:
            given = read_amount(text, decimal)
        except ValueError:
            given = "a ValueError"
        if given != right:
            return f"{what}, {text!r}: expected {right}, not {given!r}"
    return ""


@exercise(
    hints=(
        "The other mark, spaces and signs of currency say nothing: drop them first.",
        "What is left is digits with at most one decimal mark; anything else is no amount.",
    ),
    judge=_judge_read_amount,
)
def read_amount(text, decimal):
    """The amount in a text as a Decimal; decimal is "." or ",". ValueError if it is none."""
    import re
    from decimal import Decimal

    thousands = "," if decimal == "." else "."
    plain = re.sub(rf"[€$£\s{thousands}]", "", text)
    if not re.fullmatch(rf"-?\d+([{decimal}]\d+)?", plain):
        raise ValueError(f"{text!r} is no amount")
    return Decimal(plain.replace(decimal, "."))


_OPEN = {"INV-20417": Decimal("100.00"), "INV-20418": Decimal("70.00")}


@exercise(
    hints=(
        "Compare whole words: INV-204170 begins like INV-20417 and is another invoice.",
        "Exactly one known invoice is named, and the amount is what it says.",
    ),
    cases=[
        (f"{what} ({text!r}, {paid})", text, Decimal(paid), _OPEN)
        for text, paid, what in (
            ("PAYS INV-20417 THANKS", "100.00", "the reference and the amount agree"),
            ("inv-20418", "70.00", "a reference in small letters"),
            ("PAYS INV-20417", "99.99", "another amount: a person has to say why"),
            ("PAYS INV-20417 AND INV-20418", "100.00", "two invoices are named"),
            ("THANK YOU", "100.00", "no invoice is named, though the amount fits one"),
            ("PAYS INV-204170", "100.00", "a longer number that only begins like an invoice's"),
        )
    ],
)
def sure_label(text, paid, invoices):
    """The one invoice that a bank line pays for sure, or "" where there is any doubt.

    text: remittance text; paid: Decimal; invoices: open invoices, id -> amount owed.
    """
    named = [word for word in text.upper().split() if word in invoices]
    if len(named) != 1 or invoices[named[0]] != paid:
        return ""
    return named[0]
