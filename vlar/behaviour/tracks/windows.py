"""Features of channels in windows: mean, spread, least, most, and slow and quick rhythms.

Letters: T frames, N channels, S steps, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlar.types import Float32, Float64

_SCALES_S = (0.4, 1.2, 3.6, 10.0)
_RANGE_S = (1.2, 4.0)  # of least and most
_QUICK_S = 0.3
_BLOCK = 16
WIDTH = 16  # features of a channel
MARGIN_S = 7.0  # of a recording around a step that its features read


def steps_of(duration_s: float, step_s: float) -> Float64:
    """Middles (S,) of the steps of a recording in seconds."""
    count = max(1, round(duration_s / step_s))
    return np.asarray((np.arange(count) + 0.5) * step_s, np.float64)


def windowed(channels: Float32, rate_hz: float, times_s: Float64) -> Iterator[Float32]:
    """Features (S, F) of some channels after the other; side by side they are all.

    Args:
        channels: (T, N) values; NaN where there is none.
        rate_hz: Frames a second.
        times_s: (S,) middles of the steps, after the first frame.
    """
    for first in range(0, channels.shape[1], _BLOCK):
        yield _features(channels[:, first : first + _BLOCK].astype(np.float64), rate_hz, times_s)


def _features(values: Float64, rate_hz: float, times_s: Float64) -> Float32:
    present = np.isfinite(values)
    zeroed = np.where(present, values, 0)
    counts, sums = _running(present), _running(zeroed)
    squares = _running(np.square(zeroed))
    quick = _quick(zeroed, present, rate_hz)
    quicks, quick_counts = _running(np.square(np.nan_to_num(quick))), _running(np.isfinite(quick))
    parts: list[Float64] = []
    means: dict[float, Float64] = {}
    for scale_s in _SCALES_S:
        begin, end = _edges(times_s, rate_hz, scale_s, len(values))
        n = counts[end] - counts[begin]
        with np.errstate(all="ignore"):
            mean = np.where(n > 0, (sums[end] - sums[begin]) / n, np.nan)
            spread = (squares[end] - squares[begin]) / n - np.square(mean)
            means[scale_s] = mean
            parts += [mean, np.sqrt(np.maximum(spread, 0))]
            if scale_s in _SCALES_S[1:3]:
                m = quick_counts[end] - quick_counts[begin]
                parts.append(np.sqrt((quicks[end] - quicks[begin]) / np.where(m > 0, m, np.nan)))
    for range_s in _RANGE_S:
        parts += _range(values, rate_hz, times_s, range_s)
    for shift_s in (0.6, 2.0):  # change from before to after
        begin, middle = _edges(times_s - shift_s / 2, rate_hz, shift_s, len(values))
        after, end = _edges(times_s + shift_s / 2, rate_hz, shift_s, len(values))
        n, m = counts[middle] - counts[begin], counts[end] - counts[after]
        with np.errstate(all="ignore"):
            parts.append((sums[end] - sums[after]) / m - (sums[middle] - sums[begin]) / n)
    return np.concatenate(parts, axis=1).astype(np.float32)


def _running(values: Float64) -> Float64:
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _edges(
    times_s: Float64, rate_hz: float, width_s: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    begin = np.rint((times_s - width_s / 2) * rate_hz).astype(np.intp).clip(0, count - 1)
    end = np.rint((times_s + width_s / 2) * rate_hz).astype(np.intp).clip(1, count)
    return begin, np.maximum(end, begin + 1)


def _quick(zeroed: Float64, present: np.ndarray, rate_hz: float) -> Float64:
    """Values less their running mean."""
    half = max(1, round(_QUICK_S * rate_hz / 2))
    counts, sums = _running(present), _running(zeroed)
    frames = np.arange(len(zeroed))
    begin, end = np.maximum(frames - half, 0), np.minimum(frames + half + 1, len(zeroed))
    with np.errstate(all="ignore"):
        mean = (sums[end] - sums[begin]) / (counts[end] - counts[begin])
    return np.where(present, zeroed - mean, np.nan)


def _range(values: Float64, rate_hz: float, times_s: Float64, width_s: float) -> list[Float64]:
    """Least and most in windows, from those of blocks of an eighth of the width."""
    size = max(1, round(width_s * rate_hz / 8))
    count = -(-len(values) // size)
    padded = np.full((count * size, values.shape[1]), np.nan)
    padded[: len(values)] = values
    blocks = padded.reshape(count, size, -1)
    least, most = np.fmin.reduce(blocks, axis=1), np.fmax.reduce(blocks, axis=1)
    centre = (times_s * rate_hz / size).astype(np.intp).clip(0, count - 1)
    lows, highs = least[centre], most[centre]
    for offset in range(1, 4):
        for places in ((centre - offset).clip(0, count - 1), (centre + offset).clip(0, count - 1)):
            lows, highs = np.fmin(lows, least[places]), np.fmax(highs, most[places])
    return [lows, highs]
