"""Motion: clips played forward and backward as two labels, alike in frames without order.

    python evals/motion_towers.py --videos DIR [--sets weizmann jhmdb] [--methods NAME ...]
        [--seeds 0 1 2] [--control labels] [--cache DIR] [--json evals/results/motion_towers.json]

DIR holds ``manifest.csv``. Every clip is there twice, forward and backward, and groups (people,
films) are apart: folds of groups are held out in turn. All networks start from random weights, as
no public weights are to be had; they have the same width, frames, pixels and epochs:

frames      2-D filters on every frame alone, and their mean: the same for both ways, so 50.0
r2plus1d    the same network with each filter over space followed by one over time
i3d         the same network inflated
temporal    a transformer over frozen features of single frames (``lite-objects``)

The control ``labels`` shuffles the two labels of the clips that teach. A result is kept for each
set, method, seed and control, and is not measured again, so that a run may be stopped and resumed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of
from harness import arguments, manifest, some, store, stored

import vlar
from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.media.video.decode import read_clip
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader, RecordingLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.types import Clip

METHODS = ("frames", "r2plus1d", "i3d", "temporal")
LABELS = ("a video played forward", "a video played backward")
FOLDS = {"weizmann": 5, "jhmdb": 3}
FRAMES, SIDE = 12, 48


class InMemory(RecordingLoader):
    """Clips that were read before."""

    def __init__(self, clips: Sequence[Clip], encoder: Encoder) -> None:
        self.clips, self.encoder, self.failed = clips, encoder, {}
        self.paths = [clip.path for clip in clips]

    def read(self, rows: Any, numbers: Any, randoms: Any) -> list[Clip]:
        del numbers, randoms
        return [self.clips[row] for row in rows]


def read_set(name: str, videos: Path, cache: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Frames (n, T, H, W, 3) of a set, their labels and their groups."""
    rows, file = manifest(videos, name), cache / f"{name}-{FRAMES}.npy"
    if not file.exists():
        side, found = SIDE * 4 // 3, []
        for row in rows:
            clip = read_clip(videos / row["path"], n_frames=FRAMES, shorter_side=2 * side)
            pixels = torch.from_numpy(clip.data).permute(0, 3, 1, 2).float()
            small = torch.nn.functional.interpolate(pixels, (side, side), mode="area")
            found.append(small.round().byte().permute(0, 2, 3, 1).numpy())
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.stack(found))
    return np.load(file), [row["label"] for row in rows], [row["group"] for row in rows]


def clip_of(frames: np.ndarray, name: str) -> Clip:
    """Frames as a clip of a second."""
    times_s = np.linspace(0, 1, len(frames))
    return Clip(Path(name), vlar.Window(0.0, 1.0), "video", frames, times_s)


def features_of(encoder: Encoder, clips: Sequence[Clip], file: Path) -> np.ndarray:
    """(n, T, F) of the clips forward, from a file where they were computed before."""
    return array_of(file, lambda: np.stack([encoder.encode([c])[0].features for c in clips]))


def trained(
    method: str, encoder: Encoder, given: dict[str, Any], teach: np.ndarray, y: np.ndarray,
    seed: int, epochs: int,
) -> tuple[Any, Training]:  # fmt: skip
    """An adapter that learned from the clips of some rows."""
    clips = [given["clips"][row] for row in teach]
    dataset = Dataset.single(
        LABELS, [LABELS[way] for way in y[teach]], [str(row) for row in teach],
        [clip.path for clip in clips],
    )  # fmt: skip
    if method == "temporal":
        adapter = registry.get("adapter", "temporal").attach(encoder, {"blocks": ["appearance"]})
        features = given["features"][teach]
        adapter.fit_inputs(features)
        loader: Any = FeatureLoader(adapter.training_inputs(features), dataset.paths)
        numbers = load_recipe("temporal/adapt").replaced(flip=False, time_jitter=0.0)
    else:
        settings = {"network": method, "width": given["width"], "size": SIDE, "frames": FRAMES}
        with torch.random.fork_rng():
            adapter = registry.get("adapter", "video-net").attach(encoder, settings)
            torch.manual_seed(seed)
            for layer in adapter.network.body.modules():
                if layer is not adapter.network.leave and hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
        for clip, features in zip(clips, given["features"][teach], strict=True):
            adapter._seen[clip.path, clip.window] = encoder.pool(features[None])[0], None
        loader = InMemory(clips, adapter)
        numbers = load_recipe("video-net/adapt").replaced(epochs=epochs)
    training = Training(adapter, loader, dataset, numbers, seed=seed)
    training.run()
    return adapter, training


