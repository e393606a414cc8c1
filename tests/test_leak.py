"""The model sees only its prompt: no label, no table, no grader reaches it by another way."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from langchain_core.messages import AIMessage, BaseMessage

from coordkit.cases.base import Case, Task
from coordkit.cases.billing import Billing
from coordkit.cases.support import Support
from coordkit.data.sample import SAMPLES
from coordkit.data.tables import BillingTables, SupportTables, read_billing, read_support
from coordkit.environment import Environment
from coordkit.experiment import Bench, Recorder, simulated_model
from coordkit.faults import Simulation
from coordkit.layers.context import DirectTools
from coordkit.layers.human import SimulatedReviewer
from coordkit.prompt import Answer, Prompt
from coordkit.simulated import SimulatedChatModel
from coordkit.stack import Stack, Workplace

LABELS = {
    "billing": ("payments", ("settles_invoice", "kind")),
    "support": ("tickets", ("intents", "order_id", "refund_amount", "invoice_line")),
}
SLIPPERY = Simulation(reliability=0.85)  # more slips than usual, so that these are compared too
FAULTLESS = Simulation(reliability=1.0)


@pytest.fixture(scope="module")
def tables() -> dict[str, BillingTables | SupportTables]:
    return {
        "billing": read_billing(SAMPLES / "billing"),
        "support": read_support(SAMPLES / "support"),
    }


def case_of(tables: BillingTables | SupportTables) -> Case:
    return Billing(tables) if isinstance(tables, BillingTables) else Support(tables)


def with_noise(name: str, tables: Any) -> Any:
    """The same tables with every label column shuffled by itself: valid values, no meaning."""
    attribute, columns = LABELS[name]
    frame, rng = getattr(tables, attribute).copy(), np.random.default_rng(7)
    for column in columns:
        frame[column] = rng.permutation(frame[column].to_numpy())
    return replace(tables, **{attribute: frame})


@dataclass(frozen=True)
class Side:
    """A case with its environment, and the model that was made for it and for nothing else."""

    case: Case
    model: SimulatedChatModel
    environment: Environment

    def faultless(self) -> Side:
        """The same with a model that never slips."""
        return replace(self, model=self.model.model_copy(update={"simulation": FAULTLESS}))


def side(tables: BillingTables | SupportTables) -> Side:
    case = case_of(tables)
    return Side(case, simulated_model(case, SLIPPERY), case.environment())


@pytest.fixture(scope="module")
def true(tables: Any) -> dict[str, Side]:
    return {name: side(tables[name]) for name in LABELS}


@pytest.fixture(scope="module")
def noisy(tables: Any) -> dict[str, Side]:
    return {name: side(with_noise(name, tables[name])) for name in LABELS}


def visible(message: BaseMessage) -> dict[str, Any]:
    """All of a reply but the run's own random id."""
    return {k: v for k, v in message.model_dump().items() if k != "id"}


def replies(
    side: Side,
    stack: Stack,
    tasks: Sequence[Task],
    toolbox: Callable[[DirectTools], Any] = lambda tools: tools,
) -> list[list[Any]]:
    """Every turn of every task: the prompt, and the reply or the error it got."""
    tools = toolbox(DirectTools(side.case.tools(side.environment)))
    at = Workplace(side.case, side.model, stack, side.environment, tools)
    bench, found = Bench(at, SimulatedReviewer()), []
    for task in tasks:
        recorder = Recorder()
        bench.run(task, 0, recorder)
        found.append(
            [
                (
                    [m.text for m in recorder.prompts[i]],
                    visible(m) if isinstance(m, BaseMessage) else str(m),
                )
                for i, m in recorder.turns
            ]
        )
    return found


