"""Video files to clips: frames with their presentation times.

``find_videos`` names them, ``probe`` tells what one is, ``windows`` cuts its time, ``read_clip``,
``read_windows`` and ``read_clips`` give frames, ``check_video`` and
``check_videos`` find damage.
"""

from __future__ import annotations

from vlar.video.check import CheckReport, check_video
from vlar.video.check_batch import check_videos
from vlar.video.checksum import content_hash
from vlar.video.decode import read_clip, read_windows
from vlar.video.files import VIDEO_ENDINGS, find_videos
from vlar.video.folder import DEFAULT_FRAME_FPS
from vlar.video.probe import probe
from vlar.video.sample import frame_times, windows
from vlar.video.stream import ClipRequest, read_clips

__all__ = [
    "DEFAULT_FRAME_FPS",
    "VIDEO_ENDINGS",
    "CheckReport",
    "ClipRequest",
    "check_video",
    "check_videos",
    "content_hash",
    "find_videos",
    "frame_times",
    "probe",
    "read_clip",
    "read_clips",
    "read_windows",
    "windows",
]
