"""Processor time of a query by step, and how long 1, 8 and 32 callers wait.

    python benchmarks/callers.py [--rows 20000] [--model lite] [--other CHECKOUT] [--rounds 3]
    python benchmarks/callers.py --asked 60     # of each kind, where a machine is busy

steps    CPU milliseconds of each step of ``Library.query`` and of the JSON of its hits: of new
         phrases, of the same ones again, and again after a change of the library
callers  threads of one process that ask one ``Library``, without a pause, while a process of lower
         priority (nice 15) adds recordings: p50 and p95 in ms, over the p50 of one caller without
         an add, and the CPU of 200 queries (from fewer with ``--asked``), each of a phrase of its
         own

The library is made: rows near texts of everyday actions, 100 windows a recording. With ``--other``
(a checkout of another version) the arms run in turn, each in a process of its own. Waiting times
are those of a machine, whose load is printed; processor times and their ratios move less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).parent))

WINDOWS, PHRASES, ASKED, NICE = 100, 40, 200, 15
ALL = "all"
STEPS = (
    ("text tower", "vlar.model.core", "ModelCore.encode_queries"),
    ("calibration", "vlar.library.query.candidates", "Snapshot.rated"),
    ("search engine", "vlar.library.engines.faiss_cache", "BufferedEngine.search"),
    ("search engine", "vlar.library.engines.flat", "FlatEngine.prepare"),
    ("rows of SQLite", "vlar.library.store.sqlite", "SqliteStore.fetch"),
    ("checks of rows", "vlar.library.store.sqlite", "SqliteStore.checked"),
    ("order and spans", "vlar.library.query.search", "_answers"),
    ("hits", "vlar.library.query.search", "_hits"),
    ("plan, snapshot, the rest", "vlar.library.library", "Library.query"),
)
SUBJECTS = ("man", "woman", "child", "dog", "cat", "player", "dancer", "worker", "cook", "climber")
VERBS = (
    "opens",
    "closes",
    "throws",
    "lifts",
    "pushes",
    "pulls",
    "carries",
    "cleans",
    "cuts",
    "has",
)
OBJECTS = ("box", "ball", "door", "cup", "rope", "chair", "bag", "plate", "wheel", "fence")
PLACES = ("at home", "outdoors", "in a hall")


def phrases(count: int, first: int = 0) -> list[str]:
    """Different phrases of a subject, a verb and an object."""
    numbers = np.random.default_rng(5).permutation(3000)[first : first + count].tolist()
    return [
        f"a {SUBJECTS[n // 300]} {VERBS[n // 30 % 10]} a {OBJECTS[n // 3 % 10]} {PLACES[n % 3]}"
        for n in numbers
    ]


def recordings(model: Any, rows: int, first: int = 0) -> Iterator[Any]:
    """Recordings of 100 windows whose vectors lie near texts."""
    from vlar.library.ingest.shard_reading import VectorVideo
    from vlar.types import Window

    draw = np.random.default_rng([7, first])
    texts = np.asarray(model.words.encode_queries(phrases(120, 2000)), np.float32)
    windows = [Window(2.0 * n, 2.0 * n + 4) for n in range(WINDOWS)]
    for number in range(first, first + rows // WINDOWS):
        topics = texts[np.repeat(draw.integers(0, len(texts), WINDOWS // 10), 10)]
        noise = draw.normal(size=topics.shape)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        vectors = 0.5 * topics + noise
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        yield VectorVideo(f"/example/made/{number}.mp4", windows, vectors)


def steps(library: Any, model: Any, rows: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds of a query by step."""
    from index_add import Shares

    shares, figures = Shares(), dict[str, dict[str, float]]()
    ask_all(library, phrases(5, 2990))
    for step in STEPS:
        shares.watch(*step)
    for title in ("new phrase", "asked again", "again after a change"):
        if title == "again after a change":
            library.add_vectors(recordings(model, WINDOWS, rows))
        before = dict(shares.seconds)
        begin = time.process_time()
        hits = ask_all(library, phrases(PHRASES, 1000))
        total = time.process_time() - begin
        ms = {name: shares.seconds.get(name, 0) - before.get(name, 0) for name, *_ in STEPS}
        begin = time.process_time()
        json.dumps([hit.to_dict() for found in hits for hit in found])
        ms["JSON of ten hits"] = time.process_time() - begin
        ms[ALL] = total + ms["JSON of ten hits"]
        figures[title] = {name: 1e3 * seconds / PHRASES for name, seconds in ms.items()}
    return figures


