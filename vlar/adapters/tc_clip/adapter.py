"""TC-CLIP behind the encoder contract: ``tc-clip:FILE.pth``, or attached to a CLIP."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.adapters.clip_adapter import ClipAdapter
from vlar.adapters.tc_clip.config import TcClipConfig
from vlar.adapters.tc_clip.labels import phrase, prompt
from vlar.adapters.trainable import TrainingBatch, TrainingOutput
from vlar.encoders.conditioned import ConditionedText
from vlar.encoders.spec import number, split_options
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, JsonDict, Role

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.tc_clip.network import TcClipNetwork
    from vlar.adapters.tc_clip.text import ClassSet

_OPTIONS = ("base", "ensemble", "prompt_levels", "seed_fraction", "context_tokens", "merge_step")
_CLASSES = 512  # classes run through the text tower at a time
_PAIRS = 8192  # (window, class) pairs at a time
_KEPT_SETS = 4  # class sets whose video-independent part is kept


@register("adapter", "tc-clip")
class TcClip(ClipAdapter, ConditionedText):
    """A CLIP whose frames attend to the whole clip, and whose prompts do too.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "tc-clip", TcClipConfig
    recomputes = True
    network: TcClipNetwork
    config: TcClipConfig

    def _build(self) -> None:
        """The declared start: near-zero biases, prompting copied from the text tower."""
        from vlar.adapters.tc_clip.network import build

        encoder, towers = self.base, self.inner.towers
        words = towers.tokens.ids([phrase(self.config)], encoder.max_tokens)[0]
        end = int(towers.text_view().end(words[None])[0])
        self.network = build(
            towers.vision_view(),
            towers.text_view(),
            self.config,
            encoder.dim,
            words[1:end].tolist()[: len(self.config.prompt_phrase.split())],
            towers.log_scale,
        )
        self.network.parts.to(towers.device, towers.dtype).requires_grad_(False)
        self.max_tokens = min(encoder.max_tokens, self.config.max_tokens or encoder.max_tokens)
        self._sets: OrderedDict[tuple[str, ...], list[ClassSet]] = OrderedDict()

    def _parts(self) -> nn.Module:
        """Bias tables, prompt vectors and prompting layers."""
        return self.network.parts

    def _log_scale(self) -> Tensor:
        return self.network.log_scale()

    @classmethod
    def from_spec(cls, argument: str) -> TcClip:
        """Load a checkpoint of the original.

        Args:
            argument: ``FILE.pth``. Options follow a ``?``: ``base=openclip:...`` is the CLIP it
                was trained from (default: OpenAI's of the same shape; its token embedding is not
                in the file), ``ensemble=0.7`` the weight of the fine-tuned against the base
                weights, ``prompt_levels=6,12`` and the other settings where the file is silent.

        Raises:
            ModelError: the file is not such a checkpoint, holds anything but data, or does not
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

    def refresh(self) -> None:
        """Clear the class sets and compute scale and fingerprint."""
        self._sets.clear()
        super().refresh()

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``refresh`` when the training is over."""
        towers = self.inner.towers.model if self.config.tune_towers else None
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
        """Logits of clips and the labels they condition, and the loss of the task."""
        from torch.nn import functional as F  # noqa: N812 - the usual name

        def seen(videos: Tensor) -> tuple[Tensor, ...]:
            seen = self.network.encode(videos)
            words = self.network.conditioned(self.network.classes(classes), seen.context)
            return seen.frames, words, self.network.scores(seen.frames, words)

        frames, words, logits = batch.spread_all(seen, batch.inputs)
        loss = batch.loss(logits)
        vectors = F.normalize(frames.float().mean(dim=1), dim=-1)
        return TrainingOutput(logits, {"total": loss}, frames, words, vectors)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        seen = self.network.encode(pixels, context=True)
        return seen.frames, torch.cat([seen.context[i] for i in sorted(seen.context)], dim=1)

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts without a clip, for a library: the learned prompts as they are."""
        import torch

        del role
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            parts = [self.network.conditioned(part, None)[0] for part in self._classes(texts)]
            return unit(torch.cat(parts).float().cpu().numpy())

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts given the context (N, k, E) of clips: (N, C, D) float32 of unit length."""
        import torch

        if not texts or not len(context):
            return np.zeros((len(context), len(texts), self.dim), np.float32)
        levels = self.network.parts.levels()
        towers = self.inner.towers
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
        return self.base.count_tokens(prompt(text, self.config))

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Prompts of the texts as ids (C, L), for training."""
        prompts = [prompt(text, self.config) for text in texts]
        return self.inner.token_ids(prompts, self.max_tokens)

    def _classes(self, texts: Sequence[str]) -> list[ClassSet]:
        key = tuple(texts)
        if key not in self._sets:
            ids = self.token_ids(texts)
            self._sets[key] = [self.network.classes(part) for part in ids.split(_CLASSES)]
            while len(self._sets) > _KEPT_SETS:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)
        return self._sets[key]
