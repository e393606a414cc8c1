"""The cases that come with the kit, by name, and anybody's own, by where it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches, reload
from inspect import signature
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from coordkit.cases.base import Case
from coordkit.data.sample import CASES, sample
from coordkit.data.tables import read_billing, read_support


class UnknownCase(ValueError):
    """There is no such case; the message says how to name one."""


class CaseFailed(Exception):
    """The code of a case of one's own raised an error; the message says what and where."""


def load_case(name: str, directory: Path | None = None, tasks: int | None = None) -> Case:
    """A case on its committed sample, on generated data, or on your tables.

    Args:
        name: ``billing``, ``support``, or your own as ``module:factory``: what the factory, in a
            module that Python can import, returns when called with ``directory``.
        directory: your own tables; by default the sample, or generated data if the sample is
            too small for ``tasks``.
        tasks: how many tasks to keep, spread evenly over the feed; None keeps all.

    Raises:
        UnknownCase: if there is no such case.
        DataError: if a table cannot be used; the message names file, row and column.
    """
    case = _own_case(name, directory) if ":" in name else _kit_case(name, directory, tasks)
    if tasks is not None and tasks < len(case.tasks):
        step = len(case.tasks) / tasks
        case.tasks = [case.tasks[int(i * step)] for i in range(tasks)]
    return case


def _kit_case(name: str, directory: Path | None, tasks: int | None) -> Case:
    if name not in CASES:
        raise UnknownCase(
            f"unknown case '{name}'; choose from {', '.join(CASES)}, or name your own like "
            "module:factory"
        )
    from coordkit.labelling import label

    with sample(name, directory, tasks) as folder:
        tables: Any = read_billing(folder) if name == "billing" else read_support(folder)
        labelled = label(tables, folder)
    module = import_module(f"coordkit.cases.{name}")  # only this one, for imports take their time
    case: Case = getattr(module, name.capitalize())(labelled.tables)
    case.left_out = labelled.left_out
    return case


def _own_case(name: str, directory: Path | None) -> Case:
    factory = name.partition(":")[2]
    make = getattr(_module(name), factory, None)
    if make is None:
        raise UnknownCase(f"case '{name}': the module has no {factory}")
    try:
        signature(make).bind(directory)
    except (TypeError, ValueError) as error:
        what = f"{factory} must be callable with one argument, the data folder: {error}"
        raise UnknownCase(f"case '{name}': {what}") from None
    with blaming(name):
        case = make(directory)
    if not isinstance(case, Case):
        raise UnknownCase(f"case '{name}' is a {type(case).__name__}, not a Case")
    return case


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Say of an unforeseen error in which line of a case of one's own it arose.

    Args:
        name: the case, as ``module:factory``; of the kit's own cases errors pass as they are.

    Raises:
        CaseFailed: in place of the error. Where no line of the module was running, what it returned
            was of the wrong kind, and the line that could not work with it is told.
    """
    try:
        yield
    except Exception as error:
        if ":" not in name or type(error).__module__.startswith("coordkit."):  # they tell enough
            raise
        raise CaseFailed(f"case '{name}': {_told(error, str(source_of(name)))}") from error


def _told(error: Exception, own: str = "") -> str:
    """An error with the last line of a file of one's own, or else of any, that it came through."""
    frames = extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if f.filename == own), frames[-1])
    where = f"{Path(place.filename).name} line {place.lineno}, in {place.name}"
    why = ", from what the case gave it" if own not in ("", place.filename) else ""
    return " ".join(f"{type(error).__name__}: {error} ({where}{why})".split())


_sources: dict[str, str] = {}  # module -> its source when it was imported


def _module(name: str) -> ModuleType:
    """The module of a case of one's own; imported again if its file has changed since."""
    module_name = name.partition(":")[0]
    try:
        invalidate_caches()
        module = import_module(module_name)
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        if _sources.setdefault(module_name, source) != source:
            # Bytecode counts as fresh for a file of the same second and size.
            Path(str(module.__cached__)).unlink(missing_ok=True)
            module, _sources[module_name] = reload(module), source
    except Exception as error:  # whatever its lines raise
        lost = isinstance(error, ModuleNotFoundError) and error.name == module_name
        hint = f"; go to the folder of {module_name}.py, or put it on PYTHONPATH" if lost else ""
        known = isinstance(error, ImportError | ValueError | OSError | SyntaxError)
        what = f"{error}{hint}" if known else _told(error)
        raise UnknownCase(f"case '{name}' cannot be imported: {what}") from None
    return module


def source_of(name: str) -> Path | None:
    """The file that a case of one's own is written in; None for the kit's.

    Raises:
        UnknownCase: if its module cannot be imported.
    """
    return Path(str(_module(name).__file__)) if ":" in name else None
