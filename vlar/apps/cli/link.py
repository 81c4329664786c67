"""``vlar link``: examples of another sensor for queries of a library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.options import Option


def link(
    library: options.Library,
    pairs: Annotated[
        Path | None, Option("CSV: path.SENSOR, offset.SENSOR, ..., as for 'vlar bundle'.", "PAIRS")
    ] = None,
    /,
) -> int:
    """Learn from unlabelled pairs to query by another sensor.

    Afterwards 'LIKE wrist.csv' finds videos. PAIRS names moments that two sensors recorded, one of
    them the library's; without it, the bundles of the library are the pairs.

    Examples:
        vlar link holiday.vlar pairs.csv
        vlar link holiday.vlar pairs.csv --json
    """
    from vlar.library.library import Library

    name = inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        loaded = inputs.load_model(name, None, None, library)
        shown.stage("learning")
        with Library(library, loaded, create=False) as opened:
            report = opened.link(pairs)
    for failure in report.failed:
        output.failure(failure)
    for learned in report.links:
        output.row(learned.to_dict(), learned.learned_from)
    return exit_code(len(report.links), len(report.failed))
