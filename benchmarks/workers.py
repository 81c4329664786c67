"""Cost of worker processes: CPU time of ``vlar index add`` with them and without.

Runs with one worker and with none alternate; each makes a new library of the same clips. The time
is that of the whole tree of processes, user and system. One small file is read without a worker:
it is measured to show that.

    python benchmarks/workers.py [--clips 40] [--rounds 3] [--shared ../shared/videos]
    python benchmarks/workers.py --sensor skeleton --clips 200

``--sensor`` makes small recordings of a sensor, and prints what a worker adds to reading one.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from vlar.types import Sampling

COMMAND = "import sys; from vlar.apps.cli import main; sys.argv[0] = 'vlar'; main()"


def cpu_s(clips: list[Path], workers: int, *more: str) -> float:
    """Seconds of user and system time of one run, children included."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "clips.vlar"
        added = ["index", "add", str(library), *map(str, clips), *more]
        command = [sys.executable, "-c", COMMAND, *added]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "VLAR_DECODE_WORKERS": str(workers)}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compare(title: str, clips: list[Path], rounds: int, *more: str) -> None:
    """Print the time of runs without workers and with one, in turn."""
    pairs = [(cpu_s(clips, 0, *more), cpu_s(clips, 1, *more)) for _ in range(rounds)]
    ratio = median(with_one / without for without, with_one in pairs)
    without, with_one = (median(times) for times in zip(*pairs, strict=True))
    print(f"{title:10s} none {without:7.2f} s   one worker {with_one:7.2f} s   {ratio:.3f}x")


def sensor(name: str, count: int, rounds: int) -> None:
    """Small recordings of a sensor: a batch of them, and one alone in a warm worker."""
    from vlar.media.lookup import isolated, reader

    plain = reader(name)
    with tempfile.TemporaryDirectory() as folder:
        made = plain.example(Path(folder))
        clips = [made.with_name(f"{number}{made.suffix}") for number in range(count)]
        for clip in clips:
            shutil.copy(made, clip)
        with isolated(plain, clips, Path) as (workers, _):
            took: dict[str, list[float]] = {"plain": [], "worker": []}
            for clip in clips:
                for title, source in (("plain", plain), ("worker", workers)):
                    begin = time.perf_counter()
                    source.read_clip(clip, None, Sampling(8))
                    took[title].append(1000 * (time.perf_counter() - begin))
        each, isolated_ms = median(took["plain"]), median(took["worker"])
        print(f"one {name} file: {each:.2f} ms, in a worker {isolated_ms:.2f} ms")
        compare(f"{count} {name}", clips, rounds, "--model", name)


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared/videos")
    parser.add_argument("--sensor", help="skeleton, imu, audio or depth, instead of videos")
    arguments = parser.parse_args()
    if arguments.sensor:
        sensor(arguments.sensor, arguments.clips, arguments.rounds)
        return
    found = sorted([*arguments.shared.rglob("*.mp4"), *arguments.shared.rglob("*.avi")])
    clips = found[:: max(len(found) // arguments.clips, 1)][: arguments.clips]
    for title, chosen in ((f"{len(clips)} clips", clips), ("1 clip", clips[:1])):
        compare(title, chosen, arguments.rounds)


if __name__ == "__main__":
    main()
