"""Cutting a span of a video into a file of its own, decoded and encoded again as H.264 and AAC."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from vlar.errors import DecodeError, UsageError
from vlar.media.video.container import Deadline, OpenVideo, errors_of, is_damage, opened
from vlar.media.video.files import is_folder
from vlar.media.video.sample import require_span
from vlar.media.video.source import VideoSource, probe
from vlar.types import Float32, JsonDict, UInt8, Window

_MOST_FPS = 120
_MOST_LOST = 0.5
_QUALITY = {"crf": "18", "preset": "veryfast"}  # of libx264: no loss that is seen
_SOUND_RATES = (16000, 22050, 24000, 32000, 44100, 48000)
_CHUNK = 1024


def encode_span(path: Path, span: Window, out: Path, timeout_s: float) -> tuple[float, str]:
    """Write a span of a video, decoded and encoded again.

    Args:
        path: A video file, or a folder of numbered pictures.
        span: What to write, in seconds after the first frame.
        out: The file, with an ending that holds H.264 and AAC.
        timeout_s: Limit for opening the video and for each picture.

    Returns:
        Where the written span ends, and what became of the sound: ``kept``, ``none`` or ``lost``.

    Raises:
        DecodeError: the span cannot be read, or lies past the end.
    """
    info = probe(path, timeout_s=timeout_s)
    end_s = min(span.end_s, info.duration_s)
    if end_s <= span.start_s:
        raise DecodeError(
            f"{path}: the span from {span.start_s:g} s on lies past the end of the video "
            f"({info.duration_s:.2f} s)"
        )
    rate = Fraction(min(max(info.fps, 1.0), _MOST_FPS)).limit_denominator(1001)
    n_frames = max(1, round((end_s - span.start_s) * rate))
    # The middle of each written frame: rounding never shows the frame before it.
    times_s = span.start_s + (np.arange(n_frames, dtype=np.float64) + 0.5) / float(rate)
    written_s = float(n_frames / rate)
    # A player that reads over a network needs the table of its frames first.
    options = {"movflags": "+faststart"} if out.suffix == ".mp4" else {}
    with av.open(str(out.absolute()), "w", options=options) as target:
        sound = _Sound(path, Window(span.start_s, span.start_s + written_s), target, timeout_s)
        with sound, VideoSource(path, timeout_s, None, None) as source:
            lost = 0
            picture: VideoStream | None = None
            for number, shown in enumerate(source.pictures(times_s)):
                source.deadline.restart()
                picture = picture or _picture_stream(target, shown.pixels, rate)
                lost += shown.lost
                _encode_picture(target, picture, shown.pixels, number)
                sound.write_until(number / float(rate))
            if picture is not None:
                target.mux(picture.encode(None))
            sound.finish()
    if lost > _MOST_LOST * n_frames:
        raise DecodeError(
            f"{path}: {lost} of {n_frames} frames from {span.start_s:.1f} to {end_s:.1f} s are "
            "lost; the file is damaged"
        )
    return span.start_s + written_s, sound.state


def _picture_stream(target: OutputContainer, pixels: UInt8, rate: Fraction) -> VideoStream:
    try:
        stream = target.add_stream("libx264", rate=rate, options=dict(_QUALITY))
    except UnknownCodecError:  # an FFmpeg without x264
        stream = target.add_stream("mpeg4", rate=rate, options={"qscale": "3"})
    stream.height, stream.width = (max(side // 2 * 2, 2) for side in pixels.shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = 1 / rate
    return stream


def _encode_picture(
    target: OutputContainer, stream: VideoStream, pixels: UInt8, number: int
) -> None:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
    frame.pts, frame.time_base = number, stream.codec_context.time_base
    target.mux(stream.encode(frame))


class _Sound:
    """The sound of a span, decoded from the best audio stream and encoded as AAC.

    Sound that is missing before or inside the span is silence, so that it stays with the pictures.

    Attributes:
        state: ``kept``, ``none`` or ``lost``.
    """

    def __init__(self, path: Path, span: Window, target: OutputContainer, timeout_s: float) -> None:
        self._span, self._target = span, target
        self._path, self._timeout_s = path, timeout_s
        self.state = "none"
        self._open: Any = None
        self._samples: Iterator[Float32] = iter(())
        self._stream: AudioStream | None = None
        self._written = 0

    def __enter__(self) -> _Sound:
        if is_folder(self._path):
            return self
        self._open = opened(self._path, self._timeout_s)
        video = self._open.__enter__()
        source = video.sound()
        if source is not None and source.codec_context is not None:
            self._begin(video, source)
        return self

    def __exit__(self, *error: object) -> None:
        if self._open is not None:
            self._open.__exit__(*error)

    def _begin(self, video: OpenVideo, source: AudioStream) -> None:
        rate = min(_SOUND_RATES, key=lambda each: abs(each - (source.rate or 48000)))
        layout = "mono" if source.channels == 1 else "stereo"
        self._stream = self._target.add_stream("aac", rate=rate, layout=layout)
        self._samples = _sound_of(video, source, self._span, rate, layout, self._timeout_s)
        self.state = "kept"

    def write_until(self, time_s: float) -> None:
        """Encode the sound up to a time after the start of the span."""
        while self._stream is not None and self._written < time_s * self._stream.rate:
            try:
                samples = next(self._samples, None)
            except Exception as error:
                if not is_damage(error):
                    raise
                self.state, samples = "lost", None
            if samples is None:
                self._end()
                return
            self._encode(samples)

    def finish(self) -> None:
        """Encode what is left."""
        self.write_until(float("inf"))

    def _encode(self, samples: Float32) -> None:
        assert self._stream is not None
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format="fltp", layout=self._stream.layout.name
        )
        frame.sample_rate, frame.pts = self._stream.rate, self._written
        frame.time_base = Fraction(1, self._stream.rate)
        self._target.mux(self._stream.encode(frame))
        self._written += samples.shape[1]

    def _end(self) -> None:
        if self._stream is not None and self._written:
            self._target.mux(self._stream.encode(None))
        self._stream = None


def _sound_of(
    video: OpenVideo, source: AudioStream, span: Window, rate: int, layout: str, timeout_s: float
) -> Iterator[Float32]:
    """(channels, n) float32 pieces of a span in order, without gaps."""
    zero_s = _zero_s(video)
    if video.can_seek:
        video.container.seek(int((zero_s + span.start_s) * av.time_base))
    resampler = av.AudioResampler("fltp", layout, rate)
    total, done = round(span.duration_s * rate), 0
    deadline = Deadline(video.path, timeout_s + 2 * span.end_s)
    for frame in video.container.decode(source):
        deadline.check()
        begin_s = (frame.time or 0.0) - zero_s - span.start_s
        pieces = [
            resampled.to_ndarray().astype(np.float32) for resampled in resampler.resample(frame)
        ]
        samples = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
        start = round(begin_s * rate)
        if start + samples.shape[1] <= done:
            continue
        if start >= total:
            break
        if start > done + _CHUNK:
            yield from _silence(len(samples), start - done)
            done = start
        skipped = -start if start < 0 and not done else 0
        samples = samples[:, skipped:][:, : total - done]
        done += samples.shape[1]
        yield samples


def _silence(channels: int, n_samples: int) -> Iterator[Float32]:
    for start in range(0, n_samples, _CHUNK):
        yield np.zeros((channels, min(_CHUNK, n_samples - start)), np.float32)


def _zero_s(video: OpenVideo) -> float:
    """The container's time of the first picture."""
    stream = video.stream
    start = stream.start_time
    if start is None:
        return 0.0
    numerator, denominator = video.seconds_a_tick
    return start * numerator / denominator


