"""The simulated chat model: needs no key and no network, and sees only its prompt.

It is competent on what it sees (one plain function, a *skill*, per response schema), guesses what
is missing, slips with probability 1 - p, and reports a confidence. It has no handle on the data,
the grader or the labels. Replace it by any LangChain chat model with no other change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from inspect import signature
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field

from coordkit.faults import (
    MALFORMED,
    SLIPS,
    TRANSPORT,
    Simulation,
    confidence,
    pick_mode,
    slips,
    uniform,
    with_slip,
)
from coordkit.prompt import Answer, Prompt, Request, as_json, text_of


@dataclass(frozen=True)
class Call:
    """One look-up that a skill wants made before it answers."""

    tool: str
    arguments: dict[str, Any]


WHOLE_CALL = (*MALFORMED, *TRANSPORT)
ALL_MODES = [*SLIPS, *WHOLE_CALL]
Skill = Callable[[Prompt], Answer | list[Call]]


def bare(name: str) -> str:
    """The name of a step or of its schema, as the two are compared: look_up and LookUp are one."""
    return name.replace("_", "").lower()


@lru_cache(maxsize=16)
def _by_bare_name(skills: tuple[str, ...]) -> dict[str, str]:
    return {bare(skill): skill for skill in skills}


class ModelUnavailable(Exception):
    """A transport fault, as a provider's client raises it: nothing came back. Worth a retry."""

    def __init__(self, mode: str, request: Request) -> None:
        super().__init__(f"{mode.replace('_', ' ')} ({request})")
        self.status_code = {"rate_limited": 429, "server_error": 500}.get(mode, 408)
        self.mode = mode
        self.request = request


