"""COCO keypoints JSON: 17 joints of people in the pictures of one video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.safety.files import read_file
from vlar.safety.strict_json import parse_json
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    MOST,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    hide,
    skeleton_format,
)
from vlar.sensors.skeleton.formats.linking import link
from vlar.types import Float32

_JOINTS = 17
_RATE_HZ = 30.0


@skeleton_format("coco")
class Coco(SkeletonFormat):
    """``annotations[].keypoints``: 51 numbers, visibility 0 is missing; a picture is a frame.

    Results of detectors (a list with ``image_id``, ``keypoints`` and ``score``) are read too.
    """

    order = 20
    endings = frozenset({".json"})

    def matches(self, head: Head) -> bool:
        """By the names of its fields."""
        return b'"keypoints"' in head.data and b'"image_id"' in head.data

    def read(self, path: Path) -> Iterator[Bodies]:
        """The pictures in the order of their number, as one recording."""
        stored: Any = parse_json(read_file(path, MOST))
        rows = stored.get("annotations") if isinstance(stored, dict) else stored
        if not isinstance(rows, list):
            raise ValueError("it has no list 'annotations'")  # noqa: TRY004 - of the content
        frames: dict[str | int, list[Float32]] = {}
        for row in rows:
            image, joints = _row(row)
            frames.setdefault(image, []).append(joints)
            if len(frames[image]) > MOST_PEOPLE:
                raise ValueError(f"a picture has more than {MOST_PEOPLE} people")
        if not frames:
            raise ValueError("it has no annotation")
        ordered = sorted(frames, key=_frame_key)
        linked = link([np.stack(frames[image]) for image in ordered])
        confidence = np.clip(np.nan_to_num(linked[..., 2]), 0, 1)
        points = hide(linked[..., :2], confidence)
        yield Bodies(points, "coco17", "px", _RATE_HZ, confidence, meta={"assumed": "rate_hz"})


def _row(row: Any) -> tuple[str | int, Float32]:
    image = row.get("image_id") if isinstance(row, dict) else None
    flat = row.get("keypoints") if isinstance(row, dict) else None
    if (
        not isinstance(image, int | str)
        or not isinstance(flat, list)
        or len(flat) != 3 * _JOINTS
        or not all(isinstance(one, int | float) for one in flat)
    ):
        raise ValueError(f"an annotation has no 'image_id' or no {3 * _JOINTS} 'keypoints'")
    return image, np.array(flat, np.float32).reshape(_JOINTS, 3)


def _frame_key(image: str | int) -> tuple[int, str]:
    text = str(image)
    digits = "".join(c for c in text if c.isdecimal())
    return (int(digits[-15:]) if digits else 0, text)
