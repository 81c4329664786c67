"""People numbered over the windows of one recording: the same person has the same number.

Windows are searched one by one, so each has tracks of its own. Tracks of two windows belong to one
person where their boxes overlap at the times that both windows show, by an optimal assignment as in
``vlar.people.tracks``. Windows that do not overlap are linked over a short gap by the last boxes
of the one and the first boxes of the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlar.people.people import People
from vlar.people.tracks import Track, best_pairs, overlap
from vlar.types import Float32, Float64

_LEAST_OVERLAP = 0.3  # mean intersection over union of one person in two windows
_LONGEST_GAP_S = 1.0  # seconds between two windows that still may show one person
_COMPARED = 5  # times in what two windows share
_BLOCK_S = 10.0  # people are looked up by blocks of time: recordings may last for hours


@dataclass(frozen=True)
class _NumberedPerson:
    """A person of a window that was numbered."""

    number: int
    track: Track


class PersonNumbers:
    """Numbers the people of a recording, window by window, in any order of windows."""

    def __init__(self) -> None:
        self._made = 0
        self._seen: dict[int, list[_NumberedPerson]] = defaultdict(list)

    def of(self, people: People) -> list[int]:
        """Numbers from 1 of the people of a window, in their order.

        Args:
            people: K people; times are those of the recording.
        """
        tracks = [_in_shares(track, people.size) for track in people.tracks]
        if not tracks:
            return []
        times_s = people.clip.times_s
        blocks = _blocks(float(times_s[0]) - _LONGEST_GAP_S, float(times_s[-1]) + _LONGEST_GAP_S)
        near = {id(person): person for block in blocks for person in self._seen.get(block, ())}
        numbers = self._assigned(tracks, list(near.values()))
        for number, track in zip(numbers, tracks, strict=True):
            for block in _blocks(float(track.boxes[0, 0]), float(track.boxes[-1, 0])):
                self._seen[block].append(_NumberedPerson(number, track))
        return numbers

    def _assigned(self, tracks: list[Track], near: list[_NumberedPerson]) -> list[int]:
        known_numbers = sorted({person.number for person in near})
        alike = np.zeros((len(tracks), len(known_numbers)))
        for row, track in enumerate(tracks):
            for person in near:
                column = known_numbers.index(person.number)
                alike[row, column] = max(alike[row, column], _shared(track, person.track))
        numbers = [0] * len(tracks)
        for row, column in best_pairs(alike, _LEAST_OVERLAP):
            numbers[row] = known_numbers[column]
        for row, number in enumerate(numbers):
            if not number:
                self._made += 1
                numbers[row] = self._made
        return numbers


def _blocks(start_s: float, end_s: float) -> Iterator[int]:
    yield from range(int(start_s // _BLOCK_S), int(end_s // _BLOCK_S) + 1)


def _in_shares(track: Track, size: tuple[int, int]) -> Track:
    """A track in shares of the frame, a few boxes long: windows may be read at different sizes."""
    height, width = size
    track_times = track.boxes[:, 0].astype(np.float64)
    few = np.linspace(track_times[0], track_times[-1], min(len(track_times), 4 * _COMPARED))
    scale = np.array([1, width, height, width, height], np.float32)
    return Track(track.at(few) / scale, np.ones(len(few), np.float32))


def _shared(a: Track, b: Track) -> float:
    """Mean intersection over union of two tracks where both are seen; 0 where they are apart."""
    begin = max(float(a.boxes[0, 0]), float(b.boxes[0, 0]))
    end = min(float(a.boxes[-1, 0]), float(b.boxes[-1, 0]))
    if begin - end > _LONGEST_GAP_S:
        return 0.0
    # In a gap both tracks hold the box that is nearest to it.
    times_s: Float64 = np.linspace(begin, end, _COMPARED)
    one, other = _corners(a, times_s), _corners(b, times_s)
    pairs = zip(one, other, strict=True)
    return float(np.mean([overlap(x[None], y[None])[0, 0] for x, y in pairs]))


def _corners(track: Track, times_s: Float64) -> Float32:
    return track.at(times_s)[:, 1:]
