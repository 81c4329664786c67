"""Queries of 1, 8 and 32 callers over loopback while recordings are added; memory and errors.

Usage: ``python benchmarks/serve_load.py [--seconds 8] [--windows 20000] [--servers 1]``

A library of synthetic rows is served by the real command in a process of its own. An ``add`` of
made recordings runs as a job all the time. Each caller keeps one connection and asks for phrases of
the bank of everyday actions, one after the other. Memory is the resident set of the server, without
that of the job's process. Processor time of a query is that of the server, all threads together.
The base is ``Library.query`` in this process, one phrase after another, asked before the add and
after it: the ratio of a waiting time to its p50 holds on a machine with other work, whose load is
printed. Several servers share the library, and callers choose one in turn.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.language.bank import load_bank
from vlar.library.library import Library
from vlar.library.shard_reading import VectorVideo
from vlar.model.model import load
from vlar.numeric import unit
from vlar.types import Window

CALLERS = (1, 8, 32)
_ROWS_A_VIDEO = 100
_BASE_QUERIES = 40
_WARM_S = 3.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row for each number of callers."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each number of callers")
    parser.add_argument("--windows", type=int, default=20_000, help="rows of the library")
    parser.add_argument("--servers", type=int, default=1, help="processes that answer")
    parser.add_argument("--clips", type=int, default=150, help="recordings of the running add")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        _measure(Path(place), options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    clips = folder / "clips"
    clips.mkdir()
    _make_clips(clips, options.clips)
    library = _made_library(folder / "load.vlar", options.windows)
    command = [sys.executable, "-c", "from vlar.apps.cli import main; main()", "serve"]
    given = [str(library.path), "--port", "0", "--root", str(clips), "--state"]
    servers = [
        subprocess.Popen(
            [*command, *given, str(folder / f"state{number}")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for number in range(options.servers)
    ]  # fmt: skip
    try:
        ports = [_port(server) for server in servers]
        before = _base_ms(library)
        job = _ask(ports[0], "POST", "/api/jobs", {"paths": [str(clips)]})["id"]
        _load(ports, max(CALLERS), _WARM_S)
        rows = [_row(ports, callers, options.seconds, job) for callers in CALLERS]
        _ask(ports[0], "POST", f"/api/jobs/{job}/cancel")
        after = _base_ms(library)
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    plain = [float(np.median(before[0] + after[0])), (before[1] + after[1]) / 2]
    print(
        f"Library.query alone: p50 {plain[0]:.0f} ms (before the add {np.median(before[0]):.0f}, "
        f"after it {np.median(after[0]):.0f}), {plain[1]:.0f} ms of processor time; "
        f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores, {options.servers} servers\n"
    )
    print("| callers | queries | p50 ms | p95 ms | p95 / plain p50 | CPU ms | errors | MB | add |")
    print("|---|---|---|---|---|---|---|---|---|")
    for callers, times_ms, *others in rows:
        p50, p95 = np.percentile(times_ms, (50, 95))
        row = [callers, len(times_ms), f"{p50:.0f}", f"{p95:.0f}", f"{p95 / plain[0]:.1f}", *others]
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def _port(server: subprocess.Popen[bytes]) -> int:
    """The port of a server that answers."""
    address = server.stdout.readline().decode().strip() if server.stdout else ""
    port = int(address.rstrip("/").rpartition(":")[2])
    while not _ask(port, "GET", "/api/health")["ready"]:
        time.sleep(0.1)
    return port


def _row(ports: list[int], callers: int, seconds: float, job: str) -> list[Any]:
    """Callers, waiting times, processor ms a query, errors, memory, and how far the add is."""
    before_s = sum(_figures(port)[1] for port in ports)
    times_ms, errors = _load(ports, callers, seconds)
    state = _ask(ports[0], "GET", f"/api/jobs/{job}")
    figures = [_figures(port) for port in ports]
    cpu_ms = 1000 * (sum(cpu_s for _, cpu_s in figures) - before_s) / len(times_ms)
    memory, add = f"{figures[0][0]:.0f}", f"{state['state']}, {state['done']} of {state['total']}"
    return [callers, times_ms, f"{cpu_ms:.0f}", errors, memory, add]


def _base_ms(library: Library) -> tuple[list[float], float]:
    """Waiting times of plain queries, and processor ms of one."""
    times_ms, begin_s = list[float](), time.process_time()
    for text in load_bank("everyday_actions").texts[1 : 1 + _BASE_QUERIES]:
        asked_s = time.monotonic()
        library.query(text)
        times_ms.append(1000 * (time.monotonic() - asked_s))
    return times_ms, 1000 * (time.process_time() - begin_s) / _BASE_QUERIES


def _load(ports: list[int], callers: int, seconds: float) -> tuple[list[float], int]:
    """Milliseconds of each query that was answered, and how many were not."""
    phrases = load_bank("everyday_actions").texts
    times_ms: list[float] = []
    errors = [0]
    end_s = time.monotonic() + seconds

    def call(number: int) -> None:
        port = ports[number % len(ports)]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        at = number * 17
        while time.monotonic() < end_s:
            at += 1
            begin_s = time.monotonic()
            body = {"text": phrases[at % len(phrases)]}
            status, _ = _request(connection, "POST", "/api/query", body)
            times_ms.append(1000 * (time.monotonic() - begin_s))
            errors[0] += status != 200
        connection.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times_ms, errors[0]


def _ask(port: int, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    status, content = _request(connection, method, path, body)
    connection.close()
    if status >= 300:
        raise SystemExit(f"{method} {path}: {status} {content!r}")
    return content if path == "/metrics" else json.loads(content)


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any
) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body)
    headers = {} if body is None else {"content-type": "application/json"}
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _figures(port: int) -> tuple[float, float]:
    """MB of memory and seconds of processor time of the server."""
    text = _ask(port, "GET", "/metrics").decode()
    names = "process_resident_memory_bytes", "process_cpu_seconds_total"
    found = [re.search(rf"^{name} (\S+)", text, re.M) for name in names]
    memory, cpu_s = (float(each[1]) if each else float("nan") for each in found)
    return memory / 1e6, cpu_s


def _made_library(path: Path, windows: int) -> Library:
    """A library of random rows near the concepts of everyday actions."""
    model = load("lite")
    texts = load_bank("everyday_actions").texts
    concepts = model.encode_queries(texts)
    random = np.random.default_rng(7)
    spans = [Window(2.0 * at, 2.0 * at + 4.0) for at in range(_ROWS_A_VIDEO)]

    def made(number: int) -> VectorVideo:
        near = concepts[random.integers(len(concepts), size=_ROWS_A_VIDEO)]
        noise = random.standard_normal(near.shape).astype(np.float32) / np.sqrt(near.shape[1])
        return VectorVideo(f"/made/{number}.mp4", spans, unit(near + noise))

    library = Library(path, model)
    library.add_vectors(made(number) for number in range(windows // _ROWS_A_VIDEO))
    library.query(texts[0])
    return library


def _make_clips(folder: Path, count: int) -> None:
    """Recordings of two seconds of noise, each of its own content."""
    import av

    for number in range(count):
        random = np.random.default_rng(number)
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height = 160, 120
            for _ in range(20):
                picture = random.integers(0, 256, (120, 160, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
