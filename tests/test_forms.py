"""coordkit.forms: the same request in three forms, and what comes back read as a call."""

import json
from typing import Any

import pytest
from doubles import Scripted
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from coordkit import forms
from coordkit.cases import load_case
from coordkit.simulated import SimulatedChatModel

CALL = {"name": "get", "args": {"id": "x"}, "id": "1"}
ONE: list[Any] = [{"type": "function", "function": {"name": "Answer", "parameters": {"a": 1}}}]
TWO = [*ONE, {"type": "function", "function": {"name": "get", "parameters": {"b": 2}}}]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
PROSE = st.text(alphabet=st.characters(exclude_characters="{"))


@given(OBJECTS, PROSE, st.text())
def test_the_first_object_is_found_in_any_prose(found: Any, before: str, after: str) -> None:
    assert forms.first_object(f"{before}{json.dumps(found)}{after}") == found


@given(st.text())
def test_no_text_makes_reading_crash(text: str) -> None:
    found = forms.read_call(text, ["Answer"])
    assert found is None or isinstance(found["args"], dict)
    forms.read_call(text, ["Answer", "get"])


@pytest.mark.parametrize(
    "text", ["", "I cannot.", "[1, 2]", '"text"', "{", '{"a": 1', "{'a': 1}", "{" * 100_000]
)
def test_what_is_no_object_is_no_answer(text: str) -> None:
    assert forms.read_call(text, ["Answer"]) is None
    reply = forms.read(forms.SCHEMA, AIMessage(text), ONE)
    assert not reply.tool_calls


def test_with_several_tools_the_text_must_name_one_of_them() -> None:
    names = ["Answer", "get"]
    right = '```json\n{"tool": "get", "arguments": {"id": "x"}}\n```'
    call = forms.read_call(right, names)
    assert call is not None and (call["name"], call["args"]) == ("get", {"id": "x"})
    for wrong in ('{"id": "x"}', '{"tool": "put", "arguments": {}}', '{"tool": "get"}'):
        assert forms.read_call(wrong, names) is None


def test_a_conversation_in_words_has_all_that_the_other_had() -> None:
    said = AIMessage("", tool_calls=[CALL])
    result = ToolMessage("the record", tool_call_id="1")
    messages = [SystemMessage("Do it."), HumanMessage("The task."), said, result]
    written = forms.in_words(messages, TWO)
    text = "\n".join(str(m.text) for m in written)
    for part in ("Do it.", "The task.", '"get"', '{"id": "x"}', "the record", '{"b": 2}'):
        assert part in text
    assert not any(getattr(m, "tool_calls", None) or m.type == "tool" for m in written)


def test_of_a_half_readable_reply_the_readable_calls_go_on() -> None:
    bad = {"name": "get", "args": "{", "id": "2", "error": "no JSON"}
    reply = AIMessage("", tool_calls=[CALL], invalid_tool_calls=[bad])
    read = forms.read(forms.TOOLS, reply, TWO)
    assert len(read.tool_calls) == 1 and not read.invalid_tool_calls
    only_bad = AIMessage("", invalid_tool_calls=[bad])
    assert forms.read(forms.TOOLS, only_bad, TWO).invalid_tool_calls


def test_the_simulated_model_passes_the_probe_and_a_chatterbox_does_not() -> None:
    from coordkit.experiment import simulated_model

    messages, tools = forms.probe(0)
    simulated: SimulatedChatModel = simulated_model(load_case("billing", tasks=1))
    for form in (forms.TOOLS, forms.SCHEMA):
        assert forms.fits(forms.send(simulated, form, messages, tools), tools)
    chatterbox = Scripted(reply=lambda messages, tools: AIMessage("Gladly!"))
    assert not forms.fits(forms.send(chatterbox, forms.TOOLS, messages, tools), tools)
