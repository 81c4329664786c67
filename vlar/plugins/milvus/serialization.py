"""Rows, contexts, captions and lost frames as Milvus keeps them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vlar.library.rows import Float16, RowBatch, RowPerson
from vlar.library.store import schema
from vlar.library.store.annotations import MOST_CHARACTERS, Caption, LostFrames
from vlar.library.store.row_check import STORED, FoundRow, sealed
from vlar.plugins.milvus.layout import MARK, NO_VECTOR
from vlar.plugins.milvus.recording_record import ROWS_A_VERSION
from vlar.types import Float32, Window

CONTEXT, CAPTIONS, LOST = "context", "captions", "lost"
_PART = 60_000  # letters of a text
RowKey = tuple[int, float, float]  # track, start and end


def row_entities(
    ids: Sequence[int],
    video_ids: Sequence[int],
    windows: Sequence[Window],
    vectors: Float32,
    people: Sequence[RowPerson | None] = (),
    mapped: Sequence[bool] | None = None,
) -> list[dict[str, Any]]:
    """The entities of windows with vectors (N, D), with a mark each unless ``mapped`` is None.

    Vectors are rounded to float16, as in every library, and kept as float32 numbers of that value.
    """
    stored = vectors.astype(STORED)
    wide = stored.astype(np.float32)
    return [
        {
            "id": row_id,
            "video_id": video_id,
            "version": row_id // ROWS_A_VERSION,
            "start_s": float(window.start_s),
            "end_s": float(window.end_s),
            "vector": vector,
            **_seal(sealed(window, half.tobytes(), person)),
            **({} if mark is None else {MARK: mark}),
        }
        for row_id, video_id, window, half, vector, person, mark in zip(
            ids,
            video_ids,
            windows,
            stored,
            wide,
            people or [None] * len(windows),
            [None] * len(windows) if mapped is None else mapped,
            strict=True,
        )
    ]


def rows_again(
    rows: RowBatch, vectors: Float32, marks: Sequence[bool] | None
) -> list[dict[str, Any]]:
    """The entities of rows of a library with other vectors (N, D), in their order."""
    ids = rows.ids.tolist(), rows.video_ids.tolist()
    return row_entities(*ids, rows.windows, vectors, rows.persons, marks)


def row_bytes(vectors: Float32) -> int:
    """Bytes of a row with one of some vectors (N, D)."""
    return 4 * int(vectors.shape[1]) + 128


def _seal(facts: tuple[int, int, bytes | None]) -> dict[str, Any]:
    checksum, track, box = facts
    text = "" if box is None else base64.b64encode(box).decode("ascii")
    return {"track": track, "box": text, "checksum": checksum}


def found_rows(entities: Sequence[Mapping[str, Any]]) -> list[FoundRow]:
    """Entities as rows to be checked: the columns of SQLite's table."""
    if not entities:
        return []
    vectors = np.array([entity["vector"] for entity in entities], np.float32)
    with np.errstate(over="ignore"):
        halves = vectors.astype(STORED)
    return [
        (
            int(entity["id"]),
            int(entity["video_id"]),
            float(entity["start_s"]),
            float(entity["end_s"]),
            half.tobytes(),
            int(entity["checksum"]),
            int(entity["track"]),
            _box(entity["box"]),
        )
        for entity, half in zip(entities, halves, strict=True)
    ]


def _box(text: object) -> bytes | None:
    """A box as a row of SQLite has it; empty bytes, which no row has, where it is broken."""
    if not text:
        return None
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error:
        return b""


def context_entities(row_id: int, version: int, tokens: Float16) -> list[dict[str, Any]]:
    """The entities of the context tokens (k, E) of a row, with their checksum in front."""
    blob = np.ascontiguousarray(tokens.astype(STORED)).tobytes()
    text = f"{schema.row_checksum(0, 0, blob)}:{base64.b64encode(blob).decode('ascii')}"
    parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
    return [
        _blob(f"{row_id}/{number}", CONTEXT, version, row_id, number, part)
        for number, part in enumerate(parts)
    ]


def context_of(entities: Iterable[Mapping[str, Any]]) -> tuple[int, bytes]:
    """Checksum and bytes of the context of one row, from its entities; -1 where they are broken."""
    ordered = sorted(entities, key=lambda each: int(each["part"]))
    checksum, _, text = "".join(str(entity["data"]) for entity in ordered).partition(":")
    try:
        return int(checksum), base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return -1, b""


def caption_entities(version: int, captions: Iterable[Caption]) -> list[dict[str, Any]]:
    """The entities of the captions of a version's windows."""
    entries = [[s, e, text[:MOST_CHARACTERS], made_by] for s, e, text, made_by in captions]
    return _listed(CAPTIONS, version, entries)


def lost_entities(version: int, lost: Iterable[LostFrames]) -> list[dict[str, Any]]:
    """The entities of the shares of lost frames of a version's windows."""
    return _listed(LOST, version, [list(loss) for loss in lost if loss.share > 0])


def entries_of(entities: Iterable[Mapping[str, Any]]) -> Iterator[list[Any]]:
    """The entries of captions or of lost frames; what is not a list of them is left out."""
    for entity in sorted(entities, key=lambda entity: int(entity["part"])):
        try:
            yield from json.loads(entity["data"])
        except (ValueError, TypeError):
            continue


def _listed(kind: str, version: int, entries: Iterable[list[Any]]) -> list[dict[str, Any]]:
    """Entries in texts that are short enough."""
    texts, size = [list[str]()], 0
    for entry in map(json.dumps, entries):
        if size + len(entry) > _PART and texts[-1]:
            texts.append([])
            size = 0
        texts[-1].append(entry)
        size += len(entry) + 2
    return [
        _blob(f"{kind}/{version}/{number}", kind, version, 0, number, f"[{', '.join(chunk)}]")
        for number, chunk in enumerate(texts)
        if chunk
    ]


def _blob(key: str, kind: str, version: int, row_id: int, part: int, data: str) -> dict[str, Any]:
    return {
        "key": key,
        "kind": kind,
        "version": version,
        "row_id": row_id,
        "part": part,
        "data": data,
        "spare": NO_VECTOR,
    }


def row_keys(windows: Sequence[Window], people: Sequence[RowPerson | None]) -> list[RowKey]:
    """Track, start and end of rows, which no other row of a recording has."""
    shown = people or [None] * len(windows)
    return [
        (0 if person is None else person.track, float(window.start_s), float(window.end_s))
        for window, person in zip(windows, shown, strict=True)
    ]
