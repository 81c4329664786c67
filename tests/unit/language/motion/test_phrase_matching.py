"""Which phrase of the table a text is read as: the rules, and many labels as people write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.language.motion.phrase_matching import content_words
from vlar.language.motion.verb_table import VerbTable
from vlar.pose.attributes.base import attribute_names

TABLE = VerbTable.packaged()


def weight(text: str, attribute: str) -> float:
    return float(TABLE.lookup(text).weights[attribute_names().index(attribute)])


def same(text: str, phrase: str) -> bool:
    """Whether a text is read as the one entry that holds a phrase."""
    held = [number for number, entry in enumerate(TABLE.entries) if phrase in entry.phrases]
    return len(held) == 1 and TABLE.matches(text) == held


# A noun that could be a verb, and the verb next to it.
_VERB_OF_SEVERAL = [
    ("dumpster diving", "dive"),
    ("drop kicking a ball", "kick ball"),
    ("box jump", "box jump"),
    ("box jumping", "box jump"),
    ("karate kick", "kick"),
    ("walking lunge", "lunge"),
    ("boxing uppercut", "uppercut"),
    ("autumn leaves falling", "fall"),
    ("fish swimming in a tank", "swim"),
    ("toddler falling", "fall"),
    ("using a power drill", "drill"),
    ("volleyball spike", "spike"),
    ("tennis backhand", "hit backhand"),
    ("table tennis shot", "play table tennis"),
    ("a throw", "throw"),
    ("hammer", "hammer"),
]
# Expressions, compounds, spellings.
_EXPRESSIONS = [
    ("clean and jerk", "clean and jerk"),
    ("clean_and_jerk", "clean and jerk"),
    ("CleanAndJerk", "clean and jerk"),
    ("throwing and catching", "throw and catch"),
    ("running after a dog", "run after"),
    ("haircut", "cut hair"),
    ("handwaving", "wave hand"),
    ("shotput", "put shot"),
    ("sky diving", "skydive"),
    ("back flips", "flip"),
    ("BaseballPitch", "pitch baseball"),
    ("walking_with_dog", "walk dog"),
    ("open (e.g. a window)", "open window"),
    ("guitar playing", "play guitar"),
]
# Particles, sides, numbers, places.
_SMALL_WORDS = [
    ("sit to stand", "stand up"),
    ("from standing to sitting", "sit down"),
    ("sitting down on the sofa", "sit down"),
    ("sitting on the sofa", "sit on sofa"),
    ("lying on the floor", "lie"),
    ("lying down on the bed", "lie down"),
    ("laying down", "lie down"),
    ("a man left the room", "leave"),
    ("stepping to the left", "step sideways"),
    ("falling off the bed", "fall"),
    ("standing with hands on hips", "put hands on hips"),
    ("waving two hands", "wave both hands"),
    ("two hand wave", "wave both hands"),
    ("waving with the left hand", "wave with one hand"),
    ("standing on the left leg", "stand on one leg"),
    ("jumping on the right foot", "hop on one foot"),
    ("raising both hands", "raise both arms"),
    ("left arm up", "raise hand"),
    ("jumping high", "jump"),
    ("high jump", "high jump"),
    ("walking on the knees", "walk on knees"),
    ("sit ups", "sit-up"),
    ("sit up in bed", "sit up"),
    ("pushing something so that it falls off the table", "push"),
    ("lifting a lid without letting it drop", "lift"),
]
# Common movements, in several wordings.
_MOVEMENTS = [
    ("field hockey penalty", "play hockey"),
    ("cricket shot", "play cricket stroke"),
    ("handstand push-ups", "handstand push-up"),
    ("jet skiing", "ride motorbike"),
    ("sword exercise", "swing sword"),
    ("a person is curling the arms", "curl weight"),
    ("bicep curls", "biceps curl"),
    ("a tennis serve", "serve"),
    ("someone hits a golf ball", "golf"),
    ("drawing a circle clockwise", "draw circle in air"),
    ("getting up from bed", "get up"),
    ("losing balance", "stagger"),
    ("having a headache", "touch head"),
    ("throwing up", "vomit"),
    ("baby crawling", "crawl"),
    ("going up the stairs", "climb stairs"),
    ("running up the stairs", "run up stairs"),
    ("chopping vegetables", "cut vegetable"),
]


@pytest.mark.parametrize(
    ("text", "phrase"), _VERB_OF_SEVERAL + _EXPRESSIONS + _SMALL_WORDS + _MOVEMENTS
)
def test_a_text_is_read_as_a_phrase(text: str, phrase: str):
    assert same(text, phrase), TABLE.lookup(text).phrases


@pytest.mark.parametrize(
    "text",
    ["ploughing a field", "boarding the plane", "a field of wheat", "voting at a ballot box"],
)
def test_a_thing_is_not_a_movement(text: str):
    assert TABLE.lookup(text).how == "unknown"


def test_either_of_two_movements_counts():
    assert TABLE.lookup("canoeing or kayaking").phrases == ("canoe", "kayak")


def near_all(texts: Sequence[str]) -> np.ndarray:
    """All phrases are near all texts, the longer ones nearer: the rules alone decide."""
    length = np.array([min(len(content_words(text)), 6) / 6 for text in texts])
    return np.stack([length, np.sqrt(1 - length**2)], axis=1).astype(np.float32)


NEAR = VerbTable.packaged(near_all)
_SIDES = ("both", "two", "one", "up", "down", "forward", "backward", "sideways", "fast", "feet")


@pytest.mark.parametrize(
    "text",
    [
        "hitting something with the right arm of a robot",
        "cricket shot of a famous player",
        "walking slowly through the old town",
        "falling to the side of the road",
        "marching in a parade of soldiers",
        "throwing the ball with the right arm",
    ],
)
def test_no_number_way_or_manner_is_added(text: str):
    said = set(content_words(text))
    for phrase in NEAR.lookup(text).phrases:
        added = set(content_words(phrase)) - said
        assert added.isdisjoint(_SIDES), phrase


_VERBS = ("walk", "kick", "throw", "wave", "jump", "push", "raise", "hit", "fall", "swing", "turn")
_WITH = ("with the left hand", "with both hands", "with one leg", "twice", "to the right", "")


@given(st.sampled_from(_VERBS), st.sampled_from(_WITH), st.sampled_from(("a box", "it", "")))
def test_a_reading_never_contradicts_a_count_or_side(verb: str, how: str, what: str):
    text = f"{verb} {what} {how}"
    for phrase in NEAR.lookup(text).phrases:
        words = set(content_words(phrase))
        if {"both", "two"} & words:
            assert "both" in how
        if {"one", "single"} & words:
            assert "both" not in how
            assert how
        assert not ({"left", "right"} & words) - set(how.split())


_BARE = ("walk", "kick", "climb", "hop", "juggle", "carry", "knit", "dance", "box", "skate")


def _gerund(verb: str) -> str:
    if verb.endswith("e"):
        return verb[:-1] + "ing"
    return verb + ("ping" if verb == "hop" else "ting" if verb == "knit" else "ing")


@given(
    st.sampled_from(_BARE),
    st.sampled_from(("{}", "a person is {}", "someone {} outside", "{} happily", "quietly {}")),
)
def test_inflections_and_adverbs_leave_the_phrase(verb: str, frame: str):
    assert TABLE.matches(frame.format(_gerund(verb))) == TABLE.matches(verb)


@pytest.mark.parametrize(
    ("text", "plain", "attribute", "sign"),
    [
        ("clapping while sitting on a chair", "clapping", "knee_bent", 1),
        ("waving while seated", "waving", "knee_bent", 1),
        ("clapping while standing", "clapping", "knee_bent", -1),
        ("clapping while lying on the bed", "clapping", "lying", 1),
        ("throwing on the knees", "throwing", "kneeling", 1),
        ("jumping with arms raised", "jumping", "both_arms_up", 1),
        ("clapping three times", "drinking", "periodic", 1),
        ("bowling (left arm)", "bowling", "both_arms", -1),
        ("walking, slowly", "walking", "energy", -1),
    ],
)
def test_what_the_body_does_meanwhile(text: str, plain: str, attribute: str, sign: int):
    assert sign * weight(text, attribute) > 0
    assert sign * weight(text, attribute) > sign * weight(plain, attribute) - 1e-6
    assert len(TABLE.matches(text)) == 1


@pytest.mark.parametrize("text", ["punching forward", "kicking forward", "leaning forward"])
def test_a_gesture_forward_goes_nowhere(text: str):
    assert weight(text, "travel") <= 0


def test_a_kick_with_one_foot_stays_as_high():
    assert weight("kicking with the left foot", "kick") >= weight("kicking", "kick")
