"""Jobs: work that takes longer than a request, one at a time, in a process of its own.

A job is a JSON file in the server's folder. A server that stops, or is killed, starts its
unfinished jobs again when it comes back; an ``add`` then resumes where it stopped.
"""

from __future__ import annotations

import json
import queue
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from vlar.apps.serve.errors import ServeError, busy, split
from vlar.errors import one_line
from vlar.files.reading import MB, parse_json, read_file
from vlar.files.replacing import replacing
from vlar.types import JsonDict

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"


@dataclass
class Job:
    """One job.

    Attributes:
        id: Names it.
        kind: ``add``, ``adapt``, ``evaluate`` or ``review``.
        title: What it does, for people.
        spec: What its process is given; it is not shown.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        done: Recordings or examples handled.
        total: Recordings or examples in all; None before that is known.
        current: What was handled last.
        part: Share (0 to 1) of the recording in work that is encoded.
        failures: What could not be read, at most 50.
        failed: How many could not be read.
        report: What it did, at its end.
        error: What ended it: ``error``, ``fix`` and ``kind``.
        created_s: Seconds since 1970.
        ended_s: Likewise; None before its end.
        starts: How often it was started.
    """

    id: str
    kind: str
    title: str
    spec: JsonDict
    state: str = QUEUED
    done: int = 0
    total: int | None = None
    current: str | None = None
    part: float = 0.0
    failures: list[str] = field(default_factory=list[str])
    failed: int = 0
    report: JsonDict | None = None
    error: JsonDict | None = None
    created_s: float = field(default_factory=time.time)
    ended_s: float | None = None
    starts: int = 0

    @property
    def is_resumable(self) -> bool:
        """Whether to start it again can help: it was cancelled, or what ended it may pass."""
        is_lasting = self.error is not None and self.error["kind"] in _FOR_GOOD
        return self.state in (FAILED, CANCELLED) and not is_lasting

    def to_dict(self, *, brief: bool = False) -> JsonDict:
        """The JSON object of the server; a brief one leaves out what a report lists."""
        facts = {**asdict(self), "resumable": self.is_resumable}
        del facts["spec"]
        if brief and self.report is not None:
            facts["report"] = {k: v for k, v in self.report.items() if k not in _LISTED}
        return facts


_LISTED = ("clips", "comparison", "items")
_ENDED = (DONE, FAILED, CANCELLED)
# Kinds of errors that the same job meets again: what it was asked for cannot be done.
_FOR_GOOD = frozenset(
    {"usage", "unknown_name", "labels", "support", "dataset", "query", "model", "package"}
    | {"encoder_mismatch", "training"}
)
_ID = re.compile(r"[0-9a-f]{16}")
_MOST_NAMED = 50  # failures that a job names
_MOST_KEPT = 100  # jobs that are listed
_MOST_BYTES = 8 * MB  # of the file of a job
_SAVE_S = 2.0
_STOP_S = 8.0
# As in ``vlar.files.workers``: the working folder leaves the path before any import.
_START = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "import json; sys.path[:] = json.loads(sys.argv[1]); "
    "from vlar.apps.serve.job_child import main; main()"
)


