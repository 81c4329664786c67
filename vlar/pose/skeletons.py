"""Skeleton layouts as data: the names of the joints in index order, and the bones between them.

A layout is one row in ``SKELETONS``. Joints on both sides of the body are named ``left_X`` and
``right_X``, so that code asks for a joint by name and never by number.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """The joints of a pose network or a depth camera.

    Attributes:
        name: Name of the layout, such as ``blazepose-33``.
        joints: V joint names; the place of a name is the index of the joint.
        bones: Pairs of joint names that a drawing connects.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[str, str], ...]

    def index(self, joint: str) -> int:
        """The index of a joint.

        Raises:
            ValueError: the layout has no such joint.
        """
        if joint not in self.joints:
            raise ValueError(f"the skeleton {self.name!r} has no joint {joint!r}")
        return self.joints.index(joint)

    def both(self, part: str) -> tuple[int, int]:
        """The indices of the left and the right joint of a part, such as ``wrist``.

        Raises:
            ValueError: the layout lacks one of them.
        """
        return self.index(f"left_{part}"), self.index(f"right_{part}")

    @property
    def bone_indices(self) -> tuple[tuple[int, int], ...]:
        """The bones as pairs of joint indices."""
        return tuple((self.index(a), self.index(b)) for a, b in self.bones)


def _both_sides(*bones: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{side}_{a}", f"{side}_{b}") for a, b in bones for side in ("left", "right"))


BLAZEPOSE_33 = Skeleton(
    "blazepose-33",
    joints=(
        "nose",
        *("left_inner_eye", "left_eye", "left_outer_eye"),
        *("right_inner_eye", "right_eye", "right_outer_eye"),
        *("left_ear", "right_ear", "left_mouth", "right_mouth"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
        *("left_wrist", "right_wrist", "left_pinky", "right_pinky"),
        *("left_index", "right_index", "left_thumb", "right_thumb"),
        *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
        *("left_heel", "right_heel", "left_toe", "right_toe"),
    ),
    bones=(
        ("left_shoulder", "right_shoulder"),
        *_both_sides(("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip")),
        ("left_hip", "right_hip"),
        *_both_sides(("hip", "knee"), ("knee", "ankle"), ("ankle", "toe")),
        *(("nose", "left_ear"), ("nose", "right_ear")),
    ),
)

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_FINGER_JOINTS = ("base", "knuckle", "joint", "tip")

HAND_21 = Skeleton(
    "hand-21",
    joints=(
        "wrist",
        *(f"{finger}_{joint}" for finger in _FINGERS for joint in _FINGER_JOINTS),
    ),
    bones=(
        *(("wrist", f"{finger}_base") for finger in ("thumb", "index", "little")),
        *(
            (f"{finger}_{a}", f"{finger}_{b}")
            for finger in _FINGERS
            for a, b in itertools.pairwise(_FINGER_JOINTS)
        ),
        *((f"{a}_base", f"{b}_base") for a, b in itertools.pairwise(_FINGERS[1:])),
    ),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (BLAZEPOSE_33, HAND_21)}
