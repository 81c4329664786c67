"""Output to the user: results on stdout, notes and errors on stderr.

Everything passes through ``plain``: paths, labels and tags may come from anybody, and a terminal
obeys the control characters in them. Notes and errors go through ``logging`` (name
``vlar.apps.cli``), so that one level decides what is shown.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlar.errors import UsageError
from vlar.formatting import clock as clock
from vlar.formatting import is_harmless, worded
from vlar.formatting import percent as percent
from vlar.formatting import plain as plain

if TYPE_CHECKING:
    from pathlib import Path

    from vlar.types import Classification, Failure, Hit, JsonDict

_BOLD, _NORMAL = "\x1b[1m", "\x1b[0m"
# Green and yellow, by the words of a verdict.
_COLOURS = (
    (re.compile(r"yes: |(?!unsure: ).*\d %$"), "\x1b[32m"),
    (re.compile("(unsure|unknown): "), "\x1b[33m"),
)
_log = logging.getLogger("vlar.apps.cli")


def line(text: str, *, flush: bool = False, strong: int = 0) -> None:
    """One line of stdout.

    Args:
        text: The line.
        flush: Show it at once, also in a pipe.
        strong: How many characters at its start a terminal shows in bold, a verdict in colour too;
            0 for none.
    """
    if strong and has_colours():
        verdict = text[:strong]
        style = _BOLD + next((c for words, c in _COLOURS if words.match(verdict.lstrip())), "")
        print(f"{style}{plain(verdict)}{_NORMAL}{plain(text[strong:])}", flush=flush)
        return
    print(plain(text), flush=flush)


def has_colours() -> bool:
    """Return whether stdout is a terminal with bold and colours, and nobody switched them off.

    ``NO_COLOR`` (https://no-color.org) with any value but the empty one switches them off.
    """
    allowed = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return allowed and sys.stdout.isatty()


def block(text: str) -> None:
    """Several lines of stdout, as a report has them."""
    for text_line in text.split("\n"):
        line(text_line)
    sys.stdout.flush()


def json_line(row: Any) -> None:
    """One JSON object on one line of stdout. What a terminal obeys is escaped as JSON does."""
    data = row if isinstance(row, dict) else row.to_dict()
    text = json.dumps(data, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(item if is_harmless(item) else json.dumps(item)[1:-1] for item in text)
    print(text, flush=True)


def note(text: str) -> None:
    """A remark of one line for the person at the terminal; ``--quiet`` hides it."""
    _cli_log().info("%s", text)


def detail(text: str) -> None:
    """Log the current step, for ``--verbose``."""
    _cli_log().debug("vlar: %s", text)


_spellings: dict[str, str] = {}  # of the options of the verb that runs
_ARGUMENT = re.compile(r"(?<![\w./&?-])(\w+)=True\b")


def set_options(spellings: Mapping[str, str]) -> None:
    """State how the options of a verb are typed, by the names of their arguments in Python."""
    _spellings.clear()
    _spellings.update(spellings)


def as_typed(text: str) -> str:
    """A message of the library with options as they are typed, in place of Python's arguments.

    >>> set_options({"retry": "--retry"})
    >>> as_typed("its reading failed before; retry=True reads it")
    'its reading failed before; --retry reads it'
    >>> set_options({})
    """
    return _ARGUMENT.sub(lambda match: _spellings.get(match[1], match[0]), text)


def error(text: str) -> None:
    """An error as one line."""
    _cli_log().error("vlar: %s", text)


def error_lines(text: str) -> None:
    """Log the further lines of an error: a traceback, a query with its caret."""
    for line in text.split("\n"):
        _cli_log().error("%s", line)


_json = False
_kept: list[JsonDict] | None = None  # rows of the answer that a receipt is made of


def set_json(wanted: bool) -> None:
    """Choose JSON for rows, as ``--json`` does, or lines of text."""
    global _json
    _json = wanted


def is_json() -> bool:
    """Return whether rows are printed as JSON."""
    return _json


def keep(rows: list[JsonDict] | None) -> None:
    """Append the content of every row that follows to a list too; None ends that."""
    global _kept
    _kept = rows


def row(data: Any, *lines: str, strong: int = 0) -> None:
    """One row: a JSON object where that is wanted, else lines of text, shown at once.

    Args:
        data: Content of the object.
        lines: The same in words; none prints nothing without ``--json``.
        strong: How many characters at the start of each line a terminal shows in bold.
    """
    if _kept is not None:
        _kept.append(data if isinstance(data, dict) else data.to_dict())
    if _json:
        json_line(data)
        return
    for text_line in lines:
        line(text_line, flush=text_line is lines[-1], strong=strong)


def text(*lines: str) -> None:
    """Lines of text, where rows are not JSON."""
    if not _json:
        for text_line in lines:
            line(text_line, flush=text_line is lines[-1])


def span(row: Any) -> str:
    """Start and end of a row."""
    return f"{clock(row.start_s)} to {clock(row.end_s)}"


def failure(failed: Failure) -> None:
    """Name a failed input on stderr, and in JSON on stdout too."""
    row(failed)
    error(failed.message)


def classification(answer: Classification, *, several: bool = False) -> None:
    """A row of a block of lines: the verdict, the file and its span, then one line a label.

    Args:
        answer: The answer.
        several: Whether any number of labels may fit.
    """
    first, *further = answer.lines(several=several)
    row(answer, first, strong=len(answer.sentence(several=several)))
    text(*further)


def hit(row: Hit) -> None:
    """One line: rank, probability, file, span, tags, copies; with operators that of each phrase."""
    for text_line in row.lines():
        line(text_line, flush=True)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[JsonDict]) -> None:
    """Write the columns of rows as a table.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as problem:
        message = f"cannot write {path}: {problem.strerror}; choose another --csv"
        raise UsageError(message) from problem


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


_ORIGINS = "vlar.failures"


class _Notes(logging.Handler):
    """Prints records to the stderr of the moment, which a progress bar keeps apart from its own."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _ORIGINS:
            error_lines(logging.Formatter().format(record).rstrip())
            return
        text = f"{self._prefix}{as_typed(record.getMessage())}"
        print(plain(text), file=sys.stderr, flush=True)


def _cli_log() -> logging.Logger:
    """The logger of the command line; what it shows does not depend on who configured logging."""
    if not _log.handlers:
        _log.addHandler(_Notes(""))
        _log.propagate = False
        if _log.level == logging.NOTSET:
            _log.setLevel(logging.INFO)
    return _log


def send_log_to_stderr() -> None:
    """Show vlar's own notes (``logging`` name ``vlar``) on stderr, without decoration."""
    logger = logging.getLogger("vlar")
    if logger.handlers:
        return
    logger.addHandler(_Notes("vlar: "))
    logger.setLevel(logging.INFO)
    logger.propagate = False


def set_volume(*, quiet: bool, verbose: bool) -> None:
    """Choose what reaches stderr: errors only, or also what is being done in detail.

    Without either nothing changes, so that options before the verb and after it add up.
    """
    if not (quiet or verbose):
        return
    for logger in (logging.getLogger("vlar"), _cli_log()):
        logger.setLevel(logging.ERROR if quiet else logging.DEBUG)


def set_origins(*, shown: bool) -> None:
    """Choose whether the origin of what a reader reports as a fault of its file reaches stderr."""
    level = logging.DEBUG if shown else logging.INFO
    logging.getLogger(_ORIGINS).setLevel(level)


def is_quiet() -> bool:
    """Return whether only answers and errors are wanted."""
    return not _cli_log().isEnabledFor(logging.INFO)


def facts(data: JsonDict) -> None:
    """A two-column list of names and values."""
    width = max(len(name) for name in data)
    for name, value in data.items():
        line(f"{name.replace('_', ' '):<{width}}  {worded(value)}")
