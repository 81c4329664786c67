"""``lora``: low-rank changes of the towers, behind the encoder contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.encoders.session import Session
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.methods.lora.towers import LoraConfig, LoraTowers
from vlar.registry import register
from vlar.training.clip_adapter import (
    ClassStrings,
    ClipAdapter,
    mean_vector,
    shared_class_vectors,
    unit_vectors,
)
from vlar.training.trainable import TextVectors, TrainingBatch, TrainingOutput, fixed_vectors
from vlar.types import Clip, Encoded, Float32, Role

T = TypeVar("T")


@register("adapter", "lora", status="reproduced")
class Lora(ClipAdapter):
    """Frozen towers with low-rank changes; each frame is encoded alone, as in the encoder.

    Encoding uses a copy of the model with the changes merged, so it costs what the encoder costs.

    Reference: Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, arXiv
    2106.09685.
    Example: ``vlar adapt support/ --model clip --out mine --method lora``.

    Attributes:
        changed: The towers with their changes, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks", "fixed_text")
    method, config_type = "lora", LoraConfig
    file = "adapter_model.safetensors"
    recomputes = True
    changed: LoraTowers
    config: LoraConfig

    def _build(self) -> None:
        """Changes that start with effect 0."""
        self.changed = LoraTowers(self.base.towers, self.config)
        self.templates = self.base.templates

    def _parts(self) -> nn.Module:
        """The low-rank changes."""
        return self.changed.own

    def _log_scale(self) -> Tensor:
        return self.base.towers.log_scale()

    def saved_state(self) -> dict[str, Float32]:
        """The changes by peft's names."""
        return {self.changed.peft_name(name): array for name, array in self.state_dict().items()}

    def write_settings(self, folder: Path) -> None:
        """Write ``adapter_config.json``, with which the folder is one of peft's."""
        kind, _, base = self.encoder.name.partition(":")
        settings = self.changed.peft_config()
        settings.base_model_name_or_path = base.partition("?")[0] if kind == "hf" else base
        settings.inference_mode = True
        settings.save_pretrained(str(folder))

    def check_state(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a state that is not of these changes, by peft's names or by those of before."""
        super().check_state(self._own_names(shapes))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` or ``saved_state`` returned."""
        super().load_state_dict(self._own_names(state))

    def _own_names(self, state: Mapping[str, T]) -> dict[str, T]:
        own = {self.changed.peft_name(name): name for name in self.module.state_dict()}
        return {own.get(name, name): value for name, value in state.items()}

    def refresh(self) -> None:
        """Clear the merged copy and compute the fingerprint."""
        self._merged: TorchEncoder | None = None
        super().refresh()

    @property
    def merged(self) -> TorchEncoder:
        """The encoder on a copy of its model with the changes added to the weights."""
        if self._merged is None:
            self._merged = TorchEncoder(self.changed.merged(), self.name, n_frames=self.n_frames)
        return self._merged

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Encode clips by the merged encoder."""
        return self.merged.encode(clips)

    def session(self, *, features: bool = True) -> Session:
        """Start a session of the merged encoder."""
        return self.merged.session(features=features)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, None]:
        return self.changed.image(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]), None

    def pool(self, features: Float32) -> Float32:
        """Pool by the encoder."""
        return self.base.pool(features)

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length."""
        return self.merged.encode_text(texts, role)

    def training_classes(self, labels: Sequence[str]) -> ClassStrings:
        """The labels in the encoder's templates; as vectors where the text tower stays frozen."""
        strings = ClassStrings.of(labels, self.templates, self.base.token_ids)
        if self.config.trains("text"):
            return strings
        with torch.no_grad():
            ids = strings.ids.to(self.base.towers.device)
            return replace(strings, vectors=unit_vectors(self.base.towers.text, ids))

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; once where the text tower stays frozen."""
        if not self.config.trains("text"):
            return fixed_vectors(self.base.encode_text(texts))
        ids = self.base.token_ids(list(texts))
        return lambda rows: unit_vectors(self.changed.text, ids[list(rows)][None])[0]

    def training_step(self, batch: TrainingBatch, classes: ClassStrings) -> TrainingOutput:
        """The loss of the task on scaled cosines; a trained text tower reads one template."""
        self.changed.train(torch.is_grad_enabled())
        towers = self.base.towers
        pixels = batch.inputs.to(towers.device, towers.dtype)
        frames = batch.spread(self._frames_alone, pixels)
        words = self._vectors(batch, classes)
        with torch.autocast(frames.device.type, enabled=False):
            vectors = F.normalize(frames.float().mean(dim=1), dim=-1)
            logits = towers.log_scale().float().exp() * vectors @ words.t()
        loss = batch.loss(logits)
        return TrainingOutput(logits, {"total": loss, "ce": loss}, frames, words, vectors)

    def _frames_alone(self, pixels: Tensor) -> Tensor:
        return self._frames(pixels)[0]

    def _vectors(self, batch: TrainingBatch, classes: ClassStrings) -> Tensor:
        if classes.vectors is None:
            return shared_class_vectors(batch, self.changed.text, classes.drawn().chosen)
        vectors = classes.vectors
        return mean_vector(vectors if classes.rows is None else vectors[list(classes.rows)])
