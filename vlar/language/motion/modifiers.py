"""Words that modify a verb: with both hands, in place, backwards, slowly.

Many phrases of the verb table hold such words themselves. The rules here apply to a verb only if
its phrase does not hold the word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from vlar.pose.attributes.base import attribute_names, hand_attribute_names
from vlar.types import Float32

# Postures during the action: they are not a second verb, so one token replaces them.
_SEAT = r"(?: (?:down|still|(?:on|in|at) (?:an? |the )?\w+))?"
_NOT_OF_KNEES = "".join(
    f"(?<!{verb})" for verb in ("standing", "walking", "crawling", "sitting", "kneeling", "falling")
)
_ARMS = r"\bwith (?:both |the |his |her |their )*(?:arms|hands) "
_MEANWHILE = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"(?<=\w )(?:while )?(?:being )?seated" + _SEAT, "meanwhileseated"),
        (r"\bwhile sitting" + _SEAT, "meanwhileseated"),
        (r"\bwhile standing(?: (?:up|still))?", "meanwhilestanding"),
        (r"\bwhile lying(?: down)?(?: (?:on|in) (?:an? |the )?\w+)?", "meanwhilelying"),
        (r"\bwhile kneeling(?: down)?", "meanwhilekneeling"),
        (
            rf"(?<=ing){_NOT_OF_KNEES} on (?:(?:the|his|her|both) )?knees\b",
            " meanwhilekneeling",
        ),
        (_ARMS + r"(?:raised|up\b|overhead|in the air)", "meanwhilearmsup"),
    )
)
_ONE = ("one", "single", "right", "left")
_HANDS, _FEET = ("hand", "hands", "arm", "arms"), ("leg", "legs", "foot", "feet")
# Alternatives that a text may hold, and the weights that they set.
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
    (("twice", "two times"), {"periodic": 0.4, "wrist_rep": 0.2}),
    (("three times", "several times", "many times"), {"periodic": 0.8, "wrist_rep": 0.6}),
    (("meanwhileseated",), {"knee_bent": 1.0, "lying": -1.0, "leg_energy": -0.8, "airborne": -1.0}),
    (("meanwhilestanding",), {"knee_bent": -1.0, "lying": -1.0, "low_body": -0.8}),
    (("meanwhilelying",), {"lying": 1.0, "low_body": 1.0, "airborne": -1.0}),
    (("meanwhilekneeling",), {"kneeling": 1.0, "knee_bent": 0.7, "airborne": -1.0}),
    (("meanwhilearmsup",), {"both_arms_up": 1.0, "hands_mid": -0.6}),
)

# The same for hands near the camera.
_HAND_SETS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (tuple(f"{two} hands" for two in ("both", "two", "with")), {"both_hands": 1.0}),
    (tuple(f"{one} hand" for one in _ONE), {"both_hands": -1.0}),
    (("left to right", "to right", "to the right", "rightwards"), {"hand_right": 1.0}),
    (("right to left", "to left", "to the left", "leftwards"), {"hand_right": -1.0}),
    (("up", "upward", "upwards"), {"hand_up": 0.8}),
    (("down", "downward", "downwards"), {"hand_up": -0.8}),
    (
        ("in circle", "in a circle", "in circles", "clockwise", "round and round"),
        {"hand_turns": 1.0},
    ),
    (("closer to camera", "closer to the camera", "toward the camera"), {"hand_nears": 1.0}),
    (("away from camera", "away from the camera"), {"hand_nears": -1.0}),
    (("repeatedly", "again again", "over over"), {"hand_returns": 0.8}),
)


def digest() -> str:
    """Hash of the rules of bodies in this module."""
    return _hash(_SETS)


def hand_digest() -> str:
    """Hash of the rules of hands."""
    return _hash(_HAND_SETS)


def _hash(sets: object) -> str:
    clauses = [(pattern.pattern, word) for pattern, word in _MEANWHILE]
    return hashlib.sha256(repr((sets, clauses)).encode()).hexdigest()


def mark_clauses(text: str) -> str:
    """Replace clauses such as "while seated" of a lower-case text by one token without a verb."""
    for pattern, word in _MEANWHILE:
        text = pattern.sub(word, text)
    return text


def drop_clauses(text: str) -> str:
    """Remove the tokens of ``mark_clauses``."""
    return " ".join(word for word in text.split() if not word.startswith("meanwhile"))


def apply_modifiers(weights: Float32, text: str, phrase_words: Collection[str]) -> Float32:
    """Change the weights of a verb by the words around it.

    A direction ("forward") changes only verbs that travel or leap: "punch forward" stays in place.

    Args:
        weights: (A,) float32 weights of the phrase that was found.
        text: The clause that holds the phrase, in lower case.
        phrase_words: The words of the phrase; rules for these words do not apply.

    Returns:
        (A,) float32 in -1 .. 1.
    """
    names = attribute_names()
    changed = weights.copy()
    travels = max(weights[names.index("travel")], weights[names.index("airborne")]) > 0
    for sets in _applying(_SETS, text, phrase_words):
        if sets.get("travel", 0.0) > 0 and not travels:
            continue
        _set(changed, sets, names)
        if sets.get("both_arms") == 1.0:
            _to_both_arms(changed, names)
    return np.clip(changed, -1, 1)


def apply_hand_modifiers(weights: Float32, text: str, phrase_words: Collection[str]) -> Float32:
    """Apply the modifiers to the weights of hand attributes; the counterpart of
    ``apply_modifiers``.
    """
    changed = weights.copy()
    for sets in _applying(_HAND_SETS, text, phrase_words):
        _set(changed, sets, hand_attribute_names())
    return np.clip(changed, -1, 1)


def _applying(
    rules: Iterable[tuple[tuple[str, ...], dict[str, float]]],
    text: str,
    phrase_words: Collection[str],
) -> Iterator[dict[str, float]]:
    """Settings of the rules whose words are in the text and not in the phrase."""
    padded = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text).split())} "
    for alternatives, sets in rules:
        phrases = [words for words in alternatives if f" {words} " in padded]
        if phrases and not set(phrases[0].split()) & set(phrase_words):
            yield sets


def _set(weights: Float32, sets: dict[str, float], names: tuple[str, ...]) -> None:
    for name, weight in sets.items():
        column = names.index(name)
        if weights[column] * weight < weight * weight:  # a stronger weight of the same sign stays
            weights[column] = weight


def _to_both_arms(weights: Float32, names: tuple[str, ...]) -> None:
    one, both = names.index("one_arm_up"), names.index("both_arms_up")
    if weights[one] > 0:
        weights[both], weights[one] = weights[one], -0.5
        weights[names.index("arms_sym")] = 0.5
