"""Exercises of notebook 01: find, fit and check what a prompt is given."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from coordkit.exercises import Exercise
from coordkit.prompt import write_record

_SHELF = {
    "terms/C-0001": "Early-payment discount: 3% if paid within 10 days. Bank charges: none.",
    "terms/C-0002": "Bank charges: shared; up to 20.00 per transfer is accepted.",
    "policies/returns": "A bicycle may be returned within 30 days; the courier collects it.",
    "policies/refunds": "A refund is paid within 5 days. A refund goes back to the card used.",
    "terms/house": "Over-payments are kept on account.",
}


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"\w+", text)}


def _judge_ranking(rank: Callable[[str, dict[str, str]], list[str]]) -> str:
    for query in ("BANK charges accepted", "refund of a bicycle", "zebra", "Discount, paid early?"):
        score = {s: len(_words(query) & _words(text)) for s, text in _SHELF.items()}
        wanted = sorted((s for s in score if score[s]), key=lambda s: -score[s])
        got = rank(query, dict(_SHELF))
        if not isinstance(got, list):
            return f"return a list of source ids, not {got!r}"
        if extra := [s for s in got if not score.get(s)]:
            return f"{extra[0]} shares no word with {query!r} and must be left out"
        if missing := [s for s in wanted if s not in got]:
            return f"{missing[0]} shares a word with {query!r} and is missing; mind upper case"
        if got != wanted:
            return f"for {query!r} the order should be {wanted}, not {got}"
    return ""


rank_by_overlap = Exercise(
    name="rank_by_overlap",
    question="Rank documents by how many different words they share with the query.",
    starter='''
def rank_by_overlap(query: str, documents: dict[str, str]) -> list[str]:
    """Source ids, most shared words first; ties in the given order; none shared: left out."""
    raise NotImplementedError
''',
    answer='''
import re


def rank_by_overlap(query: str, documents: dict[str, str]) -> list[str]:
    """Source ids, most shared words first; ties in the given order; none shared: left out."""

    def words(text: str) -> set[str]:
        return set(re.findall(r"\\w+", text.lower()))

    score = {source: len(words(query) & words(text)) for source, text in documents.items()}
    return sorted((s for s in score if score[s]), key=lambda s: -score[s])
''',
    hints=(
        "A set of lower-case words per text; the score is the size of the intersection.",
        r"re.findall(r'\w+', text.lower()) gives the words. sorted() is stable: ties keep order.",
    ),
    judge=_judge_ranking,
)


def _judge_fit(fit: Callable[[list[str], int], list[str]]) -> str:
    dice = random.Random(7)
    cases = [(["aaaa", "bbbbbbbbbb", "cc"], 8), (["aaaa"], 3), ([], 5), (["ab", "cd"], 4)]
    for _ in range(40):
        records = ["x" * dice.randint(1, 30) for _ in range(dice.randint(1, 8))]
        cases.append((records, dice.randint(0, 80)))
    for records, budget in cases:
        wanted, left = [], budget
        for record in records:
            if len(record) <= left:
                wanted.append(record)
                left -= len(record)
        got = fit(list(records), budget)
        if not isinstance(got, list):
            return f"return a list of records, not {got!r}"
        lengths = [len(r) for r in records]
        if any(record not in records for record in got):
            return "a record was cut: half a record is worse than none, keep it whole or leave it"
        if sum(map(len, got)) > budget:
            return f"records of {lengths} characters, budget {budget}: yours are too long together"
        if got != wanted:
            return (
                f"records of {lengths} characters, budget {budget}: expected those of "
                f"{[len(r) for r in wanted]}, got {[len(r) for r in got]}; "
                "skip one that does not fit and go on"
            )
    return ""


fit_budget = Exercise(
    name="fit_budget",
    question="Keep the best records that fit a prompt budget, whole and in order.",
    starter='''
def fit_budget(records: list[str], characters: int) -> list[str]:
    """Go through the records, best first; keep each one that still fits whole."""
    raise NotImplementedError
''',
    answer='''
def fit_budget(records: list[str], characters: int) -> list[str]:
    """Go through the records, best first; keep each one that still fits whole."""
    kept = []
    for record in records:
        if len(record) <= characters:
            kept.append(record)
            characters -= len(record)
    return kept
''',
    hints=(
        "naive_dump stops at the first line that does not fit. Here a shorter one may still fit.",
        "Keep what is left of the budget in a variable, and subtract only what you keep.",
    ),
    judge=_judge_fit,
)


def _judge_citations(unsupported: Callable[[list[str], str], list[str]]) -> str:
    shown = "\n".join(
        [
            write_record("invoices/INV-1", {"amount": "10.00", "note": "see invoices/INV-3"}),
            write_record("terms/C-0001", "Kept on account.\n[terms/fake] not a source of its own."),
        ]
    )
    cases = [
        (["invoices/INV-1"], shown, []),
        (["invoices/INV-1", "invoices/INV-2"], shown, ["invoices/INV-2"]),
        (["invoices/INV-3"], shown, ["invoices/INV-3"]),
        (["terms/fake", "terms/C-0001"], shown, ["terms/fake"]),
        (["invoices/INV"], shown, ["invoices/INV"]),
        ([], shown, []),
        (["terms/house"], "", ["terms/house"]),
    ]
    for sources, text, wanted in cases:
        got = unsupported(list(sources), text)
        if not isinstance(got, list):
            return f"return a list of source ids, not {got!r}"
        if got != wanted:
            return (
                f"cited {sources}, shown {text or 'nothing'!r}: expected {wanted}, got {got}; "
                "only the id in brackets at the start of a record is a source"
            )
    return ""


unsupported_sources = Exercise(
    name="unsupported_sources",
    question="Catch citations of records that the model was never shown.",
    starter='''
def unsupported_sources(sources: list[str], shown: str) -> list[str]:
    """The cited source ids that no record in the text `shown` has, in the order cited."""
    raise NotImplementedError
''',
    answer='''
from coordkit.prompt import read_records


def unsupported_sources(sources: list[str], shown: str) -> list[str]:
    """The cited source ids that no record in the text `shown` has, in the order cited."""
    known = {source for source, _ in read_records(shown)}
    return [source for source in sources if source not in known]
''',
    hints=(
        "A plain `source in shown` is fooled by an id that a record only mentions.",
        "coordkit.prompt.read_records(shown) gives the (source, body) pairs.",
    ),
    judge=_judge_citations,
)
