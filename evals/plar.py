"""Value of prompts: prompt experts and the flow prompt, persons left out, K = 3.

    python evals/plar.py --videos DIR --cache DIR [--pools weizmann utd-mhad] [--seeds 5]

Each seed draws persons to learn from and persons to ask about; of the first, three clips a label
(fewer where there are not as many). Everything is the trained similarity alone, without a closed
form next to it. ``pictures`` reads objects and appearance, ``whole`` also motion and bodies.

Rows: the encoder itself; no prompts (one expert, as many learned numbers); E = 8 experts; these
with the flow prompt; the control, with what the flow prompt of a clip of another label changes
there; and the closed forms of ``vlar adapt`` on the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from cached import array_of, features_of, file_of
from composites import pictures
from harness import Namespace, arguments, manifest, store

import vlar
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.video.decode import read_clip
from vlar.methods.plar.adapter import drawn, flow_maps
from vlar.methods.plar.network import PlarConfig
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

SHOTS = 3
PICTURES = 3560  # entries of the features that a drawn prompt can change
VARIANTS = {
    "no prompts": {"experts": 1, "tokens": 32, "prompts": []},
    "experts": {"prompts": []},
    "experts and flow": {"prompts": ["flow"]},
    "control: another clip's flow": {"prompts": ["flow"]},
}


@dataclass(frozen=True)
class Pool:
    """n clips.

    Attributes:
        features: (n, T, F) float32.
        own: (n, T, 3560) with their flow drawn into the frames.
        other: The clips with what the flow prompt changes in a clip of another label.
        labels: n labels.
        people: n persons.
    """

    features: np.ndarray
    own: np.ndarray
    other: np.ndarray
    labels: np.ndarray
    people: np.ndarray


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache!", "json", pools=["weizmann", "utd-mhad"], seeds=[0, 1, 2, 3, 4]
    )
    model, results = vlar.load(), list[dict]()
    for name in options.pools:
        pool = _load(name, model, options)
        found: dict[str, list[float]] = {}
        for seed in options.seeds:
            for method, right in _answers(model, pool, seed):
                found.setdefault(method, []).append(round(100 * right, 1))
            print(name, seed, {k: v[-1] for k, v in found.items()}, flush=True)
        for method, values in found.items():
            results.append(_row(name, method, values, found))
            print(results[-1], flush=True)
    settings = {"command": "python evals/plar.py --videos DIR --cache DIR", "shots": SHOTS}
    store(options.json, {**settings, "results": results})


def _row(pool: str, method: str, values: list[float], found: dict[str, list[float]]) -> dict:
    base = found.get(f"{method.partition(':')[0]}: no prompts", values)
    apart = np.array(values) - np.array(base)
    error = float(np.std(apart, ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else 0.0
    return {"pool": pool, "method": method, "top1": round(float(np.mean(values)), 1),
            "gain": round(float(apart.mean()), 1), "s.e.": round(error, 1),
            "seeds": values}  # fmt: skip


def _load(name: str, model: vlar.Model, options: Namespace) -> Pool:
    rows = manifest(options.videos, name)
    plain = [features_of(options.videos, row["path"], model, options.cache) for row in rows]
    labels = np.array([row["readable_label"] for row in rows])
    features = np.stack(plain)
    own = np.stack([_drawn(options, model, row["path"]) for row in rows])
    random = np.random.default_rng(0)
    others = [int(random.choice(np.flatnonzero(labels != label))) for label in labels]
    change = own[others] - features[others][..., :PICTURES]
    people = np.array([row["group"] for row in rows])
    return Pool(features, own, features[..., :PICTURES] + change, labels, people)


_towers = cache(pictures)


def _drawn(options: Namespace, model: vlar.Model, path: str) -> np.ndarray:
    """(T, 3560) float32 of a clip whose frames have their flow drawn in."""

    def make() -> np.ndarray:
        place, side = options.videos / path, model.shorter_side
        clip = read_clip(place, None, model.sampling, shorter_side=side)
        maps = flow_maps(clip.data, clip.times_s)
        shown = replace(clip, data=drawn(clip.data, maps, PlarConfig().strength))
        return _towers().encode([shown])[0].features[:, :PICTURES]

    return array_of(file_of(options.cache, f"{path} flow of {path}"), make)


def _answers(model: vlar.Model, pool: Pool, seed: int) -> Iterator[tuple[str, float]]:
    random = np.random.default_rng(seed)
    people = random.permutation(sorted(set(pool.people)))
    learned = np.isin(pool.people, people[: round(len(people) * 0.6)])
    train: list[int] = []
    for label in sorted(set(pool.labels)):
        own = random.permutation(np.flatnonzero(learned & (pool.labels == label)))
        train += own[:SHOTS].tolist()
    asked = np.flatnonzero(~learned)
    labels = sorted(set(pool.labels))
    target = np.array([labels.index(label) for label in pool.labels[asked]])
    names = [block.name for block in model.encoder.frame_blocks]
    for kind, blocks in (("pictures", names[:2]), ("whole", names)):
        yield f"{kind}: encoder", _right(_zero_shot(model, pool.features[asked], labels), target)
        for name, settings in VARIANTS.items():
            drawn_frames = pool.other if name.startswith("control") else pool.own
            features = pool.features
            if settings["prompts"]:
                features = np.concatenate([features, drawn_frames], axis=2)
            scores = _trained(
                model, features, pool, train, asked, {**settings, "blocks": blocks}, seed
            )
            yield f"{kind}: {name}", _right(scores, target)
        yield f"{kind}: closed forms", _right(_closed(model, pool, train, asked, blocks), target)


def _right(scores: np.ndarray, target: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == target).mean())


def _zero_shot(model: vlar.Model, features: np.ndarray, labels: list[str]) -> np.ndarray:
    return model.encoder.pool(features) @ model.encode_labels(labels).T


def _trained(model, features, pool: Pool, train, asked, settings: dict, seed: int) -> np.ndarray:
    labels = sorted(set(pool.labels))
    y, people = pool.labels[train].tolist(), pool.people[train].tolist()
    dataset = Dataset.single(labels, y, people, [Path(str(row)) for row in train])
    task = TrainingTask.by_recipe(model.encoder, "plar", settings=settings, seed=seed)
    training, _ = train_on(task, dataset, FeatureSource(features[train]))
    vectors = training.adapter.pool(features[asked])
    return vectors @ training.classes.numpy().T


def _closed(model, pool: Pool, train, asked, names: list[str]) -> np.ndarray:
    blocks = [block for block in model.encoder.frame_blocks if block.name in names]
    width = sum(block.width for block in blocks)
    features = pool.features[..., :width]  # the named blocks come first
    head, _ = choose(
        features[train], blocks, pool.labels[train].tolist(), labels=sorted(set(pool.labels)),
        groups=pool.people[train].tolist(),
    )  # fmt: skip
    return head.logits(signature(features[asked], blocks, head.kind))


if __name__ == "__main__":
    main()
