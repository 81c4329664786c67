"""Step 1 of an ``add``: records of files, clips of their windows, a thread that looks ahead.

A file whose content the library holds already has no clips. Errors are values.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vlar.errors import VlarError
from vlar.library.manifest import LibraryManifest
from vlar.media.base import Reader, RecordingInfo, read_recorded
from vlar.media.bundle import failed_parts
from vlar.media.shots import shots_of
from vlar.media.video.frames import is_still
from vlar.types import Clip, Failure, Window


class StillFootage:
    """Leaves still windows out of the clips of recordings.

    Attributes:
        windows: Number of windows left out so far.
        seconds: Seconds of recordings that no kept window covers.
    """

    def __init__(self) -> None:
        self.windows = 0
        self.seconds = 0.0

    def without(self, clips: Iterable[Clip | Failure]) -> Iterator[Clip | Failure]:
        """The clips of one recording without still ones.

        Where all are still, the first one stays: the recording is known to the library, and its
        content is not read again.
        """
        first: Clip | None = None
        still: list[Window] = []
        moving: list[Window] = []
        for item in clips:
            if not isinstance(item, Clip):
                yield item
            elif is_still(item.data):
                first = first or item
                still.append(item.window)
            else:
                moving.append(item.window)
                yield item
        if first is not None and not moving:
            moving.append(still.pop(0))
            yield first
        self.windows += len(still)
        self.seconds += uncovered_s(still, moving)


def uncovered_s(spans: list[Window], cover: list[Window]) -> float:
    """Seconds that some spans cover and others do not.

    >>> uncovered_s([Window(0, 4), Window(2, 6)], [Window(4, 8)])
    4.0
    """
    return _length_s([*spans, *cover]) - _length_s(cover)


def _length_s(spans: list[Window]) -> float:
    """Seconds that spans cover together."""
    total, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda each: each.start_s):
        total += max(0.0, span.end_s - max(span.start_s, reached))
        reached = max(reached, span.end_s)
    return float(total)


def clips_of(
    source: Reader, file: Path, duration_s: float, manifest: LibraryManifest
) -> Iterator[Clip | Failure]:
    """The clips of a recording's windows, then why some of it, or a part, cannot be read."""
    try:
        shots = shots_of(source, file) if manifest.spec.shots else ()
        spans, sampling = manifest.spec.spans(duration_s, shots), manifest.spec.sampling
        failures: dict[Failure, None] = {}
        for clip in read_recorded(source, file, spans, sampling):
            failures |= dict.fromkeys(failed_parts([clip]) if isinstance(clip, Clip) else ())
            yield clip
        yield from failures
    except VlarError as error:
        yield Failure(file, error.kind, error.message)
    except OSError as error:
        yield Failure(file, "decode", f"{file}: reading stopped ({error}); check its disk")


def own_tags(info: RecordingInfo) -> dict[str, str]:
    """Tags that a recording gives itself: samples made from another sensor's are marked."""
    return {"synthetic": "true"} if getattr(info, "meta", {}).get("synthetic") else {}


T = TypeVar("T")


class _Buffer(deque[T]):
    """Items that wait between the two threads."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()
        self.weight = 0
        self.ended = False
        self.unwanted = False
        self.error: BaseException | None = None


def prefetch(items: Iterator[T], weight: Callable[[T], int], most: int) -> Generator[T, None, None]:
    """Yield ``items`` in order, drawn beforehand in a thread.

    At most ``most`` in total weight waits (one item always may), whatever the number of items. An
    exception of ``items`` is raised where its turn comes. Closing this generator stops the thread
    after the item in hand.
    """
    buffer: _Buffer[T] = _Buffer()
    thread = threading.Thread(
        target=_fill, args=(items, weight, most, buffer), name="vlar-look-ahead", daemon=True
    )
    thread.start()
    try:
        while True:
            with buffer.changed:
                while not buffer and not buffer.ended:
                    buffer.changed.wait()
                if not buffer:
                    break
                item = buffer.popleft()
                buffer.weight -= weight(item)
                buffer.changed.notify_all()
            yield item
        if buffer.error is not None:
            raise buffer.error
    finally:
        with buffer.changed:
            buffer.unwanted = True
            buffer.changed.notify_all()
        thread.join()


def _fill(items: Iterator[T], weight: Callable[[T], int], most: int, buffer: _Buffer[T]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            heavy = weight(item)
            with buffer.changed:
                while buffer and buffer.weight + heavy > most and not buffer.unwanted:
                    buffer.changed.wait()
                if buffer.unwanted:
                    break
                buffer.append(item)
                buffer.weight += heavy
                buffer.changed.notify_all()
    except BaseException as raised:  # noqa: BLE001 - it is raised again in the caller's thread
        error = raised
    with buffer.changed:
        buffer.error = error
        buffer.ended = True
        buffer.changed.notify_all()
