"""Attacks on towers of joints: plain class heads, and the whole answer with the encoder's vector.

    python evals/attacks.py --data DIR [--methods man skateformer ensemble-1d] [--clips 300]
        [--names mi ...] [--steps 100] [--free-steps 400] [--eps 0.05] [--seeds 0] [--set K=V ...]
        [--minutes 13] [--json FILE]

UTD-MHAD by people (``towers.py``): odd subjects teach three towers with a class head, and the takes
of even ones are moved by the gradients of each, at most ``eps`` of the trunk. Every tower is asked:
the one that gave the gradients is the white box, the others are victims. ``plain`` is the answer of
the class head. For ``whole`` the moved joints are a recording again, which the encoder reads again,
and ``auto`` and the tower answer together at the factors that ``vlar adapt`` starts from (1, 0.25).

``changed`` are answers that differ from those before, in percent, ``lost`` right ones that are
wrong now, in percent of those right before. Control: noise of the same norm in each take; whole
answers are asked about the noise that is as large as what the first tower moved. ``before`` has
what is right unmoved: of ``whole`` after reading again, and without. ``posterior - mi`` is the
claim of TASAR: the mean over the pairs of another tower of the difference of changed answers, in
points: for each seed, their mean with its standard error, and the interval over drawn takes of the
mean over seeds. Seeds draw the start of the towers and of the attack. A result is kept in
``--json`` for each tower, attack, ``eps`` and seed. ``no-box-tower`` is ``no-box`` with the first
tower of ``--methods``, untrained, as the encoder that it learns; both take ``--free-steps``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from harness import arguments, percent, some, store, stored
from sensors import setting
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from towers import Course, course

import vlar
from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.evaluation.attacks import no_box
from vlar.evaluation.attacks.base import Surrogate, attack
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.skeleton.layouts import root
from vlar.methods.skeleton_towers.config import BODIES, loaded
from vlar.methods.skeleton_towers.network import at_frames, members
from vlar.metrics.intervals import paired
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.hyperparameters import divided
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask
from vlar.types import Clip, Float32, Window

LAYOUT = "kinect20_utd"
NAMES = ("mi", "posterior", "pgd", "motion", "fgsm", "no-box", "no-box-tower")
FACTOR = 0.25  # of a tower next to ``auto``
BATCH = 150
READ = 100  # clips whose measurements an encoder keeps for the next part that needs them


@dataclass(frozen=True)
class Victim:
    """A trained tower.

    Attributes:
        training: What ``train_on`` gives.
        learned: Logits (L, C) and labels (L,) of the takes that taught.
    """

    training: Any
    learned: tuple[Tensor, Tensor] | None = None

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, C) of joints (n, T, 1, V, 3), the log of the summed shares of the members."""
        small = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1).flatten(2)
        scores = self.training.adapter.network.read(small).scores
        return scores.log_softmax(dim=2).logsumexp(dim=0)

    def plain(self, x: Tensor) -> np.ndarray:
        """(n,) answers of the class head."""
        with torch.no_grad():
            rows = [self.logits(part) for part in x.split(BATCH)]
        return torch.cat(rows).argmax(dim=1).numpy()

    def whole(self, features: Float32, closed: np.ndarray) -> np.ndarray:
        """(n,) answers of the tower about features (n, T, F) with logits (n, C) of ``auto``."""
        return (closed + FACTOR * held_out_logits(self.training, features)).argmax(axis=1)


class Readings:
    """The encoder with the joints of all towers, and ``auto`` on the takes that teach.

    Attributes:
        source: Encoder of a recording, with the joints.
        features: (L, T, F) of the takes that teach.
    """

    def __init__(self, given: Course, task: TrainingTask, method: str) -> None:
        encoder = task.encoder
        self.source = registry.get("adapter", method).reading(encoder, task.settings)
        self.width, self.blocks = encoder.frame_dim, encoder.frame_blocks
        self.features = self.read([given.clips[n] for n in np.flatnonzero(given.teach)])
        self.head, _ = choose(
            self.features[..., : self.width], self.blocks, given.y[given.teach].tolist(),
            labels=given.labels, groups=given.who[given.teach].tolist(),
        )  # fmt: skip

    def read(self, clips: Sequence[Clip]) -> Float32:
        """(n, T, F) features of recordings."""
        return np.stack([self.source.encode([clip])[0].features for clip in clips])

    def closed(self, features: Float32) -> np.ndarray:
        """(n, C) logits of ``auto``."""
        rows = signature(features[..., : self.width], self.blocks, self.head.kind)
        return self.head.logits(rows)


