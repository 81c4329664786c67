"""The agent interface: the application as tools of the Model Context Protocol, over stdio.

Each line that an agent sends is looked at before the protocol's own reader takes it. The SDK reads
a line of any length into memory, and stays silent about one that it cannot read. Here such a line
is answered with an error object of JSON-RPC 2.0, and never kept as a whole.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError
from typing_extensions import Buffer

from vlar.apps.serve.agent_tools import (
    INSTRUCTIONS,
    READS,
    WRITES,
    WRITING,
    Reading,
    Writing,
    named,
)
from vlar.apps.serve.application import Application
from vlar.files.reading import parse_json
from vlar.version import __version__

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

MOST_BYTES = 8 << 20
# What is wrong with an argument, by the kind that the checks of types give it.
_WRONG = {
    "missing": "is missing",
    "string_type": "is not a text",
    "string_too_long": "is too long",
    "too_short": "has too few values",
    "too_long": "has too many values",
    "list_type": "is not a list",
    "dict_type": "is not an object of texts",
    "greater_than_equal": "is below {ge}",
    "less_than_equal": "is above {le}",
    "finite_number": "is not finite",
}
_NOT_A_NUMBER = "is not a number"
_PARSE_ERROR, _INVALID = -32700, -32600


def _server_class() -> Callable[..., MCPServer]:
    """A server that names wrong arguments in words of its own, without those of its library."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    class AgentServer(MCPServer):
        def __init__(self, takes: Mapping[str, Sequence[str]], **settings: Any) -> None:
            super().__init__(**settings)
            self.takes = takes

        async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
            names = self.takes.get(name)
            if names is not None and (odd := [key for key in arguments if key not in names]):
                takes = f"it takes {', '.join(names)}" if names else "it takes none"
                raise ToolError(f"{name}: {odd[0][:80]!a} is not an argument; {takes}")
            try:
                return await super().call_tool(name, arguments, context)
            except ToolError as problem:
                cause = problem.__cause__
                if isinstance(cause, ToolError):  # a message of a tool, without the SDK's prefix
                    raise cause from None
                if not isinstance(cause, ValidationError):
                    raise
                raise ToolError(wrong_arguments(name, cause)) from None

    return AgentServer


def wrong_arguments(tool: str, problem: ValidationError) -> str:
    """One line about the arguments that a tool cannot take."""
    texts: list[str] = []
    for fault in problem.errors(include_url=False, include_input=False)[:3]:
        name = ".".join(str(part) for part in fault["loc"])[:80] or "the arguments"
        kind = str(fault["type"])
        words = _WRONG.get(kind, _NOT_A_NUMBER if kind[:3] in ("int", "flo") else "cannot be used")
        bounds = {"ge": "", "le": "", **fault.get("ctx", {})}
        texts.append(f"{name!a} {words.format_map(bounds)}")
    return f"{tool}: {'; '.join(texts)}; list the tools for what each of them takes"


def agent_server(application: Application, cuts: Path | None = None) -> MCPServer:
    """The server of one application; ``run()`` serves it over stdio.

    Versions of the protocol: 2026-07-28, and 2024-11-05 to 2025-11-25 for clients that begin with a
    handshake.

    Args:
        application: The library.
        cuts: Folder for cut spans; None for tools that only read.
    """
    from mcp.types import ToolAnnotations

    reads, writes = (
        ToolAnnotations.model_validate(hints, by_name=True) for hints in (READS, WRITES)
    )
    words = INSTRUCTIONS if cuts is None else f"{INSTRUCTIONS} {WRITING}"
    readers = Reading(application).tools
    writers = () if cuts is None else Writing(application, cuts).tools
    takes = {tool.__name__: list(signature(tool).parameters) for tool in (*readers, *writers)}
    facts = {"name": "vlar", "version": __version__, "log_level": "WARNING"}
    server = _server_class()(takes, **facts, instructions=words)
    for tools, hints in ((readers, reads), (writers, writes)):
        for tool in tools:
            server.add_tool(named(tool), annotations=hints, structured_output=False)
    return server


def serve_agent(application: Application, cuts: Path | None = None) -> None:
    """Answer an agent over stdin and stdout until its input ends."""
    with checked_lines():
        agent_server(application, cuts).run("stdio")


class LineOutput(io.RawIOBase):
    """Standard output, to which the protocol and this module write whole lines in turn."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Write all of it before anybody else writes."""
        unwritten = memoryview(data)
        with self._lock:
            while unwritten:
                unwritten = unwritten[os.write(self._descriptor, unwritten) :]
        return memoryview(data).nbytes

    def refuse(self, code: int, message: str, line_id: object = None) -> None:
        """Answer a line with an error object."""
        error = {"code": code, "message": message}
        answer = {"jsonrpc": "2.0", "id": line_id, "error": error}
        self.write(json.dumps(answer).encode() + b"\n")


class _Printed(io.TextIOBase):
    """Stand-in for ``sys.stdout``: prints go to standard error, answers to the wire."""

    def __init__(self, wire: LineOutput) -> None:
        self.buffer = wire
        self._printed = sys.stderr

    def write(self, text: str, /) -> int:
        """Print something."""
        return self._printed.write(text)


@contextmanager
def checked_lines() -> Generator[None]:
    """Standard input and output of an agent, for a server that takes them as ``sys`` has them.

    Descriptor 0 reads nothing and descriptor 1 is standard error meanwhile, so that what else is
    printed does not reach the agent.
    """
    lines, wire = os.fdopen(os.dup(0), "rb"), LineOutput(os.dup(1))
    receiving, sending = os.pipe()
    before = sys.stdin, sys.stdout
    sys.stdin = os.fdopen(receiving, encoding="utf-8")
    sys.stdout = _Printed(wire)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    passed = os.fdopen(sending, "wb", buffering=0)
    # A daemon: it waits for a line that may never come.
    threading.Thread(target=pass_on, args=(lines, passed, wire), daemon=True).start()
    try:
        yield
    finally:
        sys.stdin, sys.stdout = before


def pass_on(lines: BinaryIO, passed: BinaryIO, wire: LineOutput) -> None:
    """Pass on the lines that are messages, and answer the others, until the input ends."""
    with passed, suppress(OSError):
        while line := lines.readline(MOST_BYTES + 1):
            if len(line) > MOST_BYTES and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = lines.readline(MOST_BYTES)
                wire.refuse(_INVALID, f"the line is longer than {MOST_BYTES >> 20} MB; send less")
            elif line.strip() and _is_message(line, wire):
                unwritten = memoryview(line)
                while unwritten:
                    unwritten = unwritten[passed.write(unwritten) :]


def _is_message(line: bytes, wire: LineOutput) -> bool:
    """Return True for a line that the protocol can read; answer another one."""
    from mcp.types import jsonrpc_message_adapter

    try:
        value = parse_json(line)
    except ValueError as error:
        wire.refuse(_PARSE_ERROR, f"the line is not JSON: {str(error)[:200]}")
        return False
    try:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        message_id = value.get("id") if isinstance(value, dict) else None
        valid_id = message_id if isinstance(message_id, str | int) else None
        wire.refuse(_INVALID, "the line is not a message of JSON-RPC 2.0", valid_id)
        return False
    return True
