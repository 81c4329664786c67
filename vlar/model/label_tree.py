"""Where a label tree comes from: a file, the domains of a bank, or the texts of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from vlar.errors import UsageError
from vlar.model.core import ModelCore
from vlar.text.bank import load_bank
from vlar.text.clean import clean_label
from vlar.text.tree import Tree

#: A tree, its JSON file of label to parent, ``bank:NAME``, or ``text``.
TreeSource: TypeAlias = Tree | str | Path

_BANK, _TEXT = "bank:", "text"


def is_made(tree: TreeSource) -> bool:
    """Whether a tree is made (from a bank or from text) and not read from a file."""
    return not isinstance(tree, Tree) and (str(tree) == _TEXT or str(tree).startswith(_BANK))


def read_tree_source(tree: TreeSource) -> TreeSource:
    """The source, a file already read, so that a wrong one is refused before a model loads.

    Raises:
        LabelError: the file is not a tree, or the bank cannot be read.
        UnknownNameError: no bank has this name.
        UsageError: see ``Tree``.
    """
    if isinstance(tree, Tree) or str(tree) == _TEXT:
        return tree
    if str(tree).startswith(_BANK):
        load_bank(str(tree).removeprefix(_BANK))
        return tree
    return Tree.read(tree)


def label_tree(core: ModelCore, tree: TreeSource | None, labels: Sequence[str]) -> Tree | None:
    """The part of a label tree above these labels; None without one.

    Args:
        core: Encodes the labels where the tree is made from text.
        tree: See ``TreeSource``.
        labels: The fine labels.

    Raises:
        LabelError: the file is not a tree, or the bank cannot be read.
        UnknownNameError: no bank has this name.
        UsageError: the tree lacks a label, or the text of the model depends on the clip.
    """
    if tree is None:
        return None
    source = read_tree_source(tree)
    if isinstance(source, Tree):
        return source.restricted(labels)
    if str(source).startswith(_BANK):
        return Tree.of_bank(load_bank(str(source).removeprefix(_BANK)), labels)
    if core.conditions_text:
        raise UsageError(
            f"in model {core.name!r} a text has another vector for each clip, so no tree can be "
            "made from text; give a JSON file of label to parent"
        )
    return Tree.by_text(labels, core.encode_labels([clean_label(label) for label in labels]))
