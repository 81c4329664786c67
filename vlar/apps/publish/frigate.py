"""Events of Frigate as recordings: its HTTP interface lists them, and gives their clips."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from vlar.errors import UsageError
from vlar.files.http import ask
from vlar.files.reading import parse_json

PREFIX = "frigate+"
_TIMEOUT_S = 30
_MOST_LIST, _MOST_CLIP = 16 << 20, 1 << 30
_PIECE = 1 << 20
_MOST_IDS = 10_000


def is_frigate(text: str) -> bool:
    """Return whether a source is a Frigate: ``frigate+http://host:5000``."""
    return text.startswith((f"{PREFIX}http://", f"{PREFIX}https://"))


def clips(
    source: str,
    stop: threading.Event,
    *,
    after_s: float | None = None,
    poll_s: float = 5.0,
    once: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[Path, str]]:
    """Clip and name of each event that has ended, as they come; a file lasts until the next.

    Args:
        source: ``frigate+http://HOST:PORT``.
        stop: Ends it when set.
        after_s: Unix time of the first event; None for now.
        poll_s: Seconds between two looks.
        once: End when all that is there was given.
        note: Called with a line where Frigate cannot be read; it is tried again.

    Yields:
        A file, and ``frigate:CAMERA/EVENT``.

    Raises:
        UsageError: with ``once``, it cannot be read.
    """
    address = source.removeprefix(PREFIX).rstrip("/")
    since_s = time.time() if after_s is None else after_s
    done: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="vlar-frigate-") as folder:
        while not stop.is_set():
            try:
                events = _events(address, since_s)
            except (OSError, ValueError) as error:
                if once:
                    raise UsageError(f"{address}: events cannot be read ({error})") from error
                note(f"{address}: events cannot be read ({error}); tried again")
                events = []
            for event in events:
                name = str(event.get("id"))
                if name in done:
                    continue
                file = Path(folder, "clip.mp4")
                try:
                    _fetch(f"{address}/api/events/{quote(name, safe='')}/clip.mp4", file)
                except OSError as error:
                    note(f"{address}: event {name} has no clip ({error})")
                else:
                    yield file, f"frigate:{event.get('camera')}/{name}"
                done[name] = None
                for old in list(done)[: max(0, len(done) - _MOST_IDS)]:
                    del done[old]
            if once:
                return
            stop.wait(poll_s)


def _events(address: str, after_s: float) -> list[dict[str, Any]]:
    query = urlencode({"after": after_s, "has_clip": 1, "limit": 200})
    with ask(f"{address}/api/events?{query}", _TIMEOUT_S) as answer:
        events = parse_json(answer.read(_MOST_LIST))
    if not isinstance(events, list):
        raise ValueError("it does not list events")  # noqa: TRY004 - one kind for its caller
    rows = [row for row in events if isinstance(row, dict)]
    ended = [row for row in rows if isinstance(row.get("end_time"), int | float)]
    return sorted(ended, key=lambda row: row["end_time"])


def _fetch(address: str, file: Path) -> None:
    n_bytes = 0
    with ask(address, _TIMEOUT_S) as answer, file.open("wb") as stream:
        while piece := answer.read(_PIECE):
            n_bytes += len(piece)
            if n_bytes > _MOST_CLIP:
                raise OSError(f"over {_MOST_CLIP >> 20} MB")
            stream.write(piece)
