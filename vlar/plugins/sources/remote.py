"""Files of other machines, brought here for decoding: S3, Google Cloud Storage, HTTP, archives.

``fsspec`` opens them. A copy is kept in a folder of bounded size, so that a file which is looked at
twice travels once. An answer such as 503 is waited for, longer each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from vlar.errors import DecodeError, UsageError, VlarError
from vlar.files.opening import open_input
from vlar.files.reading import require_memory
from vlar.files.resources import is_running, size_in_bytes
from vlar.formatting import as_url, is_url
from vlar.library.ingest.sources import MOST_TEXT, ROW_BYTES
from vlar.library.recording import ListedRecording, checked_tags
from vlar.library.store.values import Stamp, is_path
from vlar.media.base import Reader
from vlar.plugins.sources.archives import Member, members
from vlar.types import Failure
from vlar.version import pip_install

_ATTEMPTS = 4
_FIRST_WAIT_S = 0.5
_BLOCK = 4 << 20
_MOST = "10GB"
_IN_USE = "use-"
_PARTIAL = "part-"
_OF_PROCESS = re.compile(rf"(?:{_IN_USE}|{_PARTIAL})(\d+)-\d+(?:\.\w+)?")  # with its number
_COPY = re.compile(r"[0-9a-f]{32}")
# Keys of the time of a file and of its version, by cloud or server.
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "checksum", "VersionId")
_NEVER_AGAIN = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError)
_MISSING = (401, 403, 404, 410)  # answers of a server that will not change
_TEXTS = (".cls", ".txt")  # next to a recording: each is a tag of its ending
_numbers = itertools.count()
T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFiles:
    """Folder for copies of files of other machines.

    Attributes:
        folder: The folder; empty for one in the folder of temporary files.
        most_bytes: Limit of all copies together, without those that are being read.
        first_wait_s: Seconds before a second attempt; each further one waits twice as long.
    """

    folder: str = ""
    most_bytes: int = 10 * 10**9
    first_wait_s: float = _FIRST_WAIT_S

    @classmethod
    def from_environment(cls) -> RemoteFiles:
        """``VLAR_FETCH_FOLDER`` (temporary files) and ``VLAR_FETCH_BYTES`` (10GB).

        Raises:
            UsageError: the size is not usable.
        """
        folder = os.environ.get("VLAR_FETCH_FOLDER", "")
        return cls(folder, size_in_bytes("VLAR_FETCH_BYTES", _MOST))

    @contextlib.contextmanager
    def fetched(
        self, url: str, version: str = "", span: tuple[int, int] | None = None
    ) -> Generator[Path]:
        """A file of this machine with the content of an address, as long as the context lasts.

        Args:
            url: The address.
            version: Which state of the file is meant.
            span: Offset and number of its bytes in the archive that the address names.

        Raises:
            DecodeError: it cannot be fetched.
            UsageError: the package for such addresses is not installed.
        """
        folder = self._folder()
        key = hashlib.sha256(f"{url}\0{version}\0{span}".encode()).hexdigest()[:32]
        name = PurePosixPath(url.partition("::")[0].partition("?")[0]).suffix
        mine = folder / f"{_IN_USE}{os.getpid()}-{next(_numbers)}{name}"
        try:
            self._link(url, span, folder / key, mine)
            yield mine
        finally:
            mine.unlink(missing_ok=True)
            _make_room(folder, self.most_bytes)

    def _folder(self) -> Path:
        if self.folder:
            folder = Path(self.folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return folder
        user = os.getuid() if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir()) / f"vlar-fetched-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
            raise UsageError(
                f"{folder} belongs to somebody else; set VLAR_FETCH_FOLDER to a folder of your own"
            )
        return folder

    def _link(self, url: str, span: tuple[int, int] | None, kept: Path, mine: Path) -> None:
        """Give the copy a name of this process; another may remove the common one meanwhile."""
        try:
            os.link(kept, mine)
            kept.touch()
        except OSError:
            part = kept.with_name(f"{_PARTIAL}{os.getpid()}-{next(_numbers)}")
            try:
                copy = lambda: _copy(url, span, part)  # noqa: E731
                patiently(url, copy, self.first_wait_s)
                os.link(part, mine)
                part.replace(kept)
            finally:
                part.unlink(missing_ok=True)


def patiently(url: str, action: Callable[[], T], first_wait_s: float = _FIRST_WAIT_S) -> T:
    """Result of an action on an address, tried again where a server has no time.

    Raises:
        DecodeError: it failed every time; the message has the last reason.
        UsageError: the package for such addresses is not installed.
    """
    for attempt in itertools.count(1):
        try:
            return action()
        except ImportError as error:
            raise UsageError(
                f"{url}: {error}; install it with {pip_install('remote')} (s3, http), for gs "
                "also gcsfs"
            ) from error
        except UsageError:
            raise
        except Exception as error:  # every file system of fsspec has its own
            if isinstance(error, _NEVER_AGAIN) and _busy(error) is None:
                raise DecodeError(_why(url, error)) from error
            if attempt == _ATTEMPTS:
                raise DecodeError(
                    f"{_why(url, error)}; it was tried {_ATTEMPTS} times: add it again later"
                ) from error
            time.sleep(first_wait_s * 2 ** (attempt - 1))
    raise AssertionError


def file_system(url: str) -> tuple[Any, str]:
    """The file system of fsspec that an address names, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(
            f"{url}: addresses need fsspec; install it with {pip_install('remote')}"
        ) from error
    # Listings must not be older than this call.
    return url_to_fs(url, use_listings_cache=False)


