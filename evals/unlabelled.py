"""Accuracy of a model at a place, estimated without labels, against what labels then show.

    python evals/unlabelled.py --shared DIR [--half choose|report] [--sets ucla ...] [--json FILE]

A pair is a model and a place: people, cameras, sets or rigs that did not teach it, some of them
with samples that are changed (other rates, jitter, dropped joints, darkness, noise). The sets of
``choose`` were open while the estimator and its constants were chosen; those of ``report`` were
answered once, after that. Single estimators of the literature stand next to it.

Control: the labels of the examples are shuffled before they teach. The estimate then has to fall to
what the model reaches. And the labels of the place are shuffled, which no estimator can notice: the
error has to be large.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tracks
import tracks_rigs
from cached import array_of, file_of
from harness import arguments, echo, manifest, store
from sensors import FILES, SHARED, SHARED_WITH_UCLA, listed

import vlar
from vlar.behaviour.annotated.head import best_path, timeline_of
from vlar.behaviour.annotated.recordings import answers_of
from vlar.behaviour.annotated.report import FIGURES
from vlar.evaluation.corruptions.base import corrupt
from vlar.evaluation.unlabelled import Answers, Figures, figures_of
from vlar.heads.support import SupportItem
from vlar.language.labels import LabelSet
from vlar.model.adapt import fit_examples
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.label_heads import make_classifier
from vlar.types import Clip, Encoded

CHOOSE = ("utd", "msr", "utd to msr", "audio", "weizmann", "words ucf101", "words something",
          "rats", "gestures")  # fmt: skip
REPORT = ("ucla", "cameras", "utd to ucla", "sbu", "imu", "colour", "words jhmdb", "words fresh",
          "freezing", "exercises")  # fmt: skip
JOINTS = ("jitter/2", "jitter/4", "joint-dropout/3", "rate/4", "turned")
SENSOR = ("noise", "rate/4", "axes")
PICTURES = ("dark", "resolution/4", "gaussian-noise/3")
CHANGES = {
    "utd": JOINTS, "msr": JOINTS, "audio": ("noise",), "weizmann": PICTURES, "ucla": JOINTS,
    "sbu": JOINTS, "imu": SENSOR, "colour": PICTURES[:1],
}  # fmt: skip
TRACKS = ("rats", "gestures", "freezing", "exercises")
CONTROLS = ("msr", "ucla", "sbu")
SINGLE = ("average confidence", "difference of confidences", "average thresholded confidence")
NOISE, TURN, DARK = 0.5, 60.0, 0.25


@dataclass(frozen=True)
class Pair:
    """Answers of a model at a place.

    Attributes:
        name: Set, fold and change.
        labels: C labels.
        probability: (N, C).
        unknown: (N,).
        expected: (C,) shares of the labels among the examples.
        truth: N labels.
        answer: N answered labels.
        held: As ``AdaptReport.held``; empty for a model of words.
    """

    name: str
    labels: tuple[str, ...]
    probability: np.ndarray
    unknown: np.ndarray
    expected: np.ndarray
    truth: np.ndarray
    answer: np.ndarray
    held: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) whether the answer is right."""
        return self.answer == self.truth


def changed(clip: Clip, change: str, seed: int) -> Clip:
    """A clip as another place would record it."""
    random = np.random.default_rng(seed)
    name, _, level = change.partition("/")
    if not change:
        return clip
    if name == "rate":
        step = int(level)
        return replace(clip, data=clip.data[::step], times_s=clip.times_s[::step])
    if name == "turned":
        angle = np.deg2rad(TURN)
        x, z = clip.data[..., 0], clip.data[..., 2]
        data = clip.data.copy()
        data[..., 0], data[..., 2] = (
            np.cos(angle) * x + np.sin(angle) * z,
            np.cos(angle) * z - np.sin(angle) * x,
        )
        return replace(clip, data=data)
    if name == "noise":
        spread = NOISE * clip.data.std(axis=0, keepdims=True)
        return replace(
            clip, data=(clip.data + spread * random.normal(size=clip.data.shape)).astype(np.float32)
        )
    if name == "axes":
        return replace(clip, data=np.ascontiguousarray(clip.data[:, [1, 2, 0, 4, 5, 3]]))
    if name == "dark":
        return replace(clip, data=(clip.data * DARK).astype(np.uint8))
    return replace(clip, data=corrupt(clip.data, name, int(level), seed=seed, meta=clip.meta))


