"""``vlar classify``: which of these labels fits the video?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import explain as explanation
from vlar.cli import inputs, output, timeline

if TYPE_CHECKING:
    from vlar.text.labels import LabelList
    from vlar.types import Classification, Failure


def command(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO", help="Videos, or folders that hold videos.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            *("--labels", "-l"),
            help="'a, b, c', a file (.txt, .csv, .json), or bank:NAME. "
            "A model made by 'vlar adapt' brings its own.",
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="See 'vlar models'.")] = "lite",
    top: Annotated[int, typer.Option("--top", min=1, help="Labels to show.")] = 5,
    every: Annotated[str | None, typer.Option(help="Answer for each span, such as 4s.")] = None,
    timeline_file: Annotated[
        str | None, typer.Option("--timeline", help="Write segments: .json, .srt, .vtt or .png.")
    ] = None,
    mode: Annotated[str, typer.Option(help="'one' label fits, or 'multi': any number.")] = "one",
    descriptions: Annotated[str, typer.Option(help="auto, none, or kinds: scene,motion.")] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how labels were understood and what decided.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Classify videos against any list of labels, zero-shot or with an adapted model.

    Example: vlar classify clip.mp4 --labels "riding a bike, talking, cooking"
    """
    from vlar.model.model import load
    from vlar.text.labels import parse_labels

    every_s = inputs.seconds(every, "--every") if every else None
    segments_file = timeline.file_of(timeline_file, every_s)
    label_list = parse_labels(labels) if labels is not None else None
    _note(label_list)
    recogniser = load(model)
    paths, failures = inputs.videos(videos, recogniser.encoder.modality)
    texts = dict(zip(label_list.labels, label_list.texts, strict=True)) if label_list else {}
    if explain:
        explanation.labels(recogniser, list(texts.values()) or list(recogniser.labels or ()))
    for row in failures:
        output.failure(row, as_json)
    answers = recogniser.classify(
        iter(paths), label_list, top=top, every_s=every_s, mode=mode, descriptions=descriptions
    )
    answered: list[Classification] = []
    failed = len(failures)
    for row in output.track(answers, len(paths) if every_s is None else None, "classifying"):
        good = _show(row, as_json)
        failed += good is None
        answered += [good] if good is not None else []
        if explain and good is not None:
            explanation.answer(recogniser, good, texts)
    if segments_file is not None:
        timeline.write(segments_file, timeline.segments(answered))
    return output.exit_code(len(answered), failed)


def _note(labels: LabelList | None) -> None:
    for remark in labels.notes if labels else ():
        output.note(f"vlar: {remark}")


def _show(row: Classification | Failure, as_json: bool) -> Classification | None:
    """Print an answer and hand it on; a failure is printed as one."""
    from vlar.types import Failure

    if isinstance(row, Failure):
        output.failure(row, as_json)
        return None
    if as_json:
        output.json_line(row)
    else:
        output.classification(row)
    return row
