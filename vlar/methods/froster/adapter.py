"""FROSTER behind the encoder contract: ``froster:FILE``, or wrapped around another adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar import registry
from vlar.adapters.base import Adapter, conditions_text
from vlar.adapters.settings import Settings, setting
from vlar.adapters.views import require_blocks
from vlar.encoders.base import Encoder
from vlar.encoders.beside import copy_attributes
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.session import Session
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.methods.froster.checkpoint import load
from vlar.registry import register
from vlar.training.clip_adapter import ClassStrings, mean_vector, unit_vectors
from vlar.training.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.types import Clip, Encoded, Float32, JsonDict, Role

DISTANCES = ("cosine", "l2")
_STRINGS = 256  # strings the teacher reads at a time


@dataclass(frozen=True)
class FrosterConfig(Settings):
    """Distillation of a student from the frozen encoder (ICLR 2024, arXiv 2402.03241).

    Attributes:
        student: Name of the adapter that is trained; ``tuned`` is the paper's.
        student_settings: Its settings; empty means its defaults.
        distance: Between projected student and teacher: ``cosine`` (1 - cosine, the released code
            since November 2024) or ``l2`` (length of the difference, as published).
        weight: Factor on the two distillation terms, next to the student's own loss.
        alpha: Share of the projectors' branch that is added to the identity.
    """

    student: str = "tuned"
    student_settings: JsonDict = field(default_factory=dict)
    distance: str = setting("cosine", choices=DISTANCES)
    weight: float = setting(2.0, at_least=0)
    alpha: float = 0.1

    what: ClassVar[str] = "FROSTER setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.student == "froster":
            raise ModelError(f"{self.what} student is 'froster'; name what it is wrapped around")


def feature_distance(student: Tensor, teacher: Tensor, kind: str) -> Tensor:
    """Mean distance of a student's features from the teacher's (FROSTER, arXiv 2402.03241).

    The gradient stops at the teacher. Computed in float32.

    Args:
        student: (..., E).
        teacher: (..., E) of unit length; broadcast against the student's.
        kind: ``cosine`` (1 - cosine) or ``l2`` (length of the difference).
    """
    student, teacher = student.float(), teacher.detach().float()
    if kind == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=-1).mean()
    # Where they are equal, as at the start, this norm has the gradient 0.
    return torch.linalg.vector_norm(student - teacher, dim=-1).mean()


class Projector(nn.Module):
    """``x + alpha * fc2(GELU(fc1(x)))``: the identity at the start.

    The student may differ from the teacher by what the branch can undo.
    """

    def __init__(self, width: int, alpha: float) -> None:
        """E, and the share of the branch."""
        super().__init__()
        self.alpha = alpha
        self.fc1 = nn.Linear(width, width, bias=False)
        self.fc2 = nn.Linear(width, width, bias=False)
        nn.init.kaiming_normal_(self.fc1.weight)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E); not normalised."""
        return x + self.alpha * self.fc2(F.gelu(self.fc1(x)))


class Projectors(nn.Module):
    """One for frames, one for classes; used in training only."""

    def __init__(self, width: int, alpha: float) -> None:
        """E, and the share of their branches."""
        super().__init__()
        self.vision = Projector(width, alpha)
        self.text = Projector(width, alpha)


def projected_distance(projector: Projector, student: Tensor, teacher: Tensor, kind: str) -> Tensor:
    """Mean distance of a student's projected unit vectors from the teacher's.

    It is computed in float32. The gradient stops at the teacher.

    Args:
        projector: Projector of this modality.
        student: (..., E), of any length.
        teacher: (..., E) of unit length; broadcast against the student's.
        kind: The same as in ``feature_distance``.
    """
    with torch.autocast(student.device.type, enabled=False):
        projected = projector(F.normalize(student.float(), dim=-1))
        return feature_distance(projected, teacher, kind)


@dataclass(frozen=True)
class FrosterClasses:
    """C labels for the student and the teacher.

    Attributes:
        student: From the student's ``training_classes``.
        teacher: (P, C, D) unit vectors of the strings, made once; the teacher never changes.
    """

    student: Any
    teacher: Tensor


