"""Noise of key points on an arm of five points that a user declares: classifiers by severity.

    python evals/arm.py --data ../shared/modalities [--seeds 0 1 2] [--names NAME ...]
        [--json FILE]

Takes of UTD-MHAD that differ by the right arm become files of five points, with ``LAYOUT`` as
``layout.toml`` next to them: an arm that vlar has no layout of, whose base is the point between
the shoulders. Odd subjects teach from clean takes, even ones are asked with noise. All classifiers
read the same at 64 moments: the channels of tracks with those that name points, and the places of
the points less the base. ``ridge``, ``cache`` (the nearest examples), ``prototype`` (the nearest
mean) and ``auto`` are those of ``vlar adapt``, the forest reads the signature ``level+course``, two
towers read the moments. Seeds are those of the forest, the towers and the noise. Control: labels of
the takes that teach shuffled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, percent, some, store, stored
from sensors import halves_of, listed

import vlar
from vlar.encoders.base import FrameBlock, load_encoder
from vlar.encoders.tracks.channels import Body, channels_of
from vlar.encoders.tracks.encoder import TracksEncoder
from vlar.evaluation.corruptions.base import SEVERITIES, corrupt
from vlar.heads.forest import Bins, Growth, grow
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.skeleton.layouts import index
from vlar.metrics.intervals import mean_interval
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask
from vlar.types import Clip, Float32

RATE_HZ = 30.0
LAYOUT = f"""fps = {RATE_HZ}
unit = "m"
front = "hand"
back = "base"
points = ["base", "shoulder", "elbow", "wrist", "hand"]
bones = [["base", "shoulder"], ["shoulder", "elbow"], ["elbow", "wrist"], ["wrist", "hand"]]
"""
JOINTS = {
    "base": "chest",
    **{name: f"right_{name}" for name in ("shoulder", "elbow", "wrist", "hand")},
}
LABELS = (
    "swipe left", "swipe right", "wave", "throw", "draw x", "draw circle clockwise",
    "draw circle counter clockwise", "draw triangle", "bowling", "tennis swing", "tennis serve",
    "push", "knock on door", "catch an object", "pick up and throw", "basketball shoot",
)  # fmt: skip
NOISE = ("jitter", "joint-dropout", "stray")
STRAY = (0.02, 0.05, 0.1, 0.2, 0.35)  # share of points that lie anywhere in the arm's range
HEADS = ("ridge", "cache", "prototype", "auto")
TOWERS = ("temporal", "local-temporal")
CLASSIFIERS = (*HEADS, "forest", *TOWERS)
KIND = "level+course"
GROWTH = Growth(trees=150, columns=60, least=2.0)
SHUFFLED = "labels shuffled"
Answers = Callable[[Float32], np.ndarray]


class Arm(TracksEncoder):
    """Tracks with the channels that name the points of one layout, and the places of the points.

    Args:
        names: V names of the points.
        front: The one at the front.
        back: The one at the back.
    """

    def __init__(self, names: Sequence[str], front: str, back: str) -> None:
        self.count, self.axis = len(names), (names.index(front), names.index(back))
        self.channels = self._channels(np.zeros((9, 1, self.count, 3), np.float32))[0]
        block = FrameBlock("arm", len(self.channels), "signal")
        self.frame_blocks = (block, TracksEncoder.frame_blocks[1])
        super().__init__()

    def _channels(self, points: Float32) -> tuple[list[str], Float32]:
        with np.errstate(all="ignore"):
            body = Body.of(points, RATE_HZ, axis=self.axis, keys=range(self.count))
            names, values = channels_of(points, RATE_HZ, body)
            places = (points - points[:, :, self.axis[1], None]).reshape(len(points), -1)
        names = [*names, *(f"place {number}" for number in range(places.shape[1]))]
        return names, np.concatenate([values, places / body.length], axis=1)

    def features_of(self, clip: Clip) -> Float32:
        """(64, F) channels at even times, and the times; what is not there is 0."""
        values = self._channels(np.asarray(clip.data, np.float32))[1]
        times = np.linspace(0, len(values) - 1, self.feature_rows)
        rows = np.zeros((self.feature_rows, self.frame_dim), np.float32)
        rows[:, -1] = times / RATE_HZ
        for column, curve in enumerate(values.T):
            seen = np.flatnonzero(np.isfinite(curve))
            if len(seen):
                rows[:, column] = np.interp(times, seen, curve[seen])
        return rows.clip(-20, 20)

    def motion(self, features: Float32) -> Float32:
        """Zeros: no word is known of this arm."""
        return np.zeros(self.dim - 1, np.float32)


@dataclass(frozen=True)
class Takes:
    """Recordings of the arm.

    Attributes:
        clips: n, as vlar reads them from their files.
        y: (n,) labels.
        who: (n,) subjects.
        teach: (n,) bool.
    """

    clips: list[Clip]
    y: np.ndarray
    who: np.ndarray
    teach: np.ndarray


def written(points: np.ndarray, file: Path) -> Path:
    """A take (T, V, 3) as a file of named points, with the layout next to it."""
    file.with_name("layout.toml").write_text(LAYOUT, encoding="utf-8")
    names = ",".join(f"{name}_{axis}" for name in JOINTS for axis in "xyz")
    rows = np.column_stack([np.arange(len(points)) / RATE_HZ, points.reshape(len(points), -1)])
    np.savetxt(file, rows, "%.5f", ",", header=f"time_s,{names}", comments="")
    return file


def takes(data: Path, folder: Path) -> Takes:
    """The takes of the arm, written to a folder and read again."""
    clips, y, who = listed("utd", data, load_encoder("skeleton"))
    chosen = [n for n, label in enumerate(y) if label in LABELS]
    joints = [index("kinect20_utd", name) for name in JOINTS.values()]
    files = [written(clips[n].data[:, 0, joints], folder / f"{n}.csv") for n in chosen]
    labels, people = np.array(y)[chosen], np.array(who)[chosen]
    return Takes([vlar.read_clip(f) for f in files], labels, people, halves_of(labels, people))


def noisy(clip: Clip, name: str, severity: int, seed: int) -> np.ndarray:
    """Points (T, M, V, 3) with noise; ``stray`` is the only one that is not of the registry."""
    if name != "stray":
        return corrupt(clip.data, name, severity, seed=seed)
    random = np.random.default_rng(seed)
    low, high = np.nanmin(clip.data, axis=(0, 1, 2)), np.nanmax(clip.data, axis=(0, 1, 2))
    lost = random.random(clip.data.shape[:3]) < STRAY[severity - 1]
    anywhere = low + (high - low) * random.random(clip.data.shape)
    return np.where(lost[..., None], anywhere, clip.data).astype(np.float32)


def forest(rows: Float32, y: np.ndarray, labels: list[str], seed: int) -> Answers:
    """A forest on signatures (n, S)."""
    bins = Bins.of(rows)
    target = (y[:, None] == np.array(labels)).astype(np.float32)
    grown = grow(bins.apply(rows), target, np.ones(len(y)), GROWTH, seed=seed)
    return lambda asked: grown.predict(bins.apply(asked)).argmax(axis=1)


def learned(
    name: str, encoder: Arm, features: Float32, y: np.ndarray, who: np.ndarray, seed: int
) -> Answers:
    """A classifier of features (n, 64, F): features (m, 64, F) to numbers of labels."""
    labels, blocks = sorted(set(y.tolist())), encoder.frame_blocks
    if name == "forest":
        answer = forest(signature(features, blocks, KIND), y, labels, seed)
        return lambda asked: answer(signature(asked, blocks, KIND))
    if name in HEADS:
        head, _ = choose(
            features, blocks, y.tolist(), labels=labels, groups=who.tolist(), method=name
        )
        return lambda asked: head.logits(signature(asked, blocks, head.kind)).argmax(axis=1)
    task = TrainingTask.by_recipe(encoder, name, settings={}, seed=seed)
    paths = [Path(str(row)) for row in range(len(y))]
    dataset = Dataset.single(labels, y.tolist(), who.tolist(), paths)
    training, _ = train_on(task, dataset, FeatureSource(features))
    return lambda asked: held_out_logits(training, asked).argmax(axis=1)


def asked_features(encoder: Arm, clips: list[Clip], seed: int) -> dict[str, list[Float32]]:
    """(m, 64, F) of the takes that are asked, by noise and severity; ``clean`` has one."""
    found = {"clean": [np.stack([encoder.features_of(clip) for clip in clips])]}
    for number, name in enumerate(NOISE):
        found[name] = [
            np.stack(
                [
                    encoder.features_of(replace(c, data=noisy(c, name, severity, at)))
                    for at, c in enumerate(clips, start=1000 * (10 * seed + number))
                ]
            )
            for severity in SEVERITIES
        ]
    return found


def measure(answer: Answers, asked: dict[str, list[Float32]], data: Takes) -> dict[str, Any]:
    """Top-1 in percent by noise and severity, with an interval of the clean one over people."""
    labels, rows = sorted(set(data.y.tolist())), ~data.teach
    truth = np.array([labels.index(label) for label in data.y[rows]])
    found: dict[str, Any] = {
        name: [percent(answer(one) == truth) for one in listed_] for name, listed_ in asked.items()
    }
    spread = mean_interval(answer(asked["clean"][0]) == truth, data.who[rows].tolist())
    if spread:
        found["interval"] = [round(100 * spread.low, 1), round(100 * spread.high, 1)]
    return found


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    given = arguments(
        __doc__, "data", "json", seeds=some([0, 1, 2]), names=some(CLASSIFIERS, choices=CLASSIFIERS)
    )
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(given.json, {"vlar": vlar.__version__})
    with tempfile.TemporaryDirectory() as folder:
        data = takes(given.data, Path(folder))
    meta = data.clips[0].meta
    encoder = Arm(meta["points"], meta["front"], meta["back"])
    results |= {"taught": int(data.teach.sum()), "asked": int((~data.teach).sum())}
    teach = np.stack([c.features for c in encoder.encode(data.clips)])[data.teach]
    clips = [clip for clip, own in zip(data.clips, data.teach, strict=True) if not own]
    y, who = data.y[data.teach], data.who[data.teach]
    for seed in given.seeds:
        asked = asked_features(encoder, clips, seed)
        wrong = np.random.default_rng(seed).permutation(y)
        for name in given.names:
            for title, labels in ((name, y), (f"{name}, {SHUFFLED}", wrong)):
                rows = results.setdefault(title, {})
                if str(seed) in rows or (labels is wrong and seed != given.seeds[0]):
                    continue
                answer = learned(name, encoder, teach, labels, who, seed)
                part = asked if labels is y else {"clean": asked["clean"]}
                rows[str(seed)] = measure(answer, part, data)
                print(title, seed, rows[str(seed)], flush=True)
                store(given.json, results)


if __name__ == "__main__":
    main()
