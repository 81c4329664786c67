"""Intervals of recordings of bodies and sound, asked in words.

    python evals/intervals.py --data DIR [--seeds 1] [--json FILE]

Takes of UTD-MHAD follow each other, six in a recording, and each has the sound of another clip of
ESC-10 for as long as it lasts. Takes of odd subjects with sounds of folds 1 and 3 teach, one take
and one sound at a time; even subjects with folds 2 and 4 are asked. A query is the name of an
action or of a sound. R1 is the share of queries whose best interval overlaps the right one by
half. All methods choose among the same intervals: ``tim`` reads the whole recording once, ``cut
out`` is the network of ``fusion`` on each interval cut out, ``words alone`` has not learned.

Control: the intervals of a recording are permuted among its queries.
"""

from __future__ import annotations

import tempfile
import time
import wave
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, manifest, store
from work import laid_out

from vlar.encoders.base import Encoder, load_encoder
from vlar.heads.support import SupportItem
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.metrics.spans import overlap
from vlar.model.core import ModelCore
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.types import Clip, Window

TAKES, RATE_HZ, WINDOW_S = 6, 16_000, 2.5
LENGTHS_S, STEP_S = (2.0, 3.0, 4.0), 0.5


@dataclass(frozen=True)
class Recording:
    """A recording, and what is asked about it.

    Attributes:
        path: The bundle.
        spans: (n, 2) seconds of each take.
        names: An action and a sound of each.
    """

    path: Path
    spans: np.ndarray
    names: list[tuple[str, str]]


def clips_of(data: Path, odd: bool) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """Takes and sounds of one half, with their labels."""
    rows = manifest(data)
    found: list[list[tuple[Path, str]]] = []
    for prefix, name in (("utd_mhad/skeleton/", "s"), ("esc10/", "fold")):
        own = [row for row in rows if row["path"].startswith(prefix)]
        found.append([(data / row["path"], row["label"]) for row in own
                      if int(row["group"].removeprefix(name)) % 2 == odd])  # fmt: skip
    return found[0], found[1]


def written(
    takes: list[tuple[Path, str]], sounds: list[tuple[Path, str]], place: Path, name: str
) -> Recording:
    """Takes end to end, each with a sound as long as it lasts."""
    truth = laid_out(takes, place / f"{name}.npz")
    samples: list[np.ndarray] = []
    for segment, (path, _) in zip(truth, sounds, strict=True):
        length = segment.end_s - segment.start_s
        part = reader("audio")
        clip = part.read_clip(path, Window(0.0, min(length, part.probe(path).duration_s)),
                              load_encoder("audio").sampling)  # fmt: skip
        count = round(length * RATE_HZ)
        at = np.linspace(0, len(clip.data) - 1, count)
        samples.append(np.interp(at, np.arange(len(clip.data)), clip.data))
    with wave.open(str(place / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.concatenate(samples).clip(-1, 1) * 32767).astype("<i2").tobytes())
    parts = {
        "skeleton": BundlePart(place / f"{name}.npz"),
        "audio": BundlePart(place / f"{name}.wav"),
    }
    path = write_bundle(place / f"{name}.bundle.json", parts)
    spans = np.array([(one.start_s, one.end_s) for one in truth])
    names = [(action, sound) for (_, action), (_, sound) in zip(takes, sounds, strict=True)]
    return Recording(path, spans, names)


def encoded(encoder: Encoder, path: Path, windows: list[Window] | None) -> np.ndarray:
    """(S, T, F) of windows of a recording; None is the whole."""
    part = reader("bundle")
    wanted = windows or [Window(0.0, part.probe(path).duration_s)]
    clips = part.read_windows(path, wanted, encoder.sampling)
    return np.stack(
        [row.features for row in encoder.encode([c for c in clips if isinstance(c, Clip)])]
    )


