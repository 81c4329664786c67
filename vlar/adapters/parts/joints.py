"""One vector for the whole body and one for each part, from the joints of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.adapters.clip_vectors import clip_vectors, clip_width, signal_vectors, signal_width
from vlar.adapters.frame_inputs import read_block
from vlar.encoders.base import FrameBlock
from vlar.motion_language.clauses import PARTS
from vlar.pose.skeletons import BLAZEPOSE_33
from vlar.types import Float32

_JOINTS: dict[str, tuple[str, ...]] = {
    "head": ("nose", "eye", "ear", "mouth"),
    "hand": ("shoulder", "elbow", "wrist", "index", "pinky", "thumb"),
    "hip": ("shoulder", "hip"),
    "foot": ("hip", "knee", "ankle", "heel", "foot", "toe"),
}


def part_joints(part: str) -> list[int]:
    """The joints of a part among the 33 points, by their names."""
    return [
        at
        for at, name in enumerate(BLAZEPOSE_33.joints)
        if name.rpartition("_")[2] in _JOINTS[part]
    ]


def part_widths(blocks: Sequence[FrameBlock]) -> list[int]:
    """Entries of ``part_vectors``: the whole body, then each of ``PARTS``."""
    return [clip_width(blocks), *(signal_width(2 * len(part_joints(part))) for part in PARTS)]


def part_vectors(features: Float32, blocks: Sequence[FrameBlock]) -> Float32:
    """(N, T, F) frame features to (N, d): the whole body, then each of ``PARTS``.

    A part is the path of its joints, seen from the hips in heights of the body, over time.
    """
    starts = np.cumsum([0, *(block.width for block in blocks)])
    pose = next(at for at, block in enumerate(blocks) if block.kind == "pose")
    joints = read_block(features[..., starts[pose] : starts[pose + 1]], "pose")
    points = joints.reshape(*joints.shape[:2], -1, 2)
    found = [clip_vectors(features, blocks)]
    for part in PARTS:
        chosen = points[:, :, part_joints(part)]
        found.append(signal_vectors(chosen.reshape(*chosen.shape[:2], -1)))
    return np.concatenate(found, axis=1)
