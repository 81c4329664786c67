"""The people (or things) of one clip: found, followed, counted from the left, and cut out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlar.errors import VlarError
from vlar.language.referring import COLOURS, PEOPLE
from vlar.media.base import Reader
from vlar.people import crop
from vlar.people.base import Detector
from vlar.people.subject_selection import from_left
from vlar.people.tracks import Track, link, overlap
from vlar.pose.body import HIPS, KNEES, SHOULDERS
from vlar.types import Clip, Float32, Float64, Person, Sampling, UInt8

_MOST_FRAMES = 8  # of a track
_GRID = 9  # places along each side of a region
_SPREAD = 13.0  # CIELAB units at which a pixel belongs to an example by 60 %
_VISIBLE = 0.3
_LEAST_WIDTH = 0.22  # of the trunk's length: a body seen from the side is that wide
_LEGS = 0.35  # weight of the legs' clothes, against 1 of the trunk's
# L, a, b of what people call by each name, in light and in shade.
_EXAMPLES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "black": ((6, 0, 0), (16, 0, 0), (20, 2, -5)),
    "white": ((95, 0, 0), (85, 0, -2)),
    "grey": ((36, 0, 0), (50, 0, 0), (64, 0, 0)),
    "red": ((46, 62, 42), (36, 50, 30), (26, 38, 20), (52, 55, 28)),
    "orange": ((65, 42, 62), (58, 45, 50)),
    "yellow": ((85, 0, 75), (80, 2, 48), (88, -8, 40)),
    "green": ((46, -42, 36), (62, -45, 40), (34, -20, 14), (52, -22, 18), (45, -28, 2)),
    "blue": ((36, 15, -50), (50, -5, -35), (26, 8, -30), (66, -12, -28), (42, -2, -20)),
    "purple": ((36, 40, -42), (54, 30, -30), (28, 25, -22)),
    "pink": ((70, 40, 0), (78, 26, 6), (60, 56, -8)),
    "brown": ((34, 16, 26), (50, 13, 28), (24, 10, 14), (66, 9, 22)),
}


def shares(frames: UInt8, times_s: Float64, track: Track) -> Float32:
    """Share of each colour in the clothes of one person.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        times_s: (T,) of the frames.
        track: The person.

    Returns:
        (11,) float32 in the order of ``COLOURS``; they add up to 1.
    """
    chosen = np.linspace(0, len(track.boxes) - 1, min(_MOST_FRAMES, len(track.boxes)))
    totals = np.zeros(len(COLOURS))
    for row in np.unique(np.rint(chosen).astype(int)):
        frame = frames[int(np.abs(times_s - track.boxes[row, 0]).argmin())]
        joints = None if track.joints is None else track.joints[row]
        for places, weight in _regions(track.boxes[row], joints):
            totals += weight * named(_pixels(frame, places)).mean(axis=0)
    return (totals / max(totals.sum(), 1e-9)).astype(np.float32)


def named(pixels: UInt8) -> Float64:
    """(n, 3) uint8 RGB pixels to the share (n, 11) of each of ``COLOURS``."""
    lab = to_lab(pixels)
    likeness = np.stack(
        [
            np.max([np.exp(-_squared(lab, example)) for example in _EXAMPLES[colour]], axis=0)
            for colour in COLOURS
        ],
        axis=1,
    )
    return likeness / np.maximum(likeness.sum(axis=1, keepdims=True), 1e-12)


def to_lab(pixels: UInt8) -> Float64:
    """(n, 3) sRGB uint8 to CIELAB (D65)."""
    values = pixels.astype(np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def _squared(lab: Float64, example: tuple[float, float, float]) -> Float64:
    # Light and shade change L more than they change the name.
    away = (lab - np.array(example)) * np.array([0.6, 1.0, 1.0])
    return (away * away).sum(axis=1) / (2 * _SPREAD**2)


def _regions(box: Float32, joints: Float32 | None) -> list[tuple[Float64, float]]:
    """Places (n, 2) on the clothes, with their weight: the trunk, and the upper legs."""
    if joints is None:
        x1, y1, x2, y2 = (float(v) for v in box[1:])
        middle, quarter = (x1 + x2) / 2, (x2 - x1) / 5
        top, bottom = y1 + 0.22 * (y2 - y1), y1 + 0.52 * (y2 - y1)
        corners = np.array([[middle - quarter, top], [middle + quarter, top]])
        return [(_grid(corners, corners + [[0, bottom - top]] * 2), 1.0)]
    regions: list[tuple[Float64, float]] = []
    for upper, lower, weight in ((SHOULDERS, HIPS, 1.0), (HIPS, KNEES, _LEGS)):
        if joints[[*upper, *lower], 2].min() >= _VISIBLE or weight == 1.0:
            top = joints[list(upper), :2].astype(np.float64)
            bottom = joints[list(lower), :2].astype(np.float64)
            regions.append((_grid(*_wide(top, bottom)), weight))
    return regions


def _wide(top: Float64, bottom: Float64) -> tuple[Float64, Float64]:
    """Both pairs of corners, at least as far apart as a body seen from the side is wide."""
    length = float(np.linalg.norm(bottom.mean(axis=0) - top.mean(axis=0)))
    least = _LEAST_WIDTH * length
    pairs: list[Float64] = []
    for pair in (top, bottom):
        middle = pair.mean(axis=0)
        half = max(abs(float(pair[0, 0] - pair[1, 0])) / 2, least / 2)
        pairs.append(np.array([[middle[0] - half, middle[1]], [middle[0] + half, middle[1]]]))
    return pairs[0], pairs[1]


def _grid(top: Float64, bottom: Float64) -> Float64:
    """Places between two pairs of corners, away from the edges."""
    u, v = np.meshgrid(np.linspace(0.2, 0.8, _GRID), np.linspace(0.12, 0.88, _GRID))
    u, v = u.ravel()[:, None], v.ravel()[:, None]
    return (1 - v) * ((1 - u) * top[0] + u * top[1]) + v * ((1 - u) * bottom[0] + u * bottom[1])


def _pixels(frame: UInt8, places: Float64) -> UInt8:
    height, width = frame.shape[:2]
    x = np.rint(places[:, 0]).astype(int).clip(0, width - 1)
    y = np.rint(places[:, 1]).astype(int).clip(0, height - 1)
    return frame[y, x]


_APART = 0.6  # body sizes between middles; who is nearer to a person is part of that person
_OFTEN = 0.3  # of its frames in which a track is within reach
_LASTS = 0.3  # of the frames, from which movement is checked
_MOSTLY = 0.75  # of the frames in which something moves there
_LEAST_SURE = 0.3  # mean score of the movement
_SIZES = 0.4, 2.0  # of the others'; what moves is a body of some size


def glimpsed(linked: Sequence[Track], people: Sequence[Track]) -> list[Track]:
    """Tracks that were left out, and are apart from everybody."""
    if not people:
        return []
    return [track for track in linked if not any(_on(track, other) for other in people)]


def overlooked(
    movement: Sequence[Track],
    people: Sequence[Track],
    is_body: Callable[[Track], bool],
    n_frames: int,
) -> list[Track]:
    """Long movements where nobody was found, which a check confirms as bodies.

    Args:
        movement: Tracks of what moves.
        people: Everybody who was found.
        is_body: Checks one (``Detector.confirms``).
        n_frames: Frames of the clip.
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
    """One track for each glimpsed body around which something moves in most frames."""
    usual = float(np.median([track.extent for track in people or movement])) if movement else 0.0
    tracks: list[Track] = []
    for body in brief:
        if any(_on(body, other) for other in tracks):
            continue
        near = [
            track
            for track in movement
            if _between(track, body) < max(usual, track.extent)
            and not any(_on(track, other) for other in [*people, *tracks])
        ]
        track = _union(near)
        if track is None or len(track.boxes) < _MOSTLY * n_frames:
            continue
        size = track.extent / max(usual, 1e-6)
        if float(track.scores.mean()) >= _LEAST_SURE and _SIZES[0] <= size <= _SIZES[1]:
            tracks.append(track)
    return tracks


