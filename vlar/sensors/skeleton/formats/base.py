"""What every file format of skeletons offers, and how the format of a file is recognised."""

from __future__ import annotations

import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from vlar.safety.csv_tables import require_few_words
from vlar.safety.files import MB, read_file, require_memory
from vlar.sensors.signals import Head
from vlar.types import Float32, JsonDict

MOST = 256 * MB  # of a text file
MOST_PEOPLE = 50
KINECT_HZ = 30.0
BYTES_EACH = 12  # of a coordinate: it is checked and copied as it is read
_CAPTIONS = (str, bytes, int, float, np.generic, type(None))
F = TypeVar("F", bound="SkeletonFormat")


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


class SkeletonFormat(ABC):
    """A file format. It raises ``ValueError`` with a sentence for what it cannot read.

    Attributes:
        name: As registered.
        order: Formats with a lower number are asked first; general ones come last.
        endings: File endings that it may have.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 50
    endings: ClassVar[frozenset[str]]

    @abstractmethod
    def matches(self, head: Head) -> bool:
        """Whether a file is of this format, by its first bytes."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Bodies]:
        """All recordings of a file.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is malformed; the message is a sentence.
        """


_formats: dict[str, SkeletonFormat] = {}


def skeleton_format(name: str) -> Callable[[type[F]], type[F]]:
    """Class decorator that makes a format known."""

    def add(part: type[F]) -> type[F]:
        part.name = name
        _formats[name] = part()
        return part

    return add


@cache
def formats() -> tuple[SkeletonFormat, ...]:
    """All formats, in the order in which they are asked."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return tuple(sorted(_formats.values(), key=lambda each: (each.order, each.name)))


def endings() -> frozenset[str]:
    """All file endings of skeletons."""
    return frozenset().union(*(each.endings for each in formats()))


def recognised(head: Head) -> SkeletonFormat | None:
    """The format of a file; None where it is none of a skeleton."""
    fitting = (each for each in formats() if head.ending in each.endings)
    return next((each for each in fitting if each.matches(head)), None)


def text_of(path: Path) -> str:
    """The content of a text file.

    Raises:
        OSError: see ``vlar.safety.files``.
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
    """Whether a line holds ``count`` numbers."""
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
