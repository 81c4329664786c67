"""Figures that queries state: is a first hit of half or more right, is an absent label "not here".

    python evals/stated.py --data DIR DIR [--model lite] [--cache DIR] [--json OUT]

DIRs are those of ``believe.py``. The second half of each clip is a recording of its own, so that
1,000 recordings are there. Each label and each of its wordings is a plain query; another label is
wrong even if it means nearly the same. Labels, not clips, are split, by their CRC-32: constants
were chosen on "choose"; thresholds of "not here" come from four folds of labels and are measured on
the fifth.

first hits  libraries of 40, 200 and 1,000 recordings, all queries whose label is there: tenths of
            what is stated (mean stated, share right, queries), and all that state half or more,
            with the interval of 95 % over draws of labels. Control: labels permuted
not here    libraries of 40 and 200 recordings of half of the labels, a promise of .8: share of
            absent labels that are called "not here", and of present ones (at most .2), by an
            empty list of ``--miss``, by what the best moment states, and by how it stands out of
            the ranking. Oracle: less what the best moment of the same text states in libraries
            that lack it. Judgements: ten labelled queries of the library set its threshold; or
            the ten best hits of the query are judged, and none is right (so every absent label is
            found out), and as many hits as keep the promise
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from believe import deciles, load_clips, load_wordings
from harness import HALVES, arguments, echo, manifest, store, stored

import vlar
from vlar.errors import VlarError
from vlar.library.query.feedback import log_odds
from vlar.library.query.guarantee import scores_of
from vlar.media.video.decode import read_clip
from vlar.types import Float32, Float64, Window

SIZES = {40: 8, 200: 8, 1000: 4}  # recordings, and draws of them
ABSENT = {40: 40, 200: 20}
FOLDS = 5
RESAMPLED = 1000
FOLDER_FPS = 25  # of a folder of frames, as vlar reads it
MISS = 0.2
JUDGED = 10


def second_halves(model: vlar.Model, folder: Path, cache: Path | None) -> Float32:
    """(N, D) vectors of the second half of each clip of a manifest."""
    file = cache / f"second-{model.fingerprint[:16]}.npz" if cache else None
    vectors = dict(np.load(file)) if file and file.exists() else {}
    rows = manifest(folder)
    for row in rows:
        if row["path"] not in vectors:
            end = float(row["duration_s"] or int(row["frames"]) / FOLDER_FPS)
            side = model.words.shorter_side or None
            window, n_frames = Window(end / 2, end), model.words.n_frames
            clip = read_clip(folder / row["path"], window, n_frames, shorter_side=side)
            vectors[row["path"]] = model.words.encode([clip])[0].vector
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **vectors)
    return np.stack([vectors[row["path"]] for row in rows]).astype(np.float16).astype(np.float32)


class Asked:
    """Q texts with the label of each, and log odds (Q, N) that a recording alone states."""

    def __init__(self, model: vlar.Model, folders: list[Path], cache: Path | None) -> None:
        clips, wordings = load_clips(model, folders, cache), load_wordings()
        halves = [second_halves(model, folder, cache) for folder in folders]
        vectors = np.concatenate([clips.vectors, *halves])
        self.of = np.concatenate([clips.labels, clips.labels])
        self.listed = np.array(sorted(set(clips.labels.tolist())))
        asked = wordings.asked(self.listed.tolist())
        self.labels = np.array([label for _, label in asked])
        words = model.words.encode_queries([text for text, _ in asked])
        alone = [model.words.match_probability(vectors, query) for query in words]
        self.odds = log_odds(model.words.moment(np.stack(alone)))
        self.half = np.array([zlib.crc32(label.encode()) % 2 for label in self.labels.tolist()])
        self.fold = np.array([zlib.crc32(f"{label}x".encode()) % FOLDS for label in self.labels])

    def drawn(self, size: int, seed: int, share: float = 1.0) -> np.ndarray:
        """Rows of a library: one recording of each of a share of the labels, then more of them."""
        draw = np.random.default_rng(seed)
        count = min(size, int(share * len(self.listed)))
        labels = draw.permutation(self.listed)[:count]
        rows = [int(draw.choice(np.flatnonzero(self.of == label))) for label in labels]
        others = np.arange(len(self.of))
        if share < 1:
            others = others[np.isin(self.of, labels)]
        more = draw.permutation(np.setdiff1d(others, rows))
        return np.array([*rows, *more.tolist()[: size - len(rows)]])


def first_hits(asked: Asked, half: int, permuted: bool = False) -> dict[str, Any]:
    """Reliability of what first hits state, by the size of the library."""
    figures: dict[str, Any] = {}
    for size, draws in SIZES.items():
        rows: list[tuple[int, float, bool]] = []
        for seed in range(draws):
            library = asked.drawn(size, seed)
            labels = asked.of[library]
            shown = np.random.default_rng(seed).permutation(labels) if permuted else labels
            for text in np.flatnonzero((asked.half == half) & np.isin(asked.labels, shown)):
                best = int(asked.odds[text, library].argmax())
                right = bool(shown[best] == asked.labels[text])
                rows.append((int(text), float(asked.odds[text, library[best]]), right))
        text, odds, right = (np.array(column) for column in zip(*rows, strict=True))
        stated, sure = 1 / (1 + np.exp(-odds)), odds >= 0
        figures[str(size)] = {
            "queries": len(odds), "first": _mean(right), "stated half": int(sure.sum()),
            "right of stated": _mean(right[sure]),
            "interval": interval(asked.labels[text[sure]], right[sure]),
            "labels of stated": len(set(asked.labels[text[sure]].tolist())),
            "tenths": deciles(stated, right),
        }  # fmt: skip
    return figures


def interval(labels: np.ndarray, right: np.ndarray) -> list[float] | None:
    """The 95 % interval of the share of right answers over draws of labels."""
    names = sorted(set(labels.tolist()))
    if not names:
        return None
    counts = np.array([(right[labels == name].sum(), (labels == name).sum()) for name in names])
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLED, len(names)))
    hits, total = counts[drawn].sum(axis=1).T
    return [round(float(q), 3) for q in np.quantile(hits / total, (0.025, 0.975))]


def _mean(values: np.ndarray) -> float | None:
    return round(float(np.mean(values)), 3) if len(values) else None


def not_here(asked: Asked, size: int) -> dict[str, Any]:
    """Shares of absent and of present labels that are called "not here"."""
    ways: dict[str, list[np.ndarray]] = {}
    here, texts, draws = list[np.ndarray](), len(asked.labels), ABSENT[size]
    places, ten = list[np.ndarray](), list[np.ndarray]()
    for seed in range(draws):
        library = asked.drawn(size, seed, share=min(0.5, size / len(asked.listed)))
        odds, shown = asked.odds[:, library], asked.of[library][None] == asked.labels[:, None]
        order = np.argsort(-odds, axis=1)
        ordered = np.take_along_axis(odds, order, axis=1)
        best, present = ordered[:, 0], shown.any(axis=1)
        right = np.where(shown, odds, -np.inf).max(axis=1)
        sure = 1 / (1 + np.exp(-best))
        rows = {
            "--miss": scores_of(sure, sure),
            "best moment": best,
            "best less second": best - ordered[:, 1],
            "best less median": best - np.median(odds, axis=1),
            "standardised": (best - odds.mean(axis=1)) / odds.std(axis=1),
        }
        for name, values in rows.items():
            ways.setdefault(name, []).append(values)
        stated = 1 / (1 + np.exp(-np.where(present, right, 0.0)))
        of_right = scores_of(stated, sure)
        ways.setdefault("right", []).append(np.where(present, of_right, np.nan))
        here.append(present)
        places.append(np.take_along_axis(shown, order, axis=1).argmax(axis=1))
        ten.append(_by_ten(best, asked.labels, present, seed))
    scores = {name: np.concatenate(rows) for name, rows in ways.items()}
    present, text = np.concatenate(here), np.tile(np.arange(texts), draws)
    usual, often = np.zeros(texts), np.zeros(texts)
    np.add.at(usual, text[~present], scores["best moment"][~present])
    np.add.at(often, text[~present], 1)
    without = usual[text] - np.where(present, 0, scores["best moment"])
    scores["oracle"] = scores["best moment"] - without / np.maximum(often[text] - ~present, 1)
    figures: dict[str, Any] = {"present": int(present.sum()), "absent": int((~present).sum())}
    right = scores.pop("right")
    for name, values in scores.items():
        said = np.zeros(len(values), bool)
        for fold in range(FOLDS):
            inside = asked.fold[text] == fold
            of_present = right if name == "--miss" else values
            said[inside] = values[inside] < np.quantile(of_present[~inside & present], MISS)
        figures[name] = _told(said, present)
    figures["ten judgements of the library"] = _told(np.concatenate(ten), present)
    place = np.sort(np.concatenate(places)[present])
    figures["ten judged hits"] = {"absent": 1.0, "present": _mean(place >= JUDGED)}
    figures["judged hits that keep the promise"] = int(place[int((1 - MISS) * len(place))]) + 1
    return figures


def _by_ten(best: Float64, labels: np.ndarray, present: np.ndarray, seed: int) -> np.ndarray:
    """(Q,) "not here" by ten labelled queries of a library, of ten labels.

    Those that set the threshold are left as they fall: 10 of some hundred.
    """
    draw = np.random.default_rng(seed)
    names = draw.permutation(sorted(set(labels[present].tolist())))[:JUDGED]
    own = [best[draw.choice(np.flatnonzero(labels == name))] for name in names]
    return best < np.sort(own)[int(MISS * (len(own) + 1)) - 1]


def _told(said: np.ndarray, present: np.ndarray) -> dict[str, Any]:
    return {"absent": _mean(said[~present]), "present": _mean(said[present])}


def main() -> int:
    options = arguments(
        __doc__, "model", "cache", "json",
        data={"type": Path, "nargs": "+", "required": True, "help": "folders of clips"},
    )  # fmt: skip
    try:
        model = vlar.load(options.model)
        asked = Asked(model, options.data, options.cache)
        found: dict[str, Any] = stored(options.json, {})
        found |= {"model": options.model, "fingerprint": model.fingerprint}
        found |= {"recordings": len(asked.of), "labels": len(asked.listed)}
        ways: dict[str, Callable[[], Any]] = {
            f"first hits, {name}": lambda half=half: first_hits(asked, half)
            for half, name in enumerate(HALVES)
        }
        ways["first hits, labels permuted"] = lambda: first_hits(asked, 1, permuted=True)
        ways |= {f"not here, {n} recordings": lambda n=n: not_here(asked, n) for n in ABSENT}
        for what in (way for way in ways if way not in found):
            found[what] = ways[what]()
            echo(what, found[what])
            store(options.json, found)
    except (VlarError, OSError, KeyError) as error:
        print(f"stated: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
