"""The cases that come with the kit, by name, and anybody's own, by where it is written."""

from __future__ import annotations

from importlib import import_module, invalidate_caches, reload
from pathlib import Path
from types import ModuleType
from typing import Any

from coordkit.cases.base import Case
from coordkit.data.sample import CASES, sample
from coordkit.data.tables import read_billing, read_support


class UnknownCase(ValueError):
    """There is no such case; the message says how to name one."""


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
    case = make(directory)
    if not isinstance(case, Case):
        raise UnknownCase(f"case '{name}' is a {type(case).__name__}, not a Case")
    return case


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
    except (ImportError, ValueError, OSError, SyntaxError) as error:
        lost = isinstance(error, ModuleNotFoundError) and error.name == module_name
        hint = f"; go to the folder of {module_name}.py, or put it on PYTHONPATH" if lost else ""
        raise UnknownCase(f"case '{name}' cannot be imported: {error}{hint}") from None
    return module


def source_of(name: str) -> Path | None:
    """The file that a case of one's own is written in; None for the kit's.

    Raises:
        UnknownCase: if its module cannot be imported.
    """
    return Path(str(_module(name).__file__)) if ":" in name else None
