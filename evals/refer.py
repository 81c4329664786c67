"""Does the network of ``refer`` learn whom a phrase means? Composites of people side by side.

    vlar models get lite-motion
    python evals/refer.py --videos DIR [--train 150] [--test 150] [--cache DIR] [--json OUT]

It is trained on composites of the half "choose" and tried on those of the half "report", each
person named by place and, where two people wear clothes of known colours, by colour. Share of right
people, in percent:

measures    what is measured, without a network (``vlar.detecting.choose``)
network     the network alone, without the measures
shuffled    the same, trained with the phrases shuffled among the examples (must fail)
chance      one over the number of people

With ``--encode`` the network reads the vectors of cuts and of the whole picture; without, zeros in
their place, which costs a third: places and colours are what these phrases are about.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from people_composites import HALVES, rows_of_people, sources
from who import PLACES

import vlar
from vlar.adapters.refer.adapter import Refer
from vlar.adapters.refer.inputs import describe
from vlar.detecting.base import load_detector
from vlar.detecting.choose import choose
from vlar.detecting.people import find_people
from vlar.fewshot.support import SupportItem
from vlar.model.core import ModelCore
from vlar.text.referring import parse
from vlar.training.learners.pointing import PointingRow, held_places, train
from vlar.types import Encoded


def main() -> int:
    options = _options()
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
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--train", type=int, default=150, help="composites of each kind")
    parser.add_argument("--test", type=int, default=150, help="composites of each kind")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--encode", action="store_true", help="read the vectors of the cuts too")
    parser.add_argument("--cache", type=Path, help="folder that keeps what each composite gave")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args()


def _rows(core: ModelCore, options: argparse.Namespace, half: str) -> list[PointingRow]:
    pool = sources(options.videos, half)
    count = options.train if half == "choose" else options.test
    found: list[PointingRow] = []
    for colours in (False, True):
        for number, made in enumerate(rows_of_people(pool, count, 1, colours=colours)):
            key = f"refer-{half}-{colours}-{options.encode}-{number}.npz"
            file = options.cache / key if options.cache else None
            found += _examples(core, options, made, colours, f"{half}-{colours}-{number}", file)
    return found


def _examples(core, options, made, colours, group, file):
    """One example for each person of a composite whom a track lies on."""
    names = [f"the person in {source.clothes}" for source in made.sources]
    if not colours:
        names = [f"the person on the {place}" for place in PLACES[len(made.sources)]]
    if file and file.exists():
        with np.load(file) as held:
            people, whole, measured, middles = (held[n] for n in ("p", "w", "m", "x"))
    else:
        found = find_people(made.clip, load_detector("pose"))
        count, dim = len(found.tracks), core.dim
        if not count:
            return []
        worn = found.colours()
        vectors = np.zeros((count + 1, dim), np.float32)
        if options.encode:
            cuts = [found.cut_out(place, made.clip) for place in range(count)]
            vectors = np.stack([row.vector for row in core.encode([*cuts, made.clip])])
        people, whole = describe(found, vectors[:-1], worn), vectors[-1]
        measured = np.stack([choose(found.tracks, parse(name), worn).weights for name in names])
        middles = np.array([np.median(track.centres[:, 0]) for track in found.tracks])
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, p=people, w=whole, m=measured, x=middles)
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
    sys.exit(main())
