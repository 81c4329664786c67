"""The search cache: made from the truth, checked against it, never needed.

The type of index is chosen by the number of rows. What was added or deleted since it was made is
searched beside it (``vlar.index.search_cache.snapshot``) until it is more than ``FOLDED_SHARE`` of
the rows; then it
is folded in, and the index is trained anew where it has drifted (the type says when).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vlar import registry
from vlar.index.protocol import AnnIndex, Probes
from vlar.index.search_cache import cache_file
from vlar.index.search_cache.cache_file import FILE_NAME
from vlar.index.search_cache.snapshot import View
from vlar.index.store.database import Store
from vlar.index.store.rows import RowSource

FOLDED_SHARE = 0.03
FOLDED_ROWS = 4096  # a small file is written again for less
ASKED_KEY = "ann_type"  # of the manifest
_ALWAYS_FOLDED_BELOW = 20_000  # rows
_STAYS = 1.25  # times its bounds, before a library that shrinks or grows gets another type
_EXACT = "flat"  # works without FAISS
_log = logging.getLogger("vlar")


@dataclass(frozen=True)
class Origin:
    """What a cache was made from."""

    library_id: str
    generation: int
    dim: int

    @classmethod
    def of(cls, store: Store) -> Origin:
        """The present state of the truth."""
        meta = store.meta()
        return cls(meta["library_id"], int(meta["generation"]), int(meta["dim"]))


@dataclass(frozen=True)
class Cached:
    """A state of the truth, ready to be searched.

    ``made_at`` is the generation of its index; that of ``origin`` may be later.
    """

    index: View
    origin: Origin
    made_at: int


def choose(rows: int) -> tuple[str, str]:
    """The type of index for a number of rows, and why."""
    if not _has_faiss():
        return _EXACT, "exact search with NumPy: FAISS is not installed"
    for name in registry.names("engine"):
        kind = _kind(name)
        if _suits(kind, rows, 1.0):
            return name, kind.why
    return _EXACT, "exact search: no other type is made for so many rows"


def chosen(store: Store) -> tuple[str, str]:
    """The type of index of a library, and why: the one asked for (``compact``), or by its size."""
    asked = store.meta().get(ASKED_KEY)
    if asked is not None and _has_faiss():
        return asked, "asked for with 'vlar index compact --type'"
    return choose(store.row_count())


def refresh(store: Store, current: Cached | None, probes: Probes | None = None) -> Cached:
    """The present truth, ready to be searched: from the one at hand, the file, or made new.

    Call first thing inside ``store.snapshot()``: where another process has just written a newer
    cache, the snapshot is renewed. The file is replaced as a whole, and only where the folder
    allows it: a read-only library is searched from memory.
    """
    origin = Origin.of(store)
    if current is not None and current.origin == origin:
        return current
    found = read(store.file.with_name(FILE_NAME))
    if found is not None and _same_library(found, origin) and found.made_at > origin.generation:
        store.renew_snapshot()
        origin = Origin.of(store)
    candidates = [each for each in (found, current) if each is not None]
    for old in sorted(candidates, key=lambda each: -each.made_at):
        view = _follow(store, old, origin)
        if view is None:
            continue
        if not fold_is_due(view):
            return Cached(view, origin, old.made_at)
        return fold(store, old, probes)[0]
    return rebuild(store, probes)


def fold(store: Store, old: Cached | None, probes: Probes | None = None) -> tuple[Cached, bool]:
    """All changes inside the index, however few; and whether it was trained anew for that."""
    origin = Origin.of(store)
    view = None if old is None else _follow(store, old, origin)
    if old is not None and view is not None and not view.changes:
        return Cached(view, origin, old.made_at), False
    folded = None if view is None else view.folded(RowSource(store, origin.dim), probes)
    if folded is None:
        return rebuild(store, probes), True
    return _written(store, Cached(folded, origin, origin.generation)), False


def rebuild(store: Store, probes: Probes | None = None) -> Cached:
    """A new index of the present truth, trained anew. Call inside ``store.snapshot()``."""
    origin = Origin.of(store)
    kind = _kind(chosen(store)[0])
    if kind.name != _EXACT:
        _log.info("making the search index (%s); it takes a while", kind.name)
    view = View.whole(*kind.build(RowSource(store, origin.dim), probes))
    return _written(store, Cached(view, origin, origin.generation))


def fold_is_due(view: View) -> bool:
    """Whether what lies beside the index is so much that it belongs inside."""
    rows = len(view.table)
    if rows <= _ALWAYS_FOLDED_BELOW:
        return view.changes > 0
    return view.changes > max(FOLDED_ROWS, FOLDED_SHARE * rows)


def state(store: Store) -> tuple[str, Cached | None]:
    """``fresh``, ``stale``, ``unreadable`` or ``absent``, and what a query would search.

    Fresh is also a cache with a few changes beside it; a stale one is mended by the next query.
    """
    path = store.file.with_name(FILE_NAME)
    if not path.exists():
        return "absent", None
    found = read(path)
    if found is None:
        return "unreadable", None
    origin = Origin.of(store)
    view = _follow(store, found, origin)
    if view is None or fold_is_due(view):
        return "stale", None
    return "fresh", Cached(view, origin, found.made_at)


def read(path: Path) -> Cached | None:
    """The cache in a file, or None where it is absent, cut, changed or of another version."""
    try:
        while True:
            before = path.stat()
            header = cache_file.read_header(path)
            facts = header.facts
            origin = Origin(facts["library_id"], facts["generation"], facts["dim"])
            index = _kind(facts["type"]).read(path, facts["index"])
            if path.stat().st_ino == before.st_ino:
                break  # else it was replaced between the two looks
    except (OSError, ValueError, KeyError, TypeError, struct.error, RuntimeError) as error:
        _log.debug("search cache %s is not usable: %s", path, error)
        return None
    if index is None or index.size != len(header.table):
        return None
    return Cached(View.whole(index, header.table), origin, origin.generation)


# Inside ----------------------------------------------------------------------------------------


def _follow(store: Store, old: Cached, origin: Origin) -> View | None:
    """The old index with what has changed since; None where it cannot lead to the truth."""
    base = old.index.base
    usable = (
        _same_library(old, origin)
        and store.compacted_at() <= old.made_at <= origin.generation
        and _still_chosen(store, base)
    )
    if not usable:
        return None
    return View.over(base, old.index.table, old.made_at, store, origin.dim)


def _same_library(cached: Cached, origin: Origin) -> bool:
    return (cached.origin.library_id, cached.origin.dim) == (origin.library_id, origin.dim)


def _still_chosen(store: Store, kind: AnnIndex) -> bool:
    asked = store.meta().get(ASKED_KEY)
    if asked is not None and _has_faiss():
        return kind.name == asked
    return _suits(kind, store.row_count(), _STAYS)


def _suits(kind: AnnIndex | type[AnnIndex], rows: int, margin: float) -> bool:
    least, most = kind.rows
    return least / margin <= rows and (most is None or rows <= most * margin)


def _written(store: Store, fresh: Cached) -> Cached:
    """Write a cache, and go on with the file, which is mapped and not held in memory."""
    path = store.file.with_name(FILE_NAME)
    base, table = fresh.index.base, fresh.index.table
    facts = {
        "library_id": fresh.origin.library_id,
        "generation": fresh.made_at,
        "dim": fresh.origin.dim,
        "type": base.name,
        "index": json.loads(json.dumps(dict(base.facts))),
    }
    try:
        if not cache_file.write(path, table, facts, base.write):
            return fresh
    except OSError as error:
        _log.debug("search cache %s was not written: %s", path, error)
        return fresh
    if base.name == _EXACT:
        return fresh
    mapped = read(path)
    return mapped if mapped is not None and mapped.origin == fresh.origin else fresh


def _kind(name: str) -> type[AnnIndex]:
    return cast("type[AnnIndex]", registry.get("engine", name))


def _has_faiss() -> bool:
    try:
        return importlib.util.find_spec("faiss") is not None
    except ValueError:  # taken out of sys.modules
        return False
