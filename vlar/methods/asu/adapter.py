"""``asu``: units that descriptions name steer the vector of a clip, behind the encoder contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import bad_setting
from vlar.adapters.views import VIEWS
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.protocols import REGIONS
from vlar.encoders.session import Session
from vlar.encoders.torch_encoder import TorchEncoder, encode_batches
from vlar.errors import ModelError
from vlar.language.bank import load_bank
from vlar.language.clean import clean_label
from vlar.language.descriptions import descriptions_of
from vlar.methods.asu.network import AsuConfig, AsuNetwork, RegionAttention
from vlar.methods.clauses import verb_of
from vlar.methods.semantic_units import BODY_PARTS, Unit, extract_units, units_named, units_of_bank
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.moment_adapter import MomentAdapter
from vlar.training.trainable import TextVectors, TrainingBatch, TrainingOutput, fixed_vectors
from vlar.types import Clip, Encoded, Float32

_SAME = 0.9  # cosine from which two units mean the same
#: The units of a list that no bank describes.
BODY = [Unit("body", part) for part in BODY_PARTS]
_WIDTH = 64  # few clips train it


def label_units(labels: Sequence[str], encoder: Encoder | None = None) -> list[Unit]:
    """The units that the banks' descriptions of some labels name; body parts where there are none.

    Args:
        labels: C labels.
        encoder: Leaves out units that mean the same to it as an earlier one; None keeps all.
    """
    described = descriptions_of([clean_label(label) for label in labels])
    units = extract_units(described, verb_of) or list(BODY)
    if encoder is None:
        return units
    vectors = unit_vectors(encoder, units)
    chosen_units: list[int] = []
    for row in range(len(units)):
        if not chosen_units or float((vectors[chosen_units] @ vectors[row]).max()) <= _SAME:
            chosen_units.append(row)
    return [units[row] for row in chosen_units]


def unit_vectors(encoder: Encoder, units: Sequence[Unit]) -> Float32:
    """(U, D) float32 of unit length: the mean of each unit's word and sentence."""
    texts = [text for one in units for text in one.texts]
    return unit(encoder.encode_text(texts).reshape(len(units), -1, encoder.dim).mean(axis=1))


