"""Zero-shot heads: concepts that are fixed, and concepts that depend on the clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vlar.errors import ModelError, UsageError
from vlar.scoring.base import Array, Head, Scores
from vlar.scoring.multi_label import MultiLabelScorer
from vlar.scoring.zero_shot import LabelScorer, ZeroShotScorer
from vlar.types import Encoded, Float32, Float64, JsonDict

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
) -> LabelScorer:
    """The rule that scores vectors (N, D) against concepts (C, D) and a background (B, D).

    Args:
        concepts: (C, D) float32 unit vectors of the labels.
        background: (B, D) float32 unit vectors of everyday actions.
        mode: ``one`` label fits or none, or ``multi``: each label for itself.
        logit_scale: Factor from cosine to logit.
        content_free: (M, D) float32 unit vectors of content-free clips; None for none.
        offsets: (C,) what each label loses from its cosine; None for nothing.
    """
    rule = ZeroShotScorer if check_mode(mode) == "one" else MultiLabelScorer
    return rule(
        concepts,
        background,
        logit_scale=logit_scale,
        content_free=content_free,
        offsets=offsets,
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
    ) -> None:
        self.labels, self.mode, self.logit_scale = tuple(labels), mode, logit_scale
        self.concepts, self.background, self.content_free = concepts, background, content_free
        self.offsets = offsets
        self._scorer = make_scorer(
            concepts,
            background,
            mode=mode,
            logit_scale=logit_scale,
            content_free=content_free,
            offsets=offsets,
        )

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips by their vectors."""
        rows = (self._scorer.score(each.vector[None]) for each in encoded)
        return Scores.join(rows, len(self.labels))

    def config(self) -> JsonDict:
        """Labels, mode and scale."""
        return {
            "head": self.name,
            "labels": list(self.labels),
            "mode": self.mode,
            "logit_scale": self.logit_scale,
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
    ) -> None:
        self.labels, self.texts, self.background = tuple(labels), tuple(texts), tuple(background)
        self.mode, self.logit_scale, self.content_free = check_mode(mode), logit_scale, content_free
        self._words = words

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips by their vectors and their context tokens."""
        return Scores.join((self._score(each) for each in encoded), len(self.labels))

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
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise ModelError(f"the saved labels are incomplete or malformed ({error!r})") from error
