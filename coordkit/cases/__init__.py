"""The cases that come with the kit, by name."""

from __future__ import annotations

from pathlib import Path

from coordkit.cases.base import Case
from coordkit.data.sample import CASES, sample


def load_case(name: str, directory: Path | None = None, tasks: int | None = None) -> Case:
    """A case on its committed sample, on generated data, or on your tables.

    Args:
        name: ``billing`` or ``support``.
        directory: your own tables; by default the sample, or generated data if the sample is
            too small for ``tasks``.
        tasks: how many tasks to keep, spread evenly over the feed; None keeps all.

    Raises:
        ValueError: if the case is unknown.
        DataError: if a table cannot be used; the message names file, row and column.
    """
    if name not in CASES:
        raise ValueError(f"unknown case '{name}'; choose from {', '.join(CASES)}")
    with sample(name, directory, tasks) as folder:
        if name == "billing":
            from coordkit.cases.billing import Billing
            from coordkit.data.tables import read_billing

            case: Case = Billing(read_billing(folder))
        else:
            from coordkit.cases.support import Support
            from coordkit.data.tables import read_support

            case = Support(read_support(folder))
    if tasks is not None and tasks < len(case.tasks):
        step = len(case.tasks) / tasks
        case.tasks = [case.tasks[int(i * step)] for i in range(tasks)]
    return case
