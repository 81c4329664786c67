"""Mapped rows are encoded while nobody asks, and not while somebody does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.library.maintain.test_lazy_upgrade import made, old
from tests.unit.library.maintain.test_upgrade import PartModel
from vlar.apps.serve import job_child
from vlar.apps.serve.idle import IdleEncoder
from vlar.library.ingest.request import AddRequest
from vlar.library.library import Library
from vlar.library.rows import AddReport

__all__ = ["made", "old"]
#: Reads its job, and ends when its input closes; the second one ends by itself.
CHILD = """
import json, sys, threading, os
job = json.loads(sys.stdin.readline())
assert job["kind"] == "encode" and 0 < job["minutes"] <= 5, job
if sys.argv[1] == "waits":
    sys.stdin.read()
else:
    print(json.dumps({"event": "done", "report": {"rows": 4, "mapped": int(sys.argv[1])}}))
"""


class Starts:
    """Starts processes, and counts them."""

    def __init__(self, *kinds: str) -> None:
        self.kinds, self.count, self.running = list(kinds), 0, threading.Event()

    def __call__(self) -> subprocess.Popen[str]:
        kind = self.kinds[min(self.count, len(self.kinds) - 1)]
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.count += 1
        self.running.set()
        return process


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def encoder(starts: Starts, minutes: float = 5, busy: bool = False) -> IdleEncoder:
    spec = {"library": "l", "model": "m", "roots": []}
    return IdleEncoder(spec, minutes, lambda: busy, idle_s=0.01, start=starts)


def test_it_stops_for_a_request_starts_again_and_ends_when_all_is_encoded():
    starts = Starts("waits", "3", "0")
    idle = encoder(starts)
    starts.running.wait(30)

    async def asking() -> None:
        async with idle.paused():
            assert not idle.is_running
            assert starts.count == 1
            await asyncio.sleep(0.1)  # longer than it waits between requests
            assert starts.count == 1

    asyncio.run(asking())
    until(lambda: starts.count == 3 and not idle._thread.is_alive())
    idle.close()


def test_it_waits_for_jobs_and_has_a_budget():
    never = Starts("0")
    for idle in (encoder(never, busy=True), encoder(never, minutes=0)):
        time.sleep(0.05)
        idle.close()
    assert never.count == 0
    starts = Starts("3")
    idle = encoder(starts, minutes=1e-9)
    until(lambda: not idle._thread.is_alive())
    assert starts.count == 1
    idle.close()


def test_closing_ends_what_runs():
    starts = Starts("waits")
    idle = encoder(starts)
    starts.running.wait(30)
    idle.close()
    assert not idle.is_running
    assert not idle._thread.is_alive()


def test_the_job_encodes_mapped_rows(old: Path, monkeypatch: pytest.MonkeyPatch):
    later = PartModel(1, base="two")
    with Library(old, later) as library:
        library.upgrade(lazy=True)
    job = {"library": str(old), "model": later, "minutes": 5.0}
    assert job_child._JOBS["encode"](job, lambda _: None) == {"rows": 8, "mapped": 0}
    assert job_child._JOBS["encode"](job, lambda _: None) == {"rows": 0, "mapped": 0}


@pytest.mark.parametrize("facts", [{"retry": True}, {"options": {"retry": True}}])
def test_an_add_that_an_older_server_left_keeps_its_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, object]
):
    asked = list[bool]()

    def ingest(_: Library, request: AddRequest) -> AddReport:
        asked.append(request.retry)
        return AddReport(0, 0, 0, 0, (), 0)

    monkeypatch.setattr(Library, "ingest", ingest)
    job = {"library": str(tmp_path / "l.vlar"), "model": None, "paths": [], "tags": {}, **facts}
    job_child._JOBS["add"](job, lambda _: None)
    assert asked == [True]
