"""``vlar timeline``: what does a recording show when, and how does the work go?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.classify import Labels
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code

if TYPE_CHECKING:
    from vlar.apps.timeline.decoding import Segment
    from vlar.apps.timeline.recordings import TimelineRules
    from vlar.apps.timeline.work_cycles import Process
    from vlar.language.labels import LabelList
    from vlar.model.model import Model
    from vlar.types import Failure

Every = Annotated[
    str, typer.Option("--every", metavar="SPAN", help="Step: segments begin and end at one.")
]
Around = Annotated[
    str, typer.Option("--window", metavar="SPAN", help="What the answer of a step reads around it.")
]
Shortest = Annotated[
    str, typer.Option("--shortest", metavar="SPAN", help="Least length of a segment; 0 for none.")
]
Smooth = Annotated[
    str, typer.Option("--smooth", metavar="SPAN", help="Average scores over this first; 0: not.")
]
Switch = Annotated[
    float,
    typer.Option("--switch", metavar="COST", min=0, help="Cost of a change; higher: fewer."),
]
NoUnknown = Annotated[
    bool, typer.Option("--no-unknown", help="Every moment shows one of the labels.")
]
Online = Annotated[
    bool, typer.Option("--online", help="Print a segment when no later window can change it.")
]
Delay = Annotated[
    str | None,
    typer.Option("--delay", metavar="SPAN", help="With --online: wait no longer than this."),
]
Kpi = Annotated[
    bool, typer.Option("--kpi", help="Print a table: counts, durations, waiting, violations.")
]
Order = Annotated[
    str | None,
    typer.Option("--order", metavar="LABELS", help="Steps of a cycle in order: 'pick, place'."),
]
Idle = Annotated[
    str | None,
    typer.Option("--idle", metavar="LABELS", help="Labels that are waiting, as unknown is."),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write segments: .json, .csv, .srt, .vtt, .otio, .png, or a folder .lerobot.",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="FILE", help="Keep what is finished; skip it later."),
]
KpiOut = Annotated[
    str | None,
    typer.Option("--kpi-out", metavar="FILE", help="Write the table: .json, .csv or .png."),
]


def command(
    paths: options.Recordings,
    labels: Labels = None,
    model: options.Model = "lite",
    every: Every = "500ms",
    window: Around = "2s",
    shortest: Shortest = "1s",
    smooth: Smooth = "0",
    switch: Switch = 0.3,
    no_unknown: NoUnknown = False,
    online: Online = False,
    delay: Delay = None,
    kpi: Kpi = False,
    order: Order = None,
    idle: Idle = None,
    out: Out = None,
    kpi_out: KpiOut = None,
    resume: Resume = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Find what recordings show when, as segments.

    Any list of labels works; a model made by 'vlar adapt' has its own. A single PATH may be the
    address of a stream or the number of a camera; its segments are printed as they end.

    Examples:
        vlar timeline clip.mp4 --labels "riding a bike, talking" --every 1s
        vlar timeline work.mp4 --labels "picking, placing" --order "picking, placing" --kpi
    """
    from vlar.apps.timeline.files import FIGURE_ENDINGS, checked_file
    from vlar.language.labels import parse_labels
    from vlar.media.video.live import is_live

    _need(delay, online, "--delay belongs to --online")
    _need(order or idle, kpi or kpi_out, "--order and --idle belong to --kpi and --kpi-out")
    live = len(paths) == 1 and is_live(paths[0])
    rules = _rules(every, None if live else window, shortest, smooth, switch, delay)
    rules = replace(rules, unknown=not no_unknown)
    file = checked_file(out, "--out") if out else None
    table = checked_file(kpi_out, "--kpi-out", FIGURE_ENDINGS) if kpi_out else None
    label_list = parse_labels(labels) if labels is not None else None
    for remark in label_list.notes if label_list else ():
        output.note(f"vlar: {remark}")
    good: list[Segment] = []
    with progress(f"loading {model}") as shown:
        recogniser = inputs.load_model(model, device, dtype)
        shown.stage("reading labels")
        steps, rest = (_labels(text, recogniser, label_list) for text in (order, idle))
        shown.stage("reading recordings")
        if live:
            rows = _of_stream(recogniser, paths[0], label_list, rules)
        else:
            rows = _of_files(recogniser, paths, label_list, rules, online, resume)
        failed = _print(rows, good, as_json)
    if good and (kpi or table):
        _figures(good, steps, rest, as_json, table, show=kpi)
    if file:
        _write(file, good)
    return exit_code(len(good), failed)


def _need(given: object, needed: object, why: str) -> None:
    """Refuse an option without the one that it belongs to."""
    from vlar.errors import UsageError

    if given and not needed:
        raise UsageError(f"{why}; add one, or leave it out")


def _rules(
    every: str, window: str | None, shortest: str, smooth: str, switch: float, delay: str | None
) -> TimelineRules:
    from vlar.apps.timeline.recordings import TimelineRules

    every_s = inputs.seconds(every, "--every")
    return TimelineRules(
        every_s=every_s,
        window_s=max(inputs.seconds(window, "--window"), every_s) if window else None,
        shortest_s=_span(shortest, "--shortest"),
        smooth_s=_span(smooth, "--smooth"),
        switch=switch,
        delay_s=_span(delay, "--delay") if delay else None,
    )


