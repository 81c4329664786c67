"""Attacks on towers of joints: plain class heads, and the whole answer with the encoder's vector.

    python evals/attacks.py --data DIR [--methods man skateformer ensemble-1d] [--clips 100]
        [--by man ...] [--steps 20] [--eps 0.05] [--set K=V ...] [--json FILE]

UTD-MHAD by people (``towers.py``): odd subjects teach three towers with a class head, and the takes
of even ones are moved by the gradients of each, at most ``eps`` of the trunk. Every tower is asked:
the one that gave the gradients is the white box, the others are victims. ``plain`` is the answer of
the class head. For ``whole`` the moved joints are a recording again, which the encoder reads again,
and ``auto`` and the tower answer together at the factors that ``vlar adapt`` starts from (1, 0.25).

``changed`` are answers that differ from those before, in percent, ``lost`` right ones that are
wrong now, in percent of those right before. Control: noise of the same norm in each take.
``before`` has what is right unmoved: of ``whole`` after reading again, and without. ``posterior -
mi`` is the claim of TASAR: the mean over the pairs of another tower of the difference of changed
answers, in points, with its interval over drawn takes. A result is kept in ``--json`` for each
tower, attack and ``eps``. A method ``NAME+EPS`` is that tower by adversarial training. ``--by``
names the towers that give gradients, all by default. ``no-box-tower`` is ``no-box`` with the first
tower of ``--methods``, untrained, as the encoder that it learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from vlar.evaluation.attacks.base import Surrogate, attack
from vlar.evaluation.attacks.no_box import DIM, NoBox
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
NAMES = ("mi", "posterior", "fgsm", "pgd", "motion", "no-box")
FACTOR = 0.25  # of a tower next to ``auto``
BATCH = 32
RATE_HZ = 30.0


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


def task_of(method: str, settings: dict[str, Any]) -> TrainingTask:
    """The training of a tower with a class head by the recipe of ``vlar adapt``.

    ``METHOD+EPS`` learns from joints that are moved against it, ``EPS`` at most.
    """
    fixed = {"layout": LAYOUT, "people": 1, "readout": "classes"}
    method, _, against = method.partition("+")
    fixed |= {"adversarial": float(against)} if against else {}
    of_tower, of_training = divided({**fixed, **settings})
    task = TrainingTask.by_recipe(load_encoder("skeleton"), method, settings=of_tower, seed=0)
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


def moved(by: Victim, name: str, x: Tensor, truth: np.ndarray, eps: float, steps: int) -> Tensor:
    """Joints after an attack by the gradients of a tower; ``no-box`` reads none.

    The frames that towers read are moved, and those between them as far as their neighbours, so
    that the encoder does not smooth the change away.
    """
    how: dict[str, Any] = {"eps": eps, "steps": steps, "seed": 0}
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
            self.out = nn.Linear(self.body.width, DIM)

        def forward(self, rows: Tensor) -> Tensor:
            x = rows.unflatten(1, (1, -1, 3)).permute(0, 1, 3, 4, 2)
            found = self.body(x, torch.ones_like(x[:, :, 0]))
            return F.normalize(self.out(found.vectors), dim=1)

    registry.register("attack", "no-box-tower")(
        type("NoBoxTower", (NoBox,), {"network": Encoder, "__doc__": "``no-box`` by a tower."})
    )


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
    found: dict[str, Any] = {}
    for name, row in rows.items():
        by, _, end = name.partition(", posterior, ")
        if not end or f"{by}, mi, {end}" not in rows:
            continue
        other = rows[f"{by}, mi, {end}"]["takes"]
        for kind in ("plain", "whole"):
            for victim in methods:
                if victim != by:
                    pair = (row["takes"][victim][kind], other[victim][kind])
                    found.setdefault(f"{end}, {kind}", []).append(pair)
    result: dict[str, Any] = {}
    for name, pairs in found.items():
        a, b = (np.mean([[c == "1" for c in pair[n]] for pair in pairs], axis=0) for n in (0, 1))
        spread = paired(a, b, list(range(len(a))))
        result[name] = {"points": round(100 * float((a - b).mean()), 1), "pairs": len(pairs)}
        if spread:
            result[name]["interval"] = [
                round(100 * end, 1) for end in (spread.difference.low, spread.difference.high)
            ]
    return result


def main() -> None:
    """Train the towers, measure what is missing, and print a line for each attack."""
    given = arguments(
        __doc__, "data", "json", methods=some(["man", "skateformer", "ensemble-1d"]), clips=100,
        steps=20, eps=some([0.05]), names=some(NAMES), by={"nargs": "+"},
        set={"nargs": "+", "type": setting, "default": [], "dest": "settings"},
    )  # fmt: skip
    torch.set_num_threads(1)
    data = course("utd", given.data, False, False)
    asked = np.flatnonzero(data.ask)
    asked = np.sort(np.random.default_rng(0).permutation(asked)[: given.clips])
    truth = np.array([data.labels.index(label) for label in data.y[asked]])
    clips = [data.clips[n] for n in asked]
    tasks = {name: task_of(name, dict(given.settings)) for name in given.methods}
    first = given.methods[0]
    readings = Readings(data, tasks[first], first.partition("+")[0])
    victims = {name: learned(data, task, readings.features) for name, task in tasks.items()}
    unread = readings.read(clips)
    x = joints(victims[first], unread)
    tower_box(victims[first].training.adapter.config)

    def answered(change: Tensor) -> dict[str, dict[str, np.ndarray]]:
        rows = zip(change.numpy(), clips, strict=True)
        features = readings.read([recording(row, clip) for row, clip in rows])
        closed = readings.closed(features)
        return {
            name: {"plain": v.plain(change), "whole": v.whole(features, closed)}
            for name, v in victims.items()
        }

    results: dict[str, Any] = stored(given.json, {"vlar": vlar.__version__, "rows": {}})
    before, closed = answered(x), readings.closed(unread)
    results |= {"takes": len(clips), "steps": given.steps, "settings": dict(given.settings)}
    results["before"] = {
        name: {
            **{kind: percent(row == truth) for kind, row in answers.items()},
            "whole, as recorded": percent(victims[name].whole(unread, closed) == truth),
        }
        for name, answers in before.items()
    }
    print(results["before"], flush=True)

    for eps in given.eps:
        for name in given.names:
            free = not registry.get("attack", name).needs_loss
            for by in (given.by or given.methods)[: 1 if free else None]:
                key = f"{'nobody' if free else by}, {name}, {eps}"
                if key in results["rows"]:
                    continue
                change = moved(victims[by], name, x, truth, eps, given.steps)
                row: dict[str, Any] = {"takes": {}}
                for under, at in (("moved", change), ("noise", noise(x, change))):
                    after = answered(at)
                    row[under] = {
                        victim: {
                            kind: figures(before[victim][kind], answer, truth)
                            for kind, answer in kinds.items()
                        }
                        for victim, kinds in after.items()
                    }
                    if under == "moved":
                        row["takes"] = {
                            v: {
                                k: "".join("01"[int(c)] for c in before[v][k] != answer)
                                for k, answer in kinds.items()
                            }
                            for v, kinds in after.items()
                        }
                results["rows"][key] = row
                print(key, {k: row[k] for k in ("moved", "noise")}, flush=True)
                results["posterior - mi"] = claim(results["rows"], given.methods)
                store(given.json, results)


if __name__ == "__main__":
    main()
