"""The encoder ``events``: where and how often brightness changes, over time.

An event camera gives no picture. Without examples only the rate of its events can be put into
words: rest or activity, rhythm, bursts, the direction of travel. Other words are answered as
unknown; examples distinguish more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from vlar.encoders.attribute_words import AttributeWords
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.language.motion.verb_table import Vocabulary
from vlar.numeric import unit
from vlar.pose import signals
from vlar.registry import register
from vlar.types import Clip, Float32, Float64, Role

MOMENTS, CELLS = 16, 8
_FINE, _PARTS = 4, 4  # finer cells to a cell, finer parts of time to a moment
_SIDE = CELLS * _FINE
_GRID, _PLACE = 2 * CELLS * CELLS, 8
_NO_WORD = (-0.5, 0.75**0.5)  # of a text: what clips leave unseen, and what no clip has
_CLEAR = 1.5  # norm of the attributes of a clip that is all movement
_ABSENT = 0.4  # weight of no rhythm and no burst: most movements have neither
_SHORTEST_S = 0.6  # of a clip whose rhythm can be measured
# Unit, centre and width of each attribute: at the width a value clearly belongs to a pole.
ATTRIBUTES = {
    "activity": (0.3, 0.8),  # log10 of events a pixel and second
    "rhythm": (0.3, 0.2),  # correlation
    "quick": (1.5, 0.8),  # Hz
    "burst": (3.0, 1.5),  # greatest rate over the mean
    "right": (0.0, 0.15),  # sensor widths
    "up": (0.0, 0.15),  # sensor heights
    "nearer": (0.0, 0.3),  # log of the ratio of spreads
}
_NAMES = tuple(ATTRIBUTES)
_WORDS = (
    ("quick", 1.0, r"quick(?:ly)?|fast|rapid(?:ly)?|hectic(?:ally)?"),
    ("quick", -1.0, r"slow(?:ly)?|gently"),
    ("right", 1.0, r"to the right|rightwards?"),
    ("right", -1.0, r"to the left|leftwards?"),
    ("up", 1.0, r"upwards?"),
    ("up", -1.0, r"downwards?"),
)


def _modified(weights: Float32, clause: str, words: Collection[str]) -> Float32:
    """Weights of an entry with those of the adverbs and directions in its clause."""
    weights_mod = weights.copy()
    for name, value, words_of in _WORDS:
        if re.search(rf"\b(?:{words_of})\b", clause.lower()):
            weights_mod[_NAMES.index(name)] = value
            if name == "quick":
                weights_mod[0] = np.clip(weights_mod[0] + value / 2, -1, 1)
    return weights_mod


@register("encoder", "events")
class EventEncoder(AttributeWords):
    """Log rates of both polarities in 8 x 8 cells at 16 moments, and the place of the events.

    The place is the centroid and the spread, in shares of the sensor, and their change from moment
    to moment. Seven attributes of the whole clip stand in every row; words come through
    ``text_banks/event_verbs.txt``. Nothing is trained.

    Example: ``vlar classify hand.npz --labels "waving, still" --model events``.
    """

    name = "events"
    modality = "events"
    few_words = True  # it has seven attributes, of a rate
    block_names = ("rate", "unseen")
    n_frames = fixed_rows = MOMENTS
    all_samples = True
    longest_s = 4.0
    frame_blocks = (
        FrameBlock("rates", _GRID, "signal"),
        FrameBlock("place", _PLACE, "signal"),
        FrameBlock("attributes", len(_NAMES), "clip"),
    )

    @classmethod
    def vocabulary(cls) -> Vocabulary:
        rules = f"events {_WORDS}"
        return Vocabulary("event_verbs", _NAMES, _modified, lambda w, text, words: w, rules)

    @classmethod
    def scales(cls) -> list[object]:
        return [list(ATTRIBUTES.items()), _ABSENT, _CLEAR, CELLS, _FINE, _PARTS]

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        rate, unseen = self.blocks
        self.blocks = rate, replace(unseen, width=2)  # of clips what is unseen; texts without words
        self.dim += 1

    def features_of(self, clip: Clip) -> Float32:
        """(16, F): log of 1 + events a pixel and second of each cell, the place, the attributes."""
        self.require(clip, 1, "events (L,)")
        size = clip.meta.get("size")
        if clip.data.dtype.names is None or size is None:
            raise UsageError(f"{clip.path}: its events lack fields x, y, t, p, or a size in meta")
        y, x = (clip.data[name].max(initial=0) for name in "yx")
        if y >= size[0] or x >= size[1]:
            raise UsageError(f"{clip.path}: an event at x = {x}, y = {y} is beyond its size {size}")
        counts = _counts(clip, size)
        part_s = clip.window.duration_s / len(counts)
        rows = np.zeros((MOMENTS, self.frame_dim), np.float32)
        cells = counts.reshape(MOMENTS, _PARTS, 2, CELLS, _FINE, CELLS, _FINE).sum((1, 4, 6))
        pixels = size[0] * size[1] / CELLS**2
        rows[:, :_GRID] = np.log1p(cells / (_PARTS * part_s * pixels)).reshape(MOMENTS, -1)
        where = _filled(_place(counts.sum(1)))
        centres = where.reshape(MOMENTS, _PARTS, 4).mean(1)
        rows[:, _GRID : _GRID + 4] = centres
        rows[1:, _GRID + 4 : _GRID + _PLACE] = np.diff(centres, axis=0)
        per_pixel = counts.sum((1, 2, 3)) / (part_s * size[0] * size[1])
        rows[:, -len(_NAMES) :] = _attributes(per_pixel, where, part_s)
        return rows

    def motion(self, features: Float32) -> Float32:
        # Not of unit length: how still it is must not depend on how far something travels.
        values = features[0, -len(_NAMES) :]
        return values / max(_CLEAR, float(np.linalg.norm(values)))

    def pool(self, features: Float32) -> Float32:
        motion = np.array([self.motion(clip) for clip in features]).reshape(-1, len(_NAMES))
        unseen = np.sqrt(np.maximum(0, 1 - (motion**2).sum(axis=1)))
        return unit(np.column_stack([motion, unseen, 0 * unseen]))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts without a word of the table are against what a clip leaves unseen."""
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            entry = self.table.lookup(text)
            if entry.how == "table":
                row[: len(_NAMES)] = unit(entry.weights[None])[0]
            if not row.any():
                row[-2:] = _NO_WORD
        return rows


