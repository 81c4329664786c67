"""``vlar agreement``: agreement of people, or of people and a model, on labelled spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import output
from vlar.errors import UsageError
from vlar.options import FILES, Option

if TYPE_CHECKING:
    from vlar.behaviour.measures.agreement import Agreement
    from vlar.segments import Segment, Table

_WORST = 10


def agreement(
    files: Annotated[
        list[str], Option("Annotations by people, or segments of 'vlar timeline'.", "FILE")
    ],
    /,
    *,
    step: Annotated[float, Option("Of the grid on which labels are compared.", "SECONDS")] = 0.04,
    fps: Annotated[
        float | None, Option("Frames a second, for formats that count frames.", "RATE")
    ] = None,
    tier: Annotated[str | None, Option("Compare this tier or stream alone.", "NAME")] = None,
    ignore: Annotated[
        list[str] | None, Option("Leave this label out; repeat it for more.", "LABEL")
    ] = None,
    out: Annotated[
        Path | None, Option("Write the bouts that differ, the worst first, as CSV.", "FILE", FILES)
    ] = None,
    html: Annotated[
        Path | None,
        Option(
            "Write a page of the raters' bouts, with the video where its file is there.",
            "FILE",
            FILES,
        ),
    ] = None,
) -> int:
    """Measure how far annotations of the same recordings agree.

    Each FILE is a rater, in any format of annotations; one file may hold several raters. Kappa is
    of steps, F1 of bouts. Intervals come from draws of recordings.

    Examples:
        vlar agreement ann.csv bo.csv
        vlar agreement ann.csv bo.csv --json --step 0.1
    """
    from vlar.behaviour.measures.agreement import Difference
    from vlar.behaviour.measures.agreement import agreement as measure
    from vlar.behaviour.measures.segmentation import bouts_of, segment_metrics
    from vlar.segments import load

    loaded = {name: load(name, fps=fps) for name in dict.fromkeys(files)}
    for name, table in loaded.items():
        for note in table.notes:
            output.note(f"{name}: {note}")
    tables, media = raters_of(loaded, tier, ignore or ())
    if len(tables) < 2:
        raise UsageError(
            f"{', '.join(files)}: there is one rater; give two files, or one with several raters"
        )
    result = measure(tables, step_s=step)
    left_out = {s.recording for rows in tables.values() for s in rows} - set(result.recordings)
    if left_out:
        output.note(f"one rater alone has {', '.join(sorted(left_out)[:5])}: left out")
    if out is not None:
        rows = [row.to_dict() for row in result.differences]
        output.write_csv(out, list(Difference.__dataclass_fields__), rows)
    first, second = (tables[name] for name in result.raters[:2])
    figures = segment_metrics(second, first) if len(tables) == 2 and bouts_of(first) else {}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    lines = [*_lines(result), *([f"{result.raters[1]} as answers: {shown}"] if shown else [])]
    if html is not None:
        from vlar.behaviour.measures.pages import write_differences

        write_differences(html, tables, result, [*_figures(result)], media)
        output.note(f"vlar: the page is {html}")
    output.row({**result.to_dict(), "segments": figures}, *lines)
    return 0


def raters_of(
    loaded: dict[str, Table], tier: str | None, ignore: Sequence[str]
) -> tuple[dict[str, list[Segment]], dict[str, list[str]]]:
    """Segments by rater, media by recording; recordings have one name in all files.

    A rater is a person that a file names, else the file. Where each file has one recording, they
    are the same one; else recordings are the same whose names without folder and ending are equal.
    """
    single = all(len({row.recording for row in table.segments}) <= 1 for table in loaded.values())
    first = next((r.recording for t in loaded.values() for r in t.segments), "")
    tables: dict[str, list[Segment]] = {}
    media: dict[str, list[str]] = {}

    def name_of(recording: str) -> str:
        return PurePath((first if single else recording).replace("\\", "/")).stem

    for name, table in loaded.items():
        people = sorted({row.rater for row in table.segments}) or [""]
        for person in people:
            several = len(people) > 1 or len(loaded) == 1
            rater = person if several and person else PurePath(name).name
            while rater in tables:
                rater += "'"
            tables[rater] = [
                replace(row, recording=name_of(row.recording))
                for row in table.segments
                if row.rater == person
                and (tier is None or row.tier == tier)
                and row.label not in ignore
            ]
        for recording in {row.recording for row in table.segments}:
            paths = [*table.media.get(recording, ()), recording]
            media.setdefault(name_of(recording), []).extend(paths)
    return tables, media


def _lines(result: Agreement) -> Iterable[str]:
    yield from _figures(result)
    for bout in result.differences[:_WORST]:
        span = f"{output.clock(bout.start_s)} to {output.clock(bout.end_s)}"
        yield f"{bout.recording}  {span}  {bout.label}: {bout.rater}, not {bout.other}"


def _figures(result: Agreement) -> Iterable[str]:
    names = ", ".join(result.raters)
    yield f"raters: {names}; recordings: {len(result.recordings)}; step {result.step_s:g} s"
    interval = result.interval
    spread = f" ({interval.low:.3f} to {interval.high:.3f})" if interval else ""
    joint = "" if result.fleiss is None else f", Fleiss {result.fleiss:.3f}"
    yield f"kappa {result.kappa:.3f}{spread}{joint}"
    width = max([5, *map(len, result.labels)])
    yield f"{'label':<{width}}  kappa  frame F1  bout F1  start F1  bouts"
    for label, row in result.labels.items():
        counts = " ".join(map(str, row.bouts))
        yield (
            f"{label:<{width}}  {row.kappa:5.3f}  {row.frame_f1:8.3f}  {row.bout_f1:7.3f}  "
            f"{row.event_f1:8.3f}  {counts}"
        )
