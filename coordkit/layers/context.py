"""Layer 1, context: what the agent is shown of the world.

Off: a naive dump, the first so many characters of everything. On: retrieval for a single prompt,
look-up tools (called directly or through a real MCP server) for specialists; every fact carries
its source id.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from langchain_core.retrievers import BaseRetriever
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError, validate_call

from coordkit.cases.base import Case, Tool
from coordkit.environment import Environment
from coordkit.prompt import write_record

if TYPE_CHECKING:
    from mcp.server.fastmcp import FastMCP

# MCP takes seconds to import, and most runs call their tools directly: its imports stand where it
# is used.


class ToolBox(Protocol):
    """Look-up tools, wherever they run."""

    schemas: dict[str, dict[str, Any]]

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call a tool; a wrong call is answered with an error text, as a server would."""


class DirectTools:
    """Tools called in this process.

    Args:
        tools: name -> typed function with a docstring, returning records.
    """

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self.schemas = {name: convert_to_openai_tool(tool) for name, tool in tools.items()}
        self._tools = {name: validate_call(tool) for name, tool in tools.items()}

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call a tool by name."""
        tool = self._tools.get(name)
        if tool is None:
            return f"error: there is no tool {name}"
        try:
            return tool(**arguments)
        except ValidationError as error:
            first = error.errors()[0]
            return f"error: {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"


def naive_dump(environment: Environment, characters: int) -> str:
    """What fits of everything, tables first: the prompt of an agent without retrieval."""
    lines: list[str] = []
    for (line,) in environment.connection.execute("SELECT body FROM texts ORDER BY rowid"):
        characters -= len(line) + 1
        if characters < 0:
            break
        lines.append(line)
    return "\n".join(lines)


def retrieve(
    environment: Environment, text: str, limit: int, retriever: BaseRetriever | None = None
) -> str:
    """The records and documents nearest to a text, best first, with their source ids.

    Args:
        environment: its full-text index is the default retriever.
        text: the query, usually the task's own text.
        limit: most results to return.
        retriever: any LangChain retriever (``vector_store.as_retriever()``) in place of the
            index; its documents should carry ``metadata["source"]``, which is cited as it is if
            it looks like ``terms/house`` and behind ``documents/`` otherwise.
    """
    if retriever is None:
        return "\n".join(environment.search(text, limit))
    found = retriever.invoke(text)[:limit]
    sources = [str(document.metadata.get("source", i)) for i, document in enumerate(found)]
    return "\n".join(
        write_record(s if re.match(r"[\w.-]+/", s) else f"documents/{s}", document.page_content)
        for s, document in zip(sources, found, strict=True)
    )


# --- the same tools behind MCP ------------------------------------------------------------------


def strict_server(name: str, **options: Any) -> FastMCP:
    """An MCP server that rejects arguments that a tool does not have, as a direct call does.

    FastMCP drops them, so that a model would never hear of its mistake.
    """
    from mcp.server.fastmcp import FastMCP
    from mcp.server.fastmcp.exceptions import ToolError

    class Strict(FastMCP):
        async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
            schemas = {tool.name: tool.inputSchema for tool in await self.list_tools()}
            schema = schemas.get(name, {"properties": arguments})
            unknown = [key for key in arguments if key not in schema["properties"]]
            if unknown and set(schema.get("required", ())) <= set(arguments):
                raise ToolError(f"{unknown[0]}: Unexpected keyword argument")
            return await super().call_tool(name, arguments)

    return Strict(name, **options)


def mcp_server(case: Case, environment: Environment, port: int = 0) -> FastMCP:
    """An MCP server that exposes a case's tools, and its documents as resources.

    Run it with ``server.run("stdio")`` or ``server.run("streamable-http")`` (loopback).
    """
    options: dict[str, Any] = {"port": port} if port else {}
    server = strict_server(
        f"coordkit-{case.name}", log_level="WARNING", host="127.0.0.1", **options
    )
    for tool in case.tools(environment).values():
        server.add_tool(tool, structured_output=False)

    @server.resource("document://{kind}/{name}")
    def document(kind: str, name: str) -> str:
        """A document or record by its source id."""
        return environment.document(f"{kind}/{name}")

    return server


class McpTools:
    """Tools behind an MCP session, callable from ordinary code.

    Args:
        open_session: async context manager that yields an initialised client session.

    The session lives on an event loop of its own thread: one session for all calls.
    """

    def __init__(self, open_session: Callable[[], Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._closing = asyncio.Event()
        ready: Any = self._loop.create_future()
        self._task = asyncio.run_coroutine_threadsafe(self._serve(open_session, ready), self._loop)

        async def wait() -> Any:
            return await ready

        self._session, tools = asyncio.run_coroutine_threadsafe(wait(), self._loop).result(60)
        self.schemas = {tool.name: convert_to_openai_tool(tool) for tool in tools}

    async def _serve(self, open_session: Callable[[], Any], ready: Any) -> None:
        try:
            async with open_session() as session:
                from langchain_mcp_adapters.tools import load_mcp_tools

                ready.set_result((session, await load_mcp_tools(session)))
                await self._closing.wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call a tool through the session and return its text; a lost session raises."""
        if name not in self.schemas:
            return f"error: there is no tool {name}"
        work = self._session.call_tool(name, dict(arguments))
        result = asyncio.run_coroutine_threadsafe(work, self._loop).result(60)
        text = "\n".join(getattr(block, "text", "") for block in result.content)
        return f"error: {name}: {text}" if result.isError else text

    def close(self) -> None:
        """End the session and its thread."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._task.result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def mcp_tools(
    case: Case,
    environment: Environment,
    transport: Literal["memory", "stdio", "http"] = "memory",
    connection: Mapping[str, Any] | None = None,
) -> Iterator[McpTools]:
    """A case's tools through MCP.

    Args:
        case, environment: what the in-memory server exposes.
        transport: ``memory`` runs the server in this process over real MCP messages.
        connection: for ``stdio`` (``{"command", "args"}``) and ``http`` (``{"url"}``).
    """

    @asynccontextmanager
    async def in_memory() -> Any:
        from mcp.shared.memory import create_connected_server_and_client_session

        async with create_connected_server_and_client_session(
            mcp_server(case, environment)
        ) as session:
            yield session

    def remote() -> Any:
        kind = "streamable_http" if transport == "http" else "stdio"
        from langchain_mcp_adapters.client import MultiServerMCPClient

        client = MultiServerMCPClient({case.name: {"transport": kind, **(connection or {})}})  # type: ignore[dict-item]
        return client.session(case.name)

    tools = McpTools(in_memory if transport == "memory" else remote)
    try:
        yield tools
    finally:
        tools.close()
