"""Words about motion find their entries, in any inflection, and say what they do not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import UnknownNameError, UsageError
from vlar.language.clean import base_forms
from vlar.language.motion.verb_table import VerbTable
from vlar.pose.attributes.base import attribute_names, weight_vector

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
        ("walking", "walk"),
        ("a man walks", "walk"),
        ("he ran", "run"),
        ("sitting down", "sit down"),
        ("she sat down on a chair", "sit down"),
        ("picking something up", "pick up"),
        ("doing a handstand", "handstand"),
        ("waves with both hands", "wave with both hands"),
        ("golf swing", "golf"),
    ],
)
def test_inflections_and_particles(text: str, phrase: str):
    meaning = TABLE.lookup(text)
    assert meaning.how == "table"
    assert meaning.phrases[0].startswith(phrase)


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


@pytest.mark.parametrize(
    "line",
    ["walk travel+", "walk: travel", "walk: travel+ travel-", ": travel+", "walk: travel+x", ""],
)
def test_a_malformed_table_is_refused(line: str):
    with pytest.raises(UsageError):
        VerbTable(line)


def test_unknown_attributes_and_twins_are_refused():
    with pytest.raises(UnknownNameError, match="travel"):
        VerbTable("walk: travels+")
    with pytest.raises(UsageError, match="line 1"):
        VerbTable("walk: travel+\nwalk: fast+")
    with pytest.raises(UsageError):
        weight_vector({"travel": float("nan")})


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("hopping", "hop"),
        ("carries", "carry"),
        ("dancing", "dance"),
        ("threw", "throw"),
        ("lying", "lie"),
        ("kissed", "kiss"),
        ("passes", "pass"),
        ("boxer", "box"),
    ],
)
def test_base_forms(word: str, base: str):
    assert base in base_forms(word)
