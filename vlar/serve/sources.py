"""What a request means by a recording: one of the library, an upload, or a path inside a root."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import one_line
from vlar.serve.confine import Roots
from vlar.serve.errors import ServeError
from vlar.serve.library import ServedLibrary
from vlar.serve.uploads import Uploads
from vlar.types import Window

_KEPT_IDS = 100_000


@dataclass(frozen=True)
class Source:
    """A recording, or a span of one; exactly one of the first three is given.

    Attributes:
        video: Id of a recording of the library (``video_id``).
        upload: Id of an upload.
        path: Path on the server.
        start_s: Seconds; None for the whole recording.
        end_s: Seconds.
    """

    video: str | None = None
    upload: str | None = None
    path: str | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def window(self) -> Window | None:
        """The span.

        Raises:
            ServeError: 400 where one end is missing, or it ends before it starts.
        """
        if self.start_s is None and self.end_s is None:
            return None
        if self.start_s is None or self.end_s is None or not 0 <= self.start_s < self.end_s:
            error = f"the span {self.start_s} to {self.end_s} s is not one"
            raise ServeError(400, error, "give start_s and a later end_s, or neither", "span")
        return Window(self.start_s, self.end_s)


def video_id(path: str) -> str:
    """The id of a recording: 20 hexadecimal digits of the hash of its path."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:20]


class Sources:
    """Finds the file that a request means, and refuses what lies outside the roots.

    Args:
        library: Whose recordings have ids.
        roots: Folders that paths must lie in.
        uploads: The uploads.
    """

    def __init__(self, library: ServedLibrary, roots: Roots, uploads: Uploads) -> None:
        self._library, self.roots, self._uploads = library, roots, uploads
        self._paths: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def id_of(self, path: str) -> str:
        """The id of a recording of the library; it is found again at once."""
        name = video_id(path)
        with self._lock:
            self._paths[name] = path
            self._paths.move_to_end(name)
            while len(self._paths) > _KEPT_IDS:
                self._paths.popitem(last=False)
        return name

    def stored_path(self, name: str) -> str:
        """The path that the library has for an id.

        Raises:
            ServeError: 404 where no recording has it.
        """
        path = self._paths.get(name)
        if path is None:
            path = next((each for each in self._library.paths() if video_id(each) == name), None)
        if path is None or not self._library.has(path):
            error = f"no recording {one_line(name)[:40]!r} in the library"
            raise ServeError(404, error, "list them: GET /api/videos", "not_found")
        self.id_of(path)
        return path

    def file(self, name: str) -> Path:
        """The real path of a recording of the library.

        Raises:
            ServeError: 404 not in the library, 403 outside the roots, 410 moved.
        """
        return self.roots.recording(self.stored_path(name))

    def find(self, source: Source) -> tuple[Path, str]:
        """The file of a source, and what answers call it.

        Raises:
            ServeError: it is none, not there, or outside the roots.
        """
        given = [each for each in (source.video, source.upload, source.path) if each is not None]
        if len(given) != 1:
            fix = "give exactly one of video, upload and path"
            raise ServeError(400, f"{len(given)} recordings are given", fix, "source")
        if source.video is not None:
            return self.file(source.video), self.stored_path(source.video)
        if source.upload is not None:
            upload = self._uploads.get(source.upload)
            return upload.path, upload.name
        real = self.roots.real(source.path or "")
        return real, str(real)
