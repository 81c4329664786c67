"""Decodes all of a video to find out whether it is broken, where, and what is readable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlar.errors import DecodeError
from vlar.types import JsonDict
from vlar.video.container import Deadline, Opened, errors_of, opened
from vlar.video.files import frame_files, is_folder
from vlar.video.folder import FolderReader
from vlar.video.loss import LossCount
from vlar.video.scan import extent
from vlar.video.sequential import SequentialReader


@dataclass(frozen=True)
class CheckReport:
    """Whether a video can be read to its end.

    Attributes:
        path: The video.
        ok: All of it can be decoded.
        kind: ``ok``, ``damaged`` (part of it can be decoded), or the kind of error.
        message: One line for a person; empty where all is well.
        duration_s: Seconds that can be decoded.
        n_frames: Frames decoded.
        lost: Share (0 to 1) of the video that cannot be decoded, or only with errors.
        reason: What FFmpeg or the file system reported first; empty where all is well.
        first_bad_s: Where the first damage shows, in seconds after the first frame; None where
            nothing is damaged or nothing can be read.
        reencode_loses_s: Seconds that a re-encoded copy would lack or show with errors.
    """

    path: Path
    ok: bool
    kind: str
    message: str
    duration_s: float
    n_frames: int
    lost: float
    reason: str = ""
    first_bad_s: float | None = None
    reencode_loses_s: float = 0.0

    @property
    def readable(self) -> float:
        """Share (0 to 1) of the video that can be decoded without errors."""
        return 1.0 - self.lost

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": str(self.path),
            "ok": self.ok,
            "kind": self.kind,
            "message": self.message,
            "reason": self.reason,
            "duration_s": round(self.duration_s, 3),
            "n_frames": self.n_frames,
            "lost": round(self.lost, 4),
            "readable": round(self.readable, 4),
            "first_bad_s": None if self.first_bad_s is None else round(self.first_bad_s, 3),
            "reencode_loses_s": round(self.reencode_loses_s, 3),
        }


def check_video(path: str | Path, *, timeout_s: float = 3600.0) -> CheckReport:
    """Decode every frame of a video in order. A broken video is an answer here, never an error."""
    path = Path(path)
    deadline = Deadline(path, timeout_s)
    try:
        with errors_of(path):
            if is_folder(path):
                return _check_folder(path, deadline)
            with opened(path, timeout_s) as video:
                found = extent(video, whole=True)
            with opened(path, timeout_s) as video:
                reader = SequentialReader(video, deadline, found.broken_clock, found.holes)
                return _report(video, reader, LossCount(reader))
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)


def unreadable(path: Path, kind: str, message: str, reason: str) -> CheckReport:
    """The report of a video of which nothing can be read."""
    reason = reason.removeprefix(f"{path}: ").split(";")[0]
    return CheckReport(path, False, kind, message, 0.0, 0, 1.0, reason)


def _report(video: Opened, reader: SequentialReader, loss: LossCount) -> CheckReport:
    path, read_s, n_frames = video.path, reader.readable_s, reader.n_frames
    reason = _reason(video, reader)
    if not n_frames:
        message = f"{path}: no frame can be decoded ({reason}); copy or re-encode the file"
        return unreadable(path, DecodeError.kind, message, reason)
    missing_s = reader.missing_s()
    if not missing_s and not reader.damage and not loss.lost_s:
        return CheckReport(path, True, "ok", "", read_s, n_frames, 0.0)
    total_s = read_s + missing_s
    # A damaged packet whose frame shows no time of its own still counts as one frame.
    frame_share = min(1.0, reader.damage / max(reader.n_packets, n_frames))
    lost_s = min(max(loss.lost_s, frame_share * read_s) + missing_s, total_s)
    share = lost_s / total_s
    first_bad_s = loss.first_bad_s
    if first_bad_s is None and missing_s:
        first_bad_s = read_s
    where = "" if first_bad_s is None else f", first at {first_bad_s:.1f} s"
    message = (
        f"{path}: {reason}; {1 - share:.1%} of {total_s:.1f} s can be read{where}; {reader.damage} "
        f"packets or frames are damaged; copy it again, or re-encode it and lose {lost_s:.1f} s"
    )
    return CheckReport(
        path, False, "damaged", message, read_s, n_frames, share, reason, first_bad_s, lost_s
    )


def _reason(video: Opened, reader: SequentialReader) -> str:
    """What was reported first, in FFmpeg's words where it has any."""
    if video.errors.messages:
        return video.errors.messages[0].rstrip(".")
    if reader.first_error:
        return reader.first_error
    if reader.damage:
        return "a frame came out damaged" if reader.n_frames else "the packets hold no frame"
    return "the end is missing" if reader.missing_s() else "frames are missing"


def _check_folder(path: Path, deadline: Deadline) -> CheckReport:
    reader = FolderReader(path, None, None, deadline)
    n_files = len(frame_files(path))
    bad = reader.unreadable()
    frame_s = reader.duration_s / n_files
    good_s = frame_s * (n_files - len(bad))
    if not bad:
        return CheckReport(path, True, "ok", "", good_s, n_files, 0.0)
    first, reason = next(iter(bad.items()))
    message = f"{path}: {len(bad)} of {n_files} pictures cannot be read ({reason}); copy them again"
    return CheckReport(
        *(path, False, "damaged", message, good_s, n_files - len(bad), len(bad) / n_files),
        reason=reason,
        first_bad_s=first * frame_s,
        reencode_loses_s=len(bad) * frame_s,
    )
