"""``vlar evaluate``: how well does a model do on labelled recordings?"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import classify, inputs, options, output
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code
from vlar.errors import UsageError

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A name from 'vlar models', or the folder of a model."),
]
Labelled = Annotated[
    str,
    typer.Argument(
        metavar="LABELLED",
        help="A folder with one folder of recordings per label, or a CSV file with the columns "
        "path,label[,start_s,end_s][,group].",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        *("--labels", "-l"),
        metavar="LABELS",
        help="Labels to choose from, as for 'vlar classify'. Default: those of an adapted model, "
        "else those of LABELLED.",
    ),
]
Table = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write a row for each recording.")
]
Page = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page with confusions and worst answers."),
]
Plots = Annotated[
    Path | None, typer.Option("--plots", metavar="FOLDER", help="Write the plots as PNG files.")
]
By = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNS", help="Columns of the CSV file, such as light,scene: accuracy by value."
    ),
]


def command(
    model: Model,
    labelled: Labelled,
    labels: Labels = None,
    mode: classify.Mode = "one",
    descriptions: classify.Descriptions = "auto",
    by: By = None,
    csv: Table = None,
    html: Page = None,
    plots: Plots = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Measure how well a model recognises labelled recordings.

    Use recordings that the model has not learned from.

    Examples:
        vlar evaluate mine checked.csv --html report.html --json
        vlar evaluate lite lit.csv --by light
    """
    from vlar.language.labels import LabelSet
    from vlar.model.evaluate import evaluate
    from vlar.model.requests import EvaluateRequest

    _check_targets(csv, html, plots)
    asked = LabelSet.read(labels, mode, descriptions)
    with progress(f"loading {model}") as shown:
        loaded = inputs.load_model(model, device, dtype)
        shown.stage("evaluating")
        columns = tuple(name.strip().lower() for name in by.split(",")) if by else ()
        result = evaluate(loaded.recogniser, EvaluateRequest(labelled, asked, shown, columns))
    for row in result.failed:
        output.error(row.message)
    # The figures come first: a full disk does not take them along.
    if as_json:
        output.json_line(result)
    else:
        output.block(result.summary())
    if csv is not None:
        result.write_csv(csv)
    if html is not None:
        from vlar.evaluation.page import write_page

        write_page(result, html)
    if plots is not None:
        from vlar.evaluation.page import write_plots

        write_plots(result, plots)
    return exit_code(result.n, len(result.failed))


def _check_targets(csv: Path | None, html: Path | None, plots: Path | None) -> None:
    """Find out before an hour of work whether its results can be written."""
    for file in (csv, html):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise UsageError(f"{file}: cannot be written; give a file in an existing folder")
    if plots is not None:
        if plots.exists() and not plots.is_dir():
            raise UsageError(f"{plots}: is a file; give a folder for the plots")
        importlib.import_module("matplotlib.figure")
