"""Questions: letters, rotations, what cannot be asked; and how answers are read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.generators.opinions.question import LETTERS, Question, distinct, normalised, parse_answer

NAMES = ("open", "close", "drawer", "door", "a", "an", "the", "cup", "hand", "jump", "B", "up", "C")
WORDS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(" ".join)
OPTIONS = st.lists(WORDS, min_size=2, max_size=26, unique_by=normalised)


@given(OPTIONS, st.integers(0, 25))
def test_rotations_put_each_option_once_in_each_place(options: list[str], truth: int):
    question = Question(tuple(options), tuple(range(len(options))), truth % len(options))
    rotations = [question.rotated(shift) for shift in range(len(options))]
    for place in range(len(options)):
        assert {turned.options[place] for turned in rotations} == set(options)
    for shift, turned in enumerate(rotations):
        assert turned.truth is not None
        assert turned.options[turned.truth] == options[truth % len(options)]
        assert turned.options[0] == options[shift]
        assert turned.columns[0] == shift
    assert question.rotated(len(options)) == question


def test_what_cannot_be_asked_is_refused():
    for options, message in [
        (("run",), "1 options"),
        (tuple(f"label {n}" for n in range(27)), "27 options"),
        (("run", "Run!"), "'Run!' comes twice"),
        (("run", " ?"), "option 2 has no word"),
    ]:
        refused(UsageError, message.replace("?", r"\?"), Question, options)


def test_the_text_names_pictures_and_length():
    question = Question(("run", "walk"))
    text = question.text(n_pictures=8, duration_s=2.5)
    assert "8 pictures of one clip of 2.5 seconds" in text
    assert "A. run, B. walk" in text
    assert "pictures" not in question.text()


def test_equal_texts_are_one_option():
    assert distinct(["Wave", "run", "wave.", ""]) == [0, 1]


FORMS = (
    "{letter}. {text}",
    "{letter}. {text}.",
    "({letter}) {text}",
    "{letter}",
    "{letter}.",
    "**{letter}**",
    "{letter}: {text}",
    "The clip shows somebody.\n{letter}. {text}",
    "Answer: {letter}",
    "The answer is {letter}. {text}",
)


@settings(max_examples=150)
@given(OPTIONS, st.data())
def test_every_form_of_an_answer_is_read_as_the_option_it_means(
    options: list[str], data: st.DataObject
):
    place = data.draw(st.integers(0, len(options) - 1))
    form = data.draw(st.sampled_from(FORMS))
    written = form.format(letter=LETTERS[place], text=options[place])
    assert parse_answer(written, options) == place, written


@given(OPTIONS, st.data())
def test_the_text_alone_is_read(options: list[str], data: st.DataObject):
    place = data.draw(st.integers(0, len(options) - 1))
    if len(normalised(options[place])) > 1:  # a single letter is a letter
        assert parse_answer(options[place].upper() + ".", options) == place


@given(st.text(max_size=200), OPTIONS)
def test_any_text_gives_a_place_or_nothing(text: str, options: list[str]):
    found = parse_answer(text, options)
    assert found is None or 0 <= found < len(options)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "I cannot help with that.",
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "A man opens a door",  # an article is not a letter
        "Z. flying",
        "It is either open drawer or close drawer.",
        "lorem ipsum " * 3000,
    ],
)
def test_what_names_no_option_is_not_guessed_at(text: str):
    assert parse_answer(text, ["open drawer", "close drawer", "wash hands"]) is None


def test_the_last_answer_counts_where_a_model_thinks_aloud():
    options = ["open drawer", "close drawer"]
    assert parse_answer("A. open drawer? No, it moves back.\nB. close drawer", options) == 1


def test_the_longer_option_is_meant_where_it_holds_a_shorter_one():
    assert parse_answer("she is throwing a ball", ["throwing", "throwing a ball", "running"]) == 1
