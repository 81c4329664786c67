"""The same rows in a folder and in Milvus Lite: recall, latency, filters, scans, copies; one run.

Rows and queries are those of ``library_scale.py`` (D = 512). Exact answers come from a comparison
with every row. Milvus Lite runs in this process, so processor time counts the server too; a server
of its own would take the network besides. Needs the extra ``milvus``.

    python benchmarks/milvus.py --rows 100000
    python benchmarks/milvus.py --rows 100000 --index hnsw    # Milvus with another index
    python benchmarks/milvus.py --rows 100000 --place DISK --parts write     # kept for the next one
    python benchmarks/milvus.py --rows 100000 --place DISK --parts search,filter,phrase
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from library_scale import Texts, exact, line, recall, videos
from library_world import DIM, World

K, QUERIES, PHRASES, SCANS = 10, 50, 10, 1


def taken(call: Callable[[], Any]) -> tuple[Any, str]:
    """Result of a call, and its seconds: processor, wall."""
    begin, cpu = time.monotonic(), time.process_time()
    found = call()
    return found, f"CPU {time.process_time() - cpu:.1f} s, wall {time.monotonic() - begin:.1f} s"


def asked(
    name: str, libraries: list[Any], ask: Callable[[Any, Any], Any], queries: Any
) -> list[Any]:
    """The answers of each library, in turn; prints the median times of a query."""
    times: list[list[tuple[float, float]]] = [[] for _ in libraries]
    answers: list[list[Any]] = [[] for _ in libraries]
    for library in libraries:
        ask(library, queries[0])  # what the first query reads
    for query in queries:
        for place, library in enumerate(libraries):
            begin, cpu = time.monotonic(), time.process_time()
            answers[place].append(ask(library, query))
            spent = time.process_time() - cpu, time.monotonic() - begin
            times[place].append(spent)
    shown = [
        " / ".join(f"{1e3 * statistics.median(each):.1f}" for each in zip(*own, strict=True))
        for own in times
    ]
    line(f"{name}: folder, Milvus (CPU / wall ms)", "   ".join(shown))
    return answers


def compare(name: str, answers: list[Any], least: Any, wanted: int = K) -> None:
    """Recall of both, and how far the scores of rows that both found differ."""
    recalls = [recall(each, least, wanted) for each in answers]
    apart = 0.0
    for hits, others in zip(*answers, strict=True):
        known = {(hit.path, hit.start_s): hit.similarity for hit in hits}
        both = ((hit.similarity, known.get((hit.path, hit.start_s))) for hit in others)
        apart = max([apart, *(abs(a - b) for a, b in both if b is not None)])
    line(f"{name}: recall@{K}", *(f"{each:.4f}" for each in recalls), f"scores differ {apart:.1e}")


def measure(libraries: list[Any], matrix: Any, world: World, parts: set[str]) -> None:
    texts = world.texts(QUERIES, seed=5)
    if "search" in parts:
        searched(libraries, matrix, world, texts)
    if "filter" in parts:
        filtered(libraries, matrix, texts)
    if "phrase" in parts:
        phrases(libraries)
    if "scan" in parts:
        asked("a AND b", libraries, lambda lib, t: lib.query(t, K), ['"a" AND "b"'] * SCANS)


def searched(libraries: list[Any], matrix: Any, world: World, texts: Any) -> None:
    near = world.rows(QUERIES * 10, seed=6)[::10]
    for name, queries in (("texts", texts), ("windows", near)):
        found = asked(name, libraries, lambda lib, q: lib.nearest(q, K), queries)
        compare(name, found, exact(matrix, queries))


def filtered(libraries: list[Any], matrix: Any, texts: Any) -> None:
    rows = np.arange(len(matrix))
    for name, where, alive in (
        ("one recording in 100", ["percent=yes"], rows // 10 % 100 == 0),
        ("start_s >= 10", ["start_s>=10"], rows % 10 >= 5),
    ):
        found = asked(name, libraries, lambda lib, q, w=where: lib.nearest(q, K, where=w), texts)
        compare(name, found, exact(matrix, texts, alive))


def phrases(libraries: list[Any]) -> None:
    hits = asked(
        "a phrase", libraries, lambda lib, t: lib.query(t, K), [str(n) for n in range(PHRASES)]
    )
    same = [
        [(h.path, h.start_s, h.end_s) for h in a] == [(h.path, h.start_s, h.end_s) for h in b]
        for a, b in zip(*hits, strict=True)
    ]
    line("a phrase: equal lists of answers", f"{sum(same)} of {len(same)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--place", type=Path, help="folder on a disk; a temporary one by default")
    parser.add_argument("--index", help="index of Milvus: flat, hnsw, ivf")
    parser.add_argument("--parts", default="search,filter,phrase,scan,copy", help="what to measure")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(chosen, chosen.place or Path(folder))


def run(chosen: argparse.Namespace, place: Path) -> None:
    from vlar.library.library import Library

    world = World(31)
    matrix = world.rows(chosen.rows, seed=1)
    print(f"{len(matrix):,} rows, D = {DIM}", flush=True)
    addresses = [f"{place}/{chosen.rows}.vlar", f"milvus:{place}/{chosen.rows}.db/rows"]
    libraries = [Library(address, Texts()) for address in addresses]
    for name, library in zip(("folder", "Milvus"), libraries, strict=True):
        if not library.info().rows:
            _, spent = taken(lambda own=library: own.add_vectors(videos(matrix)))
            line(f"{name}: rows written", spent)
    if chosen.index:
        report, spent = taken(lambda: libraries[1].compact(kind=chosen.index))
        line(f"Milvus: {report.engine} built", spent)
    for name, library in zip(("folder", "Milvus"), libraries, strict=True):
        facts = library.info()
        line(f"{name}: {facts.engine}", f"{facts.bytes_on_disk / 2**20:.0f} MB on disk")
    parts = set(chosen.parts.split(","))
    measure(libraries, matrix, world, parts)
    if "copy" in parts:
        for name, source, target in (
            ("folder to Milvus", libraries[0], f"milvus:{place}/copied.db/rows"),
            ("Milvus to folder", libraries[1], f"{place}/copied.vlar"),
        ):
            with Library(target) as other:
                report, spent = taken(lambda s=source, o=other: s.copy_to(o))
                line(f"copy {name}", spent, report.digest[:16])


if __name__ == "__main__":
    main()
