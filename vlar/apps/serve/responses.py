"""Schemas of the HTTP interface: its answers, made from the classes that give them.

``GET /openapi.json`` shows them. An answer is not checked against them on its way out; the tests
compare them with real answers.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema
from typing_extensions import NotRequired, TypedDict, get_type_hints

from vlar import types
from vlar.apps.serve import jobs, library, schemas, uploads
from vlar.encoders.captions import CaptionQuote
from vlar.language import concept
from vlar.library import copies, discovery, labels, rows
from vlar.results import Guarantee
from vlar.segments import segment
from vlar.types import JsonDict

MAY_LACK: Any = None
"""Default of a key that an answer need not have."""
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


class Answer(dict[str, Any]):
    """A JSON object whose keys are the annotations of its class; those with a default may lack.

    Descriptions are those of ``Attributes:`` in docstrings.

    Args:
        of: A dataclass whose fields are keys too.
        without: Fields of it that the object does not have.
        whole: Whether fields with a default are always there.
    """

    keys_of_json: ClassVar[JsonDict] = {}

    def __init_subclass__(
        cls, of: Any = None, without: Collection[str] = (), whole: bool = False
    ) -> None:
        rows_of = [row for row in (fields(of) if of else ()) if row.name not in without]
        optional = {
            row.name: not whole and not (row.default is MISSING is row.default_factory)
            for row in rows_of
        }
        annotated = {name: name in vars(cls) for name in inspect.get_annotations(cls)}
        cls.keys_of_json = {**cls.keys_of_json, **_keys(of, optional), **_keys(cls, annotated)}

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Schema of the check: any object."""
        return core_schema.dict_schema(ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}")

    @classmethod
    def __get_pydantic_json_schema__(cls, _: Any, handler: GetJsonSchemaHandler) -> JsonDict:
        """Schema that the interface shows."""
        return {
            **handler(_shape(cls)),
            "description": inspect.cleandoc(cls.__doc__ or "").split("\n")[0],
        }


def _keys(owner: Any, optional: Mapping[str, bool]) -> JsonDict:
    """Types of keys with their descriptions; those that an answer may lack are marked."""
    found = _ATTRIBUTE.findall(inspect.cleandoc(getattr(owner, "__doc__", None) or ""))
    texts = {name: " ".join(text.split()) for name, text in found}
    hints = get_type_hints(owner) if optional else {}
    keys = {name: Annotated[hints[name], Field(description=texts.get(name))] for name in optional}
    return {name: NotRequired[key] if optional[name] else key for name, key in keys.items()}


@cache
def _shape(answer: type[Answer]) -> Any:
    """Schema of the keys of an answer, without a name of its own."""
    shape: Any = TypedDict(answer.__name__, answer.keys_of_json)  # type: ignore[arg-type]
    schema: Any = TypeAdapter(shape).core_schema
    schema.get("schema", schema).pop("ref", None)
    return schema


class Session(Answer):
    """A session that has begun."""

    status: str


class Health(Session):
    """State of the server."""

    ready: bool
    needs_token: bool


class Named(Answer):
    """A recording of the library.

    Attributes:
        video: Its id.
    """

    video: str
    name: str


class LibraryFacts(Answer, of=rows.LibraryInfo, whole=True):
    """Facts of the library."""


class ModelFacts(Answer):
    """A model by its name."""

    name: str
    model: str
    adapted: bool


class Described(Answer):
    """The library, what may be filtered, the models and the limits of the server."""

    name: str
    version: str
    ready: bool
    writable: bool
    exports: list[dict[str, str]]
    library: LibraryFacts
    models: list[ModelFacts]
    roots: list[str]
    limits: dict[str, float]


class Video(Named, of=rows.VideoRow, without=("added_at_s", "content_hash")):
    """A recording of the library.

    Attributes:
        added: ISO 8601 in UTC.
    """

    added: str


class Videos(Answer):
    """Some recordings in order.

    Attributes:
        total: How many match.
    """

    total: int
    offset: int
    videos: list[Video]


class PersonBox(Answer):
    """A person of a window."""

    start_s: float
    end_s: float
    track: int
    box: list[float]


class Rows(Named):
    """Windows of a recording, with people and with the words that captions quote."""

    path: str
    rows: list[types.Window]
    people: list[PersonBox]
    written: list[CaptionQuote]


class HitPart(Answer, of=types.HitPart):
    """One phrase of a query on a span."""

    weak: bool = MAY_LACK


class Hit(Named, of=types.Hit, without=("best_s",)):
    """One span of the library that answers a query.

    Attributes:
        picture_s: Second that a picture of it shows.
        added_s: When the recording was indexed, in seconds since 1970.
        weak: True where it is likely wrong.
    """

    picture_s: float
    added_s: float | None
    parts: list[HitPart] = MAY_LACK
    weak: bool = MAY_LACK
    found_by: str = MAY_LACK


class Promise(Answer, of=Guarantee, without=("least",)):
    """Promise of a list that was asked for with a chance of a miss."""

    sentence: str


class Found(Answer):
    """Spans that answer a query, best first.

    Attributes:
        weak: Even the best is likely wrong.
        decides: Blocks of the vectors, after judgements.
        guarantee: Of a list that was asked for with ``miss``.
        best_probability: Also where no hit remains.
        note: A sentence for people.
        windows: How many were searched.
        videos: How many were searched.
    """

    hits: list[Hit]
    weak: bool
    decides: dict[str, float]
    guarantee: Promise | None
    best_probability: float | None
    note: str | None
    windows: int
    videos: int
    searched: str


