"""TC-CLIP behind the encoder contract: ``tc-clip:FILE.pth``, or attached to a CLIP."""

from __future__ import annotations

from collections import OrderedDict
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
from vlar.adapters.tc_clip.config import TcClipConfig
from vlar.adapters.tc_clip.labels import phrase, prompt
from vlar.encoders.base import Encoder
from vlar.encoders.conditioned import ConditionedText, EncodedWindows
from vlar.encoders.spec import number, split_options
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, JsonDict, UInt8

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.tc_clip.network import TcClipNetwork
    from vlar.adapters.tc_clip.text import ClassSet

_OPTIONS = ("base", "ensemble", "prompt_levels", "seed_fraction", "context_tokens", "merge_step")
_CLASSES = 512  # classes run through the text tower at a time
_PAIRS = 8192  # (window, class) pairs at a time
_KEPT_SETS = 4  # class sets whose video-independent part is kept


@register("adapter", "tc-clip")
class TcClip(Adapter, Trainable, ConditionedText):
    """A CLIP whose frames see the whole video and whose prompts see it too.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    network: TcClipNetwork
    config: TcClipConfig

    def __init__(self, encoder: TorchEncoder, config: TcClipConfig, name: str = "tc-clip") -> None:
        """Use ``attach`` or ``from_spec``; this takes an encoder that shows its blocks."""
        from vlar.adapters.tc_clip.network import build

        self.encoder, self.config, self.name = encoder, config, name
        self._inner = encoder.twin() if config.tune_towers else encoder
        towers = self._inner.towers
        words = towers.tokens.ids([phrase(config)], encoder.max_tokens)[0]
        end = int(towers.text_view().end(words[None])[0])
        self.network = build(
            towers.vision_view(),
            towers.text_view(),
            config,
            encoder.dim,
            words[1:end].tolist()[: len(config.prompt_phrase.split())],
            towers.log_scale,
        )
        self.network.parts.to(towers.device, towers.dtype).requires_grad_(False)
        self._take_over(encoder, config.n_frames)
        self.max_tokens = min(encoder.max_tokens, config.max_tokens or encoder.max_tokens)
        self._sets: OrderedDict[tuple[str, ...], list[ClassSet]] = OrderedDict()
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> TcClip:
        """TC-CLIP at its declared start: near-zero biases, prompting copied from the text tower.

        Raises:
            ModelError: the encoder is no CLIP with a plain ViT and a causal text tower.
        """
        config = TcClipConfig.from_dict(settings or {})
        return cls(require_blocks(encoder, "tc-clip"), config)

    @classmethod
    def from_spec(cls, argument: str) -> TcClip:
        """Load a checkpoint of the original.

        Args:
            argument: ``FILE.pth``. Options follow a ``?``: ``base=openclip:...`` is the CLIP it
                was trained from (default: OpenAI's of the same shape; its token embedding is not
                in the file), ``ensemble=0.7`` the weight of the fine-tuned against the base
                weights, ``prompt_levels=6,12`` and the other settings where the file is silent.

        Raises:
            ModelError: the file is no such checkpoint, holds other things than data, or does not
                fit the base.
        """
        from vlar.adapters.tc_clip.checkpoint import load

        path, options = split_options(argument, _OPTIONS)
        settings: JsonDict = {}
        for name, kind in (("seed_fraction", float), ("context_tokens", int), ("merge_step", int)):
            if name in options:
                settings[name] = number(name, options[name], kind)
        if "prompt_levels" in options:
            levels = options["prompt_levels"].split(",")
            settings["prompt_levels"] = tuple(number("prompt_levels", v, int) for v in levels)
        weight = number("ensemble", options.get("ensemble", "1"), float)
        encoder, config, state = load(path, options.get("base"), weight, settings)
        adapter = cls(encoder, config, f"tc-clip:{argument}")
        adapter.load_state_dict(state)
        return adapter

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """Bias tables, prompt vectors and prompting layers; the towers where they are tuned."""
        from torch import nn

        if not self.config.tune_towers:
            return self.network.parts
        return nn.ModuleDict({"parts": self.network.parts, "towers": self._inner.towers.model})

    def refresh(self) -> None:
        """Forget the class sets and take the fingerprint anew."""
        import json

        from vlar.encoders.clip.towers import weights_hash

        self._sets.clear()
        self.logit_scale = float(self.network.log_scale().detach().exp())
        settings = json.dumps(self.settings, sort_keys=True)
        self.fingerprint = weights_hash(self.module, self.encoder.fingerprint + settings)

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``refresh`` when the training is over."""
        towers = self._inner.towers.model if self.config.tune_towers else None
        named = list(self.network.parts.named_parameters())
        if towers is not None:
            # The token embedding only ever fills constants; the original leaves it out as well.
            inner = towers.named_parameters()
            named += [(n, p) for n, p in inner if not n.endswith("token_embedding.weight")]
        for _, parameter in named:
            parameter.requires_grad_(True)
        return named

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Token ids (C, L) of the labels' prompts."""
        return self.token_ids(labels)

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Logits of videos and the labels they condition, and their cross-entropy."""
        from torch.nn import functional

        seen = self.network.encode(batch.inputs)
        words = self.network.conditioned(self.network.classes(classes), seen.context)
        logits = self.network.scores(seen.frames, words)
        loss = functional.cross_entropy(logits, batch.targets)
        return TrainingOutput(logits, {"total": loss}, seen.frames, words)

    def encode_frames(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, T, D) float32, not normalised; any T."""
        return self._encode(frames, context=False).features

    def encode_windows(self, frames: UInt8) -> EncodedWindows:
        """Frame features, and the context tokens that prompting looks at, in one pass."""
        return self._encode(frames, context=True)

    def pool(self, features: Float32) -> Float32:
        """Mean of the raw frame features, scaled to length 1."""
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Texts without any video, for an index: the learned prompts as they are."""
        import torch

        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            parts = [self.network.conditioned(part, None)[0] for part in self._classes(texts)]
            return unit(torch.cat(parts).float().cpu().numpy())

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts as each window sees them: (N, C, D) float32 of unit length."""
        import torch

        if not texts or not len(context):
            return np.zeros((len(context), len(texts), self.dim), np.float32)
        levels = self.network.parts.levels()
        towers = self._inner.towers
        rows: list[Float32] = []
        with torch.inference_mode():
            tokens = torch.from_numpy(np.asarray(context, np.float32))
            tokens = tokens.to(towers.device, towers.dtype)
            sets = self._classes(texts)
            for part in tokens.split(max(1, _PAIRS // len(texts))):
                seen = dict(zip(levels, part.chunk(len(levels), dim=1), strict=True))
                features = [self.network.conditioned(classes, seen) for classes in sets]
                rows.append(torch.cat(features, dim=1).float().cpu().numpy())
        return unit(np.concatenate(rows))

    def count_tokens(self, text: str) -> int:
        """Tokens of the prompt a text becomes, before any cut."""
        return self.encoder.count_tokens(prompt(text, self.config))

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Prompts of the texts as ids (C, L), for training."""
        prompts = [prompt(text, self.config) for text in texts]
        return self._inner.token_ids(prompts, self.max_tokens)

    def _encode(self, frames: UInt8, *, context: bool) -> EncodedWindows:
        import torch

        self._inner.check_frames(frames)
        if frames.shape[1] == 0:
            raise UsageError(f"no frames to encode: {frames.shape} (N, T, H, W, 3)")
        features: list[Float32] = []
        tokens: list[Float32] = []
        with torch.inference_mode():
            for pixels in self._inner.windows(frames):
                seen = self.network.encode(pixels, context=context)
                features.append(seen.frames.float().cpu().numpy())
                if context:
                    joined = torch.cat([seen.context[i] for i in sorted(seen.context)], dim=1)
                    tokens.append(joined.float().cpu().numpy())
        if not features:
            features = [np.zeros((0, frames.shape[1], self.dim), np.float32)]
        if not tokens:
            tokens = [np.zeros((len(frames), 0, self.dim), np.float32)]
        return EncodedWindows(np.concatenate(features), np.concatenate(tokens))

    def _classes(self, texts: Sequence[str]) -> list[ClassSet]:
        key = tuple(texts)
        if key not in self._sets:
            ids = self.token_ids(texts)
            self._sets[key] = [self.network.classes(part) for part in ids.split(_CLASSES)]
            while len(self._sets) > _KEPT_SETS:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)
        return self._sets[key]
