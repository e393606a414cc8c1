"""The cases that come with the kit, by name, and anybody's own, by where it is written."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from coordkit.cases.base import Case
from coordkit.cases.own import CaseFailed, UnknownCase, blaming, fingerprint, load_own
from coordkit.data.sample import CASES, sample
from coordkit.data.tables import read_billing, read_support

__all__ = ["CaseFailed", "UnknownCase", "blaming", "fingerprint", "load_case"]


def load_case(name: str, directory: Path | None = None, tasks: int | None = None) -> Case:
    """A case on its committed sample, on generated data, or on your tables.

    Args:
        name: ``billing``, ``support``, or your own as ``module:factory``: what the factory, in a
            module that Python can import, returns when called with ``directory``.
        directory: your own tables; by default the sample, or generated data if the sample is
            too small for ``tasks``.
        tasks: how many tasks to keep, spread evenly over the feed; None keeps all.

    Raises:
        UnknownCase: if there is no such case, or one's own cannot work.
        CaseFailed: if the code of one's own raises an error.
        DataError: if a table cannot be used; the message names file, row and column.
    """
    case = load_own(name, directory) if ":" in name else _kit_case(name, directory, tasks)
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
