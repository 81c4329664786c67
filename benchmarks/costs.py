"""Cost of a file of some bytes: time and memory of each reader on files made to be dear.

    python benchmarks/costs.py [--row lists] [--json OUT] [--page docs/security.md]

Each file is made here and read by itself in a process of its own: facts, then the whole recording;
of a list or an archive every recording that it names. ``--page`` writes the table of the page.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.hostile.sensor_cases import AUDIOS, png, sound
from tests.hostile.test_costs import EVENT_CASES, SIGNAL_CASES, wrapping_evt3
from tests.hostile.test_lists import (
    long_header,
    long_line,
    many_members,
    mutual,
    sparse_member,
)
from vlar.errors import VlarError
from vlar.library.ingest.sources import recordings
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash

MOST_ADDRESSES = 6_000_000_000
LISTS = "list"
Make = Callable[[Path], object]
ROOT = Path(__file__).resolve().parents[1]


class Cost(NamedTuple):
    """Figures of reading one file.

    Attributes:
        n_bytes: Its size.
        cpu_s: Processor time.
        peak_mb: Memory beyond that of the process before.
        answer: The sentence it ended with; empty where it was read.
    """

    n_bytes: int
    cpu_s: float
    peak_mb: float
    answer: str


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        title: The reader.
        largest: Size of the largest file that it opens.
        bound: Rule by which a file may take memory.
        sensor: Name of the reader; ``LISTS`` for what names recordings.
        files: Words and maker of each file, by its name.
    """

    title: str
    largest: str
    bound: str
    sensor: str
    files: Mapping[str, tuple[str, Make]]


def of_events(**words: str) -> dict[str, tuple[str, Make]]:
    return {name: (words[key], make) for name, (make, _) in EVENT_CASES.items()
            if (key := name.replace(".", "_")) in words}  # fmt: skip


def of_signals(**words: str) -> dict[str, tuple[str, Make]]:
    return {name: (words[key], make) for name, (_, make, _) in SIGNAL_CASES.items()
            if (key := name.replace(".", "_")) in words}  # fmt: skip


def honest_depth(path: Path) -> None:
    np.save(path, np.full((1_000, 240, 320), 900, np.uint16))
    path.with_name("depth.json").write_text(json.dumps({"rate_hz": 30}))


def stated_depth(path: Path) -> None:
    np.save(path, np.zeros((1, 240, 320), np.uint16))
    data = path.read_bytes().replace(b"(1, 240, 320), ", b"(9999999,9,9), ")
    path.write_bytes(data)


def large_picture(path: Path) -> None:
    path.mkdir()
    for number in range(2):
        (path / f"{number}.png").write_bytes(png(7_000, 7_000))
    (path / "depth.json").write_text(json.dumps({"rate_hz": 30}))


def one_frame(path: Path) -> None:
    next(case for case in AUDIOS if case.name == "1-Hz-one-frame.wav").make(path)


