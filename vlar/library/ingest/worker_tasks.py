"""Work on a recording, wherever a worker runs: decode it to parts, encode the parts.

A part is what crosses from process to process: some clips of one recording, bounded in bytes. A
long recording has many, so several workers share it and none holds it whole.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from vlar.encoders.captions import Captioner, as_captioner
from vlar.errors import EncoderMismatchError, VlarError
from vlar.library.ingest.encode import EncodedWindow, PersonClips, encode_clips
from vlar.library.ingest.reader import StillFootage, clips_of, own_tags
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import LoadModel
from vlar.library.recording import FileRecord, failure_of
from vlar.media.base import Reader
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash
from vlar.model.library_model import LibraryModel
from vlar.types import Clip, Failure

_PART_CLIPS = 32
_PART_BYTES = 8 << 20
T = TypeVar("T")
_of_thread = threading.local()


@dataclass(frozen=True)
class ReadJob:
    """One recording to read.

    Attributes:
        number: Number by which its parts are recognised.
        path: Local or shared path, or an address.
        only_hash: Return the hash of its content alone; nothing is decoded.
        content_hash: Hash of its content, where it is known already.
        version: Version of a remote file; a fetched copy has the same one.
        is_remote: It is fetched first: the path is an address.
        span: Bytes of an archive: offset and number; None for a file of its own.
    """

    number: int
    path: str
    only_hash: bool = False
    content_hash: str = ""
    version: str = ""
    is_remote: bool = False
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Facts:
    """Facts of a recording that reading found; ``failure`` is why it cannot be read."""

    content_hash: str = ""
    duration_s: float = 0.0
    failure: Failure | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class RecordingPart(Generic[T]):
    """Some of the windows of a recording, in order.

    Attributes:
        job: Number of its job.
        index: Place among the parts of the recording, from 0.
        facts: About the recording.
        items: ``Clip`` before and ``EncodedWindow`` after encoding; a ``Failure`` is a window that
            cannot be read.
        is_last: No part follows.
        still_windows: Windows that were left out because nothing moves; given with the last part.
        still_s: Seconds that no other window covers.
    """

    job: int
    index: int
    facts: Facts
    items: Sequence[T | Failure] = ()
    is_last: bool = False
    still_windows: int = 0
    still_s: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of its clips."""
        return sum(item.data.nbytes for item in self.items if isinstance(item, Clip))


DecodedPart = RecordingPart[Clip]
EncodedPart = RecordingPart[EncodedWindow]


@dataclass(frozen=True)
class Setup:
    """Facts that every worker of a call needs; they travel once.

    Attributes:
        manifest: The model, the sensor and the windows.
        load: Loads the model on a device.
        keep_context: Whether to keep context tokens.
        captioner: Captioner of each window, or its spec; None for no captions.
        skip_still: Leave windows of video out in which nothing moves.
        remote: Storage of copies of remote files; None where the call has none.
        first: First (at most two) recordings of the call: several are read in worker processes.
        keep: Records to keep of windows: ``none``, ``frames``, ``records``.
    """

    manifest: LibraryManifest
    load: LoadModel
    keep_context: bool = True
    captioner: str | Captioner | None = None
    skip_still: bool = False
    remote: Any = None
    first: tuple[Path, ...] = ()
    keep: str = "none"


def decode(
    job: ReadJob, setup: Setup, source: Reader | None = None, part_bytes: int = _PART_BYTES
) -> Iterator[DecodedPart]:
    """The parts of a recording; one without items where it cannot be read."""
    source = source or reader(setup.manifest.modality)
    if not job.is_remote:
        yield from _decoded(job, Path(job.path), setup, source, part_bytes)
        return
    try:
        with setup.remote.fetched(job.path, job.version, job.span) as file:
            for part in _decoded(job, file, setup, source, part_bytes):
                yield _renamed(part, str(file), job.path)
    except VlarError as error:  # it could not be fetched
        failure = Failure(Path(job.path), error.kind, error.message)
        yield RecordingPart(job.number, 0, Facts(failure=failure), is_last=True)


def _decoded(
    job: ReadJob, file: Path, setup: Setup, source: Reader, part_bytes: int
) -> Iterator[DecodedPart]:
    facts = _facts(job, file, source)
    if job.only_hash or facts.failure is not None:
        yield RecordingPart(job.number, 0, facts, is_last=True)
        return
    still = StillFootage()
    clips = clips_of(source, file, facts.duration_s, setup.manifest)
    if setup.skip_still and setup.manifest.modality == "video":
        clips = still.without(clips)
    if setup.manifest.persons:
        clips = with_persons(clips, setup.manifest.persons, source)
    for index, (group, is_last) in enumerate(_groups(clips, part_bytes)):
        part = RecordingPart(job.number, index, facts, group, is_last)
        yield replace(part, still_windows=still.windows, still_s=still.seconds) if is_last else part


