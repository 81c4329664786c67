"""Interface of training to an adapter: named parameters, and one step with named losses.

Letters: N clips, T frames, F and K features of a frame, C labels, D joint width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from vlar.errors import UsageError
from vlar.types import Clip, Float32, JsonDict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.encoders.base import Encoder, Preprocess
    from vlar.training.label_losses import LabelTargets, LabelTask

#: Numbers of texts to unit vectors (n, D), with gradients where the text side is trained.
TextVectors = Callable[[Sequence[int]], "Tensor"]
#: Runs a function on this process's share of the rows of its inputs, and gives the rows of all.
Spreader = Callable[..., "tuple[Tensor, ...]"]


class DrawPixels(Protocol):
    """Frames of a clip as normalised pixels, with the changes that a training draws for the clip.

    The draw is the same in every call, so pictures that belong together stay so.
    """

    def __call__(self, frames: Any, size: Preprocess, colours: bool = True) -> Tensor:
        """Pixels (T, 3, height, width) of frames (T, H, W, 3) uint8.

        Args:
            frames: Pictures of the clip.
            size: Size, mean and deviation.
            colours: Whether colours change too; False for pictures that hold other values.
        """
        ...


@dataclass(frozen=True)
class TrainingBatch:
    """Inputs of one training step.

    Attributes:
        inputs: (N, T, 3, height, width) normalised pixels, or (N, T, K) ``training_inputs`` where
            the adapter ``reads`` features.
        targets: (N, C) float from 0 to 1, the share of each label. One-hot unless labels are
            smoothed, clips are mixed or show several labels. Zero for an unlabelled clip.
        task: Kind of the labels; None means one label a clip.
        parts: (N, K) targets by part of a label (verb, object), where labels have parts.
        known: (N,) bool, False for an unlabelled clip; None where all clips are labelled.
        views: Other views of the same clips by name, each like ``inputs``, as objectives ask for.
        rows: Numbers of the labelled clips in the training set; of all where none is labelled.
        facts: Facts of the support set about each of the N clips: ``subject``, ``text``, ...
        free_rows: Numbers of the unlabelled clips among the unlabelled ones.
        spreader: Division of the work of a step between several processes; None in one process.
        shown: Columns of ``targets`` that are not all 0, which the host keeps; None if unknown.
    """

    inputs: Tensor
    targets: Tensor
    task: LabelTask | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    known: Tensor | None = None
    views: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    rows: Sequence[int] = ()
    facts: Sequence[Mapping[str, str]] = ()
    free_rows: Sequence[int] = ()
    spreader: Spreader | None = None
    shown: Sequence[int] | None = None

    def spread(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Result of a function for every clip; each process computes its share of the clips.

        A method puts the costly part of a step, which treats each clip for itself, through this.
        Later code (losses, draws) runs in every process on all clips of the batch, so it is the
        same as in one process. A method that does not use it is right as well, but no faster: each
        process then computes all clips.

        Args:
            function: Takes the rows (n, ...) of some clips and gives (n, ...).
            inputs: (N, ...), one row a clip.

        Returns:
            (N, ...), with gradients.
        """
        if self.spreader is None:
            return function(*inputs)

        def alone(*some: Tensor) -> tuple[Tensor, ...]:
            return (function(*some),)

        return self.spreader(alone, *inputs)[0]

    def spread_all(
        self, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """``spread`` of a function that gives several tensors, each (n, ...)."""
        return function(*inputs) if self.spreader is None else self.spreader(function, *inputs)

    def labelled(self, tensor: Tensor) -> Tensor:
        """The rows (n, ...) of (N, ...) that belong to labelled clips."""
        return tensor if self.known is None else tensor[self.known.to(tensor.device)]

    def loss(self, logits: Tensor, parts: Mapping[str, Tensor] | None = None) -> Tensor:
        """The supervised loss of the task over the labelled clips; 0 where there are none.

        Args:
            logits: (N, C).
            parts: (N, K) logits by part, from methods that have them.
        """
        logits = self.labelled(logits)
        if not len(logits):
            return logits.sum()
        of_parts = {p: self.labelled(t) for p, t in (parts or {}).items()}
        return self._task.loss(logits, self._known_targets(), of_parts)

    def metrics(
        self, logits: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Sums of the task's metrics over the labelled clips; arguments as in ``loss``."""
        of_parts = {p: self.labelled(t) for p, t in (parts or {}).items()}
        return self._task.metrics(self.labelled(logits), self._known_targets(), of_parts)

    @property
    def _task(self) -> LabelTask:
        from vlar.training.label_losses import OneLabel

        return self.task or OneLabel()

    def _known_targets(self) -> LabelTargets:
        from vlar.training.label_losses import LabelTargets

        return LabelTargets(
            self.labelled(self.targets), {p: self.labelled(t) for p, t in self.parts.items()}
        )

    def unlabelled(self, inputs: Tensor) -> TrainingBatch:
        """Other clips with the same labels to choose from, but without targets."""
        targets = self.targets.new_zeros(len(inputs), self.targets.shape[1])
        is_known = targets.new_zeros(len(inputs)).bool()
        return replace(
            self,
            inputs=inputs,
            targets=targets,
            known=is_known,
            parts={},
            views={},
            rows=(),
            facts=(),
            free_rows=(),
            shown=(),
        )


@dataclass(frozen=True)
class TrainingOutput:
    """Outputs of one training step.

    Attributes:
        logits: (N, C), scaled similarity of clips and labels.
        losses: Scalars with gradients by name. ``total`` is minimised; the others are its terms
            and are only reported.
        frames: (N, T, D) features of the frames, not normalised, where the method has any. A
            method that wraps another one (distillation) reads them.
        classes: (C, D) vectors of the labels, or (N, C, D) where each clip has its own; likewise.
        vectors: (N, D) vectors of the clips, of unit length; objectives compare them.
        parts: (N, K) logits by part of a label, where the method has them.
    """

    logits: Tensor
    losses: Mapping[str, Tensor]
    frames: Tensor | None = None
    classes: Tensor | None = None
    vectors: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])


