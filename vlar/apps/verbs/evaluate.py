"""Verbs that measure: ``vlar evaluate``, ``eval`` by protocols, and ``report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from vlar import registry
from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import EXIT_FINE, EXIT_NOTHING_USABLE, EXIT_SOME_FAILED, exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import ProtocolError, UsageError, VlarError
from vlar.formatting import worded
from vlar.options import FILES, Choices, Option

if TYPE_CHECKING:
    from vlar.evaluation.cards import LoadedCard, Suite
    from vlar.metrics.result import Evaluation
    from vlar.model.model import Model
    from vlar.types import JsonDict

_DEFAULT = "lite"
_PROTOCOLS = Choices.of_kinds("protocol", "protocol", checked=False)


@dataclass(frozen=True)
class EvaluateOptions:
    """Labels of an evaluation, and its output."""

    labels: Annotated[
        str | None,
        Option(
            "Labels to choose from, as for 'vlar classify'. Default: those of "
            "an adapted model, else those of LABELLED.",
            "-l LABELS",
        ),
    ] = None
    mode: Annotated[
        Literal["one", "multi"],
        Option("'one': a single label fits. 'multi': any number of labels fit.", "MODE"),
    ] = "one"
    by: Annotated[
        str | None,
        Option("Columns of the CSV file, such as light,scene: accuracy by value.", "COLUMNS"),
    ] = None
    truth: Annotated[
        str | None,
        Option(
            "Annotations of whole recordings: a file of any format, or a folder of them.", "FILE"
        ),
    ] = None
    fps: Annotated[
        float | None,
        Option("With --truth: frames a second, for formats that count frames.", "rare RATE"),
    ] = None
    csv: Annotated[Path | None, Option("Write a row for each recording.", group=FILES)] = None
    html: Annotated[
        Path | None, Option("Write a page with confusions and worst answers.", group=FILES)
    ] = None
    force: Annotated[
        bool, Option("With --truth: answer with less than half of the points of a model.", "rare")
    ] = False
    against: Annotated[
        str | None,
        Option(
            "Compare with this other model on the same recordings: figures with "
            "intervals, labels that changed, hits that moved.",
            "MODEL",
        ),
    ] = None
    unlabelled: Annotated[
        bool,
        Option(
            "Estimate accuracy from recordings of a new place, without labels: an interval, labels "
            "that suffer, what differs, recordings to label next."
        ),
    ] = False


def evaluate(
    model: Annotated[str, Option("A name from 'vlar models', or the folder of a model.", "MODEL")],
    labelled: Annotated[
        str,
        Option(
            "A folder with one folder of recordings per label, or a CSV file "
            "with the columns path,label[,start_s,end_s][,group], or "
            "annotations of any format. With --truth: the recordings.",
            "LABELLED",
        ),
    ],
    /,
    *,
    flags: EvaluateOptions,
    machine: options.Machine,
) -> int:
    """Measure how well a model recognises labelled recordings.

    Use recordings that the model has not learned from. --truth compares the segments that it finds
    in whole recordings: mAP at IoU .3 to .7, F1 at overlaps .1, .25 and .5, edit score.

    Examples:
        vlar evaluate mine checked.csv --html report.html --json
        vlar evaluate lite checked.csv --against mine
        vlar evaluate mine videos --unlabelled
    """
    from vlar.encoders.model_spec import MODEL_MANIFEST

    no_model = Path(model).exists() and not Path(model, MODEL_MANIFEST).exists()
    if no_model and not Path(labelled).exists():
        raise UsageError(
            f"{labelled!r} is not a folder or a file, and {model!r} is not a model; MODEL stands "
            f"first: vlar evaluate {labelled} {model}"
        )
    inputs.require_support(labelled)
    if flags.unlabelled:
        return _unlabelled(model, labelled, flags, machine)
    if flags.truth is not None:
        return _segments(model, labelled, flags, machine)
    from vlar.language.labels import LabelSet
    from vlar.model.evaluate import evaluate as evaluated
    from vlar.model.requests import EvaluateRequest

    _check_targets(flags.csv, flags.html)
    if flags.against is not None and (flags.csv or flags.html):
        raise UsageError("--csv and --html are of one model; leave out --against")
    label_set = LabelSet.read(flags.labels, flags.mode)
    with progress(f"loading {model}") as shown:
        loaded = inputs.load_model(model, machine.device, machine.dtype)
        other = (
            inputs.load_model(flags.against, machine.device, machine.dtype)
            if flags.against
            else None
        )
        shown.stage("evaluating")
        request = EvaluateRequest(labelled, label_set, shown, _columns(flags.by))
        result = evaluated(loaded.recogniser, request)
        second = None
        if other is not None:
            shown.stage(f"evaluating {flags.against}")
            second = evaluated(other.recogniser, request)
    for row in result.failed:
        output.error(row.message)
    if second is None:
        return _report(result, flags.csv, flags.html)
    from vlar.metrics.comparison import compare

    comparison = compare(result, second)
    output.row(comparison, *comparison.summary().split("\n"))
    return exit_code(comparison.n, len(result.failed))


def _unlabelled(model: str, folder: str, flags: EvaluateOptions, machine: options.Machine) -> int:
    """Estimate accuracy at a place without labels; returns the exit code."""
    from vlar.evaluation.unlabelled import estimate

    if flags.truth or flags.by or flags.csv or flags.html or flags.against or flags.mode != "one":
        raise UsageError("--unlabelled reads no labels; leave out all but --labels and --fps")
    with progress(f"loading {model}") as shown:
        loaded = inputs.load_model(model, machine.device, machine.dtype)
        shown.stage("evaluating", unit="recordings")
        result = estimate(loaded, folder, flags.labels, fps=flags.fps, progress=shown)
    for row in result.failed:
        output.error(row.message)
    output.row(result, *result.summary())
    return exit_code(result.n, len(result.failed))


def _columns(by: str | None) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in by.split(",")) if by else ()


def _report(result: Evaluation, csv: Path | None, html: Path | None) -> int:
    # The figures come first: a full disk does not take them along.
    output.row(result, *result.summary().split("\n"))
    if csv is not None:
        result.write_csv(csv)
    if html is not None:
        from vlar.evaluation.page import write_page

        write_page(result, html)
    return exit_code(result.n, len(result.failed))


def _segments(model: str, recordings: str, flags: EvaluateOptions, machine: options.Machine) -> int:
    """Compare segments in whole recordings with annotations; returns the exit code."""
    behaviour = registry.shelf("behaviour.annotated.evaluate", "--truth")
    with progress(f"loading {model}") as shown:
        loaded = inputs.load_model(model, machine.device, machine.dtype)
        shown.stage("evaluating", unit="recordings")
        asked = {"labels": flags.labels, "mode": flags.mode, "fps": flags.fps, "force": flags.force}
        result = behaviour.evaluate(
            recordings, truth=flags.truth, model=loaded, progress=shown, **asked
        )
    for row in result.failed:
        output.error(row.message)
    output.row(result, *result.summary())
    return exit_code(len(result.recordings), len(result.failed))


def _check_targets(csv: Path | None, html: Path | None) -> None:
    """Find out before an hour of work whether its results can be written."""
    for file in (csv, html):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise UsageError(f"{file}: cannot be written; give a file in an existing folder")


def eval_(
    targets: Annotated[
        list[str],
        Option(
            "Protocols by name, or protocol files (docs/protocols.md).",
            "PROTOCOL|FILE.toml",
            choices=_PROTOCOLS,
        ),
    ],
    /,
    *,
    data: Annotated[Path | None, Option("The folder (or CSV) with the data set.", "DIR")] = None,
    model: Annotated[
        str | None, Option("A name from 'vlar models', or a model's folder.", "-m NAME")
    ] = None,
    settings: Annotated[
        list[str] | None, Option("Replace a setting, as in shots=[1,2].", "--set KEY=VALUE")
    ] = None,
    controls: Annotated[
        bool, Option("Take every figure under one frame, shuffled and reversed frames too.")
    ] = True,
    dry_run: Annotated[bool, Option("Check files, counts and splits; compute nothing.")] = False,
    out: Annotated[Path | None, Option("Write the runs here.", "-o RUN.json", FILES)] = None,
    write: Annotated[
        Path | None, Option("Put a suite's table into this page.", "rare PAGE.md")
    ] = None,
) -> int:
    """Score a model by a protocol of the field.

    Zero-shot, few-shot, retrieval, open set, corruption and others, on a data set of yours.

    Examples:
        vlar eval zero-shot retrieval --data checked --no-controls --out run.json
        vlar eval zero-shot --data checked --dry-run
    """
    if data is None and not dry_run:
        raise UsageError("no data: give the data set's folder with --data DIR")
    root = data or Path()
    suites = _suites(targets, settings or [])
    if dry_run:
        return _dry_runs([card for suite in suites for card in suite.cards], root)
    _check_page(suites, write)
    runs: list[JsonDict] = []
    skipped: list[JsonDict] = []
    models: dict[str, Model] = {}
    for suite in suites:
        run_rows: list[JsonDict] = []
        for card, control in zip(suite.cards, suite.controls, strict=True):
            error = _run_card(run_rows, card, root, model, models, controls and control)
            skipped += [error] if error else []
        runs += run_rows
        _table(suite, run_rows, next(iter(models), _DEFAULT), write)
    if out is not None and runs:
        from vlar.evaluation.runner import write_runs

        write_runs(out, runs, skipped)
        output.note(f"written to {out}; compare: vlar report {out} OTHER.json")
    if not runs:
        return EXIT_NOTHING_USABLE
    short = any(run["failed"] or run["n_missing"] for run in runs)
    return EXIT_SOME_FAILED if skipped or short else EXIT_FINE


def _suites(targets: list[str], settings: list[str]) -> list[Suite]:
    """A suite for each file, and one for all protocols that are given by name."""
    from vlar.evaluation.cards import LoadedCard, Suite, make_card, read_suite
    from vlar.toml import toml_value

    names = [target for target in targets if not target.endswith(".toml")]
    _PROTOCOLS.check(names)
    suites = [read_suite(target) for target in targets if target.endswith(".toml")]
    if names:
        named = LoadedCard(make_card({"name": "+".join(names), "protocol": names}, "names"))
        suites.insert(0, Suite(named.card.name, (named,), (True,)))
    replaced = {key: toml_value(text) for key, text in inputs.pairs(settings, "--set").items()}
    for suite in suites:
        for card in suite.cards:
            card.card.settings.update(replaced)
    return suites


def _check_page(suites: list[Suite], write: Path | None) -> None:
    """A page that cannot take a table is named before anything is computed."""
    from vlar.evaluation.cards import read_page

    if write is None:
        return
    if not any(suite.rows for suite in suites):
        raise UsageError(f"no table for {write}: a table needs a suite, such as evals/mini.toml")
    for suite in suites:
        if suite.rows:
            read_page(write, suite.name)


def _table(suite: Suite, runs: list[JsonDict], model: str, write: Path | None) -> None:
    """Print a suite's table, and put it into a page."""
    from vlar.evaluation.cards import table_rows, write_table

    if not suite.rows or not runs:
        return
    rows = table_rows(suite, runs)
    output.text(f"{suite.name}, {model}", *(f"  {name:<66} {cell}" for name, cell in rows))
    if write is not None:
        write_table(write, suite.name, model, rows)
        output.note(f"the table is in {write}")


