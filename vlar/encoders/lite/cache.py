"""Things that take seconds to make, kept in the cache folder and checked whenever they are read.

Two processes may make the same entry at once: each writes a file of its own and renames it. Where
the cache cannot be written (read-only disk, full disk) the content is used from memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from vlar import resources

logger = logging.getLogger("vlar")
_DIGEST_BYTES = 32


def cached(folder: str, name: str, make: Callable[[], bytes], what: str) -> bytes:
    """The content of a cache entry, made now if it is absent or damaged.

    The file is the content after its own SHA-256, so that content and hash cannot part.

    Args:
        folder: Below the cache folder; it should hold the version of what is kept.
        name: File name; it should hold the hash of what the content is made from.
        make: Makes the content; the same content whenever it is called.
        what: For the one line of the log that says why the user waits.
    """
    path = resources.cache_dir() / folder / name
    content = _read(path)
    if content is not None:
        return content
    logger.info("preparing %s once (a few seconds; kept in %s)", what, path.parent)
    content = make()
    try:
        _write(path, content)
    except OSError as error:
        logger.warning(
            "cannot keep %s in %s (%s): it will be made again at every start; "
            "set VLAR_CACHE to a folder that can be written",
            what,
            path.parent,
            error.strerror,
        )
    return content


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            digest, content = stream.read(_DIGEST_BYTES), stream.read()
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        logger.warning("the cache file %s is damaged and will be made again", path)
        return None
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(content).digest())
            stream.write(content)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
