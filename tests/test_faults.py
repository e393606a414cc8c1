"""The dice: how often, how correlated, of which kind, and what a slip does to an answer."""

import copy
import re
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel
from scipy.stats import chisquare, kstest, rankdata

from coordkit.cases.base import StepAnswer
from coordkit.faults import (
    MAST_MIX,
    SLIPS,
    Simulation,
    apply_slip,
    confidence,
    default_mix,
    pick_mode,
    slips,
    uniform,
)
from coordkit.prompt import Prompt, Request

SIGMAS = 4.5  # tolerance of a sample, in standard errors; the draws are keyed, so no test is flaky


def request(i: int, attempt: int = 1, step: str = "match", **names: int) -> Request:
    return Request(f"billing/T-{i}", step, attempt=attempt, **names)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"reliability": 1.1},
        {"reliability": -0.1},
        {"correlation": 2},
        {"crowding": -1},
        {"confidence_auc": 0.4},
        {"confidence_auc": 1.0},
        {"mix": {"typo": 1.0}},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if "mix" not in wrong else "typo"):
        Simulation(**wrong)


def test_the_mix_is_masts_shares_with_a_tenth_for_what_mast_does_not_count() -> None:
    assert sum(MAST_MIX.values()) == pytest.approx(100, abs=0.2)  # published rounded
    mix = default_mix()
    assert sum(mix.values()) == pytest.approx(1)
    assert sum(mix[mode] for mode in SLIPS) == pytest.approx(0.9)
    for mode in SLIPS:
        assert mix[mode] / mix["wrong_pick"] == pytest.approx(MAST_MIX[mode] / 13.2)


# --- draws ---------------------------------------------------------------------------------------


def test_uniform_draws_are_uniform_and_keyed() -> None:
    draws = [uniform(0, "slip", i) for i in range(20_000)]
    assert kstest(draws, "uniform").pvalue > 1e-4
    assert all(0 <= u < 1 for u in draws)
    assert draws[:5] == [uniform(0, "slip", i) for i in range(5)]
    assert uniform(0, "slip", 1) != uniform(1, "slip", 1)
    assert uniform("ab", "c") != uniform("a", "bc")


@pytest.mark.parametrize(("p", "rho"), [(0.96, 0.32), (0.96, 0.0), (0.8, 0.5), (0.6, 1.0)])
def test_a_step_slips_with_probability_1_minus_p(p: float, rho: float) -> None:
    simulation, n = Simulation(reliability=p, correlation=rho), 12_000
    rate = sum(slips(simulation, request(i)) for i in range(n)) / n
    assert rate == pytest.approx(1 - p, abs=SIGMAS * (p * (1 - p) / n) ** 0.5)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_reliability_is_certain(p: float) -> None:
    assert {slips(Simulation(reliability=p), request(i)) for i in range(500)} == {p == 0}


def correlation(pairs: list[tuple[bool, bool]], mean: float) -> tuple[float, float]:
    """Intra-class correlation of pairs with a known mean, and its standard error."""
    x = np.array(pairs, dtype=float) - mean
    products = x[:, 0] * x[:, 1] / (mean * (1 - mean))
    return float(products.mean()), float(products.std() / len(products) ** 0.5)


@pytest.mark.parametrize("again", ["attempt", "trial", "delivery"])
@pytest.mark.parametrize(("p", "rho"), [(0.96, 0.32), (0.8, 0.5), (0.9, 0.0)])
def test_repeated_attempts_have_the_set_correlation(p: float, rho: float, again: str) -> None:
    simulation = Simulation(reliability=p, correlation=rho)
    pairs = [
        (slips(simulation, request(i)), slips(simulation, request(i, **{again: 2})))
        for i in range(8000)
    ]
    found, error = correlation(pairs, 1 - p)
    assert found == pytest.approx(rho, abs=SIGMAS * error)
    assert SIGMAS * error < 0.32  # narrow enough to tell the default from none


def test_other_steps_and_tasks_share_nothing() -> None:
    simulation = Simulation(reliability=0.8, correlation=0.5)
    across = {
        "steps": [
            (slips(simulation, request(i)), slips(simulation, request(i, step="post")))
            for i in range(10_000)
        ],
        "tasks": [
            (slips(simulation, request(i)), slips(simulation, request(i + 1)))
            for i in range(0, 20_000, 2)
        ],
        "seeds": [
            (slips(simulation, request(i)), slips(Simulation(0.8, 0.5, seed=1), request(i)))
            for i in range(10_000)
        ],
    }
    for pairs in across.values():
        found, error = correlation(pairs, 0.2)
        assert found == pytest.approx(0, abs=SIGMAS * error)


