"""CPU time of ``vlar index add``, next to the time of its networks alone, and to another checkout.

    vlar models get lite-motion
    python benchmarks/index_add.py --videos DIR [--long DIR] [--other CHECKOUT] [--rounds 3]

short  40 clips: every tenth of the manifest of ``--videos``, each a recording of its own
long   one recording of ``--minutes``: the videos below ``--long``, one after the other, scaled to
       one size and repeated; or the recording itself

Every arm runs in its own process on one thread, in turn. ``networks`` is the CPU time inside the
runtime's calls, measured in the same run: no encoder can take less for the frames it encodes.
``ratio`` is the CPU time of a run over that. With ``--other`` (a checkout of another version) the
script also prints how many times less this one takes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

SIZE, FPS, BASE_S = (400, 300), 25, 120
HERE = Path(__file__).resolve().parent.parent


def child(library: str, files: list[str]) -> None:
    """Index files and print what it took."""
    import onnxruntime

    inside = 0.0
    plain = onnxruntime.InferenceSession.run

    def timed(*args: Any, **more: Any) -> Any:
        nonlocal inside
        begin = time.thread_time()
        try:
            return plain(*args, **more)
        finally:
            inside += time.thread_time() - begin

    onnxruntime.InferenceSession.run = timed
    from vlar.library.library import Library

    with Library(library, "lite") as opened:
        report = opened.add(files)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    total = time.process_time()
    row = {"rows": report.rows, "total": total, "networks": inside, "peak_mb": peak}
    print(json.dumps(row | {"failed": len(report.failed)}))


def short_clips(videos: Path) -> list[Path]:
    """Every tenth clip of the manifest."""
    with (videos / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return [videos / row["path"] for row in list(csv.DictReader(stream))[::10]]


def long_video(folder: Path, path: Path, minutes: float) -> None:
    """Two minutes of the videos of a folder, and repeats of them, in one stream."""
    import av

    sources = sorted(folder.rglob("*.mp4"))
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "base.mp4"
        share, coded = int(BASE_S * FPS / len(sources)), 0
        with av.open(str(base), "w") as out:
            stream = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
            (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
            for source in sources:
                with av.open(str(source)) as opened:
                    for number, frame in enumerate(opened.decode(video=0)):
                        if number == share:
                            break
                        scaled = frame.reformat(*SIZE, format="yuv420p")
                        scaled.pts, scaled.time_base = coded, Fraction(1, FPS)
                        coded += 1
                        out.mux(stream.encode(scaled))
            out.mux(stream.encode())
        repeat(base, path, minutes * 60)


def repeat(base: Path, path: Path, seconds: float) -> None:
    """Packets of a video over and over, without coding them again."""
    import av

    with av.open(str(path), "w") as out:
        target, shift_s = None, 0.0
        while shift_s < seconds:
            with av.open(str(base)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                unit = float(stream.time_base)
                length_s = float(stream.duration * unit)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts * unit + shift_s >= seconds:
                        continue
                    packet.pts += round(shift_s / unit)
                    packet.dts += round(shift_s / unit)
                    packet.stream = target
                    out.mux(packet)
            shift_s += length_s


def run(checkout: Path, files: list[Path]) -> dict[str, float]:
    """One arm: the files indexed by the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, __file__, "--child", f"{place}/l.vlar", *map(str, files)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, files: list[Path], arms: dict[str, Path], rounds: int) -> None:
    """Print one line an arm: medians over the rounds."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, checkout in arms.items():
            found[arm].append(run(checkout, files))
    middle = {
        arm: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for arm, rows in found.items()
    }
    for arm, row in middle.items():
        gain = middle["other"]["total"] / row["total"] if "other" in middle else 1.0
        print(
            f"{name:6} {arm:6} rows {row['rows']:5.0f}  cpu s {row['total']:7.1f}  networks "
            f"{row['networks']:7.1f}  ratio {row['total'] / row['networks']:5.2f}  less than other "
            f"{gain:5.2f}x  peak MB {row['peak_mb']:6.1f}  unreadable {row['failed']:.0f}",
            flush=True,
        )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=Path, help="folder with manifest.csv")
    parser.add_argument("--long", type=Path, help="folder of longer videos, or one recording")
    parser.add_argument("--write", type=Path, help="only write the recording of --long here")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--other", type=Path, help="a checkout of another version")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1:])
        return 0
    if options.write:
        long_video(options.long, options.write, options.minutes)
        return 0
    arms = {"other": options.other} if options.other else {}
    arms["this"] = HERE
    if options.videos:
        compare("short", short_clips(options.videos), arms, options.rounds)
    if options.long and options.long.is_file():
        compare("long", [options.long], arms, options.rounds)
    elif options.long:
        with tempfile.TemporaryDirectory() as place:
            video = Path(place) / "long.mp4"
            long_video(options.long, video, options.minutes)
            compare("long", [video], arms, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
