"""A label list made ready for a model: parsed, encoded, and bound to what answers about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlar.encoders.base import BlockMix, Encoder
from vlar.errors import UsageError
from vlar.model.concepts import described_vectors
from vlar.scoring import ContentFree, EachScorer, Scorer, Scores
from vlar.text.bank import load_bank
from vlar.text.clean import clean_label
from vlar.text.description_lookup import described_share, descriptions_of
from vlar.text.labels import LabelList, parse_labels
from vlar.types import Encoded, Float32, Float64

if TYPE_CHECKING:
    from vlar.model.adapt import Adaptation
    from vlar.model.model import Model
    from vlar.scoring import Calibration

BACKGROUND_BANK = "everyday_actions"
_BACKGROUND_KIND = "sentence"
_CONDITIONED_BACKGROUND = 128  # entries, evenly taken from the bank: they cost text for each video
Labels = str | Path | Sequence[str] | LabelList
Score = tuple[Float32, Float64, float]
Descriptions = str | Sequence[str]
MODES = ("one", "multi")
_ENOUGH_DESCRIBED = 2 / 3  # of the labels: fewer, and names are compared with descriptions


@dataclass(frozen=True)
class Question:
    """C labels, their keys (the spelling of their source), and what answers about them.

    ``score`` gives similarity (C,), probability (C,) and the probability of unknown for one clip;
    probabilities sum to 1, or with several labels at once stand each for itself.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    score: Callable[[Encoded], Score]


def make_question(
    model: Model,
    labels: Labels | None,
    *,
    mode: str = "one",
    descriptions: Descriptions = "auto",
) -> Question:
    """Make a label list ready; an adapted model brings its own.

    Args:
        model: What answers.
        labels: See ``Model.classify``.
        mode: ``one`` label fits, or ``multi``: several may.
        descriptions: See :func:`label_concepts`; an adapted model and text that depends on the
            video go by names.

    Raises:
        LabelError: the list cannot be used.
        UsageError: there are no labels, labels an adapted model has no examples of, or no such
            mode.
    """
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}; it is 'one' label or 'multi'")
    if model.adaptation is not None:
        question = _adapted(model, model.adaptation, labels, mode)
    elif labels is None:
        raise UsageError(
            f"model {model.name!r} has no labels of its own; give labels: 'a, b, c', a file or "
            "bank:NAME (on the command line with --labels)"
        )
    elif model.conditions_text:
        question = _conditioned(model, parse_labels(labels), mode)
    else:
        question = _zero_shot(model, parse_labels(labels), mode, descriptions)
    return question if model.calibration is None else _calibrated(question, model.calibration, mode)


def label_concepts(model: Model, labels: LabelList, descriptions: Descriptions = "auto") -> Float32:
    """Concept vectors (C, D) of a label list.

    Args:
        model: Whose text tower reads them.
        labels: The list.
        descriptions: ``auto`` joins the descriptions the encoder was measured to gain from, where
            the banks describe at least two thirds of the labels; ``none`` goes by names; kinds
            (``scene,motion`` or a sequence) join these, where there are any.

    Raises:
        UsageError: kinds were named and no label has a description of any of them.
    """
    return label_vectors(model, labels, descriptions)[0]


def label_vectors(
    model: Model, labels: LabelList, descriptions: Descriptions = "auto"
) -> tuple[Float32, Float32]:
    """Concepts (C, D) of a label list, and the background (B, D) they are compared with.

    A background of names would lie nearer to some videos than labels with descriptions do, or
    farther, for no reason of meaning: where labels are described, so is the background, in the
    same blocks. See :func:`label_concepts`.
    """
    mixes = _mixes(model.encoder, descriptions)
    described = descriptions_of(labels.texts, labels.entries) if mixes else []
    if descriptions == "auto":
        mixes = mixes if described_share(described) >= _ENOUGH_DESCRIBED else ()
    elif mixes and not any(k in row for mix in mixes for k in mix.kinds for row in described):
        there = sorted({kind for row in described for kind in row})
        raise UsageError(
            f"no label has a description of the kind {_listed(descriptions)}; the banks have "
            f"{_listed(there) or 'none'} for these"
        )
    if not mixes:
        return model.encode_queries(labels.texts), model.background
    return (
        described_vectors(model.encoder, labels.texts, described, model.prompts, mixes),
        described_background(model, mixes),
    )