def _dry_runs(cards: list[LoadedCard], data: Path) -> int:
    from vlar.evaluation.runner import MissingSetError, describe, make_plan

    failed = 0
    for card in cards:
        for protocol in card.card.protocols:
            row: JsonDict = {"card": card.card.name, "protocol": protocol}
            name = f"{card.card.name}, {protocol}"
            try:
                row = describe(make_plan(card, protocol, data)[1], protocol)
                output.row(row, *_plan(row))
            except MissingSetError as error:
                output.row(
                    {**row, "missing_set": error.message}, name, f"  missing: {error.message}"
                )
            except VlarError as error:
                failed += 1
                output.row({**row, "error": _facts(error)})
                output.error(f"{name}: {error.message}")
    if failed == sum(len(card.card.protocols) for card in cards):
        return EXIT_NOTHING_USABLE
    return EXIT_SOME_FAILED if failed else EXIT_FINE


def _plan(row: JsonDict) -> list[str]:
    """A plan in words."""
    lines = [f"{row['card']}, {row['protocol']}"]
    for split in row["splits"]:
        sizes = ", ".join(
            f"{name} {size['there']} of {size['listed']}" for name, size in split["subsets"].items()
        )
        which = f"split {split['split']}: " if split["split"] else ""
        lines.append(f"  {which}{split['layout']}, {split['labels']} labels, clips there: {sizes}")
    lines += [f"  {name}: {worded(value)}" for name, value in row["counts"].items()]
    return lines + [f"  note: {note}" for note in row["notes"]]