def _on(track: Track, person: Track) -> bool:
    """Return whether a track is often within reach of a person, at the same times."""
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
    for index, time_s in enumerate(times):
        mask = rows[:, 0] == time_s
        low, high = rows[mask, 1:3].min(axis=0), rows[mask, 3:5].max(axis=0)
        boxes[index] = time_s, *low, *high
        sure[index] = scores[mask].max()
    return Track(boxes, sure)


CONTEXT = 1.8  # side of a cut over the person's; around is the scene (evals/results/who.json)
_LEAST_SHARE = 0.3  # of the frames in which somebody must be found
_LEAST_PRESENCE = 0.2  # of the largest's; less is a false alarm or somebody far behind
_SAME = 0.5  # mean intersection over union of two tracks of one person
_BRIEF = 0.6  # of the frames of somebody; a body on them for no longer is one of theirs
_NEAR = 0.8  # body sizes between the end of one track and the start of another of one person
_LEAST_RATE = 0.6  # of the rate a detector needs
_PEOPLE_MOST_FRAMES = 96
_READ_SIDE = 720  # pixels of the shorter side of what is read for a detector
_LARGER = 1.3  # how much larger a recording must be than the clip to be read again


@dataclass(frozen=True)
class People:
    """People found in a clip.

    Attributes:
        clip: The searched clip: the given one, or the same span with more or larger frames.
        tracks: K tracks from the left.
    """

    clip: Clip
    tracks: Sequence[Track]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames, pixels."""
        height, width = self.clip.data.shape[1:3]
        return int(height), int(width)

    def colours(self) -> list[Float32]:
        """(11,) shares of the colours of each one's clothes."""
        return [shares(self.clip.data, self.clip.times_s, track) for track in self.tracks]

    def person(self, place: int, score: float = 1.0) -> Person:
        """The facts of one of them for an answer."""
        height, width = self.size
        middle = np.array([(self.clip.times_s[0] + self.clip.times_s[-1]) / 2])
        box = self.tracks[place].at(middle)[0, 1:] / (width, height, width, height)
        x1, y1, x2, y2 = (float(side) for side in box.clip(0, 1))
        return Person(place + 1, len(self.tracks), (x1, y1, x2, y2), score)

    def extent(self, place: int) -> float:
        """Size of one of them, in shares of the frame's shorter side."""
        return self.tracks[place].extent / min(self.size)

    def cut_out(self, place: int, wanted: Clip, *, margin: float = CONTEXT) -> Clip:
        """One of them as a clip of its own, with as many frames as ``wanted`` has.

        Args:
            place: Which.
            wanted: The clip of the whole picture, as the encoder asked for it.
            margin: Side of the cut over the size of the person.
        """
        boxes = self.tracks[place].at(self.clip.times_s)
        frames = crop.cut(self.clip.data, boxes, margin=margin)
        times_s = self.clip.times_s
        if self.clip is not wanted:
            rows = self._rows(place, boxes, wanted)
            frames, times_s = frames[rows], times_s[rows]
        return replace(wanted, data=frames, times_s=times_s, meta={**wanted.meta, "cut": True})

    def _rows(self, place: int, boxes: Float32, wanted: Clip) -> np.ndarray:
        """Rows of the searched frames for an encoder: those nearest to the times it asked for.

        An encoder of few frames does not follow movements; it gets those with most of the motion.
        """
        if len(wanted.data) > crop.MOST_KEY_FRAMES or len(wanted.data) >= len(self.clip.data):
            apart = np.abs(self.clip.times_s[None] - wanted.times_s[:, None])
            return apart.argmin(axis=1)
        track = self.tracks[place]
        same = track.joints is not None and len(track.boxes) == len(boxes)
        return crop.key_frames(boxes, track.joints if same else None, len(wanted.data))


