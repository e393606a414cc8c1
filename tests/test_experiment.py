"""The runner: one row a trial, the same on any machine in any order, and books that balance."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from coordkit import experiment, simulated
from coordkit.cases import load_case
from coordkit.cases.base import Task
from coordkit.cases.relay import COPY_ONLY, Relay
from coordkit.data import generate_billing, write_dataset
from coordkit.experiment import (
    COLUMNS,
    Bench,
    Prices,
    Recorder,
    Settings,
    ladder_stacks,
    make_bench,
    run,
    run_trial,
    simulated_model,
)
from coordkit.faults import TRANSPORT, Simulation, slips
from coordkit.layers import LAYERS
from coordkit.layers.execution import GENERALIST
from coordkit.layers.human import SimulatedReviewer
from coordkit.prompt import Prompt, Request
from coordkit.reliability import chain, whole_task_correlation
from coordkit.simulated import ModelUnavailable, SimulatedChatModel, faultless
from coordkit.stack import Stack, Workplace
from coordkit.statistics import intraclass_correlation, paired_difference, wilson

FATES = {"harmless", "repaired", "escalated", "shipped"}
FULL = Stack.rung(6)
SLIPPERY = Simulation(reliability=0.85)
SETTINGS = Settings("billing", tasks=30, simulation=SLIPPERY)


class Counting(SimulatedChatModel):
    """Counts what it injects, where it happens."""

    injected: list[tuple[str, str]] = Field(default_factory=list)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        try:
            result = super()._generate(*args, **kwargs)
        except ModelUnavailable as error:
            self.injected.append((error.mode, error.request.step))
            raise
        message = result.generations[0].message
        self.injected += [(f["mode"], f["step"]) for f in message.response_metadata["faults"]]
        return result


def mixed_stacks() -> list[Stack]:
    """The ladder, the knock-outs, and single layers that stand on nothing."""
    return [*ladder_stacks(), *(Stack.of(layer) for layer in LAYERS[2:])]


Trial = tuple[dict[str, Any], Bench, Task, list[tuple[str, str]]]


@cache
def slippery_trials() -> list[Trial]:
    """One trial of 9 tasks of each case under many stacks, with what the model injected."""
    trials: list[Trial] = []
    for name in ("billing", "support"):
        settings = Settings(name, tasks=9, simulation=SLIPPERY)
        plain = make_bench(settings, Stack()).at.model
        assert isinstance(plain, SimulatedChatModel)
        for stack in mixed_stacks():
            model = Counting(skills=plain.skills, simulation=SLIPPERY)
            bench = make_bench(settings, stack, model)
            for task in bench.at.case.tasks:
                model.injected.clear()  # the plan's faults are not a trial's
                row = run_trial(bench, task)
                trials.append((row, bench, task, list(model.injected)))
    return trials


def book(row: dict[str, Any]) -> list[dict[str, Any]]:
    return list(json.loads(row["faults"]))


# --- rows ----------------------------------------------------------------------------------------


def test_a_row_has_exactly_the_documented_columns() -> None:
    for row, bench, task, _ in slippery_trials():
        assert list(row) == list(COLUMNS)
        assert (row["case"], row["task"]) == (bench.at.case.name, task.id)
        assert row["stack"] == bench.at.stack.label


def test_every_failure_has_a_term_and_a_cause_and_no_success_has() -> None:
    rows = [row for row, *_ in slippery_trials()]
    assert 0.1 < sum(row["failed"] for row in rows) / len(rows) < 0.9
    for row in rows:
        assert bool(row["failure"]) == bool(row["cause"]) == row["failed"], row
        assert row["loud"] == (row["failure"] in {"held", "rejected", "crashed", "out of budget"})
        assert row["escalated"] <= (row["decision"] != "")
        assert row["escalated"] <= ("human" in row["stack"])


def test_what_a_trial_did_stays_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is what the environment shows, also after its cause has been looked for."""
    bench = make_bench(SETTINGS, Stack.rung(4))
    failures = Counter[bool]()
    for task in bench.at.case.tasks:
        row = run_trial(bench, task)
        wrong = bench.at.case.wrong(task, bench.at.environment.actions(f"{task.id}/trial-0"))
        assert bool(wrong) == row["failed"] or row["failure"] == "unapproved"
        failures[row["failed"]] += 1
    assert min(failures[True], failures[False]) > 2


