"""``video``: files of moving pictures and folders of numbered pictures (``vlar.media.video``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vlar.files.workers.process import FileLimits
from vlar.media.base import Reader, Request
from vlar.media.depth_pictures import is_depth_picture
from vlar.media.video.decode import ClipRequest, read_clip, read_clips, read_windows
from vlar.media.video.files import VIDEO_ENDINGS, find_videos, frame_files, is_folder
from vlar.media.video.frames import blank_clips
from vlar.media.video.sequential import FrameChunk, read_frames
from vlar.media.video.source import probe
from vlar.registry import register
from vlar.types import Clip, Failure, Sampling, VideoInfo, Window

_BLANK_FRAMES = 2
_BLANK_FPS = 10.0
_BLANK_SIZE = (224, 224)
_EXAMPLE_FPS = 10


@register("reader", "video")
class VideoReader(Reader):
    """Clips of (T, H, W, 3) uint8 RGB frames."""

    modality = "video"
    endings = VIDEO_ENDINGS
    isolate = True

    def claims(self, path: Path) -> bool:
        """A file by its ending, a folder by the numbered pictures in it, unless of distances."""
        if not is_folder(path):
            return super().claims(path)
        pictures = frame_files(path)
        return bool(pictures) and not is_depth_picture(pictures[0])

    def probe(self, path: Path) -> VideoInfo:
        """Size, length and rate; only the first picture is decoded."""
        return probe(path, timeout_s=_timeout_s())

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        """The frames on screen at the midpoints of T equal segments of the window."""
        side = sampling.shorter_side
        return read_clip(path, window, sampling, timeout_s=_timeout_s(), shorter_side=side)

    def read(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Clip | Failure]:
        """Decode ahead in threads (FFmpeg releases the interpreter lock)."""
        clip_requests = (ClipRequest(path, window, sampling) for path, window in requests)
        return read_clips(clip_requests, timeout_s=_timeout_s(), shorter_side=sampling.shorter_side)

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """One pass over the file, however many windows overlap."""
        side = sampling.shorter_side
        return read_windows(path, windows, sampling, timeout_s=_timeout_s(), shorter_side=side)

    def read_frames(self, path: Path, height: int, width: int) -> Iterator[FrameChunk]:
        """Decode all frames in order."""
        return read_frames(path, height, width, timeout_s=_timeout_s())

    def find(self, paths: Sequence[str | Path]) -> list[Path]:
        """Video files, and folders of numbered pictures, each as one recording."""
        return find_videos(paths)

    def blank(self, sampling: Sampling) -> list[Clip]:
        """Plain colours, noise of several grains and gradients, of the encoder's own size."""
        n_frames = sampling.n_frames if sampling.frames_fixed else _BLANK_FRAMES
        height, width = sampling.size or _BLANK_SIZE
        times_s = np.arange(n_frames) / _BLANK_FPS
        window = Window(0.0, n_frames / _BLANK_FPS)
        return [
            Clip(Path("blank"), window, self.modality, frames, times_s)
            for frames in blank_clips(n_frames, height, width)
        ]

    def example(self, folder: Path) -> Path:
        """Two seconds of a square that moves over a plain ground."""
        import av

        path = folder / "example.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=_EXAMPLE_FPS)
            stream.width, stream.height = 96, 64
            for number in range(2 * _EXAMPLE_FPS):
                picture = np.full((64, 96, 3), 40, np.uint8)
                picture[20:44, 3 * number : 3 * number + 24] = (220, 180, 60)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path


def _timeout_s() -> float:
    return FileLimits.from_environment().timeout_s
