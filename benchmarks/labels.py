"""A list of 10,000 labels: what the first start costs, and what a second one adds to a short list.

Whole processes in an empty cache folder, each loading ``lite`` and making the labels ready: one
label, then 10,000 for the first time, then turn by turn one label and 10,000 again. The folder is
empty, so ``lite`` goes without ``lite-motion``; with it the first start takes longer.

    python benchmarks/labels.py [--labels 10000] [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vlar.language.bank import load_bank

START = """
import sys, vlar
vlar.load().classifier(open(sys.argv[1], encoding="utf-8").read().splitlines())
"""


def start(labels: Path, cache: str) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    command = [sys.executable, "-c", START, str(labels)]
    subprocess.run(command, check=True, env={**os.environ, "VLAR_CACHE": cache})
    wall_s = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    names = [text for bank in ("kinetics600", "ucf101", "ssv2") for text in load_bank(bank).texts]
    places = ("", *(f" in place {number}" for number in range(1 + options.labels // len(names))))
    with tempfile.TemporaryDirectory() as folder:
        many, one = Path(folder) / "many.txt", Path(folder) / "one.txt"
        texts = dict.fromkeys(f"{name}{place}" for place in places for name in names)
        many.write_text("\n".join(list(texts)[: options.labels]), encoding="utf-8")
        one.write_text("riding a bike", encoding="utf-8")
        cache = Path(folder) / "cache"
        cache.mkdir()
        start(one, str(cache))
        first = start(many, str(cache))
        turns = [(start(one, str(cache)), start(many, str(cache))) for _ in range(options.runs)]
        size = sum(f.stat().st_size for f in cache.glob("made/vectors-*/*"))
    short, long = ([turn[i] for turn in turns] for i in (0, 1))
    print(f"{options.labels} labels, {options.runs} turns, load {os.getloadavg()[0]:.1f}")
    print(f"{'':34} wall s   CPU s")
    rows = {"one label": short, f"{options.labels} labels, first start": [first]}
    for name, pairs in {**rows, f"{options.labels} labels, again": long}.items():
        wall_s, cpu_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:34} {wall_s:6.2f}  {cpu_s:6.2f}")
    extra = [statistics.median(b[i] - a[i] for a, b in turns) for i in (0, 1)]
    print(f"{'extra of the second start':34} {extra[0]:6.2f}  {extra[1]:6.2f}")
    print(f"kept on disk: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
