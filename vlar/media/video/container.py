"""Opening a video file with PyAV: plain refusals, the picture stream, the deadline."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.error import ExitError, FFmpegError
from av.logging import Capture
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vlar.cancellation import check
from vlar.errors import DecodeError, DecodeOutOfMemory, DecodeTimeout, VlarError
from vlar.files.opening import open_input, open_native
from vlar.media.integrity.payload import (
    ErrorLog,
    log_enabled,
    pictures_of,
    require_few_attachments,
)
from vlar.media.video.files import (
    MOST_PIXELS,
    VIDEO_ENDINGS,
    require_pixels,
    require_readable,
)
from vlar.registry import optional_shelf

# Files only, and no play lists: a text file must not make the decoder open other files or hosts.
# Audio formats are listed so that an audio file is named as such.
_FORMATS = (
    "mov matroska avi mpegts mpeg mpegvideo h264 hevc av1 obu ivf gif asf flv live_flv ogg mxf dv "
    "rm nut yuv4mpegpipe m4v apng image2 jpeg_pipe png_pipe webp_pipe vc1 wtv nsv "
    "wav mp3 aac flac aiff amr ac3 w64 caf"
)
OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(_FORMATS.split()),
    # A picture named f%d.jpg is that file, and not the series f1.jpg, f2.jpg next to it.
    "pattern_type": "none",
    # Opening a file makes a decoder, and a first picture, of each stream.
    "max_streams": "100",
    "max_pixels": str(MOST_PIXELS),
}
_DECODER_OPTIONS = {"max_pixels": str(MOST_PIXELS), "err_detect": "crccheck"}
# Bits that are left over at the end of a slice show that its decoder lost its way. Other decoders
# treat such a setting as stricter and report faults in undamaged videos.
_ERROR_CHECKS = {"h264": "crccheck+aggressive"}
# libvpx notices where the arithmetic decoder reads past its data; FFmpeg's own VP9 decoder, as
# fast and with the same frames, notices nothing. This build of libvpx supports 8 bits alone.
_CHECKING_DECODERS = {"vp9": ("libvpx-vp9", frozenset({"yuv420p", "Profile 0"}))}
# Parsers and filters of a codec write into the log under names of their own.
_LOGS_OF = {
    "libdav1d": frozenset({"av1", "av1_frame_merge", "av1_frame_split", "libdav1d"}),
    "av1": frozenset({"av1_frame_merge", "av1_frame_split"}),
    "hevc": frozenset({"hevc_mp4toannexb", "hevc_metadata"}),
}
# They look at what is left over after each picture. A checksum of seconds is weaker.
_NOTICE_DAMAGE = frozenset({"libvpx-vp9", "libdav1d"})
_WEBP_HEAD, _WEBP_ANIMATION = 21, 0x02
PYAV = int(av.__version__.partition(".")[0])
_HEAD_BYTES = 4096
# The name of a track's codec in the head of a Matroska file: element, length, text.
_CODEC_NAME = re.compile(rb"\x86[\x80-\xff]([A-Z]_[A-Z0-9/_]+)")
_TOO_LARGE = re.compile(r"size (\d+)x(\d+) exceeds specified max pixel count")
_TS_PACKET_BYTES = (188, 204)
_TS_SYNC = 0x47
_FALLBACK_FPS = 25.0
_CLOCK_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


class Deadline:
    """The time that one result may take; ``restart`` begins the next one."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._end = time.monotonic() + self.timeout_s

    def check(self) -> None:
        """Raise where the time is over.

        Raises:
            DecodeTimeout: the time is over.
        """
        check()
        if time.monotonic() > self._end:
            raise DecodeTimeout(
                f"{self.path}: no result within {self.timeout_s:g} s; the file is damaged or very "
                "slow to decode: re-encode it or raise the time limit"
            )


