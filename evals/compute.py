"""Less compute: accuracy over counted operations, next to random choices at equal usage.

    python evals/compute.py --videos DIR [--stills DIR] [--sets weizmann jhmdb utd]
        [--systems NAME ...] [--seeds 0 1 2] [--cache DIR] [--json evals/results/compute.json]

DIR holds ``manifest.csv``; that of ``--stills`` has the colour clips of UTD-MHAD, whose camera
stands still (two takes of each person and action). A seed draws the half of the groups (people,
films) that teaches; the others are asked.

ar-net       sizes of the frames of ``lite-objects``, for several budgets, and single sizes
early-exit   frames of ``lite-objects`` until a linear head is as confident as a threshold
token-reuse  patches of a ViT-S/32 from random weights, 8 frames, and a linear head
ada-fuse     channels of a network that starts from random weights, for several weights of the
             operations

The encoder of the first two keeps its own weights; no public ones of the others are to be had here.
The control makes random choices at equal usage, which is as often in every frame or layer, the same
numbers of frames for other clips, or as many patches; the mean of ten draws (of patches one) is the
line to beat. A system is ``above`` it where the mean difference over seeds is more than two
standard errors. CPU seconds are those of an encoding of ten clips, by the choices and in full, of
the first seed. A result is kept for each set, system, setting and seed, and is not measured again.
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
from motion_towers import FRAMES, SIDE, InMemory, clip_of, features_of

from vlar import registry
from vlar.adapters.tower_network import draw
from vlar.encoders.base import Encoder, load_encoder
from vlar.media.video.decode import read_clip
from vlar.methods.token_reuse.reuse import reused_features, turned
from vlar.methods.video_net.ada_fuse import Gate, Spent
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.types import Clip

SYSTEMS = {
    "ar-net": ("budget", (0.25, 0.5, 0.75)),
    "early-exit": ("confidence", (0.4, 0.6, 0.8)),
    "token-reuse": ("keep", (1.0, 0.75, 0.5, 0.25)),
    "ada-fuse": ("saving", (0.0, 0.3, 1.0)),
}
DRAWS = 10
VIT, VIT_FRAMES = "openclip:ViT-S-32-alt?random_init=true", 8
STAGES = (1, 2, 3, 4, 6, 8, 12)  # frames after which a clip may be left


def rows_of(name: str, folder: Path) -> list[dict[str, str]]:
    """The manifest rows of a set; ``utd`` is named by its labels, and has two takes of each."""
    if name != "utd":
        return manifest(folder, name)
    found = [row for row in manifest(folder, "UTD-MHAD RGB") if "t1_" in row["path"]
             or "t2_" in row["path"]]  # fmt: skip
    return [{**row, "readable_label": row["label"]} for row in found]


def clips_of(name: str, videos: Path, cache: Path) -> tuple[list[Clip], list[str], list[str]]:
    """The clips of a set, at most 200 pixels high, their labels and their groups."""
    rows, file = rows_of(name, videos), cache / f"{name}-{FRAMES}-large.npz"
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
    rows = (adapter.clip_inputs(clip, None).numpy() for clip in given["clips"])  # type: ignore[arg-type]
    inputs, teach, ask = array_of(file, lambda: np.stack([*rows])), given["teach"], given["ask"]
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
        **line_of(lines, shares),
        "usage": [round(float(each), 3) for each in usage],
        **cpu(seed, lambda: adapter.encode(ten), lambda: given["encoder"].encode(ten)),
        **one,
    }


def ada_fuse(given: dict[str, Any], saving: float, seed: int) -> dict[str, Any]:
    """Learned choices of channels, and random ones as often in every layer."""
    settings = {"saving": saving, "width": 8, "size": SIDE, "frames": FRAMES}
    adapter = registry.get("adapter", "ada-fuse").attach(given["encoder"], settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, layer in adapter.network.body.named_modules():
            if "gate" not in name:  # gates begin with a preference
                getattr(layer, "reset_parameters", lambda: None)()
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
        **line_of([line for _, line in lines], [each for each, _ in lines]),
    }


def as_read(frames: Any, size: Any, colours: bool = True) -> torch.Tensor:
    """Pixels as in use."""
    from vlar.methods.video_net.adapter import as_in_use

    return as_in_use(frames, size, colours)


def head(vectors: np.ndarray, y: np.ndarray) -> Any:
    """A linear head that was fitted to clips (n, D)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    return model.fit(vectors, y)


