"""A name for the content of a video, to recognise it after a move or a change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from vlar.errors import DecodeError
from vlar.video.files import frame_files, is_folder, require_readable

_BLOCK_BYTES = 1 << 20


def content_hash(path: str | Path) -> str:
    """SHA-256 (64 hex digits) over the bytes of a file, read in blocks.

    For a folder of numbered frames: over names, lengths and bytes of its pictures by number.

    Raises:
        DecodeError: the file or folder cannot be read.
    """
    path = Path(path)
    require_readable(path)
    digest = hashlib.sha256()
    try:
        if not is_folder(path):
            for block in _blocks(path):
                digest.update(block)
            return digest.hexdigest()
        for picture in frame_files(path):
            require_readable(picture)
            digest.update(f"{picture.name}\0{picture.stat().st_size}\0".encode())
            for block in _blocks(picture):
                digest.update(block)
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror}); check the disk") from error
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
