"""Properties of a skeleton layout: tree, bones, parts, mirror image, and map to other layouts.

Points are (..., V, C): V joints, C coordinates, NaN where a joint is not seen. Every function takes
a layout or its name. The rows themselves are data (``vlar.media.skeleton.layouts``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.pose.skeletons import BLAZEPOSE_33, HAND_21
from vlar.registry import unknown_name
from vlar.toml import read_toml
from vlar.types import Float32


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
    arms, legs = _sides("left", *_ARM, "hand"), _sides("left", *_LEG, "foot")
    tips = _sides("left", "hand_tip", "thumb")
    joints = ("pelvis", "spine", "neck", "head", *arms, *legs, "chest", *tips)
    yield Layout("ntu25", joints, 3, "body", "Kinect v2: NTU RGB+D, PKU-MMD")
    joints = ("pelvis", "spine", "chest", "head", *arms, *legs)
    yield Layout("kinect20", joints, 3, "body", "Kinect v1: NW-UCLA, UT-Kinect")
    joints = ("head", "chest", "spine", "pelvis", *arms, *legs)
    yield Layout("kinect20_utd", joints, 3, "body", "Kinect v1: UTD-MHAD")
    limbs = _pairs("elbow", "wrist", "hand", "knee", "ankle", "foot")
    joints = (*_pairs("shoulder"), "chest", "spine", *_pairs("hip"), "pelvis", *limbs, "head")
    yield Layout("kinect20_msr", joints, 3, "body", "Kinect v1: MSR-Action3D")
    limbs = (*_sides("left", "shoulder", "elbow", "hand"), *_sides("left", "hip", "knee", "foot"))
    joints = ("head", "neck", "spine", *limbs)
    yield Layout("sbu15", joints, 3, "body", "Kinect v1 (OpenNI): SBU interactions")
    yield Layout("coco17", ("nose", *_FACE, *_pairs(*_ARM, *_LEG)), 2, "body", "COCO, pyskl")
    right_first = (*_sides("right", *_ARM), *_sides("right", *_LEG))
    eyes_ears = ("right_eye", "left_eye", "right_ear", "left_ear")
    yield Layout("openpose18", ("nose", "neck", *right_first, *eyes_ears), 2, "body", "OpenPose")
    feet = _sides("left", "big_toe", "small_toe", "heel")
    joints = ("nose", "neck", *right_first[:6], "pelvis", *right_first[6:], *eyes_ears, *feet)
    yield Layout("openpose25", joints, 2, "body", "OpenPose (BODY_25)")
    yield Layout("mediapipe33", BLAZEPOSE_33.joints, 2, "body", "MediaPipe, the bodies of videos")
    legs, arms = _sides("right", *_LEG), _sides("left", *_ARM)
    joints = ("pelvis", *legs, "spine", "chest", "nose", "head", *arms)
    yield Layout("h36m17", joints, 3, "body", "Human3.6M, 3-D lifting networks")
    legs = _sides("left", "hip", "knee", "ankle", "foot", "toe_tip")
    arms = ("shoulder", "elbow", "wrist", "hand", "knuckles", "hand_tip", "thumb")
    back = ("lower_back", "spine", "chest", "lower_neck", "neck", "head")
    joints = ("pelvis", *legs, *back, *_sides("left", *arms))
    yield Layout("cmu31", joints, 3, "body", "CMU motion capture, HDM05 (ASF)")
    yield Layout("hands21", HAND_21.joints, 3, "hand", "MediaPipe hands")
    yield Layout("shrec22", ("wrist", "palm", *_FINGERS), 3, "hand", "SHREC'17, DHG")
    yield Layout("leap20", _FINGERS, 3, "hand", "Leap Motion: SFINGE 3D")


LAYOUTS = {row.name: row for row in _rows()}
ALIASES = {
    "mediapipe_hand21": "hands21", "hand21": "hands21", "blazepose33": "mediapipe33",
    "kinect20_sdk": "kinect20", "utd20": "kinect20_utd", "msr20": "kinect20_msr", "coco": "coco17",
    "ntu": "ntu25", "openpose": "openpose25", "mediapipe": "mediapipe33", "h36m": "h36m17",
}  # fmt: skip

_JOINTS = read_toml(Path(__file__).with_name("joints.toml").read_text(encoding="utf-8"))
PARENTS: dict[str, tuple[str, ...]] = {
    joint: tuple(above) for joint, above in _JOINTS["parents"].items()
}
ROOTS = ("pelvis", "spine", "neck", "nose", "wrist", "middle_base")

MADE_OF: dict[str, tuple[dict[str, float], ...]] = {
    joint: tuple(rows) for joint, rows in _JOINTS["made_of"].items()
}
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


Points = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.intp]
_MOSTLY = 0.5  # share of its sources that a joint needs, in ``remap``


@dataclass(frozen=True)
class JointMap:
    """Map from the joints of one layout to those of another.

    Attributes:
        weights: (V', V) float32; each row sums to 1.
        covered: (V',) False where a joint has no counterpart, and its neighbour stands in.
    """

    weights: Float32
    covered: npt.NDArray[np.bool_]


def layout(name: str | Layout) -> Layout:
    """The layout with a name, such as ``ntu25``.

    Raises:
        UnknownNameError: no layout has this name; the message lists the known ones.
    """
    if isinstance(name, Layout):
        return name
    key = str(name).strip().lower().replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in LAYOUTS:
        raise unknown_name("skeleton layout", str(name), LAYOUTS)
    return LAYOUTS[key]


def names() -> list[str]:
    """The names of all layouts."""
    return list(LAYOUTS)


@cache
def parents(which: str | Layout) -> Integers:
    """(V,) the joint that each joint hangs on; the root hangs on itself."""
    rows = layout(which)
    top = root(rows)
    tops = np.full(len(rows.joints), top)
    for index, joint in enumerate(rows.joints):
        if index != top:
            options = _spelled(PARENTS, joint)
            tops[index] = next(
                (rows.joints.index(name) for name in options if name in rows.joints), top
            )
    tops.setflags(write=False)
    return tops


def root(which: str | Layout) -> int:
    """The joint that all others hang on: the pelvis where there is one."""
    rows = layout(which)
    return next(rows.joints.index(name) for name in ROOTS if name in rows.joints)


def tree(which: str | Layout) -> list[tuple[int, int]]:
    """The V - 1 bones as pairs (joint, joint that it hangs on)."""
    top = root(which)
    return [(joint, int(up)) for joint, up in enumerate(parents(which)) if joint != top]


@cache
def levels(which: str | Layout, centre: str | None = None) -> Integers:
    """(V,) number of bones from a joint, by default the root, to each joint: its hierarchy.

    Raises:
        UsageError: the layout has no such joint.
    """
    rows = layout(which)
    depths = np.full(len(rows.joints), -1)
    waiting = [root(rows) if centre is None else index(rows, centre)]
    depths[waiting] = 0
    bones_ = tree(rows)
    while waiting:
        joint = waiting.pop(0)
        near = [b if a == joint else a for a, b in bones_ if joint in (a, b)]
        for other in near:
            if depths[other] < 0:
                depths[other] = depths[joint] + 1
                waiting.append(other)
    return depths


def index(which: str | Layout, joint: str) -> int:
    """The index of a joint.

    Raises:
        UsageError: the layout has no such joint; the message lists those it has.
    """
    rows = layout(which)
    if joint not in rows.joints:
        raise UsageError(
            f"layout {rows.name!r} has no joint {joint!r}; it has {', '.join(rows.joints)}"
        )
    return rows.joints.index(joint)


def bones(points: Points, layout: str | Layout, hops: int = 1) -> Points:
    """Each joint minus the joint ``hops`` bones nearer to the root: ``(I - P^hops) x``.

    P selects the parent of each joint (the k-hop bones of GAP, InfoGCN and BRL). The bone of the
    root is 0.

    Args:
        points: (..., V, C).
        layout: Their layout.
        hops: At least 1.

    Raises:
        UsageError: another number of joints, or ``hops`` below 1.
    """
    rows = _fitting(points, layout)
    if hops < 1:
        raise UsageError(f"hops is {hops}; give 1 or more")
    up = parents(rows)
    far = np.arange(len(up))
    for _ in range(hops):
        far = up[far]
    vectors = points - points[..., far, :]
    vectors[..., root(rows), :] = 0  # also where the root is not seen
    return vectors


def motion(points: Points) -> Points:
    """The step from each frame (T, ..., V, C) to the next; 0 for the last."""
    steps = np.zeros_like(points)
    steps[:-1] = points[1:] - points[:-1]
    return steps


def partition(layout: str | Layout) -> Float32:
    """(3, V, V) adjacency of a graph network: itself, towards the root, away from it.

    Every column is divided by its sum (ST-GCN, Yan et al. 2018): it sums to 1, or to 0 where a
    joint has no such neighbour.
    """
    size = len(parents(layout))
    stacked = np.zeros((3, size, size), np.float32)
    stacked[0] = np.eye(size)
    for joint, up in tree(layout):
        stacked[1, up, joint] = 1
        stacked[2, joint, up] = 1
    return stacked / np.maximum(stacked.sum(axis=1, keepdims=True), 1)


def parts(which: str | Layout) -> dict[str, Integers]:
    """The joints of each part: head, torso, arms, hands, legs, feet; of a hand, its fingers."""
    rows = layout(which)
    names_of = PARTS if rows.body == "body" else HAND_PARTS
    return {
        part: np.array(
            [
                index
                for index, joint in enumerate(rows.joints)
                if _general(joint, members) in members
            ],
            np.intp,
        )
        for part, members in names_of.items()
    }


@cache
def symmetry(which: str | Layout) -> Integers:
    """(V,) the joint on the other side of each; a joint in the middle is its own."""
    joints = layout(which).joints
    swapped = [
        joint.replace("left_", "right_", 1)
        if joint.startswith("left_")
        else joint.replace("right_", "left_", 1)
        for joint in joints
    ]
    indices = np.array([joints.index(name) for name in swapped], np.intp)
    indices.setflags(write=False)
    return indices


@cache
def joint_map(source: str | Layout, target: str | Layout) -> JointMap:
    """Map of the joints of a layout to those of another.

    Raises:
        UsageError: one is a body and the other a hand.
    """
    layout_from, layout_to = layout(source), layout(target)
    if layout_from.body != layout_to.body:
        raise UsageError(
            f"layout {layout_from.name!r} is a {layout_from.body} and {layout_to.name!r} a "
            f"{layout_to.body}; remap between layouts of one kind"
        )
    weights = np.zeros((len(layout_to.joints), len(layout_from.joints)), np.float32)
    covered = np.zeros(len(layout_to.joints), bool)
    for row, joint in enumerate(layout_to.joints):
        shares, covered[row] = _shares(joint, layout_from, layout_to)
        for name, share in shares.items():
            weights[row, layout_from.joints.index(name)] = share
    weights.setflags(write=False)
    covered.setflags(write=False)
    return JointMap(weights, covered)


def remap(points: Points, source: str | Layout, target: str | Layout) -> Points:
    """Points of one layout in another one.

    Args:
        points: (..., V, C) in the layout ``source``.
        source: Their layout.
        target: The layout wanted.

    Returns:
        (..., V', C). A joint without a counterpart lies where its neighbour is
        (``joint_map(...).covered`` marks them). A joint is NaN where half of what it is made of, or
        more, is not seen.

    Raises:
        UsageError: another number of joints, or a body and a hand.
    """
    rows = _fitting(points, source)
    mapped = joint_map(rows, layout(target))
    if layout(target).name == rows.name:
        return points.copy()
    visible = np.isfinite(points)
    total = np.einsum("wv,...vc->...wc", mapped.weights, np.where(visible, points, 0))
    share = np.einsum("wv,...vc->...wc", mapped.weights, visible.astype(np.float32))
    enough = share > _MOSTLY + 1e-6
    points_remapped = np.where(enough, total / np.where(enough, share, 1), np.nan)
    return points_remapped.astype(points.dtype)


def _shares(joint: str, here: Layout, there: Layout) -> tuple[dict[str, float], bool]:
    """Sources of a joint in another layout, and whether that is its real place."""
    if joint in here.joints:
        return {joint: 1.0}, True
    for made_of in _spelled_shares(joint):
        if set(made_of) <= set(here.joints):
            return made_of, True
    options = [*_spelled(STAND_INS, joint), *_ancestors(joint, there)]
    near = next((name for name in options if name in here.joints), here.joints[root(here)])
    return {near: 1.0}, False


def _ancestors(joint: str, rows: Layout) -> list[str]:
    up, chain, joint_index = parents(rows), [], rows.joints.index(joint)
    while up[joint_index] != joint_index:
        joint_index = int(up[joint_index])
        chain.append(rows.joints[joint_index])
    return chain


def _general(joint: str, known: Any) -> str:
    """The name with "*" for its side, if that is the known one."""
    side, _, part = joint.partition("_")
    general = f"*_{part}"
    return general if side in ("left", "right") and general in known else joint


def _spelled(rows: Mapping[str, Sequence[str]], joint: str) -> list[str]:
    side = joint.partition("_")[0]
    return [name.replace("*", side) for name in rows.get(_general(joint, rows), ())]


def _spelled_shares(joint: str) -> list[dict[str, float]]:
    side = joint.partition("_")[0]
    rows = MADE_OF.get(_general(joint, MADE_OF), ())
    return [{name.replace("*", side): share for name, share in row.items()} for row in rows]


def _fitting(points: Points, which: str | Layout) -> Layout:
    rows = layout(which)
    if points.ndim < 2 or points.shape[-2] != len(rows.joints):
        joints = points.shape[-2] if points.ndim > 1 else 0
        like = [row.name for row in LAYOUTS.values() if len(row.joints) == joints]
        hint = f"; {joints} joints are {' or '.join(like)}: convert with remap" if like else ""
        raise UsageError(
            f"layout {rows.name!r} has {len(rows.joints)} joints, got points of shape "
            f"{points.shape}{hint}"
        )
    return rows
