"""Step 3 of an ``add``: encoded windows to rows, one transaction a recording.

``write_windows`` takes any stream of file records, each followed by its encoded windows. Who
encoded them does not matter: the local encoder, or workers on other machines.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlar.errors import EncoderMismatchError, LibraryError
from vlar.formatting import as_url
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.manifest import LibraryManifest
from vlar.library.recording import FAILED, KNOWN, SKIPPED, UNCHANGED, FileRecord
from vlar.library.rows import AddEvent, AddReport
from vlar.library.store.annotations import Caption, FailedFile, KeptFrames, LostFrames, is_kept
from vlar.library.store.base import LibraryWriter
from vlar.library.store.copying import copy_within
from vlar.media.bundle import PART
from vlar.types import Failure

_CHUNK_ROWS = 64
_log = logging.getLogger("vlar")
IngestProgress = Callable[[AddEvent], None]
WindowStream = Iterable[EncodedWindow | Failure]


class _RollbackError(Exception):
    """A recording cannot be indexed: its transaction is rolled back."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def write_windows(
    writer: LibraryWriter,
    stream: Iterable[FileRecord | EncodedWindow | Failure],
    manifest: LibraryManifest,
    *,
    total: int,
    before: int = 0,
    tags: Mapping[str, str] | None = None,
    progress: IngestProgress | None = None,
    captioner: str = "",
    folders: Mapping[str, str] | None = None,
) -> AddReport:
    """Write recordings in the order of the stream; each is there with all its rows or not at all.

    Args:
        writer: The library, with the writer's lock held.
        stream: A record of each file, followed by its windows. A ``Failure`` in place of a window
            is a window that cannot be read.
        manifest: Written with the first recording of a new library.
        total: Number of files, for ``progress``.
        before: Number of them that the library holds already, for ``progress``.
        tags: Set on every recording of the stream; tags of a record itself come after them.
        progress: Called after the commit of each recording.
        captioner: Name of what wrote the captions of the windows; empty for none.
        folders: Facts of the library that are written with the first recording of the stream
            (``vlar.library.roots``).

    Raises:
        LibraryError: the library cannot be written to; the message states how much was kept.
    """
    counts = AddCounts(total, progress)
    run = _Run(writer, manifest, dict(tags or {}), counts, captioner, dict(folders or {}))
    if before:
        _log.info("%d of %d videos are already indexed", before, total)
    counts.begin(before)
    try:
        for record, windows in by_file(stream):
            run.file(record, windows)
    except LibraryError as error:
        if isinstance(error, EncoderMismatchError):
            raise
        message = f"{error.message} ({counts.kept} of the {total} videos are in the library)"
        raise type(error)(message) from error
    return counts.report()


def by_file(
    stream: Iterable[FileRecord | EncodedWindow | Failure],
) -> Iterator[tuple[FileRecord, WindowStream]]:
    """Each record of a stream with its windows, read lazily."""
    number = 0

    def file_number(item: FileRecord | EncodedWindow | Failure) -> int:
        nonlocal number
        number += isinstance(item, FileRecord)
        return number

    for _, items in itertools.groupby(stream, file_number):
        record = next(items)
        if isinstance(record, FileRecord):
            yield record, (item for item in items if not isinstance(item, FileRecord))


@dataclass
class AddCounts:
    """Counts of the recordings of an ``add`` by what became of them, reported one by one.

    Attributes:
        total: Number of recordings.
        progress: Called for each; None for none.
        person_rows: Rows of people, of all rows.
    """

    total: int
    progress: IngestProgress | None
    person_rows: int = 0
    _rows: int = 0
    _failed: list[Failure] = field(default_factory=list[Failure])
    _by_status: Counter[str] = field(default_factory=Counter[str])

    def begin(self, before: int) -> None:
        """Report the number of recordings that are there already."""
        if self.progress is not None:
            self.progress(AddEvent("start", before, self.total))

    def add(
        self,
        status: str,
        file: Path,
        rows: int = 0,
        failure: Failure | None = None,
        lost: float = 0.0,
        seconds: float = 0.0,
        other: str | None = None,
    ) -> None:
        """Count and report a recording (``vlar.library.rows.AddEvent``)."""
        self._by_status[status] += 1
        self._rows += rows
        if failure is not None:
            self._failed.append(failure)
        if self.progress is not None:
            done = sum(self._by_status.values())
            event = AddEvent(status, done, self.total, file, rows, failure, lost, seconds, other)
            self.progress(event)

    @property
    def kept(self) -> int:
        """Number of recordings that the library has now."""
        return sum(self._by_status.values()) - self._by_status["failed"]

    def report(self) -> AddReport:
        """Report of the whole ``add``."""
        count, copies = self._by_status, self._by_status["copied"]
        figures = count["added"], count["updated"], count["unchanged"], count["moved"] + copies
        failed, people = tuple(self._failed), self.person_rows
        return AddReport(*figures, failed, self._rows, person_rows=people, copies=copies)


