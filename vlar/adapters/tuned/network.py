"""A CLIP whose frames see each other: the differentiable whole.

Letters: B videos, T frames, C classes, L tokens, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.class_text import class_vectors
from vlar.encoders.clip import recompute
from vlar.encoders.clip.block_view import TextView, VisionView

Record = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class TunedNetwork:
    """Views of the towers, and what mixes the frames.

    Attributes:
        vision: Image tower.
        text: Text tower.
        mixers: One for each block of the image tower; see ``blocks``.
        log_scale: Gives the log of the factor from cosine to logit.
    """

    vision: VisionView
    text: TextView
    mixers: nn.ModuleList
    log_scale: Callable[[], Tensor]

    def frames(self, videos: Tensor, record: Record | None = None) -> Tensor:
        """Videos (B, T, 3, height, width) to frame features (B, T, E), not normalised.

        Args:
            videos: Normalised pixels.
            record: Called with a name and the tokens (B T, L, D) behind each block; tests use it.
                The last block is then computed in full.
        """
        batch, n_frames = videos.shape[:2]
        x = self.vision.embed(videos.flatten(0, 1))
        last = len(self.mixers) - 1
        for i, (block, mixer) in enumerate(zip(self.vision.blocks, self.mixers, strict=True)):
            mixed = partial(mixer, first=i == last and record is None)
            x = recompute.block(mixed, block, x, n_frames)
            if record is not None:
                record(f"block{i}", x.clone())
        return self.vision.joint(x[:, 0]).unflatten(0, (batch, n_frames))

    def classes(self, ids: Tensor) -> Tensor:
        """Strings (p, C, L) of C classes to class vectors (C, E) of unit length."""
        return class_vectors(self.text.features, ids)

    def logits(self, frames: Tensor, classes: Tensor) -> Tensor:
        """Frame features (B, T, E) and class vectors (C, E) to (B, C).

        The mean over the frames of their scaled cosines, in float32 whatever the rest runs in.
        """
        with torch.autocast(frames.device.type, enabled=False):
            mean = F.normalize(frames.float(), dim=-1).mean(dim=1)
            return self.log_scale().float().exp() * mean @ classes.float().t()
