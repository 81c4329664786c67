"""Bodies as maps of joints, next to the pixels of a network of clips.

Letters: N clips, T frames, V joints, H W pixels, C channels, S side of a map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.base import Encoder, Preprocess
from vlar.encoders.skeleton import people_of, pose_rows
from vlar.errors import ModelError
from vlar.methods.video_net.heatmap import heatmaps
from vlar.pose.features import POSE_WIDTH, tracks_from_features
from vlar.training.frame_inputs import placed
from vlar.training.trainable import DrawPixels
from vlar.types import Clip, Float32, Float64

#: Nose, shoulders, elbows, wrists, hips, knees and ankles of a track.
_READ = (0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
JOINTS = len(_READ)
_HEADS = 4
_ROWS = 64  # times at which a skeleton is read


def guide(features: Tensor, spatial: Tensor, temporal: Tensor) -> Tensor:
    """``F (1 + S t)``: features grow where and when the other stream attends.

    Args:
        features: (N, T, C, H, W) of pictures.
        spatial: (N, T, 1, H, W), 0 to 1; 0 leaves the features bit for bit.
        temporal: (N, T), 0 to 1; likewise.

    Returns:
        (N, T, C, H, W).
    """
    return features * (1 + spatial * temporal[:, :, None, None, None])


def pose_columns(encoder: Encoder) -> slice:
    """Columns of the frame features that hold bodies.

    Raises:
        ModelError: the encoder finds none.
    """
    for start, block in placed(encoder.frame_blocks):
        if block.kind == "pose":
            return slice(start, start + POSE_WIDTH)
    raise ModelError(
        f"pose reads bodies, and encoder {encoder.name!r} finds none; use lite with lite-motion "
        "(vlar models get lite-motion), or set pose to none"
    )


def joints_of(features: Float32) -> Float32:
    """Joints (T, V, 2) of the person seen most, in shares of the picture; NaN where not seen.

    Args:
        features: (T, POSE_WIDTH) of bodies.
    """
    tracks = tracks_from_features(features)
    joints = np.full((len(features), JOINTS, 2), np.nan)
    if len(tracks.score):
        person = int(tracks.score.sum(axis=1).argmax())
        joints = tracks.points[person][:, _READ, :2] / [
            max(float(features[0, -1]), 1e-6),
            1.0,
        ]
        joints[tracks.score[person] <= 0] = np.nan
    return joints.astype(np.float32)


def skeleton_joints(clip: Clip, times_s: Float64) -> Float32:
    """Joints (T, V, 2) of a skeleton at some times, in shares of the picture; NaN where not seen.

    Joints of a picture lie where they are. Others fill a box of their own: no camera is known.
    """
    joints = np.full((len(times_s), JOINTS, 2), np.nan, np.float32)
    people = people_of(clip, _ROWS)
    if people is None or people.kind != "body":
        return joints
    rows = joints_of(pose_rows(people, _ROWS, pairs=False))  # one person is drawn
    if clip.meta.get("unit") == "picture":
        width, height = clip.meta.get("size", (16.0, 9.0))
        rows = (people.points[0][:, _READ] / [width / height, 1.0]).astype(np.float32)
    rows[people.visible[0][:, _READ] == 0] = np.nan
    away = np.abs(people.times_s - np.asarray(times_s)[:, None])
    near = away.min(axis=1) <= np.ptp(people.times_s) / _ROWS + 1e-6
    joints[near] = rows[away.argmin(axis=1)[near]]
    return joints


def drawn_maps(joints: Float32, side: int, sigma: float, draw: DrawPixels) -> Tensor:
    """(T, V S S) maps of joints (T, V, 2), with the changes that the pixels of the clip have."""
    maps = (255 * heatmaps(joints, (side, side), sigma * side)).round().astype(np.uint8)
    size = Preprocess(side, side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "squash")
    padded = np.pad(maps, ((0, 0), (0, -JOINTS % 3), (0, 0), (0, 0)))
    parts = [
        draw(np.moveaxis(padded[:, start : start + 3], 1, 3), size, colours=False)
        for start in range(0, JOINTS, 3)
    ]
    return torch.cat(parts, dim=1)[:, :JOINTS].clamp(0, 1).flatten(1)


def one_map(joints: Tensor, side: int) -> Tensor:
    """(N, V, T, S, S) to the sum of the joints (N, 1, T, side, side), at most 1."""
    joint_map = joints.sum(dim=1).clamp(max=1)
    return F.interpolate(joint_map, (side, side), mode="bilinear", align_corners=False)[:, None]


class Guide(nn.Module):
    """Maps over space and time of a stream of bodies (EPAM-Net)."""

    def __init__(self) -> None:
        super().__init__()
        self.space = nn.Conv3d(2, 1, (1, 7, 7), padding=(0, 3, 3))
        self.time = nn.Conv1d(1, 1, 7, padding=3)

    def forward(self, pictures: Tensor, bodies: Tensor, there: Tensor) -> Tensor:
        """Maps of pictures that grow where and when the bodies count.

        Args:
            pictures: (N, C, T, H, W).
            bodies: (N, C', T, H', W').
            there: (N,) bool; False leaves a clip bit for bit.
        """
        pooled = torch.cat([bodies.amax(1, keepdim=True), bodies.mean(1, keepdim=True)], dim=1)
        space = torch.sigmoid(self.space(pooled))
        time = torch.sigmoid(self.time(space.mean(dim=(3, 4)))) * there[:, None, None]
        space = F.interpolate(space[:, 0], pictures.shape[3:])[:, :, None]
        return guide(pictures.transpose(1, 2), space, time[:, 0]).transpose(1, 2)


class LateFusion(nn.Module):
    """Attention over tokens of the frames and of the bodies in them, and a bottleneck."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.points = nn.Sequential(
            nn.Linear(3 * JOINTS, 64), nn.ReLU(), nn.Linear(64, width), nn.ReLU()
        )
        self.attention = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.out = nn.Sequential(
            nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width)
        )

    def forward(self, frames: Tensor, joints: Tensor) -> Tensor:
        """(N, W, T) of the frames and maps (N, V, T, S, S) to (N, W).

        Joints are read off their maps, so they move with the pixels that a training changes. A
        frame without a body has no token of a body.
        """
        phase = torch.linspace(0, 1, joints.shape[-1], device=joints.device)
        total = joints.sum(dim=(3, 4))
        share = total.clamp_min(1e-6)
        x, y = ((joints.sum(dim=axis) @ phase) / share for axis in (3, 4))
        points = torch.cat([x, y, (total > 0).to(x.dtype)], dim=1).transpose(1, 2)  # (N, T, 3 V)
        tokens = torch.cat([frames.transpose(1, 2), self.points(points)], dim=1)
        tokens = F.normalize(tokens, dim=-1)
        absent = ~(total > 0).any(dim=1)
        mask = torch.cat([torch.zeros_like(absent[:, :1]).expand(-1, frames.shape[2]), absent], 1)
        attended = self.attention(
            tokens, tokens, tokens, key_padding_mask=mask, need_weights=False
        )[0]
        weight = (~mask).to(attended.dtype)[:, :, None]
        return self.out((attended * weight).sum(dim=1) / weight.sum(dim=1))
