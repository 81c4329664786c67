"""``vlar adapt``: learn labels from a few examples."""

from __future__ import annotations

from typing import Annotated

import typer

from vlar.cli import output


def command(
    support: Annotated[
        str,
        typer.Argument(
            metavar="SUPPORT",
            help="A folder with one folder of videos per label, or a CSV file with "
            "path,label[,start_s,end_s].",
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the adapted model.")],
    model: Annotated[str, typer.Option("--model", "-m", help="See 'vlar models'.")] = "lite",
    method: Annotated[
        str,
        typer.Option(
            "--method", help="auto, a few-shot method, or an adapter to train: see 'vlar models'."
        ),
    ] = "auto",
    shots: Annotated[
        int | None, typer.Option("--shots", min=1, help="Use at most this many examples a label.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which examples --shots draws.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every candidate and its accuracy.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Adapt a model to a few examples per label: in seconds, or by training with --method temporal.

    Example: vlar adapt support/ --out mine && vlar classify clip.mp4 --model mine
    """
    from vlar.model.folder import check_target
    from vlar.model.model import load

    check_target(out, replace=force)
    base = load(model)
    with output.progress(None, "reading examples") as advance:
        adapted = base.adapt(support, method=method, shots=shots, seed=seed, progress=advance)
    adapted.save(out, replace=force)
    report = adapted.report
    for row in report.failed:
        output.error(row.message)
    if as_json:
        output.json_line({"model": out, **report.to_dict()})
    else:
        print(report.summary() if verbose else report.sentence())
        print(f"saved to {out}; use it: vlar classify VIDEO --model {out}", flush=True)
    return output.exit_code(len(report.examples), len(report.failed))
