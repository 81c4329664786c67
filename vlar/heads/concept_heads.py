"""Zero-shot heads: concepts that are fixed, and concepts that depend on the clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError, UsageError
from vlar.files.reading import number
from vlar.heads.base import Array, Head, Scores
from vlar.heads.logistic import logistic
from vlar.heads.zero_shot import (
    AskedScorer,
    EvidenceCurve,
    LabelScorer,
    ZeroShotScorer,
    kept_for_each,
)
from vlar.language.concept import Concept
from vlar.language.tree import Tree
from vlar.numeric import sigmoid
from vlar.types import Encoded, Float32, Float64, JsonDict

EACH_PRIOR = 0.05
# One label alone is not known to be rare.
QUESTION_PRIOR = 0.5
_EDGE = 1e-9  # of probabilities, before their log odds
_MOST_MOVED = 50.0  # log odds


class MultiLabelScorer(LabelScorer):
    """Labels that do not exclude each other; ``prior`` is that of each in a list.

    Without a bank every label is as likely as that.
    """

    prior = EACH_PRIOR

    @cached_property
    def _kept(self) -> Float64:
        return kept_for_each(self._concepts, self._background).astype(np.float64)

    def score(self, video: Float32) -> Scores:
        """Scores of (N, D) unit rows; the labels' probabilities are independent of each other."""
        similarity, logits, background = self._logits(video)
        if len(self._background):
            top = background.max(axis=1, keepdims=True)
            evidence = np.exp(background - top) @ self._kept.T / self._kept.sum(axis=1)
            by_chance = logits - self._chance(background)[:, None]
            logits = logits - top - np.log(evidence) + self._log_odds
            logits = np.minimum(logits, by_chance)
        else:
            logits = np.full_like(logits, self._log_odds)
        nothing = self._nothing(video)[:, None]
        probability = logistic(logits, 0.0, 1.0) * (1.0 - nothing)
        return Scores(similarity, probability, 1.0 - probability.max(axis=1))


MODES = ("one", "multi")
# Texts and the context (1, k, E) of one clip to vectors (1, Q, D) of unit length.
ConditionedWords = Callable[[Sequence[str], Array], Float32]


def make_scorer(
    concepts: Float32,
    background: Float32,
    *,
    mode: str = "one",
    logit_scale: float,
    content_free: Float32 | None = None,
    offsets: Float64 | None = None,
    prior: float | None = None,
    parts: Sequence[tuple[int, float]] = (),
    bounded: bool = False,
) -> LabelScorer:
    """The rule that scores vectors (N, D) against concepts (C, D) and a background (B, D).

    Args:
        concepts: (C, D) float32 unit vectors of the labels.
        background: (B, D) float32 unit vectors of everyday actions.
        mode: ``one`` label fits or none, or ``multi``: each label for itself.
        logit_scale: Factor from cosine to logit.
        content_free: (M, D) float32 unit vectors of content-free clips; None for none.
        offsets: (C,) what each label loses from its cosine; None for nothing.
        prior: Prior probability, 0..1; None for that of the mode.
        parts: Width and share of each sensor of a bundle.
        bounded: Whether nothing was fitted to the encoder; see ``LabelScorer``.
    """
    rule = ZeroShotScorer if check_mode(mode) == "one" else MultiLabelScorer
    return rule(
        concepts,
        background,
        logit_scale=logit_scale,
        content_free=content_free,
        prior=prior,
        offsets=offsets,
        parts=parts,
        bounded=bounded,
    )


def check_mode(mode: str) -> str:
    """The mode, if it exists.

    Raises:
        UsageError: the mode does not exist.
    """
    if mode not in MODES:
        raise UsageError(
            f"unknown mode {mode!r}; use 'one' (one label fits) or 'multi' (any number)"
        )
    return mode


