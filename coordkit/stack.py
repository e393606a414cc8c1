"""A stack: which of the six layers are on, and the LangGraph that this makes of a case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from coordkit.cases.base import Case, Evidence, Step
from coordkit.environment import Environment
from coordkit.layers import LAYERS
from coordkit.layers.context import DirectTools, ToolBox, naive_dump, retrieve
from coordkit.layers.execution import (
    GENERALIST,
    ask,
    generalist_instruction,
    generalist_schema,
    retry_policy,
)
from coordkit.layers.human import as_verdict, reason_to_ask
from coordkit.layers.planning import DONE, choose_next, make_plan
from coordkit.layers.state import (
    RunState,
    ask_again,
    deliver,
    event,
    idempotency_key,
    known,
    latest,
    merge,
)
from coordkit.layers.verification import verify, verify_all
from coordkit.prompt import Request, read_records, write_prompt


@dataclass(frozen=True)
class Stack:
    """Which layers are on, and their settings.

    Args:
        layers: any subset of the six.
        dump_characters: context off: how much of a naive dump goes into the prompt.
        retrieved: context on, execution off: records and documents retrieved for the one prompt.
        hop_budget: planning off: steps the model may choose before the run is stopped.
        deliveries: execution on: times one request is sent before a transport fault is final.
        retry_wait: seconds before the first such retry (a simulated model needs none).
        retries: verification on: answers asked again after a rejection before the task is held.
        confidence_floor: human on: reported confidence below which a person is asked.

    Raises:
        ValueError: if a layer is unknown.
    """

    layers: frozenset[str] = frozenset()
    dump_characters: int = 6000
    retrieved: int = 12
    hop_budget: int = 40
    deliveries: int = 3
    retry_wait: float = 0.0
    retries: int = 2
    confidence_floor: float = 0.3

    def __post_init__(self) -> None:
        if unknown := set(self.layers) - set(LAYERS):
            raise ValueError(
                f"unknown layers: {', '.join(sorted(unknown))}; choose from {', '.join(LAYERS)}"
            )

    @classmethod
    def of(cls, *layers: str, **settings: Any) -> Stack:
        """A stack with exactly these layers on."""
        return cls(frozenset(layers), **settings)

    @classmethod
    def rung(cls, k: int, **settings: Any) -> Stack:
        """Rung k of the ladder: layers 1 to k on; rung 0 is a bare model."""
        return cls(frozenset(LAYERS[:k]), **settings)

    def without(self, layer: str) -> Stack:
        """This stack with one layer knocked out."""
        return replace(self, layers=self.layers - {layer})

    def has(self, layer: str) -> bool:
        """Whether a layer is on."""
        return layer in self.layers

    @property
    def acts_as(self) -> Stack:
        """The smallest stack that makes the same graph: a lone prompt leaves nothing to plan."""
        return self if self.has("execution") else self.without("planning")

    @property
    def label(self) -> str:
        """The layers in order, joined with ``+``; ``none`` for a bare model."""
        return "+".join(layer for layer in LAYERS if layer in self.layers) or "none"


@dataclass
class Workplace:
    """What the nodes of one compiled graph work with.

    Args:
        case, model, stack: what is being run.
        environment: the database behind the tools.
        toolbox: the look-up tools; default: called directly.
        retriever: replaces the full-text index of the context layer.
        plan: the order of the steps; planning on asks the model for it.
    """

    case: Case
    model: BaseChatModel
    stack: Stack
    environment: Environment
    toolbox: ToolBox | None = None
    retriever: BaseRetriever | None = None
    plan: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.toolbox = self.toolbox or DirectTools(self.case.tools(self.environment))
        if self.stack.has("planning") and self.stack.has("execution"):
            self.plan = self.plan or make_plan(self.case, self.model)
        off = not self.on("context")
        self.dump = naive_dump(self.environment, self.stack.dump_characters) if off else ""

    def on(self, layer: str) -> bool:
        """Whether a layer is on."""
        return self.stack.has(layer)

    @property
    def last_step(self) -> str:
        """The step whose answer is acted on."""
        return self.case.steps[-1].name

    def request(self, state: RunState, step: str, attempt: int, runtime: Runtime[Any]) -> Request:
        """The id of one request."""
        info = runtime.execution_info
        delivery = info.node_attempt if info else 1
        task = f"{self.case.name}/{state['task']['id']}"
        return Request(task, step, state["trial"], attempt, delivery)


Node = Callable[..., RunState]


def start(at: Workplace, state: RunState) -> RunState:
    """Look the task up in the ledger; gather what a single prompt will be shown."""
    task, trial = state["task"], trial_id(state)
    key = idempotency_key(task, at.on("state"))
    if key and at.environment.was_processed(trial, key):
        note = event("state", "the ledger already holds this task's key: nothing to do")
        return {"status": "done", "problem": "already processed", "log": note}
    update: RunState = {"status": "running", "records": at.dump}
    if at.on("context") and not at.on("execution"):
        text = " ".join(str(value) for value in task["fields"].values())
        update["records"] = retrieve(at.environment, text, at.stack.retrieved, at.retriever)
    return update


def agent(at: Workplace, step: Step, state: RunState, runtime: Runtime[Any]) -> RunState:
    """One agent does one step: a specialist with its own tools, or the generalist all at once.

    Without verification its draft is accepted as it is.
    """
    shared = at.on("state")
    answers = known(state, step, shared)
    missing = [name for name in step.needs if name not in answers]
    if missing and not shared:
        return ask_again(state, step, missing[0])
    attempt = state.get("attempts", {}).get(step.name, 0) + 1
    messages = write_prompt(
        step.instruction,
        at.request(state, step.name, attempt, runtime),
        task=state["task"]["fields"] if step.reads_task else None,
        answers=answers,
        records=state["records"],
        critique=state.get("critique", ""),
    )
    tools = step.tools if at.on("context") else ()
    turn = ask(at.model, messages, step.schema, tools, at.toolbox if tools else None)
    seen = [*turn.seen, *(source for source, _ in read_records(state["records"]))]
    draft: dict[str, Any] = {"step": step.name, "answer": turn.answer, "problem": turn.problem}
    draft |= {"seen": seen, "inputs": answers, "attempt": attempt}
    update: RunState = {"draft": draft, "attempts": {step.name: attempt}, "goto": ""}
    if at.on("verification"):
        return update
    if turn.answer is None:
        return {**update, "status": "crashed", "problem": turn.problem}
    return {**update, **_accepted(at, state, draft)}


def _accepted(at: Workplace, state: RunState, draft: dict[str, Any]) -> RunState:
    if draft["step"] == GENERALIST:
        return {"draft": {}, "answers": draft["answer"], "inbox": draft["answer"]}
    return deliver(state, draft["step"], draft["answer"], at.on("state"))


def check(at: Workplace, state: RunState) -> RunState:
    """Verification on: accept the draft, send it back with the critique, or hold the task."""
    draft, fields = state["draft"], state["task"]["fields"]
    seen = frozenset(draft["seen"])
    evidence = Evidence(fields, draft["inputs"], seen, at.environment)
    if draft["step"] == GENERALIST and draft["answer"] is not None:
        names = [step.name for step in at.case.steps]
        problems = verify_all(at.case, draft["answer"], evidence, names)
    else:
        step_checks = at.case.checks().get(draft["step"], ())
        problems = verify(draft["answer"], step_checks, evidence, draft["problem"])
    if not problems:
        return _accepted(at, state, draft)
    rejections, critique = state.get("rejections", 0) + 1, "; ".join(problems)
    last = rejections > at.stack.retries
    note = event(
        "verification",
        f"{'holds the task' if last else 'sends back'}: {critique}",
        step=draft["step"],
        attempt=draft["attempt"],
        rejected="held" if last else "again",
    )
    if last:
        return {"status": "held", "problem": critique, "rejections": rejections, "log": note}
    update: RunState = {"rejections": rejections, "critique": critique, "log": note}
    return {**update, "goto": draft["step"]}


def router(at: Workplace, state: RunState, runtime: Runtime[Any]) -> RunState:
    """Planning off: the model chooses the next step, within the hop budget."""
    hops = state.get("hops", 0) + 1
    if hops > at.stack.hop_budget:
        return {"status": "out_of_budget", "problem": f"more than {at.stack.hop_budget} hops"}
    request = at.request(state, "router", hops, runtime)
    choice = choose_next(at.case, at.model, request, latest(state, at.on("state")))
    if choice is None:
        return {"hops": hops, "status": "crashed", "problem": "the router's output is garbled"}
    return {"hops": hops, "goto": choice, "log": event("planning", f"router: {choice}")}


def approve(at: Workplace, state: RunState) -> RunState:
    """Human on: ask a person where one is needed. No side effects here: interrupts re-run it."""
    answers = latest(state, at.on("state"))
    proposal = answers.get(at.last_step)
    reports = [a["confidence"] for a in answers.values()]
    rows = at.case.actions(proposal) if proposal else []
    reason = reason_to_ask(
        at.case,
        state["problem"] if state["status"] == "held" else "",
        proposal,
        min(reports, default=1.0),
        at.stack.confidence_floor,
        at.case.needs_approval(rows, at.environment),
    )
    if not reason:
        return {"verdict": {"decision": "approve", "reviewer": "house rules", "reason": ""}}
    if state["status"] == "held":
        proposal = None
    verdict = as_verdict(interrupt({"reason": reason, "proposal": proposal}))
    told = {"decision": verdict.decision, "reviewer": verdict.reviewer, "reason": reason}
    log = event("human", f"{verdict.decision} ({reason})")
    update: RunState = {"verdict": told, "log": log}
    final = verdict.answer if verdict.decision == "edit" else proposal
    if verdict.decision == "reject" or final is None:
        return {**update, "status": "rejected", "problem": f"rejected after {reason}"}
    return {**update, "status": "running", "problem": "", "final": final}


def act(at: Workplace, state: RunState) -> RunState:
    """Carry the last answer out in the environment: the only node with side effects."""
    trial, answers = trial_id(state), latest(state, at.on("state"))
    answer = state.get("final", answers.get(at.last_step))
    if answer is None:
        return {"status": "done", "problem": "no answer to act on"}
    verdict = state.get("verdict")
    approval = (verdict["reviewer"], verdict["decision"]) if verdict else None
    key = idempotency_key(state["task"], at.on("state"))
    written = at.environment.write(trial, at.case.actions(answer), key, approval)
    return {"status": "done", "problem": "" if written else "already processed"}


def trial_id(state: RunState) -> str:
    """The name under which the environment keeps a trial's doings."""
    return f"{state['task']['id']}/trial-{state['trial']}"


