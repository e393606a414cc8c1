"""How the ids of a house look: told to the model by example, and found in free text.

A person writes ``re 5002`` or ``Invoice no. 5002`` and means the invoice ``RE-5002``. How ids look
differs from house to house, so it is taken from the table, never from the code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

MOST = 5  # forms told; an instruction with more of them is read by nobody
_RUNS = re.compile(r"[^\W\d_]+|\d+|[\W_]+")
_DIGITS = "1234567890"
_UNTOLD = re.compile(r"[(),']| or |^\D*$")  # an instruction could not tell where such an id ends
# Between a noun and its number: 'no.', '#', 'number is', and the s and hyphen of 'Rechnungs-Nr.'.
_NOUN_GLUE = (
    r"S?[\W_]{0,2}(?:(?:N(?:O|R|UMBER|UMMER)|(?<=\s)ID)(?:S|(?<=N)\u00b0)?[.\s#:-]*(?:IS\s+)?)?#?"
)
_NO_DATE = r"(?!\w|[.,-]\d{1,2}(?!\d))"  # nor the whole part of an amount


@dataclass(frozen=True)
class IdForms:
    """The forms in which a house writes the ids of one table.

    Args:
        examples: an id of each form with made-up digits, such as ``RE-1234``; commonest first.
        nouns: what people write in front of a bare number instead of the house's letters, such as
            ``invoice``; ``#`` stands for the sign alone.
        alone: whether a number counts without letters, noun or sign in front, in a house whose ids
            are mere numbers: in a bank line it does, in a letter it may be a year or a price.
    """

    examples: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    alone: bool = True

    def of(self, ids: Iterable[str]) -> IdForms:
        """The forms of a table's ids; these for a table without any that can be told."""
        known = set(map(str, ids))
        shortest: dict[str, str] = {}
        count: Counter[str] = Counter()
        for example in map(_example, sorted(known)):
            # RE-998 and RE-1002 are one form; bare numbers have nothing but their length.
            form = re.sub(r"\d+(?=\D*$)", "#", example) if example[:1].isalpha() else example
            count[form] += 1
            shortest[form] = min(shortest.get(form, example), example, key=len)
        told = [form for form, _ in count.most_common() if not _UNTOLD.search(shortest[form])]
        examples = tuple(_nobodys(shortest[form], known) for form in told[:MOST])
        return replace(self, examples=examples) if examples else self

    def told(self, instruction: str) -> IdForms:
        """The forms that an instruction gives, as a model reads them; these if it gives none."""
        found = re.search(r"in the house form \(([^,)]+),", instruction)
        return replace(self, examples=tuple(found.group(1).split(" or "))) if found else self

    def __str__(self) -> str:
        """As an instruction gives them: 'RE-1234 or 2026/123'."""
        return " or ".join(self.examples)

    def bare(self) -> tuple[str, str]:
        """The first example's letters, and what follows them."""
        found = re.match(r"([^\W\d_]*)[\W_]*(.+)", self.examples[0])
        return (found.group(1), found.group(2)) if found else ("", self.examples[0])

    def find(self, text: str) -> list[str]:
        """Ids in a text, in the house's form, in order, without repeats."""
        pairs = [(example, _pattern(example, self.nouns, self.alone)) for example in self.examples]
        hits = [
            (hit.start(), -hit.end(), key not in hit[0], key)  # best as it stands in the text
            for example, pattern in pairs
            for hit in pattern.finditer(text)
            for key in [_in_form(example, hit.groups())]
        ]
        found, until = [], 0
        for start, end, _, key in sorted(hits):
            if start >= until:  # RE-1234/5 is not RE-1234 as well
                found.append(key)
                until = -end
        return list(dict.fromkeys(found))

    def first(self, text: str) -> str:
        """The first id in a text; empty if there is none."""
        return next(iter(self.find(text)), "")

    def unread(self, ids: Iterable[str]) -> list[str]:
        """The ids that would not be read where a text names them plainly."""
        noun = f"{self.nouns[0]} " if self.nouns else ""
        return [key for key in map(str, ids) if self.find(f"{noun}{key} .") != [key]]


def _example(key: str, start: int = 0) -> str:
    """An id of the same form with other digits: 1234..., or from a later one of them on."""
    return re.sub(
        r"\d+", lambda run: (_DIGITS * (len(run[0]) // 10 + 2))[start : start + len(run[0])], key
    )


def _nobodys(example: str, known: Collection[str]) -> str:
    """An example that is no id of the table, if there is one."""
    tries = (_example(example, start) for start in range(len(_DIGITS)))
    return next((key for key in tries if key not in known), example)


def _taken_apart(example: str) -> tuple[str, list[str]]:
    """The letters that an id begins with, and the runs after them."""
    first, *runs = _RUNS.findall(example)
    return (first, runs) if first.isalpha() else ("", [first, *runs])


@lru_cache(maxsize=64)
def _pattern(example: str, nouns: tuple[str, ...], alone: bool) -> re.Pattern[str]:
    """What finds ids like an example; its groups are the example's runs behind its letters."""
    lead, runs = _taken_apart(example)
    runs = [run for run in runs if run.isalnum()]
    parts = [
        rf"(\d{{{len(run)}}})" if run.isdigit() else rf"([^\W\d_]{{{len(run)}}})" for run in runs
    ]
    if runs and runs[-1].isdigit() and lead:  # numbers grow, and a digit is soon forgotten
        parts[-1] = rf"(\d{{{max(1, len(runs[-1]) - 1)},}})"
    joined = [  # two numbers are two by what stands between them
        (r"(?:[^\w,;]{1,3}|_)" if a.isdigit() and b.isdigit() else r"(?:[^\w,;]{0,3}|_)") + part
        for a, b, part in zip(runs, runs[1:], parts[1:], strict=False)
    ]
    tail = "".join([*parts[:1], *joined]) + _NO_DATE
    before = []
    if len("".join(runs)) > 2:  # 'order 2' may be the second one
        words = "|".join(map(re.escape, sorted({*nouns} - {"#"}, key=len, reverse=True)))
        before += [rf"\b(?:{words}){_NOUN_GLUE}"] if words else []
        before += ["#"] if "#" in nouns else []
    if lead:
        before.insert(0, rf"(?<!\w){re.escape(lead)}(?:{_NOUN_GLUE}|[\W_]{{0,3}})")
    elif alone or len(runs) > 1 or not before:
        before.append(r"(?<![\w.-])(?<!\b\d,)(?<!\b\d\d,)(?<!\b\d{3},)")
    return re.compile(rf"(?:{'|'.join(before)}){tail}", re.IGNORECASE)


def _in_form(example: str, groups: Iterable[str]) -> str:
    """An example with the runs behind its letters replaced, in the case that they have there."""
    lead, runs = _taken_apart(example)
    rest = iter(groups)
    return lead + "".join(_cased(run, next(rest)) if run.isalnum() else run for run in runs)


def _cased(example: str, run: str) -> str:
    return run.lower() if example.islower() else run.upper() if example.isupper() else run
