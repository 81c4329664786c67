"""Rows as columns: which rows there are, and which of them a search may answer with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from vlar.formatting import counted, shown
from vlar.types import Failure, Float32, Float64, JsonDict, Window

Int64 = npt.NDArray[np.int64]
Float16 = npt.NDArray[np.float16]
Bool = npt.NDArray[np.bool_]
ANY_TIME = (-np.inf, np.inf)
_LARGEST_LISTED = 1 << 27
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class RowPerson:
    """The person that a row shows, one of its window. Rows of whole frames have none.

    Attributes:
        track: Number of the person in the recording, from 1; the same person in overlapping
            windows has the same number.
        box: x1, y1, x2, y2 in the middle of the window, in shares (0 to 1) of the frame's width
            and height.
    """

    track: int
    box: Box


@dataclass(frozen=True)
class RowBatch:
    """Rows with their vectors; all arrays have N entries, ``vectors`` is (N, D) float32.

    ``people`` has whom the rows of people show, by row id; whole frames are not among them.
    """

    ids: Int64
    video_ids: Int64
    spans: tuple[tuple[float, float], ...]
    vectors: Float32
    people: Mapping[int, RowPerson] = field(default_factory=dict[int, RowPerson])

    @classmethod
    def joined(cls, batches: Sequence[RowBatch]) -> RowBatch:
        """Several batches in a row, at least one."""
        columns = ((b.ids, b.video_ids, b.vectors) for b in batches)
        ids, video_ids, vectors = map(np.concatenate, zip(*columns, strict=True))
        spans = tuple(span for batch in batches for span in batch.spans)
        people = {row_id: who for batch in batches for row_id, who in batch.people.items()}
        return cls(ids, video_ids, spans, vectors, people)

    @property
    def windows(self) -> list[Window]:
        """Window of each row."""
        return [Window(start_s, end_s) for start_s, end_s in self.spans]

    @property
    def persons(self) -> list[RowPerson | None]:
        """Person of each row; None for the whole frame."""
        return [self.people.get(row_id) for row_id in self.ids.tolist()]

    def part(self, rows: slice | Bool | Int64) -> RowBatch:
        """The rows of a slice or a mask (N,), or at places (M,)."""
        places = np.arange(len(self.ids))[rows].tolist()
        spans = tuple(self.spans[place] for place in places)
        ids, video_ids = self.ids[rows], self.video_ids[rows]
        return RowBatch(ids, video_ids, spans, self.vectors[rows], self.people)


@dataclass(frozen=True)
class RowTable:
    """Constant facts of N rows, in rising order of their ids. All arrays are (N,)."""

    ids: Int64
    video_ids: Int64
    starts_s: Float64
    ends_s: Float64

    @classmethod
    def empty(cls) -> RowTable:
        """A table without rows."""
        none, never = np.empty(0, np.int64), np.empty(0, np.float64)
        return cls(none, none, never, never)

    @classmethod
    def joined(cls, tables: list[RowTable]) -> RowTable:
        """Several tables in a row."""
        columns = zip(*(table.columns for table in tables), strict=True)
        return cls(*map(np.concatenate, columns)) if tables else cls.empty()

    @property
    def columns(self) -> tuple[Int64, Int64, Float64, Float64]:
        """The four arrays."""
        return self.ids, self.video_ids, self.starts_s, self.ends_s

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.ids)

    def where(self, mask: Bool | Int64) -> RowTable:
        """The rows of a mask (N,), or at places (M,)."""
        return RowTable(
            self.ids[mask], self.video_ids[mask], self.starts_s[mask], self.ends_s[mask]
        )


@dataclass(frozen=True)
class RowFilter:
    """Rows of some videos, or some rows, whose start and end lie in ranges.

    Attributes:
        videos: Ids of the videos; None allows any video.
        start_s: Least and greatest start in seconds, both included.
        end_s: Least and greatest end in seconds, both included.
        rows: Ids of the rows; None allows any row.
    """

    videos: frozenset[int] | None = None
    start_s: tuple[float, float] = ANY_TIME
    end_s: tuple[float, float] = ANY_TIME
    rows: frozenset[int] | None = None

    def mask(self, table: RowTable) -> Bool:
        """(N,) True for the rows of a table that pass."""
        mask = np.ones(len(table), np.bool_)
        if self.videos is not None:
            mask &= _listed(table.video_ids, np.fromiter(self.videos, np.int64, len(self.videos)))
        if self.rows is not None:
            mask &= _listed(table.ids, np.fromiter(self.rows, np.int64, len(self.rows)))
        for (low, high), column in ((self.start_s, table.starts_s), (self.end_s, table.ends_s)):
            if (low, high) != ANY_TIME:
                mask &= (column >= low) & (column <= high)
        return mask

    def allows(self, row_id: int, start_s: float, end_s: float) -> bool:
        """Return whether a row with these times passes, if its video does."""
        return (
            (self.rows is None or row_id in self.rows)
            and self.start_s[0] <= start_s <= self.start_s[1]
            and self.end_s[0] <= end_s <= self.end_s[1]
        )


def _listed(values: Int64, chosen: Int64) -> Bool:
    """(N,) whether each value is among those chosen; by a table where the values are small."""
    least, last = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or last > _LARGEST_LISTED:
        return np.isin(values, chosen)
    listed = np.zeros(last + 1, np.bool_)
    listed[chosen[(chosen >= 0) & (chosen <= last)]] = True
    return listed[values]


class Selection:
    """Some places of an array of rows, in the forms that searches need, each computed once."""

    def __init__(self, mask: Bool) -> None:
        self.mask = mask

    @cached_property
    def count(self) -> int:
        """Number of places."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def places(self) -> Int64:
        """The places in rising order."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The mask with eight places a byte, the lowest bit first."""
        return np.packbits(self.mask.view(np.uint8), bitorder="little")


