"""Layer 4, state: what an agent knows of the work of the others, and what outlives a crash.

Off: an agent sees only the message of the step before it and asks again for what it lacks; a
question carries what the asker has at hand. Nothing remembers what was already posted.
On: typed shared state with reducers, a checkpointer, and a ledger with idempotency keys.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from coordkit.cases.base import Step
from coordkit.prompt import Answer


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Reducer: newer entries win, nothing else is forgotten."""
    return {**old, **new}


class RunState(TypedDict, total=False):
    """The graph's state for one trial.

    The shared answers exist only with the layer on; inbox and waiting only with it off.
    """

    task: dict[str, Any]  # the task's fields, and its id
    trial: int
    status: str  # running, done, held, rejected, crashed, out_of_budget
    problem: str  # why the status is not running
    records: str  # what context put in front of everybody
    answers: Annotated[dict[str, Answer], merge]  # shared state: accepted answers by step
    inbox: dict[str, Answer]  # what the next agent is told
    waiting: list[dict[str, Any]]  # agents that asked and wait: {"step", "inbox"}
    goto: str  # the step to do next, where that is not the plan's business
    attempts: Annotated[dict[str, int], merge]  # answers asked of each step so far
    draft: dict[str, Any]  # the latest answer, before it is accepted
    rejections: int  # of the current draft
    critique: str
    hops: int
    final: Answer  # the last step's answer, as it will be acted on
    verdict: dict[str, Any]
    log: Annotated[list[dict[str, Any]], operator.add]  # what the layers did, for the trace


def event(layer: str, did: str, **details: Any) -> list[dict[str, Any]]:
    """One entry of the log: which layer did what."""
    return [{"layer": layer, "did": did, **details}]


def known(state: RunState, step: Step, shared: bool) -> dict[str, Answer]:
    """The earlier answers at hand for a step that needs them.

    Args:
        state: the graph's state.
        step: the step about to be done.
        shared: whether the layer is on.
    """
    answers = state.get("answers", {}) if shared else state.get("inbox", {})
    return {name: answers[name] for name in step.needs if name in answers}


def ask_again(state: RunState, step: Step, missing: str) -> RunState:
    """Layer off: put the asker on hold and send its question to the agent of another step."""
    inbox = state.get("inbox", {})
    frame = {"step": step.name, "inbox": inbox}
    note = event("state", f"{step.name} asks {missing} again", step=step.name)
    return {"waiting": [*state.get("waiting", []), frame], "goto": missing, "log": note}


def deliver(state: RunState, step: str, answer: Answer, shared: bool) -> RunState:
    """Pass an accepted answer on.

    With the layer on it joins the shared answers. With it off it goes to whoever asked for it, or
    becomes the one message that the next agent gets.
    """
    clean: RunState = {"draft": {}, "rejections": 0, "critique": "", "goto": ""}
    if shared:
        return {**clean, "answers": {step: answer}}
    waiting = state.get("waiting", [])
    if not waiting:
        return {**clean, "inbox": {step: answer}}
    asker = waiting[-1]
    inbox = {**asker["inbox"], step: answer}
    return {**clean, "inbox": inbox, "waiting": waiting[:-1], "goto": asker["step"]}


def latest(state: RunState, shared: bool) -> dict[str, Answer]:
    """All the answers that can be seen from outside the agents."""
    return dict(state.get("answers", {}) if shared else state.get("inbox", {}))


@contextmanager
def open_checkpointer(address: str = "") -> Iterator[BaseCheckpointSaver[Any]]:
    """A checkpointer by its address.

    Args:
        address: empty keeps checkpoints in memory; ``postgresql://…`` opens Postgres (needs the
            ``postgres`` extra); anything else is the path of an SQLite file.

    Raises:
        ModuleNotFoundError: if Postgres is asked for without the extra.
    """
    if not address:
        yield InMemorySaver()
    elif address.startswith(("postgres://", "postgresql://")):
        from langgraph.checkpoint.postgres import PostgresSaver

        with PostgresSaver.from_conn_string(address) as saver:
            saver.setup()
            yield saver
    else:
        from langgraph.checkpoint.sqlite import SqliteSaver

        with SqliteSaver.from_conn_string(address) as saver:
            yield saver


def idempotency_key(task: Mapping[str, Any], shared: bool) -> str:
    """The key under which the ledger remembers this task's work; empty if nothing remembers."""
    return str(task["key"]) if shared else ""
