"""Words that say little: other languages, negations and sensors are answered without a figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlar.language.unread import FEW_WORDS, foreign, unsure
from vlar.library.query.grammar import parse
from vlar.library.query.plan import remarks
from vlar.types import Classification, Prediction


@pytest.mark.parametrize(
    "text", ["faire une promenade", "ein Mann fällt hin", "骑自行车", "ездить на велосипеде"]
)
def test_another_language_is_told_by_letters_and_little_words(text: str):
    assert foreign(text)


@pytest.mark.parametrize("text", ["riding a bike", "tai chi", "YoYo", "salsa spin", "", "3 x 4"])
def test_english_and_names_are_read(text: str):
    assert not foreign(text)


def test_one_reason_stands_for_a_sensor_or_a_language_and_a_negation_for_its_label():
    labels = ["waving", "nobody is here"]
    assert unsure(labels, english=True, few_words=True) == {"": FEW_WORDS}
    assert unsure(["waving", "骑自行车"], english=False, few_words=False) == {}
    (words,) = unsure(["waving", "骑自行车"], english=True, few_words=False).values()
    assert words.startswith("unsure: the text encoder reads English")
    assert list(unsure(labels, english=True, few_words=False)) == ["nobody is here"]


def test_a_query_has_the_reason_as_a_remark():
    (words,) = remarks(parse('"waving" AND "ein Mann"'), english=True)
    assert words.startswith("unsure: the text encoder reads English")
    assert list(remarks(parse("waving"), few_words=True)) == [FEW_WORDS]
    assert list(remarks(parse("ein Mann"))) == []


def test_the_answer_has_no_figure():
    best = Prediction("waving", 0.54, 0.2), Prediction("running", 0.2, 0.1)
    row = Classification(
        Path("a.csv"), 0.0, 2.0, "imu", best, unknown=False, unknown_probability=0.2,
        verdict="unsure", notes=(FEW_WORDS, "another note"), body=0.9,
    )  # fmt: skip
    assert row.sentence() == row.sentence(several=True) == FEW_WORDS
    assert row.label is None
    assert "%" not in str(row)
    assert "body" not in str(row)
    assert str(row).count("note: ") == 1
    assert row.to_dict()["verdict"] == "unsure"
