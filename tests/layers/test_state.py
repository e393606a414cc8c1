"""State: what is shared and remembered, what is asked again without it, and where it is kept."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from coordkit.cases.base import Case
from coordkit.experiment import Recorder, failure_of
from coordkit.faults import Simulation
from coordkit.layers.human import Review, Verdict
from coordkit.layers.state import (
    ask_again,
    deliver,
    idempotency_key,
    known,
    latest,
    merge,
    open_checkpointer,
)
from coordkit.prompt import Prompt
from coordkit.stack import act, trial_id

TEAM = ("context", "planning", "execution")
ANSWERS = st.dictionaries(st.sampled_from("abcde"), st.integers(), max_size=5)


# --- the rules ------------------------------------------------------------------------------------


@given(ANSWERS, ANSWERS, ANSWERS)
def test_merging_keeps_everything_and_lets_newer_win(a, b, c) -> None:
    merged = merge(a, b)
    assert merged.keys() == a.keys() | b.keys()
    assert all(merged[key] == b.get(key, a.get(key)) for key in merged)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


def test_the_reducers_keep_answers_attempts_and_log(billing, bench) -> None:
    state = bench(billing, *TEAM, "state").run(billing.tasks[0])
    names = [step.name for step in billing.steps]
    assert list(state["answers"]) == names
    assert state["attempts"] == dict.fromkeys(names, 1)


def test_shared_answers_are_all_known_messages_only_from_the_step_before(billing) -> None:
    explain, answer = billing.step("explain"), {"kind": "exact"}
    shared = {"answers": {"extract": {"a": 1}, "match": {"b": 2}, "post": {"c": 3}}}
    assert known(shared, explain, True) == {"extract": {"a": 1}, "match": {"b": 2}}
    message = deliver({}, "match", {"b": 2}, False)
    assert known(message, explain, False) == {"match": {"b": 2}}
    assert "answers" not in message and "inbox" not in deliver({}, "match", {"b": 2}, True)
    assert latest(deliver({}, "explain", answer, True), True) == {"explain": answer}
    assert latest(deliver({}, "explain", answer, False), False) == {"explain": answer}


def test_an_answer_goes_back_to_who_asked_with_what_they_had(billing) -> None:
    state = {"inbox": {"match": {"b": 2}}}
    asked = ask_again(state, billing.step("explain"), "extract")
    assert asked["goto"] == "extract"
    back = deliver({**state, **asked}, "extract", {"a": 1}, False)
    assert (back["goto"], back["waiting"]) == ("explain", [])
    assert back["inbox"] == {"match": {"b": 2}, "extract": {"a": 1}}


# --- asking again ---------------------------------------------------------------------------------


def attempts(at, task) -> dict[str, int]:
    """How many answers were asked of each step, by what the model was sent."""
    recorder = Recorder()
    at.run(task, recorder=recorder)
    requests = [Prompt.read(prompt).request for prompt in recorder.prompts]
    return Counter(step for step, _ in {(r.step, r.attempt) for r in requests})


def test_without_shared_state_later_agents_ask_again(billing, bench) -> None:
    for layers in (TEAM, (*TEAM, "verification"), ("context", "execution")):
        counts = attempts(bench(billing, *layers), billing.tasks[0])
        counts.pop("router", None)
        assert counts == {"extract": 3, "match": 2, "explain": 1, "post": 1}


def test_shared_state_asks_each_step_once(billing, support, bench) -> None:
    for case in (billing, support):
        counts = attempts(bench(case, *TEAM, "state"), case.tasks[0])
        assert counts == dict.fromkeys((step.name for step in case.steps), 1)


def test_asking_again_is_a_fresh_draw(billing, bench) -> None:
    simulation = Simulation(reliability=0.5, correlation=0, mix={"transposed_digits": 1})
    at = bench(billing, *TEAM, simulation=simulation)
    differing = 0
    for task in [t for t in billing.tasks if not t.repeated][:20]:
        recorder = Recorder()
        at.run(task, recorder=recorder)
        asked = {
            request.attempt: reply.tool_calls[0]["args"]
            for prompt, reply in zip(recorder.prompts, recorder.replies, strict=True)
            if (request := Prompt.read(prompt).request).step == "extract"
        }
        assert set(asked) == {1, 2, 3}
        for answer in asked.values():
            answer.pop("confidence")
        differing += not asked[1] == asked[2] == asked[3]
    # three answers agree by chance with 1/8, or 1/8 more if a slip recurs in the same place
    assert differing >= 10


def test_the_question_carries_what_the_asker_has_at_hand(billing, bench) -> None:
    recorder = Recorder()
    bench(billing, *TEAM).run(billing.tasks[0], recorder=recorder)
    shown = [(p.request.step, set(p.answers)) for p in map(Prompt.read, recorder.prompts)]
    assert ("post", {"extract", "match", "explain"}) == shown[-1]
    assert all(set(billing.step(name).needs) == answers for name, answers in shown)


# --- posting once ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redelivered(billing) -> tuple:
    """A bank line and its second delivery."""
    second = next(task for task in billing.tasks if task.repeated)
    labels, fields = second.labels, second.fields
    first = replace(second, id=second.key, repeated=False, labels=labels, fields=fields)
    return first, second


@pytest.mark.parametrize("layers", [(), ("context",), TEAM, (*TEAM, "verification")])
def test_a_redelivered_line_is_posted_twice_without_the_layer(
    billing, bench, redelivered, layers
) -> None:
    first, second = redelivered
    without, with_layer = bench(billing, *layers), bench(billing, *layers, "state")
    for at, posted in [(without, True), (with_layer, False)]:
        environment = at.at.environment
        assert environment.actions(trial_id(at.run(first)))  # the first is posted in any case
        state = at.run(second)
        assert bool(environment.actions(trial_id(state))) is posted
        assert failure_of(at, second, state) == ("posted twice" if posted else "")


def test_the_ledger_answers_before_any_model_is_asked(billing, bench, redelivered) -> None:
    recorder = Recorder()
    state = bench(billing, *TEAM, "state").run(redelivered[1], recorder=recorder)
    assert recorder.prompts == []
    assert (state["status"], state["problem"]) == ("done", "already processed")


@pytest.mark.parametrize("shared", [True, False])
def test_acting_again_writes_again_only_without_the_layer(billing, bench, shared) -> None:
    at = bench(billing, *TEAM, *(["state"] if shared else []))
    task = next(task for task in billing.tasks if task.labels["kind"] == "exact")
    state = at.run(task)
    environment, name = at.at.environment, trial_id(state)
    before = environment.actions(name)
    assert len(before) == 1
    again = act(at.at, state)
    act(at.at, state)
    assert environment.actions(name) == (before if shared else before * 3)
    assert again["problem"] == ("already processed" if shared else "")


def test_trials_and_tasks_have_ledgers_of_their_own(billing, bench) -> None:
    at = bench(billing, *TEAM, "state")
    task = next(task for task in billing.tasks if task.labels["kind"] == "exact")
    names = [trial_id(at.run(task, trial)) for trial in (0, 1)]
    rows = [at.at.environment.actions(name) for name in names]
    assert rows[0] == rows[1] and len(rows[0]) == 1


def test_the_key_is_the_tasks_and_only_with_the_layer() -> None:
    assert idempotency_key({"key": "BNK-1"}, True) == "BNK-1"
    assert idempotency_key({"key": "BNK-1"}, False) == ""


# --- where checkpoints are kept -------------------------------------------------------------------


def _postgres_tool(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of our own on a free loopback port."""
    pytest.importorskip("psycopg", reason="the postgres extra is not installed")
    initdb, pg_ctl = _postgres_tool("initdb"), _postgres_tool("pg_ctl")
    if not initdb or not pg_ctl:
        pytest.skip("no PostgreSQL server to start: initdb and pg_ctl are not installed")
    as_root = sys.platform != "win32" and os.getuid() == 0
    user = {"user": "nobody"} if as_root else {}  # initdb refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # pytest's own is closed to nobody
        if as_root:
            shutil.chown(folder, "nobody")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data, options = f"{folder}/data", f"-h 127.0.0.1 -p {port} -k '{folder}' -F"
        log = f"{folder}/log"
        common = {"cwd": folder, "capture_output": True, "text": True, **user}
        create = [initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]
        start = [pg_ctl, "-D", data, "-l", log, "-o", options, "-w", "start"]
        for command in (create, start):
            done = subprocess.run(command, **common)
            if done.returncode:
                pytest.skip(f"PostgreSQL does not start here: {done.stderr.strip()[-200:]}")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            stop = [pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"]
            subprocess.run(stop, check=True, **common)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def address(request, tmp_path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres")
    return "" if request.param == "memory" else str(tmp_path / "checkpoints.sqlite")


class NobodyThere(Exception):
    """The reviewer is not at the desk."""


def away(review: Review) -> Verdict:
    raise NobodyThere


def _needs_a_person(case: Case):
    return next(
        task
        for task in case.tasks
        if not task.repeated and case.money_out(case.actions(case.reference(task))) > 50_000
    )


def test_a_run_waits_in_the_checkpointer_for_its_reviewer(billing, bench, address) -> None:
    """The graph stops at the interrupt; another bench goes on where the first one stopped."""
    task, layers = _needs_a_person(billing), (*TEAM, "state", "human")
    with open_checkpointer(address) as saver:
        first = bench(billing, *layers, approver=away, checkpointer=saver)
        with pytest.raises(NobodyThere):
            first.run(task)
        assert first.at.environment.actions(f"{task.id}/trial-0") == []
        if not address:
            assert isinstance(saver, InMemorySaver)
            assert saver.get_tuple(first.config(task, 0, None)) is None  # in memory: nothing lasts
            return
    with open_checkpointer(address) as saver:
        asked = []

        def approve(review: Review) -> Verdict:
            asked.append(review)
            return Verdict("approve")

        recorder = Recorder()
        second = bench(billing, *layers, approver=approve, checkpointer=saver)
        state = second.run(task, recorder=recorder, resume=True)
        assert recorder.prompts == [], "answered steps were asked again"
        assert [review.reason.split(":")[0] for review in asked] == ["high stakes"]
        assert failure_of(second, task, state) == ""
        assert saver.get_tuple(second.config(task, 0, None)) is not None


def test_an_unknown_thread_starts_from_the_top(billing, bench, address) -> None:
    with open_checkpointer(address) as saver:
        at = bench(billing, *TEAM, "state", checkpointer=saver)
        state = at.run(billing.tasks[1], trial=7, resume=True)
        assert failure_of(at, billing.tasks[1], state) == ""
