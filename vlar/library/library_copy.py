"""Copy a whole library to another place, and prove by a digest that both are equal.

The digest is a sum of hashes, so it does not depend on the order in which a store gives its rows:
SHA-256 of each recording (facts, tags), row (times, person, the float16 vector), context, caption
and share of lost frames, of each failed file and of the manifest, added modulo 2**256.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vlar.errors import LibraryError, UsageError
from vlar.library.connection import LibraryConnection
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import RowFilter
from vlar.library.store.annotations import Caption, FailedFile, LostFrames
from vlar.library.store.base import LibraryStore, LibraryWriter
from vlar.library.store.row_check import CheckedRows
from vlar.library.store.values import RecordingFacts
from vlar.types import JsonDict, Window

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
        recordings: Of each recording, by path.
        rest: Of the manifest and the failed files.
        rows: Number of rows.
    """

    recordings: Mapping[str, int]
    rest: int
    rows: int

    @property
    def text(self) -> str:
        """64 hexadecimal digits."""
        return f"{(sum(self.recordings.values()) + self.rest) % _MODULUS:064x}"


def copy_within(writer: LibraryWriter, source_id: int, video_id: int, dim: int) -> int:
    """Give a recording the rows and annotations of another one; returns how many rows."""
    count = 0
    for rows in writer.scan(dim, RowFilter(frozenset([source_id]))):
        copy_rows(writer, rows, writer, video_id)
        count += len(rows.ids)
    copy_annotations(writer, source_id, writer, video_id)
    return count


def copy_rows(
    source: LibraryStore, rows: CheckedRows, target: LibraryWriter, video_id: int
) -> None:
    """Write rows of one recording, with their contexts, in the order of their ids.

    ``source`` has the rows; ``video_id`` is the recording in ``target``.
    """
    if not len(rows.ids):
        return
    ids = rows.ids.tolist()
    windows = [Window(*span) for span in rows.times_s.tolist()]
    people = [rows.people.get(row_id) for row_id in ids] if rows.people else []
    tokens = dict(zip(*map(list, source.contexts(ids)), strict=True))
    contexts = [tokens.get(row_id) for row_id in ids] if tokens else []
    target.insert_rows(video_id, windows, rows.wide, people, contexts)


def copy_annotations(
    source: LibraryStore, source_id: int, target: LibraryWriter, video_id: int
) -> None:
    """Write the captions and the shares of lost frames of a recording."""
    target.annotate(Caption, video_id, source.annotations(Caption, [source_id]))
    target.annotate(LostFrames, video_id, source.annotations(LostFrames, [source_id]))


def copy_between(
    own: LibraryConnection, other: LibraryConnection, progress: Counted | None
) -> CopyReport:
    """Copy one library into another (``Library.copy_to``)."""
    if own.path == other.path:
        raise UsageError(f"{own.path} cannot be copied to itself; give another library")
    with own.mutex, other.mutex:
        store = own.reader()
        if store is None:
            raise LibraryError(f"library {own.path} is empty; there is nothing to copy")
        with other.writing() as writer:
            report = copy_library(store, writer, progress)
            other.settle()
            return report


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
        own = digest_of(source, manifest)
        there = _accepted(source, target, manifest, own)
        missing = [each for each in source.recordings() if each.path not in there]
        done = own.rows - sum(_rows_of(source, missing).values())
        for group, rows in _groups(source, missing):
            _copy_group(source, target, manifest, group)
            done += rows
            if progress is not None:
                progress(done, own.rows)
        _copy_rest(source, target, manifest)
        found = digest_of(target, manifest)
    if found.text != own.text:
        differing = sorted(set(found.recordings.items()) ^ set(own.recordings.items()))
        raise LibraryError(
            f"the copy {target.address} differs from {source.address} (digests {found.text[:16]} "
            f"and {own.text[:16]}, first at {differing[0][0] if differing else 'the manifest'}); "
            "remove it and copy again"
        )
    return CopyReport(len(own.recordings), own.rows, len(missing), own.text)


def digest_of(store: LibraryStore, manifest: LibraryManifest) -> LibraryDigest:
    """The digest of a library; ``manifest`` is its own.

    Raises:
        LibraryError: it has damaged rows.
    """
    facts = {each.id: each for each in store.recordings()}
    tags = store.tags()
    found = {
        each.path: _recording_digest(store, each, tags.get(each.id, {})) for each in facts.values()
    }
    store.damaged.clear()
    count = 0
    for rows in store.scan(manifest.dim, RowFilter()):
        count += len(rows.ids)
        for path, value in _row_digests(store, rows, facts):
            found[path] = (found[path] + value) % _MODULUS
    if store.damaged:
        first = min(store.damaged)
        raise LibraryError(
            f"library {store.address} has damaged rows (row {first}: {store.damaged[first]}); "
            f"repair it first: vlar index verify {store.address} --repair"
        )
    rest = _hash("manifest", sorted(manifest.to_meta().items()))
    for each in store.annotations(FailedFile):
        stamp = each.stamp.size, each.stamp.mtime_ns
        facts_of_file = each.path, each.content_hash, *stamp, each.kind, each.message
        rest += _hash("failed", facts_of_file)
    return LibraryDigest(found, rest % _MODULUS, count)


