"""coordkit.models: any chat model in an experiment, kept, metered, sorted, and free of keys."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from doubles import Scripted, noise
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_openai import ChatOpenAI
from openai import LengthFinishReasonError
from openai.types.chat import ChatCompletion

import coordkit
from coordkit import forms
from coordkit.experiment import Recorder, Settings, case_of, make_bench, run, simulated_model
from coordkit.faults import Simulation
from coordkit.layers import LAYERS
from coordkit.layers.execution import ask
from coordkit.models import (
    GIVE_UP,
    BudgetReached,
    Meter,
    MeteredChatModel,
    ModelProblem,
    NotInCache,
    Unavailable,
    _under,
    endpoint_of,
    scrub,
    secrets_of,
    status_of,
)
from coordkit.prices import Prices
from coordkit.prompt import Request, write_prompt
from coordkit.stack import Stack
from coordkit.trace import tell

FEW = 4
STACKS = [Stack(), Stack.rung(6)]
SAME = ["task", "failed", "failure", "loud", "escalated", "calls", "input_tokens", "output_tokens"]
PRICES = Prices(1.0, 4.0)
GOING_ON = threading.Event()  # set by nobody: the run has not ended


def metered(inner: Any, **options: Any) -> MeteredChatModel:
    made = coordkit.model(inner, **options)
    assert isinstance(made, MeteredChatModel)
    return made


def simulated(case: str = "billing", **simulation: Any) -> Any:
    settings = Settings(case, tasks=FEW)
    return simulated_model(case_of(settings), Simulation(**simulation))


def prompt(step: str = "extract", trial: int = 0) -> list[Any]:
    return write_prompt("Read the line.", Request("billing/T", step, trial), task={"amount": "1"})


def scripted(reply: Callable[..., AIMessage], **options: Any) -> MeteredChatModel:
    return metered(Scripted(reply=reply), **options)


def raising(error: Exception, **options: Any) -> MeteredChatModel:
    def reply(messages: Any, tools: Any) -> AIMessage:
        raise error

    return scripted(reply, **options)


class Http(Exception):
    def __init__(self, status: int, text: str = "it says no") -> None:
        super().__init__(text)
        self.status_code = status


# --- in place of the simulated model -------------------------------------------------------------


@pytest.mark.parametrize("case", ["billing", "support"])
def test_one_argument_swaps_the_model(case: str, tmp_path: Path) -> None:
    settings = Settings(case, tasks=FEW)
    own, _ = run(settings, STACKS, tmp_path / "own", 1)
    model = metered(simulated(case), cache=tmp_path / "responses.sqlite", prices=PRICES)
    swapped, folder = run(settings, STACKS, tmp_path / "swapped", 2, model=model)
    pd.testing.assert_frame_equal(own[SAME], swapped[SAME])
    assert '"model": "SimulatedChatModel"' in (folder / "manifest.json").read_text()

    spent = model.meter.spent
    again, _ = run(settings, STACKS, tmp_path / "again", 2, model=model)
    assert again.equals(swapped) and model.meter.spent == spent > 0, "a rerun costs nothing"
    cache = tmp_path / "responses.sqlite"
    replay = metered(simulated(case), cache=cache, prices=PRICES, replay=True)
    replayed, _ = run(settings, STACKS, tmp_path / "replayed", 2, model=replay)
    assert replayed.equals(swapped) and replay.meter.sent == 0


def test_results_of_two_models_never_share_a_folder(tmp_path: Path) -> None:
    settings = Settings("billing", tasks=1)
    models = [metered(simulated(seed=s), sample=n) for s, n in ((0, 0), (1, 0), (0, 1))]
    folders = {run(settings, [Stack()], tmp_path, 1, model=m)[1] for m in models}
    assert len(folders | {run(settings, [Stack()], tmp_path, 1)[1]}) == 4


def test_only_a_made_model_can_be_measured(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"coordkit\.model"):
        run(Settings("billing", tasks=1), [Stack()], tmp_path, model=simulated())


def test_the_simulated_model_has_the_skills_of_every_case() -> None:
    assert {"Extract", "Classify", "Plan"} <= set(coordkit.model("simulated").skills)  # type: ignore[attr-defined]


def test_no_provider_is_named_in_layers_cases_or_experiments() -> None:
    root = Path(coordkit.__file__).parent
    files = [*root.glob("layers/*.py"), *root.glob("cases/*.py"), root / "experiment.py"]
    files += [root / f"{name}.py" for name in ("stack", "ladder", "prompt", "trace", "statistics")]
    names = ("anthropic", "azure", "bedrock", "chatopenai", "claude", "gemini", "gpt", "langchain_"
             "openai", "llama", "mistral", "ollama", "openai_", "vertex", "vllm")  # fmt: skip
    for file in files:
        text = file.read_text(encoding="utf-8").lower().replace("convert_to_openai_tool", "")
        assert [name for name in (*names, "openai") if name in text] == [], file.name


# --- one answer, kept and asked for once ---------------------------------------------------------


def test_trials_and_samples_are_asked_afresh_and_repeats_are_not() -> None:
    said = iter(range(100))
    inner = Scripted(reply=lambda messages, tools: AIMessage(f"answer {next(said)}"))
    model = metered(inner)
    first = model.invoke(prompt()).text
    assert model.invoke(prompt()).text == first
    assert model.invoke(prompt(trial=1)).text != first, "K trials are K samples"
    other = metered(inner, cache=model.responses, sample=1)
    assert other.invoke(prompt()).text != first
    assert metered(inner, cache=model.responses).invoke(prompt()).text == first
    assert len(inner.heard) == 3


def test_what_determines_an_answer_is_in_its_key() -> None:
    inner = Scripted(reply=lambda messages, tools: AIMessage("yes"))
    for options in ({"temperature": 0.5}, {"max_tokens": 7}, {"sample": 2}):
        model = metered(inner)
        model.invoke(prompt())
        metered(inner, cache=model.responses, **options).invoke(prompt())
        assert sum(model.responses.count(model.label).values()) == 2, options


def test_threads_send_the_same_request_once() -> None:
    barrier = threading.Barrier(4, timeout=10)
    inner = Scripted(reply=lambda messages, tools: AIMessage("yes"))
    model = metered(inner)

    def asking() -> None:
        barrier.wait()
        model.invoke(prompt())

    threads = [threading.Thread(target=asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inner.heard) == 1 and model.meter.kept == 3


def test_a_replay_names_what_it_has_no_answer_to() -> None:
    model = metered(simulated(), replay=True)
    told = r"billing/T/trial-0/extract.*OPENAI_BASE_URL.*leave out --replay"
    with pytest.raises(NotInCache, match=told):
        model.invoke(prompt())


def answering(heard: list[httpx.Request], statuses: Iterator[int], **options: Any) -> Any:
    """A ChatOpenAI whose endpoint answers with these statuses, and keeps what it was sent."""
    message = {"role": "assistant", "content": "{}"}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m",
             "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}  # fmt: skip

    def handle(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        return httpx.Response(next(statuses), json=reply)

    known = {"model": "m", "api_key": CANARY, "timeout": 5, "max_retries": 0}
    client = httpx.Client(transport=httpx.MockTransport(handle))
    return ChatOpenAI(http_client=client, **(known | options))


@pytest.mark.parametrize("form", [forms.SCHEMA, forms.TOOLS, forms.PLAIN])
def test_every_request_carries_its_key_and_a_resent_one_the_same(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordkit.models.WAIT", 0.0)
    heard: list[httpx.Request] = []
    own = {"extra_headers": {"X-Team": "ours"}}
    inner = answering(heard, itertools.chain([500], itertools.repeat(200)), model_kwargs=own)
    messages, tools = forms.probe(0)

    def ask_all(cache: Any = None) -> MeteredChatModel:
        for sample in (0, 1):
            model = metered(inner, cache=cache, sample=sample)
            for tried in (forms.SCHEMA, forms.TOOLS):
                model._known[tried] = tried == form
            model.bind_tools(tools).invoke(messages)
            cache = model.responses
        return model

    kept = ask_all()
    keys = [request.headers["idempotency-key"] for request in heard]
    assert keys[0] == keys[1] and keys[1] != keys[-1], "resent; then another sample"
    for key in {*keys}:
        assert kept.responses.get(key), "it is the key of the cache"
        bodies = {r.content for r in heard if r.headers["idempotency-key"] == key}
        assert len(bodies) == 1, "one key, one request"
        assert CANARY not in key
    assert all(request.headers["x-team"] == "ours" for request in heard)
    ask_all()
    again = {request.headers["idempotency-key"] for request in heard}
    assert again == {*keys}, "a run that lost its cache sends the same keys"


def test_a_model_of_another_interface_gets_no_header() -> None:
    def reply(messages: Any, tools: Any) -> AIMessage:
        return AIMessage("yes")

    assert _under("key", Scripted(reply=reply)) == {}
    assert _under("key", answering([], iter([])))["extra_headers"] == {"Idempotency-Key": "key"}


def test_who_listens_hears_each_turn_once() -> None:
    bench = make_bench(Settings("billing", tasks=1), Stack.rung(4), metered(simulated()))
    recorder = Recorder()
    bench.run(bench.at.case.tasks[0], 0, recorder)
    prompts = [str([m.text for m in messages]) for messages in recorder.prompts]
    assert len(prompts) == len(set(prompts)) == len(recorder.replies)


# --- money ---------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 1)), max_size=30),
    st.floats(0, 0.05),
)
def test_the_budget_is_never_exceeded(calls: list[tuple[int, float]], budget: float) -> None:
    meter = Meter(PRICES, budget)
    for size, share in calls:
        try:
            with meter.reserve(size, 1000, GOING_ON):
                meter.pay(size * share, 1000 * share)
        except BudgetReached:
            break
    assert meter.spent <= budget


def test_a_run_stops_before_its_budget_and_goes_on_with_a_new_one(tmp_path: Path) -> None:
    settings, cache = Settings("billing", tasks=FEW), tmp_path / "responses.sqlite"
    inner = simulated()
    model = metered(inner, prices=PRICES, cache=cache, budget=0.025)
    with pytest.raises(BudgetReached, match=r"before the budget of 0\.025 USD"):
        run(settings, [Stack.rung(4)], tmp_path, 3, model=model)
    assert 0 < model.meter.spent <= 0.025
    rest = metered(inner, prices=PRICES, cache=cache, budget=1.0)
    table, _ = run(settings, [Stack.rung(4)], tmp_path, 3, model=rest)
    whole = metered(inner, prices=PRICES, budget=1.0)
    at_once, _ = run(settings, [Stack.rung(4)], tmp_path / "at once", 3, model=whole)
    assert table.equals(at_once)
    assert model.meter.sent + rest.meter.sent == whole.meter.sent, "nothing is paid twice"
    assert model.meter.spent + rest.meter.spent == pytest.approx(whole.meter.spent)


def test_what_timed_out_may_be_billed_and_counts_at_its_worst() -> None:
    for error, least in ((TimeoutError("slow"), 1000 * 4 / 1e6), (Http(503), 0.0)):
        model = raising(error, prices=PRICES, budget=1.0, max_tokens=1000)
        model._known[forms.SCHEMA] = True
        with pytest.raises(Unavailable):
            model.invoke(prompt())
        assert (model.meter.spent > least) == bool(least)


class Answers:
    """Raises these errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self, messages: Any, tools: Any) -> AIMessage:
        if self.errors:
            raise self.errors.pop(0)
        usage = UsageMetadata(input_tokens=10, output_tokens=5, total_tokens=15)
        return AIMessage("yes", usage_metadata=usage)


