"""coordkit.trace: the story of a trial holds what happened, in order."""

import pytest

from coordkit.experiment import Bench, Settings, make_bench, run_trial
from coordkit.faults import Simulation
from coordkit.stack import Stack
from coordkit.trace import tell

TASKS = 40


def bench_of(stack: Stack, **simulation: float) -> Bench:
    settings = Settings("billing", tasks=TASKS, simulation=Simulation(**simulation))
    return make_bench(settings, stack)


def first(bench: Bench, column: str, value: object = True):
    """The first task whose row of the results has a value in a column."""
    rows = ((task, run_trial(bench, task)) for task in bench.at.case.tasks)
    return next((task, row) for task, row in rows if row[column] == value)


def in_order(text: str, *parts: str) -> bool:
    at = [text.find(part) for part in parts]
    return -1 not in at and at == sorted(at)


def test_a_trial_without_slips_is_told_step_by_step() -> None:
    bench = bench_of(Stack.rung(6), reliability=1.0)
    task = next(t for t in bench.at.case.tasks if t.labels["kind"] == "exact")
    text = tell(bench, task)
    assert in_order(
        text, "payment_id: " + task.id, "extract → match → explain → post",
        "agent extract, attempt 1", "agent match", "agent explain", "agent post",
        "Faults injected\n  none", "Environment afterwards", "Right outcome", "SUCCESS",
    )  # fmt: skip
    assert "saw extract's answer (above)" in text
    assert "looked up get_invoices(" in text
    assert "confidence 0." in text
    assert "approve by house rules" in text


def test_a_failure_is_told_with_its_faults_and_its_cause() -> None:
    bench = bench_of(Stack.rung(4), reliability=0.8)
    task, row = first(bench, "failed")
    text = tell(bench, task)
    assert f"FAILURE: {row['failure']}" in text
    assert f"cause: {row['cause']}" in text
    assert ": shipped" in text
    assert "! injected here:" in text


def test_the_environment_is_told_as_the_trial_left_it() -> None:
    bench = bench_of(Stack.rung(4), reliability=0.8)
    for task in bench.at.case.tasks[:20]:
        wrong = run_trial(bench, task)["failed"]
        text = tell(bench, task)
        done = text.split("Environment afterwards\n")[1].split("\n\n")[0]
        right = text.split("Right outcome\n")[1].split("\n\n")[0]
        assert (sorted(done.split("\n")) != sorted(right.split("\n"))) == wrong


def test_verification_is_told_between_the_attempts() -> None:
    bench = bench_of(Stack.rung(5), reliability=0.5)
    texts = (tell(bench, task) for task in bench.at.case.tasks)
    text = next(t for t in texts if "sends back: " in t and "saw the critique" in t)
    before, _, after = text.partition("verification\n  sends back: ")
    step = before.rsplit("agent ", 1)[1].split(",")[0]
    assert f"agent {step}, attempt 2" in after
    assert in_order(after, "agent", "saw the critique: ")


def test_verification_is_told_once_where_a_person_was_asked() -> None:
    bench = make_bench(Settings("billing"), Stack.rung(6))
    task = next(t for t in bench.at.case.tasks if t.id == "BNK-000092")
    text = tell(bench, task)
    assert text.count("\nverification\n  holds the task") == 1
    assert in_order(text, "\nverification\n  sends back", "\nverification\n  holds", "\nhuman\n")
    assert "\nverification\n" not in text.partition("\nhuman\n")[2]


def test_asking_again_is_told_without_state() -> None:
    bench = bench_of(Stack.rung(3), reliability=1.0)
    task = next(t for t in bench.at.case.tasks if t.labels["kind"] == "exact")
    text = tell(bench, task)
    assert in_order(text, "explain asks extract again", "agent extract, attempt 2", "agent explain")
    assert text.count("post asks match again") == 1  # the graph's own end repeats no event


def test_a_lost_delivery_is_told() -> None:
    mix = {"rate_limited": 1.0}
    bench = make_bench(
        Settings("billing", tasks=TASKS, simulation=Simulation(reliability=0.7, mix=mix)),
        Stack.rung(4),
    )
    texts = (tell(bench, task) for task in bench.at.case.tasks)
    text = next(t for t in texts if "NO ANSWER: rate limited" in t and "SUCCESS" in t)
    assert ", delivery 2" in text
    assert "rate_limited at " in text


def test_a_bare_model_shows_what_it_had_to_guess() -> None:
    bench = bench_of(Stack.rung(0), reliability=1.0)
    texts = [tell(bench, task) for task in bench.at.case.tasks]
    assert any("? had to guess: " in text for text in texts)
    assert all("agent generalist, attempt 1" in text for text in texts)


def test_long_values_are_shortened_and_lines_wrapped() -> None:
    bench = bench_of(Stack.rung(1), reliability=1.0)
    text = tell(bench, bench.at.case.tasks[0])
    assert max(map(len, text.split("\n"))) <= 100
    assert " and 1 more" in text or " more" in text


@pytest.mark.parametrize("trial", [0, 1])
def test_telling_twice_tells_the_same(trial: int) -> None:
    bench = bench_of(Stack.rung(6), reliability=0.8)
    task = bench.at.case.tasks[3]
    assert tell(bench, task, trial) == tell(bench, task, trial)
    assert f"trial {trial}" in tell(bench, task, trial)
