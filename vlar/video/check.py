"""Decoding all of a video to tell whether it is broken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlar.errors import DecodeError
from vlar.types import JsonDict
from vlar.video.container import Deadline, opened
from vlar.video.files import frame_files, is_folder
from vlar.video.folder import FolderReader
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
        lost: Share (0 to 1) of the video that cannot be decoded.
    """

    path: Path
    ok: bool
    kind: str
    message: str
    duration_s: float
    n_frames: int
    lost: float

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": str(self.path),
            "ok": self.ok,
            "kind": self.kind,
            "message": self.message,
            "duration_s": round(self.duration_s, 3),
            "n_frames": self.n_frames,
            "lost": round(self.lost, 4),
        }


def check_video(path: str | Path, *, timeout_s: float = 3600.0) -> CheckReport:
    """Decode every frame of a video in order. A broken video is an answer here, never an error."""
    path = Path(path)
    deadline = Deadline(path, timeout_s)
    try:
        if is_folder(path):
            return _check_folder(path, deadline)
        with opened(path, timeout_s) as video:
            broken_clock = extent(video, whole=True).broken_clock
        with opened(path, timeout_s) as video:
            reader = SequentialReader(video, deadline, broken_clock)
            for _ in reader.frames():
                pass
            return _report(path, reader)
    except DecodeError as error:
        return CheckReport(path, False, error.kind, error.message, 0.0, 0, 1.0)


def _report(path: Path, reader: SequentialReader) -> CheckReport:
    read_s, n_frames = reader.readable_s, reader.n_frames
    if not n_frames:
        message = f"{path}: no frame can be decoded; copy or re-encode the file"
        return CheckReport(path, False, DecodeError.kind, message, 0.0, 0, 1.0)
    missing_s = reader.missing_s()
    share = missing_s / (read_s + missing_s)
    share += (1 - share) * min(1.0, reader.damage / max(reader.n_packets, n_frames))
    if not share:
        return CheckReport(path, True, "ok", "", read_s, n_frames, 0.0)
    message = (
        f"{path}: {read_s:.1f} s of {read_s + missing_s:.1f} s can be decoded, {reader.damage} "
        f"packets or frames in it are damaged ({share:.1%} lost); copy or re-encode the file"
    )
    return CheckReport(path, False, "damaged", message, read_s, n_frames, share)


def _check_folder(path: Path, deadline: Deadline) -> CheckReport:
    reader = FolderReader(path, None, None, deadline)
    n_files = len(frame_files(path))
    bad = reader.count_unreadable()
    good_s = reader.duration_s * (n_files - bad) / n_files
    if not bad:
        return CheckReport(path, True, "ok", "", good_s, n_files, 0.0)
    message = f"{path}: {bad} of {n_files} pictures cannot be read; copy them again"
    return CheckReport(path, False, "damaged", message, good_s, n_files - bad, bad / n_files)