def test_costs_are_tokens_and_reviews_times_prices() -> None:
    prices = Prices(3.0, 7.0, 0.25, 2.0, 10.0)
    bench = make_bench(SETTINGS, FULL)
    asked = 0
    for task in bench.at.case.tasks:
        recorder = Recorder()
        bench.run(task, recorder=recorder)
        sent = [m.usage_metadata["input_tokens"] for m in recorder.replies if m.usage_metadata]
        back = [m.usage_metadata["output_tokens"] for m in recorder.replies if m.usage_metadata]
        row = run_trial(bench, task, prices=prices)
        assert (row["input_tokens"], row["output_tokens"]) == (sum(sent), sum(back))
        assert row["calls"] == len(recorder.prompts) == len(sent) + len(recorder.errors)
        review = 0.25 if row["escalated"] else 0.0
        cost = sum(sent) * 3.0 / 1e6 + sum(back) * 7.0 / 1e6 + review
        assert row["cost_usd"] == pytest.approx(cost)
        assert row["seconds"] == pytest.approx(2.0 * row["calls"] + sum(back) / 10.0)
        asked += row["escalated"]
    assert 0 < asked < len(bench.at.case.tasks)


def test_a_token_is_four_characters_of_what_is_sent() -> None:
    bench = make_bench(SETTINGS, Stack.rung(0))
    recorder = Recorder()
    state = bench.run(bench.at.case.tasks[0], recorder=recorder)
    assert state["status"] == "done"
    seen = sum(len(str(message.text)) for message in recorder.prompts[0])
    sent, _ = recorder.tokens()
    assert seen / 4 < sent < seen / 4 + 2000, "the rest is the response schema"


# --- the fault book ------------------------------------------------------------------------------


def test_the_books_balance() -> None:
    injected, fates = 0, Counter[str]()
    for row, _, _, counted in slippery_trials():
        entries = book(row)
        assert Counter((f["mode"], f["step"]) for f in entries) == Counter(counted), row
        for fault in entries:
            assert set(fault) == {"mode", "step", "attempt", "fate"}
            assert fault["fate"] in FATES
        injected += len(counted)
        fates.update(fault["fate"] for fault in entries)
    assert sum(fates.values()) == injected > 300
    assert set(fates) == FATES, "each fate occurs"


def test_shipped_is_for_failures_and_a_failure_without_a_shipped_fault_has_another_cause() -> None:
    for row, *_ in slippery_trials():
        fates = {fault["fate"] for fault in book(row)}
        shipped = {f"{f['mode']}@{f['step']}" for f in book(row) if f["fate"] == "shipped"}
        if row["failed"]:
            assert not fates & {"harmless", "escalated"}, row
        else:
            assert not shipped, row
        if "@" in row["cause"]:
            assert row["cause"] in shipped, row
        elif row["failed"]:
            word = row["cause"].split(":")[0]
            known = {"missing", "reviewer", "unapproved", "posted twice", "misread", "held"}
            known |= {"several slips"}
            assert word in known | {"crashed", "out_of_budget"}, row
        if "verification" not in row["stack"]:
            repaired = {f["mode"] for f in book(row) if f["fate"] == "repaired"}
            assert repaired <= set(TRANSPORT), "nobody else repairs"


def test_a_slip_is_the_cause_only_if_the_trial_succeeds_without_slips() -> None:
    @cache
    def without_slips(bench_id: int) -> Bench:
        at = benches[bench_id].at
        model = faultless(at.model)
        assert model
        return Bench(replace(at, model=model), benches[bench_id].approver)

    benches = {id(bench): bench for _, bench, *_ in slippery_trials()}
    blamed = Counter[bool]()
    for row, bench, task, _ in slippery_trials():
        slip = "@" in row["cause"] or row["cause"] == "several slips"
        fates = {fault["fate"] for fault in book(row)}
        if "shipped" in fates and row["cause"] != "reviewer" and blamed[slip] < 30:
            again = run_trial(without_slips(id(bench)), task)
            assert again["failed"] != slip, row
            blamed[slip] += 1
    assert blamed[True] == 30 and blamed[False] >= 10


def due_slips(simulation: Simulation, bench: Bench, task: Task, trial: int) -> list[str]:
    """The steps that the dice say slip at the first attempt, worked out without the model."""
    name = f"{bench.at.case.name}/{task.id}"
    return [
        step.name
        for step in bench.at.case.steps
        if slips(simulation, Request(name, step.name, trial, attempt=1, delivery=1))
    ]


def test_the_book_holds_what_the_dice_say_and_nothing_else() -> None:
    """Counted from (seed, task, step, attempt), not from what the model says of itself."""
    simulation = Simulation(reliability=0.8, mix=COPY_ONLY, seed=3)
    case = Relay(4, 60)
    at = Workplace(case, simulated_model(case, simulation), Stack.rung(4), case.environment())
    bench, numbers = Bench(at, SimulatedReviewer()), Counter[int]()
    for task in case.tasks:
        for trial in range(2):
            row, due = run_trial(bench, task, trial), due_slips(simulation, bench, task, trial)
            assert [(f["step"], f["attempt"]) for f in book(row)] == [(step, 1) for step in due]
            fate = "shipped" if due else ""  # whatever changes a code ends in a wrong one
            assert {f["fate"] for f in book(row)} == ({fate} - {""}) and row["failed"] == bool(due)
            numbers[len(due)] += 1
    assert {0, 1, 2} <= set(numbers)


