"""``vlar timeline``: find what recordings show when, and how the work goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar import registry
from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError, VlarError
from vlar.options import FILES, TIME, Option

if TYPE_CHECKING:
    from vlar.behaviour.timeline.decoding import AnswerSegment
    from vlar.behaviour.timeline.recordings import TimelineRules
    from vlar.behaviour.timeline.work_cycles import Process
    from vlar.language.labels import LabelList
    from vlar.model.model import Model
    from vlar.segments import Segment
    from vlar.types import Classification, Failure

PX_PER_CM = Option("Pixels a centimetre of tracks that state none.", "rare")
FORCE = Option("Answer a recording that has less than half of the points of the model.", "rare")


@dataclass(frozen=True)
class TimelineOptions:
    """Steps, output and work table of a timeline."""

    every: Annotated[str, Option("Step: segments begin and end at one.", "SPAN", TIME)] = "500ms"
    window: Annotated[str, Option("What the answer of a step reads around it.", "SPAN", TIME)] = (
        "2s"
    )
    shortest: Annotated[
        str, Option("Least length of a segment; 0 for none.", "rare SPAN", TIME)
    ] = "1s"
    no_unknown: Annotated[bool, Option("Every moment shows one of the labels.", "rare")] = False
    online: Annotated[bool, Option("Print a segment when no later window can change it.")] = False
    delay: Annotated[
        str | None, Option("With --online: wait no longer than this.", "rare SPAN", TIME)
    ] = None
    kpi: Annotated[bool, Option("Print a table: counts, durations, waiting, violations.")] = False
    order: Annotated[
        str | None, Option("Steps of a cycle in order: 'pick, place'.", "rare LABELS")
    ] = None
    out: Annotated[
        str | None,
        Option(
            "Write segments: .json, .csv, .srt, .vtt, .otio, .png, or a folder "
            ".lerobot. Bouts of a model that learned from annotated recordings: "
            "any format of annotations.",
            "FILE",
            FILES,
        ),
    ] = None
    resume: Annotated[Path | None, Option("Keep what is finished; skip it later.", group=FILES)] = (
        None
    )
    fps: Annotated[float | None, options.FPS] = None
    px_per_cm: Annotated[float | None, PX_PER_CM] = None
    force: Annotated[bool, FORCE] = False


def timeline(
    paths: Annotated[options.Paths, inputs.all_absent],
    /,
    *,
    labels: Annotated[str | None, options.LABELS] = None,
    model: options.Model = "lite",
    flags: TimelineOptions,
    device: Annotated[str | None, options.DEVICE] = None,
) -> int:
    """Find what recordings show when, as segments.

    Any list of labels works; a model made by 'vlar adapt' has its own. A single PATH may be the
    address of a stream or the number of a camera; its segments are printed as they end.

    Examples:
        vlar timeline clip.mp4 --labels "riding a bike, talking" --every 1s
        vlar timeline work.mp4 --labels "picking, placing" --order "picking, placing" --kpi
    """
    from vlar.behaviour.annotated.head import NAME
    from vlar.behaviour.timeline.files import checked_file
    from vlar.behaviour.timeline.recordings import TimelineRules
    from vlar.language.labels import parse_labels
    from vlar.media.video.live import is_live
    from vlar.model.folder import holds_head

    if flags.delay and not flags.online:
        raise UsageError("--delay belongs to --online; add one, or leave it out")
    if flags.order and not flags.kpi:
        raise UsageError("--order belongs to --kpi; add it, or leave --order out")
    live = len(paths) == 1 and is_live(paths[0])
    every_s = inputs.seconds(flags.every, "--every")
    window_s = inputs.seconds(flags.window, "--window") if flags.window else None
    rules = TimelineRules(
        every_s=every_s,
        window_s=None if live or not window_s else max(window_s, every_s),
        shortest_s=_span(flags.shortest, "--shortest"),
        delay_s=_span(flags.delay, "--delay") if flags.delay else None,
        unknown=not flags.no_unknown,
    )
    if holds_head(model, NAME):
        return annotated_timeline(paths, model, flags)
    file = checked_file(flags.out, "--out") if flags.out else None
    label_list = parse_labels(labels) if labels is not None else None
    for remark in label_list.notes if label_list else ():
        output.note(f"vlar: {remark}")
    with progress(f"loading {model}") as shown:
        recogniser = inputs.load_model(model, device, None)
        shown.stage("reading labels")
        steps = _labels(flags.order, recogniser, label_list)
        shown.stage("reading recordings")
        if live:
            rows = _of_stream(recogniser, paths[0], label_list, rules)
        else:
            rows = _of_files(recogniser, paths, label_list, rules, flags.online, flags.resume)
        good, failed = _print(rows)
    if good and flags.kpi:
        from vlar.behaviour.timeline.work_cycles import measure

        process = measure(good, steps)
        output.row({"kpi": process.to_dict()}, *_table(process))
    if file:
        write_timeline(file, good, "nothing was found")
    return exit_code(len(good), failed)


def annotated_timeline(paths: list[str], model: str, flags: TimelineOptions) -> int:
    """Print and write the bouts of a model that learned from annotated recordings."""
    from vlar import segments
    from vlar.behaviour.annotated.head import DOUBTFUL, timeline_of
    from vlar.segments.files import check_target

    out = flags.out
    if out is not None:
        check_target(out)
    good: list[segments.Segment] = []
    answered = failed = 0
    with progress(f"loading {model}") as shown:
        recogniser = inputs.load_model(model, None, None)
        recordings, failures = inputs.recordings(paths, recogniser.encoder.modality)
        for failure in failures:
            output.failure(failure)
        failed = len(failures)
        shown.stage("reading recordings", total=len(recordings))
        refused = 0
        for path in recordings:
            try:
                rows = reported_bouts(recogniser, path, flags.fps, flags.px_per_cm, flags.force)
            except VlarError as error:
                output.error(error.message)
                failed += 1
                refused += isinstance(error, UsageError)
                continue
            shown(1)
            answered += 1
            good += rows
            for row in rows:
                doubt = (row.probability or 0) < DOUBTFUL
                text = f"{row.label}, {output.percent(row.probability or 0)}"
                text += ", doubtful" if doubt else ""
                facts = {**row.to_dict(), "doubtful": doubt}
                del facts["rater"]  # it has the date, and an answer is the same on any day
                output.row(facts, f"{text}  {row.recording}  {output.span(row)}", strong=len(text))
    if out is not None and answered:
        rate = flags.fps or timeline_of(recogniser).source.get("fps")
        for note in segments.save(out, good, fps=rate):
            output.note(f"vlar: {note}")
        output.note(f"vlar: timeline written to {out}")
    return 2 if refused and not answered else exit_code(answered, failed)


def reported_bouts(
    model: Model, path: str | Path, fps: float | None, px_per_cm: float | None, force: bool
) -> list[Segment]:
    """Bouts of a recording, after a row on its points where they are not those of the model.

    Raises:
        VlarError: as ``vlar.behaviour.bouts``.
    """
    from vlar.behaviour.annotated.recordings import AnswerReport, bouts

    def show(report: AnswerReport) -> None:
        if text := report.summary():
            output.row({"report": report.to_dict()}, text)

    return bouts(model, path, fps=fps, px_per_cm=px_per_cm, force=force, report=show)


def write_timeline(file: Path, rows: list[AnswerSegment], nothing: str) -> None:
    """Write segments into a file; a note states that it was written, or why not."""
    from vlar.behaviour.timeline.files import write

    if not rows:
        output.note(f"vlar: {nothing}, no timeline is written")
        return
    write(file, rows)
    output.note(f"vlar: timeline written to {file}")


def file_of(name: str, every_s: float | None) -> Path:
    """The checked file of ``vlar classify --timeline``.

    Raises:
        UsageError: it has another ending, or the answers have no steps.
    """
    from vlar.behaviour.timeline.files import checked_file

    if every_s is None:
        raise UsageError("--timeline needs --every, such as --every 2s: one answer has no timeline")
    return checked_file(name, "--timeline")


def write_answers(file: Path, answers: list[Classification]) -> None:
    """Write the answers of ``vlar classify`` as segments."""
    from vlar.behaviour.timeline.decoding import segments

    write_timeline(file, segments(answers), "nothing was classified")


def _span(text: str, option: str) -> float:
    """A span in seconds, or 0."""
    return 0.0 if text.strip() in ("0", "0s") else inputs.seconds(text, option)


def _labels(text: str | None, model: Model, listed: LabelList | None) -> tuple[str, ...]:
    """Labels of an option as the list or the model spells them."""
    from vlar.language.labels import parse_labels
    from vlar.registry import unknown_name

    if text is None:
        return ()
    labels = listed.labels if listed else model.labels or ()
    names = parse_labels(text).spelled_as(labels)
    for name in names:
        if name not in labels:
            raise unknown_name("label of --order", name, labels)
    return tuple(names)


def _of_files(
    model: Model,
    paths: list[str],
    labels: LabelList | None,
    rules: TimelineRules,
    online: bool,
    resume: Path | None,
) -> Iterator[AnswerSegment | Failure]:
    from vlar.behaviour.timeline.recordings import find_segments
    from vlar.behaviour.timeline.resume import FinishedRecordings
    from vlar.library.recording import stamp_of
    from vlar.types import Failure

    recordings, failures = inputs.recordings(paths, model.encoder.modality)
    yield from failures
    if resume is None:
        yield from find_segments(model, recordings, labels, rules, online=online)
        return
    names = labels.labels if labels else model.labels
    saved = stamp_of(Path(model.name)) if Path(model.name).is_dir() else None
    finished = FinishedRecordings(resume, [model.name, model.fingerprint, saved, names, rules])
    for path in recordings:
        segments = finished.get(Path(path))
        if segments is not None:
            yield from segments
            continue
        rows: list[AnswerSegment | Failure] = []
        for row in find_segments(model, path, labels, rules, online=online):
            rows.append(row)
            yield row
        good = [row for row in rows if not isinstance(row, Failure)]
        if len(good) == len(rows):
            finished.put(Path(path), good)


def _of_stream(
    model: Model, address: str, labels: LabelList | None, rules: TimelineRules
) -> Iterator[AnswerSegment | Failure]:
    from vlar.behaviour.timeline.recordings import SegmentStream, TimeStep
    from vlar.language.labels import LabelSet
    from vlar.media.video.live import shown_address
    from vlar.model.requests import ClassifyRequest
    from vlar.types import Failure

    names = tuple(labels.labels if labels else model.labels or ())
    stream = SegmentStream(names, rules)
    request = ClassifyRequest(LabelSet(labels), top=len(names), every_s=rules.every_s)
    streams = registry.shelf("plugins.streams.answers", shown_address(address))
    rows = streams.classify_live(model, address, request)
    for row in rows:
        if isinstance(row, Failure):
            yield row
        else:
            yield from stream.push(TimeStep.of(row, names))
    yield from stream.finish()


def _print(rows: Iterable[AnswerSegment | Failure]) -> tuple[list[AnswerSegment], int]:
    """Print segments and failures as they come; the segments, and the number of failures."""
    from vlar.behaviour.timeline.decoding import UNKNOWN
    from vlar.types import Failure

    good: list[AnswerSegment] = []
    failed = 0
    for row in rows:
        if isinstance(row, Failure):
            failed += 1
            output.failure(row)
            continue
        good.append(row)
        answer = f"{row.label or UNKNOWN}, {output.percent(row.probability)}"
        output.row(row, f"{answer}  {row.path}  {output.span(row)}", strong=len(answer))
    return good, failed


def _table(process: Process) -> Iterator[str]:
    """The figures of the work as a table of lines."""
    facts = process.to_dict()
    width = max([len("step"), *(len(step.label) for step in process.steps)])
    yield ""
    yield f"{'step':<{width}}  count  share  mean s  spread s  waiting s"
    for step in process.steps:
        numbers = (step.mean_s, step.spread_s, step.waiting_s)
        mean, spread, waiting = ("-" if n is None else f"{n:.2f}" for n in numbers)
        yield (
            f"{step.label:<{width}}  {step.count:5d}  {step.share:5.0%}  {mean:>6}  {spread:>8}  "
            f"{waiting:>9}"
        )
    mean, spread = facts["cycle_mean_s"], facts["cycle_spread_s"]
    length = "" if mean is None else f", {mean:.2f} s each (spread {spread or 0:.2f} s)"
    yield f"cycles: {facts['complete_cycles']} complete of {facts['cycles']}{length}"
    yield f"waiting: {process.waiting_s:.2f} s of {process.duration_s:.2f} s"
    if process.order:
        yield f"order violations: {len(process.violations)}"
        for violation in process.violations:
            where = f"{violation.path}  {output.clock(violation.start_s)}"
            due = f"where {violation.expected} was due ({violation.kind})"
            yield f"  {where}  {violation.label} {due}"