class Concept(Answer, of=concept.Concept, without=("fingerprint", "gain", "offset", "shift")):
    """A name for what judgements taught."""


class Concepts(Answer):
    """Concepts of the library."""

    concepts: list[Concept]


class Curve(Answer, of=library.Curve):
    """One phrase of a query over the windows of a recording.

    Attributes:
        windows: Start and end in seconds.
    """

    windows: list[tuple[float, float]]


class Curves(Named):
    """Fit of each phrase of a query to each window of one recording."""

    path: str
    end_s: float
    curves: list[Curve]


class Uploaded(Answer, of=uploads.Upload, without=("path", "size", "at_s")):
    """An upload; later bodies name it by ``upload``, as by ``id``."""

    upload: str
    bytes: int


class Classified(Answer, of=types.Classification, without=("body",)):
    """The answer for one window.

    Attributes:
        label: The best label; null where it is not sure.
    """

    label: str | None
    failed: list[str] = MAY_LACK


class Unread(Answer):
    """A part that could not be read.

    Attributes:
        error: ``kind`` and ``message``.
    """

    path: str
    error: dict[str, str]


Result = Classified | Unread


class Answers(Answer):
    """Answers of a model for a recording, or for each part of it."""

    answers: list[Result]
    labels: list[str]
    model: str
    note: str | None


class Started(Answer):
    """The first line: how many answers come."""

    total: int | None


class Stopped(Answer):
    """The last line of an answer that an error ended."""

    problem: schemas.Problem


class Job(Answer, of=jobs.Job, without=("spec",), whole=True):
    """Work in the background."""

    resumable: bool


class Jobs(Answer):
    """Jobs, the newest first."""

    jobs: list[Job]


class FacetValue(Answer):
    """A value, the number of its recordings, and the filters that choose it."""

    text: str
    count: int
    where: list[str]


class Facet(Answer):
    """A property of recordings."""

    name: str
    values: list[FacetValue]  # pyright: ignore[reportIncompatibleMethodOverride] - a key of JSON


class Facets(Answer):
    """Values to choose from."""

    total: int
    facets: list[Facet]


class Tagged(Named):
    """A recording with its tags."""

    tags: dict[str, str]


class Map(Answer):
    """Windows as points of a plane.

    Attributes:
        preparing: True where it is being made; the rest is what was there before.
        points: Number of the recording in ``videos``, start and end in seconds, x and y.
        axes: Words for both ends of each axis.
        marks: x, y and name of typical windows.
    """

    preparing: bool = MAY_LACK
    points: list[tuple[int, float, float, float, float]]
    windows: int = MAY_LACK
    videos: list[Tagged] = MAY_LACK
    axes: list[list[str]] = MAY_LACK
    marks: list[tuple[float, float, str]] = MAY_LACK


class Standout(Named, of=discovery.Standout):
    """A window that stands out."""


class Same(Named, of=copies.DuplicateMember):
    """A recording of a group that shows the same."""


class Viewed(Answer):
    """Windows that stand out, or groups of recordings alike."""

    preparing: bool = MAY_LACK
    hits: list[Standout] = MAY_LACK
    groups: list[list[Same]] = MAY_LACK


class Suggestions(Answer):
    """Queries that this library answers."""

    preparing: bool = MAY_LACK
    queries: list[str] = MAY_LACK


class Changed(Answer):
    """Number of recordings whose tags changed."""

    changed: int


class Removed(Answer):
    """Number of recordings that left the library, and the name of the removal."""

    removed: int
    bin: str


class Removal(Answer):
    """A removal that can be undone.

    Attributes:
        names: Of the first 20 recordings.
    """

    bin: str
    removed_s: int
    recordings: int
    names: list[str]


class Removals(Answer):
    """Removals of the last days, the newest first."""

    days: int
    removals: list[Removal]


class Restored(Answer):
    """Number of recordings that are back."""

    restored: int


class Segment(Answer, of=segment.Segment, without=("recording",)):
    """A labelled span."""


class LabelVersion(Answer, of=labels.Labels, without=("path", "segments"), whole=True):
    """Version of the labels of a recording."""


class RecordingLabels(LabelVersion):
    """Labels of a recording.

    Attributes:
        forms: Name and ending of each format that is written.
        keys: Label, and whether it is a point event, by the key that sets it.
        known: Labels to choose from.
    """

    segments: list[Segment]
    duration_s: float
    forms: list[tuple[str, str]]
    keys: dict[str, tuple[str, bool]]  # pyright: ignore[reportIncompatibleMethodOverride] - likewise
    known: list[str]


class LibrarySpan(Named, of=segment.Segment, without=("recording",)):
    """A labelled span of a recording."""


class LibrarySpans(Answer):
    """Labelled spans of all recordings, and how many recordings have some."""

    recordings: int
    spans: list[LibrarySpan]


class LabelsOfFile(Answer):
    """Labelled spans that a file has of a recording."""

    segments: list[Segment]
    notes: list[str]


class ModelSpans(Answer):
    """Spans of labels that a model finds in a recording."""

    model: str
    segments: list[Segment]


class Embedding(Answer):
    """A vector, or its bytes (float32, little-endian) in base64."""

    object: str
    index: int
    embedding: list[float] | str


class EmbeddingList(Answer):
    """Vectors in the order of the input."""

    object: str
    data: list[Embedding]
    model: str
    usage: dict[str, int]
