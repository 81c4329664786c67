"""Checksums of Matroska files (RFC 9559), which FFmpeg writes and does not compare.

A cluster holds the packets of up to some seconds. Where a CRC-32 element comes first in it, it
covers all that follows in the cluster (section 6.2).
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO

from vlar.files.opening import open_input
from vlar.media.integrity.payload import CLUSTER, OTHERS, element_at, first_element, next_cluster

_CRC_ELEMENT = b"\xbf\x84"  # the element's name and its length, 4 bytes
_MOST_CLUSTER_BYTES = 64 << 20


class ClusterSums:
    """Checksum test of the cluster at a place in a file.

    Each cluster is read once, when a place in it or behind it is asked for.

    Attributes:
        has_any: A cluster that was read has a checksum.
    """

    def __init__(self, path: Path) -> None:
        self.has_any = False
        self._path = path
        self._starts: list[int] = []
        self._damaged: list[bool] = []
        with open_input(path, recording=True) as file:
            self._next = first_element(file)

    def is_damaged(self, place: int | None) -> bool:
        """Return whether the cluster of a byte of the file does not match its checksum."""
        if place is None:
            return False
        if self._next is not None and place >= self._next:
            with open_input(self._path, recording=True) as file:
                while self._next is not None and place >= self._next:
                    self._next = self._add(file, self._next)
        index = bisect_right(self._starts, place) - 1
        return index >= 0 and self._damaged[index]

    def _add(self, file: BinaryIO, start: int) -> int | None:
        """Look at the element at ``start``; where the next one begins, None for nowhere."""
        self._starts.append(start)
        self._damaged.append(False)
        element = element_at(file, start)
        if element is None or element[0] not in (CLUSTER, *OTHERS):
            return next_cluster(file, start)  # FFmpeg goes on there as well
        name, begin, end = element
        if name != CLUSTER or not begin + 6 < end < begin + _MOST_CLUSTER_BYTES:
            return end
        file.seek(begin)
        head = file.read(6)
        has_sum = head.startswith(_CRC_ELEMENT)
        self.has_any = self.has_any or has_sum
        content = file.read(end - begin - 6) if has_sum else b""
        if len(content) < end - begin - 6:
            return next_cluster(file, start) if content else end  # cut short, or without a sum
        if zlib.crc32(content) == int.from_bytes(head[2:], "little"):
            return end
        self._damaged[-1] = True
        return next_cluster(file, start)  # its length may be what is wrong
