"""Two writers, two readers and faults on one library, call by call, from many seeds.

    python benchmarks/simulation.py [--first 0] [--seeds 300] [--json FILE]

``tests/kills/simulation.py`` states what must hold; a seed takes a second and a half. A seed that
fails is printed, and runs again with ``--first SEED --seeds 1``. The controls, each with a part
of the library taken out, say in how many of ten seeds that is found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.kills.simulation import CONTROLS, World

_CONTROLLED = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["VLAR_DECODE_WORKERS"] = "0"
    sums: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for seed in range(options.first, options.first + options.seeds):
            run = world.simulate(seed)
            sums += Counter(
                steps=run.steps, states=run.states, answers=run.answers, wrong=len(run.wrong)
            )
            faults += Counter(run.faults)
            for line in run.wrong:
                print(line, flush=True)
        for name, control in CONTROLS.items():
            with control():
                seeds = range(options.first, options.first + _CONTROLLED)
                found[name] = sum(bool(world.simulate(seed).wrong) for seed in seeds)
    content = {
        "question": "Does a library with two writers, two readers and faults ever answer of no "
        "state that it had, or keep a part of a change.",
        "command": "python benchmarks/simulation.py --json benchmarks/results/simulation.json",
        "commit": _commit(),
        "figures": "docs/security.md",
        "seeds": options.seeds,
        **{name: sums[name] for name in ("steps", "states", "answers", "wrong")},
        "faults": faults.total(),
        "kinds": dict(sorted(faults.items())),
        "controls": found,
    }
    print(json.dumps(content, indent=1))
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _commit() -> str:
    git = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
