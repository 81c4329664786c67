"""Decodes all of a video to find out whether it is broken, where, and what is readable."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.files.workers.ahead import in_order
from vlar.files.workers.pool import WorkerPool, can_isolate, is_batch
from vlar.files.workers.process import FileLimits, WorkerStartError
from vlar.media.base import Reader
from vlar.media.bundle import bundle_parts
from vlar.media.integrity.damage import LOOK_BACK
from vlar.media.integrity.payload import in_words
from vlar.media.integrity.picture_order import GAP_FRAMES, extent
from vlar.media.lookup import isolated, reader, reader_for
from vlar.media.video.container import Deadline, OpenVideo, errors_of, opened
from vlar.media.video.files import frame_files, is_folder
from vlar.media.video.folder import FolderReader
from vlar.media.video.sequential import Decoded, SequentialReader
from vlar.media.video.source import probe
from vlar.types import JsonDict


class LossCount:
    """Decodes a video to its end and adds up the time that damage costs.

    Attributes:
        lost_s: Seconds during which no frame, or one that may be wrong, stands.
        first_bad_s: Where the first such span starts; None if there is none.
    """

    def __init__(self, reader: SequentialReader) -> None:
        self.first_bad_s: float | None = None
        self._reader = reader
        self._lost: list[tuple[float, float]] = []  # spans may overlap: a picture and its packet
        # Good spans (start, end, packet) that packets soon after may still prove bad.
        self._recent: deque[tuple[float, float, int]] = deque()
        last: Decoded | None = None
        for decoded in reader.frames():
            self._add(last, decoded)
            last = decoded
        if last is not None and last.suspect:
            self._lose(last.time_s, last.time_s + reader.last_frame_s)
        while self._recent:
            self._settle()
        self.lost_s, end_s = 0.0, 0.0
        for start_s, until_s in sorted(self._lost):
            self.lost_s += max(until_s - max(start_s, end_s), 0.0)
            end_s = max(end_s, until_s)

    def _add(self, last: Decoded | None, decoded: Decoded) -> None:
        if last is None:
            if decoded.time_s > 0:
                self._lose(0.0, decoded.time_s)
        elif last.suspect:
            self._lose(last.time_s, decoded.time_s)
        else:
            frame_s = self._reader.frame_s
            long = decoded.time_s > last.time_s + GAP_FRAMES * frame_s
            if long and self._is_broken_gap(last, decoded):
                self._lose(last.time_s + frame_s, decoded.time_s)
            self._recent.append((last.time_s, decoded.time_s, last.order))
            if len(self._recent) > LOOK_BACK:
                self._settle()

    def _is_broken_gap(self, last: Decoded, decoded: Decoded) -> bool:
        broken = decoded.missing_before or decoded.suspect
        return broken or self._reader.is_lost(last, decoded.time_s - 1e-3)

    def _settle(self) -> None:
        """Judge the oldest good span again, now that some packets after it are known."""
        start_s, end_s, order = self._recent.popleft()
        if self._reader.damage and self._reader.account.turned_bad(order):
            self._lose(start_s, end_s)

    def _lose(self, start_s: float, end_s: float) -> None:
        self._lost.append((start_s, end_s))
        if self.first_bad_s is None or start_s < self.first_bad_s:
            self.first_bad_s = start_s


# Decoders that look at what is left over of a picture, or compare a checksum.
_SHOW_DAMAGE = frozenset({"h264", "libvpx-vp9", "ffv1", "png", "apng"})


@dataclass(frozen=True)
class CheckReport:
    """Decodability of a video from its start to its end.

    Attributes:
        path: The video.
        ok: All of it can be decoded.
        kind: ``ok``, ``damaged`` (part of it can be decoded), or the kind of error.
        message: One line for a person; empty where all is well and can be verified.
        duration_s: Seconds that can be decoded.
        n_frames: Frames decoded.
        lost: Share (0 to 1) of the video that cannot be decoded, or only with errors.
        reason: What FFmpeg or the file system reported first; empty where all is well.
        first_bad_s: Place of the first damage, in seconds after the first frame; None where nothing
            is damaged or nothing can be read.
        reencode_loses_s: Seconds that a re-encoded copy would lack or show with errors.
        cannot_verify: The codec, where neither it nor the container holds anything that shows a
            wrong picture: some damage cannot be found. Empty for others.
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
    cannot_verify: str = ""

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
            "cannot_verify": self.cannot_verify,
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
                span = extent(video, whole=True)
            with opened(path, timeout_s) as video:
                reader = SequentialReader(video, deadline, span.broken_clock, span.holes)
                return _report(video, reader, LossCount(reader))
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)


def unreadable(path: Path, kind: str, message: str, reason: str) -> CheckReport:
    """The report of a video of which nothing can be read."""
    reason = reason.removeprefix(f"{path}: ").split(";")[0]
    return CheckReport(path, False, kind, message, 0.0, 0, 1.0, reason)


