"""Cost of a library of 100,000 to 1,000,000,000 rows: tables of docs/planning.md, word for word.

    python benchmarks/scale_model.py                 # prints all tables
    python benchmarks/scale_model.py --write         # writes them into the pages

Nothing is measured here. Measured figures stand in ``MEASURED`` with their sources, figures of
data sheets and of other projects' documentation in ``ASSUMED``; the rest is arithmetic, and a
simulation of workers that die (``simulate``, for docs/worker_failures.md), which the script of
``benchmarks/results/scale_check.json`` compares with real processes that are killed.
"""

# ruff: noqa: E501 - sources and heads of tables are one line each

from __future__ import annotations

import argparse
import heapq
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
MILLION, HOUR, GB = 1_000_000, 3600.0, 1e9
_LEARNED_FROM = 400  # windows that teach the map of ``vlar index upgrade --lazy``
DECADES = [10**power for power in range(5, 10)]


@dataclass(frozen=True)
class Figure:
    """A number with its unit and where it comes from."""

    value: float
    unit: str
    source: str


MEASURED = {
    "encode_bodies": Figure(136 / 299, "CPU s a row, decoding included", "`lite` with bodies, ten minutes of video, 299 rows in 136 s: `benchmarks/index_add.py` ([library](library.md))"),
    "encode_b32": Figure(0.094 * 8, "CPU s a row", "ViT-B/32, float32, 94 ms a frame, 8 frames: one core of an AMD EPYC (Zen 4), ONNX Runtime"),
    "encode_b32_bf16": Figure(0.053 * 8, "CPU s a row", "the same with weights in bf16, 53 ms a frame"),
    "encode_b16_bf16": Figure(0.201 * 8, "CPU s a row", "ViT-B/16 with weights in bf16, 201 ms a frame"),
    "flops_b16": Figure(281e9, "operations a row", "ViT-B/16, 8 frames, counted by torch"),
    "decode_240p": Figure(0.0787 / 10, "CPU s a second of video", "320 x 240 H.264, all frames, PyAV on one core (Zen 4)"),
    "decode_720p": Figure(0.944 / 10, "CPU s a second of video", "1280 x 720, the same"),
    "decode_1080p": Figure(10.576 / 60, "CPU s a second of video", "1920 x 1080, the same, one run"),
    "database": Figure(1137, "bytes a row", "SQLite, 512 numbers in float16: `benchmarks/library_scale.py --rows 5000000`"),
    "cache_flat": Figure(2048, "bytes a row", "`flat`, 4 D ([engines](engines.md))"),
    "cache_ivf": Figure(2209 - 1137, "bytes a row", "`ivf` at 1,000,000 rows: 2209 with the database"),
    "cache_sq8": Figure(555, "bytes a row", "`ivf-sq8` at 5,000,000 rows"),
    "query_flat": Figure(11.8e-3, "CPU s a query", "`flat`, 100,000 rows, one thread"),
    "query_ivf": Figure(8.0e-3, "CPU s a query", "`ivf`, 1,000,000 rows, 192 of 4096 lists, recall@10 .993"),
    "query_sq8": Figure(18.6e-3, "CPU s a query", "`ivf-sq8`, 5,000,000 rows; not used below, but compared with"),
    "map": Figure(6.1 / 20_000, "CPU s a row", "`Library.upgrade(lazy=True)`, 20,000 rows in 6.1 s, the map learned from 400 of them included"),
    "frames": Figure(8_360, "bytes a row", "`vlar index add --keep frames`, the middle of 393 clips: `evals/results/kept_frames.json`"),
    "records": Figure(8_360 + 3_400 + 817, "bytes a row", "`--keep records`: frames, bodies and class probabilities, 33 clips: `evals/results/kept_records.json`"),
    "build": Figure(205 / MILLION, "CPU s a row", "rows written and `ivf` trained, 1,000,000 rows in 205 s"),
}  # fmt: skip

