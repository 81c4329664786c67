"""A few-shot head with its rejector as one head over encoded clips: what ``adapt`` makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.adapters.statistics import Statistics
from vlar.encoders.base import FrameBlock
from vlar.errors import ModelError, UsageError
from vlar.heads.base import Head, Scores
from vlar.heads.fewshot.base import FewShotHead, checked_kind
from vlar.heads.fewshot.components import ComponentsHead, Pair
from vlar.heads.logistic import logistic
from vlar.heads.reject import Array, Familiarity, Rejector
from vlar.heads.signatures import lone_sensor, names_sensors, over_present, signature
from vlar.language.tree import Tree
from vlar.types import Encoded, Float32, Float64, JsonDict

_NO_KNOWN = 1e-12
_MOST_ROWS = 1 << 16
Curve = tuple[float, float]


@dataclass(frozen=True)
class OneSensor:
    """The head that one sensor of a bundle learns alone, for clips that lack the others.

    Attributes:
        head: Its head; its concepts are zero where a vector holds other sensors.
        rows: Rows of the features of that sensor's own encoder.
    """

    head: AdaptedHead
    rows: int

    def alone(self, encoded: Encoded, blocks: Sequence[FrameBlock], sensor: str) -> Encoded:
        """A clip that lacks all other sensors, as that sensor's own encoder has it."""
        columns = np.concatenate([np.full(block.width, block.part == sensor) for block in blocks])
        count, every = len(encoded.features), min(self.rows, len(encoded.features))
        rows = np.floor((np.arange(every) + 0.5) * count / max(every, 1)).astype(np.intp)
        return replace(encoded, features=encoded.features[rows][:, columns])


