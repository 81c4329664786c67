"""Recordings that show the same: copies, and clips that lie inside other recordings.

Vectors choose the pairs that are looked at, and pixels decide: the two move alike at one lag
(``vlar.library.movement``). Where no moving pictures can be read, of other sensors or of files that
are missing, windows of a cosine of ``SAME`` decide instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from vlar.cancellation import check
from vlar.library.movement import ALIKE, RATE, agreement
from vlar.library.rows import Int64, RowTable
from vlar.types import Float64, JsonDict, UInt8

# Cosine of two windows that show the same, where pixels cannot be compared.
SAME = 0.99
NEAREST = 32  # rows of other recordings that a row chooses
_MATCHED = 0.5  # of the windows of the shorter recording
_PLAUSIBLE = 0.8  # cosine of two windows from which it is worth reading their files


@dataclass(frozen=True)
class DuplicateMember:
    """One recording of a group of near-duplicates, and the span that the others show too.

    ``similarity`` is the mean agreement of what moves in it, or of its matched windows.
    """

    path: str
    start_s: float
    end_s: float
    similarity: float

    def to_dict(self) -> JsonDict:
        """A JSON object."""
        return asdict(self)


Pair = tuple[int, int]
_Part = tuple[float, float, float]  # its start and end in seconds, and the agreement


def groups(
    table: RowTable,
    cosines: Float64,
    places: Int64,
    paths: Mapping[int, str],
    pictures: Callable[[int], UInt8 | None],
) -> list[list[DuplicateMember]]:
    """Groups of recordings that show the same, largest first; the oldest of each comes first.

    A recording that holds a clip joins its group; one that holds several clips is in several.

    Args:
        table: N windows.
        cosines: (N, K) with the nearest rows of other recordings, falling.
        places: (N, K) of these rows; -1 for none.
        paths: Path of each recording, by its id.
        pictures: Pictures of a recording by its id, as of ``movement.Pictures``.
    """
    parts: dict[int, dict[int, _Part]] = defaultdict(dict)  # of a recording, by the other one
    links: list[Pair] = []
    held: list[Pair] = []
    for pair, rows, values in _plausible(table.video_ids, cosines, places):
        check()
        first, second = map(pictures, pair)
        target, ordered = links, pair
        if first is None or second is None:
            both = _by_rows(table, pair, rows[values >= SAME], values[values >= SAME])
        else:
            alike = agreement(first, second)
            begins_s, length_s = (n / RATE for n in alike[1:3]), (alike.length + 1) / RATE
            both = [(begin_s, begin_s + length_s, alike.cosine) for begin_s in begins_s]
            both = both if alike.cosine >= ALIKE else []
            if 2 * alike.length < max(len(first), len(second)):
                target, ordered = held, pair if len(first) <= len(second) else (pair[1], pair[0])
        if both:
            parts[pair[0]][pair[1]], parts[pair[1]][pair[0]] = both
            target.append(ordered)
    joined = {group[0]: group for group in _joined(links)}
    of_copies = {number: group[0] for group in joined.values() for number in group}
    for clip, host in held:
        joined.setdefault(of_copies.get(clip, clip), [clip]).append(host)
    listed = sorted((sorted({*group}) for group in joined.values()), key=lambda g: (-len(g), g[0]))
    return [[_member(paths[n], parts[n], group) for n in group] for group in listed]


def _plausible(
    ids: Int64, cosines: Float64, places: Int64
) -> Iterator[tuple[Pair, Int64, Float64]]:
    """Pairs whose windows are similar enough to look at, with these rows (M,) and cosines (M,)."""
    rows, columns = np.nonzero(cosines >= _PLAUSIBLE)
    owners = np.sort(np.stack([ids[rows], ids[places[rows, columns]]], axis=1), axis=1)
    order = np.lexsort((owners[:, 1], owners[:, 0]))
    rows, columns, owners = rows[order], columns[order], owners[order]
    borders = np.flatnonzero(np.diff(owners, axis=0).any(axis=1)) + 1
    for some in filter(len, np.split(np.arange(len(rows)), borders)):
        a, b = owners[some[0]].tolist()
        yield (a, b), rows[some], cosines[rows[some], columns[some]]


def _by_rows(table: RowTable, pair: Pair, rows: Int64, cosines: Float64) -> list[_Part]:
    """Parts of a pair whose windows match; none where less than half of one's windows do."""
    counts = [int((table.video_ids == number).sum()) for number in pair]
    matched = [table.video_ids[rows] == number for number in pair]
    n_matched = [len(np.unique(rows[mask])) for mask in matched]
    if not all(n_matched) or n_matched[int(counts[1] < counts[0])] < _MATCHED * min(counts):
        return []
    starts_s, ends_s = table.starts_s[rows], table.ends_s[rows]
    cosines = np.minimum(cosines, 1.0)
    return [
        (float(starts_s[mask].min()), float(ends_s[mask].max()), float(cosines[mask].mean()))
        for mask in matched
    ]


def _joined(links: list[Pair]) -> list[list[int]]:
    """Groups of recordings that are linked, directly or by others; ids in rising order."""
    groups: dict[int, list[int]] = {}
    for pair in links:
        small, large = sorted((groups.setdefault(n, [n]) for n in pair), key=len)
        if small is not large:
            large += small
            groups.update(dict.fromkeys(small, large))
    return [sorted(group) for group in {id(group): group for group in groups.values()}.values()]


def _member(path: str, parts: dict[int, _Part], group: list[int]) -> DuplicateMember:
    """A recording of a group, with what it shares with the others."""
    starts_s, ends_s, values = zip(*(parts[n] for n in group if n in parts), strict=True)
    similarity = round(sum(values) / len(values), 6)
    return DuplicateMember(path, round(min(starts_s), 3), round(max(ends_s), 3), similarity)