class ConceptHead(Head):
    """Labels as fixed unit vectors, compared with a background of everyday actions.

    Args:
        labels: C labels.
        concepts: (C, D) float32 unit vectors of the labels.
        background: (B, D) float32 unit vectors of the background.
        mode: See :func:`make_scorer`.
        logit_scale: Factor from cosine to logit.
        content_free: (M, D) float32 unit vectors of content-free clips.
        offsets: (C,) what each label loses from its cosine before it is compared; None for nothing.
        prior: Prior probability of the mode's question, 0..1; None for that of the mode.
        curve: For labels in the role of queries, in mode ``multi``: judges each by its evidence.
        parts: Width and share of each sensor of a bundle; see ``LabelScorer``.
        bounded: Whether nothing was fitted to the encoder; see ``LabelScorer``.
    """

    name = "concepts"

    def __init__(
        self,
        labels: Sequence[str],
        concepts: Float32,
        background: Float32,
        *,
        mode: str,
        logit_scale: float,
        content_free: Float32,
        offsets: Float64 | None = None,
        prior: float | None = None,
        curve: EvidenceCurve | None = None,
        parts: Sequence[tuple[int, float]] = (),
        bounded: bool = False,
    ) -> None:
        self.labels, self.mode, self.logit_scale = tuple(labels), mode, logit_scale
        self.bounded = bounded
        self.concepts, self.background, self.content_free = concepts, background, content_free
        self.offsets, self.prior, self.curve, self.parts = offsets, prior, curve, tuple(parts)
        if curve is None:
            self._scorer = make_scorer(
                concepts,
                background,
                mode=mode,
                logit_scale=logit_scale,
                content_free=content_free,
                offsets=offsets,
                prior=prior,
                parts=self.parts,
                bounded=bounded,
            )
        else:
            self._scorer = AskedScorer(
                concepts,
                background,
                logit_scale=logit_scale,
                curve=curve,
                content_free=content_free,
            )

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips by their vectors."""
        rows = (self._scorer.score(row.vector[None]) for row in encoded)
        return Scores.join(rows, len(self.labels))

    def config(self) -> JsonDict:
        """Labels, mode and scale."""
        return {
            "head": self.name,
            "labels": list(self.labels),
            "mode": self.mode,
            "logit_scale": self.logit_scale,
            **({} if self.prior is None else {"prior": self.prior}),
            **({} if self.curve is None else {"curve": asdict(self.curve)}),
            **({"parts": [list(part) for part in self.parts]} if self.parts else {}),
            **({"bounded": True} if self.bounded else {}),
        }

    def state(self) -> dict[str, Array]:
        """Concepts, background and content-free vectors."""
        return {
            "concepts": self.concepts,
            "background": self.background,
            "content_free": self.content_free,
            **({} if self.offsets is None else {"offsets": self.offsets}),
        }

    @staticmethod
    def restore(config: Mapping[str, Any], state: Mapping[str, Array]) -> ConceptHead:
        """The head that ``config`` and ``state`` were saved from.

        Raises:
            ModelError: a setting or an array is missing or malformed.
        """
        try:
            return ConceptHead(
                [str(label) for label in config["labels"]],
                np.asarray(state["concepts"], np.float32),
                np.asarray(state["background"], np.float32),
                mode=str(config["mode"]),
                logit_scale=float(config["logit_scale"]),
                content_free=np.asarray(state["content_free"], np.float32),
                offsets=np.asarray(state["offsets"], np.float64) if "offsets" in state else None,
                prior=number(config, "prior") if "prior" in config else None,
                curve=EvidenceCurve(**config["curve"]) if "curve" in config else None,
                parts=[(int(width), float(share)) for width, share in config.get("parts", ())],
                bounded=bool(config.get("bounded")),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise ModelError(f"the saved labels are incomplete or malformed ({error!r})") from error


class ConditionedHead(Head):
    """Labels whose vectors depend on the clip, and so does the background.

    Args:
        labels: C labels.
        texts: C texts that stand for the labels.
        background: B texts of everyday actions; they cost text encoding for every clip.
        words: Texts and a clip's context to vectors.
        mode: See :func:`make_scorer`.
        logit_scale: Factor from cosine to logit.
        content_free: (M, D) float32 unit vectors of content-free clips.
        bounded: Whether nothing was fitted to the encoder; see ``LabelScorer``.
    """

    name = "conditioned"

    def __init__(
        self,
        labels: Sequence[str],
        texts: Sequence[str],
        background: Sequence[str],
        words: ConditionedWords,
        *,
        mode: str,
        logit_scale: float,
        content_free: Float32,
        bounded: bool = False,
    ) -> None:
        self.labels, self.texts, self.background = tuple(labels), tuple(texts), tuple(background)
        self.bounded = bounded
        self.mode, self.logit_scale, self.content_free = check_mode(mode), logit_scale, content_free
        self._words = words

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips by their vectors and their context tokens."""
        return Scores.join((self._score(row) for row in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        assert encoded.context is not None  # an encoder that conditions text gives context
        texts = (*self.texts, *self.background)
        words = self._words(texts, encoded.context[None])[0]
        n = len(self.texts)
        scorer = make_scorer(
            words[:n],
            words[n:],
            mode=self.mode,
            logit_scale=self.logit_scale,
            content_free=self.content_free,
            bounded=self.bounded,
        )
        return scorer.score(encoded.vector[None])

    def config(self) -> JsonDict:
        """Labels, texts, mode and scale."""
        return {
            "head": self.name,
            "labels": list(self.labels),
            "texts": list(self.texts),
            "background": list(self.background),
            "mode": self.mode,
            "logit_scale": self.logit_scale,
            **({"bounded": True} if self.bounded else {}),
        }

    def state(self) -> dict[str, Array]:
        """Content-free vectors; the texts are encoded for every clip."""
        return {"content_free": self.content_free}

    @staticmethod
    def restore(
        config: Mapping[str, Any], state: Mapping[str, Array], words: ConditionedWords
    ) -> ConditionedHead:
        """The head that ``config`` and ``state`` were saved from.

        Raises:
            ModelError: a setting or an array is missing or malformed.
        """
        try:
            return ConditionedHead(
                [str(label) for label in config["labels"]],
                [str(text) for text in config["texts"]],
                [str(text) for text in config["background"]],
                words,
                mode=str(config["mode"]),
                logit_scale=float(config["logit_scale"]),
                content_free=np.asarray(state["content_free"], np.float32),
                bounded=bool(config.get("bounded")),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise ModelError(f"the saved labels are incomplete or malformed ({error!r})") from error


class GatedHead(Head):
    """Labels as fixed vectors, some of which a gate and a classifier answer better.

    The probability that none of the labels fits is that of the vectors. What is left goes to the
    best label with examples by the classifier, and to the best other label by its vector, in the
    ratio that the gate gives; the other labels of each side follow in proportion.

    Args:
        concepts: The C labels as vectors.
        texts: C texts of the labels, by which the gate is bound again when a head is loaded.
        gate: Bound to the labels.
    """

    name = "gated-concepts"
    reads = "features"

    def __init__(self, concepts: ConceptHead, texts: Sequence[str], gate: Any) -> None:
        self.concepts, self.texts, self.gate = concepts, tuple(texts), gate
        self.labels = concepts.labels

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips; a clip scores the same alone and in company."""
        return Scores.join((self._score(row) for row in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        scores = self.concepts.scores([encoded])
        has = self.gate.has_examples
        odds, in_domain = self.gate.answer(encoded.features[None], scores.similarity)
        total = scores.probability.sum(axis=1, keepdims=True)
        others = _shares(scores.probability[:, ~has])
        best = np.log(in_domain.max(axis=1)) - np.log(others.max(axis=1))
        of_seen = sigmoid(odds - best)[:, None]
        probability = np.zeros_like(scores.probability)
        probability[:, has] = total * of_seen * in_domain
        probability[:, ~has] = total * (1.0 - of_seen) * others
        return replace(scores, probability=probability)

    def config(self) -> JsonDict:
        """Settings of the labels as vectors, and the texts."""
        return {**self.concepts.config(), "head": self.name, "texts": list(self.texts)}

    def state(self) -> dict[str, Array]:
        """The labels as vectors; the gate is saved with the adapter."""
        return self.concepts.state()

    @staticmethod
    def restore(config: Mapping[str, Any], state: Mapping[str, Array], gate: Any) -> GatedHead:
        """The head that ``config`` and ``state`` were saved from.

        Raises:
            ModelError: the adapter has no gate for these labels, or something is malformed.
        """
        concepts = ConceptHead.restore(config, state)
        if gate is None or len(gate.has_examples) != len(concepts.labels):
            raise ModelError(
                f"the saved labels {', '.join(concepts.labels)[:80]!r} need a gate that this model "
                "does not have; make the classifier again"
            )
        return GatedHead(concepts, [str(text) for text in config["texts"]], gate)


class TaughtHead(Head):
    """Labels of a head, some of which judgements of clips moved.

    The log odds of such a label are those of the head plus a linear function of the clip's vector.
    Where labels exclude each other, all of them and "none" share what is left.

    Args:
        head: Scores the labels by their words.
        mode: ``one`` or ``multi``.
        shift: (C, D) weights of a clip's vector in log odds; 0 for a label as the head has it.
        offset: (C,) log odds that are added.
    """

    name = "taught"
    reads = "features"

    def __init__(self, head: Head, mode: str, shift: Float32, offset: Float64) -> None:
        self.head, self.mode, self.shift, self.offset = head, mode, shift, offset
        self.labels = head.labels

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips; a clip scores the same alone and in company."""
        return Scores.join((self._score(row) for row in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        scores = self.head.scores([encoded])
        moved = self.shift.astype(np.float64) @ encoded.vector.astype(np.float64) + self.offset
        if self.mode == "multi":
            inside = scores.probability.clip(_EDGE, 1.0 - _EDGE)
            probability = sigmoid(np.log(inside) - np.log1p(-inside) + moved)
            return replace(scores, probability=probability, unknown=1.0 - probability.max(axis=1))
        weights = scores.probability * np.exp(np.minimum(moved, _MOST_MOVED))
        total = weights.sum(axis=1) + scores.unknown
        return replace(scores, probability=weights / total[:, None], unknown=scores.unknown / total)

    @staticmethod
    def of(head: Head, mode: str, concepts: Mapping[str, Concept], fingerprint: str) -> Head:
        """The head itself, or with what judgements taught about some of its labels.

        Args:
            head: Scores the labels by their words.
            mode: ``one`` or ``multi``.
            concepts: By label.
            fingerprint: Of the encoder whose clips are scored.

        Raises:
            UsageError: a concept belongs to another model.
        """
        for label, concept in concepts.items():
            if concept.fingerprint != fingerprint:
                raise UsageError(
                    f"concept {label!r} was taught to another model; use the model of its library, "
                    "or judge hits of a library of this one"
                )
        if not concepts:
            return head
        taught = [concepts.get(label) for label in head.labels]
        nothing = np.zeros_like(next(iter(concepts.values())).shift)
        shift = np.stack([nothing if each is None else each.shift for each in taught])
        offset = np.array([0.0 if each is None else each.offset for each in taught])
        return TaughtHead(head, mode, shift, offset)

    def config(self) -> JsonDict:
        """The mode, and the settings of the head."""
        return {"head": self.name, "mode": self.mode, "of": self.head.config()}

    def state(self) -> dict[str, Array]:
        """Shift, offset, and the arrays of the head."""
        return {**self.head.state(), "shift": self.shift, "taught_offset": self.offset}


def _shares(probability: Float64) -> Float64:
    """Rows (n, A) that sum to 1; even ones where all are 0."""
    total = probability.sum(axis=1, keepdims=True)
    even = np.full_like(probability, 1.0 / probability.shape[1])
    return np.divide(probability, total, out=even, where=total > 0)


def roll_up(probability: npt.ArrayLike, tree: Tree) -> Float64:
    """Sum the probabilities of the fine labels of each coarse label.

    Args:
        probability: (N, C), the columns in the order of ``tree.fine``.
        tree: The labels.

    Returns:
        (N, J) float64 in the order of ``tree.coarse``; rows sum to what the fine ones sum to.

    Raises:
        UsageError: another number of columns.
    """
    fine = np.asarray(probability, np.float64)
    if fine.ndim != 2 or fine.shape[1] != len(tree.fine):
        raise UsageError(
            f"probabilities have the shape {fine.shape}, and the label tree has "
            f"{len(tree.fine)} fine labels; give (N, {len(tree.fine)})"
        )
    member = np.eye(len(tree.coarse))[list(tree.parent_columns)]
    return fine @ member
