"""``vlar classify``: which of these labels fits the recording?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import explain as explanation
from vlar.apps.cli import inputs, options, output, second_opinion
from vlar.apps.cli import options as people
from vlar.apps.cli.options import Choices
from vlar.apps.cli.progress import Progress, progress
from vlar.apps.cli.verb import exit_code
from vlar.formatting import counted

if TYPE_CHECKING:
    from vlar.language.labels import LabelList
    from vlar.model.model import Model
    from vlar.model.requests import ClassifyRequest
    from vlar.results import TableFile
    from vlar.types import Classification, Failure, JsonDict


_PROBED = 50  # recordings whose windows are counted before the first is answered
_TRIED = 8  # windows, one batch, from which the cost of the others is estimated
_COSTLY_S = 20.0  # processor time that is announced


def _live(row: Classification, address: str) -> JsonDict:
    from vlar.apps.live import live_dict

    return live_dict(row, address)


class Answers:
    """Output of answers: to stdout, and into tables.

    Attributes:
        address: Address of a stream, whose answers are not kept; None for recordings.
        good: The answers so far.
        n_good: Their number.
        failed: Number of recordings and spans that gave none.
        n_labels: Length of the label list.
    """

    def __init__(self, as_json: bool, mode: str, tables: Sequence[TableFile]) -> None:
        self.address: str | None = None
        self.good: list[Classification] = []
        self.n_good = self.failed = self.n_labels = 0
        self._as_json, self._mode, self._tables = as_json, mode, tables
        self._explained: tuple[Model, dict[str, str]] | None = None
        self._named: list[Failure] = []  # parts of bundles, each said once

    def explain(self, model: Model, labels: LabelList | None) -> None:
        """Show how labels were read, and with each answer what decided."""
        texts = dict(zip(labels.labels, labels.texts, strict=True)) if labels else {}
        explanation.labels(model, list(texts.values()) or list(model.default_labels))
        self._explained = model, texts

    def take(self, row: Classification | Failure) -> None:
        """Print an answer or a failure, count it and write it."""
        from vlar.types import Failure

        for table in self._tables:
            table.write(row)
        if isinstance(row, Failure):
            self.failed += 1
            output.failure(row, self._as_json)
            return
        self.n_good += 1
        new = [part for part in row.failed if part not in self._named]
        self._named += new
        self.failed += bool(new)
        for part in new:
            output.failure(part, self._as_json)
        if self.address is None:
            self.good.append(row)
        if self._as_json:
            output.json_line(row if self.address is None else _live(row, self.address))
        else:
            output.classification(row, several=self._mode == "multi")
        if self._explained is not None:
            explanation.answer(self._explained[0], row, self._explained[1])


def tables(stack: ExitStack, csv: Path | None, parquet: Path | None) -> list[TableFile]:
    """The files of ``--csv`` and ``--parquet``, open until the stack ends."""
    from vlar.errors import UsageError
    from vlar.results import TableFile

    files: list[TableFile] = []
    for file, ending in ((csv, ".csv"), (parquet, ".parquet")):
        if file is None:
            continue
        if file.suffix.lower() != ending:
            raise UsageError(f"--{ending[1:]} {str(file)!r}: the name does not end in {ending}")
        files.append(stack.enter_context(TableFile(file)))
    return files


def _modes() -> Iterable[str]:
    from vlar.heads.concept_heads import MODES

    return MODES


_MODES = Choices("mode", _modes)


Labels = Annotated[
    str | None,
    typer.Option(
        *("--labels", "-l"),
        metavar="LABELS",
        help="'a, b, c', a file (.txt, .csv, .json), or bank:NAME. "
        "A model made by 'vlar adapt' has its own.",
    ),
]
Pairs = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--pairs",
        metavar="VERBS OBJECTS",
        help="Labels are every verb with every object; each a list or a file, as --labels.",
    ),
]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="Labels to show.")]
Every = Annotated[
    str | None,
    typer.Option("--every", metavar="SPAN", help="Answer for each span of this length: 4s."),
]
At = Annotated[
    str | None, typer.Option("--at", metavar="SPAN", help="Answer for an interval: 2s-4s.")
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="SENSOR=FILE",
        help="Another sensor's recording of the same moment: imu=b.mat; --model bundle:A+B.",
    ),
]
Timeline = Annotated[
    str | None,
    typer.Option(
        "--timeline", metavar="FILE", help="Write segments: .json, .csv, .srt, .vtt or .png."
    ),
]
Csv = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write the answers as a table.")
]
Parquet = Annotated[
    Path | None,
    typer.Option("--parquet", metavar="FILE", help="The same for pandas, Arrow, DuckDB."),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="MODE",
        autocompletion=_MODES.complete,
        help="'one': a single label fits. 'multi': any number of labels fit.",
    ),
    _MODES,
]
Descriptions = Annotated[
    str,
    typer.Option(
        "--descriptions",
        metavar="KINDS",
        help="Use descriptions of labels: auto, none, or kinds such as scene,motion.",
    ),
]
TreeFile = Annotated[
    str | None,
    typer.Option(
        "--tree",
        metavar="FILE",
        help="JSON of label to parent, bank:NAME or text (made from the labels). Answers then "
        "name what kind of action it is.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show how labels were read and what decided.")
]
Online = Annotated[
    bool, typer.Option("--online", help="Adapt to the recordings, in their order, while answering.")
]
OnlineForm = Annotated[
    str,
    typer.Option(
        "--online-form", metavar="FORM", help="What adapts: norms, all (parameters) or features."
    ),
]


def command(
    paths: options.Recordings,
    labels: Labels = None,
    pairs: Pairs = None,
    model: options.Model = "lite",
    top: Top = 5,
    every: Every = None,
    at: At = None,
    beside: With = None,
    timeline_file: Timeline = None,
    csv: Csv = None,
    parquet: Parquet = None,
    mode: Mode = "one",
    descriptions: Descriptions = "auto",
    tree: TreeFile = None,
    shots: options.Shots = False,
    who: people.Who = None,
    zoom: people.Zoom = "off",
    detector: people.Detector = None,
    rerank: second_opinion.Rerank = None,
    rerank_k: second_opinion.RerankK = 5,
    rerank_weights: second_opinion.RerankWeights = None,
    rerank_margin: second_opinion.RerankMargin = None,
    or_none: second_opinion.RerankNone = False,
    explain: Explain = False,
    online: Online = False,
    online_form: OnlineForm = "norms",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Find which labels fit each recording.

    Any list of labels works; a model made by 'vlar adapt' has its own. A single PATH may be the
    address of a stream or the number of a camera: rtsp://host/1, http://host/live.ts, 0.

    Examples:
        vlar classify clip.mp4 --labels "riding a bike, talking, cooking"
        vlar classify videos/ --labels labels.txt --every 4s --json
    """
    from vlar.errors import UsageError
    from vlar.language.labels import LabelSet
    from vlar.model.requests import ClassifyRequest, interval

    every_s = inputs.seconds(every, "--every") if every else None
    segments_file = _timeline_file(timeline_file, every_s)
    asked = LabelSet.read(_label_list(labels, pairs), mode, descriptions, tree)
    live = _address(paths, segments_file)
    person = people.asked(live, who=who, zoom=zoom, detector=detector)
    window = interval(inputs.span(at, "--at"), every_s)
    request = ClassifyRequest(asked, top, every_s, shots=shots, at=window, **person)
    second_opinion.check(rerank, live, mode)
    if online and (live or rerank or shots or beside or window or every_s or person):
        raise UsageError(
            "--online answers whole recordings of a model's own sensor; leave out --every, --at, "
            "--shots, --who, --zoom, --with and --rerank, and give files"
        )
    review = second_opinion.Review(rerank, rerank_k, rerank_weights, rerank_margin, or_none, model)
    with ExitStack() as stack:
        answers = Answers(as_json, mode, tables(stack, csv, parquet))
        shown = stack.enter_context(progress(f"loading {model}"))
        recogniser = inputs.load_model(model, device, dtype)
        request = replace(request, source=inputs.beside(paths, beside or (), recogniser.modality))
        answers.n_labels = len(asked.listed.labels if asked.listed else recogniser.default_labels)
        if live is not None:
            return _watch(live, recogniser, request, answers, shown)
        if explain:
            answers.explain(recogniser, asked.listed)
        form = online_form if online else None
        _classify(paths, recogniser, request, answers, shown, review, form)
    if segments_file is not None:
        _write_timeline(segments_file, answers.good)
    return exit_code(len(answers.good), answers.failed + review.failed)