@dataclass(frozen=True)
class OpenVideo:
    """An open file and the stream of pictures in it.

    Attributes:
        path: The file.
        container: The demuxer.
        stream: The stream of pictures.
        decoder: What decodes its packets, without threads of its own.
        errors: What FFmpeg reported while packets were read and decoded.
        sums: Checksums of a Matroska file; None where there are none or none are needed.
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext
    errors: ErrorLog = field(default_factory=ErrorLog)
    sums: Any = None  # vlar.plugins.integrity.clusters.ClusterSums

    @property
    def seconds_a_tick(self) -> tuple[int, int]:
        """The time base as numerator and denominator."""
        base = self.stream.time_base
        return (base.numerator, base.denominator) if base else (1, 1000)

    @property
    def fps(self) -> float:
        """Mean rate if the container gives one, else a guess, else 25."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else _FALLBACK_FPS

    @property
    def declared_s(self) -> float | None:
        """Length of the picture stream as the container states it; None where it does not."""
        numerator, denominator = self.seconds_a_tick
        if self.stream.duration and self.stream.duration > 0:
            return self.stream.duration * numerator / denominator
        # Matroska counts from time 0 and not from the first frame.
        from_zero = "matroska" in self.container.format.name and self.stream.start_time
        before_s = (self.stream.start_time or 0) * numerator / denominator if from_zero else 0.0
        tag = _CLOCK_TAG.fullmatch(self.stream.metadata.get("DURATION", ""))
        if tag:
            return (
                max((int(tag[1]) * 60 + int(tag[2])) * 60 + float(tag[3]) - before_s, 0.0) or None
            )
        others = [s for s in self.container.streams if s.type == "audio"]
        if self.container.duration and self.container.duration > 0 and not others:
            return max(self.container.duration / av.time_base - before_s, 0.0) or None
        return None

    @property
    def can_seek(self) -> bool:
        """Whether a seek keeps the time stamps right: in formats that store them with an index."""
        return not {"mov", "matroska"}.isdisjoint(self.container.format.name.split(","))

    @property
    def has_only_decoding_times(self) -> bool:
        """Whether the format stores no presentation times, so that reordered frames lie in theirs.

        AVI: the times FFmpeg makes up for frames out of order are wrong; a frame that leaves the
        decoder shows at the decoding time it carries.
        """
        return self.container.format.name == "avi"

    @property
    def is_cut_short(self) -> bool:
        """Whether the file is a transport stream that ends inside one of its packets."""
        if self.container.format.name != "mpegts":
            return False
        size = self.path.stat().st_size
        with open_input(self.path, recording=True) as file:
            for length in _TS_PACKET_BYTES:
                file.seek(max(size - length, 0))
                if file.read(1) == bytes([_TS_SYNC]):
                    return False
        return True

    def sound(self) -> AudioStream | None:
        """The first stream of sound, whose packets are read from now on; None without one."""
        stream = next(iter(self.container.streams.audio), None)
        if stream is not None and hasattr(stream, "discard"):
            stream.discard = type(stream.discard).default
        return stream

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Packets in decoding order, without the end marker."""
        for packet in self.container.demux(self.stream):
            if self.errors.pending:
                self.errors.take()
            if packet.dts is not None or packet.pts is not None or packet.size:
                yield packet
        if self.errors.pending:
            self.errors.take()

    def is_damaged(self, packet: Packet[VideoStream]) -> bool:
        """Return whether a packet is torn, or of another checksum, before it is decoded."""
        return packet.is_corrupt or (self.sums is not None and self.sums.is_damaged(packet.pos))

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """The frames that leave the decoder once it got ``packet``; None drains it."""
        try:
            if packet is None or self.decoder.name != "libvpx-vp9":
                return self.decoder.decode(packet)
            frames: list[VideoFrame] = []
            for picture in pictures_of(packet):
                frames = self.decoder.decode(picture) or frames
            return frames
        finally:
            if self.errors.pending:
                self.errors.take()


@contextmanager
def errors_of(path: Path) -> Generator[None]:
    """Turn every foreign exception that reading ``path`` raises into that file's DecodeError.

    Demuxers and decoders meet damage that their authors never met: FFmpeg errors of any kind,
    IndexError, MemoryError, OSError. None of them may end the reading of other files.

    Raises:
        DecodeError: instead of any exception that is not vlar's own.
    """
    try:
        yield
    except VlarError:
        raise
    except MemoryError as error:
        raise DecodeOutOfMemory(
            f"{path}: not enough memory to read it; the file is damaged or its pictures are too "
            "large: re-encode it"
        ) from error
    except Exception as error:
        raise DecodeError(
            f"{path}: reading it failed ({type(error).__name__}: {reason(error)}); the file is "
            "damaged: copy or re-encode it"
        ) from error


@contextmanager
def opened(path: Path, timeout_s: float) -> Generator[OpenVideo]:
    """Open a video file for as long as the context lasts.

    Raises:
        DecodeError: it cannot be opened or holds no pictures.
        DecodeTimeout: opening took longer than ``timeout_s``.
    """
    require_readable(path)
    with open_input(path, recording=True) as file:
        head = file.read(_HEAD_BYTES)
    _require_still(path, head[:_WEBP_HEAD])
    require_few_attachments(path)
    with log_enabled(), open_native(path) as name:
        container, refused = _container(path, name, timeout_s, head)
        with container:
            stream = _picture_stream(container, path)
            for other in container.streams:
                if other.index != stream.index and hasattr(other, "discard"):  # since PyAV 18
                    other.discard = type(other.discard).all  # sound, subtitles: not even unpacked
            context = stream.codec_context
            for size in () if context.width else refused:
                require_pixels(path, *size)
            require_pixels(path, context.width, context.height)
            decoder = _decoder(stream)
            has_sums = "matroska" in container.format.name and decoder.name not in _NOTICE_DAMAGE
            clusters = optional_shelf("plugins.integrity.clusters") if has_sums else None
            sums = clusters.ClusterSums(path) if clusters else None
            video = OpenVideo(path, container, stream, decoder, sums=sums)
            names = {container.format.name, context.name, decoder.name}
            names |= _LOGS_OF.get(decoder.name, frozenset())
            video.errors.only_from(frozenset(names))
            yield video


def _container(
    path: Path, name: str, timeout_s: float, head: bytes
) -> tuple[InputContainer, list[tuple[int, int]]]:
    """The open file, and width and height of pictures that were too large to decode.

    Such a picture may be the cover of a video, which nobody reads.
    """
    codec = _CODEC_NAME.search(head)
    unprobed: dict[str, Any] = {}
    if codec and codec[1] == b"V_VP9" and PYAV < 19:
        # Matroska and the parser of VP9 give all that decoding the first key frame would add.
        unprobed["stream_options"] = [{"codec_whitelist": "none"}]
    try:
        # Opening decodes a few frames of every stream: what it reports need not be damage.
        with Capture() as logs:
            container = av.open(
                name,
                "r",
                options=dict(OPTIONS),
                timeout=max(timeout_s, 1e-3),
                **unprobed,
            )
    except ExitError as error:
        raise DecodeTimeout(f"{path}: could not be opened within {timeout_s:g} s") from error
    except Exception as error:
        advice = "the file is cut short, damaged or of another kind: copy or re-encode it"
        if (ending := path.suffix.lower()) and ending not in VIDEO_ENDINGS:
            advice = (
                f"no video ends in {ending}: give a video, or read the file by the model of its "
                "sensor, such as imu, skeleton or audio"
            )
        raise DecodeError(
            f"{path}: not a readable video, 0.0 s of it can be read ({reason(error)}); {advice}"
        ) from error
    matches = (_TOO_LARGE.search(text) for _, _, text in logs)
    return container, [(int(size[1]), int(size[2])) for size in matches if size]


def _require_still(path: Path, head: bytes) -> None:
    """Refuse a WebP file with several pictures, of which FFmpeg would say that it is damaged.

    Raises:
        DecodeError: it is one.
    """
    is_extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == _WEBP_HEAD
    if is_extended and head[-1] & _WEBP_ANIMATION:
        raise DecodeError(
            f"{path}: an animated WebP, which is not read; convert it to mp4 or gif first"
        )


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder, or one that gives the same frames and notices more damage."""
    decoder = stream.codec_context
    name, formats = _CHECKING_DECODERS.get(decoder.name, ("", frozenset()))
    if (decoder.pix_fmt or decoder.profile) in formats:
        try:
            checking = av.CodecContext.create(name, "r")
        except UnknownCodecError:
            checking = None  # an FFmpeg that was built without it
        if isinstance(checking, VideoCodecContext):
            decoder = checking
    decoder.thread_count = 1
    checks = _ERROR_CHECKS.get(decoder.name)
    decoder.options = {**_DECODER_OPTIONS, **({"err_detect": checks} if checks else {})}
    return decoder


def is_damage(error: Exception) -> bool:
    """Return whether an exception means damage in the file: all but vlar's own and a full memory.

    What damage makes a demuxer or decoder raise has no common type.
    """
    return isinstance(error, FFmpegError) or not isinstance(error, (MemoryError, VlarError))


def reason(error: Exception) -> str:
    """FFmpeg's own words for an error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        has_audio = bool(container.streams.audio)
        what = "audio only, no pictures" if has_audio else "no video stream"
        raise DecodeError(f"{path}: {what}; give a file with a video track")
    best = container.streams.best("video")
    stream = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise DecodeError(f"{path}: its codec is unknown to FFmpeg; re-encode it as H.264")
    return stream