def test_every_delivery_that_may_be_billed_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordkit.models.WAIT", 0)
    once = PRICES.of_tokens(10, 5)
    lost = PRICES.of_tokens(0, 1000)  # and the prompt's bytes
    for errors, late in (
        ([TimeoutError(), TimeoutError()], 2),
        ([Http(504)], 1),
        ([ConnectionResetError()], 1),
        ([ConnectionRefusedError()], 0),
        ([Http(429), Http(503)], 0),
    ):
        model = scripted(Answers(*errors), prices=PRICES, budget=1.0, max_tokens=1000)
        model.resends = 2
        assert model.invoke([HumanMessage("hello")]).text == "yes"
        assert model.meter.sent == 1 + len(errors)
        assert late * lost + once <= model.meter.spent < (late + 0.2) * lost + once, errors
        assert model.meter.spent - model.meter.unseen == pytest.approx(once)
        told = f"USD, {model.meter.unseen:.4f} of it at worst for {late} that got no answer)"
        assert (told in str(model.meter)) == bool(late)


def test_an_answer_that_was_cut_short_is_paid_and_kept() -> None:
    completion = ChatCompletion.model_validate(
        {
            "id": "1", "model": "m", "object": "chat.completion", "created": 0,
            "choices": [{"index": 0, "finish_reason": "length",
                         "message": {"role": "assistant", "content": '{"a": '}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 4096, "total_tokens": 4196},
        }
    )  # fmt: skip
    model = raising(LengthFinishReasonError(completion=completion), prices=PRICES, budget=1.0)
    assert model.invoke([HumanMessage("hello")]).text == '{"a": '
    assert model.meter.spent == pytest.approx(PRICES.of_tokens(100, 4096))
    assert model.invoke([HumanMessage("hello")]).text == '{"a": ' and model.meter.sent == 1


def test_what_cannot_be_read_may_be_billed() -> None:
    model = raising(ValueError("no JSON"), prices=PRICES, budget=1.0, max_tokens=1000)
    model.invoke([HumanMessage("hello")])
    assert model.meter.spent > PRICES.of_tokens(0, 1000)


def test_a_budget_needs_a_model_whose_requests_are_counted_and_bounded() -> None:
    def openai(**options: Any) -> Any:
        return ChatOpenAI(model="x", api_key="none-is-needed", timeout=5, **options)  # type: ignore[arg-type]

    for options, told in (
        ({"max_retries": 0}, "max_tokens=4096"),
        ({"max_tokens": 100}, "max_retries=0"),
    ):
        with pytest.raises(ModelProblem, match=told):
            metered(openai(**options), budget=1.0, prices=PRICES)
        assert metered(openai(**options)).meter.budget is None
    model = metered(openai(max_tokens=100, max_retries=0), budget=1.0, prices=PRICES)
    assert model.sampling["max_tokens"] == 100 and model.resends > 0


def test_a_prompt_alone_may_be_too_dear() -> None:
    model = scripted(Answers(), prices=Prices(1000.0, 0.0), budget=0.01)
    with pytest.raises(BudgetReached):
        model.invoke([HumanMessage("a prompt of more than ten bytes")])
    assert model.meter.sent == 0


def test_a_call_that_waits_is_not_made_when_the_run_ends() -> None:
    meter, told, ended = Meter(Prices(0, 1.0), 0.0015), [], threading.Event()

    def second() -> None:
        try:
            with meter.reserve(0, 1000, ended):
                told.append("sent")
        except ModelProblem as error:
            told.append(str(error))

    thread = threading.Thread(target=second)
    with meter.reserve(0, 1000, GOING_ON):
        thread.start()
        thread.join(0.05)
        ended.set()
    thread.join(10)
    assert told == ["the run has ended"]


def test_threads_of_a_run_that_has_ended_send_nothing_more() -> None:
    """Also not when the next run of the same model has begun."""
    model = scripted(lambda messages, tools: AIMessage("yes"))
    with pytest.raises(KeyboardInterrupt), model.running() as ended:
        assert ended.invoke("one").text == "yes"
        raise KeyboardInterrupt
    with model.running() as again:
        assert again.invoke("two").text == "yes"
        with pytest.raises(ModelProblem, match="has ended"):
            ended.invoke("three")
    assert model.invoke("four").text == "yes" and model.meter.sent == 3


def test_a_call_waits_for_those_under_way_before_it_gives_up() -> None:
    meter, held, passed = Meter(Prices(0, 1.0), 0.0015), threading.Event(), []

    def second() -> None:
        with meter.reserve(0, 1000, GOING_ON):
            passed.append(True)

    with meter.reserve(0, 1000, GOING_ON):
        thread = threading.Thread(target=second)
        thread.start()
        assert not held.wait(0.05) and not passed
        meter.pay(0, 100)
    thread.join(10)
    assert passed == [True]


def test_a_budget_needs_prices_and_the_table_has_some() -> None:
    with pytest.raises(ModelProblem, match="--price-in"):
        metered(simulated(), budget=1.0)
    assert metered(simulated(), budget=1.0, prices=PRICES).meter.prices == PRICES


# --- what a model may come up with ---------------------------------------------------------------

UNUSABLE: dict[str, Callable[..., AIMessage]] = {
    "empty": lambda messages, tools: AIMessage(""),
    "prose": lambda messages, tools: AIMessage("I am afraid I cannot do that."),
    "truncated": lambda messages, tools: AIMessage('{"payment_id": "B'),
    "another tool": lambda m, t: AIMessage("", tool_calls=[{"name": "rm", "args": {}, "id": "1"}]),
    "bad arguments": lambda messages, tools: AIMessage(
        "", invalid_tool_calls=[{"name": "Extract", "args": "{", "id": "1", "error": "no JSON"}]
    ),
    "NaN": lambda m, tools: AIMessage(
        "", tool_calls=[{"name": "Extract", "args": {"amount": float("nan")}, "id": "1"}]
    ),
}


@pytest.mark.parametrize("reply", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("form", [forms.SCHEMA, forms.TOOLS, forms.PLAIN])
def test_an_unusable_answer_is_malformed_and_no_crash(form: str, reply: Any) -> None:
    model = scripted(reply)
    for tried in (forms.SCHEMA, forms.TOOLS):
        model._known[tried] = tried == form
    schema = case_of(Settings("billing", tasks=FEW)).step("extract").schema
    turn = ask(model, prompt(), schema)
    assert turn.answer is None and turn.problem


@pytest.mark.parametrize(
    "error", [ValueError("bad JSON"), KeyError("choices"), Http(400), Http(422)]
)
def test_what_the_client_cannot_read_is_malformed_too(error: Exception) -> None:
    model = raising(error)
    schema = case_of(Settings("billing", tasks=FEW)).step("extract").schema
    assert ask(model, prompt(), schema).answer is None
    again = metered(model.inner, cache=model.responses, replay=True)
    assert ask(again, prompt(), schema).answer is None, "a replay meets the same"


@pytest.mark.parametrize("case", ["billing", "support"])
def test_noise_fails_is_counted_and_never_crashes(case: str, tmp_path: Path) -> None:
    model = scripted(noise)
    stacks = [Stack.rung(k) for k in (0, 3, 5)] + [Stack.rung(6).without(x) for x in LAYERS[1:4]]
    table, _ = run(Settings(case, tasks=8), stacks, tmp_path, 1, model=model)
    assert len(table) == 8 * len(stacks)
    unattended = table[~table["stack"].str.contains("human")]
    assert unattended["failed"].mean() > 0.8
    assert {"crashed", "held"} <= set(table["failure"])
    assert set(table["faults"]) == {"[]"}, "a real model does not tell its slips"
    known = {"", "unknown", "unapproved", "posted twice", "reviewer"}
    assert set(table["cause"]) <= known | {"held", "crashed", "out_of_budget", "rejected"}


def test_a_form_that_is_not_understood_is_found_out_once_and_repaired() -> None:
    def only_text(messages: Any, tools: Any) -> AIMessage:
        if tools:
            raise Http(500, "unsupported")
        text = "\n".join(m.text for m in messages)
        if "could not be read" not in text:
            return AIMessage("Here you are: order_of_steps is read, write")
        return AIMessage('```json\n{"order_of_steps": ["read", "write"]}\n```')

    model = scripted(only_text)
    assert model.form(lookups=True) == model.form(lookups=False) == forms.PLAIN
    asked = len(model.inner.heard)  # type: ignore[union-attr]
    messages, tools = forms.probe(0)
    reply = model.bind_tools(tools).invoke(messages)
    assert reply.tool_calls[0]["args"] == {"order_of_steps": ["read", "write"]}
    assert len(model.inner.heard) == asked + 2, "one repair, and no second probe"  # type: ignore[union-attr]
    assert metered(model.inner, cache=model.responses, replay=True).form(True) == forms.PLAIN


# --- what does not come back ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [Http(429), Http(503), TimeoutError("slow"), ConnectionError()])
def test_transport_faults_are_loud_failures_after_retries(error: Exception, tmp_path: Path) -> None:
    model = raising(error)
    for form in (forms.SCHEMA, forms.TOOLS):
        model._known[form] = True
    table, _ = run(Settings("billing", tasks=2), [Stack()], tmp_path, 1, model=model)
    assert list(table["failure"]) == ["crashed"] * 2 and table["loud"].all()
    again = metered(model.inner, cache=model.responses, replay=True)
    again._known.update(model._known)
    replayed, _ = run(Settings("billing", tasks=2), [Stack()], tmp_path / "r", 1, model=again)
    assert replayed.equals(table), "a replay meets the same faults"
    with pytest.raises(ModelProblem, match="cannot be used"):
        raising(error).check()


def test_an_endpoint_that_refuses_everything_is_no_model_to_measure() -> None:
    refusing = Answers(*[Http(400, "unsupported parameter")] * 5)
    model = scripted(refusing)
    with pytest.raises(ModelProblem, match="cannot be used: unsupported parameter"):
        model.check()
    refusing.errors = []  # mended: asked again, and nothing of before is held against it
    metered(model.inner, cache=model.responses).check()


def test_trouble_while_probing_says_nothing_of_the_forms() -> None:
    _, tools = forms.probe(0)
    name = tools[0]["function"]["name"]
    order = {"order_of_steps": ["read", "write"]}
    up: list[bool] = []

    def reply(messages: Any, tools: Any) -> AIMessage:
        if not up:
            raise Http(500, "in trouble")
        return AIMessage("", tool_calls=[{"name": name, "args": order, "id": "1"}])

    model = scripted(reply)
    with pytest.raises(ModelProblem, match="in trouble"):
        model.check()
    up.append(True)
    assert metered(model.inner, cache=model.responses).form(lookups=True) == forms.TOOLS


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_an_endpoint_s_own_trouble_is_no_answer(status: int) -> None:
    model = raising(Http(status))
    with pytest.raises(Unavailable):
        model.invoke([HumanMessage("hello")])
    assert model.responses.count(model.label) == {}


def test_a_repair_is_counted_with_what_it_repairs() -> None:
    usage = UsageMetadata(input_tokens=10, output_tokens=5, total_tokens=15)
    model = scripted(lambda messages, tools: AIMessage("no JSON", usage_metadata=usage))
    for form in (forms.SCHEMA, forms.TOOLS):
        model._known[form] = False
    found: Any = model.bind_tools(forms.probe(0)[1]).invoke(forms.probe(0)[0])
    assert found.usage_metadata["input_tokens"] == 20 and len(model.inner.heard) == 2  # type: ignore[union-attr]


def test_an_endpoint_that_is_gone_ends_the_run() -> None:
    model = raising(Http(503, "down"))
    model._known[forms.SCHEMA] = True
    for trial in range(GIVE_UP - 1):
        with pytest.raises(Unavailable):
            model.invoke(prompt(trial=trial))
    with pytest.raises(ModelProblem, match="got no answer; the last: down"):
        model.invoke(prompt(trial=GIVE_UP))


@pytest.mark.parametrize(
    "error",
    [
        *(Http(401), Http(403), Http(404), Http(429, "insufficient_quota")),
        Http(422, "this Idempotency-Key was sent with another request"),
    ],
)
def test_what_the_user_must_mend_ends_the_run_in_one_line(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(ModelProblem) as found:
        run(Settings("billing", tasks=1), [Stack()], tmp_path, 1, model=raising(error))
    assert "\n" not in str(found.value) and "Scripted" in str(found.value)
    assert found.value.__cause__ is None and found.value.__context__ is None


def test_a_trace_shows_what_was_said_instead_of_an_answer() -> None:
    for reply, words in ((AIMessage("No, thanks."), "No, thanks."), (AIMessage(""), "nothing")):
        model = scripted(lambda messages, tools, reply=reply: reply)
        bench = make_bench(Settings("billing", tasks=1), Stack(), model)
        assert f"answered in words: {words}" in tell(bench, bench.at.case.tasks[0])


@pytest.mark.parametrize("case", ["billing", "support"])
def test_every_field_and_tool_is_described_to_the_model(case: str) -> None:
    found = case_of(Settings(case, tasks=FEW))
    for step in found.steps:
        assert len(step.instruction.split()) > 15, "written as for a person"
        assert all(f.description for f in step.schema.model_fields.values()), step.name
    assert all(t.__doc__ for t in found.tools(found.environment()).values())


def test_status_codes_are_found_wherever_a_client_puts_them() -> None:
    response = httpx.Response(503, request=httpx.Request("GET", "http://x"))
    error = httpx.HTTPStatusError("x", request=response.request, response=response)
    assert status_of(error) == 503 and status_of(Http(429)) == 429
    assert status_of(TimeoutError()) == 408 and status_of(ConnectionRefusedError()) == 503
    assert status_of(ValueError()) is None


def test_a_model_without_a_timeout_is_refused() -> None:
    patient: Any = ChatOpenAI(model="x", api_key="none-is-needed")  # type: ignore[arg-type]
    with pytest.raises(ModelProblem, match="give your ChatOpenAI a timeout"):
        coordkit.model(patient)
    quick: Any = ChatOpenAI(model="x", api_key="none-is-needed", timeout=5)  # type: ignore[arg-type]
    assert metered(quick).label == "ChatOpenAI:x"


def test_a_named_model_has_a_timeout_and_few_resends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-needed")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:password@127.0.0.1:9/v1/?key=secret")
    model = metered("openai:some-model")
    inner: Any = model.inner
    assert (inner.request_timeout, inner.max_retries, model.resends) == (60, 0, 2)
    assert model.endpoint == "http://127.0.0.1:9/v1"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ModelProblem, match="set OPENAI_API_KEY"):
        metered("openai:some-model")
    assert metered("openai:some-model", replay=True).endpoint == model.endpoint, "needs no key"


# --- keys ----------------------------------------------------------------------------------------

CANARY = "sk-canary-0123456789abcdef"


def test_keys_are_found_where_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", CANARY)
    headers = {"X-Api-Key": "header-secret-1", "Accept": "application/json"}
    inner: Any = ChatOpenAI(model="x", api_key="object-secret", default_headers=headers)  # type: ignore[arg-type]
    found = secrets_of(inner)
    assert {CANARY, "object-secret", "header-secret-1"} <= set(found)
    assert "application/json" not in found
    assert scrub(f"a {CANARY} b", found) == "a [key] b"


def test_an_endpoint_that_tells_the_key_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    path = tmp_path / "responses.sqlite"
    echo = scripted(lambda messages, tools: AIMessage(f"your key is {CANARY}"), cache=path)
    assert echo.invoke([HumanMessage("hello")]).text == "your key is [key]"
    for status in (400, 503):
        broken = raising(Http(status, f"no: {CANARY}"), cache=path)
        try:
            told = str(broken.invoke([SystemMessage(f"hello {status}")]))
        except Unavailable as error:
            told = str(error)
        assert "[key]" in told and CANARY not in told
    with pytest.raises(ModelProblem) as fatal:
        raising(Http(401, f"wrong key {CANARY}"), cache=path).invoke([HumanMessage("again")])
    assert CANARY not in str(fatal.value) and "[key]" in str(fatal.value)
    assert CANARY.encode() not in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert CANARY not in repr(echo) + str(echo) + str(echo.identity)


def test_half_a_key_at_the_end_of_a_long_error_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with pytest.raises(ModelProblem) as found:
        raising(Http(401, "x" * 290 + CANARY)).invoke([HumanMessage("hello")])
    assert CANARY[:10] not in str(found.value)


def test_keys_deep_in_a_model_are_found() -> None:
    extra = {"extra_headers": {"Authorization": "Bearer deep-secret-1"}}
    inner: Any = ChatOpenAI(model="x", api_key="object-secret", model_kwargs=extra)  # type: ignore[arg-type]
    assert "deep-secret-1" in secrets_of(inner)


def test_a_password_in_an_address_and_an_escaped_key_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:pass%40word@api.example.com/v1")
    monkeypatch.setenv("OPENAI_API_KEY", 'sk-"quoted"-key')
    echoed = json.dumps({"basic": "bWU6cGFzc0B3b3Jk", "key": 'sk-"quoted"-key', "p": "pass@word"})
    assert scrub(echoed, secrets_of()) == '{"basic": "[key]", "key": "[key]", "p": "[key]"}'


def test_addresses_are_shown_without_secrets() -> None:
    assert endpoint_of("https://me:pass@api.example.com:8443/v1/?key=x#y") == (
        "https://api.example.com:8443/v1"
    )
    assert endpoint_of(None) == "default"
