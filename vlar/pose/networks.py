"""The two BlazePose networks at run time: people in a frame, and the joints of a body in a region.

BlazePose (Bazarevsky et al. 2020) has two networks. A single-shot detector gives the middle of the
hips, the size and the direction of each body. The landmark network reads an upright square crop
around a body and gives 33 joints with their visibility, the probability of a body, and the region
for the next frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.files.fetched_weights.packages import Extra, extra
from vlar.pose.onnx import CachedNetwork
from vlar.pose.skeletons import BLAZEPOSE_33
from vlar.types import Float32, UInt8

NAME = "lite-motion"
DETECTOR, LANDMARKS = "detector", "landmarks"
PALMS, HAND_LANDMARKS = "palms", "hand_landmarks"


def lite_motion() -> Extra:
    """The extra that holds the networks."""
    return extra(NAME)


def is_installed() -> bool:
    """Return whether the networks of bodies are in the cache."""
    return lite_motion().is_installed(DETECTOR, LANDMARKS)


def has_hands() -> bool:
    """Return whether the networks of hands are in the cache; older versions did not keep them."""
    return is_installed() and lite_motion().is_installed(PALMS, HAND_LANDMARKS)


def digest() -> str:
    """Hash of the original files of bodies and of the converter's version."""
    return lite_motion().digest(DETECTOR, LANDMARKS)


def hands_digest() -> str:
    """Hash of the original files of hands and of the converter's version."""
    return lite_motion().digest(PALMS, HAND_LANDMARKS)


def network(name: str) -> CachedNetwork:
    """A converted network of ``lite-motion``; it is loaded when it first runs.

    Raises:
        ModelError: the network was never fetched, or its file changed.
    """
    source = lite_motion()
    entry = f"{name}-{hashlib.sha256(source.read(name)).hexdigest()[:16]}.network"
    return CachedNetwork(source.folder.name, entry, lambda: source.read(name), None, NAME)


N_POINTS = len(BLAZEPOSE_33.joints)
# Rows after the joints: the middle of the hips, and a point on the circle around the whole body.
_AUXILIARY = (N_POINTS, N_POINTS + 1)
_ROWS = 39
_DETECTOR_SIZE, _CROP_SIZE = 224, 256
_LAYERS = ((8, 2), (16, 2), (32, 6))  # stride and anchors per cell
_MARGIN = 1.25  # size of the region over that of the body's circle
_OVERLAP = 0.3  # intersection over union above which boxes are one person
_LARGEST_LOGIT = 50.0


@dataclass(frozen=True)
class Crop:
    """A square of ``size`` pixels around (x, y), turned by ``angle`` (radians, clockwise)."""

    x: float
    y: float
    size: float
    angle: float

    def near(self, other: Crop) -> bool:
        """Return whether two regions are of the same person."""
        distance = float(np.hypot(self.x - other.x, self.y - other.y))
        return distance < 0.35 * max(self.size, other.size)

    def inside(self, size: tuple[int, int], outside: float) -> bool:
        """Return whether the middle is in a frame (width, height), or a share of it outside."""
        places = zip((self.x, self.y), size, strict=True)
        return all(
            -outside * side < coordinate < (1 + outside) * side for coordinate, side in places
        )


@dataclass(frozen=True)
class BodyLandmarks:
    """One person in one frame.

    Attributes:
        points: (33, 3) float32: x and y in pixels, and the probability of being visible.
        score: Probability of a body.
        next_region: Region of the body for the next frame.
    """

    points: Float32
    score: float
    next_region: Crop


class BoxDetector:
    """A single-shot detector that reads a square of a frame.

    Attributes:
        size: Pixels of a side of its input.
        layers: Stride and anchors per cell.
        offsets: Columns of a row whose pairs (x, y) are offsets from the row's anchor.
        middle: Value of a pixel that the input has as 0.
        spread: Difference of pixels that the input has as 1.
    """

    size: ClassVar[int]
    layers: ClassVar[Sequence[tuple[int, int]]]
    offsets: ClassVar[Sequence[int]]
    middle: ClassVar[float] = 0.0
    spread: ClassVar[float] = 255.0

    def __init__(self, network: CachedNetwork) -> None:
        self._network = network
        self._anchors = anchors(self.size, self.layers)

    def boxes(
        self, image: Any, threshold: float, square: tuple[float, float, float] | None
    ) -> tuple[list[Float32], float, tuple[float, float]]:
        """Boxes in a PIL image, best first.

        Args:
            image: The frame, RGB.
            threshold: Least probability, 0 to 1.
            square: Left, top and side (pixels) of the part to search; None for the whole frame.

        Returns:
            Merged rows in shares of the square, its side, and its left and top.
        """
        width, height = image.size
        side = max(width, height)
        x, top, side = square or ((width - side) / 2, (height - side) / 2, side)
        scale = side / self.size
        pixels = sample(image, self.size, (scale, 0, x, 0, scale, top))
        pixels /= np.float32(self.spread)
        pixels -= np.float32(self.middle / self.spread)
        rows, logits = self._network.run(["Identity", "Identity_1"], {"image": pixels[None]})
        scores = sigmoid(logits[0, :, 0])
        chosen = np.flatnonzero(scores >= threshold)
        places = rows[0, chosen] / np.float32(self.size)
        for column in self.offsets:
            places[:, column : column + 2] += self._anchors[chosen]
        return merge_boxes(places, scores[chosen]), side, (x, top)


