"""Segments and figures of work on recordings laid end to end, of which every second is known.

    python evals/work.py ../shared/modalities --out evals/results/work.json

Six actions of UTD-MHAD, one after the other, three rounds of a person whom the model has not met:
18 segments. The model was adapted to the same actions of every second person. Compared are each
step by itself, and the best path with least lengths. A segment is found where its label and half of
its time agree. The figures of work (docs/timeline.md) stand next to the right ones. Control: the
names of the labels turned round.

``--hands`` lays the gestures of SFINGE 3D end to end instead. Who made them is not known: every
second recording of a gesture teaches, the others follow each other.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from harness import arguments, echo, store

import vlar
from vlar.apps.timeline.decoding import Segment
from vlar.apps.timeline.recordings import SegmentStream, TimelineRules, steps_of
from vlar.apps.timeline.work_cycles import Process, measure
from vlar.media.lookup import reader
from vlar.metrics.spans import overlap

SETS = (
    ("wave", "clap", "throw", "squat", "boxing", "walking in place"),
    ("swipe left", "push", "sit to stand", "stand to sit", "bowling", "knock on door"),
    ("arm curl", "jogging in place", "draw x", "forward lunge", "catch an object", "clap"),
    ("tennis serve", "wave", "squat", "cross arms in the chest", "push", "walking in place"),
    ("baseball swing", "boxing", "pick up and throw", "arm curl", "swipe right", "throw"),
)
GESTURES = (
    ("swipe left", "tap", "grab", "expand"),
    ("pinch", "swipe right", "swipe V", "swipe O"),
    ("tap", "swipe V", "expand", "swipe left"),
    ("swipe O", "grab", "swipe right", "pinch"),
    ("expand", "swipe left", "swipe O", "tap"),
)
ROUNDS = 3
# The cost of a change, and that moments between movements are not left unknown, were chosen on odd
# people of the first set; even people are reported.
FREE = TimelineRules(every_s=0.2, window_s=2.0, shortest_s=0, switch=0, unknown=False)
PATH = TimelineRules(every_s=0.2, window_s=2.0, shortest_s=1.0, unknown=False)
OPEN = TimelineRules(every_s=0.2, window_s=2.0, shortest_s=1.0)


def rows_of(root: Path, hands: bool = False) -> list[tuple[Path, str, int]]:
    """Path, label and number of the person of every recording; of hands, of the recording."""
    folder = "sfinge3d/" if hands else "utd_mhad/skeleton/"
    rows = csv.DictReader((root / "manifest.csv").open())
    return [
        (root / row["path"], row["label"], _number(row["path"] if hands else row["group"]))
        for row in rows
        if row["path"].startswith(folder)
    ]


def _number(name: str) -> int:
    """The last number in a name."""
    return int(re.findall(r"\d+", Path(name).stem)[-1])


def laid_out(files: Sequence[tuple[Path, str]], out: Path) -> list[Segment]:
    """Write recordings one after the other; the right segments."""
    source, parts, truth, at = reader("skeleton"), [], [], 0
    for path, label in files:
        clip = vlar.read_clip(path)
        points, meta = clip.data[:, :1], clip.meta
        parts.append(points)
        end, rate = at + len(points), meta["rate_hz"]
        truth.append(Segment(str(out), at / rate, end / rate, label, 1.0))
        at = end
    facts = {"layout": meta["layout"], "unit": "m", "rate_hz": rate}
    points = np.concatenate(parts).astype(np.float32)
    np.savez(out, facts=np.array(json.dumps(facts)), points=points)
    assert source.claims(out)
    return truth


def figures(found: Sequence[Segment], truth: Sequence[Segment], order: Sequence[str]) -> dict:
    """Agreement of segments with the right ones."""
    spans = [np.array([(s.start_s, s.end_s) for s in rows]) for rows in (found, truth)]
    shared = overlap(*spans)
    same = np.array([[a.label == b.label for b in truth] for a in found])
    hits = int(((shared * same) >= 0.5).any(axis=0).sum())
    edges = [np.array([s.end_s for s in rows][:-1]) for rows in (found, truth)]
    away = np.abs(edges[1][:, None] - edges[0][None]).min(axis=1) if len(found) > 1 else [np.inf]
    times = np.arange(0.05, truth[-1].end_s, 0.1)
    labels = [[next((s.label for s in rows if s.start_s <= t < s.end_s), None) for t in times]
              for rows in (found, truth)]  # fmt: skip
    process, right = measure(found, order), measure(truth, order)
    counts = _paired(process, right, "count")
    return {
        "segments": len(found),
        "f1": 2 * hits / (len(found) + len(truth)),
        "edge_s": float(np.median(away)),
        "time_right": float(np.mean([a == b for a, b in zip(*labels, strict=True)])),
        "count_error": float(np.mean([abs(a - b) / b for a, b in counts])),
        "mean_s_error": float(np.mean([abs(a - b) for a, b in _paired(process, right, "mean_s")])),
        "complete_cycles": len(process.complete),
        "violations": len(process.violations),
    }


def _paired(found: Process, truth: Process, name: str) -> list[tuple[float, float]]:
    """A figure of each step, found and right; a step that was not found has 0."""
    own = {step.label: getattr(step, name) or 0.0 for step in found.steps}
    return [(own.get(step.label, 0.0), getattr(step, name)) for step in truth.steps]


def main() -> None:
    """Print a line a set and rule, and write all figures."""
    given = arguments(
        __doc__, root={"positional": True, "type": Path}, out=Path, sets=len(SETS),
        hands=(False, "gestures of SFINGE 3D"),
    )  # fmt: skip
    rows, model, result = rows_of(given.root, given.hands), vlar.load("skeleton"), []
    orders = GESTURES if given.hands else SETS
    for number, order in enumerate(orders[: given.sets]):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            support = place / "support.csv"
            shown = [(path, label) for path, label, who in rows if label in order and who % 2]
            lines = [f"{path},{label}" for path, label in shown]
            support.write_text("\n".join(["path,label", *lines]) + "\n")
            mine = model.adapt(support)
            people = sorted({who for _, _, who in rows if who % 2 == 0})
            met = people if given.hands else [people[number % len(people)]]
            files = []
            for turn in range(ROUNDS):
                for label in order:
                    own = [p for p, name, person in rows if name == label and person in met]
                    files.append((own[turn % len(own)], label))
            truth = laid_out(files, place / "work.npz")
            steps = list(steps_of(mine, mine.classifier(), place / "work.npz", PATH))
        found = {}
        for name, rules, labels in (
            ("each step", FREE, mine.labels),
            ("path", PATH, mine.labels),
            ("path, unknown allowed", OPEN, mine.labels),
            ("path, names turned", PATH, (*mine.labels[1:], mine.labels[0])),
        ):
            segments = SegmentStream(labels, rules).all_of(steps)
            found[name] = figures(segments, truth, order)
            echo(number, name, found[name])
        result.append(found)
        store(given.out, result)


if __name__ == "__main__":
    main()