def build(
    at: Workplace, checkpointer: BaseCheckpointSaver[Any] | None = None
) -> CompiledStateGraph[Any]:
    """Compile the graph that a stack makes of a case.

    Args:
        at: case, model, stack and environment.
        checkpointer: where the state is kept; needed by the human layer's interrupts.
    """
    graph: StateGraph[Any] = StateGraph(RunState)
    agents, final = _agents(at), "approve" if at.on("human") else "act"
    checked = ["verify"] if at.on("verification") else []
    destinations = (*(name for name, _ in agents), *checked, final, END)
    route = _routing(at, final)
    retries = retry_policy(at.stack.deliveries, at.stack.retry_wait) if at.on("execution") else None
    graph.add_edge(START, "start")
    graph.add_node("start", _then(partial(start, at), route), destinations=destinations)
    for name, node in agents:
        graph.add_node(name, _then(node, route), destinations=destinations, retry_policy=retries)
    if checked:
        graph.add_node("verify", _then(partial(check, at), route), destinations=destinations)
    if at.on("human"):
        graph.add_node("approve", partial(approve, at))
        graph.add_conditional_edges("approve", _after_approval, ["act", END])
    graph.add_node("act", partial(act, at))
    graph.add_edge("act", END)
    return graph.compile(checkpointer=checkpointer)


