"""The columns of a shard, and the facts in its metadata; docs/ingest.md describes both.

A shard has one row a window. A recording lies in one shard, its rows next to each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vlar.index.manifest import LibraryManifest
from vlar.tables import arrow

VERSION = "1"
WINDOW, UNREADABLE, FAILED = "window", "unreadable", "failed"
"""Kinds of rows: an encoded window, one that cannot be read, a recording that ends its reader."""

REQUIRED = ("path", "start_s", "end_s", "vector")
"""Columns that a file of other programs needs."""

KNOWN_COLUMNS = ("path", "content_hash", "size", "mtime_ns", "kind", "error_kind", "error")


PART = ".part"
"""Ending of a shard that is being written."""


def schema(manifest: LibraryManifest, captioner: str) -> Any:
    """The schema of ``pyarrow``, with the facts of a library."""
    pa = arrow()
    number, text, whole = pa.float64(), pa.string(), pa.int64()
    fields = [
        *[("path", text), ("kind", text), ("content_hash", text), ("size", whole)],
        *[("mtime_ns", whole), ("duration_s", number), ("start_s", number), ("end_s", number)],
        *[("vector", pa.list_(pa.float32(), manifest.dim)), ("track", whole)],
        *[("box", pa.list_(number)), ("lost", number), ("caption", text)],
        *[("context", pa.binary()), ("context_tokens", pa.int32())],
        *[("tags", pa.map_(text, text)), ("error_kind", text), ("error", text)],
    ]
    facts = {
        "vlar.shard": VERSION,
        "vlar.manifest": json.dumps(manifest.to_meta()),
        "vlar.model": manifest.model,
        "vlar.fingerprint": manifest.fingerprint,
        "vlar.modality": manifest.modality,
        "vlar.captioner": captioner,
    }
    return pa.schema(fields, metadata=facts)


def facts_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """The facts of vlar in the metadata of a file, without their prefix."""
    found: dict[str, str] = {}
    for key, value in (metadata or {}).items():
        name = key.decode(errors="replace")
        if name.startswith("vlar."):
            found[name.removeprefix("vlar.")] = value.decode(errors="replace")
    return found
