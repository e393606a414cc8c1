"""The lock, environment.yml, the Makefile and pyproject.toml say the same."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def ranges(lines: list[str]) -> dict[str, SpecifierSet]:
    """Map each requirement's canonical name to its version range."""
    parsed = map(Requirement, lines)
    return {canonicalize_name(r.name): r.specifier for r in parsed}


RUNTIME = ranges(PYPROJECT["project"]["dependencies"])
EXTRAS = {
    name: specifier
    for lines in PYPROJECT["project"]["optional-dependencies"].values()
    for name, specifier in ranges(lines).items()
}


def lock_entries() -> list[tuple[Requirement, list[str]]]:
    """Split the lock into its requirements, each with its hashes."""
    entries = []
    for text in re.split(r"\n(?=\S)", LOCK):
        if not text.startswith("#"):
            head, *hashes = text.replace("\\\n", " ").split("--hash=")
            entries.append((Requirement(head), [h.strip() for h in hashes]))
    return entries


@pytest.mark.parametrize("name", sorted(RUNTIME | EXTRAS))
def test_the_lock_satisfies_pyproject(name: str) -> None:
    wanted = (RUNTIME | EXTRAS)[name]
    locked = [r for r, _ in lock_entries() if canonicalize_name(r.name) == name]
    assert locked
    for requirement in locked:
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        assert wanted.contains(pin.version)


def test_every_locked_package_has_hashes_and_one_version() -> None:
    entries = lock_entries()
    assert all(hashes for _, hashes in entries)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for _, hashes in entries for h in hashes)
    names = [canonicalize_name(r.name) for r, _ in entries]
    assert len(names) == len(set(names)) > len(RUNTIME)


@pytest.mark.parametrize("package", ["numpy", "pandas", "pyarrow", "ruff", "psycopg-binary"])
def test_compiled_packages_are_locked_for_every_platform(package: str) -> None:
    # Linux, macOS and Windows on several Pythons; ruff has one wheel for all Pythons.
    (hashes,) = [h for r, h in lock_entries() if r.name == package]
    assert len(hashes) > 10


def test_the_lock_names_no_machine() -> None:
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK
    assert not re.search(r"(^|[\s@])(/|[A-Za-z]:\\)\w", LOCK)


def conda_lines() -> tuple[list[str], list[str]]:
    """The conda lines of environment.yml and the lines of its pip section."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [line["pip"] for line in lines if isinstance(line, dict)]
    return [line for line in lines if isinstance(line, str)], pip


def test_conda_asks_for_the_same_ranges_as_pip() -> None:
    conda, pip = conda_lines()
    assert pip[-1] == "-e ."
    found = ranges(conda + pip[:-1])
    python = found.pop("python")
    del found["pip"]
    assert found == RUNTIME
    assert python.contains("3.11.0") and not python.contains("3.10.99")


def test_conda_uses_one_channel() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "coordkit"
    assert environment["channels"] == ["conda-forge", "nodefaults"]


def test_the_locked_build_backend_is_the_one_pyproject_names() -> None:
    locked = {canonicalize_name(r.name): r.specifier for r, _ in lock_entries()}
    for line in PYPROJECT["build-system"]["requires"]:
        backend = Requirement(line)
        (pin,) = locked[canonicalize_name(backend.name)]
        assert backend.specifier.contains(pin.version)


@pytest.mark.parametrize("module", ["coordkit.layers.state", "test_state"])
@pytest.mark.parametrize(
    "statement",
    [
        "import warnings; warnings.warn('old', DeprecationWarning)",
        "from langgraph.constants import Send",
        "from langgraph.errors import NodeInterrupt; NodeInterrupt(1)",
    ],
)
def test_a_deprecated_call_in_our_code_is_an_error(module: str, statement: str) -> None:
    with pytest.raises(DeprecationWarning):
        exec(compile(statement, module, "exec"), {"__name__": module})


def test_a_deprecated_call_in_another_library_is_no_error() -> None:
    statement = "import warnings; warnings.warn('old', DeprecationWarning)"
    with pytest.warns(DeprecationWarning):
        exec(compile(statement, "numpy", "exec"), {"__name__": "numpy.core"})


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the project's folder."""
    # Without the settings of the make that may be running these tests.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@needs_make
def test_make_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets
    listed = re.findall(r"^make (\w+)", make().stdout, re.MULTILINE)
    assert sorted(listed) == sorted(set(targets[1].split()) - {"help"})


@needs_make
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in Python is a shell script")
@pytest.mark.parametrize("version", ["3, 10, 9", "3, 15, 0"])
def test_make_refuses_a_python_the_lock_has_no_wheels_for(tmp_path: Path, version: str) -> None:
    # A stand-in that runs the Makefile's own check under another version number.
    stand_in = tmp_path / "python"
    code = f"import sys; sys.version_info = ({version}); sys.version = '9.9 x'; exec(sys.argv[1])"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$2"\n')
    stand_in.chmod(0o755)
    stamp = f"STAMP={tmp_path / 'stamp'}"
    result = make("setup", f"PYTHON={stand_in}", stamp)
    assert result.returncode != 0
    assert "coordkit needs Python 3.11 to 3.14" in result.stderr
    assert "Installing" not in result.stdout


@needs_make
def test_make_says_when_there_is_no_python(tmp_path: Path) -> None:
    result = make("setup", "PYTHON=", f"STAMP={tmp_path / 'stamp'}")
    assert result.returncode != 0
    assert "No Python found" in result.stderr


@needs_make
def test_windows_paths() -> None:
    # What make would do there: no Unix folder and nothing that needs a Unix shell.
    result = make("--dry-run", "--always-make", "test", "lint", "OS=Windows_NT")
    assert result.returncode == 0
    assert ".venv/Scripts/python -m pytest" in result.stdout
    assert ".venv/bin" not in result.stdout
    commands = re.sub(r'"[^"]*"', "", result.stdout)
    assert not re.search(r"[;&|<>$`]|\brm\b|\btouch\b", commands)


def test_jupyterlab_is_silent_by_default(tmp_path: Path) -> None:
    # Ask the server's own reader, in a process whose only settings are the project's.
    code = (
        "import json; from jupyterlab_server.settings_utils import _get_overrides;"
        f"print(json.dumps(_get_overrides({str(tmp_path)!r})[0]))"
    )
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "JUPYTER_CONFIG_PATH": str(ROOT / ".jupyter"),
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    overrides = json.loads(result.stdout)
    notification = overrides["@jupyterlab/apputils-extension:notification"]
    assert notification == {"checkForUpdates": False, "fetchNews": "false"}
