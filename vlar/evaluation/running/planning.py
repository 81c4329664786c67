"""From a card and a folder to a plan: read, count, compare hashes, refuse what is not honest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets import Dataset, read_dataset
from vlar.evaluation.datasets.base import TRAIN
from vlar.evaluation.protocols.base import Part, Plan, Protocol
from vlar.evaluation.running.cards import DataCard, LoadedCard
from vlar.evaluation.running.clips import scored_subset, spelled_as
from vlar.text.labels import parse_labels
from vlar.types import JsonDict

_NAMED = 5


class MissingSetError(DatasetError):
    """The folder of a data set is not there."""

    kind = "missing_set"


def make_plan(card: LoadedCard, protocol: str, data: Path) -> tuple[Protocol, Plan]:
    """Check everything that needs no model.

    Args:
        card: The protocol file.
        protocol: One of its protocols.
        data: The user's folder.

    Raises:
        MissingSetError: the data set's folder is not there.
        DatasetError: its files are malformed.
        ProtocolError: hashes, counts, labels or settings do not fit.
    """
    part_class: type[Protocol] = registry.get("protocol", protocol)
    settings = _settings(card, part_class)
    cards = card.card.parts()
    names = [""] if len(cards) == 1 else [str(n) for n in range(1, len(cards) + 1)]
    parts = [_part(card, name, each, data) for name, each in zip(names, cards, strict=True)]
    source = None if card.card.source is None else _part(card, "", card.card.source, data)
    plan = Plan(card, parts, source, settings)
    for part in parts:
        _check_part(card, part, plan)
        if TRAIN in part_class.needs:
            part.data.subset(TRAIN)
    made = part_class()
    made.check(plan)
    return made, plan


def describe(plan: Plan, protocol: str) -> JsonDict:
    """What a dry run prints of a plan."""
    rows = [
        {
            "split": part.name or None,
            "layout": part.data.layout,
            "labels": len(part.labels),
            "scored": part.subset,
            "subsets": {
                name: {
                    "listed": len(subset),
                    "there": len(subset.items),
                    "missing": len(subset.missing),
                }
                for name, subset in part.data.subsets.items()
            },
        }
        for part in plan.parts
    ]
    return {
        "card": plan.card.card.name,
        "protocol": protocol,
        "splits": rows,
        "counts": plan.counts,
        "settings": plan.settings,
        "notes": [*plan.notes, *(note for part in plan.parts for note in part.data.notes)],
    }


def _settings(card: LoadedCard, protocol: type[Protocol]) -> JsonDict:
    """The defaults of a protocol with what the card replaces; a card of several may set all."""
    every: dict[str, Any] = {}
    for name in card.card.protocols:
        every |= registry.get("protocol", name).defaults
    tables = {k: v for k, v in card.card.settings.items() if isinstance(v, dict)}
    tables = {k: v for k, v in tables.items() if k in card.card.protocols}
    shared = {k: v for k, v in card.card.settings.items() if k not in tables}
    given: Mapping[str, Any] = {**shared, **tables.get(protocol.name, {})}
    strange = [key for key in given if key not in every]
    if strange:
        where = ", ".join(card.card.protocols)
        raise registry.unknown_name(f"setting of {where}", strange[0], every)
    return {**protocol.defaults, **{k: v for k, v in given.items() if k in protocol.defaults}}


def _part(card: LoadedCard, name: str, wanted: DataCard, data: Path) -> Part:
    root = data / wanted.folder if wanted.folder else data
    if not root.exists():
        about = card.card.about.get("obtain")
        hint = f"; {about}" if about else ""
        raise MissingSetError(f"{card.card.name}: no folder {root}, so this set is missing{hint}")
    found = read_dataset(root, wanted.layout, wanted.options)
    for file, sha256 in found.files.items():
        card.check_hash(file, sha256)
    labels = spelled_as(card.labels(wanted.labels) or found.labels, found.labels)
    strange = [label for label in labels if label not in set(found.labels)]
    if strange:
        raise ProtocolError(
            f"{card.card.name}: {len(strange)} labels are not in the list of {root}, the first is "
            f"{strange[0]!r}; correct them"
        )
    listed = parse_labels(list(labels))
    if len(listed) < len(labels):
        raise ProtocolError(f"{card.card.name}: {'; '.join(listed.notes)}; merge them")
    if len(labels) < 2:
        raise ProtocolError(f"{card.card.name}: only the label {', '.join(labels)}; give two")
    return Part(name, wanted, found, labels, scored_subset(found, wanted.subset))


def _check_part(card: LoadedCard, part: Part, plan: Plan) -> None:
    test, name = part.test, f"split {part.name}: " if part.name else ""
    if not test.items:
        raise ProtocolError(
            f"{card.card.name}: none of the {len(test)} {part.subset} clips is there "
            f"({part.data.root}); get the recordings"
        )
    _check_counts(card, part)
    _check_disjoint(part.data)
    if len(test.items) == 1:
        plan.notes.append(f"{name}one clip only; its figures say nothing about others")
    if test.missing:
        first = ", ".join(item.path.name for item in test.missing[:_NAMED])
        plan.notes.append(
            f"{name}{len(test.missing)} of {len(test)} {part.subset} clips are missing "
            f"({first}, ..); figures are of the others"
        )
    there = {label for item in test.items for label in item.labels}
    empty = [label for label in part.labels if label not in there]
    if empty:
        plan.notes.append(
            f"{name}{len(empty)} of {len(part.labels)} labels are empty classes, without a "
            f"{part.subset} clip: {', '.join(empty[:_NAMED])}"
        )


def _check_counts(card: LoadedCard, part: Part) -> None:
    counts = {name: len(subset) for name, subset in part.data.subsets.items()}
    counts |= {"labels": len(part.labels), "scored": len(part.test), "clips": sum(counts.values())}
    for name, wanted in card.card.expected.items():
        if name in counts and counts[name] != wanted:
            raise ProtocolError(
                f"{card.card.name}: {counts[name]} {name} where the card says {wanted}; it is "
                "another version of the data set"
            )


def _check_disjoint(data: Dataset) -> None:
    """Refuse subsets that list the same clip.

    Raises:
        ProtocolError: the message names the first.
    """
    seen: dict[Any, str] = {}
    for name, subset in data.subsets.items():
        for item in (*subset.items, *subset.missing):
            key = (item.path, item.window)
            if seen.setdefault(key, name) != name:
                raise ProtocolError(
                    f"{item.path} is listed in {seen[key]!r} and in {name!r}; the splits must be "
                    "disjoint"
                )
