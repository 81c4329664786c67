"""``vlar calibrate``: probabilities fitted on clips whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code


def command(
    examples: options.Support,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the calibrated model.")
    ],
    model: options.Model = "lite",
    unknown_share: Annotated[
        float,
        typer.Option(
            "--unknown-share",
            metavar="SHARE",
            help="Expected share of recordings that show none of the labels, between 0 and 1.",
        ),
    ] = 0.35,
    force: options.Force = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> int:
    """Fit the probabilities of a model on labelled recordings.

    Use recordings that the model has not learned from.

    Examples:
        vlar calibrate checked/ --out calibrated
        vlar calibrate checked.csv --model mine --out mine-calibrated
    """
    from vlar.model.calibrate import calibrate
    from vlar.model.folder import check_target

    check_target(out, replace=force)
    with progress(f"loading {model}") as shown:
        base = inputs.load_model(model, device, dtype)
        shown.stage("reading examples")
        found = calibrate(base.core, base.adapted, examples, unknown_share, shown)
    base.calibrated(found).save(out, replace=force)
    for row in found.failed:
        output.error(row.message)
    settings = found.calibration.to_dict()
    if as_json:
        failures = [row.to_dict() for row in found.failed]
        output.json_line(
            {
                "model": str(out),
                "encoder": found.encoder.name,
                "calibration": settings,
                "failed": failures,
            }
        )
    else:
        weights = {} if found.encoder is base.encoder else {"encoder": found.encoder.name}
        output.facts(weights | {name: f"{value:.3f}" for name, value in settings.items()})
        output.line(f"saved to {out}; use it: vlar classify VIDEO --model {out}", flush=True)
    return exit_code(1, len(found.failed))
