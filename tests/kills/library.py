"""Losses of a library when a changing process is killed: kill -9 at random moments.

A child makes one change after another to one library: adds videos, replaces some, removes some,
compacts, retrains the index. It prints each change before it starts and again after its commit.
It is killed at a random moment; then
1. the library opens, and ``verify`` finds nothing wrong;
2. every finished change is there, bit for bit, and the interrupted one is there completely or not
   at all;
3. a search of all rows gives exactly the live ones.
The next child continues with the same library, so damage would add up.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.model.library_model import LibraryModel

DIM, VIDEOS, MOST_ROWS = 32, 60, 24
State = dict[str, str]  # path: hash of its rows


class FakeModel(LibraryModel):
    """Only its texts are asked for."""

    name, fingerprint, dim, n_frames, shorter_side = "fake", "fake-1", DIM, 4, 64
    modality = "video"

    def encode(self, clips: Any) -> Any:
        raise NotImplementedError

    def encode_queries(self, texts: Any) -> Any:
        return vectors(len(texts), len(texts))

    def match_probability(self, vectors: Any, query: Any) -> Any:
        raise NotImplementedError


def vectors(count: int, seed: int) -> Any:
    drawn = np.random.default_rng(seed).normal(size=(count, DIM))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def made(number: int, seed: int) -> Any:
    """Video ``number`` in a version of its own."""
    from vlar.library.ingest.shard_reading import VectorVideo
    from vlar.types import Window

    count = 1 + seed % MOST_ROWS
    windows = [Window(2.0 * place, 2.0 * place + 4) for place in range(count)]
    return VectorVideo(f"/made/{number}.mp4", windows, vectors(count, seed))


def digest(blobs: list[bytes]) -> str:
    return hashlib.sha256(b"".join(blobs)).hexdigest()


def digest_of(video: Any) -> str:
    return digest([vector.tobytes() for vector in video.vectors.astype("<f2")])


def child(folder: str, seed: int) -> None:
    """Change the library until killed."""
    from vlar.library.library import Library

    draw = random.Random(seed)
    with Library(folder, FakeModel()) as library:
        while True:
            deed = draw.choices(
                ["add", "remove", "compact", "retrain", "query"], [5, 3, 1.5, 1.5, 2]
            )[0]
            changed: dict[str, str | None] = {}
            videos: list[Any] = []
            numbers = sorted({draw.randrange(VIDEOS) for _ in range(draw.randint(1, 20))})
            if deed == "add":
                videos = [made(number, draw.randrange(1 << 30)) for number in numbers]
                changed = {video.path: digest_of(video) for video in videos}
            if deed == "remove":
                changed = {f"/made/{number}.mp4": None for number in numbers}
            print(json.dumps({"begin": deed, "changed": changed}), flush=True)
            if deed == "add":
                library.add_vectors(videos)
            elif deed == "remove":
                library.remove(list(changed))
            elif deed == "compact":
                library.compact(kind=draw.choice(["flat", "ivf", "ivf-sq8"]))
            elif deed == "retrain":
                library.compact(retrain=True)
            elif library.info().rows:
                library.nearest(vectors(1, 1)[0])
            print(json.dumps({"done": deed}), flush=True)


def killed(folder: Path, seed: int, after_s: float) -> tuple[list[dict[str, Any]], int]:
    """The lines of a child that was killed so long after its first one, and its exit status."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    timer: threading.Timer | None = None
    for text in process.stdout:
        if text.endswith("\n"):
            lines.append(json.loads(text))
        if timer is None:
            timer = threading.Timer(after_s, process.send_signal, [signal.SIGKILL])
            timer.start()
    code = process.wait()
    if code != -signal.SIGKILL and process.stderr is not None:
        print(process.stderr.read())
    return lines, code


def possible(state: State, lines: list[dict[str, Any]]) -> Iterator[State]:
    """Yield possible contents of the library: all finished changes, with and without the current
    one.
    """
    held = dict(state)
    begun: dict[str, Any] = {}
    for said in lines:
        begun = said if "begin" in said else {}
        if "done" in said or not said["changed"]:
            continue
        after = {**held, **said["changed"]}
        last, held = held, {path: value for path, value in after.items() if value is not None}
        if said is lines[-1]:
            yield last
    del begun
    yield held


def held_by(library: Any) -> State:
    store = library._connection.reader()
    if store is None:
        return {}
    blobs: dict[str, list[bytes]] = {}
    for path, vector in store.fetch(
        "SELECT path, vector FROM videos LEFT JOIN rows ON video_id = videos.id "
        "ORDER BY path, start_s"
    ):
        blobs.setdefault(path, []).append(vector or b"")  # none: no row
    return {path: digest(rows) for path, rows in blobs.items()}


def check(folder: Path, expected: list[State]) -> tuple[State, list[str]]:
    """Contents of the library, and its faults."""
    from vlar.library.library import Library

    if not folder.exists():
        return {}, [] if {} in expected else ["the library is gone"]
    wrong: list[str] = []
    with Library(folder) as library:
        held = held_by(library)
        if held not in expected:
            wrong.append("rows lost or in part")
        wrong += [problem.message for problem in library.verify()]
        rows = library.info().rows
        if rows:
            hits = library.nearest(vectors(1, 7)[0], rows + 10)
            found = Counter(hit.path for hit in hits)
            listed = Counter({row.path: row.windows for row in library.videos()})
            if found != listed:
                wrong.append(f"the search gives {len(hits)} of {rows} rows")
        wrong += [problem.message for problem in library.verify()]
    return held, wrong


def faults(folder: Path, kills: int, seed: int = 0) -> tuple[list[str], int]:
    """What is wrong after each kill, and the number of finished changes."""
    draw = random.Random(seed)
    state: State = {}
    wrong: list[str] = []
    changes = 0
    for _ in range(kills):
        lines, code = killed(folder, draw.randrange(1 << 30), draw.uniform(0, 0.6))
        changes += sum("done" in line for line in lines)
        state, problems = check(folder, list(possible(state, lines)))
        wrong += problems
        if code != -signal.SIGKILL:
            wrong.append(f"the child ended with {code}")
    return wrong, changes


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
