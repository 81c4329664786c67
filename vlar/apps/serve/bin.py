"""The bin: recordings that were removed, each time a small library, so that they can come back."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.library import ServedLibrary
from vlar.errors import one_line
from vlar.files.resources import work_folder
from vlar.types import JsonDict

KEPT_DAYS = 30
_MOST_JUMP_S = 3600  # of the clock against the time that passed
_NAME = re.compile(r"(\d{10})-[0-9a-f]{8}")


class Bin:
    """Recordings that left a library in the last 30 days, in a folder of the server.

    Args:
        library: Where they come from.
        folder: Holds one library for each removal; it is made when the first one comes.
    """

    def __init__(self, library: ServedLibrary, folder: Path) -> None:
        self._library, self._folder = library, folder
        self._lock = threading.Lock()
        self._since_s = time.time() - time.monotonic()

    def put(self, paths: Sequence[str]) -> JsonDict:
        """Remove recordings from the library, with their rows, tags and labels kept here.

        Returns:
            ``removed``, the number of recordings, and ``bin``, which ``restore`` takes.
        """
        with self._lock:
            self._expire()
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            name = f"{int(time.time()):010d}-{secrets.token_hex(4)}"
            return {"removed": self._library.forget(paths, self._folder / name), "bin": name}

    def listing(self) -> JsonDict:
        """Removals that can be undone, the newest first: ``bin``, ``removed_s`` since 1970, names.

        ``names`` has the first 20 recordings, ``recordings`` their number.
        """
        with self._lock:
            self._expire()
            rows: list[JsonDict] = []
            for folder in sorted(self._folders(), reverse=True):
                with ServedLibrary(folder, create=False) as library:
                    names = [Path(path).name for path in library.paths()]
                facts = {"bin": folder.name, "removed_s": int(folder.name[:10])}
                rows.append({**facts, "recordings": len(names), "names": names[:20]})
            return {"days": KEPT_DAYS, "removals": rows}

    def restore(self, name: str) -> JsonDict:
        """Bring the recordings of a removal back; one that was added again meanwhile stays.

        Raises:
            ServeError: 404 where the bin has it no more.
            LibraryError: the library has another model by now.
            OSError: they are back, and the removal could not be deleted; call it again.
        """
        self._library.require_writable()
        with self._lock:
            folder = self._folder / name
            if not _NAME.fullmatch(name) or not folder.is_dir():
                error = f"nothing in the bin is called {one_line(name)[:40]!r}"
                fix = f"it keeps recordings for {KEPT_DAYS} days; add them again"
                raise ServeError(404, error, fix, "not_found")
            restored = self._library.take_back(folder)
            self._delete(folder)
            return {"restored": restored}

    def _folders(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [entry for entry in self._folder.iterdir() if _NAME.fullmatch(entry.name)]

    def _expire(self) -> None:
        oldest_s = time.time() - KEPT_DAYS * 86400
        if abs(time.time() - time.monotonic() - self._since_s) > _MOST_JUMP_S:
            oldest_s = 0  # the clock was set while the server ran: nothing is deleted by it
        with suppress(OSError):  # the next call tries again
            self._delete(*(f for f in self._folders() if int(f.name[:10]) < oldest_s))

    def _delete(self, *folders: Path) -> None:
        """Delete removals, and what a killed process was making or deleting."""
        with work_folder(self._folder) as work:
            for folder in folders:
                folder.replace(work / folder.name)
