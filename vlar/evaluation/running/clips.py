"""Which clips and labels a protocol may use: drawn shots, and the checks of lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.datasets.base import TEST, VALIDATION, Dataset, Subset
from vlar.fewshot.support import SupportItem
from vlar.text.clean import clean_label
from vlar.types import JsonDict

_NAMED = 3


def scored_subset(data: Dataset, wanted: str | None) -> str:
    """The subset that is scored: the one asked for, else ``test``, else ``val``."""
    if wanted is not None or TEST in data.subsets:
        return wanted or TEST
    return VALIDATION


def spelled_as(labels: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Labels in the spelling of a data set; lists spell ``brush_hair`` as ``Brush Hair``.

    A label that the data set has in no spelling stays as it is.

    >>> spelled_as(["Brush Hair", "YoYo"], ["brush_hair", "yo_yo"])
    ('brush_hair', 'yo_yo')
    """
    there = set(known)
    by_letters = {_letters(label): label for label in known}
    return tuple(
        label if label in there else by_letters.get(_letters(label), label) for label in labels
    )


def _letters(label: str) -> str:
    return "".join(c for c in label.casefold() if c.isalnum())


def check_overlap(
    first: Sequence[str], second: Sequence[str], what: str, settings: JsonDict
) -> list[str]:
    """Labels that two lists share after cleaning; refused unless ``overlap = "report"``.

    Raises:
        ProtocolError: they share some.
    """
    known = {_plain(label) for label in first}
    shared = [label for label in second if _plain(label) in known]
    if shared and settings.get("overlap", "refuse") != "report":
        raise ProtocolError(
            f"{what} share {len(shared)} of {len(second)} labels "
            f"({', '.join(map(repr, shared[:_NAMED]))}); a label must not be learned and then "
            'called unseen (overlap = "report" counts them instead)'
        )
    return shared


def _plain(label: str) -> str:
    return " ".join(clean_label(label).casefold().split())


def draw_shots(
    items: Sequence[SupportItem], labels: Sequence[str], shots: int, seed: int
) -> list[SupportItem]:
    """Exactly ``shots`` clips a label, from different groups as far as there are enough.

    Raises:
        ProtocolError: a label has fewer.
    """
    random = np.random.default_rng(seed)
    drawn: list[SupportItem] = []
    short: list[str] = []
    for label in labels:
        own = [item for item in items if item.labels == (label,)]
        order = [own[i] for i in random.permutation(len(own))]
        turn: list[int] = []  # the first clip of each group, then the second of each, ...
        of_group = Counter[str]()
        for item in order:
            turn.append(of_group[item.group])
            of_group[item.group] += 1
        chosen = [order[i] for i in np.argsort(turn, kind="stable")[:shots]]
        drawn += chosen
        if len(chosen) < shots:
            short.append(f"{label} ({len(chosen)})")
    if short:
        raise ProtocolError(
            f"{len(short)} labels have fewer than {shots} training clips here: "
            f"{', '.join(short[:_NAMED])}; fill them up or ask for fewer shots"
        )
    return drawn


def check_exact(items: Sequence[SupportItem], labels: Sequence[str], shots: int) -> None:
    """Refuse a few-shot list in which a label has not exactly K clips.

    Raises:
        ProtocolError: the message names the labels.
    """
    count = Counter(item.label for item in items)
    wrong = [f"{label} ({count[label]})" for label in labels if count[label] != shots]
    if wrong:
        raise ProtocolError(
            f"{len(wrong)} labels have not exactly {shots} clips: {', '.join(wrong[:_NAMED])}"
        )


def check_no_empty_class(subset: Subset, labels: Sequence[str], what: str) -> None:
    """Refuse labels without any clip that is there.

    Raises:
        ProtocolError: the message names them.
    """
    there = {label for item in subset.items for label in item.labels}
    empty = [label for label in labels if label not in there]
    if empty:
        raise ProtocolError(
            f"{len(empty)} of {len(labels)} labels have no {what} clip here: "
            f"{', '.join(empty[:_NAMED])}; get their recordings, or list the labels to ask"
        )
