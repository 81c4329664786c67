"""All joints of the people of a clip next to the features of an encoder, with a mask."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.encoders.skeleton import people_of
from vlar.media.skeleton.layouts import joint_map, layout, remap, root
from vlar.pose.features import tracks_from_features
from vlar.training.frame_inputs import placed
from vlar.types import Clip, Float32, Float64

_log = logging.getLogger("vlar")
_SURE = 0.3  # visibility from which a joint counts as seen
_MOST = 10.0  # trunks from the origin; farther is a fault of the recording
_BODIES = "mediapipe33"  # layout of the bodies of a video
PER_JOINT = 4  # x, y, z, seen


class Joints(Beside):
    """Places of V joints of M people, and which of them are seen, next to an encoder's features.

    The added block holds (M, V, 4) numbers a frame: x to the right, y up and z, then 1 for a joint
    that is seen and 0 for one that is not. People are in the order of the energy of their motion.
    Places of absent people and of unseen joints are 0. Skeletons keep their own joints, mapped to
    the layout; of a video the encoder's block ``pose`` is read.

    Args:
        encoder: What it wraps; of skeletons, or of videos with a block ``pose``.
        name: The layout wanted.
        people: M.
        normalise: Some of ``root``, ``turn`` and ``scale``; ``TowerConfig`` describes them.
    """

    def __init__(
        self, encoder: Encoder, name: str, people: int, normalise: Sequence[str] = ("root", "scale")
    ) -> None:
        self.layout, self.people = layout(name).name, people
        self.normalise = tuple(part for part in ("turn", "scale", "root") if part in normalise)
        self.joints = len(layout(name).joints)
        block = FrameBlock("joints", people * self.joints * PER_JOINT, "joints")
        super().__init__(encoder, [block], f"joints 1 {self.layout} {people} {self.normalise}")

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """(T, M V 4), T rows as the features have."""
        rows_out = np.zeros((self.people, len(features), self.joints, PER_JOINT))
        points, visible = self._people(clip, features)
        if len(points):
            points = normalised(points, self.layout, self.normalise)
            is_sure = (visible > _SURE)[..., None]
            places = np.where(is_sure, np.clip(points, -_MOST, _MOST), 0.0)
            rows_out[: len(points)] = np.concatenate([places, is_sure], axis=-1)
        return rows_out.swapaxes(0, 1).reshape(len(features), -1).astype(np.float32)

    def _people(self, clip: Clip, features: Float32) -> tuple[Float64, Float64]:
        """Joints (m, T, V, 3), y up, of up to M people, and how sure they are (m, T, V)."""
        none = np.zeros((0, len(features), self.joints, 3)), np.zeros((0, 0, 0))
        if self.modality != "skeleton":
            return self._tracked(features)
        if self._is_other(clip):
            return none
        bodies = people_of(clip, len(features), into=self.layout, most=self.people)
        if bodies is None:
            return none
        points = bodies.points
        if not bodies.in_metres:
            points = np.pad(points[..., :2] * np.array([1, -1]), [(0, 0)] * 3 + [(0, 1)])
        return points, bodies.visible * bodies.there[..., None]

    def _is_other(self, clip: Clip) -> bool:
        """Report a clip of hands where the layout is of bodies, or the reverse, with a note.

        A recording of a batch then has the encoder's own answer, and the others go on.
        """
        clip_layout = layout(str(clip.meta.get("layout", "")))
        if clip_layout.body == layout(self.layout).body:
            return False
        _log.warning(
            "%s: its layout %r is a %s and the tower's, %r, a %s: none of its joints is read; use "
            "a tower of another layout, or convert with vlar.media.skeleton.layouts.remap",
            clip.path,
            clip_layout.name,
            clip_layout.body,
            self.layout,
            layout(self.layout).body,
        )
        return True

    def _tracked(self, features: Float32) -> tuple[Float64, Float64]:
        """The bodies that the encoder found in the frames of a video."""
        blocks = placed(self.encoder.frame_blocks)
        start, width = next((index, row.width) for index, row in blocks if row.kind == "pose")
        tracks = tracks_from_features(features[:, start : start + width])
        energy = np.square(np.diff(tracks.points[..., :2], axis=1)).sum(axis=(1, 2, 3))
        chosen = np.argsort(-energy, kind="stable")[: self.people]
        tracked = tracks.points[chosen].astype(np.float64)
        sure = tracked[..., 2] * (tracks.score[chosen] > 0)[..., None]
        points = np.where(sure[..., None] > _SURE, tracked[..., :2], np.nan) * np.array([1, -1])
        remapped = np.asarray(remap(points, _BODIES, self.layout), np.float64)
        weights = joint_map(_BODIES, self.layout)
        visible = np.einsum("wv,mtv->mtw", weights.weights, sure) * weights.covered
        visible = visible * np.isfinite(remapped).all(axis=-1)
        flat = np.pad(np.nan_to_num(remapped), [(0, 0)] * 3 + [(0, 1)])
        return flat, np.asarray(visible, np.float64)


def normalised(points: Float64, name: str, how: Sequence[str]) -> Float64:
    """Joints (M, T, V, 3) in the frame of the first person; the distance of people stays.

    Args:
        points: Finite, y up.
        name: Their layout.
        how: ``root`` moves the root of the first frame to the origin, ``turn`` turns the person
            about the vertical to the camera, ``scale`` divides by the usual length of the trunk.
    """
    first, rows = points[0], layout(name)
    sides = [
        rows.joints.index(j) if j in rows.joints else -1
        for j in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    ]
    if "root" in how:
        points = points - first[0, root(rows)]
    if "turn" in how and min(sides) >= 0:
        across = first[:, sides[1]] - first[:, sides[0]] + first[:, sides[3]] - first[:, sides[2]]
        x, z = np.median(across[:, [0, 2]], axis=0)
        length = max(float(np.hypot(x, z)), 1e-9)
        turned = np.array([[x, 0, -z], [0, length, 0], [z, 0, x]]) / length
        points = points @ turned
    if "scale" in how:
        if min(sides) >= 0:
            trunk = first[:, sides[:2]].mean(axis=1) - first[:, sides[2:]].mean(axis=1)
            size = np.linalg.norm(trunk, axis=1)
        else:
            size = np.linalg.norm(first - first.mean(axis=1, keepdims=True), axis=2).mean(axis=1)
        points = points / max(float(np.median(size)), 1e-6)
    return points
