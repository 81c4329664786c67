"""Bouts from a few annotated minutes of tracks, each next to labels exchanged in training.

    python evals/tracks.py --data ../shared/behaviour [--sets NAME ...] [--minutes 3] [--json FILE]

Every set is learned from some recordings (ten annotated minutes of the rats, all of the others) and
asked on others: of the rats three folds, of gestures and exercises each recording in turn, which
are of one person. Of the mouse that freezes there is one recording, and its quarters take turns.
Kappa is by steps of .1 s where a person annotated. ``edits`` counts bouts to add, delete or
relabel and ends to move by more than .5 s, over the true bouts.

Control: the labels of all bouts of the training recordings drawn at random; of sets of fewer than a
hundred bouts every second bout of a label has another one, as a draw would leave many as they were.
``wrist``, ``joints``, both, and ``colour`` are takes of UTD-MHAD (../modalities next to the data),
joined to one recording a person; people whom nobody met are asked.
``hour`` is an hour of the two rats, answered in a new process. Runs that a result file holds are
not made again; ``--minutes`` ends a call before the next run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from harness import arguments, echo, store, stored

import vlar
from vlar.behaviour.measures.agreement import bout_f1, kappa, matches
from vlar.files.compressed import inner_stem, read_plain
from vlar.segments import Segment, read, write

STEP_S = 0.1
FEW = 100  # bouts
KINDS = ("clinch", "keepdown", "lateralthreat")
HOUR_FRAMES, RAT_HZ = 108_000, 30.0
WRIST_HZ, CAMERA_HZ = 50.0, 15
Fold = tuple[list[Path], list[Path], tuple[float, float] | None]


@dataclass(frozen=True)
class Data:
    """A set: recordings with their bouts, and how it is learned.

    Attributes:
        bouts: True bouts by recording.
        folds: Recordings to learn from and to ask, and the part of them that is asked.
        options: Of ``vlar.behaviour.learn``.
    """

    bouts: dict[Path, list[Segment]]
    folds: list[Fold]
    options: dict[str, Any]


def rats(folder: Path, *, kinds: bool) -> Data:
    """Social, nonsocial and aggressive parts of pairs, or four kinds of what is aggressive."""
    bouts: dict[Path, list[Segment]] = {}
    for path in sorted((folder / "labelled/rat_pairs").glob("*_dlc.csv.xz")):
        rows = read(path.with_name(path.name.replace("dlc.csv.xz", "annot.txt")), fps=RAT_HZ)
        rows = [row for row in rows if row.tier == ("S2" if kinds else "S1")]
        rows = [row for row in rows if row.label != "base"]
        if kinds:
            rows = [replace(s, label=s.label if s.label in KINDS else "other") for s in rows]
        bouts[path] = [replace(row, recording=path.name, tier="") for row in rows]
    paths = list(bouts)
    held = [paths[:2], paths[2:4], paths[4:]]
    folds: list[Fold] = [([p for p in paths if p not in part], part, None) for part in held]
    return Data(bouts, folds, {"minutes": 10.0, "fps": RAT_HZ})


def in_turn(bouts: dict[Path, list[Segment]], **options: Any) -> Data:
    """Every recording asked after learning from the others."""
    folds: list[Fold] = [([p for p in bouts if p != path], [path], None) for path in bouts]
    return Data(bouts, folds, options)


def runs(times_s: Sequence[float], labels: Sequence[str], path: Path) -> list[Segment]:
    """Bouts of equal labels; a gap of more than a second ends one."""
    bouts: list[Segment] = []
    start = 0
    for now in range(1, len(labels) + 1):
        gap = now < len(labels) and times_s[now] - times_s[now - 1] > 1
        if now == len(labels) or gap or labels[now] != labels[start]:
            last = times_s[now - 1] + STEP_S / 3 if now == len(labels) or gap else times_s[now]
            bouts.append(Segment(path.name, times_s[start], last, labels[start]))
            start = now
    return bouts


def gestures(folder: Path) -> Data:
    """Rest against gesture of one person, who recounts stories."""
    bouts: dict[Path, list[Segment]] = {}
    for path in sorted((folder / "labelled/gesture_phases").glob("*_raw.csv.xz")):
        cells = [line.split(",") for line in read_plain(path).decode("utf-8-sig").splitlines()[1:]]
        times_s = (np.array([float(row[-2]) for row in cells]) - float(cells[0][-2])) / 1000
        labels = ["rest" if row[-1] == "Rest" else "gesture" for row in cells]
        bouts[path] = runs(times_s.tolist(), labels, path)
    return in_turn(bouts)


def exercises(folder: Path) -> Data:
    """Exercises of one person, as angles of joints."""
    bouts: dict[Path, list[Segment]] = {}
    for path in sorted((folder / "labelled/exercises").glob("*.amc.xz")):
        labels = path.with_name(f"{inner_stem(path)}_labels.txt").read_text().split()
        times_s = [n * STEP_S for n in range(len(labels))]
        bouts[path] = runs(times_s, labels, path)
    return in_turn(bouts, fps=30.0)


def freezing(folder: Path) -> Data:
    """One mouse that freezes at times; the quarters of its recording."""
    path = folder / "labelled/mouse_freezing/demo1_dlc.csv.xz"
    marks = read(path.with_name("demo1_hB.mat"), fps=50)
    rows: list[Segment] = []
    end_s = 0.0
    for mark in [*marks, Segment("", 120, 120, "")]:
        if mark.start_s > end_s:
            rows.append(Segment(path.name, end_s, mark.start_s, "background"))
        rows += [replace(mark, recording=path.name)] if mark.label else []
        end_s = mark.end_s
    folds: list[Fold] = [([path], [path], (30.0 * n, 30.0 * (n + 1))) for n in range(4)]
    return Data({path: rows}, folds, {"fps": 50.0})


def joined(folder: Path, pattern: str, scratch: Path) -> dict[int, list[tuple[Path, str]]]:
    """Takes of each person in an order that means nothing, with the names of their actions."""
    takes: dict[int, list[tuple[Path, str]]] = defaultdict(list)
    for path in sorted((folder.parent / "modalities/utd_mhad").glob(pattern)):
        action, person, trial = (int(part[1:]) for part in path.name.split("_")[:3])
        if trial <= 2 and action <= 10:
            takes[person].append((path, f"action {action}"))
    scratch.mkdir(parents=True)
    return {
        k: [v[n] for n in np.random.default_rng(k).permutation(len(v))] for k, v in takes.items()
    }


def worn(folder: Path, model: str) -> Data:
    """Ten actions of six people: a sensor at the wrist, the joints of a body, or both."""
    from scipy.io import loadmat

    scratch = Path(tempfile.mkdtemp()) / "worn"
    bouts: dict[Path, list[Segment]] = {}
    head = ",".join(f"wrist_{k}_{c}_{u}" for k, u in (("acc", "g"), ("gyro", "dps")) for c in "xyz")
    for person, takes in joined(folder, "inertial/*.mat", scratch).items():
        files = {"imu": scratch / f"person{person}.csv", "tracks": scratch / f"body{person}.csv"}
        rows, joints = np.zeros((0, 6)), np.zeros((0, 61))
        spans: list[tuple[float, float, str]] = []
        for take, label in takes:
            begin = len(rows) / WRIST_HZ
            rows = np.concatenate([rows, loadmat(take)["d_iner"]])
            spans.append((begin, len(rows) / WRIST_HZ, label))
            name = take.name.replace("inertial", "skeleton")
            points = loadmat(take.parents[1] / "skeleton" / name)["d_skel"].transpose(2, 0, 1)
            times_s = np.linspace(begin, spans[-1][1], len(points), endpoint=False)
            flat = np.column_stack([times_s, points.reshape(len(points), -1)])
            joints = np.concatenate([joints, flat])
        table = np.column_stack([np.arange(len(rows)) / WRIST_HZ, rows])
        np.savetxt(files["imu"], table, "%.5f", ",", header=f"time_s,{head}", comments="")
        names = ",".join(f"joint{n}_{c}" for n in range(20) for c in "xyz")
        np.savetxt(files["tracks"], joints, "%.5f", ",", header=f"time_s,{names}", comments="")
        both = scratch / f"person{person}.bundle.json"
        both.write_text(json.dumps({kind: file.name for kind, file in files.items()}))
        path = files.get(model, both)
        bouts[path] = [Segment(path.name, *span) for span in spans]
    paths = list(bouts)
    folds: list[Fold] = [
        ([p for p in paths if p not in paths[n : n + 2]], paths[n : n + 2], None) for n in (0, 2, 4)
    ]
    return Data(bouts, folds, {"model": model})


def colour(folder: Path) -> Data:
    """Five actions of six people before a camera; two of them are asked."""
    scratch = Path(tempfile.mkdtemp()) / "colour"
    bouts: dict[Path, list[Segment]] = {}
    for person, takes in joined(folder, "rgb/*.mp4", scratch).items():
        path, count = scratch / f"person{person}.mp4", 0
        bouts[path] = []
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=CAMERA_HZ)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for take, label in takes:
                begin = count / CAMERA_HZ
                with av.open(str(take)) as source:
                    for frame in source.decode(video=0):
                        picture = frame.reformat(320, 240, "yuv420p")
                        picture.pts, picture.time_base = count, Fraction(1, CAMERA_HZ)
                        file.mux(stream.encode(picture))
                        count += 1
                bouts[path].append(Segment(path.name, begin, count / CAMERA_HZ, label))
            file.mux(stream.encode(None))
    paths = list(bouts)
    return Data(bouts, [(paths[:-2], paths[-2:], None)], {"model": "lite"})


SETS = {
    "rats": lambda folder: rats(folder, kinds=False),
    "kinds of aggression": lambda folder: rats(folder, kinds=True),
    "gestures": gestures, "exercises": exercises, "freezing": freezing,
    "wrist": lambda folder: worn(folder, "imu"), "joints": lambda folder: worn(folder, "tracks"),
    "wrist and joints": lambda folder: worn(folder, "bundle:tracks+imu"), "colour": colour,
}  # fmt: skip


def exchanged(bouts: Sequence[Segment], seed: int) -> list[Segment]:
    """Bouts with labels that mean nothing."""
    random = np.random.default_rng(seed)
    labels = [bout.label for bout in bouts]
    if len(bouts) >= FEW:
        labels = random.permutation(labels).tolist()
    else:
        names = sorted(set(labels))
        for name in names:
            numbers = [n for n, bout in enumerate(bouts) if bout.label == name]
            for n in random.permutation(numbers)[::2]:
                labels[n] = str(random.choice([other for other in names if other != name]))
    return [replace(bout, label=str(name)) for bout, name in zip(bouts, labels, strict=True)]


def cut(
    bouts: Sequence[Segment], part: tuple[float, float] | None, *, inside: bool
) -> list[Segment]:
    """Bouts inside of a part of the recording, or outside of it."""
    if part is None:
        return list(bouts)
    spans = [part] if inside else [(0.0, part[0]), (part[1], 1e9)]
    return [
        replace(b, start_s=max(b.start_s, low), end_s=min(b.end_s, high))
        for b in bouts
        for low, high in spans
        if min(b.end_s, high) > max(b.start_s, low)
    ]


def run(data: Data, number: int, seed: int | None) -> dict[str, Any]:
    """True and answered bouts of the recordings that a fold asks; ``seed`` of the control."""
    learn, ask, part = data.folds[number]
    bouts = [b for path in learn for b in cut(data.bouts[path], part, inside=False)]
    truth = bouts if seed is None else exchanged(bouts, seed)
    begin = time.process_time()
    model = vlar.behaviour.learn(learn, truth, **data.options)
    learned_s = time.process_time() - begin
    rows = {}
    for path in ask:
        answers = cut(
            vlar.behaviour.bouts(model, path, fps=data.options.get("fps")), part, inside=True
        )
        rows[path.name] = [[b.start_s, b.end_s, b.label] for b in answers]
    return {"answers": rows, "learn_cpu_s": round(learned_s, 1), "bouts": len(bouts)}


def steps(bouts: Sequence[Segment], count: int) -> np.ndarray:
    """(S,) labels by steps; empty where none is."""
    times_s = (np.arange(count) + 0.5) * STEP_S
    labels = np.full(count, "", object)
    for bout in bouts:
        labels[(times_s >= bout.start_s) & (times_s < bout.end_s)] = bout.label
    return labels


def edits(truth: list[Segment], answers: list[Segment]) -> int:
    """Number of changes that turn answers into the true bouts."""
    pairs = matches(truth, answers, iou=1e-6)
    moved = sum(
        abs(getattr(truth[i], end) - getattr(answers[j], end)) > 0.5
        for i, j, _ in pairs
        for end in ("start_s", "end_s")
    )
    missing = [b for i, b in enumerate(truth) if i not in {i for i, _, _ in pairs}]
    extra = [b for j, b in enumerate(answers) if j not in {j for _, j, _ in pairs}]
    same = [replace(b, label="any") for b in missing], [replace(b, label="any") for b in extra]
    relabelled = len(matches(*same, iou=0.5))
    return moved + len(missing) + len(extra) - relabelled


def figures(data: Data, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Kappa, F1 of frames and bouts, and edits over all asked recordings of some runs."""
    a: list[str] = []
    b: list[str] = []
    truth: list[Segment] = []
    answers: list[Segment] = []
    parts = {p.name: [f[2] for f in data.folds if p in f[1]] for p in data.bouts}
    paths = {path.name: path for path in data.bouts}
    for number, row in enumerate(rows):
        for name, listed in row["answers"].items():
            part = parts[name][number] if len(parts[name]) > 1 else None
            true = cut(data.bouts[paths[name]], part, inside=True)
            marked = [replace(s, recording=f"{name} {part}") for s in true]
            made = [Segment(f"{name} {part}", *span) for span in listed]
            span = marked[0].start_s, max(s.end_s for s in marked)
            made = cut(made, span, inside=True)  # before and after it nobody annotated
            count = round(max(s.end_s for s in marked) / STEP_S)
            one, other = steps(marked, count), steps(made, count)
            inside = one != ""
            a += one[inside].tolist()
            b += other[inside].tolist()
            truth += marked
            answers += [s for s in made if _covered(s, inside)]
    frames = np.array(a), np.array(b)
    labels = sorted(set(a))
    f1 = bout_f1(truth, answers)
    return {
        "kappa": round(kappa(a, b), 3),
        "frame_f1": {k: round(_f1(frames[0] == k, frames[1] == k), 3) for k in labels},
        "bout_f1": {k: round(f1.get(k, 0.0), 3) for k in labels},
        "edits": round(edits(truth, answers) / max(1, len(truth)), 2), "true_bouts": len(truth),
    }  # fmt: skip


