"""The simulated chat model: needs no key and no network, and sees only its prompt.

It is competent on what it sees (one plain function, a *skill*, per response schema), guesses what
is missing, slips with probability 1 - p, and reports a confidence. It has no handle on the data,
the grader or the labels. Replace it by any LangChain chat model with no other change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from inspect import signature
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
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
    apply_slip,
    confidence,
    pick_mode,
    slips,
    uniform,
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
            it wants first. A schema whose properties are all such names in lower case (the
            names of the steps) is a call for many answers at once.
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

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(
            ls_provider="simulated", ls_model_name="simulated", ls_model_type="chat"
        )

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
        for i, word in enumerate(str(whole.text).split(" ") if whole.text else []):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f" {word}" if i else word))
        calls: list[tuple[Any, Any, Any]] = [
            (c["name"], json.dumps(c["args"]), c["id"]) for c in whole.tool_calls
        ]
        calls += [(c["name"], c["args"], c["id"]) for c in whole.invalid_tool_calls]
        for index, (name, text, call_id) in enumerate(calls):
            for start in range(0, len(text or ""), 40):
                first = start == 0
                chunk = tool_call_chunk(
                    name=name if first else None,
                    args=(text or "")[start : start + 40],
                    id=call_id if first else None,
                    index=index,
                )
                yield ChatGenerationChunk(
                    message=AIMessageChunk(content="", tool_call_chunks=[chunk])
                )
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
        known = properties and all(p.capitalize() in self.skills for p in properties)
        return properties if known else []


# LangChain inspects it at every call, to see whether it takes a run manager.
SimulatedChatModel._generate.__signature__ = signature(SimulatedChatModel._generate)  # type: ignore[attr-defined]


class _Turn:
    """One turn of one request: work out the right message, then let the dice at it."""

    def __init__(
        self, model: SimulatedChatModel, prompt: Prompt, schema: dict[str, Any] | None
    ) -> None:
        self.model, self.prompt, self.schema = model, prompt, schema
        assert prompt.request is not None
        self.request = prompt.request
        self.faults: list[dict[str, Any]] = []
        self.written = 0  # characters

    def message(self) -> AIMessage:
        if self.schema is None:
            known = ", ".join(self.model.skills)
            return self._say(f"I can only answer with a response schema that I know: {known}.")
        asked = self.model.asked(self.schema)
        self._whole_call(asked)
        if asked == [self.schema["name"]]:
            parameters = self.schema["parameters"]
            result = self._answer(asked[0], self.request.step, parameters, asked=1)
            return self._calls(result) if isinstance(result, list) else self._submit(result)
        whole: Answer = {}
        for name in asked:  # one call for many answers: each builds on those before it
            part = self.schema["parameters"]["properties"][name]
            answer = self._answer(name.capitalize(), name, part, asked=len(asked))
            assert isinstance(answer, dict)
            self.prompt.answers[name] = answer
            whole[name] = answer
        return self._submit(whole)

    def _answer(
        self, skill: str, step: str, schema: dict[str, Any], asked: int
    ) -> Answer | list[Call]:
        """One answer, right or slipped, with its confidence."""
        request = replace(self.request, step=step)
        slipped = self.model.dice and slips(self.model.simulation, request, asked)
        misled = False
        if slipped and self.prompt.tools and self._mode_is_wrong_tool(request):
            if self.prompt.rounds == 0:
                calls = self.model.skills[skill](self.prompt)
                if isinstance(calls, list):
                    return self._wrong_call(calls, request)
            else:  # it takes what the wrong call returned for all there is
                self.prompt.tools, slipped, misled = frozenset(), False, True
        result, guessed = self._work_out(skill)
        if isinstance(result, list):
            return result
        answer = self._slip_answer(result, schema, request) if slipped else result
        right = answer == result and not misled and not guessed
        if "confidence" in schema.get("properties", {}):
            answer["confidence"] = confidence(self.model.simulation, request, right)
        return answer

    def _work_out(self, skill: str) -> tuple[Answer | list[Call], bool]:
        """What a skill makes of the prompt, and whether it had to guess."""
        earlier, self.prompt.guessed = self.prompt.guessed, []
        result = self.model.skills[skill](self.prompt)
        guessed = bool(self.prompt.guessed)
        self.prompt.guessed = list(dict.fromkeys([*earlier, *self.prompt.guessed]))
        return result, guessed

    def _whole_call(self, asked: list[str]) -> None:
        """Faults that hit a call as a whole, once however many answers it asks for."""
        if not self.model.dice or not slips(self.model.simulation, self.request):
            return
        mode = pick_mode(self.model.simulation, self.request, ALL_MODES)
        if mode in TRANSPORT:
            raise ModelUnavailable(mode, self.request)
        if mode in MALFORMED and not self._looks_up(asked):
            self._note(mode, self.request)

    def _looks_up(self, asked: list[str]) -> bool:
        """Whether this turn is a round of look-ups: then the answer is yet to come."""
        if asked[0] not in self.model.skills or not self.prompt.tools:
            return False
        return isinstance(self.model.skills[asked[0]](self.prompt), list)

    def _note(self, mode: str, request: Request) -> None:
        self.faults.append({"mode": mode, "step": request.step, "attempt": request.attempt})

    def _mode_is_wrong_tool(self, request: Request) -> bool:
        return pick_mode(self.model.simulation, request, ALL_MODES) == "wrong_tool_or_step"

    def _wrong_call(self, calls: list[Call], request: Request) -> list[Call]:
        """Another tool than the one needed, or the right one with the wrong argument."""
        self._note("wrong_tool_or_step", request)
        needed = {call.tool for call in calls}
        others = sorted(self.prompt.tools - needed)
        if not others:
            return [Call(calls[0].tool, dict.fromkeys(calls[0].arguments, ""))]
        other = others[int(uniform(self.model.simulation.seed, "tool", request) * len(others))]
        return [Call(other, calls[0].arguments)]

    def _slip_answer(self, answer: Answer, schema: dict[str, Any], request: Request) -> Answer:
        """The answer with a slip in its content, of a mode that it admits."""
        mode = pick_mode(self.model.simulation, request, ALL_MODES)
        if mode in WHOLE_CALL and request == self.request:
            return answer  # dealt with before
        u = uniform(self.model.simulation.seed, "place", request)
        broken = apply_slip(mode, answer, schema, self.prompt, u) if mode in SLIPS else None
        if broken is None:  # a draw of its own: the first one is conditioned by now
            others = {m: apply_slip(m, answer, schema, self.prompt, u) for m in SLIPS}
            mix = self.model.simulation.mix
            possible = [m for m in SLIPS if others[m] is not None and mix.get(m)]
            if not possible:
                return answer
            mode = pick_mode(self.model.simulation, request, possible, "second mode")
            broken = others[mode]
        self._note(mode, request)
        return broken or answer

    def _metadata(self) -> dict[str, Any]:
        """What the simulation did, for the fault book; agents and prompts never see it."""
        return {"faults": self.faults, "guessed": list(self.prompt.guessed)}

    def _id(self) -> str:
        return "call_" + blake2b(str(self.request).encode(), digest_size=8).hexdigest()

    def _say(self, text: str) -> AIMessage:
        self.written += len(text)
        return AIMessage(text, response_metadata=self._metadata())

    def _calls(self, calls: list[Call]) -> AIMessage:
        tool_calls = [
            {"name": c.tool, "args": c.arguments, "id": f"{self._id()}_{self.prompt.rounds}_{i}"}
            for i, c in enumerate(calls)
        ]
        self.written += sum(len(json.dumps(c.arguments)) for c in calls)
        return AIMessage("", tool_calls=tool_calls, response_metadata=self._metadata())

    def _submit(self, answer: Answer) -> AIMessage:
        """The answer as a call of the response schema; malformed if the dice say so."""
        assert self.schema is not None
        text = as_json(answer)
        self.written += len(text)
        call = {"name": self.schema["name"], "id": self._id()}
        modes = {fault["mode"] for fault in self.faults}
        if modes.isdisjoint(MALFORMED):
            parts = {"tool_calls": [{**call, "args": answer}]}
        else:
            text = text[: len(text) // 2] if "truncated_json" in modes else text.replace('"', "", 1)
            error = "the arguments are not valid JSON"
            parts = {"invalid_tool_calls": [{**call, "args": text, "error": error}]}
        return AIMessage("", **parts, response_metadata=self._metadata())


def faultless(model: BaseChatModel) -> BaseChatModel | None:
    """The same simulated model without slips; None for a real model, whose slips are its own."""
    return (
        model.model_copy(update={"dice": False}) if isinstance(model, SimulatedChatModel) else None
    )
