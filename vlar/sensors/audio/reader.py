"""The reader ``audio``: mono sound at 16 kHz, of sound files and of videos."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.registry import register
from vlar.sensors.audio.decode import RATE_HZ, decode
from vlar.sensors.signals import Recorded, SignalReader, head_of
from vlar.video import VIDEO_ENDINGS
from vlar.workers import FileLimits

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
