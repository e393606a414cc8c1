"""How the ids of a house look: told to the model by example, and found in free text.

A person writes ``re 5002`` or ``Invoice no. 5002`` and means the invoice ``RE-5002``. How ids look
differs from house to house, so it is taken from the table, never from the code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

MOST = 5  # forms told; an instruction with more of them is read by nobody
_RUNS = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]+")
_GLUE = r"[.\s#:/_-]*(?:N(?:O|R|UMBER)[.\s#:-]*(?:IS\s+)?)?#?"  # 'no.', '#', 'number is'


@dataclass(frozen=True)
class IdForms:
    """The forms in which a house writes the ids of one table.

    Args:
        examples: an id of each form with made-up digits, such as ``RE-1234``; commonest first.
        nouns: what people write in front of a bare number instead of the house's letters, such as
            ``invoice``; ``#`` stands for the sign alone.
    """

    examples: tuple[str, ...]
    nouns: tuple[str, ...] = ()

    @classmethod
    def of(cls, ids: Iterable[str], nouns: tuple[str, ...], usual: str) -> IdForms:
        """The forms of a table's ids; the usual one for a table that is empty."""
        shortest: dict[str, str] = {}
        count: Counter[str] = Counter()
        for example in map(_example, map(str, ids)):
            # RE-998 and RE-1002 are one form; bare numbers have nothing but their length.
            form = re.sub(r"\d+(?=\D*$)", "#", example) if example[:1].isalpha() else example
            count[form] += 1
            shortest[form] = min(shortest.get(form, example), example, key=len)
        return cls(tuple(shortest[form] for form, _ in count.most_common(MOST)) or (usual,), nouns)

    def told(self, instruction: str) -> IdForms:
        """The forms that an instruction gives, as a model reads them; these if it gives none."""
        found = re.search(r"in the house form \(([^,)]+),", instruction)
        return replace(self, examples=tuple(found.group(1).split(" or "))) if found else self

    def __str__(self) -> str:
        """As an instruction gives them: 'RE-1234 or 2026/123'."""
        return " or ".join(self.examples)

    def bare(self) -> tuple[str, str]:
        """The first example's letters, and what follows them."""
        found = re.match(r"([A-Za-z]*)[^A-Za-z\d]*(.+)", self.examples[0])
        return (found.group(1), found.group(2)) if found else ("", self.examples[0])

    def find(self, text: str) -> list[str]:
        """Ids in a text, in the house's form, in order, without repeats."""
        pairs = [(example, _pattern(example, self.nouns)) for example in self.examples]
        hits = [(hit, example) for example, p in pairs for hit in p.finditer(text)]
        hits.sort(key=lambda pair: (pair[0].start(), -pair[0].end()))
        found, end = [], 0
        for hit, example in hits:
            if hit.start() >= end:  # RE-1234/5 is not RE-1234 as well
                found.append(_in_form(example, hit.groups()))
                end = hit.end()
        return list(dict.fromkeys(found))

    def first(self, text: str) -> str:
        """The first id in a text; empty if there is none."""
        return next(iter(self.find(text)), "")


def _example(key: str) -> str:
    """An id of the same form with digits that are nobody's."""
    return re.sub(r"\d+", lambda run: "1234567890123456789"[: len(run.group())], key)


@lru_cache(maxsize=64)
def _pattern(example: str, nouns: tuple[str, ...]) -> re.Pattern[str]:
    """What finds ids like an example; its groups are the example's runs behind its letters."""
    first, *runs = _RUNS.findall(example)
    lead = first if first.isalpha() else ""
    runs = [run for run in (runs if lead else [first, *runs]) if run.isalnum()]
    parts = [rf"(\d{{{len(run)}}})" if run.isdigit() else rf"([A-Z]{{{len(run)}}})" for run in runs]
    if runs and runs[-1].isdigit() and lead:  # numbers grow, and a digit is soon forgotten
        parts[-1] = rf"(\d{{{max(1, len(runs[-1]) - 1)},}})"
    tail = r"[-/._\s]?".join(parts)
    if not lead:
        return re.compile(rf"(?<![\w.,-]){tail}(?!\w|[.,-]\d)", re.IGNORECASE)
    words = "|".join(map(re.escape, sorted({lead, *nouns} - {"#"}, key=len, reverse=True)))
    sign = "|#" if "#" in nouns else ""
    return re.compile(rf"(?:\b(?:{words}){_GLUE}{sign}){tail}\b", re.IGNORECASE)


def _in_form(example: str, groups: Iterable[str]) -> str:
    """An example with the runs behind its letters replaced."""
    first, *runs = _RUNS.findall(example)
    rest = iter(groups)
    keep = [first] if first.isalpha() else []
    runs = runs if keep else [first, *runs]
    return "".join([*keep, *(next(rest).upper() if run.isalnum() else run for run in runs)])
