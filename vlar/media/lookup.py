"""Readers by the name of their sensor and by path, and recordings of any sensor in folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vlar import registry
from vlar.errors import DecodeError, UsageError
from vlar.files.workers.ahead import in_order
from vlar.files.workers.pool import WorkerPool, can_isolate, is_batch
from vlar.files.workers.process import FileLimits, WorkerStartError
from vlar.media.base import Reader, RecordingInfo, Request, find_claimed
from vlar.media.bundle import bundle_parts, is_bundle
from vlar.types import Clip, Failure, Sampling, Window

if TYPE_CHECKING:
    from vlar.media.video.sequential import FrameChunk

_log = logging.getLogger("vlar")
T = TypeVar("T")


@contextmanager
def isolated(
    source: Reader, items: Iterable[T], path_of: Callable[[T], Path]
) -> Generator[tuple[Reader, Iterator[T]]]:
    """A reader for a batch of recordings, and the batch.

    Args:
        source: The reader of their sensor.
        items: What will be read, in order; at most two are drawn from it here.
        path_of: The recording of an item.

    Yields:
        A reader that uses workers as long as the context lasts, or ``source`` itself where there
        is nothing to protect or no worker can be started; and all of ``items``.
    """
    items = iter(items)
    first = list(islice(items, 2))
    items = chain(first, items)
    limits = FileLimits.from_environment()
    is_protected = limits.workers > 0 and source.isolate and can_isolate(type(source))
    if is_protected and is_batch([path_of(item) for item in first]):
        limits_of_sensor = limits.for_sensor(source.modality)
        with WorkerPool(limits_of_sensor, module=type(source).__module__) as pool:
            yield IsolatedReader(source, pool), items
    else:
        yield source, items


class IsolatedReader(Reader):
    """A reader whose recordings are read in worker processes.

    Args:
        source: The reader that does the work; workers import its class.
        pool: The worker processes.
    """

    def __init__(self, source: Reader, pool: WorkerPool) -> None:
        self.modality = source.modality  # pyright: ignore[reportAttributeAccessIssue]
        self._source = source
        self._pool = pool
        self._is_off = False

    def close(self) -> None:
        """End all workers now, also those still at work."""
        self._pool.close()

    def claims(self, path: Path) -> bool:
        return self._source.claims(path)

    def find(self, paths: Sequence[str | Path]) -> list[Path]:
        return self._source.find(paths)

    def blank(self, sampling: Sampling) -> list[Clip]:
        return self._source.blank(sampling)

    def person(self, path: Path) -> str | None:
        return self._source.person(path)

    def every_sample(self, path: Path, window: Window | None) -> Sampling:
        (sampling,) = self._from_worker(path, 0.0, Reader.every_sample, path, window)
        return sampling

    def gaps(self, path: Path) -> Sequence[Window]:
        if type(self._source).gaps is Reader.gaps:  # no gaps: a worker need not be asked
            return ()
        (spans,) = self._from_worker(path, 0.0, Reader.gaps, path)
        return spans

    def probe(self, path: Path) -> RecordingInfo:
        """Facts of a recording, from a worker."""
        (info,) = self._from_worker(path, 0.0, Reader.probe, path)
        return info

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        """One clip, from a worker."""
        end_s = window.end_s if window else 0.0
        (clip,) = self._from_worker(path, end_s, Reader.read_clip, path, window, sampling)
        return clip

    def read(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Clip | Failure]:
        """Yield clips ahead of the caller, from ``FileLimits.workers`` workers."""
        return in_order(
            iter(requests),
            lambda request: self._read_one(request, sampling),
            workers=self._pool.limits.workers,
            interrupt=self._pool.end_jobs,
        )

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """Windows in one pass; those that are lost with a worker are failures."""
        count = 0
        end_s = max((window.end_s for window in windows), default=0.0)
        try:
            for item in self._from_worker(
                path, end_s, Reader.read_windows, path, list(windows), sampling
            ):
                yield item
                count += 1
        except DecodeError as error:
            yield from [Failure(path, error.kind, error.message)] * (len(windows) - count)

    def read_frames(self, path: Path, height: int, width: int) -> Iterator[FrameChunk]:
        """Every frame, from a worker."""
        return self._from_worker(path, 0.0, Reader.read_frames, path, height, width)

    def _from_worker(
        self, path: Path, duration_s: float, method: Callable[..., Any], *arguments: Any
    ) -> Iterator[Any]:
        is_read = False
        _log.debug("reading %s, to %.1f s", path, duration_s)
        if not self._is_off:
            try:
                yield from self._pool.stream(
                    path, duration_s, _read, type(self._source), method.__name__, arguments
                )
                is_read = True
            except WorkerStartError as error:
                if self._pool.is_closed:
                    raise DecodeError(f"{path}: its reading was stopped; read it again") from error
                if not self._is_off:
                    _log.info("reading without worker processes: none can be started (%s)", error)
                self._is_off = True
            except RuntimeError as error:  # a foreign exception of the worker, in words
                _log.debug("reading %s failed", path, exc_info=error)
                raise DecodeError(
                    f"{path}: reading it failed ({error}); the file is damaged or of another kind: "
                    "copy or re-encode it"
                ) from error
        if not is_read:
            result = getattr(self._source, method.__name__)(*arguments)
            yield from result if isinstance(result, Iterator) else [result]


def _read(source: type[Reader], method: str, arguments: tuple[Any, ...]) -> Any:
    """Call a method of a reader; the task of a worker."""
    return getattr(source(), method)(*arguments)


_DEFAULT = "video"


def reader(modality: str) -> Reader:
    """The reader of a sensor.

    Raises:
        UnknownNameError: the reader does not exist; the message lists the known ones.
    """
    return _made(registry.get("reader", modality))


def reader_for(path: str | Path) -> Reader:
    """The reader that claims a path: the video reader first, then the others by name.

    A path that no reader claims goes to the video reader, which recognises files by their content
    and whose error names the fault.
    """
    file = Path(path)
    return next((candidate for candidate in _readers() if candidate.claims(file)), reader(_DEFAULT))


def sensors_of(path: Path) -> list[str]:
    """The sensors of a bundle, none where it cannot be read; the one of another recording."""
    if not is_bundle(path):
        return [reader_for(path).modality]
    try:
        return list(bundle_parts(path))
    except DecodeError:  # reading it names the fault
        return []


def find(paths: Sequence[str | Path], modality: str | None = None) -> list[Path]:
    """The recordings that ``paths`` name, in the order given, each once.

    Args:
        paths: Files, taken as given, and folders, which are searched.
        modality: The sensor whose recordings to look for; None for those of any reader.

    Raises:
        UnknownNameError: the reader does not exist.
    """
    if modality is not None:
        return reader(modality).find(paths)
    readers = list(_readers())
    if len(readers) == 1:
        return readers[0].find(paths)
    return find_claimed(paths, lambda path: any(candidate.claims(path) for candidate in readers))


def read_clip(
    path: str | Path,
    window: Window | None = None,
    n_frames: int | None = None,
    *,
    modality: str | None = None,
    shorter_side: int | None = None,
) -> Clip:
    """Read one clip of a recording of any sensor.

    Args:
        path: The recording.
        window: The span, in seconds after the first sample; None is the whole recording.
        n_frames: T, samples of the clip; 1 or more. None for 8 frames of a video, and for all the
            samples of other sensors.
        modality: Name of the reader; None for the one that claims the path.
        shorter_side: Pixels; larger pictures are shrunk to it. None keeps their size.

    Returns:
        The clip, with the time of each sample.

    Raises:
        DecodeError: the recording cannot be read.
        UnknownNameError: the reader does not exist.
        UsageError: ``path`` is not a path.
    """
    if not isinstance(cast("object", path), (str, os.PathLike)):
        raise UsageError(f"cannot read a {type(path).__name__} as a recording; give its path")
    chosen = reader_for(path) if modality is None else reader(modality)
    if n_frames is None:
        sampling = replace(chosen.every_sample(Path(path), window), shorter_side=shorter_side)
    else:
        sampling = Sampling(n_frames, shorter_side=shorter_side)
    return chosen.read_clip(Path(path), window, sampling)


def _readers() -> Iterator[Reader]:
    names = registry.names("reader")
    return map(reader, sorted(names, key=lambda name: (name != _DEFAULT, name)))


@cache
def _made(part: type[Reader]) -> Reader:
    return part()