_ENDING = ".mp4"
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


@dataclass(frozen=True)
class Cut:
    """A file that was cut out.

    Attributes:
        path: The file, which ends in ``.mp4``.
        start_s: Where in the recording it begins.
        end_s: Where it ends.
        audio: ``kept``, ``none`` (the recording has none) or ``lost`` (it cannot be read).
    """

    path: Path
    start_s: float
    end_s: float
    audio: str

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "cut": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "audio": self.audio,
        }


def cut(
    path: str | Path, start_s: float, end_s: float, out: str | Path, *, timeout_s: float = 60.0
) -> Cut:
    """Write a span of a video, with its sound, into a file.

    The file appears whole or not at all; an older one of the same name is replaced.

    Args:
        path: A video file, or a folder of numbered pictures.
        start_s: Seconds after the first frame.
        end_s: Seconds; the end of the video where it is beyond.
        out: The file to write; its ending becomes ``.mp4``.
        timeout_s: Limit for opening the video and for each picture.

    Raises:
        DecodeError: the video is gone, cannot be read, or ends before the span starts.
        UsageError: not a span, or ``out`` cannot be written or is the video itself.
    """
    path, out, span = Path(path), Path(out).with_suffix(_ENDING), Window(start_s, end_s)
    require_span(span)
    if span.duration_s <= 0 or start_s < 0:
        raise UsageError(f"{start_s:g} to {end_s:g} s is not a span to cut; give start before end")
    if out.exists() and path.exists() and out.samefile(path):
        raise UsageError(f"{out}: the cut would replace the video itself; give another file")
    if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: its folder is missing or not writable; give another place")
    part = out.with_name(f".{out.stem[:80]}.{os.getpid()}.part{_ENDING}")
    with errors_of(path):
        try:
            end_s, audio = encode_span(path, span, part, timeout_s)
            part.replace(out)
        except OSError as error:
            if isinstance(error, FFmpegError) and error.errno not in _DISK_FAULTS:
                raise
            why = error.strerror or str(error)
            raise UsageError(f"{out}: cannot be written ({why}); choose another place") from error
        finally:
            part.unlink(missing_ok=True)
    return Cut(out, start_s, end_s, audio)
