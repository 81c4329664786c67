"""The four collections of a library in Milvus, and whether they are those of vlar.

- ``NAME_records``: recordings with their tags, the manifest, the state of the writer, failed files.
- ``NAME_blobs``: contexts, captions and shares of lost frames.
- ``NAME_lease``: who writes.
- ``NAME``: the rows with their vectors; it is made with the first row, since it fixes the width.
  After a change of the model it is ``NAME_rows_TOKEN``, whose rows have a mark; the manifest names
  it, so one entity changes both (``vlar.plugins.milvus.change``).

Milvus wants a vector in every collection, so three of them have one of two zeros.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from vlar import registry
from vlar.errors import LibraryError
from vlar.plugins.milvus.client import MilvusConnection

AUTO = "auto"
EXACT_BELOW = 100_000  # rows
IN_MEMORY_BELOW = 20_000_000
_SPARE = 1.25  # more rows than its bound, before another index is recommended
_BUILD: Mapping[str, Mapping[str, Any]] = {
    "flat": {},
    "hnsw": {"M": 32, "efConstruction": 360},
    "ivf": {"nlist": 4096},
    "diskann": {},
}
_NAMES = {"flat": "FLAT", "hnsw": "HNSW", "ivf": "IVF_FLAT", "diskann": "DISKANN"}
_LEAST_EFFORT = 256  # candidates or lists
_PROBED = 64  # lists of IVF


def recommended(rows: int, is_lite: bool) -> str:
    """The index that suits a number of rows."""
    if is_lite or rows < EXACT_BELOW:
        return "flat"
    return "hnsw" if rows < IN_MEMORY_BELOW else "diskann"


def is_due(index: str, rows: int, is_lite: bool) -> bool:
    """Return whether another index suits the rows clearly better than the present one."""
    return index == "flat" and recommended(int(rows / _SPARE), is_lite) != "flat"


def checked(kind: str, is_lite: bool) -> str:
    """The name of an index as ``vlar index compact --type`` takes it.

    Raises:
        UnknownNameError: Milvus has no such index, or Milvus Lite does not.
    """
    names = [name for name in _NAMES if not (is_lite and name == "diskann")]
    if kind not in names:
        raise registry.unknown_name("index type of Milvus", kind, [*names, AUTO])
    return kind


def build_params(index: str, rows: int) -> dict[str, Any]:
    """Parameters that Milvus builds an index with."""
    params = dict(_BUILD[index])
    if index == "ivf":
        params["nlist"] = int(min(params["nlist"], max(1, rows // 39)))
    return {"index_type": _NAMES[index], "metric_type": "IP", "params": params}


def name_of(facts: Mapping[str, str]) -> str:
    """The name of an index that Milvus describes."""
    kind = facts.get("index_type", "FLAT")
    return next((name for name, milvus in _NAMES.items() if milvus == kind), kind.lower())


def search_params(index: str, k: int) -> dict[str, Any]:
    """Width of a search of ``k`` rows."""
    if index == "hnsw":
        return {"ef": max(_LEAST_EFFORT, 2 * k)}
    if index == "diskann":
        return {"search_list": max(_LEAST_EFFORT, 2 * k)}
    return {"nprobe": _PROBED} if index == "ivf" else {}


FORMAT = 2  # 1 where no model changed
LIBRARY_KEY, META_KEY, STATE_KEY = "library", "meta", "state"
NO_VECTOR = [0.0, 0.0]
MOST_TEXT = 65_535  # bytes of a text, a limit of Milvus
# Fields of the collections, the key first: a type of Milvus, or the most bytes of a text.
Fields = Mapping[str, str | int]
_RECORDS: Fields = {
    "key": 128,
    "kind": 16,
    "version": "INT64",
    "video_id": "INT64",
    "path_key": 64,
    "content_key": 64,
    "doc": MOST_TEXT,
}
_BLOBS: Fields = {
    "key": 128,
    "kind": 16,
    "version": "INT64",
    "row_id": "INT64",
    "part": "INT64",
    "data": MOST_TEXT,
}
_LEASE: Fields = {"key": 16, "doc": 4096}
_ROW_FACTS: Fields = {
    **dict.fromkeys(("id", "video_id", "version", "track"), "INT64"),
    "start_s": "DOUBLE",
    "end_s": "DOUBLE",
    "box": 64,
    "checksum": "INT64",
}
ROW_FIELDS = (*_ROW_FACTS, "vector")
MARK = "mapped"  # a further field of rows
_ROWS = "row_collection"  # of the manifest
_FLAT = {"index_type": "FLAT", "metric_type": "L2", "params": {}}
_LAYOUT_SPARE: Mapping[str, Any] = {"field_name": "spare", **_FLAT}
_LOOKED_UP = ("kind", "version", "path_key", "content_key")  # fields of records that filters name


def opened(connection: MilvusConnection) -> str:
    """Load the collections of a library; returns its id, or nothing where there is not one.

    Raises:
        LibraryError: a collection of the name was made by something else, or by a newer vlar.
    """
    collections = connection.collections()
    if connection.records not in collections:
        if connection.rows in collections:
            raise _foreign(connection, connection.rows)
        return ""
    if set(connection.fields(connection.records)) != {*_RECORDS, "spare"}:
        raise _foreign(connection, connection.records)
    connection.load(connection.records)
    entities = connection.get(connection.records, [LIBRARY_KEY], ["doc"])
    if not entities:
        return ""  # its creation was interrupted
    facts = _facts(connection, entities[0]["doc"])
    connection.rows = manifest_of(
        connection, connection.get(connection.records, [META_KEY], ["doc"])
    )[1]
    missing = {connection.blobs, connection.lease} - collections
    if missing:
        return ""
    connection.load(connection.blobs)
    connection.load(connection.lease)
    if connection.rows in collections:
        if not set(ROW_FIELDS) <= set(connection.fields(connection.rows)):
            raise _foreign(connection, connection.rows)
        connection.load(connection.rows)
    return str(facts["library_id"])


def created(connection: MilvusConnection) -> str:
    """Make the collections of a new library but for the rows; returns its id.

    An interrupted creation is continued.
    """
    collections = connection.collections()
    for name, fields, looked_up in (
        (connection.records, _RECORDS, _LOOKED_UP),
        (connection.blobs, _BLOBS, ("version", "row_id")),
        (connection.lease, _LEASE, ()),
    ):
        if name not in collections:
            connection.create(name, _schema(fields), [_LAYOUT_SPARE, *map(_inverted, looked_up)])
    connection.load(connection.records)
    entities = connection.get(connection.records, [LIBRARY_KEY], ["doc"])
    if entities:
        return str(_facts(connection, entities[0]["doc"])["library_id"])
    library_id = secrets.token_hex(16)
    connection.upsert(connection.records, [library_record(library_id, 1)])
    return library_id


def library_record(library_id: str, number: int) -> dict[str, Any]:
    """The entity with the id of a library and the number of its format."""
    return record(LIBRARY_KEY, "library", {"vlar": number, "library_id": library_id})


def create_rows(
    connection: MilvusConnection, name: str, dim: int, index: str = "flat", rows: int = 0
) -> None:
    """Make a collection of rows, with vectors of a width and an index for their number."""
    indexes = [{"field_name": "vector", **build_params(index, rows)}, _inverted("version")]
    marked = {} if name == connection.address.name else {MARK: "BOOL"}
    connection.create(name, _schema({**_ROW_FACTS, **marked}, dim, "vector"), indexes)


def manifest_of(
    connection: MilvusConnection, entities: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, str], str]:
    """The manifest of its entity, if it is there, and the collection of rows that it names.

    Raises:
        LibraryError: it names a collection of something else.
    """
    facts: dict[str, Any] = json.loads(entities[0]["doc"]) if entities else {}
    texts = {str(key): str(value) for key, value in facts.items()}
    name = texts.pop(_ROWS, connection.address.name)
    if name != connection.address.name and not _is_own(connection, name):
        raise _foreign(connection, f"its collection {name!r:.80}")
    return texts, name


def manifest_record(connection: MilvusConnection, facts: Mapping[str, str]) -> dict[str, Any]:
    """The entity of a manifest, which names the collection of rows."""
    rows = {_ROWS: connection.rows} if connection.has_marks else {}
    return record(META_KEY, META_KEY, {**facts, **rows})


def new_name(connection: MilvusConnection) -> str:
    """The name of a new collection of rows."""
    return f"{connection.address.name}_rows_{secrets.token_hex(6)}"


def _is_own(connection: MilvusConnection, name: str) -> bool:
    return bool(re.fullmatch(f"{connection.address.name}_rows_[0-9a-f]{{12}}", name))


def width_of(connection: MilvusConnection) -> int | None:
    """D of the rows; None before the first row."""
    if connection.rows not in connection.collections():
        return None
    return int(connection.fields(connection.rows)["vector"].get("dim", 0))


def record(key: str, kind: str, doc: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """An entity of ``NAME_records``.

    Raises:
        LibraryError: its text is longer than Milvus keeps.
    """
    text = json.dumps(doc, separators=(",", ":"))
    if len(text) > MOST_TEXT:
        what = doc.get("path", key)
        raise LibraryError(
            f"{what!s:.200}: its path and tags, or the manifest, take {len(text)} bytes; Milvus "
            f"keeps {MOST_TEXT} at most: use shorter tags, or a library in a folder"
        )
    empty = {"version": 0, "video_id": 0, "path_key": "", "content_key": ""}
    return {**empty, **fields, "key": key, "kind": kind, "doc": text, "spare": NO_VECTOR}


def _inverted(field: str) -> Mapping[str, Any]:
    """The index of a field that filters name."""
    return {"field_name": field, "index_type": "INVERTED"}


def _facts(connection: MilvusConnection, text: str) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(text)
        number = int(facts["vlar"])
        str(facts["library_id"])
    except (ValueError, TypeError, KeyError) as error:
        raise _foreign(connection, "its record 'library'") from error
    if number > FORMAT:
        raise LibraryError(
            f"library {connection.address} has format {number}, made by a newer vlar; this one "
            f"reads up to format {FORMAT}: upgrade with 'pip install --upgrade vlar'"
        )
    return facts


def _foreign(connection: MilvusConnection, what: str) -> LibraryError:
    return LibraryError(
        f"{connection.address} is not a library of vlar ({what} was made by something else, and "
        "stays as it is); choose another name"
    )


def _schema(fields: Fields, dim: int = 2, vector: str = "spare") -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    for number, (name, kind) in enumerate(fields.items()):
        most = {"max_length": kind} if isinstance(kind, int) else {}
        milvus_type = DataType.VARCHAR if isinstance(kind, int) else DataType[kind]
        schema.add_field(name, milvus_type, is_primary=not number, **most)
    schema.add_field(vector, DataType.FLOAT_VECTOR, dim=dim)
    return schema
