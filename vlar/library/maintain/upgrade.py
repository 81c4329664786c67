"""Bring a library up to date with its model: only the parts of its vectors that changed.

Blocks of the vectors whose fingerprint is unchanged are copied as stored; the others (all of them
if necessary) are computed from the videos. The new rows are staged in a second store with one
commit a video. So an interrupted run resumes, and readers use the old rows meanwhile. One
transaction replaces the rows at the end.
"""

from __future__ import annotations

import errno
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.model_spec import ModelSpec
from vlar.errors import LibraryError, UsageError, VlarError, explained
from vlar.library.folder import make_folder
from vlar.library.ingest.encode import PersonClips, person_of_clip
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import lasting_name
from vlar.library.records import clip_of, inputs_of, needed_by
from vlar.library.rows import Bool, RowBatch
from vlar.library.store.annotations import KeptFrames
from vlar.library.store.base import LibraryStore
from vlar.library.store.values import KnownVideo
from vlar.library.store.writer import SqliteWriter
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash
from vlar.model.library_model import LibraryModel
from vlar.types import Clip, Failure, Float32

if TYPE_CHECKING:
    from vlar.library.ingest.runners.base import Runner
    from vlar.library.model_provider import LoadModel

_BATCH_CLIPS = 8
STAGE = ".upgrade"  # in the library; hidden files do not change what a folder is


UpgradeProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class UpgradeRequest:
    """Request of ``Library.upgrade``.

    Attributes:
        lazy: Map the rows, and encode some of them (``vlar.library.maintain.lazy_upgrade``).
        minutes: Time to encode mapped rows in; None for all of them, or none with ``lazy``.
        rows: Ids of the rows to encode, the first first; empty for any.
        progress: Called with the number of recordings done and their total.
        runner: Encodes mapped rows, besides this process.
        load: Gives what loads the model of a library in its workers.
    """

    lazy: bool = False
    minutes: float | None = None
    rows: Sequence[int] = ()
    progress: UpgradeProgress | None = None
    runner: Runner | None = None
    load: Callable[[LibraryManifest], LoadModel] | None = None


def target_of(
    address: str, manifest: LibraryManifest, model: LibraryModel, missing: Sequence[str]
) -> LibraryManifest:
    """The manifest of a library after its upgrade to a model.

    Raises:
        UsageError: blocks are missing, and people are found by a path.
    """
    spec = manifest.spec
    if ":" in manifest.persons and missing:
        raise UsageError(
            f"library {address} found people with {manifest.persons!r:.200}, a path that an "
            "upgrade does not open; index the videos again into a new library"
        )
    same = model.name == manifest.model
    target = LibraryManifest.new(
        model,
        manifest.model if same else lasting_name(ModelSpec.parse(model.name)),
        spec.window_s,
        spec.stride_s,
        spec.long_times,
        spec.shots,
    )
    return replace(target, persons=manifest.persons)


def leave_no_stage(folder: Path) -> None:
    """Delete the staged rows."""
    shutil.rmtree(folder / STAGE, ignore_errors=True)


def open_stage(folder: Path, target: LibraryManifest) -> SqliteWriter:
    """The store of the staged rows; one for another target or a damaged one is deleted."""
    stage_folder = folder / STAGE
    if stage_folder.is_symlink() or (stage_folder.exists() and not stage_folder.is_dir()):
        raise LibraryError(
            f"library {folder} cannot be brought up to date ({STAGE} is not a folder of its own); "
            f"delete {stage_folder}"
        )
    make_folder(stage_folder)
    try:
        stage = SqliteWriter.open_to_write(stage_folder)
    except LibraryError:
        leave_no_stage(folder)
        make_folder(stage_folder)
        stage = SqliteWriter.open_to_write(stage_folder)
    if stage.meta().get("fingerprint", target.fingerprint) != target.fingerprint:
        stage.close()
        shutil.rmtree(stage_folder)
        return open_stage(folder, target)
    with stage.transaction():
        stage.set_meta(target.to_meta())
    return stage


