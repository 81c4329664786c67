"""``Library.unusual``, ``duplicates``, ``highlights`` and ``diverse``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from vlar.cancellation import check
from vlar.errors import EncoderMismatchError, QueryError
from vlar.library import copies
from vlar.library.connection import LibraryConnection
from vlar.library.movement import Thumbnails
from vlar.library.rows import Float16, Int64, RowSource, RowTable, read_all
from vlar.types import Float32, Float64, JsonDict

_log = logging.getLogger("vlar")
_BLOCK = 1024  # rows of each side that are compared at once
LARGEST_REFERENCE = 50_000
"""Rows that each row is compared with at most; of more, this many are drawn."""


def unit_rows(vectors: Float16 | Float32) -> Float32:
    """(N, D) float32 of unit length; blank rows stay 0."""
    wide = vectors.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, np.maximum(lengths, 1e-6), out=wide)


def drawn(count: int, most: int = LARGEST_REFERENCE) -> Int64:
    """Places (M,) of at most ``most`` of ``count`` rows, always the same ones, in rising order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def nearest_rows(
    vectors: Float32, owners: Int64, reference: Float32, reference_owners: Int64, k: int
) -> tuple[Float64, Int64]:
    """The ``k`` rows of a reference that are most similar to each row, of other recordings.

    Args:
        vectors: (N, D) of unit length.
        owners: (N,) recordings.
        reference: (M, D) of unit length.
        reference_owners: (M,) recordings; rows of an equal owner are not compared.
        k: At least 1.

    Returns:
        Cosines (N, k), falling, and places (N, k) in the reference. Where fewer than ``k`` rows
        can be compared, the cosine is -1 and the place -1.
    """
    cosines = np.full((len(vectors), k), -1.0)
    places = np.full((len(vectors), k), -1, np.int64)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for first in range(0, len(reference), _BLOCK):
            check()
            columns = slice(first, first + _BLOCK)
            products = (vectors[rows] @ reference[columns].T).astype(np.float64)
            products[owners[rows, None] == reference_owners[None, columns]] = -1.0
            best = _largest(products, k)
            both = np.concatenate(
                [cosines[rows], np.take_along_axis(products, best, axis=1)], axis=1
            )
            named = np.concatenate([places[rows], best + first], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :k]
            cosines[rows] = np.take_along_axis(both, order, axis=1)
            places[rows] = np.take_along_axis(named, order, axis=1)
    places[cosines <= -1.0] = -1
    return cosines, places


def _largest(values: Float64, k: int) -> Int64:
    """Columns (N, k) of the greatest values of each row, in any order; all if there are fewer."""
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, -k, axis=1)[:, -k:]


def apart(table: RowTable, order: Int64, k: int) -> list[int]:
    """First ``k`` places of an order that share less than half of their time with earlier ones."""
    chosen: list[int] = []
    by_video: dict[int, list[tuple[float, float]]] = {}
    for index in order.tolist():
        start_s, end_s = float(table.starts_s[index]), float(table.ends_s[index])
        earlier = by_video.setdefault(int(table.video_ids[index]), [])
        length_s = max(end_s - start_s, 1e-9)
        if any(min(end_s, e) - max(start_s, s) >= 0.5 * length_s for s, e in earlier):
            continue
        earlier.append((start_s, end_s))
        chosen.append(index)
        if len(chosen) == k:
            break
    return chosen


NEIGHBOURS = 5
_FEWEST_WINDOWS = 4  # of a recording in which a window can stand out
_LEAST_SPREAD = 0.01  # of cosines: below it, all windows of a recording show the same


def distances(
    vectors: Float32,
    owners: Int64,
    reference: Float32,
    reference_owners: Int64,
    k: int = NEIGHBOURS,
) -> tuple[Float64, Int64]:
    """(N,) mean cosine distance, 0 to 2, to the ``k`` nearest rows, and the nearest row (N,).

    Rows of the same recording are not compared. The nearest row is -1 where there is none.
    """
    cosines, places = nearest_rows(vectors, owners, reference, reference_owners, k)
    has_neighbour = places >= 0
    total = np.where(has_neighbour, 1.0 - cosines, 0.0).sum(axis=1)
    count = has_neighbour.sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(total), 2.0), where=count > 0)
    return mean, places[:, 0]


