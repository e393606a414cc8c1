"""Notebooks under test measure afresh: nothing that an earlier run left in runs/ is taken over."""

import os
import tempfile

import pytest

_FOLDER: tempfile.TemporaryDirectory[str] | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Make one folder for all test processes, so that what two notebooks measure is run once.

    Worker processes and notebooks' kernels inherit its name.
    """
    global _FOLDER
    if "COORDKIT_RUNS" not in os.environ:
        _FOLDER = tempfile.TemporaryDirectory(prefix="coordkit-runs-", ignore_cleanup_errors=True)
        os.environ["COORDKIT_RUNS"] = _FOLDER.name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the folder again."""
    if _FOLDER:
        _FOLDER.cleanup()
