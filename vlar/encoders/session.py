"""Windows of recordings in the order of time: what overlapping windows share is computed once.

Windows of a library overlap by half, and their samples fall on the same times, so most frames are
in two windows. A session of an encoder remembers results of single frames from one window to the
next. It holds the frames of one window, however long a recording is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from vlar.types import Clip, Encoded, Float32, UInt8

V = TypeVar("V")
EncodeClips = Callable[[Sequence[Clip]], list[Encoded]]
EncodeBlocks = Callable[[Sequence[Clip], Collection[str]], Float32]


class Session:
    """Encodes clips in the order in which a reader gives the windows of recordings.

    This one encodes every clip by itself. An encoder that can share work between windows has its
    own (``Encoder.session``). Any order of clips is right; the order of time is fast.

    Args:
        encode: ``Encoder.encode``.
        encode_blocks: ``Encoder.encode_blocks``; None where only whole vectors are needed.

    Attributes:
        batch_bytes: Bytes of samples that are worth collecting before a call; 1 where clips are
            computed one at a time.
    """

    batch_bytes: int = 16 << 20

    def __init__(self, encode: EncodeClips, encode_blocks: EncodeBlocks | None = None) -> None:
        self._encode, self._encode_blocks = encode, encode_blocks

    def then(self, change: Callable[[Sequence[Encoded]], list[Encoded]]) -> Session:
        """Session whose rows another step changes clip by clip."""
        changed = Session(lambda clips: change(self.encode(clips)))
        changed.batch_bytes = self.batch_bytes
        return changed

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips to N rows, in order. ``features`` may be (0, F) if they were not asked for."""
        return self._encode(clips)

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        """Vectors (N, D) of N clips in which only the named blocks count."""
        if self._encode_blocks is None:
            rows = [row.vector for row in self._encode(clips)]
            return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
        return self._encode_blocks(clips, names)


@dataclass
class SeenFrame(Generic[V]):
    """A frame and what was computed from it; None until that was done.

    Attributes:
        pixels: (H, W, 3) uint8.
        result: What a session keeps of the frame.
    """

    pixels: UInt8
    result: V | None = None


class FrameMemory(Generic[V]):
    """The frames of the latest clip with their results, by the time they are shown.

    Times find a frame, pixels decide: a frame counts as known only if both are equal. Damaged
    recordings show several frames at one time.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._frames: dict[float, SeenFrame[V]] = {}

    def look_up(self, clip: Clip, wanted: Sequence[int]) -> list[SeenFrame[V]]:
        """The entries of some frames of a clip; equal neighbours share one.

        The caller fills in the results that are missing. Frames of earlier clips that this one does
        not have are forgotten.

        Args:
            clip: A clip of pictures.
            wanted: Numbers of its frames, rising.
        """
        remembered = self._frames if clip.path == self._path else {}
        self._path, self._frames = clip.path, {}
        frames: list[SeenFrame[V]] = []
        for frame in wanted:
            time_s, pixels = float(clip.times_s[frame]), clip.data[frame]
            entry = remembered.get(time_s)
            if frames and np.array_equal(frames[-1].pixels, pixels):
                entry = frames[-1]
            elif entry is None or not np.array_equal(entry.pixels, pixels):
                entry = SeenFrame[V](pixels)
            entry.pixels = pixels  # the array of an earlier clip can go
            self._frames[time_s] = entry
            frames.append(entry)
        return frames
