"""One worker process, seen from the program that started it."""

from __future__ import annotations

import json
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlar.cancellation import check
from vlar.errors import DecodeCrash, DecodeError, DecodeOutOfMemory, DecodeTimeout, UsageError
from vlar.files.opening import allowed_roots
from vlar.files.resources import size_in_bytes
from vlar.files.workers import transfer
from vlar.files.workers.transfer import N_BLOCKS, Channel, SharedBlock, unpacked

_log = logging.getLogger("vlar.failures")  # shown with --debug
_TIMEOUT_S = 60.0
_MEMORY = "4GB"
_SENSOR_BYTES = 1_600_000_000
_WITH_PICTURES = ("video", "bundle")
_MOST_WORKERS = 4
_TIMES_LENGTH = 2.0  # 4K HEVC of 60 frames a second on a slow core decodes at half its speed


@dataclass(frozen=True)
class FileLimits:
    """Limits of reading one file.

    Attributes:
        timeout_s: Seconds for each result. A file as a whole may take this long and twice its
            length, where a worker reads it.
        memory_bytes: What a worker may allocate beyond what it starts with.
        workers: Worker processes; 0 reads files in this process, without protection.
        roots: Folders that a worker may open files of; None for any.
    """

    timeout_s: float = _TIMEOUT_S
    memory_bytes: int = 4 * 10**9
    workers: int = 1
    roots: tuple[str, ...] | None = None

    @classmethod
    def from_environment(cls) -> FileLimits:
        """``VLAR_FILE_TIMEOUT_S`` (60), ``VLAR_FILE_MEMORY`` (4GB), ``VLAR_DECODE_WORKERS``.

        The default is a worker for every two cores, at least 1 and at most 4.

        Raises:
            UsageError: a variable has no usable value.
        """
        return cls(
            _number("VLAR_FILE_TIMEOUT_S", _TIMEOUT_S, above=0.0),
            size_in_bytes("VLAR_FILE_MEMORY", _MEMORY),
            int(_number("VLAR_DECODE_WORKERS", float(_default_workers()), above=-1.0)),
            allowed_roots(),
        )

    def for_sensor(self, modality: str) -> FileLimits:
        """Limits of a sensor: those of pictures for videos and bundles, 1.6 GB for others.

        A variable of the user's, ``VLAR_FILE_MEMORY``, counts for all.
        """
        if modality in _WITH_PICTURES or os.environ.get("VLAR_FILE_MEMORY"):
            return self
        return replace(self, memory_bytes=min(self.memory_bytes, _SENSOR_BYTES))

    def whole_s(self, duration_s: float) -> float:
        """Seconds that all results of a file of this length may take."""
        return self.timeout_s + _TIMES_LENGTH * max(duration_s, 0.0)


