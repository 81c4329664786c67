"""``vlar ethogram``: time budgets, transitions, drawings and a page from annotations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import inputs, output
from vlar.behaviour.verbs.timeline import FORCE, PX_PER_CM, reported_bouts
from vlar.errors import UsageError
from vlar.options import FILES, TIME, Option

if TYPE_CHECKING:
    from vlar.segments import Table


@dataclass(frozen=True)
class EthogramOptions:
    """Rows of an ethogram, and its output."""

    duration: Annotated[
        str | None,
        Option("Of recordings whose file states none; default: to the last segment.", "SPAN"),
    ] = None
    every: Annotated[
        str | None,
        Option("Bins of time; default: a tenth of the longest recording.", "--bin SPAN", TIME),
    ] = None
    condition: Annotated[
        str | None, Option("Independent variable of the project: means by its values.", "NAME")
    ] = None
    fps: Annotated[
        float | None, Option("Frames a second, for formats that count frames.", "RATE")
    ] = None
    px_per_cm: Annotated[float | None, PX_PER_CM] = None
    force: Annotated[bool, FORCE] = False
    tier: Annotated[str | None, Option("Count this tier or stream alone.", "NAME")] = None
    ignore: Annotated[
        list[str] | None, Option("Leave this label out; repeat it for more.", "LABEL")
    ] = None
    model: Annotated[
        str,
        Option(
            "Model that made the segments, for the methods paragraph; a folder of "
            "'vlar adapt --truth' gives its figures, and answers recordings of tracks.",
            "NAME",
        ),
    ] = ""
    out: Annotated[
        Path | None, Option("Write tables, drawings and the page into it.", "FOLDER", FILES)
    ] = None


def ethogram(
    files: Annotated[list[str], Option("Annotations, or folders of them.", "FILE")],
    /,
    *,
    flags: EthogramOptions,
) -> int:
    """Make a table of behaviour: bouts, shares and latencies of labels.

    Each FILE has annotations in any format, or segments of 'vlar timeline'; with a --model of
    'vlar adapt --truth' it may be a recording. With --out, a folder
    gets all tables (bins of time, transitions, conditions, bouts), drawings, a page, and a
    paragraph for the methods section.

    Examples:
        vlar ethogram ann.csv --duration 10s
        vlar ethogram ann.csv --bin 2s --out ethogram
    """
    from vlar.behaviour.annotated.report import held_out_sentence
    from vlar.behaviour.measures.ethogram import ethogram as budgets
    from vlar.behaviour.measures.pages import Report

    tables = [_table(path, flags) for path in _files(files)]
    notes = [note for table in tables for note in table.notes]
    for note in notes:
        output.note(f"vlar: {note}")
    segments = [
        row
        for table in tables
        for row in table.segments
        if (flags.tier is None or row.tier == flags.tier) and row.label not in (flags.ignore or ())
    ]
    lengths = {name: seconds for table in tables for name, seconds in table.durations.items()}
    for row in segments:
        if row.end_s > lengths.get(row.recording, row.end_s) + 1e-3:
            output.note(f"{row.recording!r} has a segment after its end: it ends with the last one")
            last = max(s.end_s for s in segments if s.recording == row.recording)
            lengths[row.recording] = last
    unknown = {row.recording for row in segments} - lengths.keys()
    if flags.duration is not None:
        lengths |= dict.fromkeys(unknown, inputs.seconds(flags.duration, "--duration"))
    elif unknown:
        output.note(f"no duration is stated of {min(unknown)!r}: it ends with its last segment")
    content = budgets(segments, duration_s=lengths)
    values = _values(tables, flags.condition) if flags.condition else {}
    for row in content:
        mean = "-" if row.mean_s is None else f"{row.mean_s:.3f}"
        name = " ".join(filter(None, (row.recording, row.subject)))
        output.row(
            row,
            f"{name}  {row.label}: {row.bouts} x, {row.total_s:.3f} s ({row.share:.1%}), "
            f"mean {mean} s, first at {row.latency_s:.3f} s",
        )
    if flags.out is not None:
        bin_s = inputs.seconds(flags.every, "--bin") if flags.every else None
        media = {name: paths for table in tables for name, paths in table.media.items()}
        figures = held_out_sentence(flags.model)
        report = Report(
            content, bin_s, flags.condition or "", values, media, notes, flags.model, figures
        )
        file = report.write(flags.out)
        output.note(f"vlar: {len(file)} files are in {flags.out}")
    return 0 if len(content) else 2


def _table(path: Path, flags: EthogramOptions) -> Table:
    """Segments of a file of annotations, or those that a model finds in a recording."""
    from vlar.behaviour.annotated.head import NAME
    from vlar.model.folder import holds_head
    from vlar.segments import load
    from vlar.segments.base import Table
    from vlar.segments.files import is_annotation

    if not flags.model or is_annotation(path) or not holds_head(flags.model, NAME):
        return load(path, fps=flags.fps)
    model = inputs.load_model(flags.model, None, None)
    return Table(reported_bouts(model, path, flags.fps, flags.px_per_cm, flags.force))


def _files(paths: list[str]) -> list[Path]:
    """Files, and those of folders that are of a format.

    Raises:
        UsageError: a folder has none.
    """
    from vlar.segments.files import is_annotation

    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and is_annotation(file)]
        if not inside:
            raise UsageError(f"{path}: it holds no annotations; give a file, see docs/exchange.md")
        files += inside
    return files


def _values(tables: list[Table], condition: str) -> dict[str, str]:
    """Value of an independent variable by recording.

    Raises:
        UsageError: no recording has it.
    """
    names = sorted({name for t in tables for row in t.conditions.values() for name in row})
    values = {
        recording: row[condition]
        for table in tables
        for recording, row in table.conditions.items()
        if row.get(condition)
    }
    if not values:
        listed = ", ".join(names) or "none"
        raise UsageError(f"--condition {condition!r}: no recording has it; there are {listed}")
    return values
