"""Time of reading and encoding events next to NumPy's own, and memory of a long recording.

python benchmarks/events.py            2 million events, as N-MNIST files and as a NumPy array
python benchmarks/events.py --long     100 million events, window by window
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from vlar.encoders.base import load_encoder
from vlar.media.events import EVENT, recording
from vlar.media.readers.events import EventReader
from vlar.types import Sampling, Window

SIZE = (240, 250)
REPEATS = 7


def rows(count: int, start_us: int, length_us: int) -> np.ndarray:
    """(count, 5) bytes as in N-MNIST, their clock wrapping at 23 bits."""
    random = np.random.default_rng(start_us)
    t = np.sort(random.integers(start_us, start_us + length_us, count)) & 0x7FFFFF
    found = np.empty((count, 5), np.uint8)
    found[:, 0], found[:, 1] = (
        random.integers(0, SIZE[1], count),
        random.integers(0, SIZE[0], count),
    )
    found[:, 2] = random.integers(0, 2, count) << 7 | t >> 16
    found[:, 3], found[:, 4] = t >> 8 & 255, t & 255
    return found


def plain(path: Path) -> None:
    """Read the bytes, and count the events of each pixel."""
    read = np.fromfile(path, np.uint8).reshape(-1, 5)
    np.add.at(np.zeros((2, *SIZE)), (read[:, 2] >> 7, read[:, 1], read[:, 0]), 1)


def plain_array(path: Path) -> None:
    """The same of a structured array."""
    read = np.load(path)
    np.add.at(np.zeros((2, *SIZE)), (read["p"].astype(np.uint8), read["y"], read["x"]), 1)


def best_s(call) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def short(folder: Path) -> None:
    encoder, reader = load_encoder("events"), EventReader(SIZE)
    whole = rows(2_000_000, 0, 4_000_000)
    whole.tofile(folder / "a.bin")
    events = reader.read_clip(folder / "a.bin", None, Sampling(1, all_samples=True)).data
    np.save(folder / "a.npy", events)
    for name, own in (("a.bin", plain), ("a.npy", plain_array)):

        def ours(path: Path = folder / name) -> None:
            recording.cached.cache_clear()
            encoder.encode([reader.read_clip(path, None, Sampling(1, all_samples=True))])

        ours_s, own_s = best_s(ours), best_s(lambda own=own, name=name: own(folder / name))
        print(f"{name}: {1e3 * ours_s:.0f} ms, NumPy {1e3 * own_s:.0f} ms, {ours_s / own_s:.2f}x")


def long(folder: Path) -> None:
    path = folder / "long.bin"
    with path.open("wb") as file:
        for part in range(100):
            rows(1_000_000, 1_000_000 * part, 1_000_000).tofile(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader, start, count = EventReader(SIZE), time.process_time(), 0
    info = reader.probe(path)
    print(f"index of {info.n_samples:,} events: {time.process_time() - start:.1f} s of CPU")
    windows = [Window(2.0 * n, 2.0 * n + 2) for n in range(round(info.duration_s / 2))]
    for clip in reader.read_windows(path, windows, Sampling(1, all_samples=True)):
        assert clip.data.dtype == EVENT
        count += len(clip.data)
    assert count == info.n_samples
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(windows)} windows: {time.process_time() - start:.1f} s of CPU in all; "
          f"peak {peak / 1024:.0f} MB, {(peak - before) / 1024:.0f} MB over the start")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true")
    with tempfile.TemporaryDirectory() as place:
        (long if parser.parse_args().long else short)(Path(place))
