"""A label list made ready for a model: parsed, encoded, and bound to what answers about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import UsageError
from vlar.scoring import ContentFree, Scorer, Scores
from vlar.text.bank import load_bank
from vlar.text.labels import LabelList, clean_label, parse_labels
from vlar.types import Float32, Float64

if TYPE_CHECKING:
    from vlar.adaptation import Adaptation
    from vlar.model import Model

BACKGROUND_BANK = "everyday_actions"
_CONDITIONED_BACKGROUND = 128  # entries, evenly taken from the bank: they cost text for each video
Labels = str | Path | Sequence[str] | LabelList
Score = tuple[Float32, Float64, float]


@dataclass(frozen=True)
class Seen:
    """One clip as the encoder sees it.

    Attributes:
        features: (T, F) frame features.
        vector: (1, D) unit vector.
        context: (1, k, E) context tokens where text depends on the video, else None.
    """

    features: Float32
    vector: Float32
    context: Float32 | None = None


@dataclass(frozen=True)
class Question:
    """C labels and what answers about them.

    ``score`` gives similarity (C,), probability (C,) and the probability of unknown for one clip;
    probabilities sum to 1.
    """

    labels: tuple[str, ...]
    score: Callable[[Seen], Score]


def make_question(model: Model, labels: Labels | None) -> Question:
    """Make a label list ready; an adapted model brings its own.

    Raises:
        LabelError: the list cannot be used.
        UsageError: there are no labels, or labels an adapted model has no examples of.
    """
    if model.adaptation is not None:
        return _adapted(model, model.adaptation, labels)
    if labels is None:
        raise UsageError(
            f"model {model.name!r} has no labels of its own; give labels: 'a, b, c', a file or "
            "bank:NAME (on the command line with --labels)"
        )
    listed = parse_labels(labels)
    return _conditioned(model, listed) if model.conditions_text else _zero_shot(model, listed)


def _zero_shot(model: Model, labels: LabelList) -> Question:
    scorer = _scorer(model, model.encode_queries(labels.texts), model.background)
    return Question(labels.labels, lambda seen: _first(scorer.score(seen.vector)))


def _conditioned(model: Model, labels: LabelList) -> Question:
    # The text is another one for each video, and so is the background it is compared with.
    every = load_bank(BACKGROUND_BANK).texts
    texts = (*labels.texts, *every[:: -(-len(every) // _CONDITIONED_BACKGROUND)])
    n_labels = len(labels.texts)

    def score(seen: Seen) -> Score:
        assert seen.context is not None  # the encoder conditions text, so it gives context
        words = model.conditioned_queries(texts, seen.context)[0]
        scorer = _scorer(model, words[:n_labels], words[n_labels:])
        return _first(scorer.score(seen.vector))

    return Question(labels.labels, score)


def _scorer(model: Model, concepts: Float32, background: Float32) -> Scorer:
    return Scorer(
        concepts,
        background,
        logit_scale=model.encoder.logit_scale,
        content_free=model.content_free,
    )


def _first(scores: Scores) -> Score:
    return scores.similarity[0], scores.probability[0], float(scores.unknown_probability[0])


def _adapted(model: Model, adaptation: Adaptation, labels: Labels | None) -> Question:
    known = adaptation.labels
    asked = known if labels is None else parse_labels(labels).labels
    strange = [label for label in asked if label not in known]
    if strange:
        raise UsageError(
            f"model {model.name!r} was adapted to {', '.join(known)}; it has no examples of "
            f"{', '.join(strange)}: add some to the support set, or classify with the zero-shot "
            f"model {model.encoder.name!r}"
        )
    columns = [known.index(label) for label in asked]
    nothing = ContentFree(model.content_free)
    conditioned = model.conditions_text and adaptation.trained_alone
    texts = [clean_label(label) for label in known]

    def score(seen: Seen) -> Score:
        concepts = None
        if conditioned and seen.context is not None:
            concepts = model.conditioned_queries(texts, seen.context)[0]
        similarity, probability, unknown = adaptation.score(
            seen.features, seen.vector, columns, concepts
        )
        blank = float(nothing.probability(seen.vector)[0])
        return similarity, probability * (1.0 - blank), blank + (1.0 - blank) * unknown

    return Question(asked, score)
