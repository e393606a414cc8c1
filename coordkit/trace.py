"""The story of one trial, step by step, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from textwrap import TextWrapper, shorten
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.types import Command

from coordkit.cases.base import Row, Task
from coordkit.experiment import Bench, Recorder, cause_of, failure_of, fault_book
from coordkit.layers.state import RunState
from coordkit.prompt import Answer, Prompt, read_records
from coordkit.stack import trial_id

CELL = 300  # characters shown of one value
SOURCES = 6  # source ids named of what was shown
_LINES = TextWrapper(98, initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False)


class Storyteller(Recorder):
    """A recorder whose turns also hold, without a prompt, the events that the layers note."""

    def on_chain_end(self, outputs: Any, *, parent_run_id: Any = None, **kwargs: Any) -> None:
        if parent_run_id is None:  # a node's update has new events; the graph's end repeats them
            return
        outputs = outputs.update if isinstance(outputs, Command) else outputs
        events = outputs.get("log", []) if isinstance(outputs, dict) else []
        told = {id(turn) for _, turn in self.turns}
        self.turns += [(None, event) for event in events if id(event) not in told]


def tell(bench: Bench, task: Task, trial: int = 0) -> str:
    """Run one trial and tell what happened.

    Args:
        bench: the stack and case to run it on.
        task: the task.
        trial: 0-based trial.

    Returns:
        Plain text: the task; what each agent saw, answered and how confident it was; the faults
        injected; what each layer did; the environment afterwards; the right outcome; and why the
        trial failed, if it did.
    """
    recorder = Storyteller()
    state = bench.run(task, trial, recorder)
    name = trial_id(state)
    rows, approvals = bench.at.environment.actions(name), bench.at.environment.approvals(name)
    failure = failure_of(bench, task, state)
    book = fault_book(recorder, state, failed=bool(failure))
    cause = cause_of(bench, task, trial, state, failure, recorder, book) if failure else ""
    heading = f"{bench.at.case.name} {task.id}, trial {trial}, layers: {bench.at.stack.label}"
    told = [f"{key}: {_value(value)}" for key, value in task.fields.items()]
    if task.repeated:
        told.append("(delivered before: an earlier task has the same key)")
    faults = [f"{f['mode']} at {f['step']}, attempt {f['attempt']}: {f['fate']}" for f in book]
    right = bench.at.case.actions(bench.at.case.reference(task))
    blocks = [
        heading + "\n" + "=" * len(heading),
        _block("Task", told),
        *_steps(recorder, bench),
        _block("Faults injected", faults or ["none"]),
        _block("Environment afterwards", _rows(rows) + [f"{d} by {r}" for r, d in approvals]),
        _block("Right outcome", _rows(right)),
        _block("Verdict", _verdict(state, failure, cause)),
    ]
    return "\n\n".join(blocks)


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *map(_LINES.fill, lines)])


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shorten(text, CELL, placeholder=" …")


def _rows(rows: Sequence[Row]) -> list[str]:
    lines = []
    for account, reference, cents, note in rows:
        amount = f"{cents / 100:,.2f}" if cents else ""
        lines.append(" ".join(filter(None, (account, reference, amount, _value(note)))))
    return lines or ["nothing written"]


def _verdict(state: RunState, failure: str, cause: str) -> list[str]:
    ended = state["status"] + (f" ({_value(state['problem'])})" if state.get("problem") else "")
    lines = [f"the run ended as: {ended}"]
    if not failure:
        return [*lines, "SUCCESS: the environment is as it should be"]
    return [*lines, f"FAILURE: {failure}", f"cause: {cause}"]


# --- the steps -----------------------------------------------------------------------------------


def _steps(recorder: Recorder, bench: Bench) -> list[str]:
    """One block per request (its rounds of look-ups together) and per thing a layer did."""
    plan = ["the plan, made beforehand: " + " → ".join(bench.at.plan)]
    blocks = [("planning", plan)] if bench.at.plan else []
    told = set[str]()
    for index, what in recorder.turns:
        if index is None:
            blocks.append((what["layer"], [what["did"]]))
            continue
        messages = recorder.prompts[index]
        prompt = Prompt.read(messages)
        if not blocks or blocks[-1][0] != _title(prompt):
            blocks.append((_title(prompt), _saw(prompt, told)))
        lines = [*_results(messages), *_said(what)]
        blocks[-1][1].extend(lines)
        told.update(line.removeprefix("answered ") for line in lines)
    return [_block(title, lines) for title, lines in blocks]


def _title(prompt: Prompt) -> str:
    request = prompt.request
    if request is None:
        return "a request"
    again = f", delivery {request.delivery}" if request.delivery > 1 else ""
    return f"agent {request.step}, attempt {request.attempt}{again}"


def _saw(prompt: Prompt, told: set[str]) -> list[str]:
    """What a prompt shows besides its instruction; answers told before are not told again."""
    lines = ["saw the task"] if prompt.task else []
    for step, answer in prompt.answers.items():
        text = _answer(answer)
        lines.append(f"saw {step}'s answer" + (" (above)" if text in told else f": {text}"))
    if prompt.records and not prompt.rounds:
        lines.append(f"saw {_sources(list(prompt.records))}")
    if prompt.critique:
        lines.append(f"saw the critique: {_value(prompt.critique)}")
    return lines or ["saw only its instruction"]


def _sources(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - SOURCES} more" if len(sources) > SOURCES else ""
    noun = "record or document" if len(sources) == 1 else "records and documents"
    return f"{len(sources)} {noun}: {', '.join(sources[:SOURCES])}{more}"


def _results(messages: Sequence[BaseMessage]) -> list[str]:
    """What the latest round of look-ups returned."""
    last = takewhile(lambda message: message.type == "tool", reversed(messages))
    latest = [str(message.text) for message in last][::-1]
    found = [source for text in latest for source, _ in read_records(text)]
    errors = [f"the tool answered: {_value(t)}" for t in latest if t.startswith("error")]
    if latest and not found and not errors:
        return ["the look-up found nothing"]
    return [*errors, *([f"was given {_sources(found)}"] if found else [])]


def _said(reply: AIMessage | BaseException) -> list[str]:
    if not isinstance(reply, AIMessage):
        return [f"NO ANSWER: {reply}"]
    about = reply.response_metadata.get
    faults = [f"  ! injected here: {f['mode']} at {f['step']}" for f in about("faults", [])]
    guessed = about("guessed", [])
    notes = [f"  ? had to guess: {', '.join(guessed)}"] if guessed else []
    garbled = [f"answered, garbled: {_value(c['args'])}" for c in reply.invalid_tool_calls]
    if not (reply.tool_calls or garbled):  # a real model may say anything, or be cut off
        words = about("problem") or str(reply.text) or "nothing"
        garbled = [f"answered in words: {_value(words)}"]
    return [*map(_call, reply.tool_calls), *garbled, *notes, *faults]


def _call(call: Mapping[str, Any]) -> str:
    """A call of a look-up tool, or the answer: that is a call named like a class."""
    if call["name"][:1].isupper():
        return f"answered {_answer(call['args'])}"
    arguments = ", ".join(f"{k}={json.dumps(v)}" for k, v in call["args"].items())
    return f"looked up {call['name']}({_value(arguments)})"


def _answer(answer: Answer) -> str:
    """An answer without its sources, its confidence at the end."""
    shown = {k: v for k, v in answer.items() if k not in ("sources", "confidence")}
    sure = answer.get("confidence")
    return _value(shown) + (f" (confidence {sure:.2f})" if sure is not None else "")
