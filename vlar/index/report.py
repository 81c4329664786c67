"""What a library tells about itself and about an ``add``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vlar.types import Failure, JsonDict


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

    ``context_rows`` of the rows keep context tokens, ``context_bytes`` in all: queries re-rank them
    (``vlar.query.rerank``).

    ``ann`` is the type of search, ``ann_why`` the reason for it, ``ann_state`` whether its cache
    is fresh, stale, unreadable or absent (anything but fresh is mended by the next query).
    ``ann_facts`` are what the type says of itself (an inverted index: its lists, how many a query
    looks into, and the recall@10 this gave when it was made); ``ann_beside`` rows are new and
    compared beside it, ``ann_dead`` rows in it are gone and left out.
    """

    path: str
    videos: int
    rows: int
    duration_s: float
    model: str | None
    fingerprint: str | None
    dim: int | None
    window_s: float | None
    stride_s: float | None
    n_frames: int | None
    tag_keys: tuple[str, ...]
    context_rows: int
    context_bytes: int
    bytes_on_disk: int
    ann: str
    ann_why: str
    ann_state: str
    ann_facts: Mapping[str, Any]
    ann_beside: int
    ann_dead: int
    format: int

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        facts = asdict(self)
        facts["tag_keys"] = list(self.tag_keys)
        facts["duration_s"] = round(self.duration_s, 3)
        return facts


@dataclass(frozen=True)
class RowHit:
    """One row and its similarity to a vector."""

    path: str
    start_s: float
    end_s: float
    similarity: float

    def to_dict(self) -> JsonDict:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class AddEvent:
    """A step of an ``add``.

    Attributes:
        status: ``start`` (once; ``done`` tells how many were indexed before), ``added``,
            ``updated``, ``unchanged``, ``moved`` (recognised by content) or ``failed``.
            All but ``start`` and ``failed`` are said after the commit: what was said is kept.
        done: Videos handled so far.
        total: Videos of this call.
        path: The video; None for ``start``.
        rows: Rows written for it.
        failure: What could not be read: the whole video (``failed``) or some of its windows.
    """

    status: str
    done: int
    total: int
    path: Path | None = None
    rows: int = 0
    failure: Failure | None = None

    @property
    def advance(self) -> int:
        """How far a progress bar moves: 1 for each video."""
        return 0 if self.path is None else 1

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": None if self.path is None else str(self.path),
            "status": self.status,
            "rows": self.rows,
            "done": self.done,
            "total": self.total,
        }


@dataclass(frozen=True)
class AddReport:
    """What an ``add`` did, counted in videos; ``rows`` are the rows written.

    ``moved`` are videos whose content was known under another path (renamed or copied): they cost
    no decoding. ``failed`` names videos that could not be read, and videos that could be read in
    part only (those are indexed as far as they go).
    """

    added: int
    updated: int
    unchanged: int
    moved: int
    failed: tuple[Failure, ...]
    rows: int

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "failed": [row.to_dict() for row in self.failed],
            "rows": self.rows,
        }
