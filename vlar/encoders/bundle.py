"""``bundle:A+B``: encoders of several sensors as one, such as ``bundle:skeleton+imu``.

The vector is that of ``vlar.encoders.fused``: ``[w_A A ; w_B B]``, the same weights, the same
texts. A sensor that a clip lacks leaves its block zero, and the vector has unit length over what is
there. So late fusion needs no training, and no sensor is obligatory.

Features are those of the parts, side by side in rows of equal time, then the block ``presence``:
one number a part, in the order of the parts, 1 where the clip has it and 0 where its columns are
zero because it was not recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar import registry
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.fused import JointEncoder, evenly, repeated
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.spec import BUNDLE
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Role, Sampling

PRESENCE = "presence"
"""Name and kind of the last frame block, as wide as there are parts."""
Bools = npt.NDArray[np.bool_]


@register("encoder", "bundle")
class BundleEncoder(JointEncoder):
    """Encoders of different sensors; ``vlar.encoders.fused.joined`` makes it.

    Args:
        parts: Encoders, each of another sensor.
        factors: What the logits of each are multiplied by; None for 1 each.

    Raises:
        UsageError: two parts read one sensor, or the texts of one depend on the video.
    """

    modality = BUNDLE
    contract_argument = "skeleton+imu"

    def __init__(self, parts: Sequence[Encoder], factors: Sequence[float] | None = None) -> None:
        sensors = [part.modality for part in parts]
        for part in parts:
            if sensors.count(part.modality) > 1 or part.modality == BUNDLE:
                raise UsageError(
                    f"{' and '.join(one.name for one in parts)}: {part.name} reads "
                    f"{part.modality}; a bundle holds one encoder of each sensor"
                )
            if isinstance(part, ConditionedText):
                raise UsageError(f"the texts of {part.name} depend on the video; use it alone")
        super().__init__(parts, factors)
        self.name, self.modality = f"{BUNDLE}:{self.name}", BUNDLE
        self.preprocess = None
        self.n_frames = max(part.n_frames for part in parts)
        self.frames_fixed = True  # each part has its own number
        self.fixed_rows = None if self.per_clip else max(part.feature_rows for part in parts)
        self.frame_blocks = (*self._of_sensors(), FrameBlock(PRESENCE, len(parts), PRESENCE))
        self.frame_dim += len(parts)
        self.fingerprint = hashlib.sha256(f"bundle {self.fingerprint}".encode()).hexdigest()

    def _of_sensors(self) -> Iterator[FrameBlock]:
        sensors = [part.modality for part in self.parts for _ in part.frame_blocks]
        for block, sensor in zip(self.frame_blocks, sensors, strict=True):
            yield replace(block, part=sensor)

    @classmethod
    def from_spec(cls, argument: str, device: str | None = None, dtype: str | None = None) -> Self:
        """The encoder of ``A+B``.

        Raises:
            UsageError: the argument is empty, or the parts do not go together.
        """
        return registry.load("encoder", f"{BUNDLE}:{argument}", device=device, dtype=dtype)

    @property
    def sampling(self) -> Sampling:
        """The sampling of each sensor."""
        sensors = tuple((part.modality, part.sampling) for part in self.parts)
        return Sampling(self.n_frames, True, self.longest_s, sensors=sensors)

    @property
    def part_shares(self) -> tuple[tuple[int, float], ...]:
        """Width of each part in a vector, and its share of the logits of a whole bundle."""
        shares = self._lengths.astype(np.float64) ** 2
        widths = [part.dim for part in self.parts]
        return tuple(zip(widths, (shares / shares.sum()).tolist(), strict=True))

    @property
    def feature_rows(self) -> int:
        return max(part.feature_rows for part in self.parts)

    def encode_by(
        self, clips: Sequence[Clip], encoders: Sequence[Callable[[Sequence[Clip]], list[Encoded]]]
    ) -> list[Encoded]:
        rows: list[dict[str, Encoded]] = [{} for _ in clips]
        present = self._present(clips)
        for part, encode, has in zip(self.parts, encoders, present.T, strict=True):
            numbers: list[int] = np.flatnonzero(has).tolist()
            subset = [
                parts_of(clips[number]).get(part.modality, clips[number]) for number in numbers
            ]
            encoded = encode(subset) if subset else []
            for number, row in zip(numbers, encoded, strict=True):
                rows[number][part.modality] = row
        return [self._put_together(row) for row in rows]

    def blocks_by(
        self,
        clips: Sequence[Clip],
        names: Collection[str],
        encoders: Sequence[Callable[[Sequence[Clip], Collection[str]], Float32]],
    ) -> Float32:
        # how long a block is depends on the others that are there
        rows = [row.vector for row in self.encode(clips)]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def pool(self, features: Float32) -> Float32:
        present = features[..., -len(self.parts) :].max(axis=1) > 0
        start, rows = 0, np.zeros((len(features), self.dim), np.float32)
        for part, columns, has in zip(self.parts, self.places, present.T, strict=True):
            part_features = features[..., start : start + part.frame_dim]
            start += part.frame_dim
            if has.any():
                part_features = part_features[has][:, evenly(features.shape[1], part.feature_rows)]
                rows[has, columns] = part.pool(part_features)
        several = present.sum(axis=1) > 1  # the vector of a part alone stays as it is
        rows[several] = self._fused(rows[several])
        return rows

    def of_part(self, encoded: Sequence[Encoded], number: int) -> dict[int, Encoded]:
        """Rows of the clips that have a part, by their number, as its own encoder gives them."""
        part, places, rows = self.parts[number], self.places[number], dict[int, Encoded]()
        start = sum(before.frame_dim for before in self.parts[:number])
        for index, row in enumerate(encoded):
            if row.features[:, number - len(self.parts)].any():
                features = row.features[evenly(len(row.features), part.feature_rows)]
                part_features = features[:, start : start + part.frame_dim]
                rows[index] = Encoded(part_features, unit(row.vector[places]))
        return rows

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        rows = super().encode_text(texts, role)
        # No part may have a word for a text; its vector is then what the parts say of such texts.
        unknown_rows: list[int] = np.flatnonzero(~rows.any(axis=1)).tolist()
        if unknown_rows:
            unknown = [texts[i] for i in unknown_rows]
            part_vectors = [part.encode_in_role(unknown, role) for part in self.parts]
            rows[unknown_rows] = self._joined_vectors(part_vectors)
        return rows

    def _present(self, clips: Sequence[Clip]) -> Bools:
        """(N, parts) which clips have which part.

        Raises:
            UsageError: a clip has none.
        """
        sensors = [part.modality for part in self.parts]
        present = np.array([[name in parts_of(clip) for name in sensors] for clip in clips], bool)
        present = present.reshape(len(clips), len(sensors))
        if not present.any(axis=1).all():
            clip = clips[int(present.any(axis=1).argmin())]
            raise UsageError(
                f"{clip.path}: it holds {' and '.join(parts_of(clip))}, and the model reads "
                f"{' and '.join(sensors)}; choose a model of its sensors"
            )
        return present

    def _put_together(self, found: Mapping[str, Encoded]) -> Encoded:
        """Row of one clip from those of the parts that it has."""
        lengths = [len(row.features) for row in found.values()]
        n_rows = max(lengths) if len(self.parts) == 1 else max(self.feature_rows, *lengths)
        n_rows = n_rows if all(lengths) else 0  # a session may leave features out
        features = np.zeros((n_rows, self.frame_dim), np.float32)
        vectors = np.zeros((1, self.dim), np.float32)
        start = 0
        for number, (part, columns) in enumerate(zip(self.parts, self.places, strict=True)):
            row = found.get(part.modality)
            if row is not None:
                same = len(row.features) == n_rows
                part_features = (
                    row.features if same else row.features[repeated(len(row.features), n_rows)]
                )
                features[:, start : start + part.frame_dim] = part_features
                features[:, number - len(self.parts)] = 1
                vectors[0, columns] = row.vector
            start += part.frame_dim
        return Encoded(features, vectors[0] if len(found) == 1 else self._fused(vectors)[0])

    def _fused(self, vectors: Float32) -> Float32:
        """Vectors (N, D) of the parts, side by side, as one of unit length."""
        return self._joined_vectors([vectors[:, columns] for columns in self.places])


def parts_of(clip: Clip) -> Mapping[str, Clip]:
    """The clips of a bundle by sensor; a clip of one sensor is its own part."""
    return clip.parts or {clip.modality: clip}


def without(clip: Clip, sensors: Collection[str]) -> Clip:
    """A bundle in which some sensors were not recorded.

    Raises:
        UsageError: no part is left.
    """
    parts = {name: part for name, part in parts_of(clip).items() if name not in sensors}
    if not parts:
        raise UsageError(f"{clip.path}: no sensor is left without {' and '.join(sensors)}")
    first = next(iter(parts.values()))
    return replace(clip, modality=BUNDLE, data=first.data, times_s=first.times_s, parts=parts)
