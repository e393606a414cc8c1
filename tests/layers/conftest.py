"""What the tests of the layers share: the cases, a bench maker, and models that follow a script."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from coordkit.cases import load_case
from coordkit.cases.base import Case
from coordkit.environment import Environment
from coordkit.experiment import Bench, simulated_model
from coordkit.faults import Simulation
from coordkit.layers.human import Approver, Review, Verdict
from coordkit.simulated import SimulatedChatModel
from coordkit.stack import Stack, Workplace


@pytest.fixture(scope="session")
def billing() -> Case:
    return load_case("billing", tasks=300)


@pytest.fixture(scope="session")
def support() -> Case:
    return load_case("support", tasks=300)


@pytest.fixture(scope="session")
def environment_of() -> Callable[[Case], Environment]:
    """Return a function that gives a case's one environment, shared by all trials."""
    kept: dict[str, Environment] = {}

    def of(case: Case) -> Environment:
        if case.name not in kept:
            kept[case.name] = case.environment()
        return kept[case.name]

    return of


def nobody(review: Review) -> Verdict:
    raise AssertionError(f"a person was asked about {review.task.id}: {review.reason}")


@pytest.fixture(scope="session")
def bench(environment_of: Callable[[Case], Environment]) -> Callable[..., Bench]:
    """Return a function that makes a bench.

    Its simulated model is faultless unless ``simulation`` says otherwise; ``skills`` replace the
    competence at single steps; nobody may be asked unless there is an ``approver``.
    """
    models: dict[str, SimulatedChatModel] = {}  # learning a language takes seconds

    def make(
        case: Case,
        *layers: str,
        skills: dict[str, Any] | None = None,
        simulation: Simulation | None = None,
        approver: Approver = nobody,
        stack: Stack | None = None,
        checkpointer: Any = None,
        **workplace: Any,
    ) -> Bench:
        if case.name not in models:
            models[case.name] = simulated_model(case)
        settings = {
            "simulation": simulation or Simulation(reliability=1),
            "skills": {**models[case.name].skills, **(skills or {})},
        }
        model = models[case.name].model_copy(update=settings)
        at = Workplace(case, model, stack or Stack.of(*layers), environment_of(case), **workplace)
        return Bench(at, approver, checkpointer)

    return make


class Scripted(BaseChatModel):
    """A chat model that gives the scripted replies in turn, the last one again and again.

    Attributes:
        script: replies; an exception is raised.
        heard: the messages of every call.
        offered: the names of the tools on offer in every call.
    """

    script: list[Any]
    heard: list[list[BaseMessage]] = Field(default_factory=list)
    offered: list[list[str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return self.bind(tools=tools)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any):
        self.heard.append(list(messages))
        self.offered.append([tool["function"]["name"] for tool in kwargs.get("tools", [])])
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(reply, Exception):
            raise reply
        return ChatResult(generations=[ChatGeneration(message=reply)])


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    """Return a function that makes a model of a script."""
    return lambda *script: Scripted(script=list(script))


@pytest.fixture
def call() -> Callable[..., AIMessage]:
    """Return a function that writes a message with one tool call."""

    def write(name: str, /, **arguments: Any) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"id-{name}"}])

    return write
