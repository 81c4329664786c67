"""Labels in parts from two lists: every verb with every object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vlar.errors import LabelError
from vlar.language.clean import MOST_LABELS
from vlar.language.labels import LabelList, parse_labels

_PLACE = "[something]"  # of an object in a template of Something-Something V2


def parse_pairs(
    verbs: str | Path | Sequence[str], objects: str | Path | Sequence[str]
) -> LabelList:
    """Every verb with every object, as labels in parts.

    Args:
        verbs: Verbs, or templates such as ``Opening [something]``: given as ``parse_labels`` takes
            labels.
        objects: Objects, likewise.

    Raises:
        LabelError: one of the lists cannot be used, or there are too many pairs.
    """
    words, things = parse_labels(verbs), parse_labels(objects)
    if (count := len(words) * len(things)) > MOST_LABELS:
        raise LabelError(
            f"{len(words):,} verbs and {len(things):,} objects make {count:,} pairs; at most "
            f"{MOST_LABELS:,} are compared: shorten the lists"
        )
    parts = {
        pair_label(verb, noun): {"verb": verb, "object": noun}
        for verb in words.labels
        for noun in things.labels
    }
    listed = parse_labels(list(parts))
    return replace(
        listed,
        source=f"{words.source} with {things.source}",
        notes=(*words.notes, *things.notes, *listed.notes),
        parts=tuple(parts[label] for label in listed.labels),
    )


def pair_label(verb: str, noun: str) -> str:
    """The label of a verb and an object: the object in the first place of a template, or after it.

    >>> pair_label("Covering [something] with [something]", "glass")
    'Covering glass with something'
    >>> pair_label("open", "door")
    'open door'
    """
    text = verb.replace(_PLACE, noun, 1) if _PLACE in verb else f"{verb} {noun}"
    return text.replace(_PLACE, "something")
