"""Dense optical flow on small frames, and the part of it that the camera causes.

Pyramidal Lucas-Kanade (1981) computes all pairs of neighbouring frames at once. A robust affine
fit of the flow (iteratively reweighted least squares, Geman-McClure) gives the background's motion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose.track import Tracks
from vlar.types import Float32, UInt8

Floats = npt.NDArray[np.floating[Any]]

_PIXELS = 60 * 80  # of the small frame; its sides keep the aspect ratio
_CACHED_BYTES = 1 << 20  # of frames that are added up together: fewer calls, within the cache
_LEVELS = 4
_STEPS = 2
_RADIUS = 2  # pixels; half side of the Lucas-Kanade window
_UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of a symmetric 3 x 3 matrix
_DAMPING = 20.0  # added to the squared gradients (grey levels): flat regions stay still


def small_grey(frames: UInt8) -> Floats:
    """(T, H, W, 3) uint8 to small grey frames (T, h, w) float32, 0 to 255."""
    from PIL import Image

    return np.stack([small_picture(Image.fromarray(frame)) for frame in frames])


def small_picture(image: Any) -> Floats:
    """A PIL image as a small grey frame (h, w) float32, 0 to 255."""
    from PIL import Image

    width, height = image.size
    aspect = np.clip(width / height, 0.25, 4.0)
    size = (round(np.sqrt(_PIXELS * aspect)), round(np.sqrt(_PIXELS / aspect)))
    small = image.convert("L").resize(size, Image.Resampling.BOX)
    return np.asarray(small).astype(np.float32)


def box_mean(image: Floats, radius: int) -> Floats:
    """Mean over a square of 2 radius + 1 pixels; (N, h, w), edges repeated."""
    return _one_by_one(_box_mean(_side_by_side(image), radius))


def _side_by_side(image: Floats) -> Floats:
    """(N, h, w) as (h, w, N): what is added to a pixel lies next to what its neighbours get."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def _one_by_one(image: Floats) -> Floats:
    """(h, w, N) as (N, h, w)."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _box_mean(image: Floats, radius: int) -> Floats:
    """``box_mean`` of (..., h, w, N), by running sums along columns and rows."""
    if image.ndim > 3 and image.nbytes > _CACHED_BYTES:
        return np.stack([_box_mean(plane, radius) for plane in image])
    size = 2 * radius + 1
    for axis in (-3, -2):
        shape, last = list(image.shape), image.shape[axis] - 1
        shape[axis] += size
        sums, mean = np.empty(shape, np.float32), np.empty(image.shape, np.float32)
        rows, pixels, means = (array.swapaxes(0, axis) for array in (sums, image, mean))
        rows[0] = pixels[0]
        for row in range(1, len(rows)):
            np.add(rows[row - 1], pixels[min(max(row - radius - 1, 0), last)], out=rows[row])
        np.subtract(rows[size:], rows[:-size], out=means)
        mean /= np.float32(size)
        image = mean
    return image


def optical_flow(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Flow in pixels, all pairs (N, h, w) at once: ``second(x + u, y + v) = first(x, y)``."""
    pyramid = [np.stack([_side_by_side(first), _side_by_side(second)])]
    for _ in range(_LEVELS - 1):
        pyramid.append(_box_mean(pyramid[-1], 1)[:, ::2, ::2])
    flow = np.zeros_like(pyramid[-1])
    for a, b in reversed(pyramid):
        if flow.shape[1:] != a.shape:
            flow = _enlarge(flow, a.shape)
        dx, dy = _gradients(a)
        xx, yy, xy = _box_mean(np.stack([dx * dx, dy * dy, dx * dy]), _RADIUS)
        xx, yy = xx + _DAMPING, yy + _DAMPING
        determinant = xx * yy - xy * xy
        for _ in range(_STEPS):
            error = _warp(b, *flow) - a
            ex, ey = _box_mean(np.stack([dx * error, dy * error]), _RADIUS)
            flow[0] -= np.clip((yy * ex - xy * ey) / determinant, -2, 2)
            flow[1] -= np.clip((xx * ey - xy * ex) / determinant, -2, 2)
        flow = _box_mean(flow, 1)
    return _one_by_one(flow[0]), _one_by_one(flow[1])


