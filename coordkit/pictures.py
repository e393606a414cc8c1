"""Pictures of graphs that need neither the network nor a script: SVG in mid-grey."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from html import escape
from itertools import pairwise
from typing import Any

from IPython.display import SVG
from langchain_core.runnables.graph import Edge, Graph
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from coordkit.cases.base import Task
from coordkit.experiment import Bench, Recorder
from coordkit.plots import GREY, VERMILION

ROW, TALL = 58, 30  # pixels: from row to row; height of a node
SPOKEN = {START: "START", END: "END"}
HUBS = ("router", "verify")  # everybody comes by there again: that is no loop
_PICTURE = f"""<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{{1}}" height="{{2}}" \
viewBox="0 {{0}} {{1}} {{2}}" style="max-width:100%" font-family="sans-serif" font-size="13" \
text-anchor="middle" fill="{GREY}"><title>{{3}}</title>
{{4}}
</svg>"""
_TIP = """<marker id="{0}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="{1}"/></marker>"""
TIPS = {"tip": GREY, "back": VERMILION}  # looks of an edge, and their colours
_BOX = f"""<rect x="{{}}" y="{{}}" width="{{}}" height="{{}}" rx="{{}}" fill-opacity="0.12" \
stroke="{GREY}"/><text x="{{}}" y="{{}}">{{}}</text>"""
Box = tuple[int, int, int]  # middle x, middle y, half the width


class _Nodes(Recorder):
    """Notes which nodes of a graph run; one that is started again (a retry) counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def on_chain_start(self, *_: Any, metadata: dict[str, Any] | None = None, **__: Any) -> None:
        node = (metadata or {}).get("langgraph_node")
        if node and node not in self.seen[-1:]:
            self.seen.append(node)


def ways_taken(bench: Bench, tasks: Iterable[Task]) -> Graph:
    """The ways that tasks take through a stack's graph, each with how often it was taken.

    Args:
        bench: the stack on its case.
        tasks: which to run.

    Returns:
        The nodes and edges that were used. An edge is conditional if its source has another.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for task in tasks:
        nodes = _Nodes()
        bench.run(task, recorder=nodes)
        counts.update(pairwise([*nodes.seen, END]))
    graph, leaving = Graph(), Counter(source for source, _ in counts)
    for name in dict.fromkeys([*(source for source, _ in counts), END]):
        graph.add_node(None, name)
    for (source, target), times in counts.items():
        ends = graph.nodes[source], graph.nodes[target]
        graph.add_edge(*ends, data=f"{times:,}", conditional=leaving[source] > 1)
    return graph


