"""Prompt experts behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlar.encoders.base import Encoder, FrameBlock, cached_vectors
from vlar.encoders.beside import Beside
from vlar.errors import ModelError
from vlar.language.bank import load_bank
from vlar.methods.plar.network import PlarConfig, PlarNetwork, balance_loss
from vlar.numeric import softmax
from vlar.pose.features import tracks_from_features
from vlar.pose.optical_flow import (
    box_mean,
    camera_design,
    camera_flow,
    optical_flow,
    people_share,
    small_grey,
)
from vlar.pose.track import Tracks
from vlar.registry import register
from vlar.training.frame_inputs import placed
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Clip, Float32, Float64, UInt8

LONGEST_STEP_S = 0.5  # between frames; what moved in between is not found again
_TOP = 95  # percentile of the speeds that counts as 1
_STILL = 0.35  # pixels per step of the small frame; slower is noise
_SMOOTH = 1  # pixels around
_PICTURES = ("appearance", "logits")  # kinds of features that a brighter place can change
_VERSION = 1  # of what is drawn; increase it with every change
_BANK = "everyday_actions"  # what the text prompt is made of


def flow_maps(frames: UInt8, times_s: Float64) -> Float32:
    """Motion of each place in each frame, less the camera's own motion; (T, h, w), 0 to 1.

    Zero where nothing moves, where there is a single frame, and where frames are more than half a
    second apart.

    Args:
        frames: (T, H, W, 3) uint8, in time order.
        times_s: (T,) seconds.
    """
    grey = small_grey(frames)
    if len(frames) < 2 or np.median(np.diff(times_s)) > LONGEST_STEP_S:
        return np.zeros_like(grey)
    u, v = optical_flow(grey[:-1], grey[1:])
    design = camera_design(u.shape)
    camera = np.moveaxis(design @ camera_flow(grey[:-1], u, v), 2, 0).reshape(2, *u.shape)
    speed = np.hypot(u - camera[0], v - camera[1])
    speed = box_mean(np.maximum(speed - _STILL, 0).astype(np.float32), _SMOOTH)
    top = np.percentile(speed, _TOP, axis=(1, 2), keepdims=True)
    maps = np.clip(speed / np.maximum(top, _STILL), 0, 1)
    return np.concatenate([maps, maps[-1:]]).astype(np.float32)


def people_maps(frames: UInt8, tracks: Tracks) -> Float32:
    """Maps of people, (T, h, w), 0 to 1; zero without people.

    Args:
        frames: (T, H, W, 3) uint8.
        tracks: Tracks of the same frames.
    """
    shape = small_grey(frames[:1]).shape[1:]
    if not len(tracks.score):
        return np.zeros((len(frames), *shape), np.float32)
    return (1 - people_share(tracks, *shape)).astype(np.float32)


def drawn(frames: UInt8, maps: Float32, strength: float) -> UInt8:
    """Frames whose pixels are ``1 + strength * (map - mean of the map)`` as bright.

    Args:
        frames: (T, H, W, 3) uint8.
        maps: (T, h, w), 0 to 1.
        strength: 0 to 1.

    Returns:
        (T, H, W, 3) uint8; the same where a map is even.
    """
    drawn_frames = np.empty_like(frames)
    size = frames.shape[2], frames.shape[1]
    for row, frame, one in zip(drawn_frames, frames, maps, strict=True):
        if not one.any():
            row[:] = frame
            continue
        large = Image.fromarray(one - one.mean()).resize(size, Image.Resampling.BILINEAR)
        factor = 1 + strength * np.asarray(large, np.float32)[..., None]
        row[:] = np.clip(np.rint(frame * factor), 0, 255)
    return drawn_frames


class PromptedFrames(Beside):
    """An encoder that also encodes frames with prompts drawn into them.

    Features are those of the encoder, then for each prompt what of them it may change. Without
    prompts it is the encoder.

    Args:
        encoder: Encodes the frames, once more for each prompt.
        config: The prompts and their strength.

    Attributes:
        columns: Those of the encoder's features that are encoded with prompts too.

    Raises:
        ModelError: frames are not pictures, or a prompt needs bodies and the encoder has none.
    """

    def __init__(self, encoder: Encoder, config: PlarConfig) -> None:
        self.config = config
        blocks = placed(encoder.frame_blocks)
        if config.pictures and encoder.modality != "video":
            raise ModelError(
                f"prompts are drawn into pictures, and encoder {encoder.name!r} reads "
                f"{encoder.modality!r}; set prompts to [] or ['text']"
            )
        self._pose = next((slice(s, s + b.width) for s, b in blocks if b.kind == "pose"), None)
        if "people" in config.prompts and self._pose is None:
            raise ModelError(
                f"the prompt 'people' needs bodies, and encoder {encoder.name!r} finds none; use "
                "lite with lite-motion (vlar models get lite-motion), or leave it out"
            )
        read = [(s, b) for s, b in blocks if config.pictures and b.kind in _PICTURES]
        self.columns = np.concatenate(
            [np.arange(s, s + b.width) for s, b in read] or [np.arange(0)]
        )
        added = [
            FrameBlock(f"{block.name} with {name}", block.width, "prompted")
            for name in config.pictures
            for _, block in read
        ]
        super().__init__(encoder, added, json.dumps([config.pictures, config.strength, _VERSION]))

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """Columns of the frames that each prompt is drawn into, (T, P K)."""
        parts: list[Float32] = []
        for name in self.config.pictures:
            maps = self._maps(name, clip, features)
            frames_read = features
            if maps.any():
                shown = replace(clip, data=drawn(clip.data, maps, self.config.strength))
                frames_read = self.encoder.encode([shown])[0].features
            parts.append(frames_read[:, self.columns])
        return np.concatenate(parts, axis=1)

    def _maps(self, name: str, clip: Clip, features: Float32) -> Float32:
        if name == "flow":
            return flow_maps(clip.data, clip.times_s)
        return people_maps(clip.data, tracks_from_features(features[:, self._pose]))


@register("adapter", "plar", status="null here")
class Plar(ResidualTower):
    """Learned prompts mixed for each clip, with prompts of motion, people and text.

    In the spirit of Wang et al., "SCP: soft conditional prompt learning for aerial video action
    recognition" (first "PLAR"), 2023, of which no code is public. A pool of experts is learned; a
    router mixes them for each clip. A small causal transformer reads the mix, then the frames. The
    frames are moved, as far as a learned gate lets them, towards the same frames with what moves
    made brighter. Until it is trained the vectors are the encoder's own.

    Reference: Wang et al., "SCP: soft conditional prompt learning for aerial video action
    recognition", 2023, arXiv 2305.12437.
    Example: ``vlar adapt support/ --out mine --method plar``.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
        prompted: ``source``; encodes clips with the drawn prompts.
    """

    method, config_type = "plar", PlarConfig
    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks", "descriptions"})
    network: PlarNetwork
    config: PlarConfig
    prompted: PromptedFrames

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder with the drawn prompts.

        Raises:
            ModelError: a prompt cannot be made for the encoder.
        """
        return PromptedFrames(encoder, config)

    def prepare(self) -> None:
        """Start without a text prompt."""
        assert isinstance(self.source, PromptedFrames)
        self.prompted = self.source
        self._text_bank: Float32 | None = None

    def build(self) -> PlarNetwork:
        """The experts, their router and the transformer at their start."""
        return PlarNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    def residual(self, features: Float32) -> Float32:
        """(D,) that is added for one clip (1, T, F), whose frames the prompts move."""
        frames, away, _, text = self._split(torch.from_numpy(self.training_inputs(features)))
        return self.network.residual(frames, away, text)[0].numpy()

    def expert_shares(self, features: Float32) -> Float32:
        """(N, E) how the experts are mixed for each clip (N, T, F); rows sum to 1."""
        with torch.inference_mode():
            frames = torch.from_numpy(self.small(features[..., : self.encoder.frame_dim]))
            return self.network.route(frames).numpy()

    # Training

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Concepts of the labels, (C, D) of unit length, as the encoder has them."""
        return torch.from_numpy(self.label_vectors(labels))

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K + P K + D (+ D)): the small inputs, what each of P prompts changes
        in them, and in every frame the encoder's vector and that of the text prompt.
        """
        count, length = features.shape[:2]
        own_features = features[..., : self.encoder.frame_dim]
        small, pooled = self.small(own_features), self.pooled(features)
        parts, columns = [small], self.prompted.columns
        for number in range(len(self.config.pictures)):
            start = self.encoder.frame_dim + number * len(columns)
            drawn = own_features.copy()
            drawn[..., columns] = features[..., start : start + len(columns)]
            parts.append(self.small(drawn) - small)
        vectors = [pooled, *([self._text_prompt(pooled)] if "text" in self.config.prompts else [])]
        parts += [np.repeat(rows[:, None], length, axis=1) for rows in vectors]
        shape = (count, length, sum(part.shape[2] for part in parts))
        return np.concatenate(parts, axis=2, dtype=np.float32).reshape(shape)

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """Scaled cosines, the loss of the task, and that of the balance of the experts.

        Args:
            batch: Inputs of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        frames, away, pooled, text = self._split(self.inputs_of(batch.inputs))
        tensors = [frames, away, pooled, *([] if text is None else [text])]
        vectors = batch.spread(self.network.vectors, *tensors)
        logits = self.logit_scale * vectors @ classes.T
        task, balance = batch.loss(logits), balance_loss(self.network.route(frames))
        losses = {"total": task + self.config.balance * balance, "task": task, "balance": balance}
        return TrainingOutput(logits, losses, classes=classes, vectors=vectors)

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """``training_inputs`` to frames (N, T, K), prompts (N, P, T, K), vectors, texts (N, D)."""
        size, prompts = self.n_inputs, len(self.config.pictures)
        frames, away = inputs[..., :size], inputs[..., size : size * (1 + prompts)]
        away = away.unflatten(-1, (prompts, size)) if prompts else away[..., None, :0]
        away = (
            away.movedim(2, 1) if prompts else inputs.new_zeros(len(inputs), 0, *frames.shape[1:])
        )
        start = size * (1 + prompts)
        pooled = inputs[:, 0, start : start + self.dim]
        text = inputs[:, 0, start + self.dim :] if "text" in self.config.prompts else None
        return frames, away, pooled, text

    def _text_prompt(self, vectors: Float32) -> Float32:
        """(N, D): the mean of everyday actions, each as it fits a clip's vector (N, D)."""
        if self._text_bank is None:
            texts = list(load_bank(_BANK).texts)
            shape = (len(texts), self.dim)
            key = json.dumps(["plar", _BANK, texts])
            reference = self.encoder.reference
            self._text_bank = cached_vectors(
                reference, key, shape, lambda: reference.encode_text(texts)
            )
        weights = softmax(self.logit_scale * vectors @ self._text_bank.T)
        return (weights @ self._text_bank).astype(np.float32)
