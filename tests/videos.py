"""Makes small videos for tests: every frame carries its number, so a wrong frame is seen.

``make_video`` writes any container and codec; ``KINDS`` names the combinations that must all
work; the rest damages, cuts or lengthens files. Nothing here uses vlar.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8 = npt.NDArray[np.uint8]
BITS = 12
X264 = {"preset": "ultrafast", "crf": "20"}


def barcode(number: int, width: int = 96, height: int = 64) -> UInt8:
    """(H, W, 3): one vertical bar a bit, black or white above, its opposite below."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    columns = (np.arange(width) * BITS) // width
    line = np.array(bits, dtype=np.uint8)[columns] * 255
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[: height // 2] = line[None, :, None]
    picture[height // 2 :] = 255 - line[None, :, None]
    return picture


def read_barcode(frame: UInt8) -> int:
    """The number a barcode frame carries, after lossy coding and resizing."""
    height, width = frame.shape[:2]
    grey = frame.astype(np.float64).mean(axis=2)
    number = 0
    for bit in range(BITS):
        left, right = bit * width / BITS, (bit + 1) * width / BITS
        inside = slice(int(left + (right - left) / 4), max(int(right - (right - left) / 4), 1))
        above = grey[height // 8 : height * 3 // 8, inside].mean()
        below = grey[height * 5 // 8 : height * 7 // 8, inside].mean()
        number |= int(above > below) << bit
    return number


def make_video(
    path: Path,
    n_frames: int = 60,
    *,
    fps: int = 25,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times_s: Sequence[float] | None = None,
    start_s: float = 0.0,
    rotation_deg: int = 0,
    mirrored: bool = False,
    gop: int = 12,
    b_frames: int = 2,
    audio_s: float = 0.0,
    picture: Callable[[int], UInt8] | None = None,
) -> Path:
    """Write a video of (width, height) ``size``; frame i shows ``picture(i)`` from ``times_s[i]``.

    ``rotation_deg`` (counter-clockwise) and ``mirrored`` only go into the metadata.
    """
    draw = picture or (lambda number: barcode(number, *size))
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=_options(codec, options, b_frames))
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        if codec != "gif":
            stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        if codec in ("mpeg4", "mpeg2video"):
            stream.codec_context.max_b_frames = b_frames
        base = Fraction(1, 1000) if times_s is not None or start_s else Fraction(1, fps)
        stream.codec_context.time_base = base
        if rotation_deg or mirrored:
            stream.set_display_rotation(rotation_deg, hflip=mirrored)
        sound = _add_audio(container) if audio_s else None
        for index in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(draw(index)), "rgb24")
            frame = frame.reformat(format=pix_fmt)
            time_s = times_s[index] if times_s is not None else Fraction(index, fps)
            frame.pts = round(
                (Fraction(time_s).limit_denominator(10**6) + Fraction(start_s)) / base
            )
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_audio(container, sound, audio_s)
    return path


def _options(codec: str, options: dict[str, str] | None, b_frames: int) -> dict[str, str]:
    if codec == "libx264":
        params = f"bframes={b_frames}:scenecut=0"
        return {**X264, "x264-params": params, **(options or {})}
    if codec == "libx265":
        return {"preset": "ultrafast", "x265-params": "log-level=none:pools=1", **(options or {})}
    if codec.startswith("libvpx"):
        return {"deadline": "realtime", "cpu-used": "8", "b": "500k", **(options or {})}
    if codec in ("mpeg4", "mpeg2video", "mjpeg"):
        return {"b": "3M", **(options or {})}
    return options or {}


def make_audio(path: Path, codec: str, duration_s: float = 1.0) -> Path:
    """A file with sound and no pictures (``pcm_s16le``, ``libmp3lame``, ``aac``)."""
    with av.open(str(path), "w") as container:
        _write_audio(container, _add_audio(container, codec), duration_s)
    return path


def _add_audio(container: av.container.OutputContainer, codec: str = "aac") -> av.AudioStream:
    return container.add_stream(codec, rate=16000, layout="mono")


def _write_audio(container: av.container.OutputContainer, stream, duration_s: float) -> None:
    rng = np.random.default_rng(0)
    for start in range(0, round(duration_s * 16000), 1024):
        noise = rng.integers(-3000, 3000, (1, 1024)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def noise(seed: int, size: tuple[int, int] = (96, 64)) -> UInt8:
    """(H, W, 3) random pixels."""
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blank(grey: int = 0, size: tuple[int, int] = (96, 64)) -> UInt8:
    """(H, W, 3) of one grey value."""
    return np.full((size[1], size[0], 3), grey, dtype=np.uint8)


def make_noise_video(path: Path, n_frames: int = 50, **settings) -> Path:
    """Every frame independent noise."""
    return make_video(path, n_frames, picture=noise, **settings)


def make_blank_video(path: Path, n_frames: int = 50, grey: int = 0, **settings) -> Path:
    """Every frame the same grey."""
    return make_video(path, n_frames, picture=lambda _: blank(grey), **settings)


def make_frame_folder(
    folder: Path, n_frames: int = 8, *, ending: str = ".jpg", size: tuple[int, int] = (96, 64)
) -> Path:
    """Numbered pictures 1.jpg, 2.jpg, ... (no leading zeros: order is by number, not by name)."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n_frames):
        Image.fromarray(barcode(index, *size)).save(folder / f"{index + 1}{ending}")
    return folder


def make_long_video(
    path: Path, duration_s: float, *, fps: int = 10, segment_s: int = 20, **settings
) -> Path:
    """A long file in a second: one coded segment, its packets repeated.

    Frame i shows the number ``i % (fps * segment_s)``.
    """
    segment = path.with_suffix(".segment.mp4")
    n_frames = fps * segment_s
    make_video(segment, n_frames, fps=fps, gop=n_frames // 4, **settings)
    with av.open(str(segment)) as source, av.open(str(path), "w") as target:
        stream_in = source.streams.video[0]
        stream_out = target.add_stream_from_template(stream_in)
        raw = [
            (bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe)
            for packet in source.demux(stream_in)
            if packet.size
        ]
        base = stream_in.time_base
        for repeat in range(round(duration_s / segment_s)):
            shift = round(repeat * segment_s / base)
            for data, pts, dts, duration, is_key in raw:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = pts + shift, dts + shift, duration
                packet.time_base, packet.stream, packet.is_keyframe = base, stream_out, is_key
                target.mux(packet)
    segment.unlink()
    return path


def truncate(path: Path, share: float) -> Path:
    """Keep the first ``share`` of the bytes, in place."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def corrupt(path: Path, *, start: float = 0.3, end: float = 0.6, every: int = 97) -> Path:
    """Overwrite bytes from ``start`` to ``end`` (shares of the file), in place."""
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for at in range(int(len(data) * start), int(len(data) * end), every):
        data[at] = int(rng.integers(0, 256))
    path.write_bytes(bytes(data))
    return path


def trim_by_edit_list(path: Path, skip_s: float) -> Path:
    """Make an mp4's edit list start ``skip_s`` later, in place; the coded frames stay."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    if data[at] != 0 or struct.unpack_from(">I", data, at + 4)[0] != 1:
        raise ValueError("expected one entry of version 0")
    movie_scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    media_scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    length, media_time = struct.unpack_from(">Ii", data, at + 8)
    struct.pack_into(
        ">Ii",
        data,
        at + 8,
        length - round(skip_s * movie_scale),
        media_time + round(skip_s * media_scale),
    )
    path.write_bytes(bytes(data))
    return path


def cut_transport_stream(path: Path, share: float) -> Path:
    """Drop the first ``share`` of an MPEG-TS file at a packet border, as a recorder does."""
    data = path.read_bytes()
    at = int(len(data) * share) // 188 * 188
    tables = data[: 3 * 188]
    path.write_bytes(tables + data[at:])
    return path


def decode_all(path: Path) -> tuple[npt.NDArray[np.float64], list[av.VideoFrame]]:
    """Times after the first frame and frames of plain sequential decoding, for comparison."""
    times: list[float] = []
    frames: list[av.VideoFrame] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1
        rate = float(stream.guessed_rate or 25)
        for frame in container.decode(stream):
            # AVI stores no presentation times: where frames are reordered only decoding times hold.
            by_dts = container.format.name == "avi" and context.has_b_frames
            stamp = frame.dts if by_dts else frame.pts
            later = times[-1] + 1 / rate if times else 0.0
            times.append(later if stamp is None else float(stamp * stream.time_base))
            frames.append(frame)
    return np.array(times) - times[0], frames


VFR_S = tuple(
    round(sum(0.01 + 0.003 * (j * j % 23) for j in range(i)) + (0.7 if i > 30 else 0.0), 3)
    for i in range(60)
)
"""Rising times with uneven steps and a gap."""


def _x264(parameters: str) -> dict[str, str]:
    return {"preset": "medium", "x264-params": f"scenecut=0:{parameters}"}


_OPEN_GOP = _x264("open-gop=1:bframes=3:b-pyramid=normal:keyint=12")
_PYRAMID = _x264("open-gop=1:bframes=8:b-pyramid=normal:ref=8:keyint=250:b-adapt=0")
_REFRESH = _x264("intra-refresh=1:keyint=12:bframes=0")
_AV1 = {"preset": "8", "svtav1-params": "lp=1"}

KINDS: dict[str, Callable[[Path], Path]] = {
    "h264-b-frames.mp4": lambda p: make_video(p),
    "h264-long-gop.mp4": lambda p: make_video(p, gop=250, options={"preset": "medium"}),
    "h264-open-gop.mp4": lambda p: make_video(p, options=_OPEN_GOP),
    "h264-open-gop.ts": lambda p: make_video(p, options=_OPEN_GOP),
    "h264-vfr.mp4": lambda p: make_video(p, times_s=VFR_S),
    "h264-vfr.mkv": lambda p: make_video(p, times_s=VFR_S),
    "h264-late-start.mp4": lambda p: make_video(p, start_s=2.5),
    "h264-late-start.mkv": lambda p: make_video(p, start_s=2.5),
    "h264-late-start.ts": lambda p: make_video(p, start_s=2.5),
    "h264.mov": lambda p: make_video(p),
    "h264.flv": lambda p: make_video(p),
    "h264-fragmented.mp4": lambda p: make_video(
        p, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "h264-edit-list.mp4": lambda p: trim_by_edit_list(make_video(p), 0.7),
    "h264-10-bit.mp4": lambda p: make_video(p, pix_fmt="yuv420p10le"),
    "h264-444-odd.mp4": lambda p: make_video(p, pix_fmt="yuv444p", size=(97, 63)),
    "h264-one-frame.mp4": lambda p: make_video(p, 1),
    "h264-with-audio.mp4": lambda p: make_video(p, audio_s=4.0),
    "h264-b-frames.avi": lambda p: make_video(p),
    "h264-pyramid.mkv": lambda p: make_video(p, options=_PYRAMID),
    "h264-interlaced.ts": lambda p: make_video(p, options=_x264("interlaced=1:bframes=2")),
    "h264-intra-refresh.ts": lambda p: make_video(p, options=_REFRESH),
    "h264-raw.h264": lambda p: make_video(p),
    "hevc-open-gop.mkv": lambda p: make_video(
        p, codec="libx265", options={"x265-params": "log-level=none:open-gop=1:keyint=12:bframes=4"}
    ),
    "av1.mp4": lambda p: make_video(p, codec="libsvtav1", options=_AV1),
    "prores.mov": lambda p: make_video(p, codec="prores_ks", pix_fmt="yuv422p10le"),
    "hevc.mp4": lambda p: make_video(p, codec="libx265"),
    "hevc.ts": lambda p: make_video(p, codec="libx265"),
    "mpeg4.avi": lambda p: make_video(p, codec="mpeg4", b_frames=0),
    "mpeg4.mp4": lambda p: make_video(p, codec="mpeg4"),
    "mpeg2.ts": lambda p: make_video(p, codec="mpeg2video"),
    "mpeg2.mpg": lambda p: make_video(p, codec="mpeg2video"),
    "mjpeg.avi": lambda p: make_video(p, codec="mjpeg", pix_fmt="yuvj420p"),
    "vp9.webm": lambda p: make_video(p, codec="libvpx-vp9"),
    "vp9-alt-ref.webm": lambda p: make_video(
        p,
        codec="libvpx-vp9",
        options={"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"},
    ),
    "vp8.webm": lambda p: make_video(p, codec="libvpx"),
    "vp8-alt-ref.webm": lambda p: make_video(
        p, codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"}
    ),
    "ffv1-odd.mkv": lambda p: make_video(p, codec="ffv1", pix_fmt="yuv444p", size=(97, 63)),
    "vfr.gif": lambda p: make_video(p, codec="gif", pix_fmt="rgb8", times_s=VFR_S),
    "gif.gif": lambda p: make_video(p, codec="gif", pix_fmt="rgb8"),
}
"""Kinds of file that must all read right: name (with its ending) to maker."""
