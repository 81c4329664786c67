"""``vlar review``: which clips to label next, and what to do with the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.behaviour.verbs.timeline import FORCE
from vlar.errors import UsageError, explained
from vlar.formatting import counted
from vlar.options import FILES, Choices, Option

if TYPE_CHECKING:
    from vlar.behaviour.candidates import ReviewCandidates, ReviewItem
    from vlar.types import Window

    Place = tuple[Path, Window | None]


def _formats() -> tuple[str, ...]:
    from vlar.behaviour.candidates import FORMATS

    return tuple(FORMATS)


_FORMATS = Choices("format", _formats)


def review(
    target: Annotated[str, Option("A library, or a model: a name or a folder.", "TARGET")],
    paths: Annotated[
        list[str] | None,
        Option("With a model: recordings, or folders of them.", "PATH"),
        inputs.all_absent,
    ] = None,
    /,
    *,
    labels: Annotated[str | None, Option("As for 'vlar classify'.", "-l LABELS")] = None,
    k: Annotated[int, Option("Clips to look at; of tracks spans of 20 s.", "1..")] = 20,
    minutes: Annotated[
        float | None, Option("Of tracks: how much to annotate, in place of -k.", "MINUTES")
    ] = None,
    out: Annotated[
        Path | None,
        Option("Write them as tasks to label; of tracks any format of annotations.", group=FILES),
    ] = None,
    task_format: Annotated[
        str, Option("Of the tasks.", "rare --format NAME", choices=_FORMATS)
    ] = "label-studio",
    accept: Annotated[Path | None, Option("Answers of a labelling tool, or a filled CSV.")] = None,
    support: Annotated[
        Path | None, Option("What is labelled already; answers join it.", "CSV")
    ] = None,
    model: options.OwnModel = None,
    force: Annotated[bool, FORCE] = False,
) -> int:
    """List the clips that teach most if a person labels them.

    Clips that the model is unsure about come first, and clips that differ from those before them.
    With --accept, labels that a person gave join a support set.

    Examples:
        vlar review holiday.vlar --labels "dancing, talking" --out tasks.json
        vlar review lite --accept answers.csv --support support.csv
        vlar review mine tracks/ --minutes 5 --out next.csv
    """
    from vlar.behaviour.annotated.head import NAME
    from vlar.model.folder import holds_head

    if holds_head(target, NAME):
        return _minutes(target, paths or [], minutes or k / 3, out, force)
    if accept is not None:
        return _accept(accept, support)
    places: set[Place] = set() if support is None else _labelled(support)
    candidates = _candidates(target, paths or [], labels, model)
    for failure in candidates.failed:
        output.failure(failure)
    items = candidates.first(k, labelled=places)
    if items and not output.is_json():
        output.note("     unsure  recording and its best labels")
    for number, item in enumerate(items, 1):
        output.row(item, f"{number:3}. {_line(item)}")
    if out is not None:
        from vlar.behaviour.candidates import tasks

        with explained(UsageError, f"--out {str(out)!r} cannot be written"):
            out.write_text(tasks(items, task_format, model or target), encoding="utf-8")
        output.note(f"vlar: {len(items)} tasks written to {out}")
    return exit_code(len(items), len(candidates.failed))


def _minutes(model: str, paths: list[str], minutes: float, out: Path | None, force: bool) -> int:
    """Print and write the spans of tracks to annotate next."""
    from vlar import segments
    from vlar.behaviour.annotated.review import review

    if not paths:
        raise UsageError(f"{model} learned from annotated recordings; name recordings to review")
    with progress(f"loading {model}") as shown:
        shown.stage("answering")
        rows = review(model, paths, minutes=minutes, force=force)
    for number, row in enumerate(rows, 1):
        text = f"{row.label}, {output.percent(row.probability or 0)}"
        output.row(row, f"{number:3}. {row.recording}  {output.span(row)}  {text}")
    if out is not None:
        for note in segments.save(out, rows):
            output.note(f"vlar: {note}")
        output.note(
            f"vlar: annotate these spans, and go on: vlar adapt RECORDINGS --truth FILE "
            f"--within {out} --add {model} --out FOLDER"
        )
    return exit_code(len(rows), 0)


def _line(item: ReviewItem) -> str:
    times = "" if item.window is None else f"  {output.span(item.window)}"
    guesses = ", ".join(f"{label} {output.percent(p)}" for label, p in item.guesses)
    return f"{item.uncertainty:6.1%}  {item.path}{times}  {guesses}"


def _candidates(
    target: str, paths: list[str], labels: str | None, model: str | None
) -> ReviewCandidates:
    from vlar.behaviour import candidates
    from vlar.library.address import is_address
    from vlar.library.library import Library
    from vlar.library.store.schema import FILE_NAME

    if is_address(target) or (Path(target) / FILE_NAME).exists():
        if paths:
            raise UsageError(f"{target} is a library, which has its own recordings; give no PATH")
        name = model or inputs.own_model(target)
        with progress(f"loading {name}") as shown:
            loaded = inputs.load_model(name, None, None, target)
            shown.stage("comparing")
            with Library(target, create=False) as library:
                return candidates.of_library(loaded, library, labels)
    if not paths:
        raise UsageError(f"{target} is not a library; give recordings to review with this model")
    with progress(f"loading {target}") as shown:
        loaded = inputs.load_model(target, None, None)
        recordings, failures = inputs.recordings(paths, loaded.encoder.modality)
        shown.stage("classifying")
        answered = candidates.of_recordings(loaded, recordings, labels)
    return replace(answered, failed=(*failures, *answered.failed))


def _labelled(support: Path) -> set[Place]:
    """The clips of a support set, by absolute path and span."""
    from vlar.heads.support import read_support

    labelled = read_support(support, least_labels=1)
    return {(item.path.absolute(), item.window) for item in labelled.items}


def _accept(answers: Path, support: Path | None) -> int:
    from vlar.behaviour.candidates import join_support, read_answers

    if support is None:
        raise UsageError("--accept needs --support FILE.csv, the support set that answers join")
    rows = read_answers(answers)
    changed = join_support(support, rows)
    answered, clips = counted(len(rows), "answers"), counted(changed, "clips")
    output.note(f"vlar: {answered} read, {clips} added to {support} or changed")
    return 0
