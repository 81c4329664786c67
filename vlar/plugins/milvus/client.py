"""One connection to Milvus: what a library asks of pymilvus, with one kind of error."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vlar.errors import LibraryError, LibraryLockedError, UsageError
from vlar.plugins.milvus.address import MilvusAddress
from vlar.types import Float32
from vlar.version import pip_install

_LOST = ("unavailable", "failed to connect", "deadline", "retry timeout", "fail connecting", "eof")
_REFUSED = ("unauthenticated", "auth check failure", "permission", "authentication")
_FULL = ("quota", "rate limit", "force deny", "memory limit", "disk", "slowdown", "503")
_LONGEST = 200


@contextmanager
def guard(address: str, doing: str) -> Generator[None, None, None]:
    """Turn errors of Milvus into one line with advice.

    Args:
        address: Address of the library.
        doing: ``read``, ``write to`` or another verb before ``the library``.
    """
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        raise explained(error, address, doing) from error
    except ValueError as error:
        # What pymilvus raises for a channel that was closed under it.
        if "closed channel" not in str(error).lower():
            raise
        raise explained(error, address, doing) from error


def explained(error: Exception, address: str, doing: str) -> LibraryError:
    """The error of a library that an error of Milvus means."""
    reason = reason_of(error)
    text = f"{reason} {getattr(error, 'code', '')}".lower()
    if "closed channel" in text or any(sign in text for sign in _LOST):
        return LibraryError(
            f"lost Milvus at {address} while trying to {doing} the library ({reason}); what was "
            "committed is kept, once: check the server, then run the same command again"
        )
    if any(sign in text for sign in _REFUSED):
        return LibraryError(
            f"Milvus at {address} refuses the login ({reason}); set VLAR_MILVUS_TOKEN to "
            "user:password or to an API key"
        )
    if any(sign in text for sign in _FULL):
        return LibraryError(
            f"Milvus at {address} cannot {doing} the library now ({reason}); what was committed is "
            "kept: look at the server's memory, disk and object store, then run the same command "
            "again"
        )
    return LibraryError(
        f"Milvus at {address} cannot {doing} the library ({reason}); what was committed is kept: "
        "look at the server's log, then run the same command again"
    )


def reason_of(error: Exception) -> str:
    """The first line of what was reported, without the frame of pymilvus."""
    message: Any = getattr(error, "message", None)
    details: Any = getattr(error, "details", None)
    if not isinstance(message, str) or not message:
        message = details() if callable(details) else str(error)
    line = " ".join(str(message).split("\n")[0].split())
    return line[:_LONGEST] or type(error).__name__


TOKEN = "VLAR_MILVUS_TOKEN"
CONNECT_S = 10.0
_LEAST_CLIENT = (3, 0)
_open_folders: dict[str, int] = {}
_mutex = threading.Lock()


def connected(address: MilvusAddress) -> Any:
    """A client of the Milvus of an address.

    Raises:
        UsageError: pymilvus or Milvus Lite is not installed, or too old.
        LibraryLockedError: another process has the folder open.
        LibraryError: no server answers, or the folder cannot be opened.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else it warns of forks on stderr
    try:
        import pymilvus
    except ImportError as error:
        raise UsageError(
            f"{address} is a library in Milvus, which needs the extra milvus: "
            f"{pip_install('milvus')}"
        ) from error
    if not is_at_least(pymilvus.__version__, _LEAST_CLIENT):
        raise UsageError(
            f"{address} needs pymilvus 3 or newer, {pymilvus.__version__} is installed: "
            f"{pip_install('milvus')} --upgrade"
        )
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite", "grpc._server"):
        # It logs every error with a traceback; vlar raises each again with what to do.
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if address.embedded:
        return _opened_folder(address)
    return _client(address)


def _client(address: MilvusAddress) -> Any:
    import grpc
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    token = os.environ.get(TOKEN, "")
    try:
        return MilvusClient(address.uri, token=token, timeout=CONNECT_S, dedicated=True)
    except (MilvusException, grpc.RpcError) as error:
        reason = reason_of(error)
        if "auth" in reason.lower():
            how = f"set {TOKEN} to user:password or to an API key"
        else:
            how = "start it, or check host, port and network"
        raise LibraryError(f"no Milvus answers at {address} ({reason}); {how}") from error


def _opened_folder(address: MilvusAddress) -> Any:
    """A client of a folder, which this process opens once."""
    folder = Path(address.uri)
    with _mutex:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"library {address} cannot be created ({error.strerror}); choose a folder that you "
                "may write to"
            ) from error
        if folder.is_file():
            raise LibraryError(
                f"{address}: {folder.name} is a file, but Milvus Lite 3 keeps a folder; a file of "
                "Milvus Lite 2 cannot be read: choose another name and index the videos again"
            )
        with _Overheard("milvus_lite.server_manager") as heard:
            client = _lite_client(address, heard)
        _open_folders[address.uri] = _open_folders.get(address.uri, 0) + 1
    return client


