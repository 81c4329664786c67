"""Words that are written: names of files and folders, tags, and captions, as a leg of a query.

They are looked up by SQLite's FTS5, with accents and English endings removed; the beginning of a
longer word counts as some of the words. The table is made in
memory for a state of the library, as for captions (``vlar.library.query.caption_search``): no
foreign file is executed. A text that has all content words of a phrase wins; one that has some
lifts a moment within a band; without any the order by the picture stays as it is.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from vlar.errors import QueryError
from vlar.files.recent import Recent
from vlar.library.query.candidates import ScoredSpan, Snapshot
from vlar.library.query.caption_search import search_words
from vlar.library.query.feedback import log_odds
from vlar.library.rows import Int64
from vlar.numeric import sigmoid

BAND = 0.7  # log odds that a text with nearly all words lifts a moment
_CERTAIN = 1e-3  # share of the scores that is left to moments of which all words are written
_MOST = 5_000  # texts with all words
_KEPT = 128  # words whose texts are kept
_SHORTEST_BEGINNING = 4  # letters
_ANY = "*"  # of the beginning of a word, as FTS5 has it
_MORE = "\u2026"
_MARK = "contentmark"  # next to a content word, little ones are left out
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\D)(?=\d)|(?<=\d)(?=\D)|[^\w]|_")


class WrittenIndex:
    """The texts of a library: one a recording, and one a window with a caption."""

    def __init__(
        self,
        paths: Mapping[int, str],
        tags: Mapping[int, Mapping[str, str]],
        captions: Mapping[int, str],
    ) -> None:
        self._table = sqlite3.connect(":memory:", check_same_thread=False)
        self._table.execute(
            "CREATE VIRTUAL TABLE texts USING fts5(text, tokenize="
            "'porter unicode61 remove_diacritics 2')"
        )
        self._kept = Recent(_KEPT)
        folder = _common_folder(list(paths.values()))
        recordings = (
            (2 * i, f"{spaced(path[len(folder) :])} {_tag_text(tags.get(i, {}))}")
            for i, path in paths.items()
        )
        self._table.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", recordings)
        windows = ((2 * row_id + 1, _split(text)) for row_id, text in captions.items())
        self._table.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", windows)

    def having_all(self, words: Sequence[str]) -> tuple[set[int], set[int]]:
        """Ids of recordings, and of rows, whose text has all of some words."""
        return _owners(reduce(np.intersect1d, map(self._texts_of, words)))

    def having_any(self, words: Sequence[str]) -> tuple[set[int], set[int]]:
        """Ids of recordings, and of rows, whose text has one of some words, or its beginning."""
        return _owners(reduce(np.union1d, map(self._texts_of, map(_begun, words))))

    def words_of(
        self, words: Sequence[str], rows: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[str, ...]]:
        """The words that the texts of rows (recording, row) have; a row without any is left out.

        One that is only the beginning of a longer word ends with an ellipsis.
        """
        pairs = list(rows)
        owners = np.array(pairs, np.int64).reshape(-1, 2) * 2 + (0, 1)
        forms = [(word, word) for word in words] + [(_begun(word), word + _MORE) for word in words]
        having = [np.isin(owners, self._texts_of(query)).any(axis=1) for query, _ in forms]
        shown: dict[tuple[int, int], tuple[str, ...]] = {}
        for pair, has in zip(pairs, np.array(having).T, strict=True):
            matched = [form for (_, form), is_there in zip(forms, has, strict=True) if is_there]
            whole = {form for form in matched if not form.endswith(_MORE)}
            shown[pair] = tuple(
                form for form in matched if form.removesuffix(_MORE) not in whole or form in whole
            )
        return {pair: matched for pair, matched in shown.items() if matched}

    def _texts_of(self, word: str) -> Int64:
        """Sorted numbers of the texts that have a word, or one that begins with ``word*``; those of
        the last words are kept.
        """
        return self._kept.keep(word, lambda: self._rows(word))

    def _rows(self, word: str) -> Int64:
        query = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid"
        phrase = _quoted(word.removesuffix(_ANY)) + (_ANY if word.endswith(_ANY) else "")
        rowids = (rowid for (rowid,) in self._table.execute(query, (phrase,)))
        return np.fromiter(rowids, np.int64)


def _owners(texts: Int64) -> tuple[set[int], set[int]]:
    """Ids of recordings and of rows by the numbers of their texts."""
    numbers = texts[:_MOST]
    return {*(numbers[numbers % 2 == 0] // 2).tolist()}, {
        *(numbers[numbers % 2 == 1] // 2).tolist()
    }


def written_index(snapshot: Snapshot, *, required: bool) -> WrittenIndex | None:
    """The texts of a library, kept with its cache; None where they are not searched.

    Args:
        snapshot: The library.
        required: Whether nothing else is asked for.

    Raises:
        QueryError: required, and this library or this Python cannot do it.
    """
    cache, store = snapshot.cache, snapshot.store
    if cache is None or not cache.engine.is_near:
        if required:
            raise QueryError(
                f"library {store.address} searches no written words; only a library that is a "
                "folder does (only='seen' searches the pictures)"
            )
        return None

    def make() -> WrittenIndex:
        return WrittenIndex(store.paths(), store.tags(), store.captions())

    try:
        return cache.held.keep("written", make)
    except sqlite3.OperationalError as error:
        if required:
            raise QueryError(f"this Python's SQLite has no full-text search ({error})") from error
        return None


def lifted_by(row: ScoredSpan, words: tuple[str, ...], wanted: int) -> ScoredSpan:
    """A row with the words that are written of it; all of them win, some lift its score.

    Args:
        row: By its picture.
        words: Content words of the phrase that its texts have.
        wanted: Number of content words of the phrase.
    """
    if not words:
        return row
    if len(words) == wanted and not any(word.endswith(_MORE) for word in words):
        return row._replace(written=words, exact=True, score=1 - _CERTAIN * (1 - row.score))
    lifted = sigmoid(log_odds(np.array([row.score])) + BAND * len(words) / wanted)
    return row._replace(written=words, score=float(lifted[0]))


def _begun(word: str) -> str:
    """The word as any beginning; short ones begin too many others."""
    return word + _ANY if len(word) >= _SHORTEST_BEGINNING else word


def content_words(phrase: str) -> list[str]:
    """The content words of a phrase, split as names are; none where all are little.

    >>> content_words("a person rides the bike"), content_words("of the"), content_words("GX01")
    (['rides', 'bike'], [], ['gx', '01'])
    """
    return [word for word in search_words(f"{_split(phrase)} {_MARK}") if word != _MARK]


def spaced(path: str) -> str:
    """The words of a path.

    >>> spaced("gym/ridingBike_03.mp4")
    'gym riding Bike 03'
    """
    return _split(os.path.splitext(path)[0])  # noqa: PTH122


def _split(text: str) -> str:
    return " ".join(_HUMP.sub(" ", text).split())


def _common_folder(paths: Sequence[str]) -> str:
    """The folder, with its last slash, in which all paths lie; its words tell nothing apart."""
    paths = [path.replace("\\", "/") for path in paths]
    prefix = os.path.commonprefix(paths)  # noqa: RUF071 - letters: cut at the last slash below
    return prefix[: prefix.rfind("/") + 1]


def _tag_text(tags: Mapping[str, str]) -> str:
    return _split(" ".join(f"{key} {value}" for key, value in tags.items()))


def _quoted(word: Any) -> str:
    return '"' + str(word).replace('"', '""') + '"'
