"""What the network of ``refer`` reads of the people of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlar.adapters.refer.network import PLACE_WIDTH
from vlar.detecting.people import People
from vlar.types import Float32


@dataclass(frozen=True)
class Pointing:
    """The people of one clip as arrays.

    Attributes:
        people: (K, D + 8 + 11) vector of each cut, its place and the colours of its clothes.
        whole: (D,) vector of the whole picture.
        measured: (K,) log probabilities of the measures for one reference.
    """

    people: Float32
    whole: Float32
    measured: Float32


def describe(people: People, cuts: Float32, colours: Sequence[Float32]) -> Float32:
    """(K, D + 8 + 11) of K people.

    Args:
        people: Who was found.
        cuts: (K, D) vectors of their cuts.
        colours: (11,) shares of each one's clothes.
    """
    height, width = people.size
    count = len(people.tracks)
    rows = np.zeros((count, PLACE_WIDTH), np.float32)
    for place, track in enumerate(people.tracks):
        x1, y1, x2, y2 = np.median(track.boxes[:, 1:], axis=0) / (width, height, width, height)
        rank = place / max(count - 1, 1)
        rows[place] = x1, y1, x2, y2, x2 - x1, y2 - y1, rank, 1 - abs(2 * rank - 1)
    return np.concatenate([cuts, rows, np.stack(list(colours))], axis=1).astype(np.float32)


def padded(rows: Sequence[Float32], most: int) -> tuple[Float32, np.ndarray]:
    """N arrays (K, F) as one (N, most, F), and (N, most) whether a person is there.

    People beyond ``most``, from the left, are left out.
    """
    width = rows[0].shape[1]
    stacked = np.zeros((len(rows), most, width), np.float32)
    there = np.zeros((len(rows), most), bool)
    for at, row in enumerate(rows):
        kept = row[:most]
        stacked[at, : len(kept)], there[at, : len(kept)] = kept, True
    return stacked, there
