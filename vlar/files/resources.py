"""The data folders ``prompts/`` and ``text_banks/``, and the cache of what is slow to make."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from vlar.errors import ModelError, UsageError
from vlar.files.replacing import MACHINE, is_running, put_back, replacing
from vlar.progress import stage
from vlar.registry import unknown_name
from vlar.version import is_installed

_log = logging.getLogger("vlar")
DIGEST_BYTES = 32  # at the start of a cache file
_PIECE_BYTES = 1 << 20
_ENTRIES = "made"  # below the cache folder; nothing else is ever removed
_DEFAULT_LIMIT = "1GB"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def folder(name: str) -> Path:
    """The data folder ``name``.

    Raises:
        ModelError: neither a checkout nor the wheel holds it: the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "_data" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise ModelError(
        f"data folder {name!r} is missing next to {package}: the installation is incomplete; "
        "reinstall vlar"
    )


def names(folder_name: str, suffix: str) -> list[str]:
    """Names of the files in a data folder, without ``suffix``, sorted."""
    return sorted(p.name[: -len(suffix)] for p in folder(folder_name).glob(f"*{suffix}"))


def find(folder_name: str, name: str, suffix: str) -> Path:
    """The file ``name + suffix`` of a data folder.

    Raises:
        UnknownNameError: the file does not exist; the message lists what there is.
    """
    choices = names(folder_name, suffix)
    if name not in choices:
        raise unknown_name(folder_name.replace("_", " ").rstrip("s"), name, choices)
    return folder(folder_name) / f"{name}{suffix}"


def cache_dir() -> Path:
    """The folder for what vlar can make or fetch again. It is not created here.

    The environment variable ``VLAR_CACHE`` moves it.
    """
    if root := os.environ.get("VLAR_CACHE"):
        return Path(root).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("vlar")


def cache_limit() -> int:
    """Bytes that cache entries may take together: ``VLAR_CACHE_LIMIT``, 1 GB by default.

    Raises:
        UsageError: the variable is not a size such as ``500MB``.
    """
    return size_in_bytes("VLAR_CACHE_LIMIT", _DEFAULT_LIMIT)