def _span(text: str, option: str) -> float:
    """A span in seconds, or 0."""
    return 0.0 if text.strip() in ("0", "0s") else inputs.seconds(text, option)


def _labels(text: str | None, model: Model, listed: LabelList | None) -> tuple[str, ...]:
    """Labels of an option as the list or the model spells them."""
    from vlar.language.labels import parse_labels
    from vlar.registry import unknown_name

    if text is None:
        return ()
    known = listed.labels if listed else model.labels or ()
    names = parse_labels(text).spelled_as(known)
    for name in names:
        if name not in known:
            raise unknown_name("label of --order or --idle", name, known)
    return tuple(names)


def _of_files(
    model: Model,
    paths: list[str],
    labels: LabelList | None,
    rules: TimelineRules,
    online: bool,
    resume: Path | None,
) -> Iterator[Segment | Failure]:
    from vlar.apps.timeline.recordings import find_segments
    from vlar.apps.timeline.resume import FinishedRecordings
    from vlar.library.ingest.reader import stamp_of
    from vlar.types import Failure

    found, failures = inputs.recordings(paths, model.encoder.modality)
    yield from failures
    if resume is None:
        yield from find_segments(model, found, labels, rules, online=online)
        return
    names = labels.labels if labels else model.labels
    saved = stamp_of(Path(model.name)) if Path(model.name).is_dir() else None
    finished = FinishedRecordings(resume, [model.name, model.fingerprint, saved, names, rules])
    for path in found:
        kept = finished.get(Path(path))
        if kept is not None:
            yield from kept
            continue
        rows: list[Segment | Failure] = []
        for row in find_segments(model, path, labels, rules, online=online):
            rows.append(row)
            yield row
        good = [row for row in rows if not isinstance(row, Failure)]
        if len(good) == len(rows):
            finished.put(Path(path), good)


def _of_stream(
    model: Model, address: str, labels: LabelList | None, rules: TimelineRules
) -> Iterator[Segment | Failure]:
    from vlar.apps.live import classify_live
    from vlar.apps.timeline.recordings import SegmentStream, TimeStep
    from vlar.language.labels import LabelSet
    from vlar.model.requests import ClassifyRequest
    from vlar.types import Failure

    names = tuple(labels.labels if labels else model.labels or ())
    stream = SegmentStream(names, rules)
    request = ClassifyRequest(LabelSet(labels), top=len(names), every_s=rules.every_s)
    rows = classify_live(model, address, request)
    for row in rows:
        if isinstance(row, Failure):
            yield row
        else:
            yield from stream.push(TimeStep.of(row, names))
    yield from stream.finish()


def _print(rows: Iterable[Segment | Failure], good: list[Segment], as_json: bool) -> int:
    """Print segments and failures as they come; the number of failures."""
    from vlar.apps.timeline.decoding import UNKNOWN
    from vlar.types import Failure

    failed = 0
    for row in rows:
        if isinstance(row, Failure):
            failed += 1
            output.failure(row, as_json)
            continue
        good.append(row)
        if as_json:
            output.json_line(row)
            continue
        span = f"{output.clock(row.start_s)} to {output.clock(row.end_s)}"
        answer = f"{row.label or UNKNOWN}, {output.percent(row.probability)}"
        output.line(f"{row.path}  {span}  {answer}", flush=True, strong=len(answer))
    return failed


def _figures(
    rows: list[Segment],
    order: tuple[str, ...],
    idle: tuple[str, ...],
    as_json: bool,
    file: Path | None,
    *,
    show: bool,
) -> None:
    from vlar.apps.timeline.files import write_process
    from vlar.apps.timeline.work_cycles import measure

    process = measure(rows, order, idle)
    if show and as_json:
        output.json_line({"kpi": process.to_dict()})
    elif show:
        _table(process)
    if file:
        write_process(file, process, rows)
        output.note(f"vlar: figures written to {file}")


def _table(process: Process) -> None:
    """The figures of the work as a table of lines."""
    facts = process.to_dict()
    width = max([len("step"), *(len(step.label) for step in process.steps)])
    output.line("")
    output.line(f"{'step':<{width}}  count  share  mean s  spread s  waiting s")
    for step in process.steps:
        numbers = (step.mean_s, step.spread_s, step.waiting_s)
        mean, spread, waiting = ("-" if n is None else f"{n:.2f}" for n in numbers)
        output.line(
            f"{step.label:<{width}}  {step.count:5d}  {step.share:5.0%}  {mean:>6}  {spread:>8}  "
            f"{waiting:>9}"
        )
    mean, spread = facts["cycle_mean_s"], facts["cycle_spread_s"]
    length = "" if mean is None else f", {mean:.2f} s each (spread {spread or 0:.2f} s)"
    output.line(f"cycles: {facts['complete_cycles']} complete of {facts['cycles']}{length}")
    output.line(f"waiting: {process.waiting_s:.2f} s of {process.duration_s:.2f} s")
    if process.order:
        output.line(f"order violations: {len(process.violations)}")
        for each in process.violations:
            output.line(
                f"  {each.path}  {output.clock(each.start_s)}  {each.label} where {each.expected} "
                f"was due ({each.kind})"
            )


def _write(file: Path, rows: list[Segment]) -> None:
    from vlar.apps.timeline.files import write

    if not rows:
        output.note("vlar: nothing was found, no timeline is written")
        return
    write(file, rows)
    output.note(f"vlar: timeline written to {file}")
