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
# emulation"). Zeros may fill up the space before a start code and the end of a packet. Lengths of
# parts, which stand in place of start codes in MP4 and Matroska, begin with three zeros at most.
_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
# The last six zeros of a run decide. A pattern of whole runs takes quadratic time on a long run.
_WITHIN = re.compile(rb"\x00{6}[^\x00\x01]")
_WORD = np.dtype(np.uint64)


def has_zeroed_span(packet: Packet[VideoStream], codec: str) -> bool:
    """Whether zeros stand in a packet where its codec allows none."""
    if codec not in _CODECS:
        return False
    # A run of 15 zeros fills a word, wherever it begins; looking at words takes no time.
    n_words = packet.size // 8
    if np.count_nonzero(np.frombuffer(memoryview(packet), _WORD, n_words)) == n_words:
        return False
    return _WITHIN.search(bytes(packet)) is not None
