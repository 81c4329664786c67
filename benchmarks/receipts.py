"""Receipts of answers, repeated under other versions of ONNX Runtime and NumPy, and other threads.

    python benchmarks/receipts.py CLIPS --other other/bin/python --out RESULT.json

Receipts of ten recordings below CLIPS each (100 in all) are made by this Python with one thread and
repeated with one and with two threads, by this Python and by others: environments with other
versions, for example ``pip install onnxruntime==1.22.1 numpy==2.1.3``. A row has the versions, the
receipts that are equal, within the bound, or different, and the greatest difference of a number.
The control changes a digit of the answer, and each must be different.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LABELS = "shooting a bow, doing a cartwheel, climbing, golf, pouring, baseball, waving, boxing"
MANY = """
import contextlib, io, json, sys
from typer.main import get_command
from vlar.apps.cli.app import app
command = get_command(app)
for words in json.load(sys.stdin):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        code = command.main(words, standalone_mode=False)
    print(json.dumps([code, shown.getvalue()]))
"""
TOGETHER = 10  # recordings of a receipt
ROOT = Path(__file__).resolve().parents[1]


def run(python: str, threads: int, commands: list[list[str]]) -> list[tuple[int, str]]:
    """Exit code and output of commands of ``vlar``, one after the other in one process."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [python, "-c", MANY], input=json.dumps(commands), capture_output=True, text=True,
        env={**env, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if len(rows) < len(commands):
        sys.exit(done.stderr[-2000:])
    return rows


def versions(python: str) -> str:
    """Versions of ONNX Runtime, NumPy and PyAV."""
    code = (
        "from importlib.metadata import version\n"
        "print(*(f'{name} {version(name)}' for name in ('onnxruntime', 'numpy', 'av')))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def summary(rows: list[tuple[int, str]]) -> dict[str, object]:
    """Counts of verdicts, and the greatest difference."""
    facts = [json.loads(text.splitlines()[-1]) for _, text in rows if text.strip()]
    different = [row["part"] for row in facts if row["result"] == "different"]
    return {
        "receipts": len(rows),
        "equal": sum(row["result"] == "equal" for row in facts),
        "within": sum(row["result"].startswith("within") for row in facts),
        "different": {part: different.count(part) for part in sorted(set(different))},
        "greatest": max((row.get("apart", 0) for row in facts), default=0),
        "why": sorted({row["why"] for row in facts if row["result"] == "different"})[:5],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument(
        "--other", action="append", default=[], help="another Python with vlar's libraries"
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    clips = sorted(p for p in args.clips.rglob("*") if p.suffix in (".avi", ".mp4", ".webm"))
    step = max(len(clips) // args.count, 1)
    clips = clips[::step][: args.count]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        starts = range(0, len(clips), TOGETHER)
        files = [str(Path(folder, f"{start}.json")) for start in starts]
        rest = ["--labels", LABELS, "-q", "--receipt"]
        asked = [
            ["classify", *map(str, clips[start : start + TOGETHER]), *rest, file]
            for start, file in zip(starts, files, strict=True)
        ]
        run(sys.executable, 1, asked)
        files = [file for file in files if Path(file).exists()]
        checks = [["doctor", file, "--json"] for file in files]
        for python in (sys.executable, *args.other):
            for threads in (1, 2):
                facts = {"versions": versions(python), "threads": threads}
                rows.append(facts | summary(run(python, threads, checks)))
                print(json.dumps(rows[-1]), flush=True)
        for file in files[:10]:
            text = Path(file).read_text("utf-8")
            changed = text.replace('"probability": 0.0', '"probability": 0.1', 1)
            Path(file).write_text(changed, "utf-8")
        facts = {
            "versions": versions(sys.executable),
            "threads": 1,
            "control": "a digit of the answer",
        }
        rows.append(facts | summary(run(sys.executable, 1, checks[:10])))
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        git = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        facts = {
            "command": " ".join(["python", *sys.argv]),
            "commit": commit,
            "made_by": versions(sys.executable),
            "rows": rows,
        }
        args.out.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
