"""Faults at every call of the system that a command makes to change files.

    python benchmarks/faults.py [COMMAND ...] [--fault kill] [--json benchmarks/results/faults.json]

The n-th call fails (EIO, ENOSPC from there on, EINTR), is cut, or the process is killed before it,
for n = 1, 2, ... until no fault fires. ``tests/kills/faults.py`` states what must hold then. A row
has the calls of a command, the faults of each kind, and what did not hold. It takes half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.kills import calls, faults
from tests.kills.commands import COMMANDS, make_files


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--fault", action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["VLAR_DECODE_WORKERS"] = "0"
    kinds = tuple(options.fault or calls.FAULTS)
    rows: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder).resolve() / "files"
        make_files(files)
        for number, name in enumerate(options.commands):
            met = faults.meet(COMMANDS[name], files, files.with_name(f"c{number}"), kinds)
            count = sum(met.faults.values())
            print(f"{name}: {met.calls} calls, {count} faults, {len(met.wrong)} wrong", flush=True)
            for line in met.wrong:
                print(f"  {line}", flush=True)
            rows[name] = {"calls": met.calls, **met.faults, "wrong": len(met.wrong)}
    sums = {name: sum(row.get(name, 0) for row in rows.values()) for name in ("calls", *kinds)}
    print(sums)
    if options.json:
        git = ["git", "rev-parse", "--short=12", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        content = {
            "question": "Does a fault at any call of the system lose or leave anything.",
            "command": "python benchmarks/faults.py --json benchmarks/results/faults.json",
            "commit": commit,
            "figures": "docs/security.md",
            "places": sums["calls"],
            "faults": sum(sums[name] for name in kinds),
            "wrong": sum(row["wrong"] for row in rows.values()),
            "commands": rows,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
