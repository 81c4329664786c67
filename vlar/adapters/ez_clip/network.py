"""EZ-CLIP on the towers of a CLIP: the differentiable whole.

Letters: N videos, T frames, C labels, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.ez_clip import text, vision
from vlar.adapters.ez_clip.config import EzClipConfig
from vlar.adapters.ez_clip.parts import TrainedParts
from vlar.adapters.ez_clip.vision import Record
from vlar.adapters.trainable import TrainingOutput
from vlar.encoders.clip.block_view import TextView, VisionView
from vlar.losses.contrastive import agreement, softened_contrastive
from vlar.losses.motion import motion_loss


@dataclass(frozen=True)
class EzClipNetwork:
    """Views of a CLIP's towers, EZ-CLIP's own parts and the settings.

    Attributes:
        vision: Image tower.
        text: Text tower.
        parts: The parameters EZ-CLIP adds.
        config: Settings.
        log_scale: Gives the log of the factor from cosine to logit.
    """

    vision: VisionView
    text: TextView
    parts: TrainedParts
    config: EzClipConfig
    log_scale: Callable[[], Tensor]

    @classmethod
    def build(
        cls,
        vision: VisionView,
        text: TextView,
        config: EzClipConfig,
        log_scale: Callable[[], Tensor],
    ) -> EzClipNetwork:
        """At the method's start: adapters that change nothing, small random prompts."""
        return cls(vision, text, TrainedParts(vision, text, config), config, log_scale)

    def frames(
        self, videos: Tensor, record: Record | None = None, *, training: bool = False
    ) -> Tensor:
        """Videos (N, T, 3, height, width) to frame features (N, T, E), not normalised."""
        return vision.encode(
            self.vision, self.parts, self.config, videos, record, training=training
        )

    def texts(self, ids: Tensor, *, training: bool = False) -> Tensor:
        """Token ids (C, L) to features (C, E), not normalised."""
        depth = len(self.vision.blocks)
        return text.encode(self.text, self.parts, self.config, ids, depth, training=training)

    def step(
        self,
        videos: Tensor,
        targets: Tensor,
        ids: Tensor,
        known: Tensor | None = None,
        spread: Callable[..., Tensor] | None = None,
    ) -> TrainingOutput:
        """One step of training.

        The batch is its own set of candidates: each video meets the texts of all the batch, its
        own text being the mean of its labels' unit vectors by their shares. Texts of labels
        without a share in the batch are encoded for the logits alone, without gradient.

        Args:
            videos: (N, T, 3, height, width), normalised pixels.
            targets: (N, C), the share of each label.
            ids: (C, L) token ids of the labels.
            known: (N,) bool, False for an unlabelled video, which the losses leave out; None where
                all are labelled.
            spread: Shares the videos between processes; None in one process. Settings that mix the
                videos of a batch leave them together.
        """
        frames_of = partial(self.frames, training=True)
        if self.config.mix_videos or spread is None:
            frames = frames_of(videos)
        else:
            frames = spread(frames_of, videos)
        words = self._words(ids, (targets > 0).any(dim=0))
        with torch.autocast(frames.device.type, enabled=False):
            frames, targets = frames.float(), targets.float()
            words = F.normalize(words.float(), dim=-1)
            vectors = F.normalize(frames.mean(dim=1), dim=-1)
            video = self.log_scale().exp().float() * vectors
            losses = self._losses(video, targets, frames, words, known)
            return TrainingOutput(video @ words.T, losses, frames, words, vectors)

    def _words(self, ids: Tensor, shown: Tensor) -> Tensor:
        """Features (C, E) of all labels, with a gradient to those that are shown (C,)."""
        learned = self.texts(ids[shown], training=True)
        if bool(shown.all()):
            return learned
        with torch.no_grad():
            others = self.texts(ids[~shown])
        words = torch.empty(len(ids), learned.shape[-1], dtype=learned.dtype, device=ids.device)
        return words.index_put((shown,), learned).index_put((~shown,), others.to(learned.dtype))

    def _losses(
        self, video: Tensor, targets: Tensor, frames: Tensor, words: Tensor, known: Tensor | None
    ) -> dict[str, Tensor]:
        if known is not None:
            video, targets, frames = video[known], targets[known], frames[known]
        if not len(video):
            return {"total": frames.sum()}
        between = video @ F.normalize(targets @ words, dim=-1).T
        image_kl, text_kl = softened_contrastive(
            between, agreement(targets), self.config.target_sharpness
        )
        losses = {"image_kl": image_kl, "text_kl": text_kl}
        total = (image_kl + text_kl) / 2
        if self.config.motion_weight:
            losses["motion"] = motion_loss(frames)
            total = total + self.config.motion_weight * losses["motion"]
        return {"total": total, **losses}
