"""One connection to Milvus: what a library asks of pymilvus, with one kind of error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vlar.errors import LibraryError
from vlar.index.address import MilvusAddress
from vlar.index.milvus.connect import connected, give_back, is_at_least
from vlar.index.milvus.errors import guard
from vlar.types import Float32

CALL_S = 20.0  # pymilvus asks again until then
BULK_S = 300.0
_LEAST_SERVER = (2, 4)
_LITE = "milvus_lite"
_BATCH_BYTES = 16 << 20  # of a message
_MOST_BATCH = 8192
MOST_HITS = 16_384  # of one search, a limit of Milvus

Entity = Mapping[str, Any]


class MilvusConnection:
    """A connection to the Milvus of one library.

    Args:
        address: Of the library.

    Raises:
        UsageError: pymilvus is not installed, or too old.
        LibraryLockedError: another process has the folder open.
        LibraryError: no server answers, or one of another version.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self.address = address
        self._client: Any = connected(address)
        try:
            self.version = self._server_version()
        except BaseException:
            self.close()
            raise

    @property
    def is_lite(self) -> bool:
        """Return whether it is Milvus Lite, embedded or as a server."""
        return self.version.startswith(_LITE)

    def close(self) -> None:
        """Give up the connection, and with the last one the folder."""
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(Exception):  # it may be lost already
            client.close()
        if self.address.embedded:
            give_back(self.address.uri)

    def _server_version(self) -> str:
        with self._guard("open"):
            version = str(self._client.get_server_version(timeout=CALL_S))
        if not version.startswith(_LITE) and not is_at_least(version, _LEAST_SERVER):
            raise LibraryError(
                f"Milvus at {self.address} has version {version[:40]}; this vlar needs "
                f"{'.'.join(map(str, _LEAST_SERVER))} or newer: upgrade the server"
            )
        return version

    def _guard(self, doing: str) -> Any:
        return guard(str(self.address), doing)

    # Collections --------------------------------------------------------------------------------

    def collections(self) -> set[str]:
        """Names of all collections. A folder that is opened answers once its rows are read."""
        wait_s = BULK_S if self.address.embedded else CALL_S
        with self._guard("open"):
            return set(self._client.list_collections(timeout=wait_s))

    def create(self, name: str, schema: Any, indexes: Sequence[Mapping[str, Any]]) -> None:
        """Create a collection with its indexes, and load it."""
        with self._guard("create"):
            self._client.create_collection(
                name, schema=schema, consistency_level="Strong", num_shards=1, timeout=CALL_S
            )
            self.index(name, indexes)

    def index(self, name: str, indexes: Sequence[Mapping[str, Any]]) -> None:
        """Make the indexes of a collection that has none, and load it."""
        with self._guard("index"):
            params = self._client.prepare_index_params()
            for each in indexes:
                params.add_index(**each)
            self._client.create_index(name, params, timeout=BULK_S, sync=False)
            self._client.load_collection(name, timeout=BULK_S)

    def drop(self, name: str) -> None:
        """Drop a collection."""
        with self._guard("drop a collection of"):
            self._client.drop_collection(name, timeout=CALL_S)

    def drop_index(self, name: str, field: str) -> None:
        """Release a collection and drop the index of a field."""
        with self._guard("index"):
            self._client.release_collection(name, timeout=CALL_S)
            for index in self._client.list_indexes(name, field_name=field):
                self._client.drop_index(name, index, timeout=CALL_S)

    def index_facts(self, name: str, field: str) -> dict[str, str]:
        """Facts of the index of a field, as texts."""
        with self._guard("read"):
            for index in self._client.list_indexes(name, field_name=field):
                found = self._client.describe_index(name, index, timeout=CALL_S) or {}
                return {key: str(value) for key, value in found.items()}
        return {}

    def load(self, name: str) -> None:
        """Load a collection, which costs nothing where it is loaded."""
        with self._guard("load"):
            self._client.load_collection(name, timeout=BULK_S)

    def fields(self, name: str) -> dict[str, Mapping[str, Any]]:
        """The parameters of each field of a collection."""
        with self._guard("open"):
            found = self._client.describe_collection(name, timeout=CALL_S)
        return {field["name"]: field.get("params", {}) for field in found["fields"]}

    def flush(self, name: str) -> None:
        """Bring what was written into searchable segments."""
        with self._guard("write to"):
            self._client.flush(name, timeout=BULK_S)

    def compact(self, name: str) -> None:
        """Merge segments and forget deleted entities, where this Milvus can be asked to."""
        with suppress(LibraryError), self._guard("compact"):
            self._client.compact(name, timeout=BULK_S)

    # Entities -----------------------------------------------------------------------------------

    def upsert(self, name: str, entities: Sequence[Entity]) -> None:
        """Write entities; one with a known key replaces the earlier one, so a call may repeat."""
        if entities:
            with self._guard("write to"):
                self._client.upsert(name, list(entities), timeout=BULK_S)

    def delete(self, name: str, keys: Sequence[Any]) -> None:
        """Delete entities by key."""
        if keys:
            with self._guard("write to"):
                self._client.delete(name, ids=list(keys), timeout=BULK_S)

    def delete_where(self, name: str, where: str) -> None:
        """Delete the entities that a filter matches."""
        with self._guard("write to"):
            self._client.delete(name, filter=where, timeout=BULK_S)

    def get(self, name: str, keys: Sequence[Any], fields: Sequence[str]) -> list[dict[str, Any]]:
        """Entities by key, in any order; absent ones are left out."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(keys), _MOST_BATCH):
            chunk = list(keys[start : start + _MOST_BATCH])
            with self._guard("read"):
                found += self._client.get(
                    name, ids=chunk, output_fields=list(fields), timeout=BULK_S, **_STRONG
                )
        return found

    def first(self, name: str, where: str, fields: Sequence[str], n: int) -> list[dict[str, Any]]:
        """At most ``n`` entities that a filter matches, any of them."""
        with self._guard("read"):
            return list(
                self._client.query(
                    name, filter=where, output_fields=list(fields), limit=n, timeout=BULK_S,
                    **_STRONG,
                )
            )  # fmt: skip

    def count(self, name: str, where: str) -> int:
        """Number of entities that a filter matches."""
        with self._guard("read"):
            found = self._client.query(
                name, filter=where, output_fields=["count(*)"], timeout=BULK_S, **_STRONG
            )
        return int(found[0]["count(*)"])

    def pages(
        self, name: str, where: str, fields: Sequence[str], entity_bytes: int = 256
    ) -> Iterator[list[dict[str, Any]]]:
        """All entities that a filter matches, in rising order of their keys, a batch at a time."""
        size = max(64, min(_MOST_BATCH, _BATCH_BYTES // entity_bytes))
        with self._guard("read"):
            pages = self._client.query_iterator(
                name, batch_size=size, filter=where, output_fields=list(fields), timeout=BULK_S,
                **_STRONG,
            )  # fmt: skip
        try:
            while True:
                with self._guard("read"):
                    page = pages.next()
                if not page:
                    return
                yield list(page)
        finally:
            pages.close()

    def search(
        self, name: str, query: Float32, k: int, where: str, params: Mapping[str, Any],
        fields: Sequence[str],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The best ``k`` entities by inner product; each with ``distance`` and its fields."""
        with self._guard("search"):
            found = self._client.search(
                name, data=[query.tolist()], anns_field="vector", limit=k, filter=where,
                search_params={"metric_type": "IP", "params": dict(params)},
                output_fields=list(fields), timeout=BULK_S, **_STRONG,
            )  # fmt: skip
        return [{**hit["entity"], "distance": hit["distance"]} for hit in found[0]]


_STRONG = {"consistency_level": "Strong"}


def listed(values: Iterable[int]) -> str:
    """Numbers as a list of a filter, in rising order.

    >>> listed({3, 1})
    '[1, 3]'
    """
    return f"[{', '.join(map(str, sorted(values)))}]"
