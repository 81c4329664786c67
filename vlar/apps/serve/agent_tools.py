"""Tools of the agent interface: each answers with one compact JSON text, or a picture."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import numpy as np
from pydantic import Field

from vlar.apps.serve import schemas
from vlar.apps.serve.application import Application
from vlar.apps.serve.errors import ServeLimits
from vlar.apps.serve.library import RequestedRecording
from vlar.cancellation import Cancelled, cancellable
from vlar.errors import LibraryError, VlarError, explained
from vlar.files.opening import open_input
from vlar.formatting import clock
from vlar.library.query.request import QueryRequest
from vlar.options import help_of, tool
from vlar.types import JsonDict

F = TypeVar("F", bound=Callable[..., Any])
#: Hints of the protocol about tools that read, and about those that write.
READS = {"read_only_hint": True, "open_world_hint": False}
WRITES = {**READS, "read_only_hint": False, "destructive_hint": False, "idempotent_hint": True}
INSTRUCTIONS = (
    "Searches one library of videos in plain words and answers with moments: a path, start and end "
    "seconds, and a probability, which was fitted to clips where 'calibrated' is true. Call "
    "describe_library first, and tags for what can be filtered. A hit with 'weak' is likely wrong; "
    "no hit means that nothing matches. A query with operators states the probability of each "
    "phrase in 'parts'. Look at a hit with sheet before you rely on it."
)
WRITING = (
    "add indexes files in the background and returns a job; follow it until its state is done. cut "
    "writes a span as an mp4 file."
)
_MOST_VALUES = 50
_LONGEST_WAIT_S = 30.0
_MOST_FACTS = 600  # bytes of describe_library
_FACTS = (
    *("videos", "duration_s", "rows", "person_rows", "modality"),
    *("model", "window_s", "stride_s", "tag_keys"),
)
_UNWANTED = {
    *("similarity", "score", "name", "ready", "limits", "exports"),
    *("created_s", "ended_s", "starts"),
}
# What only programs over the net can do, in the words of tools.
_WORDS = {
    "list them: GET /api/videos": "list them with list_recordings",
    "list them: GET /api/jobs": "list them with follow",
}
Text = Annotated[
    str,
    Field(
        max_length=2000,
        description="What to look for: plain words, or phrases in quotes joined by AND, OR, NOT, "
        'THEN .. WITHIN 10s, DURING, IN "folder/*", LIKE "clip.mp4"@3s-7s.',
    ),
]
Video = Annotated[
    str,
    Field(description="'video' of search and list_recordings, or a file name that one has."),
]
Job = Annotated[str, Field(description="The id that add gives.")]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]


def compact(value: Any) -> Any:
    """A value of JSON with numbers of three decimals, without what is empty or only for pages."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        rows = cast("Mapping[str, Any]", value)
        rows_kept = {
            key: compact(value_inside) for key, value_inside in rows.items() if key not in _UNWANTED
        }
        return {
            key: value_inside
            for key, value_inside in rows_kept.items()
            if value_inside not in (None, "", [], {})
        }
    if isinstance(value, list | tuple):
        return [compact(item) for item in cast("list[Any]", value)]
    return value


def _line(value: Any) -> str:
    return json.dumps(compact(value), ensure_ascii=False, separators=(",", ":"))


def named(function: F, limit_s: float = ServeLimits.request_s) -> F:
    """A tool that answers with one line of JSON or a JPEG, and whose errors an agent can act on.

    Its work ends with its time: decoding, encoding and searching stop after ``limit_s`` seconds.
    """
    from mcp.server.mcpserver import Image
    from mcp.server.mcpserver.exceptions import ToolError

    @wraps(function)
    def call(*arguments: Any, **given: Any) -> Any:
        end_s = time.monotonic() + limit_s
        try:
            with cancellable(lambda: time.monotonic() > end_s):
                result = function(*arguments, **given)
        except Cancelled:
            raise ToolError(f"no answer within {limit_s:g} s; ask for less") from None
        except VlarError as problem:
            message = problem.message
            for words, verb in _WORDS.items():
                message = message.replace(words, verb)
            raise ToolError(message) from problem
        if isinstance(result, bytes):
            return Image(data=result, format="jpeg")
        return _line(result)

    call.__signature__ = signature(function, eval_str=True)  # type: ignore[attr-defined] - bound, so without self
    return cast("F", call)