def wide_gif(path: Path, side: int = 7_000) -> None:
    """Eight large pictures in some kB."""
    from PIL import Image

    frames = [Image.new("P", (side, side), number) for number in range(8)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def full_gif(path: Path) -> None:
    wide_gif(path, 6_300)


def too_wide_gif(path: Path) -> None:
    from PIL import Image

    Image.new("P", (9_000, 9_000)).save(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def bundle_of(part: str) -> Make:
    def make(path: Path) -> None:
        if part == "empty.mp4":
            sparse(path.with_name(part))
        path.write_text(json.dumps({"video": part}))

    return make


def full_bundle(path: Path) -> None:
    path.write_text(json.dumps({f"imu{n}": f"{n}.csv" for n in range(40_000)}))


def many_rows(path: Path) -> None:
    path.write_text("path\n" + "\n".join(f"{n}.mp4" for n in range(300_000)))


ROWS = [
    Row("events, `.npz`", "750 MB, also unpacked",
        "64 bytes an event, counted from the headers; a list of entries of 4 MB", "events",
        of_events(thin_npz="columns of one byte", entries_npz="a million entries",
                  arrays_npz="9,900 arrays")),
    Row("events, other formats", "1 TB, in pieces of 256 kB",
        "40 bytes an event of a window, at most 20 million; packets of 64 MB", "events",
        {**of_events(far_npy="two events 116 days apart",
                     wraps_bin="a clock that wraps 10,000 times"),
         "wraps.raw": ("one that wraps 100,000 times", wrapping_evt3)}),
    Row("events, AEDAT 4", "1 TB",
        "packets of 64 MB, also unpacked; a description of 1 MB and 64 levels", "events",
        of_events(deep_aedat4="60,000 nested nodes", bomb_aedat4="a frame of 2 GB")),
    Row("IMU, CSV", "256 MB", "N + 60 bytes a cell + 180 a row; 256 devices", "imu",
        of_signals(column_csv="23 million rows", devices_csv="100,000 devices",
                   apart_csv="rows 9,999 s apart")),
    Row("IMU, skeleton, depth, `.mat`", "400 MB, also unpacked",
        "N + 16 bytes a number; 10,000 variables", "imu",
        of_signals(wide_mat="(60M, 6) bytes", variables_mat="100,000 variables")),
    Row("skeletons, pickles", "1 GB", "N, once, + 240 bytes an instruction", "skeleton",
        of_signals(long_pkl="15 million instructions", shared_pkl="900 references to 3 MB",
                   empty_pkl="1,000 MB that lie nowhere")),
    Row("skeletons, JSON", "256 MB",
        "2 N + 40 bytes a value, 200 a name, 64 a list, 250 an object", "skeleton",
        of_signals(names_json="3 million names")),
    Row("depth, `.npy`", "700 MB", "2 N", "depth",
        {"honest.npy": ("1,000 honest pictures", honest_depth),
         "stated.npy": ("a shape beyond the file", stated_depth)}),
    Row("depth, pictures", "64 MB each", "20 bytes a pixel", "depth",
        {**of_signals(pictures="a rate of 1e-6"),
         "large": ("two pictures of 49 million pixels", large_picture)}),
    Row("sound", "any", "4 bytes a sample at 16 kHz, at most two hours; 24 a sample of a frame",
        "audio",
        {"frame.wav": ("a frame of 6,000 s", one_frame),
         "hour.wav": ("an hour at 8 kHz", sound(8_000, 3_600 * 8_000))}),
    Row("videos", "any",
        "50 million pixels a picture, 3 bytes a pixel of each that is asked for and six frames of "
        "the decoder; 128 MB of attachments", "video",
        {"wide.gif": ("49 million pixels, 8 pictures asked", wide_gif),
         "full.gif": ("40 million pixels, 8 asked", full_gif),
         "wider.gif": ("one of 81 million", too_wide_gif), "empty.mp4": ("1 TB sparse", sparse)}),
    Row("bundles", "1 MB", "16 parts, each as its own reader", "bundle",
        {"sparse.bundle.json": ("a part of 1 TB, hashed too", bundle_of("empty.mp4")),
         "kmsg.bundle.json": ("a part of `/proc`, hashed too", bundle_of("/proc/kmsg")),
         "full.bundle.json": ("40,000 parts", full_bundle)}),
    Row("lists, CSV and Parquet", "any", "1 MB a line, 1,000 bytes a recording and its texts",
        LISTS,
        {"a.csv": ("two that name each other", mutual), "rows.csv": ("300,000 rows", many_rows),
         "line.csv": ("a line of 100 MB", long_line)}),
    Row("archives", "any", "64 kB a header, 1,000 bytes a member and its name", LISTS,
        {"sparse.tar": ("a sparse member of 6 GB", sparse_member),
         "header.tar": ("a header of 64 MB", long_header),
         "members.tar": ("50,000 members", many_members)}),
]  # fmt: skip


def cost_of(sensor: str, path: Path) -> Cost:
    """Time and memory of a file, in a process that ends with it."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measured, (sensor, path))


def _measured(sensor: str, path: Path) -> Cost:
    os.environ["VLAR_DECODE_WORKERS"] = "0"
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    source = reader("video" if sensor == LISTS else sensor)
    size = sum(each.lstat().st_size for each in _files(path))
    before, begin_s, answer = _peak_mb(), time.process_time(), ""
    try:
        if sensor == LISTS:
            for recording in recordings([path], source):
                answer = recording.failure.message if recording.failure else answer
        else:
            source.claims(path)
            if sensor == "bundle":
                content_hash(path)
            source.probe(path)
            source.read_clip(path, None, source.every_sample(path, None))
    except VlarError as error:
        answer = error.message
    return Cost(size, time.process_time() - begin_s, _peak_mb() - before, answer)


def _files(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else [path]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(row: Row) -> Iterator[tuple[str, str, Cost]]:
    """Words, name and cost of each file of a row."""
    for name, (words, make) in row.files.items():
        folder = Path(tempfile.mkdtemp(prefix="vlar-costs-"))
        try:
            make(folder / name)
            yield words, name, cost_of(row.sensor, folder / name)
        finally:
            shutil.rmtree(folder)


def line_of(row: Row, costs: list[tuple[str, str, Cost]]) -> str:
    """A row of the table of the page."""
    texts = [
        f"{words}{'' if cost.answer else ', read'}: {cost.n_bytes:,}, {cost.cpu_s:.1f}, "
        f"{max(cost.peak_mb, 0):,.0f}"
        for words, _, cost in costs
    ]
    return f"| {row.title} | {row.largest} | {row.bound} | {'; '.join(texts)} |"


def write(page: Path, lines: list[str]) -> None:
    """Put rows in the place of those of the same title."""
    text = page.read_text("utf-8")
    for line in lines:
        start = re.escape(" | ".join(line.split(" | ")[:2]))  # the reader, its largest file
        text, count = re.subn(rf"(?m)^{start} \|.*$", lambda _, new=line: new, text)
        if count != 1:
            raise SystemExit(f"{page} has {count} rows of {line[:40]!r}; write one")
    page.write_text(text, "utf-8")


def main() -> None:
    """Measure, print the rows, and write what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--row", default="", help="rows whose title holds this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    lines: list[str] = []
    facts: dict[str, object] = {}
    for row in ROWS:
        if options.row not in row.title:
            continue
        costs = list(measured(row))
        lines.append(line_of(row, costs))
        print(lines[-1], flush=True)
        for _, name, cost in costs:
            print(f"    {name}: {cost.answer[:150]}", file=sys.stderr, flush=True)
            facts[f"{row.title}: {name}"] = {
                "bytes": cost.n_bytes, "cpu_s": round(cost.cpu_s, 2),
                "peak_mb": round(cost.peak_mb), "answer": re.sub(r"\S*/", "", cost.answer)[:200],
            }  # fmt: skip
    if options.page:
        write(options.page, lines)
    if options.json:
        before: dict[str, object] = {}
        with suppress(FileNotFoundError):
            before = json.loads(options.json.read_text("utf-8"))["files"]
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            capture_output=True, text=True, cwd=ROOT, check=True,
        ).stdout.strip()  # fmt: skip
        result = {
            "question": "What a file of N bytes can cost: time and memory of each reader.",
            "command": "python benchmarks/costs.py --page docs/security.md", "commit": commit,
            "figures": "docs/security.md", "files": {**before, **facts},
        }  # fmt: skip
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
