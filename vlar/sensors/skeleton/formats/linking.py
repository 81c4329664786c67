"""The same person from frame to frame, where a file lists people in no fixed order."""

from __future__ import annotations

import numpy as np

from vlar.types import Float32, Float64

_LEAST_OVERLAP = 0.1  # intersection over union of two boxes
_LONGEST_GAP = 15  # frames in which a person may be lost


def link(frames: list[Float32]) -> Float32:
    """People of each frame as rows that keep to one person.

    A person goes on where the box around the joints overlaps the last one most.

    Args:
        frames: T arrays (M, V, 3): x, y and confidence.

    Returns:
        (T, M', V, 3) float32, NaN where a person is not in a frame.
    """
    boxes: list[Float64] = []
    last: list[int] = []
    rows: list[dict[int, Float32]] = []
    for now, people in enumerate(frames):
        open_rows = [row for row in range(len(rows)) if now - last[row] <= _LONGEST_GAP]
        found = [_box(person) for person in people]
        pairs = sorted(
            ((_overlap(boxes[row], box), row, person)
             for row in open_rows for person, box in enumerate(found)),
            reverse=True,
        )  # fmt: skip
        row_of: dict[int, int] = {}
        for overlap, row, person in pairs:
            if overlap >= _LEAST_OVERLAP and person not in row_of and row not in row_of.values():
                row_of[person] = row
        for person, box in enumerate(found):
            row = row_of.get(person, len(rows))
            if row == len(rows):
                rows.append({})
                boxes.append(box)
                last.append(now)
            rows[row][now], boxes[row], last[row] = people[person], box, now
    joints = next((frame.shape[1] for frame in frames), 0)
    linked = np.full((len(frames), len(rows), joints, 3), np.nan, np.float32)
    for row, seen in enumerate(rows):
        for now, person in seen.items():
            linked[now, row] = person
    return linked


def _box(person: Float32) -> Float64:
    seen = person[person[:, 2] > 0, :2]
    if not len(seen):
        return np.zeros(4)
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]).astype(np.float64)


def _overlap(a: Float64, b: Float64) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / total if total > 0 else 0.0
