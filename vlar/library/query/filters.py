"""Filters: ``KEY OP VALUE`` on tags, paths, times and dates; all of several must hold.

=============================  ===================================================================
``place=gym`` ``place!=gym``   the tag has this value, or does not (nor has a video without it)
``year>=2020`` ``take<b``      also ``> <= <``: as numbers where the value is one, else as text
``path=cooking/*``             a file, a folder or a glob (``path_matches``); also ``!=``
``start_s>=10`` ``end_s<=60``  where in its video a span begins and ends, in seconds
``duration_s<600``             length of the video in seconds
``added>=2024-05-01``          when the video was indexed (UTC); a date, or ``2024-05-01T12:30``
``modified<2024-05-01``        the time of the file, likewise
``persons=only`` ``=no``       rows of people alone, or whole frames alone
``who=person 2``               rows of that person of each window (``vlar.library.query.filters``)
``labelled=yes`` ``=no``       videos with labelled spans, or without; ``labelled=walk``: of "walk"
=============================  ===================================================================
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from vlar.errors import PersonError, QueryError, UsageError
from vlar.library import labels
from vlar.library.cache import SearchCache
from vlar.library.manifest import LibraryManifest
from vlar.library.recording import FILTER_KEYS
from vlar.library.rows import ANY_TIME, RowFilter, RowPerson, VideoRow
from vlar.library.store.base import LibraryStore
from vlar.library.store.paths import is_unicode

if TYPE_CHECKING:
    from vlar.language.referring import Reference

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
    row_ids = frozenset(people.tolist())
    return row_ids if key == PERSONS_KEY else _meant(store, row_ids, _reference(value))


def _reference(text: str) -> Reference:
    from vlar.language.referring import parse

    try:
        reference = parse(text)
    except UsageError as error:
        raise QueryError(error.message) from None
    if reference.colour or reference.rest or not reference.is_person:
        raise QueryError(
            f"who={text:.80}: a library keeps the boxes of people, which show neither colours nor "
            "things; use places (left, middle, right, front, back), sizes and numbers"
        )
    if reference.is_plain:
        raise QueryError(
            f"who={text:.80} separates no two people; write for example 'the person on the left'"
        )
    return reference


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
    from vlar.people.subject_selection import choose, from_left
    from vlar.people.tracks import Track

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


Where: TypeAlias = Mapping[str, object] | Sequence[str]
PATH_KEY, LABELLED_KEY = "path", "labelled"
_OPERATOR = re.compile(r">=|<=|!=|=|<|>")
_MOST_LETTERS = 10_000  # of a filter
_MOST_FILTERS = 1000
_SHOWN_KEYS, _COMPARED_LETTERS = 20, 100
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_EQUAL_OR_NOT = {PATH_KEY: "path=GLOB", LABELLED_KEY: "labelled=yes, =no or =LABEL"}
_OF_VIDEO = ("duration_s", "added", "modified")
_OF_ROW = ("start_s", "end_s")


@dataclass(frozen=True)
class Condition:
    """One filter."""

    key: str
    compare: str
    value: str

    def __str__(self) -> str:
        """Text of ``--where``."""
        return f"{self.key}{self.compare}{self.value}"

    @property
    def is_of_row(self) -> bool:
        """Whether it chooses among the spans and people of a recording."""
        return self.key in (*_OF_ROW, *KEYS)


def conditions(where: Where | None) -> tuple[Condition, ...]:
    """Filters in one form. A key may occur several times: all of its conditions hold.

    >>> conditions(["start_s >= 10", "n>2", "n<5"]) == conditions(
    ...     {"start_s>=": 10, "n>": 2, "n<": 5})
    True

    Args:
        where: Texts ``KEY OP VALUE``, or a mapping of keys (with an operator, ``start_s>=``, or
            without one) to a value or a list of values.

    Raises:
        QueryError: a text is not a filter.
    """
    if isinstance(where, str):
        where = [where]
    if len(where or ()) > _MOST_FILTERS:
        raise QueryError(f"{len(where or ())} filters; give at most {_MOST_FILTERS}")
    if not isinstance(where, Mapping):
        return tuple(_condition(text) for text in where or ())
    parts: list[Condition] = []
    for key, held in where.items():
        form = _parts(f"{key}=" if key[-1:] not in "<>=" else key)
        if form is None or form.value:
            raise QueryError(f"invalid filter key {key!r:.80}; use for example place or start_s>=")
        several = isinstance(held, list | tuple | set)
        values = cast("Iterable[object]", held) if several else (held,)
        parts += [_usable(Condition(form.key, form.compare, str(value))) for value in values]
    return tuple(parts)


def _condition(text: str) -> Condition:
    form = _parts(text)
    if form is None:
        raise QueryError(
            f"filter {text!r:.80} is not KEY=VALUE; write for example place=gym, 'start_s>=10' or "
            "path='cooking/*'"
        )
    return _usable(form)


def _parts(text: str) -> Condition | None:
    """A filter at its first operator; None where it has none, or no key."""
    operator_at = _OPERATOR.search(text)
    if operator_at is None or "!" in (key := text[: operator_at.start()].strip()) or not key:
        return None
    return Condition(key, operator_at.group(), text[operator_at.end() :].strip())


def _usable(condition: Condition) -> Condition:
    """Refuse a filter that no library can meet: too long, not valid Unicode, or of no person."""
    text = f"{condition.key}{condition.value}"
    if len(text) > _MOST_LETTERS:
        raise QueryError(
            f"a filter of {len(text)} letters ({text[:40]!r} ...); at most {_MOST_LETTERS} are read"
        )
    if not is_unicode(text):
        raise QueryError(f"the filter {text!r:.80} is not valid Unicode; write it again")
    if condition.key in KEYS:
        checked(condition.key, condition.compare, condition.value)
    return condition


def recordings(store: LibraryStore, where: Where | None) -> list[VideoRow]:
    """The recordings that meet all filters, by path; None for all.

    Raises:
        QueryError: as in ``matching_videos``; or a filter is about spans or people.
    """
    asked = conditions(where)
    for condition in asked:
        if condition.is_of_row:
            raise QueryError(
                f"{str(condition)!r:.80} chooses among spans, and recordings are listed; leave it "
                "out, or ask a query"
            )
    chosen = matching_videos(store, asked)
    paths = None if chosen is None else set(store.paths(sorted(chosen)).values())
    return [row for row in store.videos() if paths is None or row.path in paths]


def matching_videos(store: LibraryStore, where: Iterable[Condition]) -> set[int] | None:
    """Ids of the videos that meet all conditions on videos; None without such a condition.

    Raises:
        QueryError: a key is neither built in nor a tag of any video, or a value is invalid.
    """
    where = tuple(where)
    check_keys(where, store.tag_keys())
    chosen: set[int] | None = None
    for condition in where:
        if condition.is_of_row:
            continue
        video_ids = _videos(store, condition)
        chosen = video_ids if chosen is None else chosen & video_ids
    return chosen


def row_filter(store: LibraryStore, where: Iterable[Condition]) -> RowFilter:
    """The rows that meet all conditions.

    Raises:
        QueryError: as in ``matching_videos``.
    """
    where = tuple(where)
    videos = matching_videos(store, where)
    ranges = dict.fromkeys(_OF_ROW, ANY_TIME)
    rows: frozenset[int] | None = None
    for condition in where:
        if condition.key in KEYS:
            row_ids = rows_of(store, condition.key, condition.value)
            if row_ids is not None:
                rows = row_ids if rows is None else rows & row_ids
        if condition.key in _OF_ROW:
            low, high = ranges[condition.key]
            least, most = _range(condition)
            ranges[condition.key] = (max(low, least), min(high, most))
    chosen = None if videos is None else frozenset(videos)
    return RowFilter(chosen, ranges["start_s"], ranges["end_s"], rows)


def kept_row_filter(
    store: LibraryStore, cache: SearchCache, where: tuple[Condition, ...]
) -> RowFilter | None:
    """The rows a search may answer with; None allows all. A repeated filter costs nothing.

    Raises:
        QueryError: as in ``matching_videos``.
    """
    if not where:
        return None
    return cache.held.keep((store.data_version(), where), lambda: row_filter(store, where))


def check_keys(where: Iterable[Condition], tag_keys: Iterable[str]) -> None:
    """Refuse keys that no video has: a mistyped key would silently answer nothing.

    Raises:
        QueryError: the message names the known keys and the nearest one.
    """
    keys = [*FILTER_KEYS, *sorted(set(tag_keys) - set(FILTER_KEYS))]
    for condition in where:
        if condition.key not in keys:
            raise _unknown(condition.key, keys)
        if condition.key in _EQUAL_OR_NOT and condition.compare not in ("=", "!="):
            raise QueryError(
                f"{condition.key}{condition.compare}{condition.value:.80} cannot be compared; "
                f"write {_EQUAL_OR_NOT[condition.key]}"
            )


def _unknown(key: str, known: Sequence[str]) -> QueryError:
    """The error for a key that no video has; a library may have any number of any length."""
    short = [name for name in known if len(name) <= _COMPARED_LETTERS]
    near = difflib.get_close_matches(key[:_COMPARED_LETTERS], short[:_MOST_FILTERS], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    more = f" and {len(known) - _SHOWN_KEYS} more" if len(known) > _SHOWN_KEYS else ""
    listed = ", ".join(name[:_COMPARED_LETTERS] for name in known[:_SHOWN_KEYS])
    return QueryError(f"no video has a tag {key!r:.80}{hint} Known keys: {listed}{more}.")


def _videos(store: LibraryStore, condition: Condition) -> set[int]:
    key, compare, value = condition.key, condition.compare, condition.value
    if key == PATH_KEY:
        is_equal = compare == "="
        return {i for i, path in store.paths().items() if path_matches(path, value) == is_equal}
    if key == LABELLED_KEY:
        spans = labels.in_use(store)
        chosen = {i for i, used in spans.items() if value in ("yes", "no") or value in used}
        return chosen if (compare == "=") != (value == "no") else set(store.paths()) - chosen
    if key in _OF_VIDEO:
        low, high = _range(condition) if key == "duration_s" else _span(condition)
        video_ids = {i for i, fact in store.fact(key).items() if low <= fact <= high}
        return set(store.paths()) - video_ids if compare == "!=" else video_ids
    if compare == "=":
        return set(store.tagged(key, value))
    test = _tag_test(compare, value)
    held = store.tagged(key)
    video_ids = {video_id for video_id, has in held.items() if test(has)}
    if compare == "!=":
        video_ids |= set(store.paths()) - held.keys()
    return video_ids


def _tag_test(compare: str, value: str) -> Callable[[str], bool]:
    of, number = _COMPARE[compare], _number(value)
    if number is None or compare == "!=":
        return lambda has: of(has, value)
    return lambda has: (held := _number(has)) is not None and of(held, number)


def _range(condition: Condition) -> tuple[float, float]:
    """Least and greatest value, both included, of a comparison with seconds."""
    key, compare, value = condition.key, condition.compare, condition.value
    seconds = _number(value.removesuffix("s"))
    if seconds is None:
        raise QueryError(f"{key}{compare}: {value!r:.80} is not a number of seconds")
    if compare == "!=" and key in _OF_ROW:
        raise QueryError(f"{key}!={value:.80} is not offered; use <, <=, =, >= or >")
    return {
        ">=": (seconds, math.inf),
        ">": (math.nextafter(seconds, math.inf), math.inf),
        "<=": (-math.inf, seconds),
        "<": (-math.inf, math.nextafter(seconds, -math.inf)),
    }.get(compare, (seconds, seconds))


def _span(condition: Condition) -> tuple[float, float]:
    """Least and greatest second since 1970, both included, of a comparison with a date."""
    key, compare, value = condition.key, condition.compare, condition.value
    try:
        begin = datetime.fromisoformat(value)
    except ValueError:
        raise QueryError(
            f"{key}{compare}: {value!r:.80} is not a date; write for example "
            f"{key}>=2024-05-31 or {key}>=2024-05-31T18:00"
        ) from None
    if begin.tzinfo is None:
        begin = begin.replace(tzinfo=timezone.utc)
    length = timedelta(days=1) if len(value) == len("2024-05-31") else timedelta(seconds=1)
    first = begin.timestamp()
    after = first + length.total_seconds()  # also behind the last day that Python has
    last = math.nextafter(after, -math.inf)
    return {
        ">=": (first, math.inf),
        ">": (after, math.inf),
        "<=": (-math.inf, last),
        "<": (-math.inf, math.nextafter(first, -math.inf)),
    }.get(compare, (first, last))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def path_matches(path: str, pattern: str) -> bool:
    """Return whether a stored path matches a pattern.

    A pattern is a path, a folder above it, or a glob (``*`` also crosses folders, ``?``, ``[ab]``).
    One that does not start with ``/`` may begin at any folder. Upper and lower case differ.

    >>> path_matches("/v/cooking/eggs.mp4", "cooking/*"), path_matches("/v/cooking.mp4", "cooking")
    (True, False)
    >>> path_matches("/v/cooking/eggs.mp4", "cooking")
    True
    """
    pattern = pattern.rstrip("/") or "/"
    anchored = path if pattern.startswith("/") else f"/{path.lstrip('/')}"
    whole_pattern = pattern if pattern.startswith("/") else f"*/{pattern}"
    if fnmatchcase(anchored, whole_pattern) or fnmatchcase(
        anchored, f"{whole_pattern.rstrip('/')}/*"
    ):
        return True
    # A name with glob characters, such as "take [2].mp4", also matches itself.
    literal = pattern if pattern.startswith("/") else f"/{pattern}"
    ends = anchored == literal if pattern.startswith("/") else anchored.endswith(literal)
    return ends or (anchored.startswith(f"{literal}/") if pattern.startswith("/") else False)
