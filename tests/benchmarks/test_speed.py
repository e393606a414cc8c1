"""How fast the hot paths are: trials beside a LangGraph that does nothing, and a slider's move.

Nothing is asserted about times. `make bench` shows them; plain `make test` runs each once.
"""

from itertools import cycle
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pytest_benchmark.fixture import BenchmarkFixture

from coordkit.experiment import COLUMNS, Settings, make_bench, run_trial
from coordkit.reliability import Pipeline, end_to_end, simulate
from coordkit.stack import Stack

CASES = {"billing": 4, "support": 6}  # steps


class _Count(TypedDict):
    value: int


def bare_graph(nodes: int) -> Any:
    """A chain of nodes that only count: what LangGraph itself costs."""
    graph = StateGraph(_Count)
    names = [f"node_{i}" for i in range(nodes)]
    for name in names:
        graph.add_node(name, lambda state: {"value": state["value"] + 1})
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile()


@pytest.mark.parametrize("case", CASES)
def test_trial_with_all_layers(benchmark: BenchmarkFixture, case: str) -> None:
    """One trial at rung 6, graded and written up: the inverse is trials per second and core."""
    benchmark.group = case
    bench = make_bench(Settings(case, tasks=100), Stack.rung(6))
    tasks = cycle(bench.at.case.tasks)
    row = benchmark(lambda: run_trial(bench, next(tasks)))
    assert list(row) == list(COLUMNS)


@pytest.mark.parametrize("case", CASES)
def test_bare_graph_of_the_same_length(benchmark: BenchmarkFixture, case: str) -> None:
    """As many nodes as a trial without rejections passes: start, agents, checks, approve, act."""
    benchmark.group = case
    nodes = 2 * CASES[case] + 3
    graph = bare_graph(nodes)
    assert benchmark(lambda: graph.invoke({"value": 0})) == {"value": nodes}


def test_a_million_simulated_runs(benchmark: BenchmarkFixture) -> None:
    """What one move of a slider costs."""
    pipeline = Pipeline(
        steps=4, reliability=0.96, correlation=0.32, reasks=0.9, catch=0.8, retries=2
    )
    outcome = benchmark(lambda: simulate(pipeline, 1_000_000, seed=0))
    assert outcome.success == pytest.approx(end_to_end(pipeline).success, abs=0.003)
