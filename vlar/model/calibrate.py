"""From clips whose labels are known to probabilities that can be taken at their word.

Strangers need no clips of their own: every clip is asked again about all labels but its own. A
calibration holds for other label lists of the same model too, as far as their labels are told
apart equally well; it is best fitted on the list that will be asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlar.errors import SupportError
from vlar.fewshot import Support, read_support
from vlar.model.adapt import check_rest, see_examples
from vlar.model.classifier import label_vectors, make_question, make_scorer
from vlar.scoring import fit_calibration
from vlar.text.clean import clean_label
from vlar.text.labels import parse_labels
from vlar.types import Encoded, Failure, Float64, ProgressCallback

if TYPE_CHECKING:
    from pathlib import Path

    from vlar.model.model import Model

_FEWEST_LABELS = 3  # one is taken off the list to make strangers, two must stay


def calibrate(
    model: Model,
    source: str | Path | Support,
    unknown_share: float,
    progress: ProgressCallback | None = None,
) -> tuple[Model, tuple[Failure, ...]]:
    """The same model with a calibration fitted on examples, and those that could not be read.

    An adapted model must not have learned from these clips; its ``unknown`` stays as the support
    set left it.

    Raises:
        SupportError: the examples cannot be used.
        UsageError: labels an adapted model does not know, or a share outside 0..1.
    """
    from vlar.model.model import Model

    support = source if isinstance(source, Support) else read_support(source)
    if len(support.labels) < _FEWEST_LABELS:
        raise SupportError(
            f"{support.source} has {len(support.labels)} labels; a calibration needs at least "
            f"{_FEWEST_LABELS}"
        )
    plain = Model(
        model.encoder, adaptation=model.adaptation, templates=model.template_set, name=model.name
    )
    one = make_question(plain, support.labels)
    multi = make_question(plain, support.labels, mode="multi")
    used, seen, failed = see_examples(plain, support.items, progress, sampler=plain.view_sampler)
    check_rest(support, used, failed)
    place = {_key(label): column for column, label in enumerate(one.labels)}
    answers = np.array([place[_key(item.label)] for item in used])
    scores = [one.score(clip) for clip in seen]
    found = fit_calibration(
        np.stack([probability for _, probability, _ in scores]),
        answers,
        unknown=np.array([unknown for _, _, unknown in scores]),
        strangers=_strangers(plain, support.labels, answers, seen),
        each=np.stack([multi.score(clip)[1] for clip in seen]),
        unknown_share=unknown_share,
    )
    plain.calibration = found
    return plain, tuple(failed)


def _strangers(
    model: Model, labels: tuple[str, ...], answers: np.ndarray, seen: list[Encoded]
) -> Float64 | None:
    """Probability of unknown of each clip where its own label is not on the list."""
    if model.adaptation is not None or model.conditions_text:
        return None
    concepts, background = label_vectors(model, parse_labels(labels))
    vectors = np.stack([clip.vector for clip in seen])
    unknown = np.zeros(len(seen))
    for label in np.unique(answers):
        others = make_scorer(model, np.delete(concepts, label, axis=0), background)
        unknown[answers == label] = others.score(vectors[answers == label]).unknown_probability
    return unknown


def _key(label: str) -> str:
    return " ".join(clean_label(label).casefold().split())
