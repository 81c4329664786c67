"""``msq``: every label is a query of its text and of the clip, behind the encoder contract.

Letters: N clips, T frames, K moments (equal spans of a clip), R parts of a frame, D width of the
shared space, F width of a frame's features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import bad_setting
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.protocols import ConditionedText, WithRegions
from vlar.methods.msq.network import MsqConfig, MsqNetwork, asymmetric_loss
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Encoded, Float32

_WIDTH = 256
_MOST_COSINE = 0.999


@register("adapter", "msq", status="null here")
class Msq(ResidualTower, ConditionedText):
    """Multi-modal queries for several labels a clip, of whatever actor (Mondal et al., 2023).

    Each label is a query; a decoder reads the moments of the clip for it, and the query answers for
    itself. Unlike the paper's head (``closed``), queries are texts that are not trained and do not
    attend to each other: any list of labels can be asked, and a label alone answers as in a list.

    The vector of a clip stays the encoder's. The text of a label is turned in the plane of both
    until its cosine with the clip is the answer, so all that compares clips with texts works. Until
    it is trained nothing is turned.

    Reference: Mondal et al., "Actor-agnostic multi-label action recognition with multi-modal
    query", ICCV workshops 2023.
    Example: ``vlar adapt several.csv --out mine --method msq``.

    Attributes:
        network: What is added to the cosines, for training.
        config: The settings.
    """

    method, config_type = "msq", MsqConfig
    several_labels: ClassVar[bool] = True
    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks", "trained_labels"})
    network: MsqNetwork
    config: MsqConfig

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        if config.grid:
            require(encoder, ("patch_tokens",), cls.method)
        return config

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder, with vectors of ``grid`` times ``grid`` parts of every frame."""
        return WithRegions(encoder, config.grid, config.grid) if config.grid else encoder

    def refresh(self) -> None:
        self.trained_labels = self.config.labels
        super().refresh()

    def build(self) -> MsqNetwork:
        """The maps of texts, clips and tokens, and the decoder, at their start."""
        return MsqNetwork(self.dim, _width(self.config, self.dim, self.encoder.name), self.config)

    # The encoder contract

    def row(self, row: Encoded) -> Encoded:
        """The encoder's own features and vector, and as context the vector and the tokens."""
        vector = self.pool(row.features[None])[0]
        tokens = self.tokens(row.features[None])[0]
        context = np.concatenate([vector[None], tokens.reshape(-1, self.dim)])
        return Encoded(row.features, vector, context)

    def pool(self, features: Float32) -> Float32:
        """Pool by the encoder."""
        return self.pooled(features)

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts whose cosines with N clips are the answers: (N, C, D) float32 of unit length."""
        words = self.encoder.encode_text(texts)
        rows: list[Float32] = []
        for clip in np.asarray(context, np.float32):  # alone and in company the same
            vector = unit(clip[0])
            tokens = clip[1:].reshape(1, -1, 1 + self.config.grid**2, self.dim)
            with torch.inference_mode():
                added = self.network(
                    torch.from_numpy(words),
                    torch.from_numpy(vector[None]),
                    torch.from_numpy(tokens),
                )
            rows.append(turned(words, vector, added[0].numpy() / self.logit_scale))
        return np.stack(rows) if rows else np.zeros((0, *words.shape), np.float32)

    # Training

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Texts of the labels as the encoder has them, (C, D); the network is for all labels."""
        if tuple(labels) != self.config.labels:
            self.config = dataclasses.replace(self.config, labels=tuple(labels))
            self.refresh()
        return torch.from_numpy(self.label_vectors(labels))

    def fit_inputs(self, features: Float32) -> None:
        """Read along the directions in which the tokens of the training set (N, T, F) are longest.

        Texts and tokens are compared in them as the encoder compares them, as far as the decoder's
        width goes; directions that the training set lacks stay random.
        """
        rows = self.tokens(features).reshape(-1, self.dim)
        axes = self.network.text.weight.detach().clone()
        axes_right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2][: len(axes)]
        both = np.concatenate([axes_right, axes.double().numpy()])
        basis = np.linalg.qr(both.T)[0].T[: len(axes)]  # what is left of the random directions
        self.network.set_axes(torch.from_numpy(basis.astype(np.float32)))
        self.refresh()

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, (1 + R) D): each moment and its parts."""
        tokens = self.tokens(features)
        return tokens.reshape(*tokens.shape[:2], -1)

    def split_inputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of a step to tokens (N, K, 1 + R, D) and vectors of clips (N, D), of unit length.

        Args:
            inputs: (N, K, (2 + R) D) of ``training_inputs``, or frame features (N, T, F).
        """
        parts = self.inputs_of(inputs).unflatten(-1, (-1, self.dim))
        # Mixed clips are means of unit vectors.
        return parts[:, :, :-1], F.normalize(parts[:, :, -1].mean(dim=1), dim=-1)

    def tokens(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, 1 + R, D): the vector of each moment, then those of its parts."""
        frame_rows, regions = features, None
        if isinstance(self.source, WithRegions):
            frame_rows, regions = self.source.split(features)
        count = min(self.config.moments, features.shape[1])
        places = np.array_split(np.arange(features.shape[1]), count)
        # One clip at a time: products round by the number of their rows.
        rows = [
            [self.encoder.pool(clip[None, layer])[0] for layer in places] for clip in frame_rows
        ]
        moments = np.array(rows, np.float32).reshape(len(frame_rows), count, 1, self.dim)
        if regions is None:
            return moments
        parts = np.stack([unit(regions[:, layer].mean(axis=1)) for layer in places], axis=1)
        return np.concatenate([moments, parts], axis=2)

    def label_vectors(self, labels: Sequence[str]) -> Float32:
        vectors = self.prompt_vectors(labels)
        return vectors[:, 0] if vectors.shape[1] == 1 else unit(vectors.mean(axis=1))

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """The loss of the task; with several labels a clip, of each label for itself.

        Args:
            batch: Inputs of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        tokens, vectors = self.split_inputs(batch.inputs)
        output = batch.spread(partial(self.network, classes), vectors, tokens)
        logits = self.logit_scale * vectors @ classes.T + output
        logits = logits + self.network.offset
        losses = {"total": self._loss(batch, logits)}
        return TrainingOutput(logits, losses, classes=classes, vectors=vectors)

    def _loss(self, batch: TrainingBatch, logits: Tensor) -> Tensor:
        is_labelled = batch.labelled(logits)
        if batch.task is None or batch.task.form != "multi-hot" or not len(is_labelled):
            return batch.loss(logits)
        return asymmetric_loss(
            is_labelled,
            batch.labelled(batch.targets),
            focus_shown=self.config.focus_shown,
            focus_absent=self.config.focus_absent,
        )


def turned(words: Float32, vector: Float32, added: Any) -> Float32:
    """Unit vectors (C, D) turned towards or away from a unit vector (D,) by cosines (C,).

    A word with ``added`` 0 stays as it is, bit for bit.
    """
    cosine = words @ vector
    across = unit(words - cosine[:, None] * vector)
    target_cosine = np.clip(cosine + added, -_MOST_COSINE, _MOST_COSINE)[:, None]
    moved = unit(target_cosine * vector + np.sqrt(1 - target_cosine**2) * across)
    return np.where(np.asarray(added)[:, None] == 0, words, moved).astype(np.float32)


def _width(config: MsqConfig, dim: int, encoder: str) -> int:
    """The width of the decoder.

    Raises:
        ModelError: it is wider than the encoder.
    """
    if config.width is None:
        least = max(config.heads, min(_WIDTH, dim) // config.heads * config.heads)
        if least > dim:
            raise bad_setting(
                config.what, "heads", config.heads, f"{dim} or fewer, D of {encoder!r}"
            )
        return least
    if config.width > dim:
        advice = f"{dim} or less: the decoder must not be wider than encoder {encoder!r}"
        raise bad_setting(config.what, "width", config.width, advice)
    return config.width
