"""The order of reading in coordkit's docstring: complete, short enough, and arrows one way."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import coordkit

PACKAGE = Path(coordkit.__file__).parent
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
          tokenize.ENDMARKER}  # fmt: skip
FIRST, REST = (coordkit.__doc__ or "").split("The rest is there")
# What draws, teaches, serves or commands; the design: "cases and layers know nothing of" it.
OUTER = ("explorers exercises widgets approval lesson plots pictures trace report book cli serve "
         "ladder attribution").split()  # fmt: skip


def names(text: str) -> list[str]:
    """The modules of a list, whose lines are: name, name   what they are for."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [name for line in lines for name in line.split("  ")[0].split(", ")]


def files(module: str) -> list[Path]:
    path = PACKAGE.joinpath(*module.split("."))
    return sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def lines_of_code(path: Path) -> int:
    """Lines that hold more than comments, docstrings or nothing."""
    source = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {n for t in tokens if t.type not in LAYOUT for n in range(t.start[0], t.end[0] + 1)}
    return len(code - set(docstring_lines(ast.parse(source))))


def docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def test_lines_of_code_are_counted_without_prose(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text('"""Doc."""\n\n# why\ndef f():\n    """Doc\n    more."""\n    return (\n  1)\n')
    assert lines_of_code(path) == 3


def test_what_is_read_in_an_afternoon_is_under_3000_lines() -> None:
    first = [path for name in names(FIRST) for path in files(name)]
    assert {PACKAGE / "stack.py", *files("layers")} <= set(first)
    assert 1000 < sum(map(lines_of_code, first)) < 3000
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in first)
    assert f"{round(lines, -2):,} with their prose" in " ".join(FIRST.split())


def test_every_module_is_named_once() -> None:
    named = [path for name in names(FIRST + REST) for path in files(name)]
    assert len(named) == len(set(named))
    assert set(named) >= {path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}


def imports(path: Path) -> set[str]:
    """The modules of coordkit that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coordkit"):
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name.removeprefix("coordkit.") for name in found if name.startswith("coordkit.")}


@pytest.mark.parametrize("folder", ["layers", "cases"])
def test_layers_and_cases_know_nothing_of_what_is_around_them(folder: str) -> None:
    for path in files(folder):
        tops = {name.split(".")[0] for name in imports(path)}
        assert tops or path.name == "__init__.py"
        assert not tops & {*OUTER, "experiment"}, path


def test_nothing_imports_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "cli" not in {name.split(".")[0] for name in imports(path)}, path
