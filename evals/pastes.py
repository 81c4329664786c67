"""Clips that were cut into longer recordings: the share that a library finds there by itself.

    python evals/pastes.py --shared DIR --work FOLDER [--hosts 24] [--json OUT]

Of each half of the labels, ``--hosts`` clips of 3 to 16 s are cut at both edges and encoded again
(H.264, CRF 24) between the begin and the end of two other clips of the same data set. FOLDER keeps
these hosts and a library (``lite``) of them and of their clips, for the next run. A planted pair
is a clip and its host. A false pair are two recordings of one group that share no clip: other takes
of a label are among them. ``copies`` finds windows of a cosine of .99 alone, ``inside`` is the
default, and the rows below it are other settings of both constants, which "choose" chose.
"""

from __future__ import annotations

import csv
import itertools
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
from harness import HALVES, arguments, echo, manifest, store

from vlar.library import copies
from vlar.library.library import Library

SIZE, FPS, SHORTEST_S, LONGEST_S = (320, 240), 25, 3.0, 16.0
SETTINGS = list(itertools.product((0.85, 0.9, 0.94), (0.1, 0.2, 0.4)))
Row = dict[str, str]


def frames(path: str) -> list[Any]:
    """Frames at 25 a second."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        shown = [f.to_ndarray(format="rgb24", width=SIZE[0], height=SIZE[1])
                 for f in container.decode(stream)]  # fmt: skip
        rate = float(stream.average_rate or FPS)
    count = int(len(shown) / rate * FPS)
    return [shown[min(len(shown) - 1, int(n / FPS * rate))] for n in range(count)]


def made(clips: list[Row], folder: Path, most: int) -> list[tuple[str, ...]]:
    """Hosts, each with its half, the clip in it and the two around it."""
    random, hosts = np.random.default_rng(5), list[tuple[str, ...]]()
    for half in HALVES:
        pool = [clip for clip in clips if clip["half"] == half]
        count = 0
        for number in random.permutation(len(pool)):
            clip = pool[number]
            mates = [m for m in pool if m["dataset"] == clip["dataset"] and m is not clip]
            if len(mates) < 3 or count == most:
                continue
            before, after = (mates[n] for n in random.choice(len(mates), 2, replace=False))
            first, body, last = (frames(each["file"]) for each in (before, clip, after))
            cut_s = random.uniform((4, 0.1, 0.1, 4), (9, 0.6, 0.4, 9))
            begin, start, stop, rest = (int(FPS * second) for second in cut_s)
            target = folder / f"{half}_{count:02}.mp4"
            write(target, first[:begin] + body[start : len(body) - stop] + last[-rest:])
            hosts.append((str(target), half, clip["file"], before["file"], after["file"]))
            count += 1
    return hosts


def write(path: Path, pictures: list[Any]) -> None:
    with av.open(str(path), "w") as container:
        options = {"crf": "24", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def measured(rows: Any, hosts: list[tuple[str, ...]], least: float | None) -> dict[str, Any]:
    """Planted pairs that are found, and false ones, of each half."""
    holds = {host: {host, *inside} for host, _, *inside in hosts}
    half_of = {path: half for host, half, *inside in hosts for path in (host, *inside)}
    paths = set(rows.paths.values())
    pairs: set[tuple[str, str]] = set()
    for group in copies.groups(rows.table, rows.vectors, least):
        members = sorted(rows.paths[matched.video_id] for matched in group)
        pairs |= set(itertools.combinations(members, 2))
    figures: dict[str, Any] = {}
    for half in HALVES:
        planted = [tuple(sorted((h, clip))) for h, own, clip, *_ in hosts
                   if own == half and {h, clip} <= paths]  # fmt: skip
        false = [p for p in pairs if half_of[p[0]] == half_of[p[1]] == half
                 and not holds.get(p[0], {p[0]}) & holds.get(p[1], {p[1]})]  # fmt: skip
        found = sum(pair in pairs for pair in planted)
        figures[half] = {"planted": len(planted), "found": found, "false": len(false)}
    return figures


def main() -> None:
    options = arguments(__doc__, "shared", "json", work={"type": Path, "required": True}, hosts=24)
    clips: list[Row] = []
    for folder in (options.shared / "videos", options.shared / "clips"):
        for row in manifest(folder):
            seconds = float(row["duration_s"]) if row["duration_s"] else 0.0
            if SHORTEST_S <= seconds <= LONGEST_S:
                half = HALVES[zlib.crc32(row["label"].encode()) % 2]
                dataset = row["dataset"].split()[0]
                file = str(folder / row["path"])
                clips.append({**row, "file": file, "dataset": dataset, "half": half})
    listed = options.work / "hosts.csv"
    if not listed.is_file():
        options.work.mkdir(parents=True, exist_ok=True)
        with listed.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(made(clips, options.work, options.hosts))
    with listed.open(newline="", encoding="utf-8") as stream:
        hosts = [tuple(row[:5]) for row in csv.reader(stream)]
    by_half = [[host for host in hosts if host[1] == half][: options.hosts] for half in HALVES]
    pending = [path for pair in zip(*by_half, strict=False) for h in pair for path in (h[0], h[2])]
    with Library(options.work / "l.vlar", "lite") as library:
        for path in dict.fromkeys(pending):
            library.add(path)
        rows = library.all_rows()
    results = [{"rule": "copies", **measured(rows, hosts, copies.SAME)}]
    results.append({"rule": "inside", **measured(rows, hosts, None)})
    for copies.INSIDE, copies.RIVAL in SETTINGS:
        setting = {"least": copies.INSIDE, "rival": copies.RIVAL}
        results.append({**setting, **measured(rows, hosts, None)})
    for row in results:
        echo(row)
    store(
        options.json, {"recordings": len(rows.paths), "windows": len(rows.table), "rows": results}
    )


if __name__ == "__main__":
    main()