ASSUMED = {
    "gpu": Figure(989e12 * 0.3, "operations a second", "data sheet of an H100 (bf16, dense, 989e12), of which a training or encoding run is taken to reach 30 %; no GPU was measured"),
    "pq": Figure(64 + 8, "bytes a row", "product quantisation to 64 bytes, and an id of 8"),
    "diskann_memory": Figure(2 * 0.125 * 2048, "bytes a row", "Milvus: codes and cached nodes of 12.5 % of the float32 vectors each, its defaults"),
    "diskann_disk": Figure(4096, "bytes a row", "a vector (2048) with 56 neighbours of 4 bytes fills one block of 4096"),
    "diskann_reads": Figure(100, "reads a query", "a candidate list of 100, one block each"),
    "nvme": Figure(10_000, "reads a second one after the other", "0.1 ms a read of 4 KB, a common NVMe disk; a query reads 4 at a time"),
    "memory": Figure(64 * GB * 0.7, "bytes", "a machine of 64 GB, of which 70 % may hold an index"),
    "cores": Figure(16, "cores", "one machine that decodes and encodes"),
    "stride": Figure(2.0, "s of video a row", "the windows of `vlar index add`: 4 s, one every 2 s"),
}  # fmt: skip


def value(name: str) -> float:
    """A figure by its name."""
    return (MEASURED | ASSUMED)[name].value


# Arithmetic


def lists(rows: float) -> float:
    """Inverted lists of an index, 4 sqrt(N), as vlar makes them."""
    return 4 * math.sqrt(rows)


def ivf_query_s(rows: float) -> float:
    """CPU seconds of a query of ``ivf``, from the rows it compares at 192 lists."""
    compared = 192 * rows / lists(rows)
    at_a_million = 192 * MILLION / 4096
    return value("query_ivf") * compared / at_a_million


def flat_query_s(rows: float) -> float:
    """CPU seconds of a query that compares every row."""
    return value("query_flat") * rows / 1e5


def diskann_query_s(_: float) -> float:
    """Seconds that a query of DiskANN waits for the disk, four reads at a time."""
    return value("diskann_reads") / 4 / value("nvme")


@dataclass(frozen=True)
class Kind:
    """A kind of index: bytes a row in memory and on disk, and the time of a query."""

    name: str
    memory: float
    disk: float
    query_s: object

    def machines(self, rows: float) -> int:
        """Machines whose memory holds the index."""
        return max(1, math.ceil(rows * self.memory / value("memory")))

    def query(self, rows: float) -> float:
        """Seconds of one query on one shard of the rows."""
        assert callable(self.query_s)
        return float(self.query_s(rows / self.machines(rows)))


KINDS = [
    Kind("`flat`", value("cache_flat"), value("cache_flat"), flat_query_s),
    Kind("`ivf`", value("cache_ivf"), value("cache_ivf"), ivf_query_s),
    Kind("`ivf-sq8`", value("cache_sq8"), value("cache_sq8"), ivf_query_s),
    Kind("IVF-PQ (Milvus)", value("pq"), value("pq"), ivf_query_s),
    Kind("DiskANN (Milvus)", value("diskann_memory"), value("diskann_disk"), diskann_query_s),
]


def number(x: float) -> str:
    """A number as a reader takes it in: three figures at most, thousands apart."""
    if x == 0:
        return "0"
    if abs(x) >= 100:
        digits = 10 ** (math.floor(math.log10(abs(x))) - 2)
        return f"{round(x / digits) * digits:,.0f}"
    return f"{x:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def inputs() -> str:
    """Every figure that goes in, with its source."""
    rows = [
        [name, number(each.value), each.unit, kind, each.source]
        for kind, figures in (("measured", MEASURED), ("assumed", ASSUMED))
        for name, each in figures.items()
    ]
    return table(["figure", "value", "unit", "", "source"], rows)


def per_million() -> str:
    """Cost of making a million rows."""
    seconds = MILLION * value("stride")
    rows = [["hours of video", number(seconds / HOUR)]]
    rows += [
        [f"decoding, {size}, all frames", f"{number(seconds * value(name) / HOUR)} core-hours"]
        for size, name in (("320 x 240", "decode_240p"), ("1280 x 720", "decode_720p"), ("1920 x 1080", "decode_1080p"))
    ]  # fmt: skip
    rows += [
        [what, f"{number(MILLION * value(name) / HOUR)} core-hours"]
        for what, name in (
            ("encoding, `lite` with bodies (decoding included)", "encode_bodies"),
            ("encoding, ViT-B/32", "encode_b32"),
            ("encoding, ViT-B/32 in bf16", "encode_b32_bf16"),
            ("encoding, ViT-B/16 in bf16", "encode_b16_bf16"),
        )
    ]
    gpu = MILLION * value("flops_b16") / value("gpu")
    rows.append(["encoding, ViT-B/16 on a GPU (assumed)", f"{number(gpu)} GPU-seconds"])
    feeding = seconds * value("decode_720p") / gpu
    rows.append(["cores that decode 1280 x 720 for that GPU", number(feeding)])
    rows.append(["database and `ivf`", f"{number(MILLION * 2209 / GB)} GB"])
    rows.append(["writing rows and training `ivf`", f"{number(MILLION * value('build'))} CPU s"])
    return table(["of a million rows", "cost"], rows)


