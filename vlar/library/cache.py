"""The search cache of a library: an engine over the rows of the store, kept in a file.

The store is the source of truth; the cache is built from it, checked against it and never needed.
The number of rows chooses the engine. Rows that were added or deleted since it was built wait in
the engine until they exceed ``MERGED_SHARE`` of the rows. Then they are merged, and the engine is
built again where it must be (the engine decides).
"""

from __future__ import annotations

import json
import logging
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from vlar import registry
from vlar.library.engines.base import CacheDamage, Engine, Probes
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import RowTable, read_all
from vlar.library.store.row_check import MOST_ID, NO_RECORDING
from vlar.library.store.sqlite import SqliteStore, StoreRows
from vlar.library.store.trust import not_plain
from vlar.library.store.values import counter

FILE_NAME = "ann.faiss"
_MAGIC = b"vlar-ann-cache-2"
_END = struct.Struct("<QQQ16s")  # bytes of the columns, of the JSON line, its CRC-32, mark
_CHECKED_BYTES = 64 << 20
_MOST_FACT_BYTES = 64 << 20
_COPY_BYTES = 8 << 20
_LEFT_BEHIND_S = 3600.0


def read_header(path: Path) -> tuple[Mapping[str, Any], RowTable]:
    """The facts and columns of a cache file, mapped into memory.

    Raises:
        ValueError: not a file of its own, cut, changed, or of another version. Also OSError,
            KeyError, struct.error.
    """
    if reason := not_plain(path):
        raise ValueError(reason)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _END.size, 0))
        column_bytes, fact_bytes, crc32, magic = _END.unpack(file.read())
        facts_at = size - _END.size - fact_bytes
        columns_at = facts_at - column_bytes
        if magic != _MAGIC or columns_at < 0 or fact_bytes > _MOST_FACT_BYTES:
            raise ValueError("no end mark")
        file.seek(facts_at)
        line = file.read(fact_bytes)
    if zlib.crc32(line) != crc32:
        raise ValueError("its description is changed")
    facts: Any = json.loads(line)
    if not isinstance(facts, dict) or not _are_usable(facts):
        raise ValueError("its description is not one")
    if columns_at != facts["bytes"] or column_bytes != 32 * facts["rows"]:
        raise ValueError("its size is changed")
    if facts_at <= _CHECKED_BYTES and checksum(path, facts_at) != facts["crc32"]:
        raise ValueError("its content is changed")
    table = _mapped(path, columns_at, facts["rows"])
    ids = table.ids
    if len(ids) and not (ids[0] > 0 and ids[-1] < MOST_ID and (ids[1:] > ids[:-1]).all()):
        raise ValueError("its rows are not in order")
    return facts, table


def _are_usable(facts: dict[str, Any]) -> bool:
    """Return whether the description has the values that every cache has."""
    counts = [facts.get(key) for key in ("generation", "dim", "rows", "bytes", "crc32")]
    damaged = facts.get("damaged", [])
    return (
        all(type(count) is int and 0 <= count < MOST_ID for count in counts)
        and all(isinstance(facts.get(key), str) for key in ("library_id", "type"))
        and isinstance(facts.get("index"), dict)
        and isinstance(damaged, list)
        and all(isinstance(row_id, int) for row_id in cast("list[object]", damaged))
    )