def _lite_client(address: MilvusAddress, heard: _Overheard) -> Any:
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    try:
        return MilvusClient(address.uri, timeout=CONNECT_S, dedicated=True)
    except MilvusException as error:
        if "milvus-lite is required" in str(error):
            raise UsageError(
                f"{address} is a folder of Milvus Lite, which is not installed: "
                f"{pip_install('milvus')}"
            ) from error
        cause = heard.cause or error
        if "lock" in f"{type(cause).__name__} {cause}".lower():
            raise LibraryLockedError(
                f"another process has {address} open, and Milvus Lite allows one at a time; wait "
                "until it ends, or let 'milvus-lite server' share the folder (docs/operating.md)"
            ) from error
        raise LibraryError(
            f"library {address} cannot be opened ({reason_of(cause)}); restore a copy of the "
            "folder, or index the videos again under another name"
        ) from error


class _Overheard(logging.Handler):
    """The error that a library logs instead of raising it; it is not printed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.cause: Exception | None = None
        self._logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            self.cause = record.exc_info[1]

    def __enter__(self) -> _Overheard:
        self._logger.addHandler(self)
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._propagate, self._logger.propagate = self._logger.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagate


def give_back(folder: str) -> None:
    """Close a folder where nothing of this process uses it any more."""
    with _mutex:
        users = _open_folders.get(folder, 1) - 1
        _open_folders[folder] = users
        if users <= 0:
            del _open_folders[folder]
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(folder)


def is_at_least(version: str, least: tuple[int, int]) -> bool:
    """Return whether a version such as ``v2.5.4`` is a given one or newer."""
    numbers = version.lstrip("v").split(".")[:2]
    if not all(number.isdigit() for number in numbers):
        return True  # a development build of the server, taken as new enough
    return tuple(map(int, numbers)) >= least


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
        address: Address of the library.

    Attributes:
        rows: Name of the collection of rows; another one once the model has changed.
        records: Name of that of recordings and everything that is one text each.
        blobs: Name of that of contexts, captions and lost frames.
        lease: Name of that of the current writer.

    Raises:
        UsageError: pymilvus is not installed, or too old.
        LibraryLockedError: another process has the folder open.
        LibraryError: no server answers, or one of another version.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self.address, self.rows = address, address.name
        self.records, self.blobs, self.lease = (
            f"{address.name}_{what}" for what in ("records", "blobs", "lease")
        )
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

    @property
    def has_marks(self) -> bool:
        """Return whether the collection of rows is one whose rows may be mapped."""
        return self.rows != self.address.name

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
            for index_name in indexes:
                params.add_index(**index_name)
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
                facts = self._client.describe_index(name, index, timeout=CALL_S) or {}
                return {key: str(value) for key, value in facts.items()}
        return {}

    def load(self, name: str) -> None:
        """Load a collection, which costs nothing where it is loaded."""
        with self._guard("load"):
            self._client.load_collection(name, timeout=BULK_S)

    def fields(self, name: str) -> dict[str, Mapping[str, Any]]:
        """The parameters of each field of a collection."""
        with self._guard("open"):
            description = self._client.describe_collection(name, timeout=CALL_S)
        return {field["name"]: field.get("params", {}) for field in description["fields"]}

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
        entities: list[dict[str, Any]] = []
        for start in range(0, len(keys), _MOST_BATCH):
            chunk = list(keys[start : start + _MOST_BATCH])
            with self._guard("read"):
                entities += self._client.get(
                    name, ids=chunk, output_fields=list(fields), timeout=BULK_S, **_STRONG
                )
        return entities

    def first(self, name: str, where: str, fields: Sequence[str], n: int) -> list[dict[str, Any]]:
        """Find up to ``n`` entities that a filter matches, any of them."""
        with self._guard("read"):
            return list(
                self._client.query(
                    name,
                    filter=where,
                    output_fields=list(fields),
                    limit=n,
                    timeout=BULK_S,
                    **_STRONG,
                )
            )

    def count(self, name: str, where: str) -> int:
        """Number of entities that a filter matches."""
        with self._guard("read"):
            counts = self._client.query(
                name, filter=where, output_fields=["count(*)"], timeout=BULK_S, **_STRONG
            )
        return int(counts[0]["count(*)"])

    def pages(
        self, name: str, where: str, fields: Sequence[str], entity_bytes: int = 256
    ) -> Iterator[list[dict[str, Any]]]:
        """All entities that a filter matches, in rising order of their keys, a batch at a time."""
        size = batch_size(entity_bytes)
        with self._guard("read"):
            pages = self._client.query_iterator(
                name,
                batch_size=size,
                filter=where,
                output_fields=list(fields),
                timeout=BULK_S,
                **_STRONG,
            )
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
        self,
        name: str,
        query: Float32,
        k: int,
        where: str,
        params: Mapping[str, Any],
        fields: Sequence[str],
    ) -> list[dict[str, Any]]:
        """The best ``k`` entities by inner product; each with ``distance`` and its fields."""
        with self._guard("search"):
            answers = self._client.search(
                name,
                data=[query.tolist()],
                anns_field="vector",
                limit=k,
                filter=where,
                search_params={"metric_type": "IP", "params": dict(params)},
                output_fields=list(fields),
                timeout=BULK_S,
                **_STRONG,
            )
        return [{**hit["entity"], "distance": hit["distance"]} for hit in answers[0]]


def batch_size(entity_bytes: int) -> int:
    """Number of entities of a message."""
    return max(64, min(_MOST_BATCH, _BATCH_BYTES // entity_bytes))


_STRONG = {"consistency_level": "Strong"}


def listed(values: Iterable[int]) -> str:
    """Numbers as a list of a filter, in rising order.

    >>> listed({3, 1})
    '[1, 3]'
    """
    return f"[{', '.join(map(str, sorted(values)))}]"
