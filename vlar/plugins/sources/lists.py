"""Lists of recordings: Parquet and CSV files with a column ``path``; other columns become tags."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from vlar.errors import UsageError, VlarError
from vlar.files.reading import MOST_MEMORY
from vlar.library.ingest.sources import COLUMN, MOST_TEXT, SourceName, of_place, require_here
from vlar.library.recording import ListedRecording
from vlar.library.store.values import is_path
from vlar.media.base import Reader
from vlar.plugins.sources.remote import opened, patiently
from vlar.results import arrow

_MOST_LIST = 1 << 28  # bytes of a list at an address
_BATCH = 1024  # rows
_LONGEST_LINE = 1 << 20


def of_list(listing: SourceName, source: Reader, remote: bool) -> Iterator[ListedRecording]:
    """The recordings of a list; relative paths count from its folder."""
    path = listing.path
    folder = path.rpartition("/")[0]
    for number, row in enumerate(_rows(listing), 1):
        text = row.pop(COLUMN, "").strip()
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
            require_here(place)
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
            for recording in of_place(place, source):
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
    if COLUMN not in names:
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
    if COLUMN not in plain:
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
