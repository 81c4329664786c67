from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.generators.descriptions.base import LabelRequest
from vlar.generators.descriptions.chat_describer import (
    ParsedDescriptions,
    labelled_objects,
    truncate,
)

from .conftest import WordLimit

KICK = LabelRequest("Kick", "kick", ("scene", "motion"))
WAVE = LabelRequest("wave_hand", "wave hand", ("scene", "motion"))
GOOD = {"scene": "A field with a ball.", "motion": "One leg swings forward fast."}


def read(content: str, *asked: LabelRequest, limit: WordLimit | None = None) -> ParsedDescriptions:
    found = ParsedDescriptions()
    found.add(content, asked or (KICK,), limit or WordLimit())
    return found


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"label": "kick", "descriptions": GOOD}),
        json.dumps([{"label": "KICK ", "descriptions": GOOD}]),
        json.dumps({"labels": [{"label": "Kick", "descriptions": GOOD}]}),
        json.dumps({"label": "kick", **GOOD}),
        json.dumps(
            {"label": "kick", "descriptions": [{"kind": k, "text": t} for k, t in GOOD.items()]}
        ),
        "Sure!\n```json\n"
        + json.dumps({"label": "kick", "descriptions": GOOD}, indent=2)
        + "\n```",
        '<think>{"label": "kick", "descriptions": {"scene": "A thought about it."}}</think>'
        + json.dumps({"label": "kick", "descriptions": GOOD}),
        "{ {{" + json.dumps({"label": "kick", "descriptions": GOOD}),
    ],
)
def test_an_answer_is_found_in_whatever_it_is_wrapped_in(content: str):
    found = read(content)
    assert found.texts == {("Kick", kind): text for kind, text in GOOD.items()}
    assert not found.fault_lines([KICK])


def test_what_was_complete_before_a_cut_is_kept():
    rows = [{"label": "kick", "descriptions": GOOD}]
    rows += [
        {"label": "wave hand", "descriptions": {"scene": "A room.", "motion": "An arm sways."}}
    ]
    whole = json.dumps({"labels": rows})
    found = read(whole[:-10], KICK, WAVE)
    assert len([label for label, _ in found.texts if label == "Kick"]) == len(GOOD)
    assert found.texts["wave_hand", "scene"] == "A room."
    assert found.fault_lines([KICK, WAVE]) == ['"wave hand", motion: is missing']


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ('{"label": "kick", "descriptions": {"scene": "A field. A ball and a', "A field."),
        ('{"row1": {"label": "kick", "descriptions": {"scene": "A field.", "mot', "A field."),
        ('{"row1": {"label": "kick", "descriptions": {"scene": "A field.", "motion": ', "A field."),
        ('{"row1": {"label": "kick", "descriptions": {"scene": "A \\"field\\".', 'A "field".'),
        ('{"label": "kick", "descriptions": {"scene": "A field.<|im_end|>user', "A field."),
        ('{"label": "kick", "descriptions": {"scene": "A field and a', None),
        ('{"label": "kick", "descriptions": {"scene": ]', None),
        ('{"label": "ki', None),
    ],
)
def test_whole_sentences_before_a_cut_are_kept(cut: str, kept: str | None):
    found = read(cut)
    assert found.texts.get(("Kick", "scene")) == kept


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is missing"),
        (["A list of texts."], "is missing"),
        (None, "is missing"),
        ("Kicking.", "only repeats the label"),
        ("A person performs the action kick.", "only repeats the label"),
        ("A man with [object] in hand.", "placeholder"),
        ("...", "has no words"),
        ("A field with a ball.", "is the same sentence"),
        ("word " * 60, "62 tokens; words reads the first 40"),
    ],
)
def test_a_text_that_cannot_be_used_is_named(text, fault: str):
    content = json.dumps(
        {"label": "kick", "descriptions": {"scene": "A field with a ball.", "motion": text}}
    )
    found = read(content)
    assert list(found.texts) == [("Kick", "scene")]
    (complaint,) = found.fault_lines([KICK])
    assert complaint.startswith('"kick", motion: ')
    assert fault in complaint
    assert fault in found.notes_of(KICK)[0]


def test_long_text_is_cut_at_a_sentence_and_said():
    first = "One leg swings forward fast."
    text = f"{first} {'And then it goes on ' * 9}. Far too long."
    found = read(json.dumps({"label": "kick", "descriptions": {"scene": text, "motion": text * 2}}))
    found.truncate_long([KICK], WordLimit())
    assert found.texts["Kick", "scene"] == first
    assert "scene was cut" in found.notes_of(KICK)[0]
    assert (
        truncate("One sentence that is far longer than eight words are.", WordLimit("w", 8)) == ""
    )


def test_a_second_answer_fills_gaps_and_changes_nothing_else():
    found = read(json.dumps({"label": "kick", "descriptions": {"scene": "A field."}}))
    found.add(
        json.dumps(
            {"label": "kick", "descriptions": {"scene": "Other.", "motion": "A leg swings."}}
        ),
        [KICK],
        WordLimit(),
    )
    assert [d.text for d in found.descriptions(KICK)] == ["A field.", "A leg swings."]
    assert not found.notes_of(KICK)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text() | json_values.map(json.dumps) | st.text('{}[]"\\:,label', max_size=60))
def test_no_answer_whatever_breaks_the_reader(content: str):
    found = read(content, KICK, WAVE)
    assert len(found.texts) + len(found.faults) == 4


@given(st.dictionaries(st.sampled_from(["scene", "motion", "x"]), json_values, max_size=3))
def test_whatever_a_label_gets_ends_as_a_text_or_as_a_fault(given_texts: dict):
    found = read(json.dumps({"label": "kick", "descriptions": given_texts}))
    assert set(found.texts) | set(found.faults) == {("Kick", "scene"), ("Kick", "motion")}
    assert not set(found.texts) & set(found.faults)
    for text in found.texts.values():
        assert text.strip() == text != ""
        text.encode()


def test_deeply_nested_and_endless_answers_end():
    assert list(labelled_objects('{"a":' * 30_000)) == []
    assert list(labelled_objects("{" * 200_000)) == []
