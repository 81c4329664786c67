"""Change the model of a library at once: its rows are mapped, and encoded as they are needed.

A few hundred windows are encoded by the new model and teach a map (``mapping``). One commit then
gives every other row its mapped vector and a mark; the library is one of the new model from there
on. Rows are encoded later, a commit a recording, by a query that touches them, in the time that a
user gives, or all. A row has its mark until its own commit replaces it, so a run that is killed
loses nothing, and what is mapped is always exact.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlar.encoders.base import Encoder
from vlar.errors import LibraryError, UsageError, VlarError
from vlar.language.bank import load_bank
from vlar.library import manifest as blocks
from vlar.library.folder import check_place
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.ingest import Driver
from vlar.library.ingest.worker_tasks import Setup
from vlar.library.ingest.writer import by_file
from vlar.library.maintain.mapping import LinearMap, Sample, completed, learned
from vlar.library.maintain.upgrade import (
    FolderChange,
    ModelChange,
    RowEncoder,
    UpgradeRequest,
    target_of,
)
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import load_on, require_named
from vlar.library.recording import FailedFiles, ListedRecording, failure_of
from vlar.library.rows import Bool, RowBatch, RowFilter, UpgradeReport
from vlar.library.store.base import LibraryWriter
from vlar.library.store.row_check import STORED
from vlar.library.store.trust import writer_lock
from vlar.library.store.values import KnownVideo
from vlar.library.store.writer import SqliteWriter
from vlar.model.library_model import LibraryModel
from vlar.numeric import unit
from vlar.types import Failure, Float32

_log = logging.getLogger("vlar")
_SAMPLE = (64, 400)  # windows that teach the map: a twentieth of all, within these
_FEWEST = 16
_COMMIT_ROWS = 32
_PHRASES = "everyday_actions"


def upgrade_library(
    path: Path, model: LibraryModel | None, request: UpgradeRequest
) -> UpgradeReport:
    """Bring a library in a folder up to date, whole or lazily (``Library.upgrade``)."""
    check_place(path, create=False)
    with (
        writer_lock(path),
        closing(SqliteWriter.open_to_write(path)) as library,
        closing(FolderChange(path, library)) as change,
    ):
        return upgraded(library, change, model, request)


def upgraded(
    library: LibraryWriter, change: ModelChange, model: LibraryModel | None, request: UpgradeRequest
) -> UpgradeReport:
    """Bring an open library up to date; the caller holds the writer's lock."""
    address, manifest = library.address, LibraryManifest.of(library)
    is_whole = not (request.lazy or (manifest and manifest.mapping))
    if request.minutes is not None and is_whole:
        raise UsageError("--minutes is for a library whose rows are mapped; give --lazy too")
    if request.runner is not None and is_whole:
        raise UsageError("a runner encodes rows that are mapped; upgrade with --lazy first")
    if manifest is None:
        raise LibraryError(f"library {address} is empty; there is nothing to bring up to date")
    if model is None:
        require_named(address, manifest.model, None)
        model = load_on(manifest.model)
    if manifest.mapping is None and model.fingerprint != manifest.fingerprint:
        if is_whole and not change.by_map:
            _require_upgradable(address, manifest, model)
            return _Change(library, change, manifest, model).run_whole(request)
        mapped = _Change(library, change, manifest, model)
        manifest, parts = mapped.run(request), mapped.parts
        if manifest.mapping is None:
            change.clear()
            names = tuple(new.name for _, new in parts.pairs)
            recordings, rows, _ = library.counts()
            return UpgradeReport(names, tuple(parts.missing), recordings, rows, ())
    elif model.fingerprint != manifest.fingerprint:
        raise UsageError(
            f"library {address} still has {len(library.mapped())} rows that are mapped from "
            f"{manifest.mapping.model if manifest.mapping else 'another model'}; encode them "
            f"before its model changes again: vlar index upgrade {address}"
        )
    change.clear()
    return _encode(library, manifest, model, request)


