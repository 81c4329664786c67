"""VP9 superframes, taken apart: a hidden picture and a shown one in one packet.

libvpx notices data that is left over after a picture, which shows that its arithmetic decoder lost
its way. It does not look for them inside a superframe, where an index gives the length of each
picture. Pictures that come one by one are all looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from av.packet import Packet

if TYPE_CHECKING:
    from av.video.stream import VideoStream

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
        int.from_bytes(index[1 + at * n_bytes :][:n_bytes], "little") for at in range(n_pictures)
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
