"""Movement of two recordings, compared in pixels at every lag.

Two recordings of one fixed camera share their background, so pictures and vectors of it resemble
each other whatever happens. A copy moves like its original, also where it was encoded again, made
smaller, brightened, cropped or cut. So the changes from picture to picture are compared: 16 by 16
grey cells, ten times a second, less their mean. The greatest cosine over all lags, and over crops
of one of the two, is the agreement (normalised cross-correlation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlar.errors import DecodeError
from vlar.media.lookup import reader
from vlar.types import Float32, Float64, UInt8

RATE = 10.0  # pictures a second
SIDE = 32  # pixels of a picture
_CELLS = 16  # on a side
# Chosen on one half of the clips of evals/results/duplicates.json.
ALIKE = 0.85
_CROPS = (0.025, 0.05, 0.075)  # of each side
_WORTH = 0.4  # agreement from which crops are tried
_FEWEST = 10  # pictures
_LEAST_POWER = 0.25  # of the shorter one's movement, in the part that is compared
_EDGE = 5  # pictures about an edge
_SAME_EDGE = 0.5  # agreement of these
_MOST_S = 3600.0  # of a recording
_MOST = 1 << 30  # bytes of pictures that are kept


class Alignment(NamedTuple):
    """Agreement of two recordings: a cosine, its first pictures in both, and how many there are."""

    cosine: float
    first: int
    second: int
    length: int


class Thumbnails(dict[int, UInt8 | None]):
    """Small grey pictures of recordings by id, (T, 32, 32), read once while memory lasts.

    None stands for what has no moving pictures that can be read.
    """

    def __init__(self, paths: Mapping[int, str]) -> None:
        super().__init__()
        self._paths = paths

    def __missing__(self, video_id: int) -> UInt8 | None:
        while sum(pictures.nbytes for pictures in self.values() if pictures is not None) > _MOST:
            del self[next(iter(self))]
        try:
            pictures = np.array([*_sampled(self._paths[video_id])], np.uint8)
        except DecodeError:
            pictures = np.zeros(0, np.uint8)
        return self.setdefault(video_id, pictures if len(pictures) >= _FEWEST else None)


def _sampled(path: str) -> Iterator[UInt8]:
    next_s: float | None = None
    for chunk in reader("video").read_frames(Path(path), SIDE, SIDE):
        for time_s, pixels in zip(chunk.times_s, chunk.pixels.mean(axis=3), strict=True):
            next_s = float(time_s) if next_s is None else next_s
            while next_s <= time_s + 1e-6:
                yield pixels.astype(np.uint8)
                next_s += 1 / RATE
            if next_s > _MOST_S:
                return


def agreement(first: UInt8, second: UInt8) -> Alignment:
    """Greatest agreement of two recordings, over half of the shorter one or more.

    Args:
        first: (T, 32, 32) pictures.
        second: (U, 32, 32) pictures.
    """
    a, b = changes(first), changes(second)
    best = _aligned(a, b)
    if best.cosine >= _WORTH:
        for crop in _CROPS:
            best = max(best, _aligned(changes(first, crop), b), _aligned(a, changes(second, crop)))
    return best


def changes(pictures: UInt8, crop: float = 0.0) -> Float32:
    """Changes (T - 1, 256) from picture to picture, less their mean, of (T, 32, 32) pictures.

    Args:
        pictures: Grey values.
        crop: Share of the width and height that is left out at each side.
    """
    edges = np.linspace(crop, 1 - crop, _CELLS + 1) * SIDE
    pixels = np.arange(SIDE)
    share = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    mean = (np.maximum(share, 0) / np.diff(edges)[:, None]).astype(np.float32)
    steps = np.diff(mean @ pictures.astype(np.float32) @ mean.T, axis=0).reshape(-1, _CELLS**2)
    return steps - steps.mean(axis=1, keepdims=True)


def _aligned(a: Float32, b: Float32) -> Alignment:
    """Changes (T, 256) and (U, 256) at the lag of the greatest cosine."""
    least = (min(len(a), len(b)) + 1) // 2
    size = 1 << (len(a) + len(b) - 1).bit_length()
    spectrum = (np.fft.rfft(a, size, axis=0).conj() * np.fft.rfft(b, size, axis=0)).sum(axis=1)
    lags = np.arange(least - len(a), len(b) - least + 1)
    begins, ends = np.maximum(0, -lags), np.minimum(len(a), len(b) - lags)
    all_a, all_b = _power(a), _power(b)
    power_a, power_b = all_a[ends] - all_a[begins], all_b[ends + lags] - all_b[begins + lags]
    # Where little of the shorter one moves, noise of the codec would be compared.
    power, total = (power_a, all_a[-1]) if len(a) <= len(b) else (power_b, all_b[-1])
    moves = power >= max(_LEAST_POWER * total, 1e-9)
    norms = np.sqrt(np.maximum(power_a * power_b, 1e-9))
    cosines = np.where(moves, np.fft.irfft(spectrum, size)[lags % size] / norms, -1.0)
    top = int(cosines.argmax())
    lag, begin, end = int(lags[top]), int(begins[top]), int(ends[top])
    # Edges that another scene took the place of are left out.
    x, y = a[begin:end], b[begin + lag : end + lag]
    near = np.ones(_EDGE)
    products, powers = (np.convolve((x * z).sum(axis=1), near, "same") for z in (y, x))
    others = np.convolve((y * y).sum(axis=1), near, "same")
    inside = np.flatnonzero(products >= _SAME_EDGE * np.sqrt(powers * others))
    first, last = (inside[0], inside[-1] + 1) if len(inside) else (0, end - begin)
    if last - first >= least:
        x, y, begin, end = x[first:last], y[first:last], begin + first, begin + last
    norm = max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-9)
    cosine = float((x * y).sum()) / norm if moves[top] else -1.0
    return Alignment(min(cosine, 1.0), int(begin), int(begin) + lag, int(end - begin))


def _power(steps: Float32) -> Float64:
    """Sums (T + 1,) of squares up to each time."""
    return np.append(0.0, np.cumsum((steps.astype(np.float64) ** 2).sum(axis=1)))
