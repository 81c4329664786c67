"""Does zooming in help? Clips pasted small on scenes with a drifting camera, and untouched clips.

    vlar models get lite-motion
    python evals/zoom.py --videos DIR [--half report] [--count 300] [--cache DIR] [--json OUT]

Real clips of one person are pasted at 1/4 and at 1/6 of the frame's height, and named among the
labels of the half (``people_composites.py``). Top-1 in percent, by the mixed probability of
``--zoom``:

full      the whole picture
centre    a cut of the tile's size from the middle of the frame (control)
motion    the cut of ``--zoom person --detector motion``
pose      the cut of ``--zoom person --detector pose``
oracle    the true tile

``_on_tile`` is the share of frames in which the middle of the window lies on the true tile;
``_alone`` is top-1 of the cut without the whole picture. ``recovered`` is (zoom - full) / (oracle -
full). Untouched clips are judged as a whole and with ``--zoom auto``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from people_composites import Composite, Source, pasted, read_tile, sources

import vlar
from vlar.detecting import zoom
from vlar.detecting.base import load_detector
from vlar.detecting.focus import SMALL, Focus
from vlar.detecting.people import find_people
from vlar.evaluation.intervals import paired
from vlar.model.people import WHOLE_WEIGHT
from vlar.types import Clip, Encoded, Window

SHARES = (1 / 4, 1 / 6)
WAYS = ("full", "centre", "motion", "pose", "oracle")


def main() -> int:
    options = _options()
    model = vlar.load(options.model)
    pool = sources(options.videos, options.half)
    scenes = sources(options.videos, options.half, ("jhmdb",))
    labels = sorted({source.label for source in pool})
    classifier = model.classifier(labels)
    random = np.random.default_rng(options.seed)
    detectors = {name: load_detector(name) for name in ("motion", "pose")}
    rows: list[dict[str, object]] = []
    for number in range(options.count):
        source = pool[random.integers(len(pool))]
        scene = scenes[random.integers(len(scenes))]
        draw = np.random.default_rng([options.seed, number])
        made = pasted(source, scene, SHARES[number % 2], draw)
        name = f"zoom-{options.half}-{options.seed}-{number}-{model.fingerprint[:12]}"
        held = options.cache and options.cache / f"{name}.json"
        if held and held.exists():
            rows.append(json.loads(held.read_text("utf-8")))
            continue
        row = _row(model, classifier, detectors, made, source, SHARES[number % 2])
        rows.append(row)
        if held:
            held.parent.mkdir(parents=True, exist_ok=True)
            held.write_text(json.dumps(row), "utf-8")
    figures = [_figures(rows, share) for share in (None, *SHARES)]
    figures.append(_untouched(model, classifier, detectors["motion"], pool[: options.untouched]))
    for figure in figures:
        print(json.dumps(figure), flush=True)
    if options.json:
        data = {"model": model.name, "fingerprint": model.fingerprint, "figures": figures}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--half", default="report", choices=("choose", "report"))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--untouched", type=int, default=1000, help="untouched clips at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps what each composite gave")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args()


def _row(
    model: vlar.Model,
    classifier: object,
    detectors: dict[str, object],
    made: Composite,
    source: Source,
    share: float,
) -> dict[str, object]:
    """Whether each way is right on one composite, and what it cost."""
    truth = made.boxes[0]
    clips = {"full": made.clip, "oracle": _at(made, truth), "centre": _at(made, _centred(made))}
    covered: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name, detector in detectors.items():
        begin = time.process_time()
        people = find_people(made.clip, detector)
        seconds[name] = time.process_time() - begin
        if people.tracks:
            place = int(np.argmax([track.presence for track in people.tracks]))
            clips[name] = people.cut_out(place, made.clip, margin=zoom.MARGIN)
            boxes = people.tracks[place].at(made.times_s)
            covered[name] = _covered(boxes, truth, made.frames.shape[1:3])
    order = list(clips)
    scores = {}
    for name, row in zip(order, model.encode([clips[name] for name in order]), strict=True):
        scores[name] = classifier.scores([Encoded(row.features, row.vector)]).probability[0]
    right = {}
    for way in WAYS:
        mixed = scores["full"]
        if way != "full" and way in scores:
            mixed = (1 - WHOLE_WEIGHT) * scores[way] + WHOLE_WEIGHT * scores["full"]
        right[way] = bool(classifier.labels[int(mixed.argmax())] == source.label)
        if way in scores:
            alone = classifier.labels[int(scores[way].argmax())]
            right[f"{way}_alone"] = bool(alone == source.label)
    return {"share": share, "right": right, "covered": covered, "seconds": seconds}


def _at(made: Composite, boxes: np.ndarray) -> Clip:
    """The frames cut to boxes (T, 4) of one size, as a clip."""
    wide = int((boxes[:, 2] - boxes[:, 0]).min())
    high = int((boxes[:, 3] - boxes[:, 1]).min())
    cuts = [
        frame[int(y) : int(y) + high, int(x) : int(x) + wide]
        for frame, (x, y, _, _) in zip(made.frames, boxes, strict=True)
    ]
    window = Window(0.0, float(made.times_s[-1]))
    return Clip(Path("cut"), window, "video", np.stack(cuts), made.times_s)


def _centred(made: Composite) -> np.ndarray:
    height, width = made.frames.shape[1:3]
    boxes = made.boxes[0].copy()
    wide, high = boxes[0, 2] - boxes[0, 0], boxes[0, 3] - boxes[0, 1]
    boxes[:] = (width - wide) / 2, (height - high) / 2, (width + wide) / 2, (height + high) / 2
    return boxes


def _covered(boxes: np.ndarray, truth: np.ndarray, size: tuple[int, int]) -> float:
    """Share of frames whose window lies on the true tile: its middle is inside the tile."""
    x, y, _ = zoom.window(boxes, size)
    inside = (truth[:, 0] <= x) & (x < truth[:, 2]) & (truth[:, 1] <= y) & (y < truth[:, 3])
    return float(inside.mean())


def _figures(rows: list[dict[str, object]], share: float | None) -> dict[str, object]:
    here = [row for row in rows if share is None or abs(row["share"] - share) < 1e-6]
    names = sorted({name for row in here for name in row["right"]})
    top = {
        name: _percent([r["right"].get(name, r["right"]["full"]) for r in here]) for name in names
    }
    room = top["oracle"] - top["full"]
    found = {"share": "all" if share is None else round(share, 3), "composites": len(here), **top}
    for way in ("motion", "pose"):
        on = [row["covered"].get(way, 0.0) for row in here]
        found[f"{way}_on_tile"] = round(100 * float(np.mean(on)), 1)
        found[f"{way}_recovered"] = (
            round(100 * (top[way] - top["full"]) / room, 1) if room else None
        )
        found[f"{way}_s"] = round(float(np.mean([row["seconds"][way] for row in here])), 2)
    gain = paired(
        [row["right"]["motion"] for row in here],
        [row["right"]["full"] for row in here],
        list(range(len(here))),
    )
    return {**found, "motion_gain": gain.to_dict() if gain else None}


def _percent(values: list[float]) -> float:
    return round(100 * float(np.mean(values)), 1)


def _untouched(
    model: vlar.Model, classifier: object, detector: object, pool: list[Source]
) -> dict[str, object]:
    """Untouched clips as a whole, and with ``--zoom auto``."""
    focus = Focus(None, True, (detector,))
    whole, auto, zoomed = [], [], 0
    for source in pool:
        frames, length_s = read_tile(source.path, 240)
        times_s = np.linspace(0.0, length_s, len(frames))
        clip = Clip(source.path, Window(0.0, length_s), "video", frames, times_s)
        cut = focus.find(clip, None).cut
        rows = model.encode([clip] if cut is None else [clip, cut])
        full, *rest = (classifier.scores([row]).probability[0] for row in rows)
        mixed = (1 - WHOLE_WEIGHT) * rest[0] + WHOLE_WEIGHT * full if rest else full
        zoomed += bool(rest)
        whole.append(classifier.labels[int(full.argmax())] == source.label)
        auto.append(classifier.labels[int(mixed.argmax())] == source.label)
    if not whole:
        return {"untouched": 0}
    return {
        "untouched": len(whole),
        "whole": round(100 * float(np.mean(whole)), 1),
        "auto": round(100 * float(np.mean(auto)), 1),
        "zoomed_in": zoomed,
        "small": SMALL,
    }


if __name__ == "__main__":
    sys.exit(main())
