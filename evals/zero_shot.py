"""Zero-shot recognition by an encoder: labels as text, no examples.

    python evals/zero_shot.py --videos DIR [--model lite] [--half choose|report|all] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. The label
list of a data set is the set of its readable labels; the list "union" joins those of all sets that
are run. Ranked by similarity (plain cosines) and by probability (what ``vlar classify`` answers);
neither uses other clips.

top-1, top-5  share of clips whose label is first, among the first five
mAP           a label as the query, the set's clips as the library; mean over labels of the average
              precision

Half "choose" holds every second group (source video or person) of a set, in the order of their
names, half "report" the others. Settings were chosen on "choose" alone. Intervals are 95 %
bootstrap intervals over clips (1000 draws, 200 of mAP).
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from harness import arguments, half_of, manifest, store
from ranked import mean_average_precision

import vlar
from vlar.errors import VlarError
from vlar.heads.zero_shot import ZeroShotScorer
from vlar.media.video.decode import read_clip
from vlar.metrics.classification import ranks
from vlar.metrics.intervals import Interval, bootstrap, mean_interval

SETS = ("ucf101", "jhmdb", "hmdb51", "kinetics", "gmdcsa24", "weizmann", "utd-mhad")
MAP_DRAWS = 200


@dataclass(frozen=True)
class Figures:
    """The figures of one label list on one half; intervals are (low, high).

    ``by`` is what ranks: ``similarity`` (plain cosines) or ``probability`` (what ``vlar classify``
    answers, which takes a little off labels that fit everything).
    """

    labels: str
    by: str
    half: str
    n_clips: int
    n_labels: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    top5_interval: tuple[float, float]
    mean_average_precision: float
    mean_average_precision_interval: tuple[float, float]


@dataclass(frozen=True)
class Clips:
    """The clips of one data set, one row each."""

    dataset: str
    labels: list[str]
    vectors: np.ndarray
    half: np.ndarray


def encode(model: vlar.Model, videos: Path, dataset: str, n_frames: int) -> Clips:
    """Read and encode every clip of a data set."""
    rows = manifest(videos, dataset)
    vectors = [
        model.words.encode([read_clip(videos / row["path"], n_frames=n_frames)])[0].vector
        for row in rows
    ]
    return Clips(
        dataset,
        [row["readable_label"] for row in rows],
        np.stack(vectors),
        half_of(row["group"] for row in rows),
    )


def measure(name: str, by: str, half: str, scores: np.ndarray, truth: np.ndarray) -> Figures:
    """Figures of (N, C) scores with their bootstrap intervals."""
    rank, clips = ranks(scores, truth), range(len(truth))
    precision = bootstrap(
        lambda rows: mean_average_precision(scores[rows], truth[rows]), clips, draws=MAP_DRAWS
    )
    top1, top5 = (mean_interval(rank < k, clips) for k in (1, 5))
    whole = mean_average_precision(scores, truth)
    return Figures(
        name,
        by,
        half,
        len(truth),
        scores.shape[1],
        *_with_ends(top1, float((rank < 1).mean())),
        *_with_ends(top5, float((rank < 5).mean())),
        *_with_ends(precision, whole),
    )


def _with_ends(found: Interval | None, value: float) -> tuple[float, tuple[float, float]]:
    """A figure and its interval, rounded; a single clip has no interval of its own."""
    low, high = (found.low, found.high) if found else (value, value)
    return round(value, 4), (round(low, 4), round(high, 4))


def evaluate(model: vlar.Model, parts: Sequence[Clips], halves: Sequence[str]) -> list[Figures]:
    """Figures of every data set with its own labels, then of all of them in one list."""
    found: list[Figures] = []
    union = sorted({label for part in parts for label in part.labels})
    joint = Clips(
        "union",
        [label for part in parts for label in part.labels],
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.half for part in parts]),
    )
    for part in [*parts, *([joint] if len(parts) > 1 else [])]:
        labels = union if part is joint else sorted(set(part.labels))
        truth = np.array([labels.index(label) for label in part.labels])
        answer = ZeroShotScorer(
            model.words.encode_queries(labels),
            model.words.background,
            logit_scale=model.encoder.logit_scale,
            content_free=model.words.content_free,
        ).score(part.vectors)
        wanted = {"choose": part.half == 0, "report": part.half == 1, "all": part.half >= 0}
        for by, half in itertools.product(("similarity", "probability"), halves):
            rows, scores = wanted[half], getattr(answer, by)
            if rows.any():
                found.append(measure(part.dataset, by, half, scores[rows], truth[rows]))
    return found


def show(found: Sequence[Figures]) -> None:
    """Print the table."""
    print(
        "| labels | by | half | clips/labels | top-1 | top-5 | mAP |\n|---|---|---|---|---|---|---|"
    )
    for f in found:
        cells = [
            f"{100 * value:.1f} [{100 * low:.0f}-{100 * high:.0f}]"
            for value, (low, high) in (
                (f.top1, f.top1_interval),
                (f.top5, f.top5_interval),
                (f.mean_average_precision, f.mean_average_precision_interval),
            )
        ]
        size = f"{f.n_clips}/{f.n_labels}"
        print(f"| {f.labels} | {f.by} | {f.half} | {size} | {' | '.join(cells)} |")


def main() -> int:
    options = arguments(
        __doc__, "videos", "model", "json",
        half={"choices": ("choose", "report", "all"), "help": "default: all three"},
        sets={"nargs": "+", "default": list(SETS), "metavar": "DATASET"},
        frames=(int, "frames a clip (the model's own)"),
    )  # fmt: skip
    halves = [options.half] if options.half else ["choose", "report", "all"]
    try:
        model = vlar.load(options.model)
        encoder, frames = model.encoder, options.frames or model.words.n_frames
        start_s = time.process_time()
        parts = [encode(model, options.videos, name, frames) for name in options.sets]
        n_clips = sum(len(part.labels) for part in parts)
        cpu_ms = 1000 * (time.process_time() - start_s) / n_clips
        found = evaluate(model, parts, halves)
    except (VlarError, OSError, KeyError) as error:
        print(f"zero_shot: {error}", file=sys.stderr)
        return 2
    show(found)
    print(f"\n{n_clips} clips, {cpu_ms:.0f} ms CPU each (decoding and encoding)")
    settings = {"model": options.model, "fingerprint": encoder.fingerprint}
    settings |= {"frames": frames, "cpu_ms_per_clip": round(cpu_ms)}
    store(options.json, {"settings": settings, "figures": [asdict(f) for f in found]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
