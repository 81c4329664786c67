"""The rejector of an adapted model: the one asked for, or the one that suits its support set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import SupportError
from vlar.evaluation.openset import auroc
from vlar.fewshot.reject.base import HeldOut, Rejector
from vlar.fewshot.reject.familiarity import Familiarity
from vlar.types import Float32, Float64

AUTO = "auto"
DEFAULT = Familiarity.name
_LEAST_GAIN = 1.0  # standard errors by which another rejector must beat the default


def choices() -> tuple[str, ...]:
    """What ``--unknown`` takes: the registered rejectors, and ``auto``."""
    return (AUTO, *registry.names("rejector"))


def fit_rejector(
    name: str,
    signatures: Float32,
    y: Sequence[str],
    groups: Sequence[str],
    logits: Callable[[], Float64 | None],
) -> Rejector:
    """A fitted rejector.

    ``auto`` compares the rejectors on the support set alone: examples whose recording is left out
    against examples whose label is left out. One takes the place of ``familiarity`` only where its
    AUROC is higher by more than a standard error.

    Args:
        name: A registered name or ``auto``.
        signatures: (n, S) float32 of the examples.
        y: n labels.
        groups: n recordings.
        logits: Gives the (n, C) logits of the examples by heads that did not learn from them, the
            columns in the order of the sorted labels, or None where the head has none; called once
            and only where they are needed.

    Raises:
        SupportError: the rejector cannot learn from so few examples.
        UnknownNameError: no rejector has this name.
    """
    parts: dict[str, type[Rejector]] = {
        each: registry.get("rejector", each)
        for each in (registry.names("rejector") if name == AUTO else (name,))
    }
    reads = any(part.reads == "logits" for part in parts.values())
    found = logits() if reads else None
    if name == AUTO:
        name = _best(parts, signatures, np.asarray(y), np.asarray(groups), found)
    part = parts[name]
    if part.reads == "logits" and found is None:
        raise SupportError(
            f"rejector {name!r} reads the logits of held-out examples, which this method cannot "
            f"give; use {DEFAULT!r}"
        )
    return part().fit(signatures, y, groups, found)


def separation(scores: HeldOut) -> tuple[float, float]:
    """AUROC of two sets of scores and its standard error (Hanley and McNeil, 1982, eq. 1)."""
    known, unknown = scores
    is_unknown = np.repeat([False, True], [len(known), len(unknown)])
    area = auroc(np.concatenate([known, unknown]), is_unknown)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (len(unknown) - 1) * (q1 - area**2)
    variance += (len(known) - 1) * (q2 - area**2)
    return area, float(np.sqrt(variance / (len(known) * len(unknown))))


def _best(
    parts: dict[str, type[Rejector]],
    signatures: Float32,
    label: Any,
    group: Any,
    logits: Float64 | None,
) -> str:
    found: dict[str, tuple[float, float]] = {}
    for name, part in parts.items():
        if part.reads == "logits" and logits is None:
            continue
        scores = part().hold_out(signatures, label, group, logits)
        if len(scores.known) and len(scores.unknown):
            found[name] = separation(scores)
    if DEFAULT not in found:
        return DEFAULT
    area, error = found[DEFAULT]
    name = max(found, key=lambda each: found[each][0])
    return name if found[name][0] > area + _LEAST_GAIN * error else DEFAULT
