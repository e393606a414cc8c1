"""Sliders for execution: one prompt for everything against a chain of specialists."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import plotly.graph_objects as go

from coordkit.faults import Simulation
from coordkit.plots import BLUE, GREEN, GREY, VERMILION, titled_figure
from coordkit.reliability import check_count, check_fractions, pass_hat_k
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


def repeated_questions(steps: int) -> list[int]:
    """Re-asks of each answer in a chain whose steps need all earlier ones and are told the last.

    Step k lacks k - 2 answers, and its question carries what it has at hand. So answer k of n is
    asked for again by the n - k - 1 steps behind the one that is told it, in all
    (n - 1)(n - 2) / 2 times. Billing has 4 steps and re-asks 2, 1, 0 and 0 times.
    """
    return [max(0, steps - k - 1) for k in range(1, steps + 1)]


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
        graphs: there, many slips turn out to be harmless. Answers slip independently, but asking
        for one again meets its difficulty again: the n calls for it are all right with
        probability pass^n.

    Raises:
        ValueError: if a probability or a count is outside its range.
    """
    check_count("answers", answers, 1)
    check_count("deliveries", deliveries, 1)
    check_fractions(transport=transport)
    alone = Simulation(reliability, crowding=crowding).step_reliability(answers)
    arrives = 1 - transport**deliveries
    calls = [1 + again for again in repeated_questions(answers)]
    all_right = prod(pass_hat_k(reliability, USUAL.correlation, made) for made in calls)
    return Division(
        one_prompt=(1 - transport) * alone**answers,
        chain=(reliability * arrives) ** answers,
        reasking=all_right * arrives ** sum(calls),
        calls=sum(calls),
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
