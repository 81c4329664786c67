"""Tracks of people: detection in some frames, tracking forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from vlar.pose.networks import N_POINTS, BodyLandmarks, Crop, Landmarks, PersonDetector, to_image
from vlar.types import Float32, UInt8

MAX_PEOPLE = 3
Square = tuple[float, float, float]
"""Left, top and side in pixels."""
_THRESHOLD = 0.5  # least probability of a person, for both networks
_DETECT_EVERY = 8  # frames, while there is room for more people
_SQUARES_EVERY = 16  # frames; people in a wide frame are small in the detector's input
_SEARCH_EVERY = 2  # frames, while no person is tracked
_WIDE = 1.2  # aspect ratio from which the squares at both ends are searched too
_SMALLEST = 12.0  # pixels; a smaller region holds no body
_OUTSIDE = 0.3  # share of the frame; a body whose middle is farther out has left
_ONE_SIZE = 2.0  # how much larger one of two regions of the same person may be
_LONGEST_GAP = 8  # frames between two parts of one track
_GAP_REACH = 0.6  # region sizes a person may move over a gap; a tenth more per frame


@dataclass(frozen=True)
class Tracks:
    """K people over T frames.

    Attributes:
        points: (K, T, 33, 3) float32: x and y in frame heights (x runs to the aspect ratio), and
            the probability of being visible; zeros in frames without a detection.
        score: (K, T) float32 probability of a body; 0 in frames without a detection.
    """

    points: Float32
    score: Float32


class InRegion(Protocol):
    """A body or a hand that a network found in a frame."""

    @property
    def next_region(self) -> Crop:
        """Region in which the next frame is searched for it."""
        ...


Seen = TypeVar("Seen", bound=InRegion)


@dataclass
class Followed(Generic[Seen]):
    """A body or a hand over the frames of a recording.

    Attributes:
        found: What was found, by the number of the frame.
        start: The frame in which it was found first.
    """

    found: dict[int, Seen] = field(default_factory=dict[int, Seen])
    start: int = 0

    def presence(self) -> float:
        """Frames times the usual size of the region: the large ones that stay come first."""
        sizes = [body.next_region.size for body in self.found.values()]
        return len(sizes) * float(np.median(sizes))


def join(
    tracks: Sequence[Followed[Seen]], longest_gap: int, reach: float, growth: float = 0.0
) -> list[Followed[Seen]]:
    """Join tracks that follow each other closely in time and place: they are of one.

    Args:
        tracks: They are changed.
        longest_gap: Frames between two parts of one track.
        reach: Region sizes that it may move over a gap.
        growth: By which share of itself ``reach`` grows with each frame of the gap.
    """
    joined: list[Followed[Seen]] = []
    for track in sorted(tracks, key=lambda track: min(track.found)):
        begin = min(track.found)
        region = track.found[begin].next_region
        for other in joined:
            end = max(other.found)
            gap = begin - end
            last = other.found[end].next_region
            far = reach * max(last.size, region.size) * (1 + growth * gap)
            close = np.hypot(last.x - region.x, last.y - region.y) < far
            if 0 < gap <= longest_gap and close:
                other.found.update(track.found)
                break
        else:
            joined.append(track)
    return joined


class PoseTracker:
    """Tracks people through the frames of a recording, which come in order, some at a time.

    A person is tracked from frame to frame until lost. Who is found late is also tracked backwards,
    as far as the frames reach. Windows that overlap are cut out of the same tracks.

    Args:
        detector: The detector network.
        landmarks: The landmark network.
        max_people: People tracked at the same time; each costs one landmark pass per frame.
        search: Squares of a frame of some width and height that are searched next to the whole
            frame; None for those at both ends of a wide frame.
    """

    def __init__(
        self,
        detector: PersonDetector,
        landmarks: Landmarks,
        max_people: int = MAX_PEOPLE,
        search: Callable[[int, int], Sequence[Square]] | None = None,
    ) -> None:
        self._detector, self._landmarks = detector, landmarks
        self._max_people, self._search = max_people, search
        self._tracks: list[Followed[BodyLandmarks]] = []
        self._live: list[Followed[BodyLandmarks]] = []
        self._next = 0

    def restarted(self) -> PoseTracker:
        """The same with no one tracked, for another recording."""
        return PoseTracker(self._detector, self._landmarks, self._max_people, self._search)

    def extend(
        self, frames: UInt8, first: int, picture: Callable[[int], Any] | None = None
    ) -> None:
        """Track through the frames that are new.

        Args:
            frames: (N, H, W, 3) uint8, one after the other. Those from earlier calls may come
                first; the tracks of people who are found now are carried back through them.
            first: Number of the first frame in the recording, from 0. Earlier ones are forgotten.
            picture: PIL image of a frame by its place in ``frames``, where it is made already.
        """
        self._forget(first)
        bodies: list[Followed[BodyLandmarks]] = []
        for now in range(self._next, first + len(frames)):
            image = picture(now - first) if picture else to_image(frames[now - first])
            bodies += self._forward(image, now)
        self._next = first + len(frames)
        for track in bodies:
            self._backward(frames, first, track)

    def window(self, first: int, n_frames: int, height: int) -> Tracks:
        """The people of ``n_frames`` frames from ``first`` on; K may be 0.

        The largest and longest visible come first. ``height`` is that of the frames, pixels.
        """
        span = range(first, first + n_frames)
        parts = [
            Followed({now - first: track.found[now] for now in span if now in track.found})
            for track in self._tracks
        ]
        joined = join([part for part in parts if part.found], _LONGEST_GAP, _GAP_REACH, 0.1)
        joined.sort(key=Followed.presence, reverse=True)
        return _to_arrays(joined[: max(MAX_PEOPLE, self._max_people)], n_frames, height)

    def _forget(self, first: int) -> None:
        for track in self._tracks:
            track.found = {now: body for now, body in track.found.items() if now >= first}
        self._tracks = [track for track in self._tracks if track.found]
        self._next = max(self._next, first)

    def _forward(self, image: Any, now: int) -> list[Followed[BodyLandmarks]]:
        """Follow the people of the frame before, and look for others; returns the others."""
        going: list[Followed[BodyLandmarks]] = []
        for track in self._live:
            last = track.found.get(now - 1)
            body = last and self._read(image, last.next_region)
            if body and not self._taken(body.next_region, going, now):
                track.found[now] = body
                going.append(track)
        self._live = going
        bodies: list[Followed[BodyLandmarks]] = []
        for region in self._candidates(image, now, len(going)):
            if len(going) >= self._max_people or self._taken(region, going, now):
                continue
            body = self._read(image, region)
            if body and not self._taken(body.next_region, going, now):
                bodies.append(Followed({now: body}, now))
                going.append(bodies[-1])
        self._tracks += bodies
        return bodies

    def _candidates(self, image: Any, now: int, n_live: int) -> list[Crop]:
        search = not n_live and now % _SEARCH_EVERY == 0
        if not search and (n_live >= self._max_people or now % _DETECT_EVERY):
            return []
        regions = self._detector(image, _THRESHOLD)
        width, height = image.size
        every = _SQUARES_EVERY if self._search is None else _DETECT_EVERY
        if now % every == 0 and self._max_people > 1:
            for square in (self._search or _ends_of_wide)(width, height):
                regions += self._detector(image, _THRESHOLD, square)
        return regions

    def _backward(self, frames: UInt8, first: int, track: Followed[BodyLandmarks]) -> None:
        others = [other for other in self._tracks if other is not track]
        region = track.found[track.start].next_region
        for now in range(track.start - 1, first - 1, -1):
            if self._taken(region, others, now):
                break
            body = self._read(to_image(frames[now - first]), region)
            if body is None:
                break
            track.found[now] = body
            region = body.next_region

    def _taken(self, region: Crop, tracks: Sequence[Followed[BodyLandmarks]], now: int) -> bool:
        """Return whether a region is of a person who is tracked already.

        Where squares are searched for many people, somebody small stands in front of, or next to,
        somebody large: such regions are not of one person, however near they are.
        """
        regions = (track.found[now].next_region for track in tracks if now in track.found)
        if self._search is None:
            return any(region.near(other) for other in regions)
        return any(
            region.near(other)
            and max(region.size, other.size) < _ONE_SIZE * min(region.size, other.size)
            for other in regions
        )

    def _read(self, image: Any, region: Crop) -> BodyLandmarks | None:
        body = self._landmarks(image, region)
        ahead = body.next_region
        inside = ahead.inside(image.size, _OUTSIDE)
        visible = body.score >= _THRESHOLD and inside and ahead.size >= _SMALLEST
        return body if visible else None


def _ends_of_wide(width: int, height: int) -> list[Square]:
    side = float(min(width, height))
    if max(width, height) <= _WIDE * side:
        return []
    if width > height:
        return [(0.0, 0.0, side), (width - side, 0.0, side)]
    return [(0.0, 0.0, side), (0.0, height - side, side)]


def _to_arrays(tracks: Sequence[Followed[BodyLandmarks]], n_frames: int, height: int) -> Tracks:
    points = np.zeros((len(tracks), n_frames, N_POINTS, 3), np.float32)
    score = np.zeros((len(tracks), n_frames), np.float32)
    for row, track in enumerate(tracks):
        for now, body in track.found.items():
            points[row, now] = body.points
            score[row, now] = body.score
    points[..., :2] /= np.float32(height)
    return Tracks(points, score)
