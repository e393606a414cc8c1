"""A run on an endpoint is killed at random moments; resumed, it ends the same and pays once.

This file is also the program that does it: ``python tests/test_paid_once.py 20`` kills twenty runs,
each once, and resumes them; and does it again with the Idempotency-Key left out. It imports the kit
once and forks a process for every endpoint and every ``coordkit run``. What is paid is counted at
the endpoint, which is slow, so that there always is something in flight.
"""

import asyncio
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from coordkit import models
from coordkit.experiment import Settings, case_of
from coordkit.faults import Simulation
from coordkit.serve import Options, app, serving

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

TASKS, CONCURRENCY = 12, 4
DELAY = 0.1  # seconds that a reply takes
RUN = [
    *("run", "billing", "--model", "openai:stand-in", "--price-in", "1", "--price-out", "4"),
    *("--tasks", str(TASKS), "--concurrency", str(CONCURRENCY), "--budget-usd", "5", "--yes"),
]
FAULTY = Simulation(reliability=0.9, mix={"wrong_pick": 1.0, "malformed_json": 1.0})
fork = multiprocessing.get_context("fork")

# --- the program ----------------------------------------------------------------------------------


def _serve(pipe: Any) -> None:
    complete = app._Endpoint.complete

    async def slowly(*args: Any) -> Any:
        await asyncio.sleep(DELAY)
        return await complete(*args)

    app._Endpoint.complete = slowly  # type: ignore[method-assign]
    case = case_of(Settings("billing", tasks=TASKS))
    with serving(options=Options(FAULTY), cases=[case]) as served:
        pipe.send(served.url)
        time.sleep(3600)


def _coordkit(runs: Path, with_key: bool) -> None:
    from coordkit.cli import app

    if not with_key:
        models._under = lambda key, inner: {}
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        app([*RUN, "--runs", str(runs)])


@contextmanager
def endpoint() -> Iterator[Callable[[str], int]]:
    """A fresh endpoint in its own process; yields what reads one of its counters."""
    here, there = fork.Pipe()
    server = fork.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    url = here.recv()
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none-is-needed"}

    def count(name: str) -> int:
        lines = httpx.get(url.removesuffix("/v1") + "/metrics", trust_env=False).text.splitlines()
        found = [line for line in lines if line.startswith(f"coordkit_{name}_total{{")]
        return sum(round(float(line.split()[-1])) for line in found if "/v1/chat" in line)

    try:
        yield count
    finally:
        server.kill()
        server.join()


def start(runs: Path, with_key: bool, count: Callable[[str], int]) -> Any:
    """Start a run and wait until it asks for more than the two probes, or ends."""
    before = count("paid")
    process = fork.Process(target=_coordkit, args=(runs, with_key))
    process.start()
    while count("paid") < before + 3 and process.is_alive():
        time.sleep(0.005)
    return process


def finish(process: Any, runs: Path) -> str:
    """Wait for the end of a run; returns the table."""
    process.join(120)
    assert process.exitcode == 0
    (path,) = runs.glob("*/trials.parquet")
    return pd.read_parquet(path).to_json()


def kill_and_resume(runs: Path, with_key: bool, delay: float) -> dict[str, Any]:
    """What a run that was killed once, and its continuation, paid on an endpoint of their own."""
    with endpoint() as count:
        process = start(runs, with_key, count)
        time.sleep(delay)
        process.kill()
        process.join()
        before = count("paid")
        table = finish(start(runs, with_key, count), runs)
        found = {"paid": count("paid"), "replayed": count("replayed")}
    return {"delay": delay, "with_key": with_key, "before": before, "table": table, **found}


def undisturbed(runs: Path) -> dict[str, Any]:
    """What a run pays that nobody kills, and the same command once more."""
    with endpoint() as count:
        process, since = start(runs, True, count), time.monotonic()
        table, paid = finish(process, runs), count("paid")
        seconds = time.monotonic() - since
        same = finish(start(runs, True, count), runs) == table
        again = count("requests") - paid
    return {"paid": paid, "seconds": seconds, "table": table, "again": again, "same": same}


def main(kills: int, bad_kills: int, folder: Path) -> dict[str, Any]:
    """Kill so many runs, each once at a random moment, and resume them; some without the key."""
    import langchain_openai  # noqa: F401  # before forking, like the rest

    import coordkit.cli
    import coordkit.estimate
    import coordkit.plots  # noqa: F401

    case_of(Settings("billing", tasks=TASKS))
    whole, dice, killed = undisturbed(folder / "whole"), random.Random(kills), []
    for i in range(kills + bad_kills):
        delay = dice.uniform(0.0, 0.9) * whole["seconds"]
        killed.append(kill_and_resume(folder / f"kill-{i}", i < kills, delay))
    return {"whole": whole, "killed": killed}


# --- the test -------------------------------------------------------------------------------------


def test_a_killed_run_ends_the_same_and_pays_once(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, __file__, "2", "1", str(tmp_path)]
    subprocess.run(program, env=environ, check=True, timeout=300, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    whole, killed = found["whole"], found["killed"]
    assert whole["paid"] > 2 * TASKS
    assert whole["again"] == 0 and whole["same"], "the same command once more asks for nothing"
    good, (bad,) = killed[:2], killed[2:]
    for one in killed:
        assert one["table"] == whole["table"]
    assert [one["paid"] for one in good] == [whole["paid"]] * 2, "something was paid twice"
    assert any(one["replayed"] for one in good), "nothing was in flight at any kill"
    assert bad["replayed"] == 0
    assert 0 < bad["paid"] - whole["paid"] <= CONCURRENCY, "without the key it is paid twice"


def _told(results: dict[str, Any]) -> str:
    """The results as a page of text."""
    whole, killed = results["whole"], results["killed"]
    lines = [f"undisturbed: {whole['paid']} requests paid, {whole['seconds']:.2f} s of asking"]
    for one in killed:
        lines.append(
            f"killed {one['delay']:.2f} s after it began to ask, {one['before']} paid; in the end "
            f"{one['paid']} paid, {one['replayed']} answered again"
            + ("" if one["with_key"] else "; no Idempotency-Key")
        )
    same = sum(one["table"] == whole["table"] for one in killed)
    lines.append(f"{same} of {len(killed)} tables equal the undisturbed one")
    for with_key, how in ((True, "with"), (False, "without")):
        twice = [k["paid"] - whole["paid"] for k in killed if k["with_key"] == with_key]
        lines.append(
            f"paid twice {how} the key: {sum(twice)} over {len(twice)} kills, "
            f"{max(twice, default=0)} at most"
        )
    return "\n".join([*lines, f"the same command once more: {whole['again']}"])


if __name__ == "__main__":
    import tempfile

    good, bad = int(sys.argv[1]), int(sys.argv[2] if len(sys.argv) > 2 else sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(scratch)
        results = main(good, bad, place)
        (place / "results.json").write_text(json.dumps(results), encoding="utf-8")
        print(_told(results))