class Trainable(ABC):
    """The training side of an adapter.

    Attributes:
        reads: What a batch holds: ``pixels``, or the wrapped encoder's frame ``features``, which
            are computed once and cached.
        label_parts: Parts that every label must have, such as ``("verb", "object")``.
        input_widths: Widths of the leading parts of ``training_inputs`` that a training may set to
            zero one at a time; none by default.
        several_labels: Whether clips that show several labels at once can train it to a model of
            its own: one that answers about any labels, without a head of examples.
        recomputes: Whether its towers can be trained without keeping the insides of their blocks
            (``gradient_checkpointing``).
    """

    reads: Literal["pixels", "features"] = "pixels"
    label_parts: ClassVar[tuple[str, ...]] = ()
    input_widths: Sequence[int] = ()
    several_labels: ClassVar[bool] = False
    recomputes: bool = False

    @classmethod
    def reading(cls, encoder: Encoder, settings: JsonDict) -> Encoder:
        """The encoder whose frame features a training reads; the wrapped one by default."""
        return encoder

    @classmethod
    def variants(cls, settings: JsonDict) -> list[JsonDict]:
        """Settings that held-out examples choose between; by default those that are given."""
        return [settings]

    @abstractmethod
    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained.

        Call ``training_classes`` before it, which may build parts for the labels, and ``refresh``
        when the training is over.
        """

    @abstractmethod
    def training_classes(self, labels: Sequence[str]) -> Any:
        """Constants of every step for C labels: token ids, for example."""

    def read_label_parts(self, parts: Sequence[Mapping[str, str]], counts: Sequence[int]) -> None:
        """Read what the labels are made of; called before ``training_classes``.

        Args:
            parts: C mappings such as ``{"verb": "open", "object": "door"}``; empty mappings for
                plain labels.
            counts: C numbers of clips of the training set that show each label.
        """
        del parts, counts

    def clip_inputs(self, clip: Clip, draw: DrawPixels) -> Tensor | None:
        """Inputs (T, K) of one clip, where a step reads more or other than the encoder's pixels.

        Args:
            clip: As the adapter wants it sampled.
            draw: Makes pixels of its frames.

        Returns:
            None for the pixels alone.
        """
        del clip, draw
        return None

    @property
    def wrapped(self) -> Encoder:
        """The encoder that the adapter wraps."""
        wrapper: Any = self  # every Trainable is an adapter
        return wrapper.encoder

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Texts as the method reads them in training, for objectives that compare clips with texts.

        Returns:
            Numbers of some of them to their vectors (m, D) of unit length.

        Raises:
            UsageError: the method has no such texts.
        """
        raise UsageError(
            f"method {type(self).__name__} reads labels only, and this objective compares clips "
            f"with other texts too ({len(texts)} of them); train 'temporal', 'lora' or 'tuned'"
        )

    @abstractmethod
    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Logits and losses of a batch.

        A method whose loss is that of the task takes ``batch.loss(logits)``. Losses leave out
        clips that are not ``batch.known``; logits cover all clips.
        """

    def fit_inputs(self, features: Float32) -> None:
        """Read the training set once, before ``training_inputs``: to standardise, for example.

        Args:
            features: (N, T, F) frame features; only where ``reads`` is ``features``.
        """
        del features

    def training_inputs(self, features: Float32) -> Float32:
        """Inputs of a batch from frame features (N, T, F); computed once a clip and cached.

        Returns:
            (N, T, K) float32, by default the features themselves. Clips may be mixed and their
            frames moved in time afterwards.
        """
        return features


def drawn_once() -> AbstractContextManager[Any]:
    """Context in which a draw holds for all clips of a batch, such as the dropout of a prompt.

    Only for draws inside a function that is spread (``TrainingBatch.spread``).
    """
    from torch.utils import _python_dispatch

    return _python_dispatch._disable_current_modes()  # pyright: ignore[reportPrivateUsage]


def fixed_vectors(vectors: Float32) -> TextVectors:
    """``text_vectors`` of a method whose texts are not trained: rows of a table (n, D)."""
    import torch

    table = torch.from_numpy(vectors)
    return lambda rows: table[list(rows)]