def decades() -> str:
    """Sizes and times at each decade."""
    rows: list[list[str]] = []
    for count in DECADES:
        hours = count * value("encode_bodies") / HOUR
        rows.append(
            [
                f"{count:,}",
                number(count * value("stride") / HOUR),
                number(hours),
                number(hours / value("cores") / 24),
                number(count * value("flops_b16") / value("gpu") / HOUR),
                number(count * value("database") / GB),
                number(count * value("build") / HOUR),
            ]
        )
    head = ["rows", "hours of video", "core-hours, `lite` with bodies", "days on 16 cores", "GPU-hours, ViT-B/16 (assumed)", "database, GB", "hours to write and train, one process"]  # fmt: skip
    return table(head, rows)


def indexes() -> str:
    """Memory, machines and the time of a query, by kind of index and decade."""
    rows: list[list[str]] = []
    for kind in KINDS:
        for count in DECADES:
            rows.append(
                [
                    kind.name,
                    f"{count:,}",
                    number(count * kind.memory / GB),
                    number(count * kind.disk / GB),
                    str(kind.machines(count)),
                    number(1000 * kind.query(count)),
                    number(kind.machines(count) * 1000 * kind.query(count)),
                ]
            )
    head = ["index", "rows", "memory, GB", "disk, GB", "machines", "ms a query, on each", "ms a query, in all"]  # fmt: skip
    return table(head, rows)


#: A limit of one machine: what it is, what a library of N rows needs, what there is.
Limit = tuple[str, float, float]


def limits(rows: float) -> list[Limit]:
    """Limits of one machine with a folder library, as need and supply."""
    week = 7 * 24 * value("cores")
    return [
        ("a query of `flat` takes 0.1 s of CPU", flat_query_s(rows), 0.1),
        ("making the rows takes a week of 16 cores", rows * value("encode_bodies") / HOUR, week),
        ("a query of `ivf` takes 0.1 s of CPU", ivf_query_s(rows), 0.1),
        ("`ivf` fills the memory of one machine", rows * value("cache_ivf"), value("memory")),
        ("`ivf-sq8` fills the memory of one machine", rows * value("cache_sq8"), value("memory")),
        ("writing and training take a day of the one writer", rows * value("build"), 24 * HOUR),
        ("the database fills a disk of 1 TB", rows * value("database"), 1000 * GB),
    ]


ANSWERS = {
    "a query of `flat` takes 0.1 s of CPU": "`ivf`, which vlar takes from 100,000 rows on",
    "making the rows takes a week of 16 cores": "more workers (`--runner ray`), a GPU",
    "a query of `ivf` takes 0.1 s of CPU": "filters by time or tag; shards that answer at once",
    "`ivf` fills the memory of one machine": "`ivf-sq8` from 4 million rows on",
    "`ivf-sq8` fills the memory of one machine": "IVF-PQ or DiskANN in Milvus, or shards",
    "writing and training take a day of the one writer": "shards by time or tenant, each with a writer of its own",
    "the database fills a disk of 1 TB": "Milvus and its object store, or shards",
}  # fmt: skip


def breaking() -> str:
    """Number of rows at which each limit is met, in order, and the remedy."""
    found: list[tuple[float, str]] = []
    for what, _, _ in limits(1):
        low, high = 1e3, 1e12
        for _ in range(80):  # bisection: every need grows with the rows
            middle = math.sqrt(low * high)
            need, supply = next((n, s) for name, n, s in limits(middle) if name == what)
            low, high = (middle, high) if need < supply else (low, middle)
        found.append((low, what))
    decade = {
        what: f"{10 ** math.floor(math.log10(rows)):,} to {10 ** (math.floor(math.log10(rows)) + 1):,}"
        for rows, what in found
    }
    rows = [[decade[what], number(rows), what, ANSWERS[what]] for rows, what in sorted(found)]
    return table(["decade", "at rows", "what breaks", "what helps"], rows)


