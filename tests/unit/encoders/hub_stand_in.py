"""A tiny server on the loopback that answers as the hub does: facts of a repository, and its files.

It takes uploads as commits, and it can break off, lie about a hash, and refuse.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "1" * 40


class Hub:
    """What the server answers; a test may change it while it runs.

    Attributes:
        folder: Files of the only repository.
        wrong_hash: Name of a file whose hash it states wrongly.
        breaks_at: Bytes of a large file after which the connection ends, or None.
        status: Of every answer that would be 200.
        asked: Path and ``Range`` of each request for a file.
        posted: Path of each request that uploads.
        others: Paths of the requests that it has no answer for.
    """

    def __init__(self, folder: Path, commit: str = COMMIT) -> None:
        self.folder = folder
        self.commit = commit
        self.wrong_hash = ""
        self.breaks_at: int | None = None
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        self.posted: list[str] = []
        self.others: list[str] = []
        self.url = ""

    def facts(self) -> dict[str, Any]:
        names = sorted(p.relative_to(self.folder) for p in self.folder.rglob("*") if p.is_file())
        rows = [self._row(str(name)) for name in names]
        return {"id": "any/model", "modelId": "any/model", "sha": self.commit, "siblings": rows,
                "private": False, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip

    def _row(self, name: str) -> dict[str, Any]:
        data = (self.folder / name).read_bytes()
        sha1 = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": sha1}
        if name.endswith((".safetensors", ".bin")):
            row["lfs"] = {"sha256": self.etag(name), "size": len(data), "pointerSize": 1}
        if name == self.wrong_hash:
            row["blobId"] = "0" * 40
            row.setdefault("lfs", {}).update(sha256="0" * 64, size=len(data), pointerSize=1)
        return row

    def etag(self, name: str) -> str:
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()


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
            data = json.dumps(self.hub.facts()).encode()
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
        name = self.path.partition("/resolve/")[2].partition("/")[2].partition("?")[0]
        if not name or not (self.hub.folder / name).is_file():
            self.hub.others.append(self.path)
            self._answer(404, "EntryNotFound")
            return
        data = (self.hub.folder / name).read_bytes()
        span = self.headers.get("Range")
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        if body:
            self.hub.asked.append((name, span))
        self.send_response(206 if span else 200)
        self.send_header("ETag", f'"{self.hub.etag(name)}"')
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not body:
            return
        rest = data[start:]
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
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
