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
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from vlar.errors import UsageError, VlarError
from vlar.files.archives import Member, members
from vlar.files.opening import allowed_roots, open_input, require_inside
from vlar.files.reading import MOST_MEMORY, require_memory
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
from vlar.media.bundle import bundle_files
from vlar.media.dataset_rows import DataSet, rows
from vlar.media.video.files import is_folder
from vlar.results import arrow
from vlar.types import Failure

_TEXTS = (".cls", ".txt")  # next to a recording: each is a tag of its ending
_MOST_TEXT = 1 << 16
_MOST_LIST = 1 << 28  # bytes of a list at an address
_ROW_BYTES = 1000  # of a recording that is held, without its texts


def archived(path: str, source: Reader) -> Iterator[Recording]:
    """The recordings of a tar, with the texts next to them as tags.

    Raises:
        UsageError: it is not a whole uncompressed tar, or holds none.
    """
    version = _version(path)
    recordings_by_path: dict[str, Recording] = {}
    texts: dict[str, dict[str, str]] = {}
    held = 0
    try:
        with opened(path) as file:
            for member in members(file):
                key, ending = _split(member.name)
                if source.claims(Path(PurePosixPath(member.name))):
                    recordings_by_path[key] = _member(path, member, version)
                elif ending in (*_TEXTS, ".json") and member.size <= _MOST_TEXT:
                    file.seek(member.start)
                    texts.setdefault(key, {}).update(_told(ending, file.read(member.size)))
                    held += member.size
                held += _ROW_BYTES + len(member.name)
                require_memory(held)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the path") from None
    except ValueError as error:
        raise UsageError(
            f"{path}: is not a whole uncompressed tar ({error}); unpack it, or write it again"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not recordings_by_path:
        raise UsageError(f"{path}: no {source.modality} in this archive; check its endings")
    for key, recording in recordings_by_path.items():
        yield replace(recording, tags=texts.get(key, {}))


def _member(path: str, member: Member, version: str) -> Recording:
    address = f"tar://{member.name}::{path}"
    digits = hashlib.sha256(f"{version} {member.start}".encode()).hexdigest()[:12]
    stamp = Stamp(member.size, int(member.mtime_s) * 10**9 + int(digits, 16) % 10**9)
    span = member.start, member.size
    if not is_path(address):
        failure = Failure(
            Path(path), "usage", f"{path}: the name {member.name!r:.80} is not a path"
        )
        return Recording(Path(path), f"{path}#{member.start}", failure=failure)
    return Recording(Path(address), address, stamp=stamp, span=span)


def _version(path: str) -> str:
    """State of an archive."""
    if as_url(path) is None:
        try:
            status = Path(path).stat()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        return f"{status.st_size} {status.st_mtime_ns}"
    recording = looked_up(Recording(Path(path), path))
    if recording.failure is not None:
        raise UsageError(recording.failure.message)
    return str(recording.stamp)


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
_BATCH = 1024  # rows
_LONGEST_LINE = 1 << 20
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


def asked(
    paths: str | Path | Sequence[str | Path] | DataSet, source: Reader, *, remote: bool = False
) -> list[Recording]:
    """The recordings that an ``add`` names; those that a server may not read are failures.

    Args:
        paths: As ``Library.add`` takes them.
        source: The reader of their sensor.
        remote: Lists may name addresses, besides the arguments themselves.
    """
    if isinstance(paths, DataSet):
        listed = of_dataset(paths)
    else:
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        if any(map(is_source, named)):
            listed = recordings(named, source, remote=remote)
        else:
            files = {place(file): file for file in source.find(named)}
            listed = [Recording(file, path) for path, file in files.items()]
    return [inside(recording) for recording in listed]


def of_dataset(dataset: DataSet) -> list[Recording]:
    """The files of a data set's rows; its other columns become tags.

    Raises:
        UsageError: it has no column of videos, or holds bytes instead of files.
    """
    listed: list[Recording] = []
    for number, row in enumerate(rows(dataset)):
        if row.path is None:
            raise UsageError(
                f"row {number} of the data set holds the bytes of a video, and a library needs its "
                "file; write the files, or add vectors: Library.add_vectors"
            )
        listed.append(Recording(row.path, place(row.path), tags=checked_tags(row.cells)))
    return listed


def recordings(
    given: Sequence[str | Path], source: Reader, *, remote: bool = False
) -> list[Recording]:
    """The recordings that arguments name, each place once; the first mention counts.

    Args:
        given: As the user typed them.
        source: The reader of their sensor.
        remote: Lists may name addresses, besides the arguments themselves.
    """
    recordings_by_path: dict[str, Recording] = {}
    held = 0
    for path in given:
        for recording in _named(str(path), source, remote):
            recordings_by_path.setdefault(recording.path, recording)
            held += _ROW_BYTES + 2 * len(recording.path) + sum(map(len, recording.tags.values()))
            if held > MOST_MEMORY:
                raise UsageError(
                    f"{path}: names over {len(recordings_by_path):,} recordings, which take "
                    f"{MOST_MEMORY / 1e9:g} GB of memory; split it"
                )
    unknown = (
        recording
        for recording in recordings_by_path.values()
        if recording.stamp is None and recording.failure is None
    )
    asked = [recording for recording in unknown if as_url(recording.path) is not None]
    with ThreadPoolExecutor(_ASKING) as threads:
        for known in threads.map(looked_up, asked):
            recordings_by_path[known.path] = known
    return list(recordings_by_path.values())


def inside(recording: Recording) -> Recording:
    """A recording, or why a server may not read it: it lies outside, or is not a file.

    Every recording that a job finds passes here, and is compared again when it is opened.
    """
    if recording.failure is not None or allowed_roots() is None:
        return recording
    try:
        _require_here(recording.path)
        for path in (recording.file, *bundle_files(recording.file)):
            require_inside(path)
    except (OSError, UsageError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = (
            f"{recording.file}: cannot be read ({reason}); start the server with --root FOLDER"
        )
        return replace(recording, failure=Failure(recording.file, "outside", message))
    return recording


def _require_here(path: str) -> None:
    """Refuse an address or an archive where folders are named that may be read.

    Raises:
        UsageError: it is one.
    """
    is_far = as_url(path) is not None or _ending(path) == _ARCHIVE
    if is_far and allowed_roots() is not None:
        raise UsageError(
            f"{path[:200]}: a server reads files and folders, no addresses or archives"
        )


def _ending(path: str) -> str:
    """The ending of a path or an address, without what is asked of it; lower case."""
    return os.path.splitext(path.partition("?")[0].rstrip("/"))[1].lower()  # noqa: PTH122 - a list has 300,000


def _named(path: str, source: Reader, remote: bool) -> Iterator[Recording]:
    """Recordings that one argument names; a failure where it cannot be looked into."""
    url = as_url(path)
    if url is not None and url.startswith(_FILE):
        path, url = url.removeprefix(_FILE), None
    ending = _ending(url or path)
    try:
        _require_here(url or path)
        if ending in _LISTS and (url or ending != ".csv" or _is_list(path)):
            yield from _list(url or place(path), source, remote)
        else:
            yield from _of_place(path, url, source)
    except VlarError as error:
        file = Path(path)
        yield Recording(file, url or path, failure=Failure(file, error.kind, error.message))


def _of_place(path: str, url: str | None, source: Reader) -> Iterator[Recording]:
    """Recordings of an archive, an address, a folder or a file."""
    if _ending(url or path) == _ARCHIVE and not is_folder(Path(path)):
        yield from archived(url or place(path), source)
    elif url is not None:
        yield from _remote(url, PurePosixPath(url.partition("?")[0]), source)
    else:
        yield from (Recording(file, place(file)) for file in source.find([path]))


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
        with open_input(path, recording=True) as file:
            line = file.readline(_MOST_TEXT).decode("utf-8-sig")
        return _COLUMN in next(csv.reader([line]), [])
    except (OSError, ValueError, csv.Error):
        return False


def _list(path: str, source: Reader, remote: bool) -> Iterator[Recording]:
    """The recordings of a list; relative paths count from its folder."""
    folder = path.rpartition("/")[0]
    for number, row in enumerate(_rows(path), 1):
        text = row.pop(_COLUMN, "").strip()
        is_whole = as_url(text) or os.path.isabs(text)  # noqa: PTH117 - as above
        where = text if is_whole else f"{folder}/{text}"
        try:
            if not text:
                raise UsageError(f"{path}: row {number} has no path; write one or remove the row")
            if not is_path(where):
                raise UsageError(
                    f"{path}: row {number} has {text!r:.80}, which is not a path; repair it"
                )
            url = as_url(where)
            _require_of_list(path, number, text, where, remote)
            tags = checked_tags({key: value for key, value in row.items() if value != ""})
            for recording in _of_place(url or where, url, source):
                yield replace(recording, tags={**recording.tags, **tags}) if tags else recording
        except VlarError as error:
            file = Path(where if text and is_path(where) else f"{path}:{number}")
            yield Recording(file, str(file), failure=Failure(file, error.kind, error.message))


def _require_of_list(path: str, number: int, text: str, where: str, remote: bool) -> None:
    """Refuse a row that names another list, or an address that the user did not ask for.

    Raises:
        UsageError: it is one.
    """
    _require_here(text)
    url = as_url(text)
    is_address = url is not None and not url.startswith(_FILE)
    if is_address and not remote:
        raise UsageError(
            f"{path}: row {number} names the address {text!r:.200}; give it yourself, or say "
            "--remote for all addresses of lists"
        )
    ending = _ending(where)
    if ending == ".parquet" or (ending == ".csv" and is_source(where)):
        raise UsageError(f"{path}: row {number} names the list {text!r:.200}; give it yourself")


def _rows(path: str) -> Iterator[dict[str, str]]:
    """The rows of a list as texts; columns that hold more than one value are left out."""
    try:
        with _content(path) as file:
            is_table = path.partition("?")[0].lower().endswith(".csv")
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
                    if any(isinstance(text, str) and len(text) > _MOST_TEXT for text in texts):
                        raise UsageError(f"{path}: a text has over {_MOST_TEXT:,} characters")
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
def _content(path: str) -> Generator[BinaryIO]:
    """Bytes of a list: a file of this machine, or what an address holds, within a limit."""
    if as_url(path) is None:
        with open_input(path, recording=True) as file:
            yield file
        return

    def read() -> bytes:
        with opened(path) as file:
            return file.read(_MOST_LIST + 1)

    content = patiently(path, read)
    if len(content) > _MOST_LIST:
        raise UsageError(f"{path}: has over {_MOST_LIST >> 20} MB; split it")
    yield io.BytesIO(content)
