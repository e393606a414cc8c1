"""Planning: a plan is checked against the dependencies; without one the model picks each step."""

from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.cases import billing as billing_case
from coordkit.cases import support as support_case
from coordkit.cases.base import Step, StepAnswer
from coordkit.experiment import Recorder, failure_of, run_trial, simulated_model
from coordkit.faults import Simulation
from coordkit.layers.planning import (
    DONE,
    check_plan,
    choose_next,
    dependency_order,
    make_plan,
    next_step_schema,
    plan_schema,
)
from coordkit.prompt import Prompt, Request
from coordkit.stack import Stack

ALL_STEPS = {"billing": billing_case.STEPS, "support": support_case.STEPS}
each_case = pytest.mark.parametrize("steps", ALL_STEPS.values(), ids=ALL_STEPS)


def names(steps: Sequence[Step]) -> list[str]:
    return [step.name for step in steps]


def in_order(plan: Sequence[str], steps: Sequence[Step]) -> bool:
    """Whether every step of a permutation comes after all that it needs."""
    place = {name: i for i, name in enumerate(plan)}
    return all(place[need] < place[step.name] for step in steps for need in step.needs)


# --- checking a plan ------------------------------------------------------------------------------


@each_case
def test_a_permutation_is_accepted_exactly_if_dependencies_hold(steps) -> None:
    verdicts = {plan: not check_plan(plan, steps) for plan in permutations(names(steps))}
    assert verdicts == {plan: in_order(plan, steps) for plan in verdicts}
    assert 0 < sum(verdicts.values()) < len(verdicts)


@each_case
@given(data=st.data())
def test_every_missing_or_repeated_step_is_named(steps, data) -> None:
    plan = data.draw(st.lists(st.sampled_from(names(steps)), max_size=10))
    problems = check_plan(plan, steps)
    for name in names(steps):
        times = plan.count(name)
        wrong = f"{name} must be there once, not {times} times"
        assert (wrong in problems) == (times != 1)


def test_a_misplaced_step_is_named_with_what_it_needs() -> None:
    problems = check_plan(["match", "extract", "explain", "post"], billing_case.STEPS)
    assert problems == ["match comes before extract"]
    assert check_plan([], billing_case.STEPS)  # an empty plan is none


@each_case
def test_the_dependency_order_passes_the_check(steps) -> None:
    assert check_plan(dependency_order(steps), steps) == []


def test_a_plan_can_only_name_the_steps() -> None:
    schema = plan_schema(billing_case.STEPS).model_json_schema()
    assert schema["properties"]["order_of_steps"]["items"]["enum"] == names(billing_case.STEPS)
    choices = next_step_schema(billing_case.STEPS).model_json_schema()["properties"]["next_step"]
    assert choices["enum"] == [*names(billing_case.STEPS), DONE]


# --- making one -----------------------------------------------------------------------------------

BAD = ["post", "explain", "match", "extract"]


def test_a_bad_plan_goes_back_with_the_objections(billing, scripted, call) -> None:
    good = dependency_order(billing.steps)
    model = scripted(call("Plan", order_of_steps=BAD), call("Plan", order_of_steps=good))
    assert make_plan(billing, model) == good
    first, second = (Prompt.read(messages) for messages in model.heard)
    assert first.critique == ""
    assert second.critique == "; ".join(check_plan(BAD, billing.steps))
    assert (first.request.attempt, second.request.attempt) == (1, 2)


@pytest.mark.parametrize("tries", [1, 3])
def test_after_bad_plans_the_dependencies_decide(billing, scripted, call, tries) -> None:
    model = scripted(call("Plan", order_of_steps=BAD))
    assert make_plan(billing, model, tries) == dependency_order(billing.steps)
    assert len(model.heard) == tries


def test_an_unreadable_plan_is_a_bad_plan(billing, scripted, call) -> None:
    model = scripted(call("Plan", order_of_steps=["nonsense"]))
    assert make_plan(billing, model) == dependency_order(billing.steps)


def test_planning_survives_transport_faults(billing, scripted, call) -> None:
    good = dependency_order(billing.steps)
    recovering = scripted(TimeoutError(), call("Plan", order_of_steps=good))
    assert make_plan(billing, recovering) == good
    dead = scripted(ConnectionError())
    assert make_plan(billing, dead) == good
    assert len(dead.heard) == 3


def test_planning_swallows_no_other_error(billing, scripted) -> None:
    with pytest.raises(ZeroDivisionError):
        make_plan(billing, scripted(ZeroDivisionError()))


@pytest.mark.parametrize("mode", ["wrong_tool_or_step", "malformed_json", "server_error"])
def test_a_simulated_model_that_always_slips_leaves_a_valid_plan(billing, mode) -> None:
    simulation = Simulation(reliability=0, mix={mode: 1})
    plan = make_plan(billing, simulated_model(billing, simulation))
    assert check_plan(plan, billing.steps) == []


def test_steps_without_an_order_between_them_may_change_places() -> None:
    free = [Step(name, StepAnswer, "Do it.") for name in ("a", "b")]
    assert check_plan(["a", "b"], free) == check_plan(["b", "a"], free) == []


# --- running with a plan, and without -------------------------------------------------------------