def within(vectors: Float32, starts_s: Float64, ends_s: Float64) -> Float64:
    """(N,) how far each window of one recording lies from the others, in robust deviations.

    A window is compared with the mean of those that share no time with it. The distances are
    centred by their median and scaled by 1.4826 times their median absolute deviation. Zeros where
    there are fewer than four windows.
    """
    n_windows = len(vectors)
    if n_windows < _FEWEST_WINDOWS:
        return np.zeros(n_windows)
    shared = (starts_s[:, None] < ends_s[None] - 1e-6) & (ends_s[:, None] > starts_s[None] + 1e-6)
    others = (~shared).astype(np.float32)
    sums = others @ vectors
    lengths = np.linalg.norm(sums, axis=1)
    cosines = np.einsum("nd,nd->n", sums, vectors) / np.maximum(lengths, 1e-6)
    distance = np.where(others.any(axis=1), 1.0 - cosines, np.nan).astype(np.float64)
    if np.isnan(distance).all():
        return np.zeros(n_windows)
    middle = np.nanmedian(distance)
    spread = max(1.4826 * float(np.nanmedian(np.abs(distance - middle))), _LEAST_SPREAD)
    return np.nan_to_num((distance - middle) / spread, nan=0.0)


def _rounded(start_s: float, end_s: float, **values: float) -> JsonDict:
    """A span and values as JSON writes them."""
    values = {name: round(value, 6) for name, value in values.items()}
    return {"start_s": round(start_s, 3), "end_s": round(end_s, 3), **values}


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
            standard deviations. Of ``diverse`` the cosine distance to all that rank before it;
            of the first, to the mean of all windows.
        nearest: For ``unusual``, the recording of the most similar window; None without one.
        nearest_s: Where that window begins, in seconds.
        tags: Tags of the recording.
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
        facts = asdict(self) | _rounded(self.start_s, self.end_s, score=self.score)
        near = () if self.nearest is not None else ("nearest", "nearest_s")
        return {key: value for key, value in facts.items() if key not in near}


