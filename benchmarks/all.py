"""Two tables of speed (docs/figures.md, docs/clip_adapters.md), printed by one command, with bases.

    python benchmarks/all.py [--part towers start decoding library] [--rounds 3]
    python benchmarks/all.py --small FILE

Process CPU time on one thread; medians of interleaved rounds, so that a busy machine slows both
sides of a ratio alike. The parts take about five minutes together on a quiet machine. What takes
longer is named at the end with its command. A ratio below 1 is cheaper than its base.

``--small`` measures small forms of the rows in about a minute. `evals/results/floors.toml` has
the bounds, twice what was measured first. Wall time plays no part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import decode
import start
import towers
from library_world import DIM, WINDOWS, World
from tc_clip import interleaved

SHARED = Path(os.environ.get("VLAR_SHARED", Path(__file__).parents[2] / "shared")) / "videos"
LONGER = (
    ("first answer to 10,000 new labels", "benchmarks/labels.py"),
    ("a library of 1,000,000 or 5,000,000 windows", "benchmarks/library_scale.py --rows 1000000"),
    ("the same rows in a folder and in Milvus Lite", "benchmarks/milvus.py --rows 100000"),
    ("memory of indexing 2 min and 2 h of video", "benchmarks/index_memory.py"),
    ("texts, training and memory of each method", "benchmarks/tc_clip.py, ez_clip.py, froster.py"),
)


class Row(NamedTuple):
    """A figure: what it costs, against what, and the command that prints it alone."""

    what: str
    cpu_ms: float
    base: str
    ratio: float
    command: str


def of_towers(rounds: int, arch: str = "ViT-B-16-quickgelu") -> list[Row]:
    with torch.inference_mode():
        arms, _ = towers.towers(arch, 8)
        found = interleaved(arms, rounds)
    return [
        Row(name, cpu, base, cpu / found[base][0], "benchmarks/towers.py")
        for base in (towers.BASE, towers.OWN)
        for name, (cpu, _) in found.items()
        if name not in (towers.BASE, base)
    ]


def of_start(rounds: int) -> list[Row]:
    """Whole processes, against a bare interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        clip, kind = start.clip(Path(folder))
        return _of_processes(start.commands(clip), f" ({kind})", rounds)


def of_light_starts(rounds: int) -> list[Row]:
    """Start without a clip, against a bare interpreter."""
    commands = start.commands(Path("no.mp4"))
    light = {name: each for name, each in commands.items() if "no.mp4" not in each}
    return _of_processes(light, "", rounds)


def _of_processes(commands: dict[str, list[str]], kind: str, rounds: int) -> list[Row]:
    times, base = start.medians(commands, rounds), start.BASE
    return [
        Row(
            f"{name}{kind}",
            1e3 * cost.cpu_s,
            base,
            cost.cpu_s / times[base].cpu_s,
            "benchmarks/start.py",
        )
        for name, cost in times.items()
        if name != base
    ]


def of_decoding(rounds: int) -> list[Row]:
    """Real clips where they are, else made ones; 8 frames of each, equal to sequential PyAV."""
    files = [path for path in sorted(SHARED.rglob("*.mp4"))[::10] if decode.is_plain(path)]
    with tempfile.TemporaryDirectory() as folder:
        files = files or list(decode.made(Path(folder)).values())
        spent, strange = decode.measured(files, decode.all_readers(), rounds)
    ours = spent.pop("vlar")
    return [
        Row(
            f"8 frames of {len(files)} clips{' (DIFFERENT FRAMES)' if name in strange else ''}",
            statistics.median(ours),
            name,
            statistics.median(b / a for a, b in zip(taken, ours, strict=True)),
            "benchmarks/decode.py",
        )
        for name, taken in spent.items()
    ]


def of_made_videos(rounds: int, titles: Iterable[str]) -> list[Row]:
    """8 frames of made videos, against sequential PyAV."""
    readers = {"vlar": decode.vlar, decode.PLAIN: decode.sequential}
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for title, path in decode.made(Path(folder), titles).items():
            spent, strange = decode.measured([path], readers, rounds)
            assert not strange, f"{title}: other frames than sequential PyAV"
            ours, theirs = (statistics.median(spent[name]) for name in readers)
            found.append(Row(title, ours, decode.PLAIN, ours / theirs, "benchmarks/decode.py"))
    return found