@dataclass
class _Run:
    """One ``add`` in progress."""

    writer: LibraryWriter
    manifest: LibraryManifest
    tags: Mapping[str, str]
    counts: AddCounts
    captioner: str
    folders: dict[str, str]

    def file(self, record: FileRecord, windows: WindowStream) -> None:
        if record.state in (FAILED, SKIPPED):
            self._fail(record, record.failure or Failure(record.file, "decode", "unreadable"))
        elif record.state == UNCHANGED:
            self._unchanged(record)
        elif record.state == KNOWN:
            self._known_content(record)
        else:
            self._new_content(record, windows)

    def _unchanged(self, record: FileRecord) -> None:
        video = self.writer.at_path(record.path)
        if video is None:
            self._known_content(record)
            return
        tags = self.writer.tags([video.id]).get(video.id, {})
        tags_now = {**self.tags, **record.tags}
        is_same = video.stamp == record.stamp and tags_now.items() <= tags.items()
        if not is_same or self.folders:
            with self.writer.transaction():
                self.writer.update(video.id, stamp=record.stamp, tags=tags_now)
                self._note_folders()
        self.counts.add("unchanged", record.file)

    def _note_folders(self) -> None:
        """Write the folders once, with a recording."""
        if self.folders:
            self.writer.set_meta(self.folders)
            self.folders = {}

    def _known_content(self, record: FileRecord) -> None:
        """Rename the recording of this content if its file is gone, else copy its rows."""
        others = self.writer.recordings(record.content_hash)
        if not others:
            message = f"{record.file}: has the content of another file of this call that failed"
            self._fail(record, Failure(record.file, "decode", message))
            return
        local = (other for other in others if as_url(other.path) is None)
        gone = [other for other in local if not Path(other.path).exists()]
        rows = 0
        with self.writer.transaction():
            if gone:
                video_id = gone[0].id
                self.writer.update(video_id, path=record.path, stamp=record.stamp)
            else:
                source = others[0]
                video_id = self.writer.put_video(
                    record.path, record.content_hash, record.stamp, source.duration_s
                )
                rows = copy_within(self.writer, source.id, video_id, self.manifest.dim)
                self.writer.update(video_id, unreadable=source.unreadable)
            self.writer.update(video_id, tags={**self.tags, **record.tags})
            self._note_folders()
        status, other = ("moved", gone[0]) if gone else ("copied", others[0])
        self.counts.add(status, record.file, rows, other=other.path)

    def _new_content(self, record: FileRecord, windows: WindowStream) -> None:
        lost: list[Failure] = []
        damaged: list[LostFrames] = []
        captions: list[Caption] = []
        frames: list[KeptFrames] = []
        status = "added" if self.writer.at_path(record.path) is None else "updated"
        try:
            with self.writer.transaction():
                noted = _noting(windows, damaged, captions, frames, self.captioner)
                video_id, rows, whole = self._write(record, noted, lost)
                self.writer.annotate(LostFrames, video_id, damaged)
                self.writer.annotate(Caption, video_id, captions)
                self.writer.annotate(KeptFrames, video_id, frames)
                self._remember(record, lost)
                tags = {**self.tags, **record.tags}
                parts = [failure for failure in lost if failure.kind == PART]
                gone = len(lost) - len(parts)
                self.writer.update(video_id, unreadable=gone, tags=tags)
        except _RollbackError as error:
            self._fail(record, error.failure)
            return
        self.counts.person_rows += rows - whole
        failure = None
        if lost:
            message = (
                f"{record.file}: {gone} of {gone + whole} windows cannot be read, the "
                f"others are indexed ({lost[0].message})"
            )
            if not gone:
                message = f"{parts[0].message}; the rest is indexed"
            failure = Failure(record.file, lost[0].kind, message)
        share = (sum(window.share for window in damaged) + gone) / (whole + gone)
        self.counts.add(status, record.file, rows, failure, share, record.duration_s)

    def _write(
        self, record: FileRecord, windows: WindowStream, lost: list[Failure]
    ) -> tuple[int, int, int]:
        """Rows of one recording; returns its id, and the numbers of rows and of windows."""
        if "fingerprint" not in self.writer.meta():
            self.writer.set_meta(self.manifest.to_meta())
        self._note_folders()
        video_id = self.writer.put_video(
            record.path, record.content_hash, record.stamp, record.duration_s
        )
        rows = whole = 0
        for chunk in _chunks(windows, lost):
            _insert(self.writer, record.file, video_id, chunk)
            rows += len(chunk)
            whole += sum(row.person is None for row in chunk)
        if not rows:
            nothing = Failure(record.file, "decode", f"{record.file}: has no windows")
            raise _RollbackError(lost[0] if lost else nothing)
        return video_id, rows, whole

    def _fail(self, record: FileRecord, failure: Failure) -> None:
        if record.state != SKIPPED and record.content_hash and is_kept(failure):
            with self.writer.transaction():
                self._remember(record, [failure])
        self.counts.add("failed", record.file, failure=failure, lost=1.0)

    def _remember(self, record: FileRecord, lost: Sequence[Failure]) -> None:
        """Keep the first failure that the next run should not meet again, or forget the last."""
        files = [
            FailedFile(
                record.path, record.content_hash, record.stamp, failure.kind, failure.message
            )
            for failure in lost
            if is_kept(failure)
        ]
        self.writer.annotate(FailedFile, record.path, files[:1])


