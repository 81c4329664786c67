"""Import rows that are vectors already: from another index, a feature file, a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlar.errors import UsageError
from vlar.index.paths import is_unicode, place
from vlar.index.report import AddReport
from vlar.index.store.base import LibraryWriter
from vlar.index.store.row_check import MOST_SECONDS, STORED
from vlar.index.store.sqlite import NO_FILE
from vlar.index.store.values import is_length, is_path
from vlar.index.validation import checked_tags
from vlar.types import Float32, Window

_ROWS_A_COMMIT = 4096


@dataclass(frozen=True)
class VectorVideo:
    """A video as its vectors.

    Attributes:
        path: Its name; the file need not exist. A later ``add`` of the file reads it.
        windows: N distinct spans.
        vectors: (N, D) of unit length, by the library's model.
        duration_s: Length in seconds; None is the end of the last window.
        tags: As in ``Library.add``.
    """

    path: str
    windows: Sequence[Window]
    vectors: Float32
    duration_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    def check(self, dim: int) -> None:
        """Refuse vectors that cannot be rows.

        Raises:
            UsageError: wrong shape, no window, not finite, or not of unit length; a path, a tag or
                a span that a library cannot hold.
        """
        if not is_path(self.path) or not is_unicode(self.path):
            raise UsageError(f"{self.path!r:.80} cannot be the path of a recording; give another")
        checked_tags(self.tags)
        for window in self.windows:
            if not 0 <= window.start_s <= window.end_s < MOST_SECONDS:
                raise UsageError(
                    f"{self.path}: a window from {window.start_s} to {window.end_s} s; give spans "
                    "in seconds that end after they start"
                )
        if self.duration_s is not None and not is_length(float(self.duration_s)):
            raise UsageError(f"{self.path}: a length of {self.duration_s} s; give seconds")
        shape = (len(self.windows), dim)
        if self.vectors.shape != shape or not self.windows:
            raise UsageError(
                f"{self.path}: vectors of shape {self.vectors.shape}; {len(self.windows)} windows "
                f"of this library need {shape}, and at least one window"
            )
        lengths = np.linalg.norm(self.vectors, axis=1)
        if not np.all(np.abs(lengths - 1) < 0.01):  # also not a number
            raise UsageError(
                f"{self.path}: a vector of length {lengths[np.argmax(np.abs(lengths - 1))]:.3g}; "
                "give vectors of unit length"
            )


def add_vectors(writer: LibraryWriter, videos: Iterable[VectorVideo], dim: int) -> AddReport:
    """Write videos, several a commit, each whole; earlier rows of the same path are replaced.

    Raises:
        UsageError: the vectors of a video cannot be rows; the videos before it are kept.
    """
    added = updated = rows = 0
    waiting: list[VectorVideo] = []

    def commit() -> None:
        nonlocal added, updated, rows
        with writer.transaction():
            for video in waiting:
                known = writer.at_path(place(video.path)) is not None
                _write(writer, video)
                updated, added = updated + known, added + (not known)
                rows += len(video.windows)
        waiting.clear()

    try:
        for video in videos:
            video.check(dim)
            waiting.append(video)
            if sum(len(each.windows) for each in waiting) >= _ROWS_A_COMMIT:
                commit()
    finally:
        commit()
    return AddReport(added, updated, 0, 0, (), rows)


def _write(writer: LibraryWriter, video: VectorVideo) -> None:
    content = hashlib.sha256(np.ascontiguousarray(video.vectors.astype(STORED)).data).hexdigest()
    end_s = max(window.end_s for window in video.windows)
    duration_s = end_s if video.duration_s is None else video.duration_s
    video_id = writer.put_video(place(video.path), f"vectors:{content}", NO_FILE, duration_s)
    writer.insert_rows(video_id, video.windows, video.vectors)
    writer.update(video_id, tags=video.tags)
