"""``processes``: several encoders on this machine, each in a process and on a device of its own."""

from __future__ import annotations

import pickle
import queue
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

from vlar.errors import DecodeCrash, DecodeOutOfMemory, DecodeTimeout, UsageError
from vlar.files.workers.pool import WorkerPool, can_isolate
from vlar.files.workers.process import FileLimits, WorkerStartError
from vlar.library.ingest.runners.base import MEMORY, LostJobs, Runner
from vlar.library.ingest.worker_tasks import (
    DecodedPart,
    EncodedPart,
    PartEncoder,
    ReadJob,
    Setup,
    decode,
)
from vlar.library.model_provider import LoadModel
from vlar.media.base import Reader
from vlar.media.lookup import IsolatedReader, reader
from vlar.registry import register

_WAITING_BYTES = 32 << 20  # of clips that wait for an encoder
_CALL_BYTES = 16 << 20  # of clips that go to an encoder together
_CALL_S = 3600.0  # a model may take minutes to load
_ANY_MEMORY = 1 << 60  # a GPU's driver reserves far more addresses than it uses


_MOST_PROCESSES = 256


def devices_of(text: str) -> tuple[str, ...]:
    """A list of devices, one for each encoder.

    >>> devices_of("cpu:2"), devices_of("cuda:0,cuda:1")
    (('cpu', 'cpu'), ('cuda:0', 'cuda:1'))

    Raises:
        UsageError: it is not such a list.
    """
    devices: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"(cpu)(?::(\d+))?|(?:cuda|mps)(?::\d+)?", name)
        if match is None:
            raise UsageError(
                f"--runner processes:{text}: {name!r} is not a device; write cpu:2 or cuda:0,cuda:1"
            )
        devices += ["cpu"] * int(match[2] or 1) if match[1] else [name]
    if not 1 <= len(devices) <= _MOST_PROCESSES:
        raise UsageError(
            f"--runner processes:{text}: {len(devices)} encoders; 1 to {_MOST_PROCESSES} can run"
        )
    return tuple(devices)


@register("runner", "processes")
class ProcessRunner(Runner):
    """One pool of decoders and one encoder a device; results return to this process.

    Args:
        devices: Devices of each encoder: ``("cpu", "cpu")``, ``("cuda:0", "cuda:1")``.
        load: Loads the model on a device, a function that pickle carries; None loads it by name.
    """

    name = "processes"

    def __init__(
        self, devices: Sequence[str] = ("cpu", "cpu"), load: LoadModel | None = None
    ) -> None:
        self._devices, self.load = tuple(devices), load
        self._pools: list[WorkerPool] = []

    @classmethod
    def from_spec(cls, argument: str, device: str | None = None) -> ProcessRunner:
        """One encoder on each device of a list, such as ``cpu:2``; without one two of them."""
        return cls(devices_of(argument) if argument else (device or "cpu",) * 2)

    def start(self, setup: Setup) -> ProcessRunner:
        """Refuse what worker processes cannot load; they start with the first job."""
        super().start(setup)
        self._packed = _packed(setup)
        if not can_isolate(type(self)):
            raise UsageError("no worker process can be started here; add without --runner")
        limits = FileLimits(_CALL_S, _ANY_MEMORY)
        self._pools = [WorkerPool(limits, module=__name__) for _ in self._devices]
        return self

    def close(self) -> None:
        for pool in self._pools:
            pool.close()

    def run(
        self, jobs: Sequence[ReadJob], *, alone: bool = False
    ) -> Iterator[EncodedPart | LostJobs]:
        """Decode in threads that use the decoder processes, encode in the encoder processes."""
        limits = FileLimits.from_environment()
        source = reader(self._setup.manifest.modality)
        flow = _Flow(jobs, alone)
        with ExitStack() as stack:
            if limits.workers > 0 and source.isolate and can_isolate(type(source)):
                pool = stack.enter_context(WorkerPool(limits, module=type(source).__module__))
                source = IsolatedReader(source, pool)
            pools = self._pools[:1] if alone else self._pools
            decoders = 1 if alone else max(1, limits.workers)
            work = [partial(self._decode, flow, source)] * decoders
            devices = zip(pools, self._devices, strict=False)
            work += [partial(self._encode, flow, pool, device) for pool, device in devices]
            stack.callback(flow.join)
            stack.callback(self._end_jobs, flow, source)
            flow.begin(work, decoders)
            yield from flow.results()

    def _end_jobs(self, flow: _Flow, source: Reader) -> None:
        """Let no thread wait any longer for a worker."""
        if flow.stop():
            for pool in self._pools:
                pool.end_jobs()
            if isinstance(source, IsolatedReader):
                source.close()

    def _decode(self, flow: _Flow, source: Reader) -> None:
        while (job := flow.next_job()) is not None:
            try:
                for part in decode(job, self._setup, source):
                    if not flow.put(part):
                        return
            except MemoryError:
                flow.found([LostJobs((job.number,), MEMORY)], 0)

    def _encode(self, flow: _Flow, pool: WorkerPool, device: str) -> None:
        while parts := flow.take():
            flow.found(_encoded(pool, self._packed, device, parts), len(parts))


