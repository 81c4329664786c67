"""Is the named person judged? Composites of people side by side, named by place and by colour.

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
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from people_composites import Composite, Source, rows_of_people, sources

import vlar
from vlar.detecting.base import load_detector
from vlar.detecting.choose import choose
from vlar.detecting.people import find_people
from vlar.errors import PersonError
from vlar.evaluation.intervals import paired
from vlar.text.referring import parse
from vlar.types import Clip, Window

PLACES = {2: ("left", "right"), 3: ("left", "middle", "right")}


@dataclass(frozen=True)
class Seen:
    """A composite with what was computed from it, once.

    Attributes:
        truth: Labels from the left.
        chosen: By name of a reference, the place in ``cuts`` that it picks; -1 for none.
        middles: (K,) x of the middle of each person who was found, pixels.
        cuts: (K, D) vectors of their cuts.
        tiles: (n, D) vectors of the true tiles.
        whole: (D,) vector of the composite.
        edges: (n + 1,) where the tiles begin and end, pixels.
        names: Reference of each true person.
        seconds: To find people, and to encode a cut.
    """

    truth: list[str]
    chosen: dict[str, int]
    middles: np.ndarray
    cuts: np.ndarray
    tiles: np.ndarray
    whole: np.ndarray
    edges: np.ndarray
    names: list[str]
    seconds: tuple[float, float]


def main() -> int:
    options = _options()
    model = vlar.load(options.model)
    detector = load_detector(options.detector)
    pool = sources(options.videos, options.half)
    labels = sorted({source.label for source in pool})
    tiles: dict[Path, np.ndarray] = {}
    figures = []
    for task in options.task:
        made = rows_of_people(pool, options.count, options.seed, colours=task == "colours")
        seen = []
        for number, each in enumerate(made):
            name = f"{options.half}-{task}-{options.seed}-{number}-{model.fingerprint[:12]}.npz"
            file = options.cache / name if options.cache else None
            seen.append(
                _cached(
                    file, lambda e=each, t=task: _seen(model, detector, e, tiles, t, options.cache)
                )
            )
        figures.append(_figures(model, task, labels, seen))
        print(json.dumps(figures[-1]), flush=True)
    if options.json:
        data = {"model": model.name, "fingerprint": model.fingerprint, "half": options.half}
        data |= {"count": options.count, "seed": options.seed, "detector": options.detector}
        text = json.dumps({**data, "figures": figures}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--detector", default="pose")
    parser.add_argument("--half", default="report", choices=("choose", "report"))
    parser.add_argument("--count", type=int, default=300, help="composites of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", nargs="*", default=["places", "colours"])
    parser.add_argument("--cache", type=Path, help="folder that keeps what each composite gave")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args()


def _seen(
    model: vlar.Model,
    detector: object,
    made: Composite,
    tiles: dict[Path, np.ndarray],
    task: str,
    cache: Path | None,
) -> Seen:
    begin = time.process_time()
    people = find_people(made.clip, detector)
    found_s = time.process_time() - begin
    begin = time.process_time()
    cuts = [people.cut_out(place, made.clip) for place in range(len(people.tracks))]
    vectors = np.stack([row.vector for row in model.encode([made.clip, *cuts])])
    encode_s = (time.process_time() - begin) / (len(cuts) + 1)
    if task == "places":
        names = [f"the person on the {place}" for place in PLACES[len(made.sources)]]
        names = [name.replace("on the middle", "in the middle") for name in names]
    else:
        names = [f"the person in {source.clothes}" for source in made.sources]
    colours = people.colours() if task == "colours" and people.tracks else ()
    chosen = {}
    for name in names:
        try:
            chosen[name] = choose(people.tracks, parse(name), colours).place
        except (PersonError, ValueError):
            chosen[name] = -1
    return Seen(
        [source.label for source in made.sources],
        chosen,
        np.array([np.median(track.centres[:, 0]) for track in people.tracks]),
        vectors[1:],
        np.stack(
            [_tile(model, source, made, at, tiles, cache) for at, source in enumerate(made.sources)]
        ),
        vectors[0],
        np.array([*made.boxes[:, 0, 0], made.boxes[-1, 0, 2]]),
        names,
        (found_s, encode_s),
    )


def _cached(file: Path | None, make: Callable[[], Seen]) -> Seen:
    """What a composite gave, from the cache where it is there."""
    if file and file.exists():
        with np.load(file) as held:
            facts = json.loads(str(held["facts"]))
            arrays = {name: held[name] for name in held.files if name != "facts"}
        return Seen(**facts, **arrays)
    found = make()
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        named = ("truth", "chosen", "names", "seconds")
        facts = json.dumps({name: getattr(found, name) for name in named})
        arrays = {name: getattr(found, name) for name in found.__dict__ if name not in named}
        np.savez(file, facts=facts, **arrays)
    return found


def _tile(
    model: vlar.Model,
    source: Source,
    made: Composite,
    at: int,
    known: dict[Path, np.ndarray],
    cache: Path | None,
) -> np.ndarray:
    """The vector of a true tile as a clip of its own, over its own time."""
    held = cache and cache / f"tile-{source.path.stem}-{model.fingerprint[:12]}.npy"
    if source.path not in known and held and held.exists():
        known[source.path] = np.load(held)
    if source.path not in known:
        left, right = int(made.boxes[at, 0, 0]), int(made.boxes[at, 0, 2])
        clip = Clip(
            source.path, Window(0, made.times_s[-1]), "video", made.frames[:, :, left:right],
            made.times_s,
        )  # fmt: skip
        known[source.path] = model.encode([clip])[0].vector
        if held:
            np.save(held, known[source.path])
    return known[source.path]


def _figures(
    model: vlar.Model, task: str, labels: list[str], seen: list[Seen]
) -> dict[str, object]:
    classifier = model.classifier(labels)
    concepts = classifier.labels

    def top(vectors: np.ndarray) -> list[str]:
        if not len(vectors):
            return []
        scores = classifier.scores([_encoded(row) for row in vectors])
        return [concepts[i] for i in scores.probability.argmax(axis=1)]

    rows: dict[str, list[float]] = {name: [] for name in (
        "chosen", "who", "oracle", "whole", "wrong", "other", "other_oracle", "chance"
    )}  # fmt: skip
    groups: list[int] = []
    for number, each in enumerate(seen):
        groups += [number] * len(each.names)
        cut_labels, whole = top(each.cuts), top(each.whole[None])[0]
        tile_labels = top(each.tiles)
        for at, name in enumerate(each.names):
            other = (at + 1) % len(each.names)
            place, wrong = each.chosen[name], each.chosen[each.names[other]]
            middle = each.middles[place] if place >= 0 else -1
            rows["chosen"].append(each.edges[at] <= middle < each.edges[at + 1])
            said = cut_labels[place] if place >= 0 else whole
            said_wrong = cut_labels[wrong] if wrong >= 0 else whole
            rows["who"].append(said == each.truth[at])
            rows["oracle"].append(tile_labels[at] == each.truth[at])
            rows["whole"].append(whole == each.truth[at])
            rows["wrong"].append(said_wrong == each.truth[at])
            rows["other"].append(said_wrong == each.truth[other])
            rows["other_oracle"].append(tile_labels[other] == each.truth[other])
            rows["chance"].append(1 / len(labels))
    share = {name: round(100 * float(np.mean(values)), 1) for name, values in rows.items()}
    gain = paired(rows["who"], rows["whole"], groups)
    return {
        "task": task,
        "composites": len(seen),
        "named": len(rows["who"]),
        "labels": len(labels),
        **share,
        "who_of_oracle": round(100 * share["who"] / max(share["oracle"], 1e-9), 1),
        "gain_over_whole": gain.to_dict() if gain else None,
        "people_found": round(float(np.mean([len(each.cuts) for each in seen])), 2),
        "people_there": round(float(np.mean([len(each.truth) for each in seen])), 2),
        "find_s": round(float(np.mean([each.seconds[0] for each in seen])), 2),
        "encode_s": round(float(np.mean([each.seconds[1] for each in seen])), 2),
    }


def _encoded(vector: np.ndarray) -> object:
    from vlar.types import Encoded

    return Encoded(np.zeros((0, 1), np.float32), vector)


if __name__ == "__main__":
    sys.exit(main())
