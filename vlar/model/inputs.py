"""Inputs of ``classify`` besides paths: arrays, pictures and clips, as the views of a span."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs

from vlar.errors import DecodeError, UsageError, VlarError
from vlar.media.dataset_rows import Decoder, decoded, span_of
from vlar.media.video.sample import frame_times, sample_times, windows
from vlar.media.views import Views, ViewSampler
from vlar.model.core import EncodedSpan, ModelCore, encoded_span
from vlar.types import Classification, Clip, Failure, Float32, UInt8, Window


@runtime_checkable
class Picture(Protocol):
    """A PIL image, recognised without importing PIL."""

    def convert(self, mode: str) -> Any:
        """The picture in another colour mode."""
        ...

    def getbands(self) -> tuple[str, ...]:
        """Names of its channels."""
        ...


@runtime_checkable
class Tensor(Protocol):
    """A tensor of PyTorch, recognised without importing torch."""

    def detach(self) -> Any:
        """The values without gradients."""
        ...

    def cpu(self) -> Any:
        """The values in memory."""
        ...


# A path; frames (T, H, W, 3) or a picture (H, W, 3), uint8 RGB or floats in 0..1; a tensor
# (T, 3, H, W) or (3, H, W) likewise; a PIL image, or a list of them in order; a clip; or a decoder
# of torchcodec.
Recording = str | Path | npt.NDArray[Any] | Picture | Sequence[Picture] | Tensor | Clip | Decoder
Answer = Classification | Failure
_ARRAY = Path("<array>")
_FRAMES = 64  # of a decoder that is learned from, at equal distances
_INTERVAL_WINDOW_S = 4.0  # as the windows of a library


def is_one(recordings: object) -> TypeIs[Recording]:
    """True where an input is a single recording rather than several.

    Raises:
        UsageError: it is neither.
    """
    is_accepted = isinstance(recordings, (Iterable, Path, Picture, Clip, Tensor, Decoder))
    if not is_accepted or isinstance(recordings, (bytes, bytearray, Mapping)):
        raise UsageError(
            f"cannot read a {type(recordings).__name__} as a recording; give a path, an array "
            "(T, H, W, 3), a tensor (T, 3, H, W), PIL images, a Clip, or a list of these"
        )
    one = isinstance(recordings, (str, Path, np.ndarray, Clip, Picture, Tensor, Decoder))
    return one or _are_pictures(recordings)


def _are_pictures(recording: object) -> TypeIs[Sequence[Picture]]:
    """Return whether it is a list of PIL images, which are the frames of one clip."""
    if not isinstance(recording, (list, tuple)) or not recording:
        return False
    return all(isinstance(picture, Picture) for picture in cast("Sequence[object]", recording))


def views_of(
    recordings: Iterable[Recording],
    sampler: ViewSampler,
    every_s: float | None,
    fps: float,
    at: Window | None = None,
) -> Iterator[Views | Failure]:
    """The views of each recording, of every ``every_s`` seconds of it, or of an interval.

    Paths that follow each other are decoded ahead in threads; a path that cannot be read is a
    Failure in its place.

    Args:
        recordings: See ``Recording``.
        sampler: Reads paths.
        every_s: Seconds; None for one span a recording.
        fps: Frames a second of an array.
        at: The interval; None for all of it.

    Raises:
        UsageError: an array is not a picture or a sequence of frames, or a clip is of another
            sensor.
    """
    for are_paths, group in groupby(recordings, lambda one: isinstance(one, (str, Path))):
        if not are_paths:
            for one in group:
                yield from _views(one, sampler, every_s, fps, at)
            continue
        paths = (Path(one) for one in group if isinstance(one, (str, Path)))
        if every_s is None:
            yield from sampler.sample_each((path, _inside(at, path, sampler)) for path in paths)
        else:
            yield from sampler.sample_every(paths, every_s)


def encode_one(
    core: ModelCore,
    recording: Recording,
    sampler: ViewSampler,
    fps: float,
    at: Window | None = None,
) -> EncodedSpan:
    """A single recording, or an interval of it; an error is raised as it is."""
    if at is not None and core.answers_intervals and isinstance(recording, (str, Path)):
        return encode_interval(core, Path(recording), sampler, at)
    views = views_of_one(recording, sampler, fps, at)
    return replace(encoded_span(views, core.encode(views)), cost=core.cost_of(views))


def encode_interval(core: ModelCore, path: Path, sampler: ViewSampler, at: Window) -> EncodedSpan:
    """An interval of a recording, asked of a model that reads all of it in equal windows.

    Raises:
        DecodeError: a window cannot be read, or the interval begins past the end.
    """
    end_s = sampler.reader.probe(path).duration_s
    if at.start_s >= end_s:
        raise DecodeError(f"{path}: {at.start_s:g} s lies past its end ({end_s:g} s)")
    ends = np.linspace(0, end_s, math.ceil(end_s / _INTERVAL_WINDOW_S) + 1).tolist()
    spans = [Window(*pair) for pair in pairwise(ends)]
    clips = list(sampler.reader.read_windows(path, spans, sampler.sampling))
    for clip in clips:
        if isinstance(clip, Failure):
            raise DecodeError(clip.message)
    return core.encode_interval([clip for clip in clips if isinstance(clip, Clip)], at)


def encode_intervals(
    core: ModelCore, recordings: Iterable[Recording], sampler: ViewSampler, at: Window
) -> Iterator[EncodedSpan | Failure]:
    """``encode_interval`` of several recordings; one that cannot be read is a Failure."""
    for recording in recordings:
        if not isinstance(recording, (str, Path)):
            raise UsageError(f"model {core.name!r} answers about intervals of files; give a path")
        try:
            yield encode_interval(core, Path(recording), sampler, at)
        except DecodeError as error:
            yield Failure(Path(recording), error.kind, error.message)


def views_of_one(
    recording: Recording, sampler: ViewSampler, fps: float, at: Window | None = None
) -> Views:
    """The views of a single recording, or of an interval; an error is raised as it is."""
    if isinstance(recording, (str, Path)):
        return sampler.sample(recording, _inside(at, Path(recording), sampler))
    (views,) = _views(recording, sampler, None, fps, at)
    return views


def _inside(at: Window | None, path: Path, sampler: ViewSampler) -> Window | None:
    """An interval up to the end of a recording; as it is where reading it will fail."""
    try:
        end_s = at and sampler.reader.probe(path).duration_s
    except VlarError:
        return at
    return Window(at.start_s, min(at.end_s, end_s)) if at and end_s and at.start_s < end_s else at


def _views(
    recording: object,
    sampler: ViewSampler,
    every_s: float | None,
    fps: float,
    at: Window | None,
) -> Iterator[Views]:
    modality = sampler.reader.modality
    if isinstance(recording, Clip):
        if at is not None:
            raise UsageError(f"{recording.path}: a Clip is one window; cut the interval out of it")
        if modality not in (recording.modality, "bundle"):
            raise UsageError(
                f"{recording.path}: the clip is of the sensor {recording.modality!r}, and this "
                f"model reads {modality!r}"
            )
        yield [recording]
        return
    if modality != "video":
        raise UsageError(
            f"this model reads the sensor {modality!r}; give a path or a Clip instead of an array"
        )
    if isinstance(recording, Decoder):
        yield from _decoded_views(recording, sampler, every_s, at)
        return
    frames = frames_of(recording)
    if not 0 < fps < float("inf"):
        raise UsageError(f"fps is {fps}; give the frames per second of the array, above 0")
    duration_s = len(frames) / fps
    spans = [at or Window(0.0, duration_s)]
    if every_s is not None:
        spans = windows(duration_s, every_s, every_s)
    for span in spans:
        yield [_clip(frames, fps, part, sampler) for part in (span, *sampler.parts(span))]


def _decoded_views(
    decoder: Decoder, sampler: ViewSampler, every_s: float | None, at: Window | None
) -> Iterator[Views]:
    duration_s = span_of(decoder)[1]
    spans = [at or Window(0.0, duration_s)]
    if every_s is not None:
        spans = windows(duration_s, every_s, every_s)
    for span in spans:
        views: list[Clip] = []
        for window in (span, *sampler.parts(span)):
            times_s = sample_times(window, sampler.sampling)
            views.append(Clip(_ARRAY, window, "video", decoded(decoder, times_s), times_s))
        yield views


def _clip(frames: UInt8, fps: float, window: Window, sampler: ViewSampler) -> Clip:
    """The frames that are shown at the times a reader would sample."""
    times = sample_times(window, sampler.sampling)
    # A frame is shown until the next one begins; the small share keeps rounding from moving it.
    rows = np.floor(times * fps + 1e-6).astype(np.intp).clip(0, len(frames) - 1)
    return Clip(_ARRAY, window, "video", frames[rows], rows / fps)


def frames_of(recording: object) -> UInt8:
    """(T, H, W, 3) uint8 of an array, a tensor, a PIL image, or a list of PIL images.

    Raises:
        UsageError: it is neither a picture nor a sequence of frames.
    """
    if isinstance(recording, Decoder):
        recording = decoded(recording, frame_times(Window(0.0, span_of(recording)[1]), _FRAMES))
    elif isinstance(recording, Picture):
        recording = np.asarray(recording.convert("RGB"))
    elif _are_pictures(recording):
        pictures = [np.asarray(picture.convert("RGB")) for picture in recording]
        if len(sizes := {picture.shape for picture in pictures}) > 1:
            raise UsageError(f"the pictures of a clip have {len(sizes)} sizes; make them equal")
        recording = np.stack(pictures)
    first = isinstance(recording, Tensor)  # their networks take channels first
    if isinstance(recording, Tensor):
        values = recording.detach().cpu()
        recording = np.asarray(values.float() if values.is_floating_point() else values)
    if not isinstance(recording, np.ndarray):
        raise UsageError(
            f"cannot classify a {type(recording).__name__}; give a path, an array (T, H, W, 3), "
            "a tensor (T, 3, H, W), PIL images or a Clip"
        )
    frames = recording[None] if recording.ndim == 3 else recording
    if frames.ndim == 4 and frames.shape[1] == 3 and (first or frames.shape[-1] != 3):
        frames = frames.transpose(0, 2, 3, 1)
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise UsageError(
            f"an array of shape {recording.shape} and type {recording.dtype} is not a video; give "
            "frames (T, H, W, 3) or a picture (H, W, 3) in RGB; of several clips, a list"
        )
    if np.issubdtype(frames.dtype, np.floating) and 0 <= frames.min() <= frames.max() <= 1:
        frames = (frames * np.float32(255)).round().astype(np.uint8)
    if frames.dtype != np.uint8:
        raise UsageError(
            f"an array of type {frames.dtype} with values from {frames.min():g} to "
            f"{frames.max():g} is not a video; give uint8 in 0..255, or floats in 0..1"
        )
    return np.ascontiguousarray(frames)


def vectors_of(core: ModelCore, sampler: ViewSampler, recordings: object) -> Float32:
    """The vector (D,) of a single recording, or (N, D) of several; vectors stay as they are.

    Raises:
        DecodeError: a recording cannot be read.
        UsageError: one of another sensor, or what is not a recording.
    """
    if isinstance(recordings, np.ndarray) and recordings.ndim < 3:
        return recordings.astype(np.float32)
    if is_one(recordings):
        return encode_one(core, recordings, sampler, 25.0).encoded.vector
    listed = cast("Iterable[Recording]", recordings)
    vectors: list[Float32] = []
    for span in core.encode_spans(views_of(listed, sampler, None, 25.0)):
        if isinstance(span, Failure):
            raise DecodeError(span.message)
        vectors.append(span.encoded.vector)
    return np.stack(vectors) if vectors else np.zeros((0, core.dim), np.float32)
