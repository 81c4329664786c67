"""EZ-CLIP behind the encoder contract: ``ez-clip:FILE``, or attached to a CLIP."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.adapters.base import (
    Adapter,
    Trainable,
    TrainingBatch,
    TrainingOutput,
    require_blocks,
)
from vlar.adapters.ez_clip.config import EzClipConfig
from vlar.encoders.base import Encoder
from vlar.encoders.spec import split_options
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.text.prompts import fill, load_templates
from vlar.types import Float32, JsonDict, UInt8

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.ez_clip.network import EzClipNetwork

_OPTIONS = ("base", "prompts", "templates")
_KEPT_TEXTS = 8192  # vectors of texts that are kept, the latest ones


@register("adapter", "ez-clip")
class EzClip(Adapter, Trainable):
    """A CLIP whose frames see each other, with small adapters in both towers.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    network: EzClipNetwork
    config: EzClipConfig

    def __init__(self, encoder: TorchEncoder, config: EzClipConfig, name: str = "ez-clip") -> None:
        """Use ``attach`` or ``from_spec``; this takes an encoder that shows its blocks."""
        from vlar.adapters.ez_clip.network import EzClipNetwork

        self.encoder, self.config, self.name = encoder, config, name
        towers = encoder.towers
        self.network = EzClipNetwork.build(
            towers.vision_view(), towers.text_view(), config, towers.log_scale
        )
        self.network.parts.to(towers.device).requires_grad_(False)
        # The same encoder with the adapted text tower: batches and cuts are its business.
        self._inner = copy.copy(encoder)
        self._inner.towers = dataclasses.replace(towers, text=self.network.texts)
        self._take_over(encoder, config.n_frames)
        self.templates, self.logit_scale = config.templates, config.logit_scale
        self._templates = load_templates(config.templates)
        self._texts: dict[str, Float32] = {}
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> EzClip:
        """EZ-CLIP at its declared start: small random prompts, adapters that change nothing.

        Raises:
            ModelError: the encoder is no CLIP with a plain ViT and a causal text tower.
        """
        config = EzClipConfig.from_dict(settings or {})
        return cls(require_blocks(encoder, "ez-clip"), config)

    @classmethod
    def from_spec(cls, argument: str) -> EzClip:
        """Load a checkpoint of the original.

        Args:
            argument: ``FILE``. Options follow a ``?``: ``base=openclip:...`` is a CLIP of the same
                shape, all of whose weights are in the file (default: the shape of OpenAI's, with
                nothing to fetch), ``templates=NAME`` the prompt set labels are put into,
                ``prompts=deep|shallow|none`` what the file holds, where it is not told apart.

        Raises:
            ModelError: the file is no such checkpoint, holds other things than data, or does not
                fit the base.
        """
        from vlar.adapters.ez_clip.checkpoint import load

        path, options = split_options(argument, _OPTIONS)
        base = options.pop("base", None)
        encoder, config, state = load(path, base, dict(options))
        adapter = cls(encoder, config, f"ez-clip:{argument}")
        adapter.load_state_dict(state)
        return adapter

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """Temporal prompts and adapters."""
        return self.network.parts

    def refresh(self) -> None:
        """Forget the vectors of texts and take the fingerprint anew."""
        import json

        from vlar.encoders.clip.towers import weights_hash

        self._texts.clear()
        settings = json.dumps(self.settings, sort_keys=True)
        self.fingerprint = weights_hash(self.module, self.encoder.fingerprint + settings)

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``refresh`` when the training is over."""
        named = list(self.module.named_parameters())
        for _, parameter in named:
            parameter.requires_grad_(True)
        return named

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Token ids (C, P, L) of C labels in the P templates of the settings."""
        filled = [prompt for prompts in fill(self._templates, labels) for prompt in prompts]
        return self._inner.token_ids(filled).unflatten(0, (len(labels), len(self._templates)))

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Logits and losses of a batch; each label in one of its templates, drawn by chance.

        The losses are ``image_kl`` and ``text_kl``, whose mean is the contrastive loss, ``motion``
        and their ``total``.
        """
        import torch

        ids, towers = classes[:, 0], self._inner.towers
        if classes.shape[1] > 1:
            drawn = torch.randint(classes.shape[1], (len(classes),))
            ids = classes[torch.arange(len(classes)), drawn]
        videos = batch.inputs.to(towers.device, towers.dtype)
        return self.network.step(videos, batch.targets.to(towers.device), ids)

    def encode_frames(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, T, D) float32, not normalised; any T."""
        import torch

        self._inner.check_frames(frames)
        n, t = frames.shape[:2]
        if t == 0:
            raise UsageError(f"no frames to encode: {frames.shape} (N, T, H, W, 3)")
        parts = [np.zeros((0, t, self.dim), np.float32)]
        with torch.inference_mode():
            for pixels in self._inner.windows(frames):
                # A window must not depend on its company, whatever the settings.
                for some in pixels.split(1 if self.config.mix_videos else max(1, n)):
                    parts.append(self.network.frames(some).float().cpu().numpy())
        return np.concatenate(parts)

    def pool(self, features: Float32) -> Float32:
        """Mean of the raw frame features, scaled to length 1."""
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Texts to (C, D) float32 of unit length; a text that was encoded before is looked up."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        self._texts.update(zip(new, self._inner.encode_text(new), strict=True))
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._texts[text]
        for text in list(self._texts)[: max(0, len(self._texts) - _KEPT_TEXTS)]:
            del self._texts[text]
        return vectors

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, special tokens included, before any cut."""
        return self.encoder.count_tokens(text)
