"""Verbs that make models: ``vlar adapt``, ``calibrate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from vlar import registry
from vlar.apps.cli import inputs, options, output, shelves
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError
from vlar.model.requests import AdaptRequest
from vlar.options import FILES, MACHINE, Fields, Option

if TYPE_CHECKING:
    from vlar.model.model import Model


JsonDict = dict[str, Any]
AnnotatedRequest = shelves.request("behaviour.annotated.request", "AnnotatedRequest")


def adapt(
    support: Annotated[
        list[str] | None,
        Option(
            "A folder with one folder of recordings per label, or a CSV file "
            "with the columns path,label[,start_s,end_s]. None: only "
            "--unlabelled clips, with --objective maxi. With --truth: the "
            "recordings.",
            "[SUPPORT]",
        ),
        inputs.require_support,
    ] = None,
    /,
    *,
    out: Annotated[str, Option("Folder for the adapted model.", "-o FOLDER")],
    model: options.Model = "lite",
    asked: Annotated[JsonDict, Fields(AdaptRequest)],
    annotated: Annotated[JsonDict, Fields(AnnotatedRequest)],
    unlabelled: Annotated[
        str | None,
        Option(
            "Recordings without labels, for objectives; or a CSV path[,domain].",
            "FOLDER",
        ),
    ] = None,
    dictionary: Annotated[
        str | None,
        Option(
            "Actions that clips without labels may show, for --objective maxi: "
            "'a, b', a file, or bank:NAME.",
            "rare LABELS",
        ),
    ] = None,
    force: options.Force = False,
    verbose: Annotated[bool, Option("Show every candidate and its score.", "-v", MACHINE)] = False,
    machine: options.Machine,
) -> int:
    """Learn labels from a few examples each.

    It takes seconds, or longer where --method names a method that is trained.

    Examples:
        vlar adapt support/ --out mine
        vlar adapt support.csv --out trained --method temporal --shots 8
        vlar adapt tracks/ --model tracks --truth project.boris --minutes 10 --out mine
    """
    from vlar.adapters.base import training_type
    from vlar.model.folder import check_target

    check_target(out, replace=force)
    if annotated.get("truth") is not None:
        learned = registry.shelf("behaviour.verbs.adapt", "--truth")
        return learned.adapt_annotated(support or [], out, model, asked, annotated, force=force)
    if unused := next((name for name, value in annotated.items() if value), None):
        raise UsageError(f"--{unused} belongs to --truth; add it, or leave it out")
    source = _only(support)
    for input_path in (unlabelled, asked["tree"]):
        if input_path is not None:
            Path(
                input_path
            ).exists()  # raises where no file can have the name, before a model is loaded
    asked["objectives"] = _with_dictionary(asked["objectives"] or (), dictionary)
    asked["settings"] = read_settings(asked["settings"] or ())
    model, asked = _started(model, asked)
    request = AdaptRequest(source=source, free=unlabelled, **asked)
    with progress(f"loading {model}") as shown:
        base = inputs.load_model(
            model, machine.device, machine.dtype or training_type(request.method)
        )
        shown.stage("reading examples")
        adapted = base.learn(replace(request, progress=shown))
        save(adapted, out, force)
    return report_model(adapted, out, brief=not verbose)


def _started(model: str, asked: JsonDict) -> tuple[str, JsonDict]:
    """Model and request where --from names the file of a network of videos: it is the model."""
    start, method = asked["start"], asked["method"]
    part = registry.get("adapter", method) if method in registry.names("adapter") else None
    if start is None or part is None or not hasattr(part, "start_spec"):
        return model, asked
    return part.start_spec(start), {**asked, "start": None}


def _only(support: Sequence[str] | None) -> str | None:
    """The one support set; None without any.

    Raises:
        UsageError: there are several.
    """
    if support and len(support) > 1:
        raise UsageError(
            f"{len(support)} support sets are given; give one folder or CSV, or --truth FILE with "
            "the annotations of these recordings"
        )
    return support[0] if support else None


def report_model(model: Model, out: str, *, brief: bool = False) -> int:
    """Print what a model has learned, and where it is; returns the exit code."""
    report = model.report
    for row in report.failed:
        output.error(row.message)
    output.row(
        {"model": out, **report.to_dict()},
        *(report.sentence() if brief else report.summary()).split("\n"),
        _saved(out),
    )
    return exit_code(report.recordings or len(report.examples), len(report.failed))


def _saved(out: str) -> str:
    return f"saved to {out}; use it: vlar classify VIDEO --model {out}"


def save(model: Model, out: str, force: bool) -> None:
    """Save a model; what was learned stays in the cache where its own place refuses it.

    Raises:
        ModelError: it could not be saved to ``out``; the message names where it is.
    """
    from vlar.errors import ModelError
    from vlar.files.resources import cache_dir

    try:
        model.save(out, replace=force)
    except ModelError as error:
        fallback = cache_dir() / "unsaved" / (Path(out).name or "model")
        try:
            model.save(fallback, replace=True)
        except ModelError:
            raise error from None  # no room there either
        raise ModelError(
            f"{error.message}; the model is kept in {fallback}, and nothing has to be read again: "
            "use it from there, or move the folder"
        ) from error


def read_settings(given: Sequence[str]) -> JsonDict:
    """Settings of the form ``NAME=VALUE``; a value is one of TOML, or else a text.

    >>> read_settings(["people=2", "blocks=['look']", "text=own"])
    {'people': 2, 'blocks': ['look'], 'text': 'own'}

    Raises:
        UsageError: one has no name or no ``=``, or comes twice.
    """
    from vlar.toml import toml_value

    settings: JsonDict = {}
    for setting in given:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not (name and equals):
            raise UsageError(
                f"--set {setting!r} is not NAME=VALUE; write for example --set epochs=40"
            )
        if name in settings:
            raise UsageError(f"--set gives {name!r} twice; give it once")
        settings[name] = toml_value(text)
    return settings


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


def calibrate(
    examples: Annotated[
        str,
        Option(
            "A folder with one folder of recordings per label, or a CSV file "
            "with the columns path,label[,start_s,end_s]; or a library, before "
            "its LABELLED clips.",
            "SUPPORT",
        ),
    ],
    labelled: Annotated[
        str | None,
        Option("As SUPPORT, for a library: 'vlar query --miss' is fitted on these clips."),
    ] = None,
    /,
    *,
    out: Annotated[
        Path | None, Option("Folder for the calibrated model.", "-o FOLDER", FILES)
    ] = None,
    model: options.Model = "lite",
    unknown_share: Annotated[
        float,
        Option(
            "Expected share of recordings that show none of the labels, between 0 and 1.", "SHARE"
        ),
    ] = 0.35,
    force: options.Force = False,
    machine: options.Machine,
) -> int:
    """Fit the probabilities of a model, or --miss, on labelled clips.

    Use recordings that the model has not learned from.

    Examples:
        vlar calibrate checked/ --out calibrated
        vlar calibrate checked.csv --model mine --out mine-calibrated
        vlar calibrate holiday.vlar checked/
    """
    if labelled is not None:
        return _calibrate_library(examples, labelled, machine.device, machine.dtype)
    if out is None:
        raise UsageError("--out is missing: name the folder of the calibrated model")
    from vlar.model.calibrate import calibrate as calibrated
    from vlar.model.folder import check_target

    check_target(out, replace=force)
    inputs.require_support(examples)
    with progress(f"loading {model}") as shown:
        base = inputs.load_model(model, machine.device, machine.dtype)
        shown.stage("reading examples")
        calibrated_model = calibrated(base.words, base.head, examples, unknown_share, shown)
    base.calibrated(calibrated_model).save(out, replace=force)
    for row in calibrated_model.failed:
        output.error(row.message)
    settings = calibrated_model.calibration.to_dict()
    encoder = {"encoder": calibrated_model.encoder.name}
    failed = [row.to_dict() for row in calibrated_model.failed]
    if output.is_json():
        facts = {"model": str(out), **encoder, "calibration": settings, "failed": failed}
        output.json_line(facts)
    else:
        weights = {} if calibrated_model.encoder is base.encoder else encoder
        output.facts(weights | {name: f"{value:.3f}" for name, value in settings.items()})
        output.line(_saved(str(out)), flush=True)
    return exit_code(1, len(calibrated_model.failed))


def _calibrate_library(library: str, labelled: str, device: str | None, dtype: str | None) -> int:
    """Fit the lists of ``vlar query --miss`` of a library on labelled clips."""
    from vlar.heads.support import read_support
    from vlar.library.connection import LibraryConnection
    from vlar.library.query.calibrate import calibrate as fitted
    from vlar.model.examples import read_examples

    if ":" not in library and not Path(library).exists():
        raise UsageError(
            f"{library!r} is not a library, which stands before its labelled clips; for a model: "
            f"vlar calibrate {labelled} --model {library} --out FOLDER"
        )
    inputs.require_support(labelled)
    name = inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        model = inputs.load_model(name, device, dtype, library)
        support = read_support(labelled, model.modality, least_labels=1)
        shown.stage("reading examples")
        examples = read_examples(model.words, support.items, shown)
    for row in examples.failed:
        output.failure(row)
    if not examples.items:
        return exit_code(0, len(examples.failed))
    connection = LibraryConnection(library, model, False, "cpu")
    try:
        shows = [
            (label, index) for index, item in enumerate(examples.items) for label in item.labels
        ]
        labels = [label for label, _ in shows]
        vectors = examples.vectors[[index for _, index in shows]]
        calibration = fitted(
            connection, labels, vectors, f"{len(labels)} labelled clips of {labelled}"
        )
    finally:
        connection.close()
    sizes = {str(size): len(scores) for size, scores in calibration.scores.items()}
    if output.is_json():
        output.json_line({"library": library, "name": calibration.name, "scores": sizes})
    else:
        output.line(
            f"{library} is calibrated by {calibration.name}: vlar query {library} ... --miss 10%"
        )
    return exit_code(1, len(examples.failed))
