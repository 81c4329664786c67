"""Language columns of data sets of lerobot, format 3.1, in a Parquet file of ``data/``."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from vlar.registry import register
from vlar.segments.base import MOST, AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment

_PERSISTENT, _EVENTS = "language_persistent", "language_events"
_INDEX = ("episode_index", "timestamp")
_MOST_VALUES, _BATCH = 5_000_000, 4096


@register("annotation", "lerobot")
class LeRobotLanguage(AnnotationFormat):
    """Language columns of lerobot 3.1: recording = episode, tier = style; events are points."""

    endings = frozenset({".parquet"})
    holds = frozenset({"recording", "tier", "rater"})
    several = True
    writes = False
    loses = "everything: it is read alone"

    def claims(self, source: Source) -> bool:
        """Return whether it is Parquet with a column of language."""
        data = source.data
        is_parquet = data[:4] == b"PAR1" == data[-4:]
        return is_parquet and (_PERSISTENT.encode() in data or _EVENTS.encode() in data)

    def read(self, source: Source, options: Options) -> Table:
        """A state lasts until the next one of its style, the last one to the end of the episode."""
        from pyarrow import parquet

        states: dict[int, dict[tuple[str, str, float, str], None]] = defaultdict(dict)
        events: dict[tuple[int, str, str, float, str], None] = {}
        # Of each episode the time of its last frame, and the longest step: it lasts one step more.
        clocks: dict[int, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        with parquet.ParquetFile(io.BytesIO(source.data)) as file:
            names = [n for n in (*_INDEX, _PERSISTENT, _EVENTS) if n in file.schema_arrow.names]
            facts = file.metadata
            groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
            columns = [group.column(n) for group in groups for n in range(group.num_columns)]
            read = [c for c in columns if c.path_in_schema.partition(".")[0] in names]
            count = max(facts.num_rows, *(column.num_values for column in read), 0)
            size = sum(column.total_uncompressed_size for column in read)
            if count > _MOST_VALUES or size > MOST:
                raise ValueError(f"it unpacks to {count:,} values, {size:,} bytes; cut it")
            if not {*_INDEX} <= {*names}:
                raise ValueError("it has no columns episode_index and timestamp")
            for batch in file.iter_batches(_BATCH, columns=names):
                for frame in batch.to_pylist():
                    episode, time_s = int(frame["episode_index"]), float(frame["timestamp"])
                    last_s, step_s = clocks[episode]
                    clocks[episode] = max(time_s, last_s), max(time_s - last_s, step_s)
                    for row in frame.get(_PERSISTENT) or ():
                        state = (*_style_and_role(row), float(row["timestamp"]), _text(row))
                        states[episode][state] = None
                    for row in frame.get(_EVENTS) or ():
                        events[(episode, *_style_and_role(row), time_s, _text(row))] = None
        segments = [_point(*row) for row in events]
        for episode, rows in states.items():
            segments += _spans(_name(episode), list(rows), sum(clocks[episode]))
        return Table([row for row in segments if row.label])

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """Refusal: the columns belong to the frames of a data set."""
        raise ValueError("language columns are read, not written")


def _style_and_role(row: Mapping[str, Any]) -> tuple[str, str]:
    """Style and role of a row."""
    return str(row.get("style") or ""), str(row.get("role") or "")


def _text(row: Mapping[str, Any]) -> str:
    return " ".join(str(row.get("content") or "").split())


def _name(episode: int) -> str:
    return f"episode_{episode:06d}"


def _point(episode: int, style: str, role: str, time_s: float, text: str) -> Segment:
    return Segment(_name(episode), time_s, time_s, text, tier=style, rater=role)


def _spans(name: str, rows: list[tuple[str, str, float, str]], end_s: float) -> list[Segment]:
    """States as segments: each lasts until the next time at which its style changes."""
    segments: list[Segment] = []
    starts: dict[str, list[float]] = defaultdict(list)
    for style, _, start_s, _ in rows:
        starts[style].append(start_s)
    starts = {style: sorted(times_s) for style, times_s in starts.items()}
    for style, role, start_s, text in rows:
        later = bisect_right(starts[style], start_s)
        until_s = max([*starts[style][later : later + 1], end_s][0], start_s)
        segments.append(Segment(name, start_s, until_s, text, tier=style, rater=role))
    return segments
