"""Context: a bounded dump, retrieval with source ids, the same tools behind a real MCP server."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from mcp.shared.memory import create_connected_server_and_client_session

from coordkit.environment import Environment
from coordkit.experiment import Recorder, failure_of, fault_book
from coordkit.faults import Simulation
from coordkit.layers.context import (
    DirectTools,
    McpTools,
    mcp_server,
    mcp_tools,
    naive_dump,
    retrieve,
)
from coordkit.prompt import Prompt, read_records, write_record
from coordkit.stack import trial_id

SERVER = """
import sys
from coordkit.cases import load_case
from coordkit.layers.context import mcp_server

case = load_case("billing", tasks=300)
transport, port = sys.argv[1], int(sys.argv[2])
mcp_server(case, case.environment(), port).run(transport)
"""


@pytest.fixture(scope="module")
def environment(billing, environment_of) -> Environment:
    return environment_of(billing)


# --- the dump -------------------------------------------------------------------------------------


@pytest.mark.parametrize("characters", [0, 10, 500, 6000, 10**8])
def test_a_dump_stays_within_its_bound_and_holds_whole_records(environment, characters) -> None:
    dump = naive_dump(environment, characters)
    assert len(dump) <= characters
    everything = naive_dump(environment, 10**8)
    assert everything.startswith(dump)
    assert all(environment.document(source) for source, _ in read_records(dump))


def test_a_dump_is_the_first_that_fits(environment) -> None:
    dump = naive_dump(environment, 6000)
    following = naive_dump(environment, 10**8)[len(dump) + 1 :].split("\n")[0]
    assert len(dump) + 1 + len(following) + 1 > 6000


def test_a_dump_with_room_for_everything_holds_everything(billing, environment) -> None:
    sources = {source for source, _ in read_records(naive_dump(environment, 10**8))}
    rows = environment.rows("invoices")
    assert {f"invoices/{row['invoice_id']}" for row in rows} <= sources
    assert "terms/house" in sources


# --- retrieval ------------------------------------------------------------------------------------


class Shelf(BaseRetriever):
    """A retriever that returns its documents, whatever is asked."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.documents


def test_the_full_text_index_returns_records_with_their_ids(billing, environment) -> None:
    named = [t for t in billing.tasks if t.labels["settles"]][:50]
    found = 0
    for task in named:
        text = " ".join(task.fields.values())
        sources = [source for source, _ in read_records(retrieve(environment, text, 12))]
        assert 0 < len(sources) <= 12
        assert all(environment.document(source) for source in sources)
        if task.labels["settles"][0] in task.fields["remittance_text"]:
            assert f"invoices/{task.labels['settles'][0]}" in sources
            found += 1
    assert found > 25  # otherwise the loop has shown nothing


def test_a_query_without_words_finds_nothing(environment) -> None:
    assert retrieve(environment, " - ", 5) == ""


def test_a_retriever_takes_the_place_of_the_index(environment) -> None:
    shelf = Shelf(
        documents=[Document(f"text {i}", metadata={"source": f"notes/{i}"}) for i in range(9)]
    )
    text = retrieve(environment, "anything", 3, shelf)
    assert read_records(text) == (
        ("notes/0", "text 0"),
        ("notes/1", "text 1"),
        ("notes/2", "text 2"),
    )


@pytest.mark.parametrize(
    "metadata", [{}, {"source": "house.md"}, {"source": "/mine/a.md"}, {"source": "a b"}]
)
def test_a_document_of_any_source_can_be_cited(environment, metadata) -> None:
    shelf = Shelf(documents=[Document("text", metadata=metadata)])
    (record,) = read_records(retrieve(environment, "anything", 3, shelf))
    assert record[1] == "text"
    assert str(metadata.get("source", "")) in record[0]


def test_a_document_may_begin_with_a_brace(environment) -> None:
    shelf = Shelf(documents=[Document("{name}, we thank you", metadata={"source": "notes/1"})])
    text = retrieve(environment, "anything", 3, shelf)
    assert read_records(text) == (("notes/1", "{name}, we thank you"),)


def test_a_vector_store_is_a_retriever(environment) -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=64))
    ids = [f"invoices/{row['invoice_id']}" for row in environment.rows("invoices")[:40]]
    store.add_documents([Document(f"body of {i}", metadata={"source": i}) for i in ids])
    retriever = store.as_retriever(search_kwargs={"k": 5})
    found = read_records(retrieve(environment, f"body of {ids[7]}", 3, retriever))
    assert found[0] == (ids[7], f"body of {ids[7]}")  # the same text has the same vector
    assert len({source for source, _ in found}) == 3 and {s for s, _ in found} < set(ids)


def test_the_retriever_of_a_workplace_reaches_the_prompt(billing, bench) -> None:
    shelf = Shelf(documents=[Document("as agreed", metadata={"source": "notes/1"})])
    recorder = Recorder()
    bench(billing, "context", retriever=shelf).run(billing.tasks[0], recorder=recorder)
    assert Prompt.read(recorder.prompts[0]).records == {"notes/1": "as agreed"}


def test_without_the_layer_the_prompt_holds_the_dump(billing, bench, environment) -> None:
    recorder = Recorder()
    bench(billing).run(billing.tasks[0], recorder=recorder)
    dump = naive_dump(environment, 6000)
    assert Prompt.read(recorder.prompts[0]).records == dict(read_records(dump))


# --- tools, called directly and through MCP -------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture(scope="module")
def server_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mcp") / "server.py"
    path.write_text(SERVER, encoding="utf-8")
    return path


@contextmanager
def _http_server(script: Path) -> Iterator[str]:
    port = _free_port()
    command = [sys.executable, str(script), "streamable-http", str(port)]
    with subprocess.Popen(command, env=_environ()) as server:
        try:
            for _ in range(600):
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None, "the server has stopped"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.kill()