def find_people(
    clip: Clip,
    detector: Detector,
    noun: str = "person",
    source: Reader | None = None,
    moving: Detector | None = None,
) -> People:
    """People of a clip, counted from the left.

    Args:
        clip: (T, H, W, 3) frames.
        detector: Detector of people.
        noun: Name of the wanted things.
        source: Reads the recording again where the clip has too few or too small frames for the
            detector; None to use the clip as it is.
        moving: Detector of movement. A body that ``detector`` finds in a few frames only, or
            confirms where something moves, is somebody if something moves there all the time. None
            to leave such bodies out.
    """
    searched = clip if source is None else searchable(clip, detector, source)
    prompt = "person" if noun in PEOPLE else noun
    frames, times_s = searched.data, searched.times_s
    linked = link(detector.detect(frames, times_s, prompt))
    tracks = _distinct(linked, len(frames))
    if moving is not None:

        def is_body(track: Track) -> bool:
            return detector.confirms(frames, times_s, track.boxes)

        movement = link(moving.detect(frames, times_s, prompt))
        glimpses = glimpsed(linked, tracks)
        glimpses += overlooked(movement, tracks, is_body, len(frames))
        tracks += followed(glimpses, movement, tracks, len(frames))
    return People(searched, from_left(tracks))


def searchable(clip: Clip, detector: Detector, source: Reader) -> Clip:
    """The clip, or the same span read again with more or larger frames where that helps."""
    span_s = float(clip.times_s[-1] - clip.times_s[0]) if len(clip.times_s) > 1 else 0.0
    rate = (len(clip.times_s) - 1) / span_s if span_s > 0 else float("inf")
    shorter = min(clip.data.shape[1:3])
    if clip.meta.get("cut") or not Path(clip.path).exists():
        return clip
    try:
        info = source.probe(clip.path)
        shortest = min(getattr(info, "width", shorter), getattr(info, "height", shorter))
        side = max(shorter, min(shortest, _READ_SIDE))
        if rate >= _LEAST_RATE * detector.rate_hz and side < _LARGER * shorter:
            return clip
        count = min(_PEOPLE_MOST_FRAMES, max(len(clip.data), round(detector.rate_hz * span_s)))
        return source.read_clip(clip.path, clip.window, Sampling(count, shorter_side=side))
    except VlarError:
        return clip  # it was read before, so this is a passing fault: the clip itself will do


