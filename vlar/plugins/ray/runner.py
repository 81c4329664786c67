"""``ray``: Ray Data, embedded here or on a cluster by its address.

Blocks of recordings stream through two stages: tasks decode them to parts, actors that hold the
model encode the parts. Ray bounds what waits between the stages in bytes, places both where there
is room, and starts an actor again that died. It retries blocks as a whole; so it is set to give a
block up, and the driver asks for the recordings of the block again, each in a block of its own.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from vlar.encoders.spec import split_options
from vlar.errors import UsageError, VlarError
from vlar.files.resources import is_running, size_in_bytes
from vlar.files.workers.pool import WorkerPool, can_isolate
from vlar.files.workers.process import FileLimits
from vlar.library.ingest.runners.base import CRASH, MEMORY, LostJobs, Runner
from vlar.library.ingest.worker_tasks import (
    EncodedPart,
    PartEncoder,
    ReadJob,
    RecordingPart,
    Setup,
    decode,
)
from vlar.library.model_provider import LoadModel
from vlar.media.base import Reader
from vlar.media.lookup import IsolatedReader, reader
from vlar.registry import register
from vlar.version import pip_install

_CONNECT_S = 5.0
_STARTS = 3  # of Ray on this machine: on a loaded one its processes are late now and then
_TEMPORARY = "vlar-ray-"
_LONGEST_TEMPORARY = 40  # letters; Ray puts sockets there, whose paths may have 107
# Python errors of Ray's that mean a lost worker, not failed work.
_GONE = (
    *("ActorDiedError", "ActorUnavailableError", "LocalRayletDiedError", "NodeDiedError"),
    *("ObjectLostError", "OutOfMemoryError", "RayActorError", "WorkerCrashedError"),
    *("OwnerDiedError", "ObjectReconstructionFailedError", "TaskUnschedulableError"),
    *("ObjectFetchTimedOutError", "ReferenceCountingAssertionError", "ActorUnschedulableError"),
)


class RayErrors(logging.Handler):
    """Log handler that keeps Ray's reports of abandoned blocks; nothing is printed.

    Attributes:
        last: Kind and reason of the latest worker that was lost.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: tuple[str, str] | None = None
        self._wrong: BaseException | None = None
        self._before: tuple[list[logging.Handler], bool] = [], True

    def __enter__(self) -> RayErrors:
        """Take the place of what prints."""
        logger = logging.getLogger("ray.data")
        self.last, self._wrong = None, None
        self._before = list(logger.handlers), logger.propagate
        logger.handlers, logger.propagate = [self], False
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        logger = logging.getLogger("ray.data")
        logger.handlers, logger.propagate = self._before

    def emit(self, record: logging.LogRecord) -> None:
        """Note an error by its kind."""
        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            name = type(error).__name__
            if name in _GONE:
                kind = MEMORY if name == "OutOfMemoryError" else CRASH
                self.last = kind, _REASONS.get(name, "")
                return
            if error.__cause__ is None:
                self._wrong = error
                return
            error = error.__cause__

    def check(self) -> None:
        """Raise what is not the loss of a worker, such as a package that it lacks.

        Raises:
            UsageError: the message has the error.
        """
        if self._wrong is not None:
            raise UsageError(
                f"a worker of Ray cannot do its work ({line(self._wrong)}); install the same vlar "
                "with the same extras on every machine"
            )


_REASONS = {
    "NodeDiedError": "its machine is gone",
    "ObjectLostError": "its machine is gone",
    "OutOfMemoryError": "its machine had no memory left",
}


def imported(is_private: bool = False) -> Any:
    """The package, with ``ray.data``.

    Raises:
        UsageError: it is not installed.
    """
    # Before the import, when Ray reads them. It reports nothing to anybody.
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if is_private:
        # Seconds after which what is left of a run that was ended by force ends itself.
        variables["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"
    if is_private and "RAY_AUTH_MODE" not in os.environ:
        # A key for this run alone; Ray would write one into the home folder.
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        message = f"the runner 'ray' needs Ray Data ({error}); install it: {pip_install('ray')}"
        raise UsageError(message) from error


@contextmanager
def hushed() -> Generator[None]:
    """Keep what Ray's own code writes to stderr as it starts from the user."""
    sys.stderr.flush()
    try:
        ours = os.dup(2)
    except OSError:  # a program without stderr
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nothing)


