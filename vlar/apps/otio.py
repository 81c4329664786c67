"""Spans as timelines of OpenTimelineIO, which editors of film read (extra ``otio``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlar.errors import UsageError
from vlar.formatting import file_address, without
from vlar.types import Hit
from vlar.version import pip_install


@dataclass(frozen=True)
class Take:
    """A span of a recording on a timeline.

    Attributes:
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        name: Name of the clip, such as a label.
        facts: What its metadata hold under ``vlar``.
    """

    path: str
    start_s: float
    end_s: float
    name: str
    facts: Mapping[str, Any]


def otio_module() -> Any:
    """The module opentimelineio.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import opentimelineio as module
    except ImportError:
        raise UsageError(
            f"timelines of OpenTimelineIO need its package; {pip_install('otio')}, or write .csv"
        ) from None
    return module


def otio(title: str, tracks: Mapping[str, Sequence[Take]], fps: float, *, in_place: bool) -> str:
    """The timeline as a text of JSON (``Timeline.1``).

    Args:
        title: Title of the timeline.
        tracks: Takes in order, by the name of their track.
        fps: Frames a second of all times.
        in_place: Whether takes keep their times, with gaps between; else they follow each other.
    """
    module = otio_module()
    schema, time = module.schema, module.opentime
    timeline = schema.Timeline(without(title))

    def span(start: int, frames: int) -> Any:
        return time.TimeRange(time.RationalTime(start, fps), time.RationalTime(frames, fps))

    for name, takes in tracks.items():
        track, end_last = schema.Track(without(name), kind=schema.TrackKind.Video), 0
        for take in takes:
            begin = round(take.start_s * fps)
            end = max(round(take.end_s * fps), begin + 1)
            if in_place and begin > end_last:
                track.append(schema.Gap(source_range=span(0, begin - end_last)))
            end_last = end
            media = schema.ExternalReference(file_address(take.path))
            clip = schema.Clip(without(take.name), media, span(begin, end - begin))
            clip.metadata["vlar"] = dict(take.facts)
            track.append(clip)
        timeline.tracks.append(track)
    return timeline.to_json_string() + "\n"


def otio_of_hits(title: str, hits: Sequence[Hit], fps: float) -> str:
    """Hits one after another on a track, in the order of their rank."""
    takes = [
        Take(
            hit.path,
            hit.start_s,
            hit.end_s,
            f"{hit.rank}. {title}",
            {"rank": hit.rank, "probability": round(hit.probability, 6)},
        )
        for hit in hits
    ]
    return otio(title, {"hits": takes}, fps, in_place=False)
