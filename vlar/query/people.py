"""Filters on whom a row shows: ``persons=only``, ``who=the person on the left``.

``who`` goes by the stored boxes: the people of one window are put in order of their place or their
size, as ``vlar.detecting.choose`` does for a clip. What boxes do not show, such as colours, is
refused.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from vlar.errors import PersonError, QueryError, UsageError
from vlar.index.manifest import LibraryManifest
from vlar.index.rows import RowFilter, RowPerson
from vlar.index.store.base import LibraryStore

if TYPE_CHECKING:
    from vlar.text.referring import Reference

PERSONS_KEY, WHO_KEY = "persons", "who"
KEYS = (PERSONS_KEY, WHO_KEY)
PERSONS = ("both", "only", "no")


def checked(key: str, compare: str, value: str) -> None:
    """Refuse a filter on people that cannot be read.

    Raises:
        QueryError: another operator than ``=``, another value, or words that boxes do not show.
    """
    if compare != "=":
        raise QueryError(f"{key}{compare}{value:.80} cannot be compared; write {key}=...")
    if key == PERSONS_KEY and value not in PERSONS:
        raise QueryError(f"persons={value:.80} is not one of {', '.join(PERSONS)}")
    if key == WHO_KEY:
        _reference(value)


def rows_of(store: LibraryStore, key: str, value: str) -> frozenset[int] | None:
    """Ids of the rows that a filter on people allows; None where it allows all.

    Raises:
        QueryError: as in ``checked``; or the library has no rows of people.
    """
    if key == PERSONS_KEY and value == "both":
        return None
    if key == PERSONS_KEY and value == "no":
        return frozenset(store.ids_of(people=False).tolist())
    people = store.ids_of(people=True)
    if not len(people):
        raise QueryError(
            f"{key}={value:.80}: the library has no rows of people; make one that has: "
            "vlar index add NEW.vlar PATHS --persons"
        )
    found = frozenset(people.tolist())
    return found if key == PERSONS_KEY else _meant(store, found, _reference(value))


def _reference(text: str) -> Reference:
    from vlar.text.referring import parse

    try:
        found = parse(text)
    except UsageError as error:
        raise QueryError(error.message) from None
    if found.colour or found.rest or not found.is_person:
        raise QueryError(
            f"who={text:.80}: a library keeps the boxes of people, which show neither colours nor "
            "things; use places (left, middle, right, front, back), sizes and numbers"
        )
    if found.is_plain:
        raise QueryError(
            f"who={text:.80} tells no two people apart; write for example 'the person on the left'"
        )
    return found


def _meant(store: LibraryStore, people: frozenset[int], reference: Reference) -> frozenset[int]:
    """The rows whose person is meant among the people of the same window.

    Windows with one person are left out: nobody is left or right of anybody.
    """
    manifest = LibraryManifest.of(store)
    if manifest is None:
        return frozenset()
    windows: dict[tuple[int, float, float], list[tuple[int, RowPerson]]] = defaultdict(list)
    for rows in store.scan(manifest.dim, RowFilter(rows=people)):
        facts = zip(rows.ids.tolist(), rows.video_ids.tolist(), rows.times_s.tolist(), strict=True)
        for row_id, video_id, (start_s, end_s) in facts:
            windows[video_id, start_s, end_s].append((row_id, rows.people[row_id]))
    several = (group for group in windows.values() if len(group) > 1)
    chosen = (_chosen(group, reference) for group in several)
    return frozenset(row_id for row_id in chosen if row_id is not None)


def _chosen(group: list[tuple[int, RowPerson]], reference: Reference) -> int | None:
    """The row of a window that a reference means; None where it counts beyond its people."""
    from vlar.detecting.choose import choose, from_left
    from vlar.detecting.tracks import Track

    by_track: dict[int, int] = {}
    tracks: list[Track] = []
    for row_id, person in group:
        box = np.array([[0.0, *person.box]], np.float32)
        tracks.append(Track(box, np.ones(1, np.float32)))
        by_track[id(tracks[-1])] = row_id
    tracks = from_left(tracks)
    try:
        return by_track[id(tracks[choose(tracks, reference).place])]
    except PersonError:
        return None