@dataclass(frozen=True)
class DuplicateGroup:
    """Recordings that show the same; the one that was added first comes first."""

    members: tuple[copies.DuplicateMember, ...]

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
        fingerprint: Fingerprint of the model.
    """

    table: RowTable
    vectors: Float32
    paths: Mapping[int, str]
    tags: Mapping[int, Mapping[str, str]]
    fingerprint: str


def all_rows(connection: LibraryConnection, most: int | None = None) -> LibraryRows:
    """Every row of a whole frame that is sound and shows something (``Library.all_rows``).

    Args:
        connection: Connection of the library.
        most: Of more rows this many are drawn, always the same ones; None keeps all.
    """
    with connection.mutex:
        store, manifest = connection.nonempty()
        store.damaged.clear()
        with store.snapshot():
            if manifest.mapping is not None and (count := len(store.mapped())):
                _log.warning("%d rows are compared as they are mapped, not encoded", count)
            source = store.source(manifest.dim)
            table, stored = read_all(source if most is None else _DrawnRows(source, most))
            paths, tags = store.paths(), store.tags()
            if manifest.persons:  # windows are compared, not the people in them
                whole = np.isin(table.ids, store.ids_of(people=False))
                table, stored = table.where(whole), stored[whole]
            connection.name_damage(store)
    vectors = unit_rows(stored)
    shown = np.linalg.norm(vectors, axis=1) > 0.5  # blank rows show nothing
    if not shown.all():
        table, vectors = table.where(shown), vectors[shown]
    return LibraryRows(table, vectors, paths, tags, manifest.fingerprint)


class _DrawnRows:
    """Draw of at most ``most`` rows of a source, which is read chunk by chunk."""

    def __init__(self, source: RowSource, most: int) -> None:
        self.dim, self.count = source.dim, min(source.count, most)
        self._source, self._chosen = source, drawn(source.count, most)

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        first = 0
        for table, vectors in self._source.chunks():
            check()
            last = first + len(table)
            places = self._chosen[slice(*np.searchsorted(self._chosen, (first, last)))] - first
            yield table.where(places), vectors[places]
            first = last


def unusual(own: LibraryRows, k: int, against: LibraryRows | None) -> list[Standout]:
    """The windows far from all windows of other recordings (``Library.unusual``)."""
    require_count(k)
    other = own if against is None else against
    if other.fingerprint != own.fingerprint:
        raise EncoderMismatchError(
            "the libraries were made by two models; compare libraries of one model"
        )
    chosen = drawn(len(other.table))
    table, vectors = other.table.where(chosen), other.vectors[chosen]
    # Ids of recordings are those of one library only.
    owners = table.video_ids if against is None else np.full(len(table), -1)
    score, nearest = distances(own.vectors, own.table.video_ids, vectors, owners)
    standouts: list[Standout] = []
    for rank, index in enumerate(apart(own.table, np.argsort(-score, kind="stable"), k), 1):
        near = int(nearest[index])
        path = None if near < 0 else other.paths[int(table.video_ids[near])]
        near_s = None if near < 0 else float(table.starts_s[near])
        standouts.append(_standout(own, rank, index, float(score[index]), path, near_s))
    return standouts


def highlights(own: LibraryRows, k: int, per_recording: int) -> list[Standout]:
    """The windows that stand out most in their own recording (``Library.highlights``)."""
    require_count(k)
    require_count(per_recording)
    score = np.zeros(len(own.table))
    chosen: list[int] = []
    order = np.argsort(own.table.video_ids, kind="stable")
    borders = np.flatnonzero(np.diff(own.table.video_ids[order])) + 1
    for places in filter(len, np.split(order, borders)):
        part = own.table.where(places)
        score[places] = within(own.vectors[places], part.starts_s, part.ends_s)
        order = np.argsort(-score[places], kind="stable")
        best = apart(part, order[score[places][order] > 0], per_recording)
        chosen += places[best].tolist()
    chosen.sort(key=lambda place: -score[place])
    return [
        _standout(own, rank, index, float(score[index])) for rank, index in enumerate(chosen[:k], 1)
    ]


def duplicates(own: LibraryRows) -> list[DuplicateGroup]:
    """Groups of recordings that show the same, largest first (``Library.duplicates``)."""
    ids = own.table.video_ids
    nearest = nearest_rows(own.vectors, ids, own.vectors, ids, copies.NEAREST)
    groups = copies.groups(own.table, *nearest, own.paths, Thumbnails(own.paths).__getitem__)
    return [DuplicateGroup(tuple(members)) for members in groups]


MOST_CANDIDATES = 200_000
"""Windows that ``diverse`` chooses from at most; of more, this many are drawn."""
_REPEATS = 1e-5  # cosine distance below which a window repeats another, in float16
_COVERING = 32  # windows of a recording that cover others at most, evenly over its time


def farthest_first(vectors: Float32, owners: Int64, k: int) -> tuple[list[int], list[float]]:
    """Farthest-first traversal: each choice is the owner of the row that all earlier leave most.

    The chord (its square is twice the cosine distance) of the coverage radius is at most twice the
    least possible one (Gonzalez 1985).

    Args:
        vectors: (N, D) of unit length.
        owners: (N,) whose rows are chosen together; all different for rows alone.
        k: Most choices.

    Returns:
        A row of each choice, and its cosine distance to all chosen before, falling; that of the
        first, which lies nearest the mean of all, is to that mean. Fewer than ``k`` where every
        other row repeats a chosen one.
    """
    middle = unit_rows(vectors.mean(axis=0, keepdims=True))[0]
    to_middle = vectors @ middle
    row, score = int(to_middle.argmax()), float(1.0 - to_middle.max())
    nearest = np.full(len(vectors), -1.0, np.float32)  # cosine of the nearest chosen row
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < k and (not chosen or score > _REPEATS):
        chosen.append(row)
        scores.append(max(score, 0.0))
        rows_of_owner = np.flatnonzero(owners == owners[row])
        nearest[rows_of_owner] = 1.0
        rows_of_owner = rows_of_owner[
            np.linspace(0, len(rows_of_owner) - 1, min(len(rows_of_owner), _COVERING))
            .round()
            .astype(np.int64)
        ]
        np.maximum(nearest, (vectors @ vectors[rows_of_owner].T).max(axis=1), out=nearest)
        row = int(nearest.argmin())
        score = float(1.0 - nearest[row])
    return chosen, scores


def diverse(own: LibraryRows, k: int, *, whole: bool) -> list[Standout]:
    """The windows, or whole recordings, that cover all others best (``Library.diverse``)."""
    require_count(k)
    table = own.table
    owners = table.video_ids if whole else np.arange(len(table))
    standouts: list[Standout] = []
    for index, score in zip(*farthest_first(own.vectors, owners, k), strict=True):
        row = _standout(own, len(standouts) + 1, index, score)
        if whole:
            rows = table.where(table.video_ids == table.video_ids[index])
            span = float(rows.starts_s.min()), float(rows.ends_s.max())
            row = replace(row, start_s=span[0], end_s=span[1])
        standouts.append(row)
    return standouts


def require_count(k: int) -> None:
    """Refuse a number of answers below 1.

    Raises:
        QueryError: it is.
    """
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 answer")


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
    tags = rows.tags.get(video_id, {})
    return Standout(rank, rows.paths[video_id], start_s, end_s, score, nearest, nearest_s, tags)
