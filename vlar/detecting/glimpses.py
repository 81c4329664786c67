"""Somebody whose body shows in a few frames or none, followed by the movement around it.

Bodies upside down, bent, blurred or seen from behind are found now and then, or not at all. A few
boxes may be a false alarm; together with movement at that place in most frames they are somebody.
And where something moves all the time, a detector can check whether that is a body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vlar.detecting.tracks import Track

_APART = 0.6  # body sizes between middles; who is nearer to a person is part of that person
_OFTEN = 0.3  # of its frames in which a track is within reach
_LASTS = 0.3  # of the frames, from which movement is checked
_MOSTLY = 0.75  # of the frames in which something moves there
_LEAST_SURE = 0.3  # mean score of the movement
_SIZES = 0.4, 2.0  # of the others'; what moves is a body of some size


def glimpsed(linked: Sequence[Track], people: Sequence[Track]) -> list[Track]:
    """Tracks that were left out, and are apart from everybody.

    Args:
        linked: All tracks of bodies.
        people: Those that are somebody.
    """
    if not people:
        return []
    return [track for track in linked if not any(_on(track, other) for other in people)]


def overlooked(
    movement: Sequence[Track],
    people: Sequence[Track],
    is_body: Callable[[Track], bool],
    n_frames: int,
) -> list[Track]:
    """What moves for long where nobody was found, and is a body when that is checked.

    Args:
        movement: Tracks of what moves.
        people: Everybody who was found.
        is_body: Checks one (``Detector.confirms``).
        n_frames: Of the clip.
    """
    return [
        track
        for track in movement
        if len(track.boxes) >= _LASTS * n_frames
        and not any(_on(track, other) for other in people)
        and is_body(track)
    ]


def followed(
    brief: Sequence[Track], movement: Sequence[Track], people: Sequence[Track], n_frames: int
) -> list[Track]:
    """One track for each glimpsed body around which something moves in most frames.

    Args:
        brief: Glimpsed bodies.
        movement: Tracks of what moves.
        people: Everybody who was found.
        n_frames: Of the clip.
    """
    usual = float(np.median([track.extent for track in people or movement])) if movement else 0.0
    found: list[Track] = []
    for body in brief:
        if any(_on(body, other) for other in found):
            continue
        near = [
            track
            for track in movement
            if _between(track, body) < max(usual, track.extent)
            and not any(_on(track, other) for other in [*people, *found])
        ]
        track = _union(near)
        if track is None or len(track.boxes) < _MOSTLY * n_frames:
            continue
        size = track.extent / max(usual, 1e-6)
        if float(track.scores.mean()) >= _LEAST_SURE and _SIZES[0] <= size <= _SIZES[1]:
            found.append(track)
    return found


def mostly_on(track: Track, person: Track) -> bool:
    """Whether a track is within reach of a person in most of its frames."""
    return _share_on(track, person) >= 0.5


def _on(track: Track, person: Track) -> bool:
    """Whether a track is often within reach of a person, at the same times."""
    return _share_on(track, person) >= _OFTEN


def _share_on(track: Track, person: Track) -> float:
    boxes = person.at(track.boxes[:, 0].astype(np.float64))
    middles = 0.5 * (boxes[:, 1:3] + boxes[:, 3:5])
    sizes = (boxes[:, 3:5] - boxes[:, 1:3]).max(axis=1)
    apart = np.linalg.norm(track.centres - middles, axis=1)
    return float((apart < _APART * np.maximum(sizes, 1)).mean())


def _between(a: Track, b: Track) -> float:
    """Pixels between the usual middles of two tracks."""
    middles = [np.median(track.centres, axis=0) for track in (a, b)]
    return float(np.linalg.norm(middles[0] - middles[1]))


def _union(tracks: Sequence[Track]) -> Track | None:
    """One track around all boxes of each time; None of none."""
    if not tracks:
        return None
    rows = np.concatenate([track.boxes for track in tracks])
    scores = np.concatenate([track.scores for track in tracks])
    times = np.unique(rows[:, 0])
    boxes = np.empty((len(times), 5), np.float32)
    sure = np.empty(len(times), np.float32)
    for place, time_s in enumerate(times):
        here = rows[:, 0] == time_s
        low, high = rows[here, 1:3].min(axis=0), rows[here, 3:5].max(axis=0)
        boxes[place] = time_s, *low, *high
        sure[place] = scores[here].max()
    return Track(boxes, sure)
