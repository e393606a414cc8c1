"""The experiment runner: trials in, one tidy table out.

Every trial is one LangGraph run of one task under one stack. Trials are independent, so any
number of processes gives the same table; blocks of them are kept on disk as they finish.
"""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, lru_cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from coordkit.cases import UnknownCase, blaming, fingerprint, load_case
from coordkit.cases.base import Case, Evidence, Task
from coordkit.data.files import READERS
from coordkit.data.sample import SAMPLES
from coordkit.faults import TRANSPORT, Simulation
from coordkit.layers import LAYERS
from coordkit.layers.execution import GENERALIST, is_transient
from coordkit.layers.human import Approver, Review, SimulatedReviewer
from coordkit.layers.planning import SKILLS
from coordkit.layers.state import RunState
from coordkit.models import SIMULATED, MeteredChatModel
from coordkit.prices import Prices
from coordkit.prompt import Prompt, read_records, text_of
from coordkit.simulated import ModelUnavailable, SimulatedChatModel, faultless
from coordkit.stack import Stack, Workplace, build, trial_id

DATA_FILES = {*READERS, ".toml"}
BLOCK = 100  # tasks per unit of work: seconds of computing, and what a crash can lose
REMOTE_BLOCK = 5  # of a model that is waited for; its responses are kept one by one besides
REHEARSED = 5  # tasks, at most, that a case of one's own is tried on
CONCURRENCY = 4  # requests under way at a time to such a model


@dataclass(frozen=True)
class Settings:
    """Everything that determines the results of an experiment.

    Args:
        case: name of the case; your own is named like ``module:factory``.
        tasks: number of tasks; None takes all there are.
        trials: independent trials per task.
        data: folder of the user's own tables.
        simulation: settings of the simulated model, the seed included.
        stack: settings of the layers (its ``layers`` are replaced by each stack measured).
        reviewer_accuracy, reviewer_fatigue: the simulated reviewer.
        prices: price table.
        model, endpoint, sampling: which model, and for a real one where it is and what else
            determines its answers (`run` fills these in).

    ``version`` is worked out: a fingerprint of the data, of this package and of the libraries'
    versions, so that results from before a change of any are not taken for results after it.
    """

    case: str
    tasks: int | None = None
    trials: int = 1
    data: str = ""
    simulation: Simulation = field(default_factory=Simulation)
    stack: Stack = field(default_factory=Stack)
    reviewer_accuracy: float = 0.95
    reviewer_fatigue: float = 0.05
    prices: Prices = field(default_factory=Prices)
    model: str = SIMULATED
    endpoint: str = ""
    sampling: str = ""
    version: str = field(init=False, default="")

    def __post_init__(self) -> None:
        data = Path(self.data) if self.data else None
        package, libraries = Path(__file__).parent, json.dumps(versions())
        code = _digest(package, [*package.rglob("*.py"), *package.rglob("*.csv")])
        folder = data or SAMPLES / self.case
        # Only what may be read: results may be kept in that folder, too.
        tables = [path for path in folder.glob("*") if path.suffix.lower() in DATA_FILES]
        text = _digest(folder, [*tables, *folder.glob("terms/*.md"), *folder.glob("policies/*.md")])
        text += code + libraries
        if ":" in self.case:
            text += fingerprint(self.case, data)
        object.__setattr__(self, "version", blake2b(text.encode(), digest_size=8).hexdigest())

    def key(self) -> str:
        """A short fingerprint: the same settings, data and code continue the same run."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return blake2b(text.encode(), digest_size=4).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain data, for the manifest."""
        data = asdict(self)
        del data["stack"]["layers"]  # a frozenset, and each stack measured has its own
        return data


