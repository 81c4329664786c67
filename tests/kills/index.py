"""Losses of ``vlar index add`` under kill -9 at random moments.

For each kill: a new library, an ``add`` of all clips, SIGKILL at a random moment, then
1. every video the command reported as committed is there, and no video is there in part;
2. the database is whole (``PRAGMA integrity_check``);
3. the next run completes and indexes only what was missing;
4. the rows equal those of an undisturbed run bit for bit.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar.model.library_model import LibraryModel

Rows = dict[str, list[tuple[float, float, bytes]]]


class FakeModel(LibraryModel):
    """Cheap, deterministic vectors, at the pace of a small encoder."""

    name, fingerprint, dim, n_frames, shorter_side = "fake", "fake-1", 64, 4, 64
    modality = "video"

    def encode(self, clips: Any) -> Any:
        import numpy as np

        from vlar.types import Encoded

        time.sleep(0.004 * len(clips))
        coarse = [np.resize(c.data.mean(axis=(1, 3)), self.dim) + 1 for c in clips]
        rows = [(v / np.linalg.norm(v)).astype(np.float32) for v in coarse]
        return [Encoded(row[None], row) for row in rows]

    def encode_queries(self, texts: Any) -> Any:
        raise NotImplementedError

    def match_probability(self, vectors: Any, query: Any) -> Any:
        raise NotImplementedError


def child(library: str, folder: str) -> None:
    """Run the command line's work with the fake model."""
    from vlar.library.library import Library

    with Library(library, FakeModel()) as opened:
        opened.add(folder, progress=lambda e: print(json.dumps(e.to_dict()), flush=True))


def command(library: Path, folder: Path) -> list[str]:
    return [sys.executable, __file__, str(library), str(folder)]


@dataclass(frozen=True)
class Run:
    """The JSON lines a run printed, its exit status, and seconds from its first line to its end."""

    lines: list[dict[str, Any]]
    code: int
    length_s: float


def run(arguments: list[str], kill_after_s: float | None = None) -> Run:
    """Run a command; kill it so long after its first line."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    begin = time.monotonic()
    timer: threading.Timer | None = None
    for text in process.stdout:
        if text.endswith("\n"):
            lines.append(json.loads(text))
        if len(lines) == 1:
            begin = time.monotonic()
        if timer is None and kill_after_s is not None:
            timer = threading.Timer(kill_after_s, process.send_signal, [signal.SIGKILL])
            timer.start()
    code = process.wait()
    if timer is not None:
        timer.cancel()
    return Run(lines, code, time.monotonic() - begin)


def rows_of(library: Path) -> Rows:
    """Rows of the database, read without vlar."""
    with sqlite3.connect(library / "library.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        rows: Rows = {p: [] for (p,) in database.execute("SELECT path FROM videos")}
        for path, *row in database.execute(
            "SELECT path, start_s, end_s, vector FROM rows JOIN videos ON videos.id = video_id "
            "ORDER BY path, start_s"
        ):
            rows[path].append(tuple(row))
    database.close()
    return rows


@dataclass(frozen=True)
class Outcome:
    """One kill. ``lost``: reported as committed, but not there; ``half``: there in part."""

    moment_s: float
    killed: bool
    said: int
    held: int
    lost: int
    half: int
    added_after: int
    equal: bool

    @property
    def good(self) -> bool:
        return not self.lost and not self.half and self.equal


def one_kill(folder: Path, library: Path, moment_s: float, wanted: Rows) -> Outcome:
    first = run(command(library, folder), moment_s)
    said = {line["path"]: line["rows"] for line in first.lines if line.get("status") == "added"}
    held = rows_of(library) if (library / "library.sqlite").exists() else {}
    lost = sum(len(held.get(path, [])) != count for path, count in said.items())
    half = sum(rows != wanted[path] for path, rows in held.items())
    after = run(command(library, folder))
    assert after.code == 0, f"the next run ended with {after.code}"
    added = sum(line.get("status") == "added" for line in after.lines)
    equal = rows_of(library) == wanted and added == len(wanted) - len(held)
    killed = first.code < 0
    return Outcome(moment_s, killed, len(said), len(held), lost, half, added, equal)


def make_clips(folder: Path, number: int) -> None:
    """Small generated videos of 3 to 30 s."""
    import av
    import numpy as np

    folder.mkdir(parents=True)
    for clip in range(number):
        draw = np.random.default_rng(clip)
        with av.open(str(folder / f"{clip:03}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=2)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(int(draw.integers(6, 60))):
                picture = draw.integers(0, 256, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
                frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def outcomes(root: Path, clips: int, kills: int, seed: int = 0) -> Iterator[Outcome]:
    """Kill one run after another at random moments of its length."""
    make_clips(root / "clips", clips)
    length_s = 0.0
    for name in ("wanted", "again"):
        whole = run(command(root / f"{name}.vlar", root / "clips"))
        assert whole.code == 0, f"the undisturbed run ended with {whole.code}"
        length_s = whole.length_s
    wanted = rows_of(root / "wanted.vlar")
    assert rows_of(root / "again.vlar") == wanted
    draw = random.Random(seed)
    for number in range(kills):
        moment_s = draw.uniform(0, length_s * 0.95)
        yield one_kill(root / "clips", root / f"{number}.vlar", moment_s, wanted)


if __name__ == "__main__":
    child(*sys.argv[1:])