def test_a_crash_is_one_fault_where_the_dice_say_it() -> None:
    """With tools and look-ups: garbled output ends a chain at the first step that slips."""
    simulation = Simulation(reliability=0.85, mix={"malformed_json": 1.0})
    bench = make_bench(Settings("billing", tasks=60, simulation=simulation), Stack.rung(4))
    crashed = Counter[bool]()
    for task in bench.at.case.tasks:
        if task.repeated:
            continue
        row, due = run_trial(bench, task), due_slips(simulation, bench, task, 0)
        noted = [(f["mode"], f["step"], f["attempt"]) for f in book(row)]
        assert noted == [("malformed_json", step, 1) for step in due[:1]], (row, due)
        crashed[bool(due)] += 1
    assert min(crashed.values()) > 10 and len(crashed) == 2


def test_every_noted_fault_changes_a_reply_and_every_changed_reply_has_a_fault() -> None:
    """Held against a twin that gets the same prompts and never slips."""
    bench = make_bench(SETTINGS, Stack.rung(5))
    twin = faultless(bench.at.model)
    assert isinstance(twin, SimulatedChatModel)
    checked = Counter[bool]()
    for task in bench.at.case.tasks:
        recorder = WithOffers()
        bench.run(task, recorder=recorder)
        misled = set[str]()
        for messages, offers, turn in recorder.calls:
            if isinstance(turn, BaseException):
                continue
            request = Prompt.read(messages).request
            noted = bool(turn.response_metadata["faults"])
            again = twin.bind(tools=offers).invoke(messages)
            same = content(turn) == content(again)
            if str(request) in misled:
                continue  # it took the wrong look-up for the right one: one fault, noted before
            assert same != noted, (request, turn, again)
            misled |= {str(request)} if noted and turn.tool_calls else set()
            checked[noted] += 1
    assert checked[True] > 15


class WithOffers(Recorder):
    """Keeps the tools that were on offer with each call."""

    def __init__(self) -> None:
        super().__init__()
        self.offers: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        super().on_chat_model_start(serialized, messages, **kwargs)
        self.offers.append(kwargs["invocation_params"]["tools"])

    @property
    def calls(self) -> Iterator[tuple[Any, Any, Any]]:
        return ((self.prompts[i], self.offers[i], turn) for i, turn in self.turns)


def content(message: Any) -> Any:
    """What a reply says, but for how sure it is."""
    calls = [(c["name"], {k: v for k, v in c["args"].items() if k != "confidence"})
             for c in message.tool_calls]  # fmt: skip
    return calls, [c["args"] for c in message.invalid_tool_calls]


LOSSY = Simulation(reliability=0.75, mix={"transposed_digits": 0.5, "timed_out": 0.5})


def test_a_crash_does_not_forget_what_was_repaired_before_it() -> None:
    """What a check sent back is repaired, whatever became of the trial."""
    bench = make_bench(Settings("billing", tasks=150, simulation=LOSSY), Stack.rung(5))
    seen = 0
    for task in bench.at.case.tasks:
        recorder = Recorder()
        if bench.run(task, recorder=recorder)["status"] != "crashed":
            continue
        requests = [Prompt.read(messages).request for messages in recorder.prompts]
        last = {(r.step, r.attempt): r for r in requests if r}
        row = run_trial(bench, task)
        if row["cause"] not in ("unapproved", "posted twice"):
            assert row["cause"] == f"timed_out@{requests[-1].step}"  # type: ignore[union-attr]
        for fault in book(row):
            crashed = requests[-1] == last[fault["step"], fault["attempt"]]
            redone = (fault["step"], fault["attempt"] + 1) in last
            if redone or (fault["mode"] == "timed_out" and not crashed):
                assert fault["fate"] == "repaired", (row, fault)
            seen += redone and fault["mode"] != "timed_out"
    assert seen >= 3


def test_a_delivery_that_got_through_is_not_blamed_for_another_crash() -> None:
    """A lost delivery is repaired by the next one, also if a garbled answer ends the run later."""
    both = Simulation(0.6, mix={"timed_out": 1.0, "malformed_json": 1.0})
    seen = 0
    for rung in (3, 4):
        bench = make_bench(Settings("billing", tasks=60, simulation=both), Stack.rung(rung))
        for task in bench.at.case.tasks:
            row = run_trial(bench, task)
            garbled = [f for f in book(row) if f["mode"] == "malformed_json"]
            if row["failure"] != "crashed" or not garbled:
                continue
            lost = [f for f in book(row) if f["mode"] == "timed_out"]
            assert {f["fate"] for f in lost} <= {"repaired"}, row
            assert not row["cause"].startswith("timed_out"), row
            seen += bool(lost)
    assert seen >= 5