def of_library(rounds: int, count: int = 100_000) -> list[Row]:
    """The nearest rows of a library, against FAISS's flat index over the same vectors."""
    import faiss
    from library_scale import Texts

    from vlar.library.ingest.shard_reading import VectorVideo
    from vlar.library.library import Library
    from vlar.types import Window

    world = World(0)
    matrix = world.rows(count, seed=100)
    windows = [Window(2.0 * place, 2.0 * place + 4) for place in range(WINDOWS)]
    videos = (
        VectorVideo(
            f"/made/{at}.mp4", windows, matrix[at : at + WINDOWS], tags={"only": f"{at == 0}"}
        )
        for at in range(0, len(matrix), WINDOWS)
    )
    places = np.arange(WINDOWS)
    bare = faiss.IndexFlatIP(DIM)
    bare.add(matrix)
    queries = world.texts(40 * rounds, seed=31)

    class Phrases(Texts):
        """Vectors of phrases that are numbers of queries."""

        def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
            return queries[[int(text) for text in texts]]

    numbers = iter(range(1, len(queries)))
    with (
        tempfile.TemporaryDirectory() as folder,
        Library(Path(folder) / "made.vlar", Phrases()) as library,
    ):
        library.add_vectors(videos)
        calls: list[Callable[[np.ndarray], object]] = [
            lambda query: library.nearest(query, 10),
            lambda query: bare.search(query[None], 10),
            lambda query: library.nearest(query, 10, where=["only=True"]),
            lambda query: top(matrix[places] @ query),
            lambda _: library.query("0", 10, min_probability=0),
            lambda _: library.query(str(next(numbers, 1)), 10, min_probability=0),
        ]
        times: list[list[float]] = [[] for _ in calls]
        for query in queries:
            for taken, call in zip(times, calls, strict=True):
                if any(taken is few for few in times[2:4]):  # of microseconds: memory is filled
                    call(query)
                begin = time.process_time()
                call(query)
                taken.append(1e3 * (time.process_time() - begin))
    ours, theirs, narrow, product, asked, new = (statistics.median(taken) for taken in times)
    command = f"benchmarks/library_scale.py --rows {count}"
    few = f"{len(places)} of {count:,} windows by a tag"
    return [
        Row(f"nearest of {count:,} windows", ours, "FAISS, flat", ours / theirs, command),
        Row(f"nearest of {few}", narrow, "product with these rows", narrow / product, command),
        # An answer is mostly Python; to a product of BLAS its ratio is another one on each machine.
        Row(f"new phrase of {count:,} windows", new, "nearest", new / ours, command),
        Row(f"phrase asked again of {count:,} windows", asked, "new phrase", asked / new, command),
    ]


def top(scores: np.ndarray) -> np.ndarray:
    """Places of the ten best."""
    best = np.argpartition(-scores, 9)[:10]
    return best[np.argsort(-scores[best])]


MADE = (
    "320x240 h264 GOP 250, 10 s",
    "340x256 h264 GOP 12, 10 s",
    "320x240 mpeg4 avi, 10 s",
)
PARTS = {"towers": of_towers, "start": of_start, "decoding": of_decoding, "library": of_library}


# Small forms, at most some 15 s of CPU each: all together have 90 s. Their ratios are their own.
SMALL: tuple[Callable[[], Iterable[Row]], ...] = (
    lambda: of_towers(1, "ViT-B-32-quickgelu"),
    lambda: of_light_starts(3),
    lambda: of_made_videos(3, MADE),
    lambda: of_library(2, 20_000),
)


def ratios(measurements: Iterable[Callable[[], Iterable[Row]]] = SMALL) -> dict[str, float]:
    """Cost of each row over that of its base, by `what / base`."""
    rows = (row for measure in measurements for row in measure())
    return {f"{row.what} / {row.base}": round(row.ratio, 3) for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", type=Path, metavar="FILE", help="write ratios of small forms")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.small:
        options.small.write_text(json.dumps({"ratios": ratios()}, indent=1) + "\n", "utf-8")
        return 0
    print("| what | CPU ms | base | against it | command |\n|---|---|---|---|---|", flush=True)
    for name in options.part:
        for row in PARTS[name](options.rounds):
            print(
                f"| {row.what} | {row.cpu_ms:,.1f} | {row.base} | {row.ratio:.2f} | "
                f"`{row.command}` |",
                flush=True,
            )
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{options.rounds} rounds, {cores}. Not run here, because it takes longer:")
    for what, command in LONGER:
        print(f"- {what}: python {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
