"""``vlar check``: recordings that are broken, in part or as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import track
from vlar.options import FILES, Option

if TYPE_CHECKING:
    from vlar.types import JsonDict

_BROKEN_COLUMNS = (
    *("path", "kind", "reason", "readable", "lost", "first_bad_s", "reencode_loses_s"),
    *("duration_s", "n_frames", "message"),
)


def check(
    paths: options.Paths,
    /,
    *,
    csv: Annotated[
        Path | None, Option("Write a table of the broken files here.", group=FILES)
    ] = None,
) -> int:
    """Decode every frame and name the broken files.

    Recordings of other sensors (skeletons, IMU, audio, depth) are read as a whole. Each broken
    file comes with the reason, the share that can be read, the second of the first
    damage, and what a re-encoded copy would lose.

    Examples:
        vlar check videos/ --csv broken.csv
        vlar check clip.mp4 other.mp4 --json
    """
    from vlar.plugins.integrity.check import check_recordings

    recordings, failures = inputs.recordings(paths, None)
    for row in failures:
        output.failure(row)
    bad: list[JsonDict] = [
        {"path": str(row.path), "kind": row.kind, "reason": row.message, "message": row.message}
        for row in failures
    ]
    fine = 0
    unsure: set[str] = set()
    n_unsure = 0
    for report in track(check_recordings(recordings), "checking", len(recordings)):
        fine += report.ok
        if report.cannot_verify:
            n_unsure += 1
            unsure.add(report.cannot_verify)
        if not report.ok:
            bad.append(report.to_dict())
        if report.ok:
            output.row(report, *([f"unsure  {report.message}"] if report.cannot_verify else []))
        else:
            output.row(report, f"BROKEN  {report.message}")
    if csv:
        output.write_csv(csv, _BROKEN_COLUMNS, bad)
    total = fine + len(bad)
    output.text(f"{fine} of {total} recordings are fine")
    if unsure:
        output.note(
            f"the pictures of {n_unsure} of {total} recordings cannot be verified "
            f"({', '.join(sorted(unsure))}): nothing in such a file shows that one is wrong, and "
            "damage may hide"
        )
    return exit_code(fine, len(bad))
