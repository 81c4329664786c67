"""Start time of vlar: import, help, and a cold classify of a 10 s clip.

Prints the median wall and CPU time of whole processes, and the ratio to a bare interpreter
measured in the same run, turn by turn. The clip is one of the demo's; without the extra ``demo`` it
is a made one of the same length, in which nobody moves, so that bodies cost less.

    python benchmarks/start.py [--runs 7]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlar.apps.cli.demo import demo_clips
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


def measure(command: list[str], **env: str) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s


def medians(which: dict[str, list[str]], runs: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of each command, turn by turn after one untimed turn."""
    for command in which.values():
        measure(command)  # caches of files and of the encoder
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in which}
    for _ in range(runs):
        for name, command in which.items():
            times[name].append(measure(command))
    return {
        name: (statistics.median(w for w, _ in pairs), statistics.median(c for _, c in pairs))
        for name, pairs in times.items()
    }


def first(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds where the cache holds nothing but the networks of ``lite-motion``."""
    fetched = networks.lite_motion().folder
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
    print(f"{'':32} wall s   CPU s   CPU / bare interpreter")
    for name, (wall_s, cpu_s) in times.items():
        print(f"{name:32} {wall_s:6.2f}  {cpu_s:6.2f}   {cpu_s / times[BASE][1]:6.1f}")


if __name__ == "__main__":
    main()
