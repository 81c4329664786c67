"""Phrases that point at one person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.language.referring import COLOURS, POSITIONS, SIZES, Reference, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("the person on the left", Reference("left")),
        ("the person in the middle", Reference("middle")),
        ("the rightmost person", Reference("right")),
        ("the man in the red jacket", Reference(None, "man", colour="red")),
        ("the guy in the dark blue shirt on the right", Reference("right", "guy", colour="blue")),
        ("in dark clothes", Reference(colour="black")),
        ("person 2", Reference(number=2)),
        ("the second person from the right", Reference("right", number=2)),
        ("person two", Reference(number=2)),
        ("the last person", Reference(number=-1)),
        ("the tallest woman", Reference(None, "woman", size="largest")),
        ("the dog", Reference(None, "dog")),
        ("a red car", Reference(None, "car", colour="red")),
        ("the person with the blue bag", Reference(rest="blue bag")),
        ("the woman holding a bat", Reference(None, "woman", "holding bat")),
    ],
)
def test_phrases_are_read(text: str, wanted: Reference):
    assert parse(text) == wanted


def test_position_noun_and_rest_come_first():
    found = parse("the woman on the left holding a cup")
    assert (found.position, found.noun, found.rest) == ("left", "woman", "holding cup")


def test_what_means_nobody_is_refused():
    for text, reason in [
        ("", "names nobody"),
        ("the", "names nobody"),
        ("the person on the left and right", "several positions"),
        ("person 1 and person 2", "several numbers"),
        ("person 0", "counted from 1"),
        ("person " * 100, "letters"),
    ]:
        refused(UsageError, reason, parse, text)


REFERENCES = st.builds(
    Reference,
    position=st.none() | st.sampled_from(POSITIONS),
    noun=st.sampled_from(["person", "man", "dog", "drone"]),
    rest=st.lists(st.sampled_from(["holding", "bat", "hat", "umbrella"]), max_size=3).map(" ".join),
    colour=st.none() | st.sampled_from(COLOURS),
    number=st.none() | st.just(-1) | st.integers(1, 10_000),
    size=st.none() | st.sampled_from(SIZES),
)


@given(REFERENCES)
def test_a_reference_as_text_reads_as_itself(reference: Reference):
    assert parse(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_gives_a_reference_or_a_usage_error(text: str):
    try:
        found = parse(text)
    except UsageError:
        return
    assert found.noun
