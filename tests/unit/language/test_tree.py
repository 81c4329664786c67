from __future__ import annotations

import json

import pytest

from tests.refusals import refused
from vlar.errors import LabelError, UsageError
from vlar.language.bank import Bank, Entry
from vlar.language.tree import Tree

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


def test_what_is_not_a_tree_is_named():
    for parents, message in [
        ({}, "is empty"),
        ({"a": "b", "b": "a"}, "cycle: a > b > a"),
        ({"a": "a"}, "cycle: a > a"),
        ({"a": ["b", "c"]}, r"has the parents \['b', 'c'\]; a label has one parent"),
        ({"a": 3}, "has the parent 3 in the label tree; both must be names"),
        ({"a": ""}, "both must be names"),
    ]:
        refused(UsageError, message, Tree, parents)


def test_read_from_a_file(tmp_path):
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(PARENTS), encoding="utf-8")
    assert Tree.read(file).coarse == ("moving", "gesture")
    file.write_text('{"a": "b", "a": "c"}', encoding="utf-8")
    refused(UsageError, r"'a' has the parents \['b', 'c'\]", Tree.read, file)
    for text, message in (
        ("[1]", "must be an object"),
        ("{", "not valid JSON"),
        ("[" * 10**5, "not valid JSON"),
    ):
        file.write_text(text, encoding="utf-8")
        refused(LabelError, message, Tree.read, file)
    refused(LabelError, "is not a file", Tree.read, tmp_path)


def test_domains_of_a_bank_are_the_coarse_labels():
    entries = (
        Entry("RideBike", "riding a bike", aliases=("cycling",), domain="vehicles"),
        Entry("Row", "rowing", domain="water"),
        Entry("Sit", "sitting"),
    )
    bank = Bank("mine", "MIT", {}, entries)
    tree = Tree.of_bank(bank, ["cycling", "Rowing", "ride bike"])
    assert tree.parents == {"cycling": "vehicles", "Rowing": "water", "ride bike": "vehicles"}
    refused(UsageError, "no domain of the label 'sitting'", Tree.of_bank, bank, ["sitting"])
    refused(UsageError, "no entry for the label 'sleep'", Tree.of_bank, bank, ["sleep"])


def test_labels_whose_texts_are_alike_get_one_parent():
    labels = ["run", "walk", "eat", "drink", "sleep"]
    vectors = [[1, 0.1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0.1], [0, 0.7, 0.7]]
    tree = Tree.by_text(labels, vectors)
    assert tree.parents["run"] == tree.parents["walk"] == "run or walk"
    assert tree.parents["eat"] == tree.parents["drink"] == "eat, drink or sleep"
    assert tree.fine == tuple(labels)
    alone = Tree.by_text(["a", "b", "c"], [[1, 0], [1, 0.01], [0, 1]])
    assert alone.parents == {"a": "a or b", "b": "a or b", "c": "c and the like"}
    many = Tree.by_text(list("abcdefghi"), [[1, 0]] * 7 + [[0, 1], [-1, 0]])
    assert many.coarse == ("a, b, c or 4 others", "h and the like", "i and the like")


def test_two_labels_have_no_kinds():
    refused(UsageError, "three labels", Tree.by_text, ["a", "b"], [[1, 0], [0, 1]])
