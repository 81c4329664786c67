"""The standard description of a sound in 119 numbers: what a recording sounds like as a whole.

Cepstral coefficients and the spread of their slopes (Davis and Mermelstein 1980), the shape of the
spectrum (Peeters, "A large set of audio features", 2004), the level over time, and the modulation
spectrum. All but the level and the modulation are taken where something sounds; how loud the
recording is does not matter. Each value is scaled to about -1 to 1 by the mean and the deviation
over two folds of ESC-10, without their labels (``statistics.csv``, made by ``evals/sounds.py``).
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from vlar.encoders.audio.mel import BANDS, RANGE_DB, centres_hz
from vlar.encoders.audio.modulation import GROUPS, RATES_HZ, modulation
from vlar.types import Float32, Float64

COEFFICIENTS = 16
_ACTIVE_DB = 25.0  # under the loudest moment
_SLOPE_REACH = 4  # windows on either side
_ROLLOFF = 0.85  # share of the power
_MOST = 2.0  # deviations that count
_MODULATION = 1.4  # how much more than the others these values count (evals/sounds.py)
_SHAPES = ("centroid", "bandwidth", "rolloff", "flatness", "flux")
_MFCC = tuple(f"mfcc {number}" for number in range(1, COEFFICIENTS + 1))
_SHARES = (5, 25, 50, 75, 90)
NAMES = (
    *(f"{name}, mean" for name in _MFCC),
    *(f"{name}, log deviation" for name in _MFCC),
    *(f"slope of {name}, log deviation" for name in ("mfcc 0", *_MFCC)),
    *(f"{name}, mean" for name in _SHAPES),
    *(f"{name}, log deviation" for name in _SHAPES),
    *(f"level, percentile {share}" for share in _SHARES),
    "level, deviation", "time that sounds",
    "step of the level, log mean", "rise, log", "fall, log", "step of the level, log deviation",
    "step of the level, skewness",
    *(f"modulation {low:g} to {high:.0f} Hz, bands {8 * group + 1} to {8 * group + 8}"
      for low, high in RATES_HZ for group in range(GROUPS)),
)  # fmt: skip


def statistics(decibels: Float64) -> Float64:
    """(W, 64) log-mel decibels of a sound to the values (119,) of ``NAMES``."""
    decibels = np.maximum(decibels - decibels.max(), -RANGE_DB)
    power = 10 ** (decibels / 10)
    level = 10 * np.log10(power.sum(axis=1))
    level -= level.max()
    active = level > -_ACTIVE_DB
    cepstrum = decibels @ _cosines().T
    shapes = _shapes(decibels, power)
    return np.concatenate(
        [
            cepstrum[active, 1:].mean(axis=0),
            np.log(cepstrum[active, 1:].std(axis=0) + 0.5),
            np.log(_slope(cepstrum)[active].std(axis=0) + 0.05),
            shapes[active].mean(axis=0),
            np.log(shapes[active].std(axis=0) + 0.02),
            _level(level, active),
            _steps(level),
            modulation(power).reshape(-1),
        ]
    )


def scaled(values: Float64) -> Float32:
    """(119,) values to multiples of their usual deviation from their usual mean, at most 2; those
    of the modulation times 1.4.
    """
    centre, width = scales()
    away = np.clip((values - centre) / width, -_MOST, _MOST)
    away[-GROUPS * len(RATES_HZ) :] *= _MODULATION
    return away.astype(np.float32)


@cache
def scales() -> tuple[Float64, Float64]:
    """The usual mean (119,) and the usual deviation (119,) of each value."""
    text = (files("vlar.encoders.audio") / "statistics.csv").read_text("utf-8")
    rows = {row["name"]: row for row in csv.DictReader(text.splitlines())}
    found = np.array([[float(rows[name][key]) for name in NAMES] for key in ("centre", "width")])
    return found[0], found[1]


@cache
def _cosines() -> Float64:
    """(17, 64) the discrete cosine transform of bands, of unit length."""
    place = (np.arange(BANDS) + 0.5) / BANDS
    rows = np.cos(np.pi * np.arange(COEFFICIENTS + 1)[:, None] * place)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _slope(rows: Float64) -> Float64:
    """(W, K) slopes of the straight lines through nine windows ("delta")."""
    reach = _SLOPE_REACH
    padded = np.pad(rows, ((reach, reach), (0, 0)), mode="edge")
    steps = range(-reach, reach + 1)
    total = sum(step * padded[reach + step : reach + step + len(rows)] for step in steps)
    return np.asarray(total / sum(step**2 for step in steps))


def _shapes(decibels: Float64, power: Float64) -> Float64:
    """(W, 5) the shape of each window's spectrum: three in octaves, decibels, and a distance."""
    octave = np.log2(centres_hz() / 1000)
    share = power / power.sum(axis=1, keepdims=True)
    centroid = share @ octave
    bandwidth = np.sqrt(np.maximum(share @ octave**2 - centroid**2, 0))
    below = (share.cumsum(axis=1) < _ROLLOFF).sum(axis=1)
    rolloff = octave[np.minimum(below, BANDS - 1)]
    flatness = decibels.mean(axis=1) - 10 * np.log10(power.mean(axis=1))
    flux = np.linalg.norm(np.diff(np.sqrt(share), axis=0, prepend=np.sqrt(share[:1])), axis=1)
    return np.stack([centroid, bandwidth, rolloff, flatness, flux], axis=1)


def _level(level: Float64, active: Float64) -> Float64:
    shares = np.percentile(level, _SHARES)
    return np.array([*shares, level.std(), active.mean()])


def _steps(level: Float64) -> Float64:
    """How the level moves from window to window."""
    step = np.diff(level) if len(level) > 1 else np.zeros(1)
    rise, fall = np.percentile(step, [99, 1])
    size = np.array([np.abs(step).mean() + 0.1, max(rise, 0) + 0.3, max(-fall, 0) + 0.3,
                     step.std() + 0.1])  # fmt: skip
    return np.array([*np.log(size), (step**3).mean() / (step.std() ** 3 + 1e-3)])
