from __future__ import annotations

import json
from pathlib import Path

import pytest

import vlar
from tests.fixtures.models_1 import tiny
from vlar.errors import LabelError, UnknownNameError, UsageError
from vlar.language.tree import Tree, is_made, read_tree_source
from vlar.model.label_heads import label_tree


@pytest.fixture(scope="module")
def model() -> vlar.Model:
    return vlar.load("tiny-for-fixtures")


def test_a_tree_comes_from_a_file_a_bank_or_text(model: vlar.Model, tmp_path: Path):
    file = tmp_path / "tree.json"
    file.write_text(json.dumps({"fall": "moving", "rise": "moving", "stay": "still"}))
    found = label_tree(model.words, file, ["rise", "stay"])
    assert found is not None
    assert found.parents == {"rise": "moving", "stay": "still"}
    of_bank = label_tree(model.words, "bank:ucf101", ["Archery", "biking"])
    assert of_bank is not None
    assert of_bank.parents["Archery"] == "archery and shooting"
    by_text = label_tree(model.words, "text", tiny.LABELS)
    assert by_text is not None
    assert by_text.fine == tiny.LABELS
    assert len(by_text.coarse) == 2
    assert label_tree(model.words, None, tiny.LABELS) is None
    assert [is_made(s) for s in ("text", "bank:ucf101", file, by_text)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_wrong_source_is_refused_before_a_model_is_loaded(tmp_path: Path):
    with pytest.raises(LabelError, match="not a file"):
        read_tree_source(tmp_path / "none.json")
    with pytest.raises(UnknownNameError, match="ucf101"):
        read_tree_source("bank:ucf10")
    assert read_tree_source("text") == "text"


def test_a_label_that_the_bank_does_not_have_is_named(model: vlar.Model):
    with pytest.raises(UsageError, match="'ucf101' has no entry for the label 'yodel'"):
        label_tree(model.words, "bank:ucf101", ["Archery", "yodel"])


def test_an_adapted_model_keeps_a_tree_made_from_text(model: vlar.Model, tmp_path: Path):
    support = tiny.support(tmp_path / "s", 2)
    saved = model.adapt(support, method="ridge", tree="text").save(tmp_path / "m")
    answer = vlar.load(saved).classify(tiny.clip(tmp_path / "q", "rise", 6))
    expected = label_tree(model.words, "text", tiny.LABELS)
    assert isinstance(expected, Tree)
    assert {row.label for row in answer.coarse} == set(expected.coarse)
    some = model.classify(tiny.clip(tmp_path / "q", "rise", 6), "a, b, c", tree="text")
    assert len(some.coarse) == 2
