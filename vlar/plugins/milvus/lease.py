"""One writer at a time: a lease in Milvus, with an owner and a heartbeat.

The owner raises the number ``beat`` every five seconds. Nobody compares clocks: who finds a lease
watches its number with a clock of its own. A number that rises means a writer that lives; one that
stands still for 30 s means a writer that died, and the lease is taken over. Clocks of different
machines may therefore differ by any amount. On the owner's own machine its process is looked up,
so neither a refusal nor a takeover waits there.

Milvus cannot compare and set. Who takes a lease writes it, waits, and reads it again: of two that
write at once, the last one has it, and the other one finds that out. The owner reads the lease
before every commit, so a writer that slept through a takeover is stopped before it commits. What is
left is the time between that read and the commit, some milliseconds.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlar.errors import LibraryError, LibraryLockedError
from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.layout import NO_VECTOR

BEAT_S = 5.0
EXPIRES_S = 30.0
SETTLE_S = 0.2  # between writing a lease and reading it again, on a server
_LOOK_S = 0.25
_KEY = "writer"
_held_here: set[str] = set()  # tokens of this process


@dataclass(frozen=True)
class Lease:
    """The current writer.

    Attributes:
        token: Names this lease.
        host: Machine of the owner.
        boot: Id of the start of the machine; after another start process ids are reused.
        pid: Process of the owner.
        started: When the process started, in ticks of the machine; empty where it is unknown.
        beat: Rises while the owner lives.
        released: Whether the owner has ended.
    """

    token: str
    host: str
    boot: str
    pid: int
    started: str
    beat: int = 0
    released: bool = False

    @classmethod
    def of_this_process(cls) -> Lease:
        """A new lease."""
        pid = os.getpid()
        return cls(secrets.token_hex(8), socket.gethostname(), _boot(), pid, _started(pid))

    @property
    def owner(self) -> str:
        """The owner for a message."""
        return f"process {self.pid} on {self.host}"

    @property
    def is_local(self) -> bool:
        """Return whether the owner was started on this machine, since its last start."""
        return (self.host, self.boot) == (socket.gethostname(), _boot()) and bool(self.boot)

    @property
    def is_running(self) -> bool:
        """Return whether the owner, which is local, still runs."""
        if self.pid == os.getpid() and self.started == _started(self.pid):
            return self.token in _held_here
        return _started(self.pid) == self.started and Path(f"/proc/{self.pid}").exists()


class WriterLease:
    """A lease that is held, and kept alive by a thread."""

    def __init__(self, connection: MilvusConnection, lease: Lease) -> None:
        self._connection, self._lease = connection, lease
        self._lost: LibraryError | None = None
        self._mutex, self._end = threading.Lock(), threading.Event()
        _held_here.add(lease.token)
        self._thread = threading.Thread(target=self._beat, name="vlar-lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Check before a commit that this lease is still valid.

        Raises:
            LibraryLockedError: another writer has taken it.
        """
        with self._mutex:
            lease = read(self._connection)
            if lease is None or lease.token != self._lease.token:
                self._lost = _taken(self._connection, lease)
            if self._lost is not None:
                raise self._lost

    def release(self) -> None:
        """Let others write."""
        self._end.set()
        self._thread.join()
        _held_here.discard(self._lease.token)
        with suppress(LibraryError), self._mutex:  # it expires where it cannot be released
            lease = read(self._connection)
            if lease is not None and lease.token == self._lease.token:
                write(self._connection, replace(self._lease, released=True))

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            with suppress(LibraryError), self._mutex:  # the next commit reports what is wrong
                lease = read(self._connection)
                if lease is None or lease.token != self._lease.token:
                    self._lost = _taken(self._connection, lease)
                    return
                self._lease = replace(self._lease, beat=self._lease.beat + 1)
                write(self._connection, self._lease)


@contextmanager
def leased(connection: MilvusConnection) -> Generator[WriterLease, None, None]:
    """Hold the lease of a library.

    Raises:
        LibraryLockedError: another process (or another part of this one) is writing.
    """
    lease = read(connection)
    if lease is not None and not lease.released and _lives(connection, lease):
        raise _held(connection, lease)
    mine = Lease.of_this_process()
    write(connection, mine)
    if not connection.address.embedded:  # else nobody else can have the folder open
        time.sleep(SETTLE_S)
    lease = read(connection)
    if lease is None or lease.token != mine.token:
        raise _held(connection, lease or mine)
    held = WriterLease(connection, mine)
    try:
        yield held
    finally:
        held.release()


def read(connection: MilvusConnection) -> Lease | None:
    """The lease as it is; None where there was none, or it is not one that vlar writes."""
    entities = connection.get(connection.lease, [_KEY], ["doc"])
    if not entities:
        return None
    try:
        facts: dict[str, Any] = json.loads(entities[0]["doc"])
        return Lease(**facts)
    except (ValueError, TypeError):
        return None


def write(connection: MilvusConnection, lease: Lease) -> None:
    """Replace the lease."""
    entity = {"key": _KEY, "doc": json.dumps(asdict(lease)), "spare": NO_VECTOR}
    connection.upsert(connection.lease, [entity])


def _lives(connection: MilvusConnection, found: Lease) -> bool:
    """Return whether the owner of a lease lives: its process, or else its heartbeat."""
    if found.is_local:
        return found.is_running
    begin = time.monotonic()
    while time.monotonic() - begin < EXPIRES_S:
        time.sleep(_LOOK_S)
        now = read(connection)
        if now is None or now.released:
            return False
        if (now.token, now.beat) != (found.token, found.beat):
            return True
    return False


def _held(connection: MilvusConnection, lease: Lease) -> LibraryLockedError:
    return LibraryLockedError(
        f"another process is writing to library {connection.address} ({lease.owner}); wait until "
        "it ends, then run the command again"
    )


def _taken(connection: MilvusConnection, lease: Lease | None) -> LibraryLockedError:
    by = "somebody" if lease is None else lease.owner
    return LibraryLockedError(
        f"library {connection.address} was taken over by {by}, because this writer did not answer "
        f"for {EXPIRES_S:.0f} s; what it committed is kept: run the command again later"
    )


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""  # not Linux: the heartbeat decides


def _started(pid: int) -> str:
    with suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return text.rpartition(")")[2].split()[19]
    return ""