def _then(node: Node, route: Callable[[RunState], str]) -> Callable[..., Command[str]]:
    """A node that also says where its update leads.

    For a conditional edge LangGraph would rebuild the whole state to read it, after every node.
    """

    @wraps(node)
    def and_go(state: RunState, **given: Any) -> Command[str]:
        update = node(state, **given)
        return Command(update=update, goto=route(_updated(state, update)))

    return and_go


def _updated(state: RunState, update: RunState) -> RunState:
    """What LangGraph's reducers will make of an update, as far as a route depends on it."""
    after: RunState = {**state, **update}
    if "answers" in update:
        after["answers"] = merge(state.get("answers", {}), update["answers"])
    return after


def _agents(at: Workplace) -> list[tuple[str, Node]]:
    """The agents by name: one per step, led by a router without a plan; or one for all steps."""
    if not at.on("execution"):
        schema: Any = generalist_schema(at.case.steps)
        instruction = generalist_instruction(at.case.steps)
        everything = Step(GENERALIST, schema, instruction, reads_task=True)
        return [(GENERALIST, partial(agent, at, everything))]
    agents: list[tuple[str, Node]] = [(s.name, partial(agent, at, s)) for s in at.case.steps]
    return agents if at.on("planning") else [*agents, ("router", partial(router, at))]


def _after_approval(state: RunState) -> str:
    return "act" if state["status"] == "running" else END


def _routing(at: Workplace, final: str) -> Callable[[RunState], str]:
    """The rule behind every branch: from a state to the next node; after the last answer `final`.

    The first line that holds decides.
    """

    def route(state: RunState) -> str:
        if state["status"] == "held" and at.on("human"):
            return "approve"
        if state["status"] != "running":
            return END
        if goto := state.get("goto"):  # said by the router, a check, or a question back
            return final if goto == DONE else goto
        if at.on("verification") and state.get("draft"):  # an answer counts once it is checked
            return "verify"
        if not at.on("execution"):  # one agent, asked once
            return final if state.get("answers") or state.get("inbox") else GENERALIST
        if not at.on("planning"):
            return "router"
        done = latest(state, at.on("state"))
        answered = (i for i, step in enumerate(at.plan, 1) if step in done)
        return [*at.plan, final][max(answered, default=0)]  # the plan's edge from the last answer

    return route
