"""Full-text search in captions: how well each text answers some words.

The words are looked up by SQLite's FTS5, with English endings removed (Porter stemmer). The index
is made in memory from the captions of a library, which are the source of truth: it never lies on a
disk, where another program could change it.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Mapping
from contextlib import closing

from vlar.errors import QueryError

_WORD = re.compile(r"[^\W_]+")
_SIGN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_LITTLE = frozenset(
    (
        *("a", "an", "the", "of", "in", "on", "at", "to", "and", "or", "with", "is", "are", "be"),
        *("being", "it", "its", "this", "that", "who", "someone", "person", "people", "video"),
        *("showing", "shows"),
    )
)
_MOST_WORDS = 32
_BY_RANK = 1e-3  # how much the rank decides between texts with the same words


def search_words(text: str) -> list[str]:
    """The words that are looked up: without little ones, unless all are little.

    >>> search_words("a person lifts a barbell"), search_words("the of")
    (['lifts', 'barbell'], ['the', 'of'])
    """
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))
    return ([word for word in words if word not in _LITTLE] or words)[:_MOST_WORDS]


def said(text: str, captions: Mapping[int, str]) -> dict[int, float]:
    """Share of the words that each caption has, 0 to 1, by id; those with none are left out.

    Of captions with the same share the better by BM25 (Robertson and Zaragoza 2009) is ahead by at
    most a thousandth.

    Args:
        text: Words.
        captions: Texts by id.

    Raises:
        QueryError: the text has no word.
    """
    words = search_words(text)
    if not words:
        raise QueryError(f"says: {text!r:.80} has no word; write what a caption should mention")
    with closing(sqlite3.connect(":memory:")) as index:
        try:
            index.execute(
                "CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='porter unicode61')"
            )
        except sqlite3.OperationalError as error:
            raise QueryError(
                f"this Python's SQLite has no full-text search ({error}); captions cannot be "
                "searched with it"
            ) from error
        index.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", captions.items())
        count: dict[int, int] = {}
        for word in words:
            query = "SELECT rowid FROM texts WHERE texts MATCH ?"
            for (row_id,) in index.execute(query, (f'"{word}"',)):
                count[row_id] = count.get(row_id, 0) + 1
        any_word = " OR ".join(f'"{word}"' for word in words)
        ranked = "SELECT rowid, -rank FROM texts WHERE texts MATCH ?"
        weights = dict(index.execute(ranked, (any_word,)).fetchall())
    best = max(weights.values(), default=0.0) or 1.0
    return {
        row_id: (1 - _BY_RANK) * hits / len(words) + _BY_RANK * max(weights[row_id], 0) / best
        for row_id, hits in count.items()
    }


def quoted_in(kind: str, text: str, captions: Mapping[int, str]) -> dict[int, float]:
    """Captions by id that quote words in order, each with 1.0.

    All quotes of ``kind`` (``says``, ``shows``) in a caption are one text, so a phrase may go on in
    the next line of a screen.
    """
    phrase = f" {spelled(text)} "
    quotes = re.compile(rf'(?:^|(?<= )){kind} \([^()"]*\): "([^"]*)')
    return {
        row_id: 1.0
        for row_id, caption in captions.items()
        if phrase.strip() and phrase in f" {spelled(' '.join(quotes.findall(caption)))} "
    }


def spelled(text: str) -> str:
    """The words of a text as they are compared; each sign of Chinese or Japanese is one.

    >>> spelled("Don't STOP, Caf\u00e9!")
    'dont stop caf\u00e9'
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_SIGN.findall(re.sub("['\u2019\"]", "", plain)))


def reciprocal_rank_fusion(rankings: list[list[int]], constant: float = 60.0) -> dict[int, float]:
    """``sum 1 / (constant + rank)`` of each id over rankings, best first (Cormack et al. 2009).

    Args:
        rankings: Ids in order; an id may be missing from some.
        constant: How little the first ranks differ.
    """
    ranks: dict[int, float] = {}
    for ranking in rankings:
        for rank, row_id in enumerate(ranking, 1):
            ranks[row_id] = ranks.get(row_id, 0.0) + 1.0 / (constant + rank)
    return ranks