def away_from_stdout(rows: Iterable[Any]) -> Iterator[Any]:
    """The same rows; what is printed while one is waited for goes to stderr.

    Ray prints the loss of a worker to stdout, which belongs to the caller, and has no option for
    it.
    """
    waited = iter(rows)
    while True:
        with redirect_stdout(sys.stderr):
            row = next(waited, None)
        if row is None:
            return
        yield row


def temporary_folder() -> Path:
    """A folder for what Ray writes; those of runs that were ended by force are removed."""
    folder = Path(tempfile.gettempdir())
    if len(str(folder)) > _LONGEST_TEMPORARY and Path("/tmp").is_dir():
        folder = Path("/tmp")
    for old in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError, ValueError, IndexError):
            if not is_running(int(old.name.removeprefix(_TEMPORARY).split("-")[0])):
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=folder))


def require_answer(address: str) -> None:
    """Refuse an address at which nothing listens, before Ray waits for it."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        if address == "auto":
            return
        raise UsageError(
            f"{address!r} is not an address of Ray; write host:6379, ray://host:10001 or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise cannot_connect(address, error) from error


def cannot_connect(address: str, error: Exception) -> UsageError:
    """Advice about a cluster that cannot be used."""
    text = line(error)
    if "ersion mismatch" in text:
        return UsageError(
            f"the Ray cluster at {address} has other versions than this machine ({text}); install "
            "the same Python and the same Ray on both"
        )
    return UsageError(
        f"no Ray cluster answers at {address} ({text}); start one with 'ray start --head', or "
        "leave the address out to run on this machine"
    )


def require_vlar(ray: Any, address: str | None) -> None:
    """Refuse a cluster whose workers have no vlar, or another one."""
    import vlar

    where = f"the Ray cluster at {address}" if address else "Ray"
    try:
        version = ray.get(ray.remote(num_cpus=0.1)(_version).remote())
    except Exception as error:  # whatever a machine without vlar raises
        raise UsageError(
            f"workers of {where} cannot import vlar ({line(error)}); install it there: "
            f"{pip_install('ray')}"
        ) from error
    if version != vlar.__version__:
        raise UsageError(
            f"workers of {where} have vlar {version}, this machine has {vlar.__version__}; install "
            "the same version on both"
        )


def _version() -> str:
    import vlar

    return vlar.__version__


def line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[-300:]}" if text else type(error).__name__


def _end_processes(folder: Path) -> None:
    """End what a start that failed has left; its command lines name the folder. Linux only."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


_BLOCK_FILES = 4
_BLOCK_BYTES = 16 << 20  # of clips that pass from stage to stage together
_STORE = "300MB"


