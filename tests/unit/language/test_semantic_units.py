"""Units that descriptions name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlar.errors import LabelError
from vlar.generators.descriptions.base import write_units
from vlar.language.bank import load_bank
from vlar.language.descriptions import descriptions_of
from vlar.language.motion.clauses import verb_of
from vlar.language.semantic_units import Unit, extract_units, units_named, units_of_bank

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
        with pytest.raises(LabelError, match="is not 'GROUP: WORD'"):
            Unit.parse(text)
