"""A queue on disk: what was put into it is delivered once it can be, also after a kill."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import UsageError
from vlar.files.resources import cache_dir

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_MOST_ROWS = 1_000_000
_TABLE = (
    "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, "
    "body BLOB NOT NULL, retain INTEGER NOT NULL, refused TEXT)"
)


@dataclass(frozen=True)
class Message:
    """A message that waits.

    Attributes:
        number: Its place in the queue, which no other message of the queue gets.
        topic: Where it goes, below the address of the queue.
        body: Its content.
        retain: Whether the receiver keeps it for those who come later.
    """

    number: int
    topic: str
    body: bytes
    retain: bool


class Outbox:
    """The messages for one address, in order.

    Args:
        address: Address of the receiver; its messages of an earlier run are delivered first.
        file: The queue; None for one in the cache folder.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(self, address: str, file: Path | None = None) -> None:
        name = hashlib.sha256(address.encode()).hexdigest()[:16]
        self.file = file or cache_dir() / "outbox" / f"{name}.sqlite"
        self._lock, self.news = threading.Lock(), threading.Event()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._data = sqlite3.connect(self.file, check_same_thread=False, isolation_level=None)
            self._data.execute("PRAGMA journal_mode=WAL")
            self._data.execute("PRAGMA synchronous=FULL")
            self._data.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{self.file}: the queue cannot be written ({error})") from error

    def __len__(self) -> int:
        with self._lock:
            rows = self._data.execute("SELECT count(*) FROM outbox WHERE refused IS NULL")
            return int(rows.fetchone()[0])

    def put(self, topic: str, body: bytes, *, retain: bool = False) -> None:
        """Add a message; it is on disk when this returns.

        Raises:
            UsageError: the disk refuses, or a million messages wait.
        """
        if len(self) >= _MOST_ROWS:
            raise UsageError(f"{self.file}: {_MOST_ROWS:,} messages wait; check the receiver")
        try:
            with self._lock:
                self._data.execute(
                    "INSERT INTO outbox (topic, body, retain) VALUES (?, ?, ?)",
                    (topic, body, int(retain)),
                )
        except sqlite3.Error as error:
            raise UsageError(f"{self.file}: the queue cannot be written ({error})") from error
        self.news.set()

    def first(self) -> Message | None:
        """The message that has waited longest; None where none waits."""
        with self._lock:
            row = self._data.execute(
                "SELECT id, topic, body, retain FROM outbox WHERE refused IS NULL ORDER BY id"
            ).fetchone()
        return None if row is None else Message(row[0], row[1], bytes(row[2]), bool(row[3]))

    def delivered(self, message: Message) -> None:
        """Remove a message that arrived."""
        with self._lock:
            self._data.execute("DELETE FROM outbox WHERE id = ?", (message.number,))

    def refused(self, message: Message, why: str) -> None:
        """Keep a message that the receiver will never take, out of the way of the others."""
        with self._lock:
            self._data.execute(
                "UPDATE outbox SET refused = ? WHERE id = ?", (why[:500], message.number)
            )

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock:
            self._data.close()


class Delivery:
    """Delivery of a queue in a thread of its own, which tries again with growing waits.

    Args:
        outbox: The queue.
        work: Delivers what waits until ``stop`` is set; an ``OSError`` lets it be tried again.
        note: Called with a line where a delivery fails.
    """

    def __init__(
        self,
        outbox: Outbox,
        work: Callable[[Outbox, threading.Event], None],
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.outbox, self._work, self._note = outbox, work, note
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="vlar-delivery")
        self._thread.start()

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self.stop.is_set():
            before = len(self.outbox)
            try:
                self._work(self.outbox, self.stop)
            except OSError as error:
                wait_s = _FIRST_WAIT_S if len(self.outbox) < before else wait_s
                self._note(
                    f"{error}; {len(self.outbox)} messages wait, tried again in {wait_s:g} s"
                )
                self.stop.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def end(self, patience_s: float = 5.0) -> int:
        """Stop, after what waits had a while to arrive.

        Args:
            patience_s: Seconds to wait for an empty queue.

        Returns:
            Messages that still wait; the next start delivers them.
        """
        ticks = threading.Event()
        for _ in range(int(patience_s * 20)):
            if not len(self.outbox):
                break
            ticks.wait(0.05)
        self.stop.set()
        self.outbox.news.set()
        self._thread.join(timeout=10)
        count = len(self.outbox)
        self.outbox.close()
        return count