@register("adapter", "asu", status="null here")
class Asu(MomentAdapter):
    """Attentive semantic units, in the spirit of Chen et al. (ICCV 2023); no code was released.

    Units are body parts, objects, scenes and motions. Each moment chooses the units it shows, with
    the parts of its frames; the chosen ones ask a decoder about the moments, and what it finds is
    added to the clip's vector. Texts stay as they are. In a CLIP with a plain ViT, parts of frames
    are tokens in the last blocks, with small adapters that are trained; elsewhere they are those
    that the encoder gives (``patch_tokens``). Until it is trained the vectors are the encoder's.

    The vector depends on the units, so another unit bank needs a new library.

    Reference: Chen et al., "Video action recognition with attentive semantic units", ICCV 2023.
    Example: ``vlar adapt support/ --out mine --method asu``.

    Attributes:
        network: The choice of units and the decoder, for training.
        parts: Tokens of the parts of frames inside a ViT; None elsewhere.
        config: The settings.
    """

    method, config_type = "asu", AsuConfig
    network: AsuNetwork
    parts: RegionAttention | None = None
    config: AsuConfig

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        """Set ``grid`` by what the encoder offers, where it is not given.

        Raises:
            ModelError: the encoder has no parts of frames, and ``grid`` asks for them.
            LabelError: the bank of units cannot be read, or holds other entries.
        """
        config = _resolved(config, encoder)
        return config if _inside_vit(encoder) else super().resolved(config, encoder)

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """Encoder with parts of frames; inside a ViT they are tokens, not features."""
        return encoder if _inside_vit(encoder) else super().beside(encoder, config)

    def prepare(self) -> None:
        """Work inside the tower of a ViT where there is one: pixels are read."""
        inside = self.config.grid and _inside_vit(self.encoder)
        self._tower = self.encoder if inside and isinstance(self.encoder, TorchEncoder) else None
        if self._tower is not None:
            self.reads = "pixels"
            block = FrameBlock(REGIONS, (self.config.grid or 0) ** 2 * self.dim, REGIONS)
            self.frame_blocks = (*self.encoder.frame_blocks, block)
            self.frame_dim = self.encoder.frame_dim + block.width

    def build(self) -> AsuNetwork:
        """The choice of units and the decoder; inside a ViT the tokens of parts too."""
        config = self.config
        units = [Unit.parse(text) for text in config.units] or BODY
        vectors = torch.from_numpy(unit_vectors(self.encoder, units))
        network = AsuNetwork(self.dim, _width(config, self.dim, self.encoder.name), vectors, config)
        if self._tower is not None and config.grid:
            towers = self._tower.towers
            self.parts = RegionAttention(towers.vision_view(), config.grid, config.region_blocks)
            self.parts.to(towers.device)
            network.to(towers.device)
        return network

    @property
    def module(self) -> nn.Module:
        """The choice of units and the decoder; the adapters of parts where there are any."""
        modules: dict[str, nn.Module] = {"network": self.network}
        if self.parts is not None:
            modules["parts"] = self.parts
        return nn.ModuleDict(modules)

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Features of whole frames and their parts, and vectors that the units have moved."""
        if self.parts is None:
            return super().encode(clips)
        assert self._tower is not None
        return encode_batches(self._tower.pixel_batches(clips), self._frames, self.pool, self.name)

    def session(self, *, features: bool = True) -> Session:
        return super().session(features=features) if self.parts is None else Session(self.encode)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, None]:
        return self._seen(pixels).flatten(2), None

    def _seen(self, pixels: Tensor) -> Tensor:
        """(n, T, 3, height, width) to whole frames and parts (n, T, 1 + R, D), not normalised."""
        assert self.parts is not None
        assert self._tower is not None
        images = pixels.flatten(0, 1).to(self._tower.towers.device, self._tower.towers.dtype)
        return self.parts(images).unflatten(0, pixels.shape[:2])

    def pooled(self, features: Float32) -> Float32:
        """The encoder's own vectors (N, D); its features come first."""
        return self.encoder.pool(features[..., : self.encoder.frame_dim])

    def residual(self, features: Float32) -> Float32:
        """(D,) that the units add to the vector of one clip (1, T, F)."""
        tokens = torch.from_numpy(self.tokens(features)).to(self.network.units.device)
        return self.network(tokens)[0].cpu().numpy()

    def tokens(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, 1 + R, D), each of unit length."""
        if self.parts is None:
            return super().tokens(features)
        shape = (*features.shape[:2], -1, self.dim)
        return self._moments(torch.from_numpy(features.reshape(shape))).numpy()

    def _moments(self, seen: Tensor) -> Tensor:
        """(n, T, G, D) to the unit means of K spans: (n, K, G, D)."""
        spans = seen.tensor_split(min(self.config.moments, seen.shape[1]), dim=1)
        return F.normalize(torch.stack([span.mean(dim=1) for span in spans], dim=1), dim=-1)

    def units_shown(self, features: Float32, most: int = 5) -> list[tuple[str, float]]:
        """The units that a clip shows most, with their shares, as the reason of an answer.

        Args:
            features: (T, F) of ``encode``.
            most: How many.
        """
        with torch.inference_mode():
            tokens = torch.from_numpy(self.tokens(features[None])).to(self.network.units.device)
            shares = self.network.shown(tokens)[0].mean(dim=0).cpu().numpy()
        names = self.config.units or tuple(map(str, BODY))
        return [(names[i], float(shares[i])) for i in np.argsort(-shares, kind="stable")[:most]]

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``training_classes`` comes before.

        Raises:
            ModelError: nothing is trained without a decoder.
        """
        if not self.config.layers:
            raise ModelError(
                f"{self.config.what} layers is 0, so nothing is trained; use 1 or more"
            )
        return super().trainable()

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; texts are not trained."""
        return fixed_vectors(self.encoder.encode_text(texts))

    def training_classes(self, labels: Sequence[str]) -> Any:
        """Texts of the labels (C, D); the units are made for them where none were given.

        Other labels than before start again.
        """
        if tuple(labels) != self.config.labels:
            stated_units = self.config.units and not self.config.labels
            units = (
                self.config.units
                if stated_units
                else tuple(str(one) for one in label_units(labels, self.encoder))
            )
            config = dataclasses.replace(self.config, units=units, labels=tuple(labels))
            self.rebuild(config)
        return torch.from_numpy(self.label_vectors(labels)).to(self.network.units.device)

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """Scaled cosines and the loss of the task.

        Args:
            batch: Inputs of ``training_inputs``, frame features (N, T, F), or pixels.
            classes: From ``training_classes``.
        """

        def encoded(inputs: Tensor) -> tuple[Tensor, ...]:
            if self.parts is not None:
                previews = self._seen(inputs).float()
                tokens = self._moments(previews)
                pooled = F.normalize(previews[:, :, 0].mean(dim=1), dim=-1)
            else:
                tokens, pooled = self.split_inputs(inputs)
            vectors = F.normalize(pooled + self.network(tokens), dim=-1)
            shown = [self.network.shown(tokens).mean(dim=1)] if self.config.ground else []
            return vectors, *shown

        vectors, *shown = batch.spread_all(encoded, batch.inputs)
        logits = self.logit_scale * vectors @ classes.T
        losses = {"total": batch.loss(logits)}
        if self.config.ground:
            losses["units"] = self.config.ground * self._grounded(batch, *shown)
            losses["total"] = losses["total"] + losses["units"]
        return TrainingOutput(logits, losses, classes=classes, vectors=vectors)

    def _grounded(self, batch: TrainingBatch, shown: Tensor) -> Tensor:
        """Cross-entropy of the chosen units with those of the label's descriptions."""
        described = descriptions_of([clean_label(label) for label in self.config.labels])
        rows = [set(map(str, units_named(row, verb_of))) for row in described]
        member = torch.tensor(
            [[float(one in row) for one in self.config.units] for row in rows],
            device=shown.device,
        )
        share = batch.labelled(batch.targets) @ member
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-6)
        shown = batch.labelled(shown)
        return -(share * shown.clamp_min(1e-9).log()).sum(dim=1).sum() / max(len(shown), 1)