def test_crowding_is_what_its_source_says() -> None:
    simulation = Simulation()
    assert simulation.step_reliability(1) == 0.96
    assert simulation.step_reliability(2) == pytest.approx(0.96 - 0.0096)
    middle = (0.15**0.1 + 0.44**0.1) / 2  # per instruction, of ten
    assert simulation.step_reliability(10) == pytest.approx(middle, abs=0.002)


def test_crowding_scales_with_unreliability_and_stops_at_nothing() -> None:
    assert Simulation(reliability=1.0).step_reliability(50) == 1.0
    drop = 0.90 - Simulation(reliability=0.90).step_reliability(2)
    assert drop == pytest.approx(0.0096 * 0.10 / 0.04)
    assert Simulation(reliability=0.5).step_reliability(50) == 0.0


def test_a_crowded_call_slips_more_often_in_each_answer() -> None:
    simulation, n = Simulation(), 12_000
    rate = sum(slips(simulation, request(i), asked=10) for i in range(n)) / n
    expected = 1 - simulation.step_reliability(10)
    assert rate == pytest.approx(expected, abs=SIGMAS * (expected / n) ** 0.5)
    alone = {i for i in range(2000) if slips(simulation, request(i))}
    assert alone <= {i for i in range(2000) if slips(simulation, request(i), asked=10)}


def test_modes_follow_the_mix() -> None:
    simulation, n = Simulation(), 12_000
    modes = list(default_mix())
    seen = Counter(pick_mode(simulation, request(i), modes) for i in range(n))
    expected = [simulation.mix[mode] / sum(simulation.mix.values()) * n for mode in modes]
    assert chisquare([seen[mode] for mode in modes], expected).pvalue > 1e-4


def test_modes_that_do_not_apply_leave_the_proportions_of_the_others() -> None:
    simulation, n = Simulation(mix={"wrong_pick": 3, "stale_value": 1, "dropped_item": 99}), 8000
    seen = Counter(
        pick_mode(simulation, request(i), ["wrong_pick", "stale_value"]) for i in range(n)
    )
    assert chisquare([seen["wrong_pick"], seen["stale_value"]], [0.75 * n, 0.25 * n]).pvalue > 1e-4


# --- confidence ----------------------------------------------------------------------------------


def auc(right: list[float], wrong: list[float]) -> float:
    """Area under the ROC curve: Mann-Whitney's U over the number of pairs."""
    ranks = rankdata([*right, *wrong])[: len(right)].sum()
    return float((ranks - len(right) * (len(right) + 1) / 2) / (len(right) * len(wrong)))


@pytest.mark.parametrize("setting", [0.5, 0.627, 0.8, 0.95])
def test_confidence_tells_right_from_wrong_as_well_as_it_is_set_to(setting: float) -> None:
    simulation, n = Simulation(confidence_auc=setting), 6000
    right = [confidence(simulation, request(i), True) for i in range(n)]
    wrong = [confidence(simulation, request(i), False) for i in range(n, 2 * n)]
    assert all(0 <= value <= 1 for value in right + wrong)
    assert auc(right, wrong) == pytest.approx(setting, abs=SIGMAS * (1 / (6 * n)) ** 0.5)


def test_an_auc_of_a_half_gives_no_information_at_all() -> None:
    simulation = Simulation(confidence_auc=0.5)
    for i in range(200):
        assert confidence(simulation, request(i), True) == confidence(simulation, request(i), False)


def test_models_overstate_their_confidence() -> None:
    mean = np.mean([confidence(Simulation(), request(i), True) for i in range(3000)])
    assert mean == pytest.approx(0.8, abs=0.05)


# --- what a slip does ----------------------------------------------------------------------------


class Line(BaseModel):
    account: Literal["receivable", "discount", "refund"]
    invoice_id: str
    amount: float


class Everything(StepAnswer):
    """An answer with every kind of content that the cases have."""

    customer_id: str
    invoices: list[str]
    amounts: list[float]
    difference: float
    received_on: str
    kind: Literal["exact", "fx", "batch"]
    claims: list[Literal["discount", "shared", "part"]]
    theirs: bool
    lines: list[Line]
    reply: str
    next_step: Literal["extract", "match", "done"]


SCHEMA = convert_to_openai_tool(Everything)["function"]["parameters"]

