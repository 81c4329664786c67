"""``vlar check``: which recordings are broken?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.progress import track
from vlar.apps.cli.verb import exit_code

if TYPE_CHECKING:
    from vlar.types import JsonDict

_COLUMNS = (
    *("path", "kind", "reason", "readable", "lost", "first_bad_s", "reencode_loses_s"),
    *("duration_s", "n_frames", "message"),
)


def command(
    paths: options.Recordings,
    csv_out: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE", help="Write a table of the broken files here."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Decode every frame and name the broken files.

    Recordings of other sensors (skeletons, IMU, audio, depth) are read as a whole. Each broken
    file comes with the reason, the share that can be read, the second of the first
    damage, and what a re-encoded copy would lose.

    Examples:
        vlar check videos/ --csv broken.csv
        vlar check clip.mp4 other.mp4 --json
    """
    from vlar.media.integrity.check import check_recordings

    found, failures = inputs.recordings(paths, None)
    for row in failures:
        output.failure(row, as_json)
    bad: list[JsonDict] = [
        {"path": str(row.path), "kind": row.kind, "reason": row.message, "message": row.message}
        for row in failures
    ]
    fine = 0
    unsure: list[str] = []
    for report in track(check_recordings(found), "checking", len(found)):
        fine += report.ok
        unsure += [report.cannot_verify] if report.cannot_verify else []
        if not report.ok:
            bad.append(report.to_dict())
        if as_json:
            output.json_line(report)
        elif not report.ok:
            output.line(f"BROKEN  {report.message}", flush=True)
    if csv_out:
        output.write_csv(Path(csv_out), _COLUMNS, bad)
    if not as_json:
        output.line(f"{fine} of {fine + len(bad)} recordings are fine")
    if unsure:
        codecs = ", ".join(sorted(set(unsure)))
        output.note(
            f"the pictures of {len(unsure)} of {fine + len(bad)} recordings cannot be verified "
            f"({codecs}): nothing in such a file shows that one is wrong, and damage may hide"
        )
    return exit_code(fine, len(bad))