def _digest(folder: Path, paths: Iterable[Path]) -> str:
    """A fingerprint of files of a folder: results outlive neither their data nor their code."""
    digest = blake2b(digest_size=8)
    for path in sorted(path for path in paths if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


class Recorder(BaseCallbackHandler):
    """Listens to every model call of a trial, from outside the graph.

    Agents cannot see it; it is where the fault book and the trace come from.
    """

    run_inline = True

    def __init__(self) -> None:
        self.prompts: list[Any] = []
        self.replies: list[AIMessage] = []
        self.errors: list[BaseException] = []
        self.turns: list[tuple[int | None, Any]] = []  # (index of prompt, reply or error)

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.prompts.append(messages[0])

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        message = response.generations[0][0].message
        self.replies.append(message)
        self.turns.append((len(self.prompts) - 1, message))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)
        self.turns.append((len(self.prompts) - 1, error))

    def tokens(self) -> tuple[int, int]:
        """Input and output tokens so far."""
        usage = [m.usage_metadata for m in self.replies if m.usage_metadata]
        return sum(u["input_tokens"] for u in usage), sum(u["output_tokens"] for u in usage)


class Bench:
    """One stack on one case, compiled, ready to run trials one after the other.

    Args:
        at: case, model, stack, environment.
        approver: who answers the human layer's interrupts.
        checkpointer: where states are kept; default: in memory.
    """

    def __init__(
        self,
        at: Workplace,
        approver: Approver,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
    ) -> None:
        self.at, self.approver = at, approver
        self.saver = checkpointer or (InMemorySaver() if at.on("human") else None)
        self.graph = build(at, self.saver)
        in_memory = isinstance(self.saver, InMemorySaver)
        # LangGraph warns if told how to keep what is not kept at all
        self.durability: Any = None if self.saver is None else "exit" if in_memory else "sync"
        # hops may repeat steps; each step costs at most: agent, verify, router
        self.limit = 20 * len(at.case.steps) * (at.stack.retries + 1) + 4 * at.stack.hop_budget

    def config(self, task: Task, trial: int, recorder: BaseCallbackHandler | None) -> Any:
        """LangGraph's config for one trial."""
        return {
            "configurable": {"thread_id": f"{task.id}/{trial}"},
            "recursion_limit": self.limit,
            "callbacks": [recorder] if recorder else [],
        }

    def run(
        self,
        task: Task,
        trial: int = 0,
        recorder: Recorder | None = None,
        resume: bool = False,
    ) -> RunState:
        """Run one trial to its end, asking the approver where the graph interrupts.

        Args:
            task: what to work on.
            trial: 0-based trial.
            recorder: listens to the model calls.
            resume: go on from the checkpointer's last state of this trial, if it has one; what
                the trial has done in the environment so far is kept.

        Returns:
            The final state; transport faults that outlast the retries end it as ``crashed``.
        """
        fields: dict[str, Any] = {"id": task.id, "key": task.key, "fields": dict(task.fields)}
        start: RunState = {"task": fields, "trial": trial, "status": "running", "problem": ""}
        config = self.config(task, trial, recorder)
        if resume and self.saver and self.saver.get_tuple(config):
            begin: RunState | None = None
        else:
            begin = start
            self.at.environment.clear(trial_id(start))
            if task.repeated:  # the first delivery came earlier in the feed
                self.at.environment.write(trial_id(start), [], task.key)
        try:
            return self.finish(begin, task, config)
        except GraphRecursionError:
            return {**start, "status": "out_of_budget", "problem": "recursion limit"}
        except Exception as error:
            if not is_transient(error):
                raise
            return {**start, "status": "crashed", "problem": str(error)}
        finally:
            if isinstance(self.saver, InMemorySaver):
                self.saver.delete_thread(config["configurable"]["thread_id"])

    def finish(self, begin: RunState | None, task: Task, config: Any) -> RunState:
        """Run the graph to its end, answering its interrupts."""
        state: Any = self.graph.invoke(begin, config, durability=self.durability)
        while asked := state.get("__interrupt__"):
            shown = asked[0].value
            review = Review(self.at.case, task, shown["reason"], shown["proposal"], state["trial"])
            verdict = asdict(self.approver(review))
            state = self.graph.invoke(Command(resume=verdict), config, durability=self.durability)
        return state  # type: ignore[no-any-return]

    @cached_property
    def twin(self) -> Bench | None:
        """The same bench on a model that never slips; None for a real model.

        Its reviewer never errs. It acts in an environment of its own, so that what a trial did
        stays there to be looked at.
        """
        if (model := faultless(self.at.model)) is None:
            return None
        at = replace(self.at, model=model, environment=self.at.case.environment())
        return Bench(at, SimulatedReviewer(accuracy=1, fatigue=0))


