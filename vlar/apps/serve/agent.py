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
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Annotated, Any, BinaryIO, Literal, TypeVar

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations, jsonrpc_message_adapter
from pydantic import Field

from vlar.apps.serve.application import Application
from vlar.apps.serve.library import RequestedRecording
from vlar.errors import VlarError
from vlar.files.reading import parse_json
from vlar.library.query.plan import QueryRequest
from vlar.version import __version__

MOST_BYTES = 8 << 20
_PARSE_ERROR, _INVALID = -32700, -32600
Answer = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_INSTRUCTIONS = (
    "Searches one library of videos in plain words and answers with moments: a path, start and end "
    "seconds, and a calibrated probability. Call describe_library first to learn what can be "
    "filtered. A hit with 'weak' is likely wrong; no hit means that nothing matches. The score of "
    "a query with operators only ranks: its parts have the probabilities."
)
Text = Annotated[
    str,
    Field(
        max_length=2000,
        description="What to look for: plain words, or phrases in quotes joined by AND, OR, NOT, "
        'THEN .. WITHIN 10s, DURING, IN "folder/*", LIKE "clip.mp4"@3s-7s.',
    ),
]
Video = Annotated[str, Field(description="The id that search and list_rows give as 'video'.")]


def agent_server(application: Application) -> MCPServer:
    """The server of one application; ``run()`` serves it over stdio."""
    server = MCPServer(name="vlar", version=__version__, instructions=_INSTRUCTIONS)
    for tool in _tools(application):
        server.add_tool(_named(tool), annotations=_READS)
    return server


def serve_agent(application: Application) -> None:
    """Answer an agent over stdin and stdout until its input ends."""
    with checked_lines():
        agent_server(application).run("stdio")


def _tools(do: Application) -> list[Callable[..., Any]]:
    def describe_library() -> Answer:
        """Number and length of the recordings, the model, and the tags that filters may use."""
        return do.describe()

    def search(
        query: Text,
        k: Annotated[int, Field(ge=1, le=50, description="Most answers.")] = 5,
        where: Annotated[
            list[str] | None,
            Field(description="Filters that all hold, such as place=gym, start_s>=10, path=*.mp4."),
        ] = None,
        min_probability: Annotated[
            float, Field(ge=0, le=1, description="Hide less probable answers; 0 shows all.")
        ] = 0.05,
    ) -> Answer:
        """Find moments of the library's videos that show something, best first."""
        return do.search(QueryRequest(query, k, where, min_probability))

    def classify(
        labels: Annotated[list[str], Field(min_length=1, description="Labels, such as 'cooking'.")],
        video: Annotated[str | None, Field(description="Id of a recording of the library.")] = None,
        path: Annotated[str | None, Field(description="Or the path of a video file.")] = None,
        start_s: Annotated[float | None, Field(ge=0, description="Only this span.")] = None,
        end_s: Annotated[float | None, Field(ge=0, description="Its end.")] = None,
        every_s: Annotated[
            float | None, Field(ge=0.5, description="One answer for each such span.")
        ] = None,
        mode: Annotated[
            Literal["one", "multi"], Field(description="multi: any number of labels may fit.")
        ] = "one",
    ) -> Answer:
        """Decide which of some labels fits a video, a span of it, or each part of it.

        A label of null means that none of them fits.
        """
        source = RequestedRecording(video=video, path=path, start_s=start_s, end_s=end_s)
        return do.classify(source, labels, every_s=every_s, mode=mode)

    def list_rows(
        video: Annotated[
            str | None,
            Field(description="Its windows are listed; without it, recordings."),
        ] = None,
        contains: Annotated[str, Field(description="Only paths that contain this.")] = "",
        offset: Annotated[int, Field(ge=0)] = 0,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
    ) -> Answer:
        """List the recordings of the library, or the windows of one."""
        return do.videos(offset, limit, contains) if video is None else do.rows(video)

    def thumbnail(
        video: Video,
        at_s: Annotated[float, Field(ge=0, description="Seconds.")] = 0.0,
        width: Annotated[int, Field(ge=16, le=640, description="Pixels.")] = 320,
    ) -> Image:
        """Show the picture of one moment of a recording."""
        return Image(data=do.thumbnail(video, at_s, width), format="jpeg")

    return [describe_library, search, classify, list_rows, thumbnail]


def _named(tool: F) -> F:
    """A tool whose errors are one line that an agent can act on."""

    @wraps(tool)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return tool(*arguments, **named)
        except VlarError as problem:
            raise ToolError(problem.message) from problem

    return call  # pyright: ignore[reportReturnType]


class LineOutput(io.RawIOBase):
    """Standard output, to which the protocol and this module write whole lines in turn."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # pyright: ignore
        """Write all of it before anybody else writes."""
        left = memoryview(data)
        with self._lock:
            while left:
                left = left[os.write(self._descriptor, left) :]
        return len(data)

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
                left = memoryview(line)
                while left:
                    left = left[passed.write(left) :]


def _is_message(line: bytes, wire: LineOutput) -> bool:
    """Return True for a line that the protocol can read; answer another one."""
    try:
        value = parse_json(line)
    except ValueError as error:
        wire.refuse(_PARSE_ERROR, f"the line is not JSON: {str(error)[:200]}")
        return False
    try:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        found = value.get("id") if isinstance(value, dict) else None
        known = found if isinstance(found, str | int) else None
        wire.refuse(_INVALID, "the line is not a message of JSON-RPC 2.0", known)
        return False
    return True
