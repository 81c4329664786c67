"""Corruptions of storage and transmission: coarse H.264, coarse JPEG, bit errors.

H.264 goes through the real encoder and the real decoder (libx264 and FFmpeg), in memory.
"""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np

from vlar.evaluation.corruptions.base import Corruption, FrameCorruption
from vlar.registry import register
from vlar.types import UInt8

_FPS = 25
_GOP = 12  # frames from one key frame to the next: where damage ends
_SENT_CRF = 23  # quality of the stream whose bits flip
_LEAST_SIDE = 16  # pixels of the smallest picture that is encoded
_GREY = 128


@register("corruption", "h264")
class H264(Corruption):
    """H.264 at falling quality; ``levels`` are constant rate factors (51 is the worst)."""

    family = "codec"
    levels = (26.0, 32.0, 38.0, 44.0, 50.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        packets, header = _encoded(frames, int(level))
        return _decoded(packets, header, frames)


@register("corruption", "bit-errors")
class BitErrors(Corruption):
    """Flipped bits in an H.264 stream; ``levels`` are the share of bits that flip.

    The headers of the stream arrive. The decoder conceals what it can; a frame that it does not
    give is shown as the one before.
    """

    family = "codec"
    levels = (1e-5, 4e-5, 1.5e-4, 5e-4, 2e-3)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        packets, header = _encoded(frames, _SENT_CRF)
        return _decoded([_flipped(packet, level, random) for packet in packets], header, frames)


@register("corruption", "jpeg")
class Jpeg(FrameCorruption):
    """Each frame as JPEG; ``levels`` are its quality (100 is the best)."""

    family = "codec"
    levels = (40.0, 24.0, 14.0, 8.0, 4.0)

    def change(self, frame: UInt8, level: float, random: np.random.Generator) -> UInt8:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=int(level))
        return np.asarray(Image.open(file).convert("RGB"))


def _encoded(frames: UInt8, crf: int) -> tuple[list[bytes], bytes]:
    """One packet a frame, in order, and the header of the stream."""
    import av
    from av.codec.context import Flags

    height, width = frames.shape[1:3]
    # 4:2:0 needs even sides; libx264 refuses pictures below one macroblock.
    full = [max(_LEAST_SIDE, side + side % 2) for side in (height, width)]
    rows, columns = full[0] - height, full[1] - width
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = full[1], full[0], "yuv420p"  # type: ignore[attr-defined]
    encoder.framerate, encoder.time_base = Fraction(_FPS), Fraction(1, _FPS)  # type: ignore[attr-defined]
    encoder.flags |= Flags.global_header
    encoder.thread_count = 1
    encoder.options = {
        "crf": str(crf),
        "preset": "veryfast",
        "bf": "0",
        "g": str(_GOP),
        "tune": "zerolatency",
        "x264-params": "threads=1:scenecut=0:log-level=none",
    }
    packets: list[bytes] = []
    for number, picture in enumerate(frames):
        padded = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(padded, "rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += map(bytes, encoder.encode(frame))  # type: ignore[attr-defined]
    packets += map(bytes, encoder.encode(None))  # type: ignore[attr-defined]
    return packets, bytes(encoder.extradata or b"")


def _flipped(packet: bytes, rate: float, random: np.random.Generator) -> bytes:
    bits = np.unpackbits(np.frombuffer(packet, np.uint8))
    flips = random.random(bits.size, dtype=np.float32) < rate
    flips[: 8 * 5] = False  # the start code and the kind of the packet
    return np.packbits(bits ^ flips).tobytes()


def _decoded(packets: list[bytes], header: bytes, like: UInt8) -> UInt8:
    """The frames of a stream in the shape of ``like``; a missing one repeats the one before."""
    import av
    from av.codec.context import Flags
    from av.error import FFmpegError

    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata, decoder.thread_count = header, 1
    decoder.flags |= Flags.output_corrupt
    result = np.full_like(like, _GREY)
    height, width = like.shape[1:3]
    decoded = np.zeros(len(like), bool)
    for number, data in enumerate([*packets, b""]):
        packet = av.Packet(data) if data else None
        if packet is not None:
            packet.pts = packet.dts = number
        try:
            frames = decoder.decode(packet)  # type: ignore[attr-defined]
        except FFmpegError:  # nothing of this packet can be shown
            continue
        for frame in frames:
            if frame.pts is not None and 0 <= frame.pts < len(like):
                picture = frame.reformat(format="rgb24").to_ndarray()
                rows, columns = min(height, picture.shape[0]), min(width, picture.shape[1])
                result[frame.pts, :rows, :columns] = picture[:rows, :columns]
                decoded[frame.pts] = True
    if decoded.any():
        shown = np.maximum.accumulate(np.where(decoded, np.arange(len(like)), -1))
        result = result[np.where(shown < 0, int(np.argmax(decoded)), shown)]
    return result


@register("corruption", "drop")
class Drop(Corruption):
    """Lost frames, shown as the frame before; ``levels`` are the share that is lost."""

    family = "time"
    levels = (0.1, 0.25, 0.4, 0.6, 0.8)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """Drop frames; the first frame always arrives."""
        order = 1 + random.permutation(len(frames) - 1)
        shown = np.arange(len(frames))
        shown[order[: _count(level, len(frames) - 1)]] = 0
        return frames[np.maximum.accumulate(shown)]


@register("corruption", "freeze")
class Freeze(Corruption):
    """A picture that stands still; ``levels`` are the share of the clip during which it does."""

    family = "time"
    levels = (0.2, 0.4, 0.6, 0.8, 1.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        still = _count(level, len(frames) - 1)
        start = int(random.random() * (len(frames) - still))
        shown = np.arange(len(frames))
        shown[start : start + still + 1] = start
        return frames[shown]


@register("corruption", "shuffle")
class Shuffle(Corruption):
    """Frames that change places; ``levels`` are the share of the frames that do."""

    family = "time"
    levels = (0.2, 0.4, 0.6, 0.8, 1.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """Shuffle frames; every chosen frame takes the place of the next chosen one."""
        order = random.permutation(len(frames))
        chosen = order[: max(_count(level, len(frames)), min(2, len(frames)))]
        shown = np.arange(len(frames))
        shown[chosen] = np.roll(chosen, 1)
        return frames[shown]


@register("corruption", "reverse")
class Reverse(Corruption):
    """The clip from its end to its start, at every severity; twice gives the clip."""

    family = "time"
    levels = (1.0, 1.0, 1.0, 1.0, 1.0)
    graded = False

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        return frames[::-1]


def _count(share: float, n: int) -> int:
    """Number of frames for a share of n, at least 1 of a non-empty clip."""
    return min(n, max(1, round(share * n)))
