"""Recognisers trained together with what spares them operations, at equal operations.

    python evals/compute.py --videos DIR [--sets jhmdb] [--systems NAME ...] [--seeds 5]
        [--first 0] [--cache DIR] [--json FILE]

DIR holds ``manifest.csv``. A seed draws the half of the groups of each label that teaches, and the
start; the others are asked. Every row is kept and is not measured again.

ar-net           sizes and skips of the frames of ``lite-objects``, whose vectors are frozen: the
                 policy and residuals of the labels' texts are trained
ar-net-together  the same, and a layer of each size over the encoder's vectors, trained with the
                 policy, in the place of the paper's classifier of each size
ada-fuse         channels of a network that starts from random weights, trained with its gates and
                 added to the vectors of ``lite-objects``

Controls: random choices at equal use (of a frame; of a channel in its layer), the mean of ten
draws; all frames at one size; the labels of the clips that teach shuffled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of, file_of
from harness import arguments, manifest, some, store, stored
from torch import Tensor, nn

import vlar
from vlar import registry
from vlar.adapters.tower_network import draw
from vlar.encoders.base import Encoder, load_encoder
from vlar.media.video.decode import read_clip
from vlar.methods.ar_net.network import ArNetwork
from vlar.methods.video_net.ada_fuse import Gate, Spent
from vlar.methods.video_net.adapter import as_in_use
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader, RecordingLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.types import Clip

SYSTEMS = {
    "ar-net": ("budget", (0.25, 0.5)),
    "ar-net-together": ("budget", (0.25, 0.5)),
    "ada-fuse": ("saving", (0.1, 0.3)),
}
FRAMES, SIDE, DRAWS = 12, 48, 10
build, pooled_sizes = ArNetwork.__init__, ArNetwork.pooled_sizes


class InMemory(RecordingLoader):
    """Clips that were read before."""

    def __init__(self, clips: Sequence[Clip], encoder: Any) -> None:
        self.clips, self.encoder, self.failed = clips, encoder, {}
        self.paths = [clip.path for clip in clips]

    def read(self, rows: Any, numbers: Any, randoms: Any) -> list[Clip]:
        """The clips of some rows."""
        del numbers, randoms
        return [self.clips[row] for row in rows]


def read(name: str, given: Any) -> dict[str, Any]:
    """Clips of a set, at most 200 pixels high, their labels and their groups."""
    rows, clips = manifest(given.videos, name), []
    for row in rows:
        place = file_of(given.cache, f"{row['path']} {FRAMES} 200")
        path = given.videos / row["path"]
        data = array_of(
            place, lambda path=path: read_clip(path, n_frames=FRAMES, shorter_side=200).data
        )
        times_s = np.linspace(0, 1, FRAMES)
        clips.append(Clip(Path(row["path"]), vlar.Window(0.0, 1.0), "video", data, times_s))
    y = [row["readable_label"] for row in rows]
    labels = sorted(set(y))
    return {"clips": clips, "labels": labels, "groups": [row["group"] for row in rows],
            "y": np.array([labels.index(label) for label in y]), "name": name}  # fmt: skip


def halved(y: np.ndarray, groups: list[str], seed: int) -> np.ndarray:
    """(N,) bool, the clips that teach: half of the groups of each label."""
    random, teach = np.random.default_rng(seed), set[str]()
    for label in range(int(y.max()) + 1):
        own = sorted({group for group, at in zip(groups, y, strict=True) if at == label})
        teach |= set(random.permutation(own)[: (len(own) + 1) // 2].tolist())
    return np.array([group in teach for group in groups])


def with_layers(self: Any, config: Any, table: Any, dim: int) -> None:
    """A network with a layer of each size, which begins as the identity."""
    build(self, config, table, dim)
    self.own = nn.ModuleList(nn.Linear(dim, dim) for _ in config.sizes)
    for layer in self.own:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def through_layers(self: Any, decisions: Tensor, rows: Tensor) -> Tensor:
    """Vectors of clips by the layer of each size."""
    own = torch.stack([layer(rows[:, :, at]) for at, layer in enumerate(self.own)], dim=2)
    return pooled_sizes(self, decisions, rows + own)


def right(adapter: Any, vectors: np.ndarray, labels: list[str], y: np.ndarray) -> float:
    """Top-1 of vectors (m, D) with the labels that an adapter was trained for."""
    words = torch.from_numpy(adapter.prompt_vectors(labels))
    with torch.inference_mode():
        concepts = adapter.network.concepts(words).numpy()
    return 100 * float(((vectors @ concepts.T).argmax(axis=1) == y).mean())


def ar_net(given: dict[str, Any], budget: float, seed: int, together: bool) -> dict[str, Any]:
    """The learned policy, random choices at its use, and single sizes."""
    ArNetwork.__init__ = with_layers if together else build  # type: ignore[method-assign]
    ArNetwork.pooled_sizes = through_layers if together else pooled_sizes  # type: ignore[method-assign]
    adapter = registry.get("adapter", "ar-net").attach(given["encoder"], {"budget": budget})
    adapter.restart(seed)
    rows = [
        array_of(
            file_of(given["cache"], f"{clip.path} sizes {adapter.config.sizes}"),
            lambda clip=clip: adapter.clip_inputs(clip, as_in_use).numpy(),
        )
        for clip in given["clips"]
    ]
    inputs, teach, ask = np.stack(rows), given["teach"], given["ask"]
    loader = FeatureLoader(inputs[teach], given["data"].paths)
    Training(adapter, loader, given["data"], load_recipe("ar-net/adapt"), seed=seed).run()
    network, width = adapter.network, len(adapter.chosen.at) * adapter.dim
    asked = torch.from_numpy(inputs[ask])
    at_sizes = asked[..., :width].unflatten(2, (-1, adapter.dim))
    small = asked[..., width:].unflatten(2, (3, adapter.config.small, -1))
    with torch.inference_mode():
        decisions, _ = network.decide(small)

        def top1(choice: Tensor) -> float:
            vectors = network.pooled_sizes(choice, at_sizes).numpy()
            return right(adapter, vectors, given["labels"], given["y"][ask])

        # As often in the first frame, which is never skipped, and as often in all others.
        use = decisions.mean(dim=(0, 1))
        frames = decisions.mean(dim=0)
        frames[1:] = frames[1:].mean(dim=0)
        logits = frames.clamp_min(1e-9).log().expand_as(decisions)
        random = [draw(logits, 1.0, seed=100 * seed + number) for number in range(DRAWS)]
        sizes = torch.eye(decisions.shape[2])[: network.sizes]
        even = [row.expand_as(decisions) for row in sizes]
        lines = [top1(each) for each in random], [float(network.share(r).mean()) for r in random]
        return {
            "share": round(float(network.share(decisions).mean()), 3),
            **found(top1(decisions), *lines),
            "use": [round(float(each), 3) for each in use],
            "top1 of all frames at one size": [round(top1(row), 1) for row in even],
            "share of all frames at one size": [
                round(float(network.share(row).mean()), 3) for row in even
            ],
        }


def ada_fuse(given: dict[str, Any], saving: float, seed: int) -> dict[str, Any]:
    """Learned choices of channels, and random ones as often in every layer."""
    settings = {"saving": saving, "width": 8, "size": SIDE, "frames": FRAMES}
    encoder = given["encoder"]
    adapter = registry.get("adapter", "ada-fuse").attach(encoder, settings)
    adapter.restart(seed)
    vectors = [
        array_of(
            file_of(given["cache"], f"{clip.path} {encoder.fingerprint}"),
            lambda clip=clip: encoder.encode([clip])[0].vector,
        )
        for clip in given["clips"]
    ]
    small = [adapter.watched.small(clip, None, as_in_use) for clip in given["clips"]]
    for clip, vector in zip(given["clips"], vectors, strict=True):
        adapter._seen[clip.path, clip.window] = vector, None
    loader = InMemory([lowered(given["clips"][row]) for row in given["teach"]], adapter)
    Training(adapter, loader, given["data"], load_recipe("video-net/adapt"), seed=seed).run()
    ask, network = given["ask"], adapter.network
    inputs, own = torch.stack([small[row] for row in ask]), np.stack(vectors)[ask]
    used: dict[Any, Tensor] = {}
    plain = Gate.forward

    def run(number: int | None) -> tuple[float, float]:
        def gate(self: Gate, x: Tensor) -> Tensor:
            choice = plain(self, x)
            if number is None:
                used[self] = choice.mean(dim=(0, 1), keepdim=True)
                return choice
            return draw(used[self].clamp_min(1e-9).log().expand_as(choice), 1.0, seed=number)

        Gate.forward = gate  # type: ignore[method-assign]
        try:
            with torch.inference_mode():
                spent = Spent()
                moved = network.answer(network.features(inputs, spent)).numpy()
        finally:
            Gate.forward = plain  # type: ignore[method-assign]
        answers = own + moved
        answers /= np.linalg.norm(answers, axis=1, keepdims=True)
        return right(adapter, answers, given["labels"], given["y"][ask]), float(
            spent.share().mean()
        )

    top1, share = run(None)
    lines = [run(100 * seed + number) for number in range(DRAWS)]
    alone = right(adapter, own, given["labels"], given["y"][ask])
    return {"share": round(share, 3), **found(top1, *zip(*lines, strict=True)),
            "without the network": round(alone, 1)}  # fmt: skip


def lowered(clip: Clip) -> Clip:
    """A clip of two thirds more than the side that a network reads, for the draws of its crops."""
    x = torch.from_numpy(clip.data).permute(0, 3, 1, 2).float()
    shape = [round(size * SIDE * 5 / 3 / min(x.shape[2:])) for size in x.shape[2:]]
    small = nn.functional.interpolate(x, shape, mode="area").round().byte()
    return replace(clip, data=small.permute(0, 2, 3, 1).contiguous().numpy())


def found(top1: float, lines: Sequence[float], shares: Sequence[float]) -> dict[str, float]:
    """Accuracy, that of random choices at equal use, their share of the operations, the gain."""
    line = float(np.mean(lines))
    return {"top1": round(top1, 1), "random": round(line, 1), "gain": round(top1 - line, 1),
            "random share": round(float(np.mean(shares)), 3)}  # fmt: skip


def main() -> None:
    """Measure what is missing."""
    given = arguments(
        __doc__, "videos", "json", sets=some(["jhmdb"]), systems=some(list(SYSTEMS)), seeds=5,
        first=(0, "first seed"), controls=some(["", "labels shuffled"]),
        cache=Path("/tmp/vlar-compute"),
    )  # fmt: skip
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)
    encoder: Encoder = load_encoder("lite-objects")
    rows: list[dict[str, Any]] = stored(given.json, [])
    asked = [
        (name, system, value, control, seed)
        for name in given.sets for seed in range(given.first, given.seeds)
        for system in given.systems for value in SYSTEMS[system][1] for control in given.controls
        if not control or value == SYSTEMS[system][1][1]
    ]  # fmt: skip
    whole: dict[str, Any] = {}
    for name, system, value, control, seed in asked:
        key = {"set": name, "system": system, SYSTEMS[system][0]: value, "control": control,
               "seed": seed}  # fmt: skip
        if any(all(row.get(k) == v for k, v in key.items()) for row in rows):
            continue
        begin, whole = (
            time.process_time(),
            whole if whole.get("name") == name else read(name, given),
        )
        teaches = halved(whole["y"], whole["groups"], seed)
        teach, ask, labels = np.flatnonzero(teaches), np.flatnonzero(~teaches), whole["labels"]
        taught = whole["y"][teach]
        taught = np.random.default_rng(seed).permutation(taught) if control else taught
        paths = [whole["clips"][row].path for row in teach]
        data = Dataset.single(labels, [labels[at] for at in taught], list(map(str, paths)), paths)
        more = {**whole, "teach": teach, "ask": ask, "data": data, "encoder": encoder,
                "cache": given.cache}  # fmt: skip
        if system == "ada-fuse":
            row = ada_fuse(more, value, seed)
        else:
            row = ar_net(more, value, seed, system == "ar-net-together")
        rows.append({**key, **row, "cpu_s": round(time.process_time() - begin, 1)})
        print(*rows[-1].values(), flush=True)
        store(given.json, rows)


if __name__ == "__main__":
    main()
