"""Cutting a span of a video into a file of its own: a copy at key frames, or exact.

A copy keeps the coded pictures and sound as they are. It takes milliseconds, and it can only begin
with a key frame: the file begins at the last one before the wanted start. An exact cut decodes the
span and encodes it again as H.264 and AAC.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from vlar.errors import DecodeError, UsageError
from vlar.media.video.container import Deadline, OpenVideo, errors_of, is_damage, opened, reason
from vlar.media.video.files import is_folder
from vlar.media.video.sample import require_span
from vlar.media.video.source import VideoSource, probe
from vlar.types import Float32, JsonDict, UInt8, Window

if TYPE_CHECKING:
    from av.packet import Packet

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


if TYPE_CHECKING:
    AnyPacket = Packet[Any]  # of pictures or sound

COPIED_ENDINGS = frozenset(
    {*(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".flv", ".mpg")}
)
"""Endings of files whose spans are copied into a file of the same kind; others go into .mkv."""
ENCODED_ENDING = ".mp4"

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
_FIRST_PACKETS = 32  # enough to find the first shown one among reordered ones
_REORDERED = 17  # frames: H.264 and HEVC hold back at most 16
_EARLY_S = 1e-3  # times are rounded to milliseconds on their way here
_MOST_HELD_BYTES = 512 << 20


@dataclass(frozen=True)
class Cut:
    """A file that was cut out.

    Attributes:
        path: The file. Its ending is another one than asked for where a copy was not possible.
        start_s: Where in the recording it begins; before the wanted start in a copy.
        end_s: Where it ends.
        exact: Whether it was decoded and encoded again.
        audio: ``kept``, ``none`` (the recording has none) or ``lost`` (it cannot be read).
    """

    path: Path
    start_s: float
    end_s: float
    exact: bool
    audio: str

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "cut": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "exact": self.exact,
            "audio": self.audio,
        }


class _CannotCopyError(Exception):
    """The coded pictures fit no file of the wanted kind."""


def ending_for(path: str | Path, exact: bool = False) -> str:
    """The ending that a cut of a recording gets, with the dot."""
    path = Path(path)
    if exact or not _is_copied(path):
        return ENCODED_ENDING
    ending = path.suffix.lower()
    return ending if ending in COPIED_ENDINGS else ".mkv"


def cut(
    path: str | Path,
    start_s: float,
    end_s: float,
    out: str | Path,
    exact: bool = False,
    *,
    timeout_s: float = 60.0,
) -> Cut:
    """Write a span of a video, with its sound, into a file.

    The file appears whole or not at all; an older one of the same name is replaced. Where the
    coded pictures cannot be copied (a folder of pictures, a GIF, a raw stream), the cut is exact,
    and its ending ``.mp4``.

    Args:
        path: A video file, or a folder of numbered pictures.
        start_s: Seconds after the first frame.
        end_s: Seconds; the end of the video where it is beyond.
        out: The file to write; ``ending_for`` gives an ending that suits.
        exact: Decode and encode the span instead of copying from a key frame on.
        timeout_s: Limit for opening the video and for each picture.

    Raises:
        DecodeError: the video is gone, cannot be read, or ends before the span starts.
        UsageError: not a span, or ``out`` cannot be written or is the video itself.
    """
    path, out, span = Path(path), Path(out), Window(start_s, end_s)
    require_span(span)
    if span.duration_s <= 0 or start_s < 0:
        raise UsageError(f"{start_s:g} to {end_s:g} s is not a span to cut; give start before end")
    if out.exists() and path.exists() and out.samefile(path):
        raise UsageError(f"{out}: the cut would replace the video itself; give another file")
    if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: its folder is missing or not writable; give another place")
    with errors_of(path):
        if not exact and _is_copied(path):
            with suppress(_CannotCopyError):
                return _written(out, lambda part: _copy(path, span, part, timeout_s))
        return _written(
            out.with_suffix(ENCODED_ENDING), lambda part: _encode(path, span, part, timeout_s)
        )


def _is_copied(path: Path) -> bool:
    return path.suffix.lower() != ".gif" and not is_folder(path)


def _written(out: Path, write: Callable[[Path], Cut]) -> Cut:
    """Result of ``write`` for a file next to ``out``, which then replaces ``out``."""
    part = out.with_name(f".{out.stem[:80]}.{os.getpid()}.part{out.suffix}")
    try:
        file = write(part)
        part.replace(out)
    except OSError as error:
        if isinstance(error, FFmpegError) and error.errno not in _DISK_FAULTS:
            raise
        why = error.strerror or str(error)
        raise UsageError(f"{out}: cannot be written ({why}); choose another place") from error
    finally:
        part.unlink(missing_ok=True)
    return Cut(out, file.start_s, file.end_s, file.exact, file.audio)


def _encode(path: Path, span: Window, part: Path, timeout_s: float) -> Cut:
    end_s, audio = encode_span(path, span, part, timeout_s)
    return Cut(part, span.start_s, end_s, True, audio)


def _copy(path: Path, span: Window, part: Path, timeout_s: float) -> Cut:
    with opened(path, timeout_s) as video:
        return _Copy(video, span, part, timeout_s).run()


class _Copy:
    """One copy: packets from the last key frame before a span to its end."""

    def __init__(self, video: OpenVideo, span: Window, part: Path, timeout_s: float) -> None:
        self._video, self._span, self._part = video, span, part
        numerator, denominator = video.seconds_a_tick
        self._tick_s = numerator / denominator
        self._deadline = Deadline(video.path, timeout_s + 2 * span.duration_s)
        self._sound = video.sound()
        self._zero = self._first_stamp()

    def run(self) -> Cut:
        packets = self._packets()
        first = next(packets, None)
        if first is None:
            raise DecodeError(
                f"{self._video.path}: nothing is left from {self._span.start_s:g} s on; the video "
                "is shorter or damaged"
            )
        start_s, last_s, end_s = self._time_s(first), 0.0, 0.0
        try:
            with av.open(str(self._part.absolute()), "w") as target:
                streams = self._streams(target)
                shift_s = start_s + self._zero * self._tick_s
                for packet in _chained(first, packets):
                    if packet.stream.type == "video":
                        last_s = max(last_s, self._time_s(packet))
                        end_s = max(end_s, last_s + self._length_s(packet))
                    _mux(target, streams, packet, shift_s)
        except (FFmpegError, ValueError, TypeError) as error:
            # A muxer refuses a codec or missing times; a demuxer's errors end the packets instead.
            raise _CannotCopyError(reason(error)) from error
        audio = "none" if self._sound is None else "kept"
        return Cut(self._part, start_s, end_s, False, audio)

    def _streams(self, target: OutputContainer) -> dict[int, VideoStream | AudioStream]:
        streams: dict[int, VideoStream | AudioStream] = {}
        for stream in (self._video.stream, self._sound):
            if stream is not None:
                streams[stream.index] = target.add_stream_from_template(stream, opaque=True)
        return streams

    def _first_stamp(self) -> int:
        """The stamp of the first shown frame, from which times count."""
        stamps: list[int] = []
        for packet in self._video.packets():
            stamp = self._stamp(packet)
            if stamp is not None and not packet.is_discard:
                stamps.append(stamp)
            if len(stamps) >= _FIRST_PACKETS:
                break
        if not stamps:
            raise _CannotCopyError("the packets carry no times")
        self._video.container.seek(min(stamps), stream=self._video.stream)
        return min(stamps)

    def _packets(self) -> Iterator[AnyPacket]:
        """Packets of the span, from a key frame on."""
        held: list[AnyPacket] = []
        size = 0
        begun_s: float | None = None
        is_past = False
        for packet in self._demuxed():
            time_s = self._time_s(packet)
            if packet.stream.type == "video":
                if packet.is_keyframe and time_s <= self._span.start_s + _EARLY_S:
                    begun_s = time_s
                    held = [
                        held_packet
                        for held_packet in held
                        if _is_sound(held_packet) and self._time_s(held_packet) >= time_s
                    ]
                elif begun_s is None or time_s < begun_s:
                    continue  # it refers to pictures before the key frame
                is_past = is_past or self._decoding_s(packet) > self._span.start_s
                if self._decoding_s(packet) >= self._span.end_s:
                    break
            elif time_s >= self._span.end_s or (begun_s is not None and time_s < begun_s):
                continue
            held.append(packet)
            size += packet.size
            if is_past:
                yield from _video_first(held)
                held, size = [], 0
            elif size > _MOST_HELD_BYTES:
                raise _CannotCopyError("key frames lie too far apart")
        if begun_s is not None and is_past:
            yield from held

    def _demuxed(self) -> Iterator[AnyPacket]:
        container, stream = self._video.container, self._video.stream
        if self._video.can_seek:
            # Files are searched by decoding times, which lie before those of presentation.
            early_s = max(self._span.start_s - max(1.0, _REORDERED / self._video.fps), 0.0)
            container.seek(self._zero + int(early_s / self._tick_s), stream=stream)
        streams = [stream] if self._sound is None else [stream, self._sound]
        try:
            for packet in container.demux(streams):
                self._deadline.check()
                if packet.size and self._stamp(packet) is not None:
                    yield packet
        except Exception as error:
            if not is_damage(error):
                raise

    def _stamp(self, packet: AnyPacket) -> int | None:
        by_dts = packet.pts is None or self._video.has_only_decoding_times
        return packet.dts if by_dts else packet.pts

    def _time_s(self, packet: AnyPacket) -> float:
        """Seconds after the first shown frame."""
        base = packet.time_base
        return (self._stamp(packet) or 0) * float(base) - self._zero * self._tick_s

    def _decoding_s(self, packet: AnyPacket) -> float:
        stamp = packet.pts if packet.dts is None else packet.dts
        return (stamp or 0) * float(packet.time_base) - self._zero * self._tick_s

    def _length_s(self, packet: AnyPacket) -> float:
        return (packet.duration or 0) * float(packet.time_base) or 1 / self._video.fps


def _chained(first: AnyPacket, rest: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
    yield first
    yield from rest


def _is_sound(packet: AnyPacket) -> bool:
    return packet.stream.type == "audio"


def _video_first(packets: list[AnyPacket]) -> list[AnyPacket]:
    """The same packets, starting with a video packet: it defines where the file begins."""
    first = next((i for i, packet in enumerate(packets) if not _is_sound(packet)), 0)
    return [packets[first], *packets[:first], *packets[first + 1 :]]


def _mux(
    target: OutputContainer,
    streams: dict[int, VideoStream | AudioStream],
    packet: AnyPacket,
    shift_s: float,
) -> None:
    shift = round(shift_s / float(packet.time_base))
    stream = streams[packet.stream.index]
    if packet.pts is not None:
        packet.pts -= shift
    if packet.dts is not None:
        packet.dts -= shift
    packet.stream = stream
    target.mux(packet)
