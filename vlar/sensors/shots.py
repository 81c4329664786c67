"""The shots of recordings, and spans that are cut at them so that none crosses a cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import DecodeError, UsageError
from vlar.resources import cached
from vlar.sensors.base import Reader
from vlar.sensors.lookup import reader
from vlar.types import Window
from vlar.video import content_hash

if TYPE_CHECKING:
    from vlar.shot_detection.detector import ShotDetector

Shots = Callable[[Path], list[Window]]
_SHORTEST_S = 0.05  # of what a cut leaves of a span


def shots(path: str | Path) -> list[Window]:
    """The shots of a video, by time: where its cuts are.

    It needs the network of TransNet V2 (``vlar models get shots``). The answer for a file is kept
    in the cache folder.

        >>> vlar.shots("film.mp4")                             # doctest: +SKIP
        [Window(start_s=0.0, end_s=3.2), Window(start_s=3.2, end_s=7.44)]

    Args:
        path: A video file, or a folder of numbered pictures.

    Returns:
        At least one span; a film without cuts is one shot.

    Raises:
        ModelError: the network is not installed.
        DecodeError: the video cannot be read.
    """
    return shots_of(reader("video"), Path(path))


def shots_of(source: Reader, path: Path) -> list[Window]:
    """The shots of a recording; as ``shots``, with the reader of its sensor."""
    from vlar.shot_detection.detector import NAME, digest
    from vlar.shot_detection.network import HEIGHT, WIDTH

    detector = _detector()

    def make() -> bytes:
        duration_s = source.probe(path).duration_s
        found = detector.shots(source.read_frames(path, HEIGHT, WIDTH), duration_s)
        return json.dumps([[shot.start_s, shot.end_s] for shot in found]).encode()

    content = cached(f"{NAME}-{digest()}", f"{content_hash(path)}.json", make)
    return [Window(start_s, end_s) for start_s, end_s in json.loads(content)]


def require_shots(source: Reader) -> None:
    """Refuse to look for shots where that cannot be done, before anything is read.

    Raises:
        ModelError: the network is not installed; the message has the command to get it.
        UsageError: recordings of this sensor hold no pictures.
    """
    if type(source).read_frames is Reader.read_frames:
        raise UsageError(f"recordings of the sensor {source.modality!r} have no shots")
    _detector()


def within(span: Window, found: Sequence[Window]) -> list[Window]:
    """The parts of a span that lie within one shot each, by time; the span where there are none.

    >>> shots = [Window(0.0, 3.0), Window(3.0, 9.0)]
    >>> [(part.start_s, part.end_s) for part in within(Window(2.0, 5.0), shots)]
    [(2.0, 3.0), (3.0, 5.0)]
    """
    parts = [Window(max(span.start_s, s.start_s), min(span.end_s, s.end_s)) for s in found]
    return [part for part in parts if part.duration_s >= _SHORTEST_S] or [span]


def shots_or_none(source: Reader, path: Path) -> list[Window]:
    """The shots of a recording; none where it cannot be read, which reading its clips will tell."""
    try:
        return shots_of(source, path)
    except DecodeError:
        return []


@cache
def _detector() -> ShotDetector:
    from vlar.shot_detection.detector import ShotDetector

    return ShotDetector()