class Reading:
    """Tools that only read."""

    def __init__(self, application: Application) -> None:
        self._do = application
        self.tools: tuple[Callable[..., Any], ...] = (
            *(self.describe_library, self.tags, self.search, self.concepts, self.classify),
            *(self.list_recordings, self.list_windows, self.persons, self.thumbnail, self.sheet),
        )

    def describe_library(self) -> JsonDict:
        """Number and length of the recordings, the model, and the folders that may be read."""
        facts = self._do.describe()
        library = {key: facts["library"].get(key) for key in _FACTS}
        library["model"] = str(library["model"])[:100]
        row = {"library": library, "writable": facts["writable"], "roots": list(facts["roots"])}
        for holder, name in ((row, "roots"), (library, "tag_keys")):
            whole = list(holder[name] or ())
            for count in range(len(whole), -1, -1):
                holder |= {name: whole[:count], f"more_{name}": len(whole) - count or None}
                if len(_line(row).encode()) <= _MOST_FACTS:
                    break
        return row

    def tags(self) -> JsonDict:
        """Tags of the recordings that filters may use: the values of each, with their number."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in self._do.videos(0, 10**9)["videos"]:
            for key, value in row["tags"].items():
                counts[key][value] += 1
        return {key: dict(count.most_common(_MOST_VALUES)) for key, count in counts.items()}

    @tool(schemas.Query, leave_out=("text",))
    def search(
        self,
        query: Text,
        k: Annotated[int, Field(ge=1, le=50, description=help_of(QueryRequest, "k"))] = 5,
        **options: Any,
    ) -> JsonDict:
        """Find moments of the library's videos that show something, best first.

        With yes and no the answer learns from them. With miss an empty list is an answer.
        """
        return self._do.search(QueryRequest(query, k, **options))

    def concepts(self) -> JsonDict:
        """List names for what judgements taught; a query writes them like phrases, in quotes."""
        return self._do.concepts()

    @tool(schemas.Classify, leave_out=("source", "model"))
    def classify(
        self,
        labels: Annotated[list[str], Field(min_length=1, description="Labels, such as 'cooking'.")],
        video: Annotated[
            str | None, Field(description="Id or file name of a recording of the library.")
        ] = None,
        path: Annotated[str | None, Field(description="Or the path of a video file.")] = None,
        start_s: Seconds | None = None,
        end_s: Seconds | None = None,
        **options: Any,
    ) -> JsonDict:
        """Decide which of some labels fits a video, a span of it, or each part of it.

        Without a label in an answer, none of them fits.
        """
        source = RequestedRecording(video=video, path=path, start_s=start_s, end_s=end_s)
        return self._do.classify(source, labels, **options)

    def list_recordings(
        self,
        contains: Annotated[str, Field(description="Only paths that contain this.")] = "",
        offset: Annotated[int, Field(ge=0)] = 0,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
    ) -> JsonDict:
        """List recordings of the library by path, with their ids, lengths and tags."""
        return self._do.videos(offset, limit, contains)

    def list_windows(self, video: Video) -> JsonDict:
        """List the indexed windows of a recording, as start and end seconds."""
        rows = self._do.rows(video)
        return {
            "path": rows["path"],
            "windows": [[w["start_s"], w["end_s"]] for w in rows["rows"]],
        }

    def persons(self, video: Video) -> JsonDict:
        """List the people of a recording: number, seconds, and a box in shares of the frame.

        A search is about one of them with the filter 'who=person 2'. It needs a library with rows
        of people.
        """
        people_rows = self._do.rows(video)
        tracks: dict[int, list[JsonDict]] = defaultdict(list)
        for row in people_rows["people"]:
            tracks[row["track"]].append(row)
        if not tracks:
            raise LibraryError(
                "no people of this recording are indexed; 'vlar index add --persons' indexes them"
            )
        people: list[JsonDict] = []
        for track, rows in sorted(tracks.items()):
            start_s = min(row["start_s"] for row in rows)
            end_s = max(row["end_s"] for row in rows)
            box = rows[len(rows) // 2]["box"]
            people.append({"person": track, "start_s": start_s, "end_s": end_s, "box": box})
        return {"path": people_rows["path"], "persons": people}

    def thumbnail(
        self,
        video: Video,
        at_s: Annotated[Seconds, Field(description="Seconds.")] = 0.0,
        width: Annotated[int, Field(ge=16, le=640, description="Pixels.")] = 320,
    ) -> bytes:
        """Show the picture of one moment of a recording."""
        return self._do.thumbnail(video, at_s, width)

    def sheet(
        self,
        video: Video,
        start_s: Seconds,
        end_s: Seconds,
        pictures: Annotated[int, Field(ge=2, le=12, description="How many.")] = 6,
    ) -> bytes:
        """Show a span as pictures in the order of time, three in a row, with their seconds."""
        from PIL import Image, ImageDraw

        _ = RequestedRecording(video=video, start_s=start_s, end_s=end_s).window  # or it is refused
        times = start_s + (end_s - start_s) * (np.arange(pictures) + 0.5) / pictures
        pictures_read = [Image.open(io.BytesIO(self._do.thumbnail(video, t, 320))) for t in times]
        width, height = pictures_read[0].size
        whole = Image.new("RGB", (3 * width, -(-pictures // 3) * height))
        draw = ImageDraw.Draw(whole)
        for number, (shown, at_s) in enumerate(zip(pictures_read, times, strict=True)):
            x, top = number % 3 * width, number // 3 * height
            whole.paste(shown, (x, top))
            draw.text((x + 4, top + 2), clock(at_s), "white", stroke_width=2, stroke_fill=0)
        data = io.BytesIO()
        whole.save(data, "JPEG", quality=80)
        return data.getvalue()


def _copied(made: Path, target: Path) -> None:
    """Copy a file to a new name; what lies there is never written through, a link neither.

    Raises:
        OSError: something else than a file lies there, or it cannot be written.
    """
    if target.is_file() and not target.is_symlink():
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with open_input(made) as source, open(os.open(target, flags, 0o644), "wb") as new:  # noqa: PTH123
        shutil.copyfileobj(source, new)


class Writing:
    """Tools that add to the library and write files.

    Args:
        application: The library.
        cuts: Folder for cut spans; it is made.
    """

    def __init__(self, application: Application, cuts: Path) -> None:
        self._do, self._cuts = application, cuts
        self.tools: tuple[Callable[..., Any], ...] = (
            *(self.add, self.follow, self.cancel, self.cut, self.teach),
        )

    def teach(
        self,
        name: Annotated[str, Field(max_length=100, description="As queries will write it.")],
        query: Annotated[str, Field(max_length=2000, description="The phrase that was judged.")],
        yes: Annotated[list[int], Field(max_length=200, description="'row' of right hits.")],
        no: Annotated[
            list[int] | None, Field(max_length=200, description="'row' of wrong hits.")
        ] = None,
    ) -> JsonDict:
        """Keep what judgements of the hits of a phrase teach, under a name for queries."""
        return self._do.teach(name, query, yes, no or ())

    def add(
        self,
        paths: Annotated[
            list[str], Field(min_length=1, max_length=1000, description="Files or folders.")
        ],
        tags: Annotated[
            dict[str, str] | None, Field(description="Set on each, such as {'place': 'gym'}.")
        ] = None,
    ) -> JsonDict:
        """Index recordings in the background, or bring them up to date; returns a job to follow."""
        return self._do.tasks.add(paths, tags or {})

    def follow(
        self,
        job: Annotated[str | None, Field(description="Of add; without it all are listed.")] = None,
        wait_s: Annotated[
            float, Field(ge=0, le=_LONGEST_WAIT_S, description="Wait up to this for its end.")
        ] = 10.0,
    ) -> JsonDict:
        """State of a job: queued, running, done, failed or cancelled, and how far it is."""
        jobs = self._do.tasks.jobs
        if job is None:
            return {"jobs": [job.to_dict() for job in jobs.all()]}
        end_s = time.monotonic() + wait_s
        while jobs.get(job).state in ("queued", "running") and time.monotonic() < end_s:
            time.sleep(0.1)
        return jobs.get(job).to_dict()

    def cancel(self, job: Job) -> JsonDict:
        """End a job; the recordings that it finished stay in the library."""
        return self._do.tasks.jobs.cancel(job).to_dict()

    def cut(self, video: Video, start_s: Seconds, end_s: Seconds) -> JsonDict:
        """Write a span of at most a minute as an mp4 file, and return its path."""
        clip_file = self._do.span(video, start_s, end_s)
        stem = Path(self._do.sources.stored_path(video)).stem[:60]
        name = re.sub(r"[^\w.-]", "_", f"{stem}-{video[:6]}")
        target = self._cuts / f"{name}_{start_s:.2f}-{end_s:.2f}.mp4"
        with explained(LibraryError, f"{target}: cannot be written", "start with another --cuts"):
            self._cuts.mkdir(parents=True, exist_ok=True)
            _copied(clip_file, target)
        return {"path": str(target), "start_s": start_s, "end_s": end_s}