def test_what_the_checks_sent_back_is_repaired_also_where_one_prompt_asks_for_all() -> None:
    stack = Stack.of("context", "state", "verification")
    bench = make_bench(Settings("billing", tasks=150, simulation=SLIPPERY), stack)
    fates = Counter[str]()
    for task in bench.at.case.tasks:
        recorder = Recorder()
        log = bench.run(task, recorder=recorder).get("log", [])
        again = {note["attempt"] for note in log if note.get("rejected") == "again"}
        for fault in book(run_trial(bench, task)):
            if fault["step"] != GENERALIST or fault["mode"] not in TRANSPORT:
                sent_back = fault["attempt"] in again
                assert (fault["fate"] == "repaired") == sent_back, fault
                fates[fault["fate"]] += 1
    assert fates["repaired"] >= 20 and fates["harmless"] + fates["shipped"] >= 20


def test_without_slips_the_cause_is_what_the_trial_without_slips_lacked() -> None:
    """Known-bad: the guesses of the slipped run, which may end before anything is read."""
    simulation, seen = Simulation(0.85), 0
    bench = make_bench(Settings("support", tasks=120, simulation=simulation), Stack.rung(0))
    for task in bench.at.case.tasks:
        row = run_trial(bench, task)
        shipped = any(fault["fate"] == "shipped" for fault in book(row))
        if not shipped or "@" in row["cause"] or row["cause"] in ("several slips", "unapproved"):
            continue
        assert bench.twin
        recorder = Recorder()
        bench.twin.run(task, 0, recorder)
        lacked = {g for m in recorder.replies for g in m.response_metadata["guessed"]}
        assert row["cause"] == (f"missing: {', '.join(sorted(lacked))}" if lacked else "misread")
        seen += 1
    assert seen >= 20


def test_a_person_who_errs_in_the_trial_without_slips_hides_no_slip() -> None:
    dice = Simulation(0.7, seed=1)
    settings = Settings("billing", simulation=dice, reviewer_accuracy=0)
    bench = make_bench(settings, Stack.of("context", "planning", "execution", "human"))
    # Its slips keep a person from being asked who would be, and would err.
    (task,) = (task for task in bench.at.case.tasks if task.id == "BNK-001773")
    row = run_trial(bench, task)
    assert not row["escalated"] and row["cause"] == "several slips"


def test_a_call_for_everything_that_crashes_is_the_cause_and_not_a_slip_in_it() -> None:
    garbled = {"malformed_json": 0.5, "transposed_digits": 0.5}
    simulation = Simulation(reliability=0.6, mix=garbled)
    bench = make_bench(Settings("billing", tasks=150, simulation=simulation), Stack.rung(1))
    crashed = [row for task in bench.at.case.tasks
               if (row := run_trial(bench, task))["failure"] == "crashed"]  # fmt: skip
    both = [row for row in crashed if len(book(row)) > 1 and "@" in row["cause"]]
    assert len(both) >= 3
    assert {row["cause"] for row in both} == {f"malformed_json@{GENERALIST}"}


def test_what_would_fail_anyway_is_not_blamed_on_a_slip() -> None:
    """A large refund fails without a person's approval; a slip in such a trial changes nothing."""
    bench = make_bench(Settings("billing", simulation=SLIPPERY), Stack.rung(4))
    case, environment = bench.at.case, bench.at.environment
    large = [t for t in case.tasks
             if case.needs_approval(case.actions(case.reference(t)), environment)]  # fmt: skip
    rows = [run_trial(bench, task) for task in large]
    assert len(rows) > 15 and any(book(row) for row in rows)
    assert {row["cause"] for row in rows} == {"unapproved"}


def blame(bench: Bench, task: Task, monkeypatch: pytest.MonkeyPatch, **modes: str) -> Any:
    """One trial that slips at the given steps and nowhere else, in the given modes if possible."""

    def slips(settings: Any, request: Any, asked: int = 1) -> bool:
        return request.step in modes

    def pick(settings: Any, request: Any, possible: list[str], draw: str = "mode") -> str:
        return mode if (mode := modes[request.step]) in possible else possible[0]

    with monkeypatch.context() as patched:
        patched.setattr(simulated, "slips", slips)
        patched.setattr(simulated, "pick_mode", pick)
        return run_trial(bench, task)


