"""Unlabelled clips of a training: recordings without labels, whole."""

from __future__ import annotations

from pathlib import Path

from vlar.errors import UsageError
from vlar.fewshot.support import SupportItem
from vlar.sensors.lookup import find


def find_unlabelled(source: str | Path, modality: str | None = None) -> list[SupportItem]:
    """The recordings of a folder (at any depth), as examples without labels.

    Args:
        source: The folder.
        modality: Name of the sensor; None for any.

    Raises:
        UsageError: the folder does not exist, or holds no recording.
    """
    folder = Path(source).expanduser()
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder of unlabelled clips; correct the path")
    found = find([folder], modality)
    if not found:
        raise UsageError(f"{folder}: no recording in this folder of unlabelled clips; add some")
    return [SupportItem(path, None, (), str(path)) for path in found]
