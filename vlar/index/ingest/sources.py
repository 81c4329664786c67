"""Sources that the arguments of an ``add`` name: files, folders, addresses, lists and archives.

- an address that ``fsspec`` opens (``s3://bucket/clips``, ``https://host/a.mp4``)
- a list: a Parquet or CSV file with a column ``path``; its other columns become tags
- an archive in the WebDataset format: an uncompressed tar with one group of files a recording
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from vlar.errors import UsageError, VlarError
from vlar.index.ingest.archives import archived
from vlar.index.ingest.recording import Recording, looked_up
from vlar.index.ingest.remote import file_system, opened, patiently, stamp_of_url
from vlar.index.paths import place
from vlar.index.store.values import is_path
from vlar.index.validation import checked_tags
from vlar.sensors import Reader
from vlar.tables import arrow
from vlar.types import Failure
from vlar.urls import as_url
from vlar.video.files import is_folder

_COLUMN = "path"
_LISTS = frozenset({".parquet", ".csv"})
_ARCHIVE = ".tar"
_MOST_TEXT = 1 << 16
_ASKING = 16  # addresses whose size and time are asked for at a time
_FILE = "file://"


def is_source(path: str | Path) -> bool:
    """Return whether an argument is more than a file or folder of this machine: its name says it.

    A CSV file is a list where its header has a column ``path``; others are recordings of a sensor.
    """
    if as_url(path) is not None:
        return True
    ending = Path(path).suffix.lower()
    if ending in (_ARCHIVE, ".parquet"):
        return not is_folder(Path(path))
    return ending == ".csv" and _is_list(str(path))


def recordings(given: Sequence[str | Path], source: Reader) -> list[Recording]:
    """The recordings that arguments name, each place once; the first mention counts.

    Args:
        given: The arguments.
        source: The reader of their sensor, which knows its files by their endings.
    """
    found: dict[str, Recording] = {}
    for path in given:
        for recording in _named(str(path), source):
            found.setdefault(recording.path, recording)
    asked = [each for each in found.values() if _is_unknown(each)]
    with ThreadPoolExecutor(_ASKING) as threads:
        for known in threads.map(looked_up, asked):
            found[known.path] = known
    return list(found.values())


def _named(path: str, source: Reader) -> Iterator[Recording]:
    """Recordings that one argument names; a failure where it cannot be looked into."""
    url = as_url(path)
    if url is not None and url.startswith(_FILE):
        path, url = url.removeprefix(_FILE), None
    name = PurePosixPath((url or path).partition("?")[0])
    try:
        if name.suffix.lower() == _ARCHIVE and not is_folder(Path(path)):
            yield from archived(url or place(path), source)
        elif name.suffix.lower() in _LISTS and (url or name.suffix != ".csv" or _is_list(path)):
            yield from _list(url or place(path), source)
        elif url is not None:
            yield from _remote(url, name, source)
        else:
            yield from (Recording(file, place(file)) for file in source.find([path]))
    except VlarError as error:
        file = Path(path)
        yield Recording(file, url or path, failure=Failure(file, error.kind, error.message))


# Addresses --------------------------------------------------------------------------------------


def _remote(url: str, name: PurePosixPath, source: Reader) -> Iterator[Recording]:
    """A file, the recordings in a folder, or what matches a pattern."""
    if not set(url) & set("*[") and (source.claims(Path(name)) or url.startswith("http")):
        yield Recording(Path(url), url)
        return

    def look() -> dict[str, Any]:
        system, path = file_system(url)
        if set(path) & set("*["):
            return system.glob(path, detail=True)
        return system.find(path, detail=True)

    def whole(path: str) -> str:
        text = as_url(path) or file_system(url)[0].unstrip_protocol(path)
        return as_url(text) or text

    listed = patiently(url, look)
    claimed = sorted(
        path
        for path, info in listed.items()
        if info.get("type", "file") == "file" and source.claims(Path(PurePosixPath(path)))
    )
    if not claimed:
        kind = source.modality
        raise UsageError(f"{url}: no {kind} in this folder; give a folder that holds {kind} files")
    for path in claimed:
        address = whole(path)
        yield Recording(Path(address), address, stamp=stamp_of_url(listed[path]))


def _is_unknown(recording: Recording) -> bool:
    """Return whether size and time must be asked for at an address."""
    return (
        recording.stamp is None and recording.failure is None and as_url(recording.path) is not None
    )


# Lists ------------------------------------------------------------------------------------------


def _is_list(path: str) -> bool:
    """Return whether the header of a CSV file has a column ``path``."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _COLUMN in next(csv.reader([file.readline(_MOST_TEXT)]), [])
    except (OSError, ValueError, csv.Error):
        return False


def _list(path: str, source: Reader) -> Iterator[Recording]:
    """The recordings of a list; relative paths count from its folder."""
    folder = path.rpartition("/")[0]
    for number, row in enumerate(_rows(path), 1):
        text = row.pop(_COLUMN, "").strip()
        where = text if as_url(text) or Path(text).is_absolute() else f"{folder}/{text}"
        try:
            if not text:
                raise UsageError(f"{path}: row {number} has no path; write one or remove the row")
            if not is_path(where):
                raise UsageError(
                    f"{path}: row {number} has {text!r:.80}, which is not a path; repair it"
                )
            tags = checked_tags({key: value for key, value in row.items() if value != ""})
            for recording in _named(where, source):
                yield replace(recording, tags={**recording.tags, **tags})
        except VlarError as error:
            file = Path(where if text and is_path(where) else f"{path}:{number}")
            yield Recording(file, str(file), failure=Failure(file, error.kind, error.message))


def _rows(path: str) -> Iterator[dict[str, str]]:
    """The rows of a list as texts; columns that hold more than one value are left out."""
    if path.partition("?")[0].lower().endswith(".csv"):
        content = _content(path)
        try:
            table = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
            names = table.fieldnames or []
            if _COLUMN not in names:
                raise _no_column(path, names)
            for row in table:
                yield {key: value or "" for key, value in row.items() if isinstance(key, str)}
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: is not a CSV file in UTF-8 ({error})") from error
        return
    pa = arrow()
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(io.BytesIO(_content(path)) if as_url(path) else path) as file:
            schema = file.schema_arrow
            plain = [each.name for each in schema if not pa.types.is_nested(each.type)]
            plain = [each for each in plain if not pa.types.is_binary(schema.field(each).type)]
            if _COLUMN not in plain:
                raise _no_column(path, schema.names)
            for batch in file.iter_batches(columns=plain):
                for row in batch.to_pylist():
                    yield {k: "" if v is None else str(v) for k, v in row.items()}
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: is not a Parquet file ({error!s:.200})") from error


def _no_column(path: str, names: Iterable[str]) -> UsageError:
    return UsageError(f"{path}: has no column 'path', only {', '.join(names)!r:.200}; rename one")


def _content(path: str) -> bytes:
    def read() -> bytes:
        with opened(path) as file:
            return file.read()

    return patiently(path, read)
