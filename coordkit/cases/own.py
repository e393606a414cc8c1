"""A case of one's own: found by name, looked over before anything is measured, told where it fails.

Its module may be any that Python can import. What is wrong with it comes out as one line.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from hashlib import blake2b
from importlib import import_module, invalidate_caches, reload
from inspect import signature
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import joblib

from coordkit.cases.base import Case, Step, StepAnswer, Task
from coordkit.prompt import as_json
from coordkit.simulated import bare

ATTRIBUTES = ("name", "steps", "tasks", "approval_limit")
HELD = ("tables", "documents")  # needed where environment() is not one's own
LOOKED_OVER = 100  # tasks; what is wrong with a later one comes out when it is run


class UnknownCase(ValueError):
    """There is no such case, or it is none; the message says why."""


class CaseFailed(Exception):
    """The code of a case of one's own raised an error; the message says what and where."""


def load_own(name: str, directory: Path | None) -> Case:
    """A case of one's own, looked over.

    Args:
        name: ``module:factory``; the factory is called with the data folder.
        directory: that folder; None without one.

    Raises:
        UnknownCase: if there is none, or it cannot work.
        CaseFailed: if its code raises an error.
    """
    module, factory = _module(name), name.partition(":")[2]
    make = getattr(module, factory, None) if factory else None
    if make is None:
        raise UnknownCase(f"case '{name}': {_who_else(module, factory)}")
    try:
        signature(make, follow_wrapped=False).bind(directory)
    except (TypeError, ValueError) as error:
        what = f"{factory} must be callable with one argument, the data folder: {error}"
        raise UnknownCase(f"case '{name}': {what}") from None
    with blaming(name):
        case = make(directory)
        if not isinstance(case, Case):
            raise UnknownCase(f"case '{name}' is a {type(case).__name__}, not a Case")
        problem = next(_problems(case), "")
    if problem:
        raise UnknownCase(f"case '{name}': {problem}")
    first = case.tasks[:LOOKED_OVER]
    for task in first:
        with blaming(name, task.id):
            if problem := _problem_of_task(case, task):
                raise UnknownCase(f"case '{name}', task {task.id}: {problem}")
    with blaming(name):
        due = [t for t in first if not t.repeated and [*case.actions(case.reference(t))]]
        if due and not any(case.wrong(task, []) for task in due):
            raise UnknownCase(f"case '{name}': wrong() finds nothing wrong where nothing was done")
    return case


def fingerprint(name: str, directory: Path | None) -> str:
    """A short text that differs if a case has changed: what it holds, or the code beside it.

    That is every .py of its module's folder, for any may be imported, and only when it is needed.
    """
    case, folder = load_own(name, directory), _file(name).parent
    digest = blake2b(digest_size=8)
    for path in sorted(folder.glob("*.py")):
        if path.is_file():
            digest.update(path.read_bytes())
    steps = [(s.name, s.instruction, s.needs, s.tools, s.reads_task) for s in case.steps]
    tasks = [(t.id, t.fields, t.key, t.labels, t.repeated) for t in case.tasks]
    digest.update(joblib.hash((case.approval_limit, steps, tasks)).encode())
    for record in case.environment().connection.execute("SELECT source, body FROM texts"):
        digest.update("\n".join(record).encode(errors="replace"))
    return digest.hexdigest()


@contextmanager
def blaming(name: str, task: str = "") -> Iterator[None]:
    """Say of an unforeseen error in which line of a case of one's own it arose.

    Args:
        name: the case, as ``module:factory``; of the kit's own cases errors pass as they are.
        task: the task's id, if one was worked on.

    Raises:
        CaseFailed: in place of the error. Where no line of the module was running, what it returned
            was of the wrong kind, and the line that could not work with it is told.
    """
    try:
        yield
    except Exception as error:
        if ":" not in name or type(error).__module__.startswith("coordkit."):  # they tell enough
            raise
        which = f"case '{name}'" + (f", task {task}" if task else "")
        raise CaseFailed(f"{which}: {_told(error, str(_file(name)))}") from error


def _told(error: Exception, own: str = "") -> str:
    """An error with the last line of a file of one's own, or else of any, that it came through."""
    frames = extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if f.filename == own), frames[-1])
    where = f"{Path(place.filename).name} line {place.lineno}, in {place.name}"
    why = ", from what the case gave it" if own not in ("", place.filename) else ""
    return " ".join(f"{type(error).__name__}: {error} ({where}{why})".split())


# --- its module ----------------------------------------------------------------------------------

_sources: dict[Path, str] = {}  # of the modules in the folders of cases, as they were imported


