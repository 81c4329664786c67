"""Start of vlar: import, help, and a cold classify of a 10 s clip.

Prints the median wall and CPU time of whole processes and the most memory that a turn took, and
the ratio of CPU time to a bare interpreter measured in the same run, turn by turn. The clip is one
of the demo's; where it was not fetched it is a made one of the same length, in which nobody moves,
so that bodies cost less.

    python benchmarks/start.py [--runs 7]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlar.apps.cli.demo import demo_clips
from vlar.encoders.lite.towers import LITE
from vlar.errors import UsageError
from vlar.pose import networks

VLAR = [sys.executable, "-c", "from vlar.apps.cli import main; main()"]
BASE = "python -c pass"


def clip(folder: Path) -> tuple[Path, str]:
    """A clip of 10 s, and which one it is."""
    try:
        return demo_clips()[0], "the demo's clip"
    except UsageError as error:
        print(f"{error}; a made clip takes its place", file=sys.stderr)
    from decode import scene

    from tests.videos import make_video

    size = (320, 240)
    return make_video(folder / "made.mp4", 250, size=size, picture=scene(size)), "a made clip"


def commands(path: Path) -> dict[str, list[str]]:
    labels = "riding a bike, cooking, playing the piano"
    return {
        BASE: [sys.executable, "-c", "pass"],
        "import vlar": [sys.executable, "-c", "import vlar"],
        "vlar --help": [*VLAR, "--help"],
        "vlar classify, 10 s clip, cold": [*VLAR, "classify", str(path), "-l", labels],
    }


# A small process starts the command, since memory of before its start counts as its own.
_RUN = """
import json, os, sys, time
start = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, used = os.wait4(process, 0)
if status:
    sys.exit(f"{sys.argv[1:]} ended with {os.waitstatus_to_exitcode(status)}")
cpu_s = used.ru_utime + used.ru_stime
print(json.dumps([time.perf_counter() - start, cpu_s, used.ru_maxrss / 1024]))
"""


class Cost(NamedTuple):
    """Seconds of a process, and the most memory it took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: list[str], **env: str) -> Cost:
    done = subprocess.run(
        [sys.executable, "-S", "-c", _RUN, *command],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
    )
    return Cost(*json.loads(done.stdout))


def medians(which: dict[str, list[str]], runs: int) -> dict[str, Cost]:
    """Median seconds and most memory of each command, turn by turn after one untimed turn."""
    for command in which.values():
        measure(command)  # caches of files and of the encoder
    times: dict[str, list[Cost]] = {name: [] for name in which}
    for _ in range(runs):
        for name, command in which.items():
            times[name].append(measure(command))
    return {
        name: Cost(statistics.median(wall), statistics.median(cpu), max(peak))
        for name, costs in times.items()
        for wall, cpu, peak in [zip(*costs, strict=True)]
    }


def first(command: list[str], folder: Path) -> Cost:
    """The cost where the cache holds nothing but what was fetched."""
    for fetched in (LITE.folder, networks.lite_motion().folder):
        if fetched.is_dir():
            shutil.copytree(fetched, folder / fetched.name)
    return measure(command, VLAR_CACHE=str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        path, kind = clip(Path(folder))
        times = medians(commands(path), runs)
        name = "vlar classify, 10 s clip, cold"
        times["the same, first start"] = first(commands(path)[name], Path(folder) / "cache")
    print(f"{kind}, {runs} turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':32} wall s   CPU s   peak MB   CPU / bare interpreter")
    for name, (wall_s, cpu_s, peak_mb) in times.items():
        ratio = cpu_s / times[BASE].cpu_s
        print(f"{name:32} {wall_s:6.2f}  {cpu_s:6.2f}   {peak_mb:7.0f}   {ratio:6.1f}")


if __name__ == "__main__":
    main()
