"""Errors that FFmpeg reports; attachments of Matroska files (RFC 9559); superframes of VP9.

FFmpeg reads all attachments, such as fonts, several times over when it opens a file; nobody here
needs them.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from av import logging as av_logging
from av.packet import Packet

from vlar.errors import DecodeError
from vlar.files.opening import open_input

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_Message = tuple[int, str, str]
_MOST_KEPT = 8
# Remarks below the level of an error that mean damage: a decoder paints over what it could not
# read, or leaves out a part of the stream that it cannot parse.
_TELLS_DAMAGE = re.compile(
    r"concealing \d|Skipping invalid undecodable|Failed to parse header of NAL"
)

# What FFmpeg writes most about damage, in words that need no knowledge of codecs.
_WORDS = (
    (re.compile(r"concealing \d+ .*errors"), "parts of a picture are damaged and painted over"),
    (
        re.compile(r"decoding MB|macroblock|bytestream|ac-tex|dct|mb_|cbp|vlc|cabac|qscale", re.I),
        "a part of a picture is damaged",
    ),
    (
        re.compile(r"Invalid NAL unit|NAL|slice|reference|POC|frame num|mmco", re.I),
        "a picture, or one that it builds on, is missing or damaged",
    ),
    (re.compile(r"moov atom not found"), "its index is missing; the file was not finished"),
    (re.compile(r"marker|overread|buffer|truncat|end mismatch", re.I), "data ends too early"),
    (re.compile(r"header|invalid data|image data", re.I), "data is not what it should be"),
)


def in_words(message: str) -> str:
    """A message of FFmpeg in plain words, with its own in brackets.

    >>> in_words("error while decoding MB 3 4, bytestream -7")
    'a part of a picture is damaged (error while decoding MB 3 4, bytestream -7)'
    """
    message = message.rstrip(".")
    words = next((words for sign, words in _WORDS if sign.search(message)), None)
    return f"{words} ({message})" if words else f"the decoder reports {message!r}"


class _Switch:
    """Turns the log of the process on for the first user and off after the last."""

    def __init__(self) -> None:
        self.level: int | None = None
        self._lock = threading.Lock()
        self._users = 0
        self._skip_repeated = True
        self._rest = av_logging.Capture(local=False)

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self.level = av_logging.get_level()
            self._skip_repeated = av_logging.get_skip_repeated()
            av_logging.set_level(max(self.level or 0, av_logging.INFO))
            av_logging.set_skip_repeated(False)
            if self.level is None:
                # Messages of other code in the process stay unseen, as they are by default.
                self._rest = av_logging.Capture(local=False)
                self._rest.__enter__()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            if self.level is None:
                self._rest.__exit__(None, None, None)
            av_logging.set_level(self.level)
            av_logging.set_skip_repeated(self._skip_repeated)


_switch = _Switch()


@contextmanager
def log_enabled() -> Generator[None]:
    """Keep FFmpeg's error log on as long as the context lasts."""
    _switch.enter()
    try:
        yield
    finally:
        _switch.leave()


class ErrorLog:
    """The errors that FFmpeg wrote about one file.

    Calls of FFmpeg run inside ``with Capture() as log.pending``, which must not span a yield: the
    thread that goes on after it may be another. ``take`` counts what came.

    Attributes:
        pending: Messages that the running capture has gathered and nobody counted.
        count: How many there were.
        messages: The first few, one line each.
        latest: Those that the last call with errors brought.
    """

    def __init__(self) -> None:
        self.pending: list[_Message] = []
        self.count = 0
        self.messages: list[str] = []
        self.latest: list[str] = []
        self._names: frozenset[str] | None = None

    def only_from(self, names: frozenset[str]) -> None:
        """Count messages of these demuxers and decoders alone: a sound track is not a picture."""
        self._names = names

    def take(self) -> None:
        """Count the pending messages."""
        logs = self.pending.copy()
        self.pending.clear()
        latest: list[str] = []
        for level, name, text in logs:
            if _switch.level is not None and level <= _switch.level:
                logging.getLogger(f"libav.{name or 'generic'}").log(
                    av_logging.adapt_level(level), text.strip()
                )
            tells = level <= av_logging.ERROR or _TELLS_DAMAGE.match(text)
            if tells and (self._names is None or name in self._names):
                latest.append(" ".join(text.split()))
        if latest:
            self.count += len(latest)
            self.latest = latest
            if len(self.messages) < _MOST_KEPT:
                self.messages += [line for line in latest if line not in self.messages]


