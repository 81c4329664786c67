"""The encoder ``audio``: bands and statistics of sound, and ten attributes that words name."""

from __future__ import annotations

import numpy as np

from vlar.encoders.attribute_words import AttributeWords
from vlar.encoders.audio.mel import BANDS, RANGE_DB, RATE_HZ, log_mel
from vlar.encoders.audio.sounds import ATTRIBUTES, NAMES, VERSION, measure, sound_vector
from vlar.encoders.audio.statistics import NAMES as STATISTICS
from vlar.encoders.audio.statistics import scaled, statistics
from vlar.encoders.audio.statistics import scales as statistics_scales
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.motion_language.vocabulary import Vocabulary
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Clip, Float32, Float64

_SILENT = 1e-4  # share of full scale; what is quieter shows nothing
_MOST_S = 60.0
_WIDTH = len(NAMES)


@register("encoder", "audio")
class AudioEncoder(AttributeWords):
    """How loud each of 64 bands is at 64 moments, and what the sound is like as a whole: ten
    attributes for words, 119 statistics for examples.

    Words come through ``text_banks/sound_verbs.txt``: what things and actions sound like. Nothing
    is trained, so few words are told apart; examples do much better. A silent clip has the vector
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
        FrameBlock("statistics", len(STATISTICS), "statistics"),
    )

    @classmethod
    def vocabulary(cls) -> Vocabulary:
        """The attributes of sounds."""
        return Vocabulary(
            "sound_verbs", NAMES, lambda weights, clause, words: weights,
            lambda weights, text, words: weights, f"sounds {VERSION}",
        )  # fmt: skip

    @classmethod
    def scales(cls) -> list[object]:
        """The centres and widths of the attributes of sounds."""
        return [
            VERSION, [(row.name, row.centre, row.width) for row in ATTRIBUTES],
            STATISTICS, [scale.tolist() for scale in statistics_scales()],
        ]  # fmt: skip

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
        """(64, F) features to the attributes of the sound, of unit length; 0 where it is silent."""
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
    place = np.linspace(0, len(sound) - 1, max(count, 1))
    return np.interp(place, np.arange(len(sound)), sound).astype(np.float32)


def _moments(rows: Float64, count: int) -> Float64:
    """(W, B) to (count, B): means over even parts of time, or the nearest where they are short."""
    edges = np.linspace(0, len(rows), count + 1)
    begin = np.floor(edges[:-1]).astype(np.intp)
    end = np.maximum(np.ceil(edges[1:] - 1e-9).astype(np.intp), begin + 1)
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    return (total[end] - total[begin]) / (end - begin)[:, None]
