"""Gain of a second sensor of the same moment, and cost of its loss: UTD-MHAD, joints and IMU.

``auto`` of ``vlar adapt`` on each sensor, on bundles of both, and the mean of the probabilities of
two models of one sensor each ("two heads"). Odd subjects teach, even ones are tested; five draws.
Models of bundles are also tested with one sensor missing. Controls that must fail: the IMU of
another take as the second sensor, and the joints copied as the second sensor. Actions 22 to 27 are
stated apart: there the IMU is on the thigh. The sensors of a take are lined up by its share.

    python evals/bundles.py --data DIR [--seeds 5] [--shots 1 3 5 0] [--json FILE]

DIR is that of ``evals/sensors.py``; 0 shots are all examples.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sensors import DRAWS, Set, drawn, halves, row

import vlar
from vlar.encoders.bundle import BundleEncoder
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.model_selection import choose
from vlar.heads.signatures import join
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader

SENSORS = ("skeleton", "imu")


def main() -> None:
    """Print the tables, and write them as JSON."""
    parser = argparse.ArgumentParser(description="A second sensor, there and missing")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="*", default=[1, 3, 5, 0])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    both, thigh = read(given.data)
    tested = conditions(both)
    found: dict[str, Any] = {"vlar": vlar.__version__, "words": words(both)}
    for shots in given.shots:
        seeds = given.seeds if shots else 1
        name = f"{shots or 'all'} shots"
        print(f"\n{name}")
        found[name] = few_shot(tested, thigh, shots or None, seeds)
        if given.json:  # what was measured stays
            given.json.write_text(json.dumps(found, indent=1) + "\n")


def read(data: Path) -> tuple[Set, np.ndarray]:
    """All takes as bundles, and which of them have the IMU on the thigh."""
    encoder = vlar.load("bundle:skeleton+imu").encoder
    folder = data / "utd_mhad"
    with (data / "manifest.csv").open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["path"].startswith("utd_mhad/skeleton/")]
    names = [Path(r["path"]).name.removesuffix("_skeleton.mat") for r in rows]
    encoded = []
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            parts = {
                "skeleton": BundlePart(folder / "skeleton" / f"{name}_skeleton.mat"),
                "imu": BundlePart(folder / "inertial" / f"{name}_inertial.mat", by_share=True),
            }
            path = write_bundle(Path(place) / f"{name}.bundle.json", parts)
            encoded += encoder.encode([reader("bundle").read_clip(path, None, encoder.sampling)])
    features = np.stack([each.features for each in encoded])
    vectors = np.stack([each.vector for each in encoded])
    action, subject = (np.array([int(n.split("_")[at][1:]) for n in names]) for at in (0, 1))
    y = np.array([r["label"] for r in rows])
    return Set("bundle", encoder, features, vectors, y, subject), action > 21


def columns(encoder: BundleEncoder, sensor: str) -> slice:
    """Columns of the features of a part."""
    widths = [part.frame_dim for part in encoder.parts]
    at = SENSORS.index(sensor)
    return slice(sum(widths[:at]), sum(widths[: at + 1]))


def without(data: Set, sensor: str) -> Set:
    """The takes as if a sensor had not been recorded."""
    features = data.features.copy()
    features[..., columns(data.encoder, sensor)] = 0
    features[..., SENSORS.index(sensor) - len(SENSORS)] = 0
    return replace(data, features=features, vectors=data.encoder.pool(features), known={})


def alone(data: Set, sensor: str) -> Set:
    """The takes of one sensor, by its own encoder."""
    part = data.encoder.parts[SENSORS.index(sensor)]
    features = np.ascontiguousarray(data.features[..., columns(data.encoder, sensor)])
    return replace(data, encoder=part, features=features, vectors=part.pool(features), known={})


def other_takes(data: Set) -> Set:
    """Each take with the IMU of another one of its half: what must not help."""
    random = np.random.default_rng(0)
    source = np.arange(len(data.y))
    for half in halves(data):
        places = np.flatnonzero(half)
        source[places] = random.permutation(places)
    features = data.features.copy()
    place = columns(data.encoder, "imu")
    features[..., place] = data.features[source][..., place]
    return replace(data, features=features, vectors=data.encoder.pool(features), known={})


@dataclass(frozen=True)
class Copied:
    """An encoder of joints whose second sensor is a copy of the first."""

    part: Any

    @property
    def frame_blocks(self) -> tuple[Any, ...]:
        """The blocks, twice."""
        again = [replace(block, name=f"{block.name}-2") for block in self.part.frame_blocks]
        return (*self.part.frame_blocks, *again)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


def copied(data: Set) -> Set:
    """The takes with their joints as the second sensor too."""
    joints = alone(data, "skeleton")
    features = np.concatenate([joints.features] * 2, axis=2)
    return replace(joints, encoder=Copied(joints.encoder), features=features, known={})  # type: ignore[arg-type]


def words(data: Set) -> dict[str, Any]:
    """Texts alone, with what there is; the texts permuted as a control."""
    test, found = halves(data)[1], {}
    for name, given in (("both", data), ("skeleton", without(data, "imu")),
                        ("imu", without(data, "skeleton"))):  # fmt: skip
        texts = data.texts(data.labels)
        right = np.array(data.labels)[(given.vectors @ texts.T).argmax(axis=1)] == data.y
        wrong = []
        for seed in range(DRAWS):
            mixed = texts[np.random.default_rng(seed).permutation(len(texts))]
            answers = np.array(data.labels)[(given.vectors @ mixed.T).argmax(axis=1)]
            wrong.append(float((answers == data.y)[test].mean()))
        found[name] = {
            "words": row(f"words alone, tested with {name}", [float(right[test].mean())]),
            "permuted": row("  texts permuted", wrong),
        }
    return found


def conditions(data: Set) -> dict[str, Set]:
    """The takes by what is tested; before a comma stands what is learned from."""
    lost = {f"bundle, {name} missing": without(data, name) for name in SENSORS}
    single = {name: alone(data, name) for name in SENSORS}
    controls = {"IMU of other takes": other_takes(data), "joints copied": copied(data)}
    return {**single, "bundle": data, **lost, **controls}


def few_shot(
    tested: dict[str, Set], thigh: np.ndarray, shots: int | None, seeds: int
) -> dict[str, Any]:
    """Right answers after K examples a label, by what was learned from and tested with."""
    data = tested["bundle"]
    train, test = halves(data)
    right: dict[str, list[np.ndarray]] = {}
    for seed in range(seeds):
        chosen = drawn(data, train, shots, np.random.default_rng(seed))
        heads = {name: learned(each, chosen) for name, each in tested.items() if "," not in name}
        scores = {name: probabilities(heads[name.partition(",")[0]], each, test)
                  for name, each in tested.items()}  # fmt: skip
        scores["two heads"] = (scores["skeleton"] + scores["imu"]) / 2
        for name, each in scores.items():
            answers = np.array(data.labels)[each.argmax(axis=1)]
            right.setdefault(name, []).append(answers == data.y[test])
    found: dict[str, Any] = {}
    for name, rows in right.items():
        found[name] = row(name, [float(each.mean()) for each in rows])
        for part, which in (("wrist, actions 1 to 21", ~thigh), ("thigh, 22 to 27", thigh)):
            if name in ("skeleton", "imu", "bundle", "two heads"):
                shares = [float(each[which[test]].mean()) for each in rows]
                found[f"{name}: {part}"] = row(f"  {part}", shares)
    return found


def learned(data: Set, chosen: np.ndarray) -> FewShotHead:
    """The head that ``auto`` chooses."""
    prior = data.vectors @ data.texts(data.labels).T
    head, _ = choose(
        data.features[chosen], data.encoder.frame_blocks, data.y[chosen].tolist(), prior[chosen],
        labels=data.labels, groups=data.who[chosen].tolist(),
    )  # fmt: skip
    return head


def probabilities(head: FewShotHead, data: Set, test: np.ndarray) -> np.ndarray:
    """(N, C) of the tested takes."""
    prior = data.vectors @ data.texts(data.labels).T
    logits = head.logits(join(data.terms(), head.kind)[test], prior[test])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
