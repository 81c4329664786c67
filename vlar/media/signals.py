"""Common code of signal readers: evenly sampled recordings, resampled by time.

Sample ``i`` of a recording of ``rate_hz`` stands for the time from ``i / rate_hz`` to
``(i + 1) / rate_hz``, as a frame of a video does. A clip holds the values at the midpoints of T
equal parts of its window; at as many samples as the recording has, they are its own samples.
"""

from __future__ import annotations

import logging
import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import DecodeError, DecodeOutOfMemory, VlarError
from vlar.files.compressed import inner_suffix, read_plain
from vlar.files.reading import require_memory
from vlar.files.workers import single
from vlar.media.base import Reader
from vlar.media.video.sample import sample_times
from vlar.types import Clip, Failure, Float64, Sampling, Window

_log = logging.getLogger("vlar.failures")  # shown with --debug
Values = npt.NDArray[np.floating[Any]]
_HEAD_BYTES = 65_536
_LEAST_HZ, _MOST_HZ = 1 / 60, 1e6
LONGEST_S = 3e6
"""Seconds of the longest recording but of videos: five weeks."""
_LEAST_EMPTY_S = 1.0
_ANY_S = 600.0  # that a recording may last, however little it holds
_BYTES_BETWEEN = 40  # of a number that lies between two others, with what it is made of
_BLOCK = 4_000_000  # numbers that are summed at a time
_ROUNDING = 1e-6  # of a sample
_COARSE = 1.5  # samples of the recording between two of a clip
# Recordings, so that the windows of one bundle are read from memory; the last one stays, however
# large it is.
_KEPT, _KEPT_BYTES = 4, 500_000_000
_NTU = re.compile(r"S\d{3}C\d{3}P(\d{3})R\d{3}A\d{3}")
_PAIR = re.compile(r"^s(\d{2})s(\d{2})(?=[_.-])")
_SUBJECT = re.compile(r"(?:^|[_-])(?:s|sub|subject)(\d{1,4})(?=[_.-])", re.IGNORECASE)
_GAP_S = 0.25  # between two samples; a longer gap was not recorded


@dataclass(frozen=True)
class Recorded:
    """A whole recording.

    Attributes:
        data: (N, ...) samples, evenly spaced; NaN where nothing was seen.
        rate_hz: Samples a second.
        meta: Facts of the recording: layout, units, channels.
        along: More values of each sample (N, ...) by name, which clips have in ``meta``.
    """

    data: Values
    rate_hz: float
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    along: Mapping[str, Values] = field(default_factory=dict[str, Values])

    @property
    def duration_s(self) -> float:
        """Length in seconds, to the end of the last sample."""
        return len(self.data) / self.rate_hz


@dataclass(frozen=True)
class SignalInfo:
    """Facts of a recording.

    Attributes:
        path: The recording.
        duration_s: Length in seconds.
        rate_hz: Samples a second.
        n_samples: Samples.
        meta: As ``Clip.meta``.
    """

    path: Path
    duration_s: float
    rate_hz: float
    n_samples: int
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file, by which its format is recognised.

    Attributes:
        path: The file.
        data: Its first bytes, unpacked.
    """

    path: Path
    data: bytes

    @property
    def ending(self) -> str:
        """Ending of the content in lower case, with the dot: ``.csv`` of ``a.csv.xz``."""
        return inner_suffix(self.path)

    @property
    def lines(self) -> list[str]:
        """First complete lines of the file; none where it is not text."""
        if b"\0" in self.data:
            return []
        text = self.data.decode("utf-8-sig", errors="replace")
        lines = text.splitlines()
        return lines[:-1] if len(self.data) >= _HEAD_BYTES else lines


def head_of(path: Path) -> FileHead | None:
    """The beginning of a regular file, unpacked; None where there is none to be read."""
    try:
        return FileHead(path, read_plain(path, most=1 << 40, first=_HEAD_BYTES))
    except (OSError, ValueError):
        return None


@contextmanager
def errors_of(path: Path) -> Generator[None]:
    """Turn every foreign exception that reading ``path`` raises into that file's DecodeError.

    A file can be damaged in ways that no parser expects. None of them ends the reading of others.

    Raises:
        DecodeError: instead of any exception that is not vlar's own.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except VlarError:
        raise
    except MemoryError as error:
        raise DecodeOutOfMemory(
            f"{path}: not enough memory to read it; the file is damaged or too large: cut it"
        ) from error
    except Exception as error:
        _log.debug("reading %s failed", path, exc_info=error)
        reason = getattr(error, "strerror", None) or str(error)[:200] or "no reason"
        raise DecodeError(
            f"{path}: reading it failed ({type(error).__name__}: {reason}); the file is damaged or "
            "of another kind: write it again"
        ) from error