def with_persons(
    clips: Iterator[Clip | Failure], detector: str, source: Reader
) -> Iterator[Clip | Failure]:
    """The clips of one recording, each with those of the people in it behind it."""
    clips_by_person: dict[tuple[str, int], PersonClips] = _of_thread.__dict__.setdefault(
        "people", {}
    )
    # A detector holds a state, so each thread has its own; it stays loaded.
    people = clips_by_person.setdefault((detector, id(source)), PersonClips(detector, source))
    for item in people.behind(clips):
        if not isinstance(item, FileRecord):
            yield item


def _facts(job: ReadJob, file: Path, source: Reader) -> Facts:
    digest = job.content_hash
    try:
        digest = digest or content_hash(file)
        if job.only_hash:
            return Facts(digest)
        info = source.probe(file)
        return Facts(digest, info.duration_s, tags=own_tags(info))
    except (VlarError, OSError) as error:
        return Facts(digest, failure=failure_of(file, error))


def _groups(
    clips: Iterator[Clip | Failure], most_bytes: int
) -> Iterator[tuple[list[Clip | Failure], bool]]:
    """Clips in groups that end with the clip that fills them, and whether a group is the last.

    The last one may be empty: none waits for the clip that follows.
    """
    group: list[Clip | Failure] = []
    size = 0
    for item in clips:
        group.append(item)
        size += item.data.nbytes if isinstance(item, Clip) else 0
        del item
        if len(group) == _PART_CLIPS or size >= most_bytes:
            yield group, False
            group, size = [], 0
    yield group, True


def _renamed(part: DecodedPart, local: str, url: str) -> DecodedPart:
    """A part of a file that was fetched, which names the address in place of the copy."""

    def named(failure: Failure) -> Failure:
        return Failure(Path(url), failure.kind, failure.message.replace(local, url))

    items = [
        named(item) if isinstance(item, Failure) else replace(item, path=Path(url))
        for item in part.items
    ]
    failure = part.facts.failure
    facts = replace(part.facts, failure=None if failure is None else named(failure))
    return replace(part, facts=facts, items=items)


def _with_heads(
    parts: Iterable[DecodedPart], drawn: deque[EncodedPart]
) -> Iterator[FileRecord | Clip | Failure]:
    """Items of parts for the encoder, a record before each; the bare parts go into a queue."""
    head = FileRecord(Path(), "changed", "")
    for part in parts:
        drawn.append(cast("EncodedPart", replace(part, items=())))
        items = part.items
        del part
        yield head
        yield from items


class PartEncoder:
    """Encodes parts with a model that is loaded for the first clip."""

    def __init__(self, setup: Setup, device: str | None = None) -> None:
        self._setup, self._device = setup, device
        self._loaded: LibraryModel | None = None
        self._writes: Captioner | None = None

    def encode(self, parts: Iterable[DecodedPart]) -> Iterator[EncodedPart]:
        """The same parts with each clip replaced by its encoded window; batches cross parts.

        A part is given once the next one is drawn.

        Raises:
            EncoderMismatchError: the model that is loaded here is not that of the library.
            VlarError: the model cannot be loaded or cannot encode.
        """
        self._writes = self._writes or as_captioner(self._setup.captioner)
        drawn: deque[EncodedPart] = deque()
        stream = _with_heads(parts, drawn)
        settings = self._setup.keep_context, self._writes, self._setup.keep
        encoded = encode_clips(stream, self._model, *settings)
        items: list[EncodedWindow | Failure] = []
        next(encoded, None)  # the head of the first part
        for item in encoded:
            if not isinstance(item, FileRecord):
                items.append(item)
                continue
            yield replace(drawn.popleft(), items=items)
            items = []
        if drawn:
            yield replace(drawn.popleft(), items=items)

    def _model(self) -> LibraryModel:
        if self._loaded is None:
            model = self._setup.load(self._device)
            manifest = self._setup.manifest
            if (model.fingerprint, model.dim) != (manifest.fingerprint, manifest.dim):
                raise EncoderMismatchError(
                    f"a worker loaded model {model.name!r} with fingerprint "
                    f"{model.fingerprint[:12]}, the library's has {manifest.fingerprint[:12]}; "
                    "install the same vlar and the same weights on every machine"
                )
            self._loaded = model
        return self._loaded
