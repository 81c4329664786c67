"""The agent interface: the application as tools of the Model Context Protocol, over stdio."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from vlar.apps.serve.application import Application
from vlar.apps.serve.library import RequestedRecording
from vlar.errors import VlarError
from vlar.library.query.plan import QueryRequest
from vlar.version import __version__

Answer = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_INSTRUCTIONS = (
    "Searches one library of videos in plain words and answers with moments: a path, start and end "
    "seconds, and a calibrated probability. Call describe_library first to learn what can be "
    "filtered. A probability below 0.3 is a weak match; no hit means that nothing matches."
)
Text = Annotated[
    str,
    Field(
        max_length=2000,
        description="What to look for: plain words, or phrases in quotes joined by AND, OR, NOT, "
        'THEN .. WITHIN 10s, IN "folder/*", LIKE "clip.mp4"@3s-7s.',
    ),
]
Video = Annotated[str, Field(description="The id that search and list_rows give as 'video'.")]


def agent_server(application: Application) -> MCPServer:
    """The server of one application; ``run()`` serves it over stdio."""
    server = MCPServer(name="vlar", version=__version__, instructions=_INSTRUCTIONS)
    for tool in _tools(application):
        server.add_tool(_named(tool), annotations=_READS)
    return server


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
