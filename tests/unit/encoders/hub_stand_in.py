"""A tiny server on the loopback that answers as the hub does: facts of repositories, and files.

It takes uploads as commits, and it can break off, lie about a hash, ask for a token, and refuse. A
tiny proxy on the loopback stands before it where a test wants one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

COMMIT = "1" * 40


class Hub:
    """What the server answers; a test may change it while it runs.

    Attributes:
        folder: Files of the only repository; or of ``ORG/NAME`` where it has such a folder.
        wrong_hash: Name of a file whose hash it states wrongly.
        breaks_at: Bytes of a large file after which the connection ends, or None.
        stops_at: Place in a file behind which nothing is ever sent, or None.
        status: Of every answer that would be 200.
        card: Facts of the card of every repository, such as its licence.
        members: Tokens whose owners accepted the terms; None where everybody may fetch files.
        tokens: Tokens that are those of somebody.
        asked: Path and ``Range`` of each request for a file.
        posted: Path of each request that uploads.
        others: Paths of the requests that it has no answer for.
    """

    def __init__(self, folder: Path, commit: str = COMMIT) -> None:
        self.folder = folder
        self.commit = commit
        self.wrong_hash = ""
        self.breaks_at: int | None = None
        self.stops_at: int | None = None
        self.status = 200
        self.card: dict[str, Any] = {}
        self.members: set[str] | None = None
        self.tokens = {"hf_member", "hf_stranger"}
        self.asked: list[tuple[str, str | None]] = []
        self.posted: list[str] = []
        self.others: list[str] = []
        self.url = ""

    def place(self, repository: str) -> Path:
        """Folder of a repository."""
        own = self.folder / repository
        return own if repository.count("/") == 1 and own.is_dir() else self.folder

    def facts(self, repository: str) -> dict[str, Any]:
        place = self.place(repository)
        names = sorted(p.relative_to(place) for p in place.rglob("*") if p.is_file())
        rows = [self._row(place, str(name)) for name in names]
        return {"id": repository, "modelId": repository, "sha": self.commit, "siblings": rows,
                "private": False, "tags": [], "downloads": 0, "likes": 0, "cardData": self.card,
                "gated": False if self.members is None else "manual"}  # fmt: skip

    def _row(self, place: Path, name: str) -> dict[str, Any]:
        data = (place / name).read_bytes()
        sha1 = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": sha1}
        if name.endswith((".safetensors", ".bin")):
            row["lfs"] = {"sha256": etag(data), "size": len(data), "pointerSize": 1}
        if name == self.wrong_hash:
            row["blobId"] = "0" * 40
            row.setdefault("lfs", {}).update(sha256="0" * 64, size=len(data), pointerSize=1)
        return row

    def refusal(self, authorization: str | None) -> tuple[int, str | None] | None:
        """Status and code of the hub for a request with this header; None where it may pass."""
        token = (authorization or "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            return 401, None
        if self.members is not None and token not in self.members:
            return 403 if token else 401, "GatedRepo"
        return None


def etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.posted.append(self.path)
        answer: dict[str, Any] = {"url": f"{self.hub.url}/any/model", "id": "any/model"}
        if self.hub.status != 200:
            self._refuse()
            return
        if "/preupload/" in self.path:
            rows = [{"path": row["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for row in json.loads(data)["files"]]  # fmt: skip
            answer = {"files": rows}
        elif "/commit/" in self.path:
            for line in map(json.loads, data.splitlines()):
                if line["key"] == "file":
                    row = line["value"]
                    (self.hub.folder / row["path"]).write_bytes(base64.b64decode(row["content"]))
            answer = {"commitUrl": f"{self.hub.url}/any/model/commit/{self.hub.commit}",
                      "commitOid": self.hub.commit}  # fmt: skip
        elif self.path.endswith("/validate-yaml"):
            answer = {"errors": [], "warnings": []}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            if self.hub.status != 200:
                self._refuse()
                return
            repository = self.path.removeprefix("/api/models/").partition("?")[0]
            repository = repository.partition("/revision/")[0]
            data = json.dumps(self.hub.facts(repository)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self._file(body=True)

    def _refuse(self) -> None:
        self._answer(self.hub.status, {403: "GatedRepo", 404: "RepoNotFound"}.get(self.hub.status))

    def _answer(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, body: bool) -> None:
        repository, _, file = self.path.partition("/resolve/")
        name = file.partition("/")[2].partition("?")[0]
        path = self.hub.place(repository.strip("/")) / name
        if (refused := self.hub.refusal(self.headers.get("Authorization"))) is not None:
            self._answer(*refused)
            return
        if not name or not path.is_file():
            self.hub.others.append(self.path)
            self._answer(404, "EntryNotFound")
            return
        data = path.read_bytes()
        span = self.headers.get("Range")
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        if body:
            self.hub.asked.append((name, span))
        self.send_response(206 if span else 200)
        self.send_header("ETag", f'"{etag(data)}"')
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not body:
            return
        rest = data[start:]
        if self.hub.stops_at is not None:
            self.wfile.write(data[start : max(start, self.hub.stops_at)])
            self.connection.close()
            return
        if self.hub.breaks_at is not None and len(rest) > self.hub.breaks_at:
            self.wfile.write(rest[: self.hub.breaks_at])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(rest)


@contextmanager
def used(folder: Path, cache: Path, commit: str = COMMIT) -> Generator[Hub]:
    """The server as the hub of this process, with a cache of its own, while the block runs."""
    from huggingface_hub import constants

    with serving(folder, commit) as hub, pytest.MonkeyPatch.context() as patch:
        # The client reads its environment once, when it is imported.
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield hub


@contextmanager
def serving(folder: Path, commit: str = COMMIT) -> Generator[Hub]:
    """The server, while the block runs; ``Hub.url`` is its address."""
    hub = Hub(folder, commit)
    with _served(type("Handler", (_Handler,), {"hub": hub})) as hub.url:
        yield hub


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Proxy(BaseHTTPRequestHandler):
    hub: Hub
    passed: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)  # whole: what is sent to a proxy
        self.passed.append(address.netloc)
        connection = HTTPConnection(self.hub.url.removeprefix("http://"))
        path = address.path + (f"?{address.query}" if address.query else "")
        connection.request(self.command, path, headers=dict(self.headers))
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Date", "Server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        connection.close()

    do_HEAD = do_GET


@contextmanager
def proxy(hub: Hub) -> Generator[tuple[str, list[str]]]:
    """A proxy before the hub, while the block runs: its address, and the hosts asked for."""
    passed: list[str] = []
    with _served(type("Proxy", (_Proxy,), {"hub": hub, "passed": passed})) as url:
        yield url, passed
