"""Exercises that a reader can check: correct, incorrect with what was wrong, or not attempted.

One module per notebook, named after its layer. An exercise is made of its solution, which is the
source of truth: the notebook's starter is the solution without its body. A judge looks at what an
answer does, on inputs that the notebook does not show; it never compares source text. Tests prove
that every solution passes and that no starter does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from inspect import getsource
from textwrap import indent
from typing import Any


class Text(str):
    """Text that a notebook shows as it is."""

    __repr__ = str.__str__


@dataclass(frozen=True)
class Exercise:
    """One exercise: a function for the reader to write.

    Args:
        solve: a solution, decorated with `exercise`.
        hints: from a nudge to nearly everything.
        judge: takes what the reader made and returns what is wrong with it, empty if nothing.
    """

    solve: Callable[..., Any]
    hints: Sequence[str]
    judge: Callable[[Any], str]

    def check(self, attempt: Any) -> Text:
        """Judge an attempt by what it does.

        Args:
            attempt: the function that the reader wrote; None or a function that raises
                NotImplementedError counts as not attempted.
        """
        if attempt is None:
            return Text("Not attempted.")
        try:
            problem = self.judge(attempt)
        except NotImplementedError:
            return Text("Not attempted.")
        except Exception as error:
            problem = f"your code raised {type(error).__name__}: {error}"
        return Text(f"Incorrect: {problem}" if problem else "Correct.")

    def hint(self, number: int = 1) -> Text:
        """One of the hints, 1 being the first; beyond the last one, the last."""
        number = min(max(number, 1), len(self.hints))
        left = len(self.hints) - number
        more = f" ({left} more)" if left else ""
        return Text(f"Hint {number}{more}: {self.hints[number - 1]}")

    def solution(self) -> Text:
        """A solution, to read."""
        _, _, code = getsource(self.solve).partition("\ndef ")
        return Text(f"One solution:\n\n{indent('def ' + code.strip(), '    ')}")


def exercise(
    hints: Sequence[str],
    cases: Sequence[tuple[Any, ...]] = (),
    judge: Callable[[Any], str] | None = None,
) -> Callable[[Callable[..., Any]], Exercise]:
    """Make an exercise of the decorated solution.

    Args:
        hints: from a nudge to nearly everything.
        cases: each says in words what is given, then gives the arguments; an attempt must return
            what the solution returns.
        judge: judges in place of the cases, where another answer may be as right.
    """
    return lambda solve: Exercise(solve, hints, judge or partial(_difference, solve, cases))


def _difference(
    solve: Callable[..., Any], cases: Sequence[tuple[Any, ...]], attempt: Callable[..., Any]
) -> str:
    """The first case in which an attempt returns something else than the solution."""
    for given, *arguments in cases:
        right, got = solve(*deepcopy(arguments)), attempt(*deepcopy(arguments))
        if got != right:
            return f"{given}: expected {right!r}, not {got!r}"
    return ""
