"""The simulated model: competent on what it sees, guessing the rest, failing by the dice."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, create_model
from scipy.stats import chisquare
from test_faults import SIGMAS, auc

from coordkit.cases import load_case
from coordkit.cases.base import StepAnswer
from coordkit.cases.billing import Billing, Explain, Extract, Match, Post
from coordkit.experiment import (
    Recorder,
    Settings,
    make_bench,
    run_trial,
    simulated_model,
)
from coordkit.faults import SLIPS, Simulation, confidence, default_mix
from coordkit.layers.execution import ask, generalist_schema, is_transient
from coordkit.prompt import Answer, Prompt, Request, write_prompt, write_record
from coordkit.simulated import Call, ModelUnavailable, SimulatedChatModel, faultless
from coordkit.stack import Stack

PERFECT = Simulation(reliability=1.0)
ALWAYS = {"reliability": 0.0, "correlation": 0.0}

LINE = {
    "payment_id": "BNK-000001",
    "received_on": "2026-06-08",
    "payer_name": "Acme Tools Ltd",
    "amount": "98.00",
    "currency": "USD",
    "remittance_text": "INV 20001 LESS 2% DISC",
}
EXTRACTED = {
    "payment_id": "BNK-000001",
    "received_on": "2026-06-08",
    "payer": "Acme Tools Ltd",
    "references": ["INV-20001"],
    "amount": 98.0,
    "currency": "USD",
    "claims": ["discount"],
}
INVOICE = {
    "invoice_id": "INV-20001",
    "customer_id": "C-0001",
    "customer_name": "Acme Tools Ltd",
    "issued_on": "2026-06-01",
    "amount": "100.00",
    "currency": "USD",
}
OTHER = INVOICE | {"invoice_id": "INV-20002", "amount": "250.00"}
MATCHED = {
    "customer_id": "C-0001",
    "invoices": ["INV-20001"],
    "amounts": [100.0],
    "currency": "USD",
}
EXPLAINED = {"kind": "early_discount", "difference": 2.0, "surplus_to": "none"}
RECORDS = "\n".join(write_record(f"invoices/{r['invoice_id']}", r) for r in (INVOICE, OTHER))
TERMS = write_record("terms/C-0001", "Early-payment discount: 2% if paid within 10 days.")
NO_TERMS = write_record("terms/C-0001", "Early-payment discount: none.")


def prompt(step: str, name: str = "billing/BNK-000001", **parts: Any) -> Any:
    return write_prompt("Do it.", Request(name, step), **parts)


@pytest.fixture(scope="module")
def billing() -> Billing:
    case = load_case("billing")
    assert isinstance(case, Billing)
    return case


def submitted(reply: AIMessage) -> dict[str, Any]:
    (call,) = reply.tool_calls
    return {k: v for k, v in call["args"].items() if k not in ("sources", "confidence")}


# --- competence and guesses ----------------------------------------------------------------------


def entries(*rows: tuple[str, str, float]) -> Answer:
    names = ("account", "invoice_id", "amount")
    return {"entries": [dict(zip(names, row, strict=True)) for row in rows]}


EXAMPLES: list[tuple[type[StepAnswer], dict[str, Any], Answer]] = [
    (Extract, {"task": LINE}, EXTRACTED),
    (Match, {"answers": {"extract": EXTRACTED}, "records": RECORDS}, MATCHED),
    (  # no reference: the payer's invoice whose amount fits
        Match,
        {
            "answers": {"extract": EXTRACTED | {"references": [], "amount": 250.0, "claims": []}},
            "records": RECORDS,
        },
        MATCHED | {"invoices": ["INV-20002"], "amounts": [250.0]},
    ),
    (  # the reference is somebody else's invoice
        Match,
        {
            "answers": {"extract": EXTRACTED | {"amount": 250.0, "claims": []}},
            "records": RECORDS.replace("Acme Tools Ltd", "Zenith Bakery", 1),
        },
        MATCHED | {"invoices": ["INV-20002"], "amounts": [250.0]},
    ),
    (
        Explain,
        {"answers": {"extract": EXTRACTED, "match": MATCHED}, "records": f"{RECORDS}\n{TERMS}"},
        EXPLAINED,
    ),
    (
        Explain,
        {"answers": {"extract": EXTRACTED, "match": MATCHED}, "records": f"{RECORDS}\n{NO_TERMS}"},
        EXPLAINED | {"kind": "short_payment"},
    ),
    (
        Explain,
        {
            "answers": {"extract": EXTRACTED, "match": MATCHED},
            "records": RECORDS.replace('"USD"}', '"USD", "paid_on": "2026-06-02"}') + "\n" + TERMS,
        },
        {"kind": "duplicate", "difference": 0.0, "surplus_to": "refund"},
    ),
    (
        Post,
        {"answers": {"extract": EXTRACTED, "match": MATCHED, "explain": EXPLAINED}},
        entries(("receivable", "INV-20001", 98.0), ("discount", "INV-20001", 2.0)),
    ),
]


@pytest.mark.parametrize(("schema", "parts", "expected"), EXAMPLES)
def test_a_reliable_model_is_right_on_what_it_sees(
    billing: Billing, schema: type[StepAnswer], parts: dict[str, Any], expected: Answer
) -> None:
    model = simulated_model(billing, PERFECT).bind_tools([schema])
    reply = model.invoke(prompt(schema.__name__.lower(), **parts))
    assert submitted(reply) == expected
    assert reply.response_metadata == {"faults": [], "guessed": []}
    schema.model_validate(reply.tool_calls[0]["args"])


def test_a_reliable_model_under_the_whole_stack_makes_every_task_right(billing: Billing) -> None:
    """Also proves that every label can be had from what the tools show."""
    bench = make_bench(Settings("billing", simulation=PERFECT), Stack.rung(5))
    for task in billing.tasks[::30]:
        recorder = Recorder()
        bench.run(task, 0, recorder)
        done = bench.at.environment.actions(f"{task.id}/trial-0")
        assert billing.wrong(task, done) == "", task.id
        assert not any(m.response_metadata["faults"] for m in recorder.replies)


def test_a_reliable_support_model_is_right_wherever_it_reads_the_intents_right() -> None:
    """Reading language is where even a model that never slips can be wrong, and nowhere else."""
    bench = make_bench(Settings("support", simulation=PERFECT), Stack.rung(4))
    tasks, right = bench.at.case.tasks[::40], 0
    for task in tasks:
        recorder = Recorder()
        bench.run(task, 0, recorder)
        done = bench.at.environment.actions(f"{task.id}/trial-0")
        classified = next(m for m in recorder.replies if m.tool_calls[0]["name"] == "Classify")
        read = set(classified.tool_calls[0]["args"]["intents"])
        if read == set(task.labels["intents"]):
            right += 1
            assert bench.at.case.wrong(task, done) == "", task.id
    assert right > 0.75 * len(tasks)


def test_missing_terms_are_guessed_to_be_the_usual_ones_and_it_says_so(billing: Billing) -> None:
    model = simulated_model(billing, PERFECT).bind_tools([Explain])
    answers = {"extract": EXTRACTED, "match": MATCHED}
    reply = model.invoke(prompt("explain", answers=answers, records=RECORDS))
    assert submitted(reply) == EXPLAINED  # 2 % within ten days is usual
    assert reply.response_metadata["guessed"] == ["terms"]
    late = {"extract": EXTRACTED | {"received_on": "2026-06-12"}, "match": MATCHED}
    reply = model.invoke(prompt("explain", answers=late, records=RECORDS))
    assert submitted(reply)["kind"] == "short_payment"


def test_missing_invoices_are_guessed_plausibly_and_it_says_so(billing: Billing) -> None:
    model = simulated_model(billing, PERFECT).bind_tools([Match])
    reply = model.invoke(prompt("match", answers={"extract": EXTRACTED}))
    assert submitted(reply)["invoices"] == ["INV-20001"]  # as printed
    assert reply.response_metadata["guessed"] == ["invoices"]
    unreferenced = EXTRACTED | {"references": [], "payer": "Nobody Known"}
    reply = model.invoke(prompt("match", answers={"extract": unreferenced}, records=RECORDS))
    assert submitted(reply)["invoices"] == ["INV-20001"]  # the nearest amount
    assert reply.response_metadata["guessed"] == ["invoices"]


def test_missing_earlier_answers_are_guesses_too(billing: Billing) -> None:
    reply = simulated_model(billing, PERFECT).bind_tools([Post]).invoke(prompt("post"))
    assert reply.response_metadata["guessed"] == ["extract", "match", "explain"]


def test_a_guess_lowers_confidence_as_a_wrong_answer_does(billing: Billing) -> None:
    model = simulated_model(billing, PERFECT).bind_tools([Explain])
    answers = {"extract": EXTRACTED, "match": MATCHED}
    asked = Request("billing/BNK-000001", "explain")
    for records, right in ((RECORDS, False), (f"{RECORDS}\n{TERMS}", True)):
        reply = model.invoke(prompt("explain", answers=answers, records=records))
        expected = confidence(PERFECT, asked, right)
        assert reply.tool_calls[0]["args"]["confidence"] == expected


def test_two_answers_resting_on_the_same_guess_are_both_guesses() -> None:
    def guesses(prompt: Prompt) -> Answer:
        prompt.guess("terms")
        return {"note": "x", "sources": []}

    names = ("One", "Two")
    parts = {n: create_model(n, __base__=StepAnswer, note=(str, ...)) for n in names}
    both = create_model("Both", one=(parts["One"], ...), two=(parts["Two"], ...))
    model = SimulatedChatModel(skills=dict.fromkeys(names, guesses), simulation=PERFECT)
    reply = model.bind_tools([both]).invoke(prompt("generalist"))
    assert reply.response_metadata["guessed"] == ["terms"]
    for step in ("one", "two"):
        expected = confidence(PERFECT, Request("billing/BNK-000001", step), right=False)
        assert reply.tool_calls[0]["args"][step]["confidence"] == expected


# --- slips ---------------------------------------------------------------------------------------


class Wide(StepAnswer):
    """An answer that admits every kind of slip."""

    customer_id: str
    invoices: list[str]
    amount: float
    received_on: str
    kind: Literal["exact", "fx", "batch"]
    next_step: Literal["extract", "match", "done"]


WIDE = {
    "customer_id": "C-0001",
    "invoices": ["INV-20001", "INV-20002"],
    "amount": 98.0,
    "received_on": "2026-06-08",
    "kind": "exact",
    "next_step": "match",
    "sources": [],
}
SEEN = "C-0001 C-0002 INV-20001 INV-20002 INV-20003 12.50 98.00 2026-06-01 2026-06-08"


def wide(prompt: Prompt) -> Answer:
    return json.loads(json.dumps(WIDE))  # type: ignore[no-any-return]


def narrow(prompt: Prompt) -> Answer:
    """The same without a choice of step, after one round of look-ups if tools are on offer."""
    return {key: value for key, value in wide(prompt).items() if key != "next_step"}


def narrow_after_looking(prompt: Prompt) -> Answer | list[Call]:
    if prompt.tools and prompt.rounds == 0:
        return [Call("get_invoices", {"invoice_ids": ["INV-20001"]})]
    return narrow(prompt)


fields = {n: (f.annotation, ...) for n, f in Wide.model_fields.items() if n in WIDE}
del fields["next_step"], fields["sources"]
Narrow: type[StepAnswer] = create_model("Narrow", __base__=StepAnswer, **fields)  # type: ignore[call-overload]
TOOLS = [
    convert_to_openai_tool({"name": n, "description": "Look up.", "parameters": {}})
    for n in ("get_invoices", "get_terms")
]


def ask_many(
    skill: Callable[[Prompt], Any],
    schema: type[BaseModel],
    n: int,
    tools: Sequence[Any] = (),
    **s: Any,
) -> tuple[Counter[str], list[AIMessage]]:
    """Ask n tasks once each: the modes of all faults, and the last reply of each that had one."""
    model = SimulatedChatModel(skills={schema.__name__: skill}, simulation=Simulation(**s))
    bound, modes, replies = model.bind_tools([*tools, schema]), Counter[str](), []
    for i in range(n):
        messages = prompt("match", name=f"billing/T-{i}", records=f"[a/b] {SEEN}")
        try:
            reply = bound.invoke(messages)
            modes.update(fault["mode"] for fault in reply.response_metadata["faults"])
            if reply.tool_calls and reply.tool_calls[0]["name"] != schema.__name__:
                result = ToolMessage("no results", tool_call_id=reply.tool_calls[0]["id"])
                reply = bound.invoke([*messages, reply, result])
                modes.update(fault["mode"] for fault in reply.response_metadata["faults"])
            replies.append(reply)
        except ModelUnavailable as error:
            modes[error.mode] += 1
    return modes, replies


@pytest.mark.parametrize(
    ("skill", "schema", "tools"),
    [(wide, Wide, ()), (narrow_after_looking, Narrow, TOOLS)],
    ids=["answer", "answer after look-ups"],
)
def test_slips_follow_the_mix_where_every_mode_applies(
    skill: Any, schema: Any, tools: Sequence[Any]
) -> None:
    n = 1500
    modes, _ = ask_many(skill, schema, n, tools, **ALWAYS)
    assert modes.total() == n  # each call has one fault
    expected = {mode: weight * n for mode, weight in default_mix().items()}
    assert chisquare([modes[m] for m in expected], list(expected.values())).pvalue > 1e-4


def test_slips_that_do_not_apply_leave_the_proportions_of_the_others() -> None:
    n, mix = 2000, default_mix()
    modes, _ = ask_many(narrow, Narrow, n, **ALWAYS)
    assert modes["wrong_tool_or_step"] == 0  # there is neither a tool nor a step to choose
    content = {m: w for m, w in mix.items() if m in SLIPS and m != "wrong_tool_or_step"}
    of_content = sum(modes[mode] for mode in content)
    expected = [weight / sum(content.values()) * of_content for weight in content.values()]
    assert chisquare([modes[m] for m in content], expected).pvalue > 1e-4


@pytest.mark.parametrize("mode", SLIPS)
def test_each_mode_alone_changes_the_answer(mode: str) -> None:
    modes, replies = ask_many(wide, Wide, 20, mix={mode: 1.0}, **ALWAYS)
    assert modes == {mode: 20}
    expected = {k: v for k, v in WIDE.items() if k != "sources"}
    assert all(submitted(reply) != expected for reply in replies)


def test_a_mode_without_weight_never_occurs() -> None:
    """Where no mode of the mix applies, the answer stays right, and confidence knows it."""
    simulation = Simulation(mix={"wrong_tool_or_step": 1.0}, **ALWAYS)
    modes, replies = ask_many(narrow, Narrow, 20, mix={"wrong_tool_or_step": 1.0}, **ALWAYS)
    assert modes == {}
    for i, reply in enumerate(replies):
        assert submitted(reply) == {k: v for k, v in narrow(Prompt(None)).items() if k != "sources"}
        asked = Request(f"billing/T-{i}", "match")
        assert reply.tool_calls[0]["args"]["confidence"] == confidence(simulation, asked, True)


def test_the_share_of_faulty_replies_is_1_minus_p(billing: Billing) -> None:
    """On the case's own prompts: what is set is what is measured."""
    bound = simulated_model(billing).bind_tools([Extract])
    faulty, n = 0, len(billing.tasks)
    for task in billing.tasks:
        asked = prompt("extract", f"billing/{task.id}", task=task.fields)
        try:
            faulty += bool(bound.invoke(asked).response_metadata["faults"])
        except ModelUnavailable:
            faulty += 1
    # Redelivered lines are tasks of their own, with dice of their own.
    assert faulty / n == pytest.approx(0.04, abs=SIGMAS * (0.04 * 0.96 / n) ** 0.5)


