"""``ar-net``: each frame is encoded at the size that a policy chooses, or not at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vlar.adapters.settings import bad_setting
from vlar.encoders.base import Encoder, FrameBlock, Preprocess
from vlar.encoders.beside import Beside
from vlar.encoders.clip.operations import multiply_adds
from vlar.encoders.protocols import Sizes
from vlar.encoders.session import Session
from vlar.errors import UsageError
from vlar.methods.ar_net.network import ArNetConfig, ArNetwork, cost
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.data import clip_pixels, clips_of_pixels
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.towers import ResidualTower
from vlar.training.trainable import DrawPixels, TrainingBatch, TrainingOutput
from vlar.types import Clip, Encoded, Float32

_GREY = (0.5, 0.5, 0.5)
_AS_IN_USE = Hyperparameters()


class Chosen(Beside):
    """An encoder that reads each frame at the chosen size; skipped frames keep the last features.

    Attributes:
        at: The encoder at each size, from the largest down.
        table: Operations of a frame at each size, as shares of the largest.
        network: The policy; it is set when it is built.
    """

    network: ArNetwork

    def __init__(self, encoder: Encoder, config: ArNetConfig) -> None:
        made_by = json.dumps({**config.to_dict(), "labels": []}, sort_keys=True)
        super().__init__(encoder, [FrameBlock("encoded", 1, "encoded")], made_by)
        assert isinstance(encoder, Sizes)
        self.at = [encoder.resized(side, side) for side in config.sizes]
        counts = [
            indices.cost((1, side, side, 3))
            for indices, side in zip(self.at, config.sizes, strict=True)
        ]
        self.table = [count / counts[0] for count in counts]
        self.whole = counts[0]
        self.small_size = Preprocess(config.small, config.small, _GREY, _GREY, "squash")

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """(T, 1) ones: all frames of a full encoding were encoded."""
        return np.ones((len(features), 1), np.float32)

    def small(self, clip: Clip) -> Tensor:
        """(T, 3, S, S) what the policy reads."""
        return clip_pixels(clip.data, self.small_size, _AS_IN_USE, None)

    def decisions(self, clip: Clip) -> Float32:
        """(T, A) without noise."""
        with torch.inference_mode():
            return self.network.decide(self.small(clip)[None])[0][0].numpy()

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return [self.encoded(clip, self.decisions(clip)) for clip in clips]

    def session(self, *, features: bool = True) -> Session:
        return Session(self.encode)

    def encoded(self, clip: Clip, decisions: Float32) -> Encoded:
        """A clip by given decisions (T, A): nothing is computed for a skipped frame."""
        features = np.zeros((len(clip.data), self.frame_dim), np.float32)
        for number, encoder in enumerate(self.at):
            rows = np.flatnonzero(decisions[:, number])
            if len(rows):
                part = dataclasses.replace(clip, data=clip.data[rows], times_s=clip.times_s[rows])
                features[rows, :-1] = encoder.encode([part])[0].features
                features[rows, -1] = 1
        last = np.maximum.accumulate(np.where(features[:, -1] > 0, np.arange(len(features)), 0))
        features[:, :-1] = features[last, :-1]
        return Encoded(features, self.pool(features[None])[0])

    def pool(self, features: Float32) -> Float32:
        """(N, T, F) to (N, D): the unit mean over the vectors of the frames that were encoded."""
        return np.stack([self._pool(clip) for clip in features])

    def _pool(self, features: Float32) -> Float32:
        used = features[features[:, -1] > 0] if features[:, -1].any() else features
        return unit(self.encoder.pool(used[:, None, :-1]).mean(axis=0, dtype=np.float32))


@register("adapter", "ar-net", status="null here")
class ArNetAdapter(ResidualTower):
    """A policy on small frames chooses a size for each frame, or skips some (Meng et al. 2020).

    The encoder stays frozen; the policy and residuals of the labels' texts are trained. A skipped
    frame is read from the recording, and not brought to a size of the encoder or encoded.

    Reference: Meng et al., "AR-Net: adaptive frame resolution for efficient action recognition",
    ECCV 2020.
    Example: ``vlar adapt clips/ --model lite-objects --out mine --method ar-net --set budget=0.5``.

    Attributes:
        chosen: The encoder at the sizes that are chosen.
        network: The policy.
        config: The settings.
    """

    method, config_type = "ar-net", ArNetConfig
    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text", "sizes")
    reads: Literal["pixels", "features"] = "pixels"
    chosen: Chosen
    network: ArNetwork
    config: ArNetConfig

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        """Set ``sizes`` by the encoder's own, where they are not given.

        Raises:
            ModelError: sizes do not fall, or a skip is below 1.
        """
        assert isinstance(encoder, Sizes)
        assert encoder.preprocess is not None
        height, step = encoder.preprocess.height, encoder.size_step
        usual = tuple(dict.fromkeys(round(height * share / step) * step for share in (0.75, 0.5)))
        sizes = tuple(config.sizes) or (height, *(side for side in usual if 0 < side < height))
        if sorted(set(sizes), reverse=True) != list(sizes):
            raise bad_setting(config.what, "sizes", list(sizes), "sizes that fall")
        if min(config.skips, default=1) < 1:
            raise bad_setting(config.what, "skips", list(config.skips), "whole numbers from 1")
        return dataclasses.replace(config, sizes=sizes)

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Chosen:
        """The encoder at the sizes of the settings."""
        return Chosen(encoder, config)

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """Empty: small frames are read."""
        return []

    def prepare(self) -> None:
        """Hold the budget to what can be reached.

        Raises:
            UsageError: it is below the cheapest choice.
        """
        assert isinstance(self.source, Chosen)
        self.chosen, self._seen = self.source, dict[Any, Tensor]()
        budget, frames = self.config.budget, self.n_frames
        least = self.chosen.table[-1] * (1 / frames if self.config.skips else 1)
        if budget is not None and budget < least:
            told = "one" if self.config.skips else "all"
            raise UsageError(
                f"{self.config.what} budget is {budget:g}, below the cheapest choice: {least:.3g} "
                f"of the operations, {told} of {frames} frames at {self.config.sizes[-1]} pixels; "
                "ask for more, or allow smaller sizes"
            )

    def build(self) -> ArNetwork:
        """The policy at its start."""
        return ArNetwork(self.config, self.chosen.table, self.dim)

    def rebuild(self, config: Any) -> None:
        super().rebuild(config)
        self.chosen.network = self.network

    def residual(self, features: Float32) -> Float32:
        """Zeros (D,): the vector of a clip is the encoder's, at the sizes that were chosen."""
        return np.zeros(self.dim, np.float32)

    def clip_cost(self, clip: Clip) -> float:
        """Operations of a clip by its decisions, of those of all frames at the largest size."""
        decisions = self.chosen.decisions(clip)[None]
        return float(cost(decisions, np.array(self.network.table))[0]) / max(len(clip.data), 1)

    def cost(self, shape: Sequence[int]) -> int:
        """Multiply-adds of a clip at most: all frames at the largest size, and the policy."""
        side = self.config.small
        small = torch.zeros(1, shape[0], 3, side, side)
        return self.encoder.cost(shape) + multiply_adds(lambda: self.network.decide(small))

    def operations(self, clip: Clip) -> int | None:
        """Multiply-adds of the frames that are encoded, at their sizes, and of the policy."""
        operations, most = self.encoder.operations(clip), super().operations(clip)
        return most and round(most - (operations or 0) * (1 - self.clip_cost(clip)))

    # Training

    def clip_inputs(self, clip: Clip, draw: DrawPixels) -> Tensor:
        """(T, R D + 3 S S): vectors of each frame at each size, and the small frames.

        A window is encoded once, without the changes of a training.
        """
        key = clip.path, clip.window
        if key not in self._seen:
            self._seen[key] = self._inputs(clip)
        return self._seen[key]

    def _inputs(self, clip: Clip) -> Tensor:
        rows = [
            indices.pool(indices.encode([clip])[0].features[:, None]) for indices in self.chosen.at
        ]
        parts = [*map(torch.from_numpy, rows), self.chosen.small(clip).flatten(1)]
        return torch.cat(parts, dim=1)

    def inputs_of(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 5 or self.encoder.preprocess is None:
            return inputs
        clips = clips_of_pixels(inputs, self.encoder.preprocess)
        return torch.stack([self._inputs(clip) for clip in clips])

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """Scaled cosines of the chosen sizes, the loss of the task, operations and even use.

        Args:
            batch: Inputs of ``clip_inputs``, or pixels of the encoder.
            classes: From ``training_classes``.
        """
        network, inputs = self.network, self.inputs_of(batch.inputs)
        training = torch.is_grad_enabled()
        seed = int(torch.randint(2**31, ())) if training else None
        if training:
            network.steps += 1

        # Noise is drawn for the whole batch, so several processes compute all of this small part.
        width, side = len(self.chosen.at) * self.dim, self.config.small
        rows = inputs[..., :width].unflatten(2, (-1, self.dim))
        small = inputs[..., width:].unflatten(2, (3, side, side))
        decisions, _ = network.decide(small, seed)
        vectors = network.pooled_sizes(decisions, rows)
        words = network.concepts(classes)
        logits = self.logit_scale * vectors @ words.T
        losses: Mapping[str, Tensor] = {"task": batch.loss(logits), **network.losses(decisions)}
        total = torch.stack(list(losses.values())).sum()
        return TrainingOutput(logits, {**losses, "total": total}, classes=words, vectors=vectors)
