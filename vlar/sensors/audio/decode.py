"""Sound tracks to samples, with PyAV."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import DecodeError, DecodeTimeout
from vlar.safety.files import special_kind
from vlar.types import Float32

RATE_HZ = 16_000.0
_MOST_S = 2 * 3600


def decode(path: Path, timeout_s: float) -> Float32:
    """The first sound track of a file as mono at 16 kHz.

    A track that is damaged towards its end is read as far as possible.

    Args:
        path: A sound file or a video.
        timeout_s: Seconds that decoding may take.

    Returns:
        (N,) float32, -1 to 1.

    Raises:
        DecodeError: it cannot be opened or decoded, has no sound track, or lasts over two hours.
        DecodeTimeout: it takes too long.
    """
    import av
    from av.error import FFmpegError

    try:
        kind = special_kind(path)
        if kind is not None:
            raise DecodeError(f"{path}: it is {kind}, not a file; give a sound file or a video")
        # Files only, and no play lists: a text file must not make the decoder open other files.
        from vlar.video.container import OPTIONS

        with av.open(
            str(path.absolute()), metadata_errors="ignore", options=dict(OPTIONS), timeout=timeout_s
        ) as container:
            if not container.streams.audio:
                raise DecodeError(f"{path}: it has no sound track; give a recording with sound")
            return _samples(path, container, time.monotonic() + timeout_s)
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"{path}: its sound cannot be read ({reason}); check the file") from error


def _samples(path: Path, container: Any, end_s: float) -> Float32:
    import av
    from av.error import FFmpegError

    resampler = av.AudioResampler(format="flt", layout="mono", rate=round(RATE_HZ))
    parts: list[Float32] = []
    count = 0
    try:
        for frame in container.decode(audio=0):
            length_s = frame.samples / max(frame.sample_rate, 1)
            if count > _MOST_S * RATE_HZ or count / RATE_HZ + length_s > _MOST_S:
                raise DecodeError(f"{path}: it lasts over {_MOST_S // 3600} hours; cut it first")
            for made in resampler.resample(frame):
                parts.append(_flat(made))
                count += len(parts[-1])
            if time.monotonic() > end_s:
                raise DecodeTimeout(f"{path}: its sound takes too long to decode; cut it first")
        parts += [_flat(made) for made in resampler.resample(None)]
    except FFmpegError:
        if not parts:
            raise
    found = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    found = np.nan_to_num(found.astype(np.float32, copy=False), copy=False)
    return found.clip(-1, 1, out=found)


def _flat(frame: Any) -> Float32:
    return frame.to_ndarray().reshape(-1)
