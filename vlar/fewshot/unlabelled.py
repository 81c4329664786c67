"""Unlabelled clips of a training: recordings without labels, from a folder or a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlar.errors import UsageError
from vlar.fewshot.support import SupportItem, names_paths, read_unlabelled
from vlar.sensors.lookup import find


def find_unlabelled(
    source: str | Path, modality: str | None = None, *, facts: Sequence[str] = ()
) -> list[SupportItem]:
    """The recordings of a folder (at any depth) or of a CSV file, as examples without labels.

    Args:
        source: The folder, whose recordings are taken whole, or a CSV ``path[,domain]``.
        modality: Name of the sensor; None for any.
        facts: Columns of a CSV that are read next to those that every CSV may have.

    Raises:
        UsageError: the source does not exist, holds no recording, or is a CSV that cannot be read.
    """
    folder = Path(source).expanduser()
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder of unlabelled clips; correct the path")
    if names_paths(folder):
        items = read_unlabelled(folder, facts)
    else:
        items = [SupportItem(path, None, (), str(path)) for path in find([folder], modality)]
    if not items:
        raise UsageError(f"{folder}: no recording in this folder of unlabelled clips; add some")
    return items
