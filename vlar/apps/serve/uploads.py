"""Uploaded recordings: written as they arrive, checked by their first bytes, deleted in time."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from vlar.apps.serve.errors import MB, ServeError, ServeLimits, busy
from vlar.apps.serve.files import HEAD_BYTES, container_of
from vlar.errors import one_line
from vlar.types import JsonDict

_MOST_AT_ONCE = 4
_KEPT_S = 3600.0
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Upload:
    """One uploaded recording.

    Attributes:
        id: Names it in later requests.
        name: File name that the sender gave it; it is shown, never used as a path.
        path: Where its content is.
        size: Bytes.
        container: Its kind by its content; that of a picture is its ending, such as ``.jpg``.
        at_s: When it came, in seconds since 1970.
    """

    id: str
    name: str
    path: Path
    size: int
    container: str
    at_s: float

    def to_dict(self) -> JsonDict:
        """The JSON object of the server; ``upload`` is what later bodies call it, as is ``id``."""
        facts = {"name": self.name, "bytes": self.size, "container": self.container}
        return {"upload": self.id, "id": self.id, **facts}


class Uploads:
    """The uploads of one server, in a folder of its own that is emptied when it starts."""

    def __init__(self, folder: Path, limits: ServeLimits) -> None:
        self._folder, self._limits = folder, limits
        self._known: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self._arriving = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.clear()

    def clear(self) -> None:
        """Delete all."""
        with self._lock:
            self._known.clear()
            for file in self._folder.iterdir():
                file.unlink(missing_ok=True)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all uploads."""
        return sum(upload.size for upload in self._known.values())

    def get(self, upload_id: str) -> Upload:
        """An upload.

        Raises:
            ServeError: 404 where it is not there any more.
        """
        upload = self._known.get(upload_id)
        if upload is None:
            error = f"no upload {one_line(upload_id)[:40]!r}"
            raise ServeError(404, error, "uploads last one hour: send it again", "not_found")
        return upload

    async def receive(self, name: str, body: AsyncIterator[bytes]) -> Upload:
        """Write a body as it arrives; what is too large or not a video ends at once.

        Raises:
            ServeError: 413 too large, 415 not a video, 503 several arrive already.
        """
        if self._arriving >= _MOST_AT_ONCE:
            raise busy("uploads")
        self._arriving += 1
        upload_id = secrets.token_hex(10)
        path = self._folder / upload_id
        try:
            size, container = await self._write(path, body)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._arriving -= 1
        if container in PICTURES:  # queries take files of these endings as pictures
            path = path.replace(path.with_suffix(container))
        shown = one_line(Path(name).name)[:_LONGEST_NAME] or "video"
        upload = Upload(upload_id, shown, path, size, container, time.time())
        self._keep(upload)
        return upload

    async def _write(self, path: Path, body: AsyncIterator[bytes]) -> tuple[int, str]:
        size, head, container = 0, b"", None
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            async for piece in body:
                size += len(piece)
                if size > self._limits.upload_bytes:
                    raise too_large(self._limits.upload_bytes)
                if container is None:
                    head += piece
                    container = _checked(head) if len(head) >= HEAD_BYTES else None
                file.write(piece)
        return size, container or _checked(head)

    def _keep(self, upload: Upload) -> None:
        """Make room: those older than an hour, then the oldest, until all fit."""
        with self._lock:
            self._known[upload.id] = upload
            oldest = sorted(self._known.values(), key=lambda each: each.at_s)
            room = self._limits.stored_bytes - self.stored_bytes
            for oldest_upload in oldest:
                if oldest_upload is upload or (
                    room >= 0 and upload.at_s - oldest_upload.at_s < _KEPT_S
                ):
                    continue
                del self._known[oldest_upload.id]
                oldest_upload.path.unlink(missing_ok=True)
                room += oldest_upload.size


PICTURES = (".jpg", ".png", ".webp")


def picture_of(head: bytes) -> str | None:
    """Ending of the kind of picture that a file begins with; None where it is none."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return ".webp"
    magic = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
    return next((ending for start, ending in magic.items() if head.startswith(start)), None)


def _checked(head: bytes) -> str:
    container = container_of(head) or picture_of(head)
    if container is None:
        error = "the upload does not begin like a video or a picture"
        fix = "send an mp4, webm, mkv, avi, mov, mpeg, jpg, png or webp file"
        raise ServeError(415, error, fix, "type")
    return container


def too_large(most: int) -> ServeError:
    """A body beyond a limit of bytes."""
    error = f"the body is larger than {most / MB:,.0f} MB"
    return ServeError(413, error, "send a shorter or smaller video", "too_large")
