"""Search that learns from judgements, states figures of any library, and promises lists.

    python evals/search.py --data DIR DIR [--model lite] [--cache DIR] [--cached]
                           [--calibration FILE.json] [--json OUT]

DIRs are those of ``believe.py``. ``--cached`` uses the clips whose vectors the cache holds.
Labels, not clips, are split for judgements and lists: a label is in a half by its CRC-32. On
"choose" the packaged calibration is made (``--calibration`` writes it) and what a moment states
was fitted; "report" holds labels that the calibration has not met.

feedback     a person judges three of the best ten, twice; the best hit that was not judged, against
             the same list from which the judged ones are merely taken out. ``first``: the three
             best are judged; ``any``: three of ten at random. Controls: judgements at random,
             labels permuted, one shared vector in place of a head a block
sizes        libraries of 4, 45 and 200 recordings (or as many as there are): the share of first
             hits that state 50 % or more, and how many of them are right; ``standing`` the same
miss         lists of ``--miss``: share of misses, median share of the library, share of absent
             labels with an empty list; with the labels permuted; a fixed share of the ranking that
             holds as many
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from believe import Clips, Wordings, load_clips, load_wordings
from harness import arguments, echo, manifest, store

import vlar
from vlar.errors import VlarError
from vlar.library.manifest import declared
from vlar.library.query.feedback import learn, log_odds
from vlar.library.query.guarantee import MissCalibration, scores_of
from vlar.types import Float64

ALPHAS = (0.05, 0.1, 0.2)
SIZES = (4, 45, 200)
AHEAD = 0.5
DRAWS = 8


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


def feedback(
    asked: Asked, half: int, policy: str, *, shared: bool = False, random: bool = False,
    permuted: bool = False, seed: int = 0,
) -> list[dict[str, float]]:  # fmt: skip
    """Figures of two rounds of judgements."""
    clips, model, draw = asked.clips, asked.model, np.random.default_rng(seed)
    blocks = () if shared else declared(model)
    often = Counter(clips.labels.tolist())
    rounds: list[list[tuple[bool, bool]]] = [[], []]
    for query in np.flatnonzero(asked.half == half):
        if often[str(asked.labels[query])] < 3:
            continue
        truth = clips.labels == asked.labels[query]
        told = draw.permutation(truth) if permuted else truth
        plain = log_odds(asked.alone[query])
        scores, judged = plain, dict[int, bool]()
        for results in rounds:
            best = [row for row in np.argsort(-scores, kind="stable") if row not in judged][:10]
            rows = best[:3] if policy == "first" else draw.choice(best, 3, replace=False).tolist()
            judged |= {int(row): bool(draw.random() < 0.3 if random else told[row]) for row in rows}
            left = np.ones(len(truth), bool)
            left[list(judged)] = False
            if not (truth & left).any():
                break
            head = learn(
                asked.words[query], clips.vectors[list(judged)], list(judged.values()),
                clips.vectors[:: max(len(clips.labels) // 256, 1)], model, blocks,
                lambda alone: model.words.among(alone, len(clips.labels)),
            )  # fmt: skip
            scores = log_odds(head.probability(clips.vectors, asked.alone[query]))
            results.append(tuple(
                bool(truth[np.argmax(np.where(left, values, -np.inf))])
                for values in (plain, scores)
            ))  # fmt: skip
    return [_gain(results) for results in rounds]


def _gain(results: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    before, after = np.array(results, float).reshape(-1, 2).T
    lost = float(((before == 1) & (after == 0)).sum() / max(before.sum(), 1))
    error = float((after - before).std() / np.sqrt(max(len(before), 1)))
    return {
        "queries": len(before), "without": round(float(before.mean()), 3),
        "with": round(float(after.mean()), 3), "gain": round(float((after - before).mean()), 3),
        "standard_error": round(error, 3), "lost_of_right": round(lost, 3),
    }  # fmt: skip


def drawn(clips: Clips, size: int, seed: int) -> np.ndarray:
    """Rows of a library: one clip a label, then more of them where it is larger."""
    draw = np.random.default_rng(seed)
    labels = sorted(set(clips.labels.tolist()))
    chosen = draw.permutation(labels)[:size]
    rows = [int(draw.choice(np.flatnonzero(clips.labels == label))) for label in chosen]
    rest = draw.permutation(np.setdiff1d(np.arange(len(clips.labels)), rows))
    return np.array([*rows, *rest.tolist()[: max(size - len(rows), 0)]])


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


Listed = list[tuple[float, float, Float64]]


def moments(asked: Asked, half: int, size: int, *, permuted: bool = False) -> tuple[Listed, Listed]:
    """Right, best and all stated probabilities of queries whose label is there, and of others."""
    present, absent = Listed(), Listed()
    for seed in range(DRAWS * max(1, 64 // size)):
        library = drawn(asked.clips, size, seed)
        labels = asked.clips.labels[library]
        if permuted:
            labels = np.random.default_rng(seed).permutation(labels)
        for query in np.flatnonzero(asked.half == half):
            values = asked.model.words.moment(asked.alone[query][library])
            shown = labels == asked.labels[query]
            right = float(values[shown].max()) if shown.any() else 0.0
            (present if shown.any() else absent).append((right, float(values.max()), values))
    return present, absent


def calibration(asked: Asked, half: int, name: str, **how: bool) -> MissCalibration:
    """The calibration by the labels of a half."""
    scores: dict[int, tuple[float, ...]] = {}
    for size in (4, 12, 45, 150):
        present, _ = moments(asked, half, size, **how)
        right, best = (np.array([row[at] for row in present]) for at in (0, 1))
        values = np.sort(scores_of(right, best))
        thinned = values[np.linspace(0, len(values) - 1, min(len(values), 400)).astype(int)]
        scores[size] = tuple(round(float(value), 3) for value in thinned)
    return MissCalibration(name, asked.model.fingerprint, scores)


def miss(asked: Asked, made: MissCalibration, size: int) -> dict[str, Any]:
    """Figures of lists over the labels that the calibration has not met."""
    present, absent = moments(asked, 1, size)
    found: dict[str, Any] = {"queries": len(present), "absent": len(absent)}
    for alpha in ALPHAS:
        least = made.guarantee(alpha, size).least
        lengths = [_length(row, least) for row in present]
        missed = [scores_of(np.array([r]), np.array([b]))[0] < least for r, b, _ in present]
        ranks = np.sort([float((values > right).mean()) for right, _, values in present])
        found[str(alpha)] = {
            "missed": _mean(np.array(missed)), "median_share": round(float(np.median(lengths)), 3),
            "mean_share": _mean(np.array(lengths)),
            "absent_empty": _mean(np.array([_length(row, least) == 0 for row in absent])),
            "share_of_ranking": round(float(ranks[int((1 - alpha) * (len(ranks) - 1))]), 3),
        }  # fmt: skip
    return found


def _length(row: tuple[float, float, Float64], least: float) -> float:
    _, best, values = row
    return float((scores_of(values, np.full(len(values), best)) >= least).mean())


def measured(asked: Asked, name: str) -> tuple[dict[str, Any], MissCalibration]:
    """All figures, and the calibration of "choose"."""
    found: dict[str, Any] = {"clips": len(asked.clips.labels), "labels": len(set(asked.labels))}
    ways: dict[str, Callable[[int], Any]] = {
        "feedback, first three": lambda half: feedback(asked, half, "first"),
        "feedback, any three of ten": lambda half: feedback(asked, half, "any"),
        "feedback, one shared vector": lambda half: feedback(asked, half, "any", shared=True),
        "feedback, judgements at random": lambda half: feedback(asked, half, "any", random=True),
        "feedback, labels permuted": lambda half: feedback(asked, half, "any", permuted=True),
        "sizes": lambda half: sizes(asked, half),
    }
    for half, which in enumerate(("choose", "report")):
        found[which] = {what: way(half) for what, way in ways.items()}
        for what, figures in found[which].items():
            echo(which, what, figures)
    made = calibration(asked, 0, name)
    for size in (12, 45, 150):
        found[f"miss, {size} recordings"] = miss(asked, made, size)
        echo("report", f"miss, {size} recordings", found[f"miss, {size} recordings"])
    wrong = calibration(asked, 0, name, permuted=True)
    found["miss, labels permuted"] = miss(asked, wrong, 45)
    echo("report", "miss, labels permuted", found["miss, labels permuted"])
    return found, made


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
        calibration={"type": Path, "help": "write the calibration of 'choose' here"},
    )  # fmt: skip
    try:
        model = vlar.load(options.model)
        load = only_cached if options.cached else load_clips
        asked = Asked(model, load(model, options.data, options.cache), load_wordings())
        name = f"{int((asked.half == 0).sum())} queries of everyday actions in short clips"
        found, made = measured(asked, name)
    except (VlarError, OSError, KeyError) as error:
        print(f"search: {error}", file=sys.stderr)
        return 2
    if options.calibration:
        text = json.dumps(json.loads(made.to_json()), indent=None)
        options.calibration.write_text(text + "\n", "utf-8")
    store(options.json, {"model": options.model, "fingerprint": model.fingerprint, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