def task_of(method: str, settings: dict[str, Any], seed: int) -> TrainingTask:
    """The training of a tower with a class head by the recipe of ``vlar adapt``."""
    fixed = {"layout": LAYOUT, "people": 1, "readout": "classes"}
    of_tower, of_training = divided({**fixed, **settings})
    task = TrainingTask.by_recipe(load_encoder("skeleton"), method, settings=of_tower, seed=seed)
    return replace(task, numbers=task.numbers.replaced(**of_training))


def learned(given: Course, task: TrainingTask, features: Float32) -> Victim:
    """A tower, on the features (L, T, F) of the takes that teach."""
    rows = np.flatnonzero(given.teach)
    paths = [Path(str(row)) for row in rows]
    who = given.who[rows].tolist()
    dataset = Dataset.single(given.labels, given.y[rows].tolist(), who, paths)
    training, _ = train_on(task, dataset, FeatureSource(features))
    adapter: Any = training.adapter
    adapter.module.eval().requires_grad_(False)
    right = torch.tensor([given.labels.index(label) for label in given.y[rows]])
    victim = Victim(training)
    with torch.no_grad():
        logits = torch.cat([victim.logits(part) for part in joints(victim, features).split(BATCH)])
    return replace(victim, learned=(logits, right))


def joints(victim: Victim, features: Float32) -> Tensor:
    """(n, T, 1, V, 3) joints of features, in trunks from the root of the first frame."""
    small = torch.from_numpy(victim.training.adapter.small(features))
    return small.unflatten(-1, (1, -1, 4))[..., :3]


def recording(x: np.ndarray, clip: Clip) -> Clip:
    """Joints (T, 1, V, 3) as a recording in the metres of the one that they came from."""
    own = clip.data[0, 0] - clip.data[0, 0, root(LAYOUT)]
    metres = float((own * x[0, 0]).sum() / (x[0, 0] ** 2).sum())
    span_s = float(clip.times_s[-1] - clip.times_s[0])
    times_s = clip.times_s[0] + np.linspace(0, span_s, len(x))
    points = (x * metres + clip.data[0, 0, root(LAYOUT)]).astype(np.float32)
    rate_hz = (len(x) - 1) / span_s
    window = Window(0.0, float(times_s[-1]) + 1 / rate_hz)
    meta = {**clip.meta, "rate_hz": rate_hz}
    return replace(clip, data=points, times_s=times_s, window=window, meta=meta)


def moved(by: Victim, name: str, x: Tensor, truth: np.ndarray, **how: Any) -> Tensor:
    """Joints after an attack by the gradients of a tower; ``no-box`` reads none.

    The frames that towers read are moved, and those between them as far as their neighbours, so
    that the encoder does not smooth the change away.
    """
    read = at_frames(x, by.training.adapter.config.frames)
    parts: list[Tensor] = []
    if not registry.get("attack", name).needs_loss:
        parts.append(attack(name, None, read, **how))
    else:
        for rows, y in zip(read.split(BATCH), torch.from_numpy(truth).split(BATCH), strict=True):
            parts.append(attack(name, Surrogate(by.logits, y, by.learned), rows, **how))
    return x + at_frames(torch.cat(parts) - read, x.shape[1])


