"""Facts about a library and about an ``add``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vlar.index.rows import Box
from vlar.types import Failure, JsonDict
from vlar.urls import shown


@dataclass(frozen=True)
class VideoRow:
    """One video of a library.

    ``windows`` is the number of rows; ``unreadable_windows`` could not be decoded when it was
    indexed and are not among them. ``added_at_s`` is seconds since 1970.
    """

    path: str
    duration_s: float
    windows: int
    added_at_s: float
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    unreadable_windows: int = 0

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
        duration_s: Of all recordings, in seconds.
        model: The spec that loads the model.
        fingerprint: Of the model.
        dim: D, width of a vector.
        modality: Name of the sensor.
        window_s: Length of a window in seconds.
        stride_s: Seconds from one window to the next.
        n_frames: T, samples of a window.
        tag_keys: Keys of all tags.
        context_rows: Rows that have context tokens, which queries re-rank with.
        context_bytes: Bytes of all context tokens.
        bytes_on_disk: Of all files of the library.
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

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        facts = asdict(self)
        facts["tag_keys"] = list(self.tag_keys)
        facts["duration_s"] = round(self.duration_s, 3)
        return facts


@dataclass(frozen=True)
class RowHit:
    """One row and its similarity to a vector; ``track`` and ``box`` as in ``Hit``."""

    path: str
    start_s: float
    end_s: float
    similarity: float
    track: int | None = None
    box: Box | None = None

    def to_dict(self) -> JsonDict:
        """A JSON object; ``track`` and ``box`` are there where it shows one person."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class AddEvent:
    """A step of an ``add``.

    Attributes:
        status: ``start`` (once; ``done`` is how many were indexed before), ``added``, ``updated``,
            ``unchanged``, ``moved`` (recognised by content) or ``failed``. All but ``start`` and
            ``failed`` are reported after the commit.
        done: Videos handled so far.
        total: Videos of this call.
        path: The video; None for ``start``.
        rows: Rows written for it.
        failure: What could not be read: the whole video (``failed``) or some of its windows.
        lost: Share (0 to 1) of its frames that could not be read or may be wrong.
        seconds: Length of what was read for it; 0 where nothing was.
    """

    status: str
    done: int
    total: int
    path: Path | None = None
    rows: int = 0
    failure: Failure | None = None
    lost: float = 0.0
    seconds: float = 0.0

    @property
    def advance(self) -> int:
        """Steps of a progress bar: 1 for each video."""
        return 0 if self.path is None else 1

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": None if self.path is None else shown(self.path),
            "status": self.status,
            "rows": self.rows,
            "lost": round(self.lost, 4),
            "done": self.done,
            "total": self.total,
        }


@dataclass(frozen=True)
class AddReport:
    """Report of an ``add``, counted in videos; ``rows`` are the rows written.

    ``moved`` are videos whose content was known under another path (renamed or copied): they cost
    no decoding. ``failed`` names videos that could not be read, and videos that could be read in
    part only (those are indexed as far as they go). ``still_windows`` were left out because nothing
    moves in them, and ``still_s`` is how many seconds no other window covers. ``person_rows`` of
    the rows show one person each.
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

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "failed": [row.to_dict() for row in self.failed],
            "rows": self.rows,
            "still_windows": self.still_windows,
            "still_s": round(self.still_s, 3),
            "person_rows": self.person_rows,
        }


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
    """

    kept: tuple[str, ...]
    computed: tuple[str, ...]
    videos: int
    rows: int
    failed: tuple[Failure, ...]

    def to_dict(self) -> JsonDict:
        """JSON object for ``--json``."""
        return {
            "kept": list(self.kept),
            "computed": list(self.computed),
            "videos": self.videos,
            "rows": self.rows,
            "failed": [failure.to_dict() for failure in self.failed],
        }