def new_model() -> str:
    """Cost of another model: every row again, or a part of its vector."""
    rows: list[list[str]] = []
    for count in DECADES:
        again = count * value("encode_bodies") / HOUR
        rows.append(
            [
                f"{count:,}",
                number(again),
                number(again / value("cores") / 24),
                number(count * value("encode_bodies") / 2 / HOUR),
                number((_LEARNED_FROM * value("encode_bodies") + count * value("map")) / HOUR),
                number(2 * count * value("database") / GB),
                number(count * value("frames") / GB),
                number(count * value("records") / GB),
            ]
        )
    head = ["rows", "core-hours, all again", "days on 16 cores", "core-hours, bodies alone (`vlar index upgrade`)", "core-hours until `--lazy` answers", "database while both are kept, GB", "frames that `--keep frames` adds, GB", "that `--keep records` adds, GB"]  # fmt: skip
    return table(head, rows)


# Simulation


@dataclass(frozen=True)
class Plan:
    """Work that is done by processes that die.

    Attributes:
        files: How many.
        workers: Processes that read and encode.
        mean_s: Seconds of work of a file, on average; lengths are spread as lengths of videos are
            (lognormal, ``spread`` is the standard deviation of the logarithm).
        spread: See ``mean_s``.
        dies_h: Hours between two deaths of one worker, on average; 0 for never.
        restart_s: Seconds until a worker works again: it starts and loads the model.
        driver_h: Hours between two restarts of the driver; 0 for none. What is in work is lost.
        driver_s: Seconds until the driver works again: it lists and compares all files.
        poison: Share of the files that kill every worker which reads them.
        tries: Times that a file may kill a worker before it is given up.
        result_mb: Size of what a file sends to the writer.
        queue_mb: Bytes that may wait for the writer; a worker with a full queue waits.
        write_s: Seconds that the writer takes for a file.
        seed: Of all draws.
    """

    files: int = 4000
    workers: int = 16
    mean_s: float = 30.0
    spread: float = 1.0
    dies_h: float = 0.0
    restart_s: float = 10.0
    driver_h: float = 0.0
    driver_s: float = 60.0
    poison: float = 0.0
    tries: int = 2
    result_mb: float = 0.5
    queue_mb: float = 64.0
    write_s: float = 0.02
    seed: int = 0


@dataclass
class Outcome:
    """Result of a simulated run.

    Attributes:
        seconds: Time from the first file to the last row.
        written: Files whose rows were written; ``twice`` of them more than once (never).
        twice: See ``written``.
        given_up: Files that killed a worker too often.
        again: Files that were begun again.
        deaths: Of workers.
        waited_s: Seconds that workers waited with a result for the queue.
        most_mb: Largest size of the queue.
        busy_s: Seconds of work of the files that were written.
    """

    seconds: float = 0.0
    written: int = 0
    twice: int = 0
    given_up: int = 0
    again: int = 0
    deaths: int = 0
    waited_s: float = 0.0
    most_mb: float = 0.0
    busy_s: float = 0.0


def durations(plan: Plan) -> list[float]:
    """Seconds of work of each file."""
    draw = random.Random(plan.seed)
    middle = math.log(plan.mean_s) - plan.spread**2 / 2
    return [draw.lognormvariate(middle, plan.spread) for _ in range(plan.files)]


def simulate(
    plan: Plan,
    work: Sequence[float] | None = None,
    kills: Sequence[tuple[float, int]] = (),
    poisoned: Sequence[int] = (),
) -> Outcome:
    """Run a plan event by event.

    Args:
        plan: What is run.
        work: Seconds of each file; None draws them.
        kills: Times at which a worker is killed, with its number, besides the drawn deaths.
        poisoned: Files that kill, besides the drawn ones.

    Raises:
        ValueError: a file takes longer than the driver lives, so it would be begun for ever.
    """
    longest = max(work if work is not None else durations(plan), default=0.0)
    if plan.driver_h and longest + plan.driver_s + plan.restart_s >= plan.driver_h * HOUR:
        raise ValueError(f"a file of {longest:.0f} s never ends before the driver restarts")
    run = _Run(plan, list(work) if work is not None else durations(plan), kills)
    run.poisoned |= set(poisoned)
    return run.run()


