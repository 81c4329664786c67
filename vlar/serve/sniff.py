"""What a file is by its first bytes, whatever its name claims."""

from __future__ import annotations

HEAD_BYTES = 512
_TS_PACKET = 188
_ASF = bytes.fromhex("3026b2758e66cf11")
_MXF = bytes.fromhex("060e2b34020501010d010201")
_BRANDS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
#: Containers that browsers play, with what they call them.
PLAYABLE = {"mp4": "video/mp4", "matroska": "video/webm", "ogg": "video/ogg"}


def container_of(head: bytes) -> str | None:
    r"""Name of the video container that a file begins with; None where it is none.

    >>> container_of(b"\x00\x00\x00 ftypisom"), container_of(b"PK\x03\x04")
    ('mp4', None)

    Args:
        head: The first ``HEAD_BYTES`` bytes, or all of a shorter file.
    """
    if head[4:8] in _BRANDS:
        return "mp4"
    for name, magic in _MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF") and head[8:11] == b"AVI":
        return "avi"
    if _is_transport_stream(head):
        return "mpegts"
    return None


_MAGIC = (
    ("matroska", b"\x1aE\xdf\xa3"),
    ("ogg", b"OggS"),
    ("flv", b"FLV\x01"),
    ("mpegps", b"\x00\x00\x01\xba"),
    ("mpegvideo", b"\x00\x00\x01\xb3"),
    ("h264", b"\x00\x00\x00\x01"),
    ("h264", b"\x00\x00\x01"),
    ("asf", _ASF),
    ("mxf", _MXF),
    ("gif", b"GIF8"),
    ("y4m", b"YUV4MPEG2"),
    ("rm", b".RMF"),
    ("dv", b"\x1f\x07\x00"),
)


def _is_transport_stream(head: bytes) -> bool:
    for size, first in ((_TS_PACKET, 0), (_TS_PACKET + 4, 4)):  # m2ts has a time before each packet
        places = range(first, len(head), size)
        if len(places) > 1 and all(head[at] == 0x47 for at in places):
            return True
    return False
