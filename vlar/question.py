"""A label list made ready for a model: parsed, encoded, and bound to what answers about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import UsageError
from vlar.scoring import ContentFree, Scorer
from vlar.text.labels import LabelList, parse_labels
from vlar.types import Float32, Float64

if TYPE_CHECKING:
    from vlar.adaptation import Adaptation
    from vlar.model import Model

Labels = str | Path | Sequence[str] | LabelList
Score = tuple[Float32, Float64, float]


@dataclass(frozen=True)
class Question:
    """C labels and what answers about them.

    ``score`` takes one clip's frame features (T, F) and vector (1, D) and gives similarity (C,),
    probability (C,) and the probability of unknown, which sum to 1.
    """

    labels: tuple[str, ...]
    score: Callable[[Float32, Float32], Score]


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
    return _zero_shot(model, parse_labels(labels))


def _zero_shot(model: Model, labels: LabelList) -> Question:
    scorer = Scorer(
        model.encode_queries(labels.texts),
        model.background,
        logit_scale=model.encoder.logit_scale,
        content_free=model.content_free,
    )

    def score(_: Float32, vector: Float32) -> Score:
        scores = scorer.score(vector)
        return scores.similarity[0], scores.probability[0], float(scores.unknown_probability[0])

    return Question(labels.labels, score)


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

    def score(features: Float32, vector: Float32) -> Score:
        similarity, probability, unknown = adaptation.score(features, vector, columns)
        blank = float(nothing.probability(vector)[0])
        return similarity, probability * (1.0 - blank), blank + (1.0 - blank) * unknown

    return Question(asked, score)
