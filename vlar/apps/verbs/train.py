"""``vlar train``: an adapter, trained by a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import options, output
from vlar.apps.cli.adapt import report_model
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.options import MACHINE, Option

if TYPE_CHECKING:
    from vlar.training.distributed import Processes
    from vlar.training.progress import Epoch


def train(
    config: Annotated[str, Option("What to train; see docs/training.md.", "CONFIG.toml")],
    /,
    *,
    force: options.Force = False,
    as_json: Annotated[
        bool, Option("Print one JSON object an epoch, and one at the end.", "--json")
    ] = False,
    processes: Annotated[
        int,
        Option("Train in N processes of this machine, one a GPU where there are GPUs.", "1..1024"),
    ] = 1,
    quiet: Annotated[bool, Option("Print answers and errors only.", "-q", MACHINE)] = False,
    verbose: Annotated[bool, Option("Print what is being done.", "-v", MACHINE)] = False,
    debug: Annotated[bool, Option("Show the traceback of an error.", group=MACHINE)] = False,
) -> int:
    """Train an adapter by a configuration file.

    Run the same command again to resume a stopped training.

    Examples:
        vlar train mine.toml
        vlar train mine.toml --force --json
    """
    from vlar.training.distributed import launch, started

    if processes > 1:
        flags = {"--force": force, "--json": as_json, "-q": quiet, "-v": verbose, "--debug": debug}
        return launch([config, *(name for name, on in flags.items() if on)], processes)
    with started() as these:
        if not these.first:
            output.set_volume(quiet=True, verbose=False)
        output.set_json(as_json and these.first)
        return _train(config, these, force)


def _train(config: str, processes: Processes, force: bool) -> int:
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
            output.row({"epoch": epoch.number, "epochs": total, **epoch.to_dict()})

        def reading(count: int = 0, total: int | None = None) -> None:
            if total is not None:
                shown.stage("reading examples", total=total)
            shown(count)

        watched = RunCallbacks(reading, watch)
        model = run(read, replace=force, progress=watched, processes=processes)
    if processes.first:
        return report_model(model, str(read.out))
    report = model.report
    return exit_code(report.recordings or len(report.examples), len(report.failed))
