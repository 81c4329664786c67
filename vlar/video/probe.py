"""What a video is, without decoding it."""

from __future__ import annotations

from pathlib import Path

from vlar.types import VideoInfo
from vlar.video.container import Opened, errors_of, is_damage, opened
from vlar.video.files import is_folder
from vlar.video.folder import probe_folder
from vlar.video.pixels import orientation
from vlar.video.scan import Extent, extent

_DEGREES = 90
_PACKETS_TO_TRY = 64


def probe(path: str | Path, *, timeout_s: float = 60.0, fps: float | None = None) -> VideoInfo:
    """Size, length and rate of a video file or of a folder of numbered frames.

    Only the first picture is decoded (for its size and rotation). A small file is read to its end,
    so its length is what can be read and not what its header says; where the header declares more
    than is there, the file is cut short, and its declared length is given.

    Args:
        path: The video.
        timeout_s: Limit for opening it.
        fps: Rate of a frame folder (default 25).

    Raises:
        DecodeError: not a readable video.
        UsageError: ``fps`` is not a positive number.
    """
    path = Path(path)
    with errors_of(path):
        if is_folder(path):
            return probe_folder(path, fps)
        return _probe_file(path, timeout_s)


def _probe_file(path: Path, timeout_s: float) -> VideoInfo:
    with opened(path, timeout_s) as video:
        length = extent(video, keep=True)
        width, height, turns = _first_picture(video, length)
        rate = video.stream.average_rate
        counted = length.n_frames / length.duration_s if length.n_frames else video.fps
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            duration_s=length.duration_s,
            fps=float(rate) if rate else counted,
            codec=video.stream.codec_context.name,
            rotation_deg=(turns * _DEGREES) % 360,
            n_frames=length.n_frames,
        )


def _first_picture(video: Opened, length: Extent) -> tuple[int, int, int]:
    """Width and height as a viewer sees them, and quarter turns counter-clockwise."""
    context = video.stream.codec_context
    width, height, turns = context.width, context.height, 0
    try:
        if length.packets is None:
            video.container.seek(0)
        for tried, packet in enumerate(length.packets or video.packets()):
            frames = video.decode(packet)
            if frames:
                frame = frames[0]
                width, height, turns = frame.width, frame.height, orientation(frame)[0]
                break
            if tried > _PACKETS_TO_TRY:
                break
    except Exception as error:
        if not is_damage(error):
            raise
        # The header's size stands; reading frames will name the damage.
    return (height, width, turns) if turns % 2 else (width, height, turns)
