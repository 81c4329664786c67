"""``vlar index export``, ``import``, ``unusual``, ``duplicates``, ``highlights``, ``diverse``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.index import AddProgress, LibraryPath, app, finished
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import verb
from vlar.formatting import counted

if TYPE_CHECKING:
    from vlar.library.discovery import Standout

Count = Annotated[int, typer.Option("-k", metavar="N", min=1, help="Windows to show.")]


@verb(app)
def export(
    library: LibraryPath,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A file that ends in .parquet.")],
    as_json: options.AsJson = False,
) -> int:
    """Write all windows with vectors and tags as a Parquet file.

    Examples:
        vlar index export holiday.vlar holiday.parquet
        vlar index export holiday.vlar holiday.parquet --json
    """
    from vlar.library.library import Library

    with progress("exporting", unit="windows") as shown, Library(library, create=False) as opened:
        written = opened.export(out, progress=shown)
    if as_json:
        output.json_line({"library": library, "written": str(out), "rows": written})
    output.note(f"vlar: {counted(written, 'windows')} written to {out}")
    return 0


@verb(app, "import")
def import_rows(
    library: LibraryPath,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Parquet files, or folders of shards.")
    ],
    model: options.LibraryModel = None,
    as_json: options.AsJson = False,
) -> int:
    """Add rows that are embedded already, from Parquet files.

    Examples:
        vlar index import holiday.vlar shards
        vlar index import copy.vlar holiday.parquet
    """
    from vlar.library.library import Library

    with progress("importing") as shown, Library(library, model) as opened:
        show = AddProgress(shown, as_json)
        report = opened.import_shards(files, progress=show)
        for failure in report.failed:
            if failure.kind == "shard":
                output.failure(failure, as_json)
    return finished(report, 0, show.total + sum(f.kind == "shard" for f in report.failed))


@verb(app)
def unusual(
    library: LibraryPath,
    k: Count = 10,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="LIBRARY", help="Compare with this library instead."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Show the windows that resemble no other recording.

    The score is the mean cosine distance to the five nearest windows of other recordings.

    Examples:
        vlar index unusual holiday.vlar
        vlar index unusual today.vlar --against holiday.vlar -k 3
    """
    from vlar.library.library import Library

    with progress("comparing"), Library(library, create=False) as opened:
        if against is None:
            found = opened.unusual(k)
        else:
            with Library(against, create=False) as other:
                found = opened.unusual(k, against=other)
    _show(found, as_json)
    return 0


@verb(app)
def highlights(
    library: LibraryPath,
    k: Count = 10,
    each: Annotated[
        int, typer.Option("--each", metavar="N", min=1, help="Windows of one recording at most.")
    ] = 1,
    as_json: options.AsJson = False,
) -> int:
    """Show the windows that stand out in their own recording.

    The score is the distance from the rest of the recording, in standard deviations.

    Examples:
        vlar index highlights holiday.vlar
        vlar index highlights holiday.vlar --each 3
    """
    from vlar.library.library import Library

    with progress("comparing"), Library(library, create=False) as opened:
        found = opened.highlights(k, per_recording=each)
    _show(found, as_json)
    if not found:
        output.note("vlar: no recording has four windows or more that differ; nothing stands out")
    return 0


@verb(app)
def duplicates(
    library: LibraryPath,
    similarity: Annotated[
        float | None,
        typer.Option("--similarity", metavar="COSINE", help="How alike two windows are at least."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Show recordings that show the same, in groups.

    Copies are found, and most that were cut or hardly changed. Copies that were made much smaller,
    cropped or brightened look different to most models.

    Examples:
        vlar index duplicates holiday.vlar
        vlar index duplicates holiday.vlar --similarity 0.995
    """
    from vlar.library.library import Library

    with progress("comparing"), Library(library, create=False) as opened:
        found = (
            opened.duplicates() if similarity is None else opened.duplicates(similarity=similarity)
        )
    for number, group in enumerate(found, 1):
        if as_json:
            output.json_line(group)
            continue
        output.line(f"group {number}: {counted(len(group.members), 'recordings')}")
        for row in group.members:
            span = f"{output.clock(row.start_s)} to {output.clock(row.end_s)}"
            output.line(f"  {row.similarity:.3f}  {row.path}  {span}")
    if not found:
        output.note("vlar: no two recordings show the same")
    return 0


@verb(app)
def diverse(
    library: LibraryPath,
    k: Count = 10,
    whole: Annotated[
        bool, typer.Option("--whole", help="Keep sequences whole: choose recordings.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Show the windows that cover all others best: what to label next.

    Each is the one that those before it cover least; the score is its distance to them.

    Examples:
        vlar index diverse holiday.vlar -k 100
        vlar index diverse holiday.vlar --whole --json
    """
    from vlar.library.library import Library

    with progress("comparing"), Library(library, create=False) as opened:
        found = opened.diverse(k, whole=whole)
    _show(found, as_json)
    if len(found) < k:
        output.note("vlar: the other windows repeat what is shown")
    return 0


def _show(rows: list[Standout], as_json: bool) -> None:
    for row in rows:
        if as_json:
            output.json_line(row)
            continue
        span = f"{output.clock(row.start_s)} to {output.clock(row.end_s)}"
        near = ""
        if row.nearest is not None and row.nearest_s is not None:
            near = f"  (nearest: {row.nearest} {output.clock(row.nearest_s)})"
        output.line(f"{row.rank:3}. {row.score:6.3f}  {row.path}  {span}{near}", flush=True)
