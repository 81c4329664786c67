"""How results, notes and progress reach the user: results on stdout, all the rest on stderr."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import typer

from vlar.errors import VlarError

if TYPE_CHECKING:
    from vlar.types import Classification, Failure, Hit, JsonDict, ProgressCallback

T = TypeVar("T")
P = ParamSpec("P")

EXIT_FINE, EXIT_SOME_FAILED, EXIT_NOTHING_USABLE, EXIT_INTERRUPTED = 0, 1, 2, 130


class HasDict(Protocol):
    """A result row."""

    def to_dict(self) -> JsonDict: ...


def json_line(row: HasDict | JsonDict) -> None:
    """One JSON object on one line of stdout."""
    data = row if isinstance(row, dict) else row.to_dict()
    print(json.dumps(data, ensure_ascii=False), flush=True)


def note(text: str) -> None:
    """A remark for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def error(text: str) -> None:
    """An error as one line."""
    note(f"vlar: {text}")


def failure(row: Failure, as_json: bool) -> None:
    """Name a failed input on stderr, and in JSON on stdout too."""
    if as_json:
        json_line(row)
    error(row.message)


def classification(row: Classification) -> None:
    """A block of lines: the file and its span, then one line a label."""
    answer = "  unknown: none of the labels fits" if row.unknown else ""
    print(f"{row.path}  {clock(row.start_s)} to {clock(row.end_s)}{answer}")
    width = max((display_width(p.label) for p in row.predictions), default=0)
    for p in row.predictions:
        pad = " " * (min(width, 60) - display_width(p.label))
        print(f"  {p.probability:6.1%}  {p.label}{pad}  similarity {p.similarity:.3f}")
    print(f"  {row.unknown_probability:6.1%}  (unknown)", flush=True)


def hit(row: Hit) -> None:
    """One line: rank, score (of a plain phrase its probability), file, span, tags, copies."""
    tags = "".join(f"  {key}={value}" for key, value in sorted(row.tags.items()))
    span = f"{clock(row.start_s)} to {clock(row.end_s)}"
    copies = (f"{c.path} {clock(c.start_s)} to {clock(c.end_s)}" for c in row.also)
    also = f"  (the same in {', '.join(copies)})" if row.also else ""
    print(f"{row.rank:3}. {row.score:6.1%}  {row.path}  {span}{tags}{also}", flush=True)


def clock(seconds: float) -> str:
    """Seconds as ``h:mm:ss.d`` or ``m:ss.d``.

    >>> clock(3725.25), clock(4.0)
    ('1:02:05.2', '0:04.0')
    """
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def display_width(text: str) -> int:
    """Columns a text takes in a terminal (wide characters take two)."""
    from rich.cells import cell_len

    return cell_len(text)


def file_size(n_bytes: float) -> str:
    """Bytes with a unit.

    >>> file_size(2_500_000)
    '2.5 MB'
    """
    for name in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {name}" if name == "B" else f"{n_bytes:.1f} {name}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def track(rows: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Pass rows through, with a progress bar on stderr where that is a terminal."""
    with progress(total, what) as advance:
        for row in rows:
            yield row
            advance(1)


@contextmanager
def progress(total: int | None, what: str) -> Generator[ProgressCallback, None, None]:
    """A progress bar on stderr where that is a terminal, else nothing; yields its ``advance``."""
    if not sys.stderr.isatty() or (total is not None and total < 2):
        yield _no_bar
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(count: int = 0, total: int | None = None) -> None:
            bar.update(task, advance=count, total=total)

        yield advance


def _no_bar(count: int = 0, total: int | None = None) -> None:
    del count, total


def send_log_to_stderr() -> None:
    """Show vlar's own notes (``logging`` name ``vlar``) on stderr, without decoration."""
    logger = logging.getLogger("vlar")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("vlar: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def exit_code(done: int, failed: int) -> int:
    """0 where all inputs were handled, 1 where some failed, 2 where none could be used."""
    if not failed:
        return EXIT_FINE
    return EXIT_SOME_FAILED if done else EXIT_NOTHING_USABLE


def verb(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command end with its exit code, and every expected error be one line on stderr."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        raise typer.Exit(_code(lambda: command(*args, **kwargs)))

    return run


def _code(command: Callable[[], int]) -> int:
    try:
        code = command()
        sys.stdout.flush()
    except VlarError as problem:
        error(problem.message)
        return EXIT_NOTHING_USABLE
    except KeyboardInterrupt:
        error("stopped; what was finished is kept, run the same command again to go on")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; keep the interpreter's own flush quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE
    return code


def facts(data: JsonDict) -> None:
    """A two-column list of names and values."""
    width = max(len(name) for name in data)
    for name, value in data.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")
