"""coordkit.formula: what the chain formula reads from trials, and what it then says of a rung."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.faults import Simulation
from coordkit.formula import ChainInputs, chain_failure, chain_inputs
from coordkit.reliability import Pipeline, end_to_end
from coordkit.stack import Stack

KNOWN = ChainInputs(steps=4, reasks=0.75, catch=0.8, escalated=0.1, not_shipped=0.4)


def trial(rung: int, calls: int, fates: list[tuple[str, str]], escalated: bool = False) -> dict:
    book = json.dumps([{"mode": mode, "fate": fate} for mode, fate in fates])
    row = {"stack": Stack.rung(rung).label, "calls": calls, "faults": book}
    return row | {"escalated": escalated}


def test_the_inputs_are_counted_from_the_trials() -> None:
    rows = [
        trial(3, 10, [("wrong_pick", "shipped"), ("wrong_pick", "harmless")]),
        trial(3, 6, [("timed_out", "repaired"), ("wrong_pick", "harmless")]),
        trial(4, 4, []),
        trial(4, 4, []),
        # transport faults are repaired by execution: no credit for the checks
        trial(5, 5, [("wrong_pick", "repaired"), ("timed_out", "repaired")]),
        trial(5, 5, [("wrong_pick", "shipped"), ("wrong_pick", "harmless")]),
        trial(6, 5, [], escalated=True),
        trial(6, 5, []),
    ]
    found = chain_inputs(pd.DataFrame(rows), steps=4)
    assert found == ChainInputs(4, reasks=1.0, catch=0.5, escalated=0.5, not_shipped=0.75)


def test_each_rung_has_what_its_layers_bring() -> None:
    dice = Simulation()
    chain = Pipeline(4, dice.reliability, dice.correlation)
    crowded = Pipeline(4, dice.step_reliability(4), dice.correlation)
    failures = [1 - end_to_end(p).success for p in (crowded, chain, replace(chain, reasks=0.75))]
    assert [chain_failure(KNOWN, k) for k in (0, 1, 2)] == [pytest.approx(failures[0])] * 3
    assert chain_failure(KNOWN, 4) == pytest.approx(failures[1])
    assert chain_failure(KNOWN, 3) == pytest.approx(failures[2])
    checked = replace(chain, catch=0.8, retries=2)
    assert chain_failure(KNOWN, 5) == pytest.approx(1 - end_to_end(checked).success)
    reviewed = replace(checked, escalated=0.1, reviewer_accuracy=0.925)
    assert chain_failure(KNOWN, 6) == pytest.approx(1 - end_to_end(reviewed).success)
    assert chain_failure(KNOWN, 5) < chain_failure(KNOWN, 4) < chain_failure(KNOWN, 3)


@given(st.floats(0, 1), st.integers(0, 6))
def test_leaving_unshipped_slips_out_never_adds_failures(share: float, rung: int) -> None:
    known = replace(KNOWN, not_shipped=share)
    assert chain_failure(known, rung, shipped_only=True) <= chain_failure(known, rung) + 1e-12
