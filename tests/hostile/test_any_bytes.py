"""Any bytes are a clip or one sentence: damaged recordings, random JSON and noise, for each reader.

Some 50 cases a reader run by default; ``-m slow`` runs 10,000 for each reader, or as many as
``VLAR_HOSTILE_CASES`` states. Another ``VLAR_HOSTILE_SEED`` draws others. ``-s`` shows the peak and
the slowest.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import event_files
from tests.hostile.sensor_cases import SENSOR_CASES
from tests.unit.library.fakes import tiny_video
from vlar.errors import VlarError
from vlar.library.ingest.sources import recordings
from vlar.media.base import Reader
from vlar.media.lookup import reader
from vlar.media.readers import audio
from vlar.media.skeleton import export
from vlar.media.skeleton.formats.base import Bodies

SENSORS = ("skeleton", "imu", "audio", "depth", "events", "video", "bundle")
CASES, SLOW_CASES = 50, int(os.environ.get("VLAR_HOSTILE_CASES", "10000"))
SEED = os.environ.get("VLAR_HOSTILE_SEED", "")
LONGEST_S = 10.0
MOST_BYTES = 1_500_000_000
UNEXPECTED = ("reading it failed", "not enough memory")
# What damage makes FFmpeg raise has no common type: the video reader names it in these words.
KNOWN = {"video": UNEXPECTED[1:]}
SMALL = 100_000
LONGEST_TEXT = 100_000_000  # letters; lists in lists of a rare draw would have billions
WORDS = ("skeletons", "keypoints", "image_id", "people", "pose_keypoints_2d", "annotations", "x",
         "y", "visibility", "frames", "landmarks", "rate_hz", "width", "unit",
         "unit_m")  # fmt: skip


def seeds(sensor: str, place: Path) -> list[tuple[str, bytes]]:
    """Small files of a sensor to damage, by their ending."""
    folder = place / sensor
    folder.mkdir()
    files = [reader(sensor).example(folder)]
    if sensor == "skeleton":
        import numpy as np

        points = np.ones((4, 1, 25, 3), np.float32)
        export.write(folder / "own.npz", Bodies(points, "ntu25", "m", 30.0))
        files.append(folder / "own.npz")
    if sensor == "events":
        made = event_files.made(200)
        for name in ("nmnist", "aedat2", "aedat3", "aedat4", "dat", "evt2", "evt3", "table"):
            files.append(folder / f"{name}.{'csv' if name == 'table' else 'raw'}")
            files[-1].write_bytes(getattr(event_files, name)(made))
    for case in SENSOR_CASES:
        is_small = not re.search("GB|MB", case.says)  # a bomb takes seconds to make, and is dropped
        if case.sensor == sensor and "." in case.name and is_small:
            case.make(folder / case.name)
            files.append(folder / case.name)
    if sensor == "bundle":  # damaged copies lie a folder higher than their parts
        text = files[0].read_text().replace(".parts/", f"{sensor}/.parts/")
        return [(".bundle.json", text.encode())]
    small = [file for file in files if file.is_file() and file.stat().st_size < SMALL]
    return [(file.suffix, file.read_bytes()) for file in small]


def any_json(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(9 if depth < 5 else 6)
    if kind < 6:
        return (None, True, chance.choice(WORDS), 10 ** chance.randrange(400), chance.random(),
                chance.choice((1e308, -5e-324, 0, -1)))[kind]  # fmt: skip
    if kind == 6:
        return {chance.choice(WORDS): any_json(chance, depth + 1) for _ in range(3)}
    count = chance.choice((0, 1, 2, 17, 20, 33, 51, 75))
    return [any_json(chance, depth + 1)] * count


def letters(value: Any) -> int:
    """Length of a value of ``any_json`` as text, nearly; its lists repeat one value."""
    if isinstance(value, dict):
        return sum(letters(each) for each in value.values())
    return len(value) * letters(value[0]) if isinstance(value, list) and value else len(str(value))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Some bytes are changed, cut out, said twice, or numbers in it are others."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        if not found:
            break
        at, length = chance.randrange(len(found)), chance.choice((1, 1, 4, 8, 200))
        match chance.randrange(5):
            case 0:
                found[at] = chance.randrange(256)
            case 1:
                del found[at : at + length]
            case 2:
                found[at:at] = found[at : at + length]
            case 3:
                found[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\0\0\0\x7f", b"1e99"))
            case _:
                found[at : at + length] = chance.randbytes(length)
    return bytes(found)


def cases(sensor: str, place: Path, count: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(f"{sensor} {count}{SEED}")
    known = seeds(sensor, place)
    endings = sorted({ending for ending, _ in known})
    for number in range(count):
        if number % 10 == 0:
            yield chance.choice(endings), chance.randbytes(chance.choice((0, 1, 64, 4096)))
        elif number % 10 == 1:
            value = any_json(chance)
            text = json.dumps(value) if letters(value) < LONGEST_TEXT else "[]"
            yield ".json" if ".json" in endings else chance.choice(endings), text.encode()
        else:
            ending, data = chance.choice(known)
            yield ending, damaged(chance, data)


def outcome(source: Reader, path: Path) -> str:
    """The message of what a reader makes of a file; empty where it reads it."""
    source.claims(path)
    try:
        wanted = source.every_sample(path, None)
        source.read_clip(path, None, wanted)
        source.probe(path)
    except VlarError as error:
        return error.message
    return ""


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def run(sensor: str, place: Path, count: int) -> None:
    source = reader(sensor)
    before, slowest_s = peak_bytes(), 0.0
    for number, (ending, data) in enumerate(cases(sensor, place, count)):
        path = place / f"{number}{ending}"
        path.write_bytes(data)
        begin = time.process_time()
        message = outcome(source, path)
        took_s = time.process_time() - begin
        slowest_s = max(slowest_s, took_s)
        kept = place / f"kept{ending}"
        path.rename(kept)
        assert took_s < LONGEST_S, f"{kept}: {took_s:.1f} s"
        unexpected = KNOWN.get(sensor, UNEXPECTED)
        assert not any(words in message for words in unexpected), f"{kept}: {message}"
        assert peak_bytes() - before < MOST_BYTES, kept
    _show(sensor, count, slowest_s, peak_bytes() - before)


def _show(what: str, count: int, slowest_s: float, peak: int) -> None:
    print(f"\n{what}: {count} cases{SEED}, slowest {slowest_s:.2f} s, {peak / 1e6:.0f} MB")


def list_seeds(place: Path) -> list[tuple[str, bytes]]:
    """A CSV list, a Parquet list and an archive of two videos."""
    import tarfile

    videos = [tiny_video(place / f"{number}.mp4", number, 1) for number in range(2)]
    table = "path,actor\n" + "".join(f"{video.name},ann\n" for video in videos)
    seeds = [(".csv", table.encode())]
    with tarfile.open(place / "a.tar", "w") as tar:
        for video in videos:
            tar.add(video, f"{'long/' * 30}{video.name}")
    seeds.append((".tar", (place / "a.tar").read_bytes()))
    with suppress(ImportError):
        import pyarrow
        from pyarrow import parquet

        columns = {"path": [video.name for video in videos], "take": [1, 2]}
        parquet.write_table(pyarrow.table(columns), place / "a.parquet")
        seeds.append((".parquet", (place / "a.parquet").read_bytes()))
    return seeds


def run_lists(place: Path, count: int) -> None:
    """Damaged lists and archives name recordings or say one sentence; nothing else is raised."""
    chance, source = random.Random(f"lists {count}{SEED}"), reader("video")
    seeds, before, slowest_s = list_seeds(place), peak_bytes(), 0.0
    for number in range(count):
        ending, data = chance.choice(seeds)
        if number % 10 == 0:
            data = chance.randbytes(chance.choice((0, 1, 512, 4096)))
        path = place / f"list{ending}"
        path.write_bytes(damaged(chance, data))
        begin = time.process_time()
        for recording in recordings([path], source):
            assert recording.failure is None or "\n" not in recording.failure.message
        took_s = time.process_time() - begin
        slowest_s = max(slowest_s, took_s)
        assert took_s < LONGEST_S, path
        assert peak_bytes() - before < MOST_BYTES, path
    _show("lists", count, slowest_s, peak_bytes() - before)


def test_a_few_lists(tmp_path: Path) -> None:
    run_lists(tmp_path, 3 * CASES)


@pytest.mark.slow
def test_ten_thousand_lists(tmp_path: Path) -> None:
    run_lists(tmp_path, SLOW_CASES)


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_few(sensor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")  # the memory is that of this process
    monkeypatch.setattr(audio, "_MOST_S", 600)  # a rate of 1 Hz: not two hours before it is refused
    run(sensor, tmp_path, CASES)


@pytest.mark.slow
@pytest.mark.parametrize("sensor", SENSORS)
def test_ten_thousand(sensor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")
    # Sound takes a fifth of a second a case.
    run(sensor, tmp_path, SLOW_CASES // 10 if sensor == "audio" else SLOW_CASES)
