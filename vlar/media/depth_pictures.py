"""Folders of 16-bit PNG pictures of distances, also among colour pictures of the same moments."""

from __future__ import annotations

import io
import os
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.files.opening import open_input
from vlar.files.reading import MB, number, parse_json, read_file, require_memory
from vlar.media.video.files import is_folder

_MOST_BYTES = 64 * MB  # of a picture
_MOST_SIDE = 8192
_MOST_FILES = 1_000_000
_BYTES_EACH = 20  # of a pixel while it is read
_NUMBER = re.compile(r"\d+")
_HEADER = b"\x89PNG\r\n\x1a\n"
_GREY, _DEPTH_BITS = 0, 16
_FACTS = "depth.json"
_RATE_HZ = 30.0
_LEAST_HZ = 0.01
Millimetres = npt.NDArray[np.uint16]


def is_depth_picture(path: Path) -> bool:
    """Return whether a file is a 16-bit PNG of one channel, by its header; no pipe is opened."""
    head = _head(path)
    return head.startswith(_HEADER) and head[24:26] == bytes((_DEPTH_BITS, _GREY))


def is_depth_folder(folder: Path) -> bool:
    """Return whether a folder holds pictures of distances, itself or in a folder ``depth``."""
    if not is_folder(folder):
        return False
    first = next(iter(_numbered(folder / "depth") or _numbered(folder)), None)
    if first is None:
        return False
    if is_depth_picture(first):
        return True
    return any(is_depth_picture(path) for path in _numbered(folder)[:4])


def picture_files(folder: Path) -> list[Path]:
    """The pictures of distances of a folder, by number."""
    status = folder.stat()
    return list(_listed(folder, status.st_mtime_ns))


def facts(folder: Path) -> tuple[float, float]:
    """Millimetres that a value stands for, and pictures a second.

    A file ``depth.json`` in the folder may state ``unit_m`` (metres of a value; 0.001 without) and
    ``rate_hz`` (30 without).

    Raises:
        OSError: it cannot be read.
        ValueError: a value in it is not a number in its range.
    """
    path = folder / _FACTS
    if not path.exists():
        return 1.0, _RATE_HZ
    stored: Any = parse_json(read_file(path, MB, recording=True))
    if not isinstance(stored, dict):
        raise ValueError(f"its {_FACTS} is not an object")  # noqa: TRY004 - of the file's content
    settings = {"unit_m": 0.001, "rate_hz": _RATE_HZ, **stored}
    unit = number(settings, "unit_m", above=0, at_most=1.0)
    return 1000 * unit, number(settings, "rate_hz", above=_LEAST_HZ, at_most=1000)


def bytes_of(path: Path) -> int:
    """Bytes that a picture takes once it is read, by its header."""
    width, height = struct.unpack(">II", _head(path)[16:24].ljust(8, b"\0"))
    return 2 * width * height


def read_picture(path: Path, millimetres: float) -> Millimetres:
    """(H, W) uint16 millimetres, 0 where it is missing.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a 16-bit PNG of a usual size.
    """
    from PIL import Image

    data = read_file(path, _MOST_BYTES, recording=True)
    if not data.startswith(_HEADER) or len(data) < 26:
        raise ValueError(f"{path.name} is not a PNG picture")
    width, height = struct.unpack(">II", data[16:24])
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
        raise ValueError(f"{path.name} is of {width} x {height} pixels")
    require_memory(_BYTES_EACH * width * height)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path.name} is damaged ({str(error)[:60]})") from None
    if values.ndim != 2:
        raise ValueError(f"{path.name} is a colour picture; distances have one channel")
    if millimetres == 1 and values.dtype.kind == "u":
        return values.astype(np.uint16)
    scaled = values * millimetres
    scaled[~((scaled >= 0) & (scaled <= 65_535))] = 0
    return scaled.astype(np.uint16)


def _head(path: Path) -> bytes:
    """The first 26 bytes of a regular file; fewer where it has fewer, or cannot be read."""
    try:
        with open_input(path, recording=True) as stream:
            return stream.read(26)
    except (OSError, ValueError):
        return b""


@lru_cache(maxsize=64)
def _listed(folder: Path, mtime_ns: int) -> tuple[Path, ...]:
    inner = folder / "depth"
    files = _numbered(inner) if is_folder(inner) else []
    files = files or _numbered(folder)
    return tuple(path for path in files if is_depth_picture(path))


def _numbered(folder: Path) -> list[Path]:
    """PNG files with a number in their name, by the last one; none where it is not a folder."""
    try:
        names = [
            (int(numbers[-1][-15:]), entry.name)
            for entry in os.scandir(folder)
            if entry.name.lower().endswith(".png") and not entry.name.startswith(".")
            if (numbers := _NUMBER.findall(Path(entry.name).stem))
        ]
    except OSError:
        return []
    return [folder / name for _, name in sorted(names)[:_MOST_FILES]]
