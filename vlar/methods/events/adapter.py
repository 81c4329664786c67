"""``event-tower``: towers on what an event camera gives, behind the encoder contract."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.errors import ModelError
from vlar.methods.events.network import EventsConfig, EventsNetwork
from vlar.methods.events.points import grouped
from vlar.methods.events.representations import frames, points
from vlar.registry import register
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Clip, Float32

_VERSION = 1  # of the rows; increase it with every change
_SEED = 0  # of the points of a clip


class EventRows(Beside):
    """An encoder of events with their frames or points next to its features.

    A base encoder has few rows; points are folded into them.
    """

    def __init__(self, encoder: Encoder, config: EventsConfig) -> None:
        self.config, self.count = config, encoder.feature_rows
        self.points = -(-config.points // self.count) * self.count
        self.width = 4 * self.points // self.count if config.rep == "points" else 2 * config.size**2
        # The width alone distinguishes inputs of a training from features (``inputs_of``).
        spare = int(encoder.dim == encoder.frame_dim)
        made_by = f"events {_VERSION} {config.rep} {config.size} {config.points}"
        super().__init__(encoder, [FrameBlock(config.rep, self.width + spare, "events")], made_by)

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """(T, W) counts or points of the clip's events; zero without any."""
        wide = np.zeros((len(features), self.frame_blocks[-1].width), np.float32)
        if len(clip.data):
            wide[:, : self.width] = self._made(clip, len(features)).reshape(len(features), -1)
        return wide

    def _made(self, clip: Clip, count: int) -> Float32:
        height, width = clip.meta["size"]
        if self.config.rep == "points":
            # Even ranks keep how dense events are, which farthest-point sampling would level.
            order = np.lexsort([clip.data[name] for name in ("p", "x", "y", "t")])
            ranks = np.arange(self.points) * len(order) // self.points
            return points(clip.data[order[ranks]], self.points, _SEED, size=(height, width))
        side, events = self.config.size, clip.data.copy()
        events["x"] = events["x"].astype(np.int64) * side // width
        events["y"] = events["y"].astype(np.int64) * side // height
        return frames(events, count, size=(side, side))


@register("adapter", "event-tower", status="in the spirit")
class Events(ResidualTower):
    """A network on frames or points of events; spikes, scans and attention are settings.

    Example: ``vlar adapt events/ --model events --out mine --method event-tower``.
    """

    method, config_type = "event-tower", EventsConfig
    contract_base: ClassVar[str | None] = None
    network: EventsNetwork
    config: EventsConfig
    source: EventRows  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        """The settings; only encoders of event cameras are taken.

        Raises:
            ModelError: the encoder reads another sensor.
        """
        if encoder.modality != "events":
            raise ModelError(
                f"method {cls.method!r} reads event cameras, and encoder {encoder.name!r} reads "
                f"{encoder.modality!r}; use --model events"
            )
        return config

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder with the events themselves."""
        return EventRows(encoder, config)

    def build(self) -> EventsNetwork:
        """The network at its start."""
        return EventsNetwork(self.config, self.dim)

    def fit_inputs(self, features: Float32) -> None:
        """Events are read as they are; each clip is normalised by itself."""

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to frames (N, T, 2 S S), or to groups of points (N, M, 4 K + 3)."""
        start = self.encoder.frame_dim
        rows = features[..., start : start + self.source.width]
        if self.config.rep != "points":
            return rows
        clips = rows.reshape(len(rows), -1, 4)
        config = self.config
        return np.stack([grouped(clip, config.groups, config.neighbours) for clip in clips])

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines, the loss of the task, and the features of the frames."""
        small, pooled = self.split_inputs(batch.inputs)
        moved, hidden = self.network.read(small)
        vectors = torch.nn.functional.normalize(pooled[:, 0] + moved, dim=-1)
        words = self.network.concepts(classes)
        logits = self.logit_scale * vectors @ words.T
        losses = {"total": batch.loss(logits)}
        return TrainingOutput(logits, losses, frames=hidden, classes=words, vectors=vectors)

    def spikes(self, features: Float32) -> Tensor:
        """(N,) counted spikes of clips with features (N, T, F)."""
        return self.network.spikes(torch.from_numpy(self.small(features)))
