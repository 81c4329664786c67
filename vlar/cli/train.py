"""``vlar train``: train an adapter by a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import options, output
from vlar.cli.progress import progress
from vlar.cli.verb import exit_code

if TYPE_CHECKING:
    from vlar.training.results import Epoch


def command(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG.toml", help="What to train; see docs/training.md.")
    ],
    force: options.Force = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an epoch, and one at the end.")
    ] = False,
) -> int:
    """Train an adapter by a configuration file.

    Run the same command again to resume a stopped training.

    Examples:
        vlar train mine.toml
        vlar train mine.toml --force --json
    """
    from vlar.training.config import read_config
    from vlar.training.run import Progress, run

    read = read_config(config)
    with progress(f"loading {read.model}") as shown:
        first = True

        def watch(epoch: Epoch, total: int) -> None:
            nonlocal first
            if first:
                shown.stage("training", total=total, unit="epochs")
                shown(epoch.number - 1)
                first = False
            shown(1)
            if as_json:
                output.json_line({"epoch": epoch.number, "epochs": total, **epoch.to_dict()})

        def reading(count: int = 0, total: int | None = None) -> None:
            if total is not None:
                shown.stage("reading examples", total=total)
            shown(count)

        model = run(read, replace=force, progress=Progress(reading, watch))
    report = model.report
    for row in report.failed:
        output.error(row.message)
    if as_json:
        output.json_line({"model": str(read.out), **report.to_dict()})
    else:
        output.block(report.summary())
        output.line(
            f"saved to {read.out}; use it: vlar classify VIDEO --model {read.out}", flush=True
        )
    return exit_code(report.recordings or len(report.examples), len(report.failed))
