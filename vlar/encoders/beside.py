"""Encoders made of another one: what every wrapper shares, and features next to the encoder's own.

Letters: N clips, T rows of the features of a clip, F their width, W width of what is added, D width
of the shared space, C texts.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.session import Session
from vlar.types import Clip, Encoded, Float32, Role, Sampling

#: Attributes of an encoder; a new one of ``Encoder`` is copied by every wrapper without an edit.
ATTRIBUTES = tuple(
    name
    for name, hint in inspect.get_annotations(Encoder).items()
    if not str(hint).startswith("ClassVar")
)


def copy_attributes(wrapper: Encoder, encoder: Encoder) -> None:
    """Copy all that an encoder states about itself: sizes, sampling, blocks, texts, licence.

    A wrapper calls it first, and then sets what it changes.

    Args:
        wrapper: Is changed.
        encoder: What it wraps.
    """
    for name in ATTRIBUTES:
        if hasattr(encoder, name):  # one that its method computes later is not there yet
            setattr(wrapper, name, getattr(encoder, name))


class Wrapper(Encoder):
    """An encoder made of another one; what it does not override is that encoder's answer.

    Attributes:
        encoder: What it wraps.
    """

    encoder: Encoder

    @property
    def sampling(self) -> Sampling:
        """Sampling of the wrapped encoder, with the frames of this one."""
        return replace(self.encoder.sampling, n_frames=self.n_frames)

    @property
    def feature_rows(self) -> int:
        same = self.n_frames == self.encoder.n_frames
        return self.encoder.feature_rows if same else super().feature_rows

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self.encoder.encode(clips)

    def pool(self, features: Float32) -> Float32:
        return self.encoder.pool(features)

    def inputs(self, names: Collection[str]) -> frozenset[str]:
        return self.encoder.inputs(names)

    def cost(self, shape: Sequence[int]) -> int:
        return self.encoder.cost(shape)

    def operations(self, clip: Clip) -> int | None:
        counted = type(self).cost is Wrapper.cost
        return self.encoder.operations(clip) if counted else super().operations(clip)

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        return self.encoder.encode_in_role(texts, role)

    def count_tokens(self, text: str) -> int:
        return self.encoder.count_tokens(text)


class Beside(Wrapper):
    """The base of encoders whose frame features are another's, followed by some of their own.

    Vectors and texts stay those of the wrapped encoder, so a tower (``vlar.training.towers``) can
    read what that encoder leaves out: all joints of several people with a mask, parts of frames,
    frames with something drawn into them. The features are computed and cached with the encoder's.

    A subclass names its blocks and writes ``rows``::

        class AllJoints(Beside):
            def __init__(self, encoder: Encoder, people: int) -> None:
                width = people * JOINTS * 3
                super().__init__(encoder, [FrameBlock("joints", width, "joints")], f"{people}")

            def rows(self, clip: Clip, features: Float32) -> Float32:
                return padded(clip.data, len(features), self.frame_blocks[-1].width)

    Args:
        encoder: What it wraps.
        blocks: What is added to its frame features, in order; without any it is that encoder.
        made_by: All that the added features depend on, next to the encoder; in the fingerprint.
    """

    def __init__(self, encoder: Encoder, blocks: Sequence[FrameBlock], made_by: str) -> None:
        self.encoder = encoder
        copy_attributes(self, encoder)
        self._adds = bool(blocks)
        if blocks:
            self.frame_blocks = (*encoder.frame_blocks, *blocks)
            self.frame_dim = encoder.frame_dim + sum(block.width for block in blocks)
            text = f"{encoder.fingerprint} {made_by}"
            self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    @abstractmethod
    def rows(self, clip: Clip, features: Float32) -> Float32:
        """Rows that are added to a clip's features.

        Args:
            clip: As the encoder wants it sampled.
            features: (T, F) of the wrapped encoder.

        Returns:
            (T, W) float32, W the widths of the added blocks.
        """

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self._widened(clips, self.encoder.encode(clips))

    def session(self, *, features: bool = True) -> Session:
        shared = self.encoder.session()
        session = Session(lambda clips: self._widened(clips, shared.encode(clips)))
        session.batch_bytes = shared.batch_bytes
        return session

    def _widened(self, clips: Sequence[Clip], rows: Sequence[Encoded]) -> list[Encoded]:
        if not self._adds:
            return list(rows)
        widened: list[Encoded] = []
        for clip, row in zip(clips, rows, strict=True):
            more = self.rows(clip, row.features)
            widened.append(replace(row, features=np.concatenate([row.features, more], axis=1)))
        return widened

    def split(self, features: Float32) -> tuple[Float32, Float32]:
        """Features (N, T, F + W) to those of the wrapped encoder and to what is added."""
        own_features, more = np.split(features, [self.encoder.frame_dim], axis=2)
        return own_features, more

    def pool(self, features: Float32) -> Float32:
        return self.encoder.pool(features[..., : self.encoder.frame_dim])
