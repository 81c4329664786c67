"""Detection of cuts, and the gain of judging a film shot by shot.

    vlar models get shots
    python evals/shots.py --videos DIR --work DIR [--part cuts accuracy] [--json OUT]

DIR holds ``manifest.csv`` (path, label, dataset, group) and the clips it names. Films are made of
them in ``--work``, 320 x 240 at 25 frames a second, H.264. Nothing is chosen on them: the threshold
is the paper's.

cuts      films of four clips of different labels, joined hard, by a dissolve (10 or 25 frames) or
          by a fade to black and back (2 x 10 frames). A cut counts as found where a boundary of
          two shots lies in the transition, give or take 0.2 s. ``random`` is as many boundaries at
          random times, which must fail. ``none`` are single clips: what is found there is a false
          alarm, but for cuts that the clips had. With the CPU time of a frame.
accuracy  films of two clips of one label, joined hard: zero-shot top-1 of ``lite`` on the film as a
          whole, shot by shot, and on the clips by themselves.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from cached import write_film
from harness import Namespace, arguments, echo, manifest, store
from PIL import Image

import vlar
from vlar.media.shots import HEIGHT, WIDTH, ShotDetector
from vlar.media.video.sequential import read_frames
from vlar.media.video.source import probe
from vlar.metrics.intervals import mean_interval
from vlar.types import Window

SIZE, FPS = (320, 240), 25
NONE = "none"
KINDS = {"hard": 0, "dissolve-10": 10, "dissolve-25": 25, "fade-20": -20}
CUT_SETS = ("jhmdb", "ucf101", "hmdb51", "kinetics", "utd-mhad")
ACCURACY_SETS = ("jhmdb", "weizmann")
NEAR_S = 0.2
MOST_FRAMES, CLIPS = 50, 4  # of a clip; of a film


def main() -> None:
    options = arguments(
        __doc__, "videos", "json",
        work={"type": Path, "required": True, "help": "folder for the films"},
        part=["cuts", "accuracy"], joins=[*KINDS, NONE], films=(10, "films of each kind of join"),
        sets=list(ACCURACY_SETS), pairs=(1000, "most films of two clips of a set"),
    )  # fmt: skip
    options.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {}
    if "cuts" in options.part:
        found["cuts"] = _cuts(options)
    if "accuracy" in options.part:
        found["accuracy"] = [
            _accuracy(options.videos, options.work, name, options.pairs) for name in options.sets
        ]
    store(options.json, found)


def _rows(videos: Path, sets: Sequence[str]) -> list[dict[str, str]]:
    return manifest(videos, *sets)


def _frames(path: Path, most: int = MOST_FRAMES) -> np.ndarray:
    """(T, H, W, 3) the first frames of a clip in the size of a film."""
    pictures: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            picture = frame.to_image().resize(SIZE, Image.Resampling.BILINEAR)
            pictures.append(np.asarray(picture))
            if len(pictures) == most:
                break
    return np.stack(pictures)


def _joined(clips: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, list[Window]]:
    """Frames of a film, and the spans of its transitions in seconds."""
    film, spans = clips[0].astype(np.float32), []
    for clip in clips[1:]:
        after, half = clip.astype(np.float32), abs(length) // 2
        start = len(film) - max(length, half if length < 0 else 0)
        if length > 0:  # both are seen
            share = ((np.arange(length) + 1) / (length + 1))[:, None, None, None]
            mixed = film[-length:] * (1 - share) + after[:length] * share
            film = np.concatenate([film[:-length], mixed, after[length:]])
        elif length < 0:  # to black and back
            down = np.linspace(1, 0, half)[:, None, None, None]
            film = np.concatenate(
                [film[:-half], film[-half:] * down, after[:half] * down[::-1], after[half:]]
            )
        else:
            film = np.concatenate([film, after])
        spans.append(Window(start / FPS, (start + max(abs(length), 0)) / FPS))
    return film.astype(np.uint8), spans


def _write(path: Path, frames: np.ndarray) -> Path:
    return path if path.is_file() else write_film(path, frames, FPS)


def _cuts(options: Namespace) -> list[dict[str, object]]:
    videos, work, n_films = options.videos, options.work, options.films
    rows = _rows(videos, CUT_SETS)
    detector, found = ShotDetector(), []
    for kind in options.joins:
        if kind == NONE:
            found.append(_alarms(videos, rows, detector, 4 * n_films))
            continue
        draw, length = np.random.default_rng(0), KINDS[kind]
        counts, frames, spent, decoding = np.zeros(5), 0, 0.0, 0.0
        for number in range(n_films):
            film, spans = _film(videos, rows, draw, length)
            path = _write(work / f"{kind}-{number}.mp4", film)
            shots, seconds, reading = _timed(detector, path)
            times = [(a.end_s + b.start_s) / 2 for a, b in pairwise(shots)]
            chance = sorted(draw.uniform(0, len(film) / FPS, len(times)).tolist())
            counts += (*_matched(times, spans), len(times), len(spans), _matched(chance, spans)[1])
            frames, spent, decoding = frames + len(film), spent + seconds, decoding + reading
        row = {
            "join": kind,
            "joins": int(counts[3]),
            "boundaries": int(counts[2]),
            "precision": round(counts[0] / max(counts[2], 1), 3),
            "recall": round(counts[1] / counts[3], 3),
            "recall of random": round(counts[4] / counts[3], 3),
            "CPU ms a frame": round(1000 * spent / frames, 1),
            "of it decoding": round(1000 * decoding / frames, 1),
        }
        echo(row)
        found.append(row)
    return found


def _film(
    videos: Path, rows: list[dict[str, str]], draw: np.random.Generator, length: int
) -> tuple[np.ndarray, list[Window]]:
    clips: dict[str, np.ndarray] = {}
    for index in draw.permutation(len(rows)):
        row = rows[index]
        if row["label"] not in clips:
            frames = _frames(videos / row["path"])
            if len(frames) >= 2 * max(abs(length), 10):
                clips[row["label"]] = frames
        if len(clips) == CLIPS:
            break
    return _joined(list(clips.values()), length)


def _timed(detector: ShotDetector, path: Path) -> tuple[list[Window], float, float]:
    duration_s = probe(path).duration_s
    start = time.process_time()
    chunks = list(read_frames(path, HEIGHT, WIDTH))
    middle = time.process_time()
    shots = detector.shots(chunks, duration_s)
    return shots, time.process_time() - start, middle - start


def _matched(times: Sequence[float], spans: Sequence[Window]) -> tuple[int, int]:
    """Boundaries that lie in a transition, and transitions with a boundary."""
    inside = np.array(
        [[s.start_s - NEAR_S <= t <= s.end_s + NEAR_S for s in spans] for t in times], bool
    ).reshape(len(times), len(spans))
    return int(inside.any(axis=1).sum()), int(inside.any(axis=0).sum())


def _alarms(
    videos: Path, rows: list[dict[str, str]], detector: ShotDetector, n_clips: int
) -> dict[str, object]:
    boundaries, names, length_s = 0, [], 0.0
    for row in rows[:: max(1, len(rows) // n_clips)][:n_clips]:
        shots, _, _ = _timed(detector, videos / row["path"])
        boundaries += len(shots) - 1
        length_s += shots[-1].end_s
        if len(shots) > 1:
            names.append(f"{row['path']} {[round(shot.end_s, 2) for shot in shots[:-1]]}")
    found = {"join": "none", "boundaries": boundaries, "seconds": round(length_s, 1), "in": names}
    echo(found)
    return found


def _pairs(rows: list[dict[str, str]]) -> Iterator[tuple[str, list[str]]]:
    by_label: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_label[row["readable_label"]].append(row)
    for label, own in by_label.items():
        for at in range(0, len(own) - 1, 2):
            yield label, [own[at]["path"], own[at + 1]["path"]]


def _accuracy(videos: Path, work: Path, name: str, most: int) -> dict[str, object]:
    model = vlar.load("lite")
    rows = _rows(videos, [name])
    labels = sorted({row["readable_label"] for row in rows})
    right: dict[str, list[bool]] = defaultdict(list)
    n_shots = []
    pairs = list(_pairs(rows))
    for number, (label, paths) in enumerate(pairs[:: max(1, -(-len(pairs) // most))]):
        clips = [_frames(videos / path, 10_000) for path in paths]
        film = _write(work / f"{name}-{number}.mp4", _joined(clips, 0)[0])
        n_shots.append(len(vlar.shots(film)))
        answers = {
            "whole": model.classify(film, labels),
            "by shots": model.classify(film, labels, shots=True),
        }
        for how, answer in answers.items():
            right[how].append(answer.predictions[0].label == label)
        for path in paths:
            answer = model.classify(videos / path, labels)
            right["clips"].append(answer.predictions[0].label == label)
    found: dict[str, object] = {
        "set": name,
        "films": len(n_shots),
        "with two shots": sum(n == 2 for n in n_shots),
        "labels": len(labels),
    }
    for how, each in right.items():
        interval = mean_interval(np.array(each), range(len(each)))
        ends = f" [{100 * interval.low:.0f}-{100 * interval.high:.0f}]" if interval else ""
        found[how] = f"{100 * np.mean(each):.1f}{ends}"
    gained = np.array(right["by shots"], int) - np.array(right["whole"], int)
    found["gained, lost"] = [int((gained > 0).sum()), int((gained < 0).sum())]
    echo(found)
    return found


if __name__ == "__main__":
    main()
