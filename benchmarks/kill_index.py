"""Losses of ``vlar index add`` under kill -9 at random moments.

For each kill: a new library, an ``add`` of all clips, SIGKILL at a random moment, then
1. every video the command reported as committed is there, and no video is there in part;
2. the database is whole (``PRAGMA integrity_check``);
3. the next run completes and indexes only what was missing;
4. the rows equal those of an undisturbed run bit for bit.

    python benchmarks/kill_index.py     # 100 real clips, the command line, lite
    python benchmarks/kill_index.py --encoder fake --clips 30 --kills 5
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = dict[str, list[tuple[float, float, bytes]]]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "videos"


class FakeModel:
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


def child(library: str, folder: str) -> None:
    """Run the command line's work with the fake model."""
    from vlar.library.library import Library

    with Library(library, FakeModel()) as opened:
        opened.add(folder, progress=lambda e: print(json.dumps(e.to_dict()), flush=True))


def command(encoder: str, library: Path, folder: Path) -> list[str]:
    if encoder == "fake":
        return [sys.executable, __file__, "--child", str(library), str(folder)]
    vlar = Path(sys.executable).with_name("vlar")
    return [str(vlar), "index", "add", str(library), str(folder), "--model", encoder, "--json"]


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


def one_kill(encoder: str, folder: Path, library: Path, moment_s: float, wanted: Rows) -> Outcome:
    first = run(command(encoder, library, folder), moment_s)
    said = {line["path"]: line["rows"] for line in first.lines if line.get("status") == "added"}
    held = rows_of(library) if (library / "library.sqlite").exists() else {}
    lost = sum(len(held.get(path, [])) != count for path, count in said.items())
    half = sum(rows != wanted[path] for path, rows in held.items())
    after = run(command(encoder, library, folder))
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


def real_clips(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    found = sorted(p for p in SHARED.rglob("*") if p.suffix in {".mp4", ".avi", ".webm"})
    for path in found[:: max(len(found) // number, 1)][:number]:
        shutil.copy(path, folder / path.relative_to(SHARED).as_posix().replace("/", "_"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--encoder", default="lite", help="'fake', or a model of the command line")
    parser.add_argument("--generated", action="store_true", help="generated clips, not real ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        real = SHARED.is_dir() and not options.generated and options.encoder != "fake"
        (real_clips if real else make_clips)(root / "clips", options.clips)
        for name in ("wanted", "again"):
            whole = run(command(options.encoder, root / f"{name}.vlar", root / "clips"))
            assert whole.code == 0, f"the undisturbed run ended with {whole.code}"
        length_s = whole.length_s
        wanted = rows_of(root / "wanted.vlar")
        steady = rows_of(root / "again.vlar") == wanted
        print(
            f"{len(wanted)} clips, {sum(map(len, wanted.values()))} rows, model {options.encoder}"
        )
        print(f"undisturbed: {length_s:.1f} s; two undisturbed runs equal: {steady}")
        print("kill  after_s  killed  said  held  lost  half  added_after  equal")
        outcomes: list[Outcome] = []
        for number in range(options.kills):
            moment_s = random.uniform(0, length_s * 0.95)
            library = root / f"{number}.vlar"
            o = one_kill(options.encoder, root / "clips", library, moment_s, wanted)
            outcomes.append(o)
            print(
                f"{number:4}  {o.moment_s:7.2f}  {o.killed!s:6}  {o.said:4}  {o.held:4}  {o.lost:4}"
                f"  {o.half:4}  {o.added_after:11}  {o.equal}",
                flush=True,
            )
    good, killed = sum(o.good for o in outcomes), sum(o.killed for o in outcomes)
    print(f"{good} of {len(outcomes)} good, {killed} of them killed in the middle")
    return 0 if good == len(outcomes) and steady else 1


if __name__ == "__main__":
    sys.exit(main())
