"""Learning of references by the network of ``refer``: composites of people side by side.

    vlar models get lite-motion
    python evals/refer.py --videos DIR [--train 150] [--test 150] [--cache DIR] [--json OUT]

It is trained on composites of the half "choose" and tried on those of the half "report", each
person named by place and, where two people wear clothes of known colours, by colour. Share of right
people, in percent:

measures    what is measured, without a network (``vlar.people.subject_selection``)
network     the network alone, without the measures
shuffled    the same, trained with the phrases shuffled among the examples (must fail)
chance      one over the number of people

With ``--encode`` the network reads the vectors of cuts and of the whole picture; without, zeros in
their place, which costs a third: places and colours are what these phrases are about. The
composites, and the boxes in the cache, are those of ``who.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Namespace, arguments, echo, store
from people_composites import HALVES, rows_of_people, sources
from people_kept import KeptDetector, KeptVectors
from who import names_of

import vlar
from vlar.heads.support import SupportItem
from vlar.language.referring import parse
from vlar.methods.refer.adapter import Refer, describe
from vlar.methods.refer.learner import PointingRow, held_places, train
from vlar.model.core import ModelCore
from vlar.people.base import load_detector
from vlar.people.people import find_people
from vlar.people.subject_selection import choose
from vlar.types import Encoded


def main() -> None:
    options = arguments(
        __doc__, "videos", "model", "json", train=(150, "composites of each kind"),
        test=(150, "composites of each kind"), seeds=5,
        encode=(False, "read the vectors of the cuts too"),
        cache=(Path, "folder that keeps what each composite gave"),
    )  # fmt: skip
    core = ModelCore(vlar.load(options.model).encoder)
    rows = {half: _rows(core, options, half) for half in HALVES}
    labels = sorted({row.item.label for half in HALVES for row in rows[half]})
    tested = rows["report"]
    truth = np.array([row.place for row in tested])
    figures: dict[str, object] = {
        "trained_on": len(rows["choose"]),
        "tried_on": len(tested),
        "measures": _percent(np.array([row.measured.argmax() for row in tested]) == truth),
        "chance": _percent([1 / len(row.cuts) for row in tested]),
    }
    for name in ("network", "shuffled"):
        right = []
        for seed in range(options.seeds):
            learned = rows["choose"]
            if name == "shuffled":
                order = np.random.default_rng(seed).permutation(len(learned))
                learned = [
                    replace(row, item=replace(row.item, who=learned[at].item.who))
                    for row, at in zip(learned, order, strict=True)
                ]
            adapter = Refer.attach(core.encoder)
            train(adapter, core, learned, labels, seed, measures=False)
            right.append(float((held_places(adapter, core, tested, labels) == truth).mean()))
        figures[name] = _percent(right)
        figures[f"{name}_spread"] = round(100 * float(np.std(right)), 1)
    echo(figures)
    store(options.json, figures)


def _rows(core: ModelCore, options: Namespace, half: str) -> list[PointingRow]:
    pool = sources(options.videos, half)
    count = options.train if half == "choose" else options.test
    detectors = [KeptDetector(load_detector(name), options.cache) for name in ("pose", "motion")]
    vectors = KeptVectors(vlar.load(options.model), options.cache) if options.encode else None
    found: list[PointingRow] = []
    for colours in (False, True):
        for number, made in enumerate(rows_of_people(pool, count, 0, colours=colours)):
            found += _examples(
                core, detectors, vectors, made, colours, f"{half}-{colours}-{number}"
            )
    return found


def _examples(core, detectors, vectors, made, colours, group):
    """One example for each person of a composite whom a track lies on."""
    names = names_of(made, "colours" if colours else "places")
    found = find_people(made.clip, detectors[0], moving=detectors[1])
    count = len(found.tracks)
    if not count:
        return []
    worn = found.colours()
    seen = np.zeros((count + 1, core.dim), np.float32)
    if vectors is not None:
        seen = vectors.of([*(found.cut_out(at, made.clip) for at in range(count)), made.clip])
    people, whole = describe(found, seen[:-1], worn), seen[-1]
    measured = np.stack([choose(found.tracks, parse(name), worn).weights for name in names])
    middles = np.array([np.median(track.centres[:, 0]) for track in found.tracks])
    rows = []
    for at, (name, source) in enumerate(zip(names, made.sources, strict=True)):
        left, right = made.boxes[at, 0, 0], made.boxes[at, 0, 2]
        on = np.flatnonzero((left <= middles) & (middles < right))
        if not len(on) or len(people) < 2:
            continue
        item = SupportItem(source.path, None, (source.label,), group, who=name)
        cuts = [Encoded(np.zeros((0, 1), np.float32), row[: core.dim]) for row in people]
        rows.append(PointingRow(item, people, whole, cuts, measured[at], int(on[0])))
    return rows


def _percent(values: object) -> float:
    return round(100 * float(np.mean(values)), 1)


if __name__ == "__main__":
    main()
