"""Every frame of a video, small, in one pass: for what looks at changes from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.types import Float64, UInt8
from vlar.video.container import Deadline, errors_of, opened
from vlar.video.files import is_folder
from vlar.video.folder import FolderReader, frame_rate
from vlar.video.scan import extent
from vlar.video.sequential import SequentialReader

_CHUNK = 50  # frames


@dataclass(frozen=True)
class FrameChunk:
    """Some frames that follow each other.

    Attributes:
        times_s: (n,) float64 times at which they are shown.
        pixels: (n, height, width, 3) uint8 RGB, squashed and as they are stored, not turned.
    """

    times_s: Float64
    pixels: UInt8


def read_frames(
    path: str | Path, height: int, width: int, *, timeout_s: float = 60.0
) -> Iterator[FrameChunk]:
    """All frames of a video in the order of time; memory holds one chunk.

    Args:
        path: A video file, or a folder of numbered pictures.
        height: Pixels.
        width: Pixels.
        timeout_s: Limit for each chunk.

    Yields:
        At most 50 frames at a time.

    Raises:
        DecodeError: not one frame can be decoded, or reading stops in the middle.
        DecodeTimeout: a chunk takes longer than ``timeout_s``.
    """
    path = Path(path)
    deadline = Deadline(path, timeout_s)
    times: list[float] = []
    pixels: list[UInt8] = []
    n_frames = 0
    with errors_of(path):
        frames = _of_folder if is_folder(path) else _of_file
        for time_s, picture in frames(path, height, width, deadline):
            times.append(time_s)
            pixels.append(picture)
            n_frames += 1
            if len(times) == _CHUNK:
                yield FrameChunk(np.array(times), np.stack(pixels))
                times, pixels = [], []
                deadline.restart()
        if times:
            yield FrameChunk(np.array(times), np.stack(pixels))
        if not n_frames:
            raise DecodeError(f"{path}: no frame can be decoded; copy or re-encode the file")


def _of_file(
    path: Path, height: int, width: int, deadline: Deadline
) -> Iterator[tuple[float, UInt8]]:
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    with opened(path, deadline.timeout_s) as video:
        found = extent(video, whole=True)
    with opened(path, deadline.timeout_s) as video:
        reader = SequentialReader(video, deadline, found.broken_clock, found.holes)
        for decoded in reader.frames():
            small = reformatter.reformat(
                decoded.frame, width=width, height=height, format="rgb24", interpolation="BICUBIC"
            )
            yield decoded.time_s, small.to_ndarray().astype(np.uint8, copy=False)


def _of_folder(
    path: Path, height: int, width: int, deadline: Deadline
) -> Iterator[tuple[float, UInt8]]:
    from PIL import Image

    fps = frame_rate(None)
    folder = FolderReader(path, None, 4 * max(height, width), deadline)
    wanted_s = (np.arange(round(folder.duration_s * fps), dtype=np.float64) + 0.5) / fps
    for wanted, (_, picture, _) in zip(wanted_s.tolist(), folder.shown(wanted_s), strict=True):
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        yield wanted - 0.5 / fps, np.asarray(small, dtype=np.uint8)
