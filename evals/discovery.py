"""Discovery of planted outliers, copies and highlights in a library of real clips.

    vlar index add LIBRARY DIR
    python evals/discovery.py --videos DIR --library LIBRARY [--copies] [--json OUT]
    python evals/discovery.py --rows 100000 [--json OUT]

DIR holds ``manifest.csv`` (path, dataset, readable_label, group); LIBRARY holds its clips.

unusual      200 times, three clips of other data sets are planted among the clips of one. AUROC of
             the planted windows by the mean distance to the five nearest windows of other
             recordings, and by the local outlier factor; the share of the three most unusual
             recordings that were planted. ``control``: three clips of the same data set.
highlights   500 times, four clips of one label and one of another data set are one recording of
             five windows. Share in which the planted window stands out most. ``control``: the
             fifth clip has the same label (chance is 1 of 5).
duplicates   (--copies) of 12 clips each, three copies are made and encoded: two thirds of the size
             (H.264, CRF 33); cut by 0.4 s at the start; cropped by 5 % and brightened. Share of the
             copies that join the group of their original, and number of joined pairs of recordings
             that show different clips, by the least cosine. The default, 0.99, is the least that
             joins few of these; the copies are listed in two halves of the clips.
diverse      Coverage radius (cosine distance of the window that the chosen ones cover least) and
             share of the labels that occur in ``k`` windows; ``control``:
             200 random choices, their mean and best. With --rows: seconds of ``Library.diverse``
             with k = 100 on a made library of this size (512 numbers a row), and what its process
             takes of memory.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from cached import write_film
from harness import Namespace, arguments, manifest, store

import vlar
from vlar.library.discovery import (
    NEIGHBOURS,
    distances,
    duplicate_groups,
    farthest_first,
    nearest_rows,
    within,
)
from vlar.library.library import Library
from vlar.library.rows import RowTable
from vlar.library.shard_reading import VectorVideo
from vlar.media.video.decode import read_clip
from vlar.media.video.source import probe
from vlar.metrics.openset import auroc
from vlar.numeric import unit
from vlar.types import Float32, UInt8, Window

CHOSEN = (10, 30, 100)
PLANTED, DRAWS, HIGHLIGHTS, WINDOWS, COPIED = 3, 200, 500, 5, 12
COSINES = (0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99)
SETS = ("weizmann", "utd-mhad", "gmdcsa24", "jhmdb")


@dataclass(frozen=True)
class Rows:
    """Windows of a library with the manifest's facts of their clips."""

    table: RowTable
    vectors: Float32
    paths: list[str]
    facts: dict[str, dict[str, str]]

    def of(self, key: str) -> np.ndarray:
        """(N,) a column of the manifest."""
        return np.array([self.facts[path][key] for path in self.paths])


def read(videos: Path, library: Path) -> Rows:
    """The rows of the library whose clips the manifest names."""
    facts = {str((videos / r["path"]).absolute()): r for r in manifest(videos)}
    with Library(library, create=False) as opened:
        rows = opened.all_rows()
    known = np.array([rows.paths[i] in facts for i in rows.table.video_ids.tolist()])
    table = rows.table.where(known)
    paths = [rows.paths[i] for i in table.video_ids.tolist()]
    return Rows(table, rows.vectors[known], paths, facts)


def local_outliers(vectors: Float32, owners: np.ndarray) -> np.ndarray:
    """(N,) how much less dense a row lies than its neighbours; 1 is as dense as they.

    Source: the ratio of mean distances to neighbours, a simplified local outlier factor
    (Breunig et al. 2000) without reachability.
    """
    cosines, places = nearest_rows(vectors, owners, vectors, owners, NEIGHBOURS)
    known = places >= 0
    count = np.maximum(known.sum(axis=1), 1)
    own = np.where(known, 1.0 - cosines, 0.0).sum(axis=1) / count
    theirs = np.where(known, own[np.maximum(places, 0)], 0.0).sum(axis=1) / count
    return own / np.maximum(theirs, 1e-6)


def unusual(rows: Rows, base: str, same_set: bool) -> dict[str, object]:
    """AUROC and precision of clips planted among those of one data set."""
    random = np.random.default_rng(1)
    sets, owners = rows.of("dataset"), rows.table.video_ids
    ids = np.unique(owners[sets == base])
    others = ids if same_set else np.unique(owners[sets != base])
    found: dict[str, list[float]] = {"distance": [], "outlier factor": [], "first": []}
    for _ in range(DRAWS):
        planted = random.choice(others, PLANTED, replace=False)
        chosen = np.isin(owners, ids) | np.isin(owners, planted)
        vectors, own = rows.vectors[chosen], owners[chosen]
        is_planted = np.isin(own, planted)
        score = distances(vectors, own, vectors, own)[0]
        found["distance"].append(auroc(score, is_planted))
        found["outlier factor"].append(auroc(local_outliers(vectors, own), is_planted))
        best = list(dict.fromkeys(own[np.argsort(-score)].tolist()))[:PLANTED]
        found["first"].append(float(np.isin(best, planted).mean()))
    kind = "control" if same_set else "planted"
    means = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    return {"what": "unusual", "set": base, "clips": len(ids), "kind": kind, **means}