def _recording_digest(store: LibraryStore, facts: RecordingFacts, tags: Mapping[str, str]) -> int:
    path = facts.path
    known = (
        path, facts.content_hash, facts.stamp.size, facts.stamp.mtime_ns, facts.duration_s,
        facts.unreadable, facts.added_at_s,
    )  # fmt: skip
    parts = [_hash("recording", known), *(_hash("tag", (path, *tag)) for tag in tags.items())]
    parts += [_hash("caption", (path, *each)) for each in store.annotations(Caption, [facts.id])]
    parts += [_hash("lost", (path, *each)) for each in store.annotations(LostFrames, [facts.id])]
    return sum(parts) % _MODULUS


def _row_digests(
    store: LibraryStore, rows: CheckedRows, facts: Mapping[int, RecordingFacts]
) -> Iterator[tuple[str, int]]:
    ids = rows.ids.tolist()
    keys: dict[int, tuple[Any, ...]] = {}
    for at, (row_id, video_id, span) in enumerate(
        zip(ids, rows.video_ids.tolist(), rows.times_s.tolist(), strict=True)
    ):
        person = rows.people.get(row_id)
        shown = () if person is None else (person.track, *person.box)
        keys[row_id] = (facts[video_id].path, *span, *shown)
        yield facts[video_id].path, _hash("row", keys[row_id], rows.vectors[at].tobytes())
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
    there = digest_of(target, manifest).recordings
    for path, value in there.items():
        if own.recordings.get(path) != value:
            raise LibraryError(
                f"library {target.address} holds other contents than {source.address} (first "
                f"{path}), which a copy does not overwrite; copy to a new library"
            )
    return set(there)


def _rows_of(source: LibraryStore, chosen: Sequence[RecordingFacts]) -> dict[str, int]:
    """Number of rows of some recordings, by path."""
    wanted = {each.path for each in chosen}
    return {row.path: row.windows for row in source.videos() if row.path in wanted}


def _groups(
    source: LibraryStore, chosen: Sequence[RecordingFacts]
) -> Iterator[tuple[list[RecordingFacts], int]]:
    """Recordings in groups of about 4096 rows, with their rows."""
    counts = _rows_of(source, chosen)
    group, size = list[RecordingFacts](), 0
    for each in chosen:
        group.append(each)
        size += counts[each.path]
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
    tags = source.tags([each.id for each in group])
    with target.transaction():
        if "fingerprint" not in target.meta():
            target.set_meta(manifest.to_meta())
        ids = {
            each.id: target.put_video(
                each.path, each.content_hash, each.stamp, each.duration_s, each.added_at_s
            )
            for each in group
        }
        for rows in source.scan(manifest.dim, RowFilter(frozenset(ids))):
            for source_id, part in _by_recording(rows):
                copy_rows(source, part, target, ids[source_id])
        for each in group:
            copy_annotations(source, each.id, target, ids[each.id])
            target.update(ids[each.id], unreadable=each.unreadable, tags=tags.get(each.id))


def _by_recording(rows: CheckedRows) -> Iterator[tuple[int, CheckedRows]]:
    """The rows of each recording."""
    places: dict[int, list[int]] = defaultdict(list)
    for at, video_id in enumerate(rows.video_ids.tolist()):
        places[video_id].append(at)
    for video_id, own in places.items():
        at = np.array(own, np.int64)
        yield video_id, CheckedRows(
            rows.ids[at], rows.video_ids[at], rows.times_s[at], rows.vectors[at], rows.wide[at], {},
            rows.people,
        )  # fmt: skip


def _copy_rest(source: LibraryStore, target: LibraryWriter, manifest: LibraryManifest) -> None:
    """Copy what belongs to no recording."""
    known = {each.path for each in target.annotations(FailedFile)}
    missing = [each for each in source.annotations(FailedFile) if each.path not in known]
    if not missing and "fingerprint" in target.meta():
        return
    with target.transaction():
        if "fingerprint" not in target.meta():
            target.set_meta(manifest.to_meta())
        for each in missing:
            target.annotate(FailedFile, each.path, [each])