def _report(video: OpenVideo, reader: SequentialReader, loss: LossCount) -> CheckReport:
    path, read_s, n_frames = video.path, reader.readable_s, reader.n_frames
    reason = _reason(video, reader)
    if not n_frames:
        message = f"{path}: no frame can be decoded ({reason}); copy or re-encode the file"
        return unreadable(path, DecodeError.kind, message, reason)
    missing_s = reader.missing_s()
    if not missing_s and not reader.damage and not loss.lost_s:
        unsure = cannot_verify(video)
        message = f"{path}: every frame decodes, but pictures of {unsure} cannot be verified"
        return CheckReport(
            path, True, "ok", message if unsure else "", read_s, n_frames, 0.0, cannot_verify=unsure
        )
    total_s = read_s + missing_s
    # Where no frame stands for the damage, a damaged packet counts as one frame. Elsewhere a packet
    # and its frame may both be reported, and the time of the frames is the figure of ``classify``.
    frame_share = min(1.0, reader.damage / max(reader.n_packets, n_frames))
    lost_s = min((loss.lost_s or frame_share * read_s) + missing_s, total_s)
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
        *(path, False, "damaged", message, read_s, n_frames, share, reason, first_bad_s, lost_s),
        cannot_verify=cannot_verify(video),
    )


def cannot_verify(video: OpenVideo) -> str:
    """The codec of a video whose damage may not show; empty where it does as a rule."""
    name = video.decoder.name
    has_sums = video.sums is not None and video.sums.has_any
    shows = name in _SHOW_DAMAGE or has_sums
    return "" if shows else video.stream.codec_context.name


def _reason(video: OpenVideo, reader: SequentialReader) -> str:
    """First reported fault, in FFmpeg's words where it has any."""
    if video.errors.messages:
        return in_words(video.errors.messages[0])
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


def check_videos(paths: Iterable[Path]) -> Iterator[CheckReport]:
    """``check_video`` of many videos, in order; no video ends the run.

    Each may take ``FileLimits.whole_s`` of its length.
    """
    paths = iter(paths)
    first = list(islice(paths, 2))
    limits = FileLimits.from_environment()
    if not (limits.workers and can_isolate(check_video) and is_batch(first)):
        yield from map(check_video, chain(first, paths))
        return
    with WorkerPool(limits, module=check_video.__module__) as pool:
        yield from in_order(
            chain(first, paths),
            lambda path: _checked(pool, path),
            workers=limits.workers,
            look_ahead=limits.workers,
            interrupt=pool.end_jobs,
        )


def _checked(pool: WorkerPool, path: Path) -> CheckReport:
    try:
        try:
            length_s = pool.call(path, 0.0, probe, path).duration_s
        except DecodeError as error:
            if error.kind != DecodeError.kind:
                raise
            length_s = 0.0  # the check gives a more exact error
        return pool.call(path, length_s, check_video, path)
    except WorkerStartError:
        return check_video(path)
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)


def check_recordings(paths: Iterable[Path]) -> Iterator[CheckReport]:
    """The report of each recording, in order; a broken one is an answer, never an error."""
    for source, group in groupby(paths, reader_for):
        if source.modality == "bundle":
            yield from map(check_bundle, group)
        elif source.modality != "video":
            with isolated(source, group, Path) as (reading, every):
                yield from (check_signal(reading, path) for path in every)
        else:
            yield from check_videos(group)


def check_bundle(path: Path) -> CheckReport:
    """The report of a bundle: that of its parts; ``lost`` is their mean."""
    try:
        parts = bundle_parts(path)
        info = reader_for(path).probe(path)
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)
    reports: list[tuple[str, CheckReport]] = []
    for name, part in parts.items():
        part_reader = reader(name)
        check = (
            check_video if part_reader.modality == "video" else partial(check_signal, part_reader)
        )
        reports.append((name, check(part.path)))
    lost = sum(report.lost for _, report in reports) / len(reports)
    frames = reports[0][1].n_frames
    bad = next(((name, report) for name, report in reports if not report.ok), None)
    if bad is None:
        return CheckReport(path, True, "ok", "", info.duration_s, frames, lost)
    message = f"{path}: its part {bad[0]}: {bad[1].message}"
    return CheckReport(
        path, False, "damaged", message, info.duration_s, frames, lost, bad[1].reason
    )


def check_signal(source: Reader, path: Path) -> CheckReport:
    """Read a whole recording.

    Args:
        source: Source of its sensor.
        path: The recording.

    Returns:
        ``lost`` is the share of its samples in which nothing was seen, or that are cut off.
    """
    try:
        clip = source.read_clip(path, None, source.every_sample(path, None))
    except DecodeError as error:
        return unreadable(path, error.kind, error.message, error.message)
    flat = clip.data.reshape(len(clip.data), -1)
    lost = 0.0 if "kept" in clip.meta else clip.lost  # thinned, not lost
    if np.issubdtype(flat.dtype, np.floating):
        lost = float((~np.isfinite(flat).any(axis=1)).mean())
    length_s = clip.window.duration_s
    if clip.lost and lost:
        reason, share = "its end is cut off", f"{1 - lost:.1%}"
        # Recordings of events without a count show that one more began, not how many are missing.
        if share == "100.0%" or (clip.modality == "events" and lost * len(flat) < 1):
            share = "how much is missing is not stored"
        else:
            share = f"{share} of its samples can be read"
        message = f"{path}: {reason}; {share}; copy it again"
        return CheckReport(path, False, "damaged", message, length_s, len(flat), lost, reason)
    return CheckReport(path, True, "ok", "", length_s, len(flat), lost)
