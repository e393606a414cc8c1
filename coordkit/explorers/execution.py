"""Sliders for execution: one prompt for everything against a chain of specialists."""

from __future__ import annotations

from dataclasses import dataclass, replace

import plotly.graph_objects as go

from coordkit.faults import Simulation
from coordkit.plots import BLUE, GREEN, GREY, VERMILION, titled_figure
from coordkit.reliability import Pipeline, check_count, check_fractions, end_to_end
from coordkit.widgets import Dial, Explorer, Shown

MOST = 12  # answers on the axis
USUAL = Simulation()


@dataclass(frozen=True)
class Division:
    """Success of the three ways to get n answers, as fractions.

    Attributes:
        one_prompt: a single call asks for all of them; what transport loses is lost.
        chain: one call each, lost deliveries sent again, every answer shared.
        reasking: the same chain without shared state: answers are asked for again.
        calls: answers that the re-asking chain has to get.
    """

    one_prompt: float
    chain: float
    reasking: float
    calls: int


def repeated_questions(steps: int) -> int:
    """Re-asks in a chain whose every step needs all earlier answers and is told only the last.

    Step k lacks k - 2 answers, and its question carries what it has at hand; summed over the chain
    that is (n - 1)(n - 2) / 2. Billing has 4 steps and 3 re-asks.
    """
    return (steps - 1) * (steps - 2) // 2


def divide(
    answers: int, reliability: float, crowding: float, transport: float, deliveries: int
) -> Division:
    """Success of one prompt against a chain of specialists, in closed form.

    Args:
        answers: how many answers a task takes, 1 or more.
        reliability: of one answer asked alone, 0 to 1.
        crowding: lost by each answer per further answer in the call at reliability 0.96; scaled
            and cited in `coordkit.faults.Simulation`.
        transport: share of deliveries that are lost, 0 to 1.
        deliveries: times a specialist's request is sent, 1 or more; the one prompt is sent once.

    Returns:
        All three assume that a wrong answer anywhere spoils the task, which is harsher than the
        graphs: there, many slips turn out to be harmless.

    Raises:
        ValueError: if a probability or a count is outside its range.
    """
    check_count("deliveries", deliveries, 1)
    check_fractions(transport=transport)
    alone = Simulation(reliability, crowding=crowding).step_reliability(answers)
    arrives, again = 1 - transport**deliveries, repeated_questions(answers)
    shared = Pipeline(answers, reliability, USUAL.correlation)
    asking = replace(shared, reasks=again / answers)
    return Division(
        one_prompt=(1 - transport) * alone**answers,
        chain=end_to_end(shared).success * arrives**answers,
        reasking=end_to_end(asking).success * arrives ** (answers + again),
        calls=answers + again,
    )


def show_division(
    answers: int, reliability: float, crowding: float, transport: float, deliveries: int
) -> Shown:
    """What the sliders show: see `divide` for the arguments."""
    x = list(range(1, MOST + 1))
    curve = [divide(n, reliability, crowding, transport, deliveries) for n in x]
    here = divide(answers, reliability, crowding, transport, deliveries)
    ways = ("one_prompt", "chain", "reasking")
    lines = [{"x": x, "y": [100 * getattr(d, way) for d in curve]} for way in ways]
    points = {"x": [answers] * 3, "y": [100 * getattr(here, way) for way in ways]}
    best = max(here.one_prompt, here.chain)
    winner = "one prompt" if here.one_prompt > here.chain else "the chain with shared state"
    told = f"{winner} succeeds most often"
    if abs(here.one_prompt - here.chain) <= 1e-9:
        told = "dividing the work changes nothing"
    plural = "s" if answers > 1 else ""
    return Shown(
        f"{answers} answer{plural}: one prompt {here.one_prompt:.1%}; specialists that share their "
        f"answers {here.chain:.1%} in {answers} call{plural}; specialists that ask again "
        f"{here.reasking:.1%} in {here.calls} call{plural if here.calls > 1 else ''}.",
        [*lines, points],
        f"At {answers} answer{plural}, {told}: {best:.0%}",
    )


def execution_explorer() -> Explorer:
    """Sliders for the number of answers, reliability, crowding and transport."""
    lines = [
        go.Scatter(name="one prompt for all", line={"color": VERMILION, "dash": "dot"}),
        go.Scatter(name="specialists, answers shared", line={"color": GREEN}),
        go.Scatter(name="specialists that ask again", line={"color": BLUE, "dash": "dash"}),
        go.Scatter(
            mode="markers", showlegend=False, hoverinfo="skip", marker={"color": GREY, "size": 10}
        ),
    ]
    figure = titled_figure("One prompt against specialists", lines)
    figure.update_xaxes(title_text="answers that a task takes", range=[0.7, MOST + 0.3], dtick=1)
    figure.update_yaxes(title_text="success of the whole task, %", range=[0, 101])
    dials = [
        Dial("answers", "answers per task", 1, MOST, 1, 4),
        Dial("reliability", "reliability of one answer", 0.8, 1, 0.005, 0.96, ".1%"),
        Dial("crowding", "crowding per answer", 0, 0.03, 0.0004, USUAL.crowding, ".4f"),
        Dial("transport", "deliveries lost", 0, 0.3, 0.01, 0.02, ".0%"),
        Dial("deliveries", "deliveries, at most", 1, 5, 1, 3),
    ]
    return Explorer(dials, figure, show_division)