def drawn(data: Path, odd: bool, count: int, takes: int, place: Path, seed: int) -> list[Recording]:
    """Recordings of different actions and different sounds."""
    random, (bodies, sounds) = np.random.default_rng(seed), clips_of(data, odd)
    found: list[Recording] = []
    for number in range(count):
        chosen: list[list[tuple[Path, str]]] = []
        for rows in (bodies, sounds):
            own = [rows[i] for i in random.permutation(len(rows))]
            first = {label: (path, label) for path, label in own}
            chosen.append([first[label] for label in random.permutation(sorted(first))[:takes]])
        found.append(written(*chosen, place, f"{'odd' if odd else 'even'}{number}"))
    return found


def candidates(end_s: float) -> np.ndarray:
    """(Q, 2) intervals in seconds that may be the answer."""
    return np.array([
        (start, start + length) for length in LENGTHS_S
        for start in np.arange(0, end_s - length + 1e-6, STEP_S)
    ])  # fmt: skip


def hits(scores: np.ndarray, asked: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(n,) whether the best of intervals (Q, 2) by scores (Q, n) overlaps the right one by half."""
    best = asked[scores.argmax(axis=0)]
    return overlap(best, spans)[np.arange(len(spans)), np.arange(len(spans))] >= 0.5


def main() -> None:
    """Train on single takes, ask recordings, and write the shares."""
    given = arguments(
        __doc__, "data", "json", seeds=1, recordings=10, takes=(324, "single takes that teach")
    )
    encoder, rows = load_encoder("bundle:skeleton+audio"), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        teach = drawn(given.data, True, given.takes, 1, place, 0)
        features = np.concatenate([encoded(encoder, one.path, None) for one in teach])
        test = drawn(given.data, False, given.recordings, TAKES, place, 1)
        asked = [candidates(float(one.spans[-1, 1])) for one in test]
        cuts = [encoded(encoder, one.path, [Window(*pair) for pair in each.tolist()])
                for one, each in zip(test, asked, strict=True)]  # fmt: skip
        wholes = []
        for one in test:
            ends = np.linspace(0, one.spans[-1, 1], round(one.spans[-1, 1] / WINDOW_S) + 1)
            wholes.append(encoded(encoder, one.path, [Window(*p) for p in pairwise(ends.tolist())]))
    labels = sorted({name for one in teach for name in one.names[0]})
    items = [SupportItem(one.path, None, one.names[0], str(n)) for n, one in enumerate(teach)]
    dataset = Dataset.of(labels, items)
    for seed in range(given.seeds):
        scorers: dict[str, Any] = {}
        for method in ("fusion", "tim"):
            settings = {"laid": 8} if method == "tim" else {}
            task = TrainingTask.by_recipe(encoder, method, seed=seed, settings=settings)
            begin = time.process_time()
            scorers[method] = train_on(task, dataset, FeatureSource(features))[0].adapter
            print(method, round(time.process_time() - begin, 1), "s", flush=True)
        for name, adapter in {"tim": scorers["tim"], "cut out": scorers["fusion"],
                              "words alone": encoder}.items():  # fmt: skip
            found: dict[str, list[np.ndarray]] = {}
            for one, each, cut, whole in zip(test, asked, cuts, wholes, strict=True):
                shares = (each / one.spans[-1, 1]).clip(0, 1).astype(np.float32)
                vectors = (
                    adapter.interval_vectors(whole, shares) if name == "tim" else adapter.pool(cut)
                )
                for kind, what in enumerate(("action", "sound")):
                    texts = ModelCore(adapter, templates=adapter.templates).encode_labels(
                        [names[kind] for names in one.names]
                    )
                    scores = vectors @ texts.T
                    found.setdefault(what, []).append(hits(scores, each, one.spans))
                    wrong = np.roll(one.spans, TAKES // 2, axis=0)
                    found.setdefault(f"{what}, permuted", []).append(hits(scores, each, wrong))
            shares = {k: round(100 * float(np.concatenate(v).mean()), 1) for k, v in found.items()}
            rows.append({"method": name, "seed": seed, **shares})
            print(*rows[-1].values(), flush=True)
    command = "python evals/intervals.py --data DIR --json FILE"
    store(given.json, {"command": command, "queries": given.recordings * TAKES * 2, "rows": rows})


if __name__ == "__main__":
    main()