def _module(name: str) -> ModuleType:
    """The module of a case of one's own; imported again if it or one beside it has changed."""
    module_name, _, factory = name.partition(":")
    if module_name.endswith(".py"):
        raise UnknownCase(f"case '{name}': write {module_name[:-3]}:{factory}")
    try:
        invalidate_caches()
        module = import_module(module_name)
        beside = [m for m in [*sys.modules.values()] if m is not module and _is_beside(m, module)]
        changed = [m for m in beside if _has_changed(m)]
        for old in (*changed, module) if _has_changed(module) or changed else ():
            # Bytecode counts as fresh for a file of the same second and size.
            Path(str(old.__cached__)).unlink(missing_ok=True)
            reload(old)
    except Exception as error:  # whatever its lines raise
        lost = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        )
        file = f"{module_name.replace('.', '/')}.py"
        hint = f"; go to the folder of {file}, or put it on PYTHONPATH" if lost else ""
        known = isinstance(error, ImportError | ValueError | OSError | SyntaxError)
        what = f"{error}{hint}" if known else _told(error)
        raise UnknownCase(f"case '{name}' cannot be imported: {what}") from None
    return module


def _is_beside(module: ModuleType, other: ModuleType) -> bool:
    """Whether a module is a file of the same folder, and neither running nor the kit's own."""
    file, name = getattr(module, "__file__", None), module.__name__
    if not file or name == "__main__" or name.startswith("coordkit."):
        return False
    return Path(str(file)).parent == Path(str(other.__file__)).parent


def _has_changed(module: ModuleType) -> bool:
    """Whether a module's file is another than when it was first seen, or seen last."""
    path = Path(str(module.__file__))
    source = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    before = _sources.setdefault(path, source)
    _sources[path] = source
    return before != source


def _file(name: str) -> Path:
    return Path(str(_module(name).__file__))


def _who_else(module: ModuleType, factory: str) -> str:
    """That a module has no such factory, and what it has."""
    own = [k for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    cases = [
        k for k in own if isinstance(vars(module)[k], type) and issubclass(vars(module)[k], Case)
    ]
    near = get_close_matches(factory, own, 3) or cases
    has = f"; it has {', '.join(near)}" if near else ""
    return f"{module.__file__} has no {factory or 'factory without a name'}{has}"


# --- what it holds -------------------------------------------------------------------------------


def _problems(case: Case) -> Iterator[str]:
    """What is wrong with a case, one sentence each."""
    needed = ATTRIBUTES + (HELD if type(case).environment is Case.environment else ())
    if missing := [name for name in needed if not hasattr(case, name)]:
        yield f"it has no {', '.join(missing)}"
        return
    if not isinstance(case.tasks, Sequence):
        yield f"its tasks must be a list, not a {type(case.tasks).__name__}"
        return
    yield from _twice("steps", "name", [step.name for step in case.steps])
    yield from _twice("steps", "name, but for _ and case,", [bare(s.name) for s in case.steps])
    yield from _twice("tasks", "id", [task.id for task in case.tasks])
    if not case.steps or not case.tasks:
        yield f"it has no {'tasks' if case.steps else 'steps'}"
    tools, all_checks = case.tools(case.environment()), case.checks()
    for what, found in (("tools", tools), ("checks", all_checks)):
        if not isinstance(found, Mapping):
            yield f"{what}() must return a dict, not {found!r}"
            return
    before: list[str] = []
    for step in case.steps:
        yield from _problems_of_step(step, before, [*tools])
        before.append(step.name)
    for name, checks in all_checks.items():
        if name not in before:
            yield f"checks() has some for {name}, and there is no such step"
        if not isinstance(checks, Collection) or not all(map(callable, checks)):
            yield f"checks() must have a list of functions for {name}, not {checks!r}"


def _twice(what: str, name: str, names: Sequence[str]) -> Iterator[str]:
    seen = set[str]()
    again = next((one for one in names if one in seen or seen.add(one)), None)  # type: ignore[func-returns-value]
    if again is not None:
        yield f"two {what} have the {name} {again}"


def _problems_of_step(step: Step, before: Sequence[str], tools: Sequence[str]) -> Iterator[str]:
    if not (isinstance(step.schema, type) and issubclass(step.schema, StepAnswer)):
        yield f"the schema of step {step.name} is no StepAnswer"
        return
    schema = step.schema.__name__
    if bare(step.name) != bare(schema):
        yield f"step {step.name} has the schema {schema}; give both one name, like look_up, LookUp"
    if lost := [name for name in step.needs if name not in before]:
        yield f"step {step.name} needs {lost[0]}, which is no step before it"
    if lost := [name for name in step.tools if name not in tools]:
        yield f"step {step.name} has the tool {lost[0]}; tools() has {', '.join(tools) or 'none'}"


def _problem_of_task(case: Case, task: Task) -> str:
    """What is wrong with a task and with what its labels ask for; empty if nothing."""
    try:
        as_json(dict(task.fields))
    except (TypeError, ValueError) as error:
        return f"its fields must be what JSON can hold: {error}"
    usual = type(case).reference is Case.reference
    if usual and not isinstance(task.labels, Mapping):
        return f"its labels must be a dict, not {task.labels!r}"
    rows: list[Any] = [*case.actions(case.reference(task))]
    for row in rows:
        right = zip(row, (str, str, int, str), strict=True) if len(row) == 4 else [(0, str)]
        if not all(isinstance(cell, kind) for cell, kind in right):
            return f"actions() must return (account, reference, cents, note) rows, not {row!r}"
    if wrong := case.wrong(task, [] if task.repeated else rows):
        return f"what its own labels ask for is graded '{wrong}'"
    return ""
