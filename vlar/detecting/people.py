"""The people (or things) of one clip: found, followed, counted from the left, and cut out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlar.detecting import colours, zoom
from vlar.detecting.base import Detector
from vlar.detecting.choose import from_left
from vlar.detecting.glimpses import followed, glimpsed, mostly_on, overlooked
from vlar.detecting.tracks import Track, link, overlap
from vlar.errors import VlarError
from vlar.person import Person
from vlar.sensors.base import Reader
from vlar.text.referring import PEOPLE
from vlar.types import Clip, Float32, Sampling

CONTEXT = 1.8  # side of a cut over the person's; the scene around tells what is done (evals/who.py)
_LEAST_SHARE = 0.3  # of the frames in which somebody must be found
_LEAST_PRESENCE = 0.2  # of the largest's; less is a false alarm or somebody far behind
_SAME = 0.5  # mean intersection over union of two tracks of one person
_BRIEF = 0.6  # of the frames of somebody; a body on them for no longer is one of theirs
_NEAR = 0.8  # body sizes between the end of one track and the start of another of one person
_LEAST_RATE = 0.6  # of the rate a detector needs
_MOST_FRAMES = 96
_READ_SIDE = 720  # pixels of the shorter side of what is read for a detector
_LARGER = 1.3  # how much larger a recording must be than the clip to be read again


@dataclass(frozen=True)
class People:
    """Who was found in a clip.

    Attributes:
        clip: What was searched: the clip itself, or the same span with more or larger frames.
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
        return [colours.shares(self.clip.data, self.clip.times_s, each) for each in self.tracks]

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
        frames = zoom.cut(self.clip.data, boxes, margin=margin)
        times_s = self.clip.times_s
        if self.clip is not wanted:
            rows = self._rows(place, boxes, wanted)
            frames, times_s = frames[rows], times_s[rows]
        return replace(wanted, data=frames, times_s=times_s, meta={**wanted.meta, "cut": True})

    def _rows(self, place: int, boxes: Float32, wanted: Clip) -> np.ndarray:
        """Which of the searched frames an encoder gets: those nearest to the times it asked for.

        An encoder of few frames does not follow movements; it gets those with most of the motion.
        """
        if len(wanted.data) > zoom.MOST_KEY_FRAMES or len(wanted.data) >= len(self.clip.data):
            apart = np.abs(self.clip.times_s[None] - wanted.times_s[:, None])
            return apart.argmin(axis=1)
        track = self.tracks[place]
        same = track.joints is not None and len(track.boxes) == len(boxes)
        return zoom.key_frames(boxes, track.joints if same else None, len(wanted.data))


def find_people(
    clip: Clip,
    detector: Detector,
    noun: str = "person",
    source: Reader | None = None,
    moving: Detector | None = None,
) -> People:
    """Everybody in a clip, counted from the left.

    Args:
        clip: (T, H, W, 3) frames.
        detector: Finds them.
        noun: What is asked for.
        source: Reads the recording again where the clip has too few or too small frames for the
            detector; None to use the clip as it is.
        moving: Finds movement. A body that ``detector`` sees in a few frames only, or confirms
            where something moves, is somebody if something moves there all the time. None to leave
            such bodies out.
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
        seen = glimpsed(linked, tracks)
        seen += overlooked(movement, tracks, is_body, len(frames))
        tracks += followed(seen, movement, tracks, len(frames))
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
        own = min(getattr(info, "width", shorter), getattr(info, "height", shorter))
        side = max(shorter, min(own, _READ_SIDE))
        if rate >= _LEAST_RATE * detector.rate_hz and side < _LARGER * shorter:
            return clip
        count = min(_MOST_FRAMES, max(len(clip.data), round(detector.rate_hz * span_s)))
        return source.read_clip(clip.path, clip.window, Sampling(count, shorter_side=side))
    except VlarError:
        return clip  # it was read before, so this is a passing fault: the clip itself will do


def _distinct(tracks: Sequence[Track], n_frames: int) -> list[Track]:
    """One track for each: parts joined, doubles and false alarms left out, at least one kept."""
    joined: list[Track] = []
    for track in tracks:  # the largest and longest first
        if any(_is_part(track, other) for other in joined):
            continue
        at = next((at for at, other in enumerate(joined) if _follows(track, other)), None)
        if at is None:
            joined.append(track)
        else:
            joined[at] = _together(joined[at], track)
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
    """Whether a track is of a person who has one: the same boxes, or for a while boxes on them."""
    if _shared(track, other) > _SAME:
        return True
    return len(track.boxes) <= _BRIEF * len(other.boxes) and mostly_on(track, other)


def _shared(a: Track, b: Track) -> float:
    """Mean intersection over union of two tracks at the times that both have; 0 without any."""
    times = np.intersect1d(a.boxes[:, 0], b.boxes[:, 0])
    if not len(times):
        return 0.0
    one = a.boxes[np.isin(a.boxes[:, 0], times), 1:]
    other = b.boxes[np.isin(b.boxes[:, 0], times), 1:]
    n = min(len(one), len(other))
    return float(np.mean([overlap(one[at : at + 1], other[at : at + 1])[0, 0] for at in range(n)]))


def _follows(a: Track, b: Track) -> bool:
    """Whether one track ends before the other begins, near to where it begins."""
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
