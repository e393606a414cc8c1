"""coordkit.serve, from outside: over HTTP, with the clients that people use."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import jsonschema
import numpy as np
import openai
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.testclient import TestClient

from coordkit.experiment import Settings, case_of, make_bench, run_trial
from coordkit.faults import MALFORMED, SLIPS, Simulation, default_mix
from coordkit.layers.execution import is_transient
from coordkit.prompt import Request, write_prompt
from coordkit.serve import Options, Served, serving
from coordkit.serve.answers import Ask, request_of, spoilt, strike
from coordkit.serve.app import _Endpoint as Endpoint
from coordkit.serve.app import make_app
from coordkit.serve.errors import LOST, ApiError
from coordkit.serve.once import Once
from coordkit.serve.schemas import plain, plausible
from coordkit.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
FAULTLESS = Simulation(reliability=1.0)
SAID = [{"role": "user", "content": "Order ORD-123 costs 12.50. It came on 2026-01-31."}]


class Order(BaseModel):
    """What somebody's own agent might ask for."""

    order: str
    amount: float
    state: Literal["open", "sent"]


TOOL = {"type": "function", "function": {"name": "look", "parameters": Order.model_json_schema()}}


def always(mode: str, **settings: Any) -> Simulation:
    """A model whose every request is hit by one mode of fault."""
    return Simulation(reliability=0.0, mix={mode: 1.0}, **settings)


def client(served: Served, **settings: Any) -> openai.OpenAI:
    known = {"api_key": "x", "max_retries": 0, "timeout": 10.0}
    return openai.OpenAI(base_url=served.url, **(known | settings))


def counted(served: Served) -> dict[str, float]:
    """The counters of /metrics, by what stands before the value."""
    lines = httpx.get(served.metrics_url).text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if re.match(r"\w+_total\{", line)]
    return {name: float(value) for name, value in pairs}


@pytest.fixture(scope="module")
def faultless() -> Iterator[Served]:
    with serving(FAULTLESS) as served:
        yield served


@pytest.fixture(scope="module")
def app() -> Iterator[TestClient]:
    """The application in process, where no network is needed."""
    with TestClient(make_app(Options(FAULTLESS)), raise_server_exceptions=False) as inside:
        yield inside


# --- the same experiment -------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "rung"), [("billing", 6), ("billing", 3), ("support", 6)])
def test_over_http_every_task_ends_as_in_process(case: str, rung: int) -> None:
    plan = Settings(case, tasks=200)

    def measure(model: Any = None) -> pd.DataFrame:
        bench = make_bench(plan, Stack.rung(rung), model)
        return pd.DataFrame([run_trial(bench, task) for task in case_of(plan).tasks])

    with serving(plan.simulation) as served:
        model = ChatOpenAI(base_url=served.url, api_key="x", model="any", timeout=30, max_retries=0)
        there, here = measure(model), measure()
        counts = counted(served)
    # What a real endpoint does not tell is which faults it had; all else is the same to the bit.
    unknown = ["cause", "faults"]
    pd.testing.assert_frame_equal(there.drop(columns=unknown), here.drop(columns=unknown))
    assert 0 < here["failed"].sum() < 60
    # Every fault of the book was counted at the server, and no other but those of the plan.
    booked = sum(len(json.loads(book)) for book in here["faults"])
    assert booked <= sum(n for name, n in counts.items() if "faults" in name) <= booked + 3


@pytest.mark.parametrize(
    "how",
    [{"streaming": True, "stream_usage": True}, {"use_responses_api": True, "streaming": True}],
    ids=["chat", "responses"],
)
def test_streams_end_the_same_too(how: dict[str, Any]) -> None:
    """All but malformed JSON: from a stream LangChain takes what it can of that."""
    mix = dict.fromkeys((*SLIPS, *LOST), 1.0)
    plan = Settings("support", tasks=15, simulation=Simulation(reliability=0.8, mix=mix))
    with serving(plan.simulation) as served:
        model = ChatOpenAI(
            base_url=served.url, api_key="x", model="any", timeout=30, max_retries=0, **how
        )
        far = make_bench(plan, Stack.rung(5), model)
        there = pd.DataFrame([run_trial(far, task) for task in case_of(plan).tasks])
        counts = counted(served)
    near = make_bench(plan, Stack.rung(5))
    here = pd.DataFrame([run_trial(near, task) for task in case_of(plan).tasks])
    unknown = ["cause", "faults"]
    pd.testing.assert_frame_equal(there.drop(columns=unknown), here.drop(columns=unknown))
    assert counts['coordkit_faults_total{mode="cut_stream"}'] > 0


def test_another_seed_ends_otherwise() -> None:
    plan = Settings("billing", tasks=60)
    with serving(Simulation(seed=1)) as served:
        model = ChatOpenAI(base_url=served.url, api_key="x", model="any", timeout=30, max_retries=0)
        far = make_bench(plan, Stack.rung(2), model)
        there = [run_trial(far, task) for task in case_of(plan).tasks]
    near = make_bench(plan, Stack.rung(2))
    here = [run_trial(near, task) for task in case_of(plan).tasks]
    assert [row["failed"] for row in there] != [row["failed"] for row in here]


def test_a_skill_answers_by_json_schema_and_by_responses_too(faultless: Served) -> None:
    from coordkit.cases.billing import STEPS, Extract

    task = case_of(Settings("billing", tasks=1)).tasks[0]
    request = Request(f"billing/{task.id}", "extract")
    prompt = write_prompt(STEPS[0].instruction, request, task=task.fields)
    for api in (False, True):
        model = ChatOpenAI(
            base_url=faultless.url, api_key="x", model="any", timeout=10, use_responses_api=api
        )
        for method in ("json_schema", "function_calling"):
            answer = model.with_structured_output(Extract, method=method).invoke(prompt)
            assert isinstance(answer, Extract)
            assert answer.payment_id == task.fields["payment_id"]


