"""Representations of events and filters before them: pure functions, the same in every order.

Letters: L events, H W pixels. An argument ``events`` is a structured array (L,) with the fields
``x y t p`` in any order of time: pixels, microseconds (floating ``t``: seconds), and polarity,
above 0 where it became brighter. ``size`` is (H, W); None is one more than the largest coordinates.
All raise UsageError for events beyond the size, and for none of them without a size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Float32, Float64

EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "?")])
"""Fields of an event: pixels, microseconds, whether it became brighter."""
Events = npt.NDArray[Any]
Size = tuple[int, int]
_CANDIDATES = 4  # events that farthest-point sampling chooses one point from


def voxel(events: Events, bins: int, *, size: Size | None = None) -> Float32:
    """Signed events, shared between the two nearest of ``bins`` moments (Zhu et al., 2019).

    ``V_b = sum_i p_i max(0, 1 - |b - t*_i|)``, with p of -1 or 1 and t* from 0 to ``bins - 1``.

    Returns:
        (bins, H, W); its sum is the sum of the polarities.
    """
    pixel, (height, width) = _pixels(events, size)
    _at_least_one("bins", bins)
    position = _share(events) * (bins - 1)
    before = position.astype(np.intp)
    part, sign = position - before, np.where(events["p"] > 0, 1.0, -1.0)
    area = height * width
    grid = np.bincount(before * area + pixel, sign * (1 - part), bins * area)
    after = np.minimum(before + 1, bins - 1)
    grid += np.bincount(after * area + pixel, sign * part, bins * area)
    return grid.reshape(bins, height, width).astype(np.float32)


def frames(events: Events, n: int, *, size: Size | None = None, by: str = "time") -> Float32:
    """Counts of events in ``n`` equal parts of their time, or of their number.

    Args:
        events: See above.
        n: Frames.
        size: See above.
        by: ``time`` or ``count``.

    Returns:
        (n, 2, H, W): darker, then brighter. Their sum is L.
    """
    pixel, (height, width) = _pixels(events, size)
    _at_least_one("n", n)
    if by not in ("time", "count"):
        raise UsageError(f"frames by {by!r} are not known; choose by='time' or by='count'")
    if by == "time":
        which = np.minimum((_share(events) * n).astype(np.intp), n - 1)
    else:
        which = np.empty(len(events), np.intp)
        which[_order(events)] = np.arange(len(events)) * n // max(len(events), 1)
    cell = (2 * which + (events["p"] > 0)) * (height * width) + pixel
    counts = np.bincount(cell, minlength=n * 2 * height * width)
    return counts.reshape(n, 2, height, width).astype(np.float32)


def surface(events: Events, at_s: float, tau_s: float, *, size: Size | None = None) -> Float32:
    """Time surface ``exp(-(at - t_last) / tau)`` of each polarity (Lagorce et al., 2017).

    Both times are seconds, ``at_s`` on the clock of ``t``; later events count for nothing.

    Returns:
        (2, H, W): darker, then brighter; 0 where nothing happened.
    """
    pixel, (height, width) = _pixels(events, size)
    if not tau_s > 0:
        raise UsageError(f"tau_s is {tau_s!r}; it must be above 0 seconds")
    times_s = _seconds(events)
    last = np.full(2 * height * width, -np.inf)
    past = times_s <= at_s
    cell = (events["p"] > 0) * (height * width) + pixel
    np.maximum.at(last, cell[past], times_s[past])
    return np.exp((last - at_s) / tau_s).reshape(2, height, width).astype(np.float32)


def points(events: Events, n: int, seed: int, *, size: Size | None = None) -> Float32:
    """``n`` events as points in a cube: thinned by even rank, then farthest-point sampling.

    Args:
        events: See above, at least one.
        n: Points; where there are fewer events, some are repeated evenly.
        seed: Which of the even ranks are taken.
        size: See above.

    Returns:
        (n, 4) in the order of time: x, y and t from -1 to 1 of the size and of the time from the
        first event to the last, and the polarity, -1 or 1.
    """
    _, (height, width) = _pixels(events, size)
    _at_least_one("n", n)
    if not len(events):
        raise UsageError("points are taken from events, and none is given; check the recording")
    cube = np.empty((len(events), 4))
    cube[:, 0] = (events["x"] + 0.5) * (2 / width) - 1
    cube[:, 1] = (events["y"] + 0.5) * (2 / height) - 1
    cube[:, 2] = 2 * _share(events) - 1
    cube[:, 3] = np.where(events["p"] > 0, 1, -1)
    cube = cube[_order(events)]
    if len(cube) <= n:
        return cube[np.arange(n) * len(cube) // n].astype(np.float32)
    most = min(len(cube), _CANDIDATES * n)
    start = np.random.default_rng(seed).random()
    cube = cube[((np.arange(most) + start) * len(cube) / most).astype(np.intp)]
    return cube[np.sort(farthest(cube[:, :3], n))].astype(np.float32)


def farthest(points: npt.NDArray[Any], k: int) -> npt.NDArray[np.int64]:
    """Farthest-point sampling: each further point is the farthest from all before it.

    The first is the farthest from the mean. Of equal ones that with the smallest coordinates is
    taken, so that the order of the points changes nothing.

    Args:
        points: (L, 3), or any other width.
        k: 1 to L.

    Returns:
        (k,) rows of ``points``, in the order in which they are taken.
    """
    values = np.asarray(points, np.float64)
    if values.ndim != 2 or not 0 < k <= len(values):
        raise UsageError(f"{k} of points of shape {values.shape} cannot be taken; give k of 1 to L")
    order = np.lexsort(values.T[::-1])
    columns = np.ascontiguousarray(values[order].T)
    away = ((columns - columns.mean(axis=1, keepdims=True)) ** 2).sum(axis=0)
    chosen = np.empty(k, np.intp)
    for number in range(k):
        farthest_index = chosen[number] = away.argmax()
        distance = ((columns - columns[:, farthest_index, None]) ** 2).sum(axis=0)
        away = np.minimum(away, distance) if number else distance
        away[farthest_index] = -1
    return order[chosen].astype(np.int64)


def _pixels(events: Events, size: Size | None) -> tuple[npt.NDArray[np.intp], Size]:
    """Number of each event's pixel, row by row, and the size."""
    if size is None and not len(events):
        raise UsageError("without events the size is unknown; give size=(H, W)")
    x, y = events["x"].astype(np.intp), events["y"].astype(np.intp)
    top = (int(y.max(initial=-1)) + 1, int(x.max(initial=-1)) + 1)
    height, width = top if size is None else size
    least = min(y.min(initial=0), x.min(initial=0))
    if top[0] > height or top[1] > width or least < 0:
        raise UsageError(
            f"an event lies at x = {top[1] - 1}, y = {top[0] - 1} (least {least}), beyond the size "
            f"(H, W) = {(height, width)}; give the size of the sensor"
        )
    return y * width + x, (height, width)


def _seconds(events: Events) -> Float64:
    times = events["t"]
    return times.astype(np.float64) * (1e-6 if times.dtype.kind in "iu" else 1.0)


def _share(events: Events) -> Float64:
    """Time of each event, 0 for the first and 1 for the last."""
    times = events["t"]
    if not len(times):
        return np.zeros(0)
    length = times.max() - times.min()
    return (times - times.min()) / length if length > 0 else np.zeros(len(times))


def _order(events: Events) -> npt.NDArray[np.intp]:
    """Order of time; of equal times by place and polarity, so that it is that of every order."""
    return np.lexsort((events["p"], events["x"], events["y"], events["t"]))


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; it must be 1 or more")
