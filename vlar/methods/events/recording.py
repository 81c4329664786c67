"""A recording of events: an index of its pieces, from which windows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlar.errors import DecodeError
from vlar.files.opening import open_input
from vlar.files.reading import require_memory
from vlar.media.signals import require_length
from vlar.methods.events.formats import (
    LARGEST_PIECE,
    MOST_BYTES,
    Decode,
    DecodedEvents,
    EventHeader,
    State,
)
from vlar.methods.events.representations import EVENT, Events, Size
from vlar.types import Float64, Window

MOST_EVENTS = 20_000_000
"""Events of a window; more are thinned evenly."""
PIECE_BYTES = 1 << 18  # a piece of EVT 3 of this size can hold 1.6 million events
_APART_S = 0.1  # of events; the noise of a sensor alone is a thousand times as much
_GAP_US, _MOST_GAPS = 60_000_000, 10_000
_LARGEST_SIDE = 1 << 14
_HELD_BYTES = 1 << 25  # of pieces, so that windows next to each other decode each once
# (H, W) of sensors, smallest first: of a file that states none, the first that holds all its events
SENSORS = (
    (34, 34),
    (128, 128),
    (180, 240),
    (240, 304),
    (240, 320),
    (260, 346),
    (480, 640),
    (720, 1280),
)


@dataclass(frozen=True)
class _Piece:
    """Some records of a file: where they are, what came before, and the span of their times."""

    number: int
    start: int = 0
    length: int = 0
    state: State = ()
    count: int = 0
    first: int = 0
    last: int = 0


class EventFile:
    """The index of a recording; its events are read when a window is asked for.

    Args:
        path: The file.
        header: See ``header_of``.
        size: (H, W) of the sensor where the file does not state it; None for that of the smallest
            known sensor which holds all events.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, empty, not in order, or has events beyond the size; the message
            is one sentence.
    """

    def __init__(self, path: Path, header: EventHeader, size: Size | None = None) -> None:
        self.path, self.header = path, header
        self.sorted, self.missing = True, 0
        self._gaps: list[tuple[int, int]] = []
        self._held: dict[int, Events] = {}
        self._pieces: list[_Piece] = []
        top, least = np.zeros(2, np.int64), np.full(2, 1 << 16)
        for piece, piece_events in self._scan():
            self.missing += piece_events.missing
            events = piece_events.events
            if not len(events):
                continue
            times, places = events["t"], (events["y"], events["x"])
            self._note_gaps(times)
            first, last = int(times.min()), int(times.max())
            before = self._pieces[-1].last if self._pieces else first
            self.sorted &= first >= before and bool((np.diff(times) >= 0).all())
            if not self.sorted and not header.sorts:
                raise ValueError(
                    "its times fall from event to event, and its clock may wrap: export it in order"
                )
            self._pieces.append(replace(piece, count=len(events), first=first, last=last))
            self._hold(piece.number, events)
            top = np.maximum(top, [one.max() for one in places])
            least = np.minimum(least, [one.min() for one in places])
        if not self._pieces:
            raise ValueError("it holds no event")
        if (top == least).all():
            raise ValueError(f"all its events are of one pixel, x = {top[1]}, y = {top[0]}")
        self.count = sum(piece.count for piece in self._pieces)
        self.first = min(piece.first for piece in self._pieces)
        last = max(piece.last for piece in self._pieces)
        self.duration_s = (last - self.first + 1) * 1e-6  # to the end of the last microsecond
        require_length(self.duration_s, self.count, _APART_S)
        self.size, self.assumed = self._sized(size, (int(top[0]), int(top[1])))

    @property
    def gaps(self) -> list[Window]:
        """Stretches without events of over a minute, in seconds after the first event."""
        if not self.sorted:
            return []
        return [Window(*(1e-6 * (time - self.first) for time in gap)) for gap in self._gaps]

    def _note_gaps(self, times: npt.NDArray[np.int64]) -> None:
        """Keep the long steps of a piece, and of its beginning after the piece before."""
        before = [self._pieces[-1].last] if self._pieces else []
        joined = np.concatenate([np.array(before, np.int64), times])
        for index in np.flatnonzero(np.diff(joined) > _GAP_US)[: _MOST_GAPS - len(self._gaps)]:
            self._gaps.append((int(joined[index]) + 1, int(joined[index + 1])))

    def window(self, window: Window) -> tuple[Events, Float64, int]:
        """The events of a span of seconds after the first event.

        Returns:
            The events in the order of time, at most ``MOST_EVENTS``, their times in seconds, and
            how many there are in the file.

        Raises:
            OSError: it cannot be read.
            ValueError: they take too much memory.
        """

        def after_s(at: npt.ArrayLike) -> Float64:
            return (np.asarray(at) - self.first) * 1e-6

        def inside(events: Events) -> Events:
            times_s = after_s(events["t"])
            return events[(times_s >= window.start_s) & (times_s < window.end_s)]

        pieces = [
            piece
            for piece in self._pieces
            if after_s(piece.last) >= window.start_s and after_s(piece.first) < window.end_s
        ]
        total = sum(piece.count for piece in pieces)
        if total > MOST_EVENTS:
            total = sum(len(inside(events)) for _, events in self._read(pieces))
        most = min(total, MOST_EVENTS)
        require_memory((EVENT.itemsize + 8) * most)
        sample = np.empty(most, EVENT)
        rank = filled = 0
        for _, events in self._read(pieces):
            events_inside = inside(events)
            rank += len(events_inside)
            if most < total:
                ranks = np.arange(rank - len(events_inside) - 1, rank) * most // total
                events_inside = events_inside[np.diff(ranks) > 0]
            sample[filled : filled + len(events_inside)] = events_inside
            filled += len(events_inside)
        sample = sample[:filled]
        sample["t"] -= self.first
        if not self.sorted:
            sample = sample[np.argsort(sample["t"], kind="stable")]
        return sample, sample["t"] * 1e-6, rank

    def _sized(self, given: Size | None, top: Size) -> tuple[Size, tuple[str, ...]]:
        size, assumed = self.header.size or given, self.header.assumed
        location = f"an event lies at x = {top[1]}, y = {top[0]}"
        if size is None:
            fitting = [sensor for sensor in SENSORS if sensor[0] > top[0] and sensor[1] > top[1]]
            if not fitting:
                raise ValueError(
                    f"{location}, and the file does not state the size of the sensor: put "
                    "events.json with size [H, W] next to it"
                )
            size, assumed = fitting[0], (*assumed, "size")
        if max(size) > _LARGEST_SIDE:
            raise ValueError(f"its size (H, W) is {size}; at most {_LARGEST_SIDE} pixels are read")
        if size[0] <= top[0] or size[1] <= top[1]:
            raise ValueError(f"{location}, beyond the size (H, W) = {size}")
        return size, assumed

    def _hold(self, number: int, events: Events) -> None:
        held = {**self._held, number: events}
        while (
            len(held) > 1
            and sum(pieces_of_chunk.nbytes for pieces_of_chunk in held.values()) > _HELD_BYTES
        ):
            del held[next(iter(held))]
        self._held = held

    def _scan(self) -> Iterator[tuple[_Piece, DecodedEvents]]:
        """All pieces as they are found."""
        if self.header.stream is not None:
            yield from ((_Piece(n), chunk) for n, chunk in enumerate(self.header.stream(self.path)))
        elif self.header.decode is not None:
            yield from self._scan_bytes(self.header.decode)

    def _scan_bytes(self, decode: Decode) -> Iterator[tuple[_Piece, DecodedEvents]]:
        state: State = ()
        start, number, remaining, ended = self.header.start, 0, b"", False
        with open_input(self.path, MOST_BYTES) as stream:
            stream.seek(start)
            while not ended:
                more = stream.read(max(PIECE_BYTES, len(remaining)))
                data, ended = remaining + more, not more
                decoded = decode(data, state, ended)
                if not decoded.used and len(data) > LARGEST_PIECE:
                    raise ValueError(f"a packet in it has over {LARGEST_PIECE >> 20} MB")
                yield _Piece(number, start, decoded.used, state), decoded
                state, start, number = decoded.state, start + decoded.used, number + 1
                remaining = data[decoded.used :]

    def _read(self, wanted: list[_Piece]) -> Iterator[tuple[_Piece, Events]]:
        """Known pieces and their events."""
        held, decode = self._held, self.header.decode
        if all(piece.number in held for piece in wanted):
            yield from [(piece, held[piece.number]) for piece in wanted]
        elif decode is None:
            numbers = {piece.number for piece in wanted}
            for piece, piece_events in islice(self._scan(), max(numbers) + 1):
                if piece.number in numbers:
                    yield piece, piece_events.events
        else:
            with open_input(self.path, MOST_BYTES) as stream:
                for piece in wanted:
                    events = self._held.get(piece.number)
                    if events is None:
                        stream.seek(piece.start)
                        events = decode(stream.read(piece.length), piece.state, True).events
                        self._hold(piece.number, events)
                    yield piece, events


@lru_cache(maxsize=2)
def cached(
    make: Callable[[Path, Size | None], EventFile], path: Path, size: Size | None, *stamp: int
) -> EventFile:
    """The index of a recording; ``stamp`` changes with the file."""
    try:
        return make(path, size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(
            f"{path}: not a readable recording of events: {reason}; see docs/sensors.md for the "
            "formats"
        ) from error