def early_exit(given: dict[str, Any], confidence: float, seed: int) -> dict[str, Any]:
    """Frames that halve the gaps between earlier ones, until the head is confident."""
    encoder, teach, ask, y = given["encoder"], given["teach"], given["ask"], given["y"]
    order = sorted(range(FRAMES), key=lambda t: f"{(t + FRAMES // 2) % FRAMES:04b}"[::-1])
    each = encoder.pool(given["features"].reshape(-1, 1, given["features"].shape[-1]))
    each = each.reshape(len(y), FRAMES, -1)[:, order]
    means = np.stack([each[:, :used].mean(axis=1) for used in STAGES])
    if ("told", seed) not in given["known"]:
        model = head(np.concatenate(means[:, teach]), np.tile(y[teach], len(STAGES)))
        given["known"]["told", seed] = np.stack([model.predict_proba(row[ask]) for row in means])
    told = given["known"]["told", seed]
    sure = told.max(axis=2) >= confidence
    sure[-1] = True
    stop, clips, random = sure.argmax(axis=0), np.arange(len(ask)), np.random.default_rng(seed)

    def top1(stops: np.ndarray) -> float:
        return 100 * float((told[stops, clips].argmax(axis=1) == y[ask]).mean())

    lines = [top1(random.permutation(stop)) for _ in range(DRAWS)]
    share, ten = round(float(np.take(STAGES, stop).mean() / FRAMES), 3), ask[:10]

    def encode(clip: Clip, stops: Any) -> None:
        for begin, end in zip((0, *STAGES[:stops]), STAGES[: stops + 1], strict=True):
            rows = order[begin:end]
            encoder.encode([replace(clip, data=clip.data[rows], times_s=clip.times_s[rows])])

    return {
        "share": share,
        "top1": round(top1(stop), 2),
        **line_of(lines, [share]),
        "all frames": round(top1(np.full(len(ask), len(STAGES) - 1)), 2),
        "frames": [int((stop == stage).sum()) for stage in range(len(STAGES))],
        **cpu(
            seed,
            lambda: [encode(given["clips"][row], stop[at]) for at, row in enumerate(ten)],
            lambda: encoder.encode([given["clips"][row] for row in ten]),
        ),
    }  # fmt: skip


def token_reuse(given: dict[str, Any], keep: float, seed: int) -> dict[str, Any]:
    """Patches that changed most, and as many random ones; heads fitted to the same form."""
    file = given["cache"] / f"{given['name']}-tokens.npz"
    if not file.exists():
        np.savez(file, **reused(given["clips"]))
    found = dict(np.load(file))
    teach, ask, y = given["teach"], given["ask"], given["y"]

    def top1(form: str) -> float:
        model = head(found[form][teach], y[teach])
        return 100 * float((model.predict(found[form][ask]) == y[ask]).mean())

    share = round(float(found[f"share {keep:g}"]), 3)
    row = {"share": share, "top1": round(top1(f"changed {keep:g}"), 2)}
    if keep < 1:
        row |= line_of([top1(f"random {keep:g}")], [share])
    times = found[f"cpu {keep:g}"], found["cpu 1"]
    cpu_s, full = (round(10 * float(each), 2) for each in times)
    return {**row, "all patches": round(top1("changed 1"), 2), "cpu_s": cpu_s, "full_cpu_s": full}


def reused(clips: Sequence[Clip]) -> dict[str, Any]:
    """Mean class tokens (n, D) of each share and rule, operations, and CPU seconds a clip."""
    encoder: Any = load_encoder(VIT)
    vision, draw = encoder.towers.vision_view(), torch.Generator().manual_seed(0)
    rules: dict[str, Any] = {
        "changed": turned,
        "random": lambda now, _: torch.rand(now.shape[:2], generator=draw),
    }
    rows, found = dict[str, list[Any]](), dict[str, Any]()
    layer, seconds = len(vision.blocks) // 3, dict[str, float]()
    at = np.linspace(0, FRAMES - 1, VIT_FRAMES).round().astype(int)
    for clip in clips:
        pixels = encoder.pixels_of(clip.data[at])[None]
        for keep in SYSTEMS["token-reuse"][1]:
            for name, rule in rules.items():
                if keep == 1 and rule is not turned:
                    continue
                begin, kept = time.process_time(), int(np.ceil(keep * vision.n_patches))
                with torch.inference_mode():
                    some = (
                        encoder.towers.image(pixels[0]) if keep == 1
                        else reused_features(vision, pixels, layer, kept, 8, change=rule)[0]
                    )  # fmt: skip
                if rule is turned:
                    spent = time.process_time() - begin
                    seconds[f"cpu {keep:g}"] = seconds.get(f"cpu {keep:g}", 0) + spent / len(clips)
                rows.setdefault(f"{name} {keep:g}", []).append(some.mean(dim=0).numpy())
    for keep in SYSTEMS["token-reuse"][1]:
        adapter = registry.get("adapter", "token-reuse").attach(encoder, {"keep": keep})
        shape = (VIT_FRAMES, 224, 224, 3)
        found[f"share {keep:g}"] = adapter.cost(shape) / encoder.cost(shape)
    return {**found, **seconds, **{name: np.stack(each) for name, each in rows.items()}}


