"""Copy a whole library to another place, and prove by a digest that both are equal.

The digest is a sum of hashes, so it does not depend on the order in which a store gives its rows:
SHA-256 of each recording (facts, tags, labels), row (times, person, the float16 vector), context,
caption and share of lost frames, of each failed file and of the manifest, added modulo 2**256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vlar.errors import LibraryError
from vlar.library.manifest import LibraryManifest, require_encoded
from vlar.library.rows import RowBatch, RowFilter
from vlar.library.store.annotations import (
    Caption,
    FailedFile,
    LostFrames,
    RecordingLabels,
)
from vlar.library.store.base import LibraryStore, LibraryWriter
from vlar.library.store.copying import copy_annotations, copy_rows
from vlar.library.store.row_check import CheckedRows
from vlar.library.store.values import RecordingFacts
from vlar.types import JsonDict

_ROWS_AT_ONCE = 4096
_MODULUS = 1 << 256
Counted = Callable[[int, int], None]


@dataclass(frozen=True)
class CopyReport:
    """Report of a copy.

    Attributes:
        recordings: In both libraries.
        rows: In both libraries.
        copied: Recordings that this call copied; the others were there.
        digest: Digest of both libraries, 64 hexadecimal digits.
    """

    recordings: int
    rows: int
    copied: int
    digest: str

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)


@dataclass(frozen=True)
class LibraryDigest:
    """The digest of a library.

    Attributes:
        recordings: Digest of each recording, by path.
        rest: Rest of the manifest and the failed files.
        rows: Number of rows.
    """

    recordings: Mapping[str, int]
    rest: int
    rows: int

    @property
    def text(self) -> str:
        """64 hexadecimal digits."""
        return f"{(sum(self.recordings.values()) + self.rest) % _MODULUS:064x}"


def copy_library(
    source: LibraryStore, target: LibraryWriter, progress: Counted | None = None
) -> CopyReport:
    """Copy what the target lacks (``Library.copy_to``). The caller holds no snapshot of the source.

    Raises:
        LibraryError: the source is empty or has damaged rows; the target holds something else; or
            the digests differ.
    """
    with source.snapshot():
        manifest = LibraryManifest.of(source)
        if manifest is None:
            raise LibraryError(f"library {source.address} is empty; there is nothing to copy")
        require_encoded(source, manifest, "copied")
        source_digest = digest_of(source, manifest)
        recordings_done = _accepted(source, target, manifest, source_digest)
        missing = [
            recording for recording in source.recordings() if recording.path not in recordings_done
        ]
        done = source_digest.rows - sum(_rows_of(source, missing).values())
        for group, rows in _groups(source, missing):
            _copy_group(source, target, manifest, group)
            done += rows
            if progress is not None:
                progress(done, source_digest.rows)
        _copy_rest(source, target, manifest)
        target_digest = digest_of(target, manifest)
    if target_digest.text != source_digest.text:
        differing = sorted(
            set(target_digest.recordings.items()) ^ set(source_digest.recordings.items())
        )
        first = differing[0][0] if differing else "the manifest"
        raise LibraryError(
            f"the copy {target.address} differs from {source.address} (digests "
            f"{target_digest.text[:16]} and {source_digest.text[:16]}, first at {first}); "
            "remove it and copy again"
        )
    return CopyReport(
        len(source_digest.recordings), source_digest.rows, len(missing), source_digest.text
    )


def digest_of(store: LibraryStore, manifest: LibraryManifest) -> LibraryDigest:
    """The digest of a library; ``manifest`` is its own.

    Raises:
        LibraryError: it has damaged rows.
    """
    facts = {recording.id: recording for recording in store.recordings()}
    tags = store.tags()
    digests = {
        recording.path: _recording_digest(store, recording, tags.get(recording.id, {}))
        for recording in facts.values()
    }
    store.damaged.clear()
    count = 0
    for rows in store.scan(manifest.dim, RowFilter()):
        count += len(rows.ids)
        for path, value in _row_digests(store, rows, facts):
            digests[path] = (digests[path] + value) % _MODULUS
    if store.damaged:
        first = min(store.damaged)
        raise LibraryError(
            f"library {store.address} has damaged rows (row {first}: {store.damaged[first]}); "
            f"repair it first: vlar index verify {store.address} --repair"
        )
    rest_digest = _hash("manifest", sorted(manifest.to_meta().items()))
    for failed_file in store.annotations(FailedFile):
        stamp = failed_file.stamp.size, failed_file.stamp.mtime_ns
        facts_of_file = (
            failed_file.path,
            failed_file.content_hash,
            *stamp,
            failed_file.kind,
            failed_file.message,
        )
        rest_digest += _hash("failed", facts_of_file)
    return LibraryDigest(digests, rest_digest % _MODULUS, count)


def copy_recordings(
    source: LibraryStore, target: LibraryWriter, chosen: Sequence[RecordingFacts]
) -> None:
    """Copy some recordings into a library of the same model, which lacks their paths.

    Raises:
        LibraryError: the target has another model or other windows.
    """
    manifest, other = LibraryManifest.of(source), LibraryManifest.of(target)
    if manifest is None:
        return
    if other is not None and other != manifest:
        raise LibraryError(
            f"library {target.address} has another model or other windows than the copy; add the "
            "recordings again"
        )
    for group, _ in _groups(source, chosen):
        _copy_group(source, target, manifest, group)


def _recording_digest(store: LibraryStore, facts: RecordingFacts, tags: Mapping[str, str]) -> int:
    path = facts.path
    values = (
        path,
        facts.content_hash,
        facts.stamp.size,
        facts.stamp.mtime_ns,
        facts.duration_s,
        facts.unreadable,
        facts.added_at_s,
    )
    parts = [_hash("recording", values), *(_hash("tag", (path, *tag)) for tag in tags.items())]
    parts += [
        _hash("caption", (path, *caption)) for caption in store.annotations(Caption, [facts.id])
    ]
    parts += [_hash("lost", (path, *loss)) for loss in store.annotations(LostFrames, [facts.id])]
    labels = store.annotations(RecordingLabels, [facts.id])
    parts += [_hash("labels", (path, *kept)) for kept in labels]
    return sum(parts) % _MODULUS


def _row_digests(
    store: LibraryStore, rows: CheckedRows, facts: Mapping[int, RecordingFacts]
) -> Iterator[tuple[str, int]]:
    ids = rows.ids.tolist()
    keys: dict[int, tuple[Any, ...]] = {}
    for index, (row_id, video_id, span) in enumerate(
        zip(ids, rows.video_ids.tolist(), rows.times_s.tolist(), strict=True)
    ):
        person = rows.people.get(row_id)
        shown = () if person is None else (person.track, *person.box)
        keys[row_id] = (facts[video_id].path, *span, *shown)
        yield facts[video_id].path, _hash("row", keys[row_id], rows.vectors[index].tobytes())
    with_context, tokens = store.contexts(ids)
    for row_id, context in zip(with_context.tolist(), tokens, strict=True):
        yield keys[row_id][0], _hash("context", keys[row_id], context.tobytes())


def _hash(kind: str, facts: object, blob: bytes = b"") -> int:
    text = repr((kind, facts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text + b"\0" + blob).digest(), "big")


def _accepted(
    source: LibraryStore, target: LibraryWriter, manifest: LibraryManifest, own: LibraryDigest
) -> set[str]:
    """Paths of the recordings that the target has already, all of them as the source has them."""
    other = LibraryManifest.of(target)
    if other is None:
        return set()
    if other != manifest:
        raise LibraryError(
            f"library {target.address} has another model or other windows than {source.address}; "
            "copy to a new library"
        )
    digests = digest_of(target, manifest).recordings
    for path, value in digests.items():
        if own.recordings.get(path) != value:
            raise LibraryError(
                f"library {target.address} holds other contents than {source.address} (first "
                f"{path}), which a copy does not overwrite; copy to a new library"
            )
    return set(digests)


def _rows_of(source: LibraryStore, chosen: Sequence[RecordingFacts]) -> dict[str, int]:
    """Number of rows of some recordings, by path."""
    paths = {recording.path for recording in chosen}
    return {row.path: row.windows for row in source.videos() if row.path in paths}


def _groups(
    source: LibraryStore, chosen: Sequence[RecordingFacts]
) -> Iterator[tuple[list[RecordingFacts], int]]:
    """Recordings in groups of about 4096 rows, with their rows."""
    counts = _rows_of(source, chosen)
    group, size = list[RecordingFacts](), 0
    for recording in chosen:
        group.append(recording)
        size += counts[recording.path]
        if size >= _ROWS_AT_ONCE:
            yield group, size
            group, size = [], 0
    if group:
        yield group, size


def _copy_group(
    source: LibraryStore,
    target: LibraryWriter,
    manifest: LibraryManifest,
    group: Sequence[RecordingFacts],
) -> None:
    """Some recordings in one transaction."""
    tags = source.tags([recording.id for recording in group])
    with target.transaction():
        if "fingerprint" not in target.meta():
            target.set_meta(manifest.to_meta())
        ids = {
            recording.id: target.put_video(
                recording.path,
                recording.content_hash,
                recording.stamp,
                recording.duration_s,
                recording.added_at_s,
            )
            for recording in group
        }
        for rows in source.scan(manifest.dim, RowFilter(frozenset(ids))):
            for source_id, part in _by_recording(rows.batch):
                copy_rows(source, part, target, ids[source_id])
        for recording in group:
            copy_annotations(source, recording.id, target, ids[recording.id])
            target.update(
                ids[recording.id], unreadable=recording.unreadable, tags=tags.get(recording.id)
            )


def _by_recording(rows: RowBatch) -> Iterator[tuple[int, RowBatch]]:
    """The rows of each recording."""
    for video_id in dict.fromkeys(rows.video_ids.tolist()):
        yield video_id, rows.part(rows.video_ids == video_id)


def _copy_rest(source: LibraryStore, target: LibraryWriter, manifest: LibraryManifest) -> None:
    """Copy what belongs to no recording."""
    paths = {failed_file.path for failed_file in target.annotations(FailedFile)}
    missing = [
        failed_file
        for failed_file in source.annotations(FailedFile)
        if failed_file.path not in paths
    ]
    if not missing and "fingerprint" in target.meta():
        return
    with target.transaction():
        if "fingerprint" not in target.meta():
            target.set_meta(manifest.to_meta())
        for failed_file in missing:
            target.annotate(FailedFile, failed_file.path, [failed_file])
