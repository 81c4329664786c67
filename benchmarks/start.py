"""How long until vlar answers: import, help, and a cold classify of the demo's 10 s clip.

Prints the median wall and CPU time of whole processes, and the ratio to a bare interpreter
measured in the same run, turn by turn.

    python benchmarks/start.py [--runs 7]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from vlar.cli.demo import demo_clips

VLAR = str(Path(sys.executable).with_name("vlar"))


def measure(command: list[str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    labels = "riding a bike, cooking, playing the piano"
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import vlar": [sys.executable, "-c", "import vlar"],
        "vlar --help": [VLAR, "--help"],
        "vlar classify (10 s clip)": [VLAR, "classify", str(demo_clips()[0]), "-l", labels],
    }
    for command in commands.values():
        measure(command)  # caches of files and of the encoder
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(measure(command))
    bare_s = statistics.median(cpu for _, cpu in times["python -c pass"])
    print(f"{runs} turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':28} wall s   CPU s   CPU / bare interpreter")
    for name, pairs in times.items():
        wall_s, cpu_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:28} {wall_s:6.2f}  {cpu_s:6.2f}   {cpu_s / bare_s:6.1f}")


if __name__ == "__main__":
    main()
