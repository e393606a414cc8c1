"""One prompt against specialists: the closed form behind the sliders."""

import timeit

import numpy as np
import pytest

from coordkit.explorers.execution import (
    divide,
    execution_explorer,
    repeated_questions,
    show_division,
)
from coordkit.reliability import difficulty_quantile

USUAL = {"reliability": 0.96, "crowding": 0.0096, "transport": 0.02, "deliveries": 3}


def test_billing_asks_three_times_again() -> None:
    assert repeated_questions(4) == [2, 1, 0, 0]
    assert [sum(repeated_questions(n)) for n in (1, 2, 3, 4)] == [0, 0, 1, 3]


@pytest.mark.parametrize(
    ("answers", "reliability", "transport"), [(6, 0.96, 0), (8, 0.9, 0), (5, 0.9, 0.3)]
)
def test_the_re_asking_chain_agrees_with_one_played_out(answers, reliability, transport) -> None:
    runs, rng = 50_000, np.random.default_rng(1)
    hard = difficulty_quantile(rng.random((answers, runs)), reliability, 0.32)
    right, calls = np.ones(runs, bool), 0
    for step in range(answers):
        told = {step - 1}
        for asked in {*range(step + 1)} - told:  # what it was not told, and its own answer
            right &= (rng.random(runs) < hard[asked]) & (rng.random(runs) >= transport**2)
            calls += 1
    got = divide(answers, reliability, 0.0096, transport, 2)
    assert got.calls == calls
    assert abs(got.reasking - right.mean()) < 4 * (right.mean() * (1 - right.mean()) / runs) ** 0.5


def test_the_chain_is_the_product_and_one_answer_gains_only_deliveries() -> None:
    got = divide(4, 0.96, 0.0, 0.0, 1)
    assert got.one_prompt == pytest.approx(0.96**4) == pytest.approx(got.chain)
    assert got.calls == 7
    assert 0.96**7 < got.reasking < got.chain
    lossy = divide(1, 0.9, 0.01, 0.2, 2)
    assert lossy.one_prompt == pytest.approx(0.8 * 0.9)
    assert lossy.chain == lossy.reasking == pytest.approx(0.96 * 0.9)


def test_crowding_hurts_only_the_one_prompt_and_a_faultless_model_does_not_crowd() -> None:
    crowded, roomy = divide(6, 0.96, 0.02, 0, 1), divide(6, 0.96, 0, 0, 1)
    assert crowded.one_prompt < roomy.one_prompt
    assert (crowded.chain, crowded.reasking) == (roomy.chain, roomy.reasking)
    assert divide(6, 1, 0.03, 0, 1).one_prompt == 1


def test_asking_again_can_cost_more_than_the_split_gains() -> None:
    roomy = divide(8, **(USUAL | {"crowding": 0}))
    assert roomy.reasking < roomy.one_prompt < roomy.chain
    crowded = divide(8, **USUAL)
    assert crowded.one_prompt < crowded.reasking


@pytest.mark.parametrize(
    "wrong", [{"deliveries": 0}, {"transport": 1.1}, {"reliability": 2}, {"answers": 0}]
)
def test_nonsense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must"):
        divide(**{"answers": 4, **USUAL, **wrong})


def test_the_readout_says_what_the_lines_show_and_moves_quickly() -> None:
    shown, got = show_division(4, **USUAL), divide(4, **USUAL)
    assert f"{got.one_prompt:.1%}" in shown.text and "in 7 calls" in shown.text
    assert shown.traces[1]["y"][3] == pytest.approx(100 * got.chain)
    assert "changes nothing" in show_division(4, 1, 0, 0, 1).title
    assert min(timeit.repeat(lambda: show_division(12, **USUAL), number=1, repeat=5)) < 0.05


def test_the_sliders_begin_at_the_simulation_s_settings() -> None:
    explorer = execution_explorer()
    assert explorer.values() == {"answers": 4, **USUAL}
    explorer.sliders["answers"].value = 9
    assert (
        "9 answers" in explorer.readout.value and "9 answers" in explorer.figure.layout.title.text
    )