class _Run:
    """One simulation: a heap of events (time, order, kind, worker, life)."""

    def __init__(self, plan: Plan, work: list[float], kills: Sequence[tuple[float, int]]) -> None:
        self.plan, self.work, self.out = plan, work, Outcome()
        self.draw = random.Random(plan.seed + 1)
        poisoned = round(plan.poison * len(work))
        self.poisoned = set(self.draw.sample(range(len(work)), poisoned))
        self.waiting = list(range(len(work)))[::-1]
        self.file: list[int | None] = [None] * plan.workers
        self.begun = [0.0] * plan.workers
        self.life = [0] * plan.workers  # events of an earlier life of a worker are void
        self.up = [False] * plan.workers
        self.holding: list[tuple[float, int]] = []  # (since, worker) that wait for the queue
        self.kills: dict[int, int] = {}
        self.done: set[int] = set()
        self.queued: list[int] = []
        self.writing = False
        self.events: list[tuple[float, int, str, int, int]] = []
        self.order = 0
        for worker in range(plan.workers):
            self._at(0.0, "start", worker)
        for time_s, worker in kills:
            self._at(time_s, "kill", worker, any_life=True)
        if plan.driver_h:
            self._at(plan.driver_h * HOUR, "driver", 0, any_life=True)

    def run(self) -> Outcome:
        """Run until every file is written or given up."""
        now = 0.0
        while len(self.done) < len(self.work):
            now, _, kind, worker, life = heapq.heappop(self.events)
            if life in (-1, self.life[worker]):
                getattr(self, f"_{kind}")(now, worker)
        self.out.seconds = now
        return self.out

    def _at(self, time_s: float, kind: str, worker: int, *, any_life: bool = False) -> None:
        self.order += 1
        life = -1 if any_life else self.life[worker]
        heapq.heappush(self.events, (time_s, self.order, kind, worker, life))

    def _start(self, now: float, worker: int) -> None:
        self.up[worker] = True
        if self.plan.dies_h:
            self._at(now + self.draw.expovariate(1 / (self.plan.dies_h * HOUR)), "kill", worker)
        self._next(now, worker)

    def _next(self, now: float, worker: int) -> None:
        if not self.waiting or not self.up[worker]:
            return
        file = self.waiting.pop()
        self.file[worker], self.begun[worker] = file, now
        if file in self.poisoned:  # it kills in the middle of its work
            self._at(now + self.work[file] / 2, "poison", worker)
        else:
            self._at(now + self.work[file], "finish", worker)

    def _finish(self, now: float, worker: int) -> None:
        if (len(self.queued) + 1) * self.plan.result_mb > self.plan.queue_mb:
            self.holding.append((now, worker))
            return
        self._put(now, worker)

    def _put(self, now: float, worker: int) -> None:
        file = self.file[worker]
        assert file is not None
        self.file[worker] = None
        self.queued.append(file)
        self.out.most_mb = max(self.out.most_mb, len(self.queued) * self.plan.result_mb)
        if not self.writing:
            self.writing = True
            self._at(now + self.plan.write_s, "wrote", 0, any_life=True)
        self._next(now, worker)

    def _wrote(self, now: float, _: int) -> None:
        if not self.queued:  # a restarted driver lost it
            self.writing = False
            return
        file = self.queued.pop(0)
        self.out.twice += file in self.done
        self.done.add(file)
        self.out.written += 1
        self.out.busy_s += self.work[file]
        self.writing = bool(self.queued)
        if self.writing:
            self._at(now + self.plan.write_s, "wrote", 0, any_life=True)
        if self.holding:
            since, worker = self.holding.pop(0)
            self.out.waited_s += now - since
            self._put(now, worker)

    def _kill(self, now: float, worker: int) -> None:
        if not self.up[worker]:
            return
        self._die(now, worker)

    def _poison(self, now: float, worker: int) -> None:
        self._die(now, worker)

    def _die(self, now: float, worker: int) -> None:
        self.out.deaths += 1
        self._lose(now, worker, blamed=True)
        self._down(now, worker, self.plan.restart_s)

    def _lose(self, now: float, worker: int, *, blamed: bool) -> None:
        file, self.file[worker] = self.file[worker], None
        self.holding = [row for row in self.holding if row[1] != worker]
        if file is None:
            return
        self.kills[file] = self.kills.get(file, 0) + blamed
        if self.kills[file] >= self.plan.tries:
            self.out.given_up += 1
            self.done.add(file)
        else:
            self.out.again += 1
            self.waiting.append(file)
            for other in range(self.plan.workers):  # one that ran out of work takes it
                if self.up[other] and self.file[other] is None and other != worker:
                    self._at(now, "idle", other)
                    break

    def _idle(self, now: float, worker: int) -> None:
        if self.file[worker] is None and all(row[1] != worker for row in self.holding):
            self._next(now, worker)

    def _down(self, now: float, worker: int, seconds: float) -> None:
        self.up[worker] = False
        self.life[worker] += 1
        self._at(now + seconds, "start", worker)

    def _driver(self, now: float, _: int) -> None:
        for file in self.queued:
            self.out.again += 1
            self.waiting.append(file)
        self.queued.clear()
        for worker in range(self.plan.workers):
            self._lose(now, worker, blamed=False)
            self._down(now, worker, self.plan.driver_s + self.plan.restart_s)
        self._at(now + self.plan.driver_h * HOUR, "driver", 0, any_life=True)