class PersonDetector(BoxDetector):
    """Finds people in a frame or in a square part of it."""

    size, layers, offsets = _DETECTOR_SIZE, _LAYERS, (0, 4, 6, 8, 10)
    middle = spread = 127.5

    def __call__(
        self, image: Any, threshold: float, square: tuple[float, float, float] | None = None
    ) -> list[Crop]:
        """Regions of people in a PIL image, best first; arguments as for ``boxes``."""
        rows, side, corner = self.boxes(image, threshold, square)
        return [_region(row[4:6] * side + corner, row[6:8] * side + corner) for row in rows]


class Landmarks:
    """Finds the joints of a body in a region of a frame."""

    def __init__(self, network: CachedNetwork) -> None:
        self._network = network

    def __call__(self, image: Any, region: Crop) -> BodyLandmarks:
        """The body in ``region`` of a PIL image; a low ``score`` means that there is none."""
        pixels, turn, corner = crop(image, region, _CROP_SIZE)
        rows, score = self._network.run(["Identity", "Identity_1"], {"image": pixels[None]})
        rows = rows.reshape(_ROWS, 5)
        places = rows[:, :2] @ turn + corner
        points = np.concatenate([places, sigmoid(rows[:, 3:4])], axis=1)[:N_POINTS]
        centre, rim = places[list(_AUXILIARY)]
        return BodyLandmarks(points.astype(np.float32), float(score[0, 0]), _region(centre, rim))


def to_image(frame: UInt8) -> Any:
    """A frame (H, W, 3) uint8 as the PIL image that the networks sample."""
    from PIL import Image

    return Image.fromarray(frame)


def crop(
    image: Any, region: Crop, size: int
) -> tuple[Float32, npt.NDArray[Any], tuple[float, float]]:
    """The pixels of a region, upright, (size, size, 3) in 0 .. 1, and how they lie in the image.

    A place (x, y) of the crop is at ``place @ turn + corner`` in the image.
    """
    scale = max(region.size, 1.0) / size
    cosine, sine = np.cos(region.angle) * scale, np.sin(region.angle) * scale
    half = size / 2
    x0 = region.x - half * cosine + half * sine
    y0 = region.y - half * sine - half * cosine
    pixels = sample(image, size, (cosine, -sine, x0, sine, cosine, y0))
    pixels /= np.float32(255)
    return pixels, np.array([[cosine, sine], [-sine, cosine]]), (x0, y0)


def sample(image: Any, size: int, matrix: tuple[float, ...]) -> Float32:
    """Pixels (size, size, 3) float32 of an image, black outside; bilinear.

    Args:
        image: A PIL image, RGB.
        size: Rows and columns of the result.
        matrix: Maps (x, y) of the result to the image: x' = ax + by + c, y' = dx + ey + f.
    """
    # The matrix maps pixel indices of the result to pixel indices of the image. PIL counts from the
    # corner of a pixel, half a pixel before its centre. Pixels outside the image are black.
    from PIL import Image

    a, b, c, d, e, f = matrix
    shifted = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
    part = image.transform((size, size), Image.Transform.AFFINE, shifted, Image.Resampling.BILINEAR)
    return np.asarray(part).astype(np.float32)


def anchors(size: int, layers: Sequence[tuple[int, int]]) -> Float32:
    """The middles (N, 2) of a single-shot detector's boxes, in 0 .. 1.

    Args:
        size: Rows and columns of its input, pixels.
        layers: Stride and anchors per cell of each layer.
    """
    rows: list[tuple[float, float]] = []
    for stride, count in layers:
        cells = size // stride
        for y in range(cells):
            for x in range(cells):
                rows += [((x + 0.5) / cells, (y + 0.5) / cells)] * count
    return np.array(rows, dtype=np.float32)


def merge_boxes(rows: Float32, scores: Float32) -> list[Float32]:
    """Weighted non-maximum suppression: overlapping boxes are averaged by score, best first."""
    half = rows[:, 2:4] / 2
    low, high = rows[:, :2] - half, rows[:, :2] + half
    area = np.prod(high - low, axis=1)
    merged: list[Float32] = []
    free = np.ones(len(rows), dtype=bool)
    for best in np.argsort(-scores, kind="stable"):
        if not free[best]:
            continue
        sides = np.minimum(high[best], high) - np.maximum(low[best], low)
        common = np.prod(np.clip(sides, 0, None), axis=1)
        same = free & (common / (area[best] + area - common + 1e-9) > _OVERLAP)
        same[best] = True
        free &= ~same
        weights = scores[same] / scores[same].sum()
        merged.append((weights[:, None] * rows[same]).sum(axis=0))
    return merged


def _region(centre: npt.NDArray[Any], rim: npt.NDArray[Any]) -> Crop:
    dx, dy = (float(v) for v in rim - centre)
    size = 2 * float(np.hypot(dx, dy)) * _MARGIN
    return Crop(float(centre[0]), float(centre[1]), size, float(np.pi / 2 - np.arctan2(-dy, dx)))


def sigmoid(logits: Float32) -> Float32:
    """Probabilities of logits."""
    clipped = np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT)
    return np.asarray(1 / (1 + np.exp(-clipped)), np.float32)