ids = st.integers(1000, 99_999).map(lambda n: f"INV-{n:05d}")
money = st.integers(0, 999_999).map(lambda n: n / 100)
dates = st.dates().filter(lambda d: d.year > 999).map(str)
claims = st.lists(st.sampled_from(["discount", "shared", "part"]), max_size=3, unique=True)
replies = st.builds(
    "We refund {1:.2f} for {0}. It was sent on {2}. Thank you.".format, ids, money, dates
) | st.just("Thank you.")
whole_answers = st.fixed_dictionaries(
    {
        "customer_id": st.integers(0, 9999).map(lambda n: f"C-{n:04d}"),
        "invoices": st.lists(ids, max_size=3),
        "amounts": st.lists(money, max_size=3),
        "difference": st.integers(-99_999, 99_999).map(lambda n: n / 100),
        "received_on": dates,
        "kind": st.sampled_from(["exact", "fx", "batch"]),
        "claims": claims,
        "theirs": st.booleans(),
        "lines": st.lists(
            st.fixed_dictionaries(
                {
                    "account": st.sampled_from(["receivable", "discount", "refund"]),
                    "invoice_id": ids,
                    "amount": money,
                }
            ),
            max_size=2,
        ),
        "reply": replies,
        "next_step": st.sampled_from(["extract", "match", "done"]),
        "sources": st.lists(ids.map(lambda i: f"invoices/{i}"), max_size=2),
        "confidence": st.just(0.8),
    }
)
prompts = st.builds(
    lambda some, amounts, days: Prompt(
        None, text=" ".join([*some, *(f"{a:.2f}" for a in amounts), *days, "C-0001 C-0002"])
    ),
    st.lists(ids, max_size=4),
    st.lists(money, max_size=4),
    st.lists(dates, max_size=3),
)
draws = st.floats(0, 1, exclude_max=True)


