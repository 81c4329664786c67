"""Sources that the arguments of an ``add`` name: files, folders, addresses, lists and archives.

- an address that ``fsspec`` opens (``s3://bucket/clips``, ``https://host/a.mp4``)
- a list: a Parquet or CSV file with a column ``path``; its other columns become tags
- an archive in the WebDataset format: an uncompressed tar with one group of files a recording
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vlar.errors import UsageError, VlarError
from vlar.files.opening import allowed_roots
from vlar.files.reading import MOST_MEMORY
from vlar.formatting import as_url
from vlar.library.ingest.remote import (
    MOST_TEXT,
    ROW_BYTES,
    archived,
    listed,
    looked_up,
    opened,
    patiently,
)
from vlar.library.recording import ListedRecording, checked_tags
from vlar.library.store.paths import absolute
from vlar.library.store.values import NO_FILE, is_path
from vlar.media.base import Reader
from vlar.media.dataset_rows import DataSet, rows
from vlar.media.video.files import is_folder
from vlar.results import arrow

_MOST_LIST = 1 << 28  # bytes of a list at an address
_COLUMN = "path"
_LISTS = frozenset({".parquet", ".csv"})
_ARCHIVE = ".tar"
_BATCH = 1024  # rows
_LONGEST_LINE = 1 << 20
_ASKING = 16  # addresses whose size and time are asked for at a time
_FILE = "file://"


@dataclass(frozen=True)
class SourceName:
    """The place that an argument or a row of a list names, decided once by its name.

    Attributes:
        text: A path as it was written, or the address.
        is_remote: Whether it is an address that ``fsspec`` opens.
        ending: Ending without what is asked of an address; lower case.
    """

    text: str
    is_remote: bool
    ending: str

    @classmethod
    def parse(cls, path: str | Path) -> SourceName:
        """The place of a text; ``file://`` addresses are paths of this machine."""
        url = as_url(path)
        is_remote = url is not None and not url.startswith(_FILE)
        text = (url or str(path)) if is_remote else (url or str(path)).removeprefix(_FILE)
        name = text.partition("?")[0] if is_remote else text
        ending = os.path.splitext(name.rstrip("/"))[1].lower()  # noqa: PTH122 - a list has 300,000
        return cls(text, is_remote, ending)

    @property
    def path(self) -> str:
        """The path as a library writes it."""
        return self.text if self.is_remote else absolute(self.text)

    @property
    def is_archive(self) -> bool:
        """Whether it is a tar, by its ending."""
        return self.ending == _ARCHIVE and (self.is_remote or not is_folder(Path(self.text)))

    @property
    def is_list(self) -> bool:
        """Whether it names other places; a CSV file does where it has a column ``path``."""
        if self.ending == ".csv" and not self.is_remote:
            return _has_paths(self.text)
        return self.ending in _LISTS and (self.is_remote or not is_folder(Path(self.text)))


def recordings(
    paths: str | Path | Sequence[str | Path] | DataSet, source: Reader, *, remote: bool = False
) -> list[ListedRecording]:
    """The recordings that an ``add`` names, each place once; the first mention counts.

    Args:
        paths: As ``Library.add`` takes them.
        source: The reader of their sensor.
        remote: Lists may name addresses, besides the arguments themselves.
    """
    by_path: dict[str, ListedRecording] = {}
    n_bytes = 0
    listing = of_dataset(paths) if isinstance(paths, DataSet) else _of_all(paths, source, remote)
    for recording in listing:
        by_path.setdefault(recording.path, recording)
        n_bytes += ROW_BYTES + 2 * len(recording.path) + sum(map(len, recording.tags.values()))
        if n_bytes > MOST_MEMORY:
            raise UsageError(
                f"{recording.path:.200}: is one of over {len(by_path):,} recordings, which take "
                f"{MOST_MEMORY / 1e9:g} GB of memory; split it"
            )
    unknown = [row for row in by_path.values() if row.is_remote and row.stamp == NO_FILE]
    with ThreadPoolExecutor(_ASKING) as threads:
        by_path |= {row.path: row for row in threads.map(looked_up, unknown)}
    return list(by_path.values())


def _of_all(
    paths: str | Path | Sequence[str | Path], source: Reader, remote: bool
) -> Iterator[ListedRecording]:
    """Recordings of each argument, in order."""
    for path in [paths] if isinstance(paths, str | Path) else paths:
        yield from _named(SourceName.parse(path), source, remote)


def of_dataset(dataset: DataSet) -> Iterator[ListedRecording]:
    """The files of a data set's rows; its other columns become tags.

    Raises:
        UsageError: it has no column of videos, or holds bytes instead of files.
    """
    for number, row in enumerate(rows(dataset)):
        if row.path is None:
            raise UsageError(
                f"row {number} of the data set holds the bytes of a video, and a library needs its "
                "file; write the files, or add vectors: Library.add_vectors"
            )
        yield ListedRecording.of(row.path, checked_tags(row.cells))


def _require_here(place: SourceName) -> None:
    """Refuse an address or an archive where folders are named that may be read.

    Raises:
        UsageError: it is one.
    """
    if allowed_roots() is not None and (place.is_remote or place.ending == _ARCHIVE):
        raise UsageError(
            f"{place.text[:200]}: a server reads files and folders, no addresses or archives"
        )


def _named(place: SourceName, source: Reader, remote: bool) -> Iterator[ListedRecording]:
    """Recordings that one argument names; a failure where it cannot be looked into."""
    try:
        _require_here(place)
        yield from _list(place, source, remote) if place.is_list else _of_place(place, source)
    except VlarError as error:
        yield ListedRecording.failed(place.text, error)


