"""``vlar train``: train an adapter by a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code

if TYPE_CHECKING:
    from vlar.training.distributed import Processes
    from vlar.training.progress import Epoch


def command(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG.toml", help="What to train; see docs/training.md.")
    ],
    force: options.Force = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an epoch, and one at the end.")
    ] = False,
    processes: Annotated[
        int,
        typer.Option(
            "--processes",
            min=1,
            max=1024,
            metavar="N",
            help="Train in N processes of this machine, one a GPU where there are GPUs.",
        ),
    ] = 1,
    quiet: bool = False,
    verbose: bool = False,
    debug: bool = False,
) -> int:
    """Train an adapter by a configuration file.

    Run the same command again to resume a stopped training.

    Examples:
        vlar train mine.toml
        vlar train mine.toml --force --json
    """
    if processes > 1:
        from vlar.training.distributed import launch

        given = {"--force": force, "--json": as_json, "-q": quiet, "-v": verbose, "--debug": debug}
        return launch([config, *(name for name, on in given.items() if on)], processes)
    from vlar.training.distributed import started

    with started() as these:
        if not these.first:
            output.set_volume(quiet=True, verbose=False)
        return _train(config, these, force=force, as_json=as_json and these.first)


def _train(config: str, processes: Processes, *, force: bool, as_json: bool) -> int:
    """Train in this process, which may be one of several; the first one prints."""
    from vlar.training.config import read_config
    from vlar.training.run import RunCallbacks, run

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

        watched = RunCallbacks(reading, watch)
        model = run(read, replace=force, progress=watched, processes=processes)
    report = model.report
    if not processes.first:
        return exit_code(report.recordings or len(report.examples), len(report.failed))
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