def camera_flow(first: Floats, u: Floats, v: Floats, share: Floats | None = None) -> Floats:
    """The dominant affine motion of each flow field.

    The fit starts from the median. Textured pixels weigh more, and pixels that depart from it (the
    actors) lose their weight.

    Args:
        first: (N, h, w) grey frames at the start of each flow.
        u: (N, h, w) flow in pixels to the right.
        v: (N, h, w) flow in pixels down.
        share: (N, h, w) weights, small where people are; None for 1 everywhere.

    Returns:
        (N, 3, 2) float64 coefficients of 1, x / w - 0.5 and y / h - 0.5 for (u, v), in pixels.
    """
    count = len(u)
    dx, dy = _gradients(_side_by_side(first))
    texture = _one_by_one(_box_mean(dx * dx + dy * dy, 2) + 1).reshape(count, -1)
    texture = texture / (texture + 50)
    if share is not None:
        texture = texture * share.reshape(count, -1)
    design = np.ascontiguousarray(camera_design(u.shape).T)
    solved = np.zeros((count, 3, 2))
    # One by one: a single flow field fits the processor's cache.
    for now in range(count):
        flow = np.stack([u[now].ravel(), v[now].ravel()]).astype(np.float64)
        solved[now] = _affine_fit(flow, texture[now], design)
    return solved


def _affine_fit(flow: Floats, texture: Floats, design: Floats) -> Floats:
    """The robust fit (3, 2) of one flow field (2, h w), with weights (h w,) of its pixels."""
    products = np.stack([design[i] * design[j] for i, j in _UPPER])
    ridge = np.diag([1e-6, 1e-3, 1e-3])
    camera = np.stack([np.full(flow.shape[1], _median(part)) for part in flow])
    solved = np.zeros((3, 2))
    for _ in range(4):
        apart = flow - camera
        square = apart[0] * apart[0] + apart[1] * apart[1]
        scale = max(1.5 * _median(square, np.sqrt), 0.1)
        weight = texture / (1 + square / (scale * scale)) ** 2
        normal = np.zeros((3, 3))
        for (i, j), value in zip(_UPPER, products @ weight, strict=True):
            normal[i, j] = normal[j, i] = value
        solved = np.linalg.solve(normal + ridge * normal[0, 0], design @ (flow * weight).T)
        camera = solved.T @ design
    return solved


