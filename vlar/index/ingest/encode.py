"""Step 2 of an ``add``: clips to vectors, in batches that cross files.

Short recordings have few windows each, so a batch holds clips of several. The order of the stream
stays, and memory is bounded by one batch. Overlapping windows of a recording share what one session
of the model computes once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vlar.encoders.session import Session
from vlar.index.ingest.reader import FileRecord
from vlar.index.protocol import LibraryModel, keeps_context, session_of
from vlar.index.rows import Float16
from vlar.types import Clip, Failure, Float32, Window

_BATCH_CLIPS = 8
_MOST_WAITING = 64  # records and failures that wait for a batch to fill


@dataclass(frozen=True)
class EncodedWindow:
    """One window of a recording, ready to be a row.

    Attributes:
        window: Its time span.
        vector: (D,) float32 of unit length.
        context: (k, E) float16 tokens for re-ranking, or None.
        lost: Share (0 to 1) of its frames that could not be read or may be wrong.
    """

    window: Window
    vector: Float32
    context: Float16 | None = None
    lost: float = 0.0


def encode_clips(
    stream: Iterable[FileRecord | Clip | Failure],
    model: Callable[[], LibraryModel],
    keep_context: bool,
) -> Iterator[FileRecord | EncodedWindow | Failure]:
    """The stream of ``read_files`` with each clip replaced by its encoded window.

    Args:
        stream: Records, each followed by its clips.
        model: Loads the model; called for the first clip, so unchanged files need no model.
        keep_context: Whether to keep context tokens, where the model's text depends on the video.
    """
    waiting: list[FileRecord | Clip | Failure] = []
    clips = size = 0
    session: Session | None = None
    for item in stream:
        waiting.append(item)
        if isinstance(item, Clip):
            if session is None:
                session = session_of(model())
                keep_context = keep_context and keeps_context(model())
            clips, size = clips + 1, size + item.data.nbytes
        full = session and (clips == _BATCH_CLIPS or size >= session.batch_bytes)
        if full or not clips or len(waiting) - clips >= _MOST_WAITING:
            yield from _encoded(waiting, session, keep_context)
            waiting, clips, size = [], 0, 0
    yield from _encoded(waiting, session, keep_context)


def _encoded(
    items: list[FileRecord | Clip | Failure], session: Session | None, keep_context: bool
) -> Iterator[FileRecord | EncodedWindow | Failure]:
    batch = [item for item in items if isinstance(item, Clip)]
    encoded = iter(session.encode(batch) if session and batch else ())
    del batch
    for item in items:
        if not isinstance(item, Clip):
            yield item
            continue
        found = next(encoded)
        tokens = None
        if keep_context and found.context is not None:
            # What float16 cannot hold becomes infinite, and the writer refuses it.
            with np.errstate(over="ignore"):
                tokens = found.context.astype(np.float16)
        yield EncodedWindow(item.window, found.vector, tokens, item.lost)