# --- the official clients ------------------------------------------------------------------------


def test_openai_chat_plain_and_streamed(faultless: Served) -> None:
    c = client(faultless)
    whole = c.chat.completions.create(model="any", messages=SAID)
    words = whole.choices[0].message.content
    assert words and "ORD-123" in words
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(
        c.chat.completions.create(
            model="any", messages=SAID, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(x.choices[0].delta.content or "" for x in chunks if x.choices) == words
    assert chunks[-1].usage == whole.usage
    assert all(x.usage is None for x in chunks[:-1])
    silent = c.chat.completions.create(model="any", messages=SAID, stream=True)
    assert all(x.usage is None and x.choices for x in silent)


def test_openai_tools(faultless: Served) -> None:
    c = client(faultless)
    turn = c.chat.completions.create(model="any", messages=SAID, tools=[TOOL])
    call = turn.choices[0].message.tool_calls[0]
    assert call.function.name == "look" and turn.choices[0].finish_reason == "tool_calls"
    assert Order.model_validate_json(call.function.arguments).amount == 12.5
    with c.chat.completions.stream(model="any", messages=SAID, tools=[TOOL]) as stream:
        stream.until_done()
        streamed = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert (streamed.id, streamed.function.arguments) == (call.id, call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "It was sent."}
    after = [*SAID, turn.choices[0].message.to_dict(), result]
    last = c.chat.completions.create(model="any", messages=after, tools=[TOOL])
    assert "It was sent." in last.choices[0].message.content
    none = c.chat.completions.create(model="any", messages=SAID, tools=[TOOL], tool_choice="none")
    assert none.choices[0].message.tool_calls is None


def test_openai_json_schema(faultless: Served) -> None:
    c = client(faultless)
    parsed = c.chat.completions.parse(model="any", messages=SAID, response_format=Order)
    assert parsed.choices[0].message.parsed == Order(
        order=SAID[0]["content"], amount=12.5, state="open"
    )
    anything = c.chat.completions.create(
        model="any", messages=SAID, response_format={"type": "json_object"}
    )
    assert json.loads(anything.choices[0].message.content) == {}


def test_openai_responses(faultless: Served) -> None:
    c = client(faultless)
    words = c.responses.create(model="any", input="Hello.", instructions="Be brief.")
    assert "Hello." in words.output_text and words.status == "completed"
    with c.responses.stream(model="any", input="Hello.", instructions="Be brief.") as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == words.output_text
    shaped = c.responses.parse(model="any", input=SAID[0]["content"], text_format=Order)
    assert shaped.output_parsed.amount == 12.5
    tool = {"type": "function", **TOOL["function"]}
    turn = c.responses.create(model="any", input=SAID, tools=[tool])
    call = turn.output[0]
    assert Order.model_validate_json(call.arguments).amount == 12.5
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "It was sent."}
    last = c.responses.create(model="any", input=[*SAID, call.to_dict(), result], tools=[tool])
    assert "It was sent." in last.output_text
    with pytest.raises(openai.BadRequestError, match="nothing is stored here"):
        c.responses.create(model="any", input="Hello.", previous_response_id=turn.id)


def test_openai_embeddings_and_models(faultless: Served) -> None:
    c = client(faultless)
    texts = ["a late parcel", "the parcel is late", "refund my invoice", "a late parcel"]
    rows = np.array([d.embedding for d in c.embeddings.create(model="any", input=texts).data])
    assert rows.shape == (4, 256)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3
    np.testing.assert_array_equal(rows[0], rows[3])
    plain_floats = c.embeddings.create(
        model="any", input=texts[0], encoding_format="float", dimensions=32
    )
    assert len(plain_floats.data[0].embedding) == 32
    langchain = OpenAIEmbeddings(
        base_url=faultless.url, api_key="x", model="any", check_embedding_ctx_length=False
    )
    np.testing.assert_allclose(langchain.embed_query(texts[0]), rows[0], rtol=1e-6)
    assert [m.id for m in c.models.list()] == ["simulated"]
    assert c.models.retrieve("simulated").owned_by == "coordkit"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        c.models.retrieve("other")


def test_the_async_client_in_parallel(faultless: Served) -> None:
    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=faultless.url, api_key="x", max_retries=0, timeout=10
        ) as c:
            asked = [
                c.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": f"No. {i}"}]
                )
                for i in range(40)
            ]
            return [r.choices[0].message.content or "" for r in await asyncio.gather(*asked)]

    assert [f'"No. {i}"' in words for i, words in enumerate(asyncio.run(ask_all()))] == [True] * 40


