"""Readers by the name of their sensor and by path, and recordings of any sensor in folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from vlar import registry
from vlar.sensors.base import Reader, find_claimed
from vlar.types import Clip, Sampling, Window

_DEFAULT = "video"


def reader(modality: str) -> Reader:
    """The reader of a sensor.

    Raises:
        UnknownNameError: the reader does not exist; the message lists the known ones.
    """
    return _made(registry.get("reader", modality))


def reader_for(path: str | Path) -> Reader:
    """The reader that claims a path: the video reader first, then the others by name.

    A path that no reader claims goes to the video reader, which recognises files by their content
    and whose error says what is wrong.
    """
    place = Path(path)
    return next((each for each in _readers() if each.claims(place)), reader(_DEFAULT))


def find(paths: Sequence[str | Path], modality: str | None = None) -> list[Path]:
    """The recordings that ``paths`` name, in the order given, each once.

    Args:
        paths: Files, taken as given, and folders, which are searched.
        modality: The sensor whose recordings to look for; None for those of any reader.

    Raises:
        UnknownNameError: the reader does not exist.
    """
    if modality is not None:
        return reader(modality).find(paths)
    readers = list(_readers())
    if len(readers) == 1:
        return readers[0].find(paths)
    return find_claimed(paths, lambda path: any(each.claims(path) for each in readers))


def read_clip(
    path: str | Path,
    window: Window | None = None,
    n_frames: int | None = None,
    *,
    modality: str | None = None,
    shorter_side: int | None = None,
) -> Clip:
    """Read one clip of a recording of any sensor.

    Args:
        path: The recording.
        window: The span, in seconds after the first sample; None is the whole recording.
        n_frames: T, samples of the clip; 1 or more. None for 8 frames of a video, and for all the
            samples of other sensors.
        modality: Name of the reader; None for the one that claims the path.
        shorter_side: Pixels; larger pictures are shrunk to it. None keeps their size.

    Returns:
        The clip, with the time of each sample.

    Raises:
        DecodeError: the recording cannot be read.
        UnknownNameError: the reader does not exist.
    """
    chosen = reader_for(path) if modality is None else reader(modality)
    if n_frames is None:
        wanted = replace(chosen.every_sample(Path(path), window), shorter_side=shorter_side)
    else:
        wanted = Sampling(n_frames, shorter_side=shorter_side)
    return chosen.read_clip(Path(path), window, wanted)


def _readers() -> Iterator[Reader]:
    names = registry.names("reader")
    return map(reader, sorted(names, key=lambda name: (name != _DEFAULT, name)))


@cache
def _made(part: type[Reader]) -> Reader:
    return part()
