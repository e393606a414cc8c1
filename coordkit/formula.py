"""The chain formula fed from trials: what compounding alone says of each rung of a ladder."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from coordkit.attribution import fault_flows
from coordkit.faults import TRANSPORT, Simulation
from coordkit.layers.human import SimulatedReviewer
from coordkit.reliability import Pipeline, end_to_end
from coordkit.stack import Stack

RETRIES = Stack().retries  # the stack's own bound, here for each step
REVIEWER = SimulatedReviewer.accuracy - SimulatedReviewer.fatigue / 2  # mean of a shift


@dataclass(frozen=True)
class ChainInputs:
    """What the formula takes from the trials of a ladder.

    Attributes:
        steps: steps of the case.
        reasks: re-asks per step without shared state: calls at rung 3 over calls at rung 4, less 1.
        catch: share 0..1 of the slips at rung 5 that were sent back, of those that were sent back
            or shipped.
        escalated: share 0..1 of tasks that a person sees at rung 6.
        not_shipped: share 0..1 of the faults at rung 3 that were not shipped in a failed trial:
            harmless or repaired.
    """

    steps: int
    reasks: float
    catch: float
    escalated: float
    not_shipped: float


def chain_inputs(trials: pd.DataFrame, steps: int) -> ChainInputs:
    """Read the formula's inputs from the trials of rungs 3 to 6 of one case.

    Args:
        trials: as `coordkit.experiment.run` returns them.
        steps: number of steps of the case.
    """
    calls = trials.groupby("stack")["calls"].mean()
    rung = {k: trials[trials["stack"] == Stack.rung(k).label] for k in (3, 5, 6)}
    early = fault_flows(rung[3])
    shipped = early.loc[early["fate"] == "shipped", "faults"].sum()
    late = fault_flows(rung[5])
    slips = late[~late["mode"].isin(TRANSPORT)].groupby("fate")["faults"].sum()
    caught = slips.get("repaired", 0)
    return ChainInputs(
        steps,
        reasks=calls[Stack.rung(3).label] / calls[Stack.rung(4).label] - 1,
        catch=caught / (caught + slips.get("shipped", 0)),
        escalated=rung[6]["escalated"].mean(),
        not_shipped=1 - shipped / early["faults"].sum(),
    )


def chain_failure(inputs: ChainInputs, rung: int, shipped_only: bool = False) -> float:
    """Failure rate (0..1) of a rung by the formula, which knows slips and nothing else.

    Args:
        inputs: what it takes from the trials.
        rung: 0 to 6. Up to rung 2 one prompt asks for every step's answer.
        shipped_only: count only the share of the slips that is shipped at rung 3.
    """
    dice = Simulation()
    p = dice.step_reliability(inputs.steps if rung < 3 else 1)
    p = 1 - (1 - p) * (1 - inputs.not_shipped) if shipped_only else p
    chain = Pipeline(
        inputs.steps,
        p,
        dice.correlation,
        inputs.reasks if rung == 3 else 0.0,
        catch=inputs.catch if rung >= 5 else 0.0,
        retries=RETRIES if rung >= 5 else 0,
        escalated=inputs.escalated if rung == 6 else 0.0,
        reviewer_accuracy=REVIEWER,
    )
    return 1 - end_to_end(chain).success
