"""``vlar shots``: where the shots of videos begin and end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.progress import track
from vlar.apps.cli.verb import exit_code
from vlar.errors import UsageError, VlarError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vlar.types import Failure, Window

_COLUMNS = ("path", "shot", "start_s", "end_s")


def command(
    paths: options.Recordings,
    csv_out: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write a table of the shots here.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Show where the shots of videos begin and end.

    It needs one more network, once: vlar models get shots.

    Examples:
        vlar shots film.mp4
        vlar shots films/ --csv shots.csv
    """
    from vlar.media.lookup import reader
    from vlar.media.shots import require_shots
    from vlar.types import Failure

    require_shots(reader("video"))
    table = _checked(csv_out)
    found, failures = inputs.recordings(paths, "video")
    rows: list[dict[str, Any]] = []
    for each in failures:
        output.failure(each, as_json)
    for path, shots in track(_each(found), "finding shots", len(found)):
        if isinstance(shots, Failure):
            failures.append(shots)
            output.failure(shots, as_json)
            continue
        for number, shot in enumerate(shots, 1):
            span = round(shot.start_s, 3), round(shot.end_s, 3)
            rows.append(dict(zip(_COLUMNS, (str(path), number, *span), strict=True)))
            if as_json:
                output.json_line(rows[-1])
            else:
                output.line(f"{path}  {shot.start_s:.3f} to {shot.end_s:.3f} s", flush=True)
    if table is not None:
        output.write_csv(table, _COLUMNS, rows)
    return exit_code(len({row["path"] for row in rows}), len(failures))


def _each(paths: Iterable[Path]) -> Iterator[tuple[Path, list[Window] | Failure]]:
    from vlar.media.lookup import isolated, reader
    from vlar.media.shots import shots_of
    from vlar.types import Failure

    with isolated(reader("video"), paths, Path) as (source, every):
        for path in every:
            try:
                yield path, shots_of(source, path)
            except VlarError as error:
                yield path, Failure(path, error.kind, error.message)


def _checked(csv_out: str | None) -> Path | None:
    if csv_out is None:
        return None
    path = Path(csv_out)
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"--csv {csv_out!r}: the folder {str(path.parent)!r} does not exist; make it"
        )
    return path