def _classify(
    paths: list[str],
    model: Model,
    request: ClassifyRequest,
    answers: Answers,
    shown: Progress,
    review: second_opinion.Review,
    online: str | None = None,
) -> None:
    """Answer for each recording, with a second opinion or adapting where that is asked for."""
    found, failures = inputs.recordings(paths, model.modality)
    for row in failures:
        answers.take(row)
    if not found:  # labels take seconds to read
        return
    shown.stage("reading labels")
    listing = replace(request, top=review.top(request.top, answers.n_labels))
    rows = model.recogniser.classify_each(iter(found), listing)
    if online:
        from vlar.training.test_time import Online as Adapting

        rows = Adapting(model, form=online, request=request).classify_each(found)
    reviewed = review.reviewed(rows, model, request)
    if request.every_s is None or len(found) > _PROBED:
        shown.stage("classifying", total=len(found))
        reviewed = _counted(reviewed, shown)
    else:
        total = sum(_windows(path, model, request.every_s) for path in found)
        shown.stage("classifying", total=total, unit="windows")
        reviewed = _timed(reviewed, shown, total)
    for row in reviewed:
        answers.take(row)


def _timeline_file(given: str | None, every_s: float | None) -> Path | None:
    from vlar.apps.timeline.files import checked_file
    from vlar.errors import UsageError

    if given is None:
        return None
    if every_s is None:
        raise UsageError("--timeline needs --every, such as --every 2s: one answer has no timeline")
    return checked_file(given, "--timeline")


