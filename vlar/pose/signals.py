"""Functions of sampled signals: smoothing, rates, turning points, rhythm. Time is axis 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.floating[Any]]

MOST_FPS = 1000.0
"""Samples a second of the fastest recording of a body."""
_WIDE, _WIDE_SAMPLES = 8, 4096  # beyond it a width is far wider than the signal
_DENSE = 8  # interpolated samples for one of the recording
_FEW_FPS = 12.0
_EDGE_SHARE = 0.15  # share of a signal that is its start, and its end
_SLOW_S, _FAST_S = 0.45, 0.12  # widths of the high pass and the low pass, seconds
_LAG_S = (0.2, 1.6)  # range of periods, seconds


def smooth(x: Signal, width: float) -> Signal:
    """Smooth with a Gaussian of ``width`` samples over time, cut at four; edges are repeated.

    Tests compare this with ``scipy.ndimage.gaussian_filter1d`` bit for bit.
    """
    if not len(x):
        return x
    width = max(width, 1e-3)
    if 4.0 * width > _WIDE * len(x) + _WIDE_SAMPLES:
        return _smooth_widely(x, width)
    reach = int(4.0 * width + 0.5)
    weights = np.exp(-0.5 / (width * width) * np.arange(-reach, reach + 1) ** 2)
    weights /= weights.sum()
    longer = np.pad(x, ((reach, reach), *((0, 0),) * (x.ndim - 1)), "edge").astype(np.float64)
    total = longer[reach : reach + len(x)] * weights[reach]
    for off, weight in zip(range(reach, 0, -1), weights, strict=False):  # sums as scipy does
        before, after = reach - off, reach + off
        total += (longer[before : before + len(x)] + longer[after : after + len(x)]) * weight
    return total.astype(x.dtype)


def _smooth_widely(x: Signal, width: float) -> Signal:
    """``smooth`` with a width far beyond the signal: the repeated edges are summed at once."""
    n_samples = len(x)
    weights = np.exp(-0.5 * (np.arange(1, n_samples + 1) / width) ** 2)
    # The rest of a Gaussian that is cut at four widths, on either side of the signal.
    scale = width * math.sqrt(2.0)
    tail = (
        scale * math.sqrt(math.pi) / 2 * (math.erf(4 / math.sqrt(2)) - math.erf(n_samples / scale))
    )
    wide = x.astype(np.float64)
    total = wide + tail * (wide[0] + wide[-1])
    padding = ((n_samples, n_samples), *((0, 0),) * (x.ndim - 1))
    longer = np.pad(wide, padding, "edge")
    for off, weight in enumerate(weights, 1):
        before, after = n_samples - off, n_samples + off
        total += (longer[before : before + len(x)] + longer[after : after + len(x)]) * weight
    return (total / (1 + 2 * weights.sum() + 2 * tail)).astype(x.dtype)


def clock(times_s: Signal, recorded_hz: float | None) -> Signal:
    """Times of samples of a window, at most eight for one sample of its recording.

    A window of microseconds lies between two samples of its recording. What was interpolated there
    is not a movement of a million samples a second: it is a moment at the recording's rate.

    >>> clock(np.array([1.0, 1.00001, 1.00002]), 30.0).round(4).tolist()
    [1.0, 1.0042, 1.0083]

    Args:
        times_s: (T,) rising and even seconds.
        recorded_hz: Samples a second of the recording; None where that is unknown.
    """
    if not recorded_hz or len(times_s) < 2:
        return times_s
    least_s = (len(times_s) - 1) / (_DENSE * recorded_hz)
    if times_s[-1] - times_s[0] >= least_s:
        return times_s
    return np.linspace(times_s[0], times_s[0] + least_s, len(times_s))


def frame_rate(n_samples: int, span_s: float) -> float:
    """Samples a second of a window, at most ``MOST_FPS``.

    Signals state the rate of their recording (``clock``), and times of pictures are those of
    theirs; this bounds what states neither.

    Args:
        n_samples: Two or more.
        span_s: Seconds from the first to the last, above 0.
    """
    return min((n_samples - 1) / span_s, MOST_FPS)


def remove_spikes(x: Signal, least: float = 0.0) -> Signal:
    """Replace outliers of points (T, P, 2) by the median of three neighbours in time.

    Args:
        x: The points.
        least: Distance from the median above which a point is an outlier.
    """
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    usual = np.maximum(np.minimum(x, before), np.minimum(np.maximum(x, before), after))
    off = np.linalg.norm(x - usual, axis=-1, keepdims=True)
    return np.where(off > least, usual, x)


def low_pass(x: Signal, fps: float) -> Signal:
    """Remove what is faster than about 1 Hz."""
    return smooth(x, _FAST_S * fps)


def high_pass(x: Signal, fps: float) -> Signal:
    """Remove what is slower than about 0.4 Hz."""
    return x - smooth(x, _SLOW_S * fps)


def rate(x: Signal, fps: float) -> Signal:
    """Change per second; below 12 frames per second the difference to the next frame.

    Central differences are steadier, but they miss a movement to and fro in every frame.
    """
    if fps >= _FEW_FPS or len(x) < 2:
        return np.gradient(x, axis=0) * fps
    steps = np.diff(x, axis=0)
    return np.concatenate([steps, steps[-1:]]) * fps


def start(x: Signal) -> Any:
    """Median of the first 15 %."""
    return np.median(x[: _edge(x)], axis=0)


def end(x: Signal) -> Any:
    """Median of the last 15 %."""
    return np.median(x[-_edge(x) :], axis=0)


def _edge(x: Signal) -> int:
    return max(1, round(_EDGE_SHARE * len(x)))


def correlation(a: Signal, b: Signal) -> float:
    """Pearson correlation; 0 if a signal is constant."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-9))


