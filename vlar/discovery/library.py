"""``Library.unusual``, ``Library.duplicates`` and ``Library.highlights``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlar.discovery import groups, measures
from vlar.discovery.neighbours import apart, drawn, unit_rows
from vlar.errors import QueryError
from vlar.index.connection import LibraryConnection
from vlar.index.rows import Int64, RowTable, read_all
from vlar.types import Float32, JsonDict


@dataclass(frozen=True)
class Standout:
    """A window that stands out.

    Attributes:
        rank: 1 for the one that stands out most.
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        score: Of ``unusual`` the mean cosine distance (0 to 2) to the five nearest windows of other
            recordings. Of ``highlights`` the distance from the rest of its own recording in robust
            standard deviations.
        nearest: For ``unusual``, the recording of the most similar window; None without one.
        nearest_s: Where that window begins, in seconds.
        tags: Of the recording.
    """

    rank: int
    path: str
    start_s: float
    end_s: float
    score: float
    nearest: str | None = None
    nearest_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        near = (
            {} if self.nearest is None else {"nearest": self.nearest, "nearest_s": self.nearest_s}
        )
        return {
            "rank": self.rank,
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "score": round(self.score, 6),
            **near,
            "tags": dict(self.tags),
        }


@dataclass(frozen=True)
class DuplicateMember:
    """One recording of a group of near-duplicates, and the span that the others show too.

    ``similarity`` is the mean cosine of its matched windows with their best matches.
    """

    path: str
    start_s: float
    end_s: float
    similarity: float

    def to_dict(self) -> JsonDict:
        """A JSON object."""
        return {
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "similarity": round(self.similarity, 6),
        }


@dataclass(frozen=True)
class DuplicateGroup:
    """Recordings that show the same; the one that was added first comes first."""

    members: tuple[DuplicateMember, ...]

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {"members": [member.to_dict() for member in self.members]}


@dataclass(frozen=True)
class LibraryRows:
    """All N rows of a library that show something, of one state.

    Attributes:
        table: N windows.
        vectors: (N, D) of unit length.
        paths: Path of each recording, by id.
        tags: Tags of each recording, by id.
        fingerprint: Of the model.
    """

    table: RowTable
    vectors: Float32
    paths: Mapping[int, str]
    tags: Mapping[int, Mapping[str, str]]
    fingerprint: str


def all_rows(connection: LibraryConnection) -> LibraryRows:
    """Every row of a whole frame that is sound and shows something (``Library.all_rows``)."""
    with connection.mutex:
        store, manifest = connection.nonempty()
        store.damaged.clear()
        with store.snapshot():
            table, stored = read_all(store.source(manifest.dim))
            paths, tags = store.paths(), store.tags()
            if manifest.persons:  # windows are compared, not the people in them
                whole = np.isin(table.ids, store.ids_of(people=False))
                table, stored = table.where(whole), stored[whole]
            connection.name_damage(store)
    vectors = unit_rows(stored)
    shown = np.linalg.norm(vectors, axis=1) > 0.5  # blank rows show nothing
    return LibraryRows(table.where(shown), vectors[shown], paths, tags, manifest.fingerprint)


def unusual(own: LibraryRows, k: int, against: LibraryRows | None) -> list[Standout]:
    """The windows far from all windows of other recordings (``Library.unusual``)."""
    other = own if against is None else against
    chosen = drawn(len(other.table))
    table, vectors = other.table.where(chosen), other.vectors[chosen]
    # Ids of recordings are those of one library only.
    owners = table.video_ids if against is None else np.full(len(table), -1)
    score, nearest = measures.distances(own.vectors, own.table.video_ids, vectors, owners)
    found: list[Standout] = []
    for rank, place in enumerate(apart(own.table, np.argsort(-score, kind="stable"), k), 1):
        near = int(nearest[place])
        path = None if near < 0 else other.paths[int(table.video_ids[near])]
        near_s = None if near < 0 else float(table.starts_s[near])
        found.append(_standout(own, rank, place, float(score[place]), path, near_s))
    return found


def highlights(own: LibraryRows, k: int, per_recording: int) -> list[Standout]:
    """The windows that stand out most in their own recording (``Library.highlights``)."""
    score = np.zeros(len(own.table))
    chosen: list[int] = []
    for places in _by_video(own.table):
        part = own.table.where(places)
        score[places] = measures.within(own.vectors[places], part.starts_s, part.ends_s)
        order = np.argsort(-score[places], kind="stable")
        best = apart(part, order[score[places][order] > 0], per_recording)
        chosen += places[best].tolist()
    chosen.sort(key=lambda place: -score[place])
    return [
        _standout(own, rank, place, float(score[place])) for rank, place in enumerate(chosen[:k], 1)
    ]


def duplicates(own: LibraryRows, similarity: float) -> list[DuplicateGroup]:
    """Groups of recordings that show the same, largest first (``Library.duplicates``)."""
    found = groups.duplicate_groups(own.table, own.vectors, similarity)
    return [
        DuplicateGroup(
            tuple(
                DuplicateMember(own.paths[m.video_id], m.start_s, m.end_s, m.similarity)
                for m in group
            )
        )
        for group in found
    ]


def require_count(k: int) -> None:
    """Refuse a number of answers below 1.

    Raises:
        QueryError: it is.
    """
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 answer")


def _by_video(table: RowTable) -> list[Int64]:
    """Places of the rows of each recording."""
    order = np.argsort(table.video_ids, kind="stable")
    borders = np.flatnonzero(np.diff(table.video_ids[order])) + 1
    return [part for part in np.split(order, borders) if len(part)]


def _standout(
    rows: LibraryRows,
    rank: int,
    place: int,
    score: float,
    nearest: str | None = None,
    nearest_s: float | None = None,
) -> Standout:
    video_id = int(rows.table.video_ids[place])
    start_s, end_s = float(rows.table.starts_s[place]), float(rows.table.ends_s[place])
    own = rows.tags.get(video_id, {})
    return Standout(rank, rows.paths[video_id], start_s, end_s, score, nearest, nearest_s, own)
