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
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.model_spec import ModelSpec
from vlar.errors import LibraryError, UsageError, VlarError
from vlar.library import manifest as blocks
from vlar.library.folder import check_place, make_folder
from vlar.library.ingest.encode import PersonClips, person_of_clip
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import lasting_name, load_on, require_named
from vlar.library.records import clip_of, inputs_of, needed_by
from vlar.library.rows import RowBatch, RowPerson, UpgradeReport
from vlar.library.store.annotations import KeptFrames
from vlar.library.store.base import LibraryStore
from vlar.library.store.trust import writer_lock
from vlar.library.store.values import KnownVideo
from vlar.library.store.writer import SqliteWriter
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash
from vlar.model.library_model import LibraryModel
from vlar.types import Clip, Failure, Float32, Window

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


def upgrade(
    path: str | Path, model: LibraryModel | None = None, progress: UpgradeProgress | None = None
) -> UpgradeReport:
    """Bring a library up to date with its model, all of it (``Library.upgrade``).

    ``model`` is that of the library where it is None.
    """
    folder = Path(path)
    check_place(folder, create=False)
    with writer_lock(folder), closing(SqliteWriter.open_to_write(folder)) as library:
        return renew(folder, library, model, progress)


def renew(
    folder: Path,
    library: SqliteWriter,
    model: LibraryModel | None,
    progress: UpgradeProgress | None,
) -> UpgradeReport:
    """Bring an open library up to date; the caller holds the writer's lock."""
    manifest = LibraryManifest.of(library)
    if manifest is None:
        raise LibraryError(f"library {folder} is empty; there is nothing to bring up to date")
    if model is None:
        require_named(folder, manifest.model, None)
        model = load_on(manifest.model)
    if model.fingerprint == manifest.fingerprint:
        leave_no_stage(folder)  # of a run that ended between its last commit and this
        return UpgradeReport(tuple(p.name for p in blocks.declared(model)), (), 0, 0, ())
    old, new = blocks.from_text(manifest.blocks), blocks.declared(model)
    same = model.name == manifest.model
    encoder: Encoder | None = getattr(model, "encoder", None)
    if encoder is None or not blocks.can_upgrade(old, new, same):
        have = ", ".join(part.name for part in old) or "of unknown parts"
        raise UsageError(
            f"library {folder} ({have}) cannot be brought up to date with model {model.name!r}: "
            "its stored vectors share no part with the model, or have parts that the model "
            "lacks; change its model with --lazy, or index the videos again into a new library"
        )
    target = target_of(str(folder), manifest, model, blocks.missing_blocks(old, new))
    with closing(open_stage(folder, target)) as stage:
        parts = (old, new)
        work = _Upgrade(library, stage, manifest.dim, target, encoder, parts, progress)
        report = work.run()
    leave_no_stage(folder)
    return report


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
        vectors_made = np.zeros((len(stored.spans), self.target.dim), np.float32)
        lost: dict[int, Failure] = {}
        if not self.wanted:
            return vectors_made, lost
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
                    vectors_made[[index for index, _ in part]] = vectors
            for index, clip in batch:
                if isinstance(clip, Failure):
                    lost[index] = clip
                    vectors_made[index] = self.blank
        if not np.isfinite(vectors_made).all():
            raise VlarError(f"{file}: the model gave a vector that is not a number")
        if lost and len(lost) == len(vectors_made):
            raise VlarError(next(iter(lost.values())).message)
        return vectors_made, lost

    def _clips(self, video: KnownVideo, stored: RowBatch) -> Iterator[Clip | Failure]:
        file, sampling = Path(video.path), self.target.spec.sampling
        is_there = file.is_file() or file.is_dir()  # a FIFO waits for ever
        if is_there and content_hash(file) == video.content_hash:
            source = reader(self.target.modality)
            people = PersonClips(self.target.persons, source)
            rows = zip(windows_of(stored), people_of(stored), strict=True)
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
        for window, person in zip(windows_of(stored), people_of(stored), strict=True):
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
        spec = self.target.spec
        blank = reader(self.target.modality).blank(spec.sampling)
        if not blank:
            return np.zeros(self.target.dim, np.float32)
        data = np.repeat(blank[0].data[:1], spec.n_frames, axis=0)
        clip = replace(blank[0], data=data, times_s=np.arange(spec.n_frames) / 10)
        return self._encoder.encode_blocks([clip], self.wanted)[0]


