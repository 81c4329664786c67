"""Pictures and cut spans of recordings, made in killable processes and kept for a while."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vlar.apps.serve import media_jobs
from vlar.apps.serve.errors import MB, ServeError, ServeLimits
from vlar.errors import DecodeError
from vlar.files.workers.pool import WorkerPool
from vlar.files.workers.process import FileLimits, WorkerStartError
from vlar.media.lookup import IsolatedReader, reader
from vlar.media.video.frames import Box
from vlar.segments import files
from vlar.types import VideoInfo

WIDTHS = (160, 320, 640)  # of thumbnails, in pixels
_PICTURE_BYTES = 64 * MB
_SPAN_BYTES = 500 * MB
_FILE_S = 20.0
_FILE_BYTES = 2 * 10**9
_LABEL_BYTES = 10**9
_PROCESSES = 2


class Media:
    """Reads recordings for one server; any thread may call it.

    Args:
        folder: For cut spans; it is emptied when the server starts.
        limits: Limits of the server.
        roots: Folders whose recordings may be read; None for any.
    """

    def __init__(
        self, folder: Path, limits: ServeLimits, roots: Sequence[Path] | None = None
    ) -> None:
        self._folder, self._limits = folder, limits
        real = None if roots is None else tuple(os.path.realpath(root) for root in roots)
        file_limits = FileLimits(min(_FILE_S, limits.request_s), _FILE_BYTES, _PROCESSES, real)
        self._pool = WorkerPool(file_limits, module=media_jobs.__name__)
        label_limits = replace(file_limits, memory_bytes=_LABEL_BYTES, workers=1)
        self._label_pool = WorkerPool(label_limits, module=files.__name__)
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._picture_bytes = 0
        self._spans: OrderedDict[str, int] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in folder.iterdir():
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """End the processes, also those at work."""
        self._pool.close()
        self._label_pool.close()

    def reader(self, modality: str) -> IsolatedReader:
        """A reader whose recordings are read in the processes."""
        return IsolatedReader(reader(modality), self._pool)

    def facts(self, path: Path) -> VideoInfo:
        """Size, length and rate of a recording.

        Raises:
            DecodeError: it cannot be read.
        """
        return self._call(path, media_jobs.facts, path)

    def require_picture(self, path: Path) -> None:
        """Raise DecodeError for a picture that cannot be decoded."""
        self._call(path, media_jobs.check_picture, path)

    def warm_up(self) -> None:
        """Start the processes, so that the first pictures do not wait for them."""
        with ThreadPoolExecutor(_PROCESSES) as threads:
            for _ in range(_PROCESSES):
                threads.submit(self._call, self._folder, media_jobs.nothing)

    def thumbnail(self, path: Path, at_s: float, width: int, box: Box | None = None) -> bytes:
        """The picture of one moment, or a box of it, as JPEG.

        Raises:
            DecodeError: it cannot be read.
        """
        key = (str(path), path.stat().st_mtime_ns, round(at_s, 2), width, box)
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture: bytes = self._call(path, media_jobs.picture, path, at_s, width, box)
        with self._lock:
            self._picture_bytes += len(picture) - len(self._pictures.get(key, b""))
            self._pictures[key] = picture
            while self._picture_bytes > _PICTURE_BYTES:
                _, oldest = self._pictures.popitem(last=False)
                self._picture_bytes -= len(oldest)
        return picture

    def span(self, path: Path, start_s: float, end_s: float) -> Path:
        """A file with one span as browsers play it.

        Raises:
            ServeError: 400 where the span is empty or too long.
            DecodeError: it cannot be read.
        """
        if not 0 <= start_s < end_s or end_s - start_s > self._limits.span_s:
            error = f"the span {start_s:g} to {end_s:g} s cannot be cut"
            fix = f"give a start before an end, at most {self._limits.span_s:g} s apart"
            raise ServeError(400, error, fix, "span")
        status = path.stat()
        text = f"{path}\0{status.st_mtime_ns}\0{start_s:.3f}\0{end_s:.3f}"
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.mp4"
        target = self._folder / name
        with self._lock:
            if name in self._spans and target.is_file():
                self._spans.move_to_end(name)
                return target
        part = self._folder / f"{threading.get_ident()}-{name}"
        try:
            size: int = self._call(path, media_jobs.span, path, start_s, end_s, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        with self._lock:
            self._spans[name] = size
            while sum(self._spans.values()) > _SPAN_BYTES and len(self._spans) > 1:
                oldest, _ = self._spans.popitem(last=False)
                (self._folder / oldest).unlink(missing_ok=True)
        return target

    def label_work(self, path: Path, function: Any, *arguments: Any, **named: Any) -> Any:
        """The result of reading or writing a file of labels, in a process of its own.

        Raises:
            UsageError: the format cannot hold it, or the file is not of one.
            DecodeError: it takes too long or too much memory.
        """
        return self._call(path, partial(function, **named), *arguments, pool=self._label_pool)

    def _call(
        self, path: Path, function: Any, *arguments: Any, pool: WorkerPool | None = None
    ) -> Any:
        try:
            return (pool or self._pool).call(path, 0.0, function, *arguments)
        except WorkerStartError as error:
            raise DecodeError(f"{path}: its reading was stopped; ask again") from error
        except RuntimeError as error:  # what a worker raises that is not vlar's own
            raise DecodeError(f"{path}: it cannot be read ({error}); re-encode it") from error