def _covered(bout: Segment, inside: np.ndarray) -> bool:
    """Return whether most of an answer lies where a person annotated."""
    part = inside[round(bout.start_s / STEP_S) : round(bout.end_s / STEP_S)]
    return bool(len(part)) and float(part.mean()) >= 0.5


def _f1(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def hour(folder: Path) -> dict[str, float]:
    """CPU seconds and memory of ``vlar timeline`` about an hour of two animals."""
    data = SETS["rats"](folder)
    paths = list(data.bouts)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        texts = [read_plain(path).decode().splitlines() for path in paths]
        frames = [line.partition(",")[2] for text in texts for line in text[4:]]
        frames = (frames * (HOUR_FRAMES // len(frames) + 1))[:HOUR_FRAMES]
        lines = texts[0][:4] + [f"{n},{row}" for n, row in enumerate(frames)]
        (scratch / "hour.csv").write_text("\n".join(lines) + "\n")
        write(scratch / "truth.csv", data.bouts[paths[0]] + data.bouts[paths[1]])
        vlar.behaviour.learn(paths[:2], scratch / "truth.csv", fps=RAT_HZ).save(scratch / "model")
        code = "import sys; from vlar.apps.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "timeline", str(scratch / "hour.csv"), "--model",
                   str(scratch / "model"), "--out", str(scratch / "bouts.csv")]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": round(cpu_s, 1), "memory_mb": round(after.ru_maxrss / 1024)}


def main() -> None:
    asked = arguments(
        __doc__, "data", "json", sets=([], "sets to run; default: all, and hour"),
        minutes=(float, "end before the next run after this time"), seeds=(1, "seeds of controls"),
    )  # fmt: skip
    begin = time.monotonic()
    results: dict[str, Any] = stored(asked.json, {"runs": {}, "figures": {}})
    names = asked.sets or [*SETS, "hour"]
    for name in names:
        if name == "hour":
            if "hour" not in results["figures"]:
                results["figures"]["hour"] = hour(asked.data)
                store(asked.json, results)
            echo("hour", results["figures"]["hour"])
            continue
        data = SETS[name](asked.data)
        seeds = [None, *range(asked.seeds)]
        done: dict[int | None, list[dict[str, Any]]] = defaultdict(list)
        for seed in seeds:
            for number in range(len(data.folds)):
                key = f"{name}/{number}" + ("" if seed is None else f"/exchanged {seed}")
                if key not in results["runs"]:
                    if asked.minutes and time.monotonic() - begin > 60 * asked.minutes:
                        return
                    results["runs"][key] = run(data, number, seed)
                    store(asked.json, results)
                done[seed].append(results["runs"][key])
        row = figures(data, done[None])
        row["learn_cpu_s"] = max(part["learn_cpu_s"] for part in done[None])
        row["exchanged"] = [figures(data, done[seed])["kappa"] for seed in seeds[1:]]
        results["figures"][name] = row
        store(asked.json, results)
        echo(name, row)


if __name__ == "__main__":
    main()
