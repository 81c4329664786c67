"""The writing half of an ``add``: clips to vectors to rows, one transaction a video."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.errors import EncoderMismatchError, LibraryError
from vlar.index.ingest.reader import Cut, End, Item, Seen, Unreadable, read_ahead_of_encoder, weight
from vlar.index.paths import place
from vlar.index.protocol import LibraryModel, conditioning
from vlar.index.report import AddEvent, AddReport
from vlar.index.store.database import Float16, KnownVideo
from vlar.index.store.writer import Writer
from vlar.types import Clip, Failure, Float32
from vlar.video.prefetch import ahead

_BATCH_CLIPS = 8
_BATCH_BYTES = 64 << 20
_WAITING_BYTES = 64 << 20
_log = logging.getLogger("vlar")
Progress = Callable[[AddEvent], None]


@dataclass
class _Tally:
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    rows: int = 0


class _TakenBackError(Exception):
    """A video cannot be indexed: its transaction is taken back."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Ingest:
    """One ``add``. Memory is bounded by the look-ahead and one batch, not by a video's length.

    Args:
        writer: The library, with the writer's lock held.
        model: Loads the model at the first clip; unchanged or moved videos need none.
        cut: Windows and frames.
        tags: Set on every video of this call.
        keep_context: Whether to store context tokens, where the model's text depends on the video.
        progress: Told of every video, after its commit.
    """

    def __init__(
        self,
        writer: Writer,
        model: Callable[[], LibraryModel],
        cut: Cut,
        tags: Mapping[str, str],
        keep_context: bool,
        progress: Progress | None,
    ) -> None:
        self._writer = writer
        self._model = model
        self._cut = cut
        self._tags = tags
        self._keep_context = keep_context
        self._progress = progress
        self._tally = _Tally()
        self._failed: list[Failure] = []
        self._done = 0
        self._total = 0

    def run(self, files: Sequence[Path]) -> AddReport:
        """Index the files, in order.

        Raises:
            LibraryError: the library cannot be written to; it says how much was kept.
        """
        known = {video.path: video for video in self._writer.known()}
        self._total = len(files)
        self._begin(sum(place(file) in known for file in files))
        items = ahead(read_ahead_of_encoder(files, known, self._cut), weight, _WAITING_BYTES)
        try:
            for file, head in zip(files, items, strict=False):
                if isinstance(head, Seen):
                    clips = _until_end(items)
                    self._video(file, head, clips)
                    deque(clips, maxlen=0)  # what a video given up early left behind
                elif isinstance(head, Unreadable):
                    self._fail(file, head.failure)
        except LibraryError as error:
            if isinstance(error, EncoderMismatchError):
                raise
            tally = self._tally
            kept = tally.added + tally.updated + tally.unchanged + tally.moved
            message = f"{error.message} ({kept} of the {self._total} videos are in the library)"
            raise type(error)(message) from error
        finally:
            items.close()
        tally = self._tally
        failed = tuple(self._failed)
        return AddReport(
            tally.added, tally.updated, tally.unchanged, tally.moved, failed, tally.rows
        )

    def _begin(self, before: int) -> None:
        if before:
            _log.info("%d of %d videos are already indexed", before, self._total)
        if self._progress is not None:
            self._progress(AddEvent("start", before, self._total))

    def _video(self, file: Path, seen: Seen, clips: Iterator[Clip | Failure]) -> None:
        known = self._writer.at_path(seen.path)
        if seen.same and known is not None:
            self._unchanged(file, seen, known)
        elif seen.duration_s is None:
            self._by_content(file, seen)
        else:
            status = "updated" if known is not None else "added"
            self._by_clips(file, seen, clips, status)

    def _unchanged(self, file: Path, seen: Seen, known: KnownVideo) -> None:
        tags = self._writer.tags([known.id]).get(known.id, {})
        if known.stamp != seen.stamp or not self._tags.items() <= tags.items():
            with self._writer.transaction():
                self._writer.restamp(known.id, seen.stamp)
                self._writer.set_tags(known.id, self._tags)
        self._tally.unchanged += 1
        self._tell("unchanged", file)

    def _by_content(self, file: Path, seen: Seen) -> None:
        """The content is known under other paths: take over from one that is gone, or copy."""
        others = self._writer.with_content(seen.content_hash)
        if not others:
            message = f"{file}: has the content of another file of this call that failed"
            self._fail(file, Failure(file, "decode", message))
            return
        gone = [other for other in others if not Path(other.path).exists()]
        rows = 0
        with self._writer.transaction():
            if gone:
                video_id = gone[0].id
                self._writer.rename(video_id, seen.path, seen.stamp)
            else:
                duration_s = self._writer.duration_s(others[0].id)
                video_id = self._writer.put_video(
                    seen.path, seen.content_hash, seen.stamp, duration_s
                )
                rows = self._writer.copy_rows(others[0].id, video_id)
            self._writer.set_tags(video_id, self._tags)
        self._tally.moved += 1
        self._tell("moved", file, rows)

    def _by_clips(
        self, file: Path, seen: Seen, clips: Iterator[Clip | Failure], status: str
    ) -> None:
        lost: list[Failure] = []
        try:
            with self._writer.transaction():
                video_id, rows = self._write(file, seen, clips, lost)
                self._writer.set_unreadable(video_id, len(lost))
                self._writer.set_tags(video_id, self._tags)
        except _TakenBackError as error:
            self._fail(file, error.failure)
            return
        if status == "updated":
            self._tally.updated += 1
        else:
            self._tally.added += 1
        failure = _partial(file, lost, rows) if lost else None
        if failure is not None:
            self._failed.append(failure)
        self._tell(status, file, rows, failure)

    def _write(
        self, file: Path, seen: Seen, clips: Iterator[Clip | Failure], lost: list[Failure]
    ) -> tuple[int, int]:
        """Rows of one video; returns its id and how many."""
        duration_s = seen.duration_s or 0.0
        video_id = self._writer.put_video(seen.path, seen.content_hash, seen.stamp, duration_s)
        rows = 0
        for batch in _batches(clips, lost):
            vectors, contexts = _encoded(self._model(), batch, self._keep_context)
            spans = [clip.window for clip in batch]
            _require_numbers(file, vectors, "vector", "see 'vlar doctor'")
            self._writer.insert_rows(video_id, spans, vectors)
            if contexts is not None:
                _require_numbers(file, contexts, "context", "index it without (--no-context)")
                self._writer.insert_contexts(video_id, spans, contexts)
            rows += len(batch)
        if not rows:
            raise _TakenBackError(lost[0])
        return video_id, rows

    def _fail(self, file: Path, failure: Failure) -> None:
        self._failed.append(failure)
        self._tell("failed", file, failure=failure)

    def _tell(self, status: str, file: Path, rows: int = 0, failure: Failure | None = None) -> None:
        self._done += 1
        self._tally.rows += rows
        if self._progress is not None:
            self._progress(AddEvent(status, self._done, self._total, file, rows, failure))