def size_in_bytes(variable: str, default: str) -> int:
    """Bytes of an environment variable: ``500MB``, ``2GB``.

    Raises:
        UsageError: it is not a size.
    """
    text = os.environ.get(variable) or default
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    if match is None:
        raise UsageError(f"{variable} {text!r} is not a size; write for example 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2].removesuffix("B")])


def release_memory() -> None:
    """Return memory that is free to the system, where the C library can (glibc)."""
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes  # not needed by help

        ctypes.CDLL(None).malloc_trim(0)


def require_space(place: Path, n_bytes: int, what: str) -> None:
    """Refuse a file that the disk cannot hold, before any of it is written.

    Args:
        place: A folder, which need not exist yet.
        n_bytes: That will be written there.
        what: Names them in the message.

    Raises:
        ModelError: less is free; nothing was written.
    """
    existing = next((folder for folder in (place, *place.parents) if folder.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    if free < n_bytes:
        raise ModelError(
            f"{what} needs {n_bytes / 1e6:.0f} MB in {str(place)!r}, where {free / 1e6:.0f} MB are "
            "free; nothing was written: make room, or choose another disk (VLAR_CACHE, TMPDIR)"
        )


@contextmanager
def work_folder(parent: Path) -> Generator[Path]:
    """A folder whose finished content is moved next to it; it is deleted at the end.

    Folders that killed processes of this machine left behind are deleted at the beginning, after
    what they replaced is put back; not where they hold something under the name ``old``, to which
    earlier versions moved it.
    """
    begin = f".vlar-{MACHINE}-"
    for stale in parent.glob(f"{begin}*"):
        number = stale.name.removeprefix(begin).partition("-")[0]
        if number.isdecimal() and not is_running(int(number)) and not (stale / "old").exists():
            with contextlib.suppress(OSError):
                put_back(stale)
                shutil.rmtree(stale)
    prefix = f"{begin}{os.getpid()}-"
    with tempfile.TemporaryDirectory("", prefix, parent, ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def peak_bytes() -> int | None:
    """The most memory that this process has held; None where the system does not count it."""
    if not is_installed("resource"):
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def cached(folder: str, name: str, make: Callable[[], bytes], what: str | None = None) -> bytes:
    """The content of a cache entry, made now if it is absent or damaged.

    The file holds the SHA-256 of the content before the content. Two processes may make the same
    entry at once: each writes a file of its own and renames it. A cache that cannot be written
    (read-only disk, full disk) costs time, never the answer. When the entries take more than
    ``cache_limit``, those unused for the longest time are removed.

    Args:
        folder: Folder of the entry; it should hold the version of what is cached.
        name: File name; it should hold the hash of what the content is made from.
        make: Makes the content; the same content whenever it is called.
        what: Names the content where the wait is shown; None where it is not.
    """
    path = cache_dir() / _ENTRIES / folder / name
    content = _read(path)
    if content is not None:
        return content
    content = _made(make, what)
    _keep(path, content, logging.DEBUG if what is None else logging.WARNING, what or name)
    return content


def cached_file(folder: str, name: str, make: Callable[[], bytes], what: str | None = None) -> Path:
    """File of a cache entry, for content that is mapped rather than read; else like ``cached``.

    The content begins ``DIGEST_BYTES`` after the start of the file. Where the cache cannot be
    written, it is a temporary file that lasts as long as the process.
    """
    path = cache_dir() / _ENTRIES / folder / name
    if _is_good(path):
        return path
    content = _made(make, what)
    if not _keep(path, content, logging.DEBUG if what is None else logging.WARNING, what or name):
        path = Path(_temporary_folder()) / name
        _write(path, content)
    return path


def is_cached(folder: str, name: str) -> bool:
    """Return whether the cache has an entry; damage is found when it is used."""
    return (cache_dir() / _ENTRIES / folder / name).is_file()


def _made(make: Callable[[], bytes], what: str | None) -> bytes:
    if what is None:
        return make()
    with stage(f"preparing {what}, once for all"):
        return make()


def _keep(path: Path, content: bytes, level: int, what: str) -> bool:
    """Write an entry and make room for it; False if the cache cannot be written."""
    try:
        _write(path, content)
    except OSError as error:
        _log.log(
            level,
            "cannot keep %s in %s (%s): it will be made again at every start; "
            "set VLAR_CACHE to a folder that can be written",
            what,
            path.parent,
            error.strerror,
        )
        return False
    trim(cache_dir() / _ENTRIES, path, cache_limit())
    return True


@cache
def _temporary_folder() -> str:
    folder = tempfile.mkdtemp(prefix="vlar-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_good(path: Path) -> bool:
    """Return whether an entry exists and is undamaged; it is read in pieces."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            expected = stream.read(DIGEST_BYTES)
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError:
        return False
    if digest.digest() != expected:
        _log.warning("the cache file %s is damaged and will be made again", path)
        return False
    _use(path)
    return True


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            digest, content = stream.read(DIGEST_BYTES), stream.read()
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        _log.warning("the cache file %s is damaged and will be made again", path)
        return None
    _use(path)
    return content


def _use(path: Path) -> None:
    with contextlib.suppress(OSError):  # the time of the last use decides what is removed
        os.utime(path)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as part:
        part.write_bytes(hashlib.sha256(content).digest() + content)


def trim(folder: Path, kept: Path, limit: int) -> None:
    """Remove the files of a folder used least recently until the others fit; ``kept`` stays."""
    sizes: dict[Path, tuple[float, int]] = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file():
                status = file.stat()
                sizes[file] = (status.st_mtime, status.st_size)
    total = sum(size for _, size in sizes.values())
    for file in sorted(sizes, key=lambda file: sizes[file]):
        if total <= limit:
            return
        if file != kept:
            with contextlib.suppress(OSError):
                file.unlink()
            total -= sizes[file][1]
