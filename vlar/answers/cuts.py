"""Found spans as video files, one a hit."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from vlar.answers.pictures import moved
from vlar.errors import VlarError
from vlar.types import Failure, Hit
from vlar.video.cut import Cut, cut, ending_for
from vlar.workers import FileLimits, WorkerPool, WorkerStartError, can_isolate, is_batch

_LONGEST_NAME = 60  # characters of a recording's name in the name of its cut


def cut_hits(hits: Sequence[Hit], folder: Path, exact: bool = False) -> Iterator[Cut | Failure]:
    """Cut each hit into a file of a folder (``file_name``), in worker processes.

    Yields:
        In the order of the hits, the file or why there is none.
    """
    limits = FileLimits.from_environment()
    with ExitStack() as stack:
        pool: WorkerPool | None = None
        if limits.workers and can_isolate(cut) and is_batch([Path(hit.path) for hit in hits[:2]]):
            pool = stack.enter_context(WorkerPool(limits, module=cut.__module__))
        for hit in hits:
            yield _one(hit, folder, exact, pool, limits)


def file_name(hit: Hit, exact: bool = False) -> str:
    """Rank, recording and times: ``03_clip_0m12.0s-0m16.5s.mp4``.

    Letters of all alphabets, digits, dots, ``_`` and ``-`` stay; all other characters become ``_``.
    """
    stem = unicodedata.normalize("NFC", Path(hit.path).stem)[:_LONGEST_NAME]
    safe = "".join(each if each.isalnum() or each in "._-" else "_" for each in stem)
    span = f"{_clock(hit.start_s)}-{_clock(hit.end_s)}"
    return f"{hit.rank:02d}_{safe}_{span}{ending_for(hit.path, exact)}"


def _one(
    hit: Hit, folder: Path, exact: bool, pool: WorkerPool | None, limits: FileLimits
) -> Cut | Failure:
    path = Path(hit.path)
    if not path.exists():
        return moved(hit)
    job = path, hit.start_s, hit.end_s, folder / file_name(hit, exact), exact
    try:
        if pool is not None:
            try:
                return pool.call(path, hit.end_s, cut, *job)
            except WorkerStartError:
                pass  # it is cut in this process instead
        return cut(*job, timeout_s=limits.timeout_s)
    except VlarError as error:
        return Failure(path, error.kind, error.message)


def _clock(seconds: float) -> str:
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}m{rest // 10:02d}.{rest % 10}s"
