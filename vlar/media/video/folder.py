"""A folder of numbered pictures as a video."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vlar.errors import DecodeError, UsageError
from vlar.files.opening import open_input
from vlar.media.video.container import Deadline
from vlar.media.video.files import frame_files, require_pixels, require_readable
from vlar.media.video.pixels import shrunk
from vlar.types import Float64, UInt8, VideoInfo

DEFAULT_FRAME_FPS = 25.0
"""Rate of a frame folder where the caller gives none (FFmpeg's own default for image lists)."""
# By content, whatever the ending; no format for which Pillow starts another program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_ORIENTATION_TAG = 0x0112  # EXIF; values from 5 on swap width and height


def frame_rate(fps: float | None) -> float:
    """The given rate, or the default.

    Raises:
        UsageError: not a positive number.
    """
    if fps is None:
        return DEFAULT_FRAME_FPS
    if not 0 < fps < float("inf"):
        raise UsageError(f"fps is {fps}; give the frames per second of the frame folder, above 0")
    return fps


def probe_folder(path: Path, fps: float | None) -> VideoInfo:
    """Metadata of a folder of frames; the size is that of its first readable picture."""
    require_readable(path)
    files = frame_files(path)
    rate = frame_rate(fps)
    for file in files:
        try:
            width, height = _size(file)
        except Exception:  # noqa: BLE001 - reading this picture names the fault
            continue
        return VideoInfo(
            path, width, height, len(files) / rate, rate, "frames", n_frames=len(files)
        )
    raise DecodeError(f"{path}: none of its {len(files)} pictures can be read (0.0 s readable)")


class FolderReader:
    """Pictures of a frame folder at wanted times.

    Picture i (in order of the numbers, gaps closed) shows from i / fps on. A picture that cannot
    be read counts as lost and the nearest readable one before it (else after it) stands in.
    """

    def __init__(
        self, path: Path, fps: float | None, shorter_side: int | None, deadline: Deadline
    ) -> None:
        require_readable(path)
        self._path = path
        self._files = frame_files(path)
        self._fps = frame_rate(fps)
        self._shorter_side = shorter_side
        self._deadline = deadline
        self._cache: dict[int, UInt8 | None] = {}
        self._reasons: dict[int, str] = {}

    @property
    def duration_s(self) -> float:
        """Number of pictures divided by the rate."""
        return len(self._files) / self._fps

    def shown(self, wanted_s: Float64) -> Iterator[tuple[float, UInt8, bool]]:
        """(time_s, pixels, lost) at each of the rising ``wanted_s``.

        Raises:
            DecodeError: no picture can be read.
        """
        for time_s in wanted_s.tolist():
            index = int(max(time_s, 0.0) * self._fps + 1e-6)
            index = min(index, len(self._files) - 1)
            for old in [i for i in self._cache if i < index - 1]:
                del self._cache[old]
            near = self._nearest(index)
            pixels = self._picture(near)
            assert pixels is not None
            yield near / self._fps, pixels, near != index

    def _nearest(self, index: int) -> int:
        for candidate in (*range(index, -1, -1), *range(index + 1, len(self._files))):
            self._deadline.check()
            if self._picture(candidate) is not None:
                return candidate
        raise DecodeError(
            f"{self._path}: none of its {len(self._files)} pictures can be read (0.0 s readable)"
        )

    def _picture(self, index: int) -> UInt8 | None:
        if index not in self._cache:
            try:
                self._cache[index] = read_picture(self._files[index], self._shorter_side)
            except Exception as error:  # noqa: BLE001 - what damage raises has no common type
                self._cache[index] = None
                self._reasons[index] = _reason(self._files[index], error)
        return self._cache[index]

    def unreadable(self) -> dict[int, str]:
        """The pictures that cannot be read, by index, and why; reads them all."""
        self._reasons.clear()
        for index in range(len(self._files)):
            self._deadline.check()
            self._cache.clear()
            self._picture(index)
        return dict(self._reasons)


def read_picture(path: Path, shorter_side: int | None = None) -> UInt8:
    """(H, W, 3) uint8 of a picture file, turned by its EXIF data; never enlarged.

    Raises:
        DecodeError: it has more than ``MOST_PIXELS``, which are never decoded.
    """
    with _image(path) as image:
        image.draft("RGB", None) if shorter_side is None else image.draft(
            "RGB", (2 * shorter_side, 2 * shorter_side)
        )
        upright = ImageOps.exif_transpose(image).convert("RGB")
    size = shrunk(upright.width, upright.height, shorter_side)
    if size != upright.size:
        upright = upright.resize(size, Image.Resampling.BOX)
    return np.asarray(upright, dtype=np.uint8)


@contextmanager
def _image(path: Path) -> Generator[Image.Image]:
    """An opened picture, not yet decoded; a pipe is refused, since opening it waits."""
    require_readable(path)
    with open_input(path, recording=True) as file, Image.open(file, formats=_FORMATS) as image:
        require_pixels(path, *image.size)
        yield image


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as a viewer shows it; nothing is decoded."""
    with _image(path) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(_ORIENTATION_TAG, 1) >= 5 else (width, height)


def _reason(path: Path, error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{path.name}: {text.removeprefix(f'{path}: ')}"
