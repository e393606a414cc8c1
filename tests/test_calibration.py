"""coordkit.calibration: the reliability of a step, and what follows from it."""

import pandas as pd
import pytest

from coordkit.calibration import (
    measured_failure,
    predicted_failure,
    reliability,
    step_outcomes,
)
from coordkit.experiment import Settings, case_of, simulated_model
from coordkit.faults import Simulation
from coordkit.models import make

SETTINGS = Settings("billing", tasks=150)


def outcomes(p: float, tasks: int = 150) -> pd.DataFrame:
    settings = Settings("billing", tasks=tasks)
    return step_outcomes(settings, simulated_model(case_of(settings), Simulation(reliability=p)))


def test_a_faultless_model_is_always_right_and_a_hopeless_one_hardly_ever() -> None:
    perfect = outcomes(1.0, 40)
    assert perfect["right"].all() and len(perfect) == 4 * perfect["task"].nunique()
    assert reliability(perfect)[0] == 1.0 and reliability(perfect)[1] < 1.0
    hopeless = outcomes(0.0, 40)
    assert reliability(hopeless)[0] < 0.2
    assert set(hopeless.groupby("task")["number"].max()) <= {1, 2, 3, 4}


def test_the_reliability_set_is_the_reliability_found() -> None:
    found = outcomes(0.9)
    p, low, high = reliability(found)
    assert low < 0.9 < high and high - low < 0.08
    predicted, measured = predicted_failure(found, range(1, 5)), measured_failure(found)
    assert (predicted["low"] <= measured["high"]).all()
    assert (measured["low"] <= predicted["high"]).all()
    assert predicted.loc[4, "rate"] == pytest.approx(1 - p**4)
    assert measured["rate"].is_monotonic_increasing


def test_a_task_that_fails_even_by_the_exact_rules_is_left_out() -> None:
    settings = Settings("support", tasks=5)
    case = case_of(settings)
    found = step_outcomes(settings, simulated_model(case, Simulation(reliability=1.0)))
    # every step is right, but the refund is above the limit and nobody approved it
    assert {task.id for task in case.tasks} - set(found["task"]) == {"TKT-000801"}


def test_a_step_after_a_wrong_one_does_not_count() -> None:
    found = outcomes(0.7, 60)
    for _, steps in found.groupby("task"):
        assert list(steps["number"]) == list(range(1, len(steps) + 1))
        assert steps["right"].iloc[:-1].all()
        assert len(steps) == 4 or not steps["right"].iloc[-1]


def test_counts_by_hand() -> None:
    rows = [("a", "x", 1, True), ("a", "y", 2, False), ("b", "x", 1, True), ("b", "y", 2, True)]
    table = pd.DataFrame(rows, columns=["task", "step", "number", "right"])
    assert reliability(table)[0] == 0.75
    assert list(measured_failure(table)["rate"]) == [0.0, 0.5]
    # Wilson for 1 wrong of 4, z = 1.96: (0.7302 ± 0.6408) / 1.9604 = 0.0456 to 0.6994;
    # of two such steps, one or both fail: 1 − 0.75², 1 − 0.9544², 1 − 0.3006²
    predicted = predicted_failure(table, [1, 2])
    assert list(predicted.loc[1]) == pytest.approx([0.25, 0.0456, 0.6994], abs=1e-4)
    assert list(predicted.loc[2]) == pytest.approx([0.4375, 0.0891, 0.9096], abs=1e-4)


def test_a_real_model_is_calibrated_as_the_simulated_one() -> None:
    settings = Settings("billing", tasks=20)
    inner = simulated_model(case_of(settings), Simulation(reliability=0.8))
    told: list[tuple[int, int]] = []
    found = step_outcomes(settings, make(inner), progress=lambda *done: told.append(done))
    assert found.equals(step_outcomes(settings, inner))
    assert told == [(done, len(told)) for done in range(len(told))] and told
