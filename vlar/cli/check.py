"""``vlar check``: which videos are broken?"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import inputs, output
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.types import JsonDict

_COLUMNS = (
    *("path", "kind", "reason", "readable", "lost", "first_bad_s", "reencode_loses_s"),
    *("duration_s", "n_frames", "message"),
)


def command(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Videos, or folders that hold videos.")
    ],
    csv_out: Annotated[
        str | None, typer.Option("--csv", help="Write the table of bad files here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Decode every frame of every video and name the files that are broken.

    Each broken file comes with the reason, the share that can be read, the second of the first
    damage, and what a re-encoded copy would lose.

    Example: vlar check videos/ --csv bad.csv
    """
    from vlar.video import check_video

    found, failures = inputs.videos(paths)
    for row in failures:
        output.failure(row, as_json)
    bad: list[JsonDict] = [row.to_dict() for row in failures]
    fine = 0
    for report in output.track(map(check_video, found), len(found), "checking"):
        fine += report.ok
        if not report.ok:
            bad.append(report.to_dict())
        if as_json:
            output.json_line(report)
        elif not report.ok:
            print(f"BROKEN  {report.message}", flush=True)
    if csv_out:
        _write(Path(csv_out), bad)
    if not as_json:
        print(f"{fine} of {fine + len(bad)} videos are fine")
    return output.exit_code(fine, len(bad))


def _write(path: Path, bad: list[JsonDict]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(bad)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --csv") from error
