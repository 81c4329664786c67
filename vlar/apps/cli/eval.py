"""``vlar eval``: score a model by a protocol on data of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar import registry
from vlar.apps.cli import inputs, mteb_tasks, options, output
from vlar.apps.cli.options import Choices
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import EXIT_FINE, EXIT_NOTHING_USABLE, EXIT_SOME_FAILED
from vlar.formatting import worded

if TYPE_CHECKING:
    from vlar.evaluation.cards import LoadedCard
    from vlar.evaluation.suite import Suite
    from vlar.model.model import Model as LoadedModel
    from vlar.types import JsonDict

_DEFAULT = "lite"
_PROTOCOLS = Choices.of_kinds("protocol", "protocol")


Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="PROTOCOL|FILE.toml",
        help="Protocols by name, or protocol files (docs/protocols.md); or mteb TASK.",
        autocompletion=_PROTOCOLS.complete,
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="The folder (or CSV) with the data set."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="A name from 'vlar models', or a model's folder."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting, as in shots=[1,2]."),
]
Controls = Annotated[
    bool,
    typer.Option(
        "--controls/--no-controls",
        help="Take every figure under one frame, shuffled and reversed frames too.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check files, counts and splits; compute nothing.")
]
Out = Annotated[
    str | None, typer.Option("--out", "-o", metavar="RUN.json", help="Write the runs here.")
]
Write = Annotated[
    str | None,
    typer.Option("--write", metavar="PAGE.md", help="Put a suite's table into this page."),
]


def command(
    targets: Targets,
    data: Data = None,
    model: Model = None,
    settings: Settings = None,
    controls: Controls = True,
    dry_run: DryRun = False,
    out: Out = None,
    write: Write = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Score a model by a protocol of the field.

    Zero-shot, few-shot, retrieval, open set, corruption and others, on a data set of yours.

    Examples:
        vlar eval zero-shot retrieval --data checked --no-controls --out run.json
        vlar eval zero-shot --data checked --dry-run
    """
    from vlar.errors import UsageError

    if targets[0] == mteb_tasks.NAME:
        loaded = (model or _DEFAULT, device, dtype)
        return mteb_tasks.run(targets[1:], data, loaded, settings or [], out, as_json)
    if data is None and not dry_run:
        raise UsageError("no data: give the data set's folder with --data DIR")
    suites = _suites(targets, settings or [])
    if dry_run:
        cards = [card for suite in suites for card in suite.cards]
        return _dry_runs(cards, Path(data or "."), as_json)
    _check_page(suites, write)
    runs: list[JsonDict] = []
    skipped: list[JsonDict] = []
    models: dict[str, LoadedModel] = {}
    load = (model, device, dtype)
    for suite in suites:
        own: list[JsonDict] = []
        for card, wanted in zip(suite.cards, suite.controls, strict=True):
            place = Path(data or ".")
            made, error = _runs(card, place, load, models, controls and wanted, as_json)
            own += made
            skipped += [error] if error else []
        runs += own
        _table(suite, own, next(iter(models), _DEFAULT), write, as_json)
    if out is not None and runs:
        from vlar.evaluation.runner import write_runs

        write_runs(Path(out), runs, skipped)
        output.note(f"written to {out}; compare: vlar report {out} OTHER.json")
    if not runs:
        return EXIT_NOTHING_USABLE
    short = any(run["failed"] or run["n_missing"] for run in runs)
    return EXIT_SOME_FAILED if skipped or short else EXIT_FINE


def _suites(targets: list[str], settings: list[str]) -> list[Suite]:
    """A suite for each file, and one for all protocols that are given by name."""
    from vlar.evaluation.cards import LoadedCard, make_card, toml_value
    from vlar.evaluation.suite import Suite, read_suite

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


def _check_page(suites: list[Suite], write: str | None) -> None:
    """A page that cannot take a table is named before anything is computed."""
    from vlar.errors import UsageError
    from vlar.evaluation.suite import read_page

    if write is None:
        return
    if not any(suite.rows for suite in suites):
        raise UsageError(f"no table for {write}: a table needs a suite, such as evals/mini.toml")
    for suite in suites:
        if suite.rows:
            read_page(Path(write), suite.name)


def _table(
    suite: Suite, runs: list[JsonDict], model: str, write: str | None, as_json: bool
) -> None:
    """Print a suite's table, and put it into a page."""
    from vlar.evaluation.suite import table_rows, write_table

    if not suite.rows or not runs:
        return
    rows = table_rows(suite, runs)
    if not as_json:
        output.line(f"{suite.name}, {model}")
        for name, cell in rows:
            output.line(f"  {name:<66} {cell}")
    if write is not None:
        write_table(Path(write), suite.name, model, rows)
        output.note(f"the table is in {write}")


