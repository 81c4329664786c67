"""Answers a person can believe: yes or no, the first hit, and the meaning of a percentage.

    python evals/believe.py --data DIR DIR [--model lite] [--cache DIR] [--json OUT]

Each DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names.
``lists/believe_sentences.csv`` has three wordings for each label, and its kind: a thing or place,
the motion of a body, hands, or a pair of people. Every second group (source video or person) of a
set is in the half "choose", on which constants were chosen; the others are "report".

first hit    one mixed library of one clip a label (mean of 5 draws); each label and each wording is
             a plain query, and another label is wrong even if it means nearly the same: the right
             clip is first, among the first three; the share of queries with the commonest first
             hit; the share of right first hits where 50 % or more is stated
yes or no    one label alone, asked of a clip that shows it and of clips that show labels of another
             kind. "decided" counts answers of "yes" and "no" only; "all" counts "unsure" as wrong
five         own wording among four wordings of other labels
reliability  deciles of the stated probability: mean stated, share right, answers

Controls: labels permuted; the objects alone (``lite-objects``), the motion of bodies alone
(``motion``) and a CLIP with random weights are run by ``--model``.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cached import vectors_of
from harness import arguments, echo, manifest, store, stored

import vlar
from vlar.errors import VlarError
from vlar.heads.base import verdict
from vlar.types import Encoded, Float32

DRAWS = 5
SENTENCES = Path(__file__).parent / "lists" / "believe_sentences.csv"
# Kinds that two right answers about one clip may have: a person of a pair also moves.
_BOTH = ({"pair", "body"}, {"pair", "thing"})


@dataclass(frozen=True)
class Clips:
    """N clips: vectors (N, D), labels (N,), half (N,), 0 for "choose"."""

    vectors: Float32
    labels: np.ndarray
    half: np.ndarray

    def library(self, half: int, seed: int) -> np.ndarray:
        """Rows of one random clip a label."""
        random, rows = np.random.default_rng(seed), np.flatnonzero(self.half == half)
        labels = sorted(set(self.labels[rows].tolist()))
        return np.array([random.choice(rows[self.labels[rows] == label]) for label in labels])


@dataclass(frozen=True)
class Wordings:
    """Kind and wordings of labels; a label without any is asked by its name alone."""

    kind: dict[str, str]
    of: dict[str, list[str]]

    def asked(self, labels: Sequence[str]) -> list[tuple[str, str]]:
        """Each text that is asked, with the label it means."""
        return [(text, label) for label in labels for text in (label, *self.of.get(label, ()))]

    def differ(self, one: str, other: str) -> bool:
        """Return whether two labels are of kinds that exclude each other."""
        kinds = {self.kind.get(one, ""), self.kind.get(other, "")}
        return "" not in kinds and len(kinds) == 2 and kinds not in _BOTH


def load_wordings() -> Wordings:
    """The packaged list."""
    found = Wordings({}, {})
    with SENTENCES.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.kind[row["label"]] = row["kind"]
            found.of.setdefault(row["label"], []).append(row["wording"])
    return found


def load_clips(model: vlar.Model, folders: Sequence[Path], cache: Path | None) -> Clips:
    """The clips of all folders, in halves by group within each data set."""
    vectors, rows = list[Float32](), list[dict[str, str]]()
    for folder in folders:
        listed = manifest(folder)
        vectors.append(vectors_of(model, folder, [row["path"] for row in listed], cache))
        rows += listed
    groups = {row["dataset"]: set[str]() for row in rows}
    for row in rows:
        groups[row["dataset"]].add(row["group"])
    order = {name: sorted(found) for name, found in groups.items()}
    return Clips(
        np.concatenate(vectors),
        np.array([row["readable_label"] for row in rows]),
        np.array([order[row["dataset"]].index(row["group"]) % 2 for row in rows]),
    )


def deciles(stated: np.ndarray, right: np.ndarray) -> list[list[float]]:
    """Mean stated, share right, and number of answers, for each tenth that has answers."""
    tenth = np.minimum((stated * 10).astype(int), 9)
    return [
        [round(float(stated[tenth == t].mean()), 3), round(float(right[tenth == t].mean()), 3),
         int((tenth == t).sum())]
        for t in np.unique(tenth)
    ]  # fmt: skip


def first_hits(
    model: vlar.Model, clips: Clips, half: int, wordings: Wordings, permuted: bool = False
) -> dict[str, Any]:
    """Figures of plain queries over a mixed library."""
    listed = sorted(set(clips.labels[clips.half == half].tolist()))
    texts = dict.fromkeys(text for text, _ in wordings.asked(listed))
    known = dict(zip(texts, model.words.encode_queries(list(texts)), strict=True))
    size = len(listed)
    of = {
        text: model.words.among(model.words.match_probability(clips.vectors, query), size)
        for text, query in known.items()
    }
    rows: list[tuple[float, float, float]] = []
    stated, right = list[np.ndarray](), list[np.ndarray]()
    for seed in range(DRAWS):
        library = clips.library(half, seed)
        labels = clips.labels[library]
        if permuted:
            labels = np.random.default_rng(seed).permutation(labels)
        asked = wordings.asked(labels.tolist())
        scores = np.stack([of[text][library] for text, _ in asked])
        order = np.argsort(-scores, axis=1, kind="stable")
        hit = labels[order[:, :3]] == np.array([label for _, label in asked])[:, None]
        commonest = np.bincount(order[:, 0]).max() / len(asked)
        rows.append((hit[:, 0].mean(), hit.any(axis=1).mean(), commonest))
        stated.append(scores.max(axis=1))
        right.append(hit[:, 0])
    sure, was_right = np.concatenate(stated), np.concatenate(right)
    above = sure >= 0.5
    first, three, commonest = np.mean(rows, axis=0).round(3).tolist()
    return {
        "queries": len(sure) // DRAWS, "first": first, "three": three, "commonest": commonest,
        "stated_half": round(float(above.mean()), 3),
        "right_of_stated": round(float(was_right[above].mean()), 3) if above.any() else None,
        "deciles": deciles(sure, was_right),
    }  # fmt: skip


def yes_or_no(model: vlar.Model, clips: Clips, half: int, wordings: Wordings) -> dict[str, Any]:
    """Figures of one label alone, asked of clips that show it and of other kinds."""
    rows = np.flatnonzero(clips.half == half)
    encoded = [Encoded(clips.vectors[:0], clips.vectors[row]) for row in rows]
    labels = clips.labels[rows]
    told: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    stated, right = list[float](), list[bool]()
    for label in sorted(set(labels.tolist()) & wordings.kind.keys()):
        for text, _ in wordings.asked([label]):
            p = model.classifier([text]).scores(encoded).probability[:, 0]
            others = [wordings.differ(label, other) for other in labels.tolist()]
            for shown, at in ((True, labels == label), (False, np.array(others))):
                answers = [verdict(float(value)) for value in p[at]]
                told[shown].append(tuple(answers.count(v) / len(answers) for v in _VERDICTS))
                stated += p[at].tolist()
                right += [shown] * len(answers)
    yes, no = np.mean(told[True], axis=0), np.mean(told[False], axis=0)
    decided = (yes[0] / max(yes[0] + yes[2], 1e-9) + no[2] / max(no[0] + no[2], 1e-9)) / 2
    return {
        "asked": len(told[True]), "shown": yes.round(3).tolist(), "other": no.round(3).tolist(),
        "balanced_all": round(float(yes[0] + no[2]) / 2, 3),
        "balanced_decided": round(float(decided), 3),
        "deciles": deciles(np.array(stated), np.array(right)),
    }  # fmt: skip


_VERDICTS = ("yes", "unsure", "no")


def five(model: vlar.Model, clips: Clips, half: int, wordings: Wordings) -> dict[str, Any]:
    """Own wording among five."""
    rows = np.flatnonzero((clips.half == half) & np.isin(clips.labels, list(wordings.of)))
    random, labels = np.random.default_rng(half), sorted(wordings.of)
    stated, right = list[float](), list[bool]()
    for row in rows:
        own = str(clips.labels[row])
        others = [label for label in labels if label != own]
        listed = [own, *random.choice(others, 4, replace=False).tolist()]
        texts = [str(random.choice(wordings.of[label])) for label in listed]
        encoded = Encoded(clips.vectors[:0], clips.vectors[row])
        p = model.classifier(texts).scores([encoded]).probability[0]
        stated.append(float(p.max()))
        right.append(bool(p.argmax() == 0))
    sure, was = np.array(stated), np.array(right)
    above = sure >= 0.5
    return {
        "asked": len(rows), "right": round(float(was.mean()), 3),
        "stated_half": round(float(above.mean()), 3),
        "right_of_stated": round(float(was[above].mean()), 3) if above.any() else None,
        "deciles": deciles(sure, was),
    }  # fmt: skip


def main() -> int:
    options = arguments(
        __doc__, "model", "cache", "json",
        data={"type": Path, "nargs": "+", "required": True, "help": "folders of clips"},
    )  # fmt: skip
    try:
        model = vlar.load(options.model)
        clips, wordings = load_clips(model, options.data, options.cache), load_wordings()
        found = stored(options.json, {})
        found |= {"model": options.model, "fingerprint": model.fingerprint}
        for half, name in enumerate(("choose", "report")):
            ways: dict[str, Callable[[], Any]] = {
                "first hit": partial(first_hits, model, clips, half, wordings),
                "labels permuted": partial(first_hits, model, clips, half, wordings, permuted=True),
                "yes or no": partial(yes_or_no, model, clips, half, wordings),
                "five": partial(five, model, clips, half, wordings),
            }
            figures = found.setdefault(name, {})
            for what in (way for way in ways if way not in figures):
                figures[what] = ways[what]()
                echo(name, what, figures[what])
                store(options.json, found)
    except (VlarError, OSError, KeyError) as error:
        print(f"believe: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
