"""Descriptions of labels, and the units that they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.errors import LabelError
from vlar.generators.descriptions.base import write_units
from vlar.language.bank import load_bank
from vlar.language.descriptions import descriptions_of, load_descriptions
from vlar.language.labels import parse_labels
from vlar.methods.clauses import verb_of
from vlar.methods.semantic_units import Unit, extract_units, units_named, units_of_bank

TEXTS = {"archery": ["A man draws a bow.", "An arrow flies."], "surfing": ["A wave breaks."]}


FORMS = {
    "set.json": json.dumps(TEXTS),
    "set.jsonl": "".join(
        json.dumps({"label": label, "description": text}) + "\n"
        for label, texts in TEXTS.items()
        for text in texts
    ),
    "lists.jsonl": "\n".join(json.dumps({"label": k, "text": v}) for k, v in TEXTS.items()),
    "set.csv": "label,description\narchery,A man draws a bow.\narchery,An arrow flies.\n"
    "surfing,A wave breaks.\n",
    "set.tsv": "label\tcaption\narchery\tA man draws a bow.\narchery\tAn arrow flies.\n"
    "surfing\tA wave breaks.\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read_as_a_bank(name: str, tmp_path: Path):
    (tmp_path / name).write_text(FORMS[name])
    bank = load_descriptions(tmp_path / name)
    assert {entry.label: list(entry.describe("sentence")) for entry in bank.entries} == TEXTS
    listed = parse_labels(f"bank:{tmp_path / name}")
    assert listed.labels == ("archery", "surfing")
    assert len(listed.entries[0].descriptions) == 2


def test_a_label_file_may_be_such_a_set(tmp_path: Path):
    (tmp_path / "set.json").write_text(FORMS["set.json"])
    assert parse_labels(str(tmp_path / "set.json")).labels == ("archery", "surfing")


def test_banks_stay_banks():
    assert load_descriptions("ucf101").name == "ucf101"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"description": "x"}', "line 1: no object with 'label'"),
        ("a.jsonl", '{"label": "", "text": "x"}', "without a label"),
        ("a.jsonl", '{"label": "run"}', "'run' has no description"),
        ("a.jsonl", "{", "not valid JSON"),
        ("a.json", '{"run": []}', "'run'.*has no description"),
        ("a.json", '{"run": [3]}', "3 is not a text"),
        ("a.csv", "name,text\na,b\n", "no columns 'label'"),
        ("a.csv", "label,text\nrun,\n", "'run' has no description"),
        ("a.csv", "label,text\n,x\n", "line 2: a description without a label"),
        ("a.csv", "label,text\n", "holds no description"),
    ],
)
def test_what_is_wrong_is_named(name: str, content: str, said: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    refused(LabelError, said, load_descriptions, tmp_path / name)


ROW = {
    "scene": ("An archer on the grass of a range holds a bow with an arrow.",),
    "motion": ("One arm pulls the string back to the chin, and a foot is lifted.",),
    "contrast": ("Unlike throwing a javelin, nothing is thrown.",),
}


def test_things_places_parts_and_motions_are_found():
    found = units_named(ROW, verb_of)
    assert {Unit("object", "bow"), Unit("object", "arrow"), Unit("object", "archer")} <= found
    assert {Unit("body", "chin"), Unit("body", "foot"), Unit("body", "arm")} <= found
    assert Unit("scene", "range") in found
    assert {Unit("motion", "pulling"), Unit("motion", "lifting")} <= found
    assert not [unit for unit in found if unit.word == "javelin"]  # what it is not


def test_what_most_labels_share_tells_nothing():
    rows = [{"scene": (f"A person with a ball and a {thing}.",)} for thing in
            ("bat", "racket", "net", "goal")]  # fmt: skip
    words = [unit.word for unit in extract_units(rows, verb_of)]
    assert "ball" not in words
    assert "racket" in words
    assert "ball" in [unit.word for unit in extract_units(rows[:2], verb_of)]


def test_of_real_labels():
    units = extract_units(
        descriptions_of(["archery", "swing golf", "climb stairs", "pour"]), verb_of
    )
    assert {Unit("object", "bow"), Unit("scene", "stairs"), Unit("object", "bottle")} <= set(units)
    groups = [unit.group for unit in units]
    assert groups == sorted(groups, key=["body", "object", "scene", "motion"].index)


def test_a_bank_of_units_is_read_back(tmp_path: Path):
    file = tmp_path / "units.json"
    units = write_units("archery, pour", file)
    assert units_of_bank(load_bank(str(file))) == units
    with pytest.raises(LabelError, match="no bank describes these labels"):
        write_units("zorbing on ice, flumping", file)


def test_what_is_not_a_unit_is_named():
    assert Unit.parse("object: bow") == Unit("object", "bow")
    for text in ("bow", "thing: bow", "object:"):
        refused(LabelError, "is not 'GROUP: WORD'", Unit.parse, text)
