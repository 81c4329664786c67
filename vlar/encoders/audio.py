"""The standard description of a sound in 119 numbers: what a recording sounds like as a whole.

Cepstral coefficients and the spread of their slopes (Davis and Mermelstein 1980), the shape of the
spectrum (Peeters, "A large set of audio features", 2004), the level over time, and the modulation
spectrum. All but the level and the modulation are taken where something sounds; how loud the
recording is does not matter. Each value is scaled to about -1 to 1 by the mean and the deviation
over two folds of ESC-10, without their labels (``audio_statistics.csv``, made by
``evals/results/sounds.json``).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from vlar.encoders.attribute_words import AttributeWords
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.language.motion.verb_table import Vocabulary
from vlar.numeric import unit
from vlar.pose import signals
from vlar.registry import register
from vlar.types import Clip, Float32, Float64

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
        np.square(np.abs(np.fft.rfft(windows[start : start + _BLOCK] * shape, _SIZE)))
        @ _filters().T
        for start in range(0, len(windows), _BLOCK)
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
        unit: Unit of the value.
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
    """Number of sounds that begin, and the share of them that last under 0.1 s."""
    rise = np.maximum(level[3:] - level[:-3], 0) if len(level) > 3 else np.zeros(1)
    begins = [peak for peak in signals.maxima(rise, _ONSET_DB / 2) if rise[peak] > _ONSET_DB]
    beginnings: list[int] = []
    for begin in begins:
        if not beginnings or (begin - beginnings[-1]) * HOP_S > _FASTEST_S:
            beginnings.append(begin)
    short = 0
    for begin in beginnings:
        after = level[begin : begin + round(0.2 / HOP_S)]
        top = int(after.argmax())
        fallen = np.flatnonzero(after[top:] < after[top] - _ONSET_DB)
        short += bool(len(fallen) and fallen[0] * HOP_S < 0.1)
    return len(beginnings), short / len(beginnings) if beginnings else 0.0


def _deviation(pitch: Float64) -> float:
    """Spread of the pitch over half a second."""
    if len(pitch) < 3:
        return 0.0
    return float((pitch - signals.smooth(pitch, 0.5 / HOP_S)).std())


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


COEFFICIENTS = 16
_STATISTICS_ACTIVE_DB = 25.0  # under the loudest moment
_SLOPE_REACH = 4  # windows on either side
_ROLLOFF = 0.85  # share of the power
_MOST = 2.0  # deviations that count
_MODULATION = 1.4  # how much more than the others these values count (evals/results/sounds.json)
_SHAPES = ("centroid", "bandwidth", "rolloff", "flatness", "flux")
_MFCC = tuple(f"mfcc {number}" for number in range(1, COEFFICIENTS + 1))
_SHARES = (5, 25, 50, 75, 90)
STATISTICS_NAMES = (
    *(f"{name}, mean" for name in _MFCC),
    *(f"{name}, log deviation" for name in _MFCC),
    *(f"slope of {name}, log deviation" for name in ("mfcc 0", *_MFCC)),
    *(f"{name}, mean" for name in _SHAPES),
    *(f"{name}, log deviation" for name in _SHAPES),
    *(f"level, percentile {share}" for share in _SHARES),
    "level, deviation",
    "time that sounds",
    "step of the level, log mean",
    "rise, log",
    "fall, log",
    "step of the level, log deviation",
    "step of the level, skewness",
    *(
        f"modulation {low:g} to {high:.0f} Hz, bands {8 * group + 1} to {8 * group + 8}"
        for low, high in RATES_HZ
        for group in range(GROUPS)
    ),
)


def statistics(decibels: Float64) -> Float64:
    """(W, 64) log-mel decibels of a sound to the values (119,) of ``NAMES``."""
    decibels = np.maximum(decibels - decibels.max(), -RANGE_DB)
    power = 10 ** (decibels / 10)
    level = 10 * np.log10(power.sum(axis=1))
    level -= level.max()
    active = level > -_STATISTICS_ACTIVE_DB
    cepstrum = decibels @ _cosines().T
    shapes = _shapes(decibels, power)
    return np.concatenate(
        [
            cepstrum[active, 1:].mean(axis=0),
            np.log(cepstrum[active, 1:].std(axis=0) + 0.5),
            np.log(_slope(cepstrum)[active].std(axis=0) + 0.05),
            shapes[active].mean(axis=0),
            np.log(shapes[active].std(axis=0) + 0.02),
            np.array([*np.percentile(level, _SHARES), level.std(), active.mean()]),
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
    text = (files("vlar.encoders") / "audio_statistics.csv").read_text("utf-8")
    rows = {row["name"]: row for row in csv.DictReader(text.splitlines())}
    scales = np.array(
        [[float(rows[name][key]) for name in STATISTICS_NAMES] for key in ("centre", "width")]
    )
    return scales[0], scales[1]


@cache
def _cosines() -> Float64:
    """(17, 64) the discrete cosine transform of bands, of unit length."""
    centres = (np.arange(BANDS) + 0.5) / BANDS
    rows = np.cos(np.pi * np.arange(COEFFICIENTS + 1)[:, None] * centres)
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


def _steps(level: Float64) -> Float64:
    """Changes of the level from window to window."""
    step = np.diff(level) if len(level) > 1 else np.zeros(1)
    rise, fall = np.percentile(step, [99, 1])
    size = np.array(
        [np.abs(step).mean() + 0.1, max(rise, 0) + 0.3, max(-fall, 0) + 0.3, step.std() + 0.1]
    )
    return np.array([*np.log(size), (step**3).mean() / (step.std() ** 3 + 1e-3)])


_SILENT = 1e-4  # share of full scale; what is quieter shows nothing
_MOST_S = 60.0
_WIDTH = len(NAMES)


@register("encoder", "audio")
class AudioEncoder(AttributeWords):
    """Loudness of 64 bands at 64 moments, and the sound as a whole: ten attributes for words, 119
    statistics for examples.

    Words come through ``text_banks/sound_verbs.txt``: the sounds of things and actions. Nothing is
    trained, so few words are distinguished; examples do much better. A silent clip has the vector
    ``[0 ; 1]``.
    """

    name = "audio"
    modality = "audio"
    block_names = ("sound", "unknown_sound")
    fps = RATE_HZ
    n_frames = round(4 * RATE_HZ)
    max_frames = round(_MOST_S * RATE_HZ)
    fixed_rows = 64
    longest_s = 20.0
    version = 2
    frame_blocks = (
        FrameBlock("mel", BANDS, "signal"),
        FrameBlock("sound", _WIDTH, "clip"),
        FrameBlock("statistics", len(STATISTICS_NAMES), "statistics"),
    )

    @classmethod
    def vocabulary(cls) -> Vocabulary:
        return Vocabulary(
            "sound_verbs",
            NAMES,
            lambda weights, clause, words: weights,
            lambda weights, text, words: weights,
            f"sounds {VERSION}",
        )

    @classmethod
    def scales(cls) -> list[object]:
        return [
            VERSION,
            [(row.name, row.centre, row.width) for row in ATTRIBUTES],
            STATISTICS_NAMES,
            [scale.tolist() for scale in scales()],
        ]

    def features_of(self, clip: Clip) -> Float32:
        """(64, F): bands, 0 to 1 for 60 dB under the loudest moment up to it; then what is the
        same in every row, the attributes and the statistics.
        """
        self.require(clip, 1, "sound (T,)")
        rows = np.zeros((self.feature_rows, self.frame_dim), np.float32)
        sound = _at_rate(clip)
        if float(np.abs(sound).max(initial=0.0)) < _SILENT:
            return rows
        decibels = log_mel(sound)
        shown = np.clip((decibels - decibels.max()) / RANGE_DB + 1, 0, 1)
        rows[:, :BANDS] = _moments(shown, self.feature_rows)
        rows[:, BANDS : BANDS + _WIDTH] = sound_vector(measure(decibels))
        rows[:, BANDS + _WIDTH :] = scaled(statistics(decibels))
        return rows

    def motion(self, features: Float32) -> Float32:
        return unit(features[:1, BANDS : BANDS + _WIDTH])[0]


def _at_rate(clip: Clip) -> Float32:
    """The sound at 16 kHz, from samples at any even times.

    Raises:
        UsageError: a sample is not a number.
    """
    sound = np.asarray(clip.data, np.float32)
    if not np.isfinite(sound).all():
        raise UsageError(f"{clip.path}: its sound holds a sample that is not a number")
    if len(sound) < 2:
        return np.zeros(1, np.float32)
    sound = sound - sound.mean()
    step_s = float(clip.times_s[-1] - clip.times_s[0]) / (len(sound) - 1)
    if not step_s > 0 or abs(step_s * RATE_HZ - 1) < 1e-3:
        return sound
    count = min(round(len(sound) * step_s * RATE_HZ), round(_MOST_S * RATE_HZ))
    positions = np.linspace(0, len(sound) - 1, max(count, 1))
    return np.interp(positions, np.arange(len(sound)), sound).astype(np.float32)


def _moments(rows: Float64, count: int) -> Float64:
    """(W, B) to (count, B): means over even parts of time, or the nearest where they are short."""
    edges = np.linspace(0, len(rows), count + 1)
    begin = np.floor(edges[:-1]).astype(np.intp)
    end = np.maximum(np.ceil(edges[1:] - 1e-9).astype(np.intp), begin + 1)
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    return (total[end] - total[begin]) / (end - begin)[:, None]
