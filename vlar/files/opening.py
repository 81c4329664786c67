"""The one way to open a file of others: regular, links resolved, inside its roots, bounded.

The processes of a server name the folders whose recordings they may read (``restrict``). Each
recording is compared with them after it was opened, by the name that the system gives the open
file, so that a link that is put in its way meanwhile leads nowhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MB = 1 << 20
MOST_BYTES = 1 << 40
"""Size of the largest file that is opened where a reader states no smaller one: 1 TB."""
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
}
_BLOCK_BYTES = 512  # of ``st_blocks``
_SPARSE_BYTES, _SPARSE_SHARE = 1 << 30, 0.05
_OPEN_FILES = "/proc/self/fd"  # of Linux; elsewhere a path is resolved again
_UNSTATED = ("/proc", "/sys")  # file systems whose files state no size, or a wrong one
OUTSIDE = "it lies outside the folders that may be read"


@dataclass
class _Limits:
    """Folders of this process that recordings lie in; None for any folder."""

    roots: tuple[str, ...] | None = None
    everything: bool = False


_limits = _Limits()


def restrict(roots: Iterable[str | Path] | None, *, everything: bool = False) -> None:
    """Let this process read recordings of some folders alone.

    Args:
        roots: The folders; None for any folder.
        everything: Every file of others is compared with them, not recordings alone: for a process
            that reads nothing else.
    """
    folders = None if roots is None else tuple(os.path.realpath(folder) for folder in roots)
    _limits.roots, _limits.everything = folders, everything


def allowed_roots() -> tuple[str, ...] | None:
    """Folders that recordings may be read from; None for any."""
    return _limits.roots


def is_inside(real: str | Path, roots: Iterable[str | Path]) -> bool:
    """Return whether a path without links lies in one of some folders.

    >>> is_inside("/a/b.mp4", ["/a"]), is_inside("/ab/c.mp4", ["/a"])
    (True, False)
    """
    return any(Path(real).is_relative_to(root) for root in roots)


def require_inside(path: str | Path) -> None:
    """Refuse a recording outside the folders of this process, after links are resolved.

    Raises:
        PermissionError: it lies outside; whether it exists is not stated.
    """
    if _limits.roots is not None and not is_inside(os.path.realpath(path), _limits.roots):
        raise PermissionError(errno.EACCES, OUTSIDE)


def special_kind(path: str | Path) -> str | None:
    """Kind of a path that is not a regular file, such as ``a device``; None for a file.

    Raises:
        OSError: nothing lies there, or it cannot be asked.
    """
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 - a device has no Path


@contextmanager
def open_input(
    path: str | Path,
    most: int = MOST_BYTES,
    *,
    links: bool = True,
    root: str | Path | None = None,
    recording: bool = False,
) -> Generator[BinaryIO]:
    """A file of others, open for reading bytes.

    Args:
        path: The file.
        most: Largest size in bytes.
        links: Whether the path may be a symbolic link.
        root: A path without links that the file is, or lies in, after its own links are resolved;
            None for any.
        recording: It is a recording, which lies in the folders of ``restrict``.

    Raises:
        OSError: it is absent, not a regular file, larger, outside, or a link where none is allowed;
            ``strerror`` is a sentence.
    """
    if not links and os.path.islink(path):  # noqa: PTH114 - a text or a path
        raise OSError(errno.ELOOP, "it is a link, not a file; put the file itself there")
    roots = _limits.roots if recording or _limits.everything else None
    if root is not None:
        roots = (os.fspath(root),)
    if roots is not None and not is_inside(os.path.realpath(path), roots):
        raise PermissionError(errno.EACCES, OUTSIDE)
    require_regular(os.stat(path), most)  # noqa: PTH116 - opening a device may act on it
    # What lies there may have changed since: without waiting, and asked again of the open file.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_CLOEXEC", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    with open(os.open(path, flags), "rb") as stream:  # noqa: PTH123 - of a descriptor
        require_regular(os.fstat(stream.fileno()), most)
        real = None
        if roots is not None:
            real = _real_name(stream.fileno(), path)
            if not is_inside(real, roots):
                raise PermissionError(errno.EACCES, OUTSIDE)
        _require_stated(real, stream, path)
        yield stream


@contextmanager
def open_native(path: Path, most: int = MOST_BYTES) -> Generator[str]:
    """Name under which a native decoder opens a recording, as long as the context lasts.

    Where ``restrict`` names folders it is that of the open file: what is put in the place of the
    path meanwhile is never opened.

    Raises:
        OSError: as for ``open_input``.
    """
    with open_input(path, most, recording=True) as stream:
        by_number = f"{_OPEN_FILES}/{stream.fileno()}"
        is_held = _limits.roots is not None and os.path.exists(by_number)  # noqa: PTH110
        yield by_number if is_held else str(path.absolute())


def require_regular(status: os.stat_result, most: int) -> None:
    """Refuse what is not a regular file of at most some bytes.

    Raises:
        OSError: it is not one; ``strerror`` is a sentence.
    """
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        code = errno.EISDIR if kind == "a folder" else errno.EINVAL
        raise OSError(code, f"it is {kind}, not a file")
    if status.st_size > most:
        raise too_large(status.st_size, most)
    held = _BLOCK_BYTES * getattr(status, "st_blocks", status.st_size)
    if status.st_size > _SPARSE_BYTES and held < _SPARSE_SHARE * status.st_size:
        raise OSError(
            errno.EFBIG, f"it states {status.st_size / 1e9:,.0f} GB and holds almost none"
        )


def too_large(size: int, most: int) -> OSError:
    """The error of a file of too many bytes."""
    text = f"it has {size / MB:,.0f} MB; at most {most / MB:,.0f} MB are read"
    return OSError(errno.EFBIG, text)


def _real_name(descriptor: int, path: str | Path) -> str:
    """Path of an open file without links, as the system names it."""
    try:
        return os.readlink(f"{_OPEN_FILES}/{descriptor}")  # noqa: PTH115 - a text
    except OSError:
        real = os.path.realpath(path)
        if not os.path.samestat(os.fstat(descriptor), os.stat(real)):  # noqa: PTH116
            raise PermissionError(errno.EACCES, OUTSIDE) from None
        return real


def _require_stated(real: str | None, stream: BinaryIO, path: str | Path) -> None:
    """Refuse a file of the system that states no size: reading ``/proc/kmsg`` never ends.

    Raises:
        OSError: it is one.
    """
    if os.fstat(stream.fileno()).st_size:
        return
    if is_inside(real or os.path.realpath(path), _UNSTATED):
        raise OSError(errno.EINVAL, "it is a file of the system, which states no size")