@pytest.mark.parametrize(
    ("second", "loud", "cause"),
    [
        ("stale_value", False, "several slips"),
        ("malformed_json", True, "malformed_json@post"),
    ],
)
def test_an_innocent_first_slip_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch, second: str, loud: bool, cause: str
) -> None:
    """The first slip alone does no harm, the second alone does: the first is not the cause."""
    bench = make_bench(Settings("billing", tasks=60), Stack.rung(4))
    seen = 0
    for task in bench.at.case.tasks:
        first = blame(bench, task, monkeypatch, extract="transposed_digits")
        if first["failed"] or not book(first):
            continue
        later = blame(bench, task, monkeypatch, post=second)
        both = blame(bench, task, monkeypatch, extract="transposed_digits", post=second)
        if not (later["failed"] and both["failed"]) or len(book(both)) < 2:
            continue
        if book(later)[0]["mode"] != second:  # the answer does not admit it
            continue
        assert later["cause"] == f"{second}@post"
        assert both["loud"] == loud and both["cause"] == cause, both
        seen += 1
    assert seen >= 3


# --- approval ------------------------------------------------------------------------------------


def test_only_a_person_can_approve_what_needs_a_person() -> None:
    bench = make_bench(Settings("billing"), FULL)
    case, environment = bench.at.case, bench.at.environment
    task = next(t for t in case.tasks if t.labels["kind"] == "duplicate"
                and float(t.fields["amount"]) > 500)  # fmt: skip
    rows, state = case.actions(case.reference(task)), bench.run(task)
    name = f"{task.id}/trial-0"
    for approval, failure in [
        (None, "unapproved"),
        (("house rules", "approve"), "unapproved"),
        (("person", "reject"), "unapproved"),
        (("person", "approve"), ""),
        (("person", "edit"), ""),
    ]:
        environment.clear(name)
        environment.write(name, rows, approval=approval)
        assert experiment.failure_of(bench, task, state) == failure


# --- determinism ---------------------------------------------------------------------------------

THREE = [Stack.rung(1), Stack.rung(4), FULL]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    table, _ = run(SETTINGS, THREE, tmp_path_factory.mktemp("runs"), processes=1)
    return table


def test_one_row_per_trial_in_the_order_of_stacks_and_feed(undisturbed: pd.DataFrame) -> None:
    tasks = [task.id for task in load_case("billing", None, 30).tasks]
    assert list(undisturbed.columns) == list(COLUMNS)
    expected = [(stack.label, task) for stack in THREE for task in tasks]
    assert list(zip(undisturbed["stack"], undisturbed["task"], strict=True)) == expected


