"""What a run on a real model will cost and send where, said before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from coordkit.experiment import Settings, case_of, run
from coordkit.models import SIMULATED, MeteredChatModel
from coordkit.own_data import columns_sent
from coordkit.prices import ListPrice
from coordkit.stack import Stack

SAMPLE = 20  # tasks that the simulated model does first, for nothing, to count calls and tokens


@dataclass(frozen=True)
class Estimate:
    """What a run should take, counted on the simulated model.

    Attributes:
        model: the model that is asked.
        trials, calls: in all.
        sent, received: tokens in all; a model that reasons before it answers writes more.
        shown: what of the data the model is shown.
    """

    model: MeteredChatModel
    trials: int
    calls: float
    sent: float
    received: float
    shown: str

    @property
    def usd(self) -> float | None:
        """What the tokens cost, None if no price is known."""
        prices = self.model.meter.prices
        return prices.of_tokens(self.sent, self.received) if prices else None

    @property
    def price(self) -> str:
        """Where the prices come from, in words."""
        prices = self.model.meter.prices
        if prices is None:
            return "the price table has none for this model: give --price-in and --price-out"
        rates = f"{prices.input_per_million:g} and {prices.output_per_million:g} USD per million"
        if isinstance(prices, ListPrice):
            return f"{rates}: list price of {prices.date}, {prices.source}"
        return f"{rates}: yours"

    def __str__(self) -> str:
        cost = "at unknown prices" if self.usd is None else f"about {self.usd:.2f} USD"
        return (
            f"{self.trials:,} trials on {self.model.label} at {self.model.endpoint}: about "
            f"{self.calls:,.0f} calls, {self.sent:,.0f} tokens sent and {self.received:,.0f} "
            f"received, {cost} ({self.price}), less what several stacks ask alike: that is asked "
            f"once\nWhat is sent there: {self.shown}"
        )


def estimate(
    settings: Settings, stacks: Sequence[Stack], model: MeteredChatModel, sample: int = SAMPLE
) -> Estimate:
    """Estimate a run by doing a sample of it with the simulated model.

    Args:
        settings: what will be measured.
        stacks: which stacks.
        model: the real model; it is not asked anything.
        sample: tasks to do, 1 or more.
    """
    case = case_of(settings)
    tasks = len(case.tasks)
    few = replace(
        settings, tasks=min(sample, tasks), trials=1, model=SIMULATED, endpoint="", sampling=""
    )
    graphs = list(dict.fromkeys(stack.acts_as for stack in stacks))  # each is run once
    with TemporaryDirectory() as folder:
        table, _ = run(few, graphs, Path(folder), processes=1)
    runs_of_each = tasks * settings.trials
    means = table.groupby("stack")[["calls", "input_tokens", "output_tokens"]].mean().sum()
    calls, sent, received = (float(x) * runs_of_each for x in means)
    trials = len(graphs) * runs_of_each
    return Estimate(model, trials, calls, sent, received, what_is_shown(settings))


def what_is_shown(settings: Settings) -> str:
    """Which columns of the data a model is shown."""
    sent = columns_sent(case_of(settings))
    fields, documents = ", ".join(sent.pop("task")), sent.pop("documents")
    tables = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in sent.items())
    count = f"{len(documents)} document{'' if len(documents) == 1 else 's'}"
    return f"every task's {fields}; where looked up, rows of {tables}, and {count}"


def confirm(planned: Estimate, ask: Callable[[str], str] = input, free_below: float = 0.0) -> bool:
    """Show an estimate and ask whether to go on.

    Args:
        planned: the estimate.
        ask: shows a question and returns the answer; in a notebook, a box to type in.
        free_below: USD under which nobody is asked.
    """
    print(planned)
    if planned.usd is not None and planned.usd < free_below:
        return True
    return ask("Go on? [y/N] ").strip().lower() in ("y", "yes")