class Lab:
    """Encodes clips once, by set and change."""

    def __init__(self, shared: Path, cache: Path) -> None:
        self.shared, self.cache = shared, cache
        self.clips: dict[str, tuple[list[Any], np.ndarray, np.ndarray]] = {}
        self.models: dict[str, vlar.Model] = {}

    def model(self, name: str) -> vlar.Model:
        """A model without examples."""
        if name not in self.models:
            self.models[name] = vlar.load(name)
        return self.models[name]

    def listed(self, name: str) -> tuple[list[Any], np.ndarray, np.ndarray]:
        """Clips or paths of a set, with labels and groups."""
        if name in self.clips:
            return self.clips[name]
        videos, clips = self.shared / "videos", self.shared / "clips"
        if name in FILES:
            found: Any = listed(name, self.shared / "modalities", self.encoder(name))
        elif name == "colour":
            rows = manifest(self.shared / "modalities", "UTD-MHAD RGB")
            found = self._rows(self.shared / "modalities", rows, "label")
        elif name == "words fresh":
            found = self._rows(clips, manifest(clips, "J-HMDB (fresh source videos)"))
        else:
            sets = {"weizmann": "weizmann", "words ucf101": "ucf101", "words jhmdb": "jhmdb",
                    "words something": "something-something-v2"}  # fmt: skip
            found = self._rows(videos, manifest(videos, sets[name]))
        clips_or_paths, y, who = found
        self.clips = {name: (clips_or_paths, np.array(y), np.array(who))}
        return self.clips[name]

    def _rows(self, folder: Path, rows: Sequence[dict[str, str]], label: str = "readable_label"):
        return (
            [folder / row["path"] for row in rows],
            [row[label] for row in rows],
            [row["group"] for row in rows],
        )

    def encoder(self, name: str) -> Any:
        """Encoder of a set."""
        return self.model(FILES[name][0] if name in FILES else "lite").encoder

    def encoded(self, name: str, change: str) -> tuple[list[Encoded], np.ndarray, np.ndarray]:
        """Rows of a set after a change, with labels and groups."""
        core = ModelCore(self.encoder(name))
        sampler = core.view_sampler if name.startswith("words") else core.view_sampler.one_view
        where = f"unlabelled {name} {change} {core.fingerprint}"
        files = [file_of(self.cache, f"{where} {part}") for part in ("f", "v", "y", "who")]
        if not all(file.exists() for file in files):
            clips, y, who = self.listed(name)
            rows: list[Encoded] = []
            for number, clip in enumerate(clips):
                views = [clip] if isinstance(clip, Clip) else sampler.sample(clip)
                rows.append(core.encode_views([changed(view, change, number) for view in views]))
            for file, array in zip(
                files, (np.stack([r.features for r in rows]), np.stack([r.vector for r in rows]),
                        y, who), strict=True,
            ):  # fmt: skip
                array_of(file, lambda array=array: array)
        features, vectors, y, who = (np.load(file) for file in files)
        return [Encoded(f, v) for f, v in zip(features, vectors, strict=True)], y, who


def taught(
    core: ModelCore, rows: Sequence[Encoded], y: np.ndarray, who: np.ndarray
) -> tuple[Any, np.ndarray]:
    """The head of ``auto`` that some examples teach, and its answers held out."""
    items = [
        SupportItem(Path(f"clip{n}"), None, (str(label),), str(group))
        for n, (label, group) in enumerate(zip(y, who, strict=True))
    ]
    labels = tuple(sorted(set(y.tolist())))
    adapted = fit_examples(core, labels, EncodedExamples(items, list(rows), ()))
    return adapted.head, np.array(adapted.report.held)


def answers(
    core: ModelCore, head: Any, held: np.ndarray, name: str, rows: Sequence[Encoded], y: np.ndarray
) -> Pair:
    """Answers of a head at a place; ``None`` answers by words."""
    names = None if head is not None else sorted(set(y.tolist()))
    classifier = make_classifier(core, LabelSet.read(names, "one"), adapted=head)
    scores = classifier.scores(rows)
    answer = np.array(classifier.labels)[scores.probability.argmax(axis=1)]
    expected = np.full(len(classifier.labels), 1 / len(classifier.labels))
    if head is not None:
        expected = np.bincount(head.owners) / len(head.owners)
    shares = scores.probability, scores.unknown, expected
    return Pair(name, classifier.labels, *shares, y, answer, held)


