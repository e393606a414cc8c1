"""Execution: the tool loop, what counts as an answer, and which faults are sent again."""

from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from coordkit.experiment import Recorder, failure_of
from coordkit.faults import Simulation
from coordkit.layers.context import DirectTools
from coordkit.layers.execution import (
    GENERALIST,
    ask,
    generalist_instruction,
    generalist_schema,
    is_transient,
    retry_policy,
)
from coordkit.prompt import Prompt
from coordkit.stack import Stack


class Colour(BaseModel):
    """A colour."""

    name: str
    share: float


def look_up(thing: str) -> str:
    """Find the colour of a thing."""
    return f'[things/{thing}] {{"colour": "red"}}' if thing == "T-1" else ""


TOOLS = DirectTools({"look_up": look_up})
PROMPT = [HumanMessage("Which colour?")]
ANSWER = {"name": "red", "share": 0.5}


def results_shown(model) -> list[str]:
    """The tool results in the last conversation that a model heard."""
    return [m.text for m in model.heard[-1] if isinstance(m, ToolMessage)]


# --- asking for one answer ------------------------------------------------------------------------


def test_an_answer_in_the_schema_is_taken_as_it_is(scripted, call) -> None:
    model = scripted(call("Colour", **ANSWER))
    turn = ask(model, PROMPT, Colour)
    assert (turn.answer, turn.problem, turn.seen) == (ANSWER, "", frozenset())
    assert model.offered == [["Colour"]]


def test_look_ups_come_before_the_answer(scripted, call) -> None:
    model = scripted(call("look_up", thing="T-1"), call("Colour", **ANSWER))
    turn = ask(model, PROMPT, Colour, ["look_up"], TOOLS)
    assert turn.answer == ANSWER
    assert turn.seen == {"things/T-1"}
    assert model.offered == [["look_up", "Colour"]] * 2
    assert results_shown(model) == ['[things/T-1] {"colour": "red"}']


def test_several_look_ups_in_one_round_are_all_answered(scripted, call) -> None:
    both = [{"name": "look_up", "args": {"thing": thing}, "id": thing} for thing in ("T-1", "T-2")]
    model = scripted(AIMessage("", tool_calls=both), call("Colour", **ANSWER))
    ask(model, PROMPT, Colour, ["look_up"], TOOLS)
    results = [m for m in model.heard[-1] if isinstance(m, ToolMessage)]
    assert [(m.tool_call_id, m.text) for m in results] == [
        ("T-1", '[things/T-1] {"colour": "red"}'),
        ("T-2", "no results"),
    ]


def test_a_wrong_tool_call_is_answered_with_an_error_text(scripted, call) -> None:
    for wrong in (call("paint", thing="T-1"), call("look_up", color="red")):
        model = scripted(wrong, call("Colour", **ANSWER))
        assert ask(model, PROMPT, Colour, ["look_up"], TOOLS).answer == ANSWER
        assert results_shown(model)[0].startswith("error: ")


@pytest.mark.parametrize("rounds", [1, 3])
def test_rounds_of_look_ups_are_bounded(scripted, call, rounds) -> None:
    model = scripted(call("look_up", thing="T-1"))
    turn = ask(model, PROMPT, Colour, ["look_up"], TOOLS, rounds)
    assert turn.answer is None
    assert turn.problem == "no answer within the allowed rounds of tool calls"
    assert len(model.heard) == rounds + 1


def test_an_answer_after_the_last_round_still_counts(scripted, call) -> None:
    look = call("look_up", thing="T-1")
    model = scripted(look, look, look, call("Colour", **ANSWER))
    assert ask(model, PROMPT, Colour, ["look_up"], TOOLS, rounds=3).answer == ANSWER


@pytest.mark.parametrize(
    "reply",
    [
        AIMessage("The colour is red."),
        AIMessage(
            "",
            invalid_tool_calls=[{"name": "Colour", "args": '{"name": "re', "id": "1", "error": ""}],
        ),
    ],
    ids=["no call", "invalid JSON"],
)
def test_output_that_cannot_be_read_is_no_answer(scripted, reply) -> None:
    for toolbox in (None, TOOLS):
        turn = ask(scripted(reply), PROMPT, Colour, ["look_up"] if toolbox else [], toolbox)
        assert (turn.answer, turn.problem) == (
            None,
            "the output is not valid JSON for the schema",
        )


