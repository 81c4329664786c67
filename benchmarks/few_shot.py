"""Cost of comparing sequences, and of training with many unlabelled clips.

    python benchmarks/few_shot.py

OTAM: 100 queries against 5 labels with 5 clips each, 8 frames of 2,560 features. Unlabelled: the
features and the training inputs of 2,000 clips of the encoder ``lite`` (32 frames of 3,994
numbers), which stay on disk; the features alone would fill a gigabyte. The clips are random
numbers: decoding and encoding are not part of it.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import vlar
from vlar.methods.matchers.heads import distances
from vlar.training.hyperparameters import load_recipe
from vlar.training.sources import FeatureSource, on_disk
from vlar.training.task import attach

CLIPS = 2_000


def main() -> int:
    random = np.random.default_rng(0)
    queries, supports = (random.normal(size=(n, 8, 2560)).astype(np.float32) for n in (100, 25))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("mean", "diag", "bi-mhm", "tuple", "hybrid", "otam"):
        begin, cpu = time.perf_counter(), time.process_time()
        distances(name, queries, supports)
        took, used = time.perf_counter() - begin, time.process_time() - cpu
        print(f"{name:8s}{took:6.2f} s, {used:.2f} s CPU")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"most memory above the start: {(peak - before) / 1024:.0f} MB")

    encoder = vlar.load("lite").encoder
    shape = (encoder.feature_rows, encoder.frame_dim)
    start = anonymous()
    most = [start]

    def rows() -> Iterator[np.ndarray]:
        for number in range(CLIPS):
            if number % 100 == 0:
                most.append(anonymous())
            yield random.random(shape, np.float32)

    free = on_disk(rows())
    adapter = attach("temporal", encoder)
    adapter.fit_inputs(random.random((8, *shape), np.float32))
    found = FeatureSource(np.zeros((1, *shape), np.float32), free).unlabelled(adapter)
    numbers = load_recipe("temporal/adapt")
    for step in range(20):
        found.loader.load(range(step * 64, step * 64 + 64), numbers, 0, step)
        most.append(anonymous())
    gigabytes = CLIPS * shape[0] * shape[1] * 4 / 1e9
    print(f"{CLIPS:,} unlabelled clips, {gigabytes:.2f} GB of features: "
          f"{max(most) - start:.0f} MB of memory above the start")  # fmt: skip
    return 0


def anonymous() -> float:
    """Megabytes of memory that are not the pages of a file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
