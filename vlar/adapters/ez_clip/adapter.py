"""EZ-CLIP behind the encoder contract: ``ez-clip:FILE``, or attached to a CLIP."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.adapters.clip_adapter import ClipAdapter
from vlar.adapters.ez_clip.config import EzClipConfig
from vlar.adapters.trainable import TrainingBatch, TrainingOutput
from vlar.encoders.spec import split_options
from vlar.registry import register
from vlar.text.prompts import fill, load_templates
from vlar.types import Float32, Role

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.ez_clip.network import EzClipNetwork

_OPTIONS = ("base", "prompts", "templates")
_CACHED_TEXTS = 8192  # vectors of texts in the cache, the latest ones


@register("adapter", "ez-clip")
class EzClip(ClipAdapter):
    """A CLIP whose frames attend to each other, with small adapters in both towers.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "ez-clip", EzClipConfig
    network: EzClipNetwork
    config: EzClipConfig

    def _build(self) -> None:
        """The declared start: small random prompts, adapters that change nothing."""
        from vlar.adapters.ez_clip.network import EzClipNetwork

        towers = self.base.towers
        self.network = EzClipNetwork.build(
            towers.vision_view(), towers.text_view(), self.config, towers.log_scale
        )
        self.network.parts.to(towers.device).requires_grad_(False)
        # The same encoder with the adapted text tower, for its batches and its cut of long texts.
        self.inner = copy.copy(self.base)
        self.inner.towers = dataclasses.replace(towers, text=self.network.texts)
        self.templates = self.config.templates
        self._templates = load_templates(self.config.templates)
        self._texts: dict[str, Float32] = {}

    def _parts(self) -> nn.Module:
        """Temporal prompts and adapters."""
        return self.network.parts

    def _log_scale(self) -> Tensor:
        return self.network.log_scale()

    @classmethod
    def from_spec(cls, argument: str) -> EzClip:
        """Load a checkpoint of the original.

        Args:
            argument: ``FILE``. Options follow a ``?``: ``base=openclip:...`` is a CLIP of the same
                shape, all of whose weights are in the file (default: the shape of OpenAI's, with
                nothing to fetch), ``templates=NAME`` the prompt set labels are put into,
                ``prompts=deep|shallow|none`` what the file holds, where it is not told apart.

        Raises:
            ModelError: the file is not such a checkpoint, holds anything but data, or does not
                fit the base.
        """
        from vlar.adapters.ez_clip.checkpoint import load

        path, options = split_options(argument, _OPTIONS)
        base = options.pop("base", None)
        encoder, config, state = load(path, base, dict(options))
        adapter = cls(encoder, config, f"ez-clip:{argument}")
        adapter.load_state_dict(state)
        return adapter

    def refresh(self) -> None:
        """Clear the cached text vectors and compute the fingerprint."""
        self._texts.clear()
        super().refresh()
        self.logit_scale = self.config.logit_scale  # training uses the CLIP's own

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Token ids (C, P, L) of C labels in the P templates of the settings."""
        filled = [prompt for prompts in fill(self._templates, labels) for prompt in prompts]
        return self.inner.token_ids(filled).unflatten(0, (len(labels), len(self._templates)))

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Logits and losses of a batch; each label in one of its templates, drawn by chance.

        The losses are ``image_kl`` and ``text_kl``, whose mean is the contrastive loss, ``motion``
        and their ``total``.
        """
        import torch

        ids, towers = classes[:, 0], self.inner.towers
        if classes.shape[1] > 1:
            drawn = torch.randint(classes.shape[1], (len(classes),))
            ids = classes[torch.arange(len(classes)), drawn]
        videos = batch.inputs.to(towers.device, towers.dtype)
        known = None if batch.known is None else batch.known.to(towers.device)
        targets = batch.targets.to(towers.device)
        return self.network.step(videos, targets, ids, known, batch.spread)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, None]:
        import torch

        # A clip must not depend on its company, whatever the settings.
        size = 1 if self.config.mix_videos else len(pixels)
        return torch.cat([self.network.frames(some) for some in pixels.split(size)]), None

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; a text that was encoded before is looked up."""
        del role
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        self._texts.update(zip(new, self.inner.encode_text(new), strict=True))
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._texts[text]
        for text in list(self._texts)[: max(0, len(self._texts) - _CACHED_TEXTS)]:
            del self._texts[text]
        return vectors