def _run_card(
    made: list[JsonDict],
    card: LoadedCard,
    data: Path,
    name: str | None,
    models: dict[str, Model],
    controls: bool,
) -> JsonDict | None:
    """Append the runs of a card to ``made``; returns the error that ended them."""
    from vlar.evaluation.runner import make_plan, run_card

    first = len(made)
    try:
        for protocol in card.card.protocols:  # a wrong card is named before a model is loaded
            make_plan(card, protocol, data)
        if card.card.needs_model and name is None:
            raise ProtocolError(
                f"this row stands for other weights: --model {card.card.needs_model}"
            )
        spec = name or card.card.model or _DEFAULT
        with progress(f"loading {spec}") as shown:
            if spec not in models:  # the next card is likely of the same model; one at a time
                models.clear()
                models[spec] = inputs.load_model(spec, None, None)
            shown.stage(f"{card.card.name}", unit="protocols", total=len(card.card.protocols))
            for run in run_card(card, data, models[spec], controls=controls):
                made.append(run)
                shown(1)
    except VlarError as error:
        output.error(f"{card.card.name}: {error.message}")
        row: JsonDict = {"card": card.card.name, "error": _facts(error)}
        output.row(row)
        return row
    for run in made[first:]:
        _show_run(run)
    return None


def _facts(error: VlarError) -> JsonDict:
    return {"kind": error.kind, "message": error.message}


