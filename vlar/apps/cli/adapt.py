"""``vlar adapt``: learn labels from a few examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar import registry
from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.options import Choices
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.apps.cli.progress import Progress
    from vlar.apps.review import ReviewItem
    from vlar.model.model import Model
    from vlar.types import JsonDict


def _methods() -> list[str]:
    from vlar.heads.model_selection import AUTO, methods

    return [AUTO, *methods(), *registry.names("adapter")]


_METHODS = Choices("method", _methods)


def _rejectors() -> list[str]:
    from vlar.model.requests import SYNONYMS

    return ["auto", *registry.names("rejector"), *SYNONYMS]


_REJECTORS = Choices("rejector", _rejectors)
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        autocompletion=_METHODS.complete,
        help="How to learn; 'auto' chooses in seconds, without training.",
    ),
    _METHODS,
]
Unknown = Annotated[
    str,
    typer.Option(
        "--unknown",
        metavar="NAME",
        autocompletion=_REJECTORS.complete,
        help="How recordings that show none of the labels are recognised.",
    ),
    _REJECTORS,
]
_OBJECTIVES = Choices.of_kinds("objective", "objective")
Objectives = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        metavar="NAME",
        autocompletion=_OBJECTIVES.complete,
        help="Add an objective to a trained method (auto: temporal); may be given several times.",
    ),
    _OBJECTIVES,
]


def _balances() -> tuple[str, ...]:
    from vlar.model.requests import BALANCES

    return BALANCES


_BALANCES = Choices("balance", _balances)
Balance = Annotated[
    str,
    typer.Option(
        "--balance",
        metavar="NAME",
        autocompletion=_BALANCES.complete,
        help="'adjust': labels with more examples are not preferred.",
    ),
    _BALANCES,
]
TreeFile = Annotated[
    str | None,
    typer.Option(
        "--tree",
        metavar="FILE",
        help="JSON of label to parent, bank:NAME or text (made from the labels). Answers of the "
        "model then name what kind of action it is.",
    ),
]
Unlabelled = Annotated[
    str | None,
    typer.Option(
        "--unlabelled",
        metavar="FOLDER",
        help="Recordings without labels, for objectives and for --suggest; or a CSV path[,domain].",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of a trained method or of its training, such as epochs=40 or people=2; "
        "may be given several times.",
    ),
]
_LEARNERS = Choices.of_kinds("learner", "learner")
Learner = Annotated[
    str | None,
    typer.Option(
        "--learner",
        metavar="NAME",
        autocompletion=_LEARNERS.complete,
        help="How a trained method finds its parameters, if not in its own way.",
    ),
    _LEARNERS,
]
Dictionary = Annotated[
    str | None,
    typer.Option(
        "--dictionary",
        metavar="LABELS",
        help="Actions that clips without labels may show, for --objective maxi: 'a, b', a file, "
        "or bank:NAME.",
    ),
]
Examples = Annotated[
    str | None,
    typer.Argument(
        metavar="[SUPPORT]",
        show_default=False,
        help="A folder with one folder of recordings per label, or a CSV file with the columns "
        "path,label[,start_s,end_s]. None: only --unlabelled clips, with --objective maxi.",
    ),
]
Suggest = Annotated[
    int | None,
    typer.Option(
        "--suggest",
        metavar="N",
        min=1,
        help="Name the N recordings of --unlabelled that teach most if you label them.",
    ),
]
Shots = Annotated[
    int | None,
    typer.Option("--shots", metavar="N", min=1, help="Use at most this many examples a label."),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Decides which examples --shots draws.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show every candidate and its score.")
]


def command(
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the adapted model.")
    ],
    support: Examples = None,
    model: options.Model = "lite",
    method: Method = "auto",
    unknown: Unknown = "familiarity",
    balance: Balance = "none",
    tree: TreeFile = None,
    objectives: Objectives = None,
    unlabelled: Unlabelled = None,
    dictionary: Dictionary = None,
    settings: Settings = None,
    learner: Learner = None,
    suggest: Suggest = None,
    shots: Shots = None,
    seed: Seed = 0,
    force: options.Force = False,
    verbose: Verbose = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Learn labels from a few examples each.

    It takes seconds, or longer where --method names a method that is trained.

    Examples:
        vlar adapt support/ --out mine
        vlar adapt support.csv --out trained --method temporal --shots 8
    """
    from vlar.model.folder import check_target
    from vlar.model.requests import AdaptRequest

    check_target(out, replace=force)
    for given in (support, unlabelled, tree):
        if given is not None:
            Path(given).exists()  # raises where no file can have the name, before a model is loaded
    if suggest is not None:
        _check_suggest(support, unlabelled)
    request = AdaptRequest(
        source=support, method=method, shots=shots, seed=seed, unknown=unknown, balance=balance,
        tree=tree, objectives=_with_dictionary(objectives or (), dictionary),
        settings=read_settings(settings or ()), learner=learner,
        # Without an objective or a learner they are for --suggest alone.
        free=unlabelled if objectives or learner or suggest is None else None,
    )  # fmt: skip
    with progress(f"loading {model}") as shown:
        base = inputs.load_model(model, device, dtype)
        shown.stage("reading examples")
        adapted = base.learn(replace(request, progress=shown))
        _save(adapted, out, force)
        next_clips = _suggested(adapted, unlabelled, suggest, shown)
    report = adapted.report
    for row in report.failed:
        output.error(row.message)
    if as_json:
        named = {} if suggest is None else {"suggest": [item.to_dict() for item in next_clips]}
        output.json_line({"model": out, **report.to_dict(), **named})
    else:
        output.block(report.summary() if verbose else report.sentence())
        output.line(f"saved to {out}; use it: vlar classify VIDEO --model {out}", flush=True)
        _print(next_clips)
    return exit_code(report.recordings or len(report.examples), len(report.failed))