def test_a_mismatch_with_the_schema_is_named(scripted, call) -> None:
    turn = ask(scripted(call("Colour", name="red", share="much")), PROMPT, Colour)
    assert turn.answer is None
    assert turn.problem.startswith("the output does not fit the schema at share: ")


def test_an_error_of_a_tool_itself_is_not_swallowed(scripted, call) -> None:
    def broken(thing: str) -> str:
        """Find nothing."""
        raise KeyError(thing)

    with pytest.raises(KeyError, match="T-1"):
        ask(
            scripted(call("broken", thing="T-1")),
            PROMPT,
            Colour,
            ["broken"],
            DirectTools({"broken": broken}),
        )


# --- one prompt for everything, or one per step ---------------------------------------------------


def test_without_the_layer_one_call_asks_for_every_step(billing, bench) -> None:
    recorder = Recorder()
    bench(billing, "context").run(billing.tasks[0], recorder=recorder)
    (prompt,) = recorder.prompts
    assert Prompt.read(prompt).request.step == GENERALIST
    assert all(step.instruction in prompt[0].text for step in billing.steps)
    (reply,) = recorder.replies
    assert list(reply.tool_calls[0]["args"]) == [step.name for step in billing.steps]


def test_the_generalists_schema_and_instruction_cover_all_steps(billing) -> None:
    fields = generalist_schema(billing.steps).model_fields
    assert {name: field.annotation for name, field in fields.items()} == {
        step.name: step.schema for step in billing.steps
    }
    assert generalist_instruction(billing.steps).count("\n") == len(billing.steps) - 1


def test_with_the_layer_each_step_has_its_own_call_and_its_own_tools(billing, bench) -> None:
    at = bench(billing, "context", "planning", "execution", "state")
    recorder = Recorder()
    at.run(billing.tasks[0], recorder=recorder)
    read = [Prompt.read(prompt) for prompt in recorder.prompts]
    assert {p.request.step: p.instruction for p in read} == {
        step.name: step.instruction for step in billing.steps
    }
    called = {c["name"] for m in recorder.replies for c in m.tool_calls}
    assert called <= {tool for step in billing.steps for tool in step.tools} | {
        step.schema.__name__ for step in billing.steps
    }
    assert "get_invoices" in called


def test_only_the_steps_that_read_the_task_are_shown_it(billing, bench) -> None:
    recorder = Recorder()
    bench(billing, "context", "planning", "execution", "state").run(
        billing.tasks[0], recorder=recorder
    )
    shown = {p.request.step: bool(p.task) for p in map(Prompt.read, recorder.prompts)}
    assert shown == {"extract": True, "match": False, "explain": False, "post": False}


# --- transport faults -----------------------------------------------------------------------------

AGENTS = ("context", "planning", "execution", "state")
PLAN = ["extract", "match", "explain", "post"]


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        *[
            (SimpleNamespace(status_code=code), True)
            for code in (408, 409, 429, 500, 502, 503, 504)
        ],
        *[(SimpleNamespace(status_code=code), False) for code in (400, 401, 403, 404, 422, None)],
        # clients' own classes, which have neither a status nor Python's classes above them
        (type("APITimeoutError", (Exception,), {})(), True),
        (type("APIConnectionError", (Exception,), {})(), True),
        (type("ReadTimeout", (Exception,), {})(), True),
        (ValueError(), False),
        (RuntimeError(), False),
    ],
    ids=repr,
)
def test_what_is_worth_sending_again(error, transient) -> None:
    assert is_transient(error) is transient


def test_the_policy_is_langgraphs(billing) -> None:
    policy = retry_policy(3, 0.5)
    assert (policy.max_attempts, policy.initial_interval, policy.jitter) == (3, 0.5, True)
    assert policy.retry_on is is_transient
    assert retry_policy(3, 0).jitter is False


def deliveries(recorder: Recorder, step: str) -> list[tuple[int, int]]:
    """(attempt, delivery) of every request for a step."""
    requests = [Prompt.read(prompt).request for prompt in recorder.prompts]
    return [(r.attempt, r.delivery) for r in requests if r.step == step]


