"""To start Ray or to reach it, quietly; and what its errors mean."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from vlar.errors import UsageError
from vlar.index.ingest.runners.base import CRASH, MEMORY

_CONNECT_S = 5.0
_TEMPORARY = "vlar-ray-"
_LONGEST_TEMPORARY = 40  # letters; Ray puts sockets there, whose paths may have 107
_HOW = "pip install 'vlar[ray]'"
# Python errors of Ray's that say a worker is gone, and not that the work went wrong.
_GONE = (
    *("ActorDiedError", "ActorUnavailableError", "LocalRayletDiedError", "NodeDiedError"),
    *("ObjectLostError", "OutOfMemoryError", "RayActorError", "WorkerCrashedError"),
    *("OwnerDiedError", "ObjectReconstructionFailedError", "TaskUnschedulableError"),
    *("ObjectFetchTimedOutError", "ReferenceCountingAssertionError", "ActorUnschedulableError"),
)


class RayErrors(logging.Handler):
    """Hears what Ray says of blocks that it gives up; nothing of it is printed.

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

    Args:
        is_private: A cluster of this run alone will be started.

    Raises:
        UsageError: it is not installed.
    """
    # Before the import, when Ray reads them. It reports nothing to anybody.
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if is_private:
        # Seconds after which what is left of a run that was ended by force ends itself.
        wanted["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"
    if is_private and "RAY_AUTH_MODE" not in os.environ:
        # A key for this run alone; Ray would write one into the home folder.
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        message = f"the runner 'ray' needs Ray Data ({error}); install it: {_HOW}"
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
    place = Path(tempfile.gettempdir())
    if len(str(place)) > _LONGEST_TEMPORARY and Path("/tmp").is_dir():
        place = Path("/tmp")
    for old in place.glob(f"{_TEMPORARY}*"):
        with suppress(OSError, ValueError, IndexError):
            if not _runs(int(old.name.removeprefix(_TEMPORARY).split("-")[0])):
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=place))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def require_answer(address: str) -> None:
    """Refuse an address at which nothing listens, before Ray waits for it."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        if address == "auto":
            return
        raise UsageError(
            f"--address {address!r} is not an address of Ray; write host:6379, ray://host:10001 or "
            "auto"
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
        "leave --address out to run on this machine"
    )


def require_vlar(ray: Any, address: str | None) -> None:
    """Refuse a cluster whose workers have no vlar, or another one."""
    import vlar

    where = f"the Ray cluster at {address}" if address else "Ray"
    try:
        there = ray.get(ray.remote(num_cpus=0.1)(_version).remote())
    except Exception as error:  # whatever a machine without vlar says
        raise UsageError(
            f"workers of {where} cannot import vlar ({line(error)}); install it there: {_HOW}"
        ) from error
    if there != vlar.__version__:
        raise UsageError(
            f"workers of {where} have vlar {there}, this machine has {vlar.__version__}; install "
            "the same version on both"
        )


def _version() -> str:
    import vlar

    return vlar.__version__


def line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[-300:]}" if text else type(error).__name__
