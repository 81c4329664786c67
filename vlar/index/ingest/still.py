"""Still footage in an ``add``: windows in which nothing moves are left out, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vlar.types import Clip, Failure, Window
from vlar.video.stillness import is_still


class StillFootage:
    """Leaves still windows out of the clips of recordings.

    Attributes:
        windows: Number of windows left out so far.
        seconds: Seconds of recordings that no kept window covers.
    """

    def __init__(self) -> None:
        self.windows = 0
        self.seconds = 0.0

    def without(self, clips: Iterable[Clip | Failure]) -> Iterator[Clip | Failure]:
        """The clips of one recording without still ones.

        Where all are still, the first one stays: the recording is known to the library, and its
        content is not read again.
        """
        first: Clip | None = None
        still: list[Window] = []
        kept: list[Window] = []
        for item in clips:
            if not isinstance(item, Clip):
                yield item
            elif is_still(item.data):
                first = first or item
                still.append(item.window)
            else:
                kept.append(item.window)
                yield item
        if first is not None and not kept:
            kept.append(still.pop(0))
            yield first
        self.windows += len(still)
        self.seconds += uncovered_s(still, kept)


def uncovered_s(spans: list[Window], cover: list[Window]) -> float:
    """Seconds that some spans cover and others do not.

    >>> uncovered_s([Window(0, 4), Window(2, 6)], [Window(4, 8)])
    4.0
    """
    return _length_s([*spans, *cover]) - _length_s(cover)


def _length_s(spans: list[Window]) -> float:
    """Seconds that spans cover together."""
    total, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda each: each.start_s):
        total += max(0.0, span.end_s - max(span.start_s, reached))
        reached = max(reached, span.end_s)
    return float(total)
