"""Shards, and Parquet files of rows that others made, as the stream that ``write_windows`` takes.

Nothing in such a file is trusted: every path, span, vector, box and tag is checked, and what cannot
be a row is named and left out with its recording.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError, VlarError
from vlar.index.ingest.encode import EncodedWindow
from vlar.index.ingest.reader import CHANGED, FAILED, UNCHANGED, FileRecord
from vlar.index.ingest.vector_import import VectorVideo
from vlar.index.paths import place
from vlar.index.rows import Float16, RowPerson
from vlar.index.shards.schema import FAILED as FAILED_ROW
from vlar.index.shards.schema import PART, REQUIRED, UNREADABLE, facts_of
from vlar.index.store.row_check import STORED, person_of, stored_box
from vlar.index.store.sqlite import NO_FILE
from vlar.index.store.values import KnownVideo, Stamp
from vlar.safety.files import special_kind
from vlar.tables import arrow
from vlar.types import Failure, Float32, Window

_BATCH = 1024
_PLAIN = (
    *("kind", "content_hash", "size", "mtime_ns", "duration_s", "start_s", "end_s", "track"),
    *("box", "lost", "caption", "context", "context_tokens", "tags", "error_kind", "error"),
)
_LONGEST_HASH = 128
_MOST_TOKENS = 1 << 16
Row = dict[str, Any]


def shard_files(given: Sequence[str | Path]) -> tuple[list[Path], list[Failure]]:
    """The Parquet files that arguments name, and what is left of an ended run.

    Args:
        given: Files, and folders whose files are taken by their names.
    """
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
        facts: What its metadata says, without the prefix ``vlar.``.
        recordings: How many it has.
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
        if (kind := special_kind(path)) is not None:
            raise UsageError(f"{path}: it is {kind}, not a file; give a Parquet file")
        with _named(path), _opened(path) as file:
            own = file.schema_arrow
            if missing := [name for name in REQUIRED if name not in own.names]:
                raise UsageError(
                    f"{path}: has no column {missing[0]!r}; rows have {', '.join(REQUIRED)}"
                )
            kind = own.field("vector").type
            is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
            if not is_list or not pa.types.is_floating(kind.value_type):
                raise UsageError(f"{path}: column 'vector' is {kind}; write lists of float32")
            dim = kind.list_size if pa.types.is_fixed_size_list(kind) else None
            paths = file.read(columns=["path"]).column("path").to_pylist()
            runs = [name for name, _ in groupby(paths)]
            if len(runs) != len(set(runs)):
                raise UsageError(
                    f"{path}: the rows of a recording are not next to each other; sort them by path"
                )
            return cls(path, facts_of(file.schema_arrow.metadata), len(runs), dim)

    def stream(
        self, dim: int, known: Mapping[str, KnownVideo]
    ) -> Iterator[FileRecord | EncodedWindow | Failure]:
        """A record of each recording, followed by its windows.

        Args:
            dim: Width that vectors must have.
            known: What the library holds, by path.
        """
        with _named(self.path):
            for path, rows in groupby(self._rows(dim), itemgetter("path")):
                group = list(rows)
                try:
                    if not isinstance(path, str):
                        raise UsageError("a row has no path; write one")
                    found = _recording(path, group, dim, known)
                except (VlarError, ValueError, TypeError) as error:
                    text = error.message if isinstance(error, VlarError) else str(error)
                    message = text if str(path) in text else f"{path}: {text}"
                    failure = Failure(Path(str(path)), "shard", f"{message} (in {self.path})")
                    found = [FileRecord(Path(str(path)), FAILED, str(path), failure=failure)]
                yield from found

    def _rows(self, dim: int) -> Iterator[Row]:
        with _opened(self.path) as file:
            names = [name for name in _PLAIN if name in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH, columns=["path", "vector", *names]):
                vectors = _vectors(batch.column("vector"), dim)
                columns = {name: batch.column(name).to_pylist() for name in ("path", *names)}
                for at, vector in enumerate(vectors):
                    row = {name: column[at] for name, column in columns.items()}
                    yield {**row, "vector": vector}


def _opened(path: Path) -> Any:
    arrow()
    from pyarrow import parquet

    return parquet.ParquetFile(path, page_checksum_verification=True)


class _named:  # noqa: N801 - used as a function
    """Turns what pyarrow says of a file into an error that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raise the error of the file.

        Raises:
            UsageError: it cannot be read.
        """
        if isinstance(error, arrow().ArrowException | OSError):
            raise UsageError(
                f"{self._path}: is not a whole Parquet file ({error!s:.200}); it is half-written "
                "or damaged: write it again"
            ) from error


def _vectors(column: Any, dim: int) -> list[Float32 | None]:
    """The vectors (D,) of a column, None where there is none or one of another width."""
    pa = arrow()
    compute: Any = importlib.import_module("pyarrow.compute")
    lengths = compute.list_value_length(column).to_pylist()
    flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    found: list[Float32 | None] = []
    start = 0
    for length in lengths:
        vector = flat[start : start + (length or 0)]
        found.append(vector if length == dim else None)
        start += length or 0
    return found


def _recording(
    path: str, rows: list[Row], dim: int, known: Mapping[str, KnownVideo]
) -> list[FileRecord | EncodedWindow | Failure]:
    """The record and the windows of one recording.

    Raises:
        UsageError: a value that a library cannot hold.
    """
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
    found: list[FileRecord | EncodedWindow | Failure] = [
        FileRecord(file, state, place(path), stamp, digest, whole, None, tags)
    ]
    if is_known:
        return found
    for row, span, person in zip(windows, spans, people, strict=True):
        context, lost = _context(path, row), float(row.get("lost") or 0.0)
        if not 0 <= lost <= 1:
            raise UsageError(f"{path}: {lost} of a window are lost; write a share from 0 to 1")
        caption = row.get("caption")
        found.append(EncodedWindow(span, row["vector"], context, lost, caption, person))
    lost_rows = (row for row in rows if row.get("kind") == UNREADABLE)
    found += [Failure(file, str(r.get("error_kind")), str(r.get("error"))) for r in lost_rows]
    return found


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
    width, rest = divmod(len(content), STORED.itemsize * tokens) if tokens > 0 else (0, 1)
    if rest or not width or tokens > _MOST_TOKENS:
        raise UsageError(f"{path}: {len(content)} bytes of context are not {tokens} tokens")
    return np.frombuffer(content, STORED).reshape(tokens, width).astype(np.float16)