def _of_place(place: SourceName, source: Reader) -> Iterator[ListedRecording]:
    """Recordings of an archive, an address, a folder or a file."""
    if place.is_archive:
        yield from archived(place.path, place.is_remote, source)
    elif place.is_remote:
        yield from listed(place.text, source)
    else:
        yield from (ListedRecording.of(file) for file in source.find([place.text]))


def _has_paths(path: str) -> bool:
    """Return whether the header of a CSV file has a column ``path``."""
    try:
        with opened(path, is_remote=False) as file:
            line = file.readline(MOST_TEXT).decode("utf-8-sig")
        return _COLUMN in next(csv.reader([line]), [])
    except (OSError, ValueError, csv.Error):
        return False


def _list(listing: SourceName, source: Reader, remote: bool) -> Iterator[ListedRecording]:
    """The recordings of a list; relative paths count from its folder."""
    path = listing.path
    folder = path.rpartition("/")[0]
    for number, row in enumerate(_rows(listing), 1):
        text = row.pop(_COLUMN, "").strip()
        place = SourceName.parse(text)
        is_address = place.is_remote
        if not (is_address or os.path.isabs(place.text)):  # noqa: PTH117 - a list has 300,000
            place = SourceName.parse(f"{folder}/{text}")
        try:
            if not text:
                raise UsageError(f"{path}: row {number} has no path; write one or remove the row")
            if not is_path(place.text):
                raise UsageError(
                    f"{path}: row {number} has {text!r:.80}, which is not a path; repair it"
                )
            _require_here(place)
            if is_address and not remote:
                raise UsageError(
                    f"{path}: row {number} names the address {text!r:.200}; give it yourself, or "
                    "say --remote for all addresses of lists"
                )
            if place.is_list:
                raise UsageError(
                    f"{path}: row {number} names the list {text!r:.200}; give it yourself"
                )
            tags = {key: value for key, value in row.items() if value != ""}
            for recording in _of_place(place, source):
                yield recording.tagged(tags)
        except VlarError as error:
            is_named = text and is_path(place.text)
            yield ListedRecording.failed(place.text if is_named else f"{path}:{number}", error)


def _rows(listing: SourceName) -> Iterator[dict[str, str]]:
    """The rows of a list as texts; columns that hold more than one value are left out."""
    path = listing.path
    try:
        with _content(listing) as file:
            is_table = listing.ending == ".csv"
            yield from _table_rows(path, file) if is_table else _parquet_rows(path, file)
    except (csv.Error, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path}: is not a CSV file in UTF-8 ({error!s:.200})") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: cannot be read ({reason:.200}); check the path") from error


def _table_rows(path: str, file: BinaryIO) -> Iterator[dict[str, str]]:
    """Rows of a CSV file, which is read line by line."""
    table = csv.DictReader(_lines(file))
    names = table.fieldnames or []
    if _COLUMN not in names:
        raise _no_column(path, names)
    for row in table:
        yield {key: value or "" for key, value in row.items() if isinstance(key, str)}


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines of a text; one without an end is refused."""
    encoding = "utf-8-sig"
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            raise ValueError(f"a line has over {_LONGEST_LINE:,} bytes")
        yield line.decode(encoding)
        encoding = "utf-8"


def _parquet_rows(path: str, file: BinaryIO) -> Iterator[dict[str, str]]:
    """Rows of a Parquet file; each text is held once, however many rows state it."""
    pa = arrow()
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            names = _plain_columns(path, table)
        file.seek(0)
        with parquet.ParquetFile(file, read_dictionary=names) as table:
            for batch in table.iter_batches(_BATCH, columns=names):
                for column in batch.columns:
                    texts = getattr(column, "dictionary", column).to_pylist()
                    if any(isinstance(text, str) and len(text) > MOST_TEXT for text in texts):
                        raise UsageError(f"{path}: a text has over {MOST_TEXT:,} characters")
                for row in batch.to_pylist():
                    yield {k: "" if v is None else str(v) for k, v in row.items()}
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: is not a Parquet file ({error!s:.200})") from error


def _plain_columns(path: str, table: Any) -> list[str]:
    """Columns of one value a row, which a list has."""
    pa = arrow()
    schema, facts = table.schema_arrow, table.metadata
    plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
    plain = [field for field in plain if not pa.types.is_binary(schema.field(field).type)]
    if _COLUMN not in plain:
        raise _no_column(path, schema.names)
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > MOST_MEMORY:
        raise UsageError(
            f"{path}: a group of its rows has {largest / 1e9:.1f} GB; write smaller ones"
        )
    return plain


def _no_column(path: str, names: Iterable[str]) -> UsageError:
    return UsageError(f"{path}: has no column 'path', only {', '.join(names)!r:.200}; rename one")


@contextmanager
def _content(listing: SourceName) -> Generator[BinaryIO]:
    """Bytes of a list: a file of this machine, or what an address holds, within a limit."""
    path = listing.path
    if not listing.is_remote:
        with opened(path, is_remote=False) as file:
            yield file
        return

    def read() -> bytes:
        with opened(path, is_remote=True) as file:
            return file.read(_MOST_LIST + 1)

    content = patiently(path, read)
    if len(content) > _MOST_LIST:
        raise UsageError(f"{path}: has over {_MOST_LIST >> 20} MB; split it")
    yield io.BytesIO(content)
