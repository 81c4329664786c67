"""``folder``: one folder of recordings a label, with or without folders of subsets above."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    Layout,
    Subset,
)
from vlar.fewshot.support import SupportItem
from vlar.registry import register
from vlar.sensors.lookup import reader

_SUBSETS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}


@register("dataset", "folder")
class FolderPerLabel(Layout):
    """``LABEL/*.mp4``, or ``{train,val,test}/LABEL/*.mp4``; without a division all is ``test``.

    Option ``modality``: name of the reader whose recordings are looked for; default ``video``.
    """

    options = ("modality",)

    def claims(self, root: Path) -> bool:
        """See ``Layout``."""
        return root.is_dir() and bool(_folders(root))

    def read(self, root: Path, options: Mapping[str, Any]) -> Dataset:
        """See ``Layout``.

        Raises:
            DatasetError: a label's folder holds no recording, or none is found.
        """
        modality = str(options.get("modality", "video"))
        divided = {f.name: f for f in _folders(root) if f.name.lower() in _SUBSETS}
        places = {_SUBSETS[name.lower()]: f for name, f in divided.items()} or {TEST: root}
        subsets = {name: _subset(place, modality) for name, place in places.items()}
        labels = sorted({item.label for subset in subsets.values() for item in subset.items})
        if not labels:
            raise DatasetError(
                f"{root}: no recording in a folder of its label; see docs/protocols.md"
            )
        return Dataset("folder", root, tuple(labels), subsets)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))


def _subset(place: Path, modality: str) -> Subset:
    items: list[SupportItem] = []
    for folder in _folders(place):
        found = reader(modality).find([folder])
        if not found or found == [folder]:
            raise DatasetError(
                f"{folder}: label {folder.name!r} is an empty class; put recordings into it or "
                "remove it"
            )
        items += [SupportItem(path, None, (folder.name,), str(path)) for path in found]
    return Subset(tuple(items))
