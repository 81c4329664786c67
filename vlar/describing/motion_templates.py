"""Sentences about the body from the verb table: one clause for each clear attribute."""

from __future__ import annotations

from vlar.motion_language.verb_table import TextMotion
from vlar.pose.attributes.base import attribute_names

_CLEAR = 0.5  # weight from which an attribute gets a clause
_MOST = 5  # clauses in a sentence
_FEWEST = 2
# What each attribute looks like at its high and at its low pole; empty if there is nothing to see
# ("no claps"). The order is that of the sentence: whole body, legs, torso, head, arms.
_CLAUSES: dict[str, tuple[str, str]] = {
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


def motion_sentence(motion: TextMotion) -> str | None:
    """What the body does, in one sentence; None if too few attributes are clear.

    Args:
        motion: Result of a verb table's look-up.
    """
    names = attribute_names()
    weights = {name: float(w) for name, w in zip(names, motion.weights, strict=True)}
    clear = {
        name: poles[0] if weights[name] > 0 else poles[1]
        for name, poles in _CLAUSES.items()
        if abs(weights[name]) >= _CLEAR
    }
    told = [name for name, clause in clear.items() if clause]
    told = sorted(told, key=lambda name: -abs(weights[name]))[:_MOST]
    clauses = [clause for name, clause in clear.items() if name in told]
    if len(clauses) < _FEWEST:
        return None
    text = f"{', '.join(clauses[:-1])} and {clauses[-1]}."
    return text[0].upper() + text[1:]
