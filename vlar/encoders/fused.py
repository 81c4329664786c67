"""``A+B``: encoders of one sensor joined into one, such as ``clip+motion``.

A vector holds the vectors of the parts, each times its weight: ``[w_A A ; w_B B]``, with
``w_A² + w_B² = 1``. Texts fill the same places. So one inner product adds the similarities of the
parts, and a library needs nothing else. A part that a clip lacks (no body is visible) leaves its
block zero.

The weights follow from how sure each part is by itself. Times the joint logit scale, the inner
product is the sum of the parts' own logits: ``s_A cos_A + s_B cos_B``, the product of their
probabilities (Hinton 2002, products of experts). The option ``weight`` of a part multiplies its
logits: ``clip+motion?weight=2``. ``vlar calibrate`` fits it to labelled clips.

Each part gets frames of its own number. A reader decodes their union in one pass
(``Sampling.parts``), and every part is given the frames that it would have been given alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.encoders.base import Block, BlockMix, Encoder, FrameBlock
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.session import Session
from vlar.encoders.spec import BUNDLE, with_weight
from vlar.errors import UsageError
from vlar.media.video.sample import n_joined, sample_times
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Float32, Role, Sampling

Rows = npt.NDArray[np.intp]


def rows_of(clip: Clip, part: Sampling, union: Sampling) -> Rows:
    """The frames of a clip that a part would get alone; of a clip with another T, evenly spaced.

    Args:
        clip: Read as ``union`` asks, or with any other frames.
        part: What the part wants.
        union: What all parts want together.
    """
    part_times, all_times = sample_times(clip.window, part), sample_times(clip.window, union)
    if len(all_times) == len(clip.data):
        return np.searchsorted(all_times, part_times)
    return evenly(len(clip.data), len(part_times))


def with_frames(clip: Clip, rows: Rows) -> Clip:
    """A clip of some of its frames."""
    if len(rows) == len(clip.data):
        return clip
    return replace(clip, data=clip.data[rows], times_s=clip.times_s[rows])


def evenly(n_frames: int, wanted: int) -> Rows:
    """The frames nearest to the midpoints of ``wanted`` segments; all where there are no more."""
    count = min(n_frames, wanted)
    return np.floor((np.arange(count) + 0.5) * n_frames / max(count, 1)).astype(np.intp)


def repeated(n_rows: int, wanted: int) -> Rows:
    """Source row, of ``n_rows``, of each of ``wanted`` rows; ``evenly`` inverts it."""
    return np.floor((np.arange(wanted) + 0.5) * n_rows / max(wanted, 1)).astype(np.intp)


def times_only(wanted: Sampling) -> Sampling:
    """Settings that decide the times of a span, without the sizes."""
    if wanted.all_samples:
        raise UsageError(
            "an encoder that reads all samples of a window cannot be joined with '+'; use it alone"
        )
    return Sampling(wanted.n_frames, fps=wanted.fps, max_frames=wanted.max_frames)


_VERSION = 1  # of the rules that make a joint vector of the parts' vectors


class JointEncoder(Encoder):
    """Several encoders as one; ``joined`` makes it.

    Frame features have as many rows as the part with most frames. A part with fewer repeats its
    rows, so that all parts cover the same time.

    Args:
        parts: At least two encoders of one sensor.
        factors: What the logits of each part are multiplied by; None for 1 each.
    """

    def __init__(self, parts: Sequence[Encoder], factors: Sequence[float] | None = None) -> None:
        self.parts = tuple(parts)
        self.factors = tuple(factors or [1.0] * len(parts))
        named = zip(self.parts, self.factors, strict=True)
        self.name = "+".join(with_weight(part.name, factor) for part, factor in named)
        scales = np.multiply(self.factors, [part.logit_scale for part in parts])
        self.logit_scale = float(scales.sum())
        self.states_scale = all(part.states_scale for part in parts)
        self._lengths = np.sqrt(scales / self.logit_scale).astype(np.float32)
        self.modality = parts[0].modality
        self.dim = sum(part.dim for part in parts)
        self.frame_dim = sum(part.frame_dim for part in parts)
        self.n_frames = n_joined(part.sampling for part in parts)
        self.per_clip = all(part.per_clip for part in parts)
        self.two_roles = any(part.two_roles for part in parts)
        self.frames_fixed = any(part.frames_fixed for part in parts)
        self.longest_s = min(part.longest_s for part in parts)
        self.max_tokens = parts[0].max_tokens
        self.templates = parts[0].templates
        sizes = (part.preprocess for part in parts if part.preprocess is not None)
        self.preprocess = max(sizes, key=lambda size: max(size.height, size.width), default=None)
        self.licence = "; ".join(dict.fromkeys(part.licence for part in parts))
        self.libraries = tuple(dict.fromkeys(name for part in parts for name in part.libraries))
        self._names = _distinct([[block.name for block in part.blocks] for part in parts])
        self.blocks, self.descriptions = tuple(self._joint_blocks()), tuple(self._mixes())
        self.frame_blocks = tuple(self._joint_frame_blocks())
        settings = ["joint", _VERSION, [part.fingerprint for part in parts], self.factors]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def _joint_blocks(self) -> Iterator[Block]:
        for part, names, length in zip(self.parts, self._names, self._lengths, strict=True):
            for block, name in zip(part.blocks, names, strict=True):
                yield replace(block, name=name, weight=float(length) * block.weight)

    def _joint_frame_blocks(self) -> Iterator[FrameBlock]:
        names = _distinct([[block.name for block in part.frame_blocks] for part in self.parts])
        for part, new in zip(self.parts, names, strict=True):
            for block, name in zip(part.frame_blocks, new, strict=True):
                yield replace(block, name=name)

    def _mixes(self) -> Iterator[BlockMix]:
        for part, names in zip(self.parts, self._names, strict=True):
            new = dict(zip((block.name for block in part.blocks), names, strict=True))
            yield from (replace(mix, block=new[mix.block]) for mix in part.descriptions)

    def weighted(self, factors: Sequence[float]) -> JointEncoder:
        """The same parts with other factors; nothing is loaded again."""
        return type(self)(self.parts, factors)

    def reweighted(self, vectors: Float32, other: JointEncoder) -> Float32:
        """Vectors (N, D) of this encoder as those of ``other``, which has the same parts."""
        ratios = other._lengths / self._lengths
        pairs = zip(ratios, self.places, strict=True)
        return unit(
            np.concatenate([ratio * vectors[:, columns] for ratio, columns in pairs], axis=1)
        )

    @property
    def places(self) -> list[slice]:
        """Slice of each part in a vector."""
        ends = np.cumsum([0, *(part.dim for part in self.parts)]).tolist()
        return [slice(*pair) for pair in pairwise(ends)]

    @property
    def sampling(self) -> Sampling:
        """The union of the parts' samples, in the largest of their sizes."""
        requests = tuple(dict.fromkeys(times_only(part.sampling) for part in self.parts))
        if len(requests) == 1:
            return replace(super().sampling, fps=requests[0].fps, max_frames=requests[0].max_frames)
        return replace(super().sampling, parts=requests)

    @property
    def feature_rows(self) -> int:
        return max(part.feature_rows for part in self.parts)

    def cost(self, shape: Sequence[int]) -> int:
        return sum(part.cost(shape) for part in self.parts)

    def operations(self, clip: Clip) -> int | None:
        if clip.parts:  # not every sensor is counted
            return None
        counts = [part.operations(self._given(part, [clip])[0]) for part in self.parts]
        return None if None in counts else sum(filter(None, counts))

    # Clips

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self.encode_by(clips, [part.encode for part in self.parts])

    def encode_by(
        self, clips: Sequence[Clip], encoders: Sequence[Callable[[Sequence[Clip]], list[Encoded]]]
    ) -> list[Encoded]:
        """Encode clips, with the encoding function of each part."""
        pairs = zip(self.parts, encoders, strict=True)
        encoded = [encode(self._given(part, clips)) for part, encode in pairs]
        return [self._assembled(row) for row in zip(*encoded, strict=True)]

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        return self.blocks_by(clips, names, [part.encode_blocks for part in self.parts])

    def blocks_by(
        self,
        clips: Sequence[Clip],
        names: Collection[str],
        encoders: Sequence[Callable[[Sequence[Clip], Collection[str]], Float32]],
    ) -> Float32:
        """Encode blocks, with the block function of each part."""
        rows = np.zeros((len(clips), self.dim), np.float32)
        for index, (part, columns) in enumerate(zip(self.parts, self.places, strict=True)):
            block_names = zip(
                (block.name for block in part.blocks), self._names[index], strict=True
            )
            part_blocks = [old for old, new in block_names if new in names]
            if part_blocks and len(clips):
                vectors = encoders[index](self._given(part, clips), part_blocks)
                rows[:, columns] = self._lengths[index] * vectors
        return rows

    def session(self, *, features: bool = True) -> Session:
        return JointSession(self, features)

    def pool(self, features: Float32) -> Float32:
        start, pooled = 0, []
        for part in self.parts:
            part_features = features[..., start : start + part.frame_dim]
            start += part.frame_dim
            pooled.append(part.pool(part_features[:, evenly(features.shape[1], part.feature_rows)]))
        return self._joined_vectors(pooled)

    def _given(self, part: Encoder, clips: Sequence[Clip]) -> list[Clip]:
        """The clips with the frames of a part; of a clip with another T they are evenly spaced."""
        return [with_frames(clip, rows_of(clip, part.sampling, self.sampling)) for clip in clips]

    def _assembled(self, encoded: Sequence[Encoded]) -> Encoded:
        """Row of one clip, assembled from those of the parts."""
        lengths = [len(row.features) for row in encoded]
        n_rows = max(lengths) if all(lengths) else 0  # a session may leave features out
        features = [row.features[repeated(len(row.features), n_rows)] for row in encoded]
        vector = self._joined_vectors([row.vector[None] for row in encoded])[0]
        contexts = (row.context for row in encoded if row.context is not None)
        return Encoded(np.concatenate(features, axis=1), vector, next(contexts, None))

    def _joined_vectors(self, found: Sequence[Float32]) -> Float32:
        pairs = zip(self._lengths, found, strict=True)
        return unit(np.concatenate([length * rows for length, rows in pairs], axis=-1))

    def before(self) -> Encoder | None:
        earlier = [part.before() for part in self.parts]
        parts = [old or part for old, part in zip(earlier, self.parts, strict=True)]
        return joined(parts, self.factors) if any(earlier) else None

    def block_fingerprints(self) -> dict[str, str]:
        prints: dict[str, str] = {}
        for part, names in zip(self.parts, self._names, strict=True):
            part_prints = part.block_fingerprints()
            prints |= {
                n: part_prints[block.name] for n, block in zip(names, part.blocks, strict=True)
            }
        return prints

    def inputs(self, names: Collection[str]) -> frozenset[str]:
        needed = set[str]()
        for part, joint in zip(self.parts, self._names, strict=True):
            pairs = zip((block.name for block in part.blocks), joint, strict=True)
            if own := [old for old, new in pairs if new in names]:
                needed |= part.inputs(own)
        return frozenset(needed)

    # Words

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        return self._joined_vectors([_text_of(part, texts, role) for part in self.parts])

    def encode_text_block(self, texts: Sequence[str], block: str) -> Float32:
        for part, names in zip(self.parts, self._names, strict=True):
            if block in names:
                part_block = part.blocks[names.index(block)]
                return part.encode_text_block(texts, part_block.name)
        return super().encode_text_block(texts, block)

    def explain(self, text: str) -> object | None:
        """Explanation of a text by the first part that has one."""
        explains = (getattr(part, "explain", None) for part in self.parts)
        explanations = (explain(text) for explain in explains if explain is not None)
        return next((text for text in explanations if text is not None), None)

    def count_tokens(self, text: str) -> int:
        return self.parts[0].count_tokens(text)


