"""The notebooks as files: same code as the package, exercises that work, sizes, no widget state."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbformat
import pytest

import coordkit.exercises
from coordkit.book import PLOTLY, STILL, WIDGET
from coordkit.exercises import Exercise
from coordkit.layers import LAYERS

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
LAYER_NOTEBOOKS = [p for p in NOTEBOOKS if p.stem[3:] in LAYERS]
_MODULES = {module.name for module in pkgutil.iter_modules(coordkit.exercises.__path__)}
EXERCISED = [p for p in NOTEBOOKS if p.stem[3:] in _MODULES]
Definition = ast.FunctionDef | ast.ClassDef


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[str]:
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def definitions(source: str) -> dict[str, str]:
    """Name -> syntax tree of every function and class at the top level, docstrings included."""
    return {n.name: ast.dump(n) for n in ast.parse(source).body if isinstance(n, Definition)}


def package_definitions(layer: str) -> dict[str, str]:
    modules = [f"coordkit.layers.{layer}", "coordkit.stack", "coordkit.prompt"]
    found: dict[str, str] = {}
    for name in modules[::-1]:
        path = importlib.import_module(name).__file__
        found |= definitions(Path(str(path)).read_text(encoding="utf-8"))
    return found


def exercises(layer: str) -> list[Exercise]:
    module = importlib.import_module(f"coordkit.exercises.{layer}")
    found = {id(value): value for value in vars(module).values() if isinstance(value, Exercise)}
    return list(found.values())  # some have two names


def name(exercise: Any) -> str:
    return exercise.solve.__name__ if isinstance(exercise, Exercise) else str(exercise)


def solution(exercise: Exercise) -> str:
    """The code that a reader is shown."""
    return dedent(str(exercise.solution()).partition("\n\n")[2])


def starter(exercise: Exercise) -> str:
    """The solution without its body: signature, docstring and an error."""
    source = solution(exercise)
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    head = source.splitlines()[: function.body[0].end_lineno]
    return "\n".join([*head, "    raise NotImplementedError"])


def made(exercise: Exercise, source: str) -> Any:
    """What an exercise's code defines under its name."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope[name(exercise)]


@pytest.mark.parametrize("path", LAYER_NOTEBOOKS, ids=lambda p: p.stem)
def test_a_layer_notebook_builds_the_package_s_own_code(path: Path) -> None:
    layer = path.stem[3:]
    package = package_definitions(layer)
    here = definitions("\n\n".join(source for source in code(path) if "%" not in source[:1]))
    shared = {name for name in here if name in package}
    assert {name for name in shared if here[name] != package[name]} == set()
    of_layer = definitions(
        Path(str(importlib.import_module(f"coordkit.layers.{layer}").__file__)).read_text("utf-8")
    )
    built = shared & set(of_layer)
    assert len(built) >= 3, f"{path.name} builds only {sorted(built)} of its layer"


def test_every_layer_has_exercises() -> None:
    assert {*LAYERS} <= _MODULES and len(EXERCISED) == len(_MODULES)


@pytest.mark.parametrize("path", EXERCISED, ids=lambda p: p.stem)
def test_every_exercise_is_in_its_notebook_as_its_starter(path: Path) -> None:
    cells = [source.strip() for source in code(path)]
    found = exercises(path.stem[3:])
    assert len(found) >= 2
    for exercise in found:
        assert starter(exercise) in cells, name(exercise)
        assert any(f".check({name(exercise)})" in c for c in cells)


ALL = [(p.stem[3:], e) for p in EXERCISED for e in exercises(p.stem[3:])]


@pytest.mark.parametrize(("layer", "exercise"), ALL, ids=name)
def test_the_solution_passes_and_the_starter_does_not(layer: str, exercise: Exercise) -> None:
    assert exercise.check(made(exercise, solution(exercise))) == "Correct."
    assert exercise.check(made(exercise, starter(exercise))) == "Not attempted."
    assert exercise.check(None) == "Not attempted."
    wrong = exercise.check(lambda *args, **kwargs: None)
    assert wrong.startswith("Incorrect: "), "a wrong answer is told what is wrong"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_committed_executed_in_order_and_small(path: Path) -> None:
    notebook = read(path)
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 300_000
    assert "widgets" not in notebook.metadata
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert not any(WIDGET in o.get("data", {}) for o in outputs)
    assert not any(o.output_type == "error" for o in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_who_sees_no_plotly_sees_a_picture_of_every_figure(path: Path) -> None:
    shown = [o.get("data", {}) for c in read(path).cells for o in c.get("outputs", [])]
    figures = [data for data in shown if PLOTLY in data]
    assert figures and all(data["image/png"].startswith("iVBOR") for data in figures)


EXPLORED = [p for p in NOTEBOOKS if p.stem[:2] <= "06"]


@pytest.mark.parametrize("path", EXPLORED, ids=lambda p: p.stem)
def test_who_cannot_run_the_sliders_sees_a_picture_of_them(path: Path) -> None:
    cells = [c for c in read(path).cells if re.search(r"^\w*[eE]xplorer\(", c.source, re.MULTILINE)]
    (shown,) = [output["data"] for cell in cells for output in cell.outputs]
    assert shown["image/png"].startswith("iVBOR") and shown["text/plain"] == STILL


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_first_cell_checks_the_environment(path: Path) -> None:
    assert "from coordkit.check import checks, report" in code(path)[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_are_short(path: Path) -> None:
    sizes = {True: [0], False: [0]}
    for source in code(path):
        magic = source.startswith("%%writefile")
        lines = [line for line in source.splitlines()[magic:] if line.strip()]
        sizes[magic].append(len(lines))
    assert sum(sizes[False]) <= 180 and max(sizes[False]) <= 24
    assert sum(sizes[True]) <= 105, "a case of one's own is about a hundred lines"