Convert = Callable[[RowBatch], tuple[Float32, Bool]]  # new vectors (N, D), and which are predicted


class ModelChange(Protocol):
    """Rows of the later model, which wait until they replace all others at once.

    Attributes:
        by_map: Rows are mapped first also where all of them are to be encoded.
    """

    by_map: ClassVar[bool] = False

    def begin(self, target: LibraryManifest) -> None:
        """Begin a change to a target, or go on with one that was interrupted."""
        ...

    def staged(self, video: KnownVideo, rows: RowBatch) -> Float32 | None:
        """The new vectors (N, D) of rows that an earlier run staged, all of them; else None."""
        ...

    def stage(self, video: KnownVideo, rows: RowBatch, vectors: Float32) -> None:
        """Keep the new vectors (N, D) of some rows of a recording."""
        ...

    def commit(self, target: LibraryManifest, convert: Convert) -> None:
        """Replace the vectors of all rows and the manifest at once.

        Damaged rows are left out, and their recordings are read again by the next ``add``.
        """
        ...

    def clear(self) -> None:
        """Delete what waits."""
        ...


class RowEncoder:
    """Computes blocks of rows again from their recordings, as ``add`` does.

    Args:
        target: Manifest of the rows.
        encoder: Encoder of the model.
        wanted: Names of the blocks.
        library: Holds the records that were kept, for recordings that are gone or have changed.

    Attributes:
        from_frames: Rows that were computed from such records.
    """

    def __init__(
        self,
        target: LibraryManifest,
        encoder: Encoder,
        wanted: Sequence[str],
        library: LibraryStore,
    ) -> None:
        self.target, self.wanted = target, wanted
        self.from_frames = 0
        self._encoder, self._library = encoder, library

    def fresh(self, video: KnownVideo, stored: RowBatch) -> tuple[Float32, dict[int, Failure]]:
        """The blocks of each row (N, D), and which rows cannot be read: these are blank.

        Raises:
            VlarError: the recording has changed, or none of the rows can be read.
            OSError: it is gone.
        """
        file = Path(video.path)
        new_vectors = np.zeros((len(stored.spans), self.target.dim), np.float32)
        lost: dict[int, Failure] = {}
        if not self.wanted:
            return new_vectors, lost
        clips = enumerate(self._clips(video, stored))
        session = self._encoder.session(features=False)  # as ``add`` encodes them
        while batch := list(itertools.islice(clips, _BATCH_CLIPS)):
            read = [(index, clip) for index, clip in batch if isinstance(clip, Clip)]
            cuts = [(index, clip) for index, clip in read if person_of_clip(clip) is not None]
            whole = [(index, clip) for index, clip in read if person_of_clip(clip) is None]
            for part, encode in ((whole, session), (cuts, self._encoder)):  # as ``add`` does
                if part:
                    clips_of_part = [clip for _, clip in part]
                    vectors = encode.encode_blocks(clips_of_part, self.wanted)
                    new_vectors[[index for index, _ in part]] = vectors
            for index, clip in batch:
                if isinstance(clip, Failure):
                    lost[index] = clip
                    new_vectors[index] = self.blank
        if not np.isfinite(new_vectors).all():
            raise VlarError(f"{file}: the model gave a vector that is not a number")
        if lost and len(lost) == len(new_vectors):
            raise VlarError(next(iter(lost.values())).message)
        return new_vectors, lost

    def _clips(self, video: KnownVideo, stored: RowBatch) -> Iterator[Clip | Failure]:
        file, sampling = Path(video.path), self.target.spec.sampling
        is_there = file.is_file() or file.is_dir()  # a FIFO waits for ever
        if is_there and content_hash(file) == video.content_hash:
            source = reader(self.target.modality)
            people = PersonClips(self.target.persons, source)
            rows = zip(stored.windows, stored.persons, strict=True)
            return people.of_rows(file, list(rows), sampling)
        frames = {row[:2]: row for row in self._library.annotations(KeptFrames, [video.id])}
        if not frames and not is_there:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(file))
        if not frames:
            raise VlarError(f"{file}: has changed since it was indexed")
        return self._of_frames(file, stored, frames)

    def _of_frames(
        self, file: Path, stored: RowBatch, frames: Mapping[tuple[float, float], KeptFrames]
    ) -> Iterator[Clip | Failure]:
        """The clip of each row from the record that was kept of its window."""
        sampling, nothing = self.target.spec.sampling, np.zeros(0)
        needed = needed_by(self._encoder, self.wanted)
        for window, person in zip(stored.windows, stored.persons, strict=True):
            picture = frames.get((window.start_s, window.end_s)) if person is None else None
            like = Clip(file, window, self.target.modality, nothing, nothing)
            clip = None if picture is None else clip_of(picture, like, sampling)
            lacks = needed if clip is None else needed - inputs_of(clip)
            if clip is None or lacks:
                what = " and ".join(sorted(lacks)) if clip else "record"
                yield Failure(file, "decode", f"{file}: is not as it was, and no {what} kept of it")
                continue
            self.from_frames += 1
            yield clip

    @cached_property
    def blank(self) -> Float32:
        """(D,) the blocks of a clip that shows nothing; zeros where the sensor has none."""
        sampling = self.target.spec.sampling
        blank = reader(self.target.modality).blank(sampling)
        if not blank:
            return np.zeros(self.target.dim, np.float32)
        data = np.repeat(blank[0].data[:1], sampling.n_frames, axis=0)
        clip = replace(blank[0], data=data, times_s=np.arange(sampling.n_frames) / 10)
        return self._encoder.encode_blocks([clip], self.wanted)[0]


