"""A library of many rows: recall, latency, filters, changes, opening, bytes; ratios of one run.

Synthetic rows are distributed like those of a video encoder: all in one cone, topics of very
different size, videos inside topics, windows inside videos (ten each). Queries are of two kinds:
windows that the library does not hold, and texts, which lie apart from all rows (a modality gap)
and may name two topics. Exact answers come from a comparison with every row.

    python benchmarks/library_scale.py --rows 1000000 --place DISK   # keeps DISK/1000000.vlar
    python benchmarks/library_scale.py --rows 20000 --type ivf       # a type out of its range
    python benchmarks/library_scale.py --rows 5000000 --place DISK   # 16 GB of disk
    python benchmarks/library_scale.py --rows 100000 --only filters  # one part

Above 2,000,000 rows they lie in a float16 file, and only ``still`` is measured: the comparisons of
the others hold all rows in memory.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from library_world import DIM, WINDOWS, World, unit

from vlar.model.library_model import LibraryModel

QUERIES, TIMED, K = 500, 200, 10
JUDGED, REFINED = 20, 40
CHANGED = 10_000
HELD = 2_000_000  # rows that are held in memory
CHUNK = 100_000
SHARES = {"half": 2, "percent": 100, "rare": 10_000}  # one video in this many has the tag


class Texts(LibraryModel):
    """A stand-in for a model: it only has texts, as vectors."""

    name, fingerprint, dim, n_frames, shorter_side = "made", "made-1", DIM, 8, 224
    modality = "video"

    def encode(self, clips: Any) -> Any:
        raise NotImplementedError

    def encode_queries(self, texts: Any) -> Any:
        return World(0).texts(len(texts), seed=11)

    def match_probability(self, vectors: Any, query: Any) -> Any:
        return 1 / (1 + np.exp(-20 * (vectors @ query)))


def videos(matrix: Any, first: int = 0) -> Iterator[Any]:
    from vlar.library.ingest.shard_reading import VectorVideo
    from vlar.types import Window

    for number in range(first, first + len(matrix) // WINDOWS):
        rows = matrix[(number - first) * WINDOWS :][:WINDOWS]
        tags = {name: "yes" for name, every in SHARES.items() if number % every == 0}
        windows = [Window(2.0 * place, 2.0 * place + 4) for place in range(WINDOWS)]
        yield VectorVideo(f"/made/{number % 97}/{number}.mp4", windows, rows, tags=tags)


def key(hit: Any) -> int:
    """The row of a hit in the matrix."""
    return int(Path(hit.path).stem) * WINDOWS + round(hit.start_s / 2)


def exact(matrix: Any, queries: Any, alive: Any = None) -> Any:
    """Similarity of the tenth best row of each query, less half a float16 step."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    for start in range(0, len(matrix), 50_000):
        scores = queries @ matrix[start : start + 50_000].astype(np.float32, copy=False).T
        if alive is not None:
            scores[:, ~alive[start : start + 50_000]] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        best = -np.partition(-both, K - 1, axis=1)[:, :K]
    return best.min(axis=1) - 1e-6


def recall(answers: list[Any], least: Any, wanted: int = K) -> float:
    """Share of answers as good as the exact tenth best; ties count."""
    found = [
        sum(hit.similarity >= low for hit in hits) / wanted
        for hits, low in zip(answers, least, strict=True)
    ]
    return float(np.mean(found))


def p50_ms(*calls: Callable[[Any], Any], queries: Any, warm: bool = False) -> list[float]:
    """Median process time of each call, in interleaved rounds.

    ``warm``: each call is made once more before, untimed. Else a call of microseconds pays for the
    caches that the one before it, of milliseconds, has filled with other data.
    """
    times: list[list[float]] = [[] for _ in calls]
    for query in queries:
        for taken, call in zip(times, calls, strict=True):
            if warm:
                call(query)
            begin = time.process_time()
            call(query)
            taken.append(time.process_time() - begin)
    return [1e3 * statistics.median(taken) for taken in times]


def line(name: str, *values: Any) -> None:
    print(f"  {name:44}", *values, flush=True)


