"""The same person from frame to frame, where a file lists people in no fixed order."""

from __future__ import annotations

import numpy as np

from vlar.sensors.skeleton.formats.base import require_few_people, unseen
from vlar.types import Float32, Float64

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
        found = [_box(person) for person in people]
        row_of = _rows_of(boxes, open_rows, found)
        for person, box in enumerate(found):
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
    for row, seen in enumerate(rows):
        for now, person in seen.items():
            linked[now, row] = person
    return linked


def _rows_of(boxes: list[Float64], open_rows: list[int], found: list[Float64]) -> dict[int, int]:
    """The row of each person of a frame who goes on; the largest overlap is decided first."""
    if not open_rows or not found:
        return {}
    overlap = _overlaps(np.stack([boxes[row] for row in open_rows]), np.stack(found))
    near = np.argwhere(overlap >= _LEAST_OVERLAP).tolist()
    pairs = sorted(((overlap[at, person], open_rows[at], person) for at, person in near))
    row_of: dict[int, int] = {}
    taken: set[int] = set()
    for _, row, person in reversed(pairs):
        if person not in row_of and row not in taken:
            row_of[person] = row
            taken.add(row)
    return row_of


def _box(person: Float32) -> Float64:
    seen = person[person[:, 2] > 0, :2]
    if not len(seen):
        return np.zeros(4)
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]).astype(np.float64)


def _overlaps(a: Float64, b: Float64) -> Float64:
    """(A, B) intersection over union of boxes (A, 4) and (B, 4)."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b)]
    total = areas[0][:, None] + areas[1][None] - common
    return np.where(total > 0, common / np.where(total > 0, total, 1), 0.0)
