"""TC-CLIP on the towers of a CLIP: the differentiable whole.

Letters: B videos, T frames, C classes, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.tc_clip import text, vision
from vlar.adapters.tc_clip.config import TcClipConfig
from vlar.adapters.tc_clip.prompting import TrainedParts, VideoPrompting, start_prompts
from vlar.adapters.tc_clip.text import ClassSet
from vlar.adapters.tc_clip.vision import Record, VisionOutput
from vlar.encoders.clip.block_view import TextView, VisionView


@dataclass(frozen=True)
class TcClipNetwork:
    """Views of a CLIP's towers, TC-CLIP's own parts and the settings.

    Attributes:
        vision: Image tower.
        text: Text tower.
        parts: The parameters TC-CLIP adds.
        config: Settings.
        log_scale: Gives the log of the factor from cosine to logit.
    """

    vision: VisionView
    text: TextView
    parts: TrainedParts
    config: TcClipConfig
    log_scale: Callable[[], Tensor]

    def encode(
        self, videos: Tensor, *, context: bool = True, record: Record | None = None
    ) -> VisionOutput:
        """Videos (B, T, 3, height, width) to frame features and, if wanted, context tokens."""
        levels = self.parts.levels() if context else ()
        return vision.encode(self.vision, self.parts.tables(), self.config, videos, levels, record)

    def classes(self, ids: Tensor, record: Record | None = None) -> ClassSet:
        """Token ids (C, L) to what every video shares."""
        first = self.parts.levels()[0]
        return text.class_set(self.text, self.parts.prompts, ids, first, record)

    def conditioned(
        self,
        classes: ClassSet,
        context: dict[int, Tensor] | None,
        record: Record | None = None,
    ) -> Tensor:
        """Class features (B, C, E) for the context of B videos; not normalised."""
        if context is not None and self.config.stop_gradient:
            context = {level: tokens.detach() for level, tokens in context.items()}
        layers = {level: self.parts.prompting[str(level)] for level in self.parts.levels()}
        return text.conditioned(self.text, layers, classes, context, record)

    def logits(self, videos: Tensor, ids: Tensor) -> Tensor:
        """Videos (B, T, 3, height, width) and prompts (C, L) to logits (B, C)."""
        seen = self.encode(videos)
        return self.scores(seen.frames, self.conditioned(self.classes(ids), seen.context))

    def scores(self, frames: Tensor, words: Tensor) -> Tensor:
        """Frame features (B, T, E) and class features (B, C, E) to logits (B, C)."""
        video = F.normalize(frames.mean(dim=1), dim=-1)
        names = F.normalize(words, dim=-1)
        return self.log_scale().exp() * torch.einsum("be,bce->bc", video, names)


def build(
    vision_view: VisionView,
    text_view: TextView,
    config: TcClipConfig,
    joint: int,
    phrase_ids: list[int],
    log_scale: Callable[[], Tensor],
) -> TcClipNetwork:
    """A TC-CLIP at its start: bias tables near 0, prompts from the phrase, copied text blocks.

    Args:
        vision_view: Image tower.
        text_view: Text tower.
        config: Settings.
        joint: E.
        phrase_ids: Token ids of the words of the phrase.
        log_scale: Gives the log of the factor from cosine to logit.
    """
    levels = config.levels(len(text_view.blocks), len(vision_view.blocks))
    parts = TrainedParts(
        heads=[block.heads for block in vision_view.blocks],
        prompts=start_prompts(text_view.token_embedding, phrase_ids, config.n_prompts),
        prompting={i: VideoPrompting(text_view.blocks[i], text_view.width, joint) for i in levels},
    )
    return TcClipNetwork(vision_view, text_view, parts, config, log_scale)
