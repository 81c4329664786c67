"""The table of hands: words to hand attributes, silent where a text is about bodies."""

from __future__ import annotations

import numpy as np
import pytest

from vlar.language.motion import verb_table
from vlar.language.motion.verb_table import VerbTable
from vlar.pose.attributes.base import hand_attribute_names

TABLE = VerbTable.packaged(None, verb_table.hands())


def weight(text: str, attribute: str) -> float:
    return float(TABLE.lookup(text).weights[hand_attribute_names().index(attribute)])


@pytest.mark.parametrize(
    ("text", "attribute", "sign"),
    [
        ("holding something", "hand_path", -1),
        ("picking something up", "hand_up", 1),
        ("dropping something into something", "hand_opens", 1),
        ("clenching a fist", "hand_opens", -1),
        ("tearing something into two pieces", "hands_part", 1),
        ("pointing a finger", "points", 1),
        ("drawing a circle in the air with a finger", "hand_turns", 1),
        ("swiping left", "hand_right", -1),
        ("pushing something from left to right", "hand_right", 1),
        ("pulling something from right to left", "hand_right", -1),
        ("moving something up", "hand_up", 1),
        ("moving something down", "hand_up", -1),
        ("brushing teeth", "hand_mouth", 1),
        ("talking on the phone", "hand_ear", 1),
        ("holding something with both hands", "both_hands", 1),
        ("moving something closer to the camera", "hand_nears", 1),
    ],
)
def test_words_have_the_meaning_of_their_movement(text: str, attribute: str, sign: int):
    assert sign * weight(text, attribute) > 0


@pytest.mark.parametrize(
    "text", ["doing push-ups", "throwing a discus", "walking", "a red car", "bending down"]
)
def test_texts_about_bodies_and_things_say_nothing(text: str):
    assert not TABLE.lookup(text).weights.any()


def test_every_attribute_is_used_by_a_phrase():
    used = np.abs([entry.weights for entry in TABLE.entries]).sum(axis=0)
    assert (used > 0).all()


def test_the_meaning_names_hand_attributes():
    found = TABLE.lookup("holding something").to_dict()
    assert found["phrases"] == ["hold"]
    assert set(found["attributes"]) <= set(hand_attribute_names())
