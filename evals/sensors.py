"""Recognition of recordings of other sensors by words and a few examples.

Zero-shot: labels as text, no examples. Few-shot: ``auto`` of ``vlar adapt`` from K examples a label
of some subjects, tested on others. Controls that must fail: the texts of the labels permuted, the
labels of the examples shuffled, and joints read in the order of another data set. Results of both
halves of UTD-MHAD, MSR-Action3D and NW-UCLA were seen while signatures and settings were chosen:
the tested half is not untouched. The statistics of sound were chosen on the folds that teach
(``sounds.py``); its attributes and bands were made with all folds in view.

    python evals/sensors.py --data DIR [--json FILE] [--seeds 5] [--sets utd imu ...]

DIR holds ``manifest.csv`` (path, label, group) and the files that it names. Recordings are encoded
once and kept in ``--cache``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, store

import vlar
from vlar.encoders.base import Encoder, load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import available_terms, join, terms
from vlar.media.lookup import reader
from vlar.media.readers.skeleton import recordings
from vlar.media.skeleton.formats.base import Bodies
from vlar.model.core import ModelCore
from vlar.types import Clip, Encoded, Window

FILES = {
    "utd": ("skeleton", "utd_mhad/skeleton/"),
    "msr": ("skeleton", "msr_action3d/"),
    "ucla": ("skeleton", "nw_ucla/"),
    "ut": ("skeleton", "ut_kinect/"),
    "sbu": ("skeleton", "sbu/"),
    "hands": ("skeleton", "sfinge3d/"),
    "imu": ("imu", "utd_mhad/inertial/"),
    "audio": ("audio", "esc10/"),
    "depth": ("depth", "utd_mhad/depth/"),
}
# Labels of two sets that mean one movement, for a model that moves from one set to the other.
SHARED = {
    "utd": {"wave": "wave", "clap": "clap", "throw": "throw", "boxing": "boxing",
            "tennis swing": "tennis swing", "tennis serve": "tennis serve", "draw x": "draw x",
            "draw circle clockwise": "draw circle", "jogging in place": "jog",
            "pick up and throw": "pick up and throw", "catch an object": "catch"},
    "msr": {"high arm wave": "wave", "hand clap": "clap", "high throw": "throw",
            "side boxing": "boxing", "tennis swing": "tennis swing", "tennis serve": "tennis serve",
            "draw x": "draw x", "draw circle": "draw circle", "jogging": "jog",
            "pickup and throw": "pick up and throw", "hand catch": "catch"},
}  # fmt: skip
SHARED_WITH_UCLA = {
    "utd": {"throw": "throw", "stand to sit": "sit down", "sit to stand": "stand up",
            "walking in place": "walk"},
    "ucla": {"throw": "throw", "sit down": "sit down", "stand up": "stand up",
             "walk around": "walk"},
}  # fmt: skip
SHOTS = (1, 3, 5)
DRAWS = 20


@dataclass(frozen=True)
class Set:
    """Encoded recordings.

    Attributes:
        name: As in ``FILES``.
        encoder: That made them.
        features: (N, T, F).
        vectors: (N, D).
        y: N labels.
        who: N subjects or folds.
        known: Terms of signatures that were computed.
    """

    name: str
    encoder: Encoder
    features: np.ndarray
    vectors: np.ndarray
    y: np.ndarray
    who: np.ndarray
    known: dict[str, np.ndarray] = field(default_factory=dict)

    def terms(self) -> dict[str, np.ndarray]:
        """Every term of a signature (N, S), computed once."""
        if not self.known:
            blocks = self.encoder.frame_blocks
            self.known.update(terms(self.features, blocks, available_terms(blocks)))
        return self.known

    @property
    def labels(self) -> list[str]:
        """The labels, sorted."""
        return sorted(set(self.y.tolist()))

    def texts(self, labels: Sequence[str]) -> np.ndarray:
        """(C, D) concepts of labels."""
        return ModelCore(self.encoder).encode_labels(labels)

    def part(self, chosen: np.ndarray) -> Set:
        """Some of the recordings."""
        return replace(
            self, features=self.features[chosen], vectors=self.vectors[chosen], y=self.y[chosen],
            who=self.who[chosen], known={},
        )  # fmt: skip


def main() -> None:
    """Print the tables, and write them as JSON."""
    given = arguments(
        __doc__, "data", "json", sets=list(FILES), seeds=5,
        cache=Path(tempfile.gettempdir()) / "vlar-sensors",
    )  # fmt: skip
    found: dict[str, Any] = {"vlar": vlar.__version__, "seeds": given.seeds}
    sets: dict[str, Set] = {}
    for name in given.sets:
        sets[name] = read_set(name, given.data, given.cache)
        found[name] = measure(sets[name], given.seeds)
    if "utd" in sets:
        found["utd"]["order of MSR"] = wrong_order(given.data)
        found["utd"]["right arm"] = right_arm(sets["utd"])
    if {"utd", "msr"} <= set(sets):
        found["transfer"] = transfer(sets["utd"], sets["msr"], SHARED)
    if {"utd", "ucla"} <= set(sets):
        found["transfer to NW-UCLA"] = transfer(sets["utd"], sets["ucla"], SHARED_WITH_UCLA)
    if "imu" in sets:
        found["imu"]["coarse words"] = coarse_words(sets["imu"])
    store(given.json, found)


def measure(data: Set, seeds: int) -> dict[str, Any]:
    """Everything about one set."""
    found: dict[str, Any] = {"recordings": len(data.y), "labels": len(data.labels)}
    print(f"\n{data.name}: {len(data.y)} recordings, {len(data.labels)} labels")
    found["zero-shot"] = zero_shot(data)
    train, test = halves(data)
    fewest = min((data.y[train] == label).sum() for label in data.labels)
    if fewest < 2 or not test.any():
        print("  few-shot: not measured, a label has fewer than two recordings to learn from")
        return found
    for shots in [*(s for s in SHOTS if s <= fewest), None]:
        key = "all" if shots is None else str(shots)
        found[f"{key} shots"] = few_shot(data, train, test, shots, 1 if shots is None else seeds)
    found["ridge floor"] = row("ridge on the course alone, all shots", [floor(data, train, test)])
    return found


def halves(data: Set) -> tuple[np.ndarray, np.ndarray]:
    """Odd subjects to learn from, even ones to test on; of hands, whose subjects are unknown, odd
    and even recordings."""
    odd = halves_of(data.y, data.who)
    return odd, ~odd


def halves_of(y: np.ndarray, who: np.ndarray) -> np.ndarray:
    """(N,) bool, the half that teaches by labels (N,) and subjects (N,); as ``halves``."""
    if len(set(who.tolist())) > 1:
        return np.array([int(each) % 2 == 1 for each in who])
    order = np.zeros(len(y), int)
    for label in set(y.tolist()):
        order[y == label] = np.arange((y == label).sum())
    return order % 2 == 0


def zero_shot(data: Set) -> dict[str, Any]:
    """Top-1 of the texts, with the texts permuted among the labels as a control."""
    texts = data.texts(data.labels)
    similarity = data.vectors @ texts.T
    truth = np.array([data.labels.index(label) for label in data.y])
    right = similarity.argmax(axis=1) == truth
    even = ~halves(data)[0]
    random = np.random.default_rng(0)
    permuted = [
        float((similarity[:, random.permutation(len(texts))].argmax(axis=1) == truth)[even].mean())
        for _ in range(DRAWS)
    ]
    chance = 1 / len(texts)
    found = {
        "chance": chance,
        "odd": float(right[~even].mean()) if (~even).any() else None,
        "even": interval(right[even], data.who[even]),
        "permuted": [float(np.mean(permuted)), float(np.std(permuted))],
        "standard error of chance": float(np.sqrt(chance * (1 - chance) / even.sum())),
    }
    low, high = found["even"][1:]
    print(
        f"  words alone, even subjects: {100 * found['even'][0]:.1f} % ({100 * low:.0f} to "
        f"{100 * high:.0f}), chance {100 * chance:.1f}, texts permuted "
        f"{100 * np.mean(permuted):.1f} +- {100 * np.std(permuted):.1f}"
    )
    return found


def few_shot(
    data: Set, train: np.ndarray, test: np.ndarray, shots: int | None, seeds: int
) -> dict[str, Any]:
    """Top-1 of ``auto`` after K examples a label, and with their labels shuffled."""
    right, wrong = [], []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        chosen = drawn(data, train, shots, random)
        right.append(accuracy(data, chosen, test, data.y[chosen]))
        shuffled = random.permutation(data.y[chosen])
        wrong.append(accuracy(data, chosen, test, shuffled, texts=False))
    name = f"{'all' if shots is None else shots} shots"
    return {"auto": row(name, right), "shuffled": row(f"{name}, labels shuffled", wrong)}


def drawn(
    data: Set, train: np.ndarray, shots: int | None, random: np.random.Generator
) -> np.ndarray:
    """The numbers of the examples: K of each label, or all."""
    places = np.flatnonzero(train)
    if shots is None:
        return places
    own = [places[data.y[places] == label] for label in data.labels]
    return np.concatenate([random.choice(each, shots, replace=False) for each in own])


def accuracy(
    data: Set, chosen: np.ndarray, test: np.ndarray, y: np.ndarray, *, texts: bool = True
) -> float:
    """Share of the test recordings that ``auto`` recognises, with or without the labels' texts."""
    labels, blocks = data.labels, data.encoder.frame_blocks
    prior = data.vectors @ data.texts(labels).T if texts else None
    groups = data.who[chosen].tolist() if len(set(data.who[chosen].tolist())) > 1 else None
    head, _ = choose(
        data.features[chosen], blocks, y.tolist(), None if prior is None else prior[chosen],
        labels=labels, groups=groups,
    )  # fmt: skip
    rows = join(data.terms(), head.kind)[test]
    logits = head.logits(rows, None if prior is None else prior[test])
    return float((np.array(labels)[logits.argmax(axis=1)] == data.y[test]).mean())


