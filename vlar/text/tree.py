"""A tree over labels: which coarse label a fine one is a kind of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlar.errors import LabelError, UsageError
from vlar.text.clean import clean_label

_LARGEST_BYTES = 10_000_000


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
        place = {label: column for column, label in enumerate(self.coarse)}
        return tuple(place[self._top_of[label]] for label in self.fine)

    def top(self, label: str) -> str:
        """The coarse label of a fine one; how it is written does not matter.

        Raises:
            UsageError: the tree does not have the label.
        """
        found = self._top_of.get(label)
        if found is None:
            found = next(
                (top for own, top in self._top_of.items() if _same(own, label)),
                None,
            )
        if found is None:
            raise UsageError(
                f"the label tree has no label {label!r}; add it with its parent (the tree has "
                f"{', '.join(self.fine[:5])}{', ...' if len(self.fine) > 5 else ''})"
            )
        return found

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
            data = json.loads(file.read_text("utf-8"), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise LabelError(f"label tree {str(file)!r} is not valid JSON: {error}") from error
        if not isinstance(data, dict):
            raise LabelError(
                f"label tree {str(file)!r} must be an object of label to parent, such as "
                '{"walking": "moving"}'
            )
        return Tree(data)

    def _top(self, label: str) -> str:
        seen = [label]
        while (parent := self.parents.get(seen[-1])) is not None:
            if parent in seen:
                raise UsageError(
                    f"the label tree has a cycle: {' > '.join([*seen, parent])}; remove one link"
                )
            seen.append(parent)
        return seen[-1]


def _check_names(label: Any, parent: Any) -> None:
    if isinstance(parent, (list, tuple)):
        raise UsageError(f"label {label!r} has the parents {list(parent)}; a label has one parent")
    if not (isinstance(label, str) and label and isinstance(parent, str) and parent):
        raise UsageError(
            f"label {label!r} has the parent {parent!r} in the label tree; both must be names"
        )


def _same(first: str, second: str) -> bool:
    return clean_label(first).casefold() == clean_label(second).casefold()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, parent in pairs:
        if label in found and found[label] != parent:
            raise UsageError(f"label {label!r} has the parents {[found[label], parent]}; give one")
        found[label] = parent
    return found
