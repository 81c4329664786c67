"""Cost of a bundle next to its parts one by one: processor time, medians of alternating rounds.

    python benchmarks/bundles.py --data ../shared/modalities [--takes 40] [--rounds 9] [--json]

"encode" is clips to vectors; "read" is files to clips. A bundle of joints and IMU is compared with
the two encoders on the same clips, a bundle of one part with that part. Bars: 1.05 and 1.02.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import vlar
from vlar.encoders.base import Encoder
from vlar.encoders.bundle import without
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.types import Clip

SENSORS = ("skeleton", "imu")
BARS = {"both sensors": 1.05, "one sensor": 1.02}


def main() -> int:
    """Print both ratios, and return 1 beyond a bar."""
    parser = argparse.ArgumentParser(description="Cost of a bundle next to its parts")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--takes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    both = vlar.load("bundle:skeleton+imu").encoder
    alone = {name: vlar.load(name).encoder for name in SENSORS}
    single = vlar.load("bundle:skeleton").encoder
    with tempfile.TemporaryDirectory() as folder:
        paths = bundles(given.data / "utd_mhad", Path(folder), given.takes)
        clips = [reader("bundle").read_clip(path, None, both.sampling) for path in paths]
        read = ratio(
            lambda: [reader("bundle").read_clip(path, None, both.sampling) for path in paths],
            lambda: [one for path in paths for one in read_parts(path, alone)],
            given.rounds,
        )
    parts = {name: [clip.parts[name] for clip in clips] for name in SENSORS}
    joints = [without(clip, ["imu"]) for clip in clips]
    same = all(
        np.array_equal(row.vector, own.vector)
        and np.array_equal(row.features[:, :-1], own.features)
        for row, own in zip(
            single.encode(joints), alone["skeleton"].encode(parts["skeleton"]), strict=True
        )
    )
    found = {
        "both sensors": ratio(
            lambda: both.encode(clips),
            lambda: [alone[name].encode(parts[name]) for name in SENSORS],
            given.rounds,
        ),
        "one sensor": ratio(
            lambda: single.encode(joints),
            lambda: alone["skeleton"].encode(parts["skeleton"]),
            given.rounds,
        ),
    }
    rows = {"takes": len(clips), "encode": found, "read": read, "one sensor is bit-equal": same}
    if given.json:
        print(json.dumps(rows))
    else:
        for name, value in found.items():
            print(f"encode, {name}: {value:.3f} of its parts alone (bar {BARS[name]})")
        print(f"read, both sensors: {read:.3f}; one sensor is bit-equal: {same}")
    return int(not same or any(value > BARS[name] for name, value in found.items()))


def bundles(data: Path, folder: Path, takes: int) -> list[Path]:
    """Bundle files of the first takes."""
    joints = sorted((data / "skeleton").glob("*.mat"))[:takes]
    return [
        write_bundle(
            folder / f"{path.stem}.bundle.json",
            {
                "skeleton": BundlePart(path),
                "imu": BundlePart(
                    data / "inertial" / path.name.replace("_skeleton", "_inertial"), by_share=True
                ),
            },
        )
        for path in joints
    ]


def read_parts(path: Path, encoders: dict[str, Encoder]) -> list[Clip]:
    """The parts of a bundle, each by its own reader."""
    listed = json.loads(path.read_text())
    places = {n: row["path"] if isinstance(row, dict) else row for n, row in listed.items()}
    return [
        reader(name).read_clip(path.parent / place, None, encoders[name].sampling)
        for name, place in places.items()
    ]


def ratio(one: Callable[[], object], other: Callable[[], object], rounds: int) -> float:
    """Median over rounds of the time of one over that of the other, each first in turn."""
    found: list[float] = []
    for number in range(rounds):
        times: dict[int, float] = {}
        for which in (0, 1) if number % 2 else (1, 0):
            start_s = time.process_time()
            (one, other)[which]()
            times[which] = time.process_time() - start_s
        found.append(times[0] / times[1])
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