class RowSource(Protocol):
    """N rows with their vectors, read chunk by chunk in rising order of their ids."""

    @property
    def dim(self) -> int:
        """D, width of a vector."""
        ...

    @property
    def count(self) -> int:
        """N, the number of rows."""
        ...

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """Tables of n rows with their vectors (n, D) float16."""
        ...


def read_all(source: RowSource) -> tuple[RowTable, Float16]:
    """All rows of a source at once, and their vectors (N, D)."""
    chunks = list(source.chunks())
    vectors = [np.empty((0, source.dim), np.float16), *(chunk[1] for chunk in chunks)]
    return RowTable.joined([chunk[0] for chunk in chunks]), np.concatenate(vectors)


@dataclass(frozen=True)
class VideoRow:
    """One video of a library.

    ``windows`` is the number of rows; ``unreadable_windows`` could not be decoded when it was
    indexed and are not among them. ``added_at_s`` is seconds since 1970, ``content_hash`` the
    SHA-256 of the file as it was indexed; empty where the library keeps none.
    """

    path: str
    duration_s: float
    windows: int
    added_at_s: float
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    unreadable_windows: int = 0
    content_hash: str = ""

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line; ``added`` is ISO 8601 in UTC."""
        added = datetime.fromtimestamp(self.added_at_s, tz=timezone.utc)
        return {
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            "windows": self.windows,
            "unreadable_windows": self.unreadable_windows,
            "tags": dict(self.tags),
            "added": added.isoformat(timespec="seconds"),
        }


@dataclass(frozen=True)
class LibraryInfo:
    """Facts about a library. ``model`` and the numbers of its manifest are None while it is empty.

    Attributes:
        path: The folder.
        videos: Number of recordings.
        rows: Number of windows.
        duration_s: Length of all recordings, in seconds.
        model: The spec that loads the model.
        fingerprint: Fingerprint of the model.
        dim: D, width of a vector.
        modality: Name of the sensor.
        window_s: Length of a window in seconds.
        stride_s: Seconds from one window to the next.
        n_frames: T, samples of a window.
        tag_keys: Keys of all tags.
        context_rows: Rows that have context tokens, which queries re-rank with.
        context_bytes: Bytes of all context tokens.
        bytes_on_disk: Size of all files of the library, and of its search cache.
        engine: Name of the search engine.
        engine_why: The reason for it.
        engine_facts: What the engine reports: for inverted lists their number, how many a query
            searches, and the recall@10 that was measured when they were built.
        cache_state: ``fresh``, ``stale``, ``unreadable`` or ``absent``. The next query rebuilds or
            updates all but a fresh one.
        waiting_added: New rows that are compared one by one until they are merged.
        waiting_deleted: Deleted rows that the engine still masks.
        format: Version of the database.
        persons: The detector whose people have rows of their own; None without such rows.
        person_rows: How many of the rows show one person.
        mapped_rows: How many are predicted from the vectors of an earlier model.
        learned_from: What they are predicted by, in a sentence.
    """

    path: str
    videos: int
    rows: int
    duration_s: float
    model: str | None
    fingerprint: str | None
    dim: int | None
    modality: str | None
    window_s: float | None
    stride_s: float | None
    n_frames: int | None
    tag_keys: tuple[str, ...]
    context_rows: int
    context_bytes: int
    bytes_on_disk: int
    engine: str
    engine_why: str
    cache_state: str
    engine_facts: Mapping[str, Any]
    waiting_added: int
    waiting_deleted: int
    format: int
    persons: str | None = None
    person_rows: int = 0
    mapped_rows: int = 0
    learned_from: str = ""

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        rounded = {"tag_keys": list(self.tag_keys), "duration_s": round(self.duration_s, 3)}
        return asdict(self) | rounded


class RowHit(NamedTuple):  # made in a third of the time of a frozen dataclass
    """One row and its similarity to a vector; ``track`` and ``box`` as in ``Hit``."""

    path: str
    start_s: float
    end_s: float
    similarity: float
    track: int | None = None
    box: Box | None = None

    def to_dict(self) -> JsonDict:
        """A JSON object; ``track`` and ``box`` are there where it shows one person."""
        return {key: value for key, value in self._asdict().items() if value is not None}


@dataclass(frozen=True)
class AddEvent:
    """A step of an ``add``.

    Attributes:
        status: ``start`` (once; ``done`` is how many were indexed before), ``added``, ``updated``,
            ``unchanged``, ``moved`` (its old path is gone), ``copied`` (its content has another
            path too) or ``failed``. All but ``start`` and ``failed`` are reported after the commit;
            a server also gets ``reading``, within a recording.
        done: Videos handled so far.
        total: Videos of this call.
        path: The video; None for ``start``.
        rows: Rows written for it.
        failure: What could not be read: the whole video (``failed``) or some of its windows.
        lost: Share (0 to 1) of its frames that could not be read or may be wrong.
        seconds: Length of what was read for it; 0 where nothing was.
        other: Path of the recording that it was ``moved`` from or is ``copied`` from.
        part: Share (0 to 1) of the recording that is encoded, of ``reading``.
    """

    status: str
    done: int
    total: int
    path: Path | None = None
    rows: int = 0
    failure: Failure | None = None
    lost: float = 0.0
    seconds: float = 0.0
    other: str | None = None
    part: float = 0.0

    @property
    def advance(self) -> int:
        """Steps of a progress bar: 1 for each video."""
        return 0 if self.path is None or self.status == "reading" else 1

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        path = None if self.path is None else shown(self.path)
        facts = {"path": path, "status": self.status, "rows": self.rows}
        facts |= {"other": self.other} if self.other is not None else {}
        return {**facts, "lost": round(self.lost, 4), "done": self.done, "total": self.total}


@dataclass(frozen=True)
class AddReport:
    """Report of an ``add``, counted in videos; ``rows`` are the rows written.

    ``moved`` are videos whose content was known under another path, and cost no decoding; of these
    ``copies`` have another path that is there still. ``failed`` names videos that could not be
    read, and videos that could be read in part only (those are indexed as far as they go).
    ``still_windows`` were left out because nothing moves in them, and ``still_s`` is the number of
    seconds that no other window covers.
    ``person_rows`` of the rows show one person each.
    """

    added: int
    updated: int
    unchanged: int
    moved: int
    failed: tuple[Failure, ...]
    rows: int
    still_windows: int = 0
    still_s: float = 0.0
    person_rows: int = 0
    copies: int = 0

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        failed = [row.to_dict() for row in self.failed]
        return asdict(self) | {"failed": failed, "still_s": round(self.still_s, 3)}


@dataclass(frozen=True)
class UpgradeReport:
    """Report of an upgrade.

    Attributes:
        kept: Blocks copied from the stored vectors.
        computed: Blocks computed from the videos.
        videos: Videos brought up to date.
        rows: Their rows.
        failed: Videos that are gone, changed or partly unreadable. Their rows keep the blocks they
            had, with the other blocks of a blank clip; ``add`` reads those that are gone or
            changed again.
        mapped: Rows that are still predicted from the vectors of an earlier model.
        learned_from: What they are predicted by, in a sentence; empty without any.
        from_frames: Rows that were computed from the records that the library kept.
    """

    kept: tuple[str, ...]
    computed: tuple[str, ...]
    videos: int
    rows: int
    failed: tuple[Failure, ...]
    mapped: int = 0
    learned_from: str = ""
    from_frames: int = 0

    @property
    def sentence(self) -> str:
        """Sentence for people on what was done."""
        records = ""
        if self.from_frames:
            records = f", {counted(self.from_frames, 'windows')} from records"
        if self.learned_from:
            done = f"{counted(self.rows, 'windows')} encoded{records}, {self.mapped} mapped"
            return f"{done}; {self.learned_from}"
        if not self.computed and not self.rows:
            return "the library is up to date"
        parts = [", ".join(names) or "nothing" for names in (self.kept, self.computed)]
        done = f"{counted(self.videos, 'recordings')}, {counted(self.rows, 'windows')}"
        return f"{done} up to date: {parts[0]} kept, {parts[1]} computed{records}"

    def to_dict(self) -> JsonDict:
        """JSON object for ``--json``."""
        failed = [failure.to_dict() for failure in self.failed]
        return asdict(self) | {
            "kept": list(self.kept),
            "computed": list(self.computed),
            "failed": failed,
        }
