"""Patch tokens: the interface of an encoder that can distinguish the parts of a frame.

``PatchTokens`` is a second base of encoders. ``WithRegions`` wraps one: the vectors of the parts of
every frame follow its frame features, so that they are computed and cached with them.

Letters: N clips, T frames, R parts of a frame (rows times columns), F width of a frame's features,
D width of the shared space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.errors import UsageError
from vlar.types import Clip, Float32, UInt8

Pair = tuple[str, str]


class ComposedLabels(ABC):
    """A second base of encoders whose ``encode`` gives context tokens that pairs are scored by.

    Attributes:
        verbs: V verbs it was trained on, as the user spells them.
        objects: O objects, likewise.
        pair_scale: Factor from the similarity of a pair to a logit.
    """

    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    pair_scale: float

    @abstractmethod
    def context(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to context tokens (N, k, E) float32."""

    @abstractmethod
    def pair_similarity(self, context: np.ndarray, pairs: Sequence[Pair]) -> Float32:
        """Similarities of pairs to each clip, whether or not training has shown them.

        Args:
            context: (N, k, E) float16 or float32, ``Encoded.context`` of N clips.
            pairs: P pairs ``(verb, object)``; words of others than ``verbs`` and ``objects`` go by
                their text.

        Returns:
            (N, P) float32 from -1 to 1. Times ``pair_scale`` they are logits.
        """


class Sizes(ABC):
    """A second base of encoders that can read frames at other sizes.

    Attributes:
        size_step: Pixels that a side is a multiple of; 0 where this one has a single size.
    """

    size_step: int = 0

    @abstractmethod
    def resized(self, height: int, width: int) -> Encoder:
        """The same encoder for frames of another size.

        Args:
            height: Pixels, a multiple of ``size_step``.
            width: Pixels, likewise.

        Raises:
            UsageError: a side is not a multiple of ``size_step``, or is below it.
        """


def check_size(name: str, step: int, height: int, width: int) -> None:
    """Refuse a size that an encoder cannot be brought to.

    Args:
        name: Name of the encoder.
        step: Its ``size_step``.
        height: Pixels.
        width: Pixels.

    Raises:
        UsageError: it has a single size, or a side is not a multiple of the step.
    """
    if not step:
        raise UsageError(f"encoder {name!r} has a single size; use openclip: or lite-objects")
    if min(height, width) < step or height % step or width % step:
        raise UsageError(
            f"{name} reads frames whose sides are multiples of {step} pixels, got {height} x "
            f"{width}; choose {max(height // step, 1) * step}"
        )


class ConditionedText(ABC):
    """A second base of encoders whose ``encode`` gives context tokens, which change the texts."""

    @abstractmethod
    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts given the context of each clip.

        Args:
            texts: C texts; the part that no clip changes is computed once per list and cached.
            context: (N, k, E) float16 or float32, ``Encoded.context`` of N clips.

        Returns:
            (N, C, D) float32 of unit length.
        """


@runtime_checkable
class DescribedText(Protocol):
    """An encoder that pools descriptions in a way of its own.

    Other encoders mix them by ``Encoder.descriptions``.
    """

    def encode_described(self, texts: Sequence[str], described: Sequence[Sequence[str]]) -> Float32:
        """Vectors (C, D) of labels, float32 of unit length.

        Args:
            texts: C label texts, without templates.
            described: C lists of descriptions; a label with none goes by its text.
        """
        ...


@runtime_checkable
class IntervalAnswers(Protocol):
    """An encoder that may answer about an interval of a recording, given all of it.

    Attributes:
        answers_intervals: Whether it does; else an interval is cut out of the recording.
    """

    answers_intervals: bool

    def interval_vectors(self, features: Float32, intervals: Float32) -> Float32:
        """Vectors (Q, D) of intervals, to be compared with texts.

        Args:
            features: (S, T, F) of S windows that follow each other and cover the recording.
            intervals: (Q, 2) start and end as shares of it, 0 to 1.

        Raises:
            UsageError: an interval does not lie in the recording, or only whole clips are answered.
        """
        ...


REGIONS = "regions"  # name and kind of the block that holds them


class PatchTokens(ABC):
    """A second base of encoders whose picture tower keeps the places of what it finds."""

    @property
    def has_patches(self) -> bool:
        """Whether this one does."""
        return True

    @abstractmethod
    def encode_regions(self, frames: UInt8, rows: int, columns: int) -> Float32:
        """Parts of frames in the shared space.

        Args:
            frames: (T, H, W, 3) uint8 RGB.
            rows: Parts from top to bottom.
            columns: Parts from left to right.

        Returns:
            (T, R, D) float32 of unit length, row by row; a row of features that covers several
                frames has its parts once. Blocks of the space that a part of a
                picture cannot give (such as body motion) are zero.
        """


class WithRegions(Beside):
    """An encoder whose frame features end with the vectors of the frame's parts.

    Its vectors and texts are those of the wrapped encoder.

    Args:
        encoder: Offers ``PatchTokens``.
        rows: Parts from top to bottom.
        columns: Parts from left to right.

    Raises:
        UsageError: the encoder has no patch tokens.
    """

    def __init__(self, encoder: Encoder, rows: int, columns: int) -> None:
        if not isinstance(encoder, PatchTokens) or not encoder.has_patches:
            raise UsageError(
                f"encoder {encoder.name!r} has no patch tokens, so it cannot tell the parts of a "
                "frame apart; use lite or a CLIP with a plain ViT"
            )
        self.grid = rows, columns
        self._patches: PatchTokens = encoder
        block = FrameBlock(REGIONS, rows * columns * encoder.dim, REGIONS)
        super().__init__(encoder, [block], f"regions {rows} {columns}")

    def cost(self, shape: Sequence[int]) -> int:
        """Multiply-adds of one clip: the tower runs a second time for the parts."""
        return 2 * self.encoder.cost(shape)

    def rows(self, clip: Clip, features: Float32) -> Float32:
        regions = self._patches.encode_regions(clip.data, *self.grid)
        return regions.reshape(len(features), -1)

    def split(self, features: Float32) -> tuple[Float32, Float32]:
        frame_rows, regions = super().split(features)
        return frame_rows, regions.reshape(*regions.shape[:2], -1, self.dim)