def tower_box(config: Any) -> None:
    """Register ``no-box-tower``, whose encoder is the network of a tower's settings."""
    member = members(config)[0][1]

    class Encoder(nn.Module):
        def __init__(self, mean: Tensor, deviation: Tensor) -> None:
            super().__init__()
            self.body = loaded(BODIES, member.body)(member)
            self.out = nn.Linear(self.body.width, no_box.DIM)

        def forward(self, rows: Tensor) -> Tensor:
            x = rows.unflatten(1, (1, -1, 3)).permute(0, 1, 3, 4, 2)
            found = self.body(x, torch.ones_like(x[:, :, 0]))
            return F.normalize(self.out(found.vectors), dim=1)

        def requires_grad_(self, on: bool = True) -> Encoder:
            self.train(on)  # what is no longer taught has the statistics that it learned
            return super().requires_grad_(on)

    @registry.register("attack", "no-box-tower")
    class NoBoxTower(no_box.NoBox):  # pyright: ignore[reportUnusedClass]
        """``no-box`` by a tower."""

        def __init__(self, task: Any) -> None:
            with mock.patch.object(no_box, "_Network", Encoder):
                super().__init__(task)


def noise(x: Tensor, other: Tensor) -> Tensor:
    """Joints moved by signs that are drawn, as far in each take as in another change of it."""
    size = (other - x).flatten(1).square().mean(dim=1).sqrt().view(-1, 1, 1, 1, 1)
    signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0))
    return x + size * (2 * signs - 1)


def figures(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Answers that changed, and right ones that were lost, in percent."""
    right = before == truth
    lost = percent((after != truth)[right]) if right.any() else 0.0
    return {"changed": percent(before != after), "lost": lost}


def claim(rows: dict[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """``posterior - mi`` over the pairs of another tower, for each kind of answer and ``eps``."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for name, row in rows.items():
        by, _, end = name.partition(", posterior, ")
        eps, _, seed = end.partition(", ")
        if not end or f"{by}, mi, {end}" not in rows:
            continue
        other = rows[f"{by}, mi, {end}"]["takes"]
        for kind in ("plain", "whole"):
            for victim in methods:
                if victim != by:
                    a, b = (
                        np.array([c == "1" for c in takes[victim][kind]], float)
                        for takes in (row["takes"], other)
                    )
                    found.setdefault(f"{eps}, {kind}", {}).setdefault(seed, []).append(a - b)
    result: dict[str, Any] = {}
    for name, seeds in found.items():
        each = np.array([np.mean(pairs, axis=0) for pairs in seeds.values()])
        points = 100 * each.mean(axis=1)
        spread = paired(each.mean(axis=0), np.zeros(each.shape[1]), list(range(each.shape[1])))
        assert spread is not None
        ends = (spread.difference.low, spread.difference.high)
        result[name] = {
            "points": round(float(points.mean()), 2),
            "interval": [round(100 * end, 2) for end in ends],
            "seeds": {seed: round(float(p), 2) for seed, p in zip(seeds, points, strict=True)},
        }
        if len(points) > 1:
            error = float(points.std(ddof=1)) / len(points) ** 0.5
            result[name]["standard error"] = round(error, 2)
    return result


@dataclass(frozen=True)
class Asked:
    """The takes that are moved, and who answers about them.

    Attributes:
        clips: n recordings.
        x: (n, T, 1, V, 3) joints.
        truth: (n,) numbers of the right labels.
        readings: The encoder.
        victims: The towers by name.
    """

    clips: list[Clip]
    x: Tensor
    truth: np.ndarray
    readings: Readings
    victims: dict[str, Victim]

    def answers(self, change: Tensor | None, whole: bool = True) -> dict[str, Any]:
        """(n,) answers of each tower, of moved joints or, by None, of the recordings themselves."""
        found: dict[str, Any] = {name: {} for name in self.victims}
        if change is not None:
            found = {name: {"plain": v.plain(change)} for name, v in self.victims.items()}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.victims if whole}
        for start in range(0, len(self.clips) if whole else 0, READ):
            clips = self.clips[start : start + READ]
            if change is not None:
                rows = zip(change[start : start + READ].numpy(), clips, strict=True)
                clips = [recording(row, clip) for row, clip in rows]
            features = self.readings.read(clips)
            closed = self.readings.closed(features)
            for name, victim in self.victims.items():
                parts[name].append(victim.whole(features, closed))
        for name, rows in parts.items():
            found[name]["whole"] = np.concatenate(rows)
        return found


