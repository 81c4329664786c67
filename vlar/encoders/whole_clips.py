"""Towers that see a clip as a whole: one feature a clip, in the space of a text tower."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from vlar.encoders.base import FrameBlock
from vlar.encoders.session import Session
from vlar.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.encoders.clip.towers import Towers


class WholeClipEncoder(TorchEncoder):
    """VideoPrism, PE-Video and their like: frames attend to each other from the first block on.

    The order of frames counts. Features are (1, D), the clip's own vector before it is scaled.
    """

    per_clip = True

    def __init__(
        self,
        towers: Towers,
        name: str,
        *,
        n_frames: int,
        frames_fixed: bool = False,
        fps: float | None = None,
        max_frames: int | None = None,
    ) -> None:
        """Take over loaded towers.

        Args:
            towers: Their ``image`` takes clips (N, T, 3, height, width).
            name: The spec that loads this encoder again.
            n_frames: T.
            frames_fixed: Whether no other T works.
            fps: Frames a second where T follows the length of a clip.
            max_frames: The largest T at ``fps``.
        """
        super().__init__(towers, name, n_frames=n_frames)
        self.frames_fixed, self.fps, self.max_frames = frames_fixed, fps, max_frames
        self.frame_blocks = (FrameBlock("clip", self.dim, "clip"),)
        if fps is not None:
            told = f"{self.fingerprint} {fps} {max_frames}"
            self.fingerprint = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pixels (n, T, 3, height, width) of clips to their features (n, 1, D)."""
        return self.towers.image(pixels)[:, None], None

    def session(self, *, features: bool = True) -> Session:
        """Windows share frames, and no work."""
        del features
        return Session(self.encode, self.encode_blocks)
