"""Found spans as lists of other programs: CMX 3600 edit lists, play lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlar.answers.clock import clock, timecode
from vlar.answers.page import file_address
from vlar.characters import without
from vlar.errors import UsageError
from vlar.types import Hit

MOST_EVENTS = 999  # an event has three digits
FPS = (24, 25, 30, 50, 60)


def edl(title: str, hits: Sequence[Hit], fps: int = 25) -> str:
    """An edit decision list (CMX 3600): the spans one after another, in the order of their rank.

    Args:
        title: Of the list.
        hits: At most 999 spans.
        fps: Frames a second of all its times, without drop frames.

    Raises:
        UsageError: more events than the format holds.
    """
    if len(hits) > MOST_EVENTS:
        raise UsageError(
            f"an edit list holds {MOST_EVENTS} events, these are {len(hits)}; ask for fewer with -k"
        )
    lines = [f"TITLE: {_line(title)[:70]}", "FCM: NON-DROP FRAME", ""]
    done = 0  # frames
    for number, hit in enumerate(hits, 1):
        begin = round(hit.start_s * fps)
        length = max(round(hit.end_s * fps) - begin, 1)
        times = (begin, begin + length, done, done + length)
        shown = " ".join(timecode(frames / fps, fps) for frames in times)
        lines += [
            f"{number:03d}  AX       V     C        {shown}",
            f"* FROM CLIP NAME: {_line(Path(hit.path).name)}",
            f"* SOURCE FILE: {_line(hit.path)}",
            f"* COMMENT: RANK {hit.rank} SCORE {hit.score:.4f}",
            "",
        ]
        done += length
    return "\n".join(lines)


def nearest_fps(fps: float) -> int:
    """The rate of an edit list that is nearest to that of a recording.

    >>> nearest_fps(29.97)
    30
    """
    return min(FPS, key=lambda each: abs(each - fps))


def m3u(hits: Sequence[Hit]) -> str:
    """An extended play list. Players that read ``EXTVLCOPT`` (VLC) play just the spans."""
    lines = ["#EXTM3U"]
    for hit in hits:
        span = f"{clock(hit.start_s)} to {clock(hit.end_s)}"
        name = _line(Path(hit.path).name)
        lines += [
            f"#EXTINF:{max(round(hit.end_s - hit.start_s), 1)},{name} {span} ({hit.score:.0%})",
            f"#EXTVLCOPT:start-time={hit.start_s:.3f}",
            f"#EXTVLCOPT:stop-time={hit.end_s:.3f}",
            file_address(hit.path),
        ]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    """One line without characters that act."""
    return " ".join(without(text).split())