@register("runner", "ray")
class RayRunner(Runner):
    """Encoders in actors of Ray, decoders in its tasks.

    Args:
        address: Address of a cluster (``host:6379``, ``auto``, ``ray://host:10001``); None starts
            Ray on this machine, without a dashboard, and ends it afterwards.
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
            raise UsageError(f"workers={workers}: at least one must encode")
        if gpus < 0:
            raise UsageError(f"gpus={gpus:g} is not a share of a GPU; give 0.5 or 1")
        self._address, self._workers, self._gpus, self.load = address, workers, gpus, load
        self._folder: Path | None = None
        self._is_ours = False
        self._errors = RayErrors()

    @classmethod
    def from_spec(cls, argument: str, device: str | None = None) -> RayRunner:
        """A cluster and its workers: ``HOST:PORT?workers=16&gpus=0.5``, every part optional."""
        if device is not None:
            raise UsageError(f"--device {device} is not for runner 'ray'; its workers choose")
        address, options = split_options(argument, ("workers", "gpus"))
        try:
            workers, gpus = int(options.get("workers", 2)), float(options.get("gpus", 0.0))
        except ValueError as error:
            raise UsageError(f"ray:{argument}: {error}; write workers=4&gpus=0.5") from None
        return cls(address or None, workers, gpus)

    def start(self, setup: Setup) -> RayRunner:
        """Connect to Ray or start it, and see that its workers have this vlar."""
        super().start(setup)
        self._packed = pickle.dumps(setup)
        if self._address is not None:
            require_answer(self._address)
        ray = imported(is_private=self._address is None)
        if not ray.is_initialized():
            self._begin(ray)
        require_vlar(ray, self._address)
        return self

    def _begin(self, ray: Any) -> None:
        quiet: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": False,
        }
        if self._address is not None:
            try:
                with hushed():
                    ray.init(self._address, **quiet)
                self._is_ours = True
            except (RuntimeError, ConnectionError, OSError) as error:
                raise cannot_connect(self._address, error) from error
            return
        quiet["object_store_memory"] = size_in_bytes("VLAR_RAY_STORE", _STORE)
        for retries in reversed(range(_STARTS)):
            self._is_ours, self._folder = True, temporary_folder()
            try:
                with hushed():
                    ray.init(
                        num_cpus=max(self._workers, (os.cpu_count() or 1) if self._gpus else 1),
                        include_dashboard=False,
                        _temp_dir=str(self._folder),
                        **quiet,
                    )
            # Ray raises Exception itself where its processes are late.
            except Exception as error:
                _end_processes(self._folder)
                self.close()
                if not retries:
                    raise UsageError(
                        f"Ray cannot be started on this machine ({line(error)}); add without "
                        "--runner ray"
                    ) from error
            else:
                return

    def close(self) -> None:
        if self._is_ours:
            imported().shutdown()
            self._is_ours = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def run(
        self, jobs: Sequence[ReadJob], *, alone: bool = False
    ) -> Iterator[EncodedPart | LostJobs]:
        """Stream blocks of recordings through decoding tasks and encoding actors."""
        data = self._pipeline(jobs, alone)
        with self._errors:
            for table in away_from_stdout(
                data.iter_batches(batch_size=None, batch_format="pyarrow")
            ):
                for row in table.column("payload"):
                    result = pickle.loads(row.as_buffer())
                    if isinstance(result, Exception):
                        raise result
                    yield result
                self._errors.check()
            self._errors.check()
        if self._errors.last is not None:
            # The driver finds those recordings by their missing parts.
            yield LostJobs(tuple(job.number for job in jobs), *self._errors.last)

    def _pipeline(self, jobs: Sequence[ReadJob], alone: bool) -> Any:
        ray = imported()
        # Up to Ray 2.63 the number of attempts of a block cannot be set in another way.
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
            ray_remote_args_fn=partial(dict, max_retries=0),
        )
        encoded = decoded.map_batches(
            EncodeBlock,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=(self._packed, "cuda" if self._gpus else None),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=0.5,
            num_gpus=self._gpus or None,
            ray_remote_args_fn=partial(dict, max_restarts=-1, max_task_retries=0),
        )
        # Of this pipeline alone: the program may have others.
        encoded.context.max_errored_blocks = -1
        encoded.context.target_max_block_size = _BLOCK_BYTES
        encoded.context.enable_progress_bars = False
        encoded.context.print_on_execution_start = False
        return encoded


def decode_block(table: Any, packed: bytes) -> Iterator[dict[str, list[bytes]]]:
    """A task of Ray: jobs to parts with clips, each in bytes of its own."""
    setup, source = _decoder(packed)
    for row in table.column("payload"):
        job: ReadJob = pickle.loads(row.as_buffer())
        try:
            for part in decode(job, setup, source):
                yield _row(part)
        except MemoryError:
            yield _row(LostJobs((job.number,), MEMORY))
        except Exception as error:  # noqa: BLE001 - it is raised in the driver
            yield _row(_carried(error))


class EncodeBlock:
    """An actor of Ray: parts with clips to parts with vectors."""

    def __init__(self, packed: bytes, device: str | None) -> None:
        self._encoder = PartEncoder(pickle.loads(packed), device)

    def __call__(self, table: Any) -> Iterator[dict[str, list[bytes]]]:
        """Encode what one block holds; what is not a part passes through."""
        results = [pickle.loads(row.as_buffer()) for row in table.column("payload")]
        parts = [result for result in results if isinstance(result, RecordingPart)]
        for other in results:
            if not isinstance(other, RecordingPart):
                yield _row(other)
        try:
            for part in self._encoder.encode(parts):
                yield _row(part)
        except Exception as error:  # noqa: BLE001 - it is raised in the driver
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                yield _row(LostJobs(tuple({part.job for part in parts}), MEMORY))
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