def first_answer(folder: Path) -> float:
    """Wall seconds of a fresh process, from its start to its first answer."""
    begin = time.monotonic()
    subprocess.run([sys.executable, __file__, "--child", str(folder)], check=True)
    return time.monotonic() - begin


def child(folder: str) -> None:
    from vlar.library.library import Library

    query = np.full(DIM, DIM**-0.5, np.float32)
    with Library(folder, create=False) as library:
        assert len(library.nearest(query, K)) == K


def cache_file(library: Any) -> Path:
    from vlar.library.cache import file_of

    return file_of(library._connection.reader())


def made(folder: Path, matrix: Any) -> None:
    from vlar.library.library import Library

    begin, cpu = time.monotonic(), time.process_time()
    with Library(folder, Texts()) as library:
        report = library.add_vectors(videos(matrix))
    took = f"{time.monotonic() - begin:.0f} s, CPU {time.process_time() - cpu:.0f} s"
    line("rows written, index built", f"{report.rows:,}", took)


def still(library: Any, matrix: Any, world: World, seed: int) -> None:
    """Recall and latency at rest, against every row and against the bare index."""
    import faiss

    facts = library.info()
    line("index", facts.engine, dict(facts.engine_facts), facts.cache_state)
    near = unit(
        matrix[:: max(len(matrix) // QUERIES, 1)][:QUERIES]
        + 0.3 * world.noise(np.random.default_rng([seed, 8]), QUERIES)
    ).astype(np.float32)
    far = world.texts(QUERIES, seed)
    for name, queries in (("near windows", near), ("texts", far)):
        answers = [library.nearest(query, K) for query in queries]
        line(f"recall@10, {name}", f"{recall(answers, exact(matrix, queries)):.4f}")
    parameters = None
    if facts.engine == "flat":  # a plain index over the same vectors, made here
        bare: Any = faiss.IndexFlatIP(DIM)
        bare.add(matrix)
    else:
        bare = faiss.read_index(str(cache_file(library)))
        parameters = faiss.SearchParametersIVF(nprobe=facts.engine_facts["nprobe"])
    ours, index, theirs = p50_ms(
        lambda q: library.nearest(q, K),
        lambda q: library._connection._cache.engine.search(q, K),
        lambda q: bare.search(q[None], K, params=parameters),
        queries=far[:TIMED],
    )
    ratios = f"ratio {ours / theirs:.2f} ({index / theirs:.2f} of the search)"
    line("p50 nearest() / search / bare FAISS, ms", f"{ours:.3f} {index:.3f} {theirs:.3f}", ratios)
    (phrase,) = p50_ms(lambda _: library.query("a cat", K, min_probability=0), queries=far[:60])
    line("p50 query() of a phrase, ms", f"{phrase:.3f}")


def checks(library: Any, rows: int) -> None:
    """Cost of checking every row: in an engine built again, and by itself."""
    from vlar.library import cache
    from vlar.library.store.row_check import COLUMNS, checked_rows

    store = library._connection.reader()
    with store.snapshot():
        begin = time.process_time()
        cache.rebuild(store)
        built = time.process_time() - begin
        found = store.fetch(f"SELECT {COLUMNS} FROM rows LIMIT 8192")
        begin = time.process_time()
        assert not checked_rows(found, DIM).damaged
        alone = (time.process_time() - begin) / len(found)
    share = 100 * alone * rows / built
    line("engine built again, CPU s", f"{built:.2f}, of it checks {share:.0f} %")
    line("one row checked, us", f"{1e6 * alone:.2f}")


def filters(library: Any, matrix: Any, world: World) -> None:
    queries = world.texts(60, seed=12)
    numbers = np.arange(len(matrix)) // WINDOWS
    filters = {name: [f"{name}=yes"] for name in SHARES} | {"window": ["percent=yes", "start_s=2"]}
    for name, where in filters.items():
        every = SHARES.get(name, SHARES["percent"])
        meant = numbers % every == 0
        if name == "window":  # one of the ten windows of these recordings
            meant &= np.arange(len(matrix)) % WINDOWS == 1
            every *= WINDOWS
        places = np.flatnonzero(meant)
        if not len(places):
            continue
        wanted = min(K, len(places))
        begin = time.process_time()
        library.nearest(queries[0], K, where=where)
        first = 1e3 * (time.process_time() - begin)
        answers = [library.nearest(query, K, where=where) for query in queries]
        assert all(len(hits) == wanted for hits in answers)
        assert all(meant[key(hit)] for hits in answers for hit in hits)
        least = exact(matrix, queries, meant)
        exact_ways = [
            lambda q, where=where: subset_of_the_database(library, where, q),
            lambda q, places=places: top(matrix[places] @ q),
            lambda q, meant=meant: top(np.where(meant, matrix @ q, -2)),
        ]
        if len(places) <= 100_000:
            exact_ways.append(held_with_names(matrix, places))
        ours, stored, *memory = p50_ms(
            lambda q, where=where: library.nearest(q, K, where=where),
            *exact_ways,
            queries=queries[: 3 if len(places) > 100_000 else 15],
            warm=True,
        )
        plain, named = min(memory[:2]), memory[2:]
        line(
            f"filter {100 / every:g} % ({len(places):,} rows): recall@10",
            f"{recall(answers, least, wanted):.4f}, p50 {ours:.3f} ms, first time {first:.1f} ms;",
            f"exact on the subset, read from SQLite {stored:.2f} ms: ratio {ours / stored:.2f};",
            f"from a float32 matrix {plain:.3f} ms: ratio {ours / plain:.2f};",
            *(f"held apart, with names {ms:.3f} ms: ratio {ours / ms:.2f}" for ms in named),
        )


def held_with_names(matrix: Any, places: Any) -> Callable[[Any], Any]:
    """The subset copied once, and an answer with path and times, as ours has."""
    from vlar.library.rows import RowHit

    held = matrix[places]
    paths = [f"/made/{place // WINDOWS % 97}/{place // WINDOWS}.mp4" for place in places]

    def search(query: Any) -> Any:
        scores = held @ query
        return [
            RowHit(paths[at], 2.0 * (places[at] % WINDOWS), 4.0, float(scores[at]))
            for at in top(scores)
        ]

    return search


def subset_of_the_database(library: Any, where: list[str], query: Any) -> Any:
    """Search without an index: the rows of the filter are read and compared."""
    from vlar.library.query.filters import conditions, row_filter

    store = library._connection.reader()
    ids = store.row_ids(row_filter(store, conditions(where)).videos)
    return top(store.rows(ids.tolist(), DIM).vectors @ query)


def top(scores: Any) -> Any:
    best = np.argpartition(-scores, min(K, len(scores)) - 1)[:K]
    return best[np.argsort(-scores[best])]


def learned(library: Any, matrix: Any) -> None:
    """Judgements of hits and words that are written, each beyond a plain query."""
    from vlar.library.query.request import QueryRequest

    def ask(text: str, **how: Any) -> Callable[[Any], Any]:
        request = QueryRequest(text, K, min_probability=0.0, rerank=None, **how)
        return lambda _: library.search(request)

    hits = library.search(QueryRequest("made", JUDGED, min_probability=0.0, rerank=None))
    rows = [hit.row for hit in hits]
    some = ask("17 cooking", only=None)  # a folder that one recording in 97 lies in
    begin = time.process_time()
    some(None)
    line("first query of written words, CPU s", f"{time.process_time() - begin:.2f}")
    calls = ask("made"), ask("made", yes=tuple(rows[::2]), no=tuple(rows[1::2]))
    plain, refined = p50_ms(*calls, queries=matrix[:REFINED], warm=True)
    line(f"{JUDGED} judgements beyond a query, p50 ms", f"{refined - plain:.1f}", f"{plain:.1f}")
    plain, written = p50_ms(ask("17 cooking"), some, queries=matrix[:REFINED], warm=True)
    line("written words beyond a query, p50 ms", f"{written - plain:.1f}", f"{plain:.1f}")


def changes(library: Any, matrix: Any, world: World) -> None:
    """Add and delete rows; the answers are right at once, without a new index."""
    count = min(CHANGED, len(matrix) // 4) // WINDOWS * WINDOWS
    new = world.rows(count, seed=77)
    before = cache_file(library).stat().st_ino
    begin = time.process_time()
    library.add_vectors(videos(new, len(matrix) // WINDOWS))
    added = time.process_time() - begin
    gone = np.random.default_rng(3).choice(len(matrix) // WINDOWS, count // WINDOWS, replace=False)
    begin = time.process_time()
    library.remove([f"/made/{number % 97}/{number}.mp4" for number in gone])
    removed = time.process_time() - begin
    begin = time.process_time()
    library.nearest(new[0], K)
    answered = time.process_time() - begin
    same = cache_file(library).stat().st_ino == before
    took = f"{added:.2f} {removed:.2f} {answered:.2f}; index file untouched: {same}"
    line(f"{count:,} rows added / deleted / first answer, CPU s", took)
    both = np.concatenate([matrix, new])
    alive = np.ones(len(both), np.bool_)
    alive[(gone[:, None] * WINDOWS + np.arange(WINDOWS)).ravel()] = False
    queries = np.concatenate(
        [world.texts(200, seed=21), new[:: count // 100][:100], matrix[gone[:100] * WINDOWS]]
    )
    answers = [library.nearest(query, K) for query in queries]
    assert all(alive[key(hit)] for hits in answers for hit in hits), "a deleted row was found"
    itself = np.mean([hits[0].similarity > 0.999 for hits in answers[200:300]])
    found = f"{recall(answers, exact(both, queries, alive)):.4f} {itself:.3f}"
    line("recall@10 on the live rows; new rows find themselves", found)
    (changed,) = p50_ms(lambda q: library.nearest(q, K), queries=queries[:TIMED])
    line("p50 with unmerged changes, ms", f"{changed:.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--type", help="another engine than the size asks for")
    parser.add_argument("--place", help="keep the libraries in this folder, and use what is there")
    parser.add_argument("--seed", type=int, default=31, help="of the queries that report recall")
    parser.add_argument(
        "--only", choices=["make", "still", "filters", "learned"], help="one part alone"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        for rows in options.rows:
            measure(Path(options.place or temporary) / f"{rows}.vlar", rows, options)
    return 0


def made_rows(world: World, rows: int, file: Path) -> Any:
    """(rows, D): in memory as float32, or many in a file as float16, which is as exact."""
    many = rows > HELD
    if many and file.exists():
        return np.memmap(file, np.float16, "r", shape=(rows, DIM))
    matrix: Any = (
        np.memmap(file, np.float16, "w+", shape=(rows, DIM))
        if many
        else np.empty((rows, DIM), np.float32)
    )
    for at in range(0, rows, CHUNK):
        part = matrix[at : at + CHUNK]
        part[:] = world.rows(len(part), seed=100 + at)
    return matrix


def measure(folder: Path, rows: int, options: argparse.Namespace) -> None:
    from vlar.library.library import Library

    world = World(0)
    matrix = made_rows(world, rows, folder.with_suffix(".rows"))
    print(f"{rows:,} rows x {DIM}")
    if not folder.exists():
        made(folder, matrix)
    with Library(folder, Texts()) as library:
        if options.type is not None:
            begin = time.process_time()
            library.compact(kind=options.type, retrain=True)
            line(
                "compact --retrain --type", options.type, f"CPU {time.process_time() - begin:.0f} s"
            )
        library.nearest(matrix[0], K)
        if options.only == "still":
            still(library, matrix, world, options.seed)
        elif options.only == "filters":
            filters(library, matrix, world)
        elif options.only == "learned":
            learned(library, matrix)
        if options.only is not None:
            return
        size = library.info().bytes_on_disk
        line("bytes a row on disk, truth and cache", f"{size / rows:.0f}")
        opened = min(first_answer(folder) for _ in range(3))
        line("open to first answer, fresh process, wall s", f"{opened:.2f}")
        still(library, matrix, world, options.seed)
        checks(library, rows)
        if rows > HELD:
            return
        filters(library, matrix, world)
        learned(library, matrix)
        kept = folder.with_suffix(".kept")
        shutil.copytree(folder, kept)
        line("the same of a copy, which builds its cache", f"{first_answer(kept):.2f}")
        try:
            changes(library, matrix, world)
        finally:
            library.close()
            shutil.rmtree(folder)
            kept.rename(folder)


if __name__ == "__main__":
    sys.exit(main())
