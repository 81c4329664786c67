"""Shards, and Parquet files of rows that others made, as the stream that ``write_windows`` takes.

Nothing in such a file is trusted: every path, span, vector, box and tag is checked, and what cannot
be a row is named and left out with its recording.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import EncoderMismatchError, LibraryError, UsageError, VlarError
from vlar.files.opening import open_input, special_kind
from vlar.files.reading import MOST_MEMORY
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.shard_writing import FAILED as FAILED_ROW
from vlar.library.ingest.shard_writing import PART, REQUIRED, UNREADABLE, facts_of
from vlar.library.ingest.writer import IngestProgress, write_windows
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import LazyModel
from vlar.library.recording import CHANGED, FAILED, UNCHANGED, FileRecord, checked_tags
from vlar.library.rows import AddReport, Float16, RowPerson
from vlar.library.store.base import LibraryWriter
from vlar.library.store.paths import is_unicode, place
from vlar.library.store.row_check import MOST_SECONDS, STORED, person_of, stored_box
from vlar.library.store.values import NO_FILE, KnownVideo, Stamp, is_length, is_path
from vlar.results import arrow
from vlar.types import Failure, Float32, Window

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
    """Write videos, several a commit, each whole (``Library.add_vectors``)."""
    added = updated = rows = 0
    waiting: list[VectorVideo] = []

    def commit() -> None:
        nonlocal added, updated, rows
        with writer.transaction():
            for video in waiting:
                is_replaced = writer.at_path(place(video.path)) is not None
                _write(writer, video)
                updated, added = updated + is_replaced, added + (not is_replaced)
                rows += len(video.windows)
        waiting.clear()

    try:
        for video in videos:
            video.check(dim)
            waiting.append(video)
            if sum(len(video.windows) for video in waiting) >= _ROWS_A_COMMIT:
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


_BATCH = 1024
_MOST_ROWS = 20_000_000
_LONGEST_PATH = 100_000
_PLAIN = (
    *("kind", "content_hash", "size", "mtime_ns", "duration_s", "start_s", "end_s", "track"),
    *("box", "lost", "caption", "context", "context_tokens", "tags", "error_kind", "error"),
)
_LONGEST_HASH = 128
_MOST_TOKENS = 1 << 16
Row = dict[str, Any]


def shard_files(given: Sequence[str | Path]) -> tuple[list[Path], list[Failure]]:
    """The Parquet files that arguments name, and what is left of an ended run."""
    files: list[Path] = []
    failures: list[Failure] = []
    for path in map(Path, given):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file.name.endswith(PART):
                message = (
                    f"{file}: is half-written, the run that wrote it was ended; run it again, or "
                    "delete this file"
                )
                failures.append(Failure(file, "shard", message))
            elif file.suffix == ".parquet" or not path.is_dir():
                files.append(file)
        if path.is_dir() and not inside:
            failures.append(Failure(path, "shard", f"{path}: no shards in this folder"))
    return files, failures


@dataclass(frozen=True)
class Shard:
    """One opened file.

    Attributes:
        path: The file.
        facts: Entries of its metadata, without the prefix ``vlar.``.
        recordings: Number of its recordings.
        dim: Width of its vectors; None where the schema leaves it open.
    """

    path: Path
    facts: Mapping[str, str]
    recordings: int
    dim: int | None

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Check what can be checked without reading the vectors.

        Raises:
            UsageError: it is not a whole Parquet file, lacks a column, has one of another type,
                or the rows of a recording do not lie next to each other.
        """
        pa = arrow()
        try:
            kind = special_kind(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise UsageError(f"{path}: cannot be read ({reason}); check the path") from error
        if kind is not None:
            raise UsageError(f"{path}: it is {kind}, not a file; give a Parquet file")
        with _named(path), _opened(path) as file:
            file_schema = file.schema_arrow
            if missing := [name for name in REQUIRED if name not in file_schema.names]:
                raise UsageError(
                    f"{path}: has no column {missing[0]!r}; rows have {', '.join(REQUIRED)}"
                )
            stored = file_schema.field("vector").type
            is_list = pa.types.is_list(stored) or pa.types.is_fixed_size_list(stored)
            if not is_list or not pa.types.is_floating(stored.value_type):
                raise UsageError(f"{path}: column 'vector' is {stored}; write lists of float32")
            dim = stored.list_size if pa.types.is_fixed_size_list(stored) else None
            return cls(path, facts_of(file_schema.metadata), _recordings(path, file.metadata), dim)

    def stream(
        self, dim: int, known: Mapping[str, KnownVideo]
    ) -> Iterator[FileRecord | EncodedWindow | Failure]:
        """A record of each recording, followed by its windows."""
        with _named(self.path):
            for path, rows in groupby(self._rows(dim), itemgetter("path")):
                group = list(rows)
                try:
                    if not isinstance(path, str):
                        raise UsageError("a row has no path; write one")
                    records = _recording(path, group, dim, known)
                except (VlarError, ValueError, TypeError) as error:
                    text = error.message if isinstance(error, VlarError) else str(error)
                    message = text if str(path) in text else f"{path}: {text}"
                    failure = Failure(Path(str(path)), "shard", f"{message} (in {self.path})")
                    records = [FileRecord(Path(str(path)), FAILED, str(path), failure=failure)]
                yield from records

    def _rows(self, dim: int) -> Iterator[Row]:
        with _opened(self.path) as file:
            names = [name for name in _PLAIN if name in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH, columns=["path", "vector", *names]):
                vectors = _vectors(batch.column("vector"), dim)
                columns = {name: batch.column(name).to_pylist() for name in ("path", *names)}
                for index, vector in enumerate(vectors):
                    row = {name: column[index] for name, column in columns.items()}
                    yield {**row, "vector": vector}


def _recordings(path: Path, facts: Any) -> int:
    """Number of recordings of a file; its paths are never unpacked at once."""
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    columns = (group.column(column) for group in groups for column in range(group.num_columns))
    unpacked = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == "path")
    if facts.num_rows > _MOST_ROWS or unpacked > MOST_MEMORY:
        raise UsageError(
            f"{path}: states {facts.num_rows:,} rows and {unpacked / 1e9:.1f} GB of paths; "
            f"{_MOST_ROWS:,} rows are read of a file: write several"
        )
    names: set[str] = set()
    count, last = 0, None
    # Each text once, with a number for each row: a short file may state one long text many times.
    with _opened(path, read_dictionary=["path"]) as file:
        for batch in file.iter_batches(_BATCH, columns=["path"]):
            column = batch.column(0)
            listed = getattr(column, "dictionary", column).to_pylist()
            if any(isinstance(name, str) and len(name) > _LONGEST_PATH for name in listed):
                raise UsageError(f"{path}: a path has more than {_LONGEST_PATH:,} characters")
            for name, _ in groupby(column.to_pylist()):
                if name == last and count:
                    continue
                count, last = count + 1, name
                if name in names:
                    raise UsageError(
                        f"{path}: the rows of a recording are not next to each other; sort them "
                        "by path"
                    )
                names.add(name)
    return count


