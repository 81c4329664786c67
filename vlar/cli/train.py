"""``vlar train``: train an adapter as a file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import output

if TYPE_CHECKING:
    from vlar.training.loop import Epoch


def command(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG.toml", help="What to train; see docs/training.md.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object an epoch, and one at the end.")
    ] = False,
) -> int:
    """Train an adapter; run it again after a stop and it goes on.

    Example: vlar train mine.toml && vlar classify clip.mp4 --model mine
    """
    from vlar.training.config import read_config
    from vlar.training.run import Progress, run

    read = read_config(config)
    with (
        output.progress(None, "reading examples") as reading,
        output.progress(read.plan.epochs, "epochs") as epochs,
    ):

        def tell(epoch: Epoch, total: int) -> None:
            epochs(1, total=total)
            if as_json:
                output.json_line({"epoch": epoch.number, "epochs": total, **epoch.to_dict()})

        model = run(read, replace=force, progress=Progress(reading, tell))
    report = model.report
    for row in report.failed:
        output.error(row.message)
    if as_json:
        output.json_line({"model": str(read.out), **report.to_dict()})
    else:
        print(report.summary())
        print(f"saved to {read.out}; use it: vlar classify VIDEO --model {read.out}", flush=True)
    return output.exit_code(len(report.examples), len(report.failed))
