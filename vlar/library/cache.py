"""The search cache of a library: an engine over the rows of the store, kept in a file.

The store is the source of truth; the cache is built from it, checked against it and never needed.
Its file is the user's own, in the user's cache folder: a library of somebody else brings none.
The number of rows chooses the engine. Rows that were added or deleted since it was built wait in
the engine until they exceed ``MERGED_SHARE`` of the rows. Then they are merged, and the engine is
built again where it must be (the engine decides).
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from vlar import registry
from vlar.files import resources
from vlar.files.opening import open_input
from vlar.files.recent import Recent
from vlar.files.replacing import new_part
from vlar.library.engines.base import CacheDamage, Engine, Probes
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import Float16, Int64, RowTable, read_all
from vlar.library.store import trust
from vlar.library.store.row_check import NO_RECORDING
from vlar.library.store.sqlite import SqliteStore, StoreRows
from vlar.library.store.values import counter
from vlar.types import Float32, Float64

FOLDER = "search"  # of the user's cache folder
OLD_NAME = "ann.faiss"  # in the folder of a library, where earlier versions kept it
_MAGIC = b"vlar-ann-cache-3"
_END = struct.Struct("<QQ16s")  # bytes of the JSON line, its CRC-32, mark
_CHECKED_BYTES = 32 << 20  # when it is opened; FAISS parses no later ones, which hold vectors
_COPY_BYTES = 8 << 20
_LIMIT = 10  # times the limit of other cache entries: 10 GB by default


def file_of(store: SqliteStore) -> Path:
    """The cache file of a library, in the user's cache folder.

    The library's id names it, with the inode and the time of the last change of its lock, which
    nothing writes to: a copy of the folder has others, a renamed one has the same.
    """
    folder, suffix = store.file.with_name(trust.FILE_NAME), ""
    with suppress(OSError):
        stamp = (folder if folder.exists() else store.file).lstat()
        suffix = f"{stamp.st_ino} {stamp.st_ctime_ns}"
    name = hashlib.sha256(f"{store.meta().get('library_id')} {suffix}".encode()).hexdigest()
    return resources.cache_dir() / FOLDER / f"{name[:32]}.faiss"


def _require_own(folder: Path) -> None:
    """Refuse a folder that somebody else may write to: nothing in its files is checked.

    Raises:
        OSError: it is absent, or not the user's own.
    """
    stat = folder.stat()
    if os.name == "posix" and (stat.st_uid != os.geteuid() or stat.st_mode & 0o022):
        raise PermissionError(errno.EPERM, "other users may write to it")


def _opened(path: Path) -> tuple[Mapping[str, Any], RowTable]:
    """The facts and columns of a cache file, mapped into memory.

    Raises:
        ValueError: cut, changed, or of another version. Also OSError, struct.error.
    """
    _require_own(path.parent)
    with open_input(path, links=False) as file:
        if os.name == "posix" and os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it is of another user")
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _END.size, 0))
        fact_bytes, crc32, magic = _END.unpack(file.read())
        facts_at = size - _END.size - fact_bytes
        if magic != _MAGIC or facts_at < 0:
            raise ValueError("no end mark")
        file.seek(facts_at)
        line = file.read(fact_bytes)
    if zlib.crc32(line) != crc32:
        raise ValueError("its description is changed")
    facts: dict[str, Any] = json.loads(line)
    if (
        facts_at != facts["bytes"] + 32 * facts["rows"]
        or _checksum(path, facts_at) != facts["head"]
    ):
        raise ValueError("its content is changed")
    with suppress(OSError):  # the time of the last use decides what is removed
        os.utime(path)
    return facts, _mapped(path, facts["bytes"], facts["rows"])


def is_whole(path: Path) -> bool:
    """Return whether all of a cache file, however large, is what was written."""
    try:
        facts, table = _opened(path)
    except (OSError, ValueError, struct.error):
        return False
    size = facts["bytes"] + 32 * len(table)
    return _checksum(path, size, size) == facts["crc32"]


def _checksum(path: Path, size: int, most: int = _CHECKED_BYTES) -> int:
    """CRC-32 of the first bytes of a file."""
    value, size = 0, min(size, most)
    with open_input(path, links=False) as file:
        while size > 0 and (piece := file.read(min(size, _COPY_BYTES))):
            value = zlib.crc32(piece, value)
            size -= len(piece)
    return value


def _write(
    path: Path, table: RowTable, facts: Mapping[str, Any], write_index: Callable[[Path], bool]
) -> bool:
    """Replace a cache file as a whole; False where the index cannot be written.

    Raises:
        OSError: a read-only or full disk, or a folder of somebody else.
    """
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    _require_own(path.parent)
    temporary = new_part(path, 0o600)
    try:
        if not write_index(temporary):
            return False
        size = -(-temporary.stat().st_size // 8) * 8  # columns of numbers begin at a multiple of 8
        os.truncate(temporary, size)
        with temporary.open("ab") as file:
            for column in table.columns:
                file.write(np.ascontiguousarray(column).data)
        every = size + 32 * len(table)
        sums = {"head": _checksum(temporary, every), "crc32": _checksum(temporary, every, every)}
        line = json.dumps({**facts, "rows": len(table), "bytes": size, **sums}).encode()
        with temporary.open("ab") as file:
            file.write(line + _END.pack(len(line), zlib.crc32(line), _MAGIC))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    resources.trim(path.parent, path, _LIMIT * resources.cache_limit())
    return True


def _remove_old(folder: Path) -> None:
    """Remove what earlier versions kept in the folder of a library, and say so."""
    for file in (folder / OLD_NAME, *folder.glob(".ann-*.tmp")):
        with suppress(OSError):
            file.unlink()
            if file.name == OLD_NAME:
                cache_folder = resources.cache_dir() / FOLDER
                _log.info("%s was removed: the search index lies in %s now", file, cache_folder)


def _mapped(path: Path, start: int, rows: int) -> RowTable:
    if rows == 0:
        return RowTable.empty()

    def column(place: int, kind: type[Any]) -> Any:
        return np.asarray(np.memmap(path, kind, "r", start + 8 * rows * place, (rows,)))

    kinds = (np.int64, np.int64, np.float64, np.float64)
    ids, video_ids, starts_s, ends_s = (column(*kind) for kind in enumerate(kinds))
    return RowTable(ids, video_ids, starts_s, ends_s)


T = TypeVar("T")

MERGED_SHARE = 0.03
MERGED_ROWS = 4096  # least number, but for a small file
REQUESTED_KEY = "ann_type"  # of the manifest
_SMALL = 20_000  # rows
_STAYS = 1.25  # times its bounds, before a library that shrinks or grows gets another engine
_KEPT = 8
_ASKED = 128  # phrases, some 50 kB each
_MOST_FIGURES = 1 << 20  # row id: some 24 MB
_SAID_FROM = 10_000  # rows
_LAST_ROWS = 32  # that are compared when a cache is taken up
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


class RowFigures:
    """Figures of rows, by row id, kept as long as the rows: nothing else changes them."""

    def __init__(self) -> None:
        self._figures = np.empty((0, 0))

    def of(
        self, ids: Int64, vectors: Float32, make: Callable[[Float32], Float64 | None]
    ) -> Float64 | None:
        """(N, K) figures of rows (N, D), made where they are not kept; None where none are made."""
        if not len(ids) or (last := int(ids.max())) >= _MOST_FIGURES:
            return make(vectors)
        if last >= len(self._figures):
            made = make(vectors[:1])
            if made is None:
                return None
            longer = np.full((2 * last + 1, made.shape[1]), np.nan)
            longer[: len(self._figures)] = self._figures.reshape(-1, made.shape[1])
            self._figures = longer
        table = self._figures
        figures = table[ids]
        if (absent := np.isnan(figures[:, 0])).any():
            figures[absent] = table[ids[absent]] = make(vectors[absent])
        return figures


@dataclass(frozen=True)
class SearchCache:
    """An engine that holds the rows of one state of a store.

    Attributes:
        engine: Proposes rows.
        origin: The state of the store.
        made_at: Generation at which the engine was built or merged; ``origin`` may be later.
        damaged: Ids of rows of the store that the engine lacks, since they are damaged.
        held: Rows of filters.
        asked: Rows that were proposed for phrases.
        everyday: Figures of rows that no query changes.
        sound: Rows that were read and checked in one state of the store.
    """

    engine: Engine
    origin: Origin
    made_at: int
    damaged: tuple[int, ...] = ()
    held: Recent = field(default_factory=lambda: Recent(_KEPT))
    asked: Recent = field(default_factory=lambda: Recent(_ASKED))
    everyday: RowFigures = field(default_factory=RowFigures)
    sound: Recent = field(default_factory=lambda: Recent(1))


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
    afterwards. The file is replaced as a whole; where the user's cache folder cannot be written to,
    the library is searched from memory.
    """
    origin = Origin.of(store)
    if current is not None and current.origin == origin:
        return current
    cache = None if current is None else _followed(store, current, origin)
    if cache is not None and not merge_is_due(cache.engine):
        return cache
    stored = read(file_of(store))
    if stored is not None and _same_library(stored, origin) and stored.made_at > origin.generation:
        store.renew_snapshot()
        origin = Origin.of(store)
    candidates = [cache_part for cache_part in (stored, cache) if cache_part is not None]
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
    _say("bringing the search index up to date", cache.engine.count(), cache.engine.row_us / 2)
    try:
        engine = cache.engine.merged(StoreRows(store, cache.origin.dim), probes)
    except CacheDamage:
        engine = None
    if engine is None:
        return rebuild(store, probes), True
    merged = SearchCache(engine, cache.origin, cache.origin.generation, cache.damaged)
    return replace(_written(store, merged), everyday=cache.everyday), False


