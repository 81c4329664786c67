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
from vlar.encoders.joint import JointEncoder
from vlar.errors import SupportError
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.support import Support, read_support
from vlar.fewshot.targets import check_single
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, check_memory, read_complete
from vlar.model.label_heads import label_vectors, make_classifier
from vlar.model.part_weights import fit_factors
from vlar.scoring.calibration import Calibration, fit_calibration
from vlar.text.clean import label_key
from vlar.text.labels import LabelList, LabelSet, parse_labels
from vlar.types import Encoded, Failure, Float64, ProgressCallback

_FEWEST_LABELS = 3  # one is taken off the list at a time, and two must stay


@dataclass(frozen=True)
class Calibrated:
    """What a calibration gives.

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
    one = make_classifier(core, LabelSet(labels), adapted=adapted)
    multi = make_classifier(core, LabelSet(labels, "multi"), adapted=adapted)
    column = {label_key(label): number for number, label in enumerate(one.labels)}
    answers = np.array([column[label_key(item.label)] for item in examples.items])
    scores = one.scores(examples.encoded)
    outside = None
    if adapted is None and not core.conditions_text:
        outside = _unknown_without_own_label(core, labels, answers, examples.encoded)
    found = fit_calibration(
        scores.probability,
        answers,
        unknown=scores.unknown,
        outside=outside,
        each=multi.scores(examples.encoded).probability,
        unknown_share=unknown_share,
    )
    return Calibrated(core.encoder, found, examples.failed)


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
