"""``vlar index``: make and keep a library of videos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import inputs, output
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.index.report import AddEvent
    from vlar.types import ProgressCallback

app = typer.Typer(help="Make and keep a library of videos.", no_args_is_help=True)

LibraryPath = Annotated[str, typer.Argument(metavar="LIBRARY", help="A folder, such as gym.vlar.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
@output.verb
def add(
    library: LibraryPath,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Videos, or folders that hold videos.")
    ],
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Attach key=value to these videos.")
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", help="Length of a window (a new library: 4s).")
    ] = None,
    stride: Annotated[
        str | None, typer.Option("--stride", help="From one window to the next (2s).")
    ] = None,
    long_windows: Annotated[
        float | None,
        typer.Option(
            "--long-windows", help="Also windows this many times as long; 1 for none (1)."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Default: the library's own, or lite.")
    ] = None,
    no_context: Annotated[
        bool, typer.Option("--no-context", help="Keep nothing to re-rank with: a smaller library.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Add videos; known ones are skipped, changed ones updated, an interrupted run goes on.

    Example: vlar index add holiday.vlar videos/ --tag year=2024
    """
    from vlar.library import Library

    found, failures = inputs.videos(paths)
    if not found:
        for row in failures:
            output.failure(row, as_json)
        return 2
    window_s = inputs.seconds(window, "--window") if window else None
    stride_s = inputs.seconds(stride, "--stride") if stride else None
    tags = inputs.pairs(tag or [], "--tag")
    with Library(library, model) as opened, output.progress(len(found), "indexing") as advance:
        report = opened.add(
            found,
            tags=tags,
            window_s=window_s,
            stride_s=stride_s,
            long_times=long_windows,
            keep_context=not no_context,
            progress=lambda event: _show(event, advance, as_json),
        )
    failed = [*failures, *report.failed]
    for row in failures:
        output.failure(row, as_json)
    summary = (
        f"{report.added} added, {report.updated} updated, {report.moved} recognised by content, "
        f"{report.unchanged} unchanged, {len(failed)} failed; {report.rows} new windows"
    )
    output.note(f"vlar: {summary}")
    return output.exit_code(len(found) - len(report.failed), len(failed))


def _show(event: AddEvent, advance: ProgressCallback, as_json: bool) -> None:
    if event.failure is not None:
        output.failure(event.failure, as_json)
    elif as_json and event.path is not None:
        output.json_line(event)
    advance(event.advance)


@app.command()
@output.verb
def remove(
    library: LibraryPath,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Videos, folders or patterns.")
    ],
) -> int:
    """Take videos out of a library; the files themselves are not touched."""
    from vlar.library import Library

    with Library(library, create=False) as opened:
        removed = opened.remove(paths)
    if not removed:
        raise UsageError(
            f"no video of {library} matches {', '.join(paths)!r}; 'vlar index list {library}' "
            "shows what is there"
        )
    output.note(f"vlar: {removed} videos removed")
    return 0


@app.command("list")
@output.verb
def list_videos(library: LibraryPath, as_json: AsJson = False) -> int:
    """List the videos of a library."""
    from vlar.library import Library

    with Library(library, create=False) as opened:
        for row in opened.videos():
            if as_json:
                output.json_line(row)
                continue
            tags = "".join(f"  {key}={value}" for key, value in sorted(row.tags.items()))
            print(f"{output.clock(row.duration_s):>10}  {row.windows:5} windows  {row.path}{tags}")
    return 0


@app.command()
@output.verb
def info(library: LibraryPath, as_json: AsJson = False) -> int:
    """Say what a library holds, which model made it and how it searches."""
    from vlar.library import Library

    with Library(library, create=False) as opened:
        facts = opened.info()
    if as_json:
        output.json_line(facts)
    else:
        output.facts(facts.to_dict())
    return 0


@app.command()
@output.verb
def upgrade(library: LibraryPath, as_json: AsJson = False) -> int:
    """Bring a library up to date with its model: only parts that changed are computed.

    For a library made with 'lite' before 'vlar models get lite-motion': objects are taken over,
    bodies are read from the videos. An interrupted run goes on; queries go by the old state until
    all is ready.
    """
    from vlar.index.maintenance.upgrade import upgrade as run

    with output.progress(None, "upgrading") as advance:
        report = run(library, progress=lambda _, total: advance(1, total))
    for row in report.failed:
        output.failure(row, as_json)
    if as_json:
        output.json_line(report)
    if not report.computed and not report.rows:
        output.note(f"vlar: {library} is up to date")
        return 0
    kept, computed = (", ".join(names) or "nothing" for names in (report.kept, report.computed))
    output.note(
        f"vlar: {report.videos} videos, {report.rows} windows brought up to date: {kept} kept, "
        f"{computed} computed"
    )
    if report.failed:
        output.note(
            f"vlar: {len(report.failed)} videos could not be read in full; their rows are kept "
            f"without the new parts: vlar index add {library} VIDEOS reads them again"
        )
    return output.exit_code(report.videos, len(report.failed))


@app.command()
@output.verb
def verify(
    library: LibraryPath,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild the cache; mark damaged videos for 'add'.")
    ] = False,
    no_files: Annotated[
        bool, typer.Option("--no-files", help="Look at the library only, not at the videos.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Check every row, the search cache and the videos' files; exit 1 where something is wrong.

    Example: vlar index verify holiday.vlar --repair
    """
    from vlar.library import Library

    with Library(library, create=False) as opened:
        found = opened.verify(repair=repair, files=not no_files)
        rows = opened.info().rows
    for problem in found:
        if as_json:
            output.json_line(problem)
        else:
            state = "repaired" if problem.repaired else problem.kind
            output.note(f"vlar: {state}: {problem.message}")
    left = sum(not problem.repaired for problem in found)
    output.note(f"vlar: {rows} rows checked; {len(found)} problems, {left} left")
    return 1 if left else 0


@app.command()
@output.verb
def compact(
    library: LibraryPath,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Build the search engine again, drifted or not.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option("--type", help="flat, ivf or ivf-sq8 from now on; auto: by size again."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Merge all changes into the search cache, forget deleted rows, shrink the files."""
    from vlar.library import Library

    with Library(library, create=False) as opened:
        report = opened.compact(retrain=retrain, kind=kind)
    if as_json:
        output.json_line(report)
    output.note(
        f"vlar: {report.rows} rows, {report.bytes_before / 1e6:.1f} MB before, "
        f"{report.bytes_after / 1e6:.1f} MB now; search: {report.engine}"
    )
    return 0
