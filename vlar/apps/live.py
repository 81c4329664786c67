"""A folder whose new recordings are indexed as they arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import LibraryLockedError, UsageError
from vlar.library.ingest.writer import IngestProgress
from vlar.library.library import Library
from vlar.library.recording import stamp_of
from vlar.library.rows import AddReport
from vlar.library.store.values import Stamp
from vlar.media.lookup import reader

POLL_S = 1.0
SETTLE_S = 3.0


@dataclass
class _FileState:
    """A file as it was when it was last looked at, and since when it is like that."""

    stamp: Stamp
    since_s: float
    is_done: bool = False


def require_folder(folder: str | Path) -> Path:
    """The path of a folder that exists.

    Raises:
        UsageError: it does not.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UsageError(f"{folder} is not a folder; give one that exists")
    return path


def watch_folder(
    library: Library,
    folder: str | Path,
    *,
    modality: str = "video",
    tags: Mapping[str, str] | None = None,
    settle_s: float = SETTLE_S,
    poll_s: float = POLL_S,
    once: bool = False,
    stop: threading.Event | None = None,
    progress: IngestProgress | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[AddReport]:
    """Index the recordings of a folder, those that are there and those that come.

    The folder is looked through again and again, which works on every file system. A file is added
    when its size and time have not changed for ``settle_s``: until then somebody may be writing it.
    A file that changes later is indexed again. Files that leave the folder stay in the library.

    Args:
        library: Open; each batch is one ``Library.add``, so an interruption loses nothing.
        folder: It must exist; folders inside are searched too.
        modality: The sensor whose recordings are looked for.
        tags: Set on every recording.
        settle_s: Seconds that a file must stay as it is.
        poll_s: Seconds between two looks.
        once: End when everything that is there was added.
        stop: Ends the watch when it is set; None watches for ever.
        progress: As for ``Library.add``.
        note: Called with a line where a look was not possible; the watch goes on.

    Yields:
        The report of each batch.

    Raises:
        UsageError: not a folder, or a number of seconds below 0.
        LibraryError: the library cannot be written to.
    """
    root = require_folder(folder)
    if settle_s < 0 or poll_s <= 0:
        raise UsageError(f"settle_s {settle_s} and poll_s {poll_s} must not be below 0")
    stop = stop or threading.Event()
    states: dict[Path, _FileState] = {}
    while not stop.is_set():
        ready = _ready(root, modality, states, settle_s)
        if ready:
            try:
                yield library.add(ready, tags=tags, progress=progress)
                for path in ready:
                    states[path].is_done = True
            except LibraryLockedError as error:
                note(f"{error.message}; it is tried again")
        if once and all(state.is_done or not state.stamp.size for state in states.values()):
            return
        if not root.is_dir():
            note(f"{root}: the folder is not there; waiting for it")
        stop.wait(poll_s)


def new_recordings(
    folder: str | Path,
    modality: str = "video",
    *,
    settle_s: float = SETTLE_S,
    poll_s: float = POLL_S,
    once: bool = False,
    stop: threading.Event,
) -> Iterator[Path]:
    """The recordings of a folder, each when it has not changed for ``settle_s``.

    Args:
        folder: It must exist; folders inside are searched too.
        modality: The sensor whose recordings are looked for.
        settle_s: Seconds that a file must stay as it is.
        poll_s: Seconds between two looks.
        once: End when everything that is there was given.
        stop: Ends it when set.

    Raises:
        UsageError: not a folder.
    """
    root, states = require_folder(folder), dict[Path, _FileState]()
    while not stop.is_set():
        for path in _ready(root, modality, states, settle_s):
            yield path
            states[path].is_done = True
        if once and all(state.is_done or not state.stamp.size for state in states.values()):
            return
        stop.wait(min(poll_s, settle_s) or poll_s)


def _ready(
    folder: Path, modality: str, seen: dict[Path, _FileState], settle_s: float
) -> list[Path]:
    """The recordings that have not changed for a while and were not added as they are."""
    now_s = time.monotonic()
    ready: list[Path] = []
    files = reader(modality).find([folder])
    for gone in seen.keys() - set(files):
        del seen[gone]
    for path in files:
        try:
            stamp = stamp_of(path)
        except OSError:  # it left the folder just now
            continue
        old = seen.get(path)
        if old is None or old.stamp != stamp:
            old = seen[path] = _FileState(stamp, now_s)
        if not old.is_done and stamp.size > 0 and now_s - old.since_s >= settle_s:
            ready.append(path)
    return ready
