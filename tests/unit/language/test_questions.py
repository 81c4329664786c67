"""Questions and requests become captions; other texts stay as they are."""

from __future__ import annotations

import pytest

from vlar.language.questions import caption_of


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("where does he fall?", "a man falls"), ("when do they shake hands", "people shake hands"),
        ("Who is riding a bike?", "a person is riding a bike"),
        ("is anyone swimming?", "a person is swimming"),
        ("where is my cat", "a cat"), ("Where did the old man sit down?", "an old man sits down"),
        ("show me clips of a dog", "a dog"), ("can you find where he jumps?", "a man jumps"),
        ("is there a horse?", "a horse"), ("does it rain?", "it rains"),
        ("does she cut the bread?", "a woman cuts the bread"),
    ],
)  # fmt: skip
def test_a_question_has_a_caption(text: str, caption: str):
    assert caption_of(text) == caption


@pytest.mark.parametrize(
    "text",
    ["riding a bike", "do sit ups", "can opener", "what is the man doing?", "seesaw", "", "?"],
)
def test_other_texts_have_none(text: str):
    assert caption_of(text) is None
