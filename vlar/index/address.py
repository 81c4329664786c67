"""Location of a library: a folder, or a collection of Milvus.

- ``gym.vlar``: a folder.
- ``milvus://HOST:PORT/NAME``: a Milvus server; ``milvus+tls://`` for one with TLS.
- ``milvus:FOLDER.db/NAME``: Milvus Lite, embedded in this process; the folder ends in ``.db``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vlar.errors import UsageError

_SCHEME = re.compile(r"milvus(\+tls)?:")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_PORT = 19530
_HOW = "write milvus://HOST:19530/NAME for a server, or milvus:FOLDER.db/NAME for a local folder"


@dataclass(frozen=True)
class MilvusAddress:
    """A library in Milvus.

    Attributes:
        text: As the user wrote it.
        uri: For pymilvus: ``http://HOST:PORT``, or the absolute path of a folder.
        name: Of the library, which is the name of its collections.
        embedded: Whether it is a folder of Milvus Lite.
    """

    text: str
    uri: str
    name: str
    embedded: bool

    def __str__(self) -> str:
        """Address as the user wrote it."""
        return self.text


LibraryPlace: TypeAlias = Path | MilvusAddress


def is_milvus(address: str | LibraryPlace) -> bool:
    """Return whether an address names a library in Milvus."""
    return _SCHEME.match(str(address)) is not None


def place_of(address: str | LibraryPlace) -> LibraryPlace:
    """The folder or the collection that an address names.

    >>> place_of("milvus://db.example:19530/gym").uri
    'http://db.example:19530'
    >>> str(place_of("gym.vlar"))
    'gym.vlar'

    Raises:
        UsageError: an address of Milvus without a host, a folder or a usable name.
    """
    if isinstance(address, MilvusAddress):
        return address
    text = str(address)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(address)
    rest, tls = text[scheme.end() :], scheme.group(1) is not None
    if not rest.startswith("//") and (rest.rpartition("/")[0].endswith(".db") and not tls):
        folder, _, name = rest.rpartition("/")
        return MilvusAddress(text, str(Path(folder).absolute()), _checked(name, text), True)
    # ``Path`` makes one slash of two; a folder would end in ".db".
    host, _, name = rest.lstrip("/").partition("/")
    found = _HOST.fullmatch(host)
    if found is None or not rest.startswith("/") or int(found[2] or _PORT) > 65535:
        raise UsageError(f"{text!r:.120} is not an address of Milvus; {_HOW}")
    text = f"{scheme.group()}//{host}/{name}"
    uri = f"{'https' if tls else 'http'}://{found[1]}:{found[2] or _PORT}"
    return MilvusAddress(text, uri, _checked(name, text), False)


def _checked(name: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{text!r:.120}: {name!r:.40} cannot be the name of a library in Milvus, which has up "
            f"to 100 letters, digits and _, and begins with a letter; {_HOW}"
        )
    return name
