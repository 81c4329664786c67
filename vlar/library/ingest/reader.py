"""Step 1 of an ``add``: records of files, clips of their windows, a thread that looks ahead.

A file whose content the library holds already has no clips. Errors are values.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from vlar.errors import DecodeError, VlarError
from vlar.library.manifest import LibraryManifest
from vlar.library.store.annotations import FailedFile, FailedFiles
from vlar.library.store.sqlite import NO_FILE
from vlar.library.store.values import KnownVideo, Stamp
from vlar.media.base import Reader, RecordingInfo, read_recorded
from vlar.media.bundle import bundle_files, failed_parts
from vlar.media.shots import shots_of
from vlar.media.video.files import require_readable
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
        windows_left: list[Window] = []
        for item in clips:
            if not isinstance(item, Clip):
                yield item
            elif is_still(item.data):
                first = first or item
                still.append(item.window)
            else:
                windows_left.append(item.window)
                yield item
        if first is not None and not windows_left:
            windows_left.append(still.pop(0))
            yield first
        self.windows += len(still)
        self.seconds += uncovered_s(still, windows_left)


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


CHANGED, KNOWN, UNCHANGED, FAILED = "changed", "known", "unchanged", "failed"
SKIPPED = "skipped"


@dataclass(frozen=True)
class FileRecord:
    """One file of an ``add``.

    Attributes:
        file: As the caller gave it.
        state: ``changed`` (new or changed content: its windows follow), ``unchanged`` (the library
            has this content at this path), ``known`` (the library has it at another path),
            ``failed`` or ``skipped`` (it failed before and has not changed).
        path: As the library writes it.
        stamp: Size and time.
        content_hash: Hash of the content.
        duration_s: Length in seconds; 0 where no windows follow.
        failure: Why it cannot be read, for a failed or skipped file.
        tags: Tags of this file alone, besides those of all files of the call.
    """

    file: Path
    state: str
    path: str
    stamp: Stamp = NO_FILE
    content_hash: str = ""
    duration_s: float = 0.0
    failure: Failure | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


def stamp_of(path: Path) -> Stamp:
    """Size and time of a file; of a folder or a bundle, total size and latest time of its files.

    Raises:
        OSError: it does not exist.
    """
    status = path.stat()
    if path.is_dir():
        size = 0
        inside = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
    else:
        size = status.st_size
        inside = [part.stat() for part in bundle_files(path) if part.exists()]
    latest = max((s.st_mtime_ns for s in inside), default=0)
    return Stamp(size + sum(s.st_size for s in inside), max(latest, status.st_mtime_ns))


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


def failure_of(file: Path, error: VlarError | OSError) -> Failure:
    """The failure of a file that an error means."""
    if isinstance(error, FileNotFoundError):  # an address and a camera have their own message
        try:
            require_readable(file)
        except DecodeError as missing:
            return Failure(file, "decode", missing.message)
    if isinstance(error, VlarError):
        return Failure(file, error.kind, error.message)
    reason = error.strerror or str(error)
    message = f"{file}: cannot be read ({reason}); check the path and its permissions"
    return Failure(file, "decode", message)


def require_unicode(file: Path, path: str) -> None:
    """Refuse a file whose name a database cannot hold.

    Raises:
        VlarError: the bytes of its name are not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        message = f"{file!s}: the file name is not valid UTF-8; rename the file"
        raise VlarError(message.encode(errors="replace").decode()) from None


def by_stamp(
    file: Path, path: str, stamp: Stamp, known: KnownVideo | None, failed: FailedFiles
) -> FileRecord | None:
    """The record of a file whose size and time have not changed; None where it must be opened."""
    if before := failed.to_skip(path, stamp):
        return _skipped(file, path, stamp, before)
    if known is not None and known.stamp == stamp and not failed.is_retried(path):
        return FileRecord(file, UNCHANGED, path, stamp, known.content_hash)
    return None


def by_content(
    file: Path,
    path: str,
    stamp: Stamp,
    digest: str,
    known: KnownVideo | None,
    contents: Counter[str],
    failed: FailedFiles,
) -> FileRecord:
    """The record of a file by the hash of its content.

    ``known`` is what the library holds at this path, ``contents`` how many recordings have each
    content.
    """
    if before := failed.with_content(digest):
        return _skipped(file, path, stamp, before)
    state = CHANGED
    if not failed.is_retried(path, digest):
        if known is not None and known.content_hash == digest:
            state = UNCHANGED
        elif contents[digest] > 0:
            state = KNOWN
    return FileRecord(file, state, path, stamp, digest)


def _skipped(file: Path, path: str, stamp: Stamp, before: FailedFile) -> FileRecord:
    message = f"{file}: skipped, its reading failed before ({before.message}); retry=True reads it"
    failure = Failure(file, before.kind, message)
    return FileRecord(file, SKIPPED, path, stamp, before.content_hash, failure=failure)


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
