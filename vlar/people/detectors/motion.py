"""``motion``: what moves against its background, whatever it is.

The camera's motion is measured (``vlar.pose.optical_flow``) and every frame is laid over its
neighbours. What differs from the median of the neighbours, and from the frames right before and
after, moves. Connected regions of it are boxes. No weights, no training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.people.base import PERSON, Boxes, Detector
from vlar.pose.optical_flow import box_mean, camera_flow, optical_flow, small_grey
from vlar.registry import register
from vlar.types import Float64, UInt8

_HEIGHT = 240  # pixels of the shorter side that differences are computed in
_AROUND = (-6, -3, -1, 1, 3, 6)  # frames whose median is the background
_LEAST_DIFFERENCE = 12.0  # grey levels
_NOISE_TIMES = 5.0  # the noise of a frame, from which a difference counts
_EDGE = 0.7  # pixels that frames may be laid apart from each other: edges differ by so much
_JOIN = 0.025  # of the height: parts of a body that are farther apart are two regions
_LEAST_AREA = 3e-4  # of the frame
_LARGEST_SHARE = 0.6  # of the frame that differs: a cut, or a camera that cannot be followed
_MOST_REGIONS = 12  # of a frame, the largest
_SHARE_OF_LARGEST = 0.06  # of the area of the largest region; smaller ones are its shadow
_NOT_SHOWN = -1.0  # grey level of places that another frame does not show
_MARGIN = 0.12  # of a region: what stands still belongs to the body too

Floats = npt.NDArray[np.floating[Any]]


@register("detector", "motion")
class MotionDetector(Detector):
    """Regions that move against the background; a static scene has none."""

    name = "motion"
    finds = "movement"

    def detect(self, frames: UInt8, times_s: Float64, prompt: str = PERSON) -> Boxes:
        if len(frames) < 3:
            return Boxes.none()
        grey, scale = _reduced(frames)
        moving = _moving(grey, _camera(frames, grey.shape[1:]))
        rows: list[tuple[float, ...]] = []
        scores: list[float] = []
        for now, differs in enumerate(moving):
            for box, score in _regions(differs):
                rows.append((float(times_s[now]), *(side * scale for side in box)))
                scores.append(score)
        if not rows:
            return Boxes.none()
        return Boxes(np.array(rows, np.float32), np.array(scores, np.float32))


def _reduced(frames: UInt8) -> tuple[Floats, float]:
    """(T, h, w) float32 grey frames, and pixels of a frame in one of theirs."""
    from PIL import Image

    height, width = frames.shape[1:3]
    scale = max(1.0, min(height, width) / _HEIGHT)
    size = (max(8, round(width / scale)), max(8, round(height / scale)))
    small = [
        np.asarray(Image.fromarray(frame).convert("L").resize(size, Image.Resampling.BOX))
        for frame in frames
    ]
    return np.stack(small).astype(np.float32), scale


def _camera(frames: UInt8, shape: tuple[int, ...]) -> Floats:
    """(T - 1, 2, 3) affine maps of places of a frame to the next, in pixels of ``shape``."""
    grey = small_grey(frames)
    u, v = optical_flow(grey[:-1], grey[1:])
    fit = camera_flow(grey[:-1], u, v)  # of 1, x / w - 0.5, y / h - 0.5; in small pixels
    (small_h, small_w), (height, width) = grey.shape[1:], shape
    maps = np.zeros((len(fit), 2, 3))
    for axis, (small, large) in enumerate(((small_w, width), (small_h, height))):
        one, along_x, along_y = fit[:, :, axis].T * large / small
        maps[:, axis, 0], maps[:, axis, 1] = along_x / width, along_y / height
        maps[:, axis, 2] = one - 0.5 * (along_x + along_y)
        maps[:, axis, axis] += 1
    return maps


def _moving(grey: Floats, camera: Floats) -> npt.NDArray[np.bool_]:
    """(T, h, w) True where a frame differs from its background."""
    count = len(grey)
    mask = np.zeros(grey.shape, bool)
    for now in range(count):
        others = [now + step for step in _AROUND if 0 <= now + step < count]
        laid = np.stack([_laid(grey[frame], _between(camera, now, frame)) for frame in others])
        laid = np.where(laid == _NOT_SHOWN, grey[now], laid)
        difference = _difference(grey[now], laid, [frame - now for frame in others])
        noise = _NOISE_TIMES * 1.48 * float(np.median(difference))
        mask[now] = difference > max(_LEAST_DIFFERENCE, noise)
        if mask[now].mean() > _LARGEST_SHARE:
            mask[now] = False
    return mask


def _difference(frame: Floats, laid: Floats, steps: list[int]) -> Floats:
    """(h, w) how much a frame differs from the median of its neighbours, less what edges explain.

    What is next to it in time must differ too, or the median is of something that has left.
    """
    background = np.median(laid, axis=0)
    far = np.abs(frame - background)
    # The nearest on each side: where something was or will be, one of them equals the frame.
    near = [np.abs(frame - laid[other]) for other in _nearest(steps)]
    close = np.minimum.reduce(near) if near else far
    dx = np.abs(np.gradient(background, axis=1)) + np.abs(np.gradient(background, axis=0))
    loud = np.maximum(far, close) - _EDGE * np.minimum(dx, 40.0)
    return box_mean(np.maximum(loud, 0)[None].astype(np.float32), 1)[0]


def _nearest(steps: list[int]) -> list[int]:
    """Places of the steps nearest to 0 on each side."""
    before = [(abs(step), frame) for frame, step in enumerate(steps) if step < 0]
    after = [(step, frame) for frame, step in enumerate(steps) if step > 0]
    return [min(side)[1] for side in (before, after) if side]


def _between(camera: Floats, now: int, at: int) -> Floats:
    """(3, 3) map of places of the frame ``now`` to the frame ``at``."""
    total = np.eye(3)
    for step in range(min(now, at), max(now, at)):
        total = np.vstack([camera[step], [0, 0, 1]]) @ total
    return total if at >= now else np.linalg.inv(total)


def _laid(image: Floats, mapping: Floats) -> Floats:
    """An image seen from where another frame was taken; -1 where it shows nothing."""
    from scipy.ndimage import affine_transform

    if np.abs(mapping - np.eye(3)).max() < 0.02:  # pixels and shares: nothing to move
        return image
    swapped = mapping[[1, 0]][:, [1, 0, 2]]  # rows before columns
    offset: Any = swapped[:, 2]
    return affine_transform(
        image, swapped[:, :2], offset, order=0, mode="constant", cval=_NOT_SHOWN, output=np.float32
    )


def _regions(differs: npt.NDArray[np.bool_]) -> list[tuple[tuple[float, ...], float]]:
    """Boxes x1, y1, x2, y2 of connected regions, and the share of each that moves."""
    from scipy.ndimage import binary_dilation, find_objects, label

    height, width = differs.shape
    reach = max(1, round(_JOIN * height))
    joined = binary_dilation(differs, np.ones((2 * reach + 1, 2 * reach + 1), bool))
    labelled: Any = label(joined)
    numbers, count = labelled
    if not count:
        return []
    areas = np.bincount(numbers.ravel(), weights=differs.ravel(), minlength=count + 1)[1:]
    least = max(_LEAST_AREA * height * width, _SHARE_OF_LARGEST * float(areas.max()), 6)
    slices = find_objects(numbers)
    regions: list[tuple[tuple[float, ...], float]] = []
    for number in np.argsort(-areas, kind="stable")[:_MOST_REGIONS]:
        if areas[number] < least:
            break
        rows, columns = slices[number]
        box = (columns.start + reach, rows.start + reach, columns.stop - reach, rows.stop - reach)
        wide, high = max(box[2] - box[0], 1), max(box[3] - box[1], 1)
        share = float(areas[number]) / (wide * high)
        regions.append((_with_margin(box, width, height), min(1.0, 2 * share)))
    return regions


def _with_margin(box: tuple[float, ...], width: int, height: int) -> tuple[float, ...]:
    x1, y1, x2, y2 = box
    across, down = _MARGIN * max(x2 - x1, 1), _MARGIN * max(y2 - y1, 1)
    return (
        max(0.0, x1 - across),
        max(0.0, y1 - down),
        min(float(width), x2 + across),
        min(float(height), y2 + down),
    )
