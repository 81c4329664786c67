"""Subsets of the sensors of bundles, and clips in which only some of them were recorded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from vlar.errors import ProtocolError
from vlar.heads.support import SupportItem
from vlar.media.bundle import ENDING, bundle_parts, write_bundle
from vlar.media.lookup import sensors_of

_MOST = 8  # sensors: 255 subsets, and as many models


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset of M names, 2^M - 1 of them, the smallest first.

    >>> subsets(["skeleton", "imu"])
    [('skeleton',), ('imu',), ('skeleton', 'imu')]

    Raises:
        ProtocolError: no name is given, one comes twice, or there are over eight.
    """
    if not names or len(set(names)) < len(names):
        raise ProtocolError(f"the sensors are {list(names)}; name each once, and at least one")
    if len(names) > _MOST:
        raise ProtocolError(
            f"{len(names)} sensors have {2 ** len(names) - 1} subsets; name at most {_MOST}"
        )
    return [each for size in range(1, len(names) + 1) for each in combinations(names, size)]


def recorded_by(
    items: Iterable[SupportItem], sensors: Sequence[str], folder: Path
) -> list[SupportItem]:
    """The clips with the recordings of some sensors alone; those that have none are left out.

    Args:
        items: Bundles and plain recordings, whole.
        sensors: What was recorded.
        folder: Gets a bundle file for each bundle that loses a part.

    Raises:
        ProtocolError: an item is a span: without its first part a bundle has another clock.
    """
    found: list[SupportItem] = []
    home = Path(os.path.realpath(folder))
    for number, item in enumerate(items):
        there = sensors_of(item.path)
        kept = [name for name in there if name in sensors]
        if kept == there:  # nothing is lost, or it cannot be read, which reading it will report
            found.append(item)
            continue
        if item.window is not None:
            raise ProtocolError(f"{item.path}: a span of a bundle; cut it into a file of its own")
        if kept:
            parts = bundle_parts(item.path)
            own = {n: replace(parts[n], path=parts[n].path.absolute()) for n in kept}
            path = write_bundle(home / f"{number}-{'+'.join(kept)}{ENDING}", own)
            found.append(replace(item, path=path))
    return found