def _counts(clip: Clip, size: tuple[int, int]) -> Float64:
    """(64, 2, 32, 32) events in even parts of the window, by polarity and fine cell."""
    edges = np.linspace(clip.window.start_s, clip.window.end_s, MOMENTS * _PARTS + 1)
    edge_columns = np.searchsorted(clip.times_s, edges)
    rows, columns = (np.arange(side) * _SIDE // side for side in size)
    cell = rows[clip.data["y"]] * _SIDE
    cell += columns[clip.data["x"]]
    cell += clip.data["p"] * _SIDE**2
    parts = [np.bincount(cell[a:b], minlength=2 * _SIDE**2) for a, b in pairwise(edge_columns)]
    return np.array(parts, np.float64).reshape(-1, 2, _SIDE, _SIDE)


def _place(counts: Float64) -> Float64:
    """(64, 32, 32) counts to centroid x, y (-1 to 1, y down) and spread x, y; NaN where none is."""
    across, down = counts.sum(1), counts.sum(2)
    middle = (np.arange(_SIDE) + 0.5) * 2 / _SIDE - 1
    with np.errstate(invalid="ignore"):
        total = across.sum(1)
        x, y = across @ middle / total, down @ middle / total
        square = middle**2
        spread = [across @ square / total - x**2, down @ square / total - y**2]
    return np.stack([x, y, *np.sqrt(np.maximum(spread, 0))], axis=1)


def _filled(place: Float64) -> Float64:
    """Places without NaN: between those that are known, and those of the nearest at the ends."""
    filled_rows = np.flatnonzero(np.isfinite(place[:, 0]))
    if not len(filled_rows):
        return np.zeros_like(place)
    columns = [
        np.interp(np.arange(len(place)), filled_rows, column[filled_rows]) for column in place.T
    ]
    return np.stack(columns, axis=1)


def _attributes(rate: Float64, where: Float64, part_s: float) -> Float64:
    """Scaled attributes (7,) of the rate (64,) a pixel and second and of the places (64, 4)."""
    if not rate.any():
        return np.array([-1.0, *[0.0] * (len(_NAMES) - 1)])
    course = np.column_stack([rate / rate.mean(), 4 * where[:, :2]])
    rhythm, hertz = signals.periodicity(course, 1 / part_s)
    travel = signals.end(where) - signals.start(where)
    grown = np.log(
        (signals.end(where)[2:].mean() + 0.02) / (signals.start(where)[2:].mean() + 0.02)
    )
    peak = float(rate.max() / rate.mean())
    values = np.array(
        [np.log10(rate.mean()), rhythm, hertz, peak, travel[0] / 2, -travel[1] / 2, grown]
    )
    centre, width = np.array(list(ATTRIBUTES.values())).T
    scaled = np.tanh((values - centre) / width)
    scaled[1:4] *= np.where(scaled[1:4] < 0, _ABSENT, 1.0)
    scaled[1] *= len(rate) * part_s >= _SHORTEST_S
    scaled[2] *= max(0.0, scaled[1])  # how quick a rhythm is counts where there is one
    return scaled