def floor(data: Set, train: np.ndarray, test: np.ndarray) -> float:
    """Ridge regression on the values over time alone, with one fixed penalty."""
    rows = data.terms()["course"]
    mean = rows[train].mean(axis=0)
    inner = (rows[train] - mean) @ (rows[train] - mean).T
    target = (data.y[train, None] == np.array(data.labels)).astype(float)
    weights = np.linalg.solve(inner + 0.1 * np.eye(len(inner)), target - target.mean(axis=0))
    scores = (rows[test] - mean) @ (rows[train] - mean).T @ weights + target.mean(axis=0)
    return float((np.array(data.labels)[scores.argmax(axis=1)] == data.y[test]).mean())


def wrong_order(data: Path) -> dict[str, Any]:
    """UTD-MHAD with its joints read in the order of MSR-Action3D: words must do worse."""
    encoder = load_encoder("skeleton")
    clips, y, _ = listed("utd", data, encoder)
    even = [c for c in clips if int(c.meta["who"]) % 2 == 0]
    truth = [label for clip, label in zip(clips, y, strict=True) if int(clip.meta["who"]) % 2 == 0]
    labels = sorted(set(y))
    texts = ModelCore(encoder).encode_labels(labels)
    wrong = [replace(c, meta={**c.meta, "layout": "kinect20_msr"}) for c in even]
    vectors = np.stack([each.vector for each in encoder.encode(wrong)])
    right = np.array(labels)[(vectors @ texts.T).argmax(axis=1)] == np.array(truth)
    return row("words alone, joints in the order of MSR-Action3D", [float(right.mean())])


