"""Clips and composites of the scripts on learning from words, encoded once with parts of frames.

Shared by ``maxi.py``, ``units.py`` and ``several_labels.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cached import array_of, features_of, file_of
from composites import side_by_side
from harness import manifest, store

import vlar
from vlar.encoders.protocols import WithRegions
from vlar.media.video.decode import read_clip
from vlar.types import Clip

GRID = 2
PAIRS = 60  # composites of a half
JHMDB = ("jhmdb", "J-HMDB (fresh source videos)")
POOLS = (*JHMDB, "ucf101", "hmdb51", "kinetics")


@dataclass(frozen=True)
class Row:
    """A clip of a manifest."""

    folder: Path
    path: str
    label: str
    pool: str
    group: str


def rows(shared: Path, pools: tuple[str, ...]) -> list[Row]:
    """The clips of some data sets, in the order of the pools."""
    found: list[Row] = []
    for folder in (shared / "videos", shared / "clips"):
        found += [
            Row(folder, row["path"], row["readable_label"], row["dataset"], row["group"])
            for row in manifest(folder)
            if row["dataset"] in pools
        ]
    return sorted(found, key=lambda row: pools.index(row.pool))


def halves(clips: list[Row]) -> tuple[list[Row], list[Row]]:
    """Two halves that share no group: of each label every second group is in the other half."""
    side: dict[str, int] = {}
    for label in sorted({clip.label for clip in clips}):
        fresh = sorted({clip.group for clip in clips if clip.label == label} - side.keys())
        side |= {group: number % 2 for number, group in enumerate(fresh)}
    parts = ([clip for clip in clips if side[clip.group] == half] for half in (0, 1))
    return tuple(parts)


def pairs(shared: Path, half: int) -> list[tuple[Row, Row]]:
    """The clips of each composite of a half: two labels, both clips of this half."""
    clips = halves(rows(shared, JHMDB))[half]
    random = np.random.default_rng(half)
    found: list[tuple[Row, Row]] = []
    while len(found) < PAIRS:
        for first in random.permutation(len(clips)):
            others = [clip for clip in clips if clip.label != clips[first].label]
            found.append((clips[first], others[int(random.integers(len(others)))]))
    return found[:PAIRS]


def wide(model: vlar.Model) -> WithRegions:
    """The model's encoder with the parts of every frame."""
    return WithRegions(model.encoder, GRID, GRID)


def clip_features(
    row: Row, model: vlar.Model, cache: Path, plain: Path | None = None
) -> np.ndarray:
    """(T, F + R D) features of a clip; ``plain`` may hold those without parts already."""

    def make() -> np.ndarray:
        clip = _read(row, model)
        own = features_of(row.folder, row.path, model, plain or cache)
        return _with_parts(own, clip, model)

    return _kept(f"{row.path}", model, cache, make)


def composite_features(first: Row, second: Row, model: vlar.Model, cache: Path) -> np.ndarray:
    """(T, F + R D) features of two clips side by side."""

    def make() -> np.ndarray:
        one, other = _read(first, model), _read(second, model)
        data = side_by_side(one.data, other.data)
        clip = Clip(one.path, one.window, one.modality, data, one.times_s)
        return _with_parts(model.encode([clip])[0].features, clip, model)

    return _kept(f"{first.path} | {second.path}", model, cache, make)


def one_then_other(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Features (T, F) of two clips one after the other: half of the frames of each.

    It is what the frames of a cut recording give; paths of bodies end at the cut either way.
    """
    half = len(first) // 2
    return np.concatenate([first[::2][:half], second[1::2][: len(first) - half]])


def gains(
    score: str, rows: list[dict[str, float]], base: list[dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Mean score over seeds by part of the clips, and gain over the base with its standard error.

    Args:
        score: Its name in the table.
        rows: For each seed the score of each part.
        base: The same of the compared method.
    """
    table: dict[str, dict[str, float]] = {}
    for name in rows[0]:
        gain = np.array([row[name] - own[name] for row, own in zip(rows, base, strict=True)])
        table[name] = {
            score: round(float(np.mean([row[name] for row in rows])), 1),
            "gain": round(float(gain.mean()), 1),
            "se": round(float(gain.std(ddof=1) / len(gain) ** 0.5), 1) if len(gain) > 1 else 0.0,
        }
    return table


def report(
    score: str,
    found: dict[str, list[dict[str, float]]],
    base: Callable[[str], str],
    file: Path | None,
    settings: dict[str, Any],
) -> None:
    """Print the gains of all methods over their base, and write them with those of each seed."""
    table = {name: gains(score, rows, found[base(name)]) for name, rows in found.items()}
    for name, row in table.items():
        print(f"{name:28s}", row)
    store(file, {**settings, "results": table, "seeds_alone": found})


def _read(row: Row, model: vlar.Model) -> Clip:
    return read_clip(row.folder / row.path, None, model.sampling, shorter_side=model.shorter_side)


def _with_parts(own: np.ndarray, clip: Clip, model: vlar.Model) -> np.ndarray:
    parts = model.encoder.encode_regions(clip.data, GRID, GRID)
    return np.concatenate([own, parts.reshape(len(parts), -1)], axis=1)


def _kept(name: str, model: vlar.Model, cache: Path, make) -> np.ndarray:
    return array_of(file_of(cache, f"{name} {wide(model).fingerprint}"), make)


def remember_texts(encoder) -> None:
    """Encode each text once; the vectors are those of ``encode_text``."""
    plain, kept = encoder.encode_text, {}

    def encode_text(texts, role="label") -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in kept]
        if new:
            kept.update(zip(new, plain(new, role), strict=True))
        return np.stack([kept[text] for text in texts]) if texts else plain(texts, role)

    encoder.encode_text = encode_text
