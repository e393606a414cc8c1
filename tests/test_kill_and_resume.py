"""A process is killed at every point of a run; another one resumes it and ends in the same rows.

This file is also the program that does it: it imports the kit once and forks a process for every
run, so that a hundred kills take seconds. Each victim sends itself SIGKILL, which no code of ours
or Python's can catch.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from coordkit.cases import load_case
from coordkit.cases.base import Case, Task
from coordkit.environment import Environment
from coordkit.experiment import Bench, Recorder, failure_of, simulated_model
from coordkit.faults import Simulation
from coordkit.layers import LAYERS
from coordkit.layers.human import Review, SimulatedReviewer, Verdict
from coordkit.layers.state import open_checkpointer
from coordkit.prompt import Prompt
from coordkit.simulated import SimulatedChatModel
from coordkit.stack import Stack, Workplace

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

BEFORE, AFTER = "before a checkpoint", "after a checkpoint"
COMMIT, ASKED = "after the commit", "while a person is asked"
AUTOMATIC = tuple(layer for layer in LAYERS if layer != "human")
SCENARIOS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {  # case, layers, points
    "billing with a person": ("billing", LAYERS, (BEFORE, AFTER, COMMIT, ASKED)),
    "billing": ("billing", AUTOMATIC, (BEFORE, COMMIT)),
    "support with a person": ("support", LAYERS, (BEFORE, COMMIT, ASKED)),
    "support": ("support", AUTOMATIC, (BEFORE, COMMIT)),
    "billing without state": (
        "billing",
        tuple(layer for layer in AUTOMATIC if layer != "state"),
        (COMMIT,),
    ),
}
FAULTY = Simulation(reliability=0.8)  # so that there is a task with a retry in it

# --- the program ----------------------------------------------------------------------------------


class Fate:
    """Counts the points that a run passes, and kills the process at a chosen one.

    Args:
        point: (name, n): die at the n-th passing of a point, counted from 0; None lets live.
    """

    def __init__(self, point: tuple[str, int] | None = None) -> None:
        self.point, self.passed = point, dict[str, int]()

    def at(self, name: str) -> None:
        n = self.passed.get(name, 0)
        self.passed[name] = n + 1
        if self.point == (name, n):
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlySaver(SqliteSaver):
    """A checkpointer in whose process a run may die just before or after a checkpoint."""

    fate = Fate()

    def put(self, *args: Any, **kwargs: Any) -> Any:
        self.fate.at(BEFORE)
        config = super().put(*args, **kwargs)
        self.fate.at(AFTER)
        return config


class Runs:
    """Runs of one task under one stack, each in a folder of its own."""

    def __init__(self, case: Case, model: SimulatedChatModel, layers: tuple[str, ...]) -> None:
        self.case, self.model, self.stack = case, model, Stack.of(*layers)
        self.task = case.tasks[0]

    def bench(self, folder: Path, saver: Any, fate: Fate) -> Bench:
        environment = self.case.environment(folder / "environment.sqlite")
        write = environment.write

        def write_and_die(*args: Any) -> bool:
            written = write(*args)
            fate.at(COMMIT)
            return written

        def review(review: Review) -> Verdict:
            fate.at(ASKED)
            return SimulatedReviewer(1, 0)(review)

        environment.write = write_and_die  # type: ignore[method-assign]
        return Bench(Workplace(self.case, self.model, self.stack, environment), review, saver)

    def run(self, folder: Path, point: tuple[str, int] | None) -> None:
        """Run from the start, and perhaps die."""
        fate = Fate(point)
        with sqlite3.connect(folder / "checkpoints.sqlite", check_same_thread=False) as connection:
            saver = DeadlySaver(connection)
            saver.fate = fate
            state = self.bench(folder, saver, fate).run(self.task, resume=True)
        self.report(folder, state, Recorder(), {}, fate)

    def resume(self, folder: Path) -> None:
        """Go on from what the dead left behind."""
        recorder, fate = Recorder(), Fate()
        with open_checkpointer(str(folder / "checkpoints.sqlite")) as saver:
            bench = self.bench(folder, saver, fate)
            kept = saver.get_tuple(bench.config(self.task, 0, None))
            accepted = kept.checkpoint["channel_values"].get("answers", {}) if kept else {}
            state = bench.run(self.task, recorder=recorder, resume=True)
        self.report(folder, state, recorder, accepted, fate)

    def report(
        self, folder: Path, state: Any, recorder: Recorder, accepted: Any, fate: Fate
    ) -> None:
        environment = self.case.environment(folder / "environment.sqlite")
        name = f"{self.task.id}/trial-0"
        asked = {request.step for p in recorder.prompts if (request := Prompt.read(p).request)}
        found = {
            "rows": environment.actions(name),
            "approvals": environment.approvals(name),
            "status": state["status"],
            "answers": state.get("answers", {}),
            "attempts": state["attempts"],
            "asked": sorted(asked),
            "accepted": accepted,
            "passed": fate.passed,
        }
        (folder / "report.json").write_text(json.dumps(found), encoding="utf-8")

    def pick_task(self) -> None:
        """The first task with one repaired answer that ends well, and after a review if it can."""
        case, environment = self.case, self.case.environment()
        bench = Bench(Workplace(case, self.model, self.stack, environment), SimulatedReviewer(1, 0))
        risky = [
            case.needs_approval(case.actions(case.reference(t)), environment) for t in case.tasks
        ]
        self.task = next(
            task
            for task, is_risky in zip(case.tasks, risky, strict=True)
            if is_risky == self.stack.has("human") and self._suits(bench, task)
        )

    def _suits(self, bench: Bench, task: Task) -> bool:
        state = bench.run(task)
        repaired = [e for e in state.get("log", []) if e.get("rejected") == "again"]
        asked = bool((state.get("verdict") or {}).get("reason"))
        ends_well = state["status"] == "done" and not failure_of(bench, task, state)
        return len(repaired) == 1 and ends_well and asked == self.stack.has("human")


def in_a_process(work: Callable[..., None], *args: Any) -> int:
    """Run something in a process of its own and return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=work, args=args)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def points(passed: dict[str, int], names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Every passing of the named points in an undisturbed run."""
    for name in names:
        for n in range(passed.get(name, 0)):
            yield name, n


def kill_everywhere(runs: Runs, folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Reports of an undisturbed run, and of one resumed after a kill at each of its points."""
    template = folder / "template.sqlite"
    runs.case.environment(template).close()
    runs.pick_task()

    def fresh(name: str) -> Path:
        place = folder / name
        place.mkdir()
        shutil.copy(template, place / "environment.sqlite")
        return place

    def report(place: Path) -> Any:
        return json.loads((place / "report.json").read_text(encoding="utf-8"))

    place = fresh("undisturbed")
    assert in_a_process(runs.run, place, None) == 0
    undisturbed = report(place)
    resumed = []
    for i, point in enumerate(points(undisturbed["passed"], names)):
        place = fresh(f"kill-{i}")
        killed = in_a_process(runs.run, place, point)
        done = in_a_process(runs.resume, place)
        found = report(place) if done == 0 else None
        resumed.append({"point": point, "killed": killed, "done": done, "report": found})
        shutil.rmtree(place)
    return {"undisturbed": undisturbed, "resumed": resumed}


def main(folder: Path) -> None:
    """Do all scenarios and write what happened to results.json."""
    results, kits = {}, {}
    for name, (case_name, layers, names) in SCENARIOS.items():
        if case_name not in kits:
            case = load_case(case_name)
            kits[case_name] = (case, simulated_model(case, FAULTY))
        place = folder / name.replace(" ", "-")
        place.mkdir()
        results[name] = kill_everywhere(Runs(*kits[case_name], layers), place, names)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


# --- the tests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("kills")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, __file__, str(folder)], env=environ, check=True, timeout=300)
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


remembered = pytest.mark.parametrize("name", [n for n in SCENARIOS if n != "billing without state"])


@remembered
def test_a_run_was_killed_at_every_point(results, name) -> None:
    case, layers, names = SCENARIOS[name]
    undisturbed, resumed = results[name]["undisturbed"], results[name]["resumed"]
    steps = {"billing": 4, "support": 6}[case]
    assert all(kill["killed"] == -signal.SIGKILL for kill in resumed)
    assert sum(undisturbed["attempts"].values()) == steps + 1, "no answer was sent back"
    passed = undisturbed["passed"]
    # the input twice, as LangGraph does; start, answers and their checks, approval, act
    supersteps = 2 + 1 + 2 * (steps + 1) + ("human" in layers) + 1
    assert passed[BEFORE] == passed[AFTER] == supersteps
    assert (passed[COMMIT], passed.get(ASKED, 0)) == (1, "human" in layers)
    assert len(resumed) == sum(passed.get(name, 0) for name in names)


@remembered
def test_every_resumed_run_ends_like_the_undisturbed_one(results, name) -> None:
    undisturbed = results[name]["undisturbed"]
    assert undisturbed["rows"] and undisturbed["status"] == "done"
    for kill in results[name]["resumed"]:
        assert kill["done"] == 0, kill["point"]
        for what in ("rows", "approvals", "answers", "attempts", "status"):
            assert kill["report"][what] == undisturbed[what], (kill["point"], what)


@remembered
def test_no_accepted_answer_is_lost_or_asked_again(results, name) -> None:
    saved = 0
    for kill in results[name]["resumed"]:
        found = kill["report"]
        saved += len(found["accepted"])
        for step, answer in found["accepted"].items():
            assert step not in found["asked"], kill["point"]
            assert found["answers"][step] == answer, kill["point"]
    assert saved > 0


def test_without_the_ledgers_key_a_kill_after_the_commit_posts_twice(results) -> None:
    """What the state layer is for; and proof that the tests above can fail."""
    scenario = results["billing without state"]
    (kill,) = scenario["resumed"]
    assert kill["report"]["rows"] == scenario["undisturbed"]["rows"] * 2 != []


def test_an_environment_that_was_cut_short_while_loading_opens_again(tmp_path, monkeypatch) -> None:
    case, path = load_case("billing", tasks=5), tmp_path / "environment.sqlite"
    with monkeypatch.context() as cut:

        def killed(*args: Any) -> Any:
            raise KeyboardInterrupt

        cut.setattr(Environment, "_searchable", killed)  # the tables are in, the index is not
        with pytest.raises(KeyboardInterrupt):
            case.environment(path)
    environment = case.environment(path)
    whole = case.environment()
    assert environment.rows("invoices") == whole.rows("invoices") != []
    name = whole.rows("customers")[0]["customer_name"]
    assert environment.search(name, 3) == whole.search(name, 3) != []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
