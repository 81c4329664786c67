"""Which of several people a reference means, and the colours of their clothes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.people.made import TIMES_S, T, track
from vlar.errors import PersonError
from vlar.language.referring import COLOURS, parse
from vlar.people import people
from vlar.people.subject_selection import choose, from_left

ROW = [track(20, tall=40), track(80, tall=60, y=70), track(140, tall=30, y=50)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("the person on the left", 0),
        ("the person in the middle", 1),
        ("the person on the right", 2),
        ("person 2", 1),
        ("the third person", 2),
        ("the second person from the right", 1),
        ("the last person", 2),
        ("the largest person", 1),
        ("the smallest person", 2),
        ("the person in front", 1),
        ("the person in the back", 2),
    ],
)
def test_people_are_picked_by_the_order_of_their_boxes(text: str, place: int):
    found = choose(ROW, parse(text))
    assert found.place == place
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights[place] > 0.9


def test_from_left_orders_by_the_middle():
    assert [float(t.centres[0, 0]) for t in from_left(ROW[::-1])] == [20, 80, 140]


def test_one_person_is_taken_with_a_note():
    found = choose(ROW[:1], parse("the person on the left"))
    assert found.place == 0
    assert "one is found" in found.note


def test_a_number_beyond_the_people_is_an_error():
    with pytest.raises(PersonError, match="3 people are found"):
        choose(ROW, parse("person 4"))
    assert choose([track(20 * n) for n in range(40)], parse("person 40")).place == 39


def test_a_plain_noun_names_the_first_with_a_note():
    found = choose(ROW, parse("the person"))
    assert found.place == 0
    assert "tells none apart" in found.note


def only(name: str) -> np.ndarray:
    return np.array([0.9 if colour == name else 0.01 for colour in COLOURS], np.float32)


def test_a_colour_counts_more_than_a_place_and_both_count():
    worn = [only("red"), only("blue"), only("red")]
    assert choose(ROW, parse("the person in blue"), worn).place == 1
    assert choose(ROW, parse("the person in red on the right"), worn).place == 2
    assert choose(ROW, parse("the person in blue on the left"), worn).place == 1
    nobody = choose(ROW, parse("the person in green"), worn)
    assert "nobody is clearly in green" in nobody.note


def test_words_count_where_an_encoder_compares_them():
    found = choose(ROW, parse("the person holding a bat"), likeness=np.array([0.0, 5.0, 1.0]))
    assert found.place == 1


@pytest.mark.parametrize(
    ("pixel", "name"),
    [
        ((10, 10, 12), "black"),
        ((240, 240, 238), "white"),
        ((120, 120, 122), "grey"),
        ((200, 30, 40), "red"),
        ((120, 25, 30), "red"),
        ((240, 130, 30), "orange"),
        ((240, 220, 40), "yellow"),
        ((40, 140, 50), "green"),
        ((30, 60, 170), "blue"),
        ((120, 50, 150), "purple"),
        ((240, 130, 180), "pink"),
        ((110, 75, 40), "brown"),
    ],
)
def test_plain_colours_have_their_names(pixel: tuple[int, int, int], name: str):
    row = people.named(np.array([pixel], np.uint8))[0]
    assert COLOURS[int(row.argmax())] == name
    assert row.sum() == pytest.approx(1)


def test_clothes_are_measured_on_the_trunk_not_around_it():
    frames = np.full((T, 120, 160, 3), (40, 140, 50), np.uint8)  # a lawn
    worn = track(80, tall=60, wide=30)
    frames[:, 30:40, 70:90] = (220, 180, 150)  # a face
    frames[:, 40:64, 65:95] = (200, 30, 40)  # a shirt
    frames[:, 64:90, 65:95] = (20, 20, 25)  # trousers
    share = people.shares(frames, TIMES_S, worn)
    assert COLOURS[int(share.argmax())] == "red"
    assert share.sum() == pytest.approx(1, abs=1e-5)
    joints = np.zeros((T, 33, 3), np.float32)
    joints[..., 2] = 1
    joints[:, 11, :2], joints[:, 12, :2] = (92, 42), (68, 42)
    joints[:, 23, :2], joints[:, 24, :2] = (88, 62), (72, 62)
    joints[:, 25, :2], joints[:, 26, :2] = (88, 80), (72, 80)
    from dataclasses import replace

    share = people.shares(frames, TIMES_S, replace(worn, joints=joints))
    assert COLOURS[int(share.argmax())] == "red"
    assert share[COLOURS.index("black")] > 0.1  # the trousers count too
    assert share[COLOURS.index("green")] < 0.05
