"""Files and folders that are written as a whole or not at all."""

from __future__ import annotations

import os
import platform
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

MACHINE = re.sub(r"[^A-Za-z0-9]+", "_", platform.node())
"""Name of this machine, in the names of temporary files and folders."""
ASIDE = "replaced"
"""Folder, in a folder of work, of what was moved there so that another takes its place."""
_CURRENT, _EXCHANGE = -100, 2  # of renameat2: paths from the current folder; both names stay
_LONGEST = 80  # characters of a name, so that the other one fits a file system too


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Generator[Path]:
    """Path of a new, empty file that takes the place of another when the block ends.

    A reader, or a process that is killed, finds the old content or the new one. After an error the
    old file stays and the new one is removed; what a killed process left half written is removed
    by the next one. A link is replaced, not followed; the new file has the mode of the old one.

    Args:
        path: The file; its folder exists.
        durable: Whether the content is on disk before the name is; a cache can do without.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    part = new_part(path)
    try:
        if path.is_file() and not path.is_symlink():
            part.chmod(path.stat().st_mode & 0o777)
        yield part
        if durable:
            with part.open("ab") as stream:
                os.fsync(stream.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def new_part(path: Path, mode: int = 0o666) -> Path:
    """A new, empty file next to another one, whose ending it has."""
    _remove_stale(path.parent)
    owner = f"{MACHINE[: _LONGEST // 2]}-{os.getpid()}-{secrets.token_hex(6)}"
    part = path.with_name(f".{path.stem[:_LONGEST]}.{owner}{path.suffix[:_LONGEST]}")
    part.touch(mode, exist_ok=False)
    return part


@cache
def _remove_stale(folder: Path) -> None:
    """Remove what killed processes of this machine left in a folder, once a process."""
    owner = re.compile(rf"\..*\.{MACHINE[: _LONGEST // 2]}-(\d+)-[0-9a-f]{{12}}(\.|$)")
    for stale in folder.glob(".*"):
        name = owner.match(stale.name)
        if name and not is_running(int(name[1])):
            with suppress(OSError):
                stale.unlink()


def is_running(process_id: int) -> bool:
    """Return whether a process exists; True on systems that cannot be asked without ending it."""
    if os.name != "posix":
        return True  # asking would end it
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def replace_folder(fresh: Path, target: Path) -> None:
    """Put a new folder in the place of another one, which may be absent.

    A reader, or a process that is killed, finds the old folder or the new one; the content of the
    new one is on disk before its name is. Where the system does not exchange two names at once,
    the old folder is absent for a moment, and ``resources.work_folder`` puts it back after a kill.

    Args:
        fresh: The new folder, in a folder of ``resources.work_folder``, which deletes the old one.
        target: Its place, next to that folder of work.

    Raises:
        OSError: nothing was changed.
    """
    for path in (*fresh.rglob("*"), fresh):
        if path.is_file() or os.name == "posix":
            descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    if target.exists() and _exchange(fresh, target):
        return
    aside = fresh.parent / ASIDE / target.name
    if target.exists():
        aside.parent.mkdir()
        target.replace(aside)
    try:
        fresh.replace(target)
    except OSError:
        if aside.exists():
            aside.replace(target)
        raise


def put_back(work: Path) -> None:
    """Move what a killed process moved aside back to its place, unless a new one is there."""
    for aside in (work / ASIDE).glob("*"):
        target = work.parent / aside.name
        if not target.exists():
            aside.replace(target)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names at once, where the system and its file system can (Linux)."""
    try:
        import ctypes  # not needed by help

        rename = ctypes.CDLL(None).renameat2
    except (ImportError, OSError, AttributeError, TypeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return rename(_CURRENT, paths[0], _CURRENT, paths[1], _EXCHANGE) == 0