@pytest.mark.parametrize(
    ("mode", "status"), [("rate_limited", 429), ("server_error", 500), ("timed_out", 408)]
)
def test_transport_faults_raise_as_a_providers_client_does(mode: str, status: int) -> None:
    model = SimulatedChatModel(
        skills={"Wide": wide}, simulation=Simulation(mix={mode: 1.0}, **ALWAYS)
    )
    with pytest.raises(ModelUnavailable) as caught:
        model.bind_tools([Wide]).invoke(prompt("match"))
    assert caught.value.status_code == status
    assert caught.value.request == Request("billing/BNK-000001", "match")
    assert is_transient(caught.value)


def test_sending_a_request_again_is_a_new_draw() -> None:
    model = SimulatedChatModel(
        skills={"Wide": wide},
        simulation=Simulation(reliability=0.5, correlation=0.0, mix={"timed_out": 1.0}),
    ).bind_tools([Wide])
    outcomes = []
    for delivery in range(1, 40):
        request = Request("billing/BNK-000001", "match", delivery=delivery)
        try:
            outcomes.append(bool(model.invoke(write_prompt("i", request)).tool_calls))
        except ModelUnavailable:
            outcomes.append(False)
    assert 8 < sum(outcomes) < 31


@pytest.mark.parametrize("mode", ["malformed_json", "truncated_json"])
def test_malformed_output_comes_as_an_invalid_tool_call(mode: str) -> None:
    modes, replies = ask_many(wide, Wide, 5, mix={mode: 1.0}, **ALWAYS)
    assert modes == {mode: 5}
    for reply in replies:
        assert reply.tool_calls == []
        (call,) = reply.invalid_tool_calls
        assert call["name"] == "Wide"
        with pytest.raises(json.JSONDecodeError):
            json.loads(call["args"] or "")