class SignalReader(Reader):
    """A reader of recordings that fit into memory. A reader of this kind offers ``load``.

    Every file is parsed in a worker process, a single one too: one that crashes a parser, hangs or
    takes too much memory ends alone.

    Attributes:
        averages: Whether a clip of fewer samples than the recording holds means over its parts of
            time, so that what is quicker than its samples does not return as something slow.
    """

    averages: ClassVar[bool] = False
    isolate = True

    @abstractmethod
    def load(self, path: Path) -> Recorded:
        """The whole recording.

        Raises:
            DecodeError: it cannot be read.
        """

    def probe(self, path: Path) -> SignalInfo:
        """Facts of a recording; it is read for that."""
        recording = self._loaded(path)
        return SignalInfo(
            path, recording.duration_s, recording.rate_hz, len(recording.data), recording.meta
        )

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        """The values at the midpoints of T equal parts of the window."""
        recording = self._loaded(path)
        with errors_of(path):
            return self._clip(path, recording, window, sampling)

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """The recording is read once."""
        for window in windows:
            try:
                yield self.read_clip(path, window, sampling)
            except VlarError as error:
                yield Failure(path, error.kind, error.message)

    def gaps(self, path: Path) -> Sequence[Window]:
        """Stretches of a second or more in which nothing was measured."""
        recording = self._loaded(path)
        edges = np.flatnonzero(
            np.diff(np.r_[True, _measured(recording.data), True].astype(np.int8))
        )
        spans = (edges / recording.rate_hz).reshape(-1, 2).tolist()
        return [Window(begin, end) for begin, end in spans if end - begin >= _LEAST_EMPTY_S]

    def person(self, path: Path) -> str | None:
        """The subject in names such as ``a1_s2_t3.mat`` and ``S001C001P003R001A001.skeleton``.

        The two of ``s02s01_a01_t001.txt`` are one answer, in either order.
        """
        if pair := _PAIR.search(path.name):
            return "subjects {} and {}".format(*sorted(map(int, pair.groups())))
        match = _NTU.search(path.name) or _SUBJECT.search(path.name)
        return None if match is None else f"subject {int(match[1])}"

    def every_sample(self, path: Path, window: Window | None) -> Sampling:
        """Sampling of every sample that the recording has in the window."""
        recording = self._loaded(path)
        length_s = recording.duration_s if window is None else window.duration_s
        return Sampling(max(1, round(length_s * recording.rate_hz)))

    def _loaded(self, path: Path) -> Recorded:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise DecodeError(f"{path}: cannot be read ({reason}); check the path") from error
        with errors_of(path):
            # A changed file is read again.
            key = self.modality, path, status.st_mtime_ns, status.st_size
            return _kept.get(key, lambda: _checked(path, self._isolated(path)))

    def _isolated(self, path: Path) -> Recorded:
        """``load`` in a worker, also of a single small file: every parser of files runs there."""
        return single.call(path, _load, type(self), path)

    def _clip(self, path: Path, found: Recorded, window: Window | None, sampling: Sampling) -> Clip:
        span = Window(0.0, found.duration_s) if window is None else window
        if not found.duration_s > span.start_s >= 0:
            raise DecodeError(
                f"{path}: the window starts at {span.start_s:g} s, and the recording has "
                f"{found.duration_s:g} s; give an earlier start"
            )
        count = max(sampling.n_frames, sampling.max_frames or 0)
        between = _BYTES_BETWEEN * float(count) * (found.data[0].size + 1)
        _require_memory(path, found.data.nbytes + between)
        times_s = sample_times(span, sampling)
        meta = {**found.meta, "rate_hz": found.rate_hz}
        for name, values in found.along.items():
            meta[name] = at_times(values, found.rate_hz, times_s)
        data = found.data
        step_s = span.duration_s / len(times_s)
        if self.averages and step_s * found.rate_hz > _COARSE:
            data = means(data, found.rate_hz, times_s, step_s)
        else:
            data = at_times(data, found.rate_hz, times_s)
        require_measured(path, span, data)
        return Clip(path, span, self.modality, data, times_s, meta=meta)


