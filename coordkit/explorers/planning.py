"""Sliders of layer 2: a router that slips, as a Markov chain, against a hop budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from coordkit.plots import BLUE, GREY, ORANGE, VERMILION, titled_figure
from coordkit.reliability import beta_quadrature, check_count, check_fractions
from coordkit.widgets import Dial, Explorer, Shown

FATES = {
    "in_order": ("every step done, in order", BLUE),
    "broken": ("ended with a step skipped or out of order", VERMILION),
    "stopped": ("stopped: budget used up", ORANGE),
}


@dataclass(frozen=True)
class Routing:
    """What becomes of a task that a router leads; the three shares sum to 1.

    Attributes:
        in_order: every step was done after the ones before it, and the router said done.
        broken: the router said done, but a step was skipped or came too early.
        stopped: the budget ran out first.
        hops: decisions of the router per task, on average.
    """

    in_order: float
    broken: float
    stopped: float
    hops: float


@lru_cache(maxsize=64)
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
    check_count("steps", steps, 1)
    check_fractions(right=right)
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


def _shares(steps: int, longest: int, right: float, rho: float) -> NDArray[np.float64]:
    """Shares said done in order, said done broken, and still going, after 0 to `longest` hops."""
    q, weights = beta_quadrature(right, rho, longest // 2 + 1)
    q = q[:, None]
    sure, never = hop_matrix(steps, 1.0), hop_matrix(steps, 0.0)  # hop_matrix is linear in q
    at = np.zeros((len(q), len(sure)))
    at[:, 0] = 1
    rows = []
    for _ in range(longest + 1):
        in_order, broken = weights @ at[:, -2:]
        rows.append((in_order, broken, max(0.0, 1 - in_order - broken)))
        at = q * (at @ sure) + (1 - q) * (at @ never)
    return np.array(rows)


def route(steps: int, budget: int, right: float, rho: float = 0.0) -> Routing:
    """Exact outcome of a router's run within a budget of hops.

    With probability q that a choice is right, the shares after `budget` hops are row 0 of
    `hop_matrix` to the power `budget`. Tasks differ: q is drawn from a Beta distribution with mean
    `right` and intra-class correlation `rho`, and all choices of a task share it. The shares are
    polynomials in q of degree `budget`, so Gauss-Jacobi quadrature over the Beta is exact.

    Args:
        steps: length of the workflow, at least 1.
        budget: hops allowed, at least 0; a straight run takes steps + 1, the last one says done.
        right: mean probability 0 to 1 that one choice is right.
        rho: correlation 0 to 1 of the choices within a task.

    Raises:
        ValueError: outside these ranges.
    """
    check_count("budget", budget, 0)
    check_fractions(right=right, rho=rho)
    shares = _shares(steps, budget, right, rho)
    in_order, broken, stopped = map(float, shares[-1])
    return Routing(in_order, broken, stopped, hops=float(shares[:-1, 2].sum()))


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


LONGEST = 24  # hops on the figure's axis


def respond(steps: int, budget: int, right: float, rho: float) -> Shown:
    """The sliders' answer: what a budget buys, and what no budget can.

    Args:
        steps, budget, right, rho: as for `route`.
    """
    result, best = route(steps, budget, right, rho), ceiling(steps, right, rho)
    curve = _shares(steps, LONGEST, right, rho)
    text = (
        f"P(all {steps} steps done in order within {budget} hops) = "
        f"<b>{result.in_order:.1%}</b>; skipped or out of order {result.broken:.1%}; stopped by "
        f"the budget {result.stopped:.1%}; {result.hops:.1f} router calls a task.<br>"
        f"Without any budget: {best:.1%} in order. With a plan that passed the check: 100 %, "
        "and no router calls."
    )
    budgets = list(range(LONGEST + 1))
    traces = [{"x": budgets, "y": 100 * curve[:, i]} for i in range(3)]
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
        for name, colour in FATES.values()
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