def _insert(
    writer: LibraryWriter, file: Path, video_id: int, chunk: Sequence[EncodedWindow]
) -> None:
    spans = [row.window for row in chunk]
    vectors = np.stack([row.vector for row in chunk])
    if not np.isfinite(vectors).all():
        raise _not_numbers(file, "vector", "use bf16 (--dtype bf16), or float32")
    contexts = [row.context for row in chunk]
    if not all(np.isfinite(tokens).all() for tokens in contexts if tokens is not None):
        raise _not_numbers(file, "context", "index it without (--no-context)")
    writer.insert_rows(video_id, spans, vectors, [row.person for row in chunk], contexts)


def _noting(
    windows: WindowStream,
    damaged: list[LostFrames],
    captions: list[Caption],
    frames: list[KeptFrames],
    captioner: str,
) -> WindowStream:
    """Yield the same windows; lists collect their lost shares, captions and frames."""
    for window in windows:
        if isinstance(window, EncodedWindow) and window.lost and window.person is None:
            damaged.append(LostFrames(window.window.start_s, window.window.end_s, window.lost))
        if isinstance(window, EncodedWindow) and window.caption is not None:
            span = window.window.start_s, window.window.end_s
            captions.append(Caption(*span, window.caption, captioner))
        if isinstance(window, EncodedWindow) and window.frames:
            span = window.window.start_s, window.window.end_s
            frames.append(KeptFrames(*span, window.frames))
        yield window


def _not_numbers(file: Path, what: str, advice: str) -> _RollbackError:
    message = f"{file}: the model gave a {what} that is not a number; {advice}"
    return _RollbackError(Failure(file, "model", message))


def _chunks(windows: WindowStream, lost: list[Failure]) -> Iterator[list[EncodedWindow]]:
    """WindowStream in groups that bound memory; failures are put into ``lost``."""
    chunk: list[EncodedWindow] = []
    for window in windows:
        if isinstance(window, Failure):
            lost.append(window)
            continue
        chunk.append(window)
        if len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
