"""FFmpeg's own error messages, counted for the file whose call caused them.

A decoder conceals damage: a frame comes out, and only a message says that it is wrong. FFmpeg has
one log for the whole process. PyAV drops it by default, and lets one thread capture what its own
calls write. The log is on only while a video is open; a level that the program has set itself is
respected, and its messages still reach ``logging``. Decoders run without threads of their own
here, so every message comes from the thread whose call caused it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager

from av import logging as av_logging

_Message = tuple[int, str, str]
_MOST_KEPT = 8
# Remarks below the level of an error that mean damage: a decoder paints over what it could not
# read, or leaves out a part of the stream that it cannot parse.
_TELLS_DAMAGE = re.compile(
    r"concealing \d|Skipping invalid undecodable|Failed to parse header of NAL"
)


class _Switch:
    """Turns the log of the process on for the first user and off after the last."""

    def __init__(self) -> None:
        self.level: int | None = None
        self._lock = threading.Lock()
        self._users = 0
        self._skip_repeated = True
        self._rest = av_logging.Capture(local=False)

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self.level = av_logging.get_level()
            self._skip_repeated = av_logging.get_skip_repeated()
            av_logging.set_level(max(self.level or 0, av_logging.INFO))
            av_logging.set_skip_repeated(False)
            if self.level is None:
                # Messages of other code in the process stay unseen, as they are by default.
                self._rest = av_logging.Capture(local=False)
                self._rest.__enter__()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            if self.level is None:
                self._rest.__exit__(None, None, None)
            av_logging.set_level(self.level)
            av_logging.set_skip_repeated(self._skip_repeated)


_switch = _Switch()


@contextmanager
def log_enabled() -> Generator[None]:
    """Keep FFmpeg's error log on as long as the context lasts."""
    _switch.enter()
    try:
        yield
    finally:
        _switch.leave()


class ErrorLog:
    """The errors that FFmpeg wrote about one file.

    Calls of FFmpeg run inside ``with Capture() as log.pending``, which must not span a yield: the
    thread that goes on after it may be another. ``take`` counts what came.

    Attributes:
        pending: Messages that the running capture has gathered and nobody counted.
        count: How many there were.
        messages: The first few, one line each.
        latest: Those that the last call with errors brought.
    """

    def __init__(self) -> None:
        self.pending: list[_Message] = []
        self.count = 0
        self.messages: list[str] = []
        self.latest: list[str] = []
        self._names: frozenset[str] | None = None

    def only_from(self, names: frozenset[str]) -> None:
        """Count messages of these demuxers and decoders alone: a sound track is not a picture."""
        self._names = names

    def take(self) -> None:
        """Count the pending messages."""
        logs = self.pending.copy()
        self.pending.clear()
        latest: list[str] = []
        for level, name, text in logs:
            if _switch.level is not None and level <= _switch.level:
                logging.getLogger(f"libav.{name or 'generic'}").log(
                    av_logging.adapt_level(level), text.strip()
                )
            tells = level <= av_logging.ERROR or _TELLS_DAMAGE.match(text)
            if tells and (self._names is None or name in self._names):
                latest.append(" ".join(text.split()))
        if latest:
            self.count += len(latest)
            self.latest = latest
            if len(self.messages) < _MOST_KEPT:
                self.messages += [line for line in latest if line not in self.messages]
