"""What do worker processes cost? CPU time of ``vlar index add`` with them and without.

Runs with one worker and with none alternate; each makes a new library of the same clips. The time
is that of the whole tree of processes, user and system. One small file is read without a worker:
it is measured to show that.

    python benchmarks/workers.py [--clips 40] [--rounds 3] [--shared ../shared/videos]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

COMMAND = "import sys; from vlar.cli import main; sys.argv[0] = 'vlar'; main()"


def cpu_s(clips: list[Path], workers: int) -> float:
    """Seconds of user and system time of one run, children included."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "clips.vlar"
        command = [sys.executable, "-c", COMMAND, "index", "add", str(library), *map(str, clips)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "VLAR_DECODE_WORKERS": str(workers)}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared/videos")
    arguments = parser.parse_args()
    found = sorted([*arguments.shared.rglob("*.mp4"), *arguments.shared.rglob("*.avi")])
    clips = found[:: max(len(found) // arguments.clips, 1)][: arguments.clips]
    for title, chosen in ((f"{len(clips)} clips", clips), ("1 clip", clips[:1])):
        pairs = [(cpu_s(chosen, 0), cpu_s(chosen, 1)) for _ in range(arguments.rounds)]
        ratio = median(with_one / without for without, with_one in pairs)
        without, with_one = (median(times) for times in zip(*pairs, strict=True))
        print(f"{title:10s} none {without:7.2f} s   one worker {with_one:7.2f} s   {ratio:.3f}x")


if __name__ == "__main__":
    main()
