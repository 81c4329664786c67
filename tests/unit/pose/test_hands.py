"""Hand attributes read a drawn hand as it moves; the tracker follows what its networks find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.pose.hand_figure import ASPECT, TIME, DrawnHand, S, hands_of
from vlar.pose.attributes.base import hand_attributes, measure_hands
from vlar.pose.hand_networks import (
    Hand,
    HandLandmarks,
    HandTracker,
    HandTracks,
    PalmDetector,
    wrist_region,
)
from vlar.pose.networks import Crop, anchors, to_image

STILL = DrawnHand()
FIST = DrawnHand(stretch=0.0)
MOVES = DrawnHand(x=0.3 + 0.6 * TIME, y=0.7 - 0.2 * TIME)


def value(name: str, *hands: DrawnHand, **others: Any) -> float:
    row = next(row for row in hand_attributes() if row.name == name)
    motion = hands_of(*hands, **others)
    assert motion is not None
    return row.measure(motion)[0]


def test_every_hand_attribute_is_complete():
    for column, row in enumerate(hand_attributes()):
        assert row.column == column
        assert row.unit
        assert row.width > 0
        assert -1 <= row.mean <= 1
        assert "+" in row.meaning, row.name


def test_a_flat_hand_and_a_fist():
    assert value("fingers_open", STILL) > 1.7
    assert value("fingers_open", FIST) < 1.2


def test_a_hand_that_opens_closes_when_time_is_reversed():
    opens = value("hand_opens", DrawnHand(stretch=TIME))
    assert opens > 0.5
    assert value("hand_opens", DrawnHand(stretch=TIME[::-1])) == pytest.approx(-opens)
    assert value("fingers_move", DrawnHand(stretch=TIME)) > 0.2 > value("fingers_move", STILL)


def test_pinching_and_pointing():
    assert value("pinches", DrawnHand(pinch=1.0)) == 1.0
    assert value("pinches", STILL) == 0.0
    assert value("points", DrawnHand(stretch=0.0, index=1.0)) == 1.0
    assert value("points", STILL) == value("points", FIST) == 0.0


def test_a_hand_turns_over():
    assert value("turns_over", DrawnHand(turn=np.cos(np.pi * TIME))) > 1.5
    assert value("turns_over", STILL) == 0.0
    assert value("palm_seen", STILL, right=1.0) == -value("palm_seen", STILL, right=0.0) != 0


def test_left_and_right_change_places_in_the_mirror():
    assert value("hand_right", MOVES) == pytest.approx(0.55, abs=0.1)
    assert value("hand_right", MOVES.mirrored()) == pytest.approx(-value("hand_right", MOVES))
    for name in ("hand_up", "hand_path", "fingers_open", "hand_near"):
        assert value(name, MOVES.mirrored()) == pytest.approx(value(name, MOVES), abs=1e-6)
    # The network tells the other hand in the mirror image, so the side that is seen is the same.
    assert value("palm_seen", MOVES.mirrored(), right=0.0) == value("palm_seen", MOVES, right=1.0)


def test_paths_straight_round_and_to_and_fro():
    turn = 2 * np.pi * TIME
    circle = DrawnHand(x=0.6 + 0.2 * np.cos(turn), y=0.6 + 0.2 * np.sin(turn))
    fro = DrawnHand(x=0.6 + 0.2 * np.sin(2 * turn))
    assert value("hand_turns", circle) > 0.6 > 0.2 > value("hand_turns", MOVES)
    assert value("hand_returns", fro) > 0.7 > 0.2 > value("hand_returns", MOVES)
    assert value("hand_path", STILL) == 0.0


def test_coming_and_going():
    late, early = np.arange(S) >= 4, np.arange(S) < 8
    assert value("hand_enters", replace(STILL, seen=late)) == pytest.approx(4 / S)
    assert value("hand_leaves", replace(STILL, seen=early)) == pytest.approx(4 / S)
    assert value("hand_seen", replace(STILL, seen=early)) == pytest.approx(8 / S)


def test_two_hands_meet_and_part():
    left, right = DrawnHand(x=0.2 + 0.25 * TIME), DrawnHand(x=1.0 - 0.25 * TIME)
    assert value("both_hands", left, right) == 1.0
    assert value("hands_part", left, right) < -1
    assert value("hands_together", DrawnHand(x=0.5), DrawnHand(x=0.65)) == 1.0
    assert value("hands_together", DrawnHand(x=0.2), DrawnHand(x=1.1)) == 0.0
    assert value("both_hands", STILL) == 0.0


def test_what_the_hand_leaves_behind():
    before, after = np.full((8, 8, 3), 0.5), np.full((8, 8, 3), 0.5)
    after[2:5, 2:5] = 1.0  # around the finger tips
    scene = before + (TIME > 0.5)[:, None, None, None] * (after - before)
    assert value("place_changes", STILL, scene=scene) > 0.1
    assert value("place_changes", STILL, scene=scene[:1]) == 0.0
    assert value("grasp_changes", STILL, scene=scene) > 0.1 > value("grasp_changes", STILL)


def face_at(mouth: tuple[float, float]) -> np.ndarray:
    """(S, 4, 2) mouth, eyes, ear, nose of an upright face."""
    away = np.array([(0.0, 0.0), (0.0, -0.25), (0.25, -0.15), (0.0, -0.12)])
    return np.broadcast_to(np.array(mouth) + away, (S, 4, 2)).copy()


def test_a_hand_at_the_face():
    tip = tuple(STILL.points()[0, 8, :2])
    at_mouth = face_at(tip)
    assert value("hand_mouth", STILL, face=at_mouth) == 1.0
    assert value("hand_ear", STILL, face=at_mouth) == 0.0
    below = face_at((tip[0], tip[1] - 0.6))
    assert value("hand_mouth", STILL, face=below) == 0.0
    assert value("hand_face", STILL, face=below) < value("hand_face", STILL, face=at_mouth)
    on_hand = np.broadcast_to(np.array(tip), (S, 4, 2)).copy()  # a face that is a mistake
    row = next(row for row in hand_attributes() if row.name == "hand_mouth")
    motion = hands_of(STILL, face=on_hand)
    assert motion is not None
    assert row.measure(motion) == (0.0, 0.0)


def test_without_hands_everything_is_silent():
    assert hands_of(replace(STILL, seen=False)) is None
    assert hands_of(replace(STILL, seen=np.arange(S) == 3)) is None  # one frame is not a movement
    silent = measure_hands(None)
    assert silent.visible == 0
    assert not silent.trust.any()
    assert not silent.centred().any()


def test_small_hands_count_less():
    assert measure_hands(hands_of(STILL)).visible == 1
    assert measure_hands(hands_of(replace(STILL, length=0.04))).visible == 0


# The networks


class Fixed:
    """A network with given outputs."""

    def __init__(self, *outputs: np.ndarray) -> None:
        self.outputs = outputs
        self.pixels = np.zeros(0)

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.pixels = feeds["image"]
        return [output[None] for output in self.outputs[: len(names)]]


def test_a_palm_becomes_a_region_of_the_hand_along_its_direction():
    places = anchors(192, ((8, 2), (16, 6)))
    assert len(places) == 2016
    at = int(np.abs(places - 0.5).sum(axis=1).argmin())
    boxes, logits = np.zeros((2016, 18), np.float32), np.full((2016, 1), -10, np.float32)
    logits[at] = 5
    boxes[at, 2:4] = 48  # a quarter of the picture
    boxes[at, 4:6], boxes[at, 8:10] = (-20, 0), (20, 0)  # from the wrist on the left to the right
    find = PalmDetector(Fixed(boxes, logits))  # type: ignore[arg-type]
    image = to_image(np.zeros((200, 400, 3), np.uint8))
    (region,) = find(image, 0.5)
    side = 48 / 192 * 400
    centre = places[at] * 400 - (0, 100)  # the square around the picture begins 100 pixels above
    assert region.angle == pytest.approx(np.pi / 2)
    assert region.size == pytest.approx(2.6 * side)
    assert (region.x, region.y) == pytest.approx((centre[0] + side / 2, centre[1]), abs=1e-3)
    assert find(image, 0.999) == []


def test_points_of_a_turned_crop_lie_where_they_are_in_the_picture():
    rows = np.zeros((21, 3), np.float32)
    rows[:, :2] = DrawnHand().points()[0, :, :2] * 224
    raw = Fixed(rows.ravel(), np.array([0.9], np.float32), np.array([0.2], np.float32))
    read = HandLandmarks(raw)  # type: ignore[arg-type]
    image = to_image(np.zeros((300, 300, 3), np.uint8))
    upright = read(image, Crop(112, 112, 224, 0.0))
    np.testing.assert_allclose(upright.points[:, :2], rows[:, :2], atol=0.6)
    assert (upright.score, upright.right) == pytest.approx((0.9, 0.2))
    assert upright.next_region.angle == pytest.approx(0, abs=0.15)
    turned = read(image, Crop(150, 150, 112, np.pi / 2))
    ahead = turned.points[9, :2] - turned.points[0, :2]
    assert ahead[0] > 0 == pytest.approx(ahead[1], abs=3)  # up in the crop is right in the picture
    assert turned.next_region.angle == pytest.approx(upright.next_region.angle + np.pi / 2)
    assert raw.pixels.shape == (1, 224, 224, 3)


def test_the_region_at_a_wrist_reaches_over_the_hand():
    region = wrist_region(np.array([100.0, 100.0]), np.array([100.0, 80.0]))
    assert region.angle == pytest.approx(0)
    assert region.size >= 60
    assert (region.x, region.y) == (100, 80)


# The tracker, with networks that find the brightest spot


def spot(image: Any) -> tuple[float, float] | None:
    pixels = np.asarray(image)[..., 0]
    if pixels.max() < 200:
        return None
    y, x = np.unravel_index(int(pixels.argmax()), pixels.shape)
    return float(x), float(y)


class Palms:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Any, threshold: float) -> list[Crop]:
        self.calls += 1
        found = spot(image)
        return [] if found is None else [Crop(*found, 60.0, 0.0)]


def landmarks(image: Any, region: Crop) -> Hand:
    found = spot(image)
    near = found is not None and np.hypot(found[0] - region.x, found[1] - region.y) < 40
    points = np.zeros((21, 3), np.float32)
    points[:, :2] = found if found and near else 0
    ahead = Crop(*found, 60.0, 0.0) if found and near else region
    return Hand(points, 0.9 if near else 0.1, 1.0, ahead)


def clip(xs: list[int | None]) -> list[np.ndarray]:
    frames = []
    for x in xs:
        frame = np.zeros((100, 200, 3), np.uint8)
        if x is not None:
            frame[50, x] = 255
        frames.append(frame)
    return frames


def track(xs: list[int | None]) -> tuple[HandTracks, int]:
    palms = Palms()
    return HandTracker(palms, landmarks)(clip(xs)), palms.calls  # type: ignore[arg-type]


def test_a_hand_is_followed_forwards_and_backwards():
    tracks, _ = track([20 + 8 * now for now in range(16)])
    assert tracks.score.shape == (1, 16)
    assert (tracks.score > 0).all()
    np.testing.assert_allclose(tracks.points[0, :, 0, 0], np.arange(20, 148, 8) / 100, atol=1e-6)


def test_a_hand_that_comes_and_goes_is_known_only_while_it_is_there():
    there = [None, None, None, *range(60, 100, 10), None, None, None, None, None]
    tracks, _ = track(there)
    assert (tracks.score[0] > 0).tolist() == [x is not None for x in there]


def test_hidden_hands_leave_nothing_and_cost_eight_looks():
    tracks, calls = track([None] * 12)
    assert tracks.score.shape == (0, 12)
    assert calls == 8


def test_wrists_of_a_body_are_tried_before_palms():
    palms = Palms()
    frames = clip([80] * 4)
    wrists = [[Crop(82.0, 50.0, 60.0, 0.0)]] * 4
    tracks = HandTracker(palms, landmarks)(frames, wrists)  # type: ignore[arg-type]
    assert (tracks.score > 0).all()
    assert ASPECT > 1
