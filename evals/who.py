"""Judgement of the named person: composites of people side by side, named by place and by colour.

    vlar models get lite-motion
    python evals/who.py --videos DIR [--half report] [--count 300] [--cache DIR] [--json OUT]

Every composite holds two or three real clips of one person each (``people_composites.py``); each
person is named in turn. Label lists hold all labels of the half. Reported in percent:

chosen      the cut lies on the right tile (intersection over union of its middle: inside the tile)
who         top-1 of the cut that ``--who`` judges
oracle      top-1 of the tile itself, as a clip of its own
whole       top-1 of the composite without a reference
wrong       top-1 of the cut when another person of the composite is named (must fail)
other       how often that cut gives the label of the person who was named instead

The same for colours, with two people whose clothes have different colours (by sight,
``lists/people.csv``). ``seconds`` is CPU time for a composite: to find the people, and to encode.

``--margin`` and ``--whole`` try other cuts (side over the size of the person) and shares of the
whole picture; choose them on the half ``choose``. ``--limit-s`` stops in time: composites that are
kept in the cache go on the next time, and the figures are those of the composites that are done.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from harness import Namespace, arguments, echo, store
from people_composites import Composite, rows_of_people, sources
from people_kept import KeptDetector, KeptVectors

import vlar
from vlar.errors import PersonError
from vlar.language.referring import parse
from vlar.metrics.intervals import paired
from vlar.people.base import load_detector
from vlar.people.people import CONTEXT, find_people
from vlar.people.subject_selection import choose
from vlar.types import Encoded

PLACES = {2: ("left", "right"), 3: ("left", "middle", "right")}


@dataclass(frozen=True)
class Seen:
    """Results of a composite.

    Attributes:
        truth: n labels from the left.
        right: (n,) whether the person who is chosen by each name is the one who is named.
        cuts: (M, n, D) vectors of the cuts of the person that each name chooses, by margin; zeros
            for nobody.
        tiles: (n, D) vectors of the true tiles.
        whole: (D,) vector of the composite.
        found: Number of people who are found.
        find_s: CPU seconds to find them.
    """

    truth: list[str]
    right: np.ndarray
    cuts: np.ndarray
    tiles: np.ndarray
    whole: np.ndarray
    found: int
    find_s: float


def main() -> None:
    options = arguments(
        __doc__, "videos", "model", "half", "json", detector="pose",
        count=(300, "composites of each kind"), seed=0, task=["places", "colours"],
        margin=[CONTEXT], whole=[0.0], limit_s=(float, "seconds for each task"),
        cache=(Path, "folder that keeps what each composite gave"),
    )  # fmt: skip
    model = vlar.load(options.model)
    detectors = [
        KeptDetector(load_detector(n), options.cache) for n in (options.detector, "motion")
    ]
    vectors = KeptVectors(model, options.cache)
    pool = sources(options.videos, options.half)
    labels = sorted({source.label for source in pool})
    figures, begin = [], time.monotonic()
    for task in options.task:
        made = rows_of_people(pool, options.count, options.seed, colours=task == "colours")
        seen = []
        for each in made:
            seen.append(_seen(vectors, detectors, each, task, options.margin))
            if options.limit_s and time.monotonic() - begin > options.limit_s:
                break
        for row in _figures(model, task, labels, seen, options):
            row["encode_s"] = round(float(np.mean(vectors.seconds or [0])), 2)
            figures.append(row)
            echo(row)
        begin = time.monotonic()
    data = {"model": model.name, "fingerprint": model.fingerprint, "half": options.half}
    data |= {"count": options.count, "seed": options.seed, "detector": options.detector}
    store(options.json, {**data, "figures": figures})


def _seen(
    vectors: KeptVectors,
    detectors: list[KeptDetector],
    made: Composite,
    task: str,
    margins: list[float],
) -> Seen:
    detectors[1].seconds = 0.0
    people = find_people(made.clip, detectors[0], moving=detectors[1])
    find_s = sum(detector.seconds for detector in detectors)
    colours = people.colours() if task == "colours" and people.tracks else ()
    edges = np.array([*made.boxes[:, 0, 0], made.boxes[-1, 0, 2]])
    names = names_of(made, task)
    cuts = np.zeros((len(margins), len(names), vectors.model.encoder.dim), np.float32)
    right = np.zeros(len(names), bool)
    for at, name in enumerate(names):
        try:
            place = choose(people.tracks, parse(name), colours).place
        except (PersonError, ValueError):
            continue
        middle = float(np.median(people.tracks[place].centres[:, 0]))
        right[at] = edges[at] <= middle < edges[at + 1]
        cuts[:, at] = vectors.of([people.cut_out(place, made.clip, margin=m) for m in margins])
    tiles = [
        replace(made.clip, data=made.frames[:, :, int(left) : int(right_edge)])
        for left, right_edge in itertools.pairwise(edges)
    ]
    truth = [source.label for source in made.sources]
    whole = vectors.of([made.clip])[0]
    return Seen(truth, right, cuts, vectors.of(tiles), whole, len(people.tracks), find_s)


def names_of(made: Composite, task: str) -> list[str]:
    if task == "colours":
        return [f"the person in {source.clothes}" for source in made.sources]
    names = [f"the person on the {place}" for place in PLACES[len(made.sources)]]
    return [name.replace("on the middle", "in the middle") for name in names]


def _figures(
    model: vlar.Model, task: str, labels: list[str], seen: list[Seen], options: Namespace
) -> list[dict[str, object]]:
    classifier = model.classifier(labels)

    def probability(vectors: np.ndarray) -> np.ndarray:
        rows = [Encoded(np.zeros((0, 1), np.float32), vector) for vector in vectors]
        return classifier.scores(rows).probability

    tiles = [probability(each.tiles) for each in seen]
    wholes = [probability(each.whole[None]) for each in seen]
    found = []
    for at, margin in enumerate(options.margin):
        cuts = [probability(each.cuts[at]) for each in seen]
        for share in options.whole:
            mixed = []
            for each, cut, whole in zip(seen, cuts, wholes, strict=True):
                there = np.any(each.cuts[at] != 0, axis=1, keepdims=True)
                mixed.append(np.where(there, (1 - share) * cut + share * whole, whole))
            row = _row(classifier.labels, seen, mixed, tiles, wholes)
            found.append({"task": task, "margin": margin, "whole_weight": share, **row})
    return found


def _row(labels, seen, cuts, tiles, wholes) -> dict[str, object]:
    rows: dict[str, list[float]] = {name: [] for name in (
        "chosen", "who", "oracle", "whole", "wrong", "other", "other_oracle", "chance"
    )}  # fmt: skip
    groups: list[int] = []
    for number, (each, cut, tile, whole) in enumerate(zip(seen, cuts, tiles, wholes, strict=True)):
        n = len(each.truth)
        groups += [number] * n
        said, true = ([labels[i] for i in scores.argmax(axis=1)] for scores in (cut, tile))
        of_whole = labels[int(whole[0].argmax())]
        for at, truth in enumerate(each.truth):
            other = (at + 1) % n
            rows["chosen"].append(bool(each.right[at]))
            rows["who"].append(said[at] == truth)
            rows["oracle"].append(true[at] == truth)
            rows["whole"].append(of_whole == truth)
            rows["wrong"].append(said[other] == truth)
            rows["other"].append(said[other] == each.truth[other])
            rows["other_oracle"].append(true[other] == each.truth[other])
            rows["chance"].append(1 / len(labels))
    share = {name: round(100 * float(np.mean(values)), 1) for name, values in rows.items()}
    gain, lost = (
        paired(rows["who"], rows["whole"], groups),
        paired(rows["who"], rows["oracle"], groups),
    )
    return {
        "composites": len(seen),
        "named": len(rows["who"]),
        "labels": len(labels),
        **share,
        "who_of_oracle": round(100 * share["who"] / max(share["oracle"], 1e-9), 1),
        "gain_over_whole": gain.to_dict() if gain else None,
        "gain_over_oracle": lost.to_dict() if lost else None,
        "people_found": round(float(np.mean([each.found for each in seen])), 2),
        "people_there": round(float(np.mean([len(each.truth) for each in seen])), 2),
        "find_s": round(float(np.mean([each.find_s for each in seen])), 2),
    }


if __name__ == "__main__":
    main()
