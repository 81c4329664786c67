"""Words of motion attributes: clauses of the whole body and of its parts."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from vlar.language.clean import base_forms, gerund
from vlar.language.motion.verb_table import TextMotion, VerbTable

#: The parts that descriptions name (GAP, Xiang et al., ICCV 2023): the hand with its arm, the
#: hip with the torso, the foot with its leg.
PARTS = ("head", "hand", "hip", "foot")
_CLEAR = 0.3  # weight from which a part gets the clause of an attribute
# What each attribute looks like at its high and at its low pole; empty if there is nothing to see
# ("no claps"). The order is that of the sentence: whole body, legs, torso, head, arms.
CLAUSES: dict[str, tuple[str, str]] = {
    "lying": ("the body lies flat", ""),
    "upside": ("the hips rise over the shoulders, head down", ""),
    "travel": ("the body travels from place to place", "the person stays on the spot"),
    "fast": ("at running speed", ""),
    "approach": ("the person comes nearer", "the person goes away"),
    "turn": ("the body turns round", ""),
    "kneeling": ("a knee rests on the ground", ""),
    "knee_bent": ("the knees stay bent", "the legs are straight"),
    "leg_swing": ("the legs stride", ""),
    "leg_alt": ("left and right leg swing in turn", ""),
    "leg_open": ("the legs spread and close", ""),
    "airborne": ("both feet leave the ground", ""),
    "hop": ("the feet rise and land together", ""),
    "kick": ("one foot is lifted high", ""),
    "one_leg_stand": ("one leg carries the weight", ""),
    "knee_osc": ("the knees bend and stretch again and again", ""),
    "knee_end": ("the knees bend in the end", "the legs straighten in the end"),
    "hip_down": ("the hips sink", "the hips rise"),
    "hip_dip": ("the hips go down and come up again", ""),
    "bounce": ("the hips bob up and down", ""),
    "hip_sway": ("the hips sway from side to side", ""),
    "low_body": ("the hips stay near the ground", ""),
    "leg_energy": ("the legs move a lot", "the legs keep still"),
    "pitch_max": ("the torso leans far over", "the torso stays upright"),
    "pitch_end": ("the torso ends bent down", "the torso straightens up"),
    "torso_twist": ("the shoulders twist against the hips", ""),
    "face_up": ("the face looks up", "the face looks down"),
    "head_nod": ("the head nods", ""),
    "head_shake": ("the head turns left and right", ""),
    "hand_head": ("a hand is at the head or face", ""),
    "both_arms_up": ("both arms are raised", ""),
    "one_arm_up": ("one arm is raised", ""),
    "arms_wide": ("the arms are spread wide", ""),
    "arm_circle": ("a hand circles round and round", ""),
    "reach_low": ("a hand reaches down to the floor", ""),
    "hands_rise": ("the hands go up", "the hands come down"),
    "hands_front": ("the hands reach out", ""),
    "hands_mid": ("bent arms work in front of the trunk", ""),
    "clap_rate": ("the palms strike each other", ""),
    "hands_meet": ("the hands come together and part", ""),
    "hands_joined": ("both hands hold together", ""),
    "wrist_peak": ("an arm shoots out fast", ""),
    "wrist_rep": ("a hand repeats its movement", ""),
    "wrist_horiz": ("a hand moves sideways", "a hand moves up and down"),
    "arm_straight": ("the arm is stretched out", ""),
    "arm_energy": ("the arms are busy", "the arms keep still"),
    "contact": ("one person touches the other", ""),
    "closing": ("two people come together", "two people part"),
}

_PART_OF: dict[str, str] = {
    **dict.fromkeys(("face_up", "head_nod", "head_shake"), "head"),
    **dict.fromkeys(
        (
            *("hand_head", "both_arms_up", "one_arm_up", "arms_wide", "arm_circle"),
            *("reach_low", "hands_rise", "hands_front", "hands_mid", "clap_rate"),
            *("hands_meet", "hands_joined", "wrist_peak", "wrist_rep", "wrist_horiz"),
            *("arm_straight", "arm_energy"),
        ),
        "hand",
    ),
    **dict.fromkeys(
        (
            *("lying", "upside", "turn", "hip_down", "hip_dip", "bounce", "hip_sway"),
            *("low_body", "pitch_max", "pitch_end", "torso_twist"),
        ),
        "hip",
    ),
    **dict.fromkeys(
        (
            *("travel", "fast", "approach", "kneeling", "knee_bent", "leg_swing", "leg_alt"),
            *("leg_open", "airborne", "hop", "kick", "one_leg_stand", "knee_osc", "knee_end"),
            "leg_energy",
        ),
        "foot",
    ),
}
_STILL = {
    "head": "the head does not move",
    "hand": "the arms and hands do not move",
    "hip": "the torso does not move",
    "foot": "the legs and feet do not move",
}


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
        clauses[part] = ", ".join(told) if told else _STILL[part]
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