def _encoded(
    model: LibraryModel, clips: Sequence[Clip], keep_context: bool
) -> tuple[Float32, Float16 | None]:
    """Vectors (N, D) and, where they are to be kept, context tokens (N, k, E)."""
    encoded = model.encode(clips)
    vectors = np.stack([each.vector for each in encoded])
    if not keep_context or conditioning(model) is None:
        return vectors, None
    contexts = [each.context for each in encoded if each.context is not None]
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite and is refused
        tokens = np.stack(contexts).astype(np.float16)
    return vectors, tokens


def _require_numbers(file: Path, values: Float32 | Float16, what: str, advice: str) -> None:
    if not np.isfinite(values).all():
        message = f"{file}: the model gave a {what} that is not a number; {advice}"
        raise _TakenBackError(Failure(file, "model", message))


def _until_end(items: Iterator[Item]) -> Iterator[Clip | Failure]:
    for item in items:
        if isinstance(item, End):
            return
        if isinstance(item, Clip | Failure):
            yield item


def _batches(clips: Iterable[Clip | Failure], lost: list[Failure]) -> Iterator[list[Clip]]:
    """Clips of one video in groups; the same groups in every run, so that vectors are the same."""
    batch: list[Clip] = []
    size = 0
    for clip in clips:
        if isinstance(clip, Failure):
            lost.append(clip)
            continue
        batch.append(clip)
        size += clip.data.nbytes
        if len(batch) == _BATCH_CLIPS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _partial(file: Path, lost: list[Failure], rows: int) -> Failure:
    message = (
        f"{file}: {len(lost)} of {len(lost) + rows} windows cannot be read, the others are indexed "
        f"({lost[0].message})"
    )
    return Failure(file, lost[0].kind, message)