def _show_run(run: JsonDict) -> None:
    from vlar.evaluation.report import heading
    from vlar.metrics.figures import Figure

    for row in run["failed"]:
        output.error(row["error"]["message"])
    for note in run["moves"]["data"]["notes"]:
        output.note(f"note: {note}")
    if run["n_missing"]:
        output.error(f"{run['n_missing']} listed clips are missing; the run's file names them")
    cost, facts = run["cost"], run["moves"]["model"]
    figures = [Figure.restore(row) for row in run["figures"]]
    lines = registry.get("protocol", run["protocol"])().lines(figures, run["tables"])
    peak = f"; {cost['peak_bytes'] / 1e6:.0f} MB at most" if cost["peak_bytes"] else ""
    latency = f", {1000 * cost['latency_s']:.0f} ms a clip" if cost["latency_s"] else ""
    output.row(
        run,
        f"{heading(run)}, {facts['encoder']}",
        *(f"  {line}" for line in lines),
        f"  {cost['seconds']:.1f} s; {cost['clips_encoded']} clips encoded{latency}, "
        f"{cost['clips_reused']} reused{peak}",
    )


def report(
    runs: Annotated[
        list[str],
        Option(
            "Files of runs or of results (vlar evaluate --json), or folders of them.", "RUN.json"
        ),
    ],
    /,
    *,
    html: Annotated[Path | None, Option("Write one page of all runs.", group=FILES)] = None,
) -> int:
    """Compare runs of 'vlar eval' and results of 'vlar evaluate'.

    What differs comes first, then the figures next to the published ones.

    Examples:
        vlar report run.json other.json
        vlar report run.json other.json --html runs.html
    """
    from vlar.evaluation.page import write_runs_page
    from vlar.evaluation.runner import read_runs

    files: list[Path] = []
    for path in map(Path, runs):
        files += sorted(path.glob("*.json")) if path.is_dir() else [path]
    read: list[tuple[Path, list[dict[str, Any]]]] = []
    for file in files:
        try:
            read.append((file, read_runs(file)))
        except VlarError as error:
            output.error(error.message)
            output.row({"path": str(file), "error": _facts(error)})
    if not read:
        return EXIT_NOTHING_USABLE
    if html is not None:
        write_runs_page(html, read)
        output.note(f"written to {html}")
    _compare([content for _, content in read])
    output.text("runs: " + ", ".join(f"{n} {file}" for n, (file, _) in enumerate(read, start=1)))
    for file, content in read:
        _show_domains(file, content)
    return EXIT_SOME_FAILED if len(read) < len(files) else EXIT_FINE


def _show_domains(file: Path, content: list[dict[str, Any]]) -> None:
    """Means over the domains of a file of several cards, and the cards that gave no run."""
    from vlar.evaluation.report import domain_means, sentence
    from vlar.evaluation.runner import read_skipped

    skipped, means = read_skipped(file), domain_means(content)
    if not (skipped or means):
        return
    output.row(
        {"path": str(file), "domains": [row.to_dict() for row in means], "skipped": skipped},
        *([f"means over the cards of {file}"] if means else []),
        *(f"  {sentence(row)}" for row in means),
        *(
            f"  missing from the means: {row['card']} ({row['error']['message']})"
            for row in skipped
        ),
    )


def _compare(contents: list[list[dict[str, Any]]]) -> None:
    from vlar.evaluation.report import differences, heading, pairs_of, rows, sentence

    for group in pairs_of(contents):
        first = group[0]
        tables = [differences(first, other) for other in group[1:]]
        table = rows(group)
        lines = [heading(first)]
        for number, difference in enumerate(tables, start=2):
            lines.append(f"  run 1 and run {number} differ in {len(difference)} settings")
            lines += [f"    {row.key}: {row.first} | {row.second}" for row in difference]
        output.row(
            {
                "card": first["card"],
                "protocol": first["protocol"],
                "differences": [[row.to_dict() for row in table] for table in tables],
                "figures": [row.to_dict() for row in table],
            },
            *lines,
            *(f"  {sentence(row)}" for row in table),
        )
