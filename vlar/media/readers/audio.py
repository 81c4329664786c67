"""Sound tracks to samples, with PyAV."""

from __future__ import annotations

import time
import wave
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import DecodeError, DecodeTimeout
from vlar.files.opening import open_native
from vlar.files.reading import require_memory
from vlar.files.workers.process import FileLimits
from vlar.media.signals import Recorded, SignalReader, head_of
from vlar.media.video.files import VIDEO_ENDINGS
from vlar.registry import register
from vlar.types import Float32

RATE_HZ = 16_000.0
_MOST_S = 2 * 3600
_SAMPLE_BYTES = 4
_RESAMPLING_BYTES = 24  # of a sample that a frame becomes: FFmpeg resamples a frame as a whole
_UNASKED = 8 * 1024 * 1024  # bytes until the memory is asked for again
_BLOCK = 1 << 20  # samples
_PREROLL_S = 0.5  # decoded before a span: the decoder of a packet needs those before it


def decode(path: Path, timeout_s: float) -> Float32:
    """The first sound track of a file as mono at 16 kHz.

    A track that is damaged towards its end is read as far as possible.

    Args:
        path: A sound file or a video.
        timeout_s: Seconds that decoding may take.

    Returns:
        (N,) float32, -1 to 1.

    Raises:
        DecodeError: it cannot be opened or decoded, has no sound track, or lasts over two hours.
        DecodeTimeout: it takes too long.
    """
    with _opened(path, timeout_s) as container:
        return _samples(path, container, time.monotonic() + timeout_s)


def decode_span(path: Path, start_s: float, end_s: float, timeout_s: float) -> Float32:
    """A span of the first sound track; a recording of any length takes the memory of the span.

    Args:
        path: A sound file or a video.
        start_s: Seconds from the first picture, or from the first sound of a sound file.
        end_s: Seconds, later than ``start_s``.
        timeout_s: Seconds that decoding may take.

    Returns:
        (N,) float32, as ``decode``; shorter where the track ends, silent before it begins.

    Raises:
        DecodeError: it cannot be opened or decoded, or has no sound track.
        DecodeTimeout: it takes too long.
    """
    import av

    last_s, blocks, begin_s = time.monotonic() + timeout_s, [np.zeros(0, np.float32)], None
    with _opened(path, timeout_s) as container:
        sound = container.streams.audio[0]
        clock = container.streams.video[0] if container.streams.video else sound
        origin_s = float((clock.start_time or 0) * (clock.time_base or 0))
        if start_s > _PREROLL_S:
            container.seek(round((origin_s + start_s - _PREROLL_S) * 1e6))
        resampler = av.AudioResampler(format="flt", layout="mono", rate=round(RATE_HZ))
        for frame in container.decode(sound):
            at_s = start_s if frame.time is None else frame.time - origin_s
            length_s = frame.samples / max(frame.sample_rate, 1)
            if time.monotonic() > last_s:
                raise DecodeTimeout(f"{path}: its sound takes too long to decode; cut it first")
            if at_s >= end_s:
                break
            if at_s + length_s <= start_s:
                continue
            require_memory(_RESAMPLING_BYTES * length_s * RATE_HZ)
            begin_s = at_s if begin_s is None else begin_s
            blocks += [resampled.to_ndarray()[0] for resampled in resampler.resample(frame)]
        if begin_s is not None:
            blocks += [resampled.to_ndarray()[0] for resampled in resampler.resample(None)]
    ahead = 0 if begin_s is None else round((begin_s - start_s) * RATE_HZ)
    if ahead > 0:
        blocks.insert(0, np.zeros(ahead, np.float32))
    samples = np.concatenate(blocks)[max(-ahead, 0) :][: round((end_s - start_s) * RATE_HZ)]
    return np.nan_to_num(samples).clip(-1, 1).astype(np.float32)


