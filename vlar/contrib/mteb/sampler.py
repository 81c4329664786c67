"""Frames as mteb's own sampler picks them, read by vlar's reader.

``mteb.models.modality_collators.FramesCollator`` asks a decoder for frame numbers. The decoder here
is a view of a recording that answers with frames of ``vlar.sensors``, one number a frame.
"""

# pyright: reportMissingImports=false
# mteb comes with an extra, so a checkout may lack it.
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vlar.errors import DecodeError
from vlar.sensors.base import Reader
from vlar.types import Clip, Failure, Float64, Sampling, Window

_TIMEOUT_S = 60.0


class FrameDecoder:
    """A recording as torchcodec's ``VideoDecoder`` shows one: frames by number.

    Args:
        path: A video file.
        reader: Of the model's sensor.
        sampling: The size that the encoder wants.

    Attributes:
        metadata: ``num_frames`` and ``end_stream_seconds``.
        picked: The frame numbers asked for last.
        times_s: (n,) float64, when each frame is shown, seconds after the first.

    Raises:
        DecodeError: the file cannot be read, or has no frame.
    """

    def __init__(self, path: Path, reader: Reader, sampling: Sampling) -> None:
        self.path = path
        self.picked: list[int] = []
        self._reader = reader
        self._sampling = Sampling(1, shorter_side=sampling.shorter_side, size=sampling.size)
        self.times_s, self.end_s = _frame_times(path)
        self.metadata = SimpleNamespace(
            num_frames=len(self.times_s), end_stream_seconds=float(self.end_s)
        )

    def get_frames_at(self, indices: Sequence[int]) -> Any:
        """Frames by number, as ``.data``: (n, 3, H, W) uint8 tensor."""
        import torch

        self.picked = [int(index) for index in indices]
        ends = np.append(self.times_s[1:], self.end_s)
        wanted = sorted(set(self.picked))
        # A window of one frame from its own time to the next one's: its middle shows that frame.
        spans = [Window(float(self.times_s[i]), float(ends[i])) for i in wanted]
        found: dict[int, Clip] = {}
        for index, clip in zip(
            wanted, self._reader.read_windows(self.path, spans, self._sampling), strict=True
        ):
            if isinstance(clip, Failure):
                raise DecodeError(clip.message)
            found[index] = clip
        frames = np.stack([found[index].data[0] for index in self.picked])
        return SimpleNamespace(data=torch.from_numpy(frames).permute(0, 3, 1, 2))


def mteb_clip(path: Path, reader: Reader, sampling: Sampling) -> Clip:
    """A clip whose T frames mteb's sampler picks (``num_frames=T``).

    Args:
        path: A video file.
        reader: Of the model's sensor.
        sampling: T and the size that the encoder wants.

    Returns:
        The clip; ``meta["seen"]`` is the share of the recording from its first to its last frame.

    Raises:
        DecodeError: the file cannot be read.
    """
    from mteb.models.modality_collators import FramesCollator

    decoder = FrameDecoder(path, reader, sampling)
    frames = FramesCollator.resample_video(
        decoder,  # type: ignore[arg-type]  # as much of a VideoDecoder as the sampler uses
        num_frames=sampling.frames_in(decoder.end_s),
    )
    data = frames.permute(0, 2, 3, 1).contiguous().numpy()
    times = decoder.times_s[decoder.picked]
    span = max(float(decoder.times_s[-1] - decoder.times_s[0]), 1e-9)
    seen = min(float(times.max() - times.min()) / span, 1.0) if len(decoder.times_s) > 1 else 1.0
    return Clip(path, Window(0.0, decoder.end_s), "video", data, times, meta={"seen": seen})


def _frame_times(path: Path) -> tuple[Float64, float]:
    """(n,) seconds at which frames are shown, from the packets, and where the last one ends."""
    from vlar.video.container import errors_of, opened

    with errors_of(path), opened(path, _TIMEOUT_S) as video:
        numerator, denominator = video.seconds_a_tick
        stamps = [p.dts if p.pts is None else p.pts for p in video.packets()]
        frame_s = 1 / video.fps
    known = sorted({stamp for stamp in stamps if stamp is not None})
    if not known:
        raise DecodeError(f"{path}: no frame has a time, so mteb's sampler cannot count frames")
    times = (np.array(known, np.float64) - known[0]) * numerator / denominator
    return times, float(times[-1] + frame_s)
