"""Descriptions of a sound for a few examples. Folds 1 and 3 of ESC-10 alone are read.

The description and the factors of ``vlar/encoders/audio.py`` were chosen by these
numbers. Some clips of each label teach and the others are tested, clips of one recording together,
in several draws; then one fold teaches the other. Noise and other changes are in the tested clips
alone. Controls that must fail: the labels of the examples shuffled, and the names of the labels
permuted.

    python evals/sounds.py --data DIR [--json FILE] [--draws 20] [--scales FILE]

DIR holds ``manifest.csv`` (path, label, group) and the files that it names. ``--scales`` writes the
means and deviations of the statistics over these folds, which need no labels.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import Namespace, arguments, manifest, store

from vlar.encoders.audio import STATISTICS_NAMES, log_mel, statistics
from vlar.encoders.base import load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import join, parse_kind, terms
from vlar.media.lookup import reader
from vlar.types import Clip, Float32

FOLDS = ("fold1", "fold3")
BEFORE = (
    "course+spread+speed", "course+spread+speed+level", "spread+speed", "spread+speed+clip",
    "level+spread+speed+clip", "clip",
)  # fmt: skip
DESCRIBED = ("statistics",)
FAMILIES = {  # the beginnings of their names
    "cepstrum": ("mfcc",),
    "slopes": ("slope",),
    "spectral shape": ("centroid", "bandwidth", "rolloff", "flatness", "flux"),
    "level": ("level", "time that", "step of", "rise", "fall"),
    "modulation": ("modulation",),
}


@dataclass(frozen=True)
class Sounds:
    """Encoded clips.

    Attributes:
        features: (N, T, F).
        y: N labels.
        fold: N names of folds.
        source: N recordings that clips were cut from.
    """

    features: Float32
    y: np.ndarray
    fold: np.ndarray
    source: np.ndarray


def main() -> None:
    """Print the tables, and write them as JSON."""
    given = arguments(__doc__, "data", "json", draws=20, scales=Path)
    clips, entries = read(given.data)
    if given.scales:
        write_scales(clips, given.scales)
        return
    data = encoded(clips, entries)
    found: dict[str, Any] = {"clips": len(clips), "draws": given.draws}
    for shots in (1, 2, 3):
        found[f"{shots} examples"] = {
            "before": row(f"{shots} examples, bands and attributes", data, BEFORE, shots, given),
            "statistics": row(f"{shots} examples, statistics", data, DESCRIBED, shots, given),
        }
    found["shuffled"] = row("2 examples, labels shuffled", data, DESCRIBED, 2, given, shuffle=True)
    found["permuted"] = row("2 examples, names permuted", data, DESCRIBED, 2, given, permute=True)
    for name, begins in FAMILIES.items():
        less = without(data, begins)
        found[f"without {name}"] = row(f"2 examples, without {name}", less, DESCRIBED, 2, given)
    for factor in (0.5, 1 / 1.4, 2 / 1.4):
        title = f"2 examples, modulation times {1.4 * factor:.1f}, not 1.4"
        other = times(data, FAMILIES["modulation"], factor)
        found[title] = row(title, other, DESCRIBED, 2, given)
    for name, alter in ALTERED.items():
        heard = encoded([replace(c, data=alter(c.data)) for c in clips], entries)
        found[f"tested with {name}"] = {
            "before": row(f"{name}, bands and attributes", data, BEFORE, 2, given, tested=heard),
            "statistics": row(f"{name}, statistics", data, DESCRIBED, 2, given, tested=heard),
        }
    store(given.json, found)


def row(
    title: str, data: Sounds, kinds: tuple[str, ...], shots: int, given: Namespace,
    *, shuffle: bool = False, permute: bool = False, tested: Sounds | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Print and give the accuracy over draws, and of one fold by the other."""
    random = np.random.default_rng(0)
    drawn = [
        accuracy(data, chosen, kinds, random if shuffle else None, permute=permute, tested=tested)
        for chosen in draws(data, shots, given.draws)
    ]
    folds = [
        accuracy(data, data.fold == fold, kinds, random if shuffle else None, permute=permute,
                 tested=tested)
        for fold in FOLDS
    ]  # fmt: skip
    print(
        f"{title:48s} {100 * np.mean(drawn):5.1f} +- {100 * np.std(drawn):4.1f} %   fold to fold "
        f"{' '.join(f'{100 * each:.0f}' for each in folds)}",
        flush=True,
    )
    return {"mean": float(np.mean(drawn)), "sd": float(np.std(drawn)), "fold to fold": folds}


