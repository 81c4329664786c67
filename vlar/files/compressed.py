"""Content of plain, compressed (``.xz``, ``.gz``) and zipped files, bounded as it is unpacked."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlar.files.opening import MB, open_input

_PIECE = MB
_MOST = 256 * MB
_MEMORY = 200 * MB  # of the dictionary that an .xz file asks for
_UNPACKERS: dict[str, Callable[[], Any]] = {
    ".xz": lambda: lzma.LZMADecompressor(memlimit=_MEMORY),
    ".gz": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
}
ENDINGS = frozenset(_UNPACKERS)


def inner_suffix(path: Path) -> str:
    """Ending of the content in lower case: ``.csv`` of ``a.csv`` and of ``a.csv.xz``."""
    name = path.name.lower()
    outer = Path(name).suffix
    return Path(name.removesuffix(outer)).suffix if outer in ENDINGS else outer


def inner_stem(path: Path) -> str:
    """Name of a file without the ending of its content and of its compression."""
    stem = path.stem if path.suffix.lower() in ENDINGS else path.name
    return Path(stem).stem


def read_plain(
    path: Path, most: int = _MOST, first: int | None = None, *, recording: bool = True
) -> bytes:
    """The content of a file, unpacked where its ending is ``.xz`` or ``.gz``.

    Args:
        path: The file.
        most: Largest size in bytes, packed and unpacked.
        first: Bytes from the beginning to give; None for all.
        recording: As of ``vlar.files.opening.open_input``.

    Raises:
        OSError: see ``vlar.files.opening.open_input``.
        ValueError: it is damaged, or larger when unpacked; the message is a sentence.
    """
    maker = _UNPACKERS.get(path.suffix.lower())
    unpacker = maker() if maker else None
    limit = most + 1 if first is None else first
    content = bytearray()
    with open_input(path, most, recording=recording) as stream:
        while len(content) < limit:
            piece = stream.read(min(_PIECE, limit) if unpacker is None else _PIECE)
            if not piece:
                break
            room = limit - len(content)
            content += piece[:room] if unpacker is None else _unpacked(unpacker, piece, room)
            if unpacker is not None and unpacker.eof:
                break
    if first is None and len(content) > most:
        raise ValueError(f"unpacked it has more than {most / MB:,.0f} MB, the most that is read")
    if first is None and unpacker is not None and not unpacker.eof:
        raise ValueError("its compressed content ends too early; copy it again")
    return bytes(content)


def _unpacked(unpacker: Any, piece: bytes, room: int) -> bytes:
    """The content of one packed piece, at most ``room`` bytes.

    Raises:
        ValueError: the piece is damaged.
    """
    try:
        content = bytes(unpacker.decompress(piece, room))
        # What a full step leaves packed is drawn until the room is full.
        while len(content) < room and not unpacker.eof:
            overflow = getattr(unpacker, "unconsumed_tail", b"")
            if not overflow and getattr(unpacker, "needs_input", True):
                break
            content += unpacker.decompress(overflow, room - len(content))
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise ValueError(f"its compressed content is damaged ({error})") from None
    return content


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of an entry of a zip archive: never more bytes than its list of entries states.

    Raises:
        ValueError: it is packed by another method than deflate, of which a step has no bound.
        zipfile.BadZipFile, OSError, EOFError, RuntimeError: it is damaged or encrypted.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its entry {entry.filename[:80]!r} is not packed by deflate")
    with archive.open(entry) as stream:
        return stream.read(entry.file_size + 1)
