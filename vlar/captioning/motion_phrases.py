"""Words for the motion attributes of bodies: what a caption states of the strongest ones.

The keys are names of attributes (``vlar.pose.attributes``) and a pole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.pose.attributes.base import Measurements, attribute_names

_LEAST = 0.45  # distance from ordinary clips, -1 to 1, that is worth a word
_MOST = 4
PHRASES: dict[tuple[str, int], str] = {
    ("travel", 1): "moves from place to place",
    ("fast", 1): "moves fast",
    ("approach", 1): "comes nearer",
    ("approach", -1): "goes away from the camera",
    ("turn", 1): "turns round",
    ("hip_down", 1): "goes down",
    ("hip_down", -1): "comes up",
    ("hip_dip", 1): "goes down and up again",
    ("pitch_max", 1): "bends over",
    ("lying", 1): "lies or hangs level",
    ("upside", 1): "is upside down",
    ("bounce", 1): "bounces",
    ("low_body", 1): "is near the ground",
    ("torso_twist", 1): "twists the torso",
    ("leg_swing", 1): "takes strides",
    ("leg_open", 1): "opens and closes the legs",
    ("airborne", 1): "leaves the ground with both feet",
    ("kick", 1): "lifts one leg high",
    ("leg_energy", 1): "moves the legs quickly",
    ("knee_bent", 1): "sits or crouches with bent knees",
    ("knee_osc", 1): "bends the knees again and again",
    ("one_leg_stand", 1): "stands on one leg",
    ("kneeling", 1): "kneels",
    ("one_arm_up", 1): "raises one arm",
    ("both_arms_up", 1): "raises both arms",
    ("arm_energy", 1): "moves the arms quickly",
    ("wrist_rep", 1): "repeats a movement of the hand",
    ("wrist_peak", 1): "makes a sudden strong movement of the arm, as in a throw or a blow",
    ("arm_straight", 1): "stretches an arm out",
    ("arms_wide", 1): "spreads the arms",
    ("hands_rise", 1): "lifts the hands",
    ("hands_rise", -1): "lowers the hands",
    ("arm_circle", 1): "circles with the arm",
    ("hand_to_head", 1): "has a hand at the head of another person",
    ("hand_to_hand", 1): "holds hands with another person",
    ("foot_to_body", 1): "kicks another person",
    ("strike", 1): "strikes at another person",
    ("arms_around", 1): "holds another person",
    ("two_people", 1): "is with a second person",
    ("closing", 1): "comes together with another person",
    ("closing", -1): "parts from another person",
    ("periodic", 1): "repeats the same movement",
    ("burst", 1): "makes a sudden movement",
    ("energy", -1): "hardly moves",
    ("face_up", 1): "looks up",
    ("head_nod", 1): "nods",
    ("head_shake", 1): "shakes the head",
}


def motion_phrases(measured: Measurements) -> list[str]:
    """Up to four phrases of the attributes farthest from ordinary clips, strongest first."""
    away = measured.centred() * measured.visible_body
    names: Sequence[str] = attribute_names()
    found: list[str] = []
    for place in np.argsort(-np.abs(away), kind="stable").tolist():
        if abs(away[place]) < _LEAST or len(found) == _MOST:
            break
        phrase = PHRASES.get((names[place], 1 if away[place] > 0 else -1))
        if phrase is not None:
            found.append(phrase)
    return found