def highlights(rows: Rows, base: str, same_label: bool) -> dict[str, object]:
    """Frequency with which the planted window stands out most among five."""
    random = np.random.default_rng(2)
    labels, sets = rows.of("readable_label"), rows.of("dataset")
    firsts = np.unique(rows.table.video_ids, return_index=True)[1]
    mine = firsts[sets[firsts] == base]
    names, counts = np.unique(labels[mine], return_counts=True)
    usable = names[counts >= WINDOWS]
    hits: list[bool] = []
    for _ in range(HIGHLIGHTS if len(usable) else 0):
        own = random.permutation(mine[labels[mine] == random.choice(usable)])[:WINDOWS]
        plant = own[-1] if same_label else random.choice(firsts[sets[firsts] != base])
        order = random.permutation(WINDOWS)
        vectors = rows.vectors[np.append(own[:-1], plant)][order]
        starts = 4.0 * np.arange(WINDOWS)
        score = within(vectors, starts, starts + 4)
        hits.append(int(score.argmax()) == order.tolist().index(WINDOWS - 1))
    kind = "control" if same_label else "planted"
    first = round(float(np.mean(hits)), 3) if hits else None
    return {"what": "highlights", "set": base, "kind": kind, "first": first}


def write(path: Path, frames: list[UInt8], fps: float, crf: int) -> None:
    """Write frames as H.264."""
    write_film(path, frames, round(fps), crf=str(crf), preset="veryfast")


