"""Frames at times out of a video: one window, or many windows in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError, UsageError, VlarError
from vlar.files.reading import require_memory
from vlar.files.workers.ahead import in_order
from vlar.media.video.container import errors_of
from vlar.media.video.folder import frame_rate
from vlar.media.video.pixels import stacked
from vlar.media.video.sample import Wanted, sample_times
from vlar.media.video.source import SampledPicture, VideoSource
from vlar.types import Clip, Failure, Float64, Window

_MOST_LOST = 0.5
_IN_DECODER, _IN_CONVERSION = 6, 3  # pictures that are held before and while they become RGB


def read_clip(
    path: str | Path,
    window: Window | None = None,
    n_frames: Wanted = 8,
    *,
    timeout_s: float = 60.0,
    shorter_side: int | None = None,
    fps: float | None = None,
) -> Clip:
    """Sample ``n_frames`` of one window.

    The frame for a time is the one on screen then: the last whose presentation time is not after
    it, the first for times before it. Frames are turned as the file's rotation asks; pixels are
    taken as square.

    Args:
        path: A video file, or a folder of numbered JPEG or PNG frames.
        window: The span to sample, in seconds after the first frame; None is the whole video.
        n_frames: T, sampled at ``sample_times``; or the sampling of an encoder.
        timeout_s: Limit for the whole call.
        shorter_side: Frames with a longer shorter side are shrunk to it; none is enlarged.
        fps: Rate of a frame folder (default 25); files carry their own.

    Returns:
        The clip; ``lost`` is the share of frames that another one stands in for.

    Raises:
        DecodeError: not a readable video, the window lies past its end, or over half of the wanted
            frames are lost. The message states how much was readable.
        DecodeTimeout: it takes longer than ``timeout_s``.
        UsageError: an argument has no usable value.
    """
    _require_options(timeout_s, shorter_side, fps)
    sample_times(window or Window(0.0, 0.0), n_frames)  # a wrong argument fails before any reading
    with errors_of(Path(path)), VideoSource(Path(path), timeout_s, shorter_side, fps) as source:
        span = window or Window(0.0, source.duration_s())
        wanted_s = sample_times(span, n_frames)
        pictures: list[SampledPicture] = []
        for picture in source.pictures(wanted_s):
            if not pictures:
                _require_memory(source, len(wanted_s), picture)
            pictures.append(picture)
        return _clip(source, span, pictures)


def read_windows(
    path: str | Path,
    windows: Sequence[Window],
    n_frames: Wanted = 8,
    *,
    timeout_s: float = 60.0,
    shorter_side: int | None = None,
    fps: float | None = None,
) -> Iterator[Clip | Failure]:
    """Sample many windows of one video, in the order given, in one pass over the file.

    Windows may overlap. They should come by rising start, as ``vlar.media.video.sample.windows``
    makes them: each step backwards begins another pass. Memory holds the frames of the windows
    that overlap, never the file. Arguments as for ``read_clip``; ``timeout_s`` limits each result.

    Yields:
        A clip for each window, or a Failure where ``read_clip`` would raise a DecodeError.

    Raises:
        UsageError: an argument has no usable value.
    """
    spans = list(windows)
    times = [sample_times(span, n_frames) for span in spans]
    _require_options(timeout_s, shorter_side, fps)
    return _read_windows(Path(path), spans, times, (timeout_s, shorter_side, fps))


def _read_windows(
    path: Path,
    spans: list[Window],
    times: list[Float64],
    options: tuple[float, int | None, float | None],
) -> Iterator[Clip | Failure]:
    begin = 0
    while begin < len(spans):
        end = begin + 1
        while end < len(spans) and spans[end].start_s >= spans[end - 1].start_s:
            end += 1
        yield from _one_pass(path, spans[begin:end], times[begin:end], options)
        begin = end


def _one_pass(
    path: Path,
    spans: list[Window],
    times: list[Float64],
    options: tuple[float, int | None, float | None],
) -> Iterator[Clip | Failure]:
    """Windows with rising starts; times holds (T,) of each."""
    number = 0
    all_times = np.concatenate(times)
    counts = [len(view_times) for view_times in times]
    window_of = np.repeat(np.arange(len(times)), counts)
    order = np.argsort(all_times, kind="stable")
    parts: dict[int, list[SampledPicture]] = {}
    try:
        with errors_of(path):
            source = VideoSource(path, *options)
            pictures = source.pictures(all_times[order])
            for window, picture in zip(window_of[order].tolist(), pictures, strict=True):
                if window not in parts:
                    _require_memory(source, counts[window], picture)
                parts.setdefault(window, []).append(picture)
                while number in parts and len(parts[number]) == counts[number]:
                    yield _clip_or_failure(source, spans[number], parts.pop(number))
                    number += 1
                    source.deadline.restart()
    except DecodeError as error:
        failure = Failure(path, error.kind, error.message)
        yield from [failure] * (len(spans) - number)


def _clip_or_failure(
    source: VideoSource, span: Window, pictures: list[SampledPicture]
) -> Clip | Failure:
    try:
        return _clip(source, span, pictures)
    except DecodeError as error:
        return Failure(source.path, error.kind, error.message)


def _clip(source: VideoSource, span: Window, pictures: list[SampledPicture]) -> Clip:
    n_lost = sum(picture.lost for picture in pictures)
    lost = n_lost / len(pictures)
    if lost > _MOST_LOST:
        raise DecodeError(
            f"{source.path}: {n_lost} of {len(pictures)} wanted frames from {span.start_s:.1f} to "
            f"{span.end_s:.1f} s are lost or wrong ({lost:.0%}){source.cut_off()}: the file is cut "
            "short or damaged; copy or re-encode it (vlar check shows where)"
        )
    if source.end_s is not None and span.start_s > source.end_s:
        raise DecodeError(
            f"{source.path}: the window {span.start_s:g} to {span.end_s:g} s lies past the end of "
            f"the video ({source.end_s:.2f} s); choose an earlier one"
        )
    shown_s = np.array([picture.time_s for picture in pictures], dtype=np.float64)
    pixels = [picture.pixels for picture in pictures]
    pictures.clear()
    meta = {"rate_hz": source.rate_hz} if source.rate_hz else {}
    return Clip(source.path, span, "video", stacked(pixels), shown_s, lost, meta=meta)


def _require_memory(source: VideoSource, n_frames: int, first: SampledPicture) -> None:
    """Refuse a clip that takes more memory than a file may, once its first picture is decoded."""
    height, width = first.pixels.shape[:2]
    try:
        n_pictures = float(n_frames + _IN_CONVERSION)
        require_memory(n_pictures * first.pixels.nbytes + _IN_DECODER * source.frame_bytes)
    except ValueError as error:
        raise DecodeError(
            f"{source.path}: {n_frames} pictures of {width} x {height}: {error}; ask for fewer, or "
            "for a shorter side"
        ) from None


def _require_options(timeout_s: float, shorter_side: int | None, fps: float | None) -> None:
    if not timeout_s > 0:
        raise UsageError(f"timeout_s is {timeout_s}; give a number of seconds above 0")
    if shorter_side is not None and shorter_side < 1:
        raise UsageError(f"shorter_side is {shorter_side}; give at least 1 pixel")
    frame_rate(fps)


@dataclass(frozen=True)
class ClipRequest:
    """A clip to read; ``window`` None is the whole video."""

    path: Path
    window: Window | None = None
    n_frames: Wanted = 8


def read_clips(
    requests: Iterable[ClipRequest],
    *,
    workers: int = 2,
    look_ahead: int = 4,
    timeout_s: float = 60.0,
    shorter_side: int | None = None,
    fps: float | None = None,
) -> Iterator[Clip | Failure]:
    """Read clips in the order of the requests while the caller works on earlier ones.

    Decoding runs in threads (FFmpeg releases the interpreter lock). At most ``look_ahead`` clips
    are decoded or wait beyond the one the caller holds, whatever the number of requests, and
    ``requests`` is drawn from only as they are needed. Closing the iterator early drops what is
    not begun and waits for the clips in hand. ``timeout_s`` and the rest as for ``read_clip``.

    Yields:
        A clip for each request, or a Failure with the kind and message of its error.

    Raises:
        UsageError: ``workers`` or ``look_ahead`` is below 1.
    """

    def read(request: ClipRequest) -> Clip | Failure:
        try:
            return read_clip(
                request.path,
                request.window,
                request.n_frames,
                timeout_s=timeout_s,
                shorter_side=shorter_side,
                fps=fps,
            )
        except VlarError as error:
            return Failure(Path(request.path), error.kind, error.message)

    return in_order(iter(requests), read, workers=workers, look_ahead=look_ahead)
