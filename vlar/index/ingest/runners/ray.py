"""``ray``: Ray Data, embedded here or on a cluster by its address.

Blocks of recordings stream through two stages: tasks decode them to parts, actors that hold the
model encode the parts. Ray bounds what waits between the stages in bytes, places both where there
is room, and starts an actor again that died. It retries blocks as a whole; so it is set to give a
block up, and the driver asks for the recordings of the block again, each in a block of its own.
"""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vlar.errors import UsageError, VlarError
from vlar.index.ingest.runners.base import MEMORY, Lost, Runner, RunnerOptions, refuse
from vlar.index.ingest.runners.ray_connection import (
    RayErrors,
    away_from_stdout,
    cannot_connect,
    hushed,
    imported,
    line,
    require_answer,
    require_vlar,
    temporary_folder,
)
from vlar.index.ingest.stages import EncodedPart, Job, LoadModel, Part, PartEncoder, Setup, decode
from vlar.registry import register
from vlar.resources import size_in_bytes
from vlar.sensors import Reader, reader
from vlar.sensors.isolated import IsolatedReader
from vlar.workers import FileLimits, WorkerPool, can_isolate

_BLOCK_FILES = 4
_BLOCK_BYTES = 16 << 20  # of clips that pass from stage to stage together
_STORE = "300MB"


