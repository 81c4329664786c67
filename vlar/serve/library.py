"""A library that is served: what a page asks for besides answers to queries."""

from __future__ import annotations

from dataclasses import dataclass

from vlar.index.paths import place
from vlar.index.report import VideoRow
from vlar.index.rows import RowFilter
from vlar.library import Library
from vlar.query.compare import compare, encode_leaves
from vlar.query.grammar import leaves, parse, show
from vlar.query.grammar.tree import Like
from vlar.types import JsonDict, Window


@dataclass(frozen=True)
class Curve:
    """One phrase of a query over the windows of one recording.

    Attributes:
        phrase: The phrase, or the clip of a LIKE as it is written.
        windows: N windows, by time.
        similarity: N cosines.
        probability: N probabilities against everyday actions; None for a clip, which has no
            such background.
    """

    phrase: str
    windows: tuple[Window, ...]
    similarity: tuple[float, ...]
    probability: tuple[float, ...] | None

    def to_dict(self) -> JsonDict:
        """The JSON object of the server."""
        values = None if self.probability is None else [round(p, 6) for p in self.probability]
        return {
            "phrase": self.phrase,
            "windows": [[round(w.start_s, 3), round(w.end_s, 3)] for w in self.windows],
            "similarity": [round(s, 6) for s in self.similarity],
            "probability": values,
        }


class ServedLibrary(Library):
    """A library with reads of one recording; any thread may call it."""

    def paths(self) -> list[str]:
        """Path of every recording."""
        with self._connection.mutex:
            store = self._connection.reader()
            return [] if store is None else sorted(store.paths().values())

    def page(self, offset: int, limit: int, contains: str = "") -> tuple[int, list[VideoRow]]:
        """The number of recordings whose path contains a text, and some of them, by path."""
        wanted = contains.casefold()
        found = [row for row in self.videos() if wanted in row.path.casefold()]
        return len(found), found[offset : offset + limit]

    def has_rows(self) -> bool:
        """Return whether there is anything to search."""
        with self._connection.mutex:
            store = self._connection.reader()
            return store is not None and store.has_rows()

    def has(self, path: str) -> bool:
        """Return whether there is a recording of this path."""
        with self._connection.mutex:
            store = self._connection.reader()
            return store is not None and store.at_path(path) is not None

    def windows(self, path: str) -> list[Window]:
        """The windows of one recording, by time; empty where it is not in the library."""
        with self._connection.mutex:
            store = self._connection.reader()
            found = None if store is None else store.at_path(place(path))
            if store is None or found is None:
                return []
            return [Window(*times) for times in store.spans(found.id)]

    def curves(self, text: str, path: str) -> list[Curve]:
        """Fit of each phrase of a query to each window of one recording.

        Raises:
            QueryError: the text cannot be parsed.
            LibraryError: the library is empty or damaged.
        """
        wanted = leaves(parse(text))
        with self._connection.mutex:
            store, manifest = self._connection.nonempty()
            model = self._connection.models.loaded(manifest)
            queries = encode_leaves(wanted, model)
            with store.snapshot():
                recording = store.at_path(path)
                if recording is None:
                    return []
                whole = frozenset(store.ids_of(people=False).tolist()) if manifest.persons else None
                rows = RowFilter(frozenset([recording.id]), rows=whole)
                found = compare(store, manifest, model, queries, rows)
        times = zip(found.windows.start_s.tolist(), found.windows.end_s.tolist(), strict=True)
        windows = tuple(Window(*each) for each in times)
        return [
            Curve(
                show(leaf) if isinstance(leaf, Like) else leaf.text,
                windows,
                tuple(found.similarity[leaf].tolist()),
                None if isinstance(leaf, Like) else tuple(found.probability[leaf].tolist()),
            )
            for leaf in wanted
        ]