def _default_workers() -> int:
    can_say = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_say else os.cpu_count() or 1
    return max(1, min(cores // 2, _MOST_WORKERS))


def _number(name: str, default: float, above: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not above < value < float("inf"):
        raise UsageError(f"{name} {text!r} is not a usable number; write for example {default:g}")
    return value


# The working folder leaves the path before any import: a stranger's json.py may lie there.
_START = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "import json; sys.path[:] = json.loads(sys.argv[1]); "
    "from vlar.files.workers.child import main; main(sys.argv[2:])"
)
_STEP_S = 0.25
_START_S = 60.0
_SLACK = 1.1  # a reader that keeps its own time limit gives up first, with a better error


class WorkerStartError(Exception):
    """No worker process can be started here."""


class WorkerTimeout(Exception):  # noqa: N818 - a signal that never leaves this package
    """The worker gave nothing in time."""


class WorkerProcess:
    """A warm process that runs one job at a time.

    Args:
        limits: Limits of each file.
        module: What it imports before its first job.

    Attributes:
        is_idle: It waits for a job; False where it is in the middle of one or gone.

    Raises:
        WorkerStartError: the process cannot be started.
    """

    def __init__(self, limits: FileLimits, module: str) -> None:
        self._limits = limits
        self._blocks = [SharedBlock.new() for _ in range(N_BLOCKS)]
        ours, theirs = socket.socketpair()
        # Closed by the system when this program ends, however it ends; the worker watches it.
        watched, self._lifeline = os.pipe()
        self._channel = Channel(ours)
        descriptors = [theirs.fileno(), watched, *(block.descriptor for block in self._blocks)]
        numbers = [*map(str, descriptors), str(limits.memory_bytes)]
        more = [*numbers, json.dumps(limits.roots), module]
        command = [sys.executable, "-c", _START, json.dumps(sys.path), *more]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
        except (OSError, ValueError) as error:
            self._release()
            raise WorkerStartError(str(error)) from error
        finally:
            theirs.close()
            os.close(watched)
        self._is_ready = False
        self.is_idle = True

    @property
    def process_id(self) -> int:
        """Operating-system process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, such as one that the system ended for its memory."""
        return self._process.poll() is not None

    def run(
        self, path: Path, each_s: float, whole_s: float, job: tuple[Callable[..., Any], Any]
    ) -> Iterator[Any]:
        """Yield the results of a function in the worker: its items, or its one result.

        Args:
            path: The file that the job reads, for error messages.
            each_s: Seconds that a result may take.
            whole_s: Seconds that all results may take.
            job: A function of a module that both processes can import, and its arguments.

        Raises:
            DecodeCrash: the worker crashed.
            DecodeTimeout: it gave nothing for too long; it has been ended.
            DecodeOutOfMemory: it took too much memory.
            WorkerStartError: it never became ready.
            VlarError: the function itself raised it.
        """
        each_s, whole_s = _SLACK * each_s, _SLACK * whole_s
        message = pickle.dumps((*job, whole_s, _working_folder()))
        self._wait_until_ready()
        try:
            yield from self._results(path, message, each_s, whole_s)
        except WorkerTimeout:
            self.kill()
            raise _too_slow(path, min(each_s, whole_s)) from None
        except (EOFError, OSError) as error:
            raise self._why_it_ended(path) from error

    def _results(self, path: Path, message: bytes, each_s: float, left_s: float) -> Iterator[Any]:
        self.is_idle = False
        self._channel.send(transfer.JOB, message)
        number = 0
        while True:
            kind, content, waited_s = self._receive(min(each_s, left_s))
            left_s -= waited_s
            if kind == transfer.ITEM:
                item = unpacked(content, self._blocks[number % N_BLOCKS])
                with suppress(OSError):  # it may have crashed since; what it gave before is kept
                    self._channel.send(transfer.TAKEN)
                number += 1
                yield item
            elif kind == transfer.ERROR:
                self.is_idle = True
                error, origin = pickle.loads(content)
                _log.debug("in the worker that reads %s: %s", path, origin)
                if isinstance(error, MemoryError):
                    error = _too_much_memory(path, self._limits)
                raise error
            else:
                self.is_idle = True
                return

    def _receive(self, limit_s: float) -> tuple[bytes, bytes, float]:
        """The next message and how long it took to come.

        Time is counted in short steps: a program that was stopped for an hour and goes on has not
        waited for an hour.

        Raises:
            WorkerTimeout: the limit is over.
            Cancelled: nobody waits for the result.
        """
        waited_s = 0.0
        while True:
            check()
            step_s = min(_STEP_S, limit_s - waited_s)
            if step_s <= 0:
                raise WorkerTimeout
            if select.select([self._channel.connection], [], [], step_s)[0]:
                return *self._channel.receive(), waited_s
            waited_s += step_s

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            kind, content, _ = self._receive(_START_S)
        except (WorkerTimeout, EOFError, OSError) as error:
            self.kill()
            raise WorkerStartError(f"it ended with {self._process.returncode}") from error
        if kind != transfer.READY:
            raise WorkerStartError(content.decode(errors="replace"))
        self._is_ready = True

    def _why_it_ended(self, path: Path) -> DecodeError:
        """The error of a file whose worker is gone."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.kill()
        code = self._process.returncode
        if code == transfer.EXIT_MEMORY:
            return _too_much_memory(path, self._limits)
        name = f"exit code {code}"
        if code < 0:
            name = signal.Signals(-code).name
        return DecodeCrash(
            f"{path}: its decoder crashed ({name}) and was stopped; the file is damaged: copy or "
            "re-encode it"
        )

    def kill(self) -> None:
        """End the process now, whatever it does. It may be called twice, and from any thread."""
        self.is_idle = False
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and give its memory back."""
        self.kill()
        self._release()

    def _release(self) -> None:
        self._channel.connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        for block in self._blocks:
            block.close()


def _working_folder() -> str | None:
    """The folder that relative paths of a job start from; None where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - a text, as it is sent
    except OSError:
        return None


def _too_slow(path: Path, limit_s: float) -> DecodeTimeout:
    return DecodeTimeout(
        f"{path}: no result within {limit_s:g} s, so its reading was stopped; the file is "
        "damaged or very slow to decode: re-encode it or raise VLAR_FILE_TIMEOUT_S"
    )


def _too_much_memory(path: Path, limits: FileLimits) -> DecodeOutOfMemory:
    """The error of a file that takes more memory than a worker has."""
    return DecodeOutOfMemory(
        f"{path}: reading it takes more than {limits.memory_bytes / 1e9:g} GB of memory; the file "
        "is damaged or its pictures are too large: re-encode it or raise VLAR_FILE_MEMORY"
    )
