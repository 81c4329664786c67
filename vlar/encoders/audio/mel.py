"""Log-mel spectra of sound: 25 ms windows every 10 ms, 64 bands from 50 Hz to 8 kHz."""

from __future__ import annotations

from functools import cache

import numpy as np

from vlar.types import Float32, Float64

RATE_HZ = 16_000.0
HOP_S, WINDOW_S = 0.010, 0.025
BANDS = 64
_LOW_HZ, _HIGH_HZ = 50.0, 8_000.0
_SIZE = 512  # of the transform
_BLOCK = 4096  # windows at a time
_FLOOR = 1e-10
RANGE_DB = 60.0  # under the loudest moment; quieter counts as silent


def log_mel(sound: Float32) -> Float64:
    """(N,) samples at 16 kHz to (W, 64) decibels; at least one window."""
    hop, length = round(HOP_S * RATE_HZ), round(WINDOW_S * RATE_HZ)
    if len(sound) < length:
        sound = np.pad(sound, (0, length - len(sound)))
    windows = np.lib.stride_tricks.sliding_window_view(sound, length)[::hop]
    shape = np.hanning(length)
    rows = [
        np.square(np.abs(np.fft.rfft(windows[at : at + _BLOCK] * shape, _SIZE))) @ _filters().T
        for at in range(0, len(windows), _BLOCK)
    ]
    return 10 * np.log10(np.concatenate(rows) + _FLOOR)


def centres_hz() -> Float64:
    """(64,) the middle frequency of each band."""
    edges = _hertz(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2))
    return edges[1:-1]


@cache
def _filters() -> Float64:
    """(64, 257) triangles over the frequencies of the transform (O'Shaughnessy 1987)."""
    edges = _hertz(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2))
    hertz = np.fft.rfftfreq(_SIZE, 1 / RATE_HZ)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz - low) / (centre - low), (high - hertz) / (high - centre)
    rows = np.maximum(0, np.minimum(rising, falling))
    # A narrow band between two frequencies of the transform takes the nearer one.
    empty = ~rows.any(axis=1)
    rows[empty, np.abs(hertz - centre[empty]).argmin(axis=1)] = 1.0
    return rows / rows.sum(axis=1, keepdims=True)


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _hertz(mel: Float64) -> Float64:
    return 700 * (10 ** (mel / 2595) - 1)