def failing(step_skill, error: Exception, times: int):
    """A skill that raises an error so many times, then does its work."""
    left = [error] * times

    def skill(prompt: Prompt):
        if left:
            raise left.pop()
        return step_skill(prompt)

    return skill


def test_a_lost_request_is_sent_again_under_the_next_delivery_number(billing, bench) -> None:
    flaky = failing(billing.skills()["Explain"], ConnectionError("lost"), 2)
    at, recorder = bench(billing, *AGENTS, skills={"Explain": flaky}), Recorder()
    task = billing.tasks[0]
    state = at.run(task, recorder=recorder)
    assert list(dict.fromkeys(deliveries(recorder, "explain"))) == [(1, 1), (1, 2), (1, 3)]
    assert set(deliveries(recorder, "match")) == {(1, 1)}
    assert failure_of(at, task, state) == ""


@pytest.mark.parametrize("allowed", [1, 3])
def test_a_request_lost_on_every_delivery_crashes_the_task(billing, bench, allowed) -> None:
    dead = failing(None, ConnectionError("the line is dead"), 99)
    stack = Stack.of(*AGENTS, deliveries=allowed)
    at, recorder = bench(billing, stack=stack, skills={"Match": dead}, plan=PLAN), Recorder()
    state = at.run(billing.tasks[0], recorder=recorder)
    assert deliveries(recorder, "match") == [(1, i + 1) for i in range(allowed)]
    assert (state["status"], state["problem"]) == ("crashed", "the line is dead")
    assert failure_of(at, billing.tasks[0], state) == "crashed"


def test_the_routers_requests_are_sent_again_too(billing, bench) -> None:
    def lost_once(prompt: Prompt):
        if prompt.request.delivery == 1:
            raise TimeoutError
        return {"next_step": "done"}

    at, recorder = bench(billing, "execution", skills={"NextStep": lost_once}), Recorder()
    assert at.run(billing.tasks[0], recorder=recorder)["status"] == "done"
    assert deliveries(recorder, "router") == [(1, 1), (1, 2)]


def test_without_the_layer_a_lost_request_is_final(billing, bench) -> None:
    dead = failing(None, ConnectionError("the line is dead"), 1)
    at, recorder = bench(billing, "context", "state", skills={"Extract": dead}), Recorder()
    state = at.run(billing.tasks[0], recorder=recorder)
    assert deliveries(recorder, GENERALIST) == [(1, 1)]
    assert state["status"] == "crashed"


def test_simulated_transport_faults_get_through_as_often_as_they_should(billing, bench) -> None:
    simulation = Simulation(
        reliability=0.6, correlation=0, mix={"rate_limited": 1, "server_error": 1, "timed_out": 1}
    )
    with_layer = bench(billing, *AGENTS, simulation=simulation)
    without = bench(billing, "context", "state", simulation=simulation)
    tasks = [task for task in billing.tasks if not task.repeated][:60]
    recorder = Recorder()
    crashed = [with_layer.run(t, recorder=recorder)["status"] == "crashed" for t in tasks]
    numbers = {number for step in PLAN for _, number in deliveries(recorder, step)}
    assert numbers == {1, 2, 3}
    lost = [without.run(t)["status"] == "crashed" for t in tasks]
    # three deliveries of each of four requests, against one delivery of one
    for share, expected in [(crashed, 1 - (1 - 0.4**3) ** 4), (lost, 0.4)]:
        error = (expected * (1 - expected) / len(tasks)) ** 0.5
        assert abs(sum(share) / len(tasks) - expected) < 4 * error


@pytest.mark.parametrize("layers", [AGENTS, ("context", "execution"), ("context",)])
def test_other_errors_are_not_swallowed(billing, bench, layers) -> None:
    class BadRequest(Exception):
        status_code = 400

    for error in (RuntimeError("a bug"), BadRequest("no such model")):
        skills = {"Extract": failing(None, error, 1)}
        recorder = Recorder()
        at = bench(billing, *layers, skills=skills)
        with pytest.raises(type(error), match=str(error)):
            at.run(billing.tasks[0], recorder=recorder)
        assert len(recorder.errors) == 1