def test_the_openai_npm_package(faultless: Served) -> None:
    folder = ROOT / "build" / "node"
    missing = next(
        (
            what
            for what, there in [
                ("node", shutil.which("node")),
                ("build/node/node_modules/openai", (folder / "node_modules/openai").is_dir()),
            ]
            if not there
        ),
        "",
    )
    if missing:
        message = f"{missing} is missing: npm install --no-save --prefix build/node openai@6.49.0"
        if os.environ.get("COORDKIT_NODE") == "required":
            pytest.fail(message)
        pytest.skip(message)
    command = ["node", str(ROOT / "tests/serve/openai_client.mjs"), faultless.url, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    got = json.loads(result.stdout)
    order = {"order": "Order ORD-123 costs 12.50.", "amount": 12.5, "rush": False}
    assert got["plain"] == got["stream"]["text"] == got["responded"]
    assert got["tool"] == ["look_up", order] and got["shaped"] == order
    assert got["toolStream"]["name"] == "look_up" and got["toolStream"]["reason"] == "tool_calls"
    assert json.loads(got["toolStream"]["arguments"]) == order
    assert got["stream"]["tokens"] > 0 and got["stream"]["reason"] == "stop"
    assert "It was sent." in got["afterTool"] and got["acted"]["order"] == "hello"
    assert got["events"][0] == "response.created" and got["events"][-1] == "response.completed"
    assert "response.function_call_arguments.delta" in got["toolEvents"]
    assert (got["embedded"], got["models"]) == ([256, 256], ["simulated"])
    assert got["refused"] == ["BadRequestError", 400, "messages"]


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "error", "status"),
    [
        ("rate_limited", openai.RateLimitError, 429),
        ("server_error", openai.InternalServerError, 500),
        ("timed_out", openai.APIStatusError, 408),
    ],
)
def test_transport_faults_are_real_statuses(mode: str, error: type, status: int) -> None:
    with serving(always(mode)) as served:
        c = client(served)
        for call in (
            lambda: c.chat.completions.create(model="any", messages=SAID),
            lambda: c.responses.create(model="any", input="Hello."),
            lambda: c.embeddings.create(model="any", input="Hello."),
        ):
            with pytest.raises(error) as caught:
                call()
            assert caught.value.status_code == status and caught.value.code == mode
            assert is_transient(caught.value)
        assert caught.value.response.headers.get("retry-after") == ("1" if status == 429 else None)
        counts = counted(served)
    assert counts[f'coordkit_faults_total{{mode="{mode}"}}'] == 3
    for route in ("chat/completions", "responses", "embeddings"):
        line = f'coordkit_requests_total{{route="/v1/{route}",status="{status}"}}'
        assert counts[line] == 1


def test_a_stall_is_a_time_out() -> None:
    with serving(options=Options(always("timed_out"), stall=30)) as served:
        began = time.monotonic()
        with pytest.raises(openai.APITimeoutError) as caught:
            client(served, timeout=0.3).chat.completions.create(model="any", messages=SAID)
        assert is_transient(caught.value)
    assert time.monotonic() - began < 8  # nor does it hold up the end


def test_nobody_there_is_transient() -> None:
    with serving(FAULTLESS) as served:
        pass
    with pytest.raises(openai.APIConnectionError) as caught:
        client(served).models.list()
    assert is_transient(caught.value)


def test_server_errors_cut_half_of_the_streams() -> None:
    cut = refused = 0
    with serving(always("server_error")) as served:
        for i in range(24):
            said = [{"role": "user", "content": f"Tell me about order ORD-{i:03d}."}]
            try:
                stream = client(served).chat.completions.create(
                    model="any", messages=said, stream=True
                )
            except openai.InternalServerError:
                refused += 1
                continue
            text = ""
            with pytest.raises(openai.APIConnectionError) as caught:
                for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
            assert is_transient(caught.value)
            assert not text.endswith("says.")
            cut += 1
        counts = counted(served)
    assert cut > 3 and refused > 3
    assert counts['coordkit_faults_total{mode="cut_stream"}'] == cut
    assert counts['coordkit_faults_total{mode="server_error"}'] == refused


def test_a_retry_meets_fresh_dice_only_if_the_client_says_that_it_is_one() -> None:
    simulation = Simulation(reliability=0.5, correlation=0.0, mix={"rate_limited": 1.0})
    with serving(simulation) as served, httpx.Client(base_url=served.url) as http:

        def statuses(*headers: dict[str, str]) -> list[list[int]]:
            bodies = [
                {"model": "any", "messages": [{"role": "user", "content": str(i)}]}
                for i in range(40)
            ]
            return [
                [http.post("/chat/completions", json=b, headers=h).status_code for h in headers]
                for b in bodies
            ]

        again = statuses({}, {}, {})
        numbered = statuses(*({"x-stainless-retry-count": str(n)} for n in range(3)))
        official = client(served, max_retries=6)
        assert official.chat.completions.create(model="any", messages=SAID).choices
    assert all(len(set(row)) == 1 for row in again)
    assert {row[0] for row in again} == {200, 429}
    assert [row[0] for row in numbered] == [row[0] for row in again]
    assert 20 < sum(len(set(row)) > 1 for row in numbered) < 40


def test_a_clients_retry_of_a_prompt_of_the_kit_is_another_delivery() -> None:
    request = Request("billing/BNK-000001/trial-0", "match", attempt=2, delivery=1)
    ask = Ask(write_prompt("Match it.", request))
    assert [request_of(ask, again).delivery for again in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("mode", [*SLIPS, *MALFORMED])
def test_somebody_elses_agent_gets_every_fault_of_content(mode: str) -> None:
    """With tools, a schema and words; against what the faultless model says."""
    asked = [
        {"tools": [TOOL, {"type": "function", "function": {"name": "other"}}]},
        {"response_format": {"type": "json_schema", "json_schema": {
            "name": "Order", "schema": Order.model_json_schema()}}},
        {},
    ]  # fmt: skip
    bodies = [{"model": "any", "messages": SAID, **extra} for extra in asked]
    with (
        TestClient(make_app(Options(FAULTLESS))) as right,
        TestClient(make_app(Options(always(mode)))) as wrong,
    ):
        for body in bodies:
            said, slipped = (
                c.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
                for c in (right, wrong)
            )
            assert said != slipped
            if mode in MALFORMED and body is not bodies[2]:
                calls = slipped.get("tool_calls")
                text = calls[0]["function"]["arguments"] if calls else slipped["content"]
                with pytest.raises(json.JSONDecodeError):
                    json.loads(text)
        counts = wrong.get("/metrics").text
    found = re.findall(r'coordkit_faults_total\{mode="(\w+)"\} (\d)', counts)
    assert sum(int(n) for _, n in found) == 3


def test_the_rate_of_faults_is_the_one_that_is_set(app: TestClient) -> None:
    simulation = Simulation(reliability=0.8, correlation=0.3)
    with TestClient(make_app(Options(simulation))) as c:
        for i in range(600):
            said = [{"role": "user", "content": f"Order ORD-{i:04d}."}]
            c.post("/v1/chat/completions", json={"model": "any", "messages": said})
        text = c.get("/metrics").text
    found = re.findall(r'coordkit_faults_total\{mode="\w+"\} (\d+)', text)
    assert sum(map(int, found)) / 600 == pytest.approx(0.2, abs=3.5 * (0.16 / 600) ** 0.5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=4), st.floats(0, 0.999))
