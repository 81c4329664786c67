"""The modulation spectrum of a sound: how strongly groups of bands rise and fall, at which rates.

Rain hardly fluctuates, a crying child does so slowly, a clock a few times a second, an engine fast
(Greenberg and Kingsbury, "The modulation spectrogram", ICASSP 1997).
"""

from __future__ import annotations

import numpy as np

from vlar.encoders.audio.mel import HOP_S
from vlar.types import Float64

RATES_HZ = ((0.5, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 50.1))
GROUPS = 8
_SPAN_S = 2.0  # of one spectrum; those of spans that overlap by half or more are averaged
_QUIET = 1.0  # added to the strength in squared decibels: steadier than this is steady


def modulation(power: Float64) -> Float64:
    """(W, 64) power of bands, above 0, to (6, 8): decibels of each rate in each group of bands.

    Sounds under two seconds are continued by their mean.
    """
    length = round(_SPAN_S / HOP_S)
    grouped = power.reshape(len(power), GROUPS, -1).sum(axis=2)
    level = 10 * np.log10(grouped)
    level -= level.mean(axis=0)
    if len(level) < length:
        level = np.pad(level, ((0, length - len(level)), (0, 0)))
    count = -(-len(level) // (length // 2)) - 1
    starts = np.linspace(0, len(level) - length, count).round().astype(np.intp)
    spans = np.lib.stride_tricks.sliding_window_view(level, length, axis=0)[starts]
    away = (spans - spans.mean(axis=2, keepdims=True)) * np.hanning(length)
    strength = np.square(np.abs(np.fft.rfft(away, axis=2))).mean(axis=0)
    rates = np.fft.rfftfreq(length, HOP_S)
    rows = [strength[:, (rates >= low) & (rates < high)].sum(axis=1) for low, high in RATES_HZ]
    return 10 * np.log10(np.stack(rows) + _QUIET)
