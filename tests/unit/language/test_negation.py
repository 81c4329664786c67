"""Negations are recognised, and the commas of a sentence are kept or remarked on."""

from __future__ import annotations

import logging

import pytest

from vlar.errors import QueryError
from vlar.language.labels import parse_labels
from vlar.language.negation import affirmed
from vlar.library.query.plan import QueryRequest, make_plan


@pytest.mark.parametrize(
    ("text", "positive"),
    [
        ("nobody is fighting", "somebody is fighting"), ("No one dances", "somebody dances"),
        ("not running", "running"), ("no fight", "fight"), ("there are no people", "people"),
        ("a man is not running", "a man is running"),
        ("the dog isn't barking", "the dog is barking"), ("she does not wave", "she wave"),
    ],
)  # fmt: skip
def test_a_negation_has_a_positive(text: str, positive: str):
    assert affirmed(text) == positive


@pytest.mark.parametrize(
    "text",
    ["a knot", "noting something", "a crowd without violence", "notebook", "opening nothing"],
)
def test_other_texts_negate_nothing(text: str):
    assert affirmed(text) is None


def test_a_negation_alone_names_the_way_to_ask(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "vlar"):
        parse_labels("nobody fights alone")
    assert "ask for 'somebody fights alone'" in caplog.text


def test_a_reason_with_a_negation_is_a_label(caplog: pytest.LogCaptureFixture):
    text = "Moving [something] away because it does not fit"
    assert affirmed(text) is None
    assert affirmed("she does not wave because it does not fit") is not None
    with caplog.at_level(logging.WARNING, "vlar"):
        assert len(parse_labels([text])) == 1
    assert caplog.text == ""


def test_a_query_points_to_its_operator():
    with pytest.raises(QueryError, match='write: NOT "somebody is fighting"'):
        make_plan(QueryRequest("nobody is fighting", 3))
    assert make_plan(QueryRequest("no entry sign", 3)).plain
    assert not make_plan(QueryRequest('NOT "a fight"', 3)).plain


def test_a_negation_in_a_list_is_a_warning(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "vlar"):
        assert len(parse_labels("a fight seen once, no fight seen once")) == 2
    assert "leave it out" in caplog.text


def test_a_comma_inside_a_label_is_escaped():
    listed = parse_labels(r"a man\, sitting\, in a car, a dog")
    assert listed.labels == ("a man, sitting, in a car", "a dog")
    assert listed.notes == ()


def test_a_list_that_splits_a_sentence_is_remarked_on():
    (note,) = parse_labels("a man, sitting, in a car").notes
    assert "these are 3 labels" in note
    assert "'in a car'" in note
    assert r"\," in note


def test_a_list_of_labels_needs_no_remark():
    assert parse_labels("riding a bike, cooking, indoor climbing, online shopping").notes == ()