@contextmanager
def _opened(path: Path, **options: Any) -> Generator[Any]:
    arrow()
    from pyarrow import parquet

    with (
        open_input(path) as stream,
        parquet.ParquetFile(stream, page_checksum_verification=True, **options) as file,
    ):
        yield file


@contextmanager
def _named(path: Path) -> Generator[None, None, None]:
    """Turn an error of pyarrow into one that names the file."""
    try:
        yield
    except (arrow().ArrowException, OSError) as error:
        raise UsageError(
            f"{path}: is not a whole Parquet file ({error!s:.200}); it is half-written or damaged: "
            "write it again"
        ) from error


def _vectors(column: Any, dim: int) -> list[Float32 | None]:
    """The vectors (D,) of a column, None where there is none or one of another width."""
    pa = arrow()
    compute: Any = importlib.import_module("pyarrow.compute")
    lengths = compute.list_value_length(column).to_pylist()
    flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    vectors: list[Float32 | None] = []
    start = 0
    for length in lengths:
        vector = flat[start : start + (length or 0)]
        vectors.append(vector if length == dim else None)
        start += length or 0
    return vectors


def _recording(
    path: str, rows: list[Row], dim: int, known: Mapping[str, KnownVideo]
) -> list[FileRecord | EncodedWindow | Failure]:
    """The record and the windows of one recording."""
    first = rows[0]
    file, tags = Path(path), dict(first.get("tags") or ())
    stamp, digest = _stamp(first), _digest(first)
    if first.get("kind") == FAILED_ROW:
        failure = Failure(file, str(first.get("error_kind")), str(first.get("error")))
        return [FileRecord(file, FAILED, place(path), stamp, digest, 0.0, failure, tags)]
    windows = [row for row in rows if row.get("kind") != UNREADABLE]
    if any(row["vector"] is None for row in windows):
        raise UsageError(f"{path}: a vector is not {dim} numbers wide, as the library's are")
    vectors = np.stack([row["vector"] for row in windows])
    spans = [Window(float(row["start_s"]), float(row["end_s"])) for row in windows]
    length = first.get("duration_s")
    whole = float(max(span.end_s for span in spans) if length is None else length)
    VectorVideo(path, spans, vectors, whole, tags).check(dim)
    people = [_person(path, row) for row in windows]
    places = [(w.start_s, w.end_s, p and p.track) for w, p in zip(spans, people, strict=True)]
    if len(set(places)) != len(places):
        raise UsageError(f"{path}: a window is there twice; write each once")
    digest = digest or f"vectors:{hashlib.sha256(vectors.astype(STORED).tobytes()).hexdigest()}"
    old = known.get(place(path))
    is_known = old is not None and (old.content_hash, old.stamp) == (digest, stamp)
    state = UNCHANGED if is_known else CHANGED
    items: list[FileRecord | EncodedWindow | Failure] = [
        FileRecord(file, state, place(path), stamp, digest, whole, None, tags)
    ]
    if is_known:
        return items
    for row, span, person in zip(windows, spans, people, strict=True):
        context, lost = _context(path, row), float(row.get("lost") or 0.0)
        if not 0 <= lost <= 1:
            raise UsageError(f"{path}: {lost} of a window are lost; write a share from 0 to 1")
        caption = row.get("caption")
        items.append(EncodedWindow(span, row["vector"], context, lost, caption, person))
    lost_rows = (row for row in rows if row.get("kind") == UNREADABLE)
    items += [Failure(file, str(r.get("error_kind")), str(r.get("error"))) for r in lost_rows]
    return items