def test_what_is_spoilt_differs_and_leaves_the_original_alone(answer: Any, u: float) -> None:
    before = json.dumps(answer)
    after = spoilt(answer, u)
    assert json.dumps(answer) == before
    assert after != answer
    assert (after is None) == (not list(_values(answer)))


def _values(value: Any) -> Iterator[Any]:
    """What is in an answer besides containers."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _values(item)
    else:
        yield value


@given(JSON, st.sampled_from([*SLIPS, *MALFORMED]), st.integers(0, 50))
def test_a_strike_changes_any_reply_or_says_that_it_did_not(
    value: Any, mode: str, seed: int
) -> None:
    before = json.dumps(value)
    call = {"name": "look", "arguments": before}
    ask = Ask([], [{"name": "look", "parameters": {"type": "object"}}])
    request = Request("adhoc/1", "chat")
    struck = strike([(call, "arguments")], mode, always(mode, seed=seed), request, ask)
    assert bool(struck) == (call["arguments"] != before)


# --- answers to any schema -----------------------------------------------------------------------

SCALARS = st.one_of(
    st.builds(lambda low, n: {"type": "integer", "minimum": low, "maximum": low + n},
              st.integers(-50, 50), st.integers(0, 9)),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, st.integers(-50, 50)),
    st.builds(lambda n: {"type": "number", "multipleOf": n}, st.sampled_from([2, 5, 0.5])),
    st.builds(lambda low, n: {"type": "string", "minLength": low, "maxLength": low + n},
              st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from([{}, True, {"type": "boolean"}, {"type": "null"}, {"const": 7},
                     {"type": ["string", "null"]}, {"enum": ["a", None]},
                     {"type": "string", "format": "date"}]),
)  # fmt: skip


def _containers(inner: Any) -> Any:
    names = st.dictionaries(st.sampled_from("abcde"), inner, max_size=4)
    return st.one_of(
        st.builds(lambda p: {"type": "object", "properties": p, "required": sorted(p),
                             "additionalProperties": False}, names),
        st.builds(lambda s, n: {"type": "array", "items": s, "minItems": n}, inner,
                  st.integers(0, 3)),
        st.builds(lambda s, t: {"type": "array", "prefixItems": [s, t], "minItems": 2},
                  inner, inner),
        st.builds(lambda s: {"anyOf": [{"type": "null"}, s]}, inner),
        st.builds(lambda p, q: {"allOf": [{"type": "object", "properties": p},
                                          {"properties": q, "required": sorted(q)}]},
                  names, st.just({"z": {"type": "string"}})),
    )  # fmt: skip


@settings(max_examples=150)
@given(st.recursive(SCALARS, _containers, max_leaves=8), st.sampled_from(["", "INV-12 of 2.5 EUR"]))
def test_a_plausible_answer_conforms(schema: Any, text: str) -> None:
    jsonschema.validate(plausible(schema, text), schema)
    assert isinstance(plain(schema), dict)


class Tree(BaseModel):
    """A schema that refers to itself."""

    name: str
    left: "Tree | None"
    others: list["Tree"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": "x"},
        {"type": "integer", "minimum": [1]},
        {"properties": {"a": {}}, "required": 3},
        {"type": "array", "prefixItems": 5},
        {"anyOf": 7},
        {"type": "number", "minimum": 1e308, "multipleOf": 1e-308},
        {"$ref": "#/$defs/A", "$defs": 3},
    ],
)
def test_what_is_no_schema_gets_a_400(app: TestClient, schema: Any) -> None:
    body = {"model": "x", "messages": SAID, "response_format": {
        "type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}  # fmt: skip
    answer = app.post("/v1/chat/completions", json=body)
    assert answer.status_code in (200, 400)  # some are read leniently
    if answer.status_code == 400:
        assert answer.json()["error"]["code"] == "invalid_schema"


def test_recursive_schemas_end() -> None:
    Tree.model_validate(plausible(Tree.model_json_schema(), "x"))
    itself = {"properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}
    endless = {"$ref": "#/$defs/A", "$defs": {"A": itself}}
    assert plausible(endless)["a"]["a"]  # nothing conforms to it; it must not hang
    assert plausible({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}) == ""


def test_a_schema_that_doubles_at_each_level_does_not_stop_the_endpoint() -> None:
    twice = {
        f"L{i}": {"properties": {name: {"$ref": f"#/$defs/L{i + 1}"} for name in "ab"}}
        for i in range(40)
    }
    assert "a" in plausible({"$ref": "#/$defs/L0", "$defs": {**twice, "L40": {"type": "string"}}})


def test_a_reference_may_hold_a_slash() -> None:
    schema = {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 4}}}
    assert plausible(schema) == 4


# --- what is refused -----------------------------------------------------------------------------

REFUSED = [
    ("/v1/chat/completions", b"{", "invalid_json", None),
    ("/v1/chat/completions", b"[1]", "invalid_json", None),
    ("/v1/chat/completions", b"[" * 100_000, "invalid_json", None),
    ("/v1/chat/completions", b"\xff\xfe", "invalid_json", None),
    ("/v1/chat/completions", b'{"model": "x", "messages": NaN}', "invalid_json", None),
    ("/v1/chat/completions", b'{"model": "x", "messages": 1e999}', "invalid_json", None),
    ("/v1/chat/completions", {"messages": SAID}, "invalid_value", "model"),
    ("/v1/chat/completions", {"model": 3, "messages": SAID}, "invalid_value", "model"),
    ("/v1/chat/completions", {"model": "x", "messages": "hi"}, "invalid_value", "messages"),
    ("/v1/chat/completions", {"model": "x", "messages": [{"role": "king", "content": "hi"}]},
     "invalid_value", "messages.0.role"),
    ("/v1/chat/completions", {"model": "x", "messages": [{"role": "tool", "content": "hi"}]},
     "invalid_value", "messages.0"),
    ("/v1/chat/completions", {"model": "x", "messages": SAID, "stream": "yes"}, "invalid_value",
     "stream"),
    ("/v1/chat/completions", {"model": "x", "messages": SAID, "n": 2}, "invalid_value", "n"),
    ("/v1/chat/completions", {"model": "x", "messages": SAID, "tools": [{"type": "web"}]},
     "invalid_value", "tools.0.type"),
    ("/v1/responses", {"model": "x"}, "invalid_value", "input"),
    ("/v1/responses", {"model": "x", "input": [{"type": "item_reference"}]}, "unsupported",
     "input"),
    ("/v1/responses", {"model": "x", "input": "hi", "conversation": "c1"},
     "unsupported_parameter", "conversation"),
    ("/v1/embeddings", {"model": "x", "input": [1.5]}, "invalid_value", "input"),
    ("/v1/embeddings", {"model": "x", "input": []}, "invalid_value", "input"),
    ("/v1/embeddings", {"input": "a"}, "invalid_value", "model"),
    ("/v1/embeddings", {"model": "x", "input": "a", "dimensions": 0}, "invalid_value",
     "dimensions"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body", "code", "param"), REFUSED)
def test_wrong_requests_get_a_400_that_names_the_field(
    app: TestClient, route: str, body: Any, code: str, param: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = app.post(route, content=content)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize("stream", [False, True])
def test_half_a_character_is_said_back(app: TestClient, stream: bool) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "\ud83d"}], "stream": stream}
    answer = app.post("/v1/chat/completions", content=json.dumps(body).encode())
    assert answer.status_code == 200 and "\\ud83d" in answer.text


def test_other_paths_and_methods(app: TestClient) -> None:
    for answer, status in [(app.get("/v2"), 404), (app.get("/v1/responses"), 405)]:
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


FIELDS = st.sampled_from(
    ["model", "messages", "tools", "tool_choice", "response_format", "stream", "input", "text",
     "stream_options", "instructions", "dimensions"]
)  # fmt: skip
FUZZ = JSON | st.sampled_from(
    [SAID, [TOOL], "auto", {"type": "json_schema", "json_schema": {"schema": {"$ref": 3}}},
     [{"role": "user", "content": "## Task\nnot ours"}],
     [{"role": "user", "content": "## Request\nbilling/1/trial-0/x/attempt-1/delivery-1"}],
     [{"role": "assistant", "content": None, "tool_calls": [
         {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]}],
     {"format": {"type": "json_schema", "name": "x", "schema": {"properties": 3}}},
     [{"type": "function", "name": "look", "parameters": {"properties": {"a": {"items": False}}}}]]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["chat/completions", "responses", "embeddings"]),
    st.dictionaries(FIELDS, FUZZ, max_size=6),
)
def test_no_body_makes_an_error_of_the_servers_own(
    app: TestClient, route: str, body: dict[str, Any]
) -> None:
    whole = {"model": "any", "messages": SAID, "input": "Hello."} | body
    for sent in (body, whole):
        assert app.post(f"/v1/{route}", json=sent).status_code in (200, 400)


def test_the_body_limit() -> None:
    options = Options(FAULTLESS, body_limit=2000)
    with serving(options=options) as served:
        fits, large = ([{"role": "user", "content": "x" * n}] for n in (1000, 3000))
        assert client(served).chat.completions.create(model="any", messages=fits)
        with pytest.raises(openai.APIStatusError) as caught:
            client(served).chat.completions.create(model="any", messages=large)
        chunked = httpx.post(f"{served.url}/responses", content=iter([b"x" * 900] * 5))
    assert caught.value.status_code == 413 and chunked.status_code == 413
    assert chunked.json()["error"]["code"] == "body_too_large"


def test_the_token() -> None:
    with serving(options=Options(FAULTLESS, token="sesame")) as served:
        assert client(served, api_key="sesame").models.list().data
        for key in ("sesam", "sesame2", "é"):
            headers = {"Authorization": f"Bearer {key}".encode()}
            answer = httpx.get(f"{served.url}/models", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client(served, api_key="guess").models.list()
        assert httpx.get(served.metrics_url).status_code == 401
    assert "sesame" not in repr(Options(token="sesame"))


# --- in front of a real model --------------------------------------------------------------------


class Recorded:
    """A stand-in for a provider that keeps what it was sent."""

    def __init__(self, status: int = 200) -> None:
        self.seen: list[tuple[str, dict[str, str], bytearray]] = []
        self.app, self.status = make_app(Options(FAULTLESS)), status

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()
        if scope["type"] == "http":  # kept before the answer: a test counts as soon as it has that
            headers = {k.decode(): v.decode() for k, v in scope["headers"]}
            self.seen.append((scope["path"], headers, body))

        async def listening() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start" and self.status != 200:
                message = {**message, "status": self.status}
            await send(message)

        await self.app(scope, listening, sending)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Recorded, Served]]:
    recorded = Recorded()
    with monkeypatch.context() as patched:
        patched.setattr("coordkit.serve.make_app", lambda options, cases: recorded)
        with serving(FAULTLESS, cases=()) as served:
            patched.undo()
            yield recorded, served


def test_without_a_fault_the_upstream_answers(provider: tuple[Recorded, Served]) -> None:
    recorded, real = provider
    with serving(options=Options(FAULTLESS, upstream=real.url)) as front:
        mine, theirs = client(front, api_key="sk-mine"), client(real)
        body = {"model": "theirs", "messages": SAID}
        assert mine.chat.completions.create(**body) == theirs.chat.completions.create(**body)
        assert list(mine.chat.completions.create(**body, stream=True)) == list(
            theirs.chat.completions.create(**body, stream=True)
        )
        assert mine.models.list().data and mine.embeddings.create(model="m", input="a").data
        assert mine.responses.create(model="m", input="Hello.").output_text
    first = recorded.seen[0]
    assert first[1]["authorization"] == "Bearer sk-mine"
    assert json.loads(first[2])["model"] == "theirs"


def test_with_a_token_of_its_own_the_upstream_gets_the_key_from_the_environment(
    provider: tuple[Recorded, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, real = provider
    options = Options(FAULTLESS, upstream=real.url, token="sesame")
    with serving(options=options) as front:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        client(front, api_key="sesame").models.list()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
        client(front, api_key="sesame").models.list()
    assert [seen[1].get("authorization") for seen in recorded.seen] == [None, "Bearer sk-real"]
    assert not any("sesame" in str(seen) for seen in recorded.seen)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("mode", ["transposed_digits", "truncated_json", "wrong_tool_or_step"])
def test_faults_of_content_are_put_into_what_the_upstream_says(
    provider: tuple[Recorded, Served], mode: str, streamed: bool
) -> None:
    recorded, real = provider
    other = {"type": "function", "function": {"name": "other"}}
    body = {"model": "any", "messages": SAID, "tools": [TOOL, other]}
    with serving(options=Options(always(mode), upstream=real.url)) as front:
        if streamed:
            chunks = list(client(front).chat.completions.create(**body, stream=True))
            calls = [c.choices[0].delta.tool_calls[0].function for c in chunks[1:-1]]
            name, text = calls[0].name, "".join(call.arguments or "" for call in calls)
        else:
            (choice,) = client(front).chat.completions.create(**body).choices
            function = choice.message.tool_calls[0].function
            name, text = function.name, function.arguments
        counts = counted(front)
    assert counts[f'coordkit_faults_total{{mode="{mode}"}}'] == 1
    right = '{"order": "Order ORD-123 costs 12.50. It came on 2026-01-31.", "amount": 12.5'
    assert (name == "other") == (mode == "wrong_tool_or_step")
    assert text.startswith(right) == (mode == "wrong_tool_or_step")
    assert json.loads(recorded.seen[0][2])["stream"] is False


def test_faults_are_put_into_responses_of_the_upstream(
    provider: tuple[Recorded, Served],
) -> None:
    _, real = provider
    with serving(options=Options(always("dropped_item"), upstream=real.url)) as front:
        right = client(real).responses.create(model="any", input="First. Second. Third.")
        wrong = client(front).responses.create(model="any", input="First. Second. Third.")
        with client(front).responses.stream(model="any", input="First. Second. Third.") as stream:
            stream.until_done()
            assert stream.get_final_response().output_text == wrong.output_text
    assert 0 < len(wrong.output_text) < len(right.output_text)


def test_transport_faults_never_reach_the_upstream(provider: tuple[Recorded, Served]) -> None:
    recorded, real = provider
    options = Options(always("rate_limited"), upstream=real.url)
    with serving(options=options) as front, pytest.raises(openai.RateLimitError):
        client(front).chat.completions.create(model="any", messages=SAID)
    assert recorded.seen == []


def test_what_the_upstream_refuses_comes_back_as_it_is(
    provider: tuple[Recorded, Served],
) -> None:
    recorded, real = provider
    recorded.status = 403
    for simulation in (FAULTLESS, always("dropped_item")):
        options = Options(simulation, upstream=real.url)
        with serving(options=options) as front, pytest.raises(openai.PermissionDeniedError):
            client(front).chat.completions.create(model="any", messages=SAID)


@pytest.mark.parametrize(
    "answer", [{"choices": [{"message": {"tool_calls": [3]}}]}, {"choices": 3}, {"choices": [7]}]
)
def test_an_upstream_of_another_form(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    options = Options(always("dropped_item"), upstream="http://127.0.0.1:9/v1")

    async def whole(*_: Any) -> Any:
        return answer

    monkeypatch.setattr("coordkit.serve.upstream.Upstream.whole", whole)
    with TestClient(make_app(options), raise_server_exceptions=False) as front:
        got = front.post("/v1/chat/completions", json={"model": "any", "messages": SAID})
    assert got.status_code == 502 and "not in OpenAI's form" in got.json()["error"]["message"]


def test_an_error_that_an_upstream_sends_with_status_200_goes_on_as_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = {"error": {"message": "no credit", "code": 402}}

    async def send(*_: Any) -> httpx.Response:
        return httpx.Response(200, json=error)

    monkeypatch.setattr("coordkit.serve.upstream.Upstream.send", send)
    options = Options(always("dropped_item"), upstream="http://127.0.0.1:9/v1")
    with TestClient(make_app(options)) as front:
        got = front.post("/v1/chat/completions", json={"model": "any", "messages": SAID})
    assert got.status_code == 200 and got.json() == error


def test_a_caller_that_breaks_off_is_no_failure_of_the_endpoint() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [],
             "query_string": b"", "scheme": "http", "server": ("test", 80)}  # fmt: skip
    asyncio.run(make_app(Options(FAULTLESS))(scope, receive, send))
    assert sent[0]["status"] == 400 and json.loads(sent[1]["body"])["error"]


def test_items_of_a_conversation_may_have_nulls(app: TestClient) -> None:
    item = {"type": "message", "role": "user", "content": "Hi.", "name": None, "call_id": None}
    answer = app.post("/v1/responses", json={"model": "any", "input": [item]})
    assert answer.status_code == 200


def test_an_upstream_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(options=Options(FAULTLESS, upstream=f"http://127.0.0.1:{port}/v1")) as front:
        answer = httpx.post(
            f"{front.url}/chat/completions",
            json={"model": "any", "messages": SAID},
            headers={"Authorization": "Bearer sk-canary"},
        )
    assert answer.status_code == 502 and "sk-canary" not in answer.text
    assert "cannot be reached" in answer.json()["error"]["message"]
    with pytest.raises(ValueError, match="must be a URL"):
        make_app(Options(upstream="api.example.com"))


# --- the Idempotency-Key -------------------------------------------------------------------------

KEYED = {"Idempotency-Key": "k-1", "Authorization": "Bearer sk-mine"}
BODY: dict[str, Any] = {"model": "any", "messages": SAID}
CHAT = 'coordkit_{}_total{{route="/v1/chat/completions"}}'


def sent(
    served: Served, body: dict[str, Any] = BODY, headers: dict[str, str] = KEYED, **options: Any
) -> httpx.Response:
    return httpx.post(f"{served.url}/chat/completions", json=body, headers=headers, **options)


def paid_and_replayed(served: Served) -> tuple[float, float]:
    counts = counted(served)
    return counts.get(CHAT.format("paid"), 0), counts.get(CHAT.format("replayed"), 0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that takes a third of a second."""
    complete = Endpoint.complete

    async def slowly(*arguments: Any) -> Any:
        await asyncio.sleep(0.3)
        return await complete(*arguments)

    monkeypatch.setattr(Endpoint, "complete", slowly)