def _load(kind: type[SignalReader], path: Path) -> Recorded:
    """The task of a worker."""
    with errors_of(path):
        return kind().load(path)


def _checked(path: Path, found: Recorded) -> Recorded:
    if not len(found.data):
        raise DecodeError(f"{path}: it holds no sample; record it again")
    if not _LEAST_HZ <= found.rate_hz <= _MOST_HZ:
        raise DecodeError(
            f"{path}: it has {found.rate_hz:g} samples a second; {_LEAST_HZ:g} to {_MOST_HZ:g} are "
            "read: check its times or its rate"
        )
    try:
        require_length(found.duration_s, len(found.data), 1 / _LEAST_HZ)
    except ValueError as error:
        raise DecodeError(f"{path}: {error}") from None
    return found


def _measured(data: Values) -> npt.NDArray[np.bool_]:
    """Samples (N,) that hold a number; of distances, one that is not missing (0)."""
    if data.ndim == 1:
        return np.ones(len(data), bool)  # sound has no gaps
    flat = data.reshape(len(data), -1)
    held = np.isfinite(flat) if np.issubdtype(data.dtype, np.floating) else np.not_equal(flat, 0)
    return np.asarray(held.any(axis=1))


def require_measured(path: Path, span: Window, data: Values) -> None:
    """Refuse a clip all of which is missing: it shows nothing, and not somebody who is still.

    Raises:
        DecodeError: no sample holds a number.
    """
    if not _measured(data).any():
        raise DecodeError(
            f"{path}: nothing was recorded from {span.start_s:g} to {span.end_s:g} s; give another "
            "span"
        )


def require_length(duration_s: float, n_samples: int, apart_s: float) -> None:
    """Refuse a recording that lasts longer than what it holds can fill.

    Two samples that lie a year apart are a small file, and 10 million windows.

    Args:
        duration_s: Seconds from its first sample to its last.
        n_samples: That it holds.
        apart_s: Seconds that its samples lie apart at most, on average.

    Raises:
        ValueError: it lasts longer; the message is a sentence.
    """
    if duration_s > min(max(_ANY_S, apart_s * n_samples), LONGEST_S):
        raise ValueError(
            f"it lasts {duration_s:,.0f} s with {n_samples:,} samples; check its clock, or cut it"
        )


