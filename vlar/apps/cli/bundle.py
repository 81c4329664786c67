"""``vlar bundle``: recordings of several sensors of one moment as one recording each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.verb import exit_code


def command(
    rows: Annotated[
        Path, typer.Argument(metavar="ROWS", help="CSV: path.SENSOR, offset.SENSOR, label, ...")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="New bundles go here.")],
    by_share: Annotated[
        bool,
        typer.Option(
            "--by-share", help="Line sensors up by their share of the take: rates are nominal."
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Make one recording of what several sensors took of one moment.

    A column 'path.SENSOR' has the files of a sensor, the one whose clock counts first; an empty
    cell is a sensor that was not recorded. 'offset.SENSOR' has the seconds at which a file begins
    on that clock. Other columns are kept. DIR/rows.csv is a support set of the bundles.

    Examples:
        vlar bundle rows.csv --out pairs/
        vlar bundle takes.csv --out pairs/ --by-share
    """
    from vlar.media.bundle_table import write_bundles

    made = write_bundles(rows, out, by_share=by_share)
    for row in made.failed:
        output.failure(row, as_json)
    if as_json:
        output.json_line({"rows": str(made.table), "bundles": made.bundles, "parts": made.parts})
    else:
        counts = ", ".join(f"{count} with {sensor}" for sensor, count in made.parts.items())
        output.line(f"{made.bundles} bundles ({counts}); their table is {made.table}")
    return exit_code(made.bundles, len(made.failed))
