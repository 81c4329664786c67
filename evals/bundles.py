"""Gain of a second sensor of the same moment, and cost of its loss: UTD-MHAD, joints and IMU.

``auto`` of ``vlar adapt`` on each sensor, on bundles of both, and the mean of the probabilities of
two models of one sensor each ("two heads"). Odd subjects teach, even ones are tested; five draws.
Models of bundles are also tested with one sensor missing. Controls that must fail: the IMU of
another take as the second sensor, and the joints copied as the second sensor. Actions 22 to 27 are
stated apart: there the IMU is on the thigh. The sensors of a take are lined up by its share.

``--stairs``: three accelerometers that really drop packets (ASSIST-IoT, stairs), slow or quick in
windows of 4 s, one person after the other left out. They are devices of one IMU recording, so what
is missing are columns.

    python evals/bundles.py --data DIR [--seeds 5] [--shots 1 3 5 0] [--stairs] [--json FILE]

DIR is that of ``evals/sensors.py``; 0 shots are all examples.
"""

from __future__ import annotations

import csv
import gzip
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, manifest, store
from sensors import DRAWS, Set, drawn, halves, row

import vlar
from vlar.encoders.bundle import BundleEncoder
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.model_selection import choose
from vlar.heads.signatures import available_terms, join, terms
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.types import Clip, Window

SENSORS = ("skeleton", "imu")
POSE = ("attributes", "spectrum")


def main() -> None:
    """Print the tables, and write them as JSON."""
    given = arguments(__doc__, "data", "json", seeds=5, shots=[1, 3, 5, 0], stairs=False)
    if given.stairs:
        stairs(given.data)
        return
    both, thigh = read(given.data)
    tested = conditions(both)
    found: dict[str, Any] = {"vlar": vlar.__version__, "words": words(both)}
    for shots in given.shots:
        seeds = given.seeds if shots else 1
        name = f"{shots or 'all'} shots"
        print(f"\n{name}")
        found[name] = few_shot(tested, thigh, shots or None, seeds)
        store(given.json, found)


def read(data: Path) -> tuple[Set, np.ndarray]:
    """All takes as bundles, and which of them have the IMU on the thigh."""
    encoder = vlar.load("bundle:skeleton+imu").encoder
    folder = data / "utd_mhad"
    rows = [r for r in manifest(data) if r["path"].startswith("utd_mhad/skeleton/")]
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
    """An encoder of joints whose second sensor is the path of the joints again."""

    part: Any

    @property
    def frame_blocks(self) -> tuple[Any, ...]:
        """The blocks, twice."""
        path = self.part.frame_blocks[0]
        return (*self.part.frame_blocks, replace(path, name=f"{path.name}-2"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


def copied(data: Set) -> Set:
    """The takes with their joints as the second sensor too."""
    joints = alone(data, "skeleton")
    path = joints.features[..., : joints.encoder.frame_blocks[0].width]
    features = np.concatenate([joints.features, path], axis=2)
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
    pose = terms(data.features, data.encoder.frame_blocks, POSE)
    for name, each in {**single, "bundle": data, **lost, **controls}.items():
        if name == "imu":
            continue
        # Bodies take most of the time, and are the same wherever there are joints.
        zeros = {n: np.repeat(r[:1] * 0, len(r), axis=0) for n, r in pose.items()}
        blocks = each.encoder.frame_blocks
        others = [n for n in available_terms(blocks) if n not in POSE]
        own = terms(each.features, blocks, others)
        each.known.update(own | (zeros if name == "bundle, skeleton missing" else pose))
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


DEVICES = {"TAG": "waist", "WATCH_R": "right wrist", "WATCH_L": "left wrist"}
RATE_HZ, WINDOW_S, GAP_S = 50.0, 4.0, 0.15


def stairs(data: Path) -> None:
    """Slow or quick on stairs, by which devices are learned from and tested with."""
    clips, y, who = windows(data / "assist_stairs")
    encoder = vlar.load("imu").encoder
    names = list(DEVICES.values())
    lost = {n: np.mean([np.isnan(c.data[:, 6 * i : 6 * i + 3]).mean() for c in clips])
            for i, n in enumerate(names)}  # fmt: skip
    print(f"{len(clips)} windows, {len(set(who))} people; samples lost:",
          ", ".join(f"{n} {100 * share:.1f} %" for n, share in lost.items()))  # fmt: skip
    columns = [*([n] for n in names), names[1:], names]
    sets = {}
    for kept in columns:
        rows = encoder.encode([only(clip, kept, names) for clip in clips])
        features, vectors = (
            np.stack([getattr(r, n) for r in rows]) for n in ("features", "vector")
        )
        sets["+".join(kept)] = Set("stairs", encoder, features, vectors, y, who)
    for learned_from in sets:
        right: dict[str, list[bool]] = {name: [] for name in sets}
        for person in sorted(set(who)):
            test = who == person
            head = learned(sets[learned_from], np.flatnonzero(~test))
            for name, each in sets.items():
                answers = probabilities(head, each, test).argmax(axis=1)
                right[name] += (np.array(each.labels)[answers] == y[test]).tolist()
        print(f"  learned from {learned_from}:")
        for name, rows in right.items():
            row(f"    tested with {name}", [float(np.mean(rows))])


def windows(folder: Path) -> tuple[list[Clip], np.ndarray, np.ndarray]:
    """Windows of all recordings at one rate, NaN where a device gave nothing; labels and people."""
    clips, y, who = [], [], []
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path, "rt") as stream:
            rows = list(csv.DictReader(stream, delimiter="|"))
        times = np.array([datetime.fromisoformat(r["TIMESTAMP"]).timestamp() for r in rows])
        grid = np.arange(times.min(), times.max(), 1 / RATE_HZ)
        signal = np.full((len(grid), 18), np.nan, np.float32)
        for number, device in enumerate(DEVICES):
            own = np.array([r["SOURCE"] == device for r in rows])
            values = np.array([[float(r[a]) for a in "XYZ"] for r in rows])[own] * 9.80665
            after = np.searchsorted(times[own], grid).clip(1, own.sum() - 1)
            there = times[own][after] - times[own][after - 1] <= GAP_S
            there &= (grid >= times[own][0]) & (grid <= times[own][-1])
            for axis in range(3):
                found = np.interp(grid, times[own], values[:, axis])
                signal[:, 6 * number + axis] = np.where(there, found, np.nan)
        size = round(WINDOW_S * RATE_HZ)
        meta = {"devices": tuple(DEVICES.values()), "unit": "m/s2 rad/s"}
        for start in range(0, len(grid) - size + 1, size):
            part = signal[start : start + size]
            span = Window(start / RATE_HZ, (start + size) / RATE_HZ)
            times_s = (np.arange(size) + start + 0.5) / RATE_HZ
            clips.append(Clip(path, span, "imu", part, times_s, meta=meta))
            y.append("quick" if "_A6" in path.name else "slow")
            who.append(int(path.name[1:3]))
    return clips, np.array(y), np.array(who)


def only(clip: Clip, kept: list[str], names: list[str]) -> Clip:
    """A window in which only some devices gave anything."""
    data = clip.data.copy()
    for number, name in enumerate(names):
        if name not in kept:
            data[:, 6 * number : 6 * number + 6] = np.nan
    return replace(clip, data=data)


if __name__ == "__main__":
    main()
