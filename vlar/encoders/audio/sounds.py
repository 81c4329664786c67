"""What a sound is like, in ten numbers that a listener can check.

Each is scaled as the attributes of bodies are: ``tanh((value - centre) / width)``, less the mean of
ordinary sounds. Centres and widths are the mean and the spread over two folds of ESC-10, without
their labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlar.encoders.audio.mel import HOP_S, centres_hz
from vlar.pose import signals
from vlar.types import Float32, Float64

VERSION = 1
_ACTIVE_DB = 20.0  # under the loudest moment
_DEEPEST_DB = 50.0  # under the loudest moment
_ONSET_DB = 6.0  # by which a sound begins
_FASTEST_S = 0.08  # between two onsets


@dataclass(frozen=True)
class SoundAttribute:
    """One measurement of a sound.

    Attributes:
        name: As in ``text_banks/sound_verbs.txt``.
        unit: Of the value.
        centre: The value between the two poles.
        width: The distance at which a value clearly belongs to a pole.
        meaning: What each sign means.
    """

    name: str
    unit: str
    centre: float
    width: float
    meaning: str


ATTRIBUTES = (
    SoundAttribute("high", "octaves over 1 kHz", -0.8, 1.3, "+ high, - low"),
    SoundAttribute("broad", "octaves", 0.85, 0.33, "+ noise of all pitches, - one pitch"),
    SoundAttribute("tonal", "dB", 26, 10, "+ tones stand out, - noise"),
    SoundAttribute("lasting", "share", 0.55, 0.37, "+ sounds all the time, - for a moment"),
    SoundAttribute("onsets", "1/s", 1.9, 1.9, "+ begins again and again, - hardly ever"),
    SoundAttribute("regular", "correlation", 0.24, 0.18, "+ in an even beat, - not"),
    SoundAttribute("sudden", "dB", 26, 19, "+ bursts, - steady"),
    SoundAttribute("gliding", "octaves", 0.43, 0.25, "+ the pitch moves, - it stays"),
    SoundAttribute("swelling", "dB", 6.9, 6.2, "+ swells and fades slowly, - keeps its level"),
    SoundAttribute("clicks", "share", 0.6, 0.37, "+ very short sounds, - long ones"),
)
NAMES = tuple(row.name for row in ATTRIBUTES)


def measure(decibels: Float64) -> Float64:
    """(W, 64) log-mel decibels of a sound to the values (10,) of its attributes."""
    power = 10 ** (decibels / 10)
    level = 10 * np.log10(power.sum(axis=1) + 1e-12)
    level = np.maximum(level, level.max() - _DEEPEST_DB)  # silence of a file has no level
    active = level > level.max() - _ACTIVE_DB
    octave = np.log2(centres_hz() / 1000)
    share = power / power.sum(axis=1, keepdims=True)
    pitch = share @ octave
    spread = np.sqrt(np.maximum(share @ octave**2 - pitch**2, 0))
    peak = decibels.max(axis=1) - np.median(decibels, axis=1)
    onsets, short = _onsets(level)
    seconds = len(level) * HOP_S
    regular, _ = signals.periodicity(np.diff(level, prepend=level[0]), 1 / HOP_S)
    slow = signals.smooth(level, 0.3 / HOP_S)
    return np.array(
        [
            np.median(pitch[active]),
            np.median(spread[active]),
            np.median(peak[active]),
            active.mean(),
            onsets / max(seconds, 0.2),
            regular,
            level.max() - np.median(level),
            _deviation(pitch[active]),
            slow.std(),
            short,
        ]
    )


def sound_vector(values: Float64) -> Float32:
    """(10,) values to the scaled attributes, -1 to 1."""
    centre = np.array([row.centre for row in ATTRIBUTES])
    width = np.array([row.width for row in ATTRIBUTES])
    return np.tanh((values - centre) / width).astype(np.float32)


def _onsets(level: Float64) -> tuple[int, float]:
    """How many sounds begin, and the share of them that last under 0.1 s."""
    rise = np.maximum(level[3:] - level[:-3], 0) if len(level) > 3 else np.zeros(1)
    begins = [at for at in signals.maxima(rise, _ONSET_DB / 2) if rise[at] > _ONSET_DB]
    kept: list[int] = []
    for at in begins:
        if not kept or (at - kept[-1]) * HOP_S > _FASTEST_S:
            kept.append(at)
    short = 0
    for at in kept:
        after = level[at : at + round(0.2 / HOP_S)]
        top = int(after.argmax())
        fallen = np.flatnonzero(after[top:] < after[top] - _ONSET_DB)
        short += bool(len(fallen) and fallen[0] * HOP_S < 0.1)
    return len(kept), short / len(kept) if kept else 0.0


def _deviation(pitch: Float64) -> float:
    """Spread of the pitch over half a second."""
    if len(pitch) < 3:
        return 0.0
    return float((pitch - signals.smooth(pitch, 0.5 / HOP_S)).std())