def _stamp(row: Row) -> Stamp:
    size, mtime_ns = row.get("size"), row.get("mtime_ns")
    return NO_FILE if size is None or mtime_ns is None else Stamp(int(size), int(mtime_ns))


def _digest(row: Row) -> str:
    digest = row.get("content_hash") or ""
    if not isinstance(digest, str) or len(digest) > _LONGEST_HASH or not digest.isascii():
        raise UsageError(f"{row['path']}: content_hash {str(digest)[:80]!r} is not a hash")
    return digest


def _person(path: str, row: Row) -> RowPerson | None:
    track, box = row.get("track"), row.get("box")
    if track is None:
        return None
    numbers = [float(number) for number in box or ()]
    if len(numbers) == 4:
        person = RowPerson(int(track), (numbers[0], numbers[1], numbers[2], numbers[3]))
        if person_of(person.track, stored_box(person)) is not None:
            return person
    raise UsageError(f"{path}: person {track} with the box {str(box)[:80]} cannot be a row")


def _context(path: str, row: Row) -> Float16 | None:
    content, tokens = row.get("context"), int(row.get("context_tokens") or 0)
    if content is None:
        return None
    width, remainder = divmod(len(content), STORED.itemsize * tokens) if tokens > 0 else (0, 1)
    if remainder or not width or tokens > _MOST_TOKENS:
        raise UsageError(f"{path}: {len(content)} bytes of context are not {tokens} tokens")
    return np.frombuffer(content, STORED).reshape(tokens, width).astype(np.float16)


