"""Says what this machine lacks to run coordkit, and the command that mends it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent

SAMPLES = (
    "data/billing/invoices.csv",
    "data/billing/payments.csv",
    "data/support/orders.csv",
    "data/support/tickets.csv",
)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    name: what; ok: whether it is there; detail: what was found; mend: the command that mends it.
    """

    name: str
    ok: bool
    detail: str
    mend: str


def checks(root: Path = ROOT) -> list[Check]:
    """Look at everything coordkit needs; nothing is installed or left behind.

    root: the folder that holds data/ and runs/.
    Returns one Check per thing: coordkit, Python, the packages, SQLite, the sample data, runs/ and
    LangGraph.
    """
    rest = [sqlite_check(), sample_check(root), runs_check(root), langgraph_check()]
    return [*distribution_checks(), *rest]


def report(results: Sequence[Check], brief: bool = False) -> str:
    """Write one line per check, below each missing thing its mend, and a closing line.

    brief: leave out what is there.
    Returns the text, without a final line end.
    """
    lines = []
    for check in results:
        if not (check.ok and brief):
            lines.append(f"{'[ok]' if check.ok else '[missing]':<10} {check.name}: {check.detail}")
        if not check.ok:
            lines.append(f"{'':<10} mend: {check.mend}")
    missing = sum(not check.ok for check in results)
    lines.append(f"{missing} missing" if missing else "everything needed is here")
    return "\n".join(lines)


def distribution_checks() -> list[Check]:
    """Compare this Python and each installed package with what coordkit's own metadata asks for.

    The metadata is what pyproject.toml said when coordkit was installed, so the ranges stand in
    one place only. Requirements of extras and of other platforms are left out.
    """
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet

        metadata = importlib.metadata.metadata("coordkit")
    except ModuleNotFoundError as error:  # PackageNotFoundError is one
        return [Check("packages", False, f"{error.name} is not installed", "make setup")]
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    here = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    version = ".".join(map(str, sys.version_info[:3]))
    supported = SpecifierSet(metadata["Requires-Python"])
    detail, mend = f"{version} (needs {supported})", "make clean setup PYTHON=python3.12"
    return [
        Check("coordkit", True, metadata["Version"], ""),
        Check("Python", supported.contains(version), detail, mend),
        *(package_check(r.name, r.specifier) for r in here),
    ]


def package_check(name: str, wanted: SpecifierSet) -> Check:
    """Compare the installed version of one package with the range wanted.

    name: as on PyPI; wanted: the range, a packaging.specifiers.SpecifierSet.
    """
    mend = f'{_python()} -m pip install "{name}{wanted}"'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed (needs {wanted})", mend)
    ok = wanted.contains(version, prereleases=True)
    return Check(name, ok, f"{version} (needs {wanted})", mend)


def _python() -> str:
    # What to type for this interpreter from the project's folder; no other folder is named, so
    # that the text is the same on every machine.
    executable = Path(sys.executable)
    return str(executable.relative_to(ROOT)) if executable.is_relative_to(ROOT) else "python"


def sqlite_check() -> Check:
    """Make a full-text table in memory: retrieval uses SQLite's FTS5."""
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.execute("CREATE VIRTUAL TABLE probe USING fts5(body)")
        ok, detail = True, f"SQLite {sqlite3.sqlite_version}"
    except sqlite3.OperationalError as error:
        ok, detail = False, f"SQLite {sqlite3.sqlite_version}: {error}"
    return Check("SQLite with FTS5", ok, detail, "conda env create -f environment.yml")


def sample_check(root: Path) -> Check:
    """Look for the sample files of both cases under root; a file of no bytes counts as absent."""
    files = {name: root / name for name in SAMPLES}
    absent = [name for name, f in files.items() if not (f.is_file() and f.stat().st_size)]
    detail = f"absent: {', '.join(absent)}" if absent else f"{len(SAMPLES)} files in data/"
    return Check("sample data", not absent, detail, "make data")


def runs_check(root: Path) -> Check:
    """Write and delete a file in root/runs, or in root where runs is still to be made."""
    runs = root / "runs"
    try:
        with tempfile.TemporaryFile(dir=runs if runs.exists() else root):
            return Check("runs/ can be written", True, "results are kept there", "")
    except OSError as error:
        return Check("runs/ can be written", False, str(error.strerror), "chmod -R u+rwX runs")


def langgraph_check() -> Check:
    """Compile and run a graph of one node: the import and the run both can fail."""
    name, mend = "LangGraph runs a graph", f"{_python()} -m pip install --force-reinstall langgraph"
    try:
        from langgraph.graph import START, StateGraph

        graph: Any = StateGraph(int)  # the state is just a number
        graph.add_node("add_one", lambda number: number + 1)
        graph.add_edge(START, "add_one")
        answer = graph.compile().invoke(1)
    except Exception as error:  # whatever a broken install raises is the finding
        return Check(name, False, f"{type(error).__name__}: {error}", mend)
    return Check(name, answer == 2, f"1 + 1 = {answer}", mend)