def test_malformed_output_spares_the_look_ups_and_hits_the_answer() -> None:
    modes, replies = ask_many(
        narrow_after_looking, Narrow, 5, TOOLS, mix={"malformed_json": 1.0}, **ALWAYS
    )
    assert modes == {"malformed_json": 5}
    assert all(reply.invalid_tool_calls for reply in replies)


def test_a_wrong_call_looks_up_something_else_and_that_is_all_it_gets() -> None:
    mix = {"wrong_tool_or_step": 1.0}
    model = SimulatedChatModel(
        skills={"Narrow": narrow_after_looking}, simulation=Simulation(mix=mix, **ALWAYS)
    )
    messages = prompt("match")
    reply = model.bind_tools([*TOOLS, Narrow]).invoke(messages)
    (call,) = reply.tool_calls
    assert call["name"] == "get_terms"
    only_one = model.bind_tools([TOOLS[0], Narrow]).invoke(messages).tool_calls[0]
    assert (only_one["name"], only_one["args"]) == ("get_invoices", {"invoice_ids": ""})
    result = ToolMessage("error", tool_call_id=call["id"])
    after = model.bind_tools([*TOOLS, Narrow]).invoke([*messages, reply, result])
    assert after.tool_calls[0]["name"] == "Narrow"  # it does not look up again


