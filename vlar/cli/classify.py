"""``vlar classify``: which of these labels fits the recording?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import explain as explanation
from vlar.cli import inputs, options, output, timeline
from vlar.cli.choices import Choices
from vlar.cli.progress import Progress, progress
from vlar.cli.verb import exit_code

if TYPE_CHECKING:
    from vlar.text.labels import LabelList
    from vlar.types import Classification, Failure


def _modes() -> Iterable[str]:
    from vlar.scoring import MODES

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
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="Labels to show.")]
Every = Annotated[
    str | None,
    typer.Option("--every", metavar="SPAN", help="Answer for each span of this length: 4s."),
]
Timeline = Annotated[
    str | None,
    typer.Option("--timeline", metavar="FILE", help="Write segments: .json, .srt, .vtt or .png."),
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
        help="JSON of label to parent. Answers then name what kind of action it is.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show how labels were read and what decided.")
]


def command(
    paths: options.Recordings,
    labels: Labels = None,
    model: options.Model = "lite",
    top: Top = 5,
    every: Every = None,
    timeline_file: Timeline = None,
    mode: Mode = "one",
    descriptions: Descriptions = "auto",
    tree: TreeFile = None,
    explain: Explain = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Find which labels fit each recording.

    Any list of labels works; a model made by 'vlar adapt' has its own.

    Examples:
        vlar classify clip.mp4 --labels "riding a bike, talking, cooking"
        vlar classify videos/ --labels labels.txt --every 4s --json
    """
    from vlar.text.labels import parse_labels
    from vlar.text.tree import Tree

    every_s = inputs.seconds(every, "--every") if every else None
    segments_file = timeline.file_of(timeline_file, every_s)
    label_list = parse_labels(labels) if labels is not None else None
    label_tree = Tree.read(tree) if tree is not None else None
    _note(label_list)
    answered: list[Classification] = []
    with progress(f"loading {model}") as shown:
        recogniser = inputs.load_model(model, device, dtype)
        found, failures = inputs.recordings(paths, recogniser.encoder.modality)
        known = label_list.labels if label_list else recogniser.labels or ()
        texts = dict(zip(label_list.labels, label_list.texts, strict=True)) if label_list else {}
        if explain:
            explanation.labels(recogniser, list(texts.values()) or list(known))
        for row in failures:
            output.failure(row, as_json)
        failed = len(failures)
        shown.stage("reading labels")
        answers = recogniser.classify(
            iter(found), label_list, top=top, every_s=every_s, mode=mode,
            descriptions=descriptions, tree=label_tree,
        )  # fmt: skip
        shown.stage("classifying", total=len(found))
        for row in _counted(answers, shown):
            good = _show(row, as_json, mode, n_labels=len(known))
            failed += good is None
            answered += [good] if good is not None else []
            if explain and good is not None:
                explanation.answer(recogniser, good, texts)
    if segments_file is not None:
        timeline.write(segments_file, timeline.segments(answered))
    return exit_code(len(answered), failed)


def _note(labels: LabelList | None) -> None:
    for remark in labels.notes if labels else ():
        output.note(f"vlar: {remark}")


def _counted(
    rows: Iterable[Classification | Failure], shown: Progress
) -> Iterator[Classification | Failure]:
    """Pass answers through; a file counts when the first answer of the next one comes."""
    last = None
    for row in rows:
        shown(1 if last is not None and row.path != last else 0)
        last = row.path
        yield row


def _show(
    row: Classification | Failure, as_json: bool, mode: str, n_labels: int
) -> Classification | None:
    """Print an answer and return it; a failure is printed as one."""
    from vlar.types import Failure

    if isinstance(row, Failure):
        output.failure(row, as_json)
        return None
    if as_json:
        output.json_line(row)
    else:
        output.classification(row, several=mode == "multi", yes_or_no=n_labels == 1)
    return row
