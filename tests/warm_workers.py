"""Keeps the worker processes that read recordings from test to test: a start takes longer than
most tests.

Each is a real worker, and is used again only where a new one would be the same: equal limits,
reader, environment, working folder and user. Tests of workers themselves get new ones.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Hashable
from pathlib import Path

from vlar.files.workers import pool
from vlar.files.workers.process import FileLimits, WorkerProcess

MOST = 4
# Folders and files of tests that read many recordings; the others, and OWN, have new workers.
KEEP = {
    *("apps", "contract", "evaluation", "library", "lite", "media", "model"),
    *("test_old_formats.py", "test_test_time.py", "test_transvae.py", "test_whole_clips.py"),
}
OWN = (
    "test_lookup.py",
    "test_processes.py",
    "test_several_processes.py",
    "test_failed_files.py",
    "test_runners.py",
)


class KeptWorker(WorkerProcess):
    """A worker that waits for the next pool when its own is closed."""

    waiting: list[KeptWorker] = []  # noqa: RUF012 - one list for all
    lock = threading.Lock()

    def __init__(self, limits: FileLimits, module: str) -> None:
        self.key = _key(limits, module)
        super().__init__(limits, module)

    def close(self) -> None:
        """Wait for another pool; end where it is at work, gone, or one too many."""
        leaves: list[KeptWorker] = [self]
        if self.is_idle and self._is_ready and not self.has_ended:
            with self.lock:
                self.waiting.append(self)
                leaves = self.waiting[:-MOST]
                del self.waiting[:-MOST]
        for worker in leaves:
            worker.end()

    def end(self) -> None:
        """What ``close`` does to any other worker."""
        super().close()


def take(limits: FileLimits, module: str) -> WorkerProcess:
    """A waiting worker that is as a new one would be, or a new one."""
    if not module.startswith("vlar.media."):
        return WorkerProcess(limits, module)  # it may hold a model
    key = _key(limits, module)
    with KeptWorker.lock:
        found = next((each for each in KeptWorker.waiting if each.key == key), None)
        if found is not None:
            KeptWorker.waiting.remove(found)
    if found is None:
        return KeptWorker(limits, module)
    if found.has_ended:
        found.end()
        return take(limits, module)
    return found


def _key(limits: FileLimits, module: str) -> Hashable:
    variables = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    user = getattr(os, "geteuid", int)()
    return limits, module, tuple(sys.path), frozenset(variables.items()), Path.cwd(), user


def choose(test: Path) -> None:
    """Keep workers from now on where the test of this file only reads with them."""
    keep = KEEP & set(test.parts) and test.name not in OWN
    setattr(pool, "WorkerProcess", take if keep else WorkerProcess)  # noqa: B010 - for tests