def test_whoever_was_misled_by_a_wrong_call_is_not_as_sure_as_one_who_is_right() -> None:
    """Even where the answer comes out the same: it rests on what the wrong call returned."""
    mix = {"wrong_tool_or_step": 1.0}
    _, misled = ask_many(narrow_after_looking, Narrow, 20, TOOLS, mix=mix, **ALWAYS)
    _, sound = ask_many(narrow_after_looking, Narrow, 20, TOOLS, reliability=1.0)
    assert [*map(submitted, misled)] == [*map(submitted, sound)]
    for i, replies in enumerate(zip(misled, sound, strict=True)):
        asked = Request(f"billing/T-{i}", "match")
        told = [reply.tool_calls[0]["args"]["confidence"] for reply in replies]
        assert told == [confidence(PERFECT, asked, right) for right in (False, True)]


# --- one call for many answers -------------------------------------------------------------------


STEPS = [f"step{chr(ord('a') + i)}" for i in range(10)]
PARTS = {n: create_model(n.capitalize(), __base__=StepAnswer, note=(str, ...)) for n in STEPS}
TOGETHER = create_model("Together", **{n: (p, ...) for n, p in PARTS.items()})  # type: ignore[call-overload]


def note(prompt: Prompt) -> Answer:
    return {"note": f"INV-{20000 + len(prompt.answers)}", "sources": []}