def step(x: Any, centre: float, width: float) -> Any:
    """Sigmoid step from 0 to 1 around ``centre``."""
    return 1 / (1 + np.exp(-4 * (np.asarray(x) - centre) / width))


def detrend(x: Signal) -> Signal:
    """Subtract its line of best fit from each column."""
    time = np.arange(len(x))
    flat = x.reshape(len(x), -1)
    slope, offset = np.polyfit(time, flat, 1)
    return (flat - (time[:, None] * slope + offset)).reshape(x.shape)


def turning_points(x: Signal, prominence: float) -> int:
    """Number of maxima and minima with at least this prominence."""
    return len(maxima(x, prominence)) + len(maxima(-x, prominence))


def maxima(x: Signal, prominence: float) -> list[int]:
    """Places of the maxima of a signal (T,) with at least this prominence.

    The prominence of a maximum is its height over the higher of two minima: those between it and
    the nearest higher value, or the end, on either side. The place of a plateau is its middle.
    Tests compare this with ``scipy.signal.find_peaks``, whose import costs half a second and 60 MB.
    """
    begins = np.concatenate([[0], np.flatnonzero(np.diff(x)) + 1])
    ends = np.append(begins[1:], len(x))
    values = x[begins] if len(x) else x  # one for each plateau
    indices: list[int] = []
    for index in range(1, len(values) - 1):
        top = values[index]
        if not values[index - 1] < top > values[index + 1]:
            continue
        higher = np.flatnonzero(values > top)
        after = int(np.searchsorted(higher, index))
        begin = higher[after - 1] + 1 if after else 0
        end = higher[after] if after < len(higher) else len(values)
        base = max(values[begin : index + 1].min(), values[index:end].min())
        if top - base >= prominence:
            indices.append(int(begins[index] + ends[index] - 1) // 2)
    return indices


def dominant_frequency(x: Signal, fps: float, lowest_hz: float = 0.5) -> tuple[float, float]:
    """The strongest frequency (Hz, up to 6) of a signal and its share of the power.

    (0, 0) if the signal is flat or too short for one period.
    """
    x = detrend(np.asarray(x, np.float64))
    if x.std() < 1e-6:
        return 0.0, 0.0
    size = max(256, len(x))
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)), size)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / fps)
    inside = (hertz >= max(lowest_hz, fps / len(x))) & (hertz <= min(6.0, fps / 2.2))
    total = power[hertz > 0.2].sum()
    if not inside.any() or total <= 0:
        return 0.0, 0.0
    best = int(np.argmax(power * inside))
    band = np.abs(hertz - hertz[best]) <= 0.35 * hertz[best] + 0.15
    return float(hertz[best]), float(power[band & inside].sum() / total)


def periodicity(x: Signal, fps: float) -> tuple[float, float]:
    """Repetition of a signal of many columns: best autocorrelation and its frequency in Hz.

    Only local maxima at lags of 0.2 to 1.6 s count. A signal that merely stays correlated (a drift)
    scores less.
    """
    flat = detrend(x.reshape(len(x), -1))
    curve: list[float] = []
    best = (0.0, 0.0)
    for lag in range(1, int(min(len(x) * 0.6, _LAG_S[1] * fps)) + 1):
        a, b = flat[:-lag], flat[lag:]
        curve.append(float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-12)))
    for index in range(1, len(curve) - 1):
        peak = curve[index - 1] < curve[index] >= curve[index + 1]
        if not peak or (index + 1) / fps < _LAG_S[0]:
            continue
        lowest = min(curve[: index + 1])
        value = curve[index] - (0.5 * lowest if lowest > 0 else 0.0)
        if value > best[0]:
            best = (value, fps / (index + 1))
    return best


def fill_gaps(x: Signal, known: npt.NDArray[np.bool_]) -> Signal:
    """Interpolate unknown samples linearly; the ends are repeated."""
    time, frames = np.arange(len(x)), np.flatnonzero(known)
    flat = x.reshape(len(x), -1)
    filled = np.stack([np.interp(time, frames, column[frames]) for column in flat.T], axis=1)
    return filled.reshape(x.shape)