def failure_of(bench: Bench, task: Task, state: RunState) -> str:
    """What the environment shows to be wrong, in one term; empty for a success.

    Graded on the database (for support: and the reply in it), never on the agents' words.
    """
    at, name = bench.at, trial_id(state)
    rows = at.environment.actions(name)
    approved = any(
        decision in ("approve", "edit") and reviewer != "house rules"
        for reviewer, decision in at.environment.approvals(name)
    )
    if at.case.needs_approval(rows, at.environment) and not approved:
        return "unapproved"
    if state["status"] in LOUD:  # not completed, even where nothing was left to be done
        return state["status"].replace("_", " ")
    return at.case.wrong(task, rows)


LOUD = ("held", "rejected", "crashed", "out_of_budget")


def run_trial(
    bench: Bench, task: Task, trial: int = 0, prices: Prices | None = None
) -> dict[str, Any]:
    """Run and grade one trial.

    Returns:
        One row of the results table (see ``COLUMNS``).
    """
    recorder, prices = Recorder(), prices or Prices()
    state = bench.run(task, trial, recorder)
    failure = failure_of(bench, task, state)
    book = fault_book(recorder, state, failed=bool(failure))
    verdict = state.get("verdict") or {}
    escalated = bool(verdict.get("reason"))
    spent_in, spent_out = recorder.tokens()
    calls = len(recorder.replies) + len(recorder.errors)
    cost = prices.of_tokens(spent_in, spent_out) + escalated * prices.per_review
    return {
        "case": bench.at.case.name,
        "stack": bench.at.stack.label,
        "task": task.id,
        "trial": trial,
        "failed": bool(failure),
        "failure": failure,
        "loud": bool(failure) and state["status"] in LOUD,
        "cause": cause_of(bench, task, trial, state, failure, recorder, book) if failure else "",
        "escalated": escalated,
        "decision": verdict.get("decision", ""),
        "calls": calls,
        "input_tokens": spent_in,
        "output_tokens": spent_out,
        "cost_usd": cost,
        "seconds": calls * prices.first_token_seconds + spent_out / prices.tokens_per_second,
        "faults": json.dumps(book),
    }


COLUMNS = {
    "case": "name of the case",
    "stack": "layers that were on, joined with +",
    "task": "task id",
    "trial": "0-based trial of the task",
    "failed": "the environment's final state is wrong, or the task was not completed",
    "failure": "what is wrong, in one term; empty for a success",
    "loud": "failed visibly: crashed, held, rejected or out of budget; other failures are silent",
    "cause": "why it failed, as `cause_of` has it: a slip as mode@step, what was missing, misread, "
    "...; empty for a success",
    "escalated": "a person was asked",
    "decision": "what the reviewer, or the house rules, decided",
    "calls": "model calls, failed deliveries included",
    "input_tokens": "tokens sent (counted; the simulated model counts four characters as one)",
    "output_tokens": "tokens received",
    "cost_usd": "tokens and reviews at the price table, USD; NaN if no prices are known",
    "seconds": "modelled latency of the calls, seconds; not the simulation's wall clock",
    "faults": "JSON list of injected faults: mode, step, attempt, fate",
}


# --- the fault book ------------------------------------------------------------------------------


