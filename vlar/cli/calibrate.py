"""``vlar calibrate``: probabilities made honest by clips whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.cli import output


def command(
    examples: Annotated[
        str,
        typer.Argument(
            metavar="EXAMPLES",
            help="A folder with one folder of videos per label, or a CSV path,label.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    model: Annotated[str, typer.Option("--model", "-m", help="See 'vlar models'.")] = "lite",
    unknown_share: Annotated[
        float,
        typer.Option(
            "--unknown-share",
            help="Share of videos that will show none of the labels, between 0 and 1.",
        ),
    ] = 0.35,
    force: Annotated[bool, typer.Option("--force", help="Replace the model at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Fit a model's probabilities on a few labelled videos it has not learned from.

    Example: vlar calibrate checked/ --out mine && vlar classify clip.mp4 -m mine -l "run, jump"
    """
    from vlar.model.calibrate import calibrate
    from vlar.model.folder import check_target
    from vlar.model.model import load

    check_target(out, replace=force)
    base = load(model)
    with output.progress(None, "reading examples") as advance:
        calibration, failed = calibrate(base, base.adapted, examples, unknown_share, advance)
    base.with_calibration(calibration).save(out, replace=force)
    for row in failed:
        output.error(row.message)
    settings = calibration.to_dict()
    if as_json:
        failures = [row.to_dict() for row in failed]
        output.json_line({"model": str(out), "calibration": settings, "failed": failures})
    else:
        output.facts({name: f"{value:.3f}" for name, value in settings.items()})
        print(f"saved to {out}; use it: vlar classify VIDEO --model {out}", flush=True)
    return output.exit_code(1, len(failed))
