"""Schemas of the HTTP interface: request bodies, checked before anything is done."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from vlar.apps.serve import library
from vlar.library.ingest.request import AddRequest
from vlar.library.query.request import QueryRequest
from vlar.model.requests import AdaptRequest, ClassifyRequest
from vlar.options import body_field, remote_values, with_options

# Numbers are strict, as JSON's true would be 1 else.
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False, strict=True)]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
# As agents have it; ``text`` is its name of before.
QueryText = Annotated[Text, Field(validation_alias=AliasChoices("query", "text"))]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Filter = Annotated[str, Field(min_length=1, max_length=500)]
Label = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Row = Annotated[int, Field(ge=1, lt=2**63)]
ModelName = Annotated[str, Field(min_length=1, max_length=64)]


class Body(BaseModel):
    """A JSON object without unknown names."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Reason why a request is not answered."""

    error: str = Field(description="What happened, with the value.")
    fix: str = Field(description="What to do.")
    kind: str = Field(description="A stable name.")
    query: str | None = Field(None, description="The query that cannot be parsed.")
    position: int | None = Field(None, description="Of its wrong character, from 0.")


@with_options(QueryRequest)
class Query(Body):
    """A search; options of ``vlar query`` that may come from afar are added to it."""

    text: QueryText = Field(description="Plain words, or an expression (docs/query.md).")
    k: int = body_field(QueryRequest, "k", ge=1, le=100)
    where: list[Filter] = Field([], max_length=20, description="Filters, such as place=gym.")
    min_probability: float = body_field(
        QueryRequest, "min_probability", ge=0, le=1, allow_inf_nan=False, strict=True
    )

    yes: list[Row] = Field([], max_length=200, description="Rows of hits that show what is meant.")
    no: list[Row] = Field([], max_length=200, description="Rows of hits that do not.")
    miss: float | None = Field(
        None,
        gt=0,
        lt=1,
        strict=True,
        description="Chance that the list misses the moment; k does not count.",
    )

    def plain(self) -> QueryRequest:
        """Request for the application."""
        return QueryRequest(**self.model_dump())


class Teach(Body):
    """Judgements of the hits of a phrase, kept under a name."""

    name: str = Field(min_length=1, max_length=100, description="As queries write it.")
    text: QueryText
    yes: list[Row] = Field([], max_length=200)
    no: list[Row] = Field([], max_length=200)


class Forget(Body):
    """A concept to remove."""

    name: str = Field(min_length=1, max_length=100)


class Timeline(Body):
    """A query over one recording."""

    text: QueryText
    video: Id


class Source(Body):
    """A recording, or a span of one: exactly one of video, upload and path."""

    video: Id | None = Field(None, description="Of GET /api/videos or an answer.")
    upload: Id | None = Field(None, description="Of POST /api/uploads.")
    path: Path | None = Field(None, description="On the server, inside its roots.")
    start_s: Seconds | None = None
    end_s: Seconds | None = None

    def plain(self) -> library.RequestedRecording:
        """Source for the application."""
        return library.RequestedRecording(
            self.video, self.upload, self.path, self.start_s, self.end_s
        )


@with_options(ClassifyRequest)
class Classify(Body):
    """A recording and labels; options of ``vlar classify`` that may come from afar are added."""

    source: Source
    labels: list[Label] | Annotated[str, Field(pattern=r"^bank:\w+$", max_length=80)] | None = (
        Field(None, description="Texts, or bank:NAME; none for an adapted model.")
    )
    model: ModelName = Field("library", description="Of GET /api/library.")
    top: int = body_field(ClassifyRequest, "top", ge=1, le=100)
    every_s: float | None = Field(
        None, ge=0.5, le=3600, allow_inf_nan=False, strict=True, description="Seconds of each part."
    )

    def plain(self) -> tuple[library.RequestedRecording, list[str] | str | None]:
        """Recording and labels for the application."""
        return self.source.plain(), self.labels

    def options(self) -> dict[str, Any]:
        """Model and options for the application."""
        return {"model": self.model, **remote_values(ClassifyRequest, self)}


class Example(Source):
    """A recording, or a span of one, and what it shows."""

    label: Label