@pytest.mark.parametrize("more", [{}, {"stream": True}])
def test_the_upstream_is_paid_once_for_a_key(
    provider: tuple[Recorded, Served], more: dict[str, Any]
) -> None:
    recorded, real = provider
    with serving(options=Options(FAULTLESS, upstream=real.url)) as front:
        first, again = sent(front, BODY | more), sent(front, BODY | more)
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert len(recorded.seen) == 1 and paid_and_replayed(front) == (1, 1)
        # Without the key, with another one, from another caller: each is asked and paid.
        sent(front, BODY | more, {})
        sent(front, BODY | more, KEYED | {"Idempotency-Key": "k-2"})
        sent(front, BODY | more, KEYED | {"Authorization": "Bearer sk-theirs"})
        assert len(recorded.seen) == 4 and paid_and_replayed(front) == (4, 1)
    assert recorded.seen[0][1]["idempotency-key"] == "k-1", "the upstream may know it too"


def test_a_key_of_another_request_is_refused(faultless: Served) -> None:
    assert sent(faultless).status_code == 200
    other = sent(faultless, BODY | {"temperature": 0.5})
    embedding = httpx.post(f"{faultless.url}/embeddings", json=BODY, headers=KEYED)
    for answer in (other, embedding):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (422, "idempotency_key_reused")
        assert "give each its own" in error["message"] and "\n" not in error["message"]


