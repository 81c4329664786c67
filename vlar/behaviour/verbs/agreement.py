"""``vlar agreement``: agreement of people, or of people and a model, on labelled spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import output
from vlar.errors import UsageError
from vlar.files.compressed import inner_stem
from vlar.options import FILES, Option

if TYPE_CHECKING:
    from vlar.behaviour.measures.agreement import Agreement
    from vlar.segments import Segment, Table

_WORST = 10


def agreement(
    files: Annotated[
        list[str],
        Option("Annotations by people or segments of 'vlar timeline': files, folders.", "FILE"),
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

    Each FILE is a rater, in any format of annotations; one file may hold several raters, and a
    folder is one. Kappa is of steps, F1 of bouts. Intervals come from draws of recordings.

    Examples:
        vlar agreement ann.csv bo.csv
        vlar agreement ann.csv bo.csv --json --step 0.1
    """
    from vlar.behaviour.measures.agreement import Difference
    from vlar.behaviour.measures.agreement import agreement as measure
    from vlar.behaviour.measures.segmentation import bouts_of, segment_metrics

    loaded = {name: _loaded(name, fps) for name in dict.fromkeys(files)}
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


def _loaded(name: str, fps: float | None) -> Table:
    """The annotations of a file, or of all files of a folder as those of one rater.

    Raises:
        UsageError: one cannot be read, a folder has none, or two of its files are of one recording.
    """
    from vlar.segments import load
    from vlar.segments.base import Table
    from vlar.segments.files import is_annotation

    folder = Path(name)
    if not folder.is_dir():
        return load(name, fps=fps)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_annotation(path)]
    if not paths:
        raise UsageError(f"{name}: no file of annotations is in this folder")
    rows: list[Segment] = []
    notes, media, file_of = list[str](), dict[str, tuple[str, ...]](), dict[str, Path]()
    for path in paths:
        table = load(path, fps=fps)
        for recording in {row.recording for row in table.segments}:
            if (other := file_of.setdefault(recording, path)) is not path:
                raise UsageError(
                    f"{other} and {path} both annotate {recording!r}; give raters as two folders"
                )
        rows += table.segments
        notes += [f"{path.name}: {note}" for note in table.notes]
        media |= table.media
    return Table(rows, tuple(notes), media)


def raters_of(
    loaded: dict[str, Table], tier: str | None, ignore: Sequence[str]
) -> tuple[dict[str, list[Segment]], dict[str, list[str]]]:
    """Segments by rater, media by recording; recordings have one name in all files.

    A rater is a person that a file names, else the file or folder. Recordings are matched by name,
    as ``vlar adapt --truth`` does. Where each file has one recording and one does not name it, they
    are the same one.

    Raises:
        UsageError: files of one recording each name different ones.
    """
    one_name = _same_names(
        {name: sorted({_stem(row.recording) for row in t.segments}) for name, t in loaded.items()}
    )
    for name, other in list(one_name.items())[:_WORST]:
        if name != other:
            output.note(f"vlar: {name} and {other} are taken for one recording")
    tables: dict[str, list[Segment]] = {}
    media: dict[str, list[str]] = {}
    for name, table in loaded.items():
        people = sorted({row.rater for row in table.segments}) or [""]
        for person in people:
            several = len(people) > 1 or len(loaded) == 1
            rater = person if several and person else PurePath(name).name
            while rater in tables:
                rater += "'"
            tables[rater] = [
                replace(row, recording=one_name[_stem(row.recording)])
                for row in table.segments
                if row.rater == person
                and (tier is None or row.tier == tier)
                and row.label not in ignore
            ]
        for recording in {row.recording for row in table.segments}:
            paths = [*table.media.get(recording, ()), recording]
            media.setdefault(one_name[_stem(recording)], []).extend(paths)
    return tables, media


def _stem(recording: str) -> str:
    return inner_stem(Path(recording.replace("\\", "/")))


def _same_names(stems_of: dict[str, list[str]]) -> dict[str, str]:
    """The one name of each recording, by its names in the files, which are given by file."""
    from vlar.behaviour.annotated.truth import matched

    one_name: dict[str, str] = {}
    for stems in stems_of.values():
        free = [name for name in dict.fromkeys(one_name.values()) if name not in stems]
        for stem in stems:
            if stem not in one_name:
                index = matched([Path(name) for name in free], stem)
                one_name[stem] = stem if index is None else free.pop(index)
    if any(len(stems) > 1 for stems in stems_of.values()) or len(set(one_name.values())) < 2:
        return one_name
    stated = {f: s[0] for f, s in stems_of.items() if s and s[0] != inner_stem(Path(f))}
    if len({one_name[stem] for stem in stated.values()}) > 1:
        listed = ", ".join(f"{file}: {stem!r}" for file, stem in stated.items())
        raise UsageError(
            f"the files are of different recordings ({listed}); give annotations of the same ones, "
            "or write the same name into them"
        )
    first = next(iter(one_name.values()))
    return dict.fromkeys(one_name, first)


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
