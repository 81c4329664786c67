"""Sentences about the body from the verb table: one clause for each clear attribute."""

from __future__ import annotations

from vlar.motion_language.clauses import CLAUSES
from vlar.motion_language.verb_table import TextMotion
from vlar.pose.attributes.base import attribute_names

_CLEAR = 0.5  # weight from which an attribute gets a clause
_MOST = 5  # clauses in a sentence
_FEWEST = 2


def motion_sentence(motion: TextMotion) -> str | None:
    """What the body does, in one sentence; None if too few attributes are clear.

    Args:
        motion: Result of a verb table's look-up.
    """
    names = attribute_names()
    weights = {name: float(w) for name, w in zip(names, motion.weights, strict=True)}
    clear = {
        name: poles[0] if weights[name] > 0 else poles[1]
        for name, poles in CLAUSES.items()
        if abs(weights[name]) >= _CLEAR
    }
    told = [name for name, clause in clear.items() if clause]
    told = sorted(told, key=lambda name: -abs(weights[name]))[:_MOST]
    clauses = [clause for name, clause in clear.items() if name in told]
    if len(clauses) < _FEWEST:
        return None
    text = f"{', '.join(clauses[:-1])} and {clauses[-1]}."
    return text[0].upper() + text[1:]
