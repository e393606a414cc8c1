"""Says what this machine lacks to run coordkit, and the command that mends it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent

SAMPLES = (
    "data/billing/invoices.csv",
    "data/billing/payments.csv",
    "data/support/orders.csv",
    "data/support/tickets.csv",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    name: what; ok: whether it is there; detail: what was found; mend: the command that mends it;
    optional: coordkit runs without it.
    """

    name: str
    ok: bool
    detail: str
    mend: str
    optional: bool = False


def checks(root: Path = ROOT) -> list[Check]:
    """Look at everything coordkit needs; nothing is installed or left behind.

    root: the folder that holds data/ and runs/.
    Returns one Check per thing: coordkit, Python, the packages, SQLite, the sample data, runs/,
    LangGraph, the endpoint of a real model and, as the only optional one, Chromium.
    """
    return [
        *distribution_checks(),
        sqlite_check(),
        sample_check(root),
        runs_check(root),
        langgraph_check(),
        endpoint_check(),
        chromium_check(),
    ]


def report(results: Sequence[Check], brief: bool = False) -> str:
    """Write one line per check, below each missing thing its mend, and a closing line.

    brief: leave out what is there.
    Returns the text, without a final line end.
    """
    lines = []
    for check in results:
        if check.ok and brief:
            continue
        lines.append(f"{_label(check):<10} {check.name}: {check.detail}")
        if not check.ok:
            lines.append(f"{'':<10} mend: {check.mend}")
    missing = sum(not check.ok and not check.optional for check in results)
    lines.append(f"{missing} missing" if missing else "everything needed is here")
    return "\n".join(lines)


def _label(check: Check) -> str:
    if check.ok:
        return "[ok]"
    return "[optional]" if check.optional else "[missing]"


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
    return [
        Check("coordkit", True, metadata["Version"], ""),
        Check(
            "Python",
            supported.contains(version),
            f"{version} (needs {supported})",
            "make clean setup PYTHON=python3.12",
        ),
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
    absent = [name for name in SAMPLES if not _has_bytes(root / name)]
    detail = f"absent: {', '.join(absent)}" if absent else f"{len(SAMPLES)} files in data/"
    return Check("sample data", not absent, detail, "make data")


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


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
        answer = _smoke_graph()
    except Exception as error:  # whatever a broken install raises is the finding
        return Check(name, False, f"{type(error).__name__}: {error}", mend)
    return Check(name, answer == 2, f"1 + 1 = {answer}", mend)


class _Sum(TypedDict):
    value: int


def _smoke_graph() -> int:
    from langgraph.graph import END, START, StateGraph

    def add_one(state: _Sum) -> _Sum:
        return {"value": state["value"] + 1}

    graph = StateGraph(_Sum)
    graph.add_node("add_one", add_one)
    graph.add_edge(START, "add_one")
    graph.add_edge("add_one", END)
    return int(graph.compile().invoke({"value": 1})["value"])


def endpoint_check() -> Check:
    """Say which settings of ``--model openai:NAME`` are there, and never what they are."""
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    found = [f"{name} is {'set' if os.environ.get(name) else 'not set'}" for name in names]
    detail = f"{', '.join(found)}; only --model openai:NAME uses them"
    return Check("your model", True, detail, "")


def chromium_check() -> Check:
    """Look for a Chromium-like browser on the PATH; only the browser tests use one."""
    found = next((name for name in BROWSERS if shutil.which(name)), None)
    detail = found or "absent, used by the browser tests only"
    mend = "apt install chromium, or brew install --cask chromium"
    return Check("Chromium", found is not None, detail, mend, optional=True)
