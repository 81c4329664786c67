"""Tags of the assets of Immich, by its HTTP interface: read and written, never its files."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from vlar.errors import LibraryError, UsageError
from vlar.files.opening import open_input
from vlar.files.reading import MB, parse_json, read_file

_TIMEOUT_S, _MOST, _PIECE = 30, 16 * MB, 1 << 20
_NAMED = "vlar/"  # before the labels that are written


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:  # pyright: ignore
        """Refuse it: a redirect takes the key to another host."""


class Immich:
    """An Immich server.

    Args:
        address: ``http://HOST:2283``.
        key: Key of its interface, with the rights to read assets and to read and write tags.

    Attributes:
        address: As given, without a slash at its end.

    Raises:
        UsageError: the address is not one of http or https, or the key is empty.
    """

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(f"--immich {address[:200]!r} is not an address such as http://host")
        if not key.isascii() or not key.isprintable() or not key:
            raise UsageError("the key of Immich is empty or holds odd characters; copy it again")
        self.address, self._key = address.rstrip("/"), key
        self._opener = urllib.request.build_opener(_NoRedirect())

    @classmethod
    def of(cls, address: str, key: Path | None) -> Immich:
        """A server with the key of the first line of a file.

        Raises:
            UsageError: as for the class, or the file cannot be read.
        """
        try:
            lines = read_file(key, MB).decode("utf-8", "replace").splitlines() if key else []
        except OSError as error:
            raise UsageError(f"--key {key}: cannot be read ({error.strerror})") from error
        return cls(address, lines[0].strip() if lines else "")

    def asset(self, recording: Path) -> str | None:
        """Id of the asset of a recording: that of its name, and of its content among several.

        Raises:
            LibraryError: the server cannot be asked.
        """
        found = self._search({"originalFileName": recording.name})
        found = [row for row in found if row.get("originalFileName") == recording.name]
        if len(found) > 1:
            found = self._search({"checksum": _checksum(recording)})
        return str(found[0]["id"]) if len(found) == 1 else None

    def tags(self, asset: str) -> list[str]:
        """Tags of an asset, hierarchies as ``a/b``."""
        row = self._ask("GET", f"assets/{quote(asset, safe='')}")
        rows = row.get("tags", []) if isinstance(row, dict) else []
        return [str(tag["value"]) for tag in rows if isinstance(tag, dict) and "value" in tag]

    def tag(self, assets: Sequence[str], label: str) -> None:
        """Give assets the tag ``vlar/LABEL``."""
        rows = self._ask("PUT", "tags", {"tags": [f"{_NAMED}{label.replace('/', ' ')}"]})
        if not isinstance(rows, list) or not rows:
            raise LibraryError(f"{self.address}: it did not make the tag {label[:80]!r}")
        name = quote(str(rows[-1].get("id")), safe="")
        self._ask("PUT", f"tags/{name}/assets", {"ids": list(assets)})

    def _search(self, fields: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._ask("POST", "search/metadata", {**fields, "page": 1, "size": 100})
        rows = answer.get("assets", {}).get("items", []) if isinstance(answer, dict) else []
        return [row for row in rows if isinstance(row, dict) and "id" in row]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"x-api-key": self._key, "Accept": "application/json"}
        headers |= {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/{path}", data, headers)
        request.method = method
        try:
            with closing(self._opener.open(request, timeout=_TIMEOUT_S)) as answer:
                return parse_json(answer.read(_MOST) or b"null")
        except (OSError, ValueError) as error:
            raise LibraryError(f"{self.address}: Immich cannot be asked ({error})") from error


def _checksum(recording: Path) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    try:
        with open_input(recording, recording=True) as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise LibraryError(f"{recording}: cannot be read ({error.strerror})") from error
    return base64.b64encode(digest.digest()).decode()
