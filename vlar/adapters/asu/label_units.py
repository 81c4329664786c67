"""The units of a label list, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence

from vlar.encoders.base import Encoder
from vlar.motion_language.verbs_in_text import verb_of
from vlar.numeric import unit
from vlar.text.clean import clean_label
from vlar.text.description_lookup import descriptions_of
from vlar.text.units import BODY_PARTS, Unit, extract_units
from vlar.types import Float32

_SAME = 0.9  # cosine from which two units mean the same
#: The units of a list that no bank describes.
BODY = [Unit("body", part) for part in BODY_PARTS]


def label_units(labels: Sequence[str], encoder: Encoder | None = None) -> list[Unit]:
    """The units that the banks' descriptions of some labels name; body parts where there are none.

    Args:
        labels: C labels.
        encoder: Leaves out units that mean the same to it as an earlier one; None keeps all.
    """
    described = descriptions_of([clean_label(label) for label in labels])
    units = extract_units(described, verb_of) or list(BODY)
    if encoder is None:
        return units
    vectors = unit_vectors(encoder, units)
    kept: list[int] = []
    for row in range(len(units)):
        if not kept or float((vectors[kept] @ vectors[row]).max()) <= _SAME:
            kept.append(row)
    return [units[row] for row in kept]


def unit_vectors(encoder: Encoder, units: Sequence[Unit]) -> Float32:
    """(U, D) float32 of unit length: the mean of each unit's word and sentence."""
    texts = [text for one in units for text in one.texts]
    return unit(encoder.encode_text(texts).reshape(len(units), -1, encoder.dim).mean(axis=1))
