"""Tracks of hands: palms are looked for in some frames, hands followed forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlar.pose.hands.networks import N_POINTS, Hand, HandLandmarks, PalmDetector
from vlar.pose.networks import Region, to_image
from vlar.types import Float32, UInt8

MAX_HANDS = 2
_PALM, _HAND = 0.3, 0.5  # least probabilities; the second network rejects what is not a hand
_LOOKS = 8  # frames of a clip in which palms are looked for, while there is room for more hands
_SMALLEST = 12.0  # pixels; a smaller region holds no hand
_OUTSIDE = 0.2  # share of the frame; a hand whose middle is farther out has left
_GAP = 3  # frames between two parts of one track
_REACH = 0.8  # region sizes that a hand may move over a gap


@dataclass(frozen=True)
class HandTracks:
    """K hands over T frames.

    Attributes:
        points: (K, T, 21, 3) float32: x and y in frame heights (x runs to the aspect ratio) and the
            depth relative to the wrist in the same unit; zeros without a detection.
        score: (K, T) float32 probability of a hand; 0 without a detection.
        right: (K, T) float32 probability of a right hand.
    """

    points: Float32
    score: Float32
    right: Float32


class HandTracker:
    """Follows up to two hands through a clip.

    Palms are looked for in eight frames, while there is room for more hands. A clip without a palm
    in these frames costs their detection alone.

    Args:
        palms: The palm detector.
        landmarks: The landmark network.
    """

    def __init__(self, palms: PalmDetector, landmarks: HandLandmarks) -> None:
        self._palms, self._landmarks = palms, landmarks

    def __call__(
        self, frames: Sequence[UInt8], wrists: Sequence[Sequence[Region]] | None = None
    ) -> HandTracks:
        """The hands of a clip; K may be 0.

        Args:
            frames: (H, W, 3) uint8 RGB, in time order.
            wrists: Regions at the wrists of a tracked body in each frame, which are tried before
                palms are looked for.
        """
        images = [to_image(frame) for frame in frames]
        tracks: list[_Track] = []
        going: list[_Track] = []
        looks = set(np.linspace(0, len(images) - 1, min(len(images), _LOOKS)).round().tolist())
        for now, image in enumerate(images):
            before, going = going, []
            for track in before:
                hand = self._read(image, track.hands[now - 1].next_region)
                if hand and not _taken(hand.next_region, going, now):
                    track.hands[now] = hand
                    going.append(track)
            if len(going) < MAX_HANDS and now in looks:
                found = self._found(image, going, now, wrists[now] if wrists else ())
                for track in found:
                    self._backward(images, track, now, [*tracks, *found])
                tracks += found
                going += found
        return _to_arrays(_join(tracks), len(images), images[0].size[1] if images else 1)

    def _found(
        self, image: Any, going: Sequence[_Track], now: int, wrists: Sequence[Region]
    ) -> list[_Track]:
        found: list[_Track] = []
        for look in (lambda: wrists, lambda: self._palms(image, _PALM)):
            if len(going) + len(found) >= MAX_HANDS:
                break
            for region in look():
                known = [*going, *found]
                if len(known) >= MAX_HANDS or _taken(region, known, now):
                    continue
                hand = self._read(image, region)
                if hand and not _taken(hand.next_region, known, now):
                    found.append(_Track({now: hand}))
        return found

    def _backward(
        self, images: Sequence[Any], track: _Track, start: int, others: Sequence[_Track]
    ) -> None:
        others = [other for other in others if other is not track]
        region = track.hands[start].next_region
        for now in range(start - 1, -1, -1):
            hand = None if _taken(region, others, now) else self._read(images[now], region)
            if hand is None or _taken(hand.next_region, others, now):
                return
            track.hands[now] = hand
            region = hand.next_region

    def _read(self, image: Any, region: Region) -> Hand | None:
        width, height = image.size
        inside = (
            -_OUTSIDE * width < region.x < (1 + _OUTSIDE) * width
            and -_OUTSIDE * height < region.y < (1 + _OUTSIDE) * height
        )
        if not inside or region.size < _SMALLEST:
            return None
        hand = self._landmarks(image, region)
        return hand if hand.score >= _HAND else None


@dataclass
class _Track:
    hands: dict[int, Hand] = field(default_factory=dict[int, Hand])

    def presence(self) -> float:
        sizes = [hand.next_region.size for hand in self.hands.values()]
        return len(sizes) * float(np.median(sizes))


def _taken(region: Region, tracks: Sequence[_Track], now: int) -> bool:
    return any(now in t.hands and region.near(t.hands[now].next_region) for t in tracks)


def _join(tracks: Sequence[_Track]) -> list[_Track]:
    """Join parts that follow each other closely; the two hands that are seen most."""
    joined: list[_Track] = []
    for track in sorted(tracks, key=lambda track: min(track.hands)):
        begin = min(track.hands)
        region = track.hands[begin].next_region
        for other in joined:
            end = max(other.hands)
            last = other.hands[end].next_region
            reach = _REACH * max(last.size, region.size)
            if 0 < begin - end <= _GAP and np.hypot(last.x - region.x, last.y - region.y) < reach:
                other.hands.update(track.hands)
                break
        else:
            joined.append(track)
    return sorted(joined, key=_Track.presence, reverse=True)[:MAX_HANDS]


def _to_arrays(tracks: Sequence[_Track], n_frames: int, height: int) -> HandTracks:
    points = np.zeros((len(tracks), n_frames, N_POINTS, 3), np.float32)
    score = np.zeros((len(tracks), n_frames), np.float32)
    right = np.zeros_like(score)
    for row, track in enumerate(tracks):
        for now, hand in track.hands.items():
            points[row, now], score[row, now] = hand.points, hand.score
            right[row, now] = hand.right
    points /= np.float32(height)
    return HandTracks(points, score, right)
