"""Skeleton layouts as data: the joints of each, in the order of its files.

One vocabulary of joint names serves all layouts. The tree, the parts of the body and the way from
one layout to another follow from the names (``vlar.sensors.layouts``). The order of a Kinect v1 is
that of its development kit in NW-UCLA and UT-Kinect; UTD-MHAD and MSR-Action3D have orders of
their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vlar.pose.skeletons import BLAZEPOSE_33, HAND_21


@dataclass(frozen=True)
class Layout:
    """The joints of a kind of recording.

    Attributes:
        name: Such as ``ntu25``.
        joints: V joint names; the place of a name is the index of the joint.
        dims: Coordinates of a joint in its usual files, 2 or 3.
        body: ``body``, or ``hand`` where the joints are those of one hand.
        sources: Data sets and tools that write it.
    """

    name: str
    joints: tuple[str, ...]
    dims: int
    body: str
    sources: str


def _sides(first: str, *parts: str) -> tuple[str, ...]:
    """The parts of one side, then those of the other."""
    other = "right" if first == "left" else "left"
    return tuple(f"{side}_{part}" for side in (first, other) for part in parts)


def _pairs(*parts: str) -> tuple[str, ...]:
    """Left and right of each part, one after the other."""
    return tuple(f"{side}_{part}" for part in parts for side in ("left", "right"))


_ARM = ("shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle")
_FACE = _pairs("eye", "ear")
_FINGERS = tuple(joint for joint in HAND_21.joints if joint != "wrist")


def _rows() -> Iterable[Layout]:
    yield Layout(
        "ntu25",
        ("pelvis", "spine", "neck", "head", *_sides("left", *_ARM, "hand"),
         *_sides("left", *_LEG, "foot"), "chest", *_sides("left", "hand_tip", "thumb")),
        3, "body", "Kinect v2: NTU RGB+D, PKU-MMD",
    )  # fmt: skip
    yield Layout(
        "kinect20",
        ("pelvis", "spine", "chest", "head", *_sides("left", *_ARM, "hand"),
         *_sides("left", *_LEG, "foot")),
        3, "body", "Kinect v1: NW-UCLA, UT-Kinect",
    )  # fmt: skip
    yield Layout(
        "kinect20_utd",
        ("head", "chest", "spine", "pelvis", *_sides("left", *_ARM, "hand"),
         *_sides("left", *_LEG, "foot")),
        3, "body", "Kinect v1: UTD-MHAD",
    )  # fmt: skip
    yield Layout(
        "kinect20_msr",
        (*_pairs("shoulder"), "chest", "spine", *_pairs("hip"), "pelvis",
         *_pairs("elbow", "wrist", "hand", "knee", "ankle", "foot"), "head"),
        3, "body", "Kinect v1: MSR-Action3D",
    )  # fmt: skip
    yield Layout("coco17", ("nose", *_FACE, *_pairs(*_ARM, *_LEG)), 2, "body", "COCO, pyskl")
    right_first = (*_sides("right", *_ARM), *_sides("right", *_LEG))
    eyes_ears = ("right_eye", "left_eye", "right_ear", "left_ear")
    yield Layout("openpose18", ("nose", "neck", *right_first, *eyes_ears), 2, "body", "OpenPose")
    feet = ("big_toe", "small_toe", "heel")
    yield Layout(
        "openpose25",
        ("nose", "neck", *right_first[:6], "pelvis", *right_first[6:], *eyes_ears,
         *_sides("left", *feet)),
        2, "body", "OpenPose (BODY_25)",
    )  # fmt: skip
    yield Layout("mediapipe33", BLAZEPOSE_33.joints, 2, "body", "MediaPipe, the bodies of videos")
    yield Layout(
        "h36m17",
        ("pelvis", *_sides("right", *_LEG), "spine", "chest", "nose", "head",
         *_sides("left", *_ARM)),
        3, "body", "Human3.6M, 3-D lifting networks",
    )  # fmt: skip
    legs = ("hip", "knee", "ankle", "foot", "toe_tip")
    arms = ("shoulder", "elbow", "wrist", "hand", "knuckles", "hand_tip", "thumb")
    yield Layout(
        "cmu31",
        ("pelvis", *_sides("left", *legs), "lower_back", "spine", "chest", "lower_neck", "neck",
         "head", *_sides("left", *arms)),
        3, "body", "CMU motion capture, HDM05 (ASF)",
    )  # fmt: skip
    yield Layout("hands21", HAND_21.joints, 3, "hand", "MediaPipe hands")
    yield Layout("shrec22", ("wrist", "palm", *_FINGERS), 3, "hand", "SHREC'17, DHG")
    yield Layout("leap20", _FINGERS, 3, "hand", "Leap Motion: SFINGE 3D")


LAYOUTS = {row.name: row for row in _rows()}
ALIASES = {
    "mediapipe_hand21": "hands21", "hand21": "hands21", "blazepose33": "mediapipe33",
    "kinect20_sdk": "kinect20", "utd20": "kinect20_utd", "msr20": "kinect20_msr", "coco": "coco17",
    "ntu": "ntu25", "openpose": "openpose25", "mediapipe": "mediapipe33", "h36m": "h36m17",
}  # fmt: skip

# The joint that each hangs on: the first that a layout has. "*" stands for left and right.
PARENTS: dict[str, tuple[str, ...]] = {
    "lower_back": ("pelvis",),
    "spine": ("lower_back", "pelvis"),
    "chest": ("spine", "pelvis"),
    "lower_neck": ("chest",),
    "neck": ("lower_neck", "chest", "spine", "pelvis"),
    "head": ("neck", "nose", "chest"),
    "nose": ("neck", "chest"),
    "*_inner_eye": ("nose",),
    "*_eye": ("*_inner_eye", "nose", "head"),
    "*_outer_eye": ("*_eye",),
    "*_ear": ("*_outer_eye", "*_eye", "head"),
    "*_mouth": ("nose",),
    "*_shoulder": ("chest", "neck", "nose"),
    "*_elbow": ("*_shoulder",),
    "*_wrist": ("*_elbow",),
    "*_hand": ("*_wrist",),
    "*_knuckles": ("*_hand",),
    "*_hand_tip": ("*_knuckles", "*_hand"),
    "*_thumb": ("*_hand", "*_wrist"),
    "*_index": ("*_wrist",),
    "*_pinky": ("*_wrist",),
    "*_hip": ("pelvis", "neck", "*_shoulder"),
    "*_knee": ("*_hip",),
    "*_ankle": ("*_knee",),
    "*_heel": ("*_ankle",),
    "*_foot": ("*_ankle",),
    "*_toe": ("*_ankle",),
    "*_toe_tip": ("*_foot",),
    "*_big_toe": ("*_ankle",),
    "*_small_toe": ("*_big_toe",),
    "palm": ("wrist",),
    **{
        f"{finger}_{joint}": (f"{finger}_{before}",) if before else ("palm", "wrist", "middle_base")
        for finger in ("thumb", "index", "middle", "ring", "little")
        for before, joint in (("", "base"), ("base", "knuckle"), ("knuckle", "joint"),
                              ("joint", "tip"))
    },
}  # fmt: skip
ROOTS = ("pelvis", "neck", "nose", "wrist", "middle_base")

# Joints that a layout lacks, from those it has: the first row that is complete. A place that
# follows from its neighbours is as good as a measured one; a stand-in is only near.
MADE_OF: dict[str, tuple[dict[str, float], ...]] = {
    "pelvis": ({"left_hip": 0.5, "right_hip": 0.5},),
    "chest": ({"left_shoulder": 0.5, "right_shoulder": 0.5}, {"neck": 1.0}),
    "neck": ({"left_shoulder": 0.5, "right_shoulder": 0.5}, {"chest": 1.0}),
    "lower_neck": ({"left_shoulder": 0.5, "right_shoulder": 0.5},),
    "spine": ({"pelvis": 0.5, "chest": 0.5},
              {"left_hip": 0.25, "right_hip": 0.25, "left_shoulder": 0.25, "right_shoulder": 0.25}),
    "lower_back": ({"pelvis": 0.75, "chest": 0.25},
                   {"left_hip": 0.375, "right_hip": 0.375, "left_shoulder": 0.125,
                    "right_shoulder": 0.125}),
    "head": ({"left_ear": 0.4, "right_ear": 0.4, "nose": 0.2}, {"nose": 1.0}),
    "nose": ({"head": 1.0},),
    "*_hand": ({"*_index": 0.5, "*_pinky": 0.5}, {"*_knuckles": 1.0}),
    "*_foot": ({"*_toe": 1.0}, {"*_big_toe": 1.0}),
    "*_toe": ({"*_foot": 1.0}, {"*_big_toe": 1.0}),
    "*_big_toe": ({"*_toe": 1.0}, {"*_foot": 1.0}),
    "*_small_toe": ({"*_toe": 1.0}, {"*_foot": 1.0}),
    "*_toe_tip": ({"*_toe": 1.0}, {"*_big_toe": 1.0}),
    "*_knuckles": ({"*_index": 0.5, "*_pinky": 0.5}, {"*_hand": 1.0}),
    "palm": ({"wrist": 0.5, "middle_base": 0.5},),
}  # fmt: skip
STAND_INS: dict[str, tuple[str, ...]] = {
    "*_index": ("*_hand_tip", "*_hand", "*_wrist"),
    "*_pinky": ("*_hand", "*_wrist"),
    "*_inner_eye": ("*_eye", "nose", "head"),
    "*_eye": ("nose", "head"),
    "*_outer_eye": ("*_eye", "nose", "head"),
    "*_ear": ("head", "nose"),
    "*_mouth": ("nose", "head"),
    "head": ("neck", "chest"),
    "nose": ("neck", "chest"),
    "wrist": ("palm", "middle_base"),
}
# Parts of a body by joint; the rest is in no part.
PARTS: dict[str, tuple[str, ...]] = {
    "head": ("head", "nose", "neck", "lower_neck", "*_inner_eye", "*_eye", "*_outer_eye", "*_ear",
             "*_mouth"),
    "torso": ("pelvis", "lower_back", "spine", "chest", "*_hip"),
    "arms": ("*_shoulder", "*_elbow", "*_wrist"),
    "hands": ("*_hand", "*_knuckles", "*_hand_tip", "*_thumb", "*_index", "*_pinky"),
    "legs": ("*_knee", "*_ankle"),
    "feet": ("*_foot", "*_toe", "*_toe_tip", "*_big_toe", "*_small_toe", "*_heel"),
}  # fmt: skip
HAND_PARTS: dict[str, tuple[str, ...]] = {
    "palm": ("wrist", "palm"),
    **{
        finger: tuple(f"{finger}_{joint}" for joint in ("base", "knuckle", "joint", "tip"))
        for finger in ("thumb", "index", "middle", "ring", "little")
    },
}