class ConditionedJoint(JointEncoder, ConditionedText):
    """A joint encoder with one part whose texts depend on the video."""

    def conditioned_text(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        return self._joined_vectors([_conditioned(part, texts, context) for part in self.parts])


class JointSession(Session):
    """The sessions of the parts, each with its own frames."""

    def __init__(self, encoder: JointEncoder, features: bool) -> None:
        super().__init__(encoder.encode, encoder.encode_blocks)
        self._encoder = encoder
        self._sessions = [part.session(features=features) for part in encoder.parts]
        self.batch_bytes = max(session.batch_bytes for session in self._sessions)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self._encoder.encode_by(clips, [session.encode for session in self._sessions])

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        calls = [session.encode_blocks for session in self._sessions]
        return self._encoder.blocks_by(clips, names, calls)


def joined(parts: Sequence[Encoder], factors: Sequence[float] | None = None) -> JointEncoder:
    """Encoders of one sensor as one, or of different sensors as a bundle.

    Args:
        parts: The encoders, in the order of their blocks.
        factors: What the logits of each are multiplied by; None for 1 each.

    Raises:
        UsageError: one comes twice, two of a bundle read one sensor, or the texts of several depend
            on the video.
    """
    names = " and ".join(part.name for part in parts)
    if len({part.modality for part in parts}) > 1:
        return registry.get("encoder", BUNDLE)(parts, factors)
    if len({part.fingerprint for part in parts}) < len(parts):
        raise UsageError(f"{names}: one of them comes twice; join encoders that differ")
    conditioned = sum(isinstance(part, ConditionedText) for part in parts)
    if conditioned > 1:
        raise UsageError(f"{names}: the texts of both depend on the video; join one such encoder")
    return (ConditionedJoint if conditioned else JointEncoder)(parts, factors)


def _distinct(names: Sequence[Sequence[str]]) -> list[list[str]]:
    """Names of parts; one that an earlier part has gets the number of its part."""
    groups: list[list[str]] = []
    members: set[str] = set()
    for number, part in enumerate(names, 1):
        groups.append([f"{name}-{number}" if name in members else name for name in part])
        members |= set(part)
    return groups


def _text_of(part: Encoder, texts: Sequence[str], role: Role = "label") -> Float32:
    return _without_text(part, part.encode_in_role(texts, role))


def _without_text(part: Encoder, rows: Float32) -> Float32:
    """Vectors of texts without the blocks that texts do not have."""
    mask = np.concatenate([np.full(block.width, block.has_text) for block in part.blocks])
    return rows * mask


def _conditioned(part: Encoder, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
    if isinstance(part, ConditionedText):
        return _without_text(part, part.conditioned_text(texts, context))
    rows = _text_of(part, texts)
    return np.broadcast_to(rows, (len(context), *rows.shape))
