"""Many videos in, ordered clips out, decoded ahead of the consumer in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from vlar.errors import UsageError, VlarError
from vlar.types import Clip, Failure, Window
from vlar.video.decode import read_clip
from vlar.video.sample import Wanted

R = TypeVar("R")
V = TypeVar("V")


@dataclass(frozen=True)
class ClipRequest:
    """A clip to read; ``window`` None is the whole video."""

    path: Path
    window: Window | None = None
    n_frames: Wanted = 8


def read_clips(
    requests: Iterable[ClipRequest],
    *,
    workers: int = 2,
    look_ahead: int = 4,
    timeout_s: float = 60.0,
    shorter_side: int | None = None,
    fps: float | None = None,
) -> Iterator[Clip | Failure]:
    """Read clips in the order of the requests while the caller works on earlier ones.

    Decoding runs in threads (FFmpeg releases the interpreter lock). At most ``look_ahead`` clips
    are decoded or wait beyond the one the caller holds, whatever the number of requests, and
    ``requests`` is drawn from only as they are needed. Closing the iterator early drops what is
    not begun and waits for the clips in hand. ``timeout_s`` and the rest as for ``read_clip``.

    Yields:
        A clip for each request, or a Failure with the kind and message of its error.

    Raises:
        UsageError: ``workers`` or ``look_ahead`` is below 1.
    """

    def read(request: ClipRequest) -> Clip | Failure:
        try:
            return read_clip(
                request.path,
                request.window,
                request.n_frames,
                timeout_s=timeout_s,
                shorter_side=shorter_side,
                fps=fps,
            )
        except VlarError as error:
            return Failure(Path(request.path), error.kind, error.message)

    return in_order(iter(requests), read, workers=workers, look_ahead=look_ahead)


def in_order(
    requests: Iterator[R],
    read: Callable[[R], V],
    *,
    workers: int = 2,
    look_ahead: int = 4,
    interrupt: Callable[[], None] | None = None,
) -> Iterator[V]:
    """``read`` of each request, in order, worked ahead of the consumer in threads.

    Args:
        requests: Drawn from only as they are needed.
        read: Called in threads; what it raises is raised where its turn comes.
        workers: Threads.
        look_ahead: Results that are made or wait beyond the one the caller holds.
        interrupt: Makes calls of ``read`` that run return soon; called where the caller stops
            early. Without it they are waited for.

    Raises:
        UsageError: ``workers`` or ``look_ahead`` is below 1.
    """
    if workers < 1 or look_ahead < 1:
        raise UsageError(f"workers {workers} and look_ahead {look_ahead} must be at least 1")
    return _in_order(requests, read, workers, look_ahead, interrupt)


def _in_order(
    requests: Iterator[R],
    read: Callable[[R], V],
    workers: int,
    look_ahead: int,
    interrupt: Callable[[], None] | None,
) -> Iterator[V]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="vlar-decode")
    ahead: deque[Future[V]] = deque()
    try:
        while True:
            for request in islice(requests, look_ahead - len(ahead)):
                ahead.append(pool.submit(read, request))
            if not ahead:
                return
            yield ahead.popleft().result()
    except BaseException:
        if interrupt is not None:
            interrupt()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
