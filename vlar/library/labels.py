"""Labels that a library keeps of its recordings: spans that people set in place.

Each recording has one list of segments with a version. Who changes it names the version that it
read: where somebody else wrote meanwhile, nothing is changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from vlar.errors import LabelConflictError, LibraryError, UsageError
from vlar.files.reading import MB, parse_json
from vlar.library.connection import LibraryConnection
from vlar.library.store.annotations import RecordingLabels
from vlar.library.store.base import LibraryStore
from vlar.segments.segment import Segment, in_order
from vlar.types import JsonDict

MOST_SEGMENTS = 20_000
"""Segments of one recording."""
_MOST_TEXT, _MOST_BYTES = 500, 8 * MB
_TEXTS = ("label", "subject", "tier", "rater")


@dataclass(frozen=True)
class Labels:
    """The labels of one recording.

    Attributes:
        path: The recording, as the library has it.
        version: Number of changes so far; 0 where nobody labelled it.
        segments: In the order of start, then label.
        changed_s: Time of the last change, in seconds since 1970; None where there is none.
    """

    path: str
    version: int = 0
    segments: tuple[Segment, ...] = ()
    changed_s: float | None = None

    def to_dict(self) -> JsonDict:
        """JSON object of the server, without the recording."""
        rows = [
            {name: value for name, value in segment.to_dict().items() if name != "recording"}
            for segment in self.segments
        ]
        return {"version": self.version, "changed_s": self.changed_s, "segments": rows}


def read(connection: LibraryConnection, path: str) -> Labels:
    """Labels of a recording; none, with version 0, where nobody set any.

    Raises:
        LibraryError: the library has no recording of this path.
    """
    with connection.mutex:
        store = connection.reader()
        if store is None:
            raise _absent(path)
        with store.snapshot():
            return _labels(store, path, _id_at(store, path))


def every(connection: LibraryConnection) -> list[Labels]:
    """Labels of all recordings that have some, by path."""
    with connection.mutex:
        store = connection.reader()
        if store is None:
            return []
        with store.snapshot():
            paths = store.paths(sorted(store.annotated(RecordingLabels)))
            listed = [_labels(store, path, video_id) for video_id, path in paths.items()]
    return sorted((row for row in listed if row.segments), key=lambda row: row.path)


def in_use(store: LibraryStore) -> dict[int, frozenset[str]]:
    """Labels of the spans of each recording that has some, by the id of the recording."""
    ids = store.annotated(RecordingLabels)
    rows = {i: _labels(store, path, i).segments for i, path in store.paths(sorted(ids)).items()}
    return {i: frozenset(span.label for span in spans) for i, spans in rows.items() if spans}


def write(
    connection: LibraryConnection, path: str, segments: Sequence[Segment], version: int
) -> Labels:
    """Replace the labels of a recording.

    Args:
        connection: The library.
        path: The recording, as the library has it.
        segments: All segments of it; their ``recording`` does not count.
        version: The version that the caller read.

    Returns:
        What is kept, with the next version.

    Raises:
        LabelConflictError: the labels have another version; nothing is changed.
        LibraryError: no recording has this path, or the library cannot keep labels.
        UsageError: too many segments.
    """
    if len(segments) > MOST_SEGMENTS:
        raise UsageError(f"{len(segments):,} segments; at most {MOST_SEGMENTS:,} are kept of one")
    with connection.writing() as writer, writer.transaction():
        video_id = _id_at(writer, path)
        now = _labels(writer, path, video_id)
        if now.version != version:
            raise LabelConflictError(
                f"the labels of this recording have version {now.version} by now, not {version}; "
                "read them again"
            )
        rows = tuple(in_order([replace(segment, recording=path) for segment in segments]))
        new = Labels(path, version + 1, rows, time.time())
        text = json.dumps(new.to_dict()["segments"], ensure_ascii=False)
        kept = RecordingLabels(new.version, cast("float", new.changed_s), text)
        writer.annotate(RecordingLabels, video_id, [kept])
    return new


def segment_of(row: Mapping[str, Any], recording: str = "") -> Segment:
    """The segment of a JSON object.

    Raises:
        UsageError: a value is not one of a segment.
    """
    texts = {name: row.get(name, "") for name in _TEXTS}
    modifiers, times = row.get("modifiers", ()), (row.get("start_s"), row.get("end_s"))
    if not all(isinstance(text, str) and len(text) <= _MOST_TEXT for text in texts.values()):
        names = ", ".join(_TEXTS)
        raise UsageError(f"{names} of a segment are texts of up to {_MOST_TEXT} letters")
    if not all(isinstance(time_s, int | float) and time_s >= 0 for time_s in times):
        raise UsageError("start_s and end_s of a segment are seconds from the start, 0 or more")
    if not isinstance(modifiers, list | tuple) or not all(isinstance(m, str) for m in modifiers):
        raise UsageError("modifiers of a segment are a list of texts")
    start_s, end_s = (float(cast("float", time_s)) for time_s in times)
    share = row.get("probability")
    if share is not None and not (isinstance(share, int | float) and 0 <= share <= 1):
        raise UsageError("the probability of a segment is a number from 0 to 1")
    return Segment(
        recording, start_s, end_s, modifiers=tuple(modifiers), probability=share, **texts
    )


def _labels(store: LibraryStore, path: str, video_id: int) -> Labels:
    for kept in store.annotations(RecordingLabels, [video_id]):
        try:
            rows = parse_json(kept.text.encode()[: _MOST_BYTES + 1])
            segments = [segment_of(row, path) for row in rows[:MOST_SEGMENTS]]
        except (ValueError, TypeError, AttributeError, UsageError) as error:
            raise LibraryError(
                f"library {store.address}: the labels of {path} are damaged; restore a copy of it"
            ) from error
        return Labels(path, kept.version, tuple(in_order(segments)), kept.changed_s)
    return Labels(path)


def _id_at(store: LibraryStore, path: str) -> int:
    facts = store.at_path(path)
    if facts is None:
        raise _absent(path)
    return facts.id


def _absent(path: str) -> LibraryError:
    return LibraryError(f"no recording {path!r:.200} in the library; list them: vlar index list")
