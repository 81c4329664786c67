"""Rows of people in a library: is the right person found, and do queries find more?

    vlar models get lite-motion
    python evals/persons.py --videos DIR [--half report] [--count 60] [--work DIR] [--json OUT]

Every composite is a file with two real clips of one person each, side by side, who do different
things (``people_composites.py``). ``vlar index add --persons`` makes a library of them. Queries are
the labels. In percent:

both_found  composites of which each person has a row
right       asked for a label inside a composite that shows it (``persons=only``), the box of the
            best row lies on the person who does it; chance is 50
exchanged   the same with the boxes of the two people exchanged (must fail)
shown_both  how often that is a person's row when whole frames compete too
right_both  of these, the share on the right person
map         mean average precision over the labels: composites ranked by whole frames (``whole``),
            by people (``people``), by both (``both``)
map_shuffled  ``both`` with the labels of the composites permuted (must fail)

Intervals are of composites drawn with replacement (right) and of labels (differences of mAP).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from cached import write_film
from harness import arguments, echo, store
from people_composites import Composite, rows_of_people, sources

import vlar
from vlar.library.library import Library
from vlar.library.store.paths import place
from vlar.metrics.classification import average_precision
from vlar.metrics.intervals import mean_interval, paired
from vlar.types import Hit

WAYS = {"whole": "no", "people": "only", "both": "both"}


def main() -> None:
    options = arguments(
        __doc__, "videos", "model", "half", "json", detector="pose", count=(60, "composites"),
        seed=0, work=(Path("persons-work"), "for the files"),
    )  # fmt: skip
    options.work.mkdir(parents=True, exist_ok=True)
    pool = sources(options.videos, options.half)
    drawn = rows_of_people(pool, 2 * options.count, options.seed)
    made = list(islice((each for each in drawn if len(each.sources) == 2), options.count))
    files = [_written(each, options.work / f"{at:03d}.mp4") for at, each in enumerate(made)]
    begin = time.process_time()
    with Library(options.work / "people.vlar", vlar.load(options.model)) as library:
        added = library.add(files, persons=True, detector=options.detector)
        indexed_s = time.process_time() - begin
        figures = {
            "composites": len(made),
            "labels": len({s.label for each in made for s in each.sources}),
            "rows": library.info().rows,
            "person_rows": library.info().person_rows,
            "index_cpu_s": round(indexed_s, 1) if added.added == len(files) else None,
            **_right(library, files, made),
            **_ranked(library, files, made, options.seed),
        }
    echo(figures)
    data = {"half": options.half, "seed": options.seed, "detector": options.detector}
    store(options.json, {**data, "model": options.model, "figures": figures})


def _written(made: Composite, file: Path) -> Path:
    """A composite as a file; one that is there is kept, so that an interrupted run resumes."""
    if file.exists():
        return file
    rate = Fraction(made.fps).limit_denominator(100)
    return write_film(file, made.frames, rate, threads=1, crf="18")


def _right(library: Library, files: Sequence[Path], made: Sequence[Composite]) -> dict[str, object]:
    """Share of best rows whose box lies on the person who performs the query."""
    right, exchanged, both, shown = [], [], [], []
    groups, tracks = [], []
    for number, (file, each) in enumerate(zip(files, made, strict=True)):
        tracks.append(len(_tracks(library, file)) >= len(each.sources))
        for at, source in enumerate(each.sources):
            best = next(iter(_asked(library, source.label, file, "only", 1)), None)
            groups.append(number)
            right.append(best is not None and _lies_on(each, best.box, at))
            exchanged.append(best is not None and _lies_on(each, best.box, 1 - at))
            best = next(iter(_asked(library, source.label, file, "both", 1)), None)
            box = None if best is None else best.box
            shown.append(box is not None)
            if box is not None:
                both.append(_lies_on(each, box, at))
    interval = mean_interval(right, groups)
    return {
        "asked": len(right),
        "both_found": _percent(tracks),
        "right": _percent(right),
        "right_interval": interval.to_dict() if interval else None,
        "exchanged": _percent(exchanged),
        "right_both": _percent(both),
        "shown_both": _percent(shown),
    }


def _tracks(library: Library, file: Path) -> set[int]:
    """Numbers of the people of a file."""
    zero = np.zeros(library.info().dim or 1, np.float32)
    rows = library.nearest(zero, 1000, where=[f"path={file}", "persons=only"])
    return {row.track for row in rows if row.track is not None}


def _asked(library: Library, text: str, file: Path, persons: str, k: int) -> list[Hit]:
    where = [f"path={file}", f"persons={persons}"]
    return library.query(f'"{text}"', k, where=where, min_probability=0, rerank=None)


def _lies_on(made: Composite, box: tuple[float, ...] | None, at: int) -> bool:
    """Return whether the middle of a box lies in a tile."""
    if box is None:
        return False
    middle = (box[0] + box[2]) / 2 * made.frames.shape[2]
    return bool(made.boxes[at, 0, 0] <= middle < made.boxes[at, 0, 2])


def _ranked(
    library: Library, files: Sequence[Path], made: Sequence[Composite], seed: int
) -> dict[str, object]:
    labels = sorted({source.label for each in made for source in each.sources})
    truth = np.array(
        [[label in {s.label for s in each.sources} for each in made] for label in labels]
    )
    number = {place(file): at for at, file in enumerate(files)}
    precision: dict[str, list[float]] = {}
    scores = np.zeros(truth.shape)
    for way, persons in WAYS.items():
        scores = np.zeros(truth.shape)
        for row, label in enumerate(labels):
            hits = library.query(
                f'"{label}"', 10 * len(files), where=[f"persons={persons}"],
                min_probability=0, rerank=None,
            )  # fmt: skip
            for hit in hits:
                for path in (hit.path, *(copy.path for copy in hit.also)):
                    at = number[path]
                    scores[row, at] = max(scores[row, at], hit.score)
        precision[way] = [average_precision(*each) for each in zip(scores, truth, strict=True)]
    order = np.random.default_rng(seed).permutation(len(made))
    wrong = [average_precision(s, t[order]) for s, t in zip(scores, truth, strict=True)]
    gains = {way: paired(precision[way], precision["whole"], labels) for way in ("people", "both")}
    return {
        "map": {way: _percent(values) for way, values in precision.items()},
        "map_shuffled": _percent(wrong),
        "map_gain": {way: gain.to_dict() if gain else None for way, gain in gains.items()},
    }


def _percent(values: Sequence[float | bool]) -> float | None:
    return round(100 * float(np.mean(values)), 1) if len(values) else None


if __name__ == "__main__":
    main()