def right_arm(data: Set) -> dict[str, Any]:
    """Rank of swipes above squats for "right arm". Control: the query of the other side."""
    even = data.part(~halves(data)[0])
    even = even.part(np.isin(even.y, ["swipe left", "swipe right", "squat"]))
    wanted = even.y != "squat"
    print(f"\nswipes of the right arm ({wanted.sum()}) among squats ({(~wanted).sum()})")
    found: dict[str, Any] = {}
    for phrase in ("right arm", "moving the right arm", "left arm", "both legs"):
        scores = even.vectors @ even.texts([phrase])[0]
        ranked = wanted[np.argsort(-scores, kind="stable")]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        found[phrase] = float(precision[ranked].mean())
        print(f"  {phrase!r}: average precision {found[phrase]:.2f}")
    found["chance"] = float(wanted.mean())
    return found


def transfer(source: Set, target: Set, shared: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Learn the shared labels from one set, recognise them in another (another layout)."""
    renamed = []
    for each in (source, target):
        kept = each.part(np.isin(each.y, list(shared[each.name])))
        renamed.append(replace(kept, y=np.array([shared[each.name][label] for label in kept.y])))
    both = replace(
        renamed[0],
        features=np.concatenate([each.features for each in renamed]),
        vectors=np.concatenate([each.vectors for each in renamed]),
        y=np.concatenate([each.y for each in renamed]),
        who=np.concatenate([each.who for each in renamed]),
        known={},
    )
    learns = np.arange(len(both.y)) < len(renamed[0].y)
    numbers = np.flatnonzero(learns)
    print(f"\n{source.name} to {target.name}, {len(both.labels)} shared labels")
    words = both.vectors[~learns] @ both.texts(both.labels).T
    named = np.array(both.labels)[words.argmax(axis=1)] == both.y[~learns]
    shuffled = np.random.default_rng(0).permutation(both.y[numbers])
    return {
        "words": row("words alone", [float(named.mean())]),
        "auto": row("learned", [accuracy(both, numbers, ~learns, both.y[numbers])]),
        "shuffled": row(
            "labels shuffled", [accuracy(both, numbers, ~learns, shuffled, texts=False)]
        ),
    }


def coarse_words(data: Set) -> dict[str, Any]:
    """Ranking by coarse phrases of a wrist sensor (area under ROC)."""
    even = data.part(~halves(data)[0])
    wanted = {
        "jog in place": ("jogging in place", "walking in place"),
        "throw a ball": ("throw", "tennis serve", "tennis swing", "baseball swing",
                         "pick up and throw", "bowling", "basketball shoot"),
        "sit down": ("sit to stand", "stand to sit", "squat", "forward lunge"),
        "wave": ("wave", "knock on door", "boxing"),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for phrase, labels in wanted.items():
        scores = even.vectors @ even.texts([phrase])[0]
        found[phrase] = roc(scores, np.isin(even.y, labels))
        print(f"  {phrase!r}: area under ROC {found[phrase]:.2f}")
    return found


def roc(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Chance that a wanted recording scores above another one; ties count half."""
    above = scores[wanted][:, None] - scores[~wanted][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def row(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Print and give mean and spread."""
    spread = f" +- {100 * np.std(values):.1f}" if len(values) > 1 else ""
    print(f"  {name}: {100 * np.mean(values):.1f} %{spread}")
    return {"mean": float(np.mean(values)), "sd": float(np.std(values)), "values": list(values)}


def interval(right: np.ndarray, who: np.ndarray) -> list[float]:
    """Mean, and the middle 95 % of means over drawn subjects."""
    random = np.random.default_rng(0)
    people = sorted(set(who.tolist()))
    sums = np.array([[right[who == each].sum(), (who == each).sum()] for each in people])
    drawn_ = sums[random.integers(0, len(people), (1000, len(people)))].sum(axis=1)
    means = drawn_[:, 0] / drawn_[:, 1]
    return [float(right.mean()), *map(float, np.percentile(means, [2.5, 97.5]))]


def read_set(name: str, data: Path, cache: Path) -> Set:
    """A set, encoded once."""
    encoder = load_encoder(FILES[name][0])
    key = hashlib.sha256(f"{data} {encoder.fingerprint}".encode()).hexdigest()[:12]
    file = cache / f"{name}-{key}.npz"
    if not file.exists():
        clips, y, who = listed(name, data, encoder)
        rows = list(encoded(encoder.encode, clips))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            file, features=np.stack([r.features for r in rows]), y=np.array(y), who=np.array(who),
            vectors=np.stack([r.vector for r in rows]),
        )  # fmt: skip
    with np.load(file, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in ("features", "vectors", "y", "who")}
    return Set(name, encoder, **arrays)


def encoded(
    encode: Callable[[Sequence[Clip]], list[Encoded]], clips: Sequence[Clip]
) -> Iterator[Encoded]:
    """Clips one by one."""
    for clip in clips:
        yield from encode([clip])


def setting(text: str) -> tuple[str, Any]:
    """Read ``K=V``, V as JSON where it is that."""
    name, _, given = text.partition("=")
    try:
        return name, json.loads(given)
    except ValueError:
        return name, given


def listed(name: str, data: Path, encoder: Encoder) -> tuple[list[Clip], list[str], list[str]]:
    """The clips of a set, their labels and their subjects."""
    modality, folder = FILES[name]
    source = reader(modality)
    clips: list[Clip] = []
    y: list[str] = []
    with (data / "manifest.csv").open(encoding="utf-8") as table:
        for entry in csv.DictReader(table):
            path = data / entry["path"]
            if not entry["path"].startswith(folder) or "order" in path.name:
                continue
            if name == "ut":
                return unpacked(path, encoder)
            clip = source.read_clip(path, None, encoder.sampling)
            who = "".join(c for c in entry["group"] if c.isdigit()) or "0"
            clips.append(replace(clip, meta={**clip.meta, "who": who}))
            y.append(entry["label"])
    return clips, y, [str(clip.meta["who"]) for clip in clips]


def unpacked(path: Path, encoder: Encoder) -> tuple[list[Clip], list[str], list[str]]:
    """The recordings of UT-Kinect, which lie in one file."""
    found = recordings(path)
    clips = [as_clip(path, bodies) for bodies in found]
    del encoder
    return clips, [each.label for each in found], [each.name[1:3] for each in found]


def as_clip(path: Path, bodies: Bodies) -> Clip:
    """All frames of a recording."""
    times_s = (np.arange(len(bodies.points)) + 0.5) / bodies.rate_hz
    window = Window(0.0, len(bodies.points) / bodies.rate_hz)
    meta = {"layout": bodies.layout, "unit": bodies.unit}
    return Clip(path, window, "skeleton", bodies.points, times_s, meta=meta)


if __name__ == "__main__":
    main()