_EBML_HEADER = 0x1A45DFA3
_SEGMENT = 0x18538067
CLUSTER = 0x1F43B675
_ATTACHMENTS = 0x1941A469
# A segment's other elements: seek, facts, tracks, chapters, cues, attachments, tags, void.
OTHERS = frozenset(
    {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, 0x1C53BB6B, _ATTACHMENTS, 0x1254C367, 0xEC}
)
_MOST_ATTACHED_BYTES = 128 << 20
_CHUNK_BYTES = 1 << 20


def require_few_attachments(path: Path) -> None:
    """Refuse a file with attachments of more than 128 MB.

    Raises:
        DecodeError: it has them. Empty stretches of a file take no disk, only memory.
    """
    if path.stat().st_size <= _MOST_ATTACHED_BYTES:
        return
    attached = 0
    with open_input(path, recording=True) as file:
        offset = first_element(file)
        while offset is not None and (element := element_at(file, offset)) is not None:
            name, begin, end = element
            attached += end - begin if name == _ATTACHMENTS else 0
            offset = end if name in (CLUSTER, *OTHERS) else next_cluster(file, offset)
    if attached > _MOST_ATTACHED_BYTES:
        raise DecodeError(
            f"{path}: {attached >> 20} MB of attachments (fonts, covers), more than the limit of "
            f"{_MOST_ATTACHED_BYTES >> 20} MB; remux the video without them"
        )


def first_element(file: BinaryIO) -> int | None:
    """Byte offset of the first element of the segment; None for another kind of file."""
    header = element_at(file, 0)
    if header is None or header[0] != _EBML_HEADER:
        return None
    segment = element_at(file, header[2])
    return segment[1] if segment is not None and segment[0] == _SEGMENT else None


def next_cluster(file: BinaryIO, after: int) -> int | None:
    """Byte offset of the next cluster after a place, found by its name; None if there is none."""
    name = CLUSTER.to_bytes(4, "big")
    offset = after + 1
    while True:
        file.seek(offset)
        chunk = file.read(_CHUNK_BYTES)
        position = chunk.find(name)
        if position >= 0:
            return offset + position
        if len(chunk) < _CHUNK_BYTES:
            return None
        offset += len(chunk) - 3


def element_at(file: BinaryIO, at: int) -> tuple[int, int, int] | None:
    """Name, begin and end of the content of the element at a place; None where none is whole."""
    file.seek(at)
    head = file.read(12)
    name_bytes = 9 - head[0].bit_length() if head else 9
    if name_bytes > 4 or len(head) <= name_bytes:
        return None
    size_bytes = 9 - head[name_bytes].bit_length()
    begin = name_bytes + size_bytes
    if size_bytes > 8 or len(head) < begin:
        return None
    size = int.from_bytes(head[name_bytes:begin], "big") & ((1 << 7 * size_bytes) - 1)
    name = int.from_bytes(head[:name_bytes], "big")
    if size == (1 << 7 * size_bytes) - 1 and name != _SEGMENT:
        return None  # of unknown length: the writer could not go back, and wrote no sum either
    return name, at + begin, at + begin + size


_MARKER = 0b110


def pictures_of(packet: Packet[VideoStream]) -> list[Packet[VideoStream]]:
    """The coded pictures of a packet; the packet itself where it holds one.

    The index at the end of a superframe (VP9 bitstream specification, annex B) is a marker byte,
    the length of each picture, and the marker byte again. The last picture is the one that shows.
    """
    size = packet.size
    marker = memoryview(packet)[size - 1] if size else 0
    if marker >> 5 != _MARKER or not hasattr(packet, "iter_sidedata"):  # since PyAV 16
        return [packet]
    n_pictures, n_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    data = bytes(packet)
    index = data[size - 2 - n_pictures * n_bytes :]
    if n_pictures < 2 or len(index) != 2 + n_pictures * n_bytes or index[0] != marker:
        return [packet]
    lengths = [
        int.from_bytes(index[1 + number * n_bytes :][:n_bytes], "little")
        for number in range(n_pictures)
    ]
    if sum(lengths) != size - len(index) or not all(lengths):
        return [packet]
    parts: list[Packet[VideoStream]] = []
    begin = 0
    for length in lengths:
        part = cast("Packet[VideoStream]", Packet(data[begin : begin + length]))
        part.pts, part.dts, part.time_base = packet.pts, packet.dts, packet.time_base
        parts.append(part)
        begin += length
    for extra in packet.iter_sidedata():  # the alpha channel of the picture that shows
        parts[-1].set_sidedata(extra)
    return parts
