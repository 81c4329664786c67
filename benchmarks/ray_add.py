"""``vlar index add`` on Ray: what it costs next to plain processes, and what is left after kill -9.

    python benchmarks/ray_add.py --clips DIR [--clips DIR] --count 500 --model projection
    python benchmarks/ray_add.py --clips DIR [--clips DIR] --count 150 --model lite-objects \\
        --arms processes ray

``projection`` is not an encoder: a fixed random projection of small pictures. Only decoding
costs anything. It shows whether rows are lost; ``lite-objects`` shows what a run costs.

The clips are the shortest files below the folders, repeated until there are enough; each copy gets
a free box of its own, so that no two have the same content. Each arm is a process of its own, one
after the other in the same run:

local      one encoder in one process; rows of all others are compared with the first arm's
processes  two encoders, as --devices cpu:2
ray        two actors, as --runner ray --workers 2
killed     the same, where an actor is ended with SIGKILL after a quarter of the recordings, the
           driver after half of them, and then run again

CPU seconds are those of the command and of every process below it, looked up several times a
second. ``greatest`` is the largest difference of a number of a vector from the local row.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.types import Clip, Encoded

ACTOR, EVERY_S, TICKS = "EncodeBlock", 0.2, os.sysconf("SC_CLK_TCK")


def make_clips(sources: list[str], count: int, folder: Path) -> None:
    """Copies with a free box at the end, which players and decoders pass over."""
    found = [path for source in sources for path in Path(source).rglob("*.mp4")]
    shortest = sorted(found, key=lambda path: (path.stat().st_size, str(path)))[:count]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        source = shortest[number % len(shortest)]
        target = folder / f"{number:04}.mp4"
        shutil.copyfile(source, target)
        content = f"copy {number}".encode().ljust(16 + number % 97)
        with target.open("ab") as file:
            file.write(struct.pack(">I4s", 8 + len(content), b"free") + content)


class Watched:
    """A command, and the CPU seconds of all processes below it."""

    def __init__(self, command: list[str]) -> None:
        self.begin_s = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.seen: dict[tuple[int, str], float] = {}
        self.names: dict[int, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        parents: dict[int, tuple[int, str, float]] = {}
        for entry in (each.name for each in Path("/proc").iterdir()):
            if entry.isdecimal():
                try:
                    text = Path(f"/proc/{entry}/stat").read_text()
                    name = Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " ")
                except OSError:
                    continue
                fields = text.rpartition(")")[2].split()
                seconds = (int(fields[11]) + int(fields[12])) / TICKS
                parents[int(entry)] = int(fields[1]), f"{fields[19]} {name[:60]}", seconds
        below = {self.process.pid}
        grew = True
        while grew:
            more = {pid for pid, (parent, *_) in parents.items() if parent in below} - below
            below |= more
            grew = bool(more)
        self.names = {pid: parents[pid][1] for pid in below if pid in parents}
        for pid in below:
            if pid in parents:
                start = parents[pid][1].split()[0]
                self.seen[pid, start] = max(parents[pid][2], self.seen.get((pid, start), 0.0))

    def finish(self) -> dict[str, float]:
        self.process.wait()
        self._ended.set()
        self._thread.join()
        wall_s = time.monotonic() - self.begin_s
        return {"cpu_s": round(sum(self.seen.values()), 1), "wall_s": round(wall_s, 1)}


class Projection:
    """Vectors are a fixed random projection of a coarse picture."""

    name, dim, modality, n_frames, shorter_side = "projection", 64, "video", 8, 224
    fingerprint = "projection 1"

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return [Encoded(vector[None], vector) for vector in map(self._vector, clips)]

    def _vector(self, clip: Clip) -> np.ndarray:
        cells = [
            cell.mean()
            for frame in np.array_split(clip.data, 8)
            for row in np.array_split(frame, 8, axis=1)
            for cell in np.array_split(row, 8, axis=2)
        ]
        draw = np.random.default_rng(0).normal(size=(self.dim, len(cells)))
        vector = draw @ (np.array(cells) / 255 - 0.5)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError

    def match_probability(self, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def load_projection(device: str | None) -> Projection:
    return Projection()


def child(library: str, videos: str, model: str, arm: str) -> None:
    """One arm; prints a line for each recording."""
    from benchmarks.ray_add import Projection as Known  # by a name that workers can import
    from benchmarks.ray_add import load_projection as load
    from vlar.library.ingest.runners.processes import ProcessRunner
    from vlar.library.library import Library
    from vlar.plugins.ray.runner import RayRunner

    own = load if model == "projection" else None
    runner = None
    if arm == "processes":
        runner = ProcessRunner(("cpu", "cpu"), own)
    elif arm == "ray":
        runner = RayRunner(workers=2, load=own)
    with Library(library, Known() if own else model) as opened:
        opened.add(videos, runner=runner, progress=lambda e: e.path and print(e.path, flush=True))


def command(library: Path, videos: Path, model: str, arm: str) -> list[str]:
    here = "from benchmarks.ray_add import child; import sys; child(*sys.argv[1:])"
    return [sys.executable, "-c", here, str(library), str(videos), model, arm]


def measured(library: Path, videos: Path, model: str, arm: str) -> dict[str, Any]:
    watched = Watched(command(library, videos, model, arm))
    assert watched.process.stdout is not None
    lines = list(watched.process.stdout)
    found = watched.finish()
    if watched.process.returncode:
        raise SystemExit(f"{arm}: exit code {watched.process.returncode}")
    return {**found, "recordings": len(lines)}


def killed(library: Path, videos: Path, model: str, count: int) -> dict[str, Any]:
    """Run the command with an actor killed, then killed itself, and again to its end."""
    watched = Watched(command(library, videos, model, "ray"))
    assert watched.process.stdout is not None
    actors = 0
    for number, _ in enumerate(watched.process.stdout, 1):
        if number >= count // 4 and not actors:
            watched.look()
            found = [pid for pid, name in watched.names.items() if ACTOR in name]
            os.kill(found[0], signal.SIGKILL)
            actors += 1
        if number >= count // 2:
            watched.process.kill()
            break
    first = watched.finish()
    second = measured(library, videos, model, "ray")
    return {
        "actors_killed": actors,
        "before": number,
        "cpu_s": round(first["cpu_s"] + second["cpu_s"], 1),
        "recordings_again": second["recordings"],
    }


def rows(library: Path) -> dict[tuple[str, float, float], np.ndarray]:
    """Vectors by recording and window; a row that is there twice is an error."""
    import sqlite3

    connection = sqlite3.connect(library / "library.sqlite")
    found = connection.execute(
        "SELECT path, start_s, end_s, vector FROM rows JOIN videos ON videos.id = video_id"
    ).fetchall()
    connection.close()
    by_window = {tuple(row[:3]): np.frombuffer(row[3], np.float16) for row in found}
    assert len(by_window) == len(found), "a row is there twice"
    return by_window


def compared(library: Path, with_: Path) -> dict[str, Any]:
    here, there = rows(library), rows(with_)
    common = here.keys() & there.keys()
    gaps = [np.abs(here[key].astype(float) - there[key].astype(float)).max() for key in common]
    return {
        "rows": len(here),
        "missing": len(there.keys() - here.keys()),
        "too_many": len(here.keys() - there.keys()),
        "greatest": float(max(gaps, default=0.0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", action="append", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--model", default="lite-objects")
    parser.add_argument("--arms", nargs="+", default=["local", "processes", "ray", "killed"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlar-ray-add-") as place:
        videos, folder = Path(place) / "videos", Path(place)
        make_clips(arguments.clips, arguments.count, videos)
        given = videos, arguments.model
        arms: dict[str, Any] = {}
        first = folder / f"{arguments.arms[0]}.vlar"
        for name in arguments.arms:
            library = folder / f"{name}.vlar"
            if name == "killed":
                arms[name] = killed(library, *given, arguments.count)
            else:
                arms[name] = measured(library, *given, name)
            arms[name] |= compared(library, first)
            print(json.dumps({"arm": name, **arms[name]}), flush=True)
        if {"processes", "ray"} <= arms.keys():
            for what in ("cpu_s", "wall_s"):
                share = arms["ray"][what] / arms["processes"][what] - 1
                print(json.dumps({"overhead": what, "share": round(share, 3)}), flush=True)


if __name__ == "__main__":
    main()