@register("runner", "ray")
class RayRunner(Runner):
    """Encoders in actors of Ray, decoders in its tasks.

    Args:
        address: Of a cluster (``host:6379``, ``auto``, ``ray://host:10001``); None starts Ray on
            this machine, without a dashboard, and ends it afterwards.
        workers: Actors that encode, each with half a processor or a share of a GPU.
        gpus: That share; 0 computes on processors.
        load: Loads the model on a device, a function that pickle carries; None loads it by name.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int = 2,
        gpus: float = 0.0,
        load: LoadModel | None = None,
    ) -> None:
        if workers < 1:
            raise UsageError(f"--workers {workers}: at least one must encode")
        if gpus < 0:
            raise UsageError(f"--gpus-per-worker {gpus:g} is not a share of a GPU; give 0.5 or 1")
        self._address, self._workers, self._gpus, self.load = address, workers, gpus, load
        self._folder: Path | None = None
        self._is_ours = False
        self._errors = RayErrors()

    @classmethod
    def from_options(cls, options: RunnerOptions) -> RayRunner:
        """Takes ``address``, ``workers`` and ``gpus``."""
        refuse(cls.name, devices=options.devices, device=options.device)
        return cls(options.address, options.workers or 2, options.gpus or 0.0)

    def start(self, setup: Setup) -> RayRunner:
        """Connect to Ray or start it, and see that its workers have this vlar."""
        super().start(setup)
        self._packed = pickle.dumps(setup)
        if self._address is not None:
            require_answer(self._address)
        ray = imported(is_private=self._address is None)
        if not ray.is_initialized():
            self._is_ours = True
            self._begin(ray)
        require_vlar(ray, self._address)
        return self

    def _begin(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        if self._address is not None:
            try:
                with hushed():
                    ray.init(self._address, **quiet)
            except (RuntimeError, ConnectionError, OSError) as error:
                raise cannot_connect(self._address, error) from error
            return
        self._folder = temporary_folder()
        cores = os.cpu_count() or 1
        try:
            with hushed():
                ray.init(
                    num_cpus=max(self._workers, cores if self._gpus else 1),
                    include_dashboard=False,
                    object_store_memory=size_in_bytes("VLAR_RAY_STORE", _STORE),
                    _temp_dir=str(self._folder),
                    **quiet,
                )
        except (RuntimeError, ConnectionError, OSError, ValueError) as error:
            self.close()
            raise UsageError(
                f"Ray cannot be started on this machine ({line(error)}); add without --runner ray"
            ) from error

    def close(self) -> None:
        """End what was started here, and remove its files."""
        if self._is_ours:
            imported().shutdown()
            self._is_ours = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def run(self, jobs: Sequence[Job], *, alone: bool = False) -> Iterator[EncodedPart | Lost]:
        """Stream blocks of recordings through decoding tasks and encoding actors."""
        data = self._pipeline(jobs, alone)
        with self._errors:
            for table in away_from_stdout(
                data.iter_batches(batch_size=None, batch_format="pyarrow")
            ):
                for row in table.column("payload"):
                    found = pickle.loads(row.as_buffer())
                    if isinstance(found, Exception):
                        raise found
                    yield found
                self._errors.check()
            self._errors.check()
        if self._errors.last is not None:
            # Which recordings those were, the driver sees by what is missing.
            yield Lost(tuple(job.number for job in jobs), *self._errors.last)

    def _pipeline(self, jobs: Sequence[Job], alone: bool) -> Any:
        ray = imported()
        # How often a block is tried can be said in no other way, up to Ray 2.63.
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        warnings.filterwarnings("ignore", module=r"ray\.")
        workers = 1 if alone else self._workers
        blocks = len(jobs) if alone else max(-(-len(jobs) // _BLOCK_FILES), min(len(jobs), workers))
        rows = [{"payload": pickle.dumps(job)} for job in jobs]
        data = ray.data.from_items(rows, override_num_blocks=blocks)
        decoded = data.map_batches(
            decode_block,
            batch_size=None,
            batch_format="pyarrow",
            fn_args=(self._packed,),
            num_cpus=1.0 if self._gpus else 0.5,
            compute=ray.data.TaskPoolStrategy(size=1) if alone else None,
            ray_remote_args_fn=_never_twice,
        )
        encoded = decoded.map_batches(
            EncodeBlock,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=(self._packed, "cuda" if self._gpus else None),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=0.5,
            num_gpus=self._gpus or None,
            ray_remote_args_fn=_again_but_not_its_work,
        )
        # Of this pipeline alone: the program may have others.
        encoded.context.max_errored_blocks = -1
        encoded.context.target_max_block_size = _BLOCK_BYTES
        encoded.context.enable_progress_bars = False
        encoded.context.print_on_execution_start = False
        return encoded


def _never_twice() -> dict[str, Any]:
    return {"max_retries": 0}


def _again_but_not_its_work() -> dict[str, Any]:
    return {"max_restarts": -1, "max_task_retries": 0}


def decode_block(table: Any, packed: bytes) -> Iterator[dict[str, list[bytes]]]:
    """A task of Ray: jobs to parts with clips, each in bytes of its own."""
    setup, source = _decoder(packed)
    for row in table.column("payload"):
        job: Job = pickle.loads(row.as_buffer())
        try:
            for part in decode(job, setup, source):
                yield _row(part)
        except MemoryError:
            yield _row(Lost((job.number,), MEMORY))
        except Exception as error:  # noqa: BLE001 - it is raised in the driver
            yield _row(_carried(error))


class EncodeBlock:
    """An actor of Ray: parts with clips to parts with vectors."""

    def __init__(self, packed: bytes, device: str | None) -> None:
        self._encoder = PartEncoder(pickle.loads(packed), device)

    def __call__(self, table: Any) -> Iterator[dict[str, list[bytes]]]:
        """Encode what one block holds; what is not a part passes through."""
        found = [pickle.loads(row.as_buffer()) for row in table.column("payload")]
        parts = [each for each in found if isinstance(each, Part)]
        for other in found:
            if not isinstance(other, Part):
                yield _row(other)
        try:
            for part in self._encoder.encode(parts):
                yield _row(part)
        except Exception as error:  # noqa: BLE001 - it is raised in the driver
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                yield _row(Lost(tuple({part.job for part in parts}), MEMORY))
            else:
                yield _row(_carried(error))


def _row(item: object) -> dict[str, list[bytes]]:
    return {"payload": [pickle.dumps(item, protocol=5)]}


def _carried(error: Exception) -> Exception:
    """An error that another process can read."""
    return error if isinstance(error, VlarError) else RuntimeError(line(error))


@cache
def _decoder(packed: bytes) -> tuple[Setup, Reader]:
    """The reader of this process, whose recordings are read in a process of their own."""
    setup: Setup = pickle.loads(packed)
    source = reader(setup.manifest.modality)
    limits = FileLimits.from_environment()
    if limits.workers > 0 and source.isolate and can_isolate(type(source)):
        source = IsolatedReader(source, WorkerPool(limits, module=type(source).__module__))
    return setup, source