def picture(graph: Graph | CompiledStateGraph[Any]) -> SVG:
    """A graph drawn from left to right; conditional edges are dashed, ways back to an agent orange.

    Args:
        graph: compiled, or as `ways_taken` returns it. An edge to a node that was added before its
            source is drawn as a way back; if that is an agent, it is one asked again.
    """
    graph = graph if isinstance(graph, Graph) else graph.get_graph()
    columns = _columns(graph)
    boxes = _boxes(graph, columns)
    lines = [_edge(edge, graph, boxes, columns) for edge in graph.edges]
    drawn = [_TIP.format(name, colour) for name, colour in TIPS.items()]
    drawn += [line for line, _ in lines]
    for name, (x, y, half) in boxes.items():
        corner = TALL // 2 if name in SPOKEN else 5
        text = escape(SPOKEN.get(name, name))
        drawn.append(_BOX.format(x - half, y - TALL // 2, 2 * half, TALL, corner, x, y + 5, text))
    reach = [*(y for _, y in lines), *(y for _, y, _ in boxes.values())]
    top, low = min(reach) - TALL, max(reach) + TALL
    right = max(x + half for x, _, half in boxes.values()) + TALL
    told = escape("; ".join(f"{e.source} to {e.target}" for e in graph.edges))
    return SVG(_PICTURE.format(top, right, low - top, told, "\n".join(drawn)))


def _columns(graph: Graph) -> dict[str, int]:
    """The column of each node: one after the last of those that lead to it, ways back left out."""
    columns: dict[str, int] = {}
    for name in graph.nodes:
        before = [columns.get(edge.source, -1) for edge in graph.edges if edge.target == name]
        columns[name] = max(before, default=-1) + 1
    return columns


def _boxes(graph: Graph, columns: dict[str, int]) -> dict[str, Box]:
    """Where each node stands: its column's nodes one below the other, about the middle."""
    stacked: defaultdict[int, list[str]] = defaultdict(list)
    for name, column in columns.items():
        stacked[column].append(name)
    longest = max((_length(edge.data) for edge in graph.edges), default=0)
    boxes, x = {}, 8
    for column, names in sorted(stacked.items()):
        half = max(16 + _length(SPOKEN.get(name, name)) // 2 for name in names)
        for row, name in enumerate(names):
            boxes[name] = (x + half, round((row - (len(names) - 1) / 2) * ROW), half)
        fan = max(len(names), len(stacked.get(column + 1, ())))
        x += 2 * half + 34 + longest + 18 * (fan - 1)
    return boxes


def _length(text: Any) -> int:
    return round(7.5 * len(str(text or "")))  # pixels; rather too many than too few


def _edge(
    edge: Edge, graph: Graph, boxes: dict[str, Box], columns: dict[str, int]
) -> tuple[str, int]:
    """One edge with its label, and how far up or down it reaches.

    Between neighbouring columns it is a line, else an arc: forward above, back below.
    """
    (x1, y1, half1), (x2, y2, half2) = boxes[edge.source], boxes[edge.target]
    span = columns[edge.target] - columns[edge.source]
    side = 1 if span > 0 else -1
    if abs(span) == 1:
        both = any((e.target, e.source) == (edge.source, edge.target) for e in graph.edges)
        x1, x2 = x1 + side * half1, x2 - side * half2
        y1, y2 = (y - 7 * side * both for y in (y1, y2))
        x = y = (x1 + x2) // 2
        path = f"M{x1} {y1}C{x} {y1} {x} {y2} {x2} {y2}"
        end, y, away = (x2, y2, -side) if abs(y2) > abs(y1) else (x1, y1, side)
        x = x if y1 == y2 else end + away * (_length(edge.data) // 2 + 9)
    elif span == 0:
        x1, x2, y1 = x1 + half1, x2 + half2, y1 - 6 * (edge.source == edge.target)
        path = f"M{x1} {y1}C{x1 + 34} {y1} {x2 + 34} {y2 + 6} {x2} {y2 + 6}"
        x, y = x1 + 38, (y1 + y2) // 2
    else:
        up = 1 if y1 + y2 < 0 or (y1 + y2 == 0 and span > 0) else -1
        first, last = sorted((columns[edge.source], columns[edge.target]))
        passed = [-up * b[1] for name, b in boxes.items() if first < columns[name] < last]
        y = -up * (max(*passed, -up * y1, -up * y2) - 10 + 26 * abs(span))
        y1, y2 = y1 - up * TALL // 2, y2 - up * TALL // 2
        x1, x2, side = x1 + side * half1 // 3, x2 - side * half2 // 3, up
        x, bend = (x1 + x2) // 2, (8 * y - y1 - y2) // 6  # a curve whose top is at y
        path = f"M{x1} {y1}C{x1} {bend} {x2} {bend} {x2} {y2}"
    y += -6 if side > 0 else 15
    dash = ' stroke-dasharray="5 4"' if edge.conditional else ""
    tip = "back" if span <= 0 and edge.target not in HUBS else "tip"
    line = f'<path d="{path}" fill="none" stroke="{TIPS[tip]}"{dash} marker-end="url(#{tip})"/>'
    label = f'<text x="{x}" y="{y}">{escape(str(edge.data))}</text>' if edge.data else ""
    return line + label, y