def smaller(frames: list[UInt8], fps: float, path: Path) -> None:
    """Two thirds of the size, strongly compressed."""
    height, width = (side * 2 // 3 for side in frames[0].shape[:2])
    small = [
        av.VideoFrame.from_ndarray(f, "rgb24").reformat(width, height).to_ndarray(format="rgb24")
        for f in frames
    ]
    write(path, small, fps, 33)


def trimmed(frames: list[UInt8], fps: float, path: Path) -> None:
    """Write a copy without its first 0.4 seconds."""
    write(path, frames[round(0.4 * fps) :], fps, 23)


def graded(frames: list[UInt8], fps: float, path: Path) -> None:
    """Cropped by 5 % at each side, 20 grey levels brighter."""
    height, width = (side // 20 for side in frames[0].shape[:2])
    shown = [
        np.clip(f[height:-height, width:-width].astype(np.int16) + 20, 0, 255).astype(np.uint8)
        for f in frames
    ]
    write(path, shown, fps, 23)


KINDS: tuple[Callable[[list[UInt8], float, Path], None], ...] = (smaller, trimmed, graded)


def copies(videos: Path, rows: Rows, library: Path) -> list[dict[str, object]]:
    """Number of copies that join their original, and number of different clips that are joined."""
    with Library(library, create=False) as opened:
        model = vlar.load(opened.info().model or "lite")
    random = np.random.default_rng(3)
    names = [p for p in random.permutation(np.unique(rows.paths)) if 2 <= duration(rows, p) <= 8]
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names[:COPIED]):
            frames, fps = decoded(Path(name))
            for kind in KINDS:
                kind(frames, fps, Path(folder) / f"{number}-{kind.__name__}.mp4")
        with Library(Path(folder) / "copies.vlar", model) as made:
            made.add(folder)
            copied = made.all_rows()
    return [row for c in COSINES for row in compared(rows, names[:COPIED], copied, c)]


def duration(rows: Rows, path: str) -> float:
    """Seconds of a clip."""
    return float(rows.facts[path]["duration_s"] or 0)


def decoded(path: Path) -> tuple[list[UInt8], float]:
    """All frames of a clip."""
    info = probe(path)
    return list(read_clip(path, n_frames=info.n_frames or 1).data), info.fps


def compared(rows: Rows, names: list[str], copied: object, least: float) -> list[dict[str, object]]:
    """Recall of copies by kind, and false pairs, of both halves."""
    own = rows.table
    offset = int(own.video_ids.max()) + 1
    theirs = copied.table  # type: ignore[attr-defined]
    shifted = RowTable(theirs.ids, theirs.video_ids + offset, theirs.starts_s, theirs.ends_s)
    table = RowTable.joined([own, shifted])
    vectors = np.concatenate([rows.vectors, copied.vectors])  # type: ignore[attr-defined]
    name_of = dict(zip(own.video_ids.tolist(), rows.paths, strict=True))
    kind_of: dict[int, str] = {}
    for video_id, path in copied.paths.items():  # type: ignore[attr-defined]
        number, _, kind = Path(path).stem.partition("-")
        name_of[video_id + offset] = names[int(number)]
        kind_of[video_id + offset] = kind
    groups = duplicate_groups(table, vectors, least)
    found: list[dict[str, object]] = []
    for half in ("choose", "report"):
        mine = {name for name in names if half_of(name) == half}
        joined: dict[str, list[bool]] = {kind.__name__: [] for kind in KINDS}
        place = {m.video_id: number for number, group in enumerate(groups) for m in group}
        originals = {name_of[i]: i for i in own.video_ids.tolist()}
        for video_id, kind in kind_of.items():
            if name_of[video_id] in mine:
                origin = place.get(originals[name_of[video_id]])
                joined[kind].append(origin is not None and place.get(video_id) == origin)
        false = sum(
            rows.facts[a]["group"] != rows.facts[b]["group"]
            for group in groups
            for a, b in pairs(sorted({name_of[m.video_id] for m in group}))
        )
        shares = {kind: round(float(np.mean(values)), 3) for kind, values in joined.items()}
        row = {"what": "duplicates", "half": half, "cosine": least, **shares, "false pairs": false}
        found.append(row)
    return found


def half_of(name: str) -> str:
    """The half that a clip belongs to, by a hash of its path."""
    return ("choose", "report")[hashlib.sha256(name.encode()).digest()[0] % 2]


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """All pairs."""
    return [(a, b) for at, a in enumerate(names) for b in names[at + 1 :]]


def diverse(rows: Rows, k: int) -> dict[str, object]:
    """Coverage radius and labels of ``k`` diverse windows, and of random ones."""
    vectors, labels = rows.vectors, rows.of("readable_label")
    random = np.random.default_rng(4)

    def measured(chosen: Sequence[int] | np.ndarray) -> tuple[float, float]:
        radius = float(1 - (vectors @ vectors[chosen].T).max(axis=1).min())
        return radius, len(set(labels[chosen])) / len(set(labels))

    radius, share = measured(farthest_first(vectors, np.arange(len(vectors)), k)[0])
    draws = [measured(random.choice(len(vectors), k, replace=False)) for _ in range(DRAWS)]
    radii, shares = np.array(draws).T
    control = {"radius": radii.mean(), "least radius": radii.min(), "labels": shares.mean()}
    found = {"radius": radius, "labels": share}
    found |= {f"control {name}": float(value) for name, value in control.items()}
    figures = {name: round(value, 3) for name, value in found.items()}
    return {"what": "diverse", "k": k, "windows": len(vectors), **figures}


def scale(count: int) -> dict[str, object]:
    """Seconds and memory of ``Library.diverse`` on a made library."""
    random = np.random.default_rng(5)
    each = 50

    def video(number: int) -> VectorVideo:
        vectors = unit(random.normal(size=(each, 512)) + 2 * random.normal(size=512))
        spans = [Window(2.0 * i, 2.0 * i + 4.0) for i in range(each)]
        return VectorVideo(f"/{number}.mp4", spans, vectors.astype(np.float32))

    with tempfile.TemporaryDirectory() as folder:
        with Library(Path(folder) / "made.vlar", Vectors()) as library:
            library.add_vectors(video(i) for i in range(count // each))
        found: dict[str, object] = {"what": "scale", "rows": count}
        for whole in (False, True):
            code = (
                "import resource, time, vlar\n"
                f"library = vlar.Library({str(Path(folder) / 'made.vlar')!r}, create=False)\n"
                "library.info(); begin = time.perf_counter()\n"
                f"assert len(library.diverse(100, whole={whole})) == 100\n"
                "print(time.perf_counter() - begin)\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            seconds, megabytes = map(float, done.stdout.split())
            found["whole s" if whole else "s"] = round(seconds, 1)
            found["whole MB" if whole else "MB"] = round(megabytes)
    return found


class Vectors:
    """Stand-in for a model: the name and the width of vectors that are made here."""

    name, fingerprint, dim, modality = "made", "0" * 64, 512, "video"
    n_frames, shorter_side = 2, 64


def main() -> int:
    options = arguments(
        __doc__, "json", videos=(Path, "folder with manifest.csv"),
        library=(Path, "library of its clips"),
        rows=(int, "only measure a made library of this size"),
        copies=(False, "make copies and look for them"),
    )  # fmt: skip
    table = [scale(options.rows)] if options.rows else compared_all(options)
    for row in table:
        print(row)
    store(options.json, table)
    return 0


def compared_all(options: Namespace) -> list[dict[str, object]]:
    """Every comparison on real clips."""
    rows = read(options.videos, options.library)
    table = [unusual(rows, each, control) for each in SETS for control in (False, True)]
    table += [highlights(rows, each, control) for each in SETS for control in (False, True)]
    if options.copies:
        table += copies(options.videos, rows, options.library)
    return table + [diverse(rows, k) for k in CHOSEN]


if __name__ == "__main__":
    raise SystemExit(main())