def _save(model: Model, out: str, force: bool) -> None:
    """Save a model; what was learned stays in the cache where its own place refuses it.

    Raises:
        ModelError: it could not be saved to ``out``; the message names where it is.
    """
    from vlar.errors import ModelError
    from vlar.files.resources import cache_dir

    try:
        model.save(out, replace=force)
    except ModelError as error:
        kept = cache_dir() / "unsaved" / (Path(out).name or "model")
        try:
            model.save(kept, replace=True)
        except ModelError:
            raise error from None  # no room there either
        raise ModelError(
            f"{error.message}; the model is kept in {kept}, and nothing has to be read again: use "
            "it from there, or move the folder"
        ) from error


def read_settings(given: Sequence[str]) -> JsonDict:
    """Settings of the form ``NAME=VALUE``; a value is one of TOML, or else a text.

    >>> read_settings(["people=2", "blocks=['look']", "text=own"])
    {'people': 2, 'blocks': ['look'], 'text': 'own'}

    Raises:
        UsageError: one has no name or no ``=``, or comes twice.
    """
    from vlar.evaluation.cards import toml_value

    found: JsonDict = {}
    for each in given:
        name, equals, text = (part.strip() for part in each.partition("="))
        if not (name and equals):
            raise UsageError(f"--set {each!r} is not NAME=VALUE; write for example --set epochs=40")
        if name in found:
            raise UsageError(f"--set gives {name!r} twice; give it once")
        found[name] = toml_value(text)
    return found


def _check_suggest(support: str | None, unlabelled: str | None) -> None:
    """Refuse --suggest without what it compares, or without what it compares that with."""
    if unlabelled is None:
        raise UsageError("--suggest chooses among clips without labels; give --unlabelled FOLDER")
    if support is None:
        raise UsageError("--suggest compares with examples; give a support set")


def _with_dictionary(
    objectives: Sequence[str], dictionary: str | None
) -> Sequence[str] | Mapping[str, JsonDict]:
    """The objectives, those that guess labels with the dictionary to guess from.

    Raises:
        UsageError: a dictionary is given, and no objective reads one.
    """
    if dictionary is None:
        return objectives
    reading = [
        name
        for name in objectives
        if "dictionary" in {row.name for row in fields(registry.get("objective", name))}
    ]
    if not reading:
        raise UsageError(
            f"--dictionary is {dictionary!r}, and no objective reads one; add --objective maxi"
        )
    return {name: {"dictionary": dictionary} if name in reading else {} for name in objectives}


def _print(next_clips: list[ReviewItem]) -> None:
    """Print clips to label next, with their current predictions."""
    for number, item in enumerate(next_clips, 1):
        label, probability = item.guesses[0]
        now = f"now {label}, {output.percent(probability)}"
        output.line(f"label next, {number}: {item.path} ({now})")


def _suggested(
    model: Model, folder: str | None, count: int | None, shown: Progress
) -> list[ReviewItem]:
    """The recordings of a folder that teach most; none where they are not asked for."""
    if count is None or folder is None:
        return []
    from vlar.apps.review import of_recordings
    from vlar.model.requests import find_unlabelled

    shown.stage("comparing recordings without labels")
    paths = [item.path for item in find_unlabelled(folder, model.modality)]
    found = of_recordings(model, paths)
    for failure in found.failed:
        output.failure(failure, as_json=False)
    return found.first(count)
