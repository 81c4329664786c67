"""Pictures that H.264 numbers and a file lacks.

A gap in otherwise even times has two causes: a recorder left out frames before they were coded, or
coded frames were lost. The coder numbers pictures in the order they show, so only a loss leaves a
gap in these numbers (H.264, section 8.2.1, picture order count).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from av.packet import Packet
from av.video.stream import VideoStream

from vlar.media.integrity.picture_order import GAP_FRAMES, MissingPictures
from vlar.media.video.container import is_damage, opened

_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_SLICE, _IDR_SLICE, _PARAMETERS = 1, 5, 7  # types of NAL units
_MP4 = b"\1"  # how settings begin where lengths stand in place of start codes
_HEADER_BYTES = 64
_REORDER = 16  # pictures by which decoding order may differ from the order of showing
_NEAR = 64  # pictures around a gap that show by how much numbers rise
_TIMEOUT_S = 20.0


class _Numbering(NamedTuple):
    """Picture numbering of a sequence parameter set."""

    by_order: bool  # a picture order count in each slice; else order is that of decoding
    frame_bits: int
    order_bits: int
    has_planes: bool
    has_fields: bool


class _Picture(NamedTuple):
    stamp: int
    period: int  # numbers start again at each IDR picture
    number: int
    modulus: int
    place: int  # in decoding order
    frame: int  # counts the pictures that others refer to
    frame_modulus: int


class _Bits:
    """Reads a NAL unit bit by bit (section 7.2), without its emulation prevention bytes."""

    def __init__(self, nal: bytes) -> None:
        data = nal.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def u(self, n: int) -> int:
        self._left -= n
        if self._left < 0:
            raise ValueError("the unit ends early")
        return self._value >> self._left & ((1 << n) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def skip(self, n: int) -> None:
        """Skip whole numbers of variable length."""
        for _ in range(n):
            self.ue()

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def lost_pictures(path: Path, after: Sequence[int], by_dts: bool) -> tuple[MissingPictures, ...]:
    """Gaps in a file's times where numbered pictures are missing too.

    Args:
        path: A video of H.264.
        after: The time stamp before each gap.
        by_dts: The file stores decoding times alone.
    """
    decoded: list[_Picture] = []
    try:
        decoded.extend(_pictures(path, by_dts))
    except Exception as error:
        if not is_damage(error):
            raise
        # FFmpeg reports what is wrong with the rest when it is read.
    shown = sorted(decoded)
    index_of = {picture.stamp: index for index, picture in enumerate(shown)}
    return tuple(
        MissingPictures(
            stamp, _is_referred(decoded, shown[index_of[stamp]], shown[index_of[stamp] + 1])
        )
        for stamp in after
        if stamp in index_of and _is_lost(shown, index_of[stamp])
    )


def forgets(packet: Packet[VideoStream], extra: bytes) -> bool:
    """Return whether a packet of H.264 is an IDR picture: none after it refers to one before it."""
    return any(unit[0] & 31 == _IDR_SLICE for unit in _units(bytes(packet), extra))


def _is_lost(pictures: list[_Picture], at: int) -> bool:
    steps = [
        (b.number - a.number) % a.modulus if a.period == b.period else 0
        for a, b in pairwise(pictures)
    ]
    usual = [step for step in steps[max(at - _NEAR, 0) : at + _NEAR] if step]
    return bool(usual) and at < len(steps) and steps[at] > GAP_FRAMES * statistics.median(usual)


def _is_referred(decoded: list[_Picture], before: _Picture, behind: _Picture) -> bool:
    """Return whether a picture that others refer to is missing around a gap (7.4.3, frame_num)."""
    first, last = sorted((before.place, behind.place))
    return any(
        a.period == b.period and (b.frame - a.frame) % a.frame_modulus > 1
        for a, b in pairwise(decoded[max(first - _REORDER, 0) : last + _REORDER])
    )


def _pictures(path: Path, by_dts: bool) -> Iterator[_Picture]:
    with opened(path, _TIMEOUT_S) as video:
        extra = video.stream.codec_context.extradata or b""
        sets = _length_prefixed(extra[6:], 2) if extra[:1] == _MP4 else _after_start_codes(extra)
        numbering = _numbering(next(iter(sets), b""))
        period = number = 0
        for packet in video.packets():
            stamp = packet.dts if by_dts else packet.pts
            if stamp is None:
                continue
            for unit in _units(bytes(packet), extra):
                kind = unit[0] & 31
                if kind == _PARAMETERS:
                    numbering = _numbering(unit)
                if kind not in (_SLICE, _IDR_SLICE) or numbering is None:
                    continue
                period += kind == _IDR_SLICE
                yield _picture(unit, numbering, stamp, period, number)
                number += 1
                break


def _picture(unit: bytes, numbering: _Numbering, stamp: int, period: int, place: int) -> _Picture:
    """Read a picture from the header of its first slice (section 7.3.3)."""
    bits = _Bits(unit[1:])
    bits.skip(3)  # first macroblock, type, picture parameter set
    if numbering.has_planes:
        bits.u(2)
    frame, most = bits.u(numbering.frame_bits), 1 << numbering.frame_bits
    if not numbering.by_order:
        is_referred = unit[0] >> 5 & 3
        return _Picture(stamp, period, 2 * frame - (not is_referred), 2 * most, place, frame, most)
    if numbering.has_fields and bits.u(1):
        bits.u(1)
    if unit[0] & 31 == _IDR_SLICE:
        bits.ue()
    number, modulus = bits.u(numbering.order_bits), 1 << numbering.order_bits
    return _Picture(stamp, period, number, modulus, place, frame, most)


def _numbering(unit: bytes) -> _Numbering | None:
    """Read the numbering from a sequence parameter set (section 7.3.2.1.1)."""
    if not unit or unit[0] & 31 != _PARAMETERS:
        return None
    bits = _Bits(unit[1:])
    profile = bits.u(8)
    bits.u(16)
    bits.skip(1)
    has_planes = False
    if profile in _HIGH_PROFILES:
        has_planes = _skip_colour(bits)
    frame_bits = bits.ue() + 4
    kind = bits.ue()
    if kind == 1:
        return None  # numbers of a repeated pattern, which no usual coder writes
    order_bits = bits.ue() + 4 if kind == 0 else 0
    bits.skip(1)  # most references
    bits.u(1)
    bits.skip(2)  # width, height
    return _Numbering(kind == 0, frame_bits, order_bits, has_planes, not bits.u(1))


def _skip_colour(bits: _Bits) -> bool:
    """Skip what high profiles add to the set; whether colour planes are coded apart."""
    chroma = bits.ue()
    has_planes = chroma == 3 and bool(bits.u(1))
    bits.skip(2)  # depths
    bits.u(1)
    if bits.u(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return has_planes


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _units(data: bytes, extra: bytes) -> Iterator[bytes]:
    """Type byte and header of each NAL unit of a packet; ``extra``: the decoder's settings."""
    if extra[:1] == _MP4:
        return _length_prefixed(data, (extra[4] & 3) + 1)
    return _after_start_codes(data)


def _length_prefixed(data: bytes, length_bytes: int) -> Iterator[bytes]:
    offset = 0
    while offset + length_bytes < len(data):
        length = int.from_bytes(data[offset : offset + length_bytes], "big")
        offset += length_bytes
        yield data[offset : offset + min(length, _HEADER_BYTES)]
        offset += length


def _after_start_codes(data: bytes) -> Iterator[bytes]:
    offset = data.find(b"\0\0\1")
    while 0 <= offset < len(data) - 3:
        yield data[offset + 3 : offset + 3 + _HEADER_BYTES]
        offset = data.find(b"\0\0\1", offset + 3)