def ask_all(library: Any, texts: Sequence[str]) -> list[Any]:
    return [library.query(text, 10, min_probability=0.0) for text in texts]


def waits(library: Any, callers: int, texts: Sequence[str]) -> tuple[list[float], float]:
    """Wall milliseconds of each query, and CPU seconds of all, asked by some threads."""
    waiting, lock, taken = list(texts), threading.Lock(), list[float]()

    def ask() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                text = waiting.pop()
            begin = time.monotonic()
            library.query(text, 10, min_probability=0.0)
            taken.append(1e3 * (time.monotonic() - begin))

    begin = time.process_time()
    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, time.process_time() - begin


def adding(folder: str, model: str) -> None:
    """Add recordings until standard input ends."""
    from vlar import load
    from vlar.library.library import Library

    os.nice(NICE)
    loaded = load(model)
    videos = sorted(Path(os.environ.get("VLAR_SHARED", HERE.parent / "shared")).rglob("*.mp4"))
    with Library(folder, loaded) as library:
        print("ready", flush=True)
        number = 10_000
        while True:
            if videos:
                library.add(videos[number % len(videos)])
            else:
                library.add_vectors(recordings(loaded, WINDOWS, number))
            number += 1


def child(rows: int, spec: str, asked: int) -> None:
    """One arm, of the code on the path; prints its figures."""
    from vlar import load
    from vlar.library.library import Library

    model = load(spec)
    with tempfile.TemporaryDirectory() as place, Library(Path(place) / "made.vlar", model) as made:
        made.add_vectors(recordings(model, rows))
        ask_all(made, phrases(5, 2995))
        plain, cpu_s = waits(made, 1, phrases(asked))
        row: dict[str, Any] = {"plain": figures_of(plain, cpu_s, 1.0)}
        base_ms = row["plain"]["p50"]
        command = [sys.executable, __file__, "--adding", str(made.path), "--model", spec]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for number, callers in enumerate((1, 8, 32)):
                made.query("a change is read", 10)
                some = phrases(asked, ASKED * (number + 1))
                row[f"{callers}"] = figures_of(*waits(made, callers, some), base_ms)
                print(callers, row[f"{callers}"], file=sys.stderr, flush=True)
            process.kill()
        row["steps"] = steps(made, model, rows)
    print(json.dumps(row))


def figures_of(taken: Sequence[float], cpu_s: float, base_ms: float) -> dict[str, float]:
    """Median, 95th percentile, both in ms and the second over a base, and CPU seconds."""
    p50, p95 = statistics.median(taken), float(np.percentile(taken, 95))
    cpu_s *= ASKED / len(taken)
    return {"p50": p50, "p95": p95, "over": p95 / base_ms, "cpu_s": cpu_s}


def middle(rows: Sequence[Any]) -> Any:
    """Medians of the figures of rounds, which are nested alike."""
    if isinstance(rows[0], dict):
        return {key: middle([row[key] for row in rows]) for key in rows[0]}
    return statistics.median(rows)


def show(name: str, row: dict[str, Any]) -> None:
    titles = list(row["steps"])
    print(f"\n| {name}: CPU ms | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for step in row["steps"][titles[0]]:
        values = (f"{row['steps'][title][step]:.1f}" for title in titles)
        print(f"| {step} | {' | '.join(values)} |")
    print(
        "\n| callers | p50 ms | p95 ms | p95 over plain p50 | CPU s of 200 |\n|---|---|---|---|---|"
    )
    for key in ("plain", "1", "8", "32"):
        figures = row[key]
        title = "1, no add" if key == "plain" else key
        over = "" if key == "plain" else f"{figures['over']:.1f}"
        waits_ms = f"{figures['p50']:.0f} | {figures['p95']:.0f} | {over}"
        print(f"| {title} | {waits_ms} | {figures['cpu_s']:.2f} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--other", type=Path, help="a checkout of another version")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--asked", type=int, default=ASKED, help="phrases of each kind")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--adding", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.adding:
        adding(options.adding, options.model)
    if options.child:
        child(options.rows, options.model, options.asked)
        return 0
    arms = {"other": options.other} if options.other else {}
    arms["this"] = HERE
    command = [sys.executable, __file__, "--child", "--rows", str(options.rows)]
    command += ["--model", options.model, "--asked", str(options.asked)]
    found: dict[str, list[Any]] = {arm: [] for arm in arms}
    for _ in range(options.rounds):
        for arm, checkout in arms.items():
            environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    for arm, rows in found.items():
        show(arm, middle(rows))
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
