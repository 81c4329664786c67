"""Calibrate a model's probabilities on clips whose labels are known.

No out-of-distribution clips are needed: every clip is also scored against all labels but its own. A
calibration holds for other label lists of the same model too, as far as their labels are equally
easy to separate; it is best fitted on the list that will be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlar.encoders.base import Encoder
from vlar.encoders.fused import JointEncoder
from vlar.errors import SupportError
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.calibration import Calibration, fit_calibration
from vlar.heads.logistic import fit_temperature
from vlar.heads.support import Support, read_support
from vlar.heads.targets import check_single
from vlar.language.clean import label_key
from vlar.language.labels import LabelList, LabelSet, parse_labels
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, check_memory, read_complete
from vlar.model.label_heads import label_vectors, make_classifier
from vlar.types import Encoded, Failure, Float32, Float64, ProgressCallback

# On the factor that a part has; rounded, since the factor stands in the model's name.
_STEPS = [float(f"{2.0**half:.3g}") for half in np.arange(-4, 4.5, 0.5)]
_ROUNDS = 2
_ERRORS = 2.0  # standard errors that a gain must exceed; see evals/results/joined.json


def fit_factors(
    encoder: JointEncoder, vectors: Float32, concepts: Float32, answers: npt.NDArray[np.integer]
) -> tuple[float, ...]:
    """The factors of the parts under which labelled clips are most likely.

    Args:
        encoder: The joint encoder, with the factors to start from.
        vectors: (n, D) float32 unit vectors of the clips.
        concepts: (C, D) float32 unit vectors of the labels.
        answers: (n,) number of the right label.

    Returns:
        One factor a part; the encoder's own where no other choice is better by more than two
        standard errors.
    """
    start = encoder.factors
    first = _losses(encoder, start, vectors, concepts, answers)
    best, loss = start, first
    for _ in range(_ROUNDS):
        for part in range(1, len(start)):
            for step in _STEPS:
                changed = (*best[:part], start[part] * step, *best[part + 1 :])
                losses = _losses(encoder, changed, vectors, concepts, answers)
                if losses.mean() < loss.mean():
                    best, loss = changed, losses
    gain = first - loss
    error = gain.std() / np.sqrt(len(gain))
    return best if gain.mean() > _ERRORS * error else start


def _losses(
    encoder: JointEncoder,
    factors: Sequence[float],
    vectors: Float32,
    concepts: Float32,
    answers: npt.NDArray[np.integer],
) -> Float64:
    """(n,) minus log of the right label's share, at the temperature that fits best."""
    other = encoder.weighted(factors)
    cosines = encoder.reweighted(vectors, other) @ encoder.reweighted(concepts, other).T
    logits = fit_temperature(cosines, answers) * cosines.astype(np.float64)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return log_sum - logits[np.arange(len(answers)), answers]


_FEWEST_LABELS = 3  # one is taken off the list at a time, and two must stay


@dataclass(frozen=True)
class Calibrated:
    """Result of a calibration.

    Attributes:
        encoder: The encoder; one of several parts (``A+B``) may have other weights now.
        calibration: Curves over the probabilities.
        failed: The examples that could not be read.
    """

    encoder: Encoder
    calibration: Calibration
    failed: tuple[Failure, ...]


def calibrate(
    core: ModelCore,
    adapted: AdaptedHead | None,
    source: str | Path | Support,
    unknown_share: float,
    progress: ProgressCallback | None = None,
) -> Calibrated:
    """A calibration fitted on examples, and before it the weights of a joint encoder's parts.

    An adapted model must not have learned from these clips; its ``unknown`` stays as the support
    set left it.

    Raises:
        SupportError: the examples cannot be used.
        UsageError: labels an adapted model does not have, or a share outside 0..1.
    """
    modality = core.modality
    support = source if isinstance(source, Support) else read_support(source, modality)
    if len(support.labels) < _FEWEST_LABELS:
        raise SupportError(
            f"{support.source} has {len(support.labels)} labels; a calibration needs at least "
            f"{_FEWEST_LABELS}"
        )
    labels = parse_labels(support.labels)
    check_single(support.labels, support.items, "a calibration")
    check_memory(core, support.items, f"{support.source}: ")
    # An adapted model learned from one view a recording, and is asked about one.
    sampler = core.view_sampler if adapted is None else core.view_sampler.one_view
    examples = read_complete(core, support, support.items, progress, sampler=sampler)
    if adapted is None and isinstance(core.encoder, JointEncoder) and not core.conditions_text:
        shown = np.array([support.labels.index(item.label) for item in examples.items])
        core, examples = _weighted(core, core.encoder, labels, shown, examples)
    # With curves that change nothing: these replace the bounds of encoders without constants.
    one, multi = (
        make_classifier(core, LabelSet(labels, mode), adapted=adapted, calibration=Calibration())
        for mode in ("one", "multi")
    )
    column = {label_key(label): number for number, label in enumerate(one.labels)}
    answers = np.array([column[label_key(item.label)] for item in examples.items])
    scores = one.head.scores(examples.encoded)
    outside = None
    if adapted is None and not core.conditions_text:
        outside = _unknown_without_own_label(core, labels, answers, examples.encoded)
    calibration = fit_calibration(
        scores.probability,
        answers,
        unknown=scores.unknown,
        outside=outside,
        each=multi.head.scores(examples.encoded).probability,
        unknown_share=unknown_share,
    )
    return Calibrated(core.encoder, calibration, examples.failed)


def _weighted(
    core: ModelCore,
    encoder: JointEncoder,
    labels: LabelList,
    answers: npt.NDArray[np.integer],
    examples: EncodedExamples,
) -> tuple[ModelCore, EncodedExamples]:
    """The core with the weights that fit the examples, and the examples as it encodes them."""
    concepts, _ = label_vectors(core, labels)
    factors = fit_factors(encoder, examples.vectors, concepts, answers)
    if factors == encoder.factors:
        return core, examples
    fitted = encoder.weighted(factors)
    vectors = encoder.reweighted(examples.vectors, fitted)
    rows = [replace(row, vector=v) for row, v in zip(examples.encoded, vectors, strict=True)]
    fresh = ModelCore(fitted, templates=core.template_set)
    return fresh, replace(examples, encoded=rows)


def _unknown_without_own_label(
    core: ModelCore,
    labels: LabelList,
    answers: npt.NDArray[np.integer],
    encoded: Sequence[Encoded],
) -> Float64:
    """(n,) probability of unknown of each clip where its own label is not on the list."""
    concepts, background = label_vectors(core, labels)
    vectors = np.stack([clip.vector for clip in encoded])
    unknown = np.zeros(len(encoded))
    for label in np.unique(answers):
        others = core.scorer(np.delete(concepts, label, axis=0), background)
        unknown[answers == label] = others.score(vectors[answers == label]).unknown
    return unknown