class _Upgrade:
    """One upgrade: videos are staged one by one, then all rows are replaced together."""

    def __init__(
        self,
        library: SqliteWriter,
        stage: SqliteWriter,
        dim: int,
        target: LibraryManifest,
        encoder: Encoder,
        parts: tuple[Sequence[blocks.BlockSlice], Sequence[blocks.BlockSlice]],
        progress: UpgradeProgress | None,
    ) -> None:
        self._library, self._stage = library, stage
        self._dim, self._target = dim, target
        self._progress = progress
        self._pairs, self._wanted = blocks.shared(*parts), blocks.missing_blocks(*parts)
        self._rows = RowEncoder(target, encoder, self._wanted, library)
        self._failed: list[Failure] = []
        self._lost: set[str] = set()  # paths of videos that cannot be read at all

    def run(self) -> UpgradeReport:
        videos = sorted(self._library.recordings(), key=lambda video: video.path)
        for number, video in enumerate(videos):
            if not self._is_staged(video):
                self._compute(video)
            if self._progress is not None:
                self._progress(number + 1, len(videos))
        if videos and len(self._lost) == len(videos):
            raise LibraryError(
                f"library {self._library.file.parent}: none of its {len(videos)} videos can be "
                f"read ({self._failed[0].message}); it stays as it is"
            )
        rows = self._replace_rows(videos)
        names = tuple(part.name for _, part in self._pairs)
        done = len(videos) - len(self._lost)
        figures = done, rows, tuple(self._failed)
        from_frames = self._rows.from_frames
        return UpgradeReport(names, tuple(self._wanted), *figures, from_frames=from_frames)

    def _is_staged(self, video: KnownVideo) -> bool:
        staged = self._stage.at_path(video.path)
        if staged is None or staged.content_hash != video.content_hash:
            return False
        return len(self._stage.row_ids([staged.id])) == len(self._library.row_ids([video.id]))

    def _stored(self, video: KnownVideo) -> RowBatch:
        """The rows of a video in the library that are not damaged."""
        return self._library.rows(self._library.row_ids([video.id]).tolist(), self._dim)

    def _all_stored(self, video: KnownVideo) -> RowBatch:
        """The rows of a video in the library.

        Raises:
            LibraryError: one of them is damaged.
        """
        rows, ids = self._stored(video), self._library.row_ids([video.id])
        if len(rows.ids) == len(ids):
            return rows
        lost = min(set(ids.tolist()).difference(rows.ids.tolist()))
        reason = self._library.damaged.get(lost, "it is damaged")
        raise LibraryError(f"{video.path}: row {lost} is damaged ({reason})")

    def _compute(self, video: KnownVideo) -> None:
        """Stage the new rows of one video; a failure leaves it out."""
        file = Path(video.path)
        try:
            stored = self._all_stored(video)
            fresh, lost = self._rows.fresh(video, stored)
            vectors = blocks.merged_vectors(stored.vectors, fresh, self._pairs)
        except (VlarError, OSError) as error:
            self._lost.add(video.path)
            self._failed.append(_failure(file, error))
            return
        if lost:
            first = next(iter(lost.values()))
            message = f"{file}: {len(lost)} of {len(fresh)} windows cannot be read any more"
            self._failed.append(Failure(file, first.kind, f"{message} ({first.message})"))
        with self._stage.transaction():
            facts = video.path, video.content_hash, video.stamp, 0.0
            video_id = self._stage.put_video(*facts)
            self._stage.insert_rows(video_id, windows_of(stored), vectors, people_of(stored))

    def _replace_rows(self, videos: Sequence[KnownVideo]) -> int:
        """One transaction: all rows of the library, and the manifest; returns the rows renewed."""
        renewed = 0
        with self._library.transaction():
            for video in videos:
                lost = video.path in self._lost
                rows = self._without(video) if lost else self._staged(video)
                self._library.replace_rows(
                    video.id, windows_of(rows), rows.vectors, people_of(rows)
                )
                if lost:
                    self._library.read_again(video.path)
                renewed += 0 if lost else len(rows.ids)
            self._library.set_meta(self._target.to_meta())
        return renewed

    def _staged(self, video: KnownVideo) -> RowBatch:
        staged = self._stage.at_path(video.path)
        ids = self._stage.row_ids([] if staged is None else [staged.id])
        return self._stage.rows(ids.tolist(), self._target.dim)

    def _without(self, video: KnownVideo) -> RowBatch:
        """The rows of a video that cannot be read, with the missing blocks of a blank clip."""
        rows = self._stored(video)
        blank = np.tile(self._rows.blank, (len(rows.ids), 1))
        return replace(rows, vectors=blocks.merged_vectors(rows.vectors, blank, self._pairs))


def windows_of(rows: RowBatch) -> list[Window]:
    """Window of each row."""
    return [Window(start_s, end_s) for start_s, end_s in rows.spans]


def people_of(rows: RowBatch) -> list[RowPerson | None]:
    """Person of each row; None for the whole frame."""
    return [rows.people.get(row_id) for row_id in rows.ids.tolist()]


def _failure(file: Path, error: VlarError | OSError) -> Failure:
    failure = failure_of(file, error)
    kept_rows = "its rows are kept without the new parts"
    return replace(failure, message=f"{failure.message}; {kept_rows}")


def failure_of(file: Path, error: VlarError | OSError) -> Failure:
    """The failure of a recording that cannot be read."""
    kind, reason = "decode", f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})"
    if isinstance(error, VlarError):
        kind, reason = error.kind, error.message
    return Failure(file, kind, reason)
