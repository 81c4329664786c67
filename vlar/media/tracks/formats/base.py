"""Interface of a file format of tracks, and the recognition of a file's format."""

from __future__ import annotations

import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from vlar.files.compressed import inner_suffix, read_plain
from vlar.files.reading import require_memory
from vlar.types import Float32, Float64, JsonDict

MOST_ANIMALS, MOST_POINTS = 50, 500
_HEAD_BYTES = 65_536
F = TypeVar("F", bound="TrackFormat")


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


@dataclass(frozen=True)
class TrackHead:
    """The beginning of a file of tracks, unpacked.

    Attributes:
        path: The file.
        data: First bytes of the content.
        ending: Ending of the content, in lower case with the dot.
        lines: First complete lines; empty where the content is not text.
    """

    path: Path
    data: bytes
    ending: str
    lines: tuple[str, ...]


def head_of(path: Path) -> TrackHead | None:
    """The beginning of a file; None where it cannot be opened or unpacked."""
    try:
        data = read_plain(path, most=1 << 40, first=_HEAD_BYTES)
    except (OSError, ValueError):
        return None
    lines: list[str] = []
    if b"\0" not in data:
        lines = data.decode("utf-8-sig", errors="replace").splitlines()
        lines = lines[:-1] if len(data) >= _HEAD_BYTES else lines
    return TrackHead(path, data, inner_suffix(path), tuple(lines))


class TrackFormat(ABC):
    """A file format. It raises ``ValueError`` with a sentence for what it cannot read.

    Attributes:
        name: As registered.
        order: Formats with a lower number are asked first; general ones come last.
        endings: Endings of the content that it may have.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 50
    endings: ClassVar[frozenset[str]]

    @abstractmethod
    def matches(self, head: TrackHead) -> bool:
        """Return whether a file is of this format, by its first bytes."""

    @abstractmethod
    def read(self, path: Path) -> PointTracks:
        """The tracks of a file.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is malformed; the message is a sentence.
        """


_formats: dict[str, TrackFormat] = {}


def track_format(name: str) -> Callable[[type[F]], type[F]]:
    """Class decorator that makes a format known."""

    def add(part: type[F]) -> type[F]:
        part.name = name
        _formats[name] = part()
        return part

    return add


@cache
def formats() -> tuple[TrackFormat, ...]:
    """All formats, in the order in which they are asked."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return tuple(sorted(_formats.values(), key=lambda part: (part.order, part.name)))


def recognised(head: TrackHead) -> TrackFormat | None:
    """The format of a file; None where it is none of tracks."""
    fitting = (part for part in formats() if head.ending in part.endings)
    return next((part for part in fitting if part.matches(head)), None)


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
