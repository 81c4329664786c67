"""Gain of zooming in: clips pasted small on scenes with a drifting camera, and untouched clips.

    vlar models get lite-motion
    python evals/zoom.py --videos DIR [--half report] [--count 300] [--cache DIR] [--json OUT]

Real clips of one person are pasted at 1/4 and at 1/6 of the frame's height, and named among the
labels of the half (``people_composites.py``). Top-1 in percent:

full      the whole picture
zoom      the cut of ``--zoom person``, mixed with the whole picture
alone     the cut alone
centre    a cut of the tile's size from the middle of the frame, mixed in the same way (control)
oracle    the true tile alone; ``oracle_mixed`` mixed in the same way

``on_tile`` is the share of frames in which the middle of the window lies on the true tile,
``zoomed_in`` the share of clips in which ``--zoom auto`` zooms in, ``auto`` its top-1, and
``recovered`` is (auto - full) / (oracle - full). Untouched clips have ``full`` and ``auto``.

``--margin``, ``--movement``, ``--whole`` and ``--small`` try several settings: side of the cut over
the size of a body, and of what moves, share of the whole picture, size below which ``auto`` zooms
in. Choose them on the half ``choose``. ``--limit-s`` stops in time, and the figures are those of
what is done.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import Namespace, arguments, echo, store
from people_composites import Composite, pasted, read_tile, sources
from people_kept import KeptDetector, KeptVectors

import vlar
from vlar.metrics.intervals import paired
from vlar.model.people import WHOLE_WEIGHT
from vlar.people import crop
from vlar.people.base import load_detector
from vlar.people.focus import BODY_MARGIN, MOVEMENT_MARGIN, SMALL, Focus
from vlar.types import Clip, Encoded, Window

SHARES = (1 / 4, 1 / 6)


@dataclass(frozen=True)
class Seen:
    """Results of a clip.

    Attributes:
        truth: Its label.
        share: Height of the pasted clip over the frame's; 1 for an untouched clip.
        vectors: ``full``, and where they exist ``centre``, ``oracle`` and the cuts by margin.
        extent: Size of the person zoomed in on, in shares of the frame's shorter side; 0 for
            nobody.
        on_tile: Share of frames in which the window lies on the tile.
        by: ``body`` or ``movement``, by which somebody was found; empty for nobody.
        seconds: CPU time to find them.
    """

    truth: str
    share: float
    vectors: dict[str | float, np.ndarray]
    extent: float = 0.0
    on_tile: float = 0.0
    by: str = ""
    seconds: float = 0.0


def main() -> None:
    options = arguments(
        __doc__, "videos", "model", "half", "json", count=300,
        untouched=(1000, "untouched clips at most"), seed=0, margin=[BODY_MARGIN],
        movement=[MOVEMENT_MARGIN], whole=[WHOLE_WEIGHT], small=[SMALL],
        limit_s=(float, "seconds for composites, and for clips"),
        cache=(Path, "folder that keeps boxes and vectors"),
    )  # fmt: skip
    model = vlar.load(options.model)
    pool = sources(options.videos, options.half)
    labels = sorted({source.label for source in pool})
    detectors = [KeptDetector(load_detector(name), options.cache) for name in ("pose", "motion")]
    vectors = KeptVectors(model, options.cache)
    margins = {"body": options.margin, "movement": options.movement}
    small, untouched = [], []
    begin = time.monotonic()
    for truth, share, made in _composites(options, pool):
        small.append(_seen(vectors, detectors, made.clip, made, truth, share, margins))
        if options.limit_s and time.monotonic() - begin > options.limit_s:
            break
    begin = time.monotonic()
    order = np.random.default_rng(options.seed).permutation(len(pool))[: options.untouched]
    for source in (pool[place] for place in order):
        frames, length_s = read_tile(source.path, 240)
        clip = Clip(
            source.path, Window(0.0, length_s), "video", frames,
            np.linspace(0.0, length_s, len(frames)), {"cut": True},
        )  # fmt: skip
        untouched.append(_seen(vectors, detectors, clip, None, source.label, 1, margins))
        if options.limit_s and time.monotonic() - begin > options.limit_s:
            break
    classifier, figures = model.classifier(labels), []
    for body, movement, whole, least in itertools.product(
        options.margin, options.movement, options.whole, options.small
    ):
        margin = {"body": body, "movement": movement}
        for share in (None, *SHARES, 1):
            rows = untouched if share == 1 else small
            rows = [row for row in rows if share is None or abs(row.share - share) < 1e-6]
            if rows:
                figures.append(_figures(classifier, rows, margin, whole, least))
                echo({"share": share or "all small", **figures[-1]})
                figures[-1]["share"] = round(share, 3) if share else "all small"
    data = {"model": model.name, "fingerprint": model.fingerprint, "half": options.half}
    store(options.json, {**data, "figures": figures})


def _composites(options: Namespace, pool: list):
    """Truth, share and composite, in turn."""
    scenes = sources(options.videos, options.half, ("jhmdb",))
    random = np.random.default_rng(options.seed)
    for number in range(options.count):
        source = pool[random.integers(len(pool))]
        scene = scenes[random.integers(len(scenes))]
        draw = np.random.default_rng([options.seed, number])
        share = SHARES[number % 2]
        yield source.label, share, pasted(source, scene, share, draw)


def _seen(
    vectors: KeptVectors, detectors: list[KeptDetector], clip: Clip, made: Composite | None,
    truth: str, share: float, margins: dict[str, list[float]],
) -> Seen:  # fmt: skip
    clips: dict[str | float, Clip] = {"full": clip}
    if made is not None:
        clips |= {"oracle": _at(made, made.boxes[0]), "centre": _at(made, _centred(made))}
    facts = {}
    target = Focus(None, False, detectors[0], moving=detectors[1]).zoom_in(clip)
    if target is not None:
        people, by = target.people, ("body" if target.margin == BODY_MARGIN else "movement")
        clips |= {m: people.cut_out(target.place, clip, margin=m) for m in margins[by]}
        boxes = people.tracks[target.place].at(clip.times_s)
        on = _covered(boxes, made.boxes[0], people.size) if made is not None else 0.0
        facts = {"extent": target.extent, "on_tile": on, "by": by}
    found = dict(zip(clips, vectors.of(list(clips.values())), strict=True))
    return Seen(truth, share, found, seconds=sum(each.seconds for each in detectors), **facts)


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
    x, y, _ = crop.window(boxes, size)
    inside = (truth[:, 0] <= x) & (x < truth[:, 2]) & (truth[:, 1] <= y) & (y < truth[:, 3])
    return float(inside.mean())


def _figures(
    classifier, rows: list[Seen], margin: dict[str, float], whole: float, least: float
) -> dict:
    right: dict[str, list[bool]] = {}
    for row in rows:
        names = list(row.vectors)
        encoded = [Encoded(np.zeros((0, 1), np.float32), row.vectors[name]) for name in names]
        scores = dict(zip(names, classifier.scores(encoded).probability, strict=True))
        full = scores["full"]
        cut = scores[margin[row.by]] if row.by else full

        def mixed(part: np.ndarray, full=full) -> np.ndarray:
            return (1 - whole) * part + whole * full

        said = {"full": full, "zoom": mixed(cut), "alone": cut}
        said["auto"] = mixed(cut) if 0 < row.extent < least else full
        if "oracle" in scores:
            oracle = scores["oracle"]
            said |= {"oracle": oracle, "oracle_mixed": mixed(oracle)}
            said["centre"] = mixed(scores["centre"])
        for name, each in said.items():
            best = classifier.labels[int(each.argmax())]
            right.setdefault(name, []).append(best == row.truth)
    top = {name: round(100 * float(np.mean(values)), 1) for name, values in right.items()}
    gain = paired(right["auto"], right["full"], list(range(len(rows))))
    found = {
        **{f"{by}_margin": value for by, value in margin.items()},
        "whole_weight": whole,
        "small": least,
        "clips": len(rows),
        **top,
    }
    if "oracle" in top:
        room = top["oracle"] - top["full"]
        found["recovered"] = round(100 * (top["auto"] - top["full"]) / room, 1) if room else None
        found["on_tile"] = round(100 * float(np.mean([row.on_tile for row in rows])), 1)
    found["zoomed_in"] = round(100 * float(np.mean([0 < row.extent < least for row in rows])), 1)
    found["by_movement"] = round(100 * float(np.mean([row.by == "movement" for row in rows])), 1)
    found["find_s"] = round(float(np.mean([row.seconds for row in rows])), 2)
    return {**found, "gain": gain.to_dict() if gain else None}


if __name__ == "__main__":
    main()
