"""Sliders of layer 2: a router that slips, as a Markov chain, against a hop budget."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from coordkit.plots import BLUE, GREY, ORANGE, VERMILION, titled_figure
from coordkit.reliability import beta_quadrature, check_count, check_fractions
from coordkit.widgets import Dial, Explorer, Shown

FATES = {
    "every step done, in order": BLUE,
    "ended with a step skipped or out of order": VERMILION,
    "stopped: budget used up": ORANGE,
}
LONGEST = 24  # hops on the figure's axis


def hop_matrix(steps: int, right: float) -> NDArray[np.float64]:
    """Transition probabilities of one hop.

    State (k, b) is index b * (steps + 1) + k: k is the number of the latest step done so far
    (0: none) and b = 1 once a step has been skipped. The last two states, absorbing, are "said
    done, in order" and "said done, broken". The right choice is step k + 1, or done after the last
    step. With probability 1 - right the router picks one of the other `steps` choices, each
    equally likely: a step up to k is done again (a loop: the state stays), a step beyond k + 1
    skips those between, and done ends the run with steps missing.

    Args:
        steps: length of the workflow, at least 1.
        right: probability 0 to 1 that one choice is right.
    """
    size = steps + 1
    matrix = np.zeros((2 * size + 2, 2 * size + 2))
    matrix[-2, -2] = matrix[-1, -1] = 1
    for broken in (0, 1):
        for k in range(size):
            here = broken * size + k
            for choice in range(1, steps + 2):  # steps + 1 stands for done
                chance = right if choice == k + 1 else (1 - right) / steps
                if choice == steps + 1:
                    there = 2 * size + (0 if k == steps and not broken else 1)
                elif choice > k:
                    there = (1 if choice > k + 1 else broken) * size + choice
                else:
                    there = here
                matrix[here, there] += chance
    return matrix


def route(steps: int, budget: int, right: float, rho: float = 0.0) -> NDArray[np.float64]:
    """Exact outcome of a router's run, for every budget of hops up to one.

    With probability q that a choice is right, the shares after h hops are row 0 of `hop_matrix` to
    the power h. Tasks differ: q is drawn from a Beta distribution with mean `right` and intra-class
    correlation `rho`, and all choices of a task share it. The shares are polynomials in q of degree
    h, so Gauss-Jacobi quadrature over the Beta is exact.

    Args:
        steps: length of the workflow, at least 1.
        budget: hops allowed, at least 0; a straight run takes steps + 1, the last one says done.
        right: mean probability 0 to 1 that one choice is right.
        rho: correlation 0 to 1 of the choices within a task.

    Returns:
        One row per budget from 0, and three shares that sum to 1: the router said done after every
        step was done in order; it said done, but a step was skipped or came too early; the budget
        ran out first.

    Raises:
        ValueError: outside these ranges.
    """
    check_count("steps", steps, 1)
    check_count("budget", budget, 0)
    check_fractions(right=right, rho=rho)
    q, weights = beta_quadrature(right, rho, budget // 2 + 1)
    q = q[:, None]
    sure, never = hop_matrix(steps, 1.0), hop_matrix(steps, 0.0)  # hop_matrix is linear in q
    at = np.zeros((len(q), len(sure)))
    at[:, 0] = 1
    rows = []
    for _ in range(budget + 1):
        in_order, broken = weights @ at[:, -2:]
        rows.append((in_order, broken, max(0.0, 1 - in_order - broken)))
        at = q * (at @ sure) + (1 - q) * (at @ never)
    return np.array(rows)


def ceiling(steps: int, right: float, rho: float = 0.0) -> float:
    """Share of tasks that end in order if no budget stops them.

    After k steps done in order, the router loops with probability k (1 - q) / steps and otherwise
    leaves for good, so it goes on in order with q / (1 - k (1 - q) / steps); the share is the
    product of this over k < steps. After the last step it can only loop until it says done. The
    mean over the Beta is by quadrature with 40 nodes.

    Args:
        steps, right, rho: as for `route`; `right` above 0.
    """
    q, weights = beta_quadrature(right, rho, 40)
    done = np.arange(steps)[:, None]
    return float(weights @ np.prod(q / (1 - done * (1 - q) / steps), axis=0))


def respond(steps: int, budget: int, right: float, rho: float) -> Shown:
    """The sliders' answer: what a budget buys, and what no budget can.

    Args:
        steps, budget, right, rho: as for `route`; the budget is at most `LONGEST`.
    """
    curve, best = route(steps, LONGEST, right, rho), ceiling(steps, right, rho)
    in_order, broken, stopped = curve[budget]
    hops = curve[:budget, 2].sum()  # a hop is made by every run that still goes on before it
    text = (
        f"P(all {steps} steps done in order within {budget} hops) = <b>{in_order:.1%}</b>; "
        f"skipped or out of order {broken:.1%}; stopped by the budget {stopped:.1%}; "
        f"{hops:.1f} router calls a task.<br>"
        f"Without any budget: {best:.1%} in order. With a plan that passed the check: 100 %, "
        "and no router calls."
    )
    traces = [{"x": list(range(LONGEST + 1)), "y": 100 * shares} for shares in curve.T]
    title = (
        f"{steps} steps, router right {right:.0%} of the time: at most {best:.1%} end "
        "in order, however many hops are allowed"
    )
    return Shown(text, [*traces, {"x": [budget, budget], "y": [0, 100]}], title)


def planning_explorer() -> Explorer:
    """Sliders of the router: steps, hop budget, reliability and correlation of its choices."""
    traces = [
        go.Scatter(
            mode="lines", name=name, stackgroup="all", line={"color": colour, "width": 1},
            hovertemplate="%{y:.1f} %",
        )
        for name, colour in FATES.items()
    ]  # fmt: skip
    line = {"color": GREY, "width": 3, "dash": "dot"}
    figure = titled_figure(
        "A router", [*traces, go.Scatter(mode="lines", name="budget", line=line)]
    )
    figure.update_xaxes(title_text="hop budget: router's decisions allowed per task")
    figure.update_yaxes(title_text="share of tasks, %", range=[0, 100])
    figure.update_layout(hovermode="x unified", margin_t=120)
    dials = [
        Dial("steps", "steps of the workflow", 2, 10, 1, 6),
        Dial("budget", "hop budget", 1, LONGEST, 1, 10),
        Dial("right", "P(router's choice is right)", 0.5, 1.0, 0.01, 0.96, ".0%"),
        Dial("rho", "correlation within a task", 0.0, 1.0, 0.02, 0.32),
    ]
    return Explorer(dials, figure, respond)
