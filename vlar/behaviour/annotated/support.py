"""Support set of a model of bouts: recordings, their spans, and the time that was learned from.

The model keeps no features: to go on from it (``add``) its recordings are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.behaviour.annotated.head import TimelineHead
from vlar.errors import ModelError, UsageError
from vlar.segments import Segment
from vlar.segments.spans import runs
from vlar.types import JsonDict

Mask = npt.NDArray[np.bool_]
SUPPORT = "support"
"""Key of the support set in the facts of a head."""


@dataclass(frozen=True)
class Taught:
    """A recording that a model learned from.

    Attributes:
        path: The recording.
        spans: Its annotation, in the clock of its file.
        drawn: Start and end in seconds from the first frame of each part that was learned from.
    """

    path: Path
    spans: tuple[Segment, ...]
    drawn: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, path: Path, spans: Sequence[Segment], mask: Mask, step_s: float) -> Taught:
        """The support of a recording whose steps (S,) of a mask were learned from."""
        drawn = [(round(a * step_s, 3), round(b * step_s, 3)) for a, b, on in runs(mask) if on]
        return cls(path.absolute(), tuple(spans), tuple(drawn))

    def mask(self, times_s: npt.NDArray[Any]) -> Mask:
        """Steps with their middles at ``times_s`` (S,) that were learned from."""
        return covered(self.drawn, times_s)

    def to_dict(self) -> JsonDict:
        """JSON of the recording."""
        rows = [[s.start_s, s.end_s, s.label, s.subject, s.tier] for s in self.spans]
        return {"path": str(self.path), "spans": rows, "drawn": [list(part) for part in self.drawn]}

    @classmethod
    def restore(cls, row: Mapping[str, Any]) -> Taught:
        """The recording of a saved support set."""
        path = Path(str(row["path"]))
        spans = tuple(
            Segment(path.name, float(start), float(end), str(label), str(subject), str(tier))
            for start, end, label, subject, tier in row["spans"]
        )
        return cls(path, spans, tuple((float(a), float(b)) for a, b in row["drawn"]))


def covered(parts: Sequence[tuple[float, float]], times_s: npt.NDArray[Any]) -> Mask:
    """Steps (S,) whose middle lies in one of some parts in seconds."""
    mask = np.zeros(len(times_s), np.bool_)
    for begin, end in parts:
        mask |= (times_s >= begin) & (times_s < end)
    return mask


def support_of(head: TimelineHead) -> list[Taught]:
    """The recordings that a model learned from.

    Raises:
        UsageError: it keeps no support set.
        ModelError: its support set is malformed.
    """
    rows = head.source.get(SUPPORT)
    if not rows:
        raise UsageError(
            "the model to go on from keeps no annotated recordings; give one that 'vlar adapt "
            "--truth' made"
        )
    try:
        return [Taught.restore(row) for row in rows]
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ModelError(f"the support set of the model is malformed ({error!r})") from error


def asked_of(head: TimelineHead, options: Mapping[str, Any]) -> dict[str, Any]:
    """Choices by which the annotations of a saved model and of what is added are understood."""
    before = head.source.get("asked") or {}
    ignore = dict.fromkeys((*before.get("ignore", ()), *(options.get("ignore") or ())))
    return {
        "background": bool(options.get("background") or before.get("background")),
        "ignore": tuple(map(str, ignore)),
        "tier": options.get("tier") or before.get("tier"),
        "px_per_cm": options.get("px_per_cm") or before.get("px_per_cm"),
        "fps": options.get("fps") or head.source.get("fps"),
    }


def together(
    support: Sequence[Taught], paths: Sequence[Path], spans: Sequence[Sequence[Segment]]
) -> tuple[list[Path], list[list[Segment]], list[Taught | None], list[bool]]:
    """Recordings of a support set with further ones; a recording of both has the spans of both.

    Args:
        support: What was learned from.
        paths: Further recordings.
        spans: Spans of each of these.

    Returns:
        Paths, spans, what was learned of each before, and whether it is among the further ones.
    """
    by_path = {row.path.resolve(): row for row in support}
    fresh = {path.resolve(): list(part) for path, part in zip(paths, spans, strict=True)}
    files = list(dict.fromkeys((*by_path, *fresh)))
    rows: list[list[Segment]] = []
    for file in files:
        present = list(by_path[file].spans) if file in by_path else []
        keys = {_key(span) for span in present}
        rows.append(present + [s for s in fresh.get(file, []) if _key(s) not in keys])
    return files, rows, [by_path.get(file) for file in files], [file in fresh for file in files]


def _key(span: Segment) -> tuple[object, ...]:
    return round(span.start_s, 2), round(span.end_s, 2), span.label, span.subject, span.tier