def is_whole(path: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether the content, however large, is what was written."""
    return checksum(path, facts["bytes"] + 32 * facts["rows"]) == facts["crc32"]


def checksum(path: Path, size: int) -> int:
    """CRC-32 of the first bytes of a file."""
    value = 0
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, _COPY_BYTES))):
            value = zlib.crc32(piece, value)
            size -= len(piece)
    return value


def write(
    path: Path, table: RowTable, facts: Mapping[str, Any], write_index: Callable[[Path], bool]
) -> bool:
    """Replace a cache file as a whole; False where the index cannot be written.

    Raises:
        OSError: a read-only or full disk.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ann-", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        if not write_index(temporary):
            return False
        size = -(-temporary.stat().st_size // 8) * 8  # columns of numbers begin at a multiple of 8
        os.truncate(temporary, size)
        with temporary.open("ab") as file:
            for column in table.columns:
                file.write(np.ascontiguousarray(column).data)
        crc32 = checksum(temporary, size + 32 * len(table))
        described = {**facts, "rows": len(table), "bytes": size, "crc32": crc32}
        line = json.dumps(described).encode()
        with temporary.open("ab") as file:
            file.write(line + _END.pack(32 * len(table), len(line), zlib.crc32(line), _MAGIC))
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def clear_left_behind(folder: Path) -> int:
    """Delete half-written files of killed processes, an hour old or older; returns how many."""
    cleared = 0
    for temporary in folder.glob(".ann-*.tmp"):
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > _LEFT_BEHIND_S:
                temporary.unlink()
                cleared += 1
    return cleared


def _mapped(path: Path, start: int, rows: int) -> RowTable:
    if rows == 0:
        return RowTable.empty()

    def column(place: int, kind: type[Any]) -> Any:
        return np.asarray(np.memmap(path, kind, "r", start + 8 * rows * place, (rows,)))

    kinds = (np.int64, np.int64, np.float64, np.float64)
    ids, video_ids, starts_s, ends_s = (column(*each) for each in enumerate(kinds))
    return RowTable(ids, video_ids, starts_s, ends_s)


T = TypeVar("T")

MERGED_SHARE = 0.03
MERGED_ROWS = 4096  # a small file is written again for less
REQUESTED_KEY = "ann_type"  # of the manifest
_ALWAYS_MERGED_BELOW = 20_000  # rows
_STAYS = 1.25  # times its bounds, before a library that shrinks or grows gets another engine
_KEPT = 8
_SAID_FROM = 10_000  # rows
_CHECKED = 100  # damaged rows that a query looks at once more
_EXACT = "flat"  # works without FAISS
_log = logging.getLogger("vlar")


@dataclass(frozen=True)
class Origin:
    """The state of a store that a cache belongs to."""

    library_id: str
    generation: int
    dim: int

    @classmethod
    def of(cls, store: SqliteStore) -> Origin:
        """The present state of a store that holds something."""
        meta, manifest = store.meta(), LibraryManifest.of(store)
        if manifest is None:
            raise store.damage("its manifest is empty")
        return cls(meta["library_id"], counter(meta, "generation") or 0, manifest.dim)


@dataclass(frozen=True)
class SearchCache:
    """An engine that holds the rows of one state of a store.

    Attributes:
        engine: Proposes rows.
        origin: The state of the store.
        made_at: Generation at which the engine was built or merged; ``origin`` may be later.
        damaged: Ids of rows of the store that the engine lacks, since they are damaged.
    """

    engine: Engine
    origin: Origin
    made_at: int
    damaged: tuple[int, ...] = ()
    _kept: dict[Hashable, object] = field(default_factory=dict[Hashable, object])

    def kept(self, key: Hashable) -> object | None:
        """Value kept for a key; None without one."""
        return self._kept.get(key)

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Value of a key, made where it is not kept; the last few are kept."""
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = make()
        return cast("T", self._kept[key])


def choose(rows: int) -> tuple[str, str]:
    """The engine for a number of rows, and the reason."""
    for name in registry.names("engine"):
        kind = _engine(name)
        if _suits(kind, rows, 1.0) and kind.available():
            return name, kind.why
    return _EXACT, "exact search: no other engine that is installed is made for as many rows"


def chosen(store: SqliteStore) -> tuple[str, str]:
    """The engine of a library and the reason: the requested one (``compact``), or by its size."""
    if (requested := _requested(store)) is not None:
        return requested, "requested with 'vlar index compact --type'"
    return choose(store.row_count())


def refresh(
    store: SqliteStore, current: SearchCache | None, probes: Probes | None = None
) -> SearchCache:
    """The cache of the present state of a store: the current one, the file, or a new one.

    Call it first inside ``store.snapshot()``: where another process has just written a newer
    cache, the snapshot is renewed. ``current`` is brought up to date in place and must not be used
    afterwards. The file is replaced as a whole, and only where the folder allows it: a read-only
    library is searched from memory.
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
        cache = _followed(store, old, origin)
        if cache is not None:
            return merge(store, cache, probes)[0] if merge_is_due(cache.engine) else cache
    return rebuild(store, probes)


def merge(
    store: SqliteStore, old: SearchCache | None, probes: Probes | None = None
) -> tuple[SearchCache, bool]:
    """A cache with no change waiting, and whether its engine had to be built again for that."""
    cache = None if old is None else _followed(store, old, Origin.of(store))
    if cache is None:
        return rebuild(store, probes), True
    if not cache.engine.added + cache.engine.deleted:
        return cache, False
    _say("bringing the search index up to date", cache.engine.count())
    try:
        engine = cache.engine.merged(StoreRows(store, cache.origin.dim), probes)
    except CacheDamage:
        engine = None
    if engine is None:
        return rebuild(store, probes), True
    merged = SearchCache(engine, cache.origin, cache.origin.generation, cache.damaged)
    return _written(store, merged), False


def rebuild(store: SqliteStore, probes: Probes | None = None) -> SearchCache:
    """A new engine from the present state of the store. Call it inside ``store.snapshot()``."""
    origin, name = Origin.of(store), chosen(store)[0]
    _say(f"building the search index ({name})", store.row_count())
    source = StoreRows(store, origin.dim)
    if name != _EXACT and next(source.chunks(), None) is None:
        name = _EXACT  # nothing to train on
    engine = _engine(name).build(source, probes)
    damaged = tuple(sorted(source.damaged))
    return _written(store, SearchCache(engine, origin, origin.generation, damaged))


def note_damage(store: SqliteStore, cache: SearchCache) -> None:
    """Put the rows that a cache lacks into ``store.damaged``.

    Raises:
        CacheDamage: such a row is whole, as after a copy of the database was restored.
    """
    if not cache.damaged:
        return
    rows = store.rows(cache.damaged[:_CHECKED], cache.origin.dim)
    owned = store.paths(np.unique(rows.video_ids).tolist())
    if any(video_id in owned for video_id in rows.video_ids.tolist()):
        raise CacheDamage("the search cache lacks rows that are whole")
    for row_id in cache.damaged:
        store.damaged.setdefault(row_id, NO_RECORDING)


def merge_is_due(engine: Engine) -> bool:
    """Return whether enough changes wait to be worth a merge."""
    changes, rows = engine.added + engine.deleted, engine.count() + engine.deleted - engine.added
    if rows <= _ALWAYS_MERGED_BELOW:
        return changes > 0
    return changes > max(MERGED_ROWS, MERGED_SHARE * rows)


def state(store: SqliteStore) -> tuple[str, SearchCache | None]:
    """``fresh``, ``stale``, ``unreadable`` or ``absent``, and the cache that a query would use.

    A cache with a few waiting changes is fresh too. The next query updates a stale one.
    """
    path = store.file.with_name(FILE_NAME)
    if not path.exists():
        return "absent", None
    found = read(path)
    if found is None:
        return "unreadable", None
    cache = _followed(store, found, Origin.of(store))
    if cache is None or merge_is_due(cache.engine):
        return "stale", None
    return "fresh", cache


def read(path: Path) -> SearchCache | None:
    """The cache in a file; None where it is absent, cut, changed or of another version."""
    try:
        while True:
            before = path.stat()
            facts, table = read_header(path)
            origin = Origin(facts["library_id"], facts["generation"], facts["dim"])
            if facts["type"] not in registry.names("engine"):
                return None
            engine = _engine(facts["type"]).read(path, facts["index"], table)
            if path.stat().st_ino == before.st_ino:
                break  # else it was replaced between the two calls
    except Exception as error:  # noqa: BLE001 - whatever stands in it, it can be built again
        _log.debug("search cache %s is not usable: %s", path, error)
        return None
    if engine is None or getattr(engine, "dim", origin.dim) != origin.dim:
        return None
    return SearchCache(engine, origin, origin.generation, tuple(facts.get("damaged", ())))


def is_complete(store: SqliteStore, cache: SearchCache) -> bool:
    """Return whether a cache has as many rows as the store, but for the damaged ones."""
    return cache.engine.count() + len(cache.damaged) == store.row_count()


def _followed(store: SqliteStore, old: SearchCache, origin: Origin) -> SearchCache | None:
    """A cache after all changes of the store since its state; None where they do not lead there.

    An id stands for one vector for ever, so an engine lacks only the ids after its last one, and
    holds too much only the deleted ones. The count proves that nothing was overlooked.
    """
    if old.origin == origin and _still_chosen(store, old.engine):
        return old if is_complete(store, old) else None
    usable = (
        _same_library(old, origin)
        and store.compacted_at() <= old.origin.generation <= origin.generation
        and _still_chosen(store, old.engine)
    )
    if not usable:
        return None
    engine, since = old.engine, old.origin.generation
    last = engine.last_id
    dead = store.dead_ids(since)
    engine.delete(dead[dead <= last])
    source = StoreRows(store, origin.dim, last)
    engine.add(*read_all(source))
    damaged = (source.damaged | set(old.damaged)) - set(dead.tolist())
    cache = SearchCache(engine, origin, old.made_at, tuple(sorted(damaged)))
    return cache if is_complete(store, cache) else None


def _same_library(cache: SearchCache, origin: Origin) -> bool:
    return (cache.origin.library_id, cache.origin.dim) == (origin.library_id, origin.dim)


def _still_chosen(store: SqliteStore, engine: Engine) -> bool:
    if (requested := _requested(store)) is not None:
        return engine.name == requested
    return _suits(type(engine), store.row_count(), _STAYS)


def _requested(store: SqliteStore) -> str | None:
    """The engine that ``compact`` asked for, where it is installed here."""
    name = store.meta().get(REQUESTED_KEY)
    if name is None or name not in registry.names("engine") or not _engine(name).available():
        return None
    return name


def _suits(kind: type[Engine], rows: int, margin: float) -> bool:
    if kind.rows is None:
        return False
    least, most = kind.rows
    return least / margin <= rows and (most is None or rows <= most * margin)


def _written(store: SqliteStore, fresh: SearchCache) -> SearchCache:
    """Write a cache, and use the file, which is mapped and not held in memory, from now on."""
    path, engine = store.file.with_name(FILE_NAME), fresh.engine
    facts = {
        "library_id": fresh.origin.library_id,
        "generation": fresh.made_at,
        "dim": fresh.origin.dim,
        "type": engine.name,
        "damaged": list(fresh.damaged),
        "index": json.loads(json.dumps(dict(engine.facts))),
    }
    try:
        if not write(path, engine.table(), facts, engine.write):
            return fresh
    except OSError as error:
        _log.debug("search cache %s was not written: %s", path, error)
        return fresh
    if engine.name == _EXACT:
        return fresh
    mapped = read(path)
    return mapped if mapped is not None and mapped.origin == fresh.origin else fresh


def _say(what: str, rows: int) -> None:
    """A line for the person who waits, where it takes longer than a moment."""
    if rows >= _SAID_FROM:
        _log.info("%s of %s rows; the next query finds it ready", what, f"{rows:,}")


def _engine(name: str) -> type[Engine]:
    return cast("type[Engine]", registry.get("engine", name))
