"""``vlar classify``: find which labels fit each recording."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from vlar import registry
from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import Progress, progress
from vlar.errors import UsageError
from vlar.model.requests import ClassifyRequest
from vlar.options import FILES, SECOND_OPINION, Choices, Fields, Option

if TYPE_CHECKING:
    from vlar.language.labels import LabelList
    from vlar.model.model import Model
    from vlar.results import TableFile
    from vlar.types import Classification, Failure, Float32

    Answer = Classification | Failure

_PROBED = 50  # recordings whose windows are counted before the first is answered
_STRONGEST = 5  # attributes that explain an answer
ANSWERERS = Choices.of_kinds("answerer", "answerer")


JsonDict = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """Labels of a verb, and how they are read."""

    labels: Annotated[str | None, options.LABELS] = None
    pairs: Annotated[
        tuple[str, str] | None,
        Option(
            "Labels are every verb with every object; each a list or a file, as --labels.",
            "rare VERBS OBJECTS",
        ),
    ] = None
    concepts: Annotated[
        str | None,
        Option(
            "Labels that are names of its concepts are what judgements taught "
            "('vlar concept save').",
            "LIBRARY",
        ),
    ] = None


@dataclass(frozen=True)
class AnswerOptions:
    """Output of answers, and what decides them."""

    sensors: Annotated[
        list[str] | None,
        Option(
            "Another sensor's recording of the same moment: imu=b.mat; --model bundle:A+B.",
            "--with SENSOR=FILE",
        ),
    ] = None
    timeline_file: Annotated[
        str | None,
        Option("Write segments: .json, .csv, .srt, .vtt or .png.", "--timeline FILE", FILES),
    ] = None
    csv: Annotated[
        Path | None, Option("Write the answers as a table: .csv or .parquet.", group=FILES)
    ] = None
    rerank: Annotated[
        str | None,
        Option(
            "Ask another answerer about the best labels: self:MODEL, local:FOLDER, openai:MODEL.",
            "ANSWERER",
            SECOND_OPINION,
            choices=ANSWERERS,
        ),
    ] = None
    rerank_weight: Annotated[float | None, options.RERANK_WEIGHT] = None
    explain: Annotated[bool, Option("Show how labels were read and what decided.")] = False
    online: Annotated[bool, Option("Adapt to the recordings, in their order, while answering.")] = (
        False
    )


def classify(
    paths: options.Paths,
    /,
    *,
    words: Words,
    model: options.Model = "lite",
    asked: Annotated[JsonDict, Fields(ClassifyRequest)],
    flags: AnswerOptions,
    machine: options.Machine,
) -> int:
    """Find which labels fit each recording.

    Any list of labels works; a model made by 'vlar adapt' has its own. A single PATH may be the
    address of a stream or the number of a camera: rtsp://host/1, http://host/live.ts, 0.

    Examples:
        vlar classify clip.mp4 --labels "riding a bike, talking, cooking"
        vlar classify videos/ --labels labels.txt --every 4s --json
    """
    from vlar.results import TableFile

    every_s = inputs.seconds(asked["every_s"], "--every") if asked["every_s"] else None
    timeline = flags.timeline_file is not None and registry.shelf(
        "behaviour.verbs.timeline", "--timeline"
    )
    segments_file = timeline.file_of(flags.timeline_file, every_s) if timeline else None
    asked |= {"every_s": every_s, "at": inputs.span(asked["at"], "--at")}
    taught = inputs.concepts(words.concepts)
    request = ClassifyRequest(_label_list(words.labels, words.pairs), concepts=taught, **asked)
    live = _address(paths, segments_file)
    _check_person(request, live)
    _check_second_opinion(flags.rerank, live, request.mode)
    apart = request.shots or request.window or every_s or request.person
    if flags.online and (live or flags.rerank or flags.sensors or apart):
        raise UsageError(
            "--online answers whole recordings of a model's own sensor; leave out --every, --at, "
            "--shots, --who, --zoom, --with and --rerank, and give files"
        )
    review = None
    if flags.rerank is not None:
        opinions = registry.shelf("apps.verbs.second_opinion", "--rerank")
        review = opinions.Review(flags.rerank, flags.rerank_weight)
    absent = [] if live else inputs.absent(paths)
    with ExitStack() as stack:
        table = stack.enter_context(TableFile(flags.csv)) if flags.csv else None
        answers = Answers(request.mode, table)
        if len(absent) == len(paths):
            return answers.of_nothing(absent)
        shown = stack.enter_context(progress(f"loading {model}"))
        recogniser = inputs.load_model(model, machine.device, machine.dtype)
        request = replace(
            request, source=inputs.beside(paths, flags.sensors or (), recogniser.modality)
        )
        listed = request.label_set.listed
        answers.n_labels = len(listed or recogniser.default_labels)
        if live is not None:
            return _watch(live, recogniser, request, answers, shown)
        if flags.explain:
            answers.explain(recogniser, listed)
        _classify(paths, recogniser, request, answers, shown, review, flags.online)
    if timeline:
        timeline.write_answers(segments_file, answers.good)
    return exit_code(len(answers.good), answers.failed + (review.failed if review else 0))


class Answers:
    """Output of answers: to stdout, and into tables.

    Attributes:
        address: Address of a stream, whose answers are not kept; None for recordings.
        good: The answers so far.
        n_good: Their number.
        failed: Number of recordings and spans that gave none.
        n_labels: Length of the label list.
    """

    def __init__(self, mode: str, table: TableFile | None) -> None:
        self.address: str | None = None
        self.good: list[Classification] = []
        self.n_good = self.failed = self.n_labels = 0
        self._mode, self._table = mode, table
        self._explained: tuple[Model, dict[str, str]] | None = None
        self._named: list[Failure] = []  # parts of bundles, each said once

    def explain(self, model: Model, labels: LabelList | None) -> None:
        """Show how labels were read, and with each answer what decided."""
        texts = dict(zip(labels.labels, labels.texts, strict=True)) if labels else {}
        explain_labels(model, list(texts.values()) or list(model.default_labels))
        self._explained = model, texts

    def take(self, row: Answer) -> None:
        """Print an answer or a failure, count it and write it."""
        from vlar.types import Failure

        if self._table is not None:
            self._table.write(row)
        if isinstance(row, Failure):
            self.failed += 1
            output.failure(row)
            return
        self.n_good += 1
        if not row.calibrated and self.n_good == 1:
            from vlar.heads.calibration import BY_RULE

            fit = f"vlar calibrate LABELLED --model {shlex.quote(row.model)} --out FOLDER"
            output.note(f"vlar: {BY_RULE.format(model=row.model)}; fit them: {fit}")
        new = [part for part in row.failed if part not in self._named]
        self._named += new
        self.failed += bool(new)
        for part in new:
            output.failure(part)
        if self.address is None:
            self.good.append(row)
        if self.address is None or not output.is_json():
            output.classification(row, several=self._mode == "multi")
        else:
            output.json_line(_streams(self.address).live_dict(row, self.address))
        if self._explained is not None:
            explain_answer(self._explained[0], row, self._explained[1])

    def of_nothing(self, failures: Sequence[Failure]) -> int:
        """Print failures where no path can be read, before a model is loaded; the exit code."""
        for row in failures:
            self.take(row)
        return exit_code(0, self.failed)


def _check_person(request: ClassifyRequest, live: str | None) -> None:
    """Refuse --who, --zoom and --detector that cannot be, before a model is loaded."""
    if not request.person:
        return
    if live is not None:
        raise UsageError("--who and --zoom belong to recordings; a stream is judged as a whole")
    from vlar.people.focus import make_focus

    make_focus(request.who, request.zoom, request.detector)


def _classify(
    paths: list[str],
    model: Model,
    request: ClassifyRequest,
    answers: Answers,
    shown: Progress,
    review: Any,
    online: bool = False,
) -> None:
    """Answer for each recording, with a second opinion or adapting where that is asked for."""
    recordings, failures = inputs.recordings(paths, model.modality)
    for row in failures:
        answers.take(row)
    if not recordings:  # labels take seconds to read
        return
    shown.stage("reading labels")
    top = review.top(request.top, answers.n_labels) if review else request.top
    listing = replace(request, top=top)
    rows = model.recogniser.classify_each(iter(recordings), listing)
    model.encoder.release_texts()  # all labels were read
    if online:
        adapting = registry.shelf("training.test_time", "--online")
        form = "norms" if adapting.has_norms(model) else "features"
        rows = adapting.Online(model, form=form, request=request).classify_each(recordings)
    reviewed = review.reviewed(rows, model, request) if review else rows
    if request.every_s is None or len(recordings) > _PROBED:
        shown.stage("classifying", total=len(recordings))
        reviewed = _counted(reviewed, shown)
    else:
        total = sum(_windows(path, model, request.every_s) for path in recordings)
        shown.stage("classifying", total=total, unit="windows")
        reviewed = shown.counted(reviewed)
    for row in reviewed:
        answers.take(row)


def _check_second_opinion(answerer: str | None, live: str | None, mode: str) -> None:
    """Refuse a second opinion where it cannot be.

    Raises:
        UsageError: on a stream, or where labels do not exclude each other.
    """
    if answerer is None:
        return
    if live is not None:
        raise UsageError("--rerank belongs to recordings, which can be read twice; a stream cannot")
    if mode != "one":
        raise UsageError(
            "--rerank chooses one of several labels; with --mode multi each label stands for itself"
        )


def _label_list(labels: str | None, pairs: tuple[str, str] | None) -> LabelList | None:
    """The labels of ``--labels`` or ``--pairs``; None where neither is given."""
    from vlar.language.labels import parse_labels
    from vlar.language.pairs import parse_pairs

    if pairs is not None and labels is not None:
        raise UsageError("--labels and --pairs exclude each other; give one of them")
    listed = None if labels is None else parse_labels(labels)
    if pairs is not None:
        listed = parse_pairs(*pairs)
    for remark in listed.notes if listed else ():
        output.note(f"vlar: {remark}")
    return listed


def _address(paths: list[str], segments_file: Path | None) -> str | None:
    """The stream or camera that is the one PATH; None for recordings."""
    from vlar.media.video.live import is_live

    if len(paths) != 1 or not is_live(paths[0]):
        return None
    if segments_file is not None:
        raise UsageError("--timeline belongs to recordings, which end; a stream does not")
    return paths[0]


def _streams(address: str) -> Any:
    """The module that answers for streams."""
    return registry.shelf("plugins.streams.answers", address)


def _watch(
    address: str, model: Model, request: ClassifyRequest, answers: Answers, shown: Progress
) -> int:
    """Answer for each span of a stream until it is given up."""
    from vlar.media.video.live import shown_address

    answers.address = shown_address(address)
    shown.stage("reading labels")
    rows = _streams(answers.address).classify_live(model, address, request)
    shown.stage(f"watching {answers.address}", unit="answers")
    for row in rows:
        answers.take(row)
        shown(1)
    return exit_code(answers.n_good, answers.failed)


def _windows(path: Path, model: Model, every_s: float) -> int:
    """Windows of a recording; one where it cannot be read, which is one failure."""
    from vlar.errors import VlarError
    from vlar.media.lookup import reader

    try:
        return max(1, round(reader(model.modality).probe(path).duration_s / every_s))
    except VlarError:
        return 1


def _counted(rows: Iterable[Answer], shown: Progress) -> Iterator[Answer]:
    """Pass answers through; a file counts when the first answer of the next one comes."""
    last = None
    for row in rows:
        shown(1 if last is not None and row.path != last else 0)
        last = row.path
        yield row


def explain_labels(model: Model, texts: Sequence[str]) -> None:
    """One note a label: the entries of the verb table that stand for it, or that none does."""
    explain = getattr(model.encoder, "explain", None)
    for text in texts:
        meaning = explain(text) if explain else None
        if meaning is None:
            output.note("vlar: no motion is read from labels here (vlar models get lite-motion)")
            return
        how = {"table": "is", "nearest": "is like", "unknown": "says nothing of motion"}
        phrases = ", ".join(repr(phrase) for phrase in meaning.phrases)
        output.note(f"vlar: {text!r} {how[meaning.how]} {phrases}".rstrip())


def explain_answer(model: Model, row: Classification, texts: dict[str, str]) -> None:
    """Print one note an answer: the attributes for and against its best label."""
    names = [block.name for block in model.encoder.blocks]
    if "motion" not in names:
        return
    from vlar.pose.attributes.base import attribute_names, hand_attribute_names
    from vlar.types import Window

    encoded = model.words.encode_views(
        model.view_sampler.sample(row.path, Window(row.start_s, row.end_s))
    )
    begin = sum(block.width for block in model.encoder.blocks[: names.index("motion")])
    best = row.predictions[0].label
    product = encoded.vector * model.words.encode_labels([texts.get(best, best)])[0]
    motion = product[begin : begin + len(attribute_names())]
    parts = _strongest(attribute_names(), motion)
    message = (
        f"objects {product[:begin].sum():+.3f}, "
        f"motion {motion.sum():+.3f} ({parts or 'no body seen'})"
    )
    if "hands" in names:
        begin = sum(block.width for block in model.encoder.blocks[: names.index("hands")])
        hands = product[begin : begin + len(hand_attribute_names())]
        parts = _strongest(hand_attribute_names(), hands)
        message += f", hands {hands.sum():+.3f} ({parts or 'no hand looked for or seen'})"
    output.note(f"vlar: {row.path}: {best!r}: {message}")


def _strongest(names: Sequence[str], product: Float32) -> str:
    import numpy as np

    order = np.argsort(-np.abs(product), kind="stable")[:_STRONGEST]
    return ", ".join(f"{names[i]} {product[i]:+.3f}" for i in order if product[i])
