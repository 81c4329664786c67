"""File formats of skeletons, and what they share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlar.files.reading import MB, read_file, require_few_words, require_memory
from vlar.media.point_formats import PointFormat, PointFormats
from vlar.types import Float32, Float64, JsonDict

MOST = 256 * MB  # of a text file
MOST_PEOPLE = 50
KINECT_HZ = 30.0
BYTES_EACH = 12  # of a coordinate: it is checked and copied as it is read
_CAPTIONS = (str, bytes, int, float, np.generic, type(None))


@dataclass(frozen=True)
class Bodies:
    """One recording of one or more people.

    Attributes:
        points: (T, M, V, C) float32, NaN where a joint is not seen. In metres: x to the right of
            the picture as a mirror shows it, y up, z away from the camera. In a picture: x to the
            right and y down.
        layout: Name of the layout of its joints.
        unit: ``m``, ``px``, or ``picture`` (shares of its width and height).
        rate_hz: Frames a second.
        confidence: (T, M, V) float32, 0 to 1; None where the file has none.
        name: What a file with several recordings calls this one.
        label: Its label, where the file has one.
        meta: More facts: ``size`` (width and height in pixels), ``assumed`` (what the file does not
            state).
    """

    points: Float32
    layout: str
    unit: str
    rate_hz: float
    confidence: Float32 | None = None
    name: str = ""
    label: str = ""
    meta: JsonDict = field(default_factory=dict[str, Any])


class SkeletonFormat(PointFormat[Iterator[Bodies]]):
    """A file format of skeletons, whose ``read`` gives all recordings of a file."""


FORMATS = PointFormats[SkeletonFormat](__name__.rpartition(".")[0])
skeleton_format = FORMATS.add


def text_of(path: Path) -> str:
    """The content of a text file.

    Raises:
        OSError: see ``vlar.files.reading``.
        ValueError: it is not UTF-8, or its words would take more memory than a file may.
    """
    try:
        text = read_file(path, MOST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    require_few_words(text)
    return text


def unseen(*shape: int) -> Float32:
    """An array of NaN of this shape (..., V, C): no joint is seen yet.

    Raises:
        ValueError: it would take more memory than a file may.
    """
    require_memory(BYTES_EACH * math.prod(shape))
    return np.full(shape, np.nan, np.float32)


def require_few_people(count: int) -> None:
    """Refuse more people than are read, before anything is made of them.

    Raises:
        ValueError: there are more than ``MOST_PEOPLE``.
    """
    if count > MOST_PEOPLE:
        raise ValueError(f"it has {count} people; at most {MOST_PEOPLE} are read")


def caption(value: Any) -> str:
    """A name or label of others as text; a list of them too. What nests has no text.

    Raises:
        ValueError: it is anything else.
    """
    parts: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if len(parts) > 1000 or not all(isinstance(part, _CAPTIONS) for part in parts):
        raise ValueError("a name or label in it is not a text or a number")
    return str(value)


def numbers(text: str, separator: str | None = None) -> Float32:
    """(N,) float32 of the numbers in a text.

    Raises:
        ValueError: something in it is not a number.
    """
    words = text.split() if separator is None else text.replace(separator, " ").split()
    try:
        return np.array(words, dtype=np.float64).astype(np.float32)
    except ValueError as error:
        raise ValueError(f"it holds something that is not a number ({str(error)[:60]})") from None


def is_numbers(line: str, count: int, separator: str | None = None) -> bool:
    """Return whether a line holds ``count`` numbers."""
    words = [word for word in line.strip().split(separator) if word.strip()]
    try:
        return len([float(word) for word in words]) == count
    except ValueError:
        return False


def hide(points: Float32, confidence: Float32, least: float = 0.0) -> Float32:
    """Points (..., V, C) with NaN where the confidence (..., V) is not above ``least``."""
    points = points.copy()
    points[~(confidence > least)] = np.nan
    return points


_LEAST_OVERLAP = 0.1  # intersection over union of two boxes
_LONGEST_GAP = 15  # frames in which a person may be lost


def link(frames: list[Float32], *, is_file: bool = True) -> Float32:
    """People of each frame as rows that keep to one person.

    A person goes on where the box around the joints overlaps the last one most. The time is linear
    in the frames.

    Args:
        frames: T arrays (M, V, 3): x, y and confidence.
        is_file: They were read from a file, which may hold ``MOST_PEOPLE``.

    Returns:
        (T, M', V, 3) float32, NaN where a person is not in a frame.

    Raises:
        ValueError: there are more people, or the rows would take more memory than a file may.
    """
    boxes: list[Float64] = []
    last: list[int] = []
    rows: list[dict[int, Float32]] = []
    open_rows: list[int] = []
    for now, people in enumerate(frames):
        open_rows = [row for row in open_rows if now - last[row] <= _LONGEST_GAP]
        person_boxes = [_box(person) for person in people]
        row_of = _rows_of(boxes, open_rows, person_boxes)
        for person, box in enumerate(person_boxes):
            row = row_of.get(person, len(rows))
            if row == len(rows):
                rows.append({})
                boxes.append(box)
                last.append(now)
                open_rows.append(row)
            rows[row][now], boxes[row], last[row] = people[person], box, now
        if is_file:
            require_few_people(len(rows))
    joints = next((frame.shape[1] for frame in frames), 0)
    linked = unseen(len(frames), len(rows), joints, 3)
    for row, boxes_of_frame in enumerate(rows):
        for now, person in boxes_of_frame.items():
            linked[now, row] = person
    return linked


def _rows_of(boxes: list[Float64], open_rows: list[int], found: list[Float64]) -> dict[int, int]:
    """The row of each person of a frame who goes on; the largest overlap is decided first."""
    if not open_rows or not found:
        return {}
    overlap = _overlaps(np.stack([boxes[row] for row in open_rows]), np.stack(found))
    near = np.argwhere(overlap >= _LEAST_OVERLAP).tolist()
    pairs = sorted(((overlap[index, person], open_rows[index], person) for index, person in near))
    row_of: dict[int, int] = {}
    for _, row, person in reversed(pairs):
        if person not in row_of and row not in row_of.values():
            row_of[person] = row
    return row_of


def _box(person: Float32) -> Float64:
    visible = person[person[:, 2] > 0, :2]
    if not len(visible):
        return np.zeros(4)
    return np.concatenate([visible.min(axis=0), visible.max(axis=0)]).astype(np.float64)


def _overlaps(a: Float64, b: Float64) -> Float64:
    """(A, B) intersection over union of boxes (A, 4) and (B, 4)."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b)]
    total = areas[0][:, None] + areas[1][None] - common
    return np.where(total > 0, common / np.where(total > 0, total, 1), 0.0)


_TEXTS = ("layout", "unit")
_NUMBERS = ("rate_hz", "width", "height")


def stated(line: str) -> dict[str, Any]:
    """The settings of a line that begins with ``#``.

    Raises:
        ValueError: a value is not a number, or a name is unknown.
    """
    facts: dict[str, Any] = {}
    for word in line.lstrip("#").replace(",", " ").split():
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if not equals:
            continue
        if name not in (*_TEXTS, *_NUMBERS):
            names = ", ".join((*_TEXTS, *_NUMBERS))
            raise ValueError(f"its first line sets {name[:40]!r}; {names} are known")
        try:
            facts[name] = value if name in _TEXTS else float(value)
        except ValueError:
            raise ValueError(f"its first line sets {name} to {value[:40]!r}, no number") from None
    return facts
