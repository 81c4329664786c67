"""Words that change a verb: with both hands, in place, backwards, slowly.

The verb table has many phrases with such words of their own; these apply to a verb only where the
phrase found in a text does not hold them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np

from vlar.pose.attribute import attribute_names
from vlar.types import Float32

_ONE = ("one", "single", "right", "left")
_HANDS, _FEET = ("hand", "hands", "arm", "arms"), ("leg", "legs", "foot", "feet")
# What stands in the text (any of the alternatives), and what it sets.
_SETS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (tuple(f"{two} {part}" for two in ("both", "two") for part in _HANDS), {"both_arms": 1.0}),
    (
        tuple(f"{one} {part}" for one in _ONE for part in ("hand", "arm")),
        {"both_arms": -1.0, "both_arms_up": -1.0, "hands_joined": -0.5},
    ),
    (
        tuple(f"{two} {part}" for two in ("both", "two") for part in _FEET),
        {"leg_alt": -1.0, "hop": 0.8, "kick": -0.5},
    ),
    (
        tuple(f"{one} {part}" for one in _ONE for part in ("leg", "foot")),
        {"kick": 0.6, "one_leg_stand": 0.4},
    ),
    (("in place", "on the spot"), {"travel": -1.0, "fast": -0.5}),
    (("forward", "forwards", "ahead", "across"), {"travel": 1.0, "forward": 0.8}),
    (("backward", "backwards"), {"travel": 0.8, "forward": -1.0}),
    (("sideways", "sidewards"), {"travel": 0.8, "forward": -0.5, "leg_open": 0.8, "leg_alt": -0.4}),
    (("toward the camera", "towards the camera", "closer"), {"approach": 1.0}),
    (("away", "away from the camera"), {"approach": -0.6}),
    (("quickly", "fast", "rapidly", "hard"), {"energy": 0.6, "wrist_peak": 0.4}),
    (("slowly", "gently", "slow"), {"energy": -0.6, "wrist_peak": -0.6, "fast": -0.6}),
    (("repeatedly", "again again", "over over"), {"periodic": 1.0, "wrist_rep": 0.8}),
    (("once",), {"periodic": -0.8, "wrist_rep": -0.6}),
    (("overhead", "above the head", "over the head"), {"hands_mid": -0.6, "hands_front": -0.3}),
    (("upside down",), {"upside": 1.0}),
)


def digest() -> str:
    """Hash of what the words set."""
    return hashlib.sha256(repr(_SETS).encode()).hexdigest()


def modified(weights: Float32, text: str, phrase_words: Collection[str]) -> Float32:
    """A verb's weights (A,) as the words around it in ``text`` change them.

    Args:
        weights: Of the phrase that was found.
        text: The part of the text it was found in, in lower case.
        phrase_words: The words of that phrase; what they say already is left as it is.
    """
    names = attribute_names()
    changed = weights.copy()
    padded = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text).split())} "
    for alternatives, sets in _SETS:
        said = [words for words in alternatives if f" {words} " in padded]
        if not said or set(said[0].split()) & set(phrase_words):
            continue
        for name, weight in sets.items():
            changed[names.index(name)] = weight
        if sets.get("both_arms") == 1.0:
            _to_both_arms(changed, names)
    return np.clip(changed, -1, 1)


def _to_both_arms(weights: Float32, names: tuple[str, ...]) -> None:
    one, both = names.index("one_arm_up"), names.index("both_arms_up")
    if weights[one] > 0:
        weights[both], weights[one] = weights[one], -0.5
        weights[names.index("arms_sym")] = 0.5