def _dry_runs(cards: list[LoadedCard], data: Path, as_json: bool) -> int:
    from vlar.errors import VlarError
    from vlar.evaluation.runner import MissingSetError, describe, make_plan

    failed = 0
    for card in cards:
        for protocol in card.card.protocols:
            row: JsonDict = {"card": card.card.name, "protocol": protocol}
            try:
                row = describe(make_plan(card, protocol, data)[1], protocol)
            except MissingSetError as error:
                row["missing_set"] = error.message
            except VlarError as error:
                failed += 1
                row["error"] = {"kind": error.kind, "message": error.message}
            _show_plan(row, as_json)
    if failed == sum(len(card.card.protocols) for card in cards):
        return EXIT_NOTHING_USABLE
    return EXIT_SOME_FAILED if failed else EXIT_FINE


def _show_plan(row: JsonDict, as_json: bool) -> None:
    if as_json:
        output.json_line(row)
    if "error" in row:
        output.error(f"{row['card']}, {row['protocol']}: {row['error']['message']}")
        return
    if as_json:
        return
    output.line(f"{row['card']}, {row['protocol']}")
    if "missing_set" in row:
        output.line(f"  missing: {row['missing_set']}")
        return
    for split in row["splits"]:
        sizes = ", ".join(
            f"{name} {size['there']} of {size['listed']}" for name, size in split["subsets"].items()
        )
        which = f"split {split['split']}: " if split["split"] else ""
        output.line(f"  {which}{split['layout']}, {split['labels']} labels, clips there: {sizes}")
    for name, value in row["counts"].items():
        output.line(f"  {name}: {worded(value)}")
    for note in row["notes"]:
        output.line(f"  note: {note}")


def _runs(
    card: LoadedCard, data: Path, load: tuple[str | None, str | None, str | None],
    models: dict[str, LoadedModel], controls: bool, as_json: bool,
) -> tuple[list[JsonDict], JsonDict | None]:  # fmt: skip
    """The runs of a card, and the error that ended them."""
    from vlar.errors import ProtocolError, VlarError
    from vlar.evaluation.runner import make_plan, run_card

    made: list[JsonDict] = []
    try:
        for protocol in card.card.protocols:  # a wrong card is named before a model is loaded
            make_plan(card, protocol, data)
        model, device, dtype = load
        if card.card.needs_model and model is None:
            raise ProtocolError(
                f"this row stands for other weights: --model {card.card.needs_model}"
            )
        spec = model or card.card.model or _DEFAULT
        with progress(f"loading {spec}") as shown:
            if spec not in models:  # the next card is likely of the same model; one at a time
                models.clear()
                models[spec] = inputs.load_model(spec, device, dtype)
            loaded = models[spec]
            shown.stage(f"{card.card.name}", unit="protocols", total=len(card.card.protocols))
            for run in run_card(card, data, loaded, controls=controls):
                made.append(run)
                shown(1)
    except VlarError as error:
        output.error(f"{card.card.name}: {error.message}")
        failed = {"kind": error.kind, "message": error.message}
        row: JsonDict = {"card": card.card.name, "error": failed}
        if as_json:
            output.json_line(row)
        return made, row
    for run in made:
        _show(run, as_json)
    return made, None


def _show(run: JsonDict, as_json: bool) -> None:
    for row in run["failed"]:
        output.error(row["error"]["message"])
    for note in run["moves"]["data"]["notes"]:
        output.note(f"note: {note}")
    if run["n_missing"]:
        output.error(f"{run['n_missing']} listed clips are missing; the run's file names them")
    if as_json:
        output.json_line(run)
        return
    from vlar.evaluation.report import heading
    from vlar.evaluation.scores import Figure

    cost, facts = run["cost"], run["moves"]["model"]
    output.line(f"{heading(run)}, {facts['encoder']}")
    figures = [Figure.restore(row) for row in run["figures"]]
    for line in registry.get("protocol", run["protocol"])().lines(figures, run["tables"]):
        output.line(f"  {line}")
    each = f", {1000 * cost['latency_s']:.0f} ms a clip" if cost["latency_s"] else ""
    output.line(
        f"  {cost['seconds']:.1f} s; {cost['clips_encoded']} clips encoded{each}, "
        f"{cost['clips_reused']} reused; {cost['peak_bytes'] / 1e6:.0f} MB at most",
        flush=True,
    )