def _median(values: Floats, of: Callable[[Floats], Floats] = np.asarray) -> float:
    """The median of a rising function of values; sorting is faster than numpy's partial sorting."""
    ordered, middle = np.sort(values), len(values) // 2
    low, high = of(ordered[[(len(values) - 1) // 2, middle]])
    return float(low + high) / 2


def camera_design(shape: tuple[int, ...]) -> Floats:
    """(h w, 3): 1, x / w - 0.5 and y / h - 0.5 of every pixel."""
    _, height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.stack([np.ones_like(x), x / width - 0.5, y / height - 0.5], -1).reshape(-1, 3)


def _warp(image: Floats, u: Floats, v: Floats) -> Floats:
    """Sample ``image`` at (x + u, y + v), bilinear, clamped at the edges; all (h, w, N)."""
    height, width, count = image.shape
    x = np.clip(np.arange(width, dtype=np.float32)[:, None] + u, 0, width - 1)
    y = np.clip(np.arange(height, dtype=np.float32)[:, None, None] + v, 0, height - 1)
    x_low = np.minimum(x.astype(np.int32), max(width - 2, 0))
    top = np.minimum(y.astype(np.int32), max(height - 2, 0))
    x -= x_low
    y -= top
    corner = ((top * width + x_low) * count + np.arange(count, dtype=np.int32)).astype(np.intp)
    right, below = min(1, width - 1) * count, min(1, height - 1) * width * count
    pixels = np.ascontiguousarray(image).ravel()
    upper = pixels.take(corner) * (1 - x) + pixels[right:].take(corner) * x
    pixels = pixels[below:]
    lower = pixels.take(corner) * (1 - x) + pixels[right:].take(corner) * x
    return upper * (1 - y) + lower * y


def _enlarge(flow: Floats, shape: tuple[int, ...]) -> Floats:
    """A flow (2, h, w, N) at twice the size."""
    rows = np.minimum(np.arange(shape[0]) // 2, flow.shape[1] - 1)
    columns = np.minimum(np.arange(shape[1]) // 2, flow.shape[2] - 1)
    return 2 * _box_mean(flow[:, rows][:, :, columns], 1)


def _gradients(image: Floats) -> tuple[Floats, Floats]:
    """Horizontal and vertical derivative of (h, w, N), central differences."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return (
        (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2,
        (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2,
    )


CAMERA_WIDTH = 4
_ON_PEOPLE = 0.02  # weight of a pixel on a person
_BORDER = 0.12  # margin around a person's box, as a share of its size
_CUT = 0.5  # frame heights; a larger step is a scene cut or a wrong match


def steps_of_flow(
    first: npt.NDArray[np.floating[Any]],
    u: npt.NDArray[np.floating[Any]],
    v: npt.NDArray[np.floating[Any]],
    share: npt.NDArray[np.floating[Any]],
) -> Float32:
    """Motion of the background in each flow field.

    Args:
        first: (N, h, w) grey frames at the start of each flow.
        u: (N, h, w) flow in pixels to the right.
        v: (N, h, w) flow in pixels down.
        share: (N, h, w) weights, small where people are (``people_share``).

    Returns:
        (N, 4) float32: shift to the right and down in frame heights at the middle of the frame,
        log of the scale, rotation in radians (clockwise).
    """
    _, height, width = first.shape
    fit = camera_flow(first, u, v, share)
    (shift_x, shift_y) = (fit[:, 0, 0] / height, fit[:, 0, 1] / height)
    grow = (fit[:, 1, 0] / width + fit[:, 2, 1] / height) / 2
    turn = (fit[:, 1, 1] / width - fit[:, 2, 0] / height) / 2
    steps = np.stack([shift_x, shift_y, np.log1p(np.clip(grow, -0.3, 0.3)), turn], axis=1)
    steps[np.hypot(shift_x, shift_y) > _CUT] = 0
    return steps.astype(np.float32)


def people_share(tracks: Tracks, height: int, width: int) -> npt.NDArray[np.float32]:
    """(T, height, width) weights of the pixels of small frames: small on people, else 1."""
    share = np.ones((tracks.score.shape[1], height, width), np.float32)
    for points, scores in zip(tracks.points, tracks.score, strict=True):
        for now in np.flatnonzero(scores > 0):
            low, high = points[now, :, :2].min(axis=0), points[now, :, :2].max(axis=0)
            margin = _BORDER * (high - low)
            (x_low, top), (right, bottom) = (low - margin) * height, (high + margin) * height
            rows = slice(max(int(top), 0), max(int(bottom) + 1, 0))
            share[now, rows, max(int(x_low), 0) : max(int(right) + 1, 0)] = _ON_PEOPLE
    return share


def stabilise(
    points: npt.NDArray[np.floating[Any]], steps: Float32, aspect: float
) -> npt.NDArray[np.floating[Any]]:
    """Points as a camera that stays where it was in the first frame would record them.

    Args:
        points: (T, P, 2) in frame heights.
        steps: (T, 4) float32 from ``camera_steps``.
        aspect: Width over height of the frame.
    """
    middle = np.array([aspect / 2, 0.5])
    matrix, shift = np.eye(2), np.zeros(2)
    still = np.empty(points.shape, np.float64)
    for now, frame_points in enumerate(points):
        still[now] = (frame_points - middle - shift) @ np.linalg.inv(matrix).T + middle
        right, down, log_scale, turn = (float(value) for value in steps[now])
        scale, cosine, sine = np.exp(log_scale), np.cos(turn), np.sin(turn)
        step = scale * np.array([[cosine, -sine], [sine, cosine]])
        matrix, shift = step @ matrix, step @ shift + (right, down)
    return still