def _packed(setup: Setup) -> bytes:
    try:
        return pickle.dumps(setup)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"the model cannot be loaded by another process ({error}); open the library with the "
            "name of a model"
        ) from error


def _encoded(
    pool: WorkerPool, setup: bytes, device: str, parts: Sequence[DecodedPart]
) -> list[EncodedPart | LostJobs]:
    """Encoded parts; their jobs are lost where the encoder is."""
    jobs = tuple(dict.fromkeys(part.job for part in parts))
    try:
        return pool.call(Path(f"encoder on {device}"), 0.0, encode_here, setup, device, parts)
    except DecodeOutOfMemory as error:
        return [LostJobs(jobs, MEMORY, error.message)]
    except (DecodeCrash, DecodeTimeout):
        return [LostJobs(jobs)]
    except WorkerStartError as error:
        raise UsageError(f"no encoder can be started on {device} ({error})") from error


def encode_here(setup: bytes, device: str, parts: Sequence[DecodedPart]) -> list[EncodedPart]:
    """Runs in a worker process: encode parts with the model that stays loaded in it."""
    return list(_encoder(setup, device).encode(parts))


@cache
def _encoder(setup: bytes, device: str) -> PartEncoder:
    return PartEncoder(pickle.loads(setup), device)


class _Flow:
    """Queue between the threads of one run; bytes that wait are bounded."""

    def __init__(self, jobs: Sequence[ReadJob], alone: bool) -> None:
        self._jobs = deque(jobs)
        self._alone = alone
        self._changed = threading.Condition()
        self._waiting: deque[DecodedPart] = deque()
        self._nbytes = 0
        self._decoding = 0
        self._in_hand = 0  # parts that an encoder has
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._results: queue.Queue[Any] = queue.Queue()

    def begin(self, work: Sequence[Callable[[], None]], decoders: int) -> None:
        """Start a thread for each piece of work; the first ones decode."""
        self._decoding = decoders
        for number, job in enumerate(work):
            arguments = job, number < decoders
            self._threads.append(threading.Thread(target=self._work, args=arguments, daemon=True))
        for thread in self._threads:
            thread.start()

    def _work(self, work: Callable[[], None], decodes: bool) -> None:
        ending: BaseException | None = None
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            ending = error
        with self._changed:
            self._decoding -= decodes
            self._changed.notify_all()
        self._results.put(ending)

    def results(self) -> Iterator[EncodedPart | LostJobs]:
        """Results of encoders, until all threads have ended.

        Raises:
            VlarError: one of them failed.
        """
        running = len(self._threads)
        while running:
            result = self._results.get()
            if isinstance(result, list):
                yield from result
            elif result is not None:
                raise result
            else:
                running -= 1

    def next_job(self) -> ReadJob | None:
        """The next recording; where each is read alone, once the one before is encoded."""
        with self._changed:
            while self._alone and (self._waiting or self._in_hand) and not self._stopped:
                self._changed.wait()
            return self._jobs.popleft() if self._jobs and not self._stopped else None

    def put(self, part: DecodedPart) -> bool:
        """Hand clips over once there is room; False where nobody wants them any more."""
        nbytes = part.nbytes
        with self._changed:
            while self._waiting and self._nbytes + nbytes > _WAITING_BYTES and not self._stopped:
                self._changed.wait()
            self._waiting.append(part)
            self._nbytes += nbytes
            self._changed.notify_all()
            return not self._stopped

    def take(self) -> list[DecodedPart]:
        """Clips for an encoder; none at the end."""
        with self._changed:
            while not self._waiting and self._decoding and not self._stopped:
                self._changed.wait()
            parts: list[DecodedPart] = []
            size = 0
            while self._waiting and not self._stopped and (not parts or size < _CALL_BYTES):
                parts.append(self._waiting.popleft())
                size += parts[-1].nbytes
                if self._waiting and size + self._waiting[0].nbytes > _CALL_BYTES:
                    break
            self._nbytes -= size
            self._in_hand += len(parts)
            self._changed.notify_all()
            return parts

    def found(self, results: list[EncodedPart | LostJobs], taken: int) -> None:
        """Give the results of some parts to the caller."""
        self._results.put(results)
        with self._changed:
            self._in_hand -= taken
            self._changed.notify_all()

    def stop(self) -> bool:
        """Let all threads end; False where they have."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait for the threads."""
        for thread in self._threads:
            thread.join()
