"""``POST /v1/embeddings``: vectors of texts, pictures and clips, in a shape that servers share.

The shape is that of OpenAI's interface, whose clients then ask here. Pictures and clips are parts
of the input, as in its messages: ``{"type": "image_url", "image_url": {"url":
"data:image/png;base64,..."}}``. No address of the net is opened.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import Field

from vlar.apps.serve.application import Application
from vlar.apps.serve.errors import ServeError, split
from vlar.apps.serve.library import OWN, RequestedRecording
from vlar.apps.serve.schemas import Body, ModelName, Seconds, Text
from vlar.model.model import Model
from vlar.types import Failure, Float32, JsonDict, Window

_MOST = 256  # inputs of one request
_VIDEO, _UPLOAD = "video:", "upload:"


class Address(Body):
    """Place of a picture or a clip: ``data:TYPE;base64,...``, ``video:ID`` or ``upload:ID``."""

    url: Annotated[str, Field(min_length=1)]


class TextPart(Body):
    """A text."""

    type: Literal["text"]
    text: Text


class PicturePart(Body):
    """A picture."""

    type: Literal["image_url"]
    image_url: Address


class ClipPart(Body):
    """A clip, or a span of one."""

    type: Literal["video_url"]
    video_url: Address
    start_s: Seconds | None = None
    end_s: Seconds | None = None


Part = Annotated[TextPart | PicturePart | ClipPart, Field(discriminator="type")]


class Embeddings(Body):
    """Texts, pictures and clips to encode."""

    input: Text | Annotated[list[Text | Part], Field(min_length=1, max_length=_MOST)]
    model: ModelName = Field(OWN, description="Of GET /api/library; 'library' is its own.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="Only the width of the model.")
    user: Annotated[str, Field(max_length=200)] | None = Field(None, description="Not used.")


def add_embeddings(api: FastAPI, run: Any, application: Application) -> None:
    """Add the route; ``run`` runs a function on the threads of its kind of work."""

    @api.post("/v1/embeddings", summary="Vectors of texts, pictures and clips")
    async def embeddings(
        body: Embeddings,
    ) -> JsonDict:
        return await run("embeddings", embed, application, body)


def embed(application: Application, body: Embeddings) -> JsonDict:
    """The vectors of a request, of unit length, in the order of its input.

    Raises:
        ServeError: 400 or 422 where an input cannot be encoded; 404 where it is not there.
    """
    models = application.models
    model = models.get(OWN if body.model == models.spec else body.model)
    if body.dimensions not in (None, model.words.dim):
        error = f"dimensions is {body.dimensions}, and the model has {model.words.dim}"
        raise ServeError(400, error, "leave it out", "dimensions")
    listed = [body.input] if isinstance(body.input, str) else body.input
    texts = [item if isinstance(item, str) else getattr(item, "text", None) for item in listed]
    written = [text for text in texts if text is not None]
    words = iter(model.encode_text(written))
    media = [item for item in listed if isinstance(item, PicturePart | ClipPart)]
    vectors = iter(_encoded(application, model, media))
    rows = [next(vectors if text is None else words) for text in texts]
    tokens = sum(map(model.encoder.count_tokens, written))
    data: list[JsonDict] = [
        {"object": "embedding", "index": index, "embedding": row.tolist()}
        for index, row in enumerate(rows)
    ]
    if body.encoding_format == "base64":
        for item, row in zip(data, rows, strict=True):
            item["embedding"] = base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def _encoded(
    application: Application, model: Model, parts: Sequence[PicturePart | ClipPart]
) -> list[Float32]:
    """The vectors of pictures and clips, which are read in killable processes."""
    sampler = replace(model.view_sampler, reader=application.media.reader(model.modality))
    with tempfile.TemporaryDirectory(dir=application.sent) as folder:
        recordings = [_place(application, p, FilePath(folder, str(n))) for n, p in enumerate(parts)]
        vectors: list[Float32] = []
        for span in model.words.encode_spans(sampler.sample_each(recordings)):
            if isinstance(span, Failure):
                name = f"picture or clip {len(vectors)}"
                message = span.message.replace(str(span.path), name)
                raise ServeError(422, *split(message), span.kind)
            vectors.append(span.encoded.vector)
    return vectors


def _place(
    application: Application, part: PicturePart | ClipPart, file: FilePath
) -> tuple[FilePath, Window | None]:
    """The file of a part and its span; what an address holds is written to a new file."""
    picture = isinstance(part, PicturePart)
    url = part.image_url.url if picture else part.video_url.url
    span = (None, None) if picture else (part.start_s, part.end_s)
    if url.startswith((_VIDEO, _UPLOAD)):
        kind, _, name = url.partition(":")
        recording = RequestedRecording(**{kind: name}, start_s=span[0], end_s=span[1])
        return application.sources.find(recording)[0], recording.window
    head, comma, body = url.partition(",")
    try:
        data = base64.b64decode(body, validate=True)
    except binascii.Error:
        data = b""
    if not (head.startswith("data:") and head.endswith(";base64") and comma and data):
        fix = "send data:TYPE;base64,..., video:ID or upload:ID"
        raise ServeError(400, f"{url[:40]!r} is not the content of a file", fix, "url")
    file.write_bytes(data)
    return file, RequestedRecording(start_s=span[0], end_s=span[1]).window