def _require_upgradable(address: str, manifest: LibraryManifest, model: LibraryModel) -> None:
    """Refuse a model that needs a map."""
    old, new = blocks.from_text(manifest.blocks), blocks.declared(model)
    is_same = model.name == manifest.model
    if not hasattr(model, "encoder") or not blocks.can_upgrade(old, new, is_same):
        have = ", ".join(part.name for part in old) or "of unknown parts"
        raise UsageError(
            f"library {address} ({have}) cannot be brought up to date with model "
            f"{model.name!r}: its stored vectors share no part with the model, or have parts that "
            "the model lacks; change its model with --lazy, or index the videos again into a new "
            "library"
        )


def _encoder(model: LibraryModel) -> Encoder:
    encoder: Encoder | None = getattr(model, "encoder", None)
    if encoder is None:
        raise UsageError(f"model {model.name!r} has no encoder whose rows could be computed again")
    return encoder


@dataclass(frozen=True)
class _Parts:
    """Blocks of the old and of the new vectors.

    Attributes:
        pairs: Blocks that are copied, old and new.
        missing: Names of the others.
        shared: (D,) whether a column is copied.
        silent: A column of another block that no text reads; None where there is none.
    """

    pairs: list[tuple[blocks.BlockSlice, blocks.BlockSlice]]
    missing: list[str]
    shared: Bool
    silent: int | None

    @classmethod
    def of(cls, manifest: LibraryManifest, model: LibraryModel) -> _Parts:
        old, new = blocks.from_text(manifest.blocks), blocks.declared(model)
        pairs, missing = blocks.shared(old, new), blocks.missing_blocks(old, new)
        shared = np.zeros(model.dim, np.bool_)
        for _, part in pairs:
            shared[part.place] = True
        silent = {block.name for block in _encoder(model).blocks if not block.has_text}
        free = [p.start for p in new if p.name in silent and p.name in missing and p.width == 1]
        return cls(pairs, missing, shared, free[0] if free else None)

    def copied(self, vectors: Float32) -> Float32:
        """(N, D) with the blocks of old vectors (N, S) that are copied; else 0."""
        rows = np.zeros((len(vectors), len(self.shared)), np.float32)
        for old, new in self.pairs:
            rows[:, new.place] = vectors[:, old.place] * np.float32(new.weight / old.weight)
        return rows