def sixty(case: Case) -> list[Task]:
    """Tasks spread over the whole feed."""
    return list(case.tasks[:: len(case.tasks) // 60][:60])


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rung", "tasks"), [(0, 60), (3, 60), (5, 60), (6, 20)])
@pytest.mark.parametrize("name", LABELS)
def test_noise_for_labels_changes_no_reply(
    name: str, rung: int, tasks: int, true: Any, noisy: Any
) -> None:
    """At rung 6 too, where a reviewer who knows the labels works beside the model."""
    sides = [true[name], noisy[name]]
    pairs = zip(*(sixty(side.case) for side in sides), strict=True)
    assert sum(a.labels != b.labels for a, b in pairs) > 50
    before, after = (replies(side, Stack.rung(rung), sixty(side.case)[:tasks]) for side in sides)
    assert before == after
    turns = [reply for task in before for _, reply in task if isinstance(reply, dict)]
    assert any(reply["response_metadata"]["faults"] for reply in turns)
    assert len(turns) > 0.9 * tasks


def peek(case: Case, skill: Callable[[Prompt], Any], prompt: Prompt) -> Any:
    """What a skill would do that is allowed to look at the labels."""
    answer = skill(prompt)
    if isinstance(answer, dict) and "kind" in answer and prompt.request:
        ids = {task.id: task for task in case.tasks}
        answer["kind"] = ids[prompt.request.task.split("/")[1]].labels["kind"]
    return answer


def leaky(side: Side) -> Side:
    skills = dict(side.model.skills)
    skills["Explain"] = partial(peek, side.case, skills["Explain"])
    return replace(side, model=side.model.model_copy(update={"skills": skills}))


def test_a_model_that_peeked_at_the_labels_would_be_caught(true: Any, noisy: Any) -> None:
    runs = [
        replies(leaky(side), Stack.rung(3), sixty(side.case)[:20])
        for side in (true["billing"], noisy["billing"])
    ]
    assert runs[0] != runs[1]


@pytest.mark.parametrize("name", LABELS)
def test_the_environment_holds_no_label(name: str, true: Any) -> None:
    case, environment = true[name].case, true[name].environment
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    found = {
        column[1]
        for (table,) in environment.connection.execute(query).fetchall()
        for column in environment.connection.execute(f'PRAGMA table_info("{table}")')
    }
    labels = set(LABELS[name][1]) - {"order_id"}  # also the key of the orders
    assert found
    assert not found & labels
    texts = [row["body"] for row in environment.connection.execute("SELECT body FROM texts")]
    assert not any(task.key in text for task in case.tasks[:20] for text in texts)


# --- what is not in the prompt -------------------------------------------------------------------


class Censored:
    """Tools whose results lack every record and document of one kind."""

    def __init__(self, tools: DirectTools, kind: str) -> None:
        self.schemas, self._tools, self._kind = tools.schemas, tools, kind

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        result = self._tools.call(name, arguments)
        blocks = result.split("\n[")
        kept = [b for b in blocks if not b.lstrip("[").startswith(f"{self._kind}/")]
        return "\n[".join(kept)


def answers(found: list[list[Any]], schema: str) -> list[tuple[Answer, list[str]]]:
    """Each task's last answer to one schema, with what the model says it guessed."""
    last = []
    for task in found:
        calls = [
            (call["args"], reply["response_metadata"]["guessed"])
            for _, reply in task
            for call in reply["tool_calls"]
            if call["name"] == schema
        ]
        last.append(calls[-1])
    return last


def without(answer: Answer, *names: str) -> Answer:
    return {k: v for k, v in answer.items() if k not in ("sources", "confidence", *names)}


def with_and_without(
    side: Side, tasks: Sequence[Task], kind: str
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Replies of a model that never slips, first to whole prompts, then to censored ones."""
    stack = Stack.rung(3)
    seen = replies(side.faultless(), stack, tasks)
    return seen, replies(side.faultless(), stack, tasks, lambda t: Censored(t, kind))


def test_without_the_terms_the_answers_that_need_them_go_wrong_and_are_guesses(true: Any) -> None:
    case = true["billing"].case
    needy = ("early_discount", "bank_fee", "short_payment", "over_payment")
    tasks = [t for t in case.tasks if t.labels["kind"] in needy][:30]
    tasks += [t for t in case.tasks if t.labels["kind"] == "exact"][:10]
    seen, blind = with_and_without(true["billing"], tasks, "terms")
    wrong = 0
    for task, (with_terms, known), (guess, guessed) in zip(
        tasks, answers(seen, "Explain"), answers(blind, "Explain"), strict=True
    ):
        assert known == []
        assert with_terms["kind"] == task.labels["kind"]
        assert "terms" in guessed
        assert not any(source.startswith("terms/") for source in guess["sources"])
        wrong += without(guess) != without(with_terms)
        if task.labels["kind"] == "exact":
            assert without(guess) == without(with_terms)  # it needs no terms
    assert wrong > 5
    assert answers(seen, "Extract") == answers(blind, "Extract")


def test_without_the_invoices_no_payment_is_matched(true: Any) -> None:
    case = true["billing"].case
    tasks = [t for t in sixty(case) if t.labels["settles"]][:20]
    seen, blind = with_and_without(true["billing"], tasks, "invoices")
    for task, (match, _), (lost, _) in zip(
        tasks, answers(seen, "Match"), answers(blind, "Match"), strict=True
    ):
        assert sorted(match["invoices"]) == sorted(task.labels["settles"])
        assert lost["invoices"] == []


def test_with_other_terms_in_the_prompt_the_answers_are_others(tables: Any, true: Any) -> None:
    """What is read is what decides: the same records, the opposite agreement."""
    before = tables["billing"]
    swapped = {
        source: text.replace("kept on account", "REFUNDED")
        .replace("Over-payments: refunded", "Over-payments: kept on account")
        .replace("REFUNDED", "refunded")
        for source, text in before.documents.items()
    }
    surplus = []
    for documents in (before.documents, swapped):
        case = case_of(replace(before, documents=documents))
        tasks = [t for t in case.tasks if t.labels["kind"] == "over_payment"][:20]
        side = Side(case, true["billing"].model, case.environment())
        found = replies(side.faultless(), Stack.rung(3), tasks)
        surplus.append([answer["surplus_to"] for answer, _ in answers(found, "Explain")])
    opposite = {"refund": "on_account", "on_account": "refund"}
    assert surplus[1] == [opposite[where] for where in surplus[0]]


def test_without_the_refund_policy_its_days_are_guessed(tables: Any, true: Any) -> None:
    """Of a house whose policy is not the usual one."""
    documents = dict(tables["support"].documents)
    documents["policies/refunds"] = documents["policies/refunds"].replace("30 days", "14 days")
    case = case_of(replace(tables["support"], documents=documents))
    tasks = [t for t in case.tasks if t.labels["intents"] == ["refund"]][:15]
    side = Side(case, true["support"].model, case.environment())
    seen, blind = with_and_without(side, tasks, "policies")
    checked = 0
    for (read, known), (guess, guessed), (ticket, _) in zip(
        answers(seen, "Billing"),
        answers(blind, "Billing"),
        answers(seen, "Classify"),
        strict=True,
    ):
        if "refund" in ticket["intents"]:
            checked += 1
            assert (read["refund_days"], known) == (14, [])
            assert (guess["refund_days"], guessed) == (30, ["policy"])
    assert checked > 10


def test_without_the_orders_none_is_found_and_it_says_so(true: Any) -> None:
    case = true["support"].case
    about = [t for t in case.tasks if t.labels["intents"] == ["order_status"]]
    tasks = [t for t in about if "1" not in t.fields["message"] and t.labels["order_id"]][:15]
    seen, blind = with_and_without(true["support"], tasks, "orders")
    checked = 0
    for task, (read, known), (guess, guessed), (ticket, _) in zip(
        tasks,
        answers(seen, "Order"),
        answers(blind, "Order"),
        answers(seen, "Classify"),
        strict=True,
    ):
        if ticket["intents"] == ["order_status"] and not ticket["order_number"]:
            checked += 1
            assert (read["order_id"], known) == (task.labels["order_id"], [])
            assert (guess["order_id"], guessed) == ("", ["orders"])
    assert checked > 7


# --- what the model object holds -----------------------------------------------------------------

FORBIDDEN = (
    Case,
    Task,
    Environment,
    Workplace,
    Bench,
    SimulatedReviewer,
    pd.DataFrame,
    pd.Series,
)
PLAIN = (str, bytes, int, float, complex, bool, type(None), types.ModuleType)


def parts_of(thing: Any) -> Iterator[Any]:
    """What Python code that holds a thing can get at from it; not the code's own modules."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif isinstance(thing, types.MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, types.FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or ())
        yield from thing.__defaults__ or ()
        yield from (thing.__kwdefaults__ or {}).values()
        if thing.__module__.startswith(("coordkit", "test_")):
            yield from globals_used(thing.__code__, thing.__globals__)
    elif isinstance(thing, partial):
        yield from (thing.func, thing.args, thing.keywords)
    elif isinstance(thing, np.ndarray) and thing.dtype == object:
        yield from thing.ravel()
    if isinstance(thing, type):
        if thing.__module__.startswith(("coordkit", "test_")):
            yield from vars(thing).values()
        return
    yield from getattr(thing, "__dict__", {}).values()
    for slot in (s for c in type(thing).__mro__ for s in getattr(c, "__slots__", ())):
        yield getattr(thing, slot, None)


def globals_used(code: types.CodeType, names: Mapping[str, Any]) -> Iterator[Any]:
    """The module-level names that a function's code mentions, inner functions included."""
    yield from (names[name] for name in code.co_names if name in names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from globals_used(constant, names)


def reachable(thing: Any) -> list[Any]:
    """Everything that can be got at from a thing."""
    found, todo, seen = [], [thing], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        found.append(one)
        if not isinstance(one, PLAIN):
            todo.extend(parts_of(one))
    return found


def held(model: SimulatedChatModel) -> list[Any]:
    return [thing for thing in reachable(model) if isinstance(thing, FORBIDDEN)]


@pytest.mark.parametrize("name", LABELS)
def test_the_model_holds_no_case_table_or_environment(name: str, true: Any) -> None:
    assert held(true[name].model) == []
    assert len(reachable(true[name].model)) > 100  # it did look


@pytest.mark.parametrize("name", LABELS)
def test_the_model_holds_none_of_the_datas_ids_or_words(name: str, tables: Any, true: Any) -> None:
    """The classifier knows example sentences; nobody's ticket, order, invoice or payment."""
    case = true[name].case
    strings = {s for s in reachable(true[name].model) if isinstance(s, str)}
    data = {task.id for task in case.tasks}
    data |= {str(v) for t in case.tasks for v in t.fields.values() if len(str(v)) > 10}
    for attribute in ("invoices", "orders", "payments", "tickets"):
        frame = getattr(tables[name], attribute, None)
        if frame is not None:
            data |= set(frame.iloc[:, 0].astype(str))
    data -= set(getattr(tables[name], "examples", pd.DataFrame({"text": []}))["text"])
    assert len(data) > 2000
    assert not strings & data


@pytest.mark.parametrize(
    "hide",
    [
        lambda case: lambda prompt: {"x": case.name},
        lambda case: partial(peek, case, len),
        lambda case: partial(peek, [{"deep": pd.DataFrame({"x": [1]})}]),
        lambda case: case.reference,
        lambda case: case.tools(case.environment())["get_terms"],
        lambda case: lambda prompt, tasks=case.tasks[:1]: {"x": tasks},
    ],
    ids=["closure", "partial", "frame", "method", "tool", "default"],
)
def test_a_model_that_held_the_data_would_be_caught(hide: Any, true: Any) -> None:
    assert held(SimulatedChatModel(skills={"A": hide(true["billing"].case)}))


def test_a_reply_depends_on_the_messages_alone(true: Any, noisy: Any) -> None:
    """Asked again by hand, by another model, without what the first reply had as metadata."""
    case, environment = true["billing"].case, true["billing"].environment
    tools = DirectTools(case.tools(environment))
    step = case.step("match")
    recorder = Recorder()
    at = Workplace(case, true["billing"].model, Stack.rung(5), environment, tools)
    bench = Bench(at, SimulatedReviewer())
    for task in sixty(case)[:20]:
        bench.run(task, 0, recorder)
    asked = 0
    for i, reply in recorder.turns:
        messages = recorder.prompts[i]
        if "/match/" not in messages[1].text or not isinstance(reply, AIMessage):
            continue
        bare = [
            AIMessage("", tool_calls=m.tool_calls) if isinstance(m, AIMessage) else m
            for m in messages
        ]
        offers = [*(tools.schemas[name] for name in step.tools), step.schema]
        other = noisy["billing"].model.bind_tools(offers)
        assert visible(other.invoke(bare)) == visible(reply)
        asked += 1
    assert asked > 20
