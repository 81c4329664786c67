"""File formats of tracks, and what they share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlar.files.compressed import read_plain
from vlar.files.reading import require_memory
from vlar.media.point_formats import PointFormat, PointFormats
from vlar.types import Float32, Float64, JsonDict

MOST_ANIMALS, MOST_POINTS = 50, 500


@dataclass(frozen=True)
class PointTracks:
    """Points over time of one or more animals, people or things.

    Attributes:
        points: (T, M, V, C) float32, C is 2 or 3; NaN where a point is missing.
        names: V names of the points.
        animals: M names; a single empty text where the file has none.
        rate_hz: Frames a second; None where neither the file nor its times state it.
        times_s: (T,) seconds of the frames where the file has them; None for even frames.
        unit: ``px``, ``cm``, ``m``, ``deg`` (angles), or the empty text.
        confidence: (T, M, V) float32, 0 to 1, as the file states it; None where it does not.
        bones: Pairs of names that the file connects.
        meta: More facts: ``assumed`` (what the file does not state), ``cm_per_px``.
    """

    points: Float32
    names: tuple[str, ...]
    animals: tuple[str, ...] = ("",)
    rate_hz: float | None = None
    times_s: Float64 | None = None
    unit: str = ""
    confidence: Float32 | None = None
    bones: tuple[tuple[str, str], ...] = ()
    meta: JsonDict = field(default_factory=dict[str, Any])


class TrackFormat(PointFormat[PointTracks]):
    """A file format of tracks, whose ``read`` gives the tracks of a file."""


FORMATS = PointFormats[TrackFormat](__name__.rpartition(".")[0])
track_format = FORMATS.add


def text_of(path: Path) -> str:
    """The content of a text file, unpacked.

    Raises:
        OSError: see ``vlar.files.opening``.
        ValueError: it is not UTF-8 text, or too large.
    """
    try:
        return read_plain(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None


def missing(*shape: int) -> Float32:
    """Points (T, M, V, C) that are all missing.

    Raises:
        ValueError: there are more animals or points than are read, or they take too much memory.
    """
    if shape[1] > MOST_ANIMALS or shape[2] > MOST_POINTS:
        raise ValueError(
            f"it has {shape[1]} animals of {shape[2]} points; at most {MOST_ANIMALS} of "
            f"{MOST_POINTS} are read"
        )
    require_memory(12.0 * math.prod(shape))
    return np.full(shape, np.nan, np.float32)
