"""Less compute: accuracy over counted operations, next to random choices at equal usage.

    python evals/compute.py --videos DIR [--sets weizmann jhmdb] [--systems ar-net ada-fuse]
        [--seeds 0 1 2] [--cache DIR] [--json evals/results/compute.json]

DIR holds ``manifest.csv``. Groups of even rank teach, the others are asked. ``ar-net`` chooses the
sizes of ``lite-objects``, for several budgets, next to every frame at one size; its encoder keeps
its own weights. ``ada-fuse`` spares channels of a network that starts from random weights, as no
public ones are to be had here, for several weights of the operations. The control of both makes
random choices as often as the learned ones; the mean of ten draws is the line to beat. CPU seconds
are those of an encoding of ten clips, by the choices and in full. A result is kept for each set,
system, setting and seed, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from motion_towers import FRAMES, SIDE, InMemory, clip_of, features_of
from zero_shot import read_rows

from vlar import registry
from vlar.adapters.tower_network import draw
from vlar.encoders.base import Encoder, load_encoder
from vlar.media.video.decode import read_clip
from vlar.methods.video_net.ada_fuse import Gate, Spent
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.types import Clip

SYSTEMS = {"ar-net": ("budget", (0.25, 0.5, 0.75)), "ada-fuse": ("saving", (0.0, 0.3, 1.0))}
DRAWS = 10


def clips_of(name: str, videos: Path, cache: Path) -> tuple[list[Clip], list[str], list[str]]:
    """The clips of a set, at most 200 pixels high, their labels and their groups."""
    rows, file = read_rows(videos, name), cache / f"{name}-{FRAMES}-large.npz"
    if not file.exists():
        found = [read_clip(videos / r["path"], n_frames=FRAMES, shorter_side=200) for r in rows]
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, *[clip.data for clip in found])
    with np.load(file) as kept:
        frames = [kept[f"arr_{row}"] for row in range(len(rows))]
    clips = [clip_of(each, f"{name} {row}") for row, each in enumerate(frames)]
    return clips, [r["readable_label"] for r in rows], [r["group"] for r in rows]


def right(adapter: Any, vectors: np.ndarray, labels: list[str], y: np.ndarray) -> float:
    """Top-1 of vectors (m, D) with the labels that an adapter was trained for."""
    words = torch.from_numpy(adapter.prompt_vectors(labels))
    with torch.inference_mode():
        concepts = adapter.network.concepts(words).numpy()
    return 100 * float(((vectors @ concepts.T).argmax(axis=1) == y).mean())


def ar_net(given: dict[str, Any], budget: float, seed: int) -> dict[str, Any]:
    """The learned policy, random choices at its usage, and single sizes."""
    adapter = registry.get("adapter", "ar-net").attach(given["encoder"], {"budget": budget})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in (*adapter.network.look, adapter.network.cell, adapter.network.choose):
            getattr(layer, "reset_parameters", lambda: None)()
    file = given["cache"] / f"{given['name']}-{FRAMES}-sizes.npy"
    if not file.exists():
        rows = [adapter.clip_inputs(clip, None).numpy() for clip in given["clips"]]  # type: ignore[arg-type]
        np.save(file, np.stack(rows))
    inputs, teach, ask = np.load(file), given["teach"], given["ask"]
    numbers = load_recipe("ar-net/adapt")
    Training(adapter, FeatureLoader(inputs[teach], given["data"].paths), given["data"], numbers,
             seed=seed).run()  # fmt: skip
    network, width = adapter.network, len(adapter.chosen.at) * adapter.dim
    asked = torch.from_numpy(inputs[ask])
    rows = asked[..., :width].unflatten(2, (-1, adapter.dim))
    small = asked[..., width:].unflatten(2, (3, adapter.config.small, -1))
    with torch.inference_mode():
        decisions, _ = network.decide(small)

        def top1(choice: torch.Tensor) -> float:
            vectors = network.pooled_sizes(choice, rows).numpy()
            return right(adapter, vectors, given["labels"], given["y"][ask])

        usage = decisions.mean(dim=(0, 1))
        logits = usage.clamp_min(1e-9).log().expand_as(decisions).clone()
        first = logits[:, 0].clone()
        first[:, network.sizes :] = -50.0  # as for the policy, the first frame is encoded
        logits[:, 0] = first
        random = [draw(logits, 1.0, seed=100 * seed + number) for number in range(DRAWS)]
        sizes = torch.eye(decisions.shape[2])[: network.sizes]
        even = [row.expand_as(decisions) for row in sizes]
        one = {
            f"all frames at {side}": [
                round(float(network.share(row).mean()), 3),
                round(top1(row), 2),
            ]
            for side, row in zip(adapter.config.sizes, even, strict=True)
        }
        lines = [top1(each) for each in random]
        shares = [float(network.share(each).mean()) for each in random]
    ten = [given["clips"][row] for row in ask[:10]]
    return {
        "share": round(float(network.share(decisions).mean()), 3),
        "top1": round(top1(decisions), 2),
        "random": round(float(np.mean(lines)), 2),
        "random_deviation": round(float(np.std(lines, ddof=1)), 2),
        "random_share": round(float(np.mean(shares)), 3),
        "usage": [round(float(each), 3) for each in usage],
        "cpu_s": timed(lambda: adapter.encode(ten)),
        "full_cpu_s": timed(lambda: given["encoder"].encode(ten)),
        **one,
    }


def ada_fuse(given: dict[str, Any], saving: float, seed: int) -> dict[str, Any]:
    """Learned choices of channels, and random ones as often in every layer."""
    settings = {"saving": saving, "width": 8, "size": SIDE, "frames": FRAMES}
    adapter = registry.get("adapter", "ada-fuse").attach(given["encoder"], settings)
    for clip, features in zip(given["clips"], given["features"], strict=True):
        vector = given["encoder"].pool(features[None])[0]
        adapter._seen[clip.path, clip.window] = vector, None
    loader = InMemory([given["clips"][row] for row in given["teach"]], adapter)
    Training(adapter, loader, given["data"], load_recipe("video-net/adapt"), seed=seed).run()
    ask, network = given["ask"], adapter.network
    inputs = torch.stack([adapter.watched.small(given["clips"][row], None, as_read) for row in ask])
    own = given["encoder"].pool(given["features"][ask])
    used: dict[Any, torch.Tensor] = {}
    plain = Gate.forward

    def run(seed: int | None) -> tuple[float, float]:
        def gate(self: Gate, x: torch.Tensor) -> torch.Tensor:
            choice = plain(self, x)
            if seed is None:
                used[self] = choice.mean(dim=(0, 1), keepdim=True)
                return choice
            return draw(used[self].clamp_min(1e-9).log().expand_as(choice), 1.0, seed=seed)

        Gate.forward = gate
        try:
            with torch.inference_mode():
                spent = Spent()
                moved = network.answer(network.features(inputs, spent)).numpy()
        finally:
            Gate.forward = plain
        vectors = own + moved
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        top1 = right(adapter, vectors, given["labels"], given["y"][ask])
        return float(spent.share().mean()), top1

    share, top1 = run(None)
    lines = [run(100 * seed + number) for number in range(DRAWS)]
    return {
        "share": round(share, 3),
        "top1": round(top1, 2),
        "random": round(float(np.mean([line for _, line in lines])), 2),
        "random_deviation": round(float(np.std([line for _, line in lines], ddof=1)), 2),
        "random_share": round(float(np.mean([each for each, _ in lines])), 3),
    }


def as_read(frames: Any, size: Any, colours: bool = True) -> torch.Tensor:
    """Pixels as in use."""
    from vlar.methods.video_net.adapter import as_in_use

    return as_in_use(frames, size, colours)


def timed(run: Any) -> float:
    """CPU seconds of a second call."""
    run()
    begin = time.process_time()
    run()
    return round(time.process_time() - begin, 2)


def prepared(name: str, videos: Path, cache: Path, encoder: Encoder) -> dict[str, Any]:
    """Clips, features, labels and halves of a set."""
    clips, y, groups = clips_of(name, videos, cache)
    labels = sorted(set(y))
    half = np.array([sorted(set(groups)).index(group) % 2 for group in groups])
    teach, ask = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
    data = Dataset.single(
        labels, [y[row] for row in teach], [groups[row] for row in teach],
        [clips[row].path for row in teach],
    )  # fmt: skip
    file = cache / f"{name}-{FRAMES}-large-lite.npy"
    return {
        "name": name, "encoder": encoder, "clips": clips, "labels": labels, "cache": cache,
        "y": np.array([labels.index(label) for label in y]), "teach": teach, "ask": ask,
        "data": data, "features": features_of(encoder, clips, file),
    }  # fmt: skip


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["weizmann", "jhmdb"])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--cache", type=Path, default=Path("/tmp/vlar-compute"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    if options.json and options.json.exists():
        results = json.loads(options.json.read_text())
    encoder = load_encoder("lite-objects")
    for name in options.sets:
        given = prepared(name, options.videos, options.cache, encoder)
        for system in options.systems:
            setting, values = SYSTEMS[system]
            for value, seed in ((value, seed) for seed in options.seeds for value in values):
                rows = results.setdefault(name, {}).setdefault(system, {})
                rows = rows.setdefault(f"{setting} {value:g}", {})
                if str(seed) in rows:
                    continue
                measure = ar_net if system == "ar-net" else ada_fuse
                rows[str(seed)] = measure(given, value, seed)
                print(f"{name}, {system}, {setting} {value}, seed {seed}: {rows[str(seed)]}",
                      flush=True)  # fmt: skip
                if options.json:
                    options.json.parent.mkdir(parents=True, exist_ok=True)
                    options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
