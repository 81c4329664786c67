"""Step 2 of an ``add``: clips to vectors, in batches that cross files.

Short recordings have few windows each, so a batch holds clips of several. The order of the stream
stays, and memory is bounded by one batch. Overlapping windows of a recording share what one session
of the model computes once. Cuts of people share nothing: each is a clip by itself, as ``--who``
judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlar.encoders.captions import Captioner, one_text
from vlar.encoders.session import Session
from vlar.library.recording import FileRecord
from vlar.library.records import RecordPacker
from vlar.library.rows import Box, Float16, RowPerson
from vlar.media.base import Reader
from vlar.model.library_model import LibraryModel
from vlar.types import Clip, Encoded, Failure, Float32, Sampling, Window

if TYPE_CHECKING:
    from vlar.people.base import Detector
    from vlar.people.people import People

_SAME = 0.3  # intersection over union of a person's box when it is looked for once more


class PersonClips:
    """Finds people in the windows of recordings and cuts them out.

    Args:
        spec: Spec of the detector, which is loaded for the first clip.
        source: Reads a window once more where a detector needs more or larger frames.
    """

    def __init__(self, spec: str, source: Reader) -> None:
        self._spec, self._source = spec, source

    def behind(
        self, stream: Iterable[FileRecord | Clip | Failure]
    ) -> Iterator[FileRecord | Clip | Failure]:
        """The stream with the clips of people, each behind the clip of its window."""
        from vlar.people.numbering import PersonNumbers

        numbers = PersonNumbers()
        for item in stream:
            if isinstance(item, FileRecord):
                numbers = PersonNumbers()
            yield item
            if isinstance(item, Clip):
                people = self._found(item)
                for index, number in enumerate(numbers.of(people)):
                    yield _cut(people, index, item, number)

    def of_rows(
        self, file: Path, rows: Sequence[tuple[Window, RowPerson | None]], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """The clip of each row of a recording: of its window, or of one person of it.

        Args:
            file: The recording.
            rows: Rows of one window stand together.
            sampling: Samples that the reader gives for a window.
        """
        groups = [(window, list(group)) for window, group in groupby(rows, itemgetter(0))]
        windows = [window for window, _ in groups]
        clips = self._source.read_windows(file, windows, sampling)
        for clip, (_, group) in zip(clips, groups, strict=True):
            whom = [person for _, person in group]
            if isinstance(clip, Failure):
                yield from [clip] * len(whom)
                continue
            cuts = iter(self._again(clip, [person for person in whom if person is not None]))
            yield from (clip if person is None else next(cuts) for person in whom)

    def _again(self, clip: Clip, wanted: Sequence[RowPerson]) -> list[Clip | Failure]:
        """The cuts of people whose boxes are known."""
        if not wanted:
            return []
        people = self._found(clip)
        boxes = [people.person(number).box for number in range(len(people.tracks))]
        cuts: list[Clip | Failure] = []
        for person in wanted:
            alike = [_shared(box, person.box) for box in boxes]
            if alike and max(alike) > _SAME:
                cuts.append(_cut(people, alike.index(max(alike)), clip, person.track))
                continue
            message = f"{clip.path}: person {person.track} is not found once more"
            cuts.append(Failure(clip.path, "person", message))
        return cuts

    @cached_property
    def _detector(self) -> Detector:
        from vlar.people.base import load_detector

        return load_detector(self._spec)

    def _found(self, clip: Clip) -> People:
        from vlar.people.people import find_people

        return find_people(clip, self._detector, source=self._source)


def person_of_clip(clip: Clip) -> RowPerson | None:
    """Person that a clip of this stream shows; None for the whole frame."""
    person = clip.meta.get("person")
    return person if isinstance(person, RowPerson) else None


def _cut(people: People, at: int, clip: Clip, number: int) -> Clip:
    person = RowPerson(number, people.person(at).box)
    cut = people.cut_out(at, clip)
    return replace(cut, meta={**cut.meta, "person": person})


def _shared(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / max(sum(areas) - width * height, 1e-9)


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
        caption: Text of what it shows; None where captions were not asked for.
        person: Person that it shows; None for the whole frame.
        frames: What is kept of it (``vlar.library.records``); empty for none.
    """

    window: Window
    vector: Float32
    context: Float16 | None = None
    lost: float = 0.0
    caption: str | None = None
    person: RowPerson | None = None
    frames: bytes = b""


def encode_clips(
    stream: Iterable[FileRecord | Clip | Failure],
    model: Callable[[], LibraryModel],
    keep_context: bool,
    captioner: Captioner | None = None,
    keep: str = "none",
) -> Iterator[FileRecord | EncodedWindow | Failure]:
    """The same stream with each clip replaced by its encoded window.

    Args:
        stream: Records, each followed by its clips.
        model: Loads the model; called for the first clip, so unchanged files need no model.
        keep_context: Whether to keep context tokens, where the model's text depends on the video.
        captioner: Writes about each window; None for no captions.
        keep: Records that windows of whole frames carry: ``none``, ``frames``, ``records``.
    """
    packer: RecordPacker | None = None
    waiting: list[FileRecord | Clip | Failure] = []
    clips = size = 0
    session: Session | None = None
    shared = False
    for item in stream:
        waiting.append(item)
        if isinstance(item, Clip):
            if session is None:
                packer = RecordPacker(keep, getattr(model(), "encoder", None))
                shared = _shares(model(), captioner)
                session = _session(model(), shared or packer.wants_features)
                keep_context = keep_context and model().keeps_context
            clips, size = clips + 1, size + item.data.nbytes
        full = session and (clips == _BATCH_CLIPS or size >= session.batch_bytes)
        if full or not clips or len(waiting) - clips >= _MOST_WAITING:
            yield from _encoded(waiting, model, session, keep_context, captioner, shared, packer)
            waiting, clips, size = [], 0, 0
    yield from _encoded(waiting, model, session, keep_context, captioner, shared, packer)


def _session(model: LibraryModel, features: bool) -> Session:
    """A session of the model; with features where a captioner or a record has those."""
    encoder = getattr(model, "encoder", None)
    return encoder.session() if encoder and features else model.session()


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
    packer: RecordPacker | None,
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
        row = next(encoded if person is None else alone)
        tokens = None
        if keep_context and row.context is not None:
            # What float16 cannot hold becomes infinite, and the writer refuses it.
            with np.errstate(over="ignore"):
                tokens = row.context.astype(np.float16)
        caption, frames = None, b""
        if person is None:
            caption = next(captions)
            frames = b"" if packer is None else packer.packed(item, row)
        yield EncodedWindow(item.window, row.vector, tokens, item.lost, caption, person, frames)