def many(simulation: Simulation) -> SimulatedChatModel:
    skills = {part.__name__: note for part in PARTS.values()}
    return SimulatedChatModel(skills=skills, simulation=simulation)


def test_each_of_many_answers_builds_on_those_before_it() -> None:
    reply = many(PERFECT).bind_tools([TOGETHER]).invoke(prompt("generalist"))
    notes = [reply.tool_calls[0]["args"][step]["note"] for step in STEPS]
    assert notes == [f"INV-{20000 + i}" for i in range(10)]
    TOGETHER.model_validate(reply.tool_calls[0]["args"])


def test_crowding_lowers_the_reliability_of_each_answer() -> None:
    settings, n = Simulation(mix={"transposed_digits": 1.0}), 600
    bound = many(settings).bind_tools([TOGETHER])
    slipped = Counter[str]()
    for i in range(n):
        reply = bound.invoke(prompt("generalist", name=f"billing/T-{i}"))
        slipped.update(fault["step"] for fault in reply.response_metadata["faults"])
    expected = 1 - settings.step_reliability(10)
    assert expected > 3 * 0.04
    assert slipped.total() / (10 * n) == pytest.approx(
        expected, abs=SIGMAS * (expected / (10 * n)) ** 0.5
    )
    assert min(slipped.values()) > 0.6 * expected * n  # each of the ten, not some of them


@pytest.mark.parametrize("mode", ["malformed_json", "truncated_json"])
def test_a_malformed_call_is_one_fault_however_many_answers_it_asks_for(mode: str) -> None:
    simulation = Simulation(mix={mode: 1.0}, **ALWAYS)
    reply = many(simulation).bind_tools([TOGETHER]).invoke(prompt("generalist"))
    assert reply.response_metadata["faults"] == [{"mode": mode, "step": "generalist", "attempt": 1}]
    assert reply.invalid_tool_calls
    assert not reply.tool_calls