def differences(before: Any, after: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where two answers differ: (path, before, after); a list of another length is one place."""
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [d for k in before for d in differences(before[k], after[k], (*path, k))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [d for i, (b, a) in pairs for d in differences(b, a, (*path, i))]
    return [] if before == after else [(path, before, after)]


def content_difference(before: dict[str, Any], after: dict[str, Any]) -> tuple[Any, ...]:
    found = [d for d in differences(before, after) if d[0][0] != "sources"]
    assert len(found) == 1, "one slip changes one place"
    return found[0]


def is_transposition(before: str, after: str) -> bool:
    places = [i for i, (b, a) in enumerate(zip(before, after, strict=True)) if b != a]
    return (
        len(places) == 2
        and places[1] == places[0] + 1
        and before[places[0]] == after[places[1]]
        and before[places[1]] == after[places[0]]
        and before[places[0]].isdigit()
    )


def one_token(pattern: str, before: str, after: str) -> tuple[str, str]:
    """The one token of a text that was replaced."""
    old, new = re.findall(pattern, before), re.findall(pattern, after)
    changed = [(b, a) for b, a in zip(old, new, strict=True) if b != a]
    assert len(changed) == 1
    assert re.sub(pattern, "", before) == re.sub(pattern, "", after)
    return changed[0]


ID = r"[A-Z]+-\d+"
DATE_OR_AMOUNT = r"\d{4}-\d\d-\d\d|\d+\.\d\d"


def is_of_its_kind(mode: str, path: tuple[Any, ...], before: Any, after: Any, text: str) -> bool:
    """Whether a change is one that this mode makes."""
    if mode == "wrong_tool_or_step":
        return path == ("next_step",)
    if path == ("next_step",):
        return False
    if mode == "transposed_digits" and isinstance(before, float):
        same_sign = (before < 0) == (after < 0)
        return same_sign and is_transposition(
            f"{abs(before):.2f}".replace(".", ""),
            f"{abs(after):.2f}".replace(".", "").zfill(len(f"{abs(before):.2f}") - 1),
        )
    if mode == "transposed_digits":
        return is_transposition(before, after)
    if mode == "wrong_pick":
        old, new = one_token(ID, before, after)
        return new in text and old.split("-")[0] == new.split("-")[0]
    if mode == "invented_reference":
        old, new = one_token(ID, before, after)
        return new not in text and len(new) == len(old)
    if mode == "dropped_item" and isinstance(before, list):
        return any(before[:i] + before[i + 1 :] == after for i in range(len(before)))
    if mode == "dropped_item":
        parts = before.split(". ")
        return len(after.split(". ")) == len(parts) - 1 and all(s in before for s in parts)
    if mode == "stale_value" and isinstance(before, float):
        return f"{after:.2f}" in text
    if mode == "stale_value":
        return one_token(DATE_OR_AMOUNT, before, after)[1] in text
    if mode == "ignored_instruction" and before == []:
        return len(after) == 1
    if mode == "ignored_instruction":
        return path[0] in ("kind", "theirs", "claims", "lines") and path[-1] not in (
            "invoice_id",
            "amount",
        )
    raise AssertionError(mode)


@pytest.mark.parametrize("mode", SLIPS)
@settings(max_examples=40)
@given(answer=whole_answers, prompt=prompts, u=draws)
def test_a_slip_changes_one_place_in_its_own_kind_of_way(
    mode: str, answer: dict[str, Any], prompt: Prompt, u: float
) -> None:
    untouched = copy.deepcopy(answer)
    broken = apply_slip(mode, answer, SCHEMA, prompt, u)
    assert answer == untouched
    assume(broken is not None)
    assert broken is not None
    path, before, after = content_difference(answer, broken)
    assert is_of_its_kind(mode, path, before, after, prompt.text)
    assert broken["confidence"] == answer["confidence"]


@pytest.mark.parametrize("mode", SLIPS)
@settings(max_examples=40)
@given(answer=whole_answers, prompt=prompts, u=draws)
def test_a_slipped_answer_still_fits_its_schema(
    mode: str, answer: dict[str, Any], prompt: Prompt, u: float
) -> None:
    """Malformed output is a mode of its own; a slip in the content is not that."""
    broken = apply_slip(mode, answer, SCHEMA, prompt, u)
    assume(broken is not None)
    assert Everything.model_validate(broken).model_dump() == broken


def test_every_mode_applies_where_there_is_something_to_get_wrong() -> None:
    answer = {
        "customer_id": "C-0001",
        "invoices": ["INV-20001"],
        "amounts": [12.5],
        "difference": 0.0,
        "received_on": "2026-06-01",
        "kind": "exact",
        "claims": [],
        "theirs": True,
        "lines": [],
        "reply": "",
        "next_step": "match",
    }
    prompt = Prompt(None, text="C-0001 C-0002 INV-20001 INV-20002 99.00 2026-05-01")
    assert all(apply_slip(mode, answer, SCHEMA, prompt, 0.4) for mode in SLIPS)


@pytest.mark.parametrize("mode", SLIPS)
def test_an_answer_without_content_admits_no_slip(mode: str) -> None:
    answer = {"note": "", "sources": ["terms/house"], "confidence": 0.5}
    schema = {"properties": {"note": {"type": "string"}}}
    assert apply_slip(mode, answer, schema, Prompt(None, text="INV-20001 9.99"), 0.3) is None


def test_a_wrong_pick_is_the_nearest_looking_id_that_is_visible() -> None:
    prompt = Prompt(None, text="INV-20417 INV-20471 INV-99999 ORD-20418")
    broken = apply_slip("wrong_pick", {"invoice": "INV-20417"}, {}, prompt, 0.5)
    assert broken == {"invoice": "INV-20471"}


def test_the_citation_follows_the_wrong_pick() -> None:
    """An agent that takes another invoice cites the one it took."""
    prompt = Prompt(None, text="INV-20417 INV-20471")
    answer = {"invoice": "INV-20417", "sources": ["invoices/INV-20417", "terms/house"]}
    broken = apply_slip("wrong_pick", answer, {}, prompt, 0.5)
    assert broken == {"invoice": "INV-20471", "sources": ["invoices/INV-20471", "terms/house"]}


@pytest.mark.parametrize("amount", [-5.55, -11.11, -0.01, -12.34, 0.05, 100.0])
def test_transposed_digits_leave_the_sign_alone(amount: float) -> None:
    broken = apply_slip("transposed_digits", {"amount": amount}, {}, Prompt(None), 0.5)
    if broken is not None:
        assert (broken["amount"] < 0) == (amount < 0)
        assert broken["amount"] != amount


def test_ignoring_the_instruction_never_claims_what_is_no_choice() -> None:
    answer = {"claims": ["discount", "shared", "part"]}
    draws = [i / 50 for i in range(50)]
    broken = [apply_slip("ignored_instruction", answer, SCHEMA, Prompt(None), u) for u in draws]
    assert all(b is None or None not in b["claims"] for b in broken)


def test_a_plan_slips_in_its_order() -> None:
    schema = {"properties": {"order_of_steps": {"type": "array", "items": {"type": "string"}}}}
    answer = {"order_of_steps": ["extract", "match", "post"]}
    plans = [
        apply_slip("wrong_tool_or_step", answer, schema, Prompt(None), i / 9) for i in range(9)
    ]
    for plan in plans:
        assert plan is not None
        assert plan != answer
        assert sorted(plan["order_of_steps"]) == sorted(answer["order_of_steps"])
