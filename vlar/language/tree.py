"""A tree over labels: which coarse label a fine one is a kind of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from vlar.errors import LabelError, UsageError
from vlar.files.reading import read_file
from vlar.language.bank import Bank, load_bank
from vlar.language.clean import clean_label

_LARGEST_BYTES = 10_000_000
_NAMED = 4  # labels in the name of a parent that is made from them
_BANK, _TEXT = "bank:", "text"
#: A tree, its JSON file of label to parent, ``bank:NAME``, or ``text``.
TreeSource: TypeAlias = Union["Tree", str, Path]


class Tree:
    """Labels and their parents.

    Attributes:
        parents: Label to parent, as given.
        fine: C labels without children, in the order of ``parents``.
        coarse: J labels at the top, in the order in which ``fine`` reaches them.
    """

    def __init__(self, parents: Mapping[str, str]) -> None:
        """Check a tree.

        Args:
            parents: Label to its parent. A label without an entry that is a parent is at the top.

        Raises:
            UsageError: the tree is empty, a label has two parents or none, or a cycle.
        """
        for label, parent in parents.items():
            _check_names(label, parent)
        if not parents:
            raise UsageError("the label tree is empty; give each label its parent")
        self.parents: dict[str, str] = dict(parents)
        inner = set(self.parents.values())
        tops = {label: self._top(label) for label in self.parents}
        self.fine: tuple[str, ...] = tuple(label for label in self.parents if label not in inner)
        self._top_of = {label: tops[label] for label in self.fine}
        self.coarse: tuple[str, ...] = tuple(dict.fromkeys(self._top_of.values()))

    @property
    def parent_columns(self) -> tuple[int, ...]:
        """(C,) column in ``coarse`` of each label of ``fine``."""
        columns = {label: column for column, label in enumerate(self.coarse)}
        return tuple(columns[self._top_of[label]] for label in self.fine)

    def top(self, label: str) -> str:
        """The coarse label of a fine one; how it is written does not matter.

        Raises:
            UsageError: the tree does not have the label.
        """
        top_label = self._top_of.get(label)
        if top_label is None:
            top_label = next(
                (top for label_of, top in self._top_of.items() if _same(label_of, label)),
                None,
            )
        if top_label is None:
            raise UsageError(
                f"the label tree has no label {label!r}; add it with its parent (the tree has "
                f"{', '.join(self.fine[:5])}{', ...' if len(self.fine) > 5 else ''})"
            )
        return top_label

    def restricted(self, labels: Sequence[str]) -> Tree:
        """The two-level tree of these fine labels, in their order.

        Raises:
            UsageError: the tree does not have one of them.
        """
        return Tree({label: self.top(label) for label in labels})

    @staticmethod
    def read(path: str | Path) -> Tree:
        """A tree from a JSON file, an object of label to parent.

        Raises:
            LabelError: no such file, or the file is not such an object.
            UsageError: see ``Tree``.
        """
        file = Path(path)
        if not file.is_file():
            raise LabelError(f"label tree {str(file)!r} is not a file; give a JSON file")
        if file.stat().st_size > _LARGEST_BYTES:
            raise LabelError(f"label tree {str(file)!r} is larger than {_LARGEST_BYTES} bytes")
        try:
            data = json.loads(
                read_file(file, _LARGEST_BYTES).decode("utf-8"), object_pairs_hook=_unique
            )
        except (OSError, ValueError, RecursionError) as error:
            raise LabelError(f"label tree {str(file)!r} is not valid JSON: {error}") from error
        if not isinstance(data, dict):
            raise LabelError(
                f"label tree {str(file)!r} must be an object of label to parent, such as "
                '{"walking": "moving"}'
            )
        return Tree(data)

    @staticmethod
    def of_bank(bank: Bank, labels: Sequence[str]) -> Tree:
        """The tree whose coarse labels are the domains of a bank.

        Args:
            bank: The bank; a label is found by its name, text or an alias.
            labels: The fine labels.

        Raises:
            UsageError: the bank does not have a label, or no domain of it.
        """
        domains: dict[str, str | None] = {}
        for entry in bank.entries:
            for name in (entry.label, entry.text, *entry.aliases):
                domains.setdefault(_plain(name), entry.domain)
        parents: dict[str, str] = {}
        for label in labels:
            domain = domains.get(_plain(label))
            if domain is None:
                what = "no domain of" if _plain(label) in domains else "no entry for"
                raise UsageError(
                    f"bank {bank.name!r} has {what} the label {label!r}; use --tree text, or a "
                    "JSON file of label to parent"
                )
            parents[label] = domain
        return Tree(parents)

    @staticmethod
    def by_text(labels: Sequence[str], vectors: npt.ArrayLike) -> Tree:
        """A proposal from the texts of the labels: what they mean alike has one parent.

        Average linkage of the cosines (Sokal and Michener 1958), cut into about as many groups as
        the square root of the number of labels. A parent is named by its labels.

        Args:
            labels: C labels, three at least.
            vectors: (C, D) of their texts.

        Raises:
            UsageError: fewer than three labels, or other sizes.
        """
        from scipy.cluster.hierarchy import fcluster, linkage

        rows = np.asarray(vectors, np.float64)
        if len(labels) < 3 or len(rows) != len(labels):
            raise UsageError(
                f"a label tree from text needs three labels at least; it got {len(labels)} with "
                f"{len(rows)} vectors"
            )
        count = max(2, round(len(labels) ** 0.5))
        groups = fcluster(linkage(rows, "average", metric="cosine"), count, criterion="maxclust")
        members = {
            g: [x for x, group in zip(labels, groups, strict=True) if group == g] for g in groups
        }
        return Tree({x: _group_name(members[g]) for x, g in zip(labels, groups, strict=True)})

    def _top(self, label: str) -> str:
        path = [label]
        while (parent := self.parents.get(path[-1])) is not None:
            if parent in path:
                raise UsageError(
                    f"the label tree has a cycle: {' > '.join([*path, parent])}; remove one link"
                )
            path.append(parent)
        return path[-1]


def is_made(tree: TreeSource) -> bool:
    """True where a tree is made (from a bank or from text) and not read from a file."""
    return not isinstance(tree, Tree) and (str(tree) == _TEXT or str(tree).startswith(_BANK))


def read_tree_source(tree: TreeSource) -> TreeSource:
    """The source, a file already read, so that a wrong one is refused before a model loads.

    Raises:
        LabelError: the file is not a tree, or the bank cannot be read.
        UnknownNameError: no bank has this name.
        UsageError: see ``Tree``.
    """
    if isinstance(tree, Tree):
        return tree
    if not is_made(tree):
        return Tree.read(tree)
    bank_of(tree)
    return tree


def bank_of(tree: TreeSource) -> Bank | None:
    """The bank of ``bank:NAME``; None for any other source."""
    name = str(tree)
    return load_bank(name.removeprefix(_BANK)) if name.startswith(_BANK) else None


def _check_names(label: Any, parent: Any) -> None:
    if isinstance(parent, (list, tuple)):
        raise UsageError(f"label {label!r} has the parents {list(parent)}; a label has one parent")
    if not (isinstance(label, str) and label and isinstance(parent, str) and parent):
        raise UsageError(
            f"label {label!r} has the parent {parent!r} in the label tree; both must be names"
        )


def _same(first: str, second: str) -> bool:
    return _plain(first) == _plain(second)


def _plain(label: str) -> str:
    return clean_label(label).casefold()


def _group_name(labels: Sequence[str]) -> str:
    """``walk or run``; a label alone is ``walk and the like``, as a parent has another name."""
    names = [clean_label(label) for label in labels]
    if len(names) == 1:
        return f"{names[0]} and the like"
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} others"]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    pairs_by_key: dict[str, Any] = {}
    for label, parent in pairs:
        if label in pairs_by_key and pairs_by_key[label] != parent:
            raise UsageError(
                f"label {label!r} has the parents {[pairs_by_key[label], parent]}; give one"
            )
        pairs_by_key[label] = parent
    return pairs_by_key
