"""The reader ``depth``: MATLAB arrays, NumPy arrays and folders of 16-bit pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vlar.errors import DecodeError
from vlar.files.arrays import is_matlab, read_matlab, read_npy, shapes_in
from vlar.files.reading import MB, require_memory
from vlar.files.workers import single
from vlar.media.depth_pictures import bytes_of, facts, is_depth_folder, picture_files, read_picture
from vlar.media.signals import (
    Recorded,
    SignalInfo,
    SignalReader,
    errors_of,
    head_of,
    require_measured,
)
from vlar.media.video.files import is_folder
from vlar.media.video.sample import sample_times
from vlar.registry import register
from vlar.types import Clip, Sampling, Window

_UTD = "d_depth"  # UTD-MHAD and MSR: (H, W, T) uint16 millimetres
_RATE_HZ = 30.0
_MOST_NPY, _MOST_MAT = 700 * MB, 400 * MB
T = TypeVar("T")


@dataclass(frozen=True)
class _Folder:
    """The pictures of a folder, which are read one by one."""

    files: list[Path]
    millimetres: float
    rate_hz: float


@register("reader", "depth")
class DepthReader(SignalReader):
    """Clips of (T, H, W) uint16 millimetres, 0 where it is missing.

    The pictures of the midpoints of T equal parts of the window are taken.
    """

    modality = "depth"
    endings = frozenset({".mat", ".npy"})

    def claims(self, path: Path) -> bool:
        """A folder by its first picture, a file by what it holds."""
        if is_folder(path):
            return is_depth_folder(path)
        if path.suffix.lower() not in self.endings:
            return False
        head = head_of(path)
        if head is None:
            return False
        if path.suffix.lower() == ".npy":
            return b"'descr': '<u2'" in head.data[:128] and head.data[:128].count(b",") >= 4
        if not is_matlab(head.data):
            return False
        try:
            return _UTD in shapes_in(path)
        except (OSError, ValueError):
            return "depth" in path.name.lower()  # damaged: reading it names the damage

    def probe(self, path: Path) -> SignalInfo:
        """Facts of a recording; of a folder no picture is read."""
        if not is_folder(path):
            return super().probe(path)
        folder = _read(path, self._folder)
        count = len(folder.files)
        return SignalInfo(path, count / folder.rate_hz, folder.rate_hz, count, {"unit": "mm"})

    def every_sample(self, path: Path, window: Window | None) -> Sampling:
        """Sampling of every picture that the recording has in the window."""
        info = self.probe(path)
        length_s = info.duration_s if window is None else window.duration_s
        return Sampling(max(1, round(length_s * info.rate_hz)))

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        """The pictures of the midpoints; of a folder only these are read."""
        if not is_folder(path):
            return super().read_clip(path, window, sampling)
        folder = _read(path, self._folder)
        length_s = len(folder.files) / folder.rate_hz
        span = Window(0.0, length_s) if window is None else window
        if not length_s > span.start_s >= 0:
            raise DecodeError(
                f"{path}: the window starts at {span.start_s:g} s, and the recording has "
                f"{length_s:g} s; give an earlier start"
            )
        times_s = sample_times(span, sampling)
        numbers = np.floor(times_s * folder.rate_hz + 1e-6).clip(0, len(folder.files) - 1)
        files = [folder.files[int(number)] for number in numbers]

        pictures = single.call(path, _pictures, path, files, folder.millimetres)
        require_measured(path, span, pictures)
        meta = {"unit": "mm", "rate_hz": folder.rate_hz}
        return Clip(path, span, self.modality, pictures, times_s, meta=meta)

    def gaps(self, path: Path) -> Sequence[Window]:
        """Stretches without a distance; none of a folder, whose pictures are not read for that."""
        return () if is_folder(path) else super().gaps(path)

    def load(self, path: Path) -> Recorded:
        """The whole recording of a file.

        Raises:
            DecodeError: it cannot be read, or holds no distances.
        """
        return Recorded(_read(path, _array), _RATE_HZ, {"unit": "mm"})

    def example(self, folder: Path) -> Path:
        """Two seconds of a box that comes nearer, as a NumPy array."""
        frames = np.zeros((60, 60, 80), np.uint16)
        for number, frame in enumerate(frames):
            frame[10 : 52 - number // 6, 25 + number // 3 : 45 + number // 3] = 3000 - 15 * number
        path = folder / "example.npy"
        np.save(path, frames)
        return path

    def _folder(self, path: Path) -> _Folder:
        files = picture_files(path)
        if not files:
            raise ValueError("no 16-bit PNG picture with a number lies in it")
        return _Folder(files, *facts(path))


def _pictures(path: Path, wanted: list[Path], millimetres: float) -> npt.NDArray[np.uint16]:
    """(T, H, W) of pictures of a folder; the task of a worker."""

    def stacked(path: Path) -> npt.NDArray[np.uint16]:
        require_memory(2.0 * len(wanted) * max(bytes_of(file) for file in set(wanted)))
        pictures = {file: read_picture(file, millimetres) for file in dict.fromkeys(wanted)}
        return np.stack([pictures[file] for file in wanted])

    return _read(path, stacked)


def _array(path: Path) -> npt.NDArray[Any]:
    """(T, H, W) uint16 millimetres of a file."""
    if path.suffix.lower() == ".npy":
        values = read_npy(path, _MOST_NPY)
    else:
        array = read_matlab(path, [_UTD], _MOST_MAT).get(_UTD)
        if array is None or array.ndim != 3:
            shape = "absent" if array is None else array.shape
            raise ValueError(f"its variable {_UTD!r} is {shape}, not (H, W, T)")
        values = array.transpose(2, 0, 1)
    if values.ndim != 3 or values.dtype != np.uint16 or 0 in values.shape:
        raise ValueError(
            f"it holds {values.dtype.name} of shape {values.shape}; (T, H, W) uint16 is read"
        )
    if not values.any():
        raise ValueError("all its distances are missing")
    return np.ascontiguousarray(values)


def _read(path: Path, read: Callable[[Path], T]) -> T:
    """Call ``read`` for a path.

    Raises:
        DecodeError: it cannot be read; one line.
    """
    with errors_of(path):
        try:
            return read(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DecodeError(
                f"{path}: not a readable depth recording: {reason}; see docs/sensors.md for the "
                "formats"
            ) from error
