"""The temporal adapter behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.frame_inputs import (
    along_directions,
    block_width,
    check_names,
    chosen,
    fit_directions,
    read_blocks,
)
from vlar.adapters.temporal.config import TemporalConfig
from vlar.adapters.trainable import (
    TextVectors,
    Trainable,
    TrainingBatch,
    TrainingOutput,
    fixed_vectors,
)
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.session import Session
from vlar.numeric import unit
from vlar.registry import register
from vlar.text.clean import clean_label
from vlar.text.prompts import fill, load_templates
from vlar.types import Clip, Encoded, Float32, JsonDict, Role

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.temporal.network import TemporalNetwork


@register("adapter", "temporal")
class Temporal(Adapter, Trainable):
    """A small transformer over T frame vectors, whose answer is added to the window vector.

    It reads the frame features alone, so it works on every encoder, and they can be computed once.
    Learned prompts and the frames themselves read the frames; a time position tells first from
    last. Until it is trained the window vectors are the encoder's own. Texts stay as they are,
    except those of the labels it was trained for.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text")
    reads: Literal["pixels", "features"] = "features"
    network: TemporalNetwork
    config: TemporalConfig

    def __init__(self, encoder: Encoder, config: TemporalConfig) -> None:
        """Use ``attach``."""
        self._wrap(encoder, "temporal")
        self._blocks = chosen(encoder.frame_blocks, config.blocks)
        self.input_widths = [config.components] * len(self._blocks)
        self._build(config)

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Temporal:
        """The adapter at its start, which changes nothing.

        Raises:
            ModelError: the encoder has no frame features, or its text depends on the video.
            UnknownNameError: a setting or a block does not exist.
        """
        require(encoder, cls.needs, "temporal")
        config = TemporalConfig.from_dict(settings or {})
        check_names(encoder, config.blocks)
        return cls(encoder, config)

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """See ``Adapter``."""
        TemporalConfig.from_dict(settings)

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """The transformer, the directions its inputs are read along, and the labels' residuals."""
        return self.network

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters."""
        self.fingerprint = self.content_hash(self.encoder, self.settings)
        moved = self.network.label_residual().detach().numpy()
        self._moved = {
            text: row
            for texts, row in zip(self._texts(self.config.labels), moved, strict=True)
            for text in texts
        }

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """The encoder's own frame features, and vectors that the network has moved."""
        return self._moved_rows(self.encoder.encode(clips))

    def session(self, *, features: bool = True) -> Session:
        """The wrapped encoder's session; its frame features are moved window by window."""
        del features
        return self.encoder.session().then(self._moved_rows)

    def _moved_rows(self, rows: Sequence[Encoded]) -> list[Encoded]:
        return [Encoded(row.features, self.pool(row.features[None])[0]) for row in rows]

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) of unit length."""
        import torch

        pooled = self.encoder.pool(features)
        with torch.inference_mode():
            # One by one, so that a window is bit for bit the same alone and in company.
            rows = [
                self.network.residual(torch.from_numpy(self._inputs(clip[None])))[0].numpy()
                for clip in features
            ]
        moved = [
            unit(old + row) if row.any() else old for old, row in zip(pooled, rows, strict=True)
        ]
        return np.stack(moved) if moved else pooled

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; only texts of trained labels have moved."""
        vectors = self.encoder.encode_in_role(texts, role)
        for row, text in enumerate(texts):
            if text in self._moved and self._moved[text].any():
                vectors[row] = unit(vectors[row] + self._moved[text])
        return vectors

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``training_classes`` comes before."""
        self.network.requires_grad_(True)
        return list(self.network.named_parameters())

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Texts of the labels as the encoder has them, (C, P, D); the residuals are made for them.

        Other labels than before start at zero again.
        """
        import dataclasses

        import torch

        if tuple(labels) != self.config.labels:
            state = {k: v for k, v in self.network.state_dict().items() if k != "labels"}
            self._build(dataclasses.replace(self.config, labels=tuple(labels)))
            self.network.load_state_dict(state, strict=False)
            self.refresh()
        texts = self._texts(labels)
        flat = self.encoder.encode_text([text for prompts in texts for text in prompts])
        return torch.from_numpy(flat.reshape(len(texts), -1, self.dim))

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """See ``Trainable``; only the texts of labels are trained."""
        return fixed_vectors(self.encoder.encode_text(texts))

    def fit_inputs(self, features: Float32) -> None:
        """Find the directions in which the frames (N, T, F) of the training set differ."""
        parts = read_blocks(features, self._blocks)
        fit_directions(self.network, parts, self.config.components)
        self.refresh()

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K + D): the small inputs, and the encoder's vector in every frame."""
        pooled = np.repeat(self.encoder.pool(features)[:, None], features.shape[1], axis=1)
        return np.concatenate([self._inputs(features), pooled], axis=2)

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines and the loss of the task.

        Args:
            batch: Inputs (N, T, K + D) of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        import torch

        inputs = batch.inputs
        if inputs.shape[-1] == self.frame_dim:
            inputs = torch.from_numpy(self.training_inputs(inputs.detach().numpy()))
        small, pooled = inputs.split((inputs.shape[-1] - self.dim, self.dim), dim=-1)
        vectors = batch.spread(self.network.vectors, small, pooled[:, 0])
        words = self.network.concepts(classes)
        logits = self.logit_scale * vectors @ words.T
        losses = {"total": batch.loss(logits)}
        return TrainingOutput(logits, losses, classes=words, vectors=vectors)

    def _build(self, config: TemporalConfig) -> None:
        import torch

        from vlar.adapters.temporal.network import TemporalNetwork

        self.config = config
        widths = [block_width(block) for _, block in self._blocks]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # two adapters of the same settings start the same
            self.network = TemporalNetwork(
                config, len(widths) * config.components, self.dim, widths
            )
        self.network.eval().requires_grad_(False)
        self.refresh()

    def _inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K)."""
        return along_directions(self.network, read_blocks(features, self._blocks))

    def _texts(self, labels: Sequence[str]) -> list[list[str]]:
        """The P prompts of each label, as a model of this encoder asks for them."""
        cleaned = [clean_label(label) for label in labels]
        return [list(prompts) for prompts in fill(load_templates(self.templates), cleaned)]