def answers(
    method: str, adapter: Any, encoder: Encoder, given: dict[str, Any], ask: np.ndarray
) -> np.ndarray:
    """(m,) the way that a trained adapter answers."""
    words = torch.from_numpy(adapter.prompt_vectors(adapter.config.labels))
    with torch.inference_mode():
        concepts = adapter.network.concepts(words).numpy()
    features = given["features"][ask]
    if method != "temporal":
        clips = [given["clips"][row] for row in ask]
        more = [adapter.watched.rows(c, f) for c, f in zip(clips, features, strict=True)]
        features = np.concatenate([features, np.stack(more)], axis=2)
    return (adapter.pool(features) @ concepts.T).argmax(axis=1)


def measure(
    name: str, method: str, seed: int, control: str, given: dict[str, Any], epochs: int
) -> dict[str, Any]:
    """Accuracy over the held-out folds, its standard error over groups, and CPU seconds."""
    encoder, way, groups = given["encoder"], given["way"], given["groups"]
    fold = np.array([sorted(set(groups)).index(group) % FOLDS[name] for group in groups])
    right, begin = np.zeros(len(way), bool), time.process_time()
    for held in range(FOLDS[name]):
        teach, ask = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        y = way.copy()
        if control == "labels":
            y[teach] = np.random.default_rng(seed).permutation(y[teach])
        adapter, _ = trained(method, encoder, given, teach, y, seed, epochs)
        right[ask] = answers(method, adapter, encoder, given, ask) == way[ask]
    of_group = [right[np.array(groups) == group].mean() for group in sorted(set(groups))]
    return {
        "top1": round(100 * float(right.mean()), 2),
        "error": round(100 * float(np.std(of_group, ddof=1) / np.sqrt(len(of_group))), 2),
        "clips": len(way),
        "cpu_s": round(time.process_time() - begin, 1),
    }


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    options = arguments(
        __doc__, "videos", "json", sets=some(list(FOLDS), choices=list(FOLDS)),
        methods=some(list(METHODS), choices=METHODS), seeds=some([0]),
        control={"choices": ("labels",), "default": ""}, epochs=20, width=8,
        cache=Path("/tmp/vlar-motion"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(
        options.json, {"weights": "random: no public ones are to be had here"}
    )
    encoder = load_encoder("lite-objects")
    for name in options.sets:
        frames, _, groups = read_set(name, options.videos, options.cache)
        forward = [clip_of(each, f"{row} forward") for row, each in enumerate(frames)]
        backward = [clip_of(each[::-1], f"{row} backward") for row, each in enumerate(frames)]
        features = features_of(encoder, forward, options.cache / f"{name}-{FRAMES}-lite.npy")
        given = {
            "encoder": encoder,
            "clips": [replace(clip, data=np.ascontiguousarray(clip.data))
                      for clip in (*forward, *backward)],
            "features": np.concatenate([features, features[:, ::-1]]),
            "way": np.repeat([0, 1], len(forward)),
            "groups": [*groups, *groups],
            "width": options.width,
        }  # fmt: skip
        for method in options.methods:
            for seed in options.seeds:
                how = f"{FRAMES} frames, {SIDE} pixels, width {options.width}, {options.epochs}"
                kind = options.control or "labels as they are"
                rows = results.setdefault(name, {}).setdefault(kind, {}).setdefault(method, {})
                if str(seed) in rows:
                    continue
                rows[str(seed)] = measure(
                    name, method, seed, options.control, given, options.epochs
                )
                results["sizes"] = f"{how} epochs"
                print(f"{name}, {options.control}, {method}, {seed}: {rows[str(seed)]}", flush=True)
                store(options.json, results)


if __name__ == "__main__":
    main()
