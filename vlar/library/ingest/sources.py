"""Sources that the arguments of an ``add`` name: files, folders, addresses, lists and archives.

- an address that ``fsspec`` opens (``s3://bucket/clips``, ``https://host/a.mp4``)
- a list: a Parquet or CSV file with a column ``path``; its other columns become tags
- an archive in the WebDataset format: an uncompressed tar with one group of files a recording
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vlar.errors import UsageError, VlarError
from vlar.formatting import as_url
from vlar.library.address import checked_tags, place
from vlar.library.ingest.remote import (
    Recording,
    file_system,
    looked_up,
    opened,
    patiently,
    stamp_of_url,
)
from vlar.library.store.values import Stamp, is_path
from vlar.media.base import Reader
from vlar.media.video.files import is_folder
from vlar.results import arrow
from vlar.types import Failure

if TYPE_CHECKING:
    from tarfile import TarInfo

_TEXTS = (".cls", ".txt")  # next to a recording: each is a tag of its ending
_MOST_TEXT = 1 << 16


def archived(path: str, source: Reader) -> Iterator[Recording]:
    """The recordings of a tar, with the texts next to them as tags.

    Raises:
        UsageError: it is not a whole uncompressed tar, or holds none.
    """
    import tarfile

    version = _version(path)
    members: dict[str, Recording] = {}
    texts: dict[str, dict[str, str]] = {}
    try:
        with opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, ending = _split(member.name)
                if not member.isfile():
                    continue
                if source.claims(Path(PurePosixPath(member.name))):
                    members[key] = _member(path, member, version)
                elif ending in (*_TEXTS, ".json") and member.size <= _MOST_TEXT:
                    content = tar.extractfile(member)
                    told = _told(ending, content.read() if content else b"")
                    texts.setdefault(key, {}).update(told)
    except tarfile.TarError as error:
        raise UsageError(
            f"{path}: is not a whole uncompressed tar ({error}); unpack it, or write it again"
        ) from error
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    if not members:
        raise UsageError(f"{path}: no {source.modality} in this archive; check its endings")
    for key, recording in members.items():
        yield replace(recording, tags=texts.get(key, {}))


def _member(path: str, member: TarInfo, version: str) -> Recording:
    address = f"tar://{member.name}::{path}"
    digits = hashlib.sha256(f"{version} {member.offset_data}".encode()).hexdigest()[:12]
    stamp = Stamp(member.size, int(member.mtime) * 10**9 + int(digits, 16) % 10**9)
    span = member.offset_data, member.size
    if not is_path(address):
        failure = Failure(
            Path(path), "usage", f"{path}: the name {member.name!r:.80} is not a path"
        )
        return Recording(Path(path), f"{path}#{member.offset_data}", failure=failure)
    return Recording(Path(address), address, stamp=stamp, span=span)


def _version(path: str) -> str:
    """State of an archive."""
    if as_url(path) is None:
        try:
            status = Path(path).stat()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        return f"{status.st_size} {status.st_mtime_ns}"
    asked = looked_up(Recording(Path(path), path))
    if asked.failure is not None:
        raise UsageError(asked.failure.message)
    return str(asked.stamp)


def _split(name: str) -> tuple[str, str]:
    """The key of a member, by which it belongs to a recording, and its ending.

    >>> _split("train/0001.mp4"), _split("train/0001.json")
    (('train/0001', '.mp4'), ('train/0001', '.json'))
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{ending}".lower()


def _told(ending: str, content: bytes) -> dict[str, str]:
    """The tags that a text next to a recording gives; none where it cannot be read."""
    try:
        text = content.decode().strip()
        if ending != ".json":
            return checked_tags({ending[1:]: text}) if text else {}
        facts = json.loads(text)
        plain = (str, int, float, bool)
        return checked_tags(
            {str(k): str(v) for k, v in facts.items() if isinstance(v, plain)}
            if isinstance(facts, dict)
            else {}
        )
    except (ValueError, RecursionError, UsageError):
        return {}


_COLUMN = "path"
_LISTS = frozenset({".parquet", ".csv"})
_ARCHIVE = ".tar"
_ASKING = 16  # addresses whose size and time are asked for at a time
_FILE = "file://"


def is_source(path: str | Path) -> bool:
    """Return whether an argument is more than a file or folder of this machine, by its name.

    A CSV file is a list where its header has a column ``path``; others are recordings of a sensor.
    """
    if as_url(path) is not None:
        return True
    ending = Path(path).suffix.lower()
    if ending in (_ARCHIVE, ".parquet"):
        return not is_folder(Path(path))
    return ending == ".csv" and _is_list(str(path))


def recordings(given: Sequence[str | Path], source: Reader) -> list[Recording]:
    """The recordings that arguments name, each place once; the first mention counts."""
    found: dict[str, Recording] = {}
    for path in given:
        for recording in _named(str(path), source):
            found.setdefault(recording.path, recording)
    unknown = (each for each in found.values() if each.stamp is None and each.failure is None)
    asked = [each for each in unknown if as_url(each.path) is not None]
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
