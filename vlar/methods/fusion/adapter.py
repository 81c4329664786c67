"""``fusion``: several sensors of one moment, of which some may be missing, as one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.bundle import PRESENCE, Bools
from vlar.encoders.protocols import REGIONS
from vlar.errors import SupportError, UsageError
from vlar.methods.fusion.intervals import Intervals
from vlar.methods.fusion.network import FusionNetwork
from vlar.methods.fusion.presence import draw, parts_of, there_of, with_patches
from vlar.methods.fusion.tokens import FusionConfig, InputsOfPart, rows_and_columns
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.frame_inputs import (
    along_directions,
    block_width,
    directions,
    placed,
)
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TextVectors, TrainingBatch, TrainingOutput, fixed_vectors
from vlar.types import Float32


@register("adapter", "fusion", status="in the spirit")
class Fusion(ResidualTower):
    """A network over the parts of a bundle, whose answer is added to the vector of what is there.

    In training parts are left out at random (``drop``), and the clip's vector is that of the parts
    kept. Around an encoder of one sensor it is a tower with a single part. Presets name the papers:
    ``mmg``, ``action-mae``, ``m-mixer``, ``deformable``, ``masked-imu``, ``tim``.

    Example: ``vlar adapt rows.csv --model bundle:skeleton+imu --out mine --method fusion``.

    Attributes:
        network: The differentiable whole.
        config: The settings.
        pretraining: Whether a training step only predicts what is hidden (``devices``).
    """

    pretraining = False
    several_labels: ClassVar[bool] = True  # an action and a sound, for example
    method, config_type = "fusion", FusionConfig
    network: FusionNetwork
    config: FusionConfig

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder, with the patches of videos where a map of them is asked for."""
        return with_patches(encoder, config.grid if config.block == "deformable" else 0)

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """All blocks of the parts; their presence is not an input of a token."""
        encoder = cls.beside(encoder, config)
        end = parts_of(encoder)[-1].end
        return [
            (start, block)
            for start, block in placed(encoder.frame_blocks)
            if block.kind != PRESENCE and start < end
        ]

    def prepare(self) -> None:
        """Find which inputs belong to which part; the lists have one entry a block of features."""
        self._parts = parts_of(self.source)
        self._unmet = set[int]()  # parts whose directions no clip has given yet
        self._begun = False  # whether the directions are those of a training before
        self._part_of_block = [
            next(n for n, part in enumerate(self._parts) if part.start <= start < part.end)
            for start, _ in self._blocks
        ]
        # Only a block of places (joints, devices) is read as it is, and only as a map. Patches
        # are read along directions that all of them share.
        self._reads_places = [self.config.maps and block.channels > 0 for _, block in self._blocks]
        self._patches = [
            self.config.grid**2 if block.kind == REGIONS else 1 for _, block in self._blocks
        ]
        self._sizes = [
            (size := block_width(block) // patches, size if whole else self.config.components)
            for (_, block), whole, patches in zip(
                self._blocks, self._reads_places, self._patches, strict=True
            )
        ]

    def build(self) -> FusionNetwork:
        """The network at its start."""
        counts = [
            count * patches for (_, count), patches in zip(self._sizes, self._patches, strict=True)
        ]
        ends, parts = np.cumsum([0, *counts]).tolist(), []
        for number, part in enumerate(self._parts):
            blocks = [n for n, owner in enumerate(self._part_of_block) if owner == number]
            first = max(blocks, key=lambda n: self._patches[n])  # patches, else the first block
            patched, grid = self._patches[first] > 1, self.config.grid
            columns = slice(ends[blocks[0]], ends[blocks[-1] + 1])
            channels = self.config.components if patched else self._blocks[first][1].channels
            if not (patched or self._reads_places[first]):
                parts.append(InputsOfPart(part.sensor, columns, part.place, 0, 1))
                continue
            places = counts[first] // channels
            shape = (grid, grid) if patched else rows_and_columns(places, self.config.columns)
            start = ends[first] - columns.start
            parts.append(
                InputsOfPart(part.sensor, columns, part.place, channels, places, start, shape)
            )
        return FusionNetwork(self.config, parts, self.dim, self._sizes)

    @property
    def n_inputs(self) -> int:
        """K + M: what the blocks become, and the presence of the parts."""
        pairs = zip(self._sizes, self._patches, strict=True)
        return sum(count * patches for (_, count), patches in pairs) + len(self._parts)

    def read(self, features: Float32) -> list[Float32]:
        """Blocks (N, T, W) of frame features (N, T, F); patches (N, T, R, W)."""
        rows = zip(super().read(features), self._patches, strict=True)
        return [
            block if patches == 1 else block.reshape(*block.shape[:2], patches, -1)
            for block, patches in rows
        ]

    # Inputs

    def there(self, features: Float32) -> Bools:
        """(N, M) the parts that are there."""
        return there_of(features, placed(self.source.frame_blocks))

    def fit_inputs(self, features: Float32) -> None:
        """Find the directions of each part in the clips that have it.

        A part that no labelled clip has is read along those of the first clips without labels.
        """
        if self._begun:
            return
        self._unmet = set(range(len(self._parts)))
        self._fit(features)

    def begin_with(self, state: Mapping[str, Any]) -> None:
        """Start from weights of a training before, with the directions that it found."""
        self.network.load_state_dict(state, strict=False)
        self._begun = True
        self.refresh()

    def _fit(self, features: Float32) -> None:
        """Directions of the parts that were not met before, and are now."""
        presence = self.there(features)
        met = {number for number in self._unmet if presence[:, number].any()}
        blocks = zip(self.read(features), self._part_of_block, strict=True)
        for number, (rows, part) in enumerate(blocks):
            if part in met:
                self._store(number, rows[presence[:, part]].reshape(-1, rows.shape[-1]))
        self._unmet -= met
        self.refresh()

    def _store(self, number: int, rows: Float32) -> None:
        """Means and directions of a block's rows (n, W); of a block of places its deviations."""
        if self._reads_places[number]:
            mean = rows.mean(axis=0, dtype=np.float64)
            axes = np.diag(1 / np.maximum(rows.std(axis=0, dtype=np.float64), 1e-3))
        else:
            mean, axes = directions(rows, self.config.components)
        self.network.get_buffer(f"mean{number}").copy_(torch.from_numpy(mean))
        self.network.get_buffer(f"axes{number}").copy_(torch.from_numpy(axes))

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K + M); what a part that is missing would give is 0."""
        small = along_directions(self.network, self.read(features))
        presence = self.there(features)
        for number, part in enumerate(self.network.parts):
            small[~presence[:, number], :, part.columns] = 0
        rows = np.repeat(presence[:, None], small.shape[1], axis=1)
        return np.concatenate([small, rows], axis=2, dtype=np.float32)

    # Training

    def training_inputs(self, features: Float32) -> Float32:
        if self._unmet:
            self._fit(np.asarray(features))
        return super().training_inputs(features)

    def training_classes(self, labels: Sequence[str]) -> Any:
        """Texts of the labels (C, P, D), as of any tower.

        Raises:
            SupportError: no clip has a part, so nothing can be learned about it.
        """
        if self._unmet:
            part = self._parts[min(self._unmet)]
            raise SupportError(
                f"no example has the part {part.name!r}; add recordings of it, give clips without "
                "labels that have it, or adapt a bundle without it"
            )
        return super().training_classes(labels)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; only the texts of labels are trained."""
        return fixed_vectors(self.encoder.encode_text(texts))

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines of clips of which some parts are left out, and all losses.

        Args:
            batch: Inputs (N, T, K + M + D) of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        small, pooled = self.split_inputs(batch.inputs)
        chosen = presence = self.network.there(small)
        self.network.block.pretraining = self.pretraining and self.network.training
        if self.network.training and not self.pretraining:
            random = np.random.default_rng(int(torch.randint(2**31, ())))
            chosen = torch.from_numpy(draw(presence.numpy(), random, self.config.drop))
        fused, losses = self.network.fused(small, chosen)
        vectors = F.normalize(
            self.of_parts(pooled[:, 0], chosen) + self.network.moved(fused), dim=-1
        )
        words = self.network.concepts(classes)
        logits = self.logit_scale * vectors @ words.T
        if self.network.training and (self.config.contrast or self.config.prototypes):
            losses = losses | self.network.between_sensors(small, _labels_of(batch))
        loss = logits.sum() * 0.0 if self.pretraining else batch.loss(logits)
        losses["total"] = sum(losses.values(), loss)
        return TrainingOutput(logits, losses, classes=words, vectors=vectors)

    def of_parts(self, pooled: Tensor, kept: Tensor) -> Tensor:
        """Vectors (N, D) of all parts as those of the parts kept (N, M), of unit length."""
        mask = torch.zeros_like(pooled)
        for number, part in enumerate(self.network.parts):
            mask[:, part.place] = kept[:, number : number + 1].to(pooled)
        return F.normalize(pooled * mask, dim=-1)

    # Intervals

    @property
    def answers_intervals(self) -> bool:
        """Whether an interval may be asked of a whole recording (``tim``)."""
        return isinstance(self.network.block, Intervals)

    def interval_vectors(self, features: Float32, intervals: Float32) -> Float32:
        """Vectors (Q, D) of intervals of a recording, to be compared with texts.

        Args:
            features: (S, T, F) of S windows that follow each other and cover the recording.
            intervals: (Q, 2) start and end as shares of it, 0 to 1.

        Raises:
            UsageError: the method has no intervals, or one does not lie in the recording.
        """
        block = self.network.block
        if not isinstance(block, Intervals):
            raise UsageError(
                f"method {self.name!r} answers about whole clips; adapt with 'tim' for intervals"
            )
        spans = np.asarray(intervals, np.float32)
        if (
            spans.ndim != 2
            or spans.shape[1] != 2
            or not ((spans[:, 0] >= 0) & (spans[:, 0] < spans[:, 1]) & (spans[:, 1] <= 1)).all()
        ):
            raise UsageError("an interval is a start and a later end, as shares from 0 to 1")
        with torch.inference_mode():
            fused = self.network.asked(torch.from_numpy(self.small(features)), torch.tensor(spans))
            moved = self.network.moved(fused).numpy()
        pooled = self.pooled(features)
        ends = np.linspace(0, 1, len(features) + 1)
        shared = np.minimum(spans[:, 1:], ends[1:]) - np.maximum(spans[:, :1], ends[:-1])
        return unit(unit(np.maximum(shared, 0) @ pooled) + moved)


def _labels_of(batch: TrainingBatch) -> Tensor:
    """(N,) the label that each clip shows most; -1 without one."""
    y = batch.targets.argmax(dim=1)
    return y if batch.known is None else torch.where(batch.known, y, -1)
