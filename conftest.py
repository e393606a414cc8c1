"""Notebooks under test measure afresh: nothing that an earlier run left in runs/ is taken over."""

import os
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def fresh_runs() -> Iterator[None]:
    """A folder of its own for each test process; notebooks' kernels inherit its name."""
    with tempfile.TemporaryDirectory(prefix="coordkit-runs-") as folder:
        os.environ["COORDKIT_RUNS"] = folder
        yield
