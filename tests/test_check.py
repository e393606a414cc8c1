"""coordkit.check finds what is missing and says how to mend it."""

import sqlite3
import sys
from pathlib import Path

import pytest

from coordkit import check

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a coordkit distribution with given metadata lines in front."""

    def install(*lines: str) -> None:
        folder = tmp_path / "site" / "coordkit-1.0.0.dist-info"
        folder.mkdir(parents=True)
        text = "\n".join(["Metadata-Version: 2.1", "Name: coordkit", "Version: 1.0.0", *lines])
        (folder / "METADATA").write_text(text + "\n")
        monkeypatch.syspath_prepend(tmp_path / "site")

    return install


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Return a folder with every sample file."""
    for name in check.SAMPLES:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id\n1\n")
    return tmp_path / "root"


def one(results: list[check.Check], name: str) -> check.Check:
    (found,) = [c for c in results if c.name == name]
    return found


def test_a_package_in_range_is_ok(installed) -> None:
    installed("Requires-Python: >=3.11", "Requires-Dist: numpy<3,>=2")
    results = check.distribution_checks()
    assert one(results, "Python").ok
    assert one(results, "numpy").ok


def test_a_package_out_of_range_is_mended_by_its_range(installed) -> None:
    installed("Requires-Python: >=3.11", "Requires-Dist: numpy<0.5")
    found = one(check.distribution_checks(), "numpy")
    assert not found.ok
    assert "needs <0.5" in found.detail
    assert found.mend.endswith('-m pip install "numpy<0.5"')


def test_an_absent_package_is_missing(installed) -> None:
    installed("Requires-Python: >=3.11", "Requires-Dist: coordkit-no-such-package>=1")
    found = one(check.distribution_checks(), "coordkit-no-such-package")
    assert not found.ok
    assert "not installed" in found.detail


def test_extras_and_other_platforms_are_left_out(installed) -> None:
    installed(
        "Requires-Python: >=3.11",
        "Provides-Extra: dev",
        'Requires-Dist: coordkit-no-such-package>=1; extra == "dev"',
        'Requires-Dist: coordkit-no-such-package>=1; sys_platform == "none"',
    )
    assert [c.name for c in check.distribution_checks()] == ["coordkit", "Python"]


def test_an_old_python_is_missing(installed) -> None:
    installed("Requires-Python: >=99")
    found = one(check.distribution_checks(), "Python")
    assert not found.ok
    assert "needs >=99" in found.detail


def test_coordkit_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "editable" not in str(f)])
    (found,) = check.distribution_checks()
    assert (found.ok, found.mend) == (False, "make setup")


def test_sqlite_without_full_text_search(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(sqlite3.Connection):
        def execute(self, statement: str, *_: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("no such module: fts5")

    assert check.sqlite_check().ok
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path: connect(path, factory=Plain))
    found = check.sqlite_check()
    assert not found.ok
    assert "no such module: fts5" in found.detail


def test_samples(samples: Path) -> None:
    assert check.sample_check(samples).ok
    (samples / check.SAMPLES[0]).write_text("")
    (samples / check.SAMPLES[1]).unlink()
    found = check.sample_check(samples)
    assert not found.ok
    assert found.detail == f"absent: {check.SAMPLES[0]}, {check.SAMPLES[1]}"


def test_the_committed_samples_are_here() -> None:
    assert check.sample_check(ROOT).ok


def test_runs_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    assert check.runs_check(tmp_path).ok
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    assert check.runs_check(tmp_path).ok
    assert list((tmp_path / "runs").iterdir()) == []


def test_runs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where a folder should be")
    assert not check.runs_check(tmp_path).ok


def test_langgraph_runs() -> None:
    assert check.langgraph_check().ok


def test_a_broken_langgraph_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.graph", None)
    found = check.langgraph_check()
    assert not found.ok
    assert found.detail.startswith("ModuleNotFoundError")


def test_the_report_names_each_thing_and_its_mend() -> None:
    results = [
        check.Check("a", True, "1.0", "never shown"),
        check.Check("b", False, "not installed", "make b"),
    ]
    assert check.report(results).splitlines() == [
        "[ok]       a: 1.0",
        "[missing]  b: not installed",
        "           mend: make b",
        "1 missing",
    ]


def test_all_checks_together(installed, samples: Path) -> None:
    installed("Requires-Python: >=3.11", "Requires-Dist: numpy")
    results = check.checks(samples)
    assert [c.name for c in results] == [
        "coordkit",
        "Python",
        "numpy",
        "SQLite with FTS5",
        "sample data",
        "runs/ can be written",
        "LangGraph runs a graph",
    ]
    assert check.report(results).endswith("everything needed is here")


def test_a_brief_report_tells_only_what_is_missing() -> None:
    there = check.Check("Python", True, "3.11.7", "")
    gone = check.Check("plotly", False, "not installed", "make setup")
    assert check.report([there], brief=True) == "everything needed is here"
    told = check.report([there, gone], brief=True)
    assert "Python" not in told and "plotly" in told and "make setup" in told
