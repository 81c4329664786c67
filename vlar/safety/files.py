"""Opens files that others made: regular files only, of a bounded size, without waiting.

Opening a named pipe waits for its writer, ``/dev/zero`` never ends, and a file of 1 TB may take no
room on the disk it comes from. All errors are ``OSError`` with a sentence in ``strerror``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MB = 1 << 20
MOST_MEMORY = 1_500_000_000
"""Bytes that the content of one file may take in memory."""
_PIECE = 4 * MB
_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link",
}  # fmt: skip


def special_kind(path: str | Path) -> str | None:
    """What lies at a path that is not a regular file, such as ``a device``; None for a file.

    Raises:
        OSError: nothing lies there, or it cannot be asked.
    """
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 - a device has no Path


def check_file(path: Path, most: int, *, links: bool = True) -> int:
    """The size of a regular file in bytes.

    Args:
        path: The file; its content is not read.
        most: Largest size in bytes.
        links: Whether the path may be a symbolic link.

    Raises:
        OSError: it is absent, not a regular file, larger, or a link where none is allowed.
    """
    if not links and path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, not a file; put the file itself there")
    status = os.stat(path)  # noqa: PTH116 - as above
    _check(status, most)
    return status.st_size


@contextmanager
def opened(path: Path, most: int, *, links: bool = True) -> Generator[BinaryIO]:
    """A regular file, open for reading; arguments and errors as in ``check_file``."""
    check_file(path, most, links=links)
    # What lies there may have changed since: without waiting, and asked again of the open file.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    flags |= 0 if links else getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags), "rb") as stream:  # noqa: PTH123 - of a descriptor
        _check(os.fstat(stream.fileno()), most)
        yield stream


def read_file(path: Path, most: int, *, links: bool = True) -> bytes:
    """The content of a regular file; arguments and errors as in ``check_file``."""
    data = bytearray()
    with opened(path, most, links=links) as stream:
        # In pieces: one read of ``most`` bytes takes that memory whatever the file holds.
        while piece := stream.read(min(_PIECE, most + 1 - len(data))):
            data += piece
    if len(data) > most:
        raise _too_large(len(data), most)
    return bytes(data)


def require_memory(n_bytes: float) -> None:
    """Refuse content that would take more than ``MOST_MEMORY``, before any of it is allocated.

    Args:
        n_bytes: What it takes; the sizes that a file states give it.

    Raises:
        ValueError: it is more; the message is a sentence with the figure.
    """
    if not n_bytes <= MOST_MEMORY:
        raise ValueError(
            f"it takes {min(n_bytes, 1e18) / 1e9:,.1f} GB of memory; at most "
            f"{MOST_MEMORY / 1e9:g} GB are used for a file"
        )


def folder_stamp(folder: Path) -> str:
    """Hash of the files' names, sizes and times, for weights: to read them would take minutes."""
    rows: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.is_file():
            facts = path.stat()
            rows.append(f"{path.name} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _check(status: os.stat_result, most: int) -> None:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        code = errno.EISDIR if kind == "a folder" else errno.EINVAL
        raise OSError(code, f"it is {kind}, not a file")
    if status.st_size > most:
        raise _too_large(status.st_size, most)


def _too_large(size: int, most: int) -> OSError:
    text = f"it has {size / MB:,.0f} MB; at most {most / MB:,.0f} MB are read"
    return OSError(errno.EFBIG, text)