class _Kept:
    """The last recordings, so that the windows of one are read from memory; any thread may ask."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Recorded] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], Recorded]) -> Recorded:
        with self._lock:
            recording = self._found.get(key)
        if recording is None:
            recording = load()
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = recording
            while len(self._found) > 1 and self._is_full():
                del self._found[next(iter(self._found))]
        return recording

    def _is_full(self) -> bool:
        n_bytes = sum(recording.data.nbytes for recording in self._found.values())
        return len(self._found) > _KEPT or n_bytes > _KEPT_BYTES


_kept = _Kept()


def _require_memory(path: Path, n_bytes: float) -> None:
    try:
        require_memory(n_bytes)
    except ValueError as error:
        raise DecodeError(f"{path}: {error}; ask for fewer samples or a shorter span") from None


def at_times(data: Values, rate_hz: float, times_s: Float64) -> Values:
    """The values of a recording at some times.

    Numbers between two samples are interpolated; where one of the two is NaN, the nearer decides.
    Integers are those of the nearest sample.

    Args:
        data: (N, ...) samples.
        rate_hz: Samples a second.
        times_s: (T,) seconds.

    Returns:
        (T, ...) of the same type.
    """
    positions = (times_s * rate_hz - 0.5).clip(0, len(data) - 1)
    near = np.floor(times_s * rate_hz + _ROUNDING).clip(0, len(data) - 1).astype(np.intp)
    if not np.issubdtype(data.dtype, np.floating) or np.allclose(positions, near, atol=1e-6):
        return data[near]
    before = np.floor(positions).astype(np.intp)
    after = np.minimum(before + 1, len(data) - 1)
    share = (positions - before).reshape(-1, *(1,) * (data.ndim - 1)).astype(data.dtype)
    mixed = data[before] * (1 - share) + data[after] * share
    return np.where(np.isnan(mixed), data[near], mixed)


def means(data: Values, rate_hz: float, times_s: Float64, step_s: float) -> Values:
    """The mean of a recording (N, ...) over a span around each time (T,), without its NaN.

    Args:
        data: Samples.
        rate_hz: Samples a second.
        times_s: The middles of the spans.
        step_s: Their length.
    """
    begin = np.rint((times_s - step_s / 2) * rate_hz).clip(0, len(data) - 1).astype(np.intp)
    end = np.rint((times_s + step_s / 2) * rate_hz).clip(0, len(data)).astype(np.intp)
    end = np.maximum(end, begin + 1)
    total, count = _sums_before(data, np.concatenate([begin, end]))
    n = count[len(begin) :] - count[: len(begin)]
    mean = (total[len(begin) :] - total[: len(begin)]) / np.maximum(n, 1)
    return np.where(n > 0, mean, np.nan).astype(data.dtype)


def _sums_before(
    data: Values, rows: npt.NDArray[np.intp]
) -> tuple[Float64, npt.NDArray[np.integer[Any]]]:
    """The sum and the count of the finite numbers before each of some rows, block by block.

    Running sums of two hours of sound at once take 4 GB.
    """
    total = np.zeros((len(rows), *data.shape[1:]))
    count = np.zeros(total.shape, np.int64)
    zero = np.zeros((1, *data.shape[1:]))
    most = max(1, _BLOCK // max(1, data[0].size))
    before = total_before = count_before = 0
    while before < len(data):
        block = data[before : before + most]
        finite = np.isfinite(block)
        sums = np.cumsum(np.where(finite, block, 0), axis=0, dtype=np.float64)
        sums = np.concatenate([zero, sums]) + total_before
        counts = np.concatenate([zero.astype(np.int64), np.cumsum(finite, axis=0)]) + count_before
        inside = (rows >= before) & (rows <= before + len(block))
        total[inside], count[inside] = sums[rows[inside] - before], counts[rows[inside] - before]
        before, total_before, count_before = before + len(block), sums[-1], counts[-1]
    return total, count


def evenly(times_s: Float64, data: Values) -> tuple[Values, float]:
    """Samples at any times as evenly spaced ones.

    Args:
        times_s: (N,) rising seconds.
        data: (N, ...) samples.

    Returns:
        The samples, NaN in gaps of more than a quarter of a second, and their usual rate.

    Raises:
        ValueError: the times do not rise, there are fewer than two, or the samples would take more
            memory than a file may.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.diff(times_s)
    if len(times_s) < 2 or not np.isfinite(times_s).all() or not (steps > 0).all():
        raise ValueError("its times do not rise from row to row")
    if not 1 / _MOST_HZ <= np.median(steps) <= 1 / _LEAST_HZ:
        raise ValueError(f"its samples are {float(np.median(steps)):g} s apart")
    rate = 1 / float(np.median(steps))
    length = float(times_s[-1] - times_s[0]) * rate
    if not length < 100 * len(times_s) or rate > _MOST_HZ:
        raise ValueError("its times have gaps far beyond its rate")
    count = int(np.floor(length + 1e-6)) + 1
    require_memory(_BYTES_BETWEEN * float(count) * data[0].size)
    if np.allclose(steps, 1 / rate, rtol=0.02):
        return data, rate
    times = times_s[0] + np.arange(count) / rate
    after = np.searchsorted(times_s, times).clip(1, len(times_s) - 1)
    before = after - 1
    gap = times_s[after] - times_s[before]
    share = ((times - times_s[before]) / gap).clip(0, 1).reshape(-1, *(1,) * (data.ndim - 1))
    mixed = data[before] * (1 - share) + data[after] * share
    nearest = np.where((share < 0.5), data[before], data[after])
    mixed = np.where(np.isnan(mixed), nearest, mixed)
    mixed[(gap > max(_GAP_S, 1.5 / rate)) & (share.reshape(len(times)) % 1 != 0)] = np.nan
    return mixed.astype(data.dtype), rate