class FolderChange(ModelChange):
    """Rows wait in a second store inside the folder."""

    def __init__(self, folder: Path, library: SqliteWriter) -> None:
        self._folder, self._library = folder, library
        self._target: LibraryManifest | None = None
        self._opened: SqliteWriter | None = None

    def close(self) -> None:
        """Close the second store."""
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def begin(self, target: LibraryManifest) -> None:
        self._target = target

    def _stage(self) -> SqliteWriter:
        assert self._target is not None
        with explained(LibraryError, f"{self._folder / STAGE}: cannot be written"):
            self._opened = self._opened or open_stage(self._folder, self._target)
        return self._opened

    def staged(self, video: KnownVideo, rows: RowBatch) -> Float32 | None:
        stage = self._stage()
        staged = stage.at_path(video.path)
        if self._target and staged is not None and staged.content_hash == video.content_hash:
            earlier = stage.rows(stage.row_ids([staged.id]).tolist(), self._target.dim)
            if earlier.spans == rows.spans and earlier.persons == rows.persons:
                return earlier.vectors
        return None

    def stage(self, video: KnownVideo, rows: RowBatch, vectors: Float32) -> None:
        stage = self._stage()
        with stage.transaction():
            video_id = stage.put_video(video.path, video.content_hash, video.stamp, 0.0)
            stage.insert_rows(video_id, rows.windows, vectors, rows.persons)

    def commit(self, target: LibraryManifest, convert: Convert) -> None:
        library = self._library
        manifest = LibraryManifest.of(library)
        assert manifest is not None
        with library.transaction():
            library.set_meta(target.to_meta())
            for video in library.recordings():
                ids = library.row_ids([video.id]).tolist()
                rows = library.rows(ids, manifest.dim)
                if len(rows.ids) < len(ids):  # damaged ones have nothing to be mapped from
                    library.read_again(video.path)
                if len(rows.ids):
                    vectors, marks = convert(rows)
                    facts = rows.windows, vectors, rows.persons, marks.tolist()
                    library.replace_rows(video.id, *facts)

    def clear(self) -> None:
        self.close()
        leave_no_stage(self._folder)