@pytest.mark.usefixtures("slow")
def test_a_client_that_goes_away_finds_the_reply_that_it_paid() -> None:
    with serving(FAULTLESS) as served:
        with pytest.raises(httpx.ReadTimeout):
            sent(served, timeout=0.05)
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(sent(served))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [a.status_code for a in answers] == [200] * 3 and len({a.text for a in answers}) == 1
        assert paid_and_replayed(served) == (1, 3)
        with pytest.raises(httpx.ReadTimeout):
            sent(served, headers={}, timeout=0.05)
        sent(served, headers={})
        assert paid_and_replayed(served) == (3, 3), "without a key both are paid"


@pytest.mark.parametrize("mode", [*LOST])
def test_what_was_lost_in_transport_may_be_tried_again(mode: str) -> None:
    with serving(always(mode)) as served:
        assert {sent(served).status_code for _ in range(2)} == {LOST[mode][0]}
        counts = counted(served)
        assert counts[f'coordkit_faults_total{{mode="{mode}"}}'] == 2
        assert paid_and_replayed(served) == (0, 0)


def test_what_the_upstream_refuses_may_be_tried_again(provider: tuple[Recorded, Served]) -> None:
    recorded, real = provider
    with serving(options=Options(FAULTLESS, upstream=real.url)) as front:
        recorded.status = 429
        assert sent(front).status_code == 429 and paid_and_replayed(front) == (0, 0)
        recorded.status = 200
        assert sent(front).status_code == 200 and paid_and_replayed(front) == (1, 0)


