"""Words of motion find their entries, in any inflection, and name what they ask of whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UnknownNameError, UsageError
from vlar.language.clean import base_forms, gerund
from vlar.language.motion import verb_table
from vlar.language.motion.phrase_matching import content_words
from vlar.language.motion.second_person import mark_second_person
from vlar.language.motion.verb_table import VerbTable
from vlar.methods.clauses import verbs_in_text
from vlar.pose.attributes.base import attribute_names, hand_attribute_names, weight_vector

TABLE = VerbTable.packaged()


def weight(text: str, attribute: str) -> float:
    return float(TABLE.lookup(text).weights[attribute_names().index(attribute)])


def test_the_packaged_table_is_large_and_speaks_of_known_attributes():
    assert len(TABLE.entries) >= 600
    for entry in TABLE.entries:
        assert entry.weights.any(), entry.phrases
        assert np.abs(entry.weights).max() <= 1, entry.phrases


def test_every_phrase_finds_its_own_entry():
    lost = [
        phrase
        for number, entry in enumerate(TABLE.entries)
        for phrase in entry.phrases
        if " and " not in phrase and TABLE.matches(phrase) != [number]
    ]
    assert len(lost) <= 0.02 * sum(len(entry.phrases) for entry in TABLE.entries), lost


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("walking", "walk"), ("a man walks", "walk"), ("he ran", "run"),
        ("sitting down", "sit down"), ("she sat down on a chair", "sit down"),
        ("picking something up", "pick up"), ("doing a handstand", "handstand"),
        ("waves with both hands", "wave with both hands"), ("golf swing", "golf"),
    ],
)  # fmt: skip
def test_inflections_and_particles(text: str, phrase: str):
    meaning = TABLE.lookup(text)
    assert meaning.how == "table"
    assert meaning.phrases[0].startswith(phrase)


def test_a_text_is_looked_up_once_and_its_weights_stay():
    motion = TABLE.lookup("a man opens a door")
    assert TABLE.lookup("a man opens a door") is motion
    assert not motion.weights.flags.writeable
    number = TABLE.matches("a man opens a door")[0]
    assert TABLE.lookup("a man opens a door", without={number}).phrases != motion.phrases


def test_the_longest_phrase_decides():
    assert weight("sit down", "hip_down") > 0
    assert weight("stand up", "hip_down") < 0
    assert weight("sit", "hip_down") != weight("sit down", "hip_down")


def test_a_sentence_joins_its_parts():
    meaning = TABLE.lookup("raises both arms and jumps")
    assert len(meaning.phrases) == 2
    assert weight("raises both arms and jumps", "both_arms_up") > 0
    assert weight("raises both arms and jumps", "airborne") > 0


@pytest.mark.parametrize(
    ("plain", "changed", "attribute", "sign"),
    [
        ("walk", "walking backwards", "forward", -1),
        ("jump", "jumping on the spot", "travel", -1),
        ("wave flag", "waving a flag with both hands", "both_arms", 1),
        ("dance", "dancing slowly", "energy", -1),
        ("bow", "bowing again and again", "periodic", 1),
    ],
)
def test_other_words_change_a_verb(plain: str, changed: str, attribute: str, sign: int):
    assert sign * weight(changed, attribute) > 0
    assert sign * weight(changed, attribute) >= sign * weight(plain, attribute)


@given(st.text(max_size=40))
def test_any_text_has_a_meaning(text: str):
    meaning = TABLE.lookup(text)
    assert np.isfinite(meaning.weights).all()
    assert np.abs(meaning.weights).max() <= 1
    assert (meaning.how == "unknown") == (not meaning.weights.any())


def test_unknown_verbs_are_reported():
    meaning = TABLE.lookup("frobnicating")
    assert meaning.how == "unknown"
    assert meaning.to_dict() == {
        "text": "frobnicating",
        "how": "unknown",
        "phrases": [],
        "attributes": {},
    }


def toy_embed(texts: Sequence[str]) -> np.ndarray:
    """Stroll lies near walk, everything else is at a right angle to both."""
    axes = {"walk": (1.0, 0.0, 0.0), "stroll about": (0.9, 0.436, 0.0), "jump": (0.0, 1.0, 0.0)}
    return np.array([axes.get(text, (0.0, 0.0, 1.0)) for text in texts], np.float32)


def test_the_nearest_verb_stands_in():
    table = VerbTable("walk: travel+\njump: airborne+", toy_embed)
    meaning = table.lookup("stroll about")
    assert meaning.how == "nearest"
    assert meaning.phrases[0] == "walk"
    assert meaning.weights[attribute_names().index("travel")] > 0.9
    assert table.lookup("frobnicate").how == "unknown"
    assert table.lookup("walk", without=[0]).how == "unknown"


def test_a_malformed_table_is_refused():
    for line in [
        "walk travel+", "walk: travel", "walk: travel+ travel-", ": travel+", "walk: travel+x", "",
    ]:  # fmt: skip
        refused(UsageError, "", VerbTable, line)


def test_unknown_attributes_and_twins_are_refused():
    refused(UnknownNameError, "travel", VerbTable, "walk: travels+")
    refused(UsageError, "line 1", VerbTable, "walk: travel+\nwalk: fast+")
    refused(UsageError, "", weight_vector, {"travel": float("nan")})


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("hopping", "hop"), ("carries", "carry"), ("dancing", "dance"), ("threw", "throw"),
        ("lying", "lie"), ("kissed", "kiss"), ("passes", "pass"), ("boxer", "box"),
    ],
)  # fmt: skip
def test_base_forms(word: str, base: str):
    assert base in base_forms(word)


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


TABLE_HAND_VERBS = VerbTable.packaged(None, verb_table.hands())


def weight_hand_verbs(text: str, attribute: str) -> float:
    return float(TABLE_HAND_VERBS.lookup(text).weights[hand_attribute_names().index(attribute)])


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
    assert sign * weight_hand_verbs(text, attribute) > 0


@pytest.mark.parametrize(
    "text", ["doing push-ups", "throwing a discus", "walking", "a red car", "bending down"]
)
def test_texts_about_bodies_and_things_say_nothing(text: str):
    assert not TABLE_HAND_VERBS.lookup(text).weights.any()


def test_every_attribute_is_used_by_a_phrase():
    used = np.abs([entry.weights for entry in TABLE_HAND_VERBS.entries]).sum(axis=0)
    assert (used > 0).all()


def test_the_meaning_names_hand_attributes():
    found = TABLE_HAND_VERBS.lookup("holding something").to_dict()
    assert found["phrases"] == ["hold"]
    assert set(found["attributes"]) <= set(hand_attribute_names())


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


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [("sit", "sitting"), ("dance", "dancing"), ("tie", "tying"), ("row", "rowing"),
     ("box", "boxing"), ("play", "playing"), ("catch", "catching"), ("dye", "dyeing"),
     ("swim", "swimming"), ("jump", "jumping")],
)  # fmt: skip
def test_gerunds(verb: str, wanted: str):
    assert gerund(verb) == wanted


def test_verbs_are_found_in_any_form():
    found = verbs_in_text("A woman jumped while her friend was throwing the ball.")
    assert found == ("jump", "jumping", "throw", "throwing")
    assert verbs_in_text("a red ball on green grass") == ()
    assert verbs_in_text("") == ()
