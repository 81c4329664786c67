"""A table in two halves by group, labels in parts: what ``csv`` offers where nothing is divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import TEST, TRAIN, Dataset, Subset
from vlar.fewshot.support import SupportItem
from vlar.text.labels import PARTS

OPTIONS = ("halves", "least", "parts", "parts_are_labels", "unseen")
Items = Sequence[SupportItem]


def arranged(data: Dataset, options: Mapping[str, Any]) -> Dataset:
    """The same clips in the arrangement that options ask for.

    Args:
        data: As the table lists them.
        options: ``halves``: ``train`` is every second group by name, ``test`` the others.
            ``least``: labels with fewer clips in ``train``, or none in ``test``, are left out.
            ``parts``: label to ``[verb, object]``; other labels are left out.
            ``parts_are_labels``: a clip shows its verb and its object. ``unseen``: labels that
            ``train`` does not hold.

    Raises:
        DatasetError: no clip is left, or parts that are not a verb and an object.
    """
    if not any(options.get(name) for name in OPTIONS):
        return data
    parts, both = dict(options.get("parts", {})), bool(options.get("parts_are_labels"))
    subsets = {
        name: Subset(_with_parts(each.items, parts, both), _with_parts(each.missing, parts, both))
        for name, each in data.subsets.items()
    }
    if options.get("halves"):
        subsets = _halved(subsets)
    subsets = _without_unseen(subsets, set(options.get("unseen", ())))
    labels = sorted({x for s in subsets.values() for i in (*s.items, *s.missing) for x in i.labels})
    least = int(options.get("least", 0))
    kept = [label for label in labels if not least or _enough(label, subsets, least)]
    if not kept:
        raise DatasetError(f"{data.root}: no clip is left of {len(data.labels)} labels")
    dropped = len(labels) - len(kept)
    note = f"{dropped} labels have fewer than {least} clips to learn from, or none to test"
    return replace(
        data,
        labels=tuple(kept),
        subsets={name: subset.of(kept) for name, subset in subsets.items()},
        notes=(*data.notes, note) if dropped else data.notes,
    )


def _with_parts(
    items: Items, parts: Mapping[str, Sequence[str]], as_labels: bool
) -> tuple[SupportItem, ...]:
    if not parts:
        return tuple(items)
    found: list[SupportItem] = []
    for item in items:
        pair = parts.get(item.labels[0])
        if pair is None:
            continue
        if len(pair) != len(PARTS):
            raise DatasetError(
                f"label {item.labels[0]!r} has the parts {list(pair)}; give a verb and an object"
            )
        labels = tuple(dict.fromkeys(pair)) if as_labels else item.labels
        found.append(replace(item, labels=labels, parts=dict(zip(PARTS, pair, strict=True))))
    return tuple(found)


def _halved(subsets: Mapping[str, Subset]) -> dict[str, Subset]:
    there = [item for subset in subsets.values() for item in subset.items]
    lost = [item for subset in subsets.values() for item in subset.missing]
    groups = sorted({item.group for item in (*there, *lost)})
    half = {group: (TRAIN, TEST)[number % 2] for number, group in enumerate(groups)}

    def of(items: Items, name: str) -> tuple[SupportItem, ...]:
        return tuple(item for item in items if half[item.group] == name)

    return {name: Subset(of(there, name), of(lost, name)) for name in (TRAIN, TEST)}


def _without_unseen(subsets: Mapping[str, Subset], unseen: set[str]) -> dict[str, Subset]:
    def seen(items: Items) -> tuple[SupportItem, ...]:
        return tuple(item for item in items if not unseen.intersection(item.labels))

    kept = dict(subsets)
    if unseen and TRAIN in kept:
        kept[TRAIN] = Subset(seen(kept[TRAIN].items), seen(kept[TRAIN].missing))
    return kept


def _enough(label: str, subsets: Mapping[str, Subset], least: int) -> bool:
    learned = len(subsets[TRAIN].of([label]).items) if TRAIN in subsets else least
    return learned >= least and bool(TEST in subsets and subsets[TEST].of([label]).items)