def _inside_vit(encoder: Encoder) -> bool:
    """Return whether the encoder shows the blocks of a ViT with a class token."""
    if not isinstance(encoder, TorchEncoder) or not VIEWS["vit_blocks"].offered(encoder):
        return False
    try:
        encoder.towers.vision_view()
    except ModelError:
        return False
    return True


def _resolved(config: AsuConfig, encoder: Encoder) -> AsuConfig:
    """The settings with ``grid`` and ``units`` filled in."""
    grid = config.grid
    if grid is None:
        grid = 2 if _inside_vit(encoder) or VIEWS["patch_tokens"].offered(encoder) else 0
    units = config.units
    if config.unit_bank and not units:
        units = tuple(map(str, units_of_bank(load_bank(config.unit_bank))))
    return dataclasses.replace(config, grid=grid, units=units, unit_bank="")


def _width(config: AsuConfig, dim: int, encoder: str) -> int:
    """The width of the decoder.

    Raises:
        ModelError: it is wider than the encoder.
    """
    width = config.width or max(config.heads, min(_WIDTH, dim) // config.heads * config.heads)
    if width > dim:
        name = "width" if config.width else "heads"
        advice = f"{dim} or less: the decoder must not be wider than encoder {encoder!r}"
        raise bad_setting(config.what, name, config.width or config.heads, advice)
    return width
