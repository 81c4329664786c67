"""Precision of ``Library.duplicates`` on pairs of one camera, and copies that it finds.

Clips of a data set of one camera (or of a few rooms) are in one library, with copies of every other
one: encoded again, trimmed by 0.4 s, cropped by 5 % of each side and brightened, and made smaller.
Pairs of different clips that are joined are false. The constants of ``vlar.library.movement`` were
chosen on the first half of the clips, and the second half is reported next to it. The control is
what vectors alone join, as they did before: half of the windows of a cosine of .99.

    python evals/duplicates.py --videos DIR --work FOLDER --json evals/results/duplicates.json
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
from harness import arguments, echo, half_of, manifest, store

from vlar.library import copies
from vlar.library.discovery import duplicates, nearest_rows
from vlar.library.library import Library
from vlar.types import UInt8

SETS = ("gmdcsa24", "utd-mhad", "weizmann")
KINDS: dict[str, dict[str, float]] = {
    "encoded": {},
    "trimmed": {"start_s": 0.4},
    "cropped": {"crop": 0.05, "gain": 1.1},
    "smaller": {"scale": 2 / 3, "crf": 33},
}
Pair = tuple[Path, Path]


def write_copy(
    clip: Path, target: Path, *, start_s: float = 0, crop: float = 0, gain: float = 1,
    scale: float = 1, crf: float = 28,
) -> None:  # fmt: skip
    """Write a clip as H.264 of CRF 28, changed."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        video = source.streams.video[0]
        rate = video.average_rate
        stream = out.add_stream("libx264", rate=rate, options={"crf": f"{crf:.0f}"})
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(source.decode(video)):
            if (frame.time or 0.0) < start_s:
                continue
            pixels = changed(frame.to_ndarray(format="rgb24"), crop, gain)
            picture = av.VideoFrame.from_ndarray(pixels)
            width, height = (round(side * scale) // 2 * 2 for side in pixels.shape[1::-1])
            if not stream.width or number == 0:
                stream.width, stream.height = width, height
            out.mux(stream.encode(picture.reformat(stream.width, stream.height)))
        out.mux(stream.encode())


def changed(pixels: UInt8, crop: float, gain: float) -> UInt8:
    """(H, W, 3) without a share at each side, times a factor; even sides."""
    height, width = pixels.shape[:2]
    y, x = int(height * crop), int(width * crop)
    inside = pixels[y : height - y, x : width - x]
    even = inside[: inside.shape[0] // 2 * 2, : inside.shape[1] // 2 * 2]
    return np.ascontiguousarray(np.clip(even * gain, 0, 255).astype(np.uint8))


def measured(clips: list[Path], work: Path, model: str) -> dict[str, Any]:
    """Counts by pixels and by vectors alone."""
    source = {clip: clip for clip in clips}
    planted: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for clip in clips[::2]:
        for kind, how in KINDS.items():
            target = work / f"{clip.parent.name}_{clip.stem}_{kind}.mp4"
            if not target.exists():
                write_copy(clip, target, **how)
            source[target] = clip
            planted[kind].append(target)
    with Library(work / "library", model) as library:
        library.add([str(path) for path in source])
        rows = library.all_rows()
    ids = rows.table.video_ids
    nearest = nearest_rows(rows.vectors, ids, rows.vectors, ids, copies.NEAREST)
    alone = copies.groups(rows.table, *nearest, rows.paths, lambda _: None)
    return {
        "clips": len(clips),
        "planted of each kind": len(clips[::2]),
        "pairs of different clips": sum(a != b for a, b in combinations(source.values(), 2)),
        "by pixels": counts(
            ([Path(m.path) for m in group.members] for group in duplicates(rows)), source, planted
        ),
        "by vectors": counts(([Path(m.path) for m in group] for group in alone), source, planted),
    }


def counts(
    groups: Iterable[list[Path]], source: dict[Path, Path], planted: dict[str, list[Path]]
) -> dict[str, int]:
    """Pairs that groups join, those of different clips, and copies next to their original."""
    pairs = {pair for group in groups for pair in combinations(sorted(group), 2)}
    false = sum(source[a] != source[b] for a, b in pairs)
    by_kind = {
        kind: sum(tuple(sorted((path, source[path]))) in pairs for path in paths)
        for kind, paths in planted.items()
    }
    return {**by_kind, "pairs joined": len(pairs), "false": false}


def main() -> None:
    """Measure each half of each set in a library of its own."""
    options = arguments(__doc__, "videos!", "model", "json", work=(Path, "folder for copies"))
    results: dict[str, Any] = {"model": options.model, "rows": []}
    for name in SETS:
        rows = manifest(options.videos, name)
        clips = sorted(options.videos.resolve() / row["path"] for row in rows)
        halves = half_of(clips)
        for half, label in enumerate(("choose", "report")):
            work = options.work.resolve() / name / label
            work.mkdir(parents=True, exist_ok=True)
            chosen = [clip for clip, place in zip(clips, halves, strict=True) if place == half]
            row = {"set": name, "half": label, **measured(chosen, work, options.model)}
            results["rows"].append(row)
            echo(name, row)
            store(options.json, results)


if __name__ == "__main__":
    main()
