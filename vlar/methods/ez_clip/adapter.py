"""EZ-CLIP behind the encoder contract: ``ez-clip:FILE``, or attached to a CLIP."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlar.encoders.spec import split_options
from vlar.language.prompts import fill, load_templates
from vlar.methods.ez_clip.checkpoint import load
from vlar.methods.ez_clip.network import EzClipConfig, EzClipNetwork
from vlar.registry import register
from vlar.training.clip_adapter import ClipAdapter
from vlar.training.hyperparameters import Hyperparameters, one_group
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Float32, Role

_OPTIONS = ("base", "prompts", "templates")
_CACHED_TEXTS = 8192  # vectors of texts in the cache, the latest ones


@register("adapter", "ez-clip", status="reproduced")
class EzClip(ClipAdapter):
    """A CLIP whose frames attend to each other, with small adapters in both towers.

    Reference: Ahmad et al., "EZ-CLIP: efficient zero-shot video action recognition", 2023, arXiv
    2312.08010.
    Example: ``vlar adapt support/ --model clip --out mine --method ez-clip``.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "ez-clip", EzClipConfig
    network: EzClipNetwork
    config: EzClipConfig

    def _build(self) -> None:
        """The declared start: small random prompts, adapters that change nothing."""
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
                ``prompts=deep|shallow|none`` the prompts in the file, where they are not
                recognised.

        Raises:
            ModelError: the file is not such a checkpoint, holds anything but data, or does not
                fit the base.
        """
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
        ids, towers = classes[:, 0], self.inner.towers
        if classes.shape[1] > 1:
            drawn = torch.randint(classes.shape[1], (len(classes),))
            ids = classes[torch.arange(len(classes)), drawn]
        videos = batch.inputs.to(towers.device, towers.dtype)
        known_mask = None if batch.known is None else batch.known.to(towers.device)
        targets = batch.targets.to(towers.device)
        return self.network.step(videos, targets, ids, known_mask, batch.spread, batch.shown)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, None]:
        # A clip must not depend on its company, whatever the settings.
        size = 1 if self.config.mix_videos else len(pixels)
        return torch.cat([self.network.frames(some) for some in pixels.split(size)]), None

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; a text that was encoded before is looked up."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        self._texts.update(zip(new, self.inner.encode_text(new), strict=True))
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._texts[text]
        for text in list(self._texts)[: max(0, len(self._texts) - _CACHED_TEXTS)]:
            del self._texts[text]
        return vectors


@register("recipe", "ez-clip")
def ez_clip() -> dict[str, Hyperparameters]:
    """The runs of the original (``few-shot`` is HMDB51), and a short one for ``vlar adapt``."""
    base = Hyperparameters(
        epochs=150,
        batch=80,
        learning_rate=1e-4,
        warmup_epochs=5,
        betas=(0.9, 0.98),
        weight_decay=0.2,
        groups=one_group,
        clip_norm=0.0,
        crop=0.66**2,
        settings={"prompt_dropout": 0.1, "drop": 0.1},
    )
    return {
        "zero-shot": base,
        "base-to-novel": replace(base, epochs=100, batch=50, learning_rate=5e-6),
        "base-to-novel-hmdb51": replace(base, epochs=50, batch=20),
        "base-to-novel-ucf101": replace(base, epochs=50, batch=60, learning_rate=1e-5),
        "base-to-novel-ssv2": replace(base, epochs=100, batch=50, learning_rate=1e-5, flip=False),
        "few-shot": replace(base, epochs=180, batch=10),
        "adapt": replace(base, epochs=30, batch=10, warmup_epochs=3, clip_norm=1.0),
    }