def fault_book(recorder: Recorder, state: RunState, failed: bool) -> list[dict[str, Any]]:
    """Every injected fault of a trial with its one fate.

    repaired: a check sent it back, or a retry got through. shipped: the trial failed with the
    fault in it. escalated: a person was asked and the trial succeeded. harmless: none of these.
    """
    faults = [dict(f) for m in recorder.replies for f in m.response_metadata.get("faults", [])]
    lost = [error for error in recorder.errors if isinstance(error, ModelUnavailable)]
    faults += [
        {"mode": error.mode, "step": error.request.step, "attempt": error.request.attempt}
        for error in lost
    ]
    last = [e for e in lost[-1:] if (state["status"], state["problem"]) == ("crashed", str(e))]
    ended_by = {(error.request.step, error.request.attempt) for error in last}
    sent_back = _sent_back(recorder) if faults else set()
    for fault in faults:
        step, attempt = fault["step"], fault["attempt"]
        got_through = fault["mode"] in TRANSPORT and (step, attempt) not in ended_by
        if got_through or sent_back & {(step, attempt), (GENERALIST, attempt)}:
            fault["fate"] = "repaired"
        elif failed:
            fault["fate"] = "shipped"
        elif (state.get("verdict") or {}).get("reason"):
            fault["fate"] = "escalated"
        else:
            fault["fate"] = "harmless"
    return faults


def _sent_back(recorder: Recorder) -> set[tuple[str, int]]:
    """(step, attempt) of answers that a check sent back: the next attempt was told why.

    Read from the prompts, for a crash takes the graph's log with it.
    """
    prompts = [Prompt.read(messages) for messages in recorder.prompts]
    return {(p.request.step, p.request.attempt - 1) for p in prompts if p.request and p.critique}


def cause_of(
    bench: Bench,
    task: Task,
    trial: int,
    state: RunState,
    failure: str,
    recorder: Recorder,
    book: Sequence[Mapping[str, Any]],
) -> str:
    """Why a trial failed.

    ``reviewer`` if a person was asked. Otherwise slips are the cause if the same trial succeeds
    without any (a but-for test): the one that was shipped, or ``several slips``; in a loud failure
    the one of the whole call, or else the last. A trial that fails without slips, too, is judged by
    that: ``unapproved``, ``posted twice`` (or done), what was ``missing`` as far as the model could
    tell, or how the run ended (such as ``held``); else ``misread``.

    ``misread`` is all that goes wrong without a slip and without a guess: mostly a message whose
    intent is not understood, but also an answer from what was shown where something else was not.
    A customer's own terms are an example: no record names them, so with the house terms in the
    prompt nobody can know that there are others, and applying those of the house is no guess.
    A real model does not tell its slips and guesses: what it gets wrong is ``unknown``.
    """
    if (state.get("verdict") or {}).get("reason"):
        return "reviewer"
    shipped, twin = [f for f in book if f["fate"] == "shipped"], bench.twin
    if shipped and twin:
        recorder, loud = Recorder(), state["status"] in LOUD
        state = twin.run(task, trial, recorder)
        failure = failure_of(twin, task, state)
        if not failure and len(shipped) > 1 and not loud:
            return "several slips"  # which of them was needed is not looked into
        if not failure:
            of_call = [f for f in shipped if f["step"] == GENERALIST]
            culprit = (of_call or shipped)[-1] if loud else shipped[0]
            return f"{culprit['mode']}@{culprit['step']}"
    if failure == "unapproved" or failure.endswith(" twice"):
        return failure
    guessed = {g for m in recorder.replies for g in m.response_metadata.get("guessed", [])}
    if guessed:
        return "missing: " + ", ".join(sorted(guessed))
    if state["status"] != "done":
        return state["status"]
    return "misread" if twin else "unknown"


# --- many trials ---------------------------------------------------------------------------------


def simulated_model(case: Case, simulation: Simulation | None = None) -> SimulatedChatModel:
    """The default model for a case: its skills, and nothing else of it.

    Raises:
        UnknownCase: if it has no skill for the answer of a step.
    """
    skills = {**SKILLS, **case.skills()}
    if lost := [s.schema.__name__ for s in case.steps if s.schema.__name__ not in skills]:
        raise UnknownCase(
            f"case {case.name}: its skills() have none for {', '.join(lost)}, so the simulated "
            "model cannot answer; add one, or name a model of yours"
        )
    return SimulatedChatModel(skills=skills, simulation=simulation or Simulation())


