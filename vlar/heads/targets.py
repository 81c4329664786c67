"""Labels of a support set's examples: one label, several labels, or labels in parts.

One type carries all three forms, so that a loss, an accuracy or a metric reads its form from the
examples and a training loop does not decide it:

* one-hot: every row of ``member`` holds a single 1;
* multi-hot: a row may hold several;
* in parts: every label is made of named parts (``verb``, ``object``), and ``parts`` holds the
  column of each part's value for every label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vlar.errors import SupportError
from vlar.heads.support import SupportItem
from vlar.types import Float32, Float64

Form = Literal["one-hot", "multi-hot", "parts"]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One part of composed labels, such as the verb of "open door".

    Attributes:
        values: V names, sorted: the vocabulary of this part.
        of_label: (C,) int64, the column in ``values`` of each label.
    """

    values: tuple[str, ...]
    of_label: Int64


@dataclass(frozen=True)
class Targets:
    """The labels of n examples in columns.

    Attributes:
        labels: C labels in column order.
        member: (n, C) float32, 1 where the example shows the label, else 0.
        parts: The labels' parts by name, in the order of the source; empty for plain labels.
    """

    labels: tuple[str, ...]
    member: Float32
    parts: Mapping[str, Part] = field(default_factory=dict[str, Part])

    @property
    def form(self) -> Form:
        """``multi-hot`` where an example shows several labels; else ``parts`` or ``one-hot``."""
        if len(self.member) and int(self.member.sum(axis=1).max()) > 1:
            return "multi-hot"
        return "parts" if self.parts else "one-hot"

    @property
    def columns(self) -> Int64:
        """(n,) int64, the column of the single label of each example.

        Raises:
            SupportError: an example shows several labels.
        """
        self.require_single("this method")
        return self.member.argmax(axis=1)

    @property
    def pairs(self) -> Int64:
        """(C, number of parts) int64, the values of every label's parts, one column a part."""
        if not self.parts:
            return np.zeros((len(self.labels), 0), np.int64)
        return np.stack([part.of_label for part in self.parts.values()], axis=1)

    def part(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Targets:
        """The targets of some examples; the columns stay."""
        return Targets(self.labels, self.member[np.asarray(rows, np.intp)], self.parts)

    def require_single(self, who: str) -> None:
        """Refuse examples that show several labels.

        Raises:
            SupportError: an example shows several labels; the message names the first.
        """
        if self.form != "multi-hot":
            return
        row = int(np.argmax(self.member.sum(axis=1) > 1))
        shown = [label for label, on in zip(self.labels, self.member[row], strict=True) if on]
        raise _several(row, shown, who)

    def accuracy(self, scores: npt.NDArray[np.floating[Any]]) -> Float64:
        """Accuracy of scores (n, C) for the right labels of each example.

        Returns:
            (n,) in 0..1, the share of an example's k labels among its k best scores: 0 or 1 for
            one label (top-1), R-precision for several.
        """
        counts = self.member.sum(axis=1).astype(np.int64)
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(self.member, order, axis=1)
        inside = np.arange(ranked.shape[1])[None] < counts[:, None]
        return (ranked * inside).sum(axis=1, dtype=np.float64) / np.maximum(counts, 1)

    @staticmethod
    def of(labels: Sequence[str], items: Sequence[SupportItem]) -> Targets:
        """The targets of a support set's examples.

        Args:
            labels: C labels in column order.
            items: n examples whose labels are all among them.

        Raises:
            SupportError: an example's label is not among the labels, a label has different values
                of a part in two examples, or only some examples have the part.
        """
        column = {label: number for number, label in enumerate(labels)}
        member = np.zeros((len(items), len(column)), np.float32)
        for row, item in enumerate(items):
            for label in item.labels:
                if label not in column:
                    raise SupportError(
                        f"example label {label!r} is not among the labels {list(labels)}"
                    )
                member[row, column[label]] = 1.0
        return Targets(tuple(labels), member, _parts(tuple(labels), items))


def check_single(labels: Sequence[str], items: Sequence[SupportItem], who: str) -> None:
    """The checks of ``Targets.of`` and ``require_single``, without a matrix of n x C numbers.

    Args:
        labels: C labels in column order.
        items: n examples whose labels are all among them.
        who: Needs one label an example, for the message.

    Raises:
        SupportError: an example shows several labels, or parts contradict each other.
    """
    for row, item in enumerate(items):
        if len(item.labels) > 1:
            raise _several(row, [label for label in labels if label in item.labels], who)
    _parts(tuple(labels), items)


def _several(row: int, shown: Sequence[str], who: str) -> SupportError:
    return SupportError(
        f"example {row + 1} shows {len(shown)} labels ({', '.join(shown)}), and {who} learns "
        "one label a clip; give each clip one label"
    )


def _parts(labels: tuple[str, ...], items: Sequence[SupportItem]) -> dict[str, Part]:
    names = list(dict.fromkeys(name for item in items for name in item.parts))
    parts: dict[str, Part] = {}
    for name in names:
        value_of: dict[str, str] = {}
        for item in items:
            value = item.parts.get(name)
            if value is None:
                raise SupportError(
                    f"{item.path}: this example has no {name!r} and others have; fill it in"
                )
            if value_of.setdefault(item.label, value) != value:
                raise SupportError(
                    f"label {item.label!r} has the {name} {value_of[item.label]!r} in one example "
                    f"and {value!r} in another; give both the same"
                )
        values = tuple(sorted(set(value_of.values())))
        of_label = [values.index(value_of[label]) if label in value_of else 0 for label in labels]
        parts[name] = Part(values, np.array(of_label, np.int64))
    return parts