SCENARIOS = {
    "nothing fails": Plan(),
    "a worker dies every 24 h": Plan(dies_h=24),
    "a worker dies every 4 h": Plan(dies_h=4),
    "a worker dies every hour": Plan(dies_h=1),
    "a worker dies every 10 minutes": Plan(dies_h=1 / 6),
    "1 file in 200 kills its worker": Plan(poison=0.005),
    "the driver restarts every hour": Plan(driver_h=1),
    "all of that, 4 h": Plan(dies_h=4, driver_h=4, poison=0.005),
    "the writer takes 2.5 s a file": Plan(write_s=2.5),
    "the same, 4 files may wait": Plan(write_s=2.5, queue_mb=2.0),
}


def failures() -> str:
    """Simulated runs: what deaths, restarts and a slow writer cost."""
    plain = simulate(SCENARIOS["nothing fails"]).seconds
    rows: list[list[str]] = []
    for name, plan in SCENARIOS.items():
        out = simulate(plan)
        assert out.written + out.given_up == plan.files
        assert out.twice == 0
        rows.append(
            [
                name,
                number(out.seconds / HOUR),
                f"{100 * (out.seconds / plain - 1):+.1f} %",
                str(out.deaths),
                str(out.again),
                str(out.given_up),
                number(out.most_mb),
                number(100 * out.waited_s / (plan.workers * out.seconds)),
            ]
        )
    head = ["4000 files of 30 s of work, 16 workers", "hours", "against the first", "deaths", "files begun again", "given up", "most MB waiting", "% of the workers' time waited"]  # fmt: skip
    return table(head, rows)


def innocent() -> str:
    """Files that are given up although nothing is wrong with them: two deaths by chance."""
    rows: list[list[str]] = []
    for hours in (24.0, 4.0, 1.0, 1 / 6):
        expected = 0.0
        for work in durations(Plan()):
            dies = 1 - math.exp(-work / (hours * HOUR))
            expected += dies**2
        found = [simulate(replace(Plan(dies_h=hours), seed=seed)).given_up for seed in range(3)]
        rows.append([f"{number(hours)} h", number(expected), number(sum(found) / len(found))])
    head = ["a worker dies every", "expected of 4000: sum of (1 - exp(-work / hours))²", "simulated, mean of 3"]  # fmt: skip
    return table(head, rows)


TABLES = {
    "planning.md": {
        "inputs": inputs,
        "per-million": per_million,
        "decades": decades,
        "indexes": indexes,
        "breaking": breaking,
        "new-model": new_model,
    },
    "worker_failures.md": {"failures": failures, "innocent": innocent},
}


def filled(page: str, text: str) -> str:
    """Text of a page with every table between its marks replaced."""
    for name, make in TABLES[page].items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        assert len(marks.findall(text)) == 1, f"docs/{page} has no place for the table {name!r}"
        text = marks.sub(lambda found, make=make: f"{found[1]}{make()}\n\n{found[2]}", text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables into the pages")
    if parser.parse_args().write:
        for page in TABLES:
            (DOCS / page).write_text(filled(page, (DOCS / page).read_text("utf-8")), "utf-8")
        return
    for tables in TABLES.values():
        for name, make in tables.items():
            print(f"{name}\n\n{make()}\n")


if __name__ == "__main__":
    main()
