"""Paths that are videos: files by ending, folders of numbered pictures, and refused paths."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlar.errors import DecodeError, explained
from vlar.files.opening import open_input
from vlar.media.bundle import bundle_files

VIDEO_ENDINGS = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264"),
        *(".hevc", ".m1v", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg"),
        *(".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm"),
        *(".wmv", ".y4m"),
    }
)
"""Endings (lower case) by which a folder is searched for videos."""

MOST_PIXELS = 50_000_000
"""Pixels of the largest picture that is decoded: 8K video has 33 million."""

FRAME_ENDINGS = frozenset({".jpg", ".jpeg", ".png"})
_NUMBERED = re.compile(r"(.*?)(\d+)\.[A-Za-z]+")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)")  # two letters at least: C:/ is a drive


def find_videos(paths: Sequence[str | Path]) -> list[Path]:
    """The videos that ``paths`` name, in the order given, each once.

    A file is taken as given, whatever its ending, and so is a path that does not exist (reading it
    raises). A folder is walked in sorted order for files with one of ``VIDEO_ENDINGS``; a folder of
    numbered JPEG or PNG pictures counts as one video. Hidden files and folders inside a folder are
    skipped, and links to folders are not followed. A folder without any video adds nothing.
    """
    files: dict[Path, None] = {}
    for listed_path in paths:
        path = Path(listed_path)
        for video in _walk(path) if is_folder(path) else [path]:
            files.setdefault(video)
    return list(files)


def is_folder(path: Path) -> bool:
    """``Path.is_dir`` that answers False where a path cannot exist (too long, a null byte)."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _walk(folder: Path) -> Iterator[Path]:
    if frame_files(folder):
        yield folder
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError:  # an unreadable folder holds no readable video
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _walk(entry)
        elif entry.suffix.lower() in VIDEO_ENDINGS:
            yield entry


def frame_files(folder: Path) -> list[Path]:
    """The numbered pictures of a frame folder by rising number; empty if it is none.

    A frame folder holds pictures that end in a number (``frame_0001.jpg``, ``12.png``) with one
    common prefix and no video. Other files (a label, a thumbnail) may lie next to them.
    """
    series: dict[str, list[tuple[int, Path]]] = {}
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    for entry in entries:
        ending = entry.suffix.lower()
        if entry.name.startswith("."):
            continue
        if ending in VIDEO_ENDINGS:
            return []
        match = _NUMBERED.fullmatch(entry.name) if ending in FRAME_ENDINGS else None
        if match:
            series.setdefault(match[1], []).append((int(match[2]), entry))
    if not series:
        return []
    longest = max(sorted(series), key=lambda prefix: len(series[prefix]))
    return [path for _, path in sorted(series[longest])]


def require_readable(path: Path) -> None:
    """Refuse what cannot be a video before anything blocks on it.

    Raises:
        DecodeError: missing, not a regular file (a pipe would hang), empty, or no permission.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DecodeError(_missing(path)) from None
    except PermissionError:
        raise DecodeError(f"{path}: no permission to read it; change its permissions") from None
    except (OSError, ValueError) as error:
        raise DecodeError(f"{path}: cannot be reached ({error}); check the path") from error
    if stat.S_ISDIR(status.st_mode):
        _require_frames(path)
        return
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(f"{path}: not a regular file (a pipe or a device); give a video file")
    if status.st_size == 0:
        raise DecodeError(f"{path}: the file is empty (0 bytes); copy it again")
    if not os.access(path, os.R_OK):
        raise DecodeError(f"{path}: no permission to read it; change its permissions")


def _missing(path: Path) -> str:
    """Reason why a path that does not exist cannot be read: address, camera or wrong path."""
    text = str(path)
    if address := _ADDRESS.match(text):  # a path keeps one of the two slashes
        text = f"{address[1]}://{address[2]}"
        return f"{text}: vlar reads files, not addresses; download or record it to a file first"
    if text.isdecimal():
        return f"{text}: vlar reads files, not cameras; record camera {text} to a file first"
    return f"{path}: no such file; check the path"


def require_pixels(path: Path, width: int, height: int) -> None:
    """Refuse a picture that would take gigabytes before it is decoded.

    Raises:
        DecodeError: more than ``MOST_PIXELS``.
    """
    if width * height > MOST_PIXELS:
        raise DecodeError(
            f"{path}: its pictures have {width} x {height} pixels ({width * height / 1e6:.0f} "
            f"million), more than the limit of {MOST_PIXELS // 10**6} million; make it smaller"
        )


def _require_frames(path: Path) -> None:
    if not os.access(path, os.R_OK | os.X_OK):
        raise DecodeError(f"{path}: no permission to read this folder; change its permissions")
    if not frame_files(path):
        raise DecodeError(
            f"{path}: a folder without numbered JPEG or PNG frames; give a video file, or a folder "
            "of frames such as 0001.jpg, 0002.jpg"
        )


_BLOCK_BYTES = 1 << 20


def content_hash(path: str | Path) -> str:
    """SHA-256 (64 hex digits) over the bytes of a file, read in blocks.

    For a folder of numbered frames: over names, lengths and bytes of its pictures by number. For a
    bundle: over its own bytes and the hashes of its parts.

    Raises:
        DecodeError: the file or folder cannot be read.
    """
    path = Path(path)
    require_readable(path)
    digest = hashlib.sha256()
    with explained(DecodeError, f"{path}: cannot be read", "check the disk"):
        if not is_folder(path):
            for block in _blocks(path):
                digest.update(block)
            for part in bundle_files(path):
                digest.update(_hash_of_part(part).encode())
            return digest.hexdigest()
        for picture in frame_files(path):
            require_readable(picture)
            digest.update(f"{picture.name}\0{picture.stat().st_size}\0".encode())
            for block in _blocks(picture):
                digest.update(block)
    return digest.hexdigest()


def _hash_of_part(path: Path) -> str:
    """``content_hash``, or the empty text of a part that cannot be read: the others count."""
    try:
        return content_hash(path)
    except DecodeError:
        return ""


def _blocks(path: Path) -> Iterator[bytes]:
    with open_input(path, recording=True) as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