@with_options(AdaptRequest)
class Adapt(Body):
    """Examples to learn from, and options of ``vlar adapt``."""

    name: ModelName = Field(description="Of the new model.")
    examples: list[Example] = Field(min_length=2, max_length=500)
    method: str = body_field(AdaptRequest, "method", max_length=64)
    shots: int | None = body_field(AdaptRequest, "shots", ge=1)


@with_options(AddRequest)
class Add(Body):
    """Recordings to index, and options of ``vlar index add``."""

    paths: list[Path] = Field([], max_length=1000, description="Files or folders.")
    uploads: list[Id] = Field([], max_length=100, description="Of POST /api/uploads.")
    tags: dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=1000)]] = {}


Key = Annotated[str, Field(min_length=1, max_length=100)]
TagValue = Annotated[str, Field(max_length=1000)]


class TagChange(Body):
    """Tags of one recording."""

    video: Id
    tags: dict[Key, TagValue | None] = Field(min_length=1, description="null removes a tag.")
    before: dict[Key, TagValue | None] = Field(
        {}, description="What the caller saw; another value by now is answered with 409."
    )


class Tag(Body):
    """Tags to change, all or none."""

    changes: list[TagChange] = Field(min_length=1, max_length=1000)


class Remove(Body):
    """Recordings to remove from the library; their files stay."""

    videos: list[Id] = Field(min_length=1, max_length=1000)


class Restore(Body):
    """A removal to undo."""

    bin: str = Field(pattern=r"^\d{10}-[0-9a-f]{8}$", description="Of POST /api/remove.")


class Span(Body):
    """A span of a recording."""

    video: Id
    start_s: Seconds
    end_s: Seconds

    @model_validator(mode="after")
    def _is_span(self) -> Span:
        if self.end_s <= self.start_s:
            raise ValueError("it ends before it starts")
        return self


class LabelledSpan(Body):
    """A labelled span of a recording (``vlar.segments.Segment``)."""

    start_s: Seconds
    end_s: Seconds
    label: Annotated[str, Field(min_length=1, max_length=500)]
    subject: Annotated[str, Field(max_length=500)] = ""
    tier: str = Field("", max_length=500, description="The track that it stands on.")
    rater: str = Field("", max_length=500, description="Who set it.")
    modifiers: list[Annotated[str, Field(max_length=500)]] = Field([], max_length=50)
    probability: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, strict=True)


class Labels(Body):
    """All labels of a recording, in place of those of a version."""

    version: int = Field(ge=0, description="Read before; another one by now is answered with 409.")
    segments: list[LabelledSpan] = Field(max_length=20_000)


class LabelExport(Body):
    """Labels to write to a file of annotations."""

    form: str = Field(max_length=60, description="Name of a format (docs/exchange.md).")
    videos: list[Id] | None = Field(None, max_length=1000, description="null: all with labels.")
    fps: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False, strict=True)


class Export(Body):
    """Spans to write to a file."""

    spans: list[Span] = Field(min_length=1, max_length=200)
    title: str = Field("vlar", max_length=2000)


class LabelFile(Body):
    """A file of annotations, to look at next to the labels of a recording."""

    video: Id
    name: str = Field(min_length=1, max_length=500, description="Of the file, with its ending.")
    text: str = Field(max_length=10**6)


class Segments(Body):
    """Labels that a model looks for in a whole recording."""

    video: Id
    model: ModelName = "library"
    labels: list[Label] | None = Field(
        None, min_length=1, max_length=1000, description="null: those that the model learned."
    )


class Review(Body):
    """Windows about which a model has the most doubts."""

    model: ModelName = "library"
    labels: list[Label] | None = Field(
        None, min_length=2, max_length=1000, description="null: of the model, or in use."
    )
    k: int = Field(40, ge=1, le=200)


class Evaluate(Body):
    """A model, and the tag that names what recordings show."""

    model: ModelName = "library"
    other: ModelName | None = Field(None, description="A second model to compare with.")
    tag: Key | None = Field(None, description="null: the labelled spans.")
    labels: list[Label] | None = Field(None, min_length=2, max_length=1000)


class Token(Body):
    """Token that a browser exchanges for a session."""

    token: str = Field(min_length=1, max_length=4096)