def rebuild(store: SqliteStore, probes: Probes | None = None) -> SearchCache:
    """A new engine from the present state of the store. Call it inside ``store.snapshot()``."""
    origin, name = Origin.of(store), chosen(store)[0]
    _say(f"building the search index ({name})", store.row_count(), _engine(name).row_us)
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
    return changes > max(MERGED_ROWS if rows > _SMALL else 0, MERGED_SHARE * rows)


def state(store: SqliteStore) -> tuple[str, SearchCache | None]:
    """``fresh``, ``stale``, ``unreadable`` or ``absent``, and the cache that a query would use.

    A cache with a few waiting changes is fresh too. The next query updates a stale one.
    """
    path = file_of(store)
    if not path.exists():
        return "absent", None
    stored = read(path)
    if stored is None:
        return "unreadable", None
    cache = _followed(store, stored, Origin.of(store))
    if cache is None or merge_is_due(cache.engine):
        return "stale", None
    return "fresh", cache


def read(path: Path) -> SearchCache | None:
    """The cache in a file; None where it is absent, cut, changed or of another version."""
    try:
        while True:
            before = path.stat()
            facts, table = _opened(path)
            origin = Origin(facts["library_id"], facts["generation"], facts["dim"])
            engine = _engine(facts["type"]).read(path, facts["index"], table)
            if path.stat().st_ino == before.st_ino:
                break  # else it was replaced between the two calls
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it can be built again
        _log.debug("search cache %s is not usable: %s", path, error)
        return None
    if engine is None or getattr(engine, "dim", origin.dim) != origin.dim:
        return None
    return SearchCache(engine, origin, origin.generation, tuple(facts["damaged"]))


