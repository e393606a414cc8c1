"""A case's data when the user names none: the committed sample, or the generator's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from coordkit.data.generate_billing import generate_billing
from coordkit.data.generate_support import generate_support
from coordkit.data.tables import write_dataset

CASES: Mapping[str, Callable[[int, int], dict[str, str]]] = {
    "billing": generate_billing,
    "support": generate_support,
}
SAMPLE_TASKS = 2000
SAMPLES = Path(__file__).parents[2] / "data"  # beside the package in a checkout


@contextmanager
def sample(name: str, directory: Path | None = None, tasks: int | None = None) -> Iterator[Path]:
    """The folder with a case's tables.

    Args:
        name: a key of ``CASES``.
        directory: the user's own folder, passed through.
        tasks: how many tasks are wanted; more than the sample has are generated (seed 0).
    """
    if directory is not None:
        yield directory
    elif (SAMPLES / name).is_dir() and (tasks or 0) <= SAMPLE_TASKS:
        yield SAMPLES / name
    else:
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / name
            write_dataset(CASES[name](tasks or SAMPLE_TASKS, 0), folder)
            yield folder
