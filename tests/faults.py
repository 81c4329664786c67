"""What damaged files make native code do: as jobs for worker processes, and as a reader."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.media.base import Reader, RecordingInfo
from vlar.media.readers.video import VideoReader
from vlar.media.signals import Recorded, SignalReader
from vlar.types import Clip, Failure, Sampling, Window


def abort() -> None:
    os.abort()


def touch_address_zero() -> None:
    ctypes.string_at(0)


def hang() -> None:
    time.sleep(1000)


def hang_in_native_code() -> None:
    """As a decoder that never returns, and lets other threads of Python run."""
    ctypes.CDLL(None).sleep(1000)


def hang_with_the_interpreter() -> None:
    """As native code that never returns and never lets a thread of Python run."""
    ctypes.PyDLL(None).sleep(1000)


def eat_memory() -> int:
    eaten = [np.ones(1 << 27) for _ in range(10_000)]
    return len(eaten)


def leave() -> None:
    os._exit(3)


def add(a: int, b: int) -> int:
    return a + b


def process_id() -> int:
    return os.getpid()


def counted(n: int, size: int) -> Iterator[np.ndarray]:
    """Arrays of rising length, each full of its number."""
    for number in range(n):
        yield np.full((size * (number + 1), 3), number, np.uint8)


def counted_then(n: int, fault: Callable[[], object]) -> Iterator[int]:
    yield from range(n)
    fault()


def broken() -> None:
    raise DecodeError("clip.mp4: broken")


def foreign() -> None:
    raise IndexError("list index out of range")


def not_to_pickle() -> object:
    return lambda: 0


FAULTS: dict[str, Callable[[], object]] = {
    "abort": abort,
    "zero": touch_address_zero,
    "hang": hang,
    "stuck": hang_with_the_interpreter,
    "eat": eat_memory,
    "foreign": foreign,
}


class FaultyReader(Reader):
    """Reads videos but those named after a fault; ``half-`` in front: after the first window."""

    modality = "video"
    endings = VideoReader.endings
    isolate = True

    def probe(self, path: Path) -> RecordingInfo:
        _fault(path)
        return VideoReader().probe(path)

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        _fault(path)
        return VideoReader().read_clip(path, window, sampling)

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        for clip in VideoReader().read_windows(path, windows, sampling):
            yield clip
            _fault(path.with_name(path.name.removeprefix("half-")))


class FaultySignals(SignalReader):
    """A ramp of (8, 2) numbers from every file but those named after a fault.

    ``Clip.meta`` has the process that parsed it.
    """

    modality = "imu"
    endings = frozenset({".ramp"})

    def load(self, path: Path) -> Recorded:
        _fault(path)
        ramp = np.arange(16, dtype=np.float32).reshape(8, 2)
        return Recorded(ramp, 4.0, {"process": os.getpid()})


def _fault(path: Path) -> None:
    fault = FAULTS.get(path.name.split("-")[0].split(".")[0])
    if fault is not None:
        fault()
