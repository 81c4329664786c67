"""Facets, maps, views, tags and removal: what the page does with a library besides queries."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from vlar.apps.serve.bin import Bin
from vlar.apps.serve.library import ServedLibrary, Sources
from vlar.cancellation import cancellable
from vlar.library import discovery
from vlar.library.discovery import LibraryRows
from vlar.types import WEAK_MATCH, Float32, Float64, JsonDict

_LENGTHS_S = ((0, 10, "under 10 s"), (10, 60, "10 to 60 s"), (60, 600, "1 to 10 min"))
_MOST_VALUES = 50  # of a tag
_MOST_POINTS = 4000
_MOST_VIEWED = 1000  # windows that are kept, of which filters leave some
_MARKS = 6  # names on the map
_TYPICAL = 24  # windows that are named, of which three become queries
_COMPARED = 2000
_YIELD_S = 0.2  # by which each step of a view waits for callers at most


def plane(vectors: Float32) -> Float64:
    """Places (N, 2), -1 to 1, of vectors (N, D) on their two principal axes (Pearson, 1901).

    The largest entry of each axis is positive, so equal libraries have equal maps. The outermost
    0.5 % on each side are moved to the border.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, : -3 if centred.shape[1] > 1 else None : -1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    places = np.pad(centred @ axes, ((0, 0), (0, 2 - axes.shape[1])))
    low, high = np.quantile(places, (0.005, 0.995), axis=0)
    return np.clip(2 * (places - low) / np.maximum(high - low, 1e-9) - 1, -1, 1)


def typical(vectors: Float32, k: int) -> list[int]:
    """Places of at most ``k`` rows that stand for most others, the best first.

    Each is the row that adds most to the sum, over all rows, of the greatest cosine with a chosen
    row (facility location; Nemhauser, Wolsey and Fisher, 1978).
    """
    cosines = np.maximum(vectors @ vectors.T, 0)
    covered = np.zeros(len(vectors), np.float32)
    chosen: list[int] = []
    for _ in range(min(k, len(vectors))):
        gain = np.maximum(cosines - covered, 0).sum(axis=1)
        chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, cosines[chosen[-1]])
    return chosen


