"""Whether recordings of any sensor can be read: videos frame by frame, others as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.sensors.base import Reader
from vlar.sensors.isolated import isolated
from vlar.sensors.lookup import reader_for
from vlar.sensors.signals import SignalReader
from vlar.video import check_videos
from vlar.video.check import CheckReport, unreadable


def check_recordings(paths: Iterable[Path]) -> Iterator[CheckReport]:
    """The report of each recording, in order; a broken one is an answer, never an error."""
    for source, group in groupby(paths, reader_for):
        if isinstance(source, SignalReader):
            with isolated(source, group, Path) as (reading, every):
                yield from (check_signal(reading, path) for path in every)
        else:
            yield from check_videos(group)


def check_signal(source: Reader, path: Path) -> CheckReport:
    """Read a whole recording.

    Args:
        source: Of its sensor.
        path: The recording.

    Returns:
        ``lost`` is the share of its samples in which nothing was seen.
    """
    try:
        clip = source.read_clip(path, None, source.every_sample(path, None))
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)
    flat = clip.data.reshape(len(clip.data), -1)
    lost = 0.0
    if np.issubdtype(flat.dtype, np.floating):
        lost = float((~np.isfinite(flat).any(axis=1)).mean())
    return CheckReport(path, True, "ok", "", clip.window.duration_s, len(flat), lost)
