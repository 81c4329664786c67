"""Zeroed data inside coded pictures: a decoder often makes a picture of it without a word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

# In a picture of these codecs three zero bytes are followed by nothing but a start code, so that
# start codes can be found (H.264, section 7.4.1; H.265, 7.4.2; MPEG-1, -2 and -4, "start code
# emulation"). Zeros may fill up the space before a start code and the end of a packet. In MP4 and
# Matroska, lengths stand in place of start codes: a length begins with three zeros at most, and a
# packet ends in a stop bit.
_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
# The last six zeros of a run decide. A pattern of whole runs takes quadratic time on a long run.
_WITHIN = re.compile(rb"\x00{6}[^\x00\x01]")
_AT_THE_END = b"\0" * 6
_START_CODES = (b"\0\0\1", b"\0\0\0\1")
_HAS_LENGTHS = frozenset({"h264", "hevc"})
_WORD = np.dtype(np.uint64)


def has_zeroed_span(packet: Packet[VideoStream], codec: str) -> bool:
    """Whether zeros stand in a packet where its codec allows none."""
    if codec not in _CODECS:
        return False
    # A run of 15 zeros fills a word, wherever it begins; looking at words takes no time.
    n_words = packet.size // 8
    if np.count_nonzero(np.frombuffer(memoryview(packet), _WORD, n_words)) == n_words:
        return False
    data = bytes(packet)
    if codec in _HAS_LENGTHS and data.endswith(_AT_THE_END) and not data.startswith(_START_CODES):
        return True
    return _WITHIN.search(data) is not None
