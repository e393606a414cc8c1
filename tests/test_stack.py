"""The stack: every subset of layers compiles and runs, and real graphs agree with the formulas."""

import re
import warnings
from collections.abc import Callable
from itertools import chain as flatten
from itertools import combinations

import numpy as np
import pytest
from joblib import Parallel, delayed
from langgraph.graph import StateGraph

from coordkit.cases import load_case
from coordkit.cases.base import Case
from coordkit.cases.relay import COPY_ONLY, Relay
from coordkit.environment import Environment
from coordkit.experiment import (
    COLUMNS,
    LOUD,
    Bench,
    Settings,
    SimulatedReviewer,
    failure_of,
    make_bench,
    run_trial,
    simulated_model,
)
from coordkit.faults import Simulation
from coordkit.layers import LAYERS
from coordkit.layers.state import RunState
from coordkit.reliability import Pipeline, chain, simulate, whole_task_correlation
from coordkit.simulated import SimulatedChatModel
from coordkit.stack import Stack, Workplace, _updated, build
from coordkit.statistics import intraclass_correlation

SUBSETS = list(flatten.from_iterable(combinations(LAYERS, k) for k in range(len(LAYERS) + 1)))
Kit = tuple[Case, Environment, SimulatedChatModel]


@pytest.fixture(scope="module")
def kits() -> Callable[[str], Kit]:
    """Return a function that gives a case, its environment and its model, made once."""
    made: dict[str, Kit] = {}

    def kit(name: str) -> Kit:
        if name not in made:
            case = load_case(name, tasks=5)
            made[name] = (case, case.environment(), simulated_model(case))
        return made[name]

    return kit


def workplace(kit: Kit, stack: Stack) -> Workplace:
    case, environment, model = kit
    return Workplace(case, model, stack, environment)


# --- 64 stacks ------------------------------------------------------------------------------------


def test_there_are_64_subsets() -> None:
    assert len(SUBSETS) == len(set(SUBSETS)) == 64
    assert len({Stack.of(*layers).label for layers in SUBSETS}) == 64


@pytest.mark.parametrize("name", ["billing", "support"])
def test_every_subset_runs(kits, name) -> None:
    kit = kits(name)
    for layers in SUBSETS:
        bench = Bench(workplace(kit, Stack.of(*layers)), SimulatedReviewer())
        for task in kit[0].tasks:
            row = run_trial(bench, task)
            assert list(row) == list(COLUMNS)
            assert (row["case"], row["stack"], row["task"]) == (name, bench.at.stack.label, task.id)
            assert row["failed"] == bool(row["failure"]) == bool(row["cause"])
            assert not row["escalated"] or "human" in layers
            assert row["calls"] > 0


def test_a_route_reads_the_state_that_langgraph_makes_of_an_update() -> None:
    state: RunState = {"status": "running", "goto": "b", "answers": {"a": {"x": 1}}}
    update: RunState = {"goto": "", "draft": {}, "answers": {"b": {"y": 2}}}
    graph = StateGraph(RunState)
    graph.add_node("node", lambda _: update)
    graph.set_entry_point("node")
    for part in (update, {"status": "held"}):
        update = part
        made = graph.compile().invoke(state)
        assert {**made, **_updated(state, update)} == made


def expected_nodes(case: Case, stack: Stack) -> set[str]:
    agents = {step.name for step in case.steps} if stack.has("execution") else {"generalist"}
    router = {"router"} if stack.has("execution") and not stack.has("planning") else set()
    verify = {"verify"} if stack.has("verification") else set()
    approve = {"approve"} if stack.has("human") else set()
    return {"__start__", "start", "act", "__end__"} | agents | router | verify | approve


@pytest.mark.parametrize("name", ["billing", "support"])
def test_the_graph_drawn_has_the_nodes_of_its_layers(kits, name) -> None:
    case = kits(name)[0]
    for layers in SUBSETS:
        stack = Stack.of(*layers)
        drawing = build(workplace(kits(name), stack)).get_graph().draw_mermaid()
        nodes = set(re.findall(r"^\t(\w+)[(\[]", drawing, re.MULTILINE))
        assert nodes == expected_nodes(case, stack), drawing


def test_running_gives_no_warning(kits) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for layers in [(), LAYERS, ("context", "execution")]:
            bench = Bench(workplace(kits("billing"), Stack.of(*layers)), SimulatedReviewer())
            run_trial(bench, kits("billing")[0].tasks[0])


# --- what a stack is ------------------------------------------------------------------------------