def described_background(model: Model, mixes: Sequence[BlockMix]) -> Float32:
    """Everyday actions told by one sentence each.

    All kinds of description would take four times as long to encode, which the first answer would
    wait for, and are not measurably better (evals/README.md).
    """
    bank = load_bank(BACKGROUND_BANK)
    told = [{_BACKGROUND_KIND: entry.describe(_BACKGROUND_KIND)} for entry in bank.entries]
    told_by = [BlockMix(mix.block, {_BACKGROUND_KIND: 1.0}, mix.weight) for mix in mixes]
    return described_vectors(model.encoder, bank.texts, told, model.prompts, told_by)


def _mixes(encoder: Encoder, descriptions: Descriptions) -> tuple[BlockMix, ...]:
    if descriptions == "auto":
        return encoder.descriptions
    if descriptions == "none":
        return ()
    given = descriptions.split(",") if isinstance(descriptions, str) else descriptions
    kinds = [kind.strip() for kind in given if kind.strip()]
    if not kinds:
        raise UsageError("no kind of description was given; write 'none', 'auto' or KIND,KIND")
    weights = {"name": 1.0, **dict.fromkeys(kinds, 1.0)}
    if encoder.descriptions:
        return tuple(BlockMix(mix.block, weights, mix.weight) for mix in encoder.descriptions)
    return tuple(BlockMix(block.name, weights) for block in encoder.blocks if block.has_text)


def _listed(kinds: Descriptions) -> str:
    return kinds if isinstance(kinds, str) else ", ".join(kinds)


def _zero_shot(model: Model, labels: LabelList, mode: str, descriptions: Descriptions) -> Question:
    scorer = make_scorer(model, *label_vectors(model, labels, descriptions), mode)
    return Question(
        labels.labels, labels.keys, lambda seen: _first(scorer.score(seen.vector[None]))
    )


def _conditioned(model: Model, labels: LabelList, mode: str) -> Question:
    # The text is another one for each video, and so is the background it is compared with.
    every = load_bank(BACKGROUND_BANK).texts
    texts = (*labels.texts, *every[:: -(-len(every) // _CONDITIONED_BACKGROUND)])
    n_labels = len(labels.texts)

    def score(seen: Encoded) -> Score:
        assert seen.context is not None  # the encoder conditions text, so it gives context
        words = model.conditioned_queries(texts, seen.context[None])[0]
        scorer = make_scorer(model, words[:n_labels], words[n_labels:], mode)
        return _first(scorer.score(seen.vector[None]))

    return Question(labels.labels, labels.keys, score)


def make_scorer(
    model: Model, concepts: Float32, background: Float32, mode: str = "one"
) -> Scorer | EachScorer:
    """What scores vectors of a model against concepts (C, D) and a background (B, D)."""
    return (Scorer if mode == "one" else EachScorer)(
        concepts,
        background,
        logit_scale=model.encoder.logit_scale,
        content_free=model.content_free,
    )


def _calibrated(question: Question, calibration: Calibration, mode: str) -> Question:
    def score(seen: Encoded) -> Score:
        similarity, probability, unknown = question.score(seen)
        if mode == "one":
            curved, nothing = calibration.one(probability[None], np.array([unknown]))
        else:
            curved, nothing = calibration.each(probability[None])
        return similarity, curved[0], float(nothing[0])

    return Question(question.labels, question.keys, score)


def _first(scores: Scores) -> Score:
    return scores.similarity[0], scores.probability[0], float(scores.unknown_probability[0])


def _adapted(model: Model, adaptation: Adaptation, labels: Labels | None, mode: str) -> Question:
    known = adaptation.labels
    asked = known if labels is None else parse_labels(labels).spelled_as(known)
    strange = [label for label in asked if label not in known]
    if strange:
        raise UsageError(
            f"model {model.name!r} was adapted to {', '.join(known)}; it has no examples of "
            f"{', '.join(strange)}: add some to the support set, or classify with the zero-shot "
            f"model {model.encoder.name!r}"
        )
    columns = [known.index(label) for label in asked]
    nothing = ContentFree(model.content_free)
    conditioned = model.conditions_text and adaptation.trained
    texts = [clean_label(label) for label in known]

    def score(seen: Encoded) -> Score:
        concepts = None
        if conditioned and seen.context is not None:
            concepts = model.conditioned_queries(texts, seen.context[None])[0]
        similarity, probability, unknown = adaptation.score(
            seen.features, seen.vector[None], columns, concepts
        )
        blank = float(nothing.probability(seen.vector[None])[0])
        if mode == "multi":
            each = adaptation.novelty.known(similarity) * (1.0 - blank)
            return similarity, each, 1.0 - float(each.max())
        return similarity, probability * (1.0 - blank), blank + (1.0 - blank) * unknown

    return Question(asked, asked, score)
