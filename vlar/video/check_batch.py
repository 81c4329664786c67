"""Checking many videos, each in a worker process: one that crashes the decoder is an answer too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from vlar.errors import DecodeError
from vlar.video.check import CheckReport, check_video, unreadable
from vlar.video.probe import probe
from vlar.video.stream import in_order
from vlar.workers import FileLimits, WorkerPool, WorkerStartError, can_isolate, is_batch


def check_videos(paths: Iterable[Path]) -> Iterator[CheckReport]:
    """``check_video`` of many videos, in order; no video ends the run.

    Each may take ``FileLimits.whole_s`` of its length.
    """
    paths = iter(paths)
    first = list(islice(paths, 2))
    limits = FileLimits.from_environment()
    if not (limits.workers and can_isolate(check_video) and is_batch(first)):
        yield from map(check_video, chain(first, paths))
        return
    with WorkerPool(limits, module=check_video.__module__) as pool:
        yield from in_order(
            chain(first, paths),
            lambda path: _checked(pool, path),
            workers=limits.workers,
            look_ahead=limits.workers,
            interrupt=pool.end_jobs,
        )


def _checked(pool: WorkerPool, path: Path) -> CheckReport:
    try:
        try:
            length_s = pool.call(path, 0.0, probe, path).duration_s
        except DecodeError as error:
            if error.kind != DecodeError.kind:
                raise
            length_s = 0.0  # the check says more of what is wrong
        return pool.call(path, length_s, check_video, path)
    except WorkerStartError:
        return check_video(path)
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)
