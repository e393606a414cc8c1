"""Exercises of notebook 01: find, fit and check what a prompt is given."""

from __future__ import annotations

import random

from coordkit.exercises import exercise
from coordkit.prompt import write_record

_SHELF = {
    "terms/C-0001": "Early-payment discount: 3% if paid within 10 days. Bank charges: none.",
    "terms/C-0002": "Bank charges: shared; up to 20.00 per transfer is accepted.",
    "policies/returns": "A bicycle may be returned within 30 days; the courier collects it.",
    "policies/refunds": "A refund is paid within 5 days. A refund goes back to the card used.",
    "terms/house": "Over-payments are kept on account.",
}


@exercise(
    hints=(
        "A set of lower-case words per text; the score is the size of the intersection.",
        r"re.findall(r'\w+', text.lower()) gives the words. sorted() is stable: ties keep order.",
    ),
    cases=[
        (f"for {query!r} ({mind})", query, _SHELF)
        for query, mind in (
            ("Bank charges ACCEPTED", "upper case or lower is the same"),
            ("refund of a bicycle", "a word that comes twice counts once"),
            ("zebra", "no document has it"),
            ("Discount, paid early?", "marks are no part of a word"),
        )
    ],
)
def rank_by_overlap(query: str, documents: dict[str, str]) -> list[str]:
    """Source ids, most shared words first; ties in the given order; none shared: left out."""
    import re

    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower()))

    score = {source: len(words(query) & words(text)) for source, text in documents.items()}
    return sorted((s for s in score if score[s]), key=lambda s: -score[s])


def _records(lengths: list[int], budget: int) -> tuple[str, list[str], int]:
    given = f"records of {lengths} characters, budget {budget} (whole ones; skip what does not fit)"
    return given, [letter * n for letter, n in zip("abcdefgh", lengths, strict=False)], budget


def _drawn(dice: random.Random) -> tuple[list[int], int]:
    return [dice.randint(1, 30) for _ in range(dice.randint(1, 8))], dice.randint(0, 80)


@exercise(
    hints=(
        "naive_dump stops at the first line that does not fit. Here a shorter one may still fit.",
        "Keep what is left of the budget in a variable, and subtract only what you keep.",
    ),
    cases=[
        *(_records(*c) for c in (([4, 10, 2], 8), ([4], 3), ([], 5), ([2, 2], 4))),
        *(_records(*_drawn(random.Random(seed))) for seed in range(40)),
    ],
)
def fit_budget(records: list[str], characters: int) -> list[str]:
    """Go through the records, best first; keep each one that still fits whole."""
    kept = []
    for record in records:
        if len(record) <= characters:
            kept.append(record)
            characters -= len(record)
    return kept


_SHOWN = "\n".join(
    [
        write_record("invoices/INV-1", {"amount": "10.00", "note": "see invoices/INV-3"}),
        write_record("terms/C-0001", "Kept on account.\n[terms/fake] not a source of its own."),
    ]
)


@exercise(
    hints=(
        "A plain `source in shown` is fooled by an id that a record only mentions.",
        "coordkit.prompt.read_records(shown) gives the (source, body) pairs.",
    ),
    cases=[
        (f"cited {cited}{mind}, shown {shown or 'nothing'!r}", cited, shown)
        for cited, mind, shown in (
            (["invoices/INV-1"], "", _SHOWN),
            (["invoices/INV-1", "invoices/INV-2"], "", _SHOWN),
            (["invoices/INV-3"], ", which a record only mentions", _SHOWN),
            (["terms/fake", "terms/C-0001"], ", the first from inside a record", _SHOWN),
            (["invoices/INV"], ", which only begins like a record's id", _SHOWN),
            ([], "", _SHOWN),
            (["terms/house"], "", ""),
        )
    ],
)
def unsupported_sources(sources: list[str], shown: str) -> list[str]:
    """The cited source ids that no record in the text `shown` has, in the order cited."""
    from coordkit.prompt import read_records

    known = {source for source, _ in read_records(shown)}
    return [source for source in sources if source not in known]