@dataclass(frozen=True)
class AdaptedHead(Head):
    """A few-shot head over the labels of a support set, guarded by a rejector.

    Attributes:
        labels: C labels as the support set spells them.
        head: Signatures to logits.
        rejector: Signatures, or the head's logits, to the probability that no label fits.
        familiarity: The examples; its cosines are the similarities, and with several labels at
            once its curve gives their probabilities.
        owners: (n,) int64 column of the label that each example shows.
        concepts: (C, D) float32 concepts of the labels' texts, the zero-shot prior.
        blocks: Parts of the frame features that the signatures are made of.
        kind: Signature kind of the examples and of what the rejector reads.
        tree: Coarse labels above the labels, in their order; None for none.
        statistics: Moments of the examples, for answers that adapt to a stream; None for none.
        curves: Centre and slope of the familiarity of clips with one sensor of a bundle, by sensor:
            without the others its cosines are larger, and would look more familiar than they are.
        sensors: Heads of single sensors of a bundle: a clip with that sensor alone is answered by
            its head, and so is as sure as with a model of that sensor.
    """

    name = "adapted"
    reads = "features"
    head: FewShotHead
    rejector: Rejector
    familiarity: Familiarity
    owners: npt.NDArray[np.int64]
    concepts: Float32
    blocks: Sequence[FrameBlock]
    kind: str
    tree: Tree | None = None
    statistics: Statistics | None = None
    curves: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    sensors: Mapping[str, OneSensor] = field(default_factory=dict[str, OneSensor])
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.head.labels)

    @property
    def labels_sha256(self) -> str:
        """Hash of the labels in order."""
        return hashlib.sha256(json.dumps(self.labels).encode()).hexdigest()

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Score clips; similarity is the cosine to the nearest example of each label."""
        return Scores.join((self.score_clip(row) for row in encoded), len(self.labels))

    def score_clip(
        self,
        encoded: Encoded,
        columns: Sequence[int] | None = None,
        concepts: Float32 | None = None,
    ) -> Scores:
        """Scores (1, k) of one clip against k of the labels.

        Args:
            encoded: The clip.
            columns: The k labels; None for all. Their probabilities sum with unknown to 1.
            concepts: (C, D) float32 of all labels for this clip; None where no clip changes them.
        """
        numbers = list(range(len(self.labels)) if columns is None else columns)
        if one := self._one_sensor(encoded):
            return one[0].score_clip(one[1], numbers)
        features, vector = encoded.features[None], encoded.vector[None]
        row = signature(features, self.blocks, self.head.kind)
        compared = self._compared(features, row)
        zero_shot = vector @ (self.concepts if concepts is None else concepts).T
        probability = self.head.probabilities(row, zero_shot)[0][numbers]
        unknown = self._unknown(features, row, compared, zero_shot)
        shares = probability / max(float(probability.sum()), _NO_KNOWN) * (1.0 - unknown)
        nearest = self._nearest(compared)[numbers]
        return Scores(nearest[None], shares[None], np.array([unknown]))

    def score_clip_each(self, encoded: Encoded, columns: Sequence[int]) -> Scores:
        """Scores (1, k) of one clip against k of the labels, each for itself."""
        if one := self._one_sensor(encoded):
            return one[0].score_clip_each(one[1], columns)
        compared = self._compared(encoded.features[None])
        nearest = self._nearest(compared)[list(columns)]
        per_label = self.familiarity.known(nearest)
        return Scores(nearest[None], per_label[None], np.array([1.0 - float(per_label.max())]))

    def pair_scores(
        self, encoded: Encoded, similarity: Float32, pairs: Sequence[Pair]
    ) -> tuple[Float64, float]:
        """Logits (P,) of pairs of verb and object, and the probability that no pair fits.

        Args:
            encoded: The clip.
            similarity: (P + C,) trained similarities of the P pairs and of the C labels.
            pairs: P pairs, with or without examples.
        """
        assert isinstance(self.head, ComponentsHead)
        features = encoded.features[None]
        row = signature(features, self.blocks, self.head.kind)
        compared = self._compared(features, row)
        pair_similarity, labels = similarity[None, : len(pairs)], similarity[None, len(pairs) :]
        return self.head.pair_logits(row, pair_similarity, pairs)[0], self._unknown(
            features, row, compared, labels
        )

    def _one_sensor(self, encoded: Encoded) -> tuple[AdaptedHead, Encoded] | None:
        """The head of the only sensor that a clip of a bundle has, and what it scores."""
        name = lone_sensor(encoded.features[None], self.blocks) if self.sensors else ""
        one = self.sensors.get(name)
        return one and (one.head, one.alone(encoded, self.blocks, name))

    def _compared(self, features: Float32, row: Float32 | None = None) -> Float32:
        """The signature that is compared with examples; ``row`` is that of the head's kind."""
        compared = row if self.kind == self.head.kind else None
        compared = signature(features, self.blocks, self.kind) if compared is None else compared
        return over_present(compared, features, self.blocks, self.kind)

    def _unknown(self, features: Float32, row: Float32, own: Float32, zero_shot: Float32) -> float:
        if self.rejector is self.familiarity and names_sensors(self.kind):
            # A rejector makes rows of unit length, which takes back what ``over_present`` gave.
            usual = self.familiarity.centre, self.familiarity.slope
            curve = self.curves.get(lone_sensor(features, self.blocks), usual)
            return 1.0 - float(logistic(self._nearest(own).max(), *curve))
        logits = self.head.logits(row, zero_shot) if self.rejector.reads == "logits" else None
        return float(self.rejector.probability(own, logits)[0])

    def _nearest(self, row: Float32) -> Float32:
        """(C,) cosine of one signature (1, S) to the nearest example of each label."""
        nearest = np.full(len(self.labels), -1.0, np.float32)
        np.maximum.at(nearest, self.owners, row[0] @ self.familiarity.examples.T)
        return nearest

    def check_sizes(self, dim: int | None) -> None:
        """Refuse arrays that do not belong together.

        Args:
            dim: D of the encoder; None where it is not known.

        Raises:
            ModelError: a size differs, or an owner is not a label.
        """
        n, c = len(self.familiarity.examples), len(self.labels)
        if (
            self.owners.shape != (n,)
            or not n
            or not 0 <= self.owners.min() <= self.owners.max() < c
        ):
            raise _malformed(f"owners {self.owners.shape} for {n} familiarity.examples, {c} labels")
        width = (self.concepts.shape or (0,))[-1] if dim is None else dim
        if self.concepts.shape != (c, width):
            raise _malformed(f"concepts {self.concepts.shape}, not {(c, width)}")
        for one in self.sensors.values():
            one.head.check_sizes(width)
            if one.head.labels != self.labels:
                raise _malformed("the labels of a sensor, which are others")

    def check_answer(self, dim: int, n_frames: int) -> None:
        """Refuse arrays that cannot score a clip: try it on one that shows nothing.

        Args:
            dim: D of the encoder.
            n_frames: Rows of the encoder's features (``Encoder.feature_rows``).

        Raises:
            ModelError: shapes do not fit, or an answer is not a number.
        """
        blank = np.zeros((n_frames, sum(block.width for block in self.blocks)), np.float32)
        vector = np.full(dim, dim**-0.5, np.float32)
        try:
            with np.errstate(all="ignore"):
                scores = self.score_clip(Encoded(blank, vector))
        except (ValueError, IndexError, TypeError, MemoryError) as error:
            raise _malformed(f"arrays whose shapes do not fit: {error}") from error
        if not (np.isfinite(scores.probability).all() and np.isfinite(scores.unknown).all()):
            raise _malformed("arrays that give answers which are not finite")
        for one in self.sensors.values():
            one.head.check_answer(dim, one.rows)

    def config(self) -> JsonDict:
        """The settings of the manifest, by part."""
        return {
            "head": self.head.config(),
            "rejector": self.rejector.config(),
            "familiarity": {
                "kind": self.kind,
                "centre": self.familiarity.centre,
                "slope": self.familiarity.slope,
                **(
                    {"sensors": {k: list(v) for k, v in self.curves.items()}} if self.curves else {}
                ),
                **(
                    {"heads": {k: {"rows": v.rows, **v.head.config()} for k, v in heads.items()}}
                    if (heads := self.sensors)
                    else {}
                ),
            },
            **({"tree": dict(self.tree.parents)} if self.tree else {}),
        }

    def state(self) -> dict[str, Array]:
        """The arrays of the model folder."""
        parts: dict[str, Mapping[str, Array]] = {
            "head": self.head.state(),
            "familiarity": self.familiarity.state(),
        }
        if self.rejector is not self.familiarity:
            parts["rejector"] = self.rejector.state()
        parts |= {f"sensor.{name}": one.head.state() for name, one in self.sensors.items()}
        joined = {f"{p}.{name}": a for p, arrays in parts.items() for name, a in arrays.items()}
        return {**joined, "owners": self.owners, "concepts": self.concepts}

    @staticmethod
    def restore(
        config: Mapping[str, Any], state: Mapping[str, Array], blocks: Sequence[FrameBlock]
    ) -> AdaptedHead:
        """The head that ``config`` and ``state`` were saved from.

        Args:
            config: As ``config`` gives it.
            state: As ``state`` gives it.
            blocks: Parts of the encoder's frame features.

        Raises:
            ModelError: something is missing or malformed.
        """

        def part(name: str) -> dict[str, Array]:
            prefix = f"{name}."
            return {k.removeprefix(prefix): a for k, a in state.items() if k.startswith(prefix)}

        try:
            head = FewShotHead.from_state(config["head"], part("head"))
            curve, kind = config["familiarity"], checked_kind(config["familiarity"]["kind"])
            familiarity = Familiarity()
            familiarity.restore(curve, part("familiarity"))
            rejector: Rejector = familiarity
            if config["rejector"] != familiarity.config():
                rejector = Rejector.from_state(config["rejector"], part("rejector"))
            return AdaptedHead(
                head,
                rejector,
                familiarity,
                _whole(state["owners"]),
                _floats(state["concepts"]),
                blocks,
                kind,
                _restored_tree(config.get("tree"), head.labels),
                curves={
                    str(sensor): (float(centre), float(slope))
                    for sensor, (centre, slope) in curve.get("sensors", {}).items()
                },
                sensors={
                    str(name): OneSensor(
                        AdaptedHead.restore(
                            one, part(f"sensor.{name}"), [b for b in blocks if b.part == name]
                        ),
                        _count(one["rows"]),
                    )
                    for name, one in curve.get("heads", {}).items()
                },
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise _malformed(repr(error)) from error


def _restored_tree(parents: Mapping[str, str] | None, labels: Sequence[str]) -> Tree | None:
    return None if parents is None else Tree(parents).restricted(labels)


def _whole(owners: Array) -> npt.NDArray[np.int64]:
    if not np.issubdtype(owners.dtype, np.integer):
        raise ValueError(f"owners of type {owners.dtype}")
    return owners.astype(np.int64)


def _count(rows: Any) -> int:
    if not isinstance(rows, int) or not 1 <= rows <= _MOST_ROWS:
        raise ValueError(f"{rows!r:.20} rows of a sensor")
    return rows


def _floats(concepts: Array) -> Float32:
    if not np.issubdtype(concepts.dtype, np.floating):
        raise ValueError(f"concepts of type {concepts.dtype}")
    return concepts.astype(np.float32)


def _malformed(why: str) -> ModelError:
    return ModelError(f"the saved adaptation is incomplete or malformed ({why}); adapt again")
