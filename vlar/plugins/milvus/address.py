"""Address of a library in Milvus.

- ``milvus://HOST:PORT/NAME``: a Milvus server; ``milvus+tls://`` for one with TLS.
- ``milvus:FOLDER.db/NAME``: Milvus Lite, embedded in this process; the folder ends in ``.db``.
"""

from __future__ import annotations

import re
from pathlib import Path

from vlar.errors import UsageError
from vlar.library.address import StoreAddress

_SCHEME = re.compile(r"milvus(\+tls)?:")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_PORT = 19530
_HOW = "write milvus://HOST:19530/NAME for a server, or milvus:FOLDER.db/NAME for a local folder"


class MilvusAddress(StoreAddress):
    """A library in Milvus; ``name`` is that of its collections."""


def address_of(text: str) -> MilvusAddress:
    """The collection that an address names.

    >>> address_of("milvus://db.example:19530/gym").uri
    'http://db.example:19530'

    Raises:
        UsageError: an address without a host, a folder or a usable name.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise UsageError(f"{text!r:.120} is not an address of Milvus; {_HOW}")
    remaining, tls = text[scheme.end() :], scheme.group(1) is not None
    if not remaining.startswith("//") and (
        remaining.rpartition("/")[0].endswith(".db") and not tls
    ):
        folder, _, name = remaining.rpartition("/")
        return MilvusAddress(text, str(Path(folder).absolute()), _checked(name, text), True)
    # ``Path`` makes one slash of two; a folder would end in ".db".
    host, _, name = remaining.lstrip("/").partition("/")
    server = _HOST.fullmatch(host)
    if server is None or not remaining.startswith("/") or int(server[2] or _PORT) > 65535:
        raise UsageError(f"{text!r:.120} is not an address of Milvus; {_HOW}")
    text = f"{scheme.group()}//{host}/{name}"
    uri = f"{'https' if tls else 'http'}://{server[1]}:{server[2] or _PORT}"
    return MilvusAddress(text, uri, _checked(name, text), False)


def _checked(name: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{text!r:.120}: {name!r:.40} cannot be the name of a library in Milvus, which has up "
            f"to 100 letters, digits and _, and begins with a letter; {_HOW}"
        )
    return name