class SimulatedChatModel(BaseChatModel):
    """A chat model that answers with skills and fails by dice.

    Args:
        skills: response-schema name -> function from the prompt to the answer, or to the look-ups
            it wants first. A schema whose properties are all such names, however written (look_up
            for LookUp: the names of the steps), is a call for many answers at once.
        simulation: reliability, correlation and the other settings of the dice.
        dice: False gives the same model without slips.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    skills: Mapping[str, Skill] = Field(default_factory=dict, exclude=True)
    simulation: Simulation = Field(default_factory=Simulation)
    dice: bool = True

    @property
    def _llm_type(self) -> str:
        return "simulated"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": "simulated", "simulation": self.simulation, "dice": self.dice}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        """Offer tools, as any provider's model lets you: a response schema is a tool too."""
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=formatted, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        functions = [tool["function"] for tool in kwargs.get("tools") or []]
        answers = [f for f in functions if self.asked(f)]
        prompt = Prompt.read(messages, (f["name"] for f in functions if f not in answers))
        if prompt.request is None:
            key = blake2b(prompt.text.encode(), digest_size=6).hexdigest()
            prompt.request = Request(f"adhoc/{key}", answers[0]["name"] if answers else "chat")
        turn = _Turn(self, prompt, answers[0] if answers else None)
        message = turn.message()
        size = sum(len(text_of(m)) for m in messages) + sum(len(str(f)) for f in functions)
        sent, written = size // 4, turn.written // 4
        message.usage_metadata = UsageMetadata(
            input_tokens=sent, output_tokens=written, total_tokens=sent + written
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        whole = self._generate(messages, stop, run_manager, **kwargs).generations[0].message
        assert isinstance(whole, AIMessage)
        for word in filter(None, re.split("(?= )", whole.text)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        calls: list[Any] = [{**call, "args": json.dumps(call["args"])} for call in whole.tool_calls]
        for index, call in enumerate(calls + whole.invalid_tool_calls):
            name, call_id, text = call["name"], call["id"], call["args"]
            for start in range(0, len(text), 40):  # characters
                piece = tool_call_chunk(
                    name=name, args=text[start : start + 40], id=call_id, index=index
                )
                yield ChatGenerationChunk(
                    message=AIMessageChunk(content="", tool_call_chunks=[piece])
                )
                name = call_id = None  # they stand in the first piece only
        end = AIMessageChunk(
            content="",
            usage_metadata=whole.usage_metadata,
            response_metadata=whole.response_metadata,
        )
        yield ChatGenerationChunk(message=end)

    def asked(self, function: Mapping[str, Any]) -> list[str]:
        """The skills that a function's schema calls for: one, many, or none (a look-up tool)."""
        if function["name"] in self.skills:
            return [function["name"]]
        properties = list(function.get("parameters", {}).get("properties", {}))
        known = _by_bare_name(tuple(self.skills))
        return properties if properties and all(bare(p) in known for p in properties) else []


# LangChain inspects it at every call, to see whether it takes a run manager.
SimulatedChatModel._generate.__signature__ = signature(SimulatedChatModel._generate)  # type: ignore[attr-defined]


class _Turn:
    """One turn of one request: work out the right message, then let the dice at it."""

    def __init__(
        self, model: SimulatedChatModel, prompt: Prompt, schema: dict[str, Any] | None
    ) -> None:
        self.model, self.prompt, self.schema = model, prompt, schema
        self.simulation = model.simulation
        assert prompt.request is not None
        self.request = prompt.request
        self.faults: list[dict[str, Any]] = []
        self.written = 0  # characters

    def message(self) -> AIMessage:
        """What the model says, asks to be looked up, or submits as its answer."""
        if self.schema is None:
            known = ", ".join(self.model.skills)
            text = f"I can only answer with a response schema that I know: {known}."
            return self._reply(text, len(text))
        asked = self.model.asked(self.schema)
        self._whole_call(asked)
        if asked == [self.schema["name"]]:
            parameters = self.schema["parameters"]
            result = self._answer(asked[0], self.request.step, parameters, asked=1)
            return self._look_up(result) if isinstance(result, list) else self._submit(result)
        whole: Answer = {}
        for name in asked:  # one call for many answers: each builds on those before it
            part = self.schema["parameters"]["properties"][name]
            skill = _by_bare_name(tuple(self.model.skills))[bare(name)]
            answer = self._answer(skill, name, part, asked=len(asked))
            assert isinstance(answer, dict)
            self.prompt.answers[name] = whole[name] = answer
        return self._submit(whole)

    def _answer(
        self, skill: str, step: str, schema: dict[str, Any], asked: int
    ) -> Answer | list[Call]:
        """One answer, right or slipped, with its confidence; or the look-ups it wants first."""
        request = replace(self.request, step=step)
        slipped = self.model.dice and slips(self.simulation, request, asked)
        tools = slipped and self.prompt.tools
        wrong_call = tools and self._mode(request) == "wrong_tool_or_step"
        first = self.prompt.rounds == 0
        if wrong_call and first and isinstance(calls := self._work_out(skill), list):
            return self._wrong_call(calls, request)
        misled = wrong_call and not first  # it takes what the wrong call returned for all there is
        if misled:
            self.prompt.tools, slipped = frozenset(), False
        guesses = len(self.prompt.guessed)
        result = self._work_out(skill)
        if isinstance(result, list):
            return result
        guessed = len(self.prompt.guessed) > guesses
        answer = self._slip_answer(result, schema, request) if slipped else result
        right = answer == result and not misled and not guessed
        if "confidence" in schema.get("properties", {}):
            answer["confidence"] = confidence(self.simulation, request, right)
        return answer

    def _work_out(self, skill: str) -> Answer | list[Call]:
        """What a skill makes of the prompt."""
        return self.model.skills[skill](self.prompt)

    def _mode(self, request: Request) -> str:
        """How a request goes wrong that does."""
        return pick_mode(self.simulation, request, ALL_MODES)

    def _whole_call(self, asked: list[str]) -> None:
        """Faults that hit a call as a whole, once however many answers it asks for."""
        if not self.model.dice or not slips(self.simulation, self.request):
            return
        mode = self._mode(self.request)
        if mode in TRANSPORT:
            raise ModelUnavailable(mode, self.request)
        if mode in MALFORMED and not self._looks_up(asked):
            self._note(mode, self.request)

    def _looks_up(self, asked: list[str]) -> bool:
        """Whether this turn is a round of look-ups: then the answer is yet to come."""
        one_answer = asked[0] in self.model.skills and bool(self.prompt.tools)
        return one_answer and isinstance(self._work_out(asked[0]), list)

    def _note(self, mode: str, request: Request) -> None:
        self.faults.append({"mode": mode, "step": request.step, "attempt": request.attempt})

    def _wrong_call(self, calls: list[Call], request: Request) -> list[Call]:
        """Another tool than the one needed, or the right one with the wrong argument."""
        self._note("wrong_tool_or_step", request)
        others = sorted(self.prompt.tools - {call.tool for call in calls})
        if not others:
            return [Call(calls[0].tool, dict.fromkeys(calls[0].arguments, ""))]
        other = others[int(uniform(self.simulation.seed, "tool", request) * len(others))]
        return [Call(other, calls[0].arguments)]

    def _slip_answer(self, answer: Answer, schema: dict[str, Any], request: Request) -> Answer:
        """The answer with a slip in its content, of a mode that it admits."""
        mode = self._mode(request)
        if mode in WHOLE_CALL and request == self.request:
            return answer  # dealt with before
        hit = with_slip(self.simulation, request, mode, answer, schema, self.prompt)
        if hit is None:
            return answer
        self._note(hit[0], request)
        return hit[1]

    def _look_up(self, calls: list[Call]) -> AIMessage:
        """The look-ups as calls of their tools."""
        tool_calls = [
            {"name": c.tool, "args": c.arguments, "id": f"{self._id()}_{self.prompt.rounds}_{i}"}
            for i, c in enumerate(calls)
        ]
        written = sum(len(json.dumps(c.arguments)) for c in calls)
        return self._reply("", written, tool_calls=tool_calls)

    def _submit(self, answer: Answer) -> AIMessage:
        """The answer as a call of the response schema; malformed if the dice say so."""
        assert self.schema is not None
        text = as_json(answer)
        call = {"name": self.schema["name"], "id": self._id()}
        modes = {fault["mode"] for fault in self.faults}
        if modes.isdisjoint(MALFORMED):
            return self._reply("", len(text), tool_calls=[{**call, "args": answer}])
        cut = text[: len(text) // 2] if "truncated_json" in modes else text.replace('"', "", 1)
        broken = {**call, "args": cut, "error": "the arguments are not valid JSON"}
        return self._reply("", len(text), invalid_tool_calls=[broken])

    def _id(self) -> str:
        return "call_" + blake2b(str(self.request).encode(), digest_size=8).hexdigest()

    def _reply(self, text: str, written: int, **calls: Any) -> AIMessage:
        """A message, with what the simulation did to it.

        That is for the fault book; agents and prompts never see it.
        """
        self.written = written
        done = {"faults": self.faults, "guessed": list(dict.fromkeys(self.prompt.guessed))}
        return AIMessage(text, response_metadata=done, **calls)


def faultless(model: BaseChatModel) -> BaseChatModel | None:
    """The same simulated model without slips; None for a real model, whose slips are its own."""
    is_simulated = isinstance(model, SimulatedChatModel)
    return model.model_copy(update={"dice": False}) if is_simulated else None
