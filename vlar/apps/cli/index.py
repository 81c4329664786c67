"""``vlar index``: make and keep a library of recordings, and look at what it holds."""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlar.apps.cli import inputs, options, output, shelves
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import Progress, progress
from vlar.apps.cli.verb import verb
from vlar.errors import UsageError, VlarError
from vlar.formatting import counted
from vlar.library.ingest.request import AddRequest
from vlar.library.query.request import QueryRequest
from vlar.options import MACHINE, TIME, Choices, Fields, Option

if TYPE_CHECKING:
    from vlar.library.discovery import Standout
    from vlar.library.library import Library
    from vlar.library.rows import AddEvent, AddReport, LibraryInfo
    from vlar.types import Failure, JsonDict

app = typer.Typer(
    help="Make and keep a library of recordings.",
    epilog="\b\nExamples:\n  vlar index add holiday.vlar videos/\n  vlar index info holiday.vlar",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_ENGINES = Choices.of_kinds("index type", "engine", also=("auto", "hnsw", "diskann"))
_Library = Annotated[
    str, Option("A folder, such as gym.vlar, or milvus://HOST:PORT/NAME.", "LIBRARY")
]
_Count = Annotated[int, Option("Windows to show.", "1..")]
_Runner = Annotated[
    str | None,
    Option(
        "Where recordings are read and encoded: processes:cuda:0,cuda:1 (one encoder on each), "
        "processes:cpu:2 (two), ray:HOST:PORT?workers=4&gpus=0.5. Default: in this process.",
        "NAME",
        MACHINE,
        "runner",
    ),
]
_NAMED = 3  # copies that have a line each
_NAMES = {
    "videos": "recordings",
    "rows": "windows and people",
    "dim": "numbers a vector",
    "n_frames": "frames a window",
    "cache_state": "search cache",
    "waiting_added": "added since the search cache",
    "waiting_deleted": "removed since it",
}


def _opened(path: str, model: Any = None, *, create: bool = False) -> Library:
    from vlar.library.library import Library

    return Library(path, model, create=create)


def _readable(paths: list[str]) -> list[Failure]:
    """A failure for each path where none can be read, before the verb runs.

    Raises:
        UsageError: one is a library, which stands first.
    """
    for path in paths:
        if path.rstrip("/").endswith(".vlar"):
            raise UsageError(
                f"{path!r} is a library among the recordings; it stands first: vlar index add "
                f"{path} PATH"
            )
    return inputs.all_absent(paths)


@verb(app)
def add(
    library: _Library,
    paths: Annotated[
        list[str],
        Option(
            "Files, or folders that are searched for recordings; also addresses "
            "(s3://...), lists (CSV or Parquet with a column path) and .tar "
            "archives.",
            "PATH",
        ),
        _readable,
    ],
    /,
    *,
    tag: options.Tag = None,
    window: Annotated[
        str | None, Option("Length of a window; 4s in a new library.", "SPAN", TIME)
    ] = None,
    stride: Annotated[
        str | None, Option("From one window to the next; 2s in a new library.", "SPAN", TIME)
    ] = None,
    long_windows: Annotated[
        float | None,
        Option("Also windows this many times as long; 1 for none.", "rare TIMES", TIME),
    ] = None,
    asked: Annotated[dict[str, Any], Fields(AddRequest)],
    model: options.OwnModel = None,
    no_context: Annotated[
        bool, Option("Store nothing to re-rank with: less disk space.", "rare")
    ] = False,
    machine: options.Machine,
    runner: _Runner = None,
) -> int:
    """Add recordings to a library.

    Known files are skipped, changed ones updated, an interrupted run resumes.

    Examples:
        vlar index add holiday.vlar videos/ --tag year=2024
        vlar index add holiday.vlar clip.mp4 --window 2s --stride 1s
    """
    recordings, failures = inputs.recordings(paths, None)
    for row in failures:
        output.failure(row)
    if not recordings:
        return exit_code(0, len(failures))
    window_s = inputs.seconds(window, "--window") if window else None
    stride_s = inputs.seconds(stride, "--stride") if stride else None
    tags = inputs.pairs(tag or [], "--tag")
    where = inputs.runner(runner, machine.device)
    name = model or inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        show = _AddProgress(shown)
        loaded = model
        if machine != options.Machine():
            loaded = inputs.load_model(name, machine.device, machine.dtype, library)
        with _opened(library, loaded, create=True) as opened:
            request = AddRequest(
                recordings,
                tags=tags,
                window_s=window_s,
                stride_s=stride_s,
                long_times=long_windows,
                keep_context=not no_context,
                runner=where,
                progress=show,
                **asked,
            )
            report = opened.ingest(request)
    code = _finished(report, len(failures), show.total)
    if request.skip_still:
        output.note(f"vlar: {report.still_s:.1f} s of still footage left out")
    return code


def _finished(report: AddReport, missing: int, total: int) -> int:
    """Print the result of an ``add``; returns the exit code."""
    failed = missing + len(report.failed)
    kinds = {"moved": report.moved - report.copies, "copied": report.copies}
    known_counts = ", ".join(f"{count} {what}" for what, count in kinds.items() if count)
    counts = {
        "added": report.added,
        "updated": report.updated,
        f"recognised by content ({known_counts})": report.moved,
        "unchanged": report.unchanged,
        "failed": failed,
    }
    named = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    people = f", {counted(report.person_rows, 'rows')} of people" if report.person_rows else ""
    new = counted(report.rows - report.person_rows, "new windows")
    output.note(f"vlar: {named}; {new}{people}")
    return exit_code(total - len(report.failed), failed)


class _AddProgress:
    """Shows an ``add`` as it proceeds, in recordings, clips and seconds."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._clips, self._seconds, self._copies = 0, 0.0, 0
        self.total = 0  # recordings that the arguments name

    def __call__(self, event: AddEvent) -> None:
        """Show one step."""
        self.total = event.total
        if event.status == "copied" and not output.is_json():
            self._copies += 1
            if self._copies <= _NAMED:
                output.note(f"vlar: {event.path}: copy of {event.other}, whose windows it takes")
            elif self._copies == _NAMED + 1:
                output.note("vlar: other copies are counted, not named")
        if event.path is None:
            self._shown.stage("indexing", total=event.total)
        elif event.failure is not None:
            output.failure(event.failure)
        else:
            output.row(event)
        self._clips += event.rows
        self._seconds += event.seconds
        if self._clips:
            self._shown.note(f"{self._clips} clips, {self._seconds:.0f} s of recordings")
        self._shown(event.advance)


@verb(app)
def remove(
    library: _Library,
    paths: Annotated[list[str], Option("Files, folders, or patterns in quotes.", "PATH")],
    /,
) -> int:
    """Remove recordings from a library; the files themselves stay.

    Examples:
        vlar index remove holiday.vlar clip.mp4
        vlar index remove holiday.vlar "*/2023/*"
    """
    with _opened(library) as opened:
        removed = opened.remove(paths)
    if not removed:
        raise UsageError(
            f"no recording of {library} matches {', '.join(paths)!r}; 'vlar index list {library}' "
            "lists them"
        )
    output.row({"library": library, "removed": removed})
    output.note(f"vlar: {counted(removed, 'recordings')} removed")
    return 0


@verb(app, "list")
def list_recordings(
    library: _Library, /, *, asked: Annotated[dict[str, Any], Fields(QueryRequest, ("where",))]
) -> int:
    """List the recordings of a library.

    Examples:
        vlar index list holiday.vlar --where 'duration_s<600'
        vlar index list holiday.vlar --json
    """
    with _opened(library) as opened:
        for row in opened.videos(**asked):
            tags = "".join(f"  {key}={value}" for key, value in sorted(row.tags.items()))
            length = output.clock(row.duration_s)
            output.row(row, f"{length:>10}  {row.windows:5} windows  {row.path}{tags}")
    return 0


@verb(app)
def info(
    library: _Library,
    /,
    *,
    verbose: Annotated[bool, Option("Show every fact.", "-v", MACHINE)] = False,
) -> int:
    """Show what a library holds and which model made it.

    Examples:
        vlar index info holiday.vlar
        vlar index info holiday.vlar --json
    """
    with _opened(library) as opened:
        facts = opened.info()
    if output.is_json():
        output.json_line(facts)
    else:
        output.facts(_all_facts(facts) if verbose else _main_facts(facts))
    return 0


def _all_facts(facts: LibraryInfo) -> JsonDict:
    """Every fact, under the names of JSON except where these are words of the program."""
    every = facts.to_dict()
    rows, size = every.pop("context_rows"), output.file_size(every.pop("context_bytes"))
    named = {_NAMES.get(name, name): value for name, value in every.items()}
    return {**named, "stored for re-ranking": f"{counted(rows, 'windows')}, {size}"}


def _main_facts(facts: LibraryInfo) -> dict[str, str]:
    """Main facts of a library."""
    length, size = output.clock(facts.duration_s), output.file_size(facts.bytes_on_disk)
    windows = f"{facts.rows - facts.person_rows}"
    if facts.window_s is not None and facts.stride_s is not None:
        windows += f", {facts.window_s:g} s long, one every {facts.stride_s:g} s"
    people = {"people": f"{facts.person_rows} rows, found by {facts.persons}"}
    return {
        "library": facts.path,
        "recordings": f"{facts.videos}, {length} in all",
        "windows": windows,
        **(people if facts.persons else {}),
        **({"mapped": f"{facts.mapped_rows} rows"} if facts.mapped_rows else {}),
        "model": facts.model or "none yet: the library is empty",
        "tags": ", ".join(facts.tag_keys) or "none",
        "search": f"{facts.engine}, {facts.engine_why}",
        "on disk": size if facts.bytes_on_disk else "unknown: the server keeps it",
    }


@verb(app)
def upgrade(
    library: _Library,
    /,
    *,
    model: Annotated[
        str | None,
        Option("A model that has all parts of the library's; with --lazy any.", "--model NAME"),
    ] = None,
    lazy: Annotated[
        bool,
        Option("Map the rows; queries, --minutes, or this command without --lazy encode them."),
    ] = False,
    minutes: Annotated[
        float | None, Option("Encode mapped rows for so long.", "0.. MINUTES")
    ] = None,
    runner: _Runner = None,
) -> int:
    """Bring a library up to date, or change its model.

    Only parts that changed are computed, such as bodies after 'vlar models get lite-motion'. An
    interrupted run resumes. With --lazy another model answers at once; hits are mapped or encoded.

    Examples:
        vlar index upgrade holiday.vlar
        vlar index upgrade holiday.vlar --model siglip2 --lazy --minutes 10
    """
    where = inputs.runner(runner)
    with progress("upgrading") as shown, _opened(library, model) as opened:
        report = opened.upgrade(
            lazy=lazy, minutes=minutes, progress=lambda _, n: shown(1, n), runner=where
        )
    for row in report.failed:
        output.failure(row)
    output.row(report)
    output.note(f"vlar: {report.sentence}")
    if report.failed and not report.learned_from:
        what = f"{len(report.failed)} recordings lack new parts, since they cannot be read in full"
        output.note(f"vlar: {what}; read them again: vlar index add {library} PATH")
    return exit_code(report.videos or bool(report.learned_from), len(report.failed))


@verb(app)
def copy(
    library: _Library, to: Annotated[str, Option("A new library, or a part of this one.", "TO")], /
) -> int:
    """Copy a library to another place, into Milvus or out of it.

    An interrupted copy resumes. At the end both are read, and their digests must be equal.

    Examples:
        vlar index copy holiday.vlar copy.vlar
        vlar index copy holiday.vlar copy.vlar --json
    """
    done = 0

    def count(rows: int, total: int) -> None:
        nonlocal done
        shown(rows - done, total)
        done = rows

    with (
        progress("copying", unit="windows") as shown,
        _opened(library) as opened,
        _opened(to, create=True) as target,
    ):
        report = opened.copy_to(target, progress=count)
    output.row(report)
    output.note(
        f"vlar: {counted(report.recordings, 'recordings')}, {counted(report.rows, 'windows')} in "
        f"both, {counted(report.copied, 'recordings')} copied now; digest {report.digest}"
    )
    return 0


@verb(app)
def verify(
    library: _Library,
    /,
    *,
    repair: Annotated[
        bool, Option("Rebuild the cache; mark damaged recordings for 'add'.")
    ] = False,
    no_files: Annotated[bool, Option("Check the library only, not the recordings.")] = False,
) -> int:
    """Check rows, search cache and recordings.

    The exit code is 1 if something is wrong.

    Examples:
        vlar index verify holiday.vlar
        vlar index verify holiday.vlar --repair
    """
    rows = 0
    with progress("checking"), _opened(library) as opened:
        faults = opened.verify(repair=repair, files=not no_files)
        with suppress(VlarError):  # of what cannot be counted, the faults are named
            rows = opened.info().rows
    for fault in faults:
        if output.is_json():
            output.json_line(fault)
        else:
            output.error(f"{'repaired' if fault.repaired else fault.kind}: {fault.message}")
    unrepaired = sum(not fault.repaired for fault in faults)
    output.note(
        f"vlar: {counted(rows, 'rows')} checked; {counted(len(faults), 'faults')}, "
        f"{unrepaired} left"
    )
    return 1 if unrepaired else 0


@verb(app)
def compact(
    library: _Library,
    /,
    *,
    kind: Annotated[
        str | None,
        Option(
            "How to search from now on; 'auto' chooses by size. hnsw and diskann: in Milvus.",
            "--type NAME",
            choices=_ENGINES,
        ),
    ] = None,
) -> int:
    """Drop deleted rows, rebuild the search cache, shrink the files.

    Examples:
        vlar index compact holiday.vlar
        vlar index compact holiday.vlar --type ivf
    """
    with progress("compacting"), _opened(library) as opened:
        report = opened.compact(kind=kind)
    output.row(report)
    before, now = (output.file_size(n) for n in (report.bytes_before, report.bytes_after))
    output.note(f"vlar: {report.rows} rows, {before} before, {now} now; search: {report.engine}")
    return 0


@verb(app)
def export(
    library: _Library, out: Annotated[Path, Option("A file that ends in .parquet.", "FILE")], /
) -> int:
    """Write all windows with vectors and tags as a Parquet file.

    Examples:
        vlar index export holiday.vlar holiday.parquet
        vlar index export holiday.vlar holiday.parquet --json
    """
    with progress("exporting", unit="windows") as shown, _opened(library) as opened:
        written = opened.export(out, progress=shown)
    output.row({"library": library, "written": str(out), "rows": written})
    output.note(f"vlar: {counted(written, 'windows')} written to {out}")
    return 0


@verb(app, "import")
def import_rows(
    library: _Library,
    files: Annotated[list[str], Option("Parquet files, or folders of shards.", "FILE")],
    /,
) -> int:
    """Add rows that are embedded already, from Parquet files.

    Examples:
        vlar index import holiday.vlar shards
        vlar index import copy.vlar holiday.parquet
    """
    with progress("importing") as shown, _opened(library, create=True) as opened:
        show = _AddProgress(shown)
        report = opened.import_shards(files, progress=show)
        unread = [failure for failure in report.failed if failure.kind == "shard"]
        for failure in unread:
            output.failure(failure)
    return _finished(report, 0, show.total + len(unread))


@verb(app)
def unusual(
    library: _Library,
    /,
    *,
    k: _Count = 10,
    against: Annotated[str | None, Option("Compare with this library instead.", "LIBRARY")] = None,
) -> int:
    """Show the windows that resemble no other recording.

    The score is the mean cosine distance to the five nearest windows of other recordings.

    Examples:
        vlar index unusual holiday.vlar
        vlar index unusual today.vlar --against holiday.vlar -k 3
    """
    with progress("comparing"), _opened(library) as opened:
        if against is None:
            standouts = opened.unusual(k)
        else:
            with _opened(against) as other:
                standouts = opened.unusual(k, against=other)
    return _show(standouts)


@verb(app)
def highlights(library: _Library, /, *, k: _Count = 10) -> int:
    """Show the windows that stand out in their own recording.

    The score is the distance from the rest of the recording, in standard deviations.

    Examples:
        vlar index highlights holiday.vlar
        vlar index highlights holiday.vlar -k 3
    """
    with progress("comparing"), _opened(library) as opened:
        standouts = opened.highlights(k)
    if not standouts:
        output.note("vlar: no recording has four windows or more that differ; nothing stands out")
    return _show(standouts)


@verb(app)
def duplicates(library: _Library, /) -> int:
    """Show recordings that show the same, in groups.

    Files are read again, and what moves in them is compared: copies are found, also smaller,
    cropped, brightened or trimmed ones, and clips inside other recordings with their times there.

    Examples:
        vlar index duplicates holiday.vlar
        vlar index duplicates holiday.vlar --json
    """
    with progress("comparing"), _opened(library) as opened:
        groups = opened.duplicates()
    for number, group in enumerate(groups, 1):
        output.row(
            group,
            f"group {number}: {counted(len(group.members), 'recordings')}",
            *(f"  {m.similarity:.3f}  {m.path}  {output.span(m)}" for m in group.members),
        )
    if not groups:
        output.note("vlar: no two recordings show the same")
    return 0


@verb(app)
def diverse(
    library: _Library,
    /,
    *,
    k: _Count = 10,
    whole: Annotated[bool, Option("Keep sequences whole: choose recordings.")] = False,
) -> int:
    """Show the windows that cover all others best: what to label next.

    Each is the one that those before it cover least; the score is its distance to them.

    Examples:
        vlar index diverse holiday.vlar -k 100
        vlar index diverse holiday.vlar --whole --json
    """
    with progress("comparing"), _opened(library) as opened:
        standouts = opened.diverse(k, whole=whole)
    _show(standouts)
    if len(standouts) < k:
        output.note("vlar: the other windows repeat what is shown")
    return 0


def _show(rows: list[Standout]) -> int:
    for row in rows:
        near = ""
        if row.nearest is not None and row.nearest_s is not None:
            near = f"  (nearest: {row.nearest} {output.clock(row.nearest_s)})"
        output.row(row, f"{row.rank:3}. {row.score:6.3f}  {row.path}  {output.span(row)}{near}")
    return 0


for _name, (_module, _) in shelves.verbs("index").items():
    verb(app, _name)(getattr(importlib.import_module(_module), _name))
