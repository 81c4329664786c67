"""The reader ``events``: files of event cameras, window by window."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import DecodeError, VlarError
from vlar.files.reading import MB, parse_json, read_file
from vlar.files.workers import single
from vlar.media.base import Reader
from vlar.media.signals import SignalInfo, errors_of, head_of
from vlar.methods.events.formats import has_arrays, header_of
from vlar.methods.events.recording import EventFile, cached
from vlar.methods.events.representations import Size
from vlar.registry import register
from vlar.types import Clip, Failure, Sampling, Window

_MOST_LOST = 0.95  # of the events of a window; a still picture of the rest is not an answer
_FACTS = "events.json"
_LARGEST = 1 << 16
_PERSON = re.compile(r"(?:^|[_-])(?:s|sub|subject|user)(\d{1,4})(?=[_.-])|^C\d+P(\d+)M", re.I)


@register("reader", "events")
class EventReader(Reader):
    """Clips of all events of a window: (L,) of ``representations.EVENT`` in the order of time.

    The fields are ``x``, ``y`` (pixels from the upper left), ``t`` (microseconds after the first
    event of the recording, as ``times_s`` in seconds) and ``p`` (True where it became brighter).
    ``Clip.meta`` has ``size`` (H, W), ``polarity``, ``format``, ``start_us`` (the first event on
    the clock of the file) and ``assumed``, the facts that the file does not state. More than
    20 million events are thinned evenly: ``lost`` and ``kept``, the share of events that the clip
    holds.

    Example: ``vlar check hand.npz``.

    Args:
        size: (H, W) of the sensor for files that do not state it; None for ``"size": [H, W]`` in
            ``events.json`` next to the file, else for the smallest known sensor.
    """

    modality = "events"
    endings = frozenset(
        {
            *("", ".aedat", ".aedat2", ".aedat31", ".aedat4", ".bin", ".bs2", ".csv", ".dat"),
            *(".npy", ".npz", ".raw", ".txt"),
        }
    )
    gives_all = True
    isolate = True

    def __init__(self, size: Size | None = None) -> None:
        self._size = size

    def claims(self, path: Path) -> bool:
        """A file by its first bytes; the ending decides only which files of a folder are opened."""
        head = head_of(path) if path.suffix.lower() in self.endings else None
        data = b"" if head is None else head.data
        if data.startswith(b"#!AER-DAT"):  # without its decoder, which runs in a worker
            return True
        is_archive = data.startswith(b"PK")
        try:
            return has_arrays(path) if is_archive else header_of(path, data) is not None
        except (OSError, ValueError):  # of a format that only events have: reading names the damage
            return not is_archive

    def probe(self, path: Path) -> SignalInfo:
        """Facts of a recording, with its number of events; it is read once for them."""
        return single.call(path, _probe, path, self._size)

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        """The events of the window."""
        return single.call(path, _clip, path, self._size, window)

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """Windows one after the other: those next to each other share what is decoded."""
        return single.items(path, _clips, path, self._size, list(windows))

    def gaps(self, path: Path) -> Sequence[Window]:
        """Stretches of over a minute without an event."""
        return single.call(path, _gaps, path, self._size)

    def person(self, path: Path) -> str | None:
        """The subject in names such as ``user03_led.aedat`` and ``C12P3M0S1_20231111.aedat4``."""
        match = _PERSON.search(path.name)
        return None if match is None else f"subject {int(match[1] or match[2])}"

    def example(self, folder: Path) -> Path:
        """Two seconds of a bar that moves to the right, 5 bytes an event."""
        random = np.random.default_rng(0)
        t = np.sort(random.integers(0, 2_000_000, 3000))
        rows = np.empty((len(t), 5), np.uint8)
        rows[:, 0] = 4 + t // 80_000 + random.integers(0, 2, len(t))
        rows[:, 1] = random.integers(8, 26, len(t))
        rows[:, 2] = random.integers(0, 2, len(t)) << 7 | t >> 16
        rows[:, 3], rows[:, 4] = t >> 8 & 255, t & 255
        path = folder / "example.bin"
        path.write_bytes(rows.tobytes())
        return path


def _probe(path: Path, size: Size | None) -> SignalInfo:
    """Facts of a recording; the task of a worker."""
    recording = _recording(path, size)
    rate_hz = recording.count / recording.duration_s
    return SignalInfo(path, recording.duration_s, rate_hz, recording.count, _meta(recording))


def _gaps(path: Path, size: Size | None) -> Sequence[Window]:
    """Stretches without events; the task of a worker."""
    return _recording(path, size).gaps


def _clip(path: Path, size: Size | None, window: Window | None) -> Clip:
    """The events of a window, None for all of them; the task of a worker."""
    recording = _recording(path, size)
    with errors_of(path):
        span = Window(0.0, recording.duration_s) if window is None else window
        if not recording.duration_s > span.start_s >= 0:
            raise DecodeError(
                f"{path}: the window starts at {span.start_s:g} s, and the recording has "
                f"{recording.duration_s:g} s; give an earlier start"
            )
        events, times_s, total = recording.window(span)
        # What a cut file lacks would have come after its last event.
        missing = recording.missing if span.end_s >= recording.duration_s else 0
        if missing > _MOST_LOST * (total + missing):
            raise DecodeError(
                f"{path}: {missing:,} of {total + missing:,} events are missing from "
                f"{span.start_s:g} s on; copy the file again"
            )
        lost = 1 - len(events) / (total + missing) if total + missing else 0.0
        meta = _meta(recording)
        if len(events) < total:
            meta["kept"] = len(events) / total
        return Clip(path, span, EventReader.modality, events, times_s, lost, meta)


def _clips(path: Path, size: Size | None, windows: Sequence[Window]) -> Iterator[Clip | Failure]:
    """The clips of windows; the task of a worker."""
    for window in windows:
        try:
            yield _clip(path, size, window)
        except VlarError as error:
            yield Failure(path, error.kind, error.message)


def _recording(path: Path, size: Size | None) -> EventFile:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise DecodeError(f"{path}: cannot be read ({reason}); check the path") from error
    with errors_of(path):
        return cached(_open, path, size, status.st_mtime_ns, status.st_size)


def _open(path: Path, size: Size | None) -> EventFile:
    head = head_of(path)
    if head is None:
        raise ValueError("it is not a file that can be opened")
    header = header_of(path, head.data)
    if header is None:
        raise ValueError("its first bytes are of none that is read")
    return EventFile(path, header, size or _stated_size(path.with_name(_FACTS)))


def _stated_size(path: Path) -> Size | None:
    """The size that ``events.json`` next to a recording states."""
    if not path.exists():
        return None
    facts = parse_json(read_file(path, MB))
    size: Any = facts.get("size") if isinstance(facts, dict) else None
    numbers = size if isinstance(size, list) and len(size) == 2 else [0]
    if not all(isinstance(one, int) and 0 < one <= _LARGEST for one in numbers):
        raise ValueError(f"{path.name} states the size {size!r}; give two whole numbers [H, W]")
    return numbers[0], numbers[1]


def _meta(found: EventFile) -> dict[str, Any]:
    return {
        **found.header.meta,
        "size": found.size,
        "polarity": "True where it became brighter",
        "format": found.header.format,
        "start_us": found.first,
        "assumed": found.assumed,
    }