def test_a_cut_stream_was_paid_and_comes_whole_the_next_time() -> None:
    with serving(always("server_error")) as served:
        for i in range(24):
            said = [{"role": "user", "content": f"Tell me about order ORD-{i:03d}."}]
            body = {"model": "any", "messages": said, "stream": True}
            headers = {"Idempotency-Key": f"cut-{i}"}
            try:
                refused = sent(served, body, headers)
            except httpx.RemoteProtocolError:
                whole = sent(served, body, headers)
                assert whole.text.endswith("data: [DONE]\n\n")
                break
            assert refused.status_code == 500
        assert paid_and_replayed(served) == (1, 1)


def test_only_so_many_replies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordkit.serve.app.Once", lambda: Once(most=2))
    with serving(FAULTLESS) as served:
        again = [
            "idempotent-replayed" in sent(served, headers={"Idempotency-Key": key}).headers
            for key in ("a", "b", "a", "c", "a", "b")
        ]
    assert again == [False, False, True, False, True, False], "b was longest unasked"


@pytest.mark.parametrize(
    ("body", "kind", "kept"),
    [
        ('{"choices": []}', "application/json", True),
        ('{"output": [], "error": null}', "application/json", True),
        ('{"error": {"code": 429}}', "application/json", False),
        ("<html>warming up</html>", "text/html", False),
        ('data: {"choices": []}\n\ndata: [DONE]\n\n', "text/event-stream", True),
        ('data: {"type": "response.completed"}\n\n', "text/event-stream", True),
        ('data: {"choices": []}\n\n', "text/event-stream", False),
        ('data: {"error": {"code": 529}}\n\n', "text/event-stream", False),
    ],
)
def test_only_a_whole_reply_is_kept(body: str, kind: str, kept: bool) -> None:
    worked: list[int] = []

    async def work() -> Response:
        worked.append(1)
        return Response(body, 200, media_type=kind)

    async def twice() -> bool:
        once = Once()
        await once.answer(keyed("k"), {}, work)
        return (await once.answer(keyed("k"), {}, work))[1]

    assert asyncio.run(twice()) == kept and len(worked) == 2 - kept