def test_rungs_and_knockouts() -> None:
    assert [len(Stack.rung(k).layers) for k in range(7)] == list(range(7))
    assert all(Stack.rung(k).layers < Stack.rung(k + 1).layers for k in range(6))
    assert Stack.rung(4).label == "context+planning+execution+state"
    assert Stack.rung(0).label == "none"
    assert Stack.rung(6, retries=5).without("state") == Stack.of(
        *(layer for layer in LAYERS if layer != "state"), retries=5
    )
    assert Stack.of("human", "context").label == "context+human"


def test_an_unknown_layer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"unknown layers: memory; choose from context, planning"):
        Stack.of("context", "memory")


# --- another process ------------------------------------------------------------------------------

ELSEWHERE = Settings("billing", tasks=5, simulation=Simulation(reliability=0.8))
TWO_STACKS = [Stack.of("context", "planning", "execution", "state", "verification"), Stack.rung(6)]


def rows_of(settings: Settings, stack: Stack) -> list[dict]:
    bench = make_bench(settings, stack)
    return [run_trial(bench, task) for task in bench.at.case.tasks]


def test_a_stack_is_built_and_measured_alike_in_another_process() -> None:
    here = [rows_of(ELSEWHERE, stack) for stack in TWO_STACKS]
    there = Parallel(n_jobs=2)(delayed(rows_of)(ELSEWHERE, stack) for stack in TWO_STACKS)
    assert there == here
    assert [row for rows in here for row in rows if row["faults"] != "[]"]


# --- the relay: real graphs against the formulas --------------------------------------------------

P, RHO, STEPS, TASKS = 0.97, 0.32, 6, 1000


def outcomes(case: Relay, layers: tuple[str, ...], simulation: Simulation, trials: int = 1):
    """A tasks x trials table of successes, from real graph runs."""
    model = simulated_model(case, simulation)
    at = Workplace(case, model, Stack.of(*layers), case.environment())
    bench = Bench(at, SimulatedReviewer())

    def succeeded(task, trial) -> bool:
        state = bench.run(task, trial)
        failure = failure_of(bench, task, state)
        assert failure in ("", "wrong code") and state["status"] not in LOUD
        return not failure

    return np.array([[succeeded(t, i) for i in range(trials)] for t in case.tasks])


@pytest.fixture(scope="module")
def measured() -> np.ndarray:
    simulation = Simulation(P, RHO, mix=COPY_ONLY)
    return outcomes(Relay(STEPS, TASKS), ("planning", "execution"), simulation)


def test_formula_simulation_and_graph_agree(measured) -> None:
    expected = chain(P, STEPS)
    assert expected == pytest.approx(0.833, abs=0.0005)
    error = (expected * (1 - expected) / TASKS) ** 0.5
    pipeline = Pipeline(steps=STEPS, reliability=P, correlation=RHO)
    assert abs(simulate(pipeline, TASKS, seed=1).success - expected) < 4 * error
    assert abs(measured.mean() - expected) < 4 * error


def test_two_slips_do_not_cancel() -> None:
    """At p = 0.5 a relay in which a second slip undid the first would be right half the time."""
    simulation = Simulation(0.5, 0.0, mix=COPY_ONLY)
    right = outcomes(Relay(STEPS, 100), ("planning", "execution"), simulation)
    expected = chain(0.5, STEPS)
    assert abs(right.mean() - expected) < 4 * (expected * (1 - expected) / 100) ** 0.5


def test_a_faultless_relay_is_always_right() -> None:
    for layers in [(), ("planning", "execution"), LAYERS]:
        assert outcomes(Relay(3, 10), layers, Simulation(1.0, mix=COPY_ONLY)).all()


def test_whole_tasks_correlate_as_their_steps_imply() -> None:
    """Four trials of each task: the ICC of the whole task against the formula.

    Its standard error is found by resampling the tasks (500 times, fixed seed).
    """
    p, rho, steps, tasks = 0.8, 0.5, 3, 250  # a setting where the correlation shows in few tasks
    simulation = Simulation(p, rho, mix=COPY_ONLY)
    table = outcomes(Relay(steps, tasks), ("planning", "execution"), simulation, trials=4)
    expected = whole_task_correlation(p, rho, steps)
    rng = np.random.default_rng(0)
    resampled = [intraclass_correlation(table[rng.integers(0, tasks, tasks)]) for _ in range(500)]
    assert abs(intraclass_correlation(table) - expected) < 4 * np.std(resampled)
    assert intraclass_correlation(table) > 4 * np.std(resampled)