def line_of(lines: Sequence[float], shares: Sequence[float]) -> dict[str, float]:
    """Mean accuracy of random choices, its deviation, and their mean share of the operations."""
    more = {"random_deviation": round(float(np.std(lines, ddof=1)), 2)} if lines[1:] else {}
    return {
        "random": round(float(np.mean(lines)), 2),
        **more,
        "random_share": round(float(np.mean(shares)), 3),
    }


def cpu(seed: int, some: Any, full: Any) -> dict[str, float]:
    """CPU seconds by the choices and in full, of the first seed."""
    return {} if seed else {"cpu_s": timed(some), "full_cpu_s": timed(full)}


def timed(run: Any) -> float:
    """CPU seconds of a second call."""
    run()
    begin = time.process_time()
    run()
    return round(time.process_time() - begin, 2)


def prepared(name: str, folder: Path, cache: Path, encoder: Encoder) -> dict[str, Any]:
    """Clips, features, labels and groups of a set."""
    clips, y, groups = clips_of(name, folder, cache)
    labels = sorted(set(y))
    file = cache / f"{name}-{FRAMES}-large-lite.npy"
    return {
        "name": name, "encoder": encoder, "clips": clips, "labels": labels, "cache": cache,
        "y": np.array([labels.index(label) for label in y]), "groups": groups,
        "features": features_of(encoder, clips, file), "known": {},
    }  # fmt: skip


def halved(given: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same with the half of the groups that teaches, and the other."""
    groups, clips = given["groups"], given["clips"]
    drawn, random = dict[frozenset[str], None](), np.random.default_rng(0)
    while len(drawn) <= seed:  # few people have few halves: no seed has that of another
        names = random.permutation(sorted(set(groups))).tolist()
        drawn[frozenset(names[::2])] = None
    half = np.array([group not in list(drawn)[seed] for group in groups])
    teach, ask = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
    data = Dataset.single(
        given["labels"], [given["labels"][given["y"][row]] for row in teach],
        [groups[row] for row in teach], [clips[row].path for row in teach],
    )  # fmt: skip
    return {**given, "teach": teach, "ask": ask, "data": data}


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and whether the system is above random choices by two standard errors."""
    each = list(rows.values())
    mean = {
        key: round(float(np.mean([row[key] for row in each])), 3)
        for key in ("share", "top1", "random") if key in each[0]
    }  # fmt: skip
    if "random" not in mean or len(each) < 2:
        return {"seeds": len(each), **mean}
    gain = np.array([row["top1"] - row["random"] for row in each])
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    return {"seeds": len(each), **mean, "gain": round(float(gain.mean()), 2),
            "error": round(error, 2), "above": bool(gain.mean() > 2 * error)}  # fmt: skip


MEASURES = {"ar-net": ar_net, "early-exit": early_exit, "token-reuse": token_reuse,
            "ada-fuse": ada_fuse}  # fmt: skip


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    options = arguments(
        __doc__, "videos", "json", stills=(Path, "with the colour clips of UTD-MHAD"),
        sets=some(["weizmann", "jhmdb"]), systems=some(list(SYSTEMS), choices=list(SYSTEMS)),
        seeds=some([0]), cache=Path("/tmp/vlar-compute"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(options.json, {})
    encoder = load_encoder("lite-objects")
    for name in options.sets:
        folder = options.stills if name == "utd" else options.videos
        whole = prepared(name, folder, options.cache, encoder)
        for system in options.systems:
            setting, values = SYSTEMS[system]
            for value, seed in ((value, seed) for seed in options.seeds for value in values):
                rows = results.setdefault(name, {}).setdefault(system, {})
                rows = rows.setdefault(f"{setting} {value:g}", {"seeds": {}})
                if str(seed) in rows["seeds"]:
                    continue
                found = MEASURES[system](halved(whole, seed), value, seed)
                rows["seeds"][str(seed)] = found
                rows["mean"] = summary(rows["seeds"])
                print(f"{name}, {system}, {setting} {value}, seed {seed}: {found}", flush=True)
                store(options.json, results)


if __name__ == "__main__":
    main()
