"""The base of towers: networks on the frame features of any encoder, trained on a few clips.

Letters: N clips, T frames, F features of a frame, K small inputs of a frame, C labels, P prompts a
label, D width of the shared space.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from vlar.adapters.base import Adapter
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.session import Session
from vlar.language.clean import clean_label
from vlar.language.prompts import fill, load_templates
from vlar.numeric import unit
from vlar.training.frame_inputs import (
    along_directions,
    block_width,
    check_names,
    fit_directions,
    placed,
    read_blocks,
)
from vlar.training.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.types import Clip, Encoded, Float32, JsonDict, Role

if TYPE_CHECKING:
    from torch import Tensor, nn


class ResidualTower(Adapter, Trainable):
    """The base of towers: what a network finds is added to the vector of a frozen encoder.

    A tower names its ``method`` and ``config_type`` and builds its network at the start::

        @register("adapter", "bodies")
        class Bodies(ResidualTower):
            method, config_type = "bodies", BodiesConfig

            @classmethod
            def beside(cls, encoder, config):
                return AllJoints(encoder, config.people)  # more features, with a mask

            def build(self):
                from .network import BodiesNetwork

                return BodiesNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    ``beside`` is only written by a tower that reads more than the encoder's features. The network
    has ``residual(small)``, (N, T, K) to (N, D) and zero at the start. It has the buffers of
    ``register_directions`` where inputs are read along principal directions, and
    ``label_residual()`` (C, D) where it moves the texts of the labels it is trained for; its
    settings then have ``labels``. With ``vectors`` and ``concepts`` of ``ResidualNetwork`` the
    training step is complete too.

    The base does the rest: ``attach``, settings, state and fingerprint, vectors one clip at a time
    (the same alone and in company), the session, texts, and what a training reads and caches.

    Attributes:
        source: The encoder whose features it reads: the wrapped one, or one with more of them.
        network: The differentiable whole.
        config: The settings.
        start_seed: Draws the start of the network; ``restart`` sets it.
        of_labels: Last names of parameters and buffers of the network with a row for each label.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text")
    of_labels: ClassVar[tuple[str, ...]] = ("labels",)
    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks"})
    reads: Literal["pixels", "features"] = "features"
    source: Encoder
    start_seed: int = 0

    def __init__(self, encoder: Encoder, config: Any) -> None:
        self._wrap(encoder, self.method)
        check_names(encoder, getattr(config, "blocks", ()))
        self.config, self.source = config, self.beside(encoder, config)
        self.frame_blocks, self.frame_dim = self.source.frame_blocks, self.source.frame_dim
        self._blocks = self.chosen_blocks(encoder, config)
        self.prepare()
        self.rebuild(config)

    # Written by a tower

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """Encoder whose frame features are read; a ``Beside`` adds some to the wrapped one's."""
        return encoder

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """The blocks of frame features that become small inputs, each with where it starts.

        Those of the encoder that ``blocks`` of the settings names, all where it names none.
        """
        names = getattr(config, "blocks", ())
        return [pair for pair in placed(encoder.frame_blocks) if not names or pair[1].name in names]

    def prepare(self) -> None:
        """Set what does not change when the network is built again for other labels."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The network at its start, by ``config``; random numbers are seeded."""

    # What the base does

    @classmethod
    def reading(cls, encoder: Encoder, settings: JsonDict) -> Encoder:
        return cls.beside(encoder, cls.resolved(cls.read_config(settings), encoder))

    def rebuild(self, config: Any) -> None:
        """Build the network of other settings, at its start."""
        import torch

        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.start_seed)  # the same settings and seed start the same
            self.network = self.build()
        self.module.eval().requires_grad_(False)
        self.refresh()

    def restart(self, seed: int) -> None:
        """Build the network at the start that a seed draws; a new adapter has that of 0."""
        self.start_seed = seed
        self.rebuild(self.config)

    def relabel(self, labels: Sequence[str]) -> None:
        """Build the network for other labels; all but ``of_labels`` stays as it is."""
        entries = self.network.state_dict().items()
        state = {k: v for k, v in entries if k.rpartition(".")[2] not in self.of_labels}
        self.rebuild(dataclasses.replace(self.config, labels=tuple(labels)))
        self.network.load_state_dict(state, strict=False)
        self.refresh()

    def refresh(self) -> None:
        self.fingerprint = self.content_hash(self.source, self.settings)
        self._moved: dict[str, Float32] = {}
        residual = getattr(self.network, "label_residual", None)
        if residual is not None:
            rows = residual().detach().cpu().numpy()
            for texts, row in zip(self.label_texts(self.config.labels), rows, strict=True):
                self._moved.update(dict.fromkeys(texts, np.asarray(row)))

    @property
    def input_sizes(self) -> list[int]:
        """Entries of each block that is read, as the directions of the network are stored."""
        return [block_width(block) for _, block in self._blocks]

    @property
    def n_inputs(self) -> int:
        """K: ``components`` of the settings for each block."""
        return len(self._blocks) * self.config.components

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self._rows(self.source.encode(clips))

    def cost(self, shape: Sequence[int]) -> int:
        return self.source.cost(shape)

    def session(self, *, features: bool = True) -> Session:
        return self.source.session().then(self._rows)

    def _rows(self, rows: Sequence[Encoded]) -> list[Encoded]:
        return [self.row(row) for row in rows]

    def row(self, row: Encoded) -> Encoded:
        """Row of a clip, from what ``source`` gives."""
        return Encoded(row.features, self.pool(row.features[None])[0])

    def pool(self, features: Float32) -> Float32:
        import torch

        pooled = self.pooled(features)
        with torch.inference_mode():
            # One by one, so that a clip is bit for bit the same alone and in company.
            rows = [self.residual(clip[None]) for clip in features]
        moved = [
            unit(old + row) if row.any() else old for old, row in zip(pooled, rows, strict=True)
        ]
        return np.stack(moved) if moved else pooled

    def pooled(self, features: Float32) -> Float32:
        """The encoder's own vectors (N, D) of features (N, T, F)."""
        return self.source.pool(features)

    def residual(self, features: Float32) -> Float32:
        """(D,) that is added to the vector of one clip (1, T, F)."""
        import torch

        return self.network.residual(torch.from_numpy(self.small(features)))[0].numpy()

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; only texts of trained labels have moved."""
        vectors = self.encoder.encode_in_role(texts, role)
        for row, text in enumerate(texts):
            if text in self._moved and self._moved[text].any():
                vectors[row] = unit(vectors[row] + self._moved[text])
        return vectors

    # Labels

    def label_texts(self, labels: Sequence[str]) -> list[list[str]]:
        """The P prompts of each label, as a model of this encoder asks for them."""
        cleaned = [clean_label(label) for label in labels]
        return [list(prompts) for prompts in fill(load_templates(self.templates), cleaned)]

    def prompt_vectors(self, labels: Sequence[str]) -> Float32:
        """(C, P, D) of the prompts of C labels, as the encoder has them."""
        flat = self.encoder.encode_text([t for row in self.label_texts(labels) for t in row])
        return flat.reshape(len(labels), -1, self.encoder.dim)

    def label_vectors(self, labels: Sequence[str]) -> Float32:
        """(C, D) of unit length: the mean of each label's prompts."""
        return unit(self.prompt_vectors(labels).mean(axis=1))

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        self.module.requires_grad_(True)
        return list(self.module.named_parameters())

    def training_classes(self, labels: Sequence[str]) -> Any:
        """Texts of the labels as the encoder has them, (C, P, D); residuals are made for them.

        Other labels than before start at zero again.
        """
        import torch

        if tuple(labels) != self.config.labels:
            self.relabel(labels)
        return torch.from_numpy(self.prompt_vectors(labels))

    def fit_inputs(self, features: Float32) -> None:
        fit_directions(self.network, self.read(features), self.config.components)
        self.refresh()

    def read(self, features: Float32) -> list[Float32]:
        """Parts (N, T, W) of frame features (N, T, F), before they are read along directions."""
        return read_blocks(features, self._blocks)

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K), what the network reads of a clip."""
        return along_directions(self.network, self.read(features))

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K + D): the small inputs, and the encoder's vector in every frame."""
        small = self.small(features)
        pooled = np.repeat(self.pooled(features)[:, None], small.shape[1], axis=1)
        return np.concatenate([small, pooled], axis=2)

    def in_use(self, clips: Sequence[Clip]) -> tuple[Tensor, Callable[[], Encoded]]:
        """Inputs of a step (N, T, K + D) without the changes of a training, T of the shortest clip.

        With them comes what gives the row of the first clip by the parameters at that time.
        """
        import torch

        rows = self.source.encode(clips)
        least = min(len(row.features) for row in rows)
        features = np.stack([row.features[:least] for row in rows])
        return torch.from_numpy(self.training_inputs(features)), lambda: self.row(rows[0])

    def inputs_of(self, inputs: Tensor) -> Tensor:
        """Inputs of a step: (N, T, K + D) of ``training_inputs``, made where they are features."""
        import torch

        if inputs.shape[-1] != self.frame_dim:
            return inputs
        return torch.from_numpy(self.training_inputs(inputs.detach().numpy()))

    def split_inputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of a step to small ones (N, T, K) and the encoder's vectors (N, T, D)."""
        inputs, width = self.inputs_of(inputs), self.encoder.dim
        small, pooled = inputs.split((inputs.shape[-1] - width, width), dim=-1)
        return small, pooled

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines and the loss of the task.

        Args:
            batch: Inputs (N, T, K + D) of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        small, pooled = self.split_inputs(batch.inputs)
        vectors = batch.spread(self.network.vectors, small, pooled[:, 0])
        words = self.network.concepts(classes)
        logits = self.logit_scale * vectors @ words.T
        losses = {"total": batch.loss(logits)}
        return TrainingOutput(logits, losses, classes=words, vectors=vectors)
