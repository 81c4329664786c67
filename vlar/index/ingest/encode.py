"""Step 2 of an ``add``: clips to vectors, in batches that cross files.

Short recordings have few windows each, so a batch holds clips of several. The order of the stream
stays, and memory is bounded by one batch. Overlapping windows of a recording share what one session
of the model computes once. Cuts of people share nothing: each is a clip by itself, as ``--who``
judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlar.captioning.base import Captioner, one_text
from vlar.encoders.session import Session
from vlar.index.ingest.people import person_of_clip
from vlar.index.ingest.reader import FileRecord
from vlar.index.protocol import LibraryModel, keeps_context, session_of
from vlar.index.rows import Float16, RowPerson
from vlar.types import Clip, Encoded, Failure, Float32, Window

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
        caption: What it is said to show; None where captions were not asked for.
        person: Whom it shows; None for the whole frame.
    """

    window: Window
    vector: Float32
    context: Float16 | None = None
    lost: float = 0.0
    caption: str | None = None
    person: RowPerson | None = None


def encode_clips(
    stream: Iterable[FileRecord | Clip | Failure],
    model: Callable[[], LibraryModel],
    keep_context: bool,
    captioner: Captioner | None = None,
) -> Iterator[FileRecord | EncodedWindow | Failure]:
    """The stream of ``read_files`` with each clip replaced by its encoded window.

    Args:
        stream: Records, each followed by its clips.
        model: Loads the model; called for the first clip, so unchanged files need no model.
        keep_context: Whether to keep context tokens, where the model's text depends on the video.
        captioner: Writes about each window; None for no captions.
    """
    waiting: list[FileRecord | Clip | Failure] = []
    clips = size = 0
    session: Session | None = None
    shared = False
    for item in stream:
        waiting.append(item)
        if isinstance(item, Clip):
            if session is None:
                session, shared = _session(model(), captioner), _shares(model(), captioner)
                keep_context = keep_context and keeps_context(model())
            clips, size = clips + 1, size + item.data.nbytes
        full = session and (clips == _BATCH_CLIPS or size >= session.batch_bytes)
        if full or not clips or len(waiting) - clips >= _MOST_WAITING:
            yield from _encoded(waiting, model, session, keep_context, captioner, shared)
            waiting, clips, size = [], 0, 0
    yield from _encoded(waiting, model, session, keep_context, captioner, shared)


def _session(model: LibraryModel, captioner: Captioner | None) -> Session:
    """A session of the model; with features where a captioner reads those of the same encoder."""
    encoder = getattr(model, "encoder", None)
    return encoder.session() if encoder and _shares(model, captioner) else session_of(model)


def _shares(model: LibraryModel, captioner: Captioner | None) -> bool:
    """Return whether a captioner reads the features of this model."""
    return captioner is not None and captioner.encoder_fingerprint == model.fingerprint


def _captions(
    captioner: Captioner | None, batch: Sequence[Clip], encoded: Sequence[Encoded], shared: bool
) -> list[str | None]:
    """Captions of clips; frames are looked at once where features are shared."""
    if captioner is None:
        return [None] * len(batch)
    if shared:
        return [one_text(captioner.caption_encoded(row)) for row in encoded]
    return [one_text(captions) for captions in captioner.caption(batch)]


def _encoded(
    items: list[FileRecord | Clip | Failure],
    model: Callable[[], LibraryModel],
    session: Session | None,
    keep_context: bool,
    captioner: Captioner | None,
    shared: bool,
) -> Iterator[FileRecord | EncodedWindow | Failure]:
    clips = [item for item in items if isinstance(item, Clip)]
    batch = [clip for clip in clips if person_of_clip(clip) is None]
    cuts = [clip for clip in clips if person_of_clip(clip) is not None]
    rows = session.encode(batch) if session and batch else []
    captions = iter(_captions(captioner, batch, rows, shared))
    encoded, alone = iter(rows), iter(model().encode(cuts) if cuts else [])
    del clips, batch, cuts, rows
    for item in items:
        if not isinstance(item, Clip):
            yield item
            continue
        person = person_of_clip(item)
        found = next(encoded if person is None else alone)
        tokens = None
        if keep_context and found.context is not None:
            # What float16 cannot hold becomes infinite, and the writer refuses it.
            with np.errstate(over="ignore"):
                tokens = found.context.astype(np.float16)
        caption = next(captions) if person is None else None
        yield EncodedWindow(item.window, found.vector, tokens, item.lost, caption, person)