@pytest.mark.parametrize("header", ["authorization", "api-key", "x-api-key", "cookie"])
def test_nobody_gets_what_another_has_paid(header: str) -> None:
    async def asked() -> list[bool]:
        once, mine, theirs = Once(), (header, "mine"), (header, "theirs")
        return [(await once.answer(keyed("k", by), {}, replied))[1] for by in (mine, theirs, mine)]

    assert asyncio.run(asked()) == [False, False, True]


def test_another_query_is_another_request() -> None:
    async def asked() -> None:
        once = Once()
        await once.answer(keyed("k", query="api-version=1"), {}, replied)
        await once.answer(keyed("k", query="api-version=2"), {}, replied)

    with pytest.raises(ApiError, match="give each its own"):
        asyncio.run(asked())


def test_what_is_being_worked_out_is_not_forgotten_for_later_replies() -> None:
    async def asked() -> bool:
        once, go = Once(most=1), asyncio.Event()

        async def slowly() -> Response:
            await go.wait()
            return await replied()

        first = asyncio.create_task(once.answer(keyed("slow"), {}, slowly))
        for key in ("a", "b", "c"):
            await once.answer(keyed(key), {}, replied)
        again = asyncio.create_task(once.answer(keyed("slow"), {}, slowly))
        await asyncio.sleep(0)
        go.set()
        await first
        return (await again)[1]

    assert asyncio.run(asked())


async def replied() -> Response:
    return Response("{}", media_type="application/json")


def keyed(key: str, by: tuple[str, str] = ("authorization", "me"), query: str = "") -> HttpRequest:
    pairs = [("idempotency-key", key), by]
    headers = [(name.encode(), value.encode()) for name, value in pairs]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    return HttpRequest({**scope, "query_string": query.encode(), "server": ("127.0.0.1", 80)})


# --- the command ---------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "coordkit.cli", "serve", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(number: signal.Signals) -> None:
    token = "canary-4711"
    with command(
        "--port", "0", "--reliability", "0", "--mode", "rate_limited=1", COORDKIT_SERVE_TOKEN=token
    ) as process:
        guard = threading.Timer(120, process.kill)
        guard.start()
        try:
            line = process.stdout.readline()
            url = re.search(r"http://\S+/v1", line)[0]
            deadline = time.monotonic() + 20
            with pytest.raises(openai.RateLimitError):
                openai.OpenAI(base_url=url, api_key=token, max_retries=0).embeddings.create(
                    model="any", input="a", timeout=max(1, deadline - time.monotonic())
                )
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            guard.cancel()
    assert process.returncode == 0
    assert err == "coordkit: stopped\n"
    assert token not in line + out + err


MODES = f"write it like rate_limited=1; modes: {', '.join(default_mix())}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached by others: set COORDKIT_SERVE_TOKEN first"),
        (["--mode", "rate_limited"], f"--mode cannot be 'rate_limited'; {MODES}"),
        (["--mode", "bad=1"], f"--mode cannot be 'bad=1'; {MODES}"),
        (["--upstream", "nowhere"],
         "the upstream must be a URL such as https://host/v1, not 'nowhere'"),
    ],
)  # fmt: skip
def test_what_the_command_cannot_do_it_says_in_a_line(arguments: list[str], message: str) -> None:
    from typer.testing import CliRunner

    from coordkit.cli import app as commands

    result = CliRunner().invoke(commands, ["serve", *arguments], env={"COORDKIT_SERVE_TOKEN": ""})
    assert (result.exit_code, result.output) == (2, f"coordkit: {message}\n")


def test_a_port_that_is_taken() -> None:
    from typer.testing import CliRunner

    from coordkit.cli import app as commands

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(commands, ["serve", "--port", port])
    assert result.exit_code == 2 and "ddress already in use" in result.output
