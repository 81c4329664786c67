"""Words for the other person: who acts is not who is acted on."""

from __future__ import annotations

import numpy as np
import pytest

from vlar.language.motion.modifiers import mark_second_person
from vlar.language.motion.verb_table import VerbTable
from vlar.pose.attributes.base import attribute_names

TABLE = VerbTable.packaged()


def weight(text: str, attribute: str) -> float:
    return float(TABLE.lookup(text).weights[attribute_names().index(attribute)])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a person kicking another person", "a person kicking someone"),
        ("young man punching an old man", "young man punching an old someone"),
        ("two people wave at each other", "people wave at eachother someone"),
        ("one person throws a ball to the other", "person throws a ball to the someone"),
        ("helping a child", "helping a child someone"),
        ("a boy kicks a ball", "a boy kicks a ball"),
        ("a video of a person walking", "a video of a person walking"),
        ("lifting one hand then the other", "lifting one hand then the other"),
        ("someone", "person"),
    ],
)
def test_who_acts_and_who_is_acted_on(text: str, found: str):
    assert " ".join(mark_second_person(text.split())) == found


@pytest.mark.parametrize("verb", ["punching", "kicking", "pushing", "pointing at", "waving at"])
def test_a_verb_done_to_someone_is_another_one(verb: str):
    alone, done = TABLE.lookup(verb).weights, TABLE.lookup(f"{verb} someone").weights
    cosine = alone @ done / np.linalg.norm(alone) / np.linalg.norm(done)
    assert cosine < 0.85
    assert weight(f"{verb} a person", "two_people") > 0.8
    assert weight(f"{verb} something", "two_people") <= 0.7


LISTS = """
shaking hands, hugging, kicking a person, pointing at someone, punching someone, pushing someone

approaching each other, departing, pushing someone, kicking someone, punching someone,
exchanging objects, hugging, shaking hands

walking towards each other, walking apart from each other, following someone, walking together,
supporting someone walking, carrying an object together, knocking someone over

high five, patting someone on the back, whispering in someone's ear, touching someone's pocket,
rock paper scissors, slapping someone, kissing, arm wrestling, taking a photo of someone

hug, kiss, shake hands, punch, kick, push, fencing, sword fight, dance together, talk, wave
"""


@pytest.mark.parametrize("labels", LISTS.strip().split("\n\n"))
def test_labels_of_one_list_are_apart(labels: str):
    meanings = [TABLE.lookup(label.strip()) for label in labels.split(",")]
    assert {meaning.how for meaning in meanings} == {"table"}
    rows = np.stack([meaning.weights for meaning in meanings])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.triu(rows @ rows.T, 1).max() < 0.8


def test_texts_of_two_people_say_so_in_the_same_measure():
    two = attribute_names().index("two_people")
    for text in ("hugging", "approaching each other", "rock paper scissors", "two people jump"):
        weights = TABLE.lookup(text).weights
        assert weights[two] / np.linalg.norm(weights) == pytest.approx(0.371, abs=0.002)


def test_both_and_one_of_two():
    assert weight("two people clap", "both_act") > 0
    assert weight("one person claps while the other stands", "both_act") < 0
    assert weight("clapping", "both_act") == 0