@pytest.fixture(scope="module", params=["memory", "stdio", "http"])
def served(request, billing, environment, server_script) -> Iterator[Any]:
    """The billing tools through MCP, and how they are reached."""
    if request.param == "memory":
        with mcp_tools(billing, environment) as tools:
            yield SimpleNamespace(tools=tools, transport="memory")
    elif request.param == "stdio":
        start = {
            "command": sys.executable,
            "args": [str(server_script), "stdio", "0"],
            "env": _environ(),
        }
        with mcp_tools(billing, environment, "stdio", start) as tools:
            yield SimpleNamespace(tools=tools, transport="stdio")
    else:
        with (
            _http_server(server_script) as url,
            mcp_tools(billing, environment, "http", {"url": url}) as tools,
        ):
            yield SimpleNamespace(tools=tools, transport="http")


@pytest.fixture
def direct(billing, environment) -> DirectTools:
    return DirectTools(billing.tools(environment))


def test_mcp_lists_the_same_tools(served, direct) -> None:
    assert served.tools.schemas == direct.schemas
    assert set(direct.schemas) == set(
        "get_invoices search_customers list_open_invoices get_terms".split()
    )


def test_mcp_returns_the_same_records(served, direct, environment) -> None:
    rows = environment.rows("invoices")
    customer = rows[3]["customer_id"]
    for name, arguments in [
        ("get_invoices", {"invoice_ids": [rows[0]["invoice_id"], rows[9]["invoice_id"], "INV-0"]}),
        ("get_invoices", {"invoice_ids": []}),
        ("search_customers", {"name": rows[3]["customer_name"]}),
        ("list_open_invoices", {"customer_id": customer}),
        ("get_terms", {"customer_id": customer}),
        ("get_terms", {"customer_id": "nobody"}),
    ]:
        assert served.tools.call(name, arguments) == direct.call(name, arguments), name
    assert "INV-0" in direct.call("get_invoices", {"invoice_ids": ["INV-0"]})


@pytest.mark.parametrize(
    ("name", "arguments", "mentions"),
    [
        ("no_such_tool", {}, "no_such_tool"),
        ("get_terms", {}, "customer_id"),
        ("get_terms", {"name": "ACME"}, "customer_id"),
        ("get_terms", {"customer_id": 5}, "customer_id"),
        ("get_invoices", {"invoice_ids": "INV-20001"}, "invoice_ids"),  # not a list of letters
        ("get_terms", {"customer_id": "C-0001", "verbose": True}, "verbose"),  # no such argument
    ],
)
def test_a_wrong_call_is_answered_with_an_error(served, direct, name, arguments, mentions) -> None:
    for tools in (direct, served.tools):
        answer = tools.call(name, arguments)
        assert answer.startswith("error: ") and name in answer and mentions in answer
        assert read_records(answer) == ()


def test_an_argument_too_many_is_answered_in_the_same_words(served, direct) -> None:
    call = ("get_terms", {"customer_id": "C-0001", "verbose": True})
    assert served.tools.call(*call) == direct.call(*call)


def test_a_task_ends_the_same_through_mcp(served, billing, bench) -> None:
    tasks = billing.tasks[:20] if served.transport == "memory" else billing.tasks[3:6]
    stack = ("context", "planning", "execution", "state")
    simulation = Simulation(reliability=0.7)

    def results(at: Any) -> list[Any]:
        rows = []
        for task in tasks:
            recorder = Recorder()
            state = at.run(task, recorder=recorder)
            failure = failure_of(at, task, state)
            faults = fault_book(recorder, state, bool(failure))
            rows.append((at.at.environment.actions(trial_id(state)), failure, faults))
        return rows

    through_mcp = results(bench(billing, *stack, simulation=simulation, toolbox=served.tools))
    assert through_mcp == results(bench(billing, *stack, simulation=simulation))
    assert any(faults for _, _, faults in through_mcp)
    assert any(rows for rows, _, _ in through_mcp)


async def _read(session: Any, *sources: str) -> list[str]:
    """The template of the resources, then the text of each source."""
    templates = (await session.list_resource_templates()).resourceTemplates
    found = [await session.read_resource(f"document://{source}") for source in sources]
    return [*(t.uriTemplate for t in templates), *(f.contents[0].text for f in found)]


def test_documents_and_records_are_resources(served, environment) -> None:
    first = environment.rows("invoices")[0]
    source, fields = environment.as_record("invoices", first)
    reading = _read(served.tools._session, "terms/house", source)
    found = asyncio.run_coroutine_threadsafe(reading, served.tools._loop).result(60)
    house = environment.document("terms/house")
    assert found == ["document://{kind}/{name}", house, write_record(source, fields)]
    assert house


def test_a_lost_session_is_not_passed_off_as_an_answer(billing, environment) -> None:
    @asynccontextmanager
    async def breaking() -> Any:
        server = mcp_server(billing, environment)
        async with create_connected_server_and_client_session(server) as session:

            async def call_tool(*args: Any) -> Any:
                raise ConnectionError("the server is gone")

            session.call_tool = call_tool
            yield session

    tools = McpTools(breaking)
    try:
        with pytest.raises(ConnectionError, match="the server is gone"):
            tools.call("get_terms", {"customer_id": "C-0001"})
    finally:
        tools.close()


def test_a_server_that_cannot_start_is_reported_at_once(billing, environment) -> None:
    before = time.monotonic()
    start = {"command": "no-such-command-here", "args": []}
    with (
        pytest.raises(FileNotFoundError),
        mcp_tools(billing, environment, "stdio", start),
    ):
        pass
    assert time.monotonic() - before < 30