def test_a_call_for_many_answers_meets_transport_no_more_often_than_a_call_for_one() -> None:
    n, lost = 1000, Counter[str]()
    simulation = Simulation(reliability=0.8, correlation=0.0)
    models = {
        "many": many(simulation).bind_tools([TOGETHER]),
        "one": many(simulation).bind_tools([PARTS["stepa"]]),
    }
    for name, model in models.items():
        for i in range(n):
            try:
                model.invoke(prompt("generalist", name=f"billing/T-{i}"))
            except ModelUnavailable:
                lost[name] += 1
    assert lost["many"] == lost["one"]
    assert lost["one"] / n == pytest.approx(0.2 * 0.05, abs=SIGMAS * (0.01 / n) ** 0.5)


# --- confidence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [0.5, 0.8])
def test_reported_confidence_tells_right_answers_from_wrong_ones(setting: float) -> None:
    mix = {"transposed_digits": 1.0}
    _, replies = ask_many(
        wide, Wide, 1500, reliability=0.5, correlation=0.0, confidence_auc=setting, mix=mix
    )
    reports: dict[bool, list[float]] = {True: [], False: []}
    for reply in replies:
        right = not reply.response_metadata["faults"]
        reports[right].append(reply.tool_calls[0]["args"]["confidence"])
    assert auc(reports[True], reports[False]) == pytest.approx(
        setting, abs=SIGMAS * (1 / (6 * 750)) ** 0.5
    )


def test_no_confidence_is_reported_where_the_schema_asks_for_none() -> None:
    bare = create_model(
        "Wide", **{n: (f.annotation, ...) for n, f in Wide.model_fields.items() if n in WIDE}
    )  # type: ignore[call-overload]
    reply = SimulatedChatModel(skills={"Wide": wide}).bind_tools([bare]).invoke(prompt("match"))
    assert "confidence" not in reply.tool_calls[0]["args"]


# --- common random numbers -----------------------------------------------------------------------


def visible(message: BaseMessage) -> dict[str, Any]:
    """All of a reply but the run's own random id."""
    return {k: v for k, v in message.model_dump().items() if k != "id"}


