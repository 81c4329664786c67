"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_LONGEST = 80  # characters of a name, so that the other one fits a file system too


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Generator[Path]:
    """Path of a new, empty file that takes the place of another when the block ends.

    A reader, or a process that is killed, finds the old content or the new one. After an error the
    old file stays and the new one is removed. A link is replaced, not followed; the new file has
    the mode of the old one.

    Args:
        path: The file; its folder exists.
        durable: Whether the content is on disk before the name is; a cache can do without.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    part = path.with_name(f".{path.stem[:_LONGEST]}.{secrets.token_hex(6)}{path.suffix[:_LONGEST]}")
    part.touch(exist_ok=False)
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
