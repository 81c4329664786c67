"""Words of motion attributes: clauses of the whole body and of its parts."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from vlar.files import resources
from vlar.language.clean import base_forms, gerund
from vlar.language.motion.verb_table import TextMotion, VerbTable
from vlar.toml import read_toml

#: The parts that descriptions name (GAP, Xiang et al., ICCV 2023): the hand with its arm, the
#: hip with the torso, the foot with its leg.
PARTS = ("head", "hand", "hip", "foot")
_CLEAR = 0.3  # weight from which a part gets the clause of an attribute
_FILE = resources.find("text_banks", "motion_clauses", ".toml")
_WORDS = read_toml(_FILE.read_text(encoding="utf-8"))
# Clauses of each attribute at its high and at its low pole, in the order of the sentence.
CLAUSES: dict[str, tuple[str, str]] = {
    name: (row["high"], row.get("low", "")) for name, row in _WORDS["attributes"].items()
}
_PART_OF: dict[str, str] = {name: row.get("part", "") for name, row in _WORDS["attributes"].items()}


def part_clauses(motion: TextMotion) -> dict[str, str]:
    """Movement of each part of the body, in the clauses of its clear attributes.

    A part without any does not move, by the text.

    Args:
        motion: Result of a verb table's look-up.

    Returns:
        A clause for each of ``PARTS``; empty if the table has nothing about the text.
    """
    if not np.any(motion.weights):
        return {}
    weights = {name: float(w) for name, w in zip(motion.names, motion.weights, strict=True)}
    clauses: dict[str, str] = {}
    for part in PARTS:
        told = [
            poles[0] if weights.get(name, 0.0) > 0 else poles[1]
            for name, poles in CLAUSES.items()
            if _PART_OF.get(name) == part and abs(weights.get(name, 0.0)) >= _CLEAR
        ]
        told = [clause for clause in told if clause]
        clauses[part] = ", ".join(told) if told else _WORDS["still"][part]
    return clauses


# Words of the table's phrases that are nouns, or empty, in most sentences.
_EMPTY = frozenset({"be", "do", "get", "have"})
_NOUNS = frozenset({"ball", "bike", "box", "face", "hand", "head", "people", "person", "water"})


def verbs_in_text(text: str) -> tuple[str, ...]:
    """The verbs of movement in a text, each in its base form and as a gerund, in order.

    >>> verbs_in_text("Two men are clapping and a child runs.")
    ('clap', 'clapping', 'run', 'running')
    """
    verbs: dict[str, None] = {}
    for word in re.findall(r"[^\W\d_]+", text.casefold()):
        verb = verb_of(word)
        if verb is not None:
            verbs |= dict.fromkeys((verb, gerund(verb)))
    return tuple(verbs)


def verb_of(word: str) -> str | None:
    """The base form of the verb of movement that a word may be; None for other words.

    >>> verb_of("throws"), verb_of("ball")
    ('throw', None)
    """
    # By letter where two are as long: a set has another order in each process.
    forms = sorted(base_forms(word) & _known(), key=lambda form: (len(form), form))
    return forms[0] if forms and word not in _NOUNS and forms[0] not in _EMPTY else None


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    phrases = (phrase for entry in VerbTable.packaged().entries for phrase in entry.phrases)
    return frozenset(phrase.split()[0] for phrase in phrases)
