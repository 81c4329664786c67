"""``vlar index upgrade``, ``verify``, ``compact``, ``copy``: a library kept sound and small."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.index import LibraryPath, app
from vlar.apps.cli.options import Choices
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code, verb
from vlar.errors import VlarError
from vlar.formatting import counted

_ENGINES = Choices.of_kinds("index type", "engine", also=("auto", "hnsw", "diskann"))  # of Milvus
NewModel = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A model that has all parts of the library's."),
]


@verb(app)
def upgrade(library: LibraryPath, model: NewModel = None, as_json: options.AsJson = False) -> int:
    """Bring a library up to date with its model, or add parts to it.

    Only parts that changed are computed. After 'vlar models get lite-motion' it adds bodies to a
    library that was made without them. An interrupted run resumes. Queries use the old rows until
    all new ones are ready.

    Examples:
        vlar index upgrade holiday.vlar
        vlar index upgrade holiday.vlar --model openclip:ViT-B-16/openai+motion
    """
    from vlar.library.library import Library

    with progress("upgrading") as shown, Library(library, model, create=False) as opened:
        report = opened.upgrade(progress=lambda _, total: shown(1, total))
    for row in report.failed:
        output.failure(row, as_json)
    if as_json:
        output.json_line(report)
    if not report.computed and not report.rows:
        output.note(f"vlar: {library} is up to date")
        return 0
    kept, computed = (", ".join(names) or "nothing" for names in (report.kept, report.computed))
    output.note(
        f"vlar: {counted(report.videos, 'recordings')}, {counted(report.rows, 'windows')} up to "
        f"date: {kept} kept, {computed} computed"
    )
    if report.failed:
        output.note(
            f"vlar: {len(report.failed)} recordings could not be read in full; their rows stay "
            f"without the new parts; read them again with: vlar index add {library} PATH"
        )
    return exit_code(report.videos, len(report.failed))


@verb(app)
def copy(
    library: LibraryPath,
    to: Annotated[str, typer.Argument(metavar="TO", help="A new library, or a part of this one.")],
    as_json: options.AsJson = False,
) -> int:
    """Copy a library to another place, into Milvus or out of it.

    An interrupted copy resumes. At the end both are read, and their digests must be equal.

    Examples:
        vlar index copy holiday.vlar copy.vlar
        vlar index copy holiday.vlar copy.vlar --json
    """
    from vlar.library.library import Library

    done = 0

    def count(rows: int, total: int) -> None:
        nonlocal done
        shown(rows - done, total)
        done = rows

    with (
        progress("copying", unit="windows") as shown,
        Library(library, create=False) as opened,
        Library(to) as target,
    ):
        report = opened.copy_to(target, progress=count)
    if as_json:
        output.json_line(report)
    output.note(
        f"vlar: {counted(report.recordings, 'recordings')}, {counted(report.rows, 'windows')} in "
        f"both, {counted(report.copied, 'recordings')} copied now; digest {report.digest}"
    )
    return 0


@verb(app)
def verify(
    library: LibraryPath,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Rebuild the cache; mark damaged recordings for 'add'."),
    ] = False,
    no_files: Annotated[
        bool, typer.Option("--no-files", help="Check the library only, not the recordings.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Check rows, search cache and recordings.

    The exit code is 1 if something is wrong.

    Examples:
        vlar index verify holiday.vlar
        vlar index verify holiday.vlar --repair
    """
    from vlar.library.library import Library

    rows = 0
    with progress("checking"), Library(library, create=False) as opened:
        found = opened.verify(repair=repair, files=not no_files)
        with suppress(VlarError):  # of what cannot be counted, the faults are named
            rows = opened.info().rows
    for fault in found:
        if as_json:
            output.json_line(fault)
        else:
            state = "repaired" if fault.repaired else fault.kind
            output.error(f"{state}: {fault.message}")
    left = sum(not fault.repaired for fault in found)
    output.note(
        f"vlar: {counted(rows, 'rows')} checked; {counted(len(found), 'faults')}, {left} left"
    )
    return 1 if left else 0


@verb(app)
def compact(
    library: LibraryPath,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Rebuild the search index even where it need not be.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="NAME",
            autocompletion=_ENGINES.complete,
            help="How to search from now on; 'auto' chooses by size. hnsw and diskann: in Milvus.",
        ),
        _ENGINES,
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Drop deleted rows, rebuild the search cache, shrink the files.

    Examples:
        vlar index compact holiday.vlar
        vlar index compact holiday.vlar --type ivf
    """
    from vlar.library.library import Library

    with progress("compacting"), Library(library, create=False) as opened:
        report = opened.compact(retrain=retrain, kind=kind)
    if as_json:
        output.json_line(report)
    before, now = (output.file_size(n) for n in (report.bytes_before, report.bytes_after))
    output.note(f"vlar: {report.rows} rows, {before} before, {now} now; search: {report.engine}")
    return 0