def measured(asked: Asked, change: Tensor, before: dict[str, Any], whole: bool) -> dict[str, Any]:
    """A row: figures of moved takes and of noise, and which answers changed."""
    after = asked.answers(change)
    row: dict[str, Any] = {
        under: {
            victim: {
                kind: figures(before[victim][kind], answer, asked.truth)
                for kind, answer in kinds.items()
            }
            for victim, kinds in answers.items()
        }
        for under, answers in {
            "moved": after,
            "noise": asked.answers(noise(asked.x, change), whole),
        }.items()
    }
    row["takes"] = {
        victim: {
            kind: "".join("01"[int(c)] for c in before[victim][kind] != answer)
            for kind, answer in kinds.items()
        }
        for victim, kinds in after.items()
    }
    return row


def main() -> None:
    """Train the towers, measure what is missing, and print a line for each attack."""
    given = arguments(
        __doc__, "data", "json", methods=some(["man", "skateformer", "ensemble-1d"]), clips=300,
        steps=100, free_steps=400, eps=some([0.05]), names=some(NAMES), seeds=some([0]),
        minutes=float("inf"),
        set={"nargs": "+", "type": setting, "default": [], "dest": "settings"},
    )  # fmt: skip
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * given.minutes
    results: dict[str, Any] = stored(given.json, {"vlar": vlar.__version__})
    for part in ("before", "rows"):
        results.setdefault(part, {})
    results |= {"takes": given.clips, "steps": given.steps, "free steps": given.free_steps}
    results["settings"] = dict(given.settings)
    results["posterior - mi"] = claim(results["rows"], given.methods)
    free = {"no-box", "no-box-tower"}
    keys = {
        f"{'nobody' if name in free else by}, {name}, {eps}, seed {seed}": (seed, name, eps, by)
        for seed in given.seeds
        for eps in given.eps
        for name in given.names
        for by in given.methods[: 1 if name in free else None]
    }
    missing = {key: run for key, run in keys.items() if key not in results["rows"]}
    if not missing:
        store(given.json, results)
        return
    data = course("utd", given.data, False, False)
    rows = np.flatnonzero(data.ask)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[: given.clips])
    clips, first = [data.clips[n] for n in rows], given.methods[0]
    truth = np.array([data.labels.index(label) for label in data.y[rows]])
    readings = Readings(data, task_of(first, dict(given.settings), 0), first)
    unread = readings.read(clips)
    asked: Asked | None = None
    before: dict[str, Any] = {}
    last = None
    for key, (seed, name, eps, by) in missing.items():
        if time.monotonic() > end:
            break
        if asked is None or seed != last:
            tasks = {m: task_of(m, dict(given.settings), seed) for m in given.methods}
            victims = {m: learned(data, task, readings.features) for m, task in tasks.items()}
            x = joints(victims[first], unread)
            asked, last = Asked(clips, x, truth, readings, victims), seed
            before, kept = asked.answers(x), asked.answers(None)
            tower_box(victims[first].training.adapter.config)
            for m in given.methods:
                results["before"][f"{m}, seed {seed}"] = {
                    **{kind: percent(row == truth) for kind, row in before[m].items()},
                    "whole, as recorded": percent(kept[m]["whole"] == truth),
                }
            print(results["before"], flush=True)
        begin = time.process_time()
        steps = given.free_steps if name in free else given.steps
        change = moved(asked.victims[by], name, asked.x, truth, eps=eps, steps=steps, seed=seed)
        spent = time.process_time()
        results["rows"][key] = measured(asked, change, before, by == first)
        row = {under: results["rows"][key][under] for under in ("moved", "noise")}
        print(key, round(spent - begin), round(time.process_time() - spent), row, flush=True)
        results["posterior - mi"] = claim(results["rows"], given.methods)
        store(given.json, results)


if __name__ == "__main__":
    main()