class _Change:
    """One change of model."""

    def __init__(
        self,
        library: LibraryWriter,
        change: ModelChange,
        manifest: LibraryManifest,
        model: LibraryModel,
    ) -> None:
        if model.modality != manifest.modality:
            raise UsageError(
                f"library {library.address} holds {manifest.modality}, and model {model.name!r} "
                f"reads {model.modality}; give a model of {manifest.modality}"
            )
        self._library, self._change, self._model = library, change, model
        self._manifest, self.parts = manifest, _Parts.of(manifest, model)
        self._target = target_of(library.address, manifest, model, self.parts.missing)
        self._videos = {video.id: video for video in library.recordings()}

    def run(self, request: UpgradeRequest) -> LibraryManifest:
        """Map all rows but those of a sample, which are encoded; returns the new manifest."""
        target, parts = self._target, self.parts
        self._change.begin(target)
        if not parts.missing:  # all of the new vectors is in the old ones
            self._change.commit(target, lambda rows: self._converted(rows, None, {}))
            return target
        encoder = RowEncoder(target, _encoder(self._model), parts.missing, self._library)
        sample, encoded = self._sample(encoder, request)
        linear = None
        if len(encoded) < self._library.counts()[1]:
            names = [new.name for _, new in parts.pairs]
            phrases = load_bank(_PHRASES).texts
            linear, mapping = learned(sample, self._model, phrases, self._manifest.model, names)
            target = replace(target, mapping=mapping)
        self._change.commit(target, lambda rows: self._converted(rows, linear, encoded))
        return target

    def run_whole(self, request: UpgradeRequest) -> UpgradeReport:
        """Encode all rows. A recording that cannot be read has the new parts of a blank clip.

        Raises:
            LibraryError: none of them can be read.
        """
        library, change, parts = self._library, self._change, self.parts
        change.begin(self._target)
        encoder = RowEncoder(self._target, _encoder(self._model), parts.missing, library)
        videos = sorted(self._videos.values(), key=lambda video: video.path)
        failed, row_counts = list[Failure](), dict[int, int]()
        for number, video in enumerate(videos):
            file = Path(video.path)
            try:
                rows = self._sound_rows(video)
                if change.staged(video, rows) is None:
                    fresh, unread = encoder.fresh(video, rows)
                    vectors = blocks.merged_vectors(rows.vectors, fresh, parts.pairs)
                    change.stage(video, rows, vectors)
                    if unread:
                        first = next(iter(unread.values()))
                        message = f"{len(unread)} of {len(fresh)} windows cannot be read any more"
                        message = f"{file}: {message} ({first.message})"
                        failed.append(Failure(file, first.kind, message))
                row_counts[video.id] = len(rows.ids)
            except LibraryError:  # the store fails, not the recording
                raise
            except (VlarError, OSError) as error:
                failure = failure_of(file, error)
                message = f"{failure.message}; its rows are kept without the new parts"
                failed.append(replace(failure, message=message))
            if request.progress is not None:
                request.progress(number + 1, len(videos))
        if videos and not row_counts:
            raise LibraryError(
                f"library {library.address}: none of its {len(videos)} videos can be read "
                f"({failed[0].message}); it stays as it is"
            )

        def converted(rows: RowBatch) -> tuple[Float32, Bool]:
            video = self._videos[int(rows.video_ids[0])]
            vectors = change.staged(video, rows) if video.id in row_counts else None
            if vectors is None:
                library.read_again(video.path)
                blank = np.tile(encoder.blank, (len(rows.ids), 1))
                vectors = blocks.merged_vectors(rows.vectors, blank, parts.pairs)
            return vectors, np.zeros(len(rows.ids), np.bool_)

        change.commit(self._target, converted)
        change.clear()
        names = tuple(new.name for _, new in parts.pairs)
        figures = len(row_counts), sum(row_counts.values()), tuple(failed)
        return UpgradeReport(names, tuple(parts.missing), *figures, from_frames=encoder.from_frames)

    def _sound_rows(self, video: KnownVideo) -> RowBatch:
        """The rows of a recording.

        Raises:
            VlarError: one of them is damaged.
        """
        library = self._library
        library.damaged.clear()
        dim, of_video = self._manifest.dim, RowFilter(frozenset([video.id]))
        batches = [rows.batch for rows in library.scan(dim, of_video)]
        if library.damaged:
            row_id, reason = min(library.damaged.items())
            raise VlarError(f"{video.path}: row {row_id} is damaged ({reason})")
        return RowBatch.joined([library.rows((), dim), *batches])

    def _sample(
        self, encoder: RowEncoder, request: UpgradeRequest
    ) -> tuple[Sample, dict[int, Float32]]:
        """Windows that both models encoded, and their new vectors by row id.

        They are drawn over all recordings by a fixed seed, and staged with a commit a recording, so
        that an interrupted run resumes.

        Raises:
            LibraryError: too few of them can be read.
        """
        kinds = [self._library.ids_of(people=people) for people in (False, True)]
        ids = np.sort(np.concatenate(kinds))
        least, most = _SAMPLE
        count = min(max(len(ids) // 20, least), most, len(ids))
        if count == len(ids):
            _log.info("so few windows (%d) are all encoded; none is mapped", count)
        drawn = np.random.default_rng(0).permutation(ids)[:count].tolist()
        batch = self._library.rows(sorted(drawn), self._manifest.dim)
        old, new = list[Float32](), list[Float32]()
        row_ids, owners = list[int](), list[int]()
        reason = ""
        videos = np.unique(batch.video_ids).tolist()
        for number, video_id in enumerate(videos):
            rows = batch.part(batch.video_ids == video_id)
            try:
                rows, vectors = self._encoded(encoder, self._videos[video_id], rows)
            except LibraryError:
                raise
            except (VlarError, OSError) as error:
                reason = str(error)
                continue
            finally:
                if request.progress is not None:
                    request.progress(number + 1, len(videos))
            old.append(rows.vectors)
            new.append(vectors)
            row_ids += rows.ids.tolist()
            owners += [video_id] * len(rows.ids)
        is_all = len(row_ids) == self._library.counts()[1]
        if not row_ids or not (is_all or (len(row_ids) >= _FEWEST and len(set(owners)) > 1)):
            raise LibraryError(
                f"library {self._library.address}: {len(row_ids)} of {count} windows could be read "
                f"to learn from, and {_FEWEST} of two recordings are needed"
                f"{f' ({reason})' if reason else ''}; it stays as it is"
            )
        arrays = np.concatenate(old), np.concatenate(new)
        shared, silent = self.parts.shared, self.parts.silent
        sample = Sample(*arrays, np.array(owners, np.int64), shared, silent)
        return sample, dict(zip(row_ids, arrays[1], strict=True))

    def _encoded(
        self, encoder: RowEncoder, video: KnownVideo, rows: RowBatch
    ) -> tuple[RowBatch, Float32]:
        """Rows that can be read, and their new vectors (N, D), some by an earlier run."""
        if (earlier := self._change.staged(video, rows)) is not None:
            return rows, earlier
        fresh, lost = encoder.fresh(video, rows)
        read = np.array([index not in lost for index in range(len(rows.ids))])
        vectors = blocks.merged_vectors(rows.vectors, fresh, self.parts.pairs)[read]
        vectors = vectors.astype(STORED).astype(np.float32)  # as a run that resumes reads them
        rows = rows.part(read)
        self._change.stage(video, rows, vectors)
        return rows, vectors

    def _converted(
        self, rows: RowBatch, linear: LinearMap | None, encoded: dict[int, Float32]
    ) -> tuple[Float32, Bool]:
        parts, vectors = self.parts, self.parts.copied(rows.vectors)
        if linear is None:
            vectors = unit(vectors)  # a sensor that was missing left more for the others
        else:
            vectors = completed(linear(rows.vectors), vectors, parts.shared, parts.silent)
        is_mapped = np.full(len(rows.ids), linear is not None)
        for index, row_id in enumerate(rows.ids.tolist()):
            if row_id in encoded:
                vectors[index], is_mapped[index] = encoded[row_id], False
        return vectors, is_mapped


def _encode(
    library: LibraryWriter, manifest: LibraryManifest, model: LibraryModel, request: UpgradeRequest
) -> UpgradeReport:
    """Encode mapped rows: those of the request, or all in the time that it gives."""
    mapping = manifest.mapping
    if mapping is None:
        return UpgradeReport(tuple(p.name for p in blocks.declared(model)), (), 0, 0, ())
    end = None if request.minutes is None else time.monotonic() + 60 * request.minutes
    is_idle = request.lazy and request.minutes is None and not request.rows
    new = blocks.declared(model)
    missing = [part.name for part in new if part.name not in mapping.shared]
    encoder = RowEncoder(manifest, _encoder(model), missing, library)
    pairs = [(part, part) for part in new if part.name in mapping.shared]
    failed: dict[str, Failure] = {}
    videos, done = set[int](), 0
    waiting = [] if is_idle else _waiting(library, request.rows)
    is_over = lambda: end is not None and time.monotonic() >= end  # noqa: E731
    source = _by_encoder if request.runner is None else _by_runner
    fresh_rows = source(library, manifest, encoder, request, [] if is_over() else waiting)
    for number, (video, rows, fresh, lost) in enumerate(fresh_rows):
        if isinstance(fresh, Failure):
            failed.setdefault(video.path, fresh)
            continue
        if lost:
            failed[video.path] = next(iter(lost.values()))
        read = np.array([index not in lost for index in range(len(rows.ids))])
        vectors = blocks.merged_vectors(rows.vectors, fresh, pairs)[read]
        encoded = rows.part(read)
        with library.transaction():
            library.put_encoded(video.id, encoded, vectors)
        videos.add(video.id)
        done += len(encoded.ids)
        if request.progress is not None:
            request.progress(number + 1, len(waiting))
        if is_over():
            fresh_rows.close()
            break
    count = len(library.mapped())
    if not count:
        with library.transaction():
            library.set_meta({**replace(manifest, mapping=None).to_meta(), "mapping": ""})
    figures = (
        len(videos),
        done,
        tuple(failed.values()),
        count,
        mapping.learned_from,
        encoder.from_frames,
    )
    return UpgradeReport(tuple(mapping.shared), tuple(missing), *figures)


_Waiting = list[tuple[KnownVideo, list[int]]]
_Fresh = Generator[tuple[KnownVideo, RowBatch, Float32 | Failure, Mapping[int, Failure]]]


def _by_encoder(
    library: LibraryWriter,
    manifest: LibraryManifest,
    encoder: RowEncoder,
    _: UpgradeRequest,
    waiting: _Waiting,
) -> _Fresh:
    """Rows of each group with their new vectors, or why its recording cannot be read."""
    unreadable = set[str]()
    for video, ids in waiting:
        if video.path in unreadable:
            continue
        rows = library.rows(ids, manifest.dim)
        try:
            fresh, lost = encoder.fresh(video, rows)
        except (VlarError, OSError) as error:
            unreadable.add(video.path)
            yield video, rows, failure_of(Path(video.path), error), {}
            continue
        yield video, rows, fresh, lost


def _by_runner(
    library: LibraryWriter,
    manifest: LibraryManifest,
    encoder: RowEncoder,
    request: UpgradeRequest,
    waiting: _Waiting,
) -> _Fresh:
    """The same of whole recordings, as workers encode them; of those that are gone, by records."""
    assert request.runner is not None
    assert request.load is not None
    if manifest.persons:
        raise UsageError("rows of people are encoded in this process; leave --runner out")
    ids, videos = dict[int, list[int]](), dict[str, KnownVideo]()
    for video, some in waiting:
        ids.setdefault(video.id, []).extend(some)
        videos[video.path] = video
    present = [path for path in videos if Path(path).is_file()]
    listed = [ListedRecording(Path(path), path) for path in present]
    plain = replace(manifest, mapping=None)
    setup = Setup(plain, request.runner.load or request.load(plain), False)
    with closing(request.runner) as runner:
        driver = Driver(runner, setup, listed, {}, FailedFiles(), copies=False)
        for record, windows in by_file(driver.stream()):
            video = videos[record.path]
            rows = library.rows(ids[video.id], manifest.dim)
            failure = record.failure
            if failure is None and record.content_hash != video.content_hash:
                message = f"{record.file}: has changed since it was indexed"
                failure = Failure(record.file, "decode", message)
            if failure is None:
                yield video, rows, *_of_spans(rows, record.file, list(windows))
            else:
                yield video, rows, failure, {}
    gone = [(video, some) for video, some in waiting if video.path not in present]
    yield from _by_encoder(library, manifest, encoder, request, gone)


def _of_spans(
    rows: RowBatch, file: Path, items: Sequence[EncodedWindow | Failure]
) -> tuple[Float32, dict[int, Failure]]:
    """The vector of each row (N, D), and which rows have none: these are zero."""
    encoded = [item for item in items if isinstance(item, EncodedWindow)]
    by_window = {item.window: item.vector for item in encoded}
    lost = Failure(file, "decode", f"{file}: a window cannot be read any more")
    lost = next((item for item in items if isinstance(item, Failure)), lost)
    blank = np.zeros(rows.vectors.shape[1], np.float32)
    vectors = [by_window.get(window, blank) for window in rows.windows]
    missing = (i for i, window in enumerate(rows.windows) if window not in by_window)
    return np.array(vectors).reshape(rows.vectors.shape), dict.fromkeys(missing, lost)


def _waiting(library: LibraryWriter, first: Sequence[int]) -> _Waiting:
    """Ids of mapped rows by recording, at most 32 at a time: some of them, or all, mixed."""
    ids = dict[int, list[int]]()
    for video_id, row_id in library.mapped_by_time(first or None):
        ids.setdefault(video_id, []).append(row_id)
    owners = np.random.default_rng(0).permutation(list(ids)).tolist()
    if first:
        rank = {row_id: index for index, row_id in enumerate(first)}
        owners = sorted(ids, key=lambda video_id: min(map(rank.__getitem__, ids[video_id])))
    videos = {video.id: video for video in library.recordings()}
    return [
        (videos[video_id], ids[video_id][start : start + _COMMIT_ROWS])
        for video_id in owners
        for start in range(0, len(ids[video_id]), _COMMIT_ROWS)
    ]