def transcript(name: str, backwards: bool = False) -> dict[str, list[Any]]:
    """Every reply and error of a few tasks under two stacks, by rung and task."""
    case, settings = load_case(name), Settings(name)
    model = simulated_model(case, Simulation(reliability=0.85))
    work = [(rung, task) for rung in (0, 5) for task in case.tasks[:: len(case.tasks) // 8]]
    benches = {rung: make_bench(settings, Stack.rung(rung), model) for rung in (0, 5)}
    found = {}
    for rung, task in work[::-1] if backwards else work:
        recorder = Recorder()
        benches[rung].run(task, 1, recorder)
        found[f"{rung} {task.id}"] = [
            visible(m) if isinstance(m, BaseMessage) else str(m) for _, m in recorder.turns
        ]
    return dict(sorted(found.items()))


def test_the_same_key_gets_the_same_reply_in_any_order_and_in_a_fresh_process() -> None:
    here = [transcript(name) for name in ("billing", "support")]
    code = (
        "import json, test_simulated as t\n"
        "print(json.dumps([t.transcript(n, backwards=True) for n in ('billing', 'support')]))"
    )
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    other_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": other_seed,
        "PYTHONWARNINGS": "ignore",
    }
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(there.stdout) == json.loads(json.dumps(here))


def test_two_stacks_meet_the_same_dice(billing: Billing) -> None:
    """The extract agent gets the same prompt with or without verification, so the same answer."""
    first = {}
    for rung in (3, 5):
        settings = Settings("billing", simulation=Simulation(reliability=0.8))
        bench = make_bench(settings, Stack.rung(rung))
        first[rung] = []
        for task in [t for t in billing.tasks[:40] if not t.repeated]:
            recorder = Recorder()
            bench.run(task, 0, recorder)
            first[rung].append(
                next((visible(m) for m in recorder.replies if "Extract" in str(m)), None)
            )
    assert first[3] == first[5]
    assert any(m and m["response_metadata"]["faults"] for m in first[3])


def test_another_seed_is_another_draw() -> None:
    def faulty(seed: int) -> list[bool]:
        _, replies = ask_many(
            wide, Wide, 60, reliability=0.5, correlation=0.0, seed=seed, mix={"wrong_pick": 1}
        )
        return [bool(reply.response_metadata["faults"]) for reply in replies]

    assert all(a != b for a, b in pairwise([faulty(0), faulty(1), faulty(2)]))


def test_the_faultless_twin_differs_only_in_its_dice() -> None:
    model = SimulatedChatModel(skills={"Wide": wide}, simulation=Simulation(**ALWAYS))
    twin = faultless(model)
    assert twin is not None
    reply = twin.bind_tools([Wide]).invoke(prompt("match", records=f"[a/b] {SEEN}"))
    assert submitted(reply) == {k: v for k, v in WIDE.items() if k != "sources"}
    assert model.dice
    assert faultless(Scripted(answers={})) is None


# --- like a provider's model ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(billing: Billing) -> SimulatedChatModel:
    return simulated_model(billing, PERFECT)


READ = prompt("extract", task=LINE)


def test_structured_output_with_a_pydantic_schema(model: SimulatedChatModel) -> None:
    answer = model.with_structured_output(Extract).invoke(READ)
    assert isinstance(answer, Extract)
    assert answer.references == ["INV-20001"]


def test_structured_output_with_a_json_schema(model: SimulatedChatModel) -> None:
    answer = model.with_structured_output(Extract.model_json_schema()).invoke(READ)
    assert isinstance(answer, dict)
    assert answer["references"] == ["INV-20001"]
    tool = model.with_structured_output(convert_to_openai_tool(Extract)).invoke(READ)
    assert tool == answer


def test_structured_output_can_keep_the_raw_message(model: SimulatedChatModel) -> None:
    both = model.with_structured_output(Extract, include_raw=True).invoke(READ)
    assert isinstance(both, dict)
    assert both["parsed"].references == ["INV-20001"]
    assert both["raw"].usage_metadata["total_tokens"] > 0
    assert both["parsing_error"] is None


def test_structured_output_of_a_malformed_reply_is_nothing() -> None:
    broken = SimulatedChatModel(
        skills={"Wide": wide}, simulation=Simulation(mix={"malformed_json": 1.0}, **ALWAYS)
    )
    both = broken.with_structured_output(Wide, include_raw=True).invoke(prompt("match"))
    assert isinstance(both, dict)
    assert both["parsed"] is None
    assert both["raw"].invalid_tool_calls


def test_tools_are_offered_and_called_as_with_any_provider(
    model: SimulatedChatModel, billing: Billing
) -> None:
    tools = billing.tools(billing.environment())
    offered = [tools[n] for n in ("get_invoices", "search_customers")]
    bound = model.bind_tools([*offered, Match], tool_choice="any")
    reply = bound.invoke(prompt("match", answers={"extract": EXTRACTED}))
    assert [call["name"] for call in reply.tool_calls] == ["get_invoices", "search_customers"]
    assert len({call["id"] for call in reply.tool_calls}) == 2


def test_usage_counts_four_characters_as_one_token(model: SimulatedChatModel) -> None:
    reply = model.bind_tools([Extract]).invoke(READ)
    usage = reply.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    written = json.dumps(reply.tool_calls[0]["args"], ensure_ascii=False)
    assert usage["output_tokens"] == len(written) // 4
    longer = write_prompt("Do it." + 400 * "x", Request("billing/B", "extract"), task=LINE)
    more = model.bind_tools([Extract]).invoke(longer).usage_metadata
    assert more is not None
    assert more["input_tokens"] - usage["input_tokens"] == pytest.approx(100, abs=5)


def added_up(chunks: Any) -> Any:
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


@pytest.mark.parametrize("kind", ["answer", "look-ups", "chat"])
def test_the_chunks_of_a_stream_add_up_to_the_reply(
    model: SimulatedChatModel, billing: Billing, kind: str
) -> None:
    tools = billing.tools(billing.environment())
    names = ("get_invoices", "search_customers")
    asked, bound = {
        "answer": (READ, model.bind_tools([Extract])),
        "look-ups": (
            prompt("match", answers={"extract": EXTRACTED}),
            model.bind_tools([*(tools[n] for n in names), Match]),
        ),
        "chat": ([HumanMessage("Hello, what can you do?")], model),
    }[kind]
    whole, reply = added_up(bound.stream(asked)), bound.invoke(asked)
    assert whole.content == reply.content
    assert whole.tool_calls == reply.tool_calls
    assert whole.invalid_tool_calls == reply.invalid_tool_calls
    assert whole.usage_metadata == reply.usage_metadata
    assert whole.response_metadata == reply.response_metadata
    assert len(list(bound.stream(asked))) > 2


@pytest.mark.parametrize("mode", ["malformed_json", "truncated_json"])
def test_a_stream_carries_malformed_output_as_it_is(mode: str) -> None:
    """LangChain mends what it can of streamed arguments; the text itself is what was sent."""
    bound = SimulatedChatModel(
        skills={"Wide": wide}, simulation=Simulation(mix={mode: 1.0}, **ALWAYS)
    ).bind_tools([Wide])
    whole, reply = added_up(bound.stream(prompt("match"))), bound.invoke(prompt("match"))
    assert whole.tool_call_chunks[0]["args"] == reply.invalid_tool_calls[0]["args"]
    assert whole.response_metadata == reply.response_metadata


def test_a_stream_is_lost_in_transport_like_a_reply() -> None:
    bound = SimulatedChatModel(
        skills={"Wide": wide}, simulation=Simulation(mix={"timed_out": 1.0}, **ALWAYS)
    ).bind_tools([Wide])
    with pytest.raises(ModelUnavailable):
        list(bound.stream(prompt("match")))


def test_batches_and_coroutines_give_the_same_replies(billing: Billing) -> None:
    bound = simulated_model(billing, Simulation(reliability=0.7)).bind_tools([Extract])
    batch = [
        write_prompt("i", Request(f"billing/{t.id}", "extract"), task=t.fields)
        for t in billing.tasks[:20]
    ]

    def seen(replies: Sequence[Any]) -> list[Any]:
        return [visible(r) if isinstance(r, BaseMessage) else str(r) for r in replies]

    one_by_one = seen(bound.batch(batch, {"max_concurrency": 1}, return_exceptions=True))
    assert seen(bound.batch(batch, return_exceptions=True)) == one_by_one
    assert seen(asyncio.run(bound.abatch(batch, return_exceptions=True))) == one_by_one
    first = next(i for i, reply in enumerate(one_by_one) if isinstance(reply, dict))
    assert seen([asyncio.run(bound.ainvoke(batch[first]))]) == [one_by_one[first]]
    assert any(isinstance(r, dict) and r["response_metadata"]["faults"] for r in one_by_one)


def test_a_plain_chat_says_what_the_model_can_do(model: SimulatedChatModel) -> None:
    reply = model.invoke("Hello")
    assert not reply.tool_calls
    assert "response schema" in reply.text


def test_a_schema_without_a_skill_is_named_as_such(model: SimulatedChatModel) -> None:
    class Haiku(BaseModel):
        """A poem."""

        lines: list[str]

    reply = model.bind_tools([Haiku]).invoke(READ)
    assert not reply.tool_calls
    assert "Extract" in reply.text  # what it does know
    assert ask(model, READ, Haiku).answer is None
    assert model.with_structured_output(Haiku).invoke(READ) is None


def test_a_prompt_without_a_request_is_answered_from_its_text(model: SimulatedChatModel) -> None:
    asked = [HumanMessage(f"## Task\n{json.dumps(LINE)}")]
    reply = model.bind_tools([Extract]).invoke(asked)
    assert submitted(reply) == EXTRACTED


# --- another model -------------------------------------------------------------------------------


class Scripted(BaseChatModel):
    """Another chat model: answers each schema with the same words."""

    answers: dict[str, dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        name = kwargs["tools"][-1]["function"]["name"]
        call = {"name": name, "args": self.answers[name], "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


@pytest.fixture(scope="module")
def scripted(billing: Billing) -> Scripted:
    """Says of every task what is right of the first."""
    task = billing.tasks[0]
    model = simulated_model(billing, PERFECT)
    recorder, bench = Recorder(), make_bench(Settings("billing"), Stack.rung(4), model)
    bench.run(task, 0, recorder)
    names = [step.schema.__name__ for step in billing.steps]
    calls = [call for m in recorder.replies for call in m.tool_calls if call["name"] in names]
    answers = {call["name"]: {**call["args"], "sources": []} for call in calls}
    steps = [step.name for step in billing.steps]
    together = generalist_schema(billing.steps).__name__
    return Scripted(
        answers=answers
        | {"Plan": {"order_of_steps": steps}, "NextStep": {"next_step": "done"}}
        | {together: {step: answers[step.capitalize()] for step in steps}}
    )


@pytest.mark.parametrize("rung", range(7))
def test_any_other_chat_model_takes_its_place(
    billing: Billing, scripted: Scripted, rung: int
) -> None:
    bench = make_bench(Settings("billing"), Stack.rung(rung), scripted)
    right, wrong = (run_trial(bench, task) for task in billing.tasks[:2])
    assert right["failed"] is False
    assert right["calls"] > 0
    assert json.loads(right["faults"]) == []
    # Without a person it is wrong about the other task; with one it is checked and mended.
    assert wrong["failed"] is (rung < 6)
    assert wrong["escalated"] is (rung == 6)