def accuracy(
    data: Sounds, chosen: np.ndarray, kinds: tuple[str, ...], shuffle: np.random.Generator | None,
    *, permute: bool, tested: Sounds | None,
) -> float:  # fmt: skip
    """Share of the clips that were not chosen whose label ``auto`` finds, without texts."""
    blocks = load_encoder("audio").frame_blocks
    y = data.y[chosen] if shuffle is None else shuffle.permutation(data.y[chosen])
    head, _ = choose(data.features[chosen], blocks, y.tolist(), kinds=kinds)
    features = (tested or data).features[~chosen]
    rows = join(terms(features, blocks, tuple(parse_kind(head.kind))), head.kind)
    answers = head.logits(rows).argmax(axis=1)
    names = np.array(head.labels)
    return float((np.roll(names, int(permute))[answers] == data.y[~chosen]).mean())


def draws(data: Sounds, shots: int, count: int) -> Iterator[np.ndarray]:
    """(N,) bool: ``shots`` clips of each label or a few more, all clips of a recording together."""
    random = np.random.default_rng(shots)
    for _ in range(count):
        chosen = np.zeros(len(data.y), bool)
        for label in sorted(set(data.y.tolist())):
            own = data.y == label
            for source in random.permutation(sorted(set(data.source[own].tolist()))):
                if chosen[own].sum() < shots:
                    chosen |= own & (data.source == source)
        yield chosen


def without(data: Sounds, begins: tuple[str, ...]) -> Sounds:
    """The statistics whose names begin so are 0."""
    return times(data, begins, 0.0)


def times(data: Sounds, begins: tuple[str, ...], factor: float) -> Sounds:
    """The statistics whose names begin so times a factor."""
    features = data.features.copy()
    named = np.array([name.startswith(begins) for name in STATISTICS_NAMES])
    features[..., -len(STATISTICS_NAMES) :] *= np.where(named, factor, 1).astype(np.float32)
    return replace(data, features=features)


def read(folder: Path) -> tuple[list[Clip], Sequence[Mapping[str, str]]]:
    """The clips of the two folds, and their rows of the manifest."""
    source, sampling = reader("audio"), load_encoder("audio").sampling
    entries = [
        entry for entry in manifest(folder)
        if entry["path"].startswith("esc10/") and entry["group"] in FOLDS
    ]  # fmt: skip
    return [source.read_clip(folder / e["path"], None, sampling) for e in entries], entries


def encoded(clips: list[Clip], entries: Sequence[Mapping[str, str]]) -> Sounds:
    """Clips one by one."""
    encoder = load_encoder("audio")
    features = np.concatenate([[encoder.encode([clip])[0].features] for clip in clips])
    sources = [Path(entry["path"]).stem.rsplit("-", 1)[0] for entry in entries]
    y, fold = ([entry[key] for entry in entries] for key in ("label", "group"))
    return Sounds(features, np.array(y), np.array(fold), np.array(sources))


def write_scales(clips: list[Clip], file: Path) -> None:
    """The mean and the deviation of each statistic over the clips."""
    values = np.stack([statistics(log_mel(c.data - c.data.mean())) for c in clips])
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(["name", "centre", "width"])
        for name, column in zip(STATISTICS_NAMES, values.T, strict=True):
            table.writerow([name, f"{column.mean():.3g}", f"{column.std():.3g}"])


def with_noise(sound: Float32) -> Float32:
    """Noise 20 dB under the sound."""
    noise = np.random.default_rng(len(sound)).normal(size=len(sound))
    return (sound + 0.1 * np.sqrt(np.mean(sound**2)) * noise).astype(np.float32)


def darker(sound: Float32) -> Float32:
    """The high half is weaker, as through a wall."""
    return np.convolve(sound, [1.0, 0.5], "same").astype(np.float32)


def quieter(sound: Float32) -> Float32:
    """A twentieth of the amplitude."""
    return 0.05 * sound


ALTERED: dict[str, Callable[[Float32], Float32]] = {
    "noise": with_noise, "a darker sound": darker, "a quieter sound": quieter,
}  # fmt: skip


if __name__ == "__main__":
    main()