def is_complete(store: SqliteStore, cache: SearchCache) -> bool:
    """Return whether a cache has as many rows as the store, but for the damaged ones."""
    return cache.engine.count() + len(cache.damaged) == store.row_count()


def _followed(store: SqliteStore, old: SearchCache, origin: Origin) -> SearchCache | None:
    """A cache after all changes of the store since its state; None where they do not lead there.

    An id stands for one vector for ever, so an engine lacks only the ids after its last one, and
    holds too much only the deleted ones. The count proves that nothing was overlooked.
    """
    if old.origin == origin and _still_chosen(store, old.engine):
        return old if is_complete(store, old) and has_last_rows(store, old) else None
    usable = (
        _same_library(old, origin)
        and store.compacted_at() <= old.origin.generation <= origin.generation
        and _still_chosen(store, old.engine)
        and has_last_rows(store, old)
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
    damaged_ids = tuple(sorted(damaged))
    cache = SearchCache(engine, origin, old.made_at, damaged_ids, everyday=old.everyday)
    return cache if is_complete(store, cache) else None


def has_last_rows(store: SqliteStore, cache: SearchCache) -> bool:
    """Return whether the store has the last rows of a cache as they were.

    Where an older copy of the database was restored in place, ids that are given again mean others.
    """
    ids, damaged = cache.engine.table().ids[-_LAST_ROWS:], store.damaged.copy()
    rows = store.rows(ids.tolist(), cache.origin.dim)
    store.damaged.clear()
    store.damaged.update(damaged)
    times_s = np.array(rows.spans, np.float64).reshape(-1, 2)
    table = RowTable(rows.ids, rows.video_ids, times_s[:, 0], times_s[:, 1])
    return cache.engine.holds(_FewRows(table, rows.vectors.astype(np.float16)))


class _FewRows:
    """Some rows as a source."""

    def __init__(self, table: RowTable, vectors: Float16) -> None:
        self._rows, self.count, self.dim = (table, vectors), len(table), vectors.shape[1]

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        yield self._rows


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
    path, engine = file_of(store), fresh.engine
    facts = {
        "library_id": fresh.origin.library_id,
        "generation": fresh.made_at,
        "dim": fresh.origin.dim,
        "type": engine.name,
        "damaged": list(fresh.damaged),
        "index": json.loads(json.dumps(dict(engine.facts))),
    }
    try:
        if not _write(path, engine.table(), facts, engine.write):
            return fresh
    except (OSError, RuntimeError) as error:  # the second one of FAISS
        many = engine.count() >= _SAID_FROM
        _log.log(
            logging.WARNING if many else logging.DEBUG,
            "cannot keep the search index in %s (%s): it will be built again at every start; "
            "set VLAR_CACHE to a folder of your own that can be written",
            path.parent,
            getattr(error, "strerror", error),
        )
        return fresh
    _remove_old(store.file.parent)
    if engine.name == _EXACT:
        return fresh
    mapped = read(path)
    return mapped if mapped is not None and mapped.origin == fresh.origin else fresh


def _say(what: str, rows: int, row_us: float) -> None:
    """A line for the person who waits, where it takes longer than a moment."""
    if rows >= _SAID_FROM:
        seconds = max(rows * row_us / 1e6, 1)
        form = "%s of %s rows, about %.0f s; the next query finds it ready"
        _log.info(form, what, f"{rows:,}", seconds)


def _engine(name: str) -> type[Engine]:
    return cast("type[Engine]", registry.get("engine", name))
