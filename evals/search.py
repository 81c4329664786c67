"""Search that learns from judgements, states figures of any library, and promises lists.

    python evals/search.py --data DIR DIR [--model lite] [--cache DIR] [--cached]
                           [--calibration FILE.json] [--json OUT]

DIRs are those of ``believe.py``. ``--cached`` uses the clips whose vectors the cache holds.
Labels, not clips, are split: a label is in a half, and in one of five folds, by its CRC-32. On
"choose" constants were chosen and what a moment states was fitted. Lists are measured on each fold
by a calibration of the four others; the packaged one (``--calibration`` writes it) is of all.

feedback     a person judges three of the best ten, twice; the best hit that was not judged, against
             the same list from which the judged ones are merely taken out. ``first``: the three
             best are judged; ``any``: three of ten at random; ``with_a_yes``: of these, where one
             of the judged is right. Controls: judgements at random, labels permuted, one shared
             vector in place of a head a block
sizes        libraries of 4, 45 and 200 recordings (or as many as there are): the share of first
             hits that state 50 % or more, and how many of them are right; ``standing`` the same
concepts     ten judgements of the hits of a label over the clips of every second group teach a
             concept; clips of the other groups are classified by it, in one list of all labels and
             by each label alone (balanced, "unsure" is wrong). Controls: the phrases alone, and
             judgements permuted
miss         lists of ``--miss``: share of misses (and of each fold, with the standard error
             that the labels of a fold make), median share of the library,
             share of absent labels with an empty list, and the share that the best moment
             alone tells; with the labels permuted; a fixed share of the ranking that holds as many
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from believe import Clips, Wordings, load_clips, load_wordings
from harness import arguments, echo, manifest, store, stored

import vlar
from vlar.errors import VlarError
from vlar.evaluation.protocols.feedback import (
    CONTROLS,
    Person,
    Round,
    figures_of,
    simulated,
)
from vlar.heads.base import NO_BELOW, YES_FROM
from vlar.language.concept import Concept
from vlar.language.labels import LabelSet
from vlar.library.manifest import declared
from vlar.library.query.feedback import learn, log_odds
from vlar.library.query.guarantee import MissCalibration, scores_of
from vlar.types import Encoded, Float64

ALPHAS = (0.05, 0.1, 0.2)
SIZES = (4, 45, 200)
FOLDS = 5
AHEAD = 0.5
DRAWS = 8
JUDGED = 10


class Asked:
    """Q texts, the label of each, and the probability of each clip alone (Q, N)."""

    def __init__(self, model: vlar.Model, clips: Clips, wordings: Wordings) -> None:
        self.model, self.clips = model, clips
        asked = wordings.asked(sorted(set(clips.labels.tolist())))
        self.texts = [text for text, _ in asked]
        self.labels = np.array([label for _, label in asked])
        self.words = model.words.encode_queries(self.texts)
        self.alone = np.stack([model.words.match_probability(clips.vectors, q) for q in self.words])
        self.half = np.array([zlib.crc32(label.encode()) % 2 for label in self.labels.tolist()])
        self.fold = np.array([zlib.crc32(f"{label}x".encode()) % FOLDS for label in self.labels])


def feedback(asked: Asked, half: int, person: Person, *, shared: bool = False) -> Any:
    """Figures of each round of judgements; labels of at least three clips."""
    clips, model = asked.clips, asked.model
    often = Counter(clips.labels.tolist())
    counted = [often[str(label)] >= 3 for label in asked.labels.tolist()]
    rows = np.flatnonzero((asked.half == half) & counted)
    shown = clips.labels[None] == asked.labels[rows, None]
    parts = () if shared else declared(model)
    rounds = simulated(model.words, asked.words[rows], clips.vectors, shown, parts, person)
    return [_gain(results) for results in rounds]


def _gain(results: list[Round]) -> dict[str, float | None]:
    gains = np.array([row.after - row.before for row in results], float)
    named = {row.name: round(row.value, 3) for row in figures_of(results)}
    error = round(float(gains.std() / np.sqrt(max(len(gains), 1))), 3)
    gain = round(float(gains.mean()), 3) if len(gains) else None
    return {"queries": len(results), **named, "gain": gain, "standard_error": error,
            "with_a_yes": sum(row.with_yes for row in results)}  # fmt: skip


def drawn(clips: Clips, size: int, seed: int) -> np.ndarray:
    """Rows of a library: one clip a label, then more of them where it is larger."""
    draw = np.random.default_rng(seed)
    labels = sorted(set(clips.labels.tolist()))
    chosen = draw.permutation(labels)[:size]
    rows = [int(draw.choice(np.flatnonzero(clips.labels == label))) for label in chosen]
    rest = draw.permutation(np.setdiff1d(np.arange(len(clips.labels)), rows))
    return np.array([*rows, *rest.tolist()[: max(size - len(rows), 0)]])


def concepts(asked: Asked) -> dict[str, Any]:
    """Figures of labels that judgements taught, on clips of other groups than those judged."""
    clips, model, rng = asked.clips, asked.model, np.random.default_rng(0)
    library, held = (np.flatnonzero(clips.half == half) for half in (0, 1))
    often = Counter(clips.labels[library].tolist())
    labels = sorted(label for label in set(clips.labels[held].tolist()) if often[label] >= 2)
    taught: dict[str, dict[str, Concept]] = {"phrases": {}, "concepts": {}, "permuted": {}}
    for label, words in zip(labels, model.words.encode_queries(labels), strict=True):
        best = library[np.argsort(-model.words.match_probability(clips.vectors[library], words))]
        truth = clips.labels[best[:JUDGED]] == label
        for name, judged in (("concepts", truth), ("permuted", rng.permutation(truth))):
            head = learn(
                words, clips.vectors[best[:JUDGED]], judged.tolist(), clips.vectors[library],
                model.words, declared(model),
                lambda alone: model.words.among(alone, len(library)),
            )  # fmt: skip
            taught[name][label] = Concept(
                label, label, model.fingerprint, 0, 0, head.gain, head.offset, head.shift
            )
    held = held[np.isin(clips.labels[held], labels)]
    rows = [Encoded(clips.vectors[:0], clips.vectors[row]) for row in held]
    truth = clips.labels[held]
    figures: dict[str, Any] = {"labels": len(labels), "clips": len(held)}
    for name, by_label in taught.items():
        listed = model.recogniser.classifier(LabelSet.read(labels).taught_by(by_label))
        first = listed.scores(rows).probability.argmax(axis=1)
        balanced = list[float]()
        for label in labels:
            alone = model.recogniser.classifier(LabelSet.read([label]).taught_by(by_label))
            p, shown = alone.scores(rows).probability[:, 0], truth == label
            balanced.append(((p[shown] >= YES_FROM).mean() + (p[~shown] < NO_BELOW).mean()) / 2)
        figures[name] = {
            "first of list": _mean(np.array(labels)[first] == truth),
            "alone, balanced": _mean(np.array(balanced)),
        }
    return figures


def sizes(asked: Asked, half: int) -> dict[str, Any]:
    """Reliability of stated figures by the size of the library."""
    found: dict[str, Any] = {}
    for size in SIZES:
        rows: list[tuple[float, bool, bool]] = []
        for seed in range(60 if size < 10 else DRAWS):
            library = drawn(asked.clips, size, seed)
            labels = asked.clips.labels[library]
            for query in np.flatnonzero((asked.half == half) & np.isin(asked.labels, labels)):
                odds = log_odds(asked.model.words.moment(asked.alone[query][library]))
                order = np.argsort(-odds)
                right = bool(labels[order[0]] == asked.labels[query])
                rows.append((odds[order[0]], right, odds[order[0]] - odds[order[1]] >= AHEAD))
        odds, right, clear = np.array(rows).T
        sure = odds >= 0
        found[str(min(size, len(asked.clips.labels)))] = {
            "queries": len(odds), "first": _mean(right), "stated_half": _mean(sure),
            "right_of_stated": _mean(right[sure]), "weak": _mean(odds < np.log(0.25)),
            "right_of_weak": _mean(right[odds < np.log(0.25)]), "clear": _mean(clear),
            "right_of_clear": _mean(right[clear == 1]),
        }  # fmt: skip
    return found


def _mean(values: np.ndarray) -> float | None:
    return round(float(np.mean(values)), 3) if len(values) else None


@dataclass(frozen=True)
class Moments:
    """R queries of libraries: labels and folds (R,), scores of right moments (R,), NaN where
    none is there, shares of the library that are stated above them (R,), scores of all moments,
    and what is stated of the best (R,).
    """

    label: np.ndarray
    fold: np.ndarray
    right: Float64
    above: Float64
    scores: list[Float64]
    best: Float64


def moments(asked: Asked, size: int, *, permuted: bool = False) -> Moments:
    """Every query of libraries of some recordings."""
    rows: list[tuple[str, int, float, float, Float64, float]] = []
    for seed in range(DRAWS * max(1, 64 // size)):
        library = drawn(asked.clips, size, seed)
        labels = asked.clips.labels[library]
        if permuted:
            labels = np.random.default_rng(seed).permutation(labels)
        for query, alone in enumerate(asked.alone):
            values = asked.model.words.moment(alone[library])
            scores = scores_of(values, np.full(len(values), values.max()))
            shown = labels == asked.labels[query]
            right = float(scores[shown].max()) if shown.any() else np.nan
            above = float((values > values[shown].max(initial=0)).mean())
            asked_for = str(asked.labels[query]), int(asked.fold[query])
            rows.append((*asked_for, right, above, scores, float(values.max())))
    *columns, scores, best = zip(*rows, strict=True)
    return Moments(*map(np.array, columns), list(scores), np.array(best))


def calibration(asked: Asked, name: str) -> MissCalibration:
    """The calibration by all labels."""
    scores: dict[int, tuple[float, ...]] = {}
    for size in (4, 12, 45, 150):
        right = moments(asked, size).right
        values = np.sort(right[np.isfinite(right)])
        thinned = values[np.linspace(0, len(values) - 1, min(len(values), 400)).astype(int)]
        scores[size] = tuple(round(float(value), 3) for value in thinned)
    return MissCalibration(name, asked.model.fingerprint, scores)


def miss(asked: Asked, size: int, *, permuted: bool = False) -> dict[str, Any]:
    """Figures of lists, of each fold by the labels of the four others."""
    rows = moments(asked, size)
    taught = moments(asked, size, permuted=True) if permuted else rows
    shown = np.isfinite(rows.right)
    best = np.array([scores.max() for scores in rows.scores])
    figures: dict[str, Any] = {"queries": int(shown.sum()), "absent": int((~shown).sum())}
    for alpha in ALPHAS:
        least = np.zeros(len(shown))
        for fold in range(FOLDS):
            right = np.sort(taught.right[(taught.fold != fold) & np.isfinite(taught.right)])
            made = MissCalibration("", "", {size: tuple(right.tolist())})
            least[rows.fold == fold] = made.guarantee(alpha, size).least
        missed = rows.right < least
        lengths = np.array([
            (scores >= low).mean() for scores, low in zip(rows.scores, least, strict=True)
        ])  # fmt: skip
        by_fold = [_mean(missed[shown & (rows.fold == fold)]) for fold in range(FOLDS)]
        labels = sorted(set(rows.label[shown].tolist()))
        by_label = [missed[shown & (rows.label == label)].mean() for label in labels]
        ranks = np.sort(rows.above[shown])
        figures[str(alpha)] = {
            "missed": _mean(missed[shown]), "missed_by_fold": by_fold,
            "error_of_a_fold": round(float(np.std(by_label) / np.sqrt(len(labels) / FOLDS)), 3),
            "median_share": round(float(np.median(lengths[shown])), 3),
            "mean_share": _mean(lengths[shown]), "absent_empty": _mean((best < least)[~shown]),
            "absent_empty_by_best_alone": _mean(
                rows.best[~shown] < np.quantile(rows.best[shown], alpha)
            ),
            "share_of_ranking": round(float(ranks[int((1 - alpha) * (len(ranks) - 1))]), 3),
        }  # fmt: skip
    return figures


def measured(asked: Asked, found: dict[str, Any], kept: Callable[[], None]) -> None:
    """All figures that are not there yet.

    Args:
        asked: The clips and texts.
        found: Figures by name, which are added to.
        kept: Called after each.
    """
    found |= {"clips": len(asked.clips.labels), "labels": len(set(asked.labels))}
    ways: dict[str, Callable[[int], Any]] = {
        "feedback, first three": lambda half: feedback(asked, half, Person(of=3)),
        "feedback, any three of ten": lambda half: feedback(asked, half, Person()),
        "feedback, one shared vector": lambda half: feedback(asked, half, Person(), shared=True),
        **{
            f"feedback, {name}": lambda half, name=name: feedback(asked, half, Person(truth=name))
            for name in CONTROLS
        },
        "sizes": lambda half: sizes(asked, half),
    }
    for half, which in enumerate(("choose", "report")):
        figures = found.setdefault(which, {})
        for what in (name for name in ways if name not in figures):
            figures[what] = ways[what](half)
            echo(which, what, figures[what])
            kept()
    wholes: dict[str, Callable[[], Any]] = {
        "concepts": lambda: concepts(asked),
        **{f"miss, {n} recordings": lambda n=n: miss(asked, n) for n in (12, 45, 150)},
        "miss, labels permuted": lambda: miss(asked, 45, permuted=True),
    }
    for what in (name for name in wholes if name not in found):
        found[what] = wholes[what]()
        echo(what, found[what])
        kept()


def only_cached(model: vlar.Model, folders: Sequence[Path], cache: Path) -> Clips:
    """The clips whose vectors are in the cache."""
    known = np.load(cache / f"ranking-{model.fingerprint[:16]}.npz")
    rows = [row for folder in folders for row in manifest(folder) if row["path"] in known.files]
    vectors = np.stack([known[row["path"]] for row in rows]).astype(np.float16).astype(np.float32)
    labels = np.array([row["readable_label"] for row in rows])
    return Clips(vectors, labels, np.zeros(len(labels), np.int64))


def main() -> int:
    options = arguments(
        __doc__, "model", "cache", "json",
        data={"type": Path, "nargs": "+", "required": True, "help": "folders of clips"},
        cached={"action": "store_true", "help": "only clips whose vectors the cache holds"},
        calibration={"type": Path, "help": "write the packaged calibration here"},
    )  # fmt: skip
    try:
        model = vlar.load(options.model)
        load = only_cached if options.cached else load_clips
        asked = Asked(model, load(model, options.data, options.cache), load_wordings())
        found = stored(options.json, {})
        found |= {"model": options.model, "fingerprint": model.fingerprint}
        measured(asked, found, lambda: store(options.json, found))
    except (VlarError, OSError, KeyError) as error:
        print(f"search: {error}", file=sys.stderr)
        return 2
    if options.calibration:
        name = f"{len(asked.labels)} queries of everyday actions in short clips"
        text = json.dumps(json.loads(calibration(asked, name).to_json()), indent=None)
        options.calibration.write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