def _distinct(tracks: Sequence[Track], n_frames: int) -> list[Track]:
    """One track for each: parts joined, doubles and false alarms left out, at least one kept."""
    joined: list[Track] = []
    for track in tracks:  # the largest and longest first
        if any(_is_part(track, other) for other in joined):
            continue
        index = next((index for index, other in enumerate(joined) if _follows(track, other)), None)
        if index is None:
            joined.append(track)
        else:
            joined[index] = _together(joined[index], track)
    if not joined:
        return []
    most = max(track.presence for track in joined)
    least = max(3.0, _LEAST_SHARE * n_frames)
    good = [
        track
        for track in joined
        if len(track.boxes) >= least and track.presence >= _LEAST_PRESENCE * most
    ]
    return good or joined[:1]


def _is_part(track: Track, other: Track) -> bool:
    """Return whether a track repeats another, or for a while has boxes on it."""
    brief = len(track.boxes) <= _BRIEF * len(other.boxes)
    return _shared(track, other) > _SAME or (brief and _share_on(track, other) >= 0.5)


def _shared(a: Track, b: Track) -> float:
    """Mean intersection over union of two tracks at the times that both have; 0 without any."""
    times = np.intersect1d(a.boxes[:, 0], b.boxes[:, 0])
    if not len(times):
        return 0.0
    one = a.boxes[np.isin(a.boxes[:, 0], times), 1:]
    other = b.boxes[np.isin(b.boxes[:, 0], times), 1:]
    n = min(len(one), len(other))
    return float(
        np.mean([overlap(one[row : row + 1], other[row : row + 1])[0, 0] for row in range(n)])
    )


def _follows(a: Track, b: Track) -> bool:
    """Return whether one track ends before the other begins, near to where it begins."""
    first, second = sorted((a, b), key=lambda track: float(track.boxes[0, 0]))
    if first.boxes[-1, 0] >= second.boxes[0, 0]:
        return False
    apart = float(np.linalg.norm(first.centres[-1] - second.centres[0]))
    return apart < _NEAR * max(first.extent, second.extent)


def _together(a: Track, b: Track) -> Track:
    boxes = np.concatenate([a.boxes, b.boxes])
    order = np.argsort(boxes[:, 0], kind="stable")
    joints = None
    if a.joints is not None and b.joints is not None:
        joints = np.concatenate([a.joints, b.joints])[order]
    return Track(boxes[order], np.concatenate([a.scores, b.scores])[order], joints)