AGENTS = ("context", "execution", "state")
ROUTING_SLIPS = Simulation(reliability=0.3, mix={"wrong_tool_or_step": 1})


def steps_asked(recorder: Recorder) -> list[str]:
    """The steps that agents were asked to do, in order; a step's rounds of look-ups count once."""
    requests = [Prompt.read(prompt).request for prompt in recorder.prompts]
    done = [(r.step, r.attempt) for r in requests if r.step != "router"]
    return [step for step, _ in dict.fromkeys(done)]


def test_a_plan_is_the_order_of_work(billing, bench) -> None:
    at, recorder = bench(billing, *AGENTS, "planning"), Recorder()
    at.run(billing.tasks[0], recorder=recorder)
    assert steps_asked(recorder) == at.at.plan == dependency_order(billing.steps)


def test_a_plan_in_another_valid_order_is_followed(support, bench) -> None:
    plan = ["classify", "billing", "order", "decide", "draft", "respond"]
    assert check_plan(plan, support.steps) == []
    at, recorder = bench(support, *AGENTS, "planning", plan=plan), Recorder()
    state = at.run(support.tasks[0], recorder=recorder)
    assert steps_asked(recorder) == plan
    assert state["status"] == "done"


def test_without_a_plan_a_good_router_takes_the_same_way(billing, bench) -> None:
    at, recorder = bench(billing, *AGENTS), Recorder()
    state = at.run(billing.tasks[0], recorder=recorder)
    assert steps_asked(recorder) == dependency_order(billing.steps)
    assert state["hops"] == len(billing.steps) + 1  # the last hop says that all is done


def test_a_router_that_slips_goes_wrong_ways(billing, bench) -> None:
    at = bench(billing, *AGENTS, simulation=ROUTING_SLIPS)
    right = dependency_order(billing.steps)
    hops, failures = set(), set()
    for task in [t for t in billing.tasks if not t.repeated][:60]:
        recorder = Recorder()
        state = at.run(task, recorder=recorder)
        way = [right.index(step) for step in steps_asked(recorder)]
        hops.update(after - before for before, after in pairwise(way))
        failure = failure_of(at, task, state)
        if 3 not in way and state["status"] == "done":  # it was called done before it was
            assert failure == "nothing posted"
        failures.add(failure)
    assert {2, 3} <= hops, "no step was skipped"
    assert {0, -1, -2} & hops, "no step was done again or in the wrong order"
    assert "nothing posted" in failures
    with_plan = bench(billing, *AGENTS, "planning", simulation=ROUTING_SLIPS)
    for task in billing.tasks[:20]:
        recorder = Recorder()
        with_plan.run(task, recorder=recorder)
        assert steps_asked(recorder) == right


def test_the_hop_budget_stops_a_router_that_loops(billing, bench) -> None:
    stack = Stack.of(*AGENTS, hop_budget=7)
    skills = {"NextStep": lambda prompt: {"next_step": "extract"}}
    at, recorder = bench(billing, stack=stack, skills=skills), Recorder()
    task = billing.tasks[0]
    state = at.run(task, recorder=recorder)
    assert state["status"] == "out_of_budget"
    assert steps_asked(recorder) == ["extract"] * 7
    assert failure_of(at, task, state) == "out of budget"
    assert run_trial(at, task)["loud"]


def test_the_hop_budget_stops_loops_of_the_simulated_router(billing, bench) -> None:
    stack = Stack.of(*AGENTS, hop_budget=5)
    at = bench(billing, stack=stack, simulation=ROUTING_SLIPS)
    states = [at.run(task) for task in billing.tasks[:60]]
    assert all(state.get("hops", 0) <= 5 for state in states)
    assert "out_of_budget" in {state["status"] for state in states}


def test_a_loop_that_also_asks_again_ends_by_a_budget_too(billing, bench) -> None:
    skills = {"NextStep": lambda prompt: {"next_step": "post"}}
    state = bench(billing, "context", "execution", skills=skills).run(billing.tasks[0])
    assert state["status"] == "out_of_budget"


def test_a_garbled_choice_is_a_loud_failure(billing, bench) -> None:
    at = bench(billing, *AGENTS, simulation=Simulation(reliability=0, mix={"malformed_json": 1}))
    state = at.run(billing.tasks[0])
    assert (state["status"], state["problem"]) == ("crashed", "the router's output is garbled")


def test_the_router_sees_what_is_shared(billing, scripted, call) -> None:
    model = scripted(call("NextStep", next_step="match"))
    request = Request("billing/B-1", "router")
    assert choose_next(billing, model, request, {"extract": {"amount": 1}}) == "match"
    assert Prompt.read(model.heard[0]).answers == {"extract": {"amount": 1}}
    assert choose_next(billing, scripted(call("NextStep", next_step="rest")), request, {}) is None


@pytest.mark.parametrize("layers", [(), ("context", "verification"), ("context", "state")])
def test_planning_changes_nothing_where_there_is_one_agent(billing, bench, layers) -> None:
    simulation = Simulation(reliability=0.9)
    off = bench(billing, *layers, simulation=simulation)
    on = bench(billing, *layers, "planning", simulation=simulation)
    assert not on.at.plan
    for task in billing.tasks[:12]:
        before, after = run_trial(off, task), run_trial(on, task)
        assert before.pop("stack") != after.pop("stack")
        assert before == after
