"""``vlar index``: make and keep a library of videos."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from vlar import registry
from vlar.apps.cli import inputs, options, output
from vlar.apps.cli import options as people
from vlar.apps.cli.options import Choices
from vlar.apps.cli.progress import Progress, progress
from vlar.apps.cli.verb import exit_code, verb
from vlar.errors import UsageError
from vlar.formatting import counted

if TYPE_CHECKING:
    from vlar.library.ingest.runners.base import Runner
    from vlar.library.rows import AddEvent, AddReport, LibraryInfo
    from vlar.types import JsonDict

_RUNNERS = Choices.of_kinds("runner", "runner")
_MOST_PROCESSES = 256
_NAMED = 3  # copies that have a line each
_NAMES = {
    "videos": "recordings", "rows": "windows and people", "dim": "numbers a vector",
    "n_frames": "frames a window", "cache_state": "search cache",
    "waiting_added": "added since the search cache", "waiting_deleted": "removed since it",
}  # fmt: skip

RunnerName = Annotated[
    str | None,
    typer.Option(
        "--runner",
        metavar="NAME",
        autocompletion=_RUNNERS.complete,
        help="Where recordings are read and encoded. Default: in this process.",
    ),
    _RUNNERS,
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster. Default: start Ray."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="How many encode at a time."),
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus-per-worker", metavar="SHARE", help="Of a GPU, for each: 1 or 0.5."),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="LIST",
        help="An encoder on each, in a process of its own: cpu:2 (two), cuda:0,cuda:1.",
    ),
]


@dataclass(frozen=True)
class Place:
    """Options of the user on the place of computation."""

    runner: str | None = None
    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    devices: str | None = None

    def chosen(self, device: str | None = None) -> Runner | None:
        """The runner; None for this process.

        Raises:
            UsageError: an option is not usable, or not for this runner.
        """
        devices = devices_of(self.devices) if self.devices is not None else ()
        name = self.runner
        if name is None and devices:
            name = "processes"
        if name is None:
            for option in ("address", "workers", "gpus"):
                if getattr(self, option) is not None:
                    shown = "gpus-per-worker" if option == "gpus" else option
                    raise UsageError(f"--{shown} needs --runner ray or --runner processes")
            return None
        from vlar.library.ingest.runners.base import RunnerOptions

        given = self.address, self.workers, self.gpus, devices, device
        return registry.get("runner", name).from_options(RunnerOptions(*given))


def devices_of(text: str) -> tuple[str, ...]:
    """A list of devices, one for each encoder.

    >>> devices_of("cpu:2"), devices_of("cuda:0,cuda:1")
    (('cpu', 'cpu'), ('cuda:0', 'cuda:1'))

    Raises:
        UsageError: it is not such a list.
    """
    found: list[str] = []
    for name in (each.strip() for each in text.split(",")):
        match = re.fullmatch(r"(cpu)(?::(\d+))?|(?:cuda|mps)(?::\d+)?", name)
        if match is None:
            raise UsageError(
                f"--devices {text!r}: {name!r} is not a device; write cpu:2 or cuda:0,cuda:1"
            )
        found += ["cpu"] * int(match[2] or 1) if match[1] else [name]
    if not 1 <= len(found) <= _MOST_PROCESSES:
        raise UsageError(
            f"--devices {text!r}: {len(found)} encoders; 1 to {_MOST_PROCESSES} can run"
        )
    return tuple(found)


app = typer.Typer(
    help="Make and keep a library of recordings.",
    epilog="\b\nExamples:\n  vlar index add holiday.vlar videos/\n  vlar index info holiday.vlar",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LibraryPath = Annotated[
    str,
    typer.Argument(
        metavar="LIBRARY", help="A folder, such as gym.vlar, or milvus://HOST:PORT/NAME."
    ),
]

Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="KEY=VALUE", help="Attach key=value to these recordings."),
]
WindowLength = Annotated[
    str | None,
    typer.Option("--window", metavar="SPAN", help="Length of a window; 4s in a new library."),
]
Stride = Annotated[
    str | None,
    typer.Option(
        "--stride", metavar="SPAN", help="From one window to the next; 2s in a new library."
    ),
]
LongWindows = Annotated[
    float | None,
    typer.Option(
        "--long-windows", metavar="TIMES", help="Also windows this many times as long; 1 for none."
    ),
]
Shots = Annotated[
    bool | None,
    typer.Option(
        "--shots/--no-shots",
        help="Let no window cross a cut (once before: vlar models get shots). Default: the "
        "library's own; off in a new library.",
    ),
]
NoContext = Annotated[
    bool, typer.Option("--no-context", help="Store nothing to re-rank with: less disk space.")
]
_CAPTIONERS = Choices.of_kinds("captioner", "captioner")
Captions = Annotated[
    str | None,
    typer.Option(
        "--captions",
        metavar="NAME",
        autocompletion=_CAPTIONERS.complete,
        help="Keep what each window is said to show: concepts, file:FILE.json, hf:FOLDER.",
    ),
    _CAPTIONERS,
]
SkipStill = Annotated[
    bool, typer.Option("--skip-still", help="Leave windows out in which nothing moves.")
]

Shards = Annotated[
    str | None,
    typer.Option(
        "--shards", metavar="FOLDER", help="Write the rows there, as Parquet for 'index import'."
    ),
]


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Files, or folders that are searched for recordings; also addresses (s3://...), "
        "lists (CSV or Parquet with a column path) and .tar archives.",
    ),
]


@verb(app)
def add(
    library: LibraryPath,
    paths: Sources,
    tag: Tags = None,
    window: WindowLength = None,
    stride: Stride = None,
    long_windows: LongWindows = None,
    shots: Shots = None,
    model: options.LibraryModel = None,
    no_context: NoContext = False,
    retry: options.Retry = False,
    skip_still: SkipStill = False,
    captions: Captions = None,
    persons: people.Persons = None,
    detector: people.RowDetector = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    runner: RunnerName = None,
    devices: Devices = None,
    workers: Workers = None,
    address: Address = None,
    gpus_per_worker: Gpus = None,
    shards: Shards = None,
    as_json: options.AsJson = False,
) -> int:
    """Add recordings to a library.

    Known files are skipped, changed ones updated, an interrupted run resumes.

    Examples:
        vlar index add holiday.vlar videos/ --tag year=2024
        vlar index add holiday.vlar clip.mp4 --window 2s --stride 1s
    """
    from vlar.library.ingest.ingest import AddRequest
    from vlar.library.library import Library

    found, failures = inputs.recordings(paths, None)
    for row in failures:
        output.failure(row, as_json)
    if not found:
        return exit_code(0, len(failures))
    spans = _seconds(window, "--window"), _seconds(stride, "--stride")
    tags = inputs.pairs(tag or [], "--tag")
    where = Place(runner, address, workers, gpus_per_worker, devices).chosen(device)
    name = model or inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        show = AddProgress(shown, as_json)
        loaded = inputs.load_model(name, device, dtype) if device or dtype else model
        with Library(library, loaded) as opened:
            request = AddRequest(
                found, tags=tags, runner=where, shards=shards, progress=show,
                window_s=spans[0], stride_s=spans[1], long_times=long_windows, shots=shots,
                keep_context=not no_context, retry=retry, skip_still=skip_still,
                captions=captions, persons=persons, detector=detector,
            )  # fmt: skip
            report = opened.ingest(request)
    code = finished(report, len(failures), show.total)
    if skip_still:
        output.note(f"vlar: {report.still_s:.1f} s of still footage left out")
    return code


def finished(report: AddReport, missing: int, total: int) -> int:
    """Print the result of an ``add``; returns the exit code."""
    failed = missing + len(report.failed)
    kinds = {"moved": report.moved - report.copies, "copied": report.copies}
    kinds = ", ".join(f"{count} {what}" for what, count in kinds.items() if count)
    counts = {
        "added": report.added,
        "updated": report.updated,
        f"recognised by content ({kinds})": report.moved,
        "unchanged": report.unchanged,
        "failed": failed,
    }
    named = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    people = f", {counted(report.person_rows, 'rows')} of people" if report.person_rows else ""
    new = counted(report.rows - report.person_rows, "new windows")
    output.note(f"vlar: {named}; {new}{people}")
    return exit_code(total - len(report.failed), failed)


def _seconds(text: str | None, option: str) -> float | None:
    return inputs.seconds(text, option) if text else None


class AddProgress:
    """Shows an ``add`` as it proceeds, in recordings, clips and seconds."""

    def __init__(self, shown: Progress, as_json: bool) -> None:
        self._shown, self._as_json = shown, as_json
        self._clips, self._seconds, self._copies = 0, 0.0, 0
        self.total = 0  # recordings that the arguments name

    def __call__(self, event: AddEvent) -> None:
        """Show one step."""
        self.total = event.total
        if event.status == "copied" and not self._as_json:
            self._copies += 1
            if self._copies <= _NAMED:
                output.note(f"vlar: {event.path}: copy of {event.other}, whose windows it takes")
            elif self._copies == _NAMED + 1:
                output.note("vlar: other copies are counted, not named")
        if event.path is None:
            self._shown.stage("indexing", total=event.total)
        elif event.failure is not None:
            output.failure(event.failure, self._as_json)
        elif self._as_json:
            output.json_line(event)
        self._clips += event.rows
        self._seconds += event.seconds
        if self._clips:
            self._shown.note(f"{self._clips} clips, {self._seconds:.0f} s of recordings")
        self._shown(event.advance)


@verb(app)
def remove(
    library: LibraryPath,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, or patterns in quotes.")
    ],
    as_json: options.AsJson = False,
) -> int:
    """Remove recordings from a library; the files themselves stay.

    Examples:
        vlar index remove holiday.vlar clip.mp4
        vlar index remove holiday.vlar "*/2023/*"
    """
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        removed = opened.remove(paths)
    if not removed:
        raise UsageError(
            f"no recording of {library} matches {', '.join(paths)!r}; 'vlar index list {library}' "
            "lists them"
        )
    if as_json:
        output.json_line({"library": library, "removed": removed})
    output.note(f"vlar: {removed} {'recording' if removed == 1 else 'recordings'} removed")
    return 0


@verb(app, "list")
def list_recordings(library: LibraryPath, as_json: options.AsJson = False) -> int:
    """List the recordings of a library.

    Examples:
        vlar index list holiday.vlar
        vlar index list holiday.vlar --json
    """
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        for row in opened.videos():
            if as_json:
                output.json_line(row)
                continue
            tags = "".join(f"  {key}={value}" for key, value in sorted(row.tags.items()))
            output.line(
                f"{output.clock(row.duration_s):>10}  {row.windows:5} windows  {row.path}{tags}"
            )
    return 0


@verb(app)
def info(
    library: LibraryPath,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every fact.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Show what a library holds and which model made it.

    Examples:
        vlar index info holiday.vlar
        vlar index info holiday.vlar --json
    """
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        facts = opened.info()
    if as_json:
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
        "model": facts.model or "none yet: the library is empty",
        "tags": ", ".join(facts.tag_keys) or "none",
        "search": f"{facts.engine}, {facts.engine_why}",
        "on disk": size if facts.bytes_on_disk else "unknown: the server keeps it",
    }