def rehearse(settings: Settings) -> None:
    """See that the simulated model, without slips, can do one of a case's first few tasks.

    What skills, look-ups and checks of a case of one's own do wrong every time would look like a
    result otherwise. Whether the outcome is right is not asked: that is for the measurement.

    Args:
        settings: they name the case.

    Raises:
        UnknownCase: if a skill is missing, or if in each task an answer does not fit, or a look-up
            or check fails; the first of these is told.
        CaseFailed: if its code raises an error.
    """
    case = case_of(settings)
    with blaming(settings.case):
        bench = make_bench(settings, Stack.rung(4), faultless(simulated_model(case)))
    problems = []
    for task in [task for task in case.tasks if not task.repeated][:REHEARSED]:
        with blaming(settings.case, task.id):
            problem = _rehearse(bench, task)
        if not problem:
            return
        problems.append(f"case '{settings.case}', task {task.id}: {problem}")
    if problems:
        raise UnknownCase(problems[0])


def _rehearse(bench: Bench, task: Task) -> str:
    """What goes wrong in one task without slips, not counting its outcome; empty if nothing."""
    recorder = Recorder()
    state = bench.run(task, recorder=recorder)
    heard = [message for messages in recorder.prompts for message in messages]
    results = [text_of(m) for m in heard if isinstance(m, ToolMessage)]
    if failed := next((text for text in results if text.startswith("error: ")), ""):
        return f"a skill's look-up fails, {failed}"
    if state["status"] != "done":
        step = state.get("draft", {}).get("step", "a step")
        return f"at {step}, with no slip: {state['problem']}"
    seen = frozenset(source for m in heard for source, _ in read_records(text_of(m)))
    return _wrong_check(bench, task, state["answers"], seen)


def _wrong_check(bench: Bench, task: Task, answers: Mapping[str, Any], seen: frozenset[str]) -> str:
    """What a check returns, if that is no list of texts."""
    for step in bench.at.case.steps:
        inputs = {name: answers[name] for name in step.needs}
        evidence = Evidence(task.fields, inputs, seen, bench.at.environment)
        for check in bench.at.case.checks().get(step.name, ()):
            found: Any = check(answers[step.name], evidence)
            listed = isinstance(found, Sequence) and not isinstance(found, str)
            if not listed or not all(isinstance(text, str) for text in found):
                name = getattr(check, "__name__", check)
                return f"check {name} of {step.name} must return a list of texts, not {found!r}"
    return ""


@lru_cache(maxsize=1)
def _load(name: str, data: str, tasks: int | None, version: str) -> Case:
    return load_case(name, Path(data) if data else None, tasks)


def case_of(settings: Settings) -> Case:
    """The case that settings name, on their data; the last one is kept.

    Raises:
        ValueError: if the case is unknown.
        DataError: if a table cannot be used; the message names file, row and column.
    """
    return _load(settings.case, settings.data, settings.tasks, settings.version)


