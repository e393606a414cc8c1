"""A run on an endpoint is killed at random moments; resumed, it ends the same and pays once.

This file is also the program that does it: ``python tests/test_paid_once.py 20`` kills twenty runs,
each once, and resumes them. It imports the kit once and forks a process for the endpoint and for
every ``coordkit run``. What is paid is counted at the endpoint, by the answers that it gave.
"""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from coordkit.faults import Simulation
from coordkit.serve import Options, serving

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

TASKS, CONCURRENCY = 8, 4
RUN = [
    *("run", "billing", "--model", "openai:stand-in", "--price-in", "1", "--price-out", "4"),
    *("--tasks", str(TASKS), "--concurrency", str(CONCURRENCY), "--budget-usd", "5", "--yes"),
]
FAULTY = Simulation(reliability=0.9, mix={"wrong_pick": 1.0, "malformed_json": 1.0})
fork = multiprocessing.get_context("fork")

# --- the program ----------------------------------------------------------------------------------


def _serve(pipe: Any) -> None:
    with serving(options=Options(FAULTY), cases=("billing",)) as served:
        pipe.send(served.url)
        time.sleep(3600)


def _coordkit(runs: Path) -> None:
    from coordkit.cli import app

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        app([*RUN, "--runs", str(runs)])


@dataclass
class Endpoint:
    """The endpoint in its own process, and runs against it in theirs."""

    url: str

    def answered(self) -> int:
        """Requests answered, which are those that would be paid for."""
        lines = httpx.get(self.url.removesuffix("/v1") + "/metrics", trust_env=False).text
        counts = [x for x in lines.splitlines() if "/v1/chat" in x and 'status="200"' in x]
        return sum(round(float(x.split()[-1])) for x in counts if "created" not in x)

    def start(self, runs: Path) -> Any:
        """Start a run and wait until it asks for more than the two probes, or ends."""
        before = self.answered()
        process = fork.Process(target=_coordkit, args=(runs,))
        process.start()
        while self.answered() < before + 3 and process.is_alive():
            time.sleep(0.005)
        return process

    def finish(self, runs: Path) -> dict[str, Any]:
        """Run to the end: requests answered, seconds of asking and the table."""
        before, process, since = self.answered(), self.start(runs), time.monotonic()
        process.join(120)
        assert process.exitcode == 0
        (path,) = runs.glob("*/trials.parquet")
        table = pd.read_parquet(path).to_json()
        return {
            "answered": self.answered() - before,
            "seconds": time.monotonic() - since,
            "table": table,
        }

    def kill(self, runs: Path, delay: float) -> int:
        """Kill a run some seconds after it began to ask; returns how many were answered."""
        before, process = self.answered(), self.start(runs)
        time.sleep(delay)
        process.kill()
        process.join()
        time.sleep(0.2)  # what was in flight is answered, to nobody
        return self.answered() - before


def main(kills: int, folder: Path) -> dict[str, Any]:
    """Kill so many runs, each once at a random moment, and resume them."""
    import langchain_openai  # noqa: F401  # before forking, like the rest

    import coordkit.estimate
    import coordkit.ladder  # noqa: F401

    here, there = fork.Pipe()
    server = fork.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    endpoint = Endpoint(here.recv())
    os.environ |= {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "none-is-needed"}
    try:
        whole, dice, killed = endpoint.finish(folder / "whole"), random.Random(kills), []
        for i in range(kills):
            delay = dice.uniform(0.02, 0.98) * whole["seconds"]
            part = endpoint.kill(folder / f"kill-{i}", delay)
            rest = endpoint.finish(folder / f"kill-{i}")
            killed.append({"delay": delay, "part": part, "rest": rest})
        again = endpoint.finish(folder / "whole")
    finally:
        server.kill()
    return {"whole": whole, "killed": killed, "again": again}


# --- the test -------------------------------------------------------------------------------------


def test_a_killed_run_ends_the_same_and_pays_once(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, __file__, "3", str(tmp_path)]
    subprocess.run(program, env=environ, check=True, timeout=300, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    whole, killed = found["whole"], found["killed"]
    assert whole["answered"] > 3 * TASKS and len(killed) == 3
    for one in killed:
        assert one["part"] > 0, "the run was killed before it had asked anything"
        assert one["rest"]["table"] == whole["table"]
        twice = one["part"] + one["rest"]["answered"] - whole["answered"]
        assert 0 <= twice <= CONCURRENCY, "only what is in flight at a kill may be paid twice"
    assert any(one["rest"]["answered"] for one in killed), "no run was killed before its end"
    assert found["again"]["answered"] == 0 and found["again"]["table"] == whole["table"]


def _told(results: dict[str, Any]) -> str:
    """The results as a page of text."""
    whole, killed = results["whole"], results["killed"]
    twice = [k["part"] + k["rest"]["answered"] - whole["answered"] for k in killed]
    lines = [f"undisturbed: {whole['answered']} requests, {whole['seconds']:.2f} s of asking"]
    for one, n in zip(killed, twice, strict=True):
        lines.append(
            f"killed {one['delay']:.2f} s after it began to ask, with {one['part']} answered; "
            f"then {one['rest']['answered']}; answered twice: {n}"
        )
    same = sum(one["rest"]["table"] == whole["table"] for one in killed)
    lines.append(f"{same} of {len(killed)} tables equal the undisturbed one")
    lines.append(f"answered twice: {sum(twice)} in all, {max(twice)} at most")
    return "\n".join([*lines, f"the same command once more: {results['again']['answered']}"])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch)
        results = main(int(sys.argv[1]), place)
        (place / "results.json").write_text(json.dumps(results), encoding="utf-8")
        print(_told(results))
