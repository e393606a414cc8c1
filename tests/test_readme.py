"""The README's figures are measured ones: its tables are data/results.json, and that is a run's."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coordkit import stack as stack_module
from coordkit.cases import load_case
from coordkit.experiment import Settings, failure_of, make_bench
from coordkit.ladder import interval, p_text, percent, points, summarise
from coordkit.language import SMALLTALK, mask, split_sentences
from coordkit.stack import Stack
from coordkit.statistics import paired_difference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "data" / "results.json").read_text(encoding="utf-8"))


def rows(case: str) -> list[list[str]]:
    table = README.split(f"**{case}**\n\n", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def with_brackets(value: str, more: str) -> str:
    return f"{value} ({more})" if value else ""


def fresh_trials(case: str) -> pd.DataFrame:
    """The trials that `make run` left; its 2,000 tasks are not run again for a test."""
    trials = ROOT / "runs" / f"{case}-{Settings(case).key()}" / "trials.parquet"
    if not trials.exists():
        pytest.skip("no full run of this version in runs/: `make run` makes it")
    return pd.read_parquet(trials)


def failures_by_task(case: str, stack: Stack) -> pd.Series:
    trials = fresh_trials(case)
    return trials[trials["stack"] == stack.label].set_index("task")["failed"]


@pytest.mark.parametrize("case", ["billing", "support"])
def test_the_tables_are_the_results(case):
    for row, first, second in zip(
        rows(case), RESULTS[case]["0"]["rungs"], RESULTS[case]["1"]["rungs"], strict=True
    ):
        rate, low, high = (float(x) for x in re.findall(r"\d+\.\d", row[1]))
        assert rate == round(100 * first["failure_rate"], 1)
        assert (low, high) == (round(100 * first["ci_low"], 1), round(100 * first["ci_high"], 1))
        assert float(row[2]) == round(100 * second["failure_rate"], 1)
        if first["delta"] is not None:
            change = float(row[3].split()[0].replace("−", "-"))
            assert change == pytest.approx(100 * first["delta"], abs=0.051)
        assert row[6] == f"{first['silent']} / {first['loud']}"


@pytest.mark.parametrize("case", ["billing", "support"])
def test_the_tables_other_columns_are_the_results(case):
    for row, e in zip(rows(case), RESULTS[case]["0"]["rungs"], strict=True):
        assert [cell.replace("< ", "<") for cell in (*row[3:6], *row[7:])] == [
            with_brackets(points(e["delta"]), interval(e["delta_ci_low"], e["delta_ci_high"])),
            p_text(e["p_value"]),
            with_brackets(points(e["knockout_delta"]), p_text(e["knockout_p_value"])),
            percent(e["escalated"] / e["trials"]).removesuffix(" %"),
            f"{e['calls_per_task']:.1f}",
            f"{e['cost_per_task_usd']:.4f}",
        ]


@pytest.mark.parametrize("case", ["billing", "support"])
def test_make_run_measures_the_results_again(case):
    again = summarise(fresh_trials(case), Settings(case), range(7))["rungs"]
    for new, old in zip(again, RESULTS[case]["0"]["rungs"], strict=True):
        # another processor may round a classifier's probability to the other side
        assert abs(new["failures"] - old["failures"]) <= 5


def test_the_mechanism_is_the_results() -> None:
    rung = {c: {e["rung"]: e for e in RESULTS[c]["0"]["mechanism"]["rungs"]} for c in RESULTS}
    asking = {c: RESULTS[c]["0"]["mechanism"]["asking_again"] for c in RESULTS}
    text = " ".join(README.split())
    both = ("billing", "support")
    more = [f"{asking[c]['faults_per_trial']:.2f}" for c in both]
    assert f"asking again adds {more[0]} faults per billing task and {more[1]} per ticket" in text
    faults = [f"{rung[c][3]['faults_per_trial']:.2f}" for c in both]
    harmless = [f"{100 * rung[c][3]['fates']['harmless']:.0f} %" for c in both]
    assert f"({' and '.join(faults)} per task) {' and '.join(harmless)} prove harmless" in text
    billing, support = rung["billing"][5], rung["support"][5]
    assert f"repair {100 * billing['fates']['repaired']:.0f} % of its faults" in text
    assert f"{100 * billing['causes']['unapproved']:.1f} % of tasks are refunds that no" in text
    assert f"and {100 * billing['failures']['held']:.1f} % are held" in text
    assert f"because {100 * support['causes']['misread']:.1f} % are misread" in text
    saved = [f"{100 * asking[c]['calls']:.0f} %" for c in both]
    assert f"State also cuts calls by {' and '.join(saved)}" in text


def test_the_paragraphs_beside_the_tables_are_the_results() -> None:
    rungs = {case: RESULTS[case]["0"]["rungs"] for case in RESULTS}
    causes = {c: RESULTS[c]["0"]["mechanism"]["rungs"] for c in RESULTS}
    text = " ".join(README.split())
    three, five = (100 * rungs["billing"][k]["failure_rate"] for k in (3, 5))
    assert f"billing {three:.1f} % → {five:.1f} % failure" in text
    three, five = (100 - 100 * rungs["support"][k]["failure_rate"] for k in (3, 5))
    assert f"support {three:.1f} % → {five:.1f} % success" in text
    planning = [points(rungs[c][2]["knockout_delta"])[1:] for c in ("billing", "support")]
    assert f"it costs {' and '.join(planning)} points" in text
    first = rungs["billing"][1]
    share = 100 * first["knockout_escalated"] / first["trials"]
    assert f"{share:.0f} % of billing tasks are escalated" in text
    twice = 100 * causes["billing"][3]["causes"]["posted twice"]
    assert f"a line delivered twice ({twice:.1f} % of billing)" in text
    unapproved = [100 * causes[c][5]["causes"]["unapproved"] for c in ("billing", "support")]
    assert "({:.1f} % of billing and {:.1f} % of support at rung 5)".format(*unapproved) in text


def test_what_state_costs_on_lines_delivered_once_is_whom_a_person_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = [task for task in load_case("billing").tasks if not task.repeated]
    full, without = Stack.rung(6), Stack.rung(6).without("state")
    ids = [task.id for task in once]
    on, off = (failures_by_task("billing", stack).loc[ids] for stack in (full, without))

    def p(other: pd.Series) -> str:
        return f"(p = {paired_difference(on.to_frame(), other.to_frame()).p_value:.2f})"

    text = " ".join(README.split())
    told = f"of the other {len(once):,} tasks {on.sum()} fail with state and {off.sum()} without"
    assert f"{told} {p(off)}" in text
    notebook = (ROOT / "notebooks/04_state.ipynb").read_text(encoding="utf-8")
    assert f"({off.sum()} failures, not {on.sum()}: README)" in notebook

    def deliver(state: Any, step: str, answer: Any, shared: bool) -> Any:
        update = delivered(state, step, answer, shared)
        return update if shared else {**update, "answers": {step: answer}}

    def approve(at: Any, state: Any) -> Any:
        return approved(at, {**state, "inbox": {**state.get("answers", {}), **state["inbox"]}})

    delivered, approved = stack_module.deliver, stack_module.approve
    monkeypatch.setattr(stack_module, "deliver", deliver)
    monkeypatch.setattr(stack_module, "approve", approve)
    bench = make_bench(Settings("billing"), without)
    heard = pd.Series([bool(failure_of(bench, t, bench.run(t))) for t in once], ids)
    assert f"where those of each are heard, {heard.sum()} fail {p(heard)}" in text
    assert f"is heard, {heard.sum()} fail" in " ".join(notebook.split())


def test_supports_failures_cluster_by_sentence() -> None:
    examples = pd.read_csv(ROOT / "data/support/examples.csv")
    requests = set(examples.loc[examples["intent"] != SMALLTALK, "text"].map(mask))
    held = {
        task.id: {mask(sentence) for sentence in split_sentences(task.fields["message"])} & requests
        for task in load_case("support").tasks
    }
    failed = failures_by_task("support", Stack.rung(6))
    failed = failed[failed]
    random = np.random.default_rng(0)
    draws = [random.choice(list(held), len(failed), replace=False) for _ in range(100)]
    by_chance = [held_by_twenty([held[task] for task in draw]) for draw in draws]
    found = held_by_twenty([held[task] for task in failed.index])
    assert found > max(by_chance), "no cluster"
    assert (
        f"{found} of {len(failed)} at rung 6 hold one of 20 requests, where {len(failed)} random "
        f"tickets make about {np.mean(by_chance):.0f}."
    ) in " ".join(README.split())


def held_by_twenty(messages: list[set[str]]) -> int:
    """How many messages hold one of 20 requests, each the most frequent in what is left."""
    left = messages
    for _ in range(20):
        count = Counter(request for message in left for request in message)
        commonest = min(count, key=lambda request: (-count[request], request))
        left = [message for message in left if commonest not in message]
    return len(messages) - len(left)


def test_every_layer_shows_an_effect_somewhere():
    for k in range(1, 7):
        entries = [RESULTS[case]["0"]["rungs"][k] for case in ("billing", "support")]
        assert min(min(e["p_value"], e["knockout_p_value"]) for e in entries) < 0.01, k


def test_it_is_short_and_names_commands_that_exist():
    from typer.main import get_command

    from coordkit.cli import app

    assert len(README.splitlines()) < 150
    commands = set(re.findall(r"^coordkit (\w+)", README, re.MULTILINE))
    assert commands <= set(get_command(app).commands)  # type: ignore[attr-defined]
