"""The pictures show the graph: every node, every edge, nothing through a node or off the page."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from typing import Any, TypedDict

import pytest
from langchain_core.runnables.graph import Graph
from langgraph.graph import END, START, StateGraph

from coordkit.experiment import Settings, make_bench
from coordkit.pictures import picture, ways_taken
from coordkit.plots import VERMILION
from coordkit.stack import Stack

LOOP = [("start", "a"), ("a", "check"), ("check", "a"), ("check", "b"), ("b", END), ("start", END)]
HUB = [("start", "hub"), *((("hub", n)) for n in "abc"), *((n, "hub") for n in "abc"), ("hub", END)]


def graph_of(edges: list[tuple[str, str]]) -> Graph:
    graph = Graph()
    for name in dict.fromkeys([*(source for source, _ in edges), END]):
        graph.add_node(None, name)
    for number, (source, target) in enumerate(edges):
        graph.add_edge(graph.nodes[source], graph.nodes[target], data=f"n{number}")
    return graph


def tags(graph: Any, name: str) -> list[ET.Element]:
    drawing = ET.fromstring(picture(graph).data)
    return [e for e in drawing.iter() if e.tag.endswith(f"}}{name}")]


def drawn_edges(graph: Any) -> Counter[tuple[str, str]]:
    """The edges as the lines of the picture show them, by the boxes at which they begin and end."""
    boxes, texts = tags(graph, "rect"), [t.text or "" for t in tags(graph, "text")]
    names = [text for text in texts if not re.fullmatch(r"n\d+", text)]
    assert len(names) == len(boxes)
    lines = [p.get("d", "") for p in tags(graph, "path") if p.get("marker-end")]
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        x = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", line)]
        ends = [at(boxes, names, *point) for point in (x[:2], x[-2:])]
        found[ends[0], ends[1]] += 1
    return found


def at(boxes: list[ET.Element], names: list[str], x: float, y: float) -> str:
    for box, name in zip(boxes, names, strict=True):
        left, top, wide, high = (float(box.get(k, "")) for k in ("x", "y", "width", "height"))
        if left <= x <= left + wide and top <= y <= top + high:
            return name
    return "nowhere"


def expected(edges: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    spoken = {END: "END", START: "START"}
    return Counter((spoken.get(a, a), spoken.get(b, b)) for a, b in edges)


@pytest.mark.parametrize("edges", [LOOP, HUB, [("start", "start"), ("start", END)]])
def test_every_node_and_edge_is_in_the_picture_with_its_label(edges) -> None:
    graph = graph_of(edges)
    assert drawn_edges(graph) == expected(edges)
    texts = {t.text for t in tags(graph, "text")}
    assert {f"n{i}" for i in range(len(edges))} <= texts
    assert drawn_edges(graph_of(edges[:-1])) != expected(edges), "an edge left out is noticed"


def test_a_compiled_graph_is_drawn_with_its_branches_dashed() -> None:
    builder = StateGraph(TypedDict("Job", {"done": bool}))
    builder.add_node("work", lambda state: state).add_node("end it", lambda state: state)
    builder.add_edge(START, "work").add_edge("end it", END)
    builder.add_conditional_edges("work", lambda state: "end it", ["work", "end it"])
    graph = builder.compile()
    lines = [p for p in tags(graph, "path") if p.get("marker-end")]
    assert [bool(line.get("stroke-dasharray")) for line in lines].count(True) == 2
    assert drawn_edges(graph)["work", "work"] == drawn_edges(graph)["START", "work"] == 1


def test_ways_back_to_an_agent_and_no_others_have_a_colour_of_their_own() -> None:
    def back(edges: list[tuple[str, str]]) -> int:
        lines = [p for p in tags(graph_of(edges), "path") if p.get("marker-end")]
        red = [p for p in lines if p.get("stroke") == VERMILION]
        assert all((p.get("marker-end") == "url(#back)") == (p in red) for p in lines)
        return len(red)

    assert back(LOOP) == 1 and back(LOOP[:2] + LOOP[3:]) == 0
    assert back([(a.replace("hub", "router"), b.replace("hub", "router")) for a, b in HUB]) == 0


@pytest.mark.parametrize("edges", [LOOP, HUB])
def test_nothing_lies_on_a_node_or_outside(edges) -> None:
    drawing = ET.fromstring(picture(graph_of(edges)).data)
    left, top, wide, high = (float(n) for n in drawing.get("viewBox", "").split())
    boxes = tags(graph_of(edges), "rect")
    spans = [[float(b.get(k, "")) for k in ("x", "y", "width", "height")] for b in boxes]
    for a in range(len(spans)):
        for b in range(a):
            (x1, y1, w1, h1), (x2, y2, w2, h2) = spans[a], spans[b]
            assert x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1
    names = [t.text or "" for t in tags(graph_of(edges), "text") if (t.text or "")[0] != "n"]
    for text in tags(graph_of(edges), "text"):
        x, y = float(text.get("x", "")), float(text.get("y", ""))
        assert left < x < left + wide and top < y < top + high
        if re.fullmatch(r"n\d+", text.text or ""):
            assert at(boxes, names, x, y) == "nowhere", text.text


def test_the_same_graph_gives_the_same_bytes_and_loads_nothing() -> None:
    first = picture(graph_of(HUB)).data
    assert first == picture(graph_of(HUB)).data
    assert "script" not in first and "http" not in first.replace("http://www.w3.org/2000/svg", "")
    hostile = graph_of([("<a&b>", END)])
    assert "<a&b>" in {t.text for t in tags(hostile, "text")}


def test_ways_are_those_that_the_tasks_took() -> None:
    def ways(stack: Stack) -> dict[tuple[str, str], int]:
        bench = make_bench(Settings("billing", tasks=20), stack)
        edges = ways_taken(bench, bench.at.case.tasks[:20]).edges
        return {(e.source, e.target): int(str(e.data)) for e in edges}

    chain = ["start", "extract", "match", "explain", "post", "act", END]
    shared = ways(Stack.rung(4))
    assert set(pairwise(chain)) == set(shared) - {("start", END)}
    assert sum(n for (source, _), n in shared.items() if source == "start") == 20
    alone = ways(Stack.rung(3))
    assert alone["explain", "extract"] >= 19 and ("explain", "extract") not in shared
