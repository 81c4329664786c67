"""TC-CLIP behind the encoder contract: ``tc-clip:FILE.pth``, or attached to a CLIP."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.encoders.protocols import ConditionedText
from vlar.encoders.spec import number, split_options
from vlar.files.recent import Recent
from vlar.methods.tc_clip.checkpoint import load
from vlar.methods.tc_clip.network import TcClipConfig, TcClipNetwork, build
from vlar.methods.tc_clip.text import ClassSet
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.clip_adapter import ClipAdapter
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Float32, JsonDict, Role

_OPTIONS = ("base", "ensemble", "prompt_levels", "seed_fraction", "context_tokens", "merge_step")
_CLASSES = 512  # classes run through the text tower at a time
_PAIRS = 8192  # (window, class) pairs at a time
_KEPT_SETS = 4  # class sets whose video-independent part is kept
BETAS = (0.9, 0.98)
EPSILON = 1e-8
WEIGHT_DECAY = 0.001
LABEL_SMOOTHING = 0.1
NEW_PARTS_FACTOR = 10.0  # prompts and prompting layers; the bias tables train at the base rate
_NEW_PARTS = ("prompts", "prompting.")
_FROZEN = ("token_embedding.weight",)


def phrase(config: TcClipConfig) -> str:
    """The words that stand where the learnable prompts go; as many as there are prompts.

    >>> phrase(TcClipConfig(n_prompts=6))
    'a photo of a X X'
    """
    words = config.prompt_phrase.split()[: config.n_prompts]
    return " ".join(words + ["X"] * (config.n_prompts - len(words)))


def prompt(label: str, config: TcClipConfig) -> str:
    """The prompt of a label; a text that already begins with the phrase is taken as it is.

    >>> prompt("ApplyEyeMakeup", TcClipConfig())
    'a photo of a Apply Eye Makeup.'
    """
    start = phrase(config)
    if label.startswith(start + " "):
        return label
    name = re.sub(r"([A-Z])", r" \1", label) if config.split_capitals else label
    return f"{start} {name.strip().replace('_', ' ')}."


@register("adapter", "tc-clip", status="reproduced")
class TcClip(ClipAdapter, ConditionedText):
    """A CLIP whose frames attend to the whole clip, and whose prompts do too.

    Reference: Kim et al., "Leveraging temporal contextualization for video action recognition",
    ECCV 2024, arXiv 2404.09490.
    Example: ``vlar adapt support/ --model clip --out mine --method tc-clip``.

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
        self._sets = Recent(_KEPT_SETS)

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
        towers = self.inner.towers

        def seen(videos: Tensor) -> tuple[Tensor, ...]:
            encoded = self.network.encode(videos.to(towers.device, towers.dtype))
            words = self.network.conditioned(self.network.classes(classes), encoded.context)
            return encoded.frames, words, self.network.scores(encoded.frames, words)

        frames, words, logits = batch.spread_all(seen, batch.inputs)
        loss = batch.loss(logits)
        vectors = F.normalize(frames.float().mean(dim=1), dim=-1)
        return TrainingOutput(logits, {"total": loss}, frames, words, vectors)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.network.encode(pixels, context=True)
        return encoded.frames, torch.cat(
            [encoded.context[i] for i in sorted(encoded.context)], dim=1
        )

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts without a clip, for a library: the learned prompts as they are."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            parts = [self.network.conditioned(part, None)[0] for part in self._classes(texts)]
            return unit(torch.cat(parts).float().cpu().numpy())

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts given the context (N, k, E) of clips: (N, C, D) float32 of unit length."""
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
                by_level = dict(zip(levels, part.chunk(len(levels), dim=1), strict=True))
                features = [self.network.conditioned(classes, by_level) for classes in sets]
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
        def make() -> list[ClassSet]:
            return [self.network.classes(part) for part in self.token_ids(texts).split(_CLASSES)]

        return self._sets.keep(tuple(texts), make)


# Of training and testing: epochs, warm-up epochs, rate, lowest rate, clips per optimiser step.
_PROTOCOLS = {
    "zero-shot": (10, 5, 8e-6, 8e-8, 256),
    "few-shot": (50, 5, 2e-6, 2e-8, 64),
    "base-to-novel": (12, 2, 3.33e-6, 3.33e-8, 64),
    "fully-supervised": (30, 5, 2.2e-5, 2.2e-7, 512),
}


@register("recipe", "tc-clip")
def tc_clip() -> dict[str, Hyperparameters]:
    """The four protocols; four clips at a time, as on each device of the original."""
    return {
        name: Hyperparameters(
            epochs=epochs,
            batch=batch,
            micro_batch=4,
            learning_rate=rate,
            lowest_rate=lowest,
            warmup_epochs=warmup,
            schedule="unshifted-cosine",
            betas=BETAS,
            epsilon=EPSILON,
            weight_decay=WEIGHT_DECAY,
            groups=parameter_groups,
            clip_norm=0.0,
            label_smoothing=LABEL_SMOOTHING,
            mixup=0.8,
            cutmix=1.0,
            crop=(168 / 256) ** 2,
            ensemble_skips=("bias_tables.", "prompts", "prompting."),
        )
        for name, (epochs, warmup, rate, lowest, batch) in _PROTOCOLS.items()
    }


def parameter_groups(
    named: Iterable[tuple[str, Any]], base_rate: float, weight_decay: float = WEIGHT_DECAY
) -> list[dict[str, Any]]:
    """Optimiser groups: base rate, and ten times that for prompts and prompting layers.

    Weight decay falls on every parameter, biases and norms included.

    Args:
        named: Names and parameters of the CLIP and of the adapter.
        base_rate: Learning rate of the first group.
        weight_decay: Weight decay of both groups.
    """
    base: list[Any] = []
    new: list[Any] = []
    for name, parameter in named:
        if not name.endswith(_FROZEN):
            (new if name.startswith(_NEW_PARTS) else base).append(parameter)
    shared = {"weight_decay": weight_decay}
    return [
        {"params": base, "lr": base_rate, **shared},
        {"params": new, "lr": base_rate * NEW_PARTS_FACTOR, **shared},
    ]