class Workbench:
    """Views of a served library, and changes of it.

    Args:
        library: The library.
        sources: Finds recordings.
        names: Gives phrases of vectors (N, D) that find them.
        everyday: Gives C phrases and their fit (C, N) to vectors (N, D).
        removed: What ``remove`` takes.

    Attributes:
        removed: What ``remove`` took, for 30 days.
        wait_s: Seconds that a caller waits for a view; then it is answered with that of before.
        has_callers: Whether somebody is answered, whom the making of views must not slow down.
    """

    wait_s = 2.0

    def __init__(
        self,
        library: ServedLibrary,
        sources: Sources,
        names: Callable[[Float32], list[str]],
        everyday: Callable[[Float32], tuple[Sequence[str], Float64]],
        removed: Bin,
    ) -> None:
        self._library, self._sources = library, sources
        self._names, self._everyday = names, everyday
        self.removed = removed
        self.has_callers: Callable[[], bool] = bool
        self._maker, self._closed = ThreadPoolExecutor(1, "vlar-views"), threading.Event()
        self._work: dict[str, tuple[int, Future[JsonDict]]] = {}
        self._made: dict[str, JsonDict] = {}
        self._state, self._lock = (-1, 0), threading.Lock()
        self._compute: dict[str, Callable[[LibraryRows], JsonDict]] = {
            "suggestions": self._suggested,
            "map": self._map,
            "unusual": lambda rows: self._hits(discovery.unusual(rows, _MOST_VIEWED, None)),
            "highlights": lambda rows: self._hits(discovery.highlights(rows, _MOST_VIEWED, 1)),
            "duplicates": self._duplicates,
        }

    def close(self) -> None:
        """End the making of views."""
        self._closed.set()
        self._maker.shutdown(wait=False, cancel_futures=True)

    # Views

    def facets(self, where: Sequence[str] = ()) -> JsonDict:
        """Values to choose from, with the number of recordings that pass ``where``.

        Raises:
            QueryError: a filter cannot be used.
        """
        rows, info = self._library.matching(where), self._library.info()
        counts: dict[str, Counter[str]] = {}
        for row in rows:
            for key, value in row.tags.items():
                counts.setdefault(key, Counter())[value] += 1
        facets: list[JsonDict] = []
        for key, held in sorted(counts.items()):
            values = held.most_common(_MOST_VALUES)
            facets.append(_facet(key, [(value, n, [f"{key}={value}"]) for value, n in values]))
        lengths = [
            (
                text,
                sum(low <= row.duration_s < high for row in rows),
                [f"duration_s>={low}", f"duration_s<{high}"],
            )
            for low, high, text in (*_LENGTHS_S, (600, 10**7, "over 10 min"))
        ]
        facets.append(_facet("length", [length for length in lengths if length[1]]))
        if info.persons:
            whole = ("whole frames", info.rows - info.person_rows, ["persons=no"])
            people = [("one person", info.person_rows, ["persons=only"]), whole]
            facets.append(_facet("people, in windows", people))
        labelled = {row.path for row in self._library.all_labels()}
        if labelled:
            n = sum(row.path in labelled for row in rows)
            both = [("labelled", n, ["labelled=yes"]), ("not yet", len(rows) - n, ["labelled=no"])]
            facets.append(_facet("labels in the player", both))
        if info.modality:
            facets.append(_facet("modality", [(info.modality, len(rows), [])]))
        return {"total": len(rows), "facets": facets}

    def map(self, where: Sequence[str] = ()) -> JsonDict:
        """Windows, at most 4000, as points (video, start, end, x, y); filters leave some out."""
        points_of_all, passes = self._result("map"), self._passes(where)
        points = [
            point
            for point in points_of_all.get("points", ())
            if passes(points_of_all["videos"][point[0]])
        ]
        return {**points_of_all, "points": points}

    def view(self, kind: str, k: int, where: Sequence[str] = ()) -> JsonDict:
        """Windows that stand out, or groups of recordings that show the same."""
        view_rows, passes = self._result(kind), self._passes(where)
        if kind == "duplicates":
            groups = [group for group in view_rows.get("groups", ()) if any(map(passes, group))]
            return {**view_rows, "groups": groups[:k]}
        return {**view_rows, "hits": [hit for hit in view_rows.get("hits", ()) if passes(hit)][:k]}

    def _passes(self, where: Sequence[str]) -> Callable[[JsonDict], bool]:
        """A test of what is named: whether its recording passes filters."""
        if not where:
            return lambda named: True
        ids = {self._sources.id_of(row.path) for row in self._library.matching(where)}
        return lambda named: named["video"] in ids

    def suggestions(self) -> JsonDict:
        """Queries, three or fewer, that name the most typical windows and find them.

        A page asks for them first, so the views that cost the most are made after them.
        """
        queries = self._result("suggestions")
        for name in ("map", "unusual"):
            self._begun(name)
        return queries

    def _result(self, name: str) -> JsonDict:
        """A view; where it is not made in time, that of before, with ``preparing``."""
        is_current, work = self._begun(name)
        if wait([work], self.wait_s).done:
            self._made[name] = work.result()
        preparing = {} if is_current and work.done() else {"preparing": True}
        return {**self._made.get(name, {}), **preparing}

    def _begun(self, name: str) -> tuple[bool, Future[JsonDict]]:
        """The work on a view, begun once for each state; False for that of an earlier state.

        A state is what views show: recordings and their tags, but not labels.
        """
        version = self._library.version()
        with self._lock:
            if self._state[0] != version:
                self._state = version, hash(repr(self._library.matching()))
            before, work = self._work.get(name, (0, None))
            failed = work is not None and work.done() and work.exception() is not None
            if work is None or failed or (before != self._state[1] and work.done()):
                before, work = self._state[1], self._maker.submit(self._make, name)
                self._work[name] = before, work
            return before == self._state[1], work

    def _make(self, name: str) -> JsonDict:
        with cancellable(self._is_over):
            empty = not self._library.has_rows()
            return {} if empty else self._compute[name](self._library.all_rows())

    def _is_over(self) -> bool:
        """Let callers go first; True where the server ends."""
        end_s = time.monotonic() + _YIELD_S
        while self.has_callers() and time.monotonic() < end_s and not self._closed.is_set():
            time.sleep(0.01)
        return self._closed.is_set()

    def _map(self, rows: LibraryRows) -> JsonDict:
        chosen = discovery.drawn(len(rows.table), _MOST_POINTS)
        table, places = rows.table.where(chosen), plane(rows.vectors[chosen])
        ids, videos = np.unique(table.video_ids, return_inverse=True)
        facts = (table.starts_s.round(3), table.ends_s.round(3), *places.T.round(4))
        points = zip(videos.tolist(), *(video.tolist() for video in facts), strict=True)
        named = [{**self._named(rows.paths[i]), "tags": rows.tags.get(i, {})} for i in ids.tolist()]
        words = self._words_of(rows.vectors[chosen], places)
        return {"windows": len(rows.table), "videos": named, "points": list(points), **words}

    def _words_of(self, vectors: Float32, places: Float64) -> JsonDict:
        """Phrases for the ends of the axes, and names of typical windows with their places."""
        count = max(1, len(vectors) // 10)
        order = places.argsort(axis=0)
        ends = [[order[:count, axis], order[-count:, axis]] for axis in (0, 1)]
        means = np.stack([vectors[rows].mean(axis=0) for pair in ends for rows in pair])
        marks = typical(vectors[:_COMPARED], _MARKS)
        texts, fits = self._everyday(np.concatenate([means, vectors[marks]]))
        # A phrase stands at the end that it fits better than the other end.
        towards = [fits[:, end] - fits[:, end ^ 1] for end in range(4)]
        axes = [texts[int(gain.argmax())] for gain in towards]
        spots: dict[str, list[float]] = {}
        for mark, fit in zip(marks, fits[:, 4:].T, strict=True):
            if fit.max() >= WEAK_MATCH:  # a wrong name is worse than none
                spots.setdefault(texts[int(fit.argmax())], places[mark].round(4).tolist())
        return {"axes": [axes[:2], axes[2:]], "marks": [[*at, text] for text, at in spots.items()]}

    def _duplicates(self, rows: LibraryRows) -> JsonDict:
        groups = discovery.duplicates(rows)
        listed = [[{**m.to_dict(), **self._named(m.path)} for m in g.members] for g in groups]
        return {"groups": listed}

    def _hits(self, standouts: Sequence[discovery.Standout]) -> JsonDict:
        return {"hits": [{**row.to_dict(), **self._named(row.path)} for row in standouts]}

    def _suggested(self, rows: LibraryRows) -> JsonDict:
        vectors = rows.vectors[discovery.drawn(len(rows.table), _COMPARED)]
        return {"queries": self._names(vectors[typical(vectors, _TYPICAL)])}

    def _named(self, path: str) -> JsonDict:
        return {"video": self._sources.id_of(path), "name": Path(path).name}

    # Changes

    def tag(self, changes: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> JsonDict:
        """Change tags of recordings (id, new tags, tags before), as ``Library.tag``.

        Raises:
            ServeError: 403 read-only, 404 a recording is not there any more.
            TagConflictError: somebody else changed a tag meanwhile.
        """
        self._library.require_writable()
        paths = {video: self._sources.stored_path(video) for video, _, _ in changes}
        tags = {paths[video]: new for video, new, _ in changes}
        before = {paths[video]: old for video, _, old in changes}
        return {"changed": self._library.tag(tags, before=before)}

    def remove(self, videos: Sequence[str]) -> JsonDict:
        """Remove recordings from the library into the bin; their files are not touched.

        Raises:
            ServeError: 403 read-only, 404 a recording is not there any more.
        """
        self._library.require_writable()
        return self.removed.put([self._sources.stored_path(video) for video in videos])


def _facet(name: str, values: Sequence[tuple[str, int, list[str]]]) -> JsonDict:
    rows = [{"text": text, "count": n, "where": where} for text, n, where in values]
    return {"name": name, "values": rows}