def test_two_processes_give_the_same_table(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    table, folder = run(SETTINGS, THREE, tmp_path, processes=2)
    pd.testing.assert_frame_equal(table, undisturbed)
    assert {path.name for path in folder.iterdir()} == {".lock", "manifest.json", "trials.parquet"}


def test_the_size_of_blocks_changes_nothing(
    undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "BLOCK", 7)
    table, _ = run(SETTINGS, THREE, tmp_path, processes=1)
    pd.testing.assert_frame_equal(table, undisturbed)


def test_the_order_of_tasks_and_what_ran_before_change_nothing(undisturbed: pd.DataFrame) -> None:
    for stack in THREE:
        bench = make_bench(SETTINGS, stack)
        rows = [run_trial(bench, task) for task in reversed(bench.at.case.tasks)]
        backwards = pd.DataFrame(rows[::-1], columns=list(COLUMNS))
        forwards = undisturbed[undisturbed["stack"] == stack.label].reset_index(drop=True)
        pd.testing.assert_frame_equal(backwards, forwards)


def test_another_seed_gives_other_faults(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    other = replace(SETTINGS, simulation=replace(SLIPPERY, seed=1))
    table, _ = run(other, THREE[1:2], tmp_path, processes=1)
    same = undisturbed[undisturbed["stack"] == THREE[1].label].reset_index(drop=True)
    assert list(table["task"]) == list(same["task"])
    assert (table["faults"] != same["faults"]).mean() > 0.3


# --- interruptions -------------------------------------------------------------------------------


def interrupted_after(blocks: int) -> Callable[[int, int], None]:
    calls = iter(range(10**6))

    def progress(done: int, total: int) -> None:
        if next(calls) == blocks:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("blocks", [1, 2])
def test_finished_blocks_survive_ctrl_c(
    undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(SETTINGS, THREE, tmp_path, processes=1, progress=interrupted_after(blocks))
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.glob("part-*.parquet"))) == blocks
    ran: list[str] = []
    monkeypatch.setattr(experiment, "run_trial", noting(ran))
    reported: list[tuple[int, int]] = []
    table, _ = run(
        SETTINGS, THREE, tmp_path, processes=1, progress=lambda *counts: reported.append(counts)
    )
    pd.testing.assert_frame_equal(table, undisturbed)
    assert Counter(ran) == {stack.label: 30 for stack in THREE[blocks:]}
    assert reported[0] == (30 * blocks, 90) and reported[-1] == (90, 90)
    assert not list(folder.glob("part-*"))


def noting(ran: list[str]) -> Callable[..., dict[str, Any]]:
    def noted(bench: Bench, *args: Any) -> dict[str, Any]:
        ran.append(bench.at.stack.label)
        return run_trial(bench, *args)

    return noted


def test_a_finished_run_is_not_run_again_and_more_stacks_join_it(
    undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(SETTINGS, THREE[:2], tmp_path, processes=1)
    ran: list[str] = []
    monkeypatch.setattr(experiment, "run_trial", noting(ran))
    again, folder = run(SETTINGS, THREE[:1], tmp_path, processes=1)
    assert not ran
    pd.testing.assert_frame_equal(again, undisturbed[:30])
    table, same_folder = run(SETTINGS, THREE, tmp_path, processes=1)
    assert set(ran) == {FULL.label} and same_folder == folder
    pd.testing.assert_frame_equal(table, undisturbed)


def test_a_half_written_block_is_not_taken_for_a_block(
    undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(frame: pd.DataFrame, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"PAR1 half of it")
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", power_cut)
        with pytest.raises(OSError, match="power cut"):
            run(SETTINGS, THREE, tmp_path, processes=1)
    table, _ = run(SETTINGS, THREE, tmp_path, processes=1)
    pd.testing.assert_frame_equal(table, undisturbed)


CHILD = """
import sys
from pathlib import Path
from coordkit.experiment import Settings, run
from coordkit.faults import Simulation
from coordkit.stack import Stack
settings = Settings("billing", tasks=30, simulation=Simulation(reliability=0.85))
run(settings, [Stack.rung(k) for k in (1, 4, 6)], Path(sys.argv[1]), processes=2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_killed_process_leaves_no_workers_and_is_continued(
    undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path)],
                             cwd=Path(__file__).parents[1], stdout=subprocess.PIPE)  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("part-*.parquet")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)  # returns when the workers, which share its output, have ended
    assert child.returncode == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    finished = list(folder.glob("part-*.parquet"))
    table, same_folder = run(replace(SETTINGS), THREE, tmp_path, processes=1)
    assert finished and same_folder == folder, "another process finds the same folder"
    pd.testing.assert_frame_equal(table, undisturbed)


def test_a_stack_given_twice_is_measured_once(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    other = replace(THREE[0], retries=5)  # the settings come from SETTINGS: the same stack
    for stacks in ([THREE[1], THREE[0], THREE[1], THREE[0]], [THREE[0], other]):
        totals: set[int] = set()
        noted = partial(lambda kept, done, total: kept.add(total), totals)
        table, _ = run(SETTINGS, stacks, tmp_path, processes=1, progress=noted)
        once = list(dict.fromkeys(Stack(stack.layers) for stack in stacks))
        expected = [undisturbed[undisturbed["stack"] == stack.label] for stack in once]
        pd.testing.assert_frame_equal(table, pd.concat(expected, ignore_index=True))
        assert totals == {30 * len(once)}


@pytest.mark.parametrize("case", ["billing", "support"])
def test_stacks_that_make_the_same_graph_have_the_same_trials(case: str) -> None:
    settings = Settings(case, tasks=4, simulation=SLIPPERY)
    for company in ([], ["context"], ["state", "verification"], ["context", "human"]):
        pair = [Stack.of("planning", *company), Stack.of(*company)]
        assert pair[0].acts_as == pair[1]
        rows = [
            [run_trial(b, t) for t in b.at.case.tasks]
            for b in (make_bench(settings, s) for s in pair)
        ]
        assert [{**row, "stack": ""} for row in rows[0]] == [
            {**row, "stack": ""} for row in rows[1]
        ]
    with_agents = Stack.of("planning", "execution")
    assert with_agents.acts_as == with_agents != Stack.of("execution").acts_as


def test_one_graph_is_measured_once_and_told_for_each_of_its_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(experiment, "run_trial", noting(ran))
    settings = replace(SETTINGS, tasks=3)
    planned, alone = Stack.of("context", "planning"), Stack.of("context")
    totals: list[int] = []
    noted = partial(lambda kept, done, total: kept.append(total), totals)
    table, folder = run(settings, [planned], tmp_path, processes=1, progress=noted)
    assert ran == ["context"] * 3 and set(table["stack"]) == {"context+planning"}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["stacks"] == ["context", "context+planning"]
    both, _ = run(settings, [alone, planned], tmp_path, processes=1, progress=noted)
    assert (
        set(totals) == {3}
        and len(ran) == 3
        and list(both["stack"]) == ["context"] * 3 + ["context+planning"] * 3
    )
    assert set(pd.read_parquet(folder / "trials.parquet")["stack"]) == set(both["stack"])


# --- the manifest and the key --------------------------------------------------------------------


def test_a_folder_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    run(SETTINGS, [Stack()], tmp_path, processes=1)
    (folder,) = tmp_path.iterdir()
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()
    with pytest.raises(OSError, match=r"unable to open database file: '.*\.lock'"):
        run(SETTINGS, [Stack()], tmp_path, processes=1)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent to a process group")
def test_ctrl_c_ends_the_wait_for_a_folder(tmp_path: Path) -> None:
    with experiment._alone_in(tmp_path):
        code = (
            "import sys; from pathlib import Path; from coordkit.experiment import _alone_in\n"
            "print('waits', flush=True)\nwith _alone_in(Path(sys.argv[1])): print('in')"
        )
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert waiting.stdout and waiting.stdout.readline() == "waits\n"
        time.sleep(0.5)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=20)
    assert "in" not in out and err.rstrip().endswith("KeyboardInterrupt")


def test_commands_that_run_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom coordkit.experiment import Settings, run\n"
        "from coordkit.stack import Stack\n"
        "run(Settings('billing', tasks=10), [Stack.of(*sys.argv[2:])], Path(sys.argv[1]), 1)\n"
    )
    stacks = (["context"], ["context", "verification"], ["context", "verification"], ["state"])
    for _ in range(2):
        command = [sys.executable, "-c", code, str(tmp_path)]
        together = [subprocess.Popen([*command, *layers]) for layers in stacks]
        assert [process.wait() for process in together] == [0, 0, 0, 0]
        (folder,) = tmp_path.iterdir()
        table = pd.read_parquet(folder / "trials.parquet")
        labels = {"context": 10, "context+verification": 10, "state": 10}
        assert table["stack"].value_counts().to_dict() == labels
        assert not list(folder.glob("part-*"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["stacks"] == sorted(labels)
        shutil.rmtree(folder)


def test_the_manifest_says_what_was_measured(tmp_path: Path) -> None:
    settings = replace(SETTINGS, tasks=3)
    run(settings, THREE[:1], tmp_path, processes=1)
    _, folder = run(settings, THREE[1:2], tmp_path, processes=1)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"] == json.loads(json.dumps(settings.as_dict()))
    assert manifest["settings"]["simulation"]["reliability"] == 0.85
    assert manifest["settings"]["stack"]["retries"] == 2
    assert manifest["seed"] == 0
    assert manifest["columns"] == dict(COLUMNS)
    assert {"coordkit", "langgraph", "numpy"} <= set(manifest["versions"])
    kept = pd.read_parquet(folder / "trials.parquet")
    assert set(manifest["stacks"]) == set(kept["stack"]) == {s.label for s in THREE[:2]}


def changed(value: Any) -> Any:
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, dict):
        return {**value, "wrong_pick": 9.0}
    return 3 if value is None else value / 2 + 0.1 if isinstance(value, float) else value + 1


def variations(settings: Any) -> Iterator[tuple[str, Any]]:
    """The same settings with one field changed, for every field, however deep."""
    for f in fields(settings):
        value = getattr(settings, f.name)
        if f.name == "layers" or not f.init:
            continue
        if is_dataclass(value):
            for name, inner in variations(value):
                yield f"{f.name}.{name}", replace(settings, **{f.name: inner})
        elif f.name == "confidence_auc":
            yield f.name, replace(settings, confidence_auc=0.7)
        else:
            yield f.name, replace(settings, **{f.name: changed(value)})


def test_two_different_settings_never_share_a_folder() -> None:
    base = Settings("billing", tasks=5)
    keys = {name: other.key() for name, other in variations(base)}
    assert {"simulation.mix", "prices.per_review", "stack.retries", "data"} <= set(keys)
    assert len({*keys.values(), base.key()}) == len(keys) + 1
    assert Settings("billing", tasks=5).key() == base.key()
    assert replace(base, stack=FULL).key() == base.key(), "which layers is not a setting"


def test_an_edit_of_the_data_is_another_experiment(tmp_path: Path) -> None:
    write_dataset(generate_billing(5, 0), tmp_path)
    before = Settings("billing", data=str(tmp_path))
    path = tmp_path / "terms" / "house.md"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    after = Settings("billing", data=str(tmp_path))
    assert before.key() != after.key() and before != after
    (tmp_path / "payments.csv").rename(tmp_path / "payments.CSV")
    capitals = Settings("billing", data=str(tmp_path)).key()
    with (tmp_path / "payments.CSV").open("a", encoding="utf-8") as file:
        file.write("\n")
    edited = Settings("billing", data=str(tmp_path)).key()
    assert edited != capitals, "a file that is read counts, however its name is written"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "trials.parquet").write_bytes(b"")
    (tmp_path / "old.csv").mkdir()
    if sys.platform != "win32":
        (tmp_path / ".#invoices.csv").symlink_to("nobody@nowhere")  # as Emacs leaves them
    assert Settings("billing", data=str(tmp_path)).key() == edited, "results in it are no data"


def test_an_edit_of_the_code_is_another_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the package, for an edit of the real one would be felt by other tests."""

    def key(name: str, file: str = "", text: str = "") -> str:
        copy = tmp_path / name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if file:
            (copy / file).write_text((copy / file).read_text("utf-8") + text, encoding="utf-8")
        monkeypatch.setattr(experiment, "__file__", str(copy / "experiment.py"))
        return Settings("billing", tasks=5).key()

    package = Path(experiment.__file__).parent
    unchanged = Settings("billing", tasks=5).key()
    assert key("copy") == unchanged, "the same code elsewhere is the same experiment"
    keys = {
        key("deep", "layers/human.py", "# edited\n"),
        key("grader", "cases/support.py", "# edited\n"),
        key("language", "data/examples.csv", "x,smalltalk,x\n"),
    }
    assert len(keys | {unchanged}) == 4


def test_the_ladder_has_each_stack_once() -> None:
    stacks = ladder_stacks()
    assert len(stacks) == len(set(stacks)) == 12, "the full stack without the last is rung 5"
    assert stacks[:7] == [Stack.rung(k) for k in range(7)]
    assert ladder_stacks([0, 2]) == [Stack.rung(0), Stack.rung(2)]
    assert len(ladder_stacks(knockouts=False)) == 7


# --- repeated trials -----------------------------------------------------------------------------


def test_trials_of_a_task_are_rows_of_their_own(tmp_path: Path) -> None:
    settings = replace(SETTINGS, tasks=20, trials=3)
    table, _ = run(settings, [Stack.rung(4)], tmp_path, processes=1)
    assert list(table["trial"]) == [0, 1, 2] * 20
    books = table.pivot(index="task", columns="trial", values="faults")
    assert (books[0] != books[1]).any() and (books[1] != books[2]).any()


def relay_failures(correlation: float, steps: int, tasks: int, trials: int) -> np.ndarray:
    case = Relay(steps, tasks)
    simulation = Simulation(reliability=0.9, correlation=correlation, mix=COPY_ONLY)
    at = Workplace(case, simulated_model(case, simulation), Stack.rung(4), case.environment())
    bench = Bench(at, SimulatedReviewer())
    return np.array([[run_trial(bench, task, trial)["failed"] for trial in range(trials)]
                     for task in case.tasks])  # fmt: skip


def test_trials_of_a_task_share_its_difficulty() -> None:
    """Held against the formulas: 3 steps of 0.9 are 0.729, with the whole task's correlation."""
    tables = {rho: relay_failures(rho, 3, 60, 4) for rho in (0.0, 0.6, 1.0)}
    assert intraclass_correlation(tables[0.0]) == pytest.approx(0, abs=0.17)
    expected = whole_task_correlation(0.9, 0.6, 3)
    assert intraclass_correlation(tables[0.6]) == pytest.approx(expected, abs=0.2)
    assert intraclass_correlation(tables[1.0]) == 1
    for table in tables.values():
        low, high = wilson(int(table[:, 0].sum()), len(table), 0.999)
        assert low < 1 - chain(0.9, 3) < high


# --- what each layer does ------------------------------------------------------------------------

# layer, without it, with it, and as many of 600 tasks as it takes to see it
EFFECTS = [
    ("context", Stack.rung(0), Stack.rung(1), 150),
    ("planning", FULL.without("planning"), FULL, 300),
    ("execution", Stack.rung(2), Stack.rung(3), 400),
    ("state", Stack.rung(3), Stack.rung(4), 600),
    ("verification", Stack.rung(4), Stack.rung(5), 400),
    ("human", Stack.rung(5), FULL, 600),
]


@cache
def bench_and_failures(stack: Stack) -> tuple[Bench, list[list[bool]]]:
    return make_bench(Settings("billing", tasks=600), stack), []


def failures(stack: Stack, tasks: int) -> list[list[bool]]:
    """Which of the first tasks fail; kept for the next comparison."""
    bench, known = bench_and_failures(stack)
    known += [
        [run_trial(bench, task)["failed"]] for task in bench.at.case.tasks[len(known) : tasks]
    ]
    return known[:tasks]


@pytest.mark.parametrize(("layer", "without", "with_", "tasks"), EFFECTS)
def test_each_layer_changes_the_failure_rate(
    layer: str, without: Stack, with_: Stack, tasks: int
) -> None:
    assert with_.layers - without.layers == {layer}
    change = paired_difference(failures(without, tasks), failures(with_, tasks))
    assert change.delta < 0
    assert change.p_value < 0.01
