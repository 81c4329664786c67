from __future__ import annotations

import json

import pytest

from vlar.errors import LabelError, UsageError
from vlar.text.tree import Tree

PARENTS = {"walking": "moving", "running": "moving", "waving": "gesture"}


def test_fine_and_coarse_labels_in_order():
    tree = Tree(PARENTS)
    assert tree.fine == ("walking", "running", "waving")
    assert tree.coarse == ("moving", "gesture")
    assert tree.parent_columns == (0, 0, 1)
    assert tree.top("Running") == "moving"


def test_deeper_trees_go_up_to_the_top():
    tree = Tree({**PARENTS, "moving": "whole body", "gesture": "hands"})
    assert tree.fine == ("walking", "running", "waving")
    assert tree.coarse == ("whole body", "hands")


def test_restricted_to_some_labels():
    tree = Tree(PARENTS).restricted(["waving", "walking"])
    assert tree.fine == ("waving", "walking")
    assert tree.coarse == ("gesture", "moving")
    with pytest.raises(UsageError, match="no label 'swimming'; add it with its parent"):
        Tree(PARENTS).restricted(["swimming"])


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ({}, "is empty"),
        ({"a": "b", "b": "a"}, "cycle: a > b > a"),
        ({"a": "a"}, "cycle: a > a"),
        ({"a": ["b", "c"]}, r"has the parents \['b', 'c'\]; a label has one parent"),
        ({"a": 3}, "has the parent 3 in the label tree; both must be names"),
        ({"a": ""}, "both must be names"),
    ],
)
def test_what_is_not_a_tree_is_named(parents, message):
    with pytest.raises(UsageError, match=message):
        Tree(parents)


def test_read_from_a_file(tmp_path):
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(PARENTS), encoding="utf-8")
    assert Tree.read(file).coarse == ("moving", "gesture")
    file.write_text('{"a": "b", "a": "c"}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"'a' has the parents \['b', 'c'\]"):
        Tree.read(file)
    for text, message in (
        ("[1]", "must be an object"),
        ("{", "not valid JSON"),
        ("[" * 10**5, "not valid JSON"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(LabelError, match=message):
            Tree.read(file)
    with pytest.raises(LabelError, match="is not a file"):
        Tree.read(tmp_path)