_MOST_FACTS = 1 << 20


def import_shards(
    writer: LibraryWriter,
    given: Sequence[str | Path],
    models: LazyModel,
    progress: IngestProgress | None = None,
) -> AddReport:
    """Write the rows of shards, each recording whole or not at all (``Library.import_shards``)."""
    files, failures = shard_files(given)
    manifest = LibraryManifest.of(writer)
    is_new = manifest is None
    shards: list[Shard] = []
    for file in files:
        try:
            shard = Shard.open(file)
            manifest = _fitting(manifest, shard, writer.address, models, is_new and not shards)
            shards.append(shard)
        except (UsageError, LibraryError) as error:
            failures.append(Failure(file, "shard", error.message))
    if not shards or manifest is None:
        why = failures[0].message if failures else "name files or folders"
        raise UsageError(f"no shard can be imported: {why}")
    videos = {video.path: video for video in writer.recordings()}

    def stream() -> Iterator[FileRecord | EncodedWindow | Failure]:
        for shard in shards:
            try:
                yield from shard.stream(manifest.dim, videos)
            except VlarError as error:  # damage behind the header; what was whole is kept
                failures.append(Failure(shard.path, "shard", error.message))
            videos.update({video.path: video for video in writer.recordings()})

    captioners = {shard.facts.get("captioner", "") for shard in shards} - {""}
    report = write_windows(
        writer,
        stream(),
        manifest,
        total=sum(shard.recordings for shard in shards),
        progress=progress,
        captioner=next(iter(sorted(captioners)), ""),
    )
    return replace(report, failed=(*failures, *report.failed))


def _fitting(
    manifest: LibraryManifest | None, shard: Shard, address: str, models: LazyModel, first: bool
) -> LibraryManifest:
    """The manifest of the library, with which a shard agrees; that of the first one for a new one.

    Raises:
        UsageError: the model that made the vectors is not named.
        EncoderMismatchError: another one did.
        LibraryError: the windows are others.
    """
    shard_manifest = _manifest_of(shard)
    if manifest is None or first:
        model = models.given()
        if shard_manifest is None and model is None:
            raise UsageError(
                f"{shard.path}: nothing in it says which model made its vectors; import it with "
                "--model NAME"
            )
        manifest = shard_manifest or models.new_manifest()
        models.require(manifest)
    fingerprint = shard.facts.get("fingerprint", manifest.fingerprint)
    if fingerprint != manifest.fingerprint:
        maker = shard.facts.get("model", "another model")
        raise EncoderMismatchError(
            f"{shard.path}: was made by {maker[:80]!r} (fingerprint {fingerprint[:12]!r}), library "
            f"{address} by {manifest.model!r} ({manifest.fingerprint[:12]}); embed it again with "
            "the library's model, or import it into a library of its own"
        )
    if shard.dim not in (None, manifest.dim):
        raise UsageError(
            f"{shard.path}: vectors of {shard.dim} numbers, library {address} has {manifest.dim}"
        )
    if shard_manifest is not None and (shard_manifest.spec, shard_manifest.persons) != (
        manifest.spec,
        manifest.persons,
    ):
        raise LibraryError(
            f"{shard.path}: has other windows, or other rows of people, than library {address}; "
            "import it into a library of its own"
        )
    return manifest


def _manifest_of(shard: Shard) -> LibraryManifest | None:
    """The manifest in the metadata of a shard; None in a file that others made."""
    text = shard.facts.get("manifest")
    if text is None:
        return None
    try:
        facts: Any = json.loads(text[:_MOST_FACTS])
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise UsageError(f"{shard.path}: its manifest is not JSON; write it again")
    plain = {str(key): str(value) for key, value in facts.items()}
    return LibraryManifest.from_meta(plain, str(shard.path))
