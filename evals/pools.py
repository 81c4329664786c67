"""The clips of one data set from one or several folders: what the few-shot scripts share.

A folder has a ``manifest.csv`` (path, readable_label, dataset, group). A pool is all clips whose
data set begins like its name, so that ``jhmdb`` also takes "J-HMDB (fresh source videos)".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cached import features_of
from harness import manifest

import vlar
from vlar.encoders.base import FrameBlock


@dataclass(frozen=True)
class Clips:
    """The clips of a pool; all arrays have one row a clip.

    Attributes:
        name: Of the pool.
        ids: File names without ending.
        label: (n,) readable labels.
        group: (n,) recordings or persons.
        features: (n, T, F) frame features.
        blocks: The parts of F.
    """

    name: str
    ids: tuple[str, ...]
    label: np.ndarray
    group: np.ndarray
    features: np.ndarray
    blocks: tuple[FrameBlock, ...]

    @property
    def labels(self) -> list[str]:
        """All labels, sorted."""
        return sorted(set(self.label.tolist()))

    def rows(self, labels: Sequence[str]) -> np.ndarray:
        """Numbers of the clips that show one of these labels."""
        return np.flatnonzero(np.isin(self.label, labels))

    def block(self, *kinds: str) -> tuple[np.ndarray, tuple[FrameBlock, ...]]:
        """The features of some kinds of blocks, as one block of appearance."""
        starts = np.cumsum([0, *(block.width for block in self.blocks)])
        own = [i for i, block in enumerate(self.blocks) if block.kind in kinds]
        parts = [self.features[..., starts[i] : starts[i + 1]] for i in own]
        joined = np.concatenate(parts, axis=2)
        return joined, (FrameBlock("frames", joined.shape[2], "appearance"),)


def load_pool(
    name: str,
    folders: Sequence[Path],
    model: vlar.Model,
    cache: Path | None,
    least: int = 1,
) -> Clips:
    """The clips of a pool whose label has ``least`` clips."""
    found: list[tuple[Path, dict[str, str]]] = []
    for folder in folders:
        found += [(folder, row) for row in manifest(folder) if _belongs(row, name)]
    labels = [_label(row) for _, row in found]
    found = [pair for pair in found if labels.count(_label(pair[1])) >= least]
    if not found:
        sys.exit(f"no clip of {name!r} in {', '.join(map(str, folders))}")
    return Clips(
        name,
        tuple(Path(row["path"]).stem for _, row in found),
        np.array([_label(row) for _, row in found]),
        np.array([row["group"] for _, row in found]),
        np.stack([features_of(folder, row["path"], model, cache) for folder, row in found]),
        model.encoder.frame_blocks,
    )


def _label(row: dict[str, str]) -> str:
    """The readable label; some manifests have no other one than it."""
    return row.get("readable_label") or row["label"]


def _belongs(row: dict[str, str], name: str) -> bool:
    plain = re.sub(r"[^a-z0-9]", "", row["dataset"].lower())
    return plain.startswith(re.sub(r"[^a-z0-9]", "", name.lower()))