class Jobs:
    """The jobs of one server.

    Args:
        folder: For their files.
        most: Jobs that may wait.
        allowed: Called with a job before its process starts; raises where it may not run.
        ended: Called with a job after its end.
        roots: Folders whose recordings a job may read.

    Attributes:
        hidden: More folders that messages do not name.
        roots: As given.
    """

    def __init__(
        self,
        folder: Path,
        most: int,
        allowed: Callable[[Job], None],
        ended: Callable[[Job], None],
        roots: Sequence[str | Path] = (),
    ) -> None:
        self.roots = [str(root) for root in roots]
        self.hidden: Sequence[str | Path] = ()
        self._folder, self._most, self._allowed, self._ended = folder, most, allowed, ended
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False
        self._read()
        self._thread = threading.Thread(target=self._work, name="vlar-jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the running job; it is queued, so that the next server resumes it."""
        with self._lock:
            self._is_closed = True
            self._stop_process()
        self._queue.put(None)
        self._thread.join(_STOP_S)

    def all(self) -> list[Job]:
        """The jobs, the newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: -job.created_s)

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            ServeError: 404 where none has this id.
        """
        job = self._jobs.get(job_id)
        if job is None:
            error = f"no job {one_line(job_id)[:40]!r}"
            raise ServeError(404, error, "list them: GET /api/jobs", "not_found")
        return job

    def start(self, kind: str, title: str, spec: JsonDict) -> Job:
        """Queue a job.

        Raises:
            ServeError: 503 where too many wait.
        """
        with self._lock:
            waiting = sum(job.state not in _ENDED for job in self._jobs.values())
            if waiting >= self._most:
                raise busy("jobs")
            job = Job(secrets.token_hex(8), kind, one_line(title), spec)
            self._jobs[job.id] = job
            self._save(job)
            self._forget()
        self._queue.put(job.id)
        return job

    def cancel(self, job_id: str) -> Job:
        """End a job; what it finished is kept.

        Raises:
            ServeError: 404 where none has this id, 409 where it has ended.
        """
        with self._lock:
            job = self.get(job_id)
            if job.state in _ENDED:
                raise ServeError(409, f"job {job.id} is {job.state}", "start a new one", "ended")
            was_running = job.state == RUNNING
            self._end(job, CANCELLED)
            if was_running:
                self._stop_process()
        return job

    def resume(self, job_id: str) -> Job:
        """Queue a job again that failed or was cancelled.

        Raises:
            ServeError: 404 where none has this id, 409 where it waits, runs or is done.
        """
        with self._lock:
            job = self.get(job_id)
            if job.state not in (FAILED, CANCELLED):
                fix = "only a job that failed or was cancelled can be resumed"
                raise ServeError(409, f"job {job.id} is {job.state}", fix, "not_ended")
            job.state, job.error, job.ended_s = QUEUED, None, None
            job.failures, job.failed, job.done = [], 0, 0
            self._save(job)
        self._queue.put(job.id)
        return job

    # The thread that runs jobs

    def _work(self) -> None:
        while (job_id := self._queue.get()) is not None:
            with self._lock:
                job = self._jobs.get(job_id)
                if job is None or job.state != QUEUED or self._is_closed:
                    continue
                job.state = RUNNING
                job.starts += 1
                self._save(job)
            try:
                self._allowed(job)
                self._run(job)
            except Exception as problem:  # noqa: BLE001 - a job may fail, the thread may not
                self._stop_process()
                self._fail(job, getattr(problem, "message", one_line(repr(problem))), "job")
            if self.get(job_id).state in _ENDED:
                self._ended(job)

    def _run(self, job: Job) -> None:
        with self._lock:
            if job.state != RUNNING or self._is_closed:
                return
            process = self._process = job_process()
        tell(process, {"kind": job.kind, **job.spec, "roots": self.roots})
        saved_s = time.monotonic()
        for line in _pipe(process.stdout):
            with self._lock:
                self._note(job, json.loads(line))
            if time.monotonic() - saved_s > _SAVE_S:
                self._save(job)
                saved_s = time.monotonic()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                _pipe(stream).close()
        with self._lock:
            self._process = None
            if job.state == RUNNING and self._is_closed:
                job.state = QUEUED
                self._save(job)
            elif job.state == RUNNING:
                code = process.returncode
                self._fail(job, f"its process ended with {code}; resume it", "crash")

    def _note(self, job: Job, event: JsonDict) -> None:
        if job.state != RUNNING:
            return
        if event["event"] == "progress":
            job.done = event["done"]
            job.total = event["total"] if event["total"] is not None else job.total
            job.current = event["path"] or job.current
            job.part = event.get("part", 0.0)
            if event["failure"] is not None:
                job.failed += 1
                job.failures = [*job.failures, self._shown(event["failure"])][:_MOST_NAMED]
        elif event["event"] == "done":
            job.report = event["report"]
            self._end(job, DONE)
        elif event["event"] == "error":
            self._fail(job, event["message"], event["kind"])

    def _fail(self, job: Job, message: str, kind: str) -> None:
        with self._lock:
            if job.state in _ENDED:
                return
            error, fix = split(self._shown(message))
            job.error = {"error": error, "fix": fix, "kind": kind}
            self._end(job, FAILED)

    def _shown(self, message: str) -> str:
        """A message without the folders of the server: a file is named as inside its root."""
        folders = [*self.roots, *map(str, self.hidden)]
        for folder in sorted(folders, key=len, reverse=True):
            message = message.replace(f"{folder.rstrip('/')}/", "")
        return message

    def _end(self, job: Job, state: str) -> None:
        job.state, job.ended_s = state, time.time()
        self._save(job)

    def _stop_process(self) -> None:
        """Ask the process to stop by closing its input; kill it where it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            _pipe(process.stdin).close()

        def kill() -> None:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

        threading.Thread(target=kill, daemon=True).start()

    # Files

    def _read(self) -> None:
        for file in sorted(self._folder.glob("*.json")):
            if not _ID.fullmatch(file.stem):
                continue
            try:
                job = Job(**parse_json(read_file(file, _MOST_BYTES, links=False)))
            except (OSError, ValueError, TypeError):
                continue  # half written: it never began
            self._jobs[job.id] = job
        for job in sorted(self._jobs.values(), key=lambda job: job.created_s):
            if job.state not in _ENDED:
                job.state = QUEUED
                self._queue.put(job.id)

    def _save(self, job: Job) -> None:
        file = self._folder / f"{job.id}.json"
        with suppress(OSError), replacing(file, durable=False) as part:  # of a full disk
            part.write_text(json.dumps(asdict(job)), "utf-8")

    def _forget(self) -> None:
        """Drop the oldest jobs that have ended."""
        ended = [job for job in self.all() if job.state in _ENDED]
        for job in ended[_MOST_KEPT:]:
            del self._jobs[job.id]
            (self._folder / f"{job.id}.json").unlink(missing_ok=True)


def job_process() -> subprocess.Popen[str]:
    """A process of ``vlar.apps.serve.job_child`` that waits for its job."""
    return subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C reaches the server, which ends its jobs itself
    )


def tell(process: subprocess.Popen[str], spec: JsonDict) -> None:
    """Give a process its job; one that has ended already shows by its output."""
    with suppress(OSError, ValueError):
        _pipe(process.stdin).write(json.dumps(spec) + "\n")
        _pipe(process.stdin).flush()


def _pipe(stream: IO[str] | None) -> IO[Any]:
    if stream is None:
        raise OSError("the process has no pipe")
    return stream
