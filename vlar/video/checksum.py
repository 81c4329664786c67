"""A name for the content of a video, to recognise it after a move or a change."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlar.errors import DecodeError
from vlar.video.files import frame_files, require_readable

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
        if not path.is_dir():
            _add(digest, path)
            return digest.hexdigest()
        for picture in frame_files(path):
            require_readable(picture)
            digest.update(f"{picture.name}\0{picture.stat().st_size}\0".encode())
            _add(digest, picture)
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror}); check the disk") from error
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
