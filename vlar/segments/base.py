"""The contract of a format of annotations, and what its files are read from and written with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from vlar import registry
from vlar.files.compressed import ENDINGS
from vlar.files.reading import MB
from vlar.segments.segment import Segment
from vlar.segments.sheets import sheet
from vlar.segments.spans import frames_of
from vlar.segments.tables import delimiter

MOST = 200 * MB
"""Bytes of a file of annotations, also unpacked."""

#: Fields of a segment that not every format holds.
OPTIONAL = ("recording", "subject", "tier", "rater", "modifiers", "probability")

Rows = Sequence[Segment]
Written = tuple[bytes, list[str]]
"""Bytes of a file, and notes on what it cannot hold."""


@dataclass(frozen=True)
class Table:
    """Content of a file of annotations.

    Attributes:
        segments: In the order of start, then label.
        notes: What was left out or assumed, a sentence each; unpaired states are here.
        media: Paths of the media files by recording, where the file names them.
        durations: Seconds by recording, where the file states them.
        conditions: Independent variables by recording, such as ``{"treatment": "saline"}``.
        keys: Label, and whether it is a point event, by the key that a project binds to it.
    """

    segments: list[Segment]
    notes: tuple[str, ...] = ()
    media: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    durations: Mapping[str, float] = field(default_factory=dict[str, float])
    conditions: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict[str, Mapping[str, str]]
    )
    keys: Mapping[str, tuple[str, bool]] = field(default_factory=dict[str, tuple[str, bool]])


@dataclass(frozen=True)
class Options:
    """Choices of the reader or writer.

    Attributes:
        fps: Frames a second, for formats that count frames.
        label_from: ``value`` of an annotation, or the name of its ``tier``, its value as detail.
        labels: Columns that are behaviours, in tables that do not name them; empty for all.
        target: Name of the file that is written, without the ending of a compression.
    """

    fps: float | None = None
    label_from: Literal["value", "tier"] = "value"
    labels: Sequence[str] = ()
    target: str = ""


@dataclass(frozen=True)
class Source:
    """A file whose bytes are read and unpacked.

    Attributes:
        path: The file.
        data: Its content, without the compression of ``.gz`` or ``.xz``.
    """

    path: Path
    data: bytes

    @cached_property
    def name(self) -> str:
        """Name of the file without the ending of a compression."""
        name = self.path.name
        return name.rpartition(".")[0] if self.path.suffix.lower() in ENDINGS else name

    @cached_property
    def suffix(self) -> str:
        """Ending in lower case, such as ``.csv``."""
        return Path(self.name).suffix.lower()

    @cached_property
    def stem(self) -> str:
        """Name without endings."""
        return Path(self.name).stem

    @cached_property
    def text(self) -> str:
        """Text of the file: UTF-8, UTF-16 or Windows-1252; of a workbook its first sheet."""
        if self.suffix == SHEET:
            return sheet(self.data)
        if self.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return self.data.decode("utf-16", "replace")
        if b"\0" in self.data[:4096]:
            return ""
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return self.data.decode("cp1252", "replace")

    @cached_property
    def head(self) -> str:
        """The first 20,000 characters."""
        return self.text[:20_000]

    @cached_property
    def columns(self) -> list[str]:
        """Cells of the first line, as of the header of a table."""
        first = self.head.lstrip("\r\n").partition("\n")[0]
        return [cell.strip().strip('"').strip() for cell in first.split(delimiter(first))]

    def is_json(self, begin: str, *names: str) -> bool:
        """Return whether the text begins as an object or a list, and has some names in quotes."""
        text = self.text
        return text.lstrip()[:1] in begin.split() and all(f'"{name}"' in text for name in names)


SHEET = ".xlsx"


class AnnotationFormat(ABC):
    """A format of annotations: reads its files, and writes them where ``writes`` is True.

    ``read`` and ``write`` raise ``ValueError`` with a sentence; ``vlar.segments.load`` and ``save``
    add the file and make it a ``UsageError``.

    Attributes:
        endings: Endings of its files.
        default_for: Endings for which a new file has this format.
        holds: Fields of ``OPTIONAL`` that it holds.
        several: Whether a file holds several recordings.
        writes: Whether it is written.
        adds: Whether writing into an existing file adds to what is in it; else the segments of the
            file are replaced.
        needs_fps: Whether it counts frames.
        loses: What else it cannot hold, in words.
    """

    endings: ClassVar[frozenset[str]]
    default_for: ClassVar[frozenset[str]] = frozenset()
    holds: ClassVar[frozenset[str]] = frozenset()
    several: ClassVar[bool] = False
    writes: ClassVar[bool] = True
    adds: ClassVar[bool] = False
    needs_fps: ClassVar[bool] = False
    loses: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """Name under which it is registered."""
        return next(n for n, part in registry.loaded["annotation"].items() if part is type(self))

    @abstractmethod
    def claims(self, source: Source) -> bool:
        """Return whether the content is of this format; the ending fits already."""

    @abstractmethod
    def read(self, source: Source, options: Options) -> Table:
        """The annotations of a file, in any order.

        Raises:
            ValueError: it is malformed, or counts frames and ``options.fps`` is None.
        """

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The bytes of a file with these segments, and notes on what it cannot hold.

        Args:
            segments: In order.
            existing: The file that is there; its other content stays.
            options: The frame rate, where frames are counted.

        Raises:
            ValueError: the format cannot hold them at all, or needs ``fps``.
        """
        raise ValueError(f"{self.name} is read and not written; choose another format")

    def new_in(
        self,
        existing: Source | None,
        segments: Rows,
        options: Options,
        *names: str,
        fps: float | None = None,
    ) -> list[Segment]:
        """Segments that a file does not have yet.

        Args:
            existing: The file; None for none.
            segments: The segments.
            options: As of ``read``.
            names: Fields that count, next to label and times.
            fps: Frames a second, where times count in frames; None for milliseconds.
        """

        def key(row: Segment) -> tuple[object, ...]:
            times = frames_of(row, fps) if fps else (round(row.start_s, 3), round(row.end_s, 3))
            return (*times, row.label, *(getattr(row, name) for name in names))

        present = {key(row) for row in self.read(existing, options).segments} if existing else set()
        return [row for row in segments if key(row) not in present]


def require_fps(options: Options) -> float:
    """The frame rate that a format needs.

    Raises:
        ValueError: there is none, or it is not a number above 0.
    """
    if options.fps is None:
        raise ValueError("it counts frames and states no rate; give fps (--fps)")
    if not 0 < options.fps <= 1e6:
        raise ValueError(f"fps is {options.fps}, not a number above 0; give frames a second")
    return float(options.fps)
