"""Answers for each span of a stream, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from vlar.errors import UsageError
from vlar.model.core import EncodedSpan
from vlar.model.model import Model
from vlar.model.requests import ClassifyRequest
from vlar.plugins.streams.stream import LiveStream, Reconnect
from vlar.types import Classification, Clip, Failure, JsonDict

EVERY_S = 2.0


def classify_live(
    model: Model,
    address: str,
    request: ClassifyRequest,
    reconnect: Reconnect | None = None,
    shown: Callable[[Clip], None] = lambda clip: None,
) -> Iterator[Classification | Failure]:
    """Classify a stream, one answer for each span of it.

    A model that is slower than the stream misses spans; its answers are always about the latest
    one. ``start_s`` and ``end_s`` count from the first picture.

    Args:
        model: A model of the sensor ``video``.
        address: As for ``vlar.plugins.streams.stream.LiveStream``.
        request: Its ``labels``, ``top`` and ``every_s`` count; spans are 2 s without ``every_s``.
        reconnect: What happens when the stream is lost.
        shown: Called with the clip of each span before its answer.

    Yields:
        Answers, and a Failure whenever the stream is lost. It ends when the stream is given up.

    Raises:
        DecodeError: the stream cannot be opened.
        UsageError: the model reads another sensor, or the address is none.
        LabelError: the label list cannot be used.
    """
    if model.modality != "video":
        raise UsageError(f"model {model.name!r} reads {model.modality}, and a stream is video")
    classifier = model.recogniser.classifier(request.label_set)
    every_s = EVERY_S if request.every_s is None else request.every_s
    with LiveStream(address, every_s, model.encoder.sampling, reconnect) as stream:
        for item in stream:
            if isinstance(item, Failure):
                yield item
                continue
            shown(item)
            span = EncodedSpan(item.path, item.window, model.words.encode_views([item]), item.lost)
            yield classifier.answer(span, top=request.top, model=model.name)


def live_dict(row: Classification, address: str) -> JsonDict:
    """The JSON object of an answer, with the address as the path, and the time (ISO 8601, UTC)."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return {"at": now, **row.to_dict(), "path": address}
