"""The search cache ``ann.faiss``: made from the truth, checked against it, never needed.

The file is what ``faiss.write_index`` writes (any FAISS tool opens it) followed by the row ids, a
JSON line that says what it was made from, and a fixed end mark. It is trusted only where its
checksums hold and its generation is the truth's; else it is made again.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from vlar import registry
from vlar.index.store import Int64, Store
from vlar.types import Float32

FILE_NAME = "ann.faiss"
_MAGIC = b"vlar-ann-cache-1"
_END = struct.Struct("<QQ16s")  # bytes of the ids, bytes of the JSON line, mark
_log = logging.getLogger("vlar")


class AnnIndex(Protocol):
    """A search structure over rows. Registered as ``@register("ann", NAME)``.

    It proposes rows; their similarities are computed again from the truth. Ids are row ids and
    rise. ``exact`` says whether the proposals are the best rows for certain.
    """

    name: str
    exact: bool
    ids: Int64

    @classmethod
    def build(cls, ids: Int64, vectors: Float32) -> AnnIndex:
        """From ids (N,), rising, and unit vectors (N, D)."""
        ...

    def updated(self, dead: Int64, ids: Int64, vectors: Float32) -> AnnIndex:
        """Without the rows ``dead``, with new rows behind the last id."""
        ...

    def search(self, query: Float32, k: int, allowed: Int64 | None) -> tuple[Int64, Float32]:
        """Ids and inner products of the best ``k`` rows, best first, among ``allowed`` (sorted)."""
        ...

    def write(self, path: Path) -> bool:
        """Write the FAISS file; False where this type has none (no FAISS)."""
        ...

    @classmethod
    def read(cls, path: Path, ids: Int64) -> AnnIndex | None:
        """Read the FAISS file (bytes behind it are ignored); None where it does not fit."""
        ...


@dataclass(frozen=True)
class Origin:
    """What a cache was made from."""

    library_id: str
    generation: int
    dim: int
    type: str

    @classmethod
    def of(cls, store: Store, kind: str) -> Origin:
        """The present state of the truth."""
        meta = store.meta()
        return cls(meta["library_id"], int(meta["generation"]), int(meta["dim"]), kind)

    def precedes(self, other: Origin) -> bool:
        """Whether a cache of this becomes one of ``other`` by adding and removing rows."""
        same = (self.library_id, self.dim, self.type) == (other.library_id, other.dim, other.type)
        return same and self.generation < other.generation


@dataclass(frozen=True)
class Cached:
    """An index and what it was made from."""

    index: AnnIndex
    origin: Origin


def choose(rows: int) -> tuple[str, str]:
    """The type of index for a number of rows, and why."""
    if rows <= 100_000:
        return "flat", f"exact search: {rows:,} rows are compared in about 10 ms or less"
    return "flat", f"exact search: {rows:,} rows; every answer is exact, time grows with the rows"


def refresh(store: Store, current: Cached | None) -> Cached:
    """The index of the present truth: the one at hand, the file's, an update or a new one.

    Call inside ``store.snapshot()``. The file is replaced as a whole, and only where the folder
    allows it: a read-only library is searched from memory.
    """
    rows = store.row_count()
    origin = Origin.of(store, choose(rows)[0])
    if current is not None and current.origin == origin:
        return current
    path = store.file.with_name(FILE_NAME)
    found = read(path)
    if found is not None and found.origin == origin and len(found.index.ids) == rows:
        return found
    fresh = Cached(_updated(store, found or current, origin, rows) or _built(store, origin), origin)
    if found is not None and origin.precedes(found.origin):
        return fresh  # this reader's snapshot is older than the file: leave the newer one there
    try:
        _write(path, fresh)
    except OSError as error:
        _log.debug("search cache %s was not written: %s", path, error)
    return fresh


def state(store: Store) -> str:
    """``fresh``, ``stale``, ``unreadable`` or ``absent``."""
    path = store.file.with_name(FILE_NAME)
    if not path.exists():
        return "absent"
    found = read(path)
    if found is None:
        return "unreadable"
    return "fresh" if found.origin == Origin.of(store, choose(store.row_count())[0]) else "stale"


def read(path: Path) -> Cached | None:
    """The cache in a file, or None where it is absent, cut, changed or of another version."""
    try:
        content = path.read_bytes()
        id_bytes, fact_bytes, magic = _END.unpack(content[-_END.size :])
        if magic != _MAGIC:
            return None
        facts_at = len(content) - _END.size - fact_bytes
        ids_at = facts_at - id_bytes
        facts: dict[str, Any] = json.loads(content[facts_at : facts_at + fact_bytes])
        if ids_at != facts["bytes"] or zlib.crc32(content[:facts_at]) != facts["crc32"]:
            return None
        ids = np.frombuffer(content[ids_at:facts_at], "<i8").astype(np.int64)
        origin = Origin(facts["library_id"], facts["generation"], facts["dim"], facts["type"])
        kind = cast("type[AnnIndex]", registry.get("ann", origin.type))
        del content
        index = kind.read(path, ids)
    except (OSError, ValueError, KeyError, TypeError, struct.error, RuntimeError) as error:
        _log.debug("search cache %s is not usable: %s", path, error)
        return None
    return None if index is None else Cached(index, origin)


def _built(store: Store, origin: Origin) -> AnnIndex:
    kind = cast("type[AnnIndex]", registry.get("ann", origin.type))
    return kind.build(*store.vectors(origin.dim))


def _updated(store: Store, old: Cached | None, origin: Origin, rows: int) -> AnnIndex | None:
    # An id stands for one vector for ever, so the old index lacks only the ids behind its last
    # one and holds too much only the dead ones. The count proves that nothing was overlooked.
    if old is None or not old.origin.precedes(origin):
        return None
    last = int(old.index.ids[-1]) if len(old.index.ids) else 0
    index = old.index.updated(store.dead_ids(), *store.vectors(origin.dim, after_id=last))
    return index if len(index.ids) == rows else None


def _write(path: Path, cached: Cached) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ann-", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        if not cached.index.write(temporary):
            return
        ids = cached.index.ids.astype("<i8").tobytes()
        body = temporary.read_bytes()
        facts = {
            **vars(cached.origin),
            "bytes": len(body),
            "crc32": zlib.crc32(ids, zlib.crc32(body)),
        }
        line = json.dumps(facts).encode()
        with temporary.open("ab") as file:
            file.write(ids + line + _END.pack(len(ids), len(line), _MAGIC))
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
