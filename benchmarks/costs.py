"""Cost of a file of some bytes: time and memory of each reader on the hostile inputs.

    python benchmarks/costs.py [--sensor events] [--all]

Each file is read by itself in a process of its own: facts, then the whole recording. The table of
``docs/security.md`` has the worst of each reader.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.hostile.sensor_cases import SENSOR_CASES
from tests.hostile.test_costs import EVENT_CASES, SIGNAL_CASES
from vlar.errors import VlarError
from vlar.media.lookup import reader

MOST_ADDRESSES = 6_000_000_000


class Cost(NamedTuple):
    """Figures of reading one file.

    Attributes:
        name: Of the file.
        n_bytes: Its size.
        cpu_s: Processor time.
        peak_mb: Memory beyond that of the process before.
    """

    name: str
    n_bytes: int
    cpu_s: float
    peak_mb: float


def cases(every: bool) -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    """Sensor, name and maker of the hostile recordings that cost most, or of all."""
    for case in SENSOR_CASES if every else ():
        yield case.sensor, case.name, case.make
    for name, (make, _) in EVENT_CASES.items():
        yield "events", name, make
    for name, (sensor, make, _) in SIGNAL_CASES.items():
        yield sensor, name, make


def cost_of(sensor: str, path: Path) -> Cost:
    """Time and memory of a file, in a process that ends with it."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measured, (sensor, path))


def _measured(sensor: str, path: Path) -> Cost:
    os.environ["VLAR_DECODE_WORKERS"] = "0"
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    source = reader(sensor)
    before, begin_s = _peak_mb(), time.process_time()
    source.claims(path)
    try:
        source.probe(path)
        source.read_clip(path, None, source.every_sample(path, None))
    except VlarError:
        pass
    size = path.lstat().st_size if path.exists() and not path.is_dir() else 0
    return Cost(path.name, size, time.process_time() - begin_s, _peak_mb() - before)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the worst of each reader as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sensor")
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args()
    wanted = given.sensor
    costs: dict[str, list[Cost]] = {}
    for sensor, name, make in cases(given.all):
        if wanted not in (None, sensor):
            continue
        with tempfile.TemporaryDirectory(prefix="vlar-costs-") as folder:
            path = Path(folder) / name
            make(path)
            cost = cost_of(sensor, path)
        costs.setdefault(sensor, []).append(cost)
        print(
            f"{sensor} {cost.name} {cost.n_bytes:,} {cost.cpu_s:.1f} s {cost.peak_mb:.0f} MB",
            flush=True,
        )
    print("| reader | files | slowest: bytes, s | largest: bytes, MB |\n|---|---|---|---|")
    for sensor, rows in sorted(costs.items()):
        slow, large = max(rows, key=lambda c: c.cpu_s), max(rows, key=lambda c: c.peak_mb)
        print(
            f"| {sensor} | {len(rows)} | {slow.name}: {slow.n_bytes:,}, {slow.cpu_s:.1f} | "
            f"{large.name}: {large.n_bytes:,}, {large.peak_mb:.0f} |"
        )


if __name__ == "__main__":
    main()