@register("adapter", "froster", status="reproduced")
class Froster(Adapter, Trainable):
    """A student trained on video while a frozen, frame-wise teacher holds its features near.

    After training it is the student: teacher and projectors are not used.

    Reference: Huang et al., "FROSTER: frozen CLIP is a strong teacher for open-vocabulary action
    recognition", ICLR 2024, arXiv 2402.03241.
    Example: ``vlar adapt support/ --model clip --out mine --method froster``.

    Attributes:
        encoder: The teacher.
        student: The adapter that is trained, on the same encoder.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    changes = frozenset({"n_frames", "templates", "max_tokens", "logit_scale"})
    method, config_type = "froster", FrosterConfig
    student: Adapter
    config: FrosterConfig

    def __init__(self, encoder: TorchEncoder, config: FrosterConfig, name: str = "froster") -> None:
        """Use ``attach`` or ``from_spec``, which chooses the class that suits the student."""
        self.encoder, self.config, self.name = encoder, config, name
        part = registry.get("adapter", config.student)
        student: Adapter = part.attach(encoder, config.student_settings or None)
        self.student, self._trained = student, _trainable(student, config.student)
        self.recomputes = self._trained.recomputes
        self.projectors = Projectors(encoder.dim, config.alpha)
        self.projectors.to(encoder.towers.device).requires_grad_(False)  # always in float32
        copy_attributes(self, student)
        self.name = name
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Froster:
        """A student at its start, and the encoder as its teacher.

        Raises:
            UnknownNameError: no adapter is called like the student.
            ModelError: the encoder has no towers of torch, or the student cannot work on it.
        """
        config = FrosterConfig.from_dict(settings or {})
        kind = Froster
        if issubclass(registry.get("adapter", config.student), ConditionedText):
            kind = ConditionedFroster
        return kind(require_blocks(encoder, "froster"), config)

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """Check the settings, and those of the student."""
        config = FrosterConfig.from_dict(settings)
        registry.get("adapter", config.student).check_settings(config.student_settings)

    @classmethod
    def from_spec(cls, argument: str) -> Froster:
        """Load a checkpoint of the original.

        Args:
            argument: ``FILE``. Options follow a ``?``: ``base=openclip:...`` is the CLIP it was
                trained from (default: the teacher in the file, else OpenAI's of the same shape),
                ``ensemble=0.7`` the weight of the fine-tuned against the base weights, ``radius=1``
                the neighbours a frame attends to (the file does not state them),
                ``distance=l2|cosine`` and ``prompts=froster|NAME`` as in the settings.

        Raises:
            ModelError: the file is not such a checkpoint, holds anything but data, or does not
                fit the base.
        """
        encoder, settings, state = load(argument)
        adapter = cls.attach(encoder, settings)
        adapter.name = f"froster:{argument}"
        fresh = adapter.projectors.state_dict(prefix="projectors.")  # the file may lack them
        adapter.load_state_dict({**fresh, **state})
        return adapter

    @property
    def settings(self) -> JsonDict:
        """The configuration, the student's in full."""
        return {**self.config.to_dict(), "student_settings": self.student.settings}

    @property
    def module(self) -> nn.Module:
        """The student's parameters and the projectors."""
        return nn.ModuleDict({"student": self.student.module, "projectors": self.projectors})

    def refresh(self) -> None:
        """Refresh the student; a vector is its own, so is the fingerprint."""
        self.student.refresh()
        self.logit_scale, self.fingerprint = self.student.logit_scale, self.student.fingerprint

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Encode clips by the student."""
        return self.student.encode(clips)

    def session(self, *, features: bool = True) -> Session:
        """Start a session of the student."""
        return self.student.session(features=features)

    def pool(self, features: Float32) -> Float32:
        """Pool by the student."""
        return self.student.pool(features)

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Encode texts by the student."""
        return self.student.encode_text(texts, role)

    def count_tokens(self, text: str) -> int:
        """Count tokens by the student."""
        return self.student.count_tokens(text)

    @property
    def reference(self) -> Encoder:
        """Reference encoder of the student."""
        return self.student.reference

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """The student's parameters and those of the projectors."""
        parameters = [(f"student.{name}", p) for name, p in self._trained.trainable()]
        self.projectors.requires_grad_(True)
        projectors = self.projectors.named_parameters()
        return parameters + [(f"projectors.{name}", p) for name, p in projectors]

    def training_classes(self, labels: Sequence[str]) -> FrosterClasses:
        """The student's classes, and the teacher's vectors of the strings the student reads."""
        student = self._trained.training_classes(labels)
        strings = student
        if not isinstance(strings, ClassStrings):
            # What the student makes of a label, TC-CLIP's prompt for example, the teacher reads.
            token_ids = getattr(self.student, "token_ids", self._teacher.token_ids)
            strings = ClassStrings.of(labels, self.student.templates, token_ids)
        return FrosterClasses(student, self.teacher_vectors(strings))

    def teacher_vectors(self, strings: ClassStrings) -> Tensor:
        """Vector of each string from the teacher: (P, C, D) of unit length."""
        with torch.no_grad():
            towers, step = self._teacher.towers, max(1, _STRINGS // max(1, strings.ids.shape[1]))
            ids = strings.ids.to(towers.device)
            parts = [unit_vectors(towers.text, part) for part in ids.split(step)]
            return torch.cat(parts)

    def training_step(self, batch: TrainingBatch, classes: FrosterClasses) -> TrainingOutput:
        """The student's step, and how far its frames and classes are from the teacher's."""
        student, strings = classes.student, classes.teacher
        if isinstance(student, ClassStrings):
            student = student.drawn()
            strings = strings[list(student.rows or ())]
        out = self._trained.training_step(batch, student)
        if out.frames is None or out.classes is None:
            raise ModelError(
                f"adapter {self.config.student!r} gives no features of frames and labels in "
                "training, which FROSTER compares; use for example student = 'tuned'"
            )
        towers = self._teacher.towers
        pixels = batch.inputs.to(towers.device, towers.dtype)
        with torch.no_grad():
            frames = batch.spread(partial(_each_frame, towers.image), pixels)
            frames = F.normalize(frames.float(), dim=-1)
        kind = self.config.distance
        vision = projected_distance(self.projectors.vision, out.frames, frames, kind)
        text = projected_distance(self.projectors.text, out.classes, mean_vector(strings), kind)
        total = out.losses["total"] + self.config.weight * (vision + text)
        terms = {"total": total, "distill_vision": vision, "distill_text": text}
        return replace(out, losses={**out.losses, **terms})

    @property
    def _teacher(self) -> TorchEncoder:
        assert isinstance(self.encoder, TorchEncoder)
        return self.encoder


def _each_frame(image: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """(N, T, 3, height, width) to (N, T, D)."""
    return image(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])


def _trainable(student: Adapter, name: str) -> Trainable:
    if isinstance(student, Trainable) and student.reads == "pixels":
        return student
    raise ModelError(
        f"FROSTER cannot train adapter {name!r}: it has no training, or does not read pixels; use "
        "for example student = 'tuned'"
    )


class ConditionedFroster(Froster, ConditionedText):
    """FROSTER around a student whose text depends on the video."""

    @property
    def _conditioned(self) -> ConditionedText:
        student = conditions_text(self.student)
        assert student is not None
        return student

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Condition texts by the student."""
        return self._conditioned.conditioned_text(texts, context)