def make_bench(
    settings: Settings,
    stack: Stack,
    model: BaseChatModel | None = None,
    file: Path | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> Bench:
    """A bench for one stack under an experiment's settings.

    Args:
        settings: the experiment's; the stack's own settings come from here too.
        stack: which layers are on.
        model: in place of the simulated one.
        file: SQLite file of the environment; in memory if None.
        checkpointer: where states are kept; in memory if None.
    """
    case = case_of(settings)
    reviewer = SimulatedReviewer(
        settings.reviewer_accuracy, settings.reviewer_fatigue, settings.simulation.seed
    )
    stack = replace(settings.stack, layers=stack.layers)
    model = model or simulated_model(case, settings.simulation)
    return Bench(Workplace(case, model, stack, case.environment(file)), reviewer, checkpointer)


_thread = threading.local()


def _own_bench(settings: Settings, stack: Stack, model: BaseChatModel | None) -> Bench:
    """A bench of this thread's own, for two trials cannot share a database; the last is kept."""
    key = (settings.key(), stack, id(model))
    if getattr(_thread, "key", None) != key:
        _thread.bench = make_bench(settings, stack, model)
        _thread.key = key
    return _thread.bench  # type: ignore[no-any-return]


def _run_block(
    settings: Settings,
    block: Block,
    folder: Path,
    model: BaseChatModel | None,
    path: Sequence[str] = (),
) -> int:
    """Run one block of tasks, in this or another process or thread, and keep its table.

    Args:
        settings, block: what to run.
        folder: where the table goes.
        model: a real model; None makes the simulated one.
        path: where the module of a case of one's own is found.

    Returns:
        Number of trials.
    """
    sys.path += [place for place in path if place not in sys.path]  # it may be an older worker
    if multiprocessing.parent_process() and model is None:
        _settle_in()
    with blaming(settings.case):
        bench = _own_bench(settings, block.stack, model)
    rows = []
    for task in bench.at.case.tasks[block.start : block.start + block.size]:
        with blaming(settings.case, task.id):
            rows += [run_trial(bench, task, k, settings.prices) for k in range(settings.trials)]
    _write(pd.DataFrame(rows, columns=list(COLUMNS)), folder / block.file)
    return len(rows)


@cache
def _settle_in() -> None:
    """Once per worker process: leave Ctrl-C to the parent, end with it, collect garbage seldom.

    loky's workers would outlive a parent that was killed. On Windows they do: a process there is
    never told of another parent. Garbage is short-lived, and not to be looked for among modules.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@dataclass(frozen=True)
class Block:
    """A unit of work: one stack on a run of tasks."""

    stack: Stack
    start: int
    size: int

    @property
    def file(self) -> str:
        """Name of the block's own file while the run lasts."""
        return f"part-{self.stack.label.replace('+', '_')}-{self.start:06d}.parquet"


def run(
    settings: Settings,
    stacks: Sequence[Stack],
    runs: Path = Path("runs"),
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    model: MeteredChatModel | None = None,
) -> tuple[pd.DataFrame, Path]:
    """Measure stacks; the same settings continue what an interrupted run has finished.

    Args:
        settings: what to measure.
        stacks: which stacks, by their layers (what else is set comes from ``settings``); one given
            twice is returned once, and those that make the same graph (`Stack.acts_as`) are
            measured once.
        runs: folder for the results.
        processes: worker processes; None takes one per core, 1 stays in this process. With a real
            model: threads, which is how many requests are under way; None takes 4.
        progress: called with trials done and trials in all.
        model: a real model, as `coordkit.models.make` makes it; None for the simulated one.

    Returns:
        The table (one row per trial, ordered by stack and feed) and the folder with
        ``trials.parquet`` and ``manifest.json``.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after finished blocks are safe on disk.
        TypeError: if the model is none that `coordkit.models.make` has made.
        ModelProblem: if a real model cannot go on; what is finished is kept here too.
        UnknownCase: if the case has no skills for the simulated model.
        CaseFailed: if the code of a case of one's own raises an error.
    """
    simulated = model is None and settings.model == SIMULATED
    if not (simulated or isinstance(model, MeteredChatModel)):
        raise TypeError("give run() a model that coordkit.model() has made")
    settings = with_model(settings, model) if model else settings
    case = case_of(settings)
    if model is None and ":" in settings.case:
        rehearse(settings)
    stacks = list(dict.fromkeys(Stack(stack.layers) for stack in stacks))  # or rows would double
    folder = runs / f"{settings.case.replace(':', '.')}-{settings.key()}"
    folder.mkdir(parents=True, exist_ok=True)
    size = REMOTE_BLOCK if model else BLOCK
    starts = range(0, len(case.tasks), size)
    graphs = list(dict.fromkeys(stack.acts_as for stack in stacks))
    blocks = [Block(s, i, min(size, len(case.tasks) - i)) for s in graphs for i in starts]
    whole = _finished(folder / "trials.parquet")
    total = len(graphs) * len(case.tasks) * settings.trials
    todo = [b for b in blocks if b.stack.label not in whole and not (folder / b.file).exists()]
    done = total - sum(block.size for block in todo) * settings.trials
    progress(done, total)
    with model.running() if model else nullcontext() as asked:
        for rows in _run_blocks(settings, todo, folder, processes, asked):
            done += rows
            progress(done, total)
    with _alone_in(folder):
        table = _collect(folder, whole, stacks, blocks)
        _write_manifest(settings, sorted(_finished(folder / "trials.parquet")), folder)
    return table, folder


def _run_blocks(
    settings: Settings,
    blocks: Sequence[Block],
    folder: Path,
    processes: int | None,
    model: MeteredChatModel | None,
) -> Iterator[int]:
    """Run blocks in processes, or threads that wait for a real model; trials of each when done."""
    path = sys.path if ":" in settings.case else []
    pool = Parallel(
        n_jobs=1 if len(blocks) <= 1 else processes or (CONCURRENCY if model else -1),
        backend="threading" if model else None,
        return_as="generator_unordered",
        pre_dispatch="n_jobs" if model else "2*n_jobs",
    )
    yield from pool(delayed(_run_block)(settings, b, folder, model, path) for b in blocks)


def with_model(settings: Settings, model: MeteredChatModel) -> Settings:
    """Settings that name a real model, and its prices if they are known."""
    known = model.meter.prices or Prices(None, None)
    prices = replace(
        settings.prices,
        input_per_million=known.input_per_million,
        output_per_million=known.output_per_million,
    )
    return replace(settings, **model.identity, prices=prices)


def _write(frame: pd.DataFrame, path: Path) -> None:
    """Write whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    frame.to_parquet(partial, index=False)
    partial.replace(path)


def _by_stack(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(label): part for label, part in table.groupby("stack", sort=False)}


def _finished(path: Path) -> dict[str, pd.DataFrame]:
    return _by_stack(pd.read_parquet(path)) if path.exists() else {}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder until this ends, or this process does.

    SQLite's lock is the same on every system; it is asked for again and again, for Ctrl-C does
    nothing while SQLite waits.

    Raises:
        OSError: if the folder cannot be written.
    """
    try:
        with closing(sqlite3.connect(folder / ".lock", timeout=0.2, isolation_level=None)) as lock:
            while not lock.in_transaction:
                try:
                    lock.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                        raise
            yield
    except sqlite3.Error as error:
        raise OSError(errno.EACCES, str(error), str(folder / ".lock")) from None


def _collect(
    folder: Path, whole: dict[str, pd.DataFrame], stacks: Sequence[Stack], blocks: Sequence[Block]
) -> pd.DataFrame:
    """Put the parts together, keep them as one file, and drop the parts."""
    parts = whole | _finished(folder / "trials.parquet")  # another run may have been quicker
    files = [folder / block.file for block in blocks if block.stack.label not in parts]
    if files:
        parts |= _by_stack(pd.concat(map(pd.read_parquet, files), ignore_index=True))
    for stack in stacks:
        parts.setdefault(stack.label, parts[stack.acts_as.label].assign(stack=stack.label))
    _write(pd.concat(parts.values(), ignore_index=True), folder / "trials.parquet")
    for block in blocks:
        (folder / block.file).unlink(missing_ok=True)
    return pd.concat([parts[s.label] for s in stacks], ignore_index=True)


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    packages = ("coordkit", "langgraph", "langchain-core", "numpy", "scikit-learn", "scipy")
    return {name: version(name) for name in packages}


def _write_manifest(settings: Settings, labels: Sequence[str], folder: Path) -> None:
    manifest = {
        "settings": settings.as_dict(),
        "seed": settings.simulation.seed,
        "stacks": list(labels),
        "columns": COLUMNS,
        "versions": versions(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def ladder_stacks(rungs: Sequence[int] = range(7), knockouts: bool = True) -> list[Stack]:
    """The stacks of a ladder: its rungs, and the full stack without each layer, none twice."""
    stacks = [Stack.rung(k) for k in rungs]
    if knockouts and 6 in rungs:
        stacks += [Stack.rung(6).without(layer) for layer in LAYERS]
    return list(dict.fromkeys(stacks))