@contextmanager
def _opened(path: Path, timeout_s: float) -> Generator[Any]:
    """A container that has sound; errors of the decoder are those of vlar."""
    import av
    from av.error import FFmpegError

    try:
        # Files only, and no play lists: a text file must not make the decoder open other files.
        from vlar.media.video.container import OPTIONS, PYAV

        # PyAV 19 and later read titles in any encoding.
        more: dict[str, Any] = {"metadata_errors": "ignore"} if PYAV < 19 else {}
        with (
            open_native(path) as name,
            av.open(name, options=dict(OPTIONS), timeout=timeout_s, **more) as container,
        ):
            if not container.streams.audio:
                raise DecodeError(f"{path}: it has no sound track; give a recording with sound")
            yield container
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"{path}: its sound cannot be read ({reason}); check the file") from error


def _samples(path: Path, container: Any, end_s: float) -> Float32:
    import av
    from av.error import FFmpegError

    resampler = av.AudioResampler(format="flt", layout="mono", rate=round(RATE_HZ))
    data = bytearray()  # it grows in place, where joining arrays takes the memory twice
    allowed = 0.0
    try:
        for frame in container.decode(audio=0):
            length_s = frame.samples / max(frame.sample_rate, 1)
            count = len(data) // _SAMPLE_BYTES
            if count / RATE_HZ + length_s > _MOST_S:
                raise DecodeError(f"{path}: it lasts over {_MOST_S // 3600} hours; cut it first")
            # A damaged rate stretches a frame of 16 kB to 2 GB.
            needed = len(data) + _RESAMPLING_BYTES * length_s * RATE_HZ
            if needed > allowed:
                require_memory(needed)
                allowed = needed + _UNASKED
            for resampled in resampler.resample(frame):
                data += resampled.to_ndarray().astype(np.float32, copy=False).data
            if time.monotonic() > end_s:
                raise DecodeTimeout(f"{path}: its sound takes too long to decode; cut it first")
        for resampled in resampler.resample(None):
            data += resampled.to_ndarray().astype(np.float32, copy=False).data
    except FFmpegError:
        if not data:
            raise
    samples = np.frombuffer(data, np.float32)
    for start in range(0, len(samples), _BLOCK):  # the masks of all samples would take memory
        block = samples[start : start + _BLOCK]
        np.nan_to_num(block, copy=False).clip(-1, 1, out=block)
    return samples


_SOUND_ENDINGS = frozenset(
    {".wav", ".ogg", ".oga", ".opus", ".flac", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma"}
)
_BEGINNINGS = (b"RIFF", b"RF64", b"OggS", b"fLaC", b"ID3", b"FORM", b"\x30\x26\xb2\x75")
_EXAMPLE_HZ = 8000


@register("reader", "audio")
class AudioReader(SignalReader):
    """Clips of (T,) float32 sound, -1 to 1; ``Clip.meta`` has ``rate_hz`` of the recording.

    The first sound track of a video is read too: give the video to ``--model audio``.
    """

    modality = "audio"
    endings = _SOUND_ENDINGS | VIDEO_ENDINGS
    averages = True

    def claims(self, path: Path) -> bool:
        """A sound file by its first bytes; a video by its ending."""
        ending = path.suffix.lower()
        if ending not in _SOUND_ENDINGS:
            return ending in VIDEO_ENDINGS
        head = head_of(path)
        if head is None:
            return False
        in_frames = len(head.data) > 1 and head.data[0] == 0xFF and head.data[1] & 0xE0 == 0xE0
        return head.data.startswith(_BEGINNINGS) or head.data[4:8] == b"ftyp" or in_frames

    def load(self, path: Path) -> Recorded:
        """The whole sound.

        Raises:
            DecodeError: it cannot be decoded, is too long, or has no sound track.
        """
        data = decode(path, FileLimits.from_environment().timeout_s)
        if not len(data):
            raise DecodeError(f"{path}: its sound track is empty; record it again")
        return Recorded(data, RATE_HZ, {"unit": "share of full scale"})

    def example(self, folder: Path) -> Path:
        """Three seconds of a tone that rises."""
        time_s = np.arange(3 * _EXAMPLE_HZ) / _EXAMPLE_HZ
        tone = 0.4 * np.sin(2 * np.pi * (300 * time_s + 100 * time_s**2))
        path = folder / "example.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_EXAMPLE_HZ)
            file.writeframes((32767 * tone).astype("<i2").tobytes())
        return path