def halves(name: str, who: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Groups that teach: every second one, and then the others."""
    groups = sorted(set(who.tolist()))
    odd = np.isin(who, groups[::2])
    yield "first half", odd
    yield "second half", ~odd


def clip_pairs(lab: Lab, name: str, *, shuffled: bool = False) -> Iterator[Pair]:
    """Pairs of a set of clips."""
    source, _, target = name.partition(" to ")
    if name.startswith("words "):
        core = ModelCore(lab.encoder(name))
        rows, y, _ = lab.encoded(name, "")
        yield answers(core, None, np.zeros((0, 2)), name, rows, y)
        return
    if target:
        yield from _transfer(lab, source, target, shuffled=shuffled)
        return
    data = "ucla" if name == "cameras" else name
    core = ModelCore(lab.encoder(data))
    rows, y, who = lab.encoded(data, "")
    if name == "cameras":
        views = np.array([clip.path.stem[-1] for clip in lab.listed("ucla")[0]])
        parts = [(f"camera {view}", views != view) for view in ("1", "2", "3")]
    else:
        parts = list(halves(name, who))
    for part, inside in parts:
        labels = y[inside]
        labels = np.random.default_rng(0).permutation(labels) if shuffled else labels
        head, held = taught(core, pick(rows, inside), labels, who[inside])
        for change in ("", *(CHANGES[name] if name in CHANGES and not shuffled else ())):
            there = lab.encoded(data, change)[0]
            title = f"{name}, {part}, {change or 'as it is'}"
            yield answers(core, head, held, title, pick(there, ~inside), y[~inside])


def _transfer(lab: Lab, source: str, target: str, *, shuffled: bool) -> Iterator[Pair]:
    names = SHARED if target == "msr" else SHARED_WITH_UCLA
    core = ModelCore(lab.encoder(source))
    rows, y, who = lab.encoded(source, "")
    inside = np.isin(y, list(names[source]))
    labels = np.array([names[source][label] for label in y[inside]])
    labels = np.random.default_rng(0).permutation(labels) if shuffled else labels
    head, held = taught(core, pick(rows, inside), labels, who[inside])
    there, asked, _ = lab.encoded(target, "")
    inside = np.isin(asked, list(names[target]))
    truth = np.array([names[target][label] for label in asked[inside]])
    yield answers(core, head, held, f"{source} to {target}", pick(there, inside), truth)


def pick(rows: Sequence[Any], mask: np.ndarray) -> list[Any]:
    """Rows of a mask."""
    return [row for row, inside in zip(rows, mask, strict=True) if inside]


def track_pairs(folder: Path, name: str) -> Iterator[Pair]:
    """Pairs of a set of tracks: recordings that did not teach, of freezing other rigs."""
    data = tracks.SETS[name](folder)
    parts: dict[str, list[Pair]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (learn, ask, part) in enumerate(data.folds):
            bouts = [b for path in learn for b in tracks.cut(data.bouts[path], part, inside=False)]
            model = vlar.behaviour.learn(learn, bouts, **data.options)
            (track,) = timeline_of(model).tracks
            held = timeline_of(model).source[FIGURES][1][0]["held"]
            rigs = tracks_rigs.rigs(0) if name == "freezing" else {"": None}
            for path in ask:
                truth = tracks.steps(tracks.cut(data.bouts[path], part, inside=True), 10**5)
                for rig_number, (rig_name, rig) in enumerate(rigs.items()):
                    file = path
                    if rig is not None:
                        file = Path(scratch) / f"{rig_number}.csv"
                        tracks_rigs.recorded(path, rig, file, 0)
                    pair = _steps(model, track, file, truth, data.options.get("fps"), held)
                    key = rig_name or f"fold {number}"
                    parts.setdefault(f"{name}, {key}", []).append(pair)
    yield from (_joined(title, pairs) for title, pairs in parts.items())


def _steps(model: Any, track: Any, file: Path, truth: np.ndarray, fps: Any, held: Any) -> Pair:
    """Answers about the annotated steps of a recording."""
    fps = None if file.suffix == ".csv" else fps
    found = answers_of(timeline_of(model), file, encoder=None, fps=fps, force=True)
    ((_, shares),), match = found[1], found[2]
    labels = tuple(label or "background" for label in track.labels)
    answer = np.array(labels)[best_path(shares, track.least, track.switch)]
    truth = truth[: len(shares)]
    inside = truth != ""
    lacking = np.full(inside.sum(), 0.0 if match is None else 1 - match.share)
    shares, answer, truth = shares[inside], answer[inside], truth[inside].astype(str)
    expected = np.full(len(labels), 1 / len(labels))
    return Pair("", labels, shares, lacking, expected, truth, answer, np.array(held))


def _joined(name: str, pairs: Sequence[Pair]) -> Pair:
    fields = ("probability", "unknown", "truth", "answer", "held")
    arrays = {key: np.concatenate([getattr(pair, key) for pair in pairs]) for key in fields}
    return replace(pairs[0], name=name, **arrays)


def estimated(pair: Pair, rule: str) -> Figures:
    """Estimate of the accuracy of a pair."""
    column = {label: number for number, label in enumerate(pair.labels)}
    answer = np.array([column[label] for label in pair.answer], np.int64)
    sure, count = pair.probability.max(axis=1), len(answer)
    if rule == "bouts":
        chance = 1 / len(pair.labels)
        sure = chance + (sure - chance) * (1 - pair.unknown)
        count = 1 + int((np.diff(answer) != 0).sum())
    else:
        sure = sure / pair.probability.sum(axis=1).clip(1e-300)
    return figures_of(Answers(pair.labels, answer, sure, pair.held, pair.expected, count, rule))


def others(pair: Pair) -> dict[str, float]:
    """Estimates of single published estimators, where answers were held out."""
    sure = pair.probability.max(axis=1) / pair.probability.sum(axis=1).clip(1e-300)
    rows = {"average confidence": float(sure.mean())}
    if len(pair.held):
        held, right = pair.held, pair.held[:, -1].mean()
        rows["difference of confidences"] = float(right - held[:, 0].mean() + sure.mean())
        threshold = np.quantile(held[:, 0], 1 - right)
        rows["average thresholded confidence"] = float((sure >= threshold).mean())
    return rows


def result(pair: Pair, name: str) -> dict[str, Any]:
    """Figures of a pair, and of the same with the labels of the place shuffled."""
    rule = "bouts" if name in TRACKS else "words" if name.startswith("words") else "examples"
    found = estimated(pair, rule)
    shuffled = np.random.default_rng(0).permutation(pair.truth)
    row: dict[str, Any] = {
        "pair": pair.name, "n": len(pair.truth), "accuracy": float(pair.right.mean()),
        "estimate": found.estimate, "low": found.low, "high": found.high,
        "held out": float(pair.held[:, -1].mean()) if len(pair.held) else None,
        "accuracy, labels of the place shuffled": float((pair.answer == shuffled).mean()),
        **others(pair),
    }  # fmt: skip
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean absolute error, coverage, and pairs whose accuracy halves inside of no interval."""
    error = [abs(row["estimate"] - row["accuracy"]) for row in rows]
    inside = [row["low"] <= row["accuracy"] <= row["high"] for row in rows]
    halved = [row for row in rows if row["held out"] and row["accuracy"] <= row["held out"] / 2]
    shuffled = [
        abs(row["estimate"] - row["accuracy, labels of the place shuffled"]) for row in rows
    ]
    single: dict[str, float] = {}
    for key in (*SINGLE, "nothing: the accuracy held out"):
        name = "held out" if key.startswith("nothing") else key
        parts = [abs(row[name] - row["accuracy"]) for row in rows if row.get(name) is not None]
        if parts:
            single[key] = round(float(np.mean(parts)), 3)
    return {
        "pairs": len(rows), "mean absolute error": round(float(np.mean(error)), 4),
        "worst error": round(max(error), 3), "covered": round(float(np.mean(inside)), 3),
        "mean width": round(float(np.mean([row["high"] - row["low"] for row in rows])), 3),
        "pairs whose accuracy halves": len(halved),
        "of these covered, or low is below half": sum(
            row["low"] <= max(row["accuracy"], row["held out"] / 2) for row in halved
        ),
        "mean absolute error, labels of the place shuffled": round(float(np.mean(shuffled)), 3),
        "mean absolute error of single estimators": single,
    }  # fmt: skip


def main() -> None:
    asked = arguments(
        __doc__, "shared", "json", "half", sets=([], "sets; default: those of the half"),
        cache=Path(tempfile.gettempdir()) / "vlar-unlabelled",
    )  # fmt: skip
    lab = Lab(asked.shared, asked.cache)
    rows: dict[str, list[dict[str, Any]]] = {}
    control: list[dict[str, Any]] = []
    for name in asked.sets or (CHOOSE if asked.half == "choose" else REPORT):
        tracked = name in TRACKS
        pairs = track_pairs(asked.shared / "behaviour", name) if tracked else clip_pairs(lab, name)
        rows[name] = [result(pair, name) for pair in pairs]
        for row in rows[name]:
            echo(row)
        if name in CONTROLS:
            control += [result(pair, name) for pair in clip_pairs(lab, name, shuffled=True)]
    listed = [row for part in rows.values() for row in part]
    results = {
        "half": asked.half, "summary": summary(listed),
        "by set": {name: summary(part) for name, part in rows.items()},
        "taught by shuffled labels": control, "rows": listed,
    }  # fmt: skip
    echo(results["summary"])
    store(asked.json, results)


if __name__ == "__main__":
    main()
