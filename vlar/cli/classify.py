"""``vlar classify``: which of these labels fits the video?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import explain as explanation
from vlar.cli import inputs, output, timeline

if TYPE_CHECKING:
    from vlar.types import Classification


def command(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO", help="Videos, or folders that hold videos.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            help="'a, b, c', a file (.txt, .csv, .json), or bank:NAME. "
            "A model made by 'vlar adapt' brings its own.",
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="See 'vlar models'.")] = "lite",
    top: Annotated[int, typer.Option("--top", min=1, help="Labels to show.")] = 5,
    every: Annotated[str | None, typer.Option(help="Answer for each span, such as 4s.")] = None,
    timeline_file: Annotated[
        str | None,
        typer.Option("--timeline", help="Also write segments: a .json, .srt, .vtt or .png file."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how labels were understood and what decided.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Classify videos against any list of labels, zero-shot or with an adapted model.

    Example: vlar classify clip.mp4 --labels "riding a bike, talking, cooking"
    """
    from vlar.model import load
    from vlar.text.labels import parse_labels
    from vlar.types import Failure

    every_s = inputs.seconds(every, "--every") if every else None
    segments_file = timeline.file_of(timeline_file, every_s)
    label_list = parse_labels(labels) if labels is not None else None
    for remark in label_list.notes if label_list else ():
        output.note(f"vlar: {remark}")
    paths, failures = inputs.videos(videos)
    recogniser = load(model)
    texts = dict(zip(label_list.labels, label_list.texts, strict=True)) if label_list else {}
    if explain:
        explanation.labels(recogniser, list(texts.values()) or list(recogniser.labels or ()))
    for row in failures:
        output.failure(row, as_json)
    answers = recogniser.classify_each(paths, label_list, top=top, every_s=every_s)
    answered: list[Classification] = []
    failed = len(failures)
    for row in output.track(answers, len(paths) if every_s is None else None, "classifying"):
        if isinstance(row, Failure):
            failed += 1
            output.failure(row, as_json)
            continue
        answered.append(row)
        (output.json_line if as_json else output.classification)(row)
        if explain:
            explanation.answer(recogniser, row, texts)
    if segments_file is not None:
        timeline.write(segments_file, timeline.segments(answered))
    return output.exit_code(len(answered), failed)
