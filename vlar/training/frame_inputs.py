"""Frame features made small: each block by its kind, then along its principal directions.

Few examples cannot train a map from thousands of entries. The directions in which the frames of the
training set differ most are found without labels, and only they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlar.encoders.base import Encoder, FrameBlock
from vlar.media.skeleton.layouts import layout
from vlar.pose.features import tracks_from_features
from vlar.registry import unknown_name
from vlar.types import Float32

if TYPE_CHECKING:
    from torch import nn

_MOST_FRAMES = 1024  # that the directions are taken from
_HIPS = [23, 24]
_SEEN = 0.5
_MOVING = ("motion", "direction", "pose")


@dataclass(frozen=True)
class JointInputs:
    """Joints that a tower reads, as the first (M, V, 4) numbers of each frame of its inputs.

    The four are x, y and z, and 1 where the joint is seen.

    Attributes:
        layout: Name of the layout of the V joints.
        people: M.
    """

    layout: str
    people: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, V, 4)."""
        return self.people, len(layout(self.layout).joints), 4


def joint_inputs(adapter: Any) -> JointInputs | None:
    """The joints that a tower reads from a block ``joints`` of its own; None where it has none."""
    source = getattr(adapter, "source", None)
    blocks = getattr(source, "frame_blocks", ())
    if not blocks or blocks[-1].kind != "joints" or not hasattr(source, "people"):
        return None
    inputs = JointInputs(str(getattr(source, "layout", "")), int(getattr(source, "people", 0)))
    return inputs if math.prod(inputs.shape) == blocks[-1].width else None


def block_width(block: FrameBlock) -> int:
    """Entries of a block as ``read_block`` gives it."""
    return 66 if block.kind == "pose" else block.width


def read_block(features: Float32, kind: str) -> Float32:
    """A block (N, T, W) in units that may be compared: the same as the few-shot signatures use."""
    if kind == "logits":
        shifted = np.exp(features - features.max(axis=-1, keepdims=True))
        return np.sqrt(shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    if kind == "appearance":
        return (np.sign(features) * np.sqrt(np.abs(features))).astype(np.float32)
    if kind == "pose":
        return np.stack([_joints(clip) for clip in features])
    return features.astype(np.float32)


def directions(
    rows: npt.NDArray[np.floating[Any]], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean (W,) and principal directions (W, count), scaled so that the first has deviation 1.

    Args:
        rows: (n, W) frames.
        count: Directions; those that do not exist are zero.
    """
    if len(rows) > _MOST_FRAMES:
        rows = rows[np.linspace(0, len(rows) - 1, _MOST_FRAMES).round().astype(int)]
    mean = rows.mean(axis=0, dtype=np.float64)
    away = rows.astype(np.float64) - mean
    # The smaller of the two products has the same eigenvalues.
    tall = len(away) < away.shape[1]
    values, vectors = np.linalg.eigh(away @ away.T if tall else away.T @ away)
    order = np.argsort(values)[::-1][:count]
    values, vectors = values[order], vectors[:, order]
    strong = values > 1e-8 * max(float(values[0]), 1e-12)
    basis = np.zeros((rows.shape[1], count))
    if strong.any():
        axes = away.T @ vectors[:, strong] / np.sqrt(values[strong]) if tall else vectors[:, strong]
        deviation = np.sqrt(values[0] / len(rows))
        basis[:, : axes.shape[1]] = axes / deviation
    return mean, basis


def read_blocks(features: Float32, blocks: Sequence[tuple[int, FrameBlock]]) -> list[Float32]:
    """Blocks (N, T, W) of frame features (N, T, F), each block with where it starts."""
    return [
        read_block(features[..., start : start + block.width], block.kind)
        for start, block in blocks
    ]


def fit_directions(network: nn.Module, parts: Iterable[Float32], components: int) -> None:
    """Store the directions of each part (.., W) in ``mean0``, ``axes0`` ... of a network."""
    import torch

    for number, part in enumerate(parts):
        mean, axes = directions(part.reshape(-1, part.shape[-1]), components)
        network.get_buffer(f"mean{number}").copy_(torch.from_numpy(mean))
        network.get_buffer(f"axes{number}").copy_(torch.from_numpy(axes))


def along_directions(network: nn.Module, parts: Iterable[Float32]) -> Float32:
    """Parts (N, T, .., W) along the directions that ``fit_directions`` stored: (N, T, K)."""
    small = [
        (
            (part - network.get_buffer(f"mean{number}").numpy())
            @ network.get_buffer(f"axes{number}").numpy()
        ).reshape(*part.shape[:2], -1)
        for number, part in enumerate(parts)
    ]
    return np.concatenate(small, axis=2)


def placed(blocks: Sequence[FrameBlock]) -> list[tuple[int, FrameBlock]]:
    """The blocks, each with where it starts in the frame features."""
    starts = np.cumsum([0, *(block.width for block in blocks)])
    return list(zip(starts.tolist(), blocks, strict=False))


def check_names(encoder: Encoder, names: Sequence[str]) -> None:
    """Raise UnknownNameError for a name that no frame block of the encoder has."""
    block_names = [block.name for block in encoder.frame_blocks]
    for name in names:
        if name not in block_names:
            raise unknown_name(f"frame block of {encoder.name}", name, block_names)


def chosen(blocks: Sequence[FrameBlock], names: Sequence[str]) -> list[tuple[int, FrameBlock]]:
    """The named blocks, each with where it starts in the frame features.

    Without names: those of motion, and all where there are none. A training on few clips memorises
    their appearance, which closed forms use better.
    """
    pairs = placed(blocks)
    if names:
        return [(start, block) for start, block in pairs if block.name in names]
    return [pair for pair in pairs if pair[1].kind in _MOVING] or pairs


def _joints(clip: Float32) -> Float32:
    """(T, 66): the joints of the actor as seen from the hips, in heights of the pose; else 0."""
    joints = np.zeros((len(clip), 33, 2), np.float32)
    tracks = tracks_from_features(clip)
    if len(tracks.score):
        points = tracks.points[0][..., :2]
        away = points - points[:, _HIPS].mean(axis=1, keepdims=True)
        detected = tracks.score[0] > _SEEN
        if detected.any():
            height = float(np.ptp(away[detected][..., 1], axis=1).mean())
            joints[detected] = away[detected] / max(height, 1e-3)
    return joints.reshape(len(clip), -1)
