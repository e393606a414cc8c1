"""Exercises that a reader can check: correct, incorrect with what was wrong, or not attempted.

One module per notebook, named after its layer. A judge looks at what an answer does, on inputs that
the notebook does not show; it never compares source text. The solution here is the source of truth:
tests prove that it passes and that the starter does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What came of checking an answer.

    Attributes:
        status: ``correct``, ``incorrect`` or ``not attempted``.
        problem: what is wrong with an incorrect answer.
    """

    status: str
    problem: str = ""

    def __repr__(self) -> str:
        return f"{self.status.capitalize()}{': ' if self.problem else '.'}{self.problem}"


@dataclass(frozen=True)
class Text:
    """Text that a notebook shows as it is."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Args:
        question: what to do, in a sentence or two.
        starter: the code that the reader begins with; it defines ``name``.
        answer: code that solves it.
        hints: from a nudge to nearly everything.
        judge: takes what the reader made and returns what is wrong with it, empty if nothing.
        name: what the starter defines.
    """

    name: str
    question: str
    starter: str
    answer: str
    hints: tuple[str, ...]
    judge: Callable[[Any], str]

    def check(self, attempt: Any) -> Verdict:
        """Judge an attempt by what it does.

        Args:
            attempt: the function or value that the reader wrote; None or a function that raises
                NotImplementedError counts as not attempted.
        """
        if attempt is None:
            return Verdict("not attempted")
        try:
            problem = self.judge(attempt)
        except NotImplementedError:
            return Verdict("not attempted")
        except Exception as error:
            return Verdict("incorrect", f"your code raised {type(error).__name__}: {error}")
        return Verdict("incorrect", problem) if problem else Verdict("correct")

    def hint(self, number: int = 1) -> Text:
        """One of the hints, 1 being the first; beyond the last one, the last."""
        index = min(max(number, 1), len(self.hints)) - 1
        more = f" ({len(self.hints) - index - 1} more)" if index + 1 < len(self.hints) else ""
        return Text(f"Hint {index + 1}{more}: {self.hints[index]}")

    def solution(self) -> Text:
        """A solution, to read."""
        return Text(f"One solution:\n\n{indent(self.answer.strip(), '    ')}")