def stamp_of_url(info: Mapping[str, Any]) -> Stamp:
    """Size and time of a remote file, from the facts of its file system.

    The part of a second comes from the version that a cloud or a server gives its content, so that
    two states of one second differ. Where nothing distinguishes states, no two stamps are equal.
    """
    size = info.get("size") or 0
    times = (_seconds(info[key]) for key in _TIMES if info.get(key) is not None)
    seconds = next((time_s for time_s in times if time_s is not None), None)
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    if seconds is None and not version:
        return Stamp(int(size), time.time_ns())
    if not version:
        return Stamp(int(size), round((seconds or 0.0) * 1e9))
    digits = int(hashlib.sha256(version.encode()).hexdigest()[:12], 16) % 10**9
    return Stamp(int(size), int(seconds or 0.0) * 10**9 + digits)


def _seconds(value: Any) -> float | None:
    """A time in seconds since 1970; None where it is not one."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        for read in (datetime.fromisoformat, parsedate_to_datetime):
            with contextlib.suppress(ValueError, TypeError):
                return _seconds(read(value.replace("Z", "+00:00") if "T" in value else value))
        return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()


def _copy(url: str, span: tuple[int, int] | None, part: Path) -> None:
    if span is None:
        system, path = file_system(url)
        system.get_file(path, str(part))
        return
    start, remaining = span
    archive = url.partition("::")[2] or url
    with opened(archive, is_url(archive)) as source, part.open("wb") as target:
        source.seek(start)
        while remaining:
            block = source.read(min(_BLOCK, remaining))
            if not block:
                raise OSError("the archive is shorter than it was")
            target.write(block)
            remaining -= len(block)


@contextlib.contextmanager
def opened(path: str, is_remote: bool) -> Generator[Any]:
    """A file of this machine or of another, opened to read bytes."""
    if not is_remote:
        with open_input(path, recording=True) as file:
            yield file
        return
    system, inside = file_system(path)
    with system.open(inside, "rb") as file:
        yield file


def _busy(error: BaseException) -> BaseException | None:
    """Cause of a busy server, which fsspec reports as a missing file; None for a missing file."""
    cause = error.__cause__
    is_of_client = cause is not None and type(cause).__name__.startswith("Client")
    if not is_of_client or type(cause).__name__ == "ClientError":  # the latter is of S3
        return None
    return None if getattr(cause, "status", 0) in _MISSING else cause


def _why(url: str, error: BaseException) -> str:
    error = _busy(error) or error
    if isinstance(error, FileNotFoundError):
        return f"{url}: no such file; check the address"
    if isinstance(error, PermissionError):
        return f"{url}: no permission to read it; check the account that is used"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{url}: cannot be fetched ({reason:.300})"


def _make_room(folder: Path, most_bytes: int) -> None:
    """Remove the copies that were longest not used, and what ended processes left.

    Files of others in the folder stay.
    """
    files: list[tuple[float, int, Path]] = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            if (of_process := _OF_PROCESS.fullmatch(entry.name)) is not None:
                if not is_running(int(of_process[1])):
                    Path(entry.path).unlink()
            elif _COPY.fullmatch(entry.name):
                status = entry.stat()
                files.append((status.st_mtime, status.st_size, Path(entry.path)))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size


def looked_up(recording: ListedRecording) -> ListedRecording:
    """A recording with the size and time that its address has, or why they are not to be had."""
    url = recording.path

    def ask() -> Mapping[str, Any]:
        system, path = file_system(url)
        return system.info(path)

    try:
        return replace(recording, stamp=stamp_of_url(patiently(url, ask)))
    except VlarError as error:
        return replace(recording, failure=Failure(recording.file, error.kind, error.message))


def listed(url: str, source: Reader) -> Iterator[ListedRecording]:
    """A file, the recordings in a folder, or what matches a pattern."""
    name = PurePosixPath(url.partition("?")[0])
    if not set(url) & set("*[") and (source.claims(Path(name)) or url.startswith("http")):
        yield ListedRecording(Path(url), url, is_remote=True)
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
        address, stamp = whole(path), stamp_of_url(listed[path])
        yield ListedRecording(Path(address), address, stamp=stamp, is_remote=True)


def archived(path: str, is_remote: bool, source: Reader) -> Iterator[ListedRecording]:
    """The recordings of a tar, with the texts next to them as tags.

    Raises:
        UsageError: it is not a whole uncompressed tar, or holds none.
    """
    version = _version(path, is_remote)
    recordings_by_path: dict[str, ListedRecording] = {}
    texts: dict[str, dict[str, str]] = {}
    held = 0
    try:
        with opened(path, is_remote) as file:
            for member in members(file):
                key, ending = _split(member.name)
                if source.claims(Path(PurePosixPath(member.name))):
                    recordings_by_path[key] = _member(path, member, version)
                elif ending in (*_TEXTS, ".json") and member.size <= MOST_TEXT:
                    file.seek(member.start)
                    texts.setdefault(key, {}).update(_told(ending, file.read(member.size)))
                    held += member.size
                held += ROW_BYTES + len(member.name)
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


def _member(path: str, member: Member, version: str) -> ListedRecording:
    address = f"tar://{member.name}::{path}"
    digits = hashlib.sha256(f"{version} {member.start}".encode()).hexdigest()[:12]
    stamp = Stamp(member.size, int(member.mtime_s) * 10**9 + int(digits, 16) % 10**9)
    span = member.start, member.size
    if not is_path(address):
        failure = Failure(
            Path(path), "usage", f"{path}: the name {member.name!r:.80} is not a path"
        )
        return ListedRecording(Path(path), f"{path}#{member.start}", failure=failure)
    return ListedRecording(Path(address), address, stamp=stamp, span=span, is_remote=True)


def _version(path: str, is_remote: bool) -> str:
    """State of an archive."""
    if not is_remote:
        try:
            status = Path(path).stat()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        return f"{status.st_size} {status.st_mtime_ns}"
    recording = looked_up(ListedRecording(Path(path), path, is_remote=True))
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
