"""Choice among several people or things by a reference.

Each has a score from every cue of the reference: its rank by place, order or size, the share of its
clothes with the colour, and its likeness to the words, where an encoder compares them. The softmax
over all of them is the answer (level 1 of the page on referring; after Peng et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlar.errors import PersonError
from vlar.language.referring import COLOURS, Reference
from vlar.numeric import softmax
from vlar.people.tracks import Track
from vlar.types import Float32, Float64

_RANK = 4.0  # of one place in a row
_COLOUR = 4.0  # of a factor e in the share of a colour
_COLOUR_FLOOR = 0.02
_CLEAR = 0.15  # share of the clothes from which a colour is there
_UNSURE = 0.6  # of the softmax; below it a note follows


@dataclass(frozen=True)
class PersonChoice:
    """One of K people, with the certainty of the choice.

    Attributes:
        place: Its number among the K, from 0, counted from the left.
        weights: (K,) float64, the softmax over the people.
        note: Remark for the reader; empty for none.
    """

    place: int
    weights: Float64
    note: str = ""


def from_left(tracks: Sequence[Track]) -> list[Track]:
    """Tracks in the order of their middles, from the left."""
    return sorted(tracks, key=lambda track: float(np.median(track.centres[:, 0])))


def choose(
    tracks: Sequence[Track],
    reference: Reference,
    colours: Sequence[Float32] = (),
    likeness: Float64 | None = None,
) -> PersonChoice:
    """The track that a reference means.

    Args:
        tracks: K of them from the left; at least one.
        reference: What was asked for.
        colours: (11,) shares of each (``vlar.people.people``); needed for a colour.
        likeness: (K,) scaled similarity to the words of the reference; None without an encoder.

    Raises:
        PersonError: the reference counts beyond the number of people.
    """
    count = len(tracks)
    _check_number(reference, count)
    total = np.zeros(count)
    total -= _RANK * _ranks(tracks, reference)
    notes: list[str] = []
    if reference.colour is not None:
        share = np.array([row[COLOURS.index(reference.colour)] for row in colours])
        total += _COLOUR * np.log(share + _COLOUR_FLOOR)
        if share.max() < _CLEAR:
            notes.append(f"nobody is clearly in {reference.colour}: the nearest is taken")
    if likeness is not None:
        total += likeness
    weights = softmax(total[None])[0]
    best = int(weights.argmax())
    if count == 1 and not reference.is_plain:
        notes.append("one is found, which is taken")
    elif reference.is_plain and count > 1:
        notes.append(f"{count} are found, and {str(reference)!r} tells none apart: the first")
    elif weights[best] < _UNSURE:
        notes.append(f"it may be another of the {count} ({weights[best]:.0%} sure)")
    return PersonChoice(best, weights, "; ".join(notes))


def _check_number(reference: Reference, count: int) -> None:
    if reference.number is not None and reference.number > count:
        people = "one person is" if count == 1 else f"{count} people are"
        raise PersonError(
            f"{str(reference)!r} counts to {reference.number}, and {people} found; count to at "
            f"most {count}, or use a place or a colour"
        )


def _ranks(tracks: Sequence[Track], reference: Reference) -> Float64:
    """(K,) deviation in places of each from the reference; all cues added."""
    count = len(tracks)
    away = np.zeros(count)
    along = _rank(_places(tracks, reference.position or "left"))
    if reference.number is not None:
        rank = count if reference.number < 0 else reference.number
        away += np.abs(along - (rank - 1))
    elif reference.position == "middle":
        away += _from_middle(tracks, along)
    elif reference.position is not None:
        away += along
    if reference.size is not None:
        sizes = np.array([_height(track) for track in tracks])
        away += _rank(sizes if reference.size == "smallest" else -sizes)
    return away


def _places(tracks: Sequence[Track], position: str) -> Float64:
    """(K,) numbers that rise away from a position."""
    middles = np.array([np.median(track.centres, axis=0) for track in tracks], np.float64)
    feet = np.array([float(np.median(track.boxes[:, 4])) for track in tracks])
    sizes = np.array([_height(track) for track in tracks])
    # Who is in front is larger, and stands lower in the picture.
    near = feet / max(float(feet.max()), 1e-6) + sizes / max(float(sizes.max()), 1e-6)
    ways: dict[str, Float64] = {
        "left": middles[:, 0],
        "middle": middles[:, 0],
        "right": -middles[:, 0],
        "top": middles[:, 1],
        "bottom": -middles[:, 1],
        "front": -near,
        "back": near,
    }
    return ways[position]


def _from_middle(tracks: Sequence[Track], along: Float64) -> Float64:
    """(K,) ranks by the distance from the middle of the row; equal ones by the distance itself."""
    x = np.array([float(np.median(track.centres[:, 0])) for track in tracks])
    reach = max(float(np.ptp(x)), 1e-6)
    between = np.abs(x - (x.max() + x.min()) / 2) / reach
    return np.floor(np.abs(along - (len(x) - 1) / 2)) + 0.5 * between


def _rank(values: Float64) -> Float64:
    """(K,) the place of each value in rising order."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _height(track: Track) -> float:
    return float(np.percentile(track.boxes[:, 4] - track.boxes[:, 2], 75))