def _write_timeline(file: Path, rows: Sequence[Classification]) -> None:
    from vlar.apps.timeline.decoding import segments
    from vlar.apps.timeline.files import write

    found = segments(rows)
    if not found:
        output.note("vlar: nothing was classified, no timeline is written")
        return
    write(file, found)
    output.note(f"vlar: timeline written to {file}")


def _label_list(labels: str | None, pairs: tuple[str, str] | None) -> LabelList | None:
    """The labels of ``--labels`` or ``--pairs``; None where neither is given."""
    from vlar.errors import UsageError
    from vlar.language.labels import parse_labels
    from vlar.language.pairs import parse_pairs

    if pairs is not None and labels is not None:
        raise UsageError("--labels and --pairs exclude each other; give one of them")
    listed = None if labels is None else parse_labels(labels)
    if pairs is not None:
        listed = parse_pairs(*pairs)
    _note(listed)
    return listed


def _address(paths: list[str], segments_file: Path | None) -> str | None:
    """The stream or camera that is the one PATH; None for recordings."""
    from vlar.errors import UsageError
    from vlar.media.video.live import is_live

    if len(paths) != 1 or not is_live(paths[0]):
        return None
    if segments_file is not None:
        raise UsageError("--timeline belongs to recordings, which end; a stream does not")
    return paths[0]


def _watch(
    address: str, model: Model, request: ClassifyRequest, answers: Answers, shown: Progress
) -> int:
    """Answer for each span of a stream until it is given up."""
    from vlar.apps.live import classify_live
    from vlar.media.video.live import shown_address

    answers.address = shown_address(address)
    shown.stage("reading labels")
    rows = classify_live(model, address, request)
    shown.stage(f"watching {answers.address}", unit="answers")
    for row in rows:
        answers.take(row)
        shown(1)
    return exit_code(answers.n_good, answers.failed)


def _note(labels: LabelList | None) -> None:
    for remark in labels.notes if labels else ():
        output.note(f"vlar: {remark}")


def _windows(path: Path, model: Model, every_s: float) -> int:
    """Windows of a recording; one where it cannot be read, which is one failure."""
    from vlar.errors import VlarError
    from vlar.media.lookup import reader

    try:
        return max(1, round(reader(model.modality).probe(path).duration_s / every_s))
    except VlarError:
        return 1


def _timed(
    rows: Iterable[Classification | Failure], shown: Progress, total: int
) -> Iterator[Classification | Failure]:
    """Pass answers through and count each; one line states a cost above 20 s before it is paid."""
    begin_s = time.process_time()
    for done, row in enumerate(rows, start=1):
        shown(1)
        if done == _TRIED:
            rest_s = (time.process_time() - begin_s) / done * (total - done)
            if rest_s > _COSTLY_S:
                spans = counted(total, "windows")
                output.note(f"vlar: {spans}; about {rest_s:.0f} s of processor time more")
        yield row


def _counted(
    rows: Iterable[Classification | Failure], shown: Progress
) -> Iterator[Classification | Failure]:
    """Pass answers through; a file counts when the first answer of the next one comes."""
    last = None
    for row in rows:
        shown(1 if last is not None and row.path != last else 0)
        last = row.path
        yield row
