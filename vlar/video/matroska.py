"""Matroska files (RFC 9559): checksums, which FFmpeg writes and does not compare; attachments.

A cluster holds the packets of up to some seconds. Where a CRC-32 element comes first in it, it
covers all that follows in the cluster (section 6.2). FFmpeg reads all attachments, such as fonts,
several times over when it opens a file; nobody here needs them.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO

from vlar.errors import DecodeError

_EBML_HEADER = 0x1A45DFA3
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_ATTACHMENTS = 0x1941A469
# A segment's other elements: seek, facts, tracks, chapters, cues, attachments, tags, void.
_OTHERS = frozenset(
    {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, 0x1C53BB6B, _ATTACHMENTS, 0x1254C367, 0xEC}
)
_CRC_ELEMENT = b"\xbf\x84"  # the element's name and its length, 4 bytes
_MOST_CLUSTER_BYTES = 64 << 20
_MOST_ATTACHED_BYTES = 128 << 20
_CHUNK_BYTES = 1 << 20


class ClusterSums:
    """Tells for a place in a file whether its cluster still has its checksum.

    Each cluster is read once, when a place in it or behind it is asked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: list[int] = []
        self._damaged: list[bool] = []
        with path.open("rb") as file:
            self._next = _first_element(file)

    def is_damaged(self, place: int | None) -> bool:
        """Whether the cluster of a byte of the file does not match its checksum."""
        if place is None:
            return False
        if self._next is not None and place >= self._next:
            with self._path.open("rb") as file:
                while self._next is not None and place >= self._next:
                    self._next = self._add(file, self._next)
        at = bisect_right(self._starts, place) - 1
        return at >= 0 and self._damaged[at]

    def _add(self, file: BinaryIO, start: int) -> int | None:
        """Look at the element at ``start``; where the next one begins, None for nowhere."""
        self._starts.append(start)
        self._damaged.append(False)
        element = _element(file, start)
        if element is None or element[0] not in (_CLUSTER, *_OTHERS):
            return _next_cluster(file, start)  # FFmpeg goes on there as well
        name, begin, end = element
        if name != _CLUSTER or not begin + 6 < end < begin + _MOST_CLUSTER_BYTES:
            return end
        file.seek(begin)
        head = file.read(6)
        content = file.read(end - begin - 6) if head.startswith(_CRC_ELEMENT) else b""
        if len(content) < end - begin - 6:
            return _next_cluster(file, start) if content else end  # cut short, or without a sum
        if zlib.crc32(content) == int.from_bytes(head[2:], "little"):
            return end
        self._damaged[-1] = True
        return _next_cluster(file, start)  # its length may be what is wrong


def require_few_attachments(path: Path) -> None:
    """Refuse a file with attachments of more than 128 MB.

    Raises:
        DecodeError: it has them. Empty stretches of a file take no disk, only memory.
    """
    if path.stat().st_size <= _MOST_ATTACHED_BYTES:
        return
    attached = 0
    with path.open("rb") as file:
        at = _first_element(file)
        while at is not None and (element := _element(file, at)) is not None:
            name, begin, end = element
            attached += end - begin if name == _ATTACHMENTS else 0
            at = end if name in (_CLUSTER, *_OTHERS) else _next_cluster(file, at)
    if attached > _MOST_ATTACHED_BYTES:
        raise DecodeError(
            f"{path}: {attached >> 20} MB of attachments (fonts, covers), more than the limit of "
            f"{_MOST_ATTACHED_BYTES >> 20} MB; remux the video without them"
        )


def _first_element(file: BinaryIO) -> int | None:
    """Where the first element of the segment begins; None for another kind of file."""
    header = _element(file, 0)
    if header is None or header[0] != _EBML_HEADER:
        return None
    segment = _element(file, header[2])
    return segment[1] if segment is not None and segment[0] == _SEGMENT else None


def _next_cluster(file: BinaryIO, after: int) -> int | None:
    """Where the next cluster after a place begins, by its name; None for nowhere."""
    name = _CLUSTER.to_bytes(4, "big")
    at = after + 1
    while True:
        file.seek(at)
        chunk = file.read(_CHUNK_BYTES)
        found = chunk.find(name)
        if found >= 0:
            return at + found
        if len(chunk) < _CHUNK_BYTES:
            return None
        at += len(chunk) - 3


def _element(file: BinaryIO, at: int) -> tuple[int, int, int] | None:
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
