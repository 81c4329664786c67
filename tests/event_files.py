"""Small event files, made here: no bytes of a camera and of no other project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vlar.media.events import EVENT


def made(
    count: int = 500, *, seed: int = 0, size: tuple[int, int] = (34, 34), length_us: int = 300_000
) -> np.ndarray:
    """Random events in the order of time; the first at 0 and the last at ``length_us``."""
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["y"] = random.integers(0, size[0], count)
    events["x"] = random.integers(0, size[1], count)
    events["t"] = np.sort(random.integers(0, length_us, count))
    events["t"][[0, -1]] = 0, length_us
    events["p"] = random.integers(0, 2, count)
    return events


def nmnist(events: np.ndarray) -> bytes:
    t = events["t"] & 0x7FFFFF
    columns = [events["x"], events["y"], events["p"] << 7 | t >> 16, t >> 8 & 255, t & 255]
    return np.column_stack(columns).astype(np.uint8).tobytes()


def write(path: Path, content: bytes | np.ndarray | dict[str, Any]) -> Path:
    """A file of bytes, of an array or of named arrays."""
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    with path.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)
    return path
