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
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vlar.errors import UsageError
from vlar.formatting import clock, worded

if TYPE_CHECKING:
    from pathlib import Path

    from vlar.types import Classification, Failure, Hit, JsonDict, Prediction

# Categories of Unicode: control, format (directions of writing), half of a surrogate pair, ends of
# lines and paragraphs. Joiners are format characters too; emoji and Persian need them.
_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
_BOLD, _NORMAL = "\x1b[1m", "\x1b[0m"
_log = logging.getLogger("vlar.apps.cli")
_FITS = 0.5  # probability from which a label of several is part of the verdict
_BODY = 0.1  # visible share of a body below which it is not seen
_NEARLY = 0.2  # from which it may fit by itself: four times the prior of a label among several


class HasDict(Protocol):
    """A result row."""

    def to_dict(self) -> JsonDict: ...


def plain(text: str) -> str:
    r"""A text without anything that a terminal obeys: control characters, line ends, directions.

    They are written as in Python: ``\x1b``, ``\n``, ``\u202e``. Letters of all languages, emoji and
    spaces stay.

    >>> plain("a\x1b[2J\u202eb")
    'a\\x1b[2J\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if _is_shown(letter)
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def _is_shown(letter: str) -> bool:
    return unicodedata.category(letter) not in _OBEYED or letter in _JOINERS


def line(text: str, *, flush: bool = False, strong: int = 0) -> None:
    """One line of stdout.

    Args:
        text: The line.
        flush: Show it at once, also in a pipe.
        strong: How many characters at its end a terminal shows in bold; 0 for none.
    """
    if strong and has_colours():
        print(f"{plain(text[:-strong])}{_BOLD}{plain(text[-strong:])}{_NORMAL}", flush=flush)
        return
    print(plain(text), flush=flush)


def has_colours() -> bool:
    """Return whether stdout is a terminal with bold and colours, and nobody switched them off.

    ``NO_COLOR`` (https://no-color.org) with any value but the empty one switches them off.
    """
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout.isatty()


def block(text: str) -> None:
    """Several lines of stdout, as a report has them."""
    for each in text.split("\n"):
        line(each)
    sys.stdout.flush()


def terminal_picture(codes: str) -> None:
    """A picture as control codes, which vlar has made itself, and the end of the line."""
    print(codes, flush=True)


def json_line(row: HasDict | JsonDict) -> None:
    """One JSON object on one line of stdout. What a terminal obeys is escaped as JSON does."""
    data = row if isinstance(row, dict) else row.to_dict()
    text = json.dumps(data, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(each if _is_shown(each) else json.dumps(each)[1:-1] for each in text)
    print(text, flush=True)


def note(text: str) -> None:
    """A remark of one line for the person at the terminal; ``--quiet`` hides it."""
    _cli_log().info("%s", text)


def detail(text: str) -> None:
    """Log the current step, for ``--verbose``."""
    _cli_log().debug("vlar: %s", text)


def error(text: str) -> None:
    """An error as one line."""
    _cli_log().error("vlar: %s", text)


def error_lines(text: str) -> None:
    """Log the further lines of an error: a traceback, a query with its caret."""
    for each in text.split("\n"):
        _cli_log().error("%s", each)


def failure(row: Failure, as_json: bool) -> None:
    """Name a failed input on stderr, and in JSON on stdout too."""
    if as_json:
        json_line(row)
    error(row.message)


def classification(row: Classification, *, several: bool = False) -> None:
    """A block of lines: the file, its span and the verdict, then one line a label.

    Args:
        row: The answer.
        several: Whether any number of labels may fit.
    """
    said, alone = verdict(row, several=several), row.verdict is not None
    said += _lost(row.lost)
    first = f"{row.path}  {clock(row.start_s)} to {clock(row.end_s)}  {said}"
    line(first, flush=alone, strong=len(said))
    for fact in [*_about(row), *_advice(row, said, several=several)]:
        line(f"  {fact}", flush=alone)
    if alone:
        return
    for p in row.predictions:
        line(f"  {p.probability:6.1%}  {p.label}")
    for p in row.coarse:
        line(f"  {p.probability:6.1%}  {p.label} (all kinds)")
    if row.second_opinion:
        line(f"  {second_opinion(row.second_opinion)}")
    line(f"  {row.unknown_probability:6.1%}  (unknown)", flush=True)


def _advice(row: Classification, said: str, *, several: bool) -> list[str]:
    """One line on an unsure answer: what competes, whether a body was seen, and what helps."""
    if not said.startswith(("unsure", "unknown")) or several:
        return []
    near = [p.label for p in row.predictions[:2] if p.probability >= _NEARLY]
    facts = [f"{' and '.join(near)} compete"] if len(near) > 1 else []
    if row.body is not None:
        shown = "no body is seen" if row.body < _BODY else "a body is seen"
        facts.append(shown)
    others = "the labels it may be instead" if row.verdict else "fewer labels"
    facts.append(f"give {others}, or three examples of each: vlar adapt")
    return ["; ".join(facts)]


def second_opinion(facts: Mapping[str, Any]) -> str:
    """Opinion of another answerer, or the reason why it has none."""
    name = facts["answerer"]
    if facts.get("error"):
        return f"{name} has no opinion: {facts['error']}"
    if facts.get("skipped"):
        return f"{name} was not asked: the best label leads by enough"
    best = facts["label"]
    share = f"{name} prefers {best}, {percent(facts['probability'][best])} of its options"
    return f"{share}, not surely enough to count" if facts.get("unsure") else share


def _about(row: Classification) -> list[str]:
    """Person of an answer, and further remarks."""
    facts = [f"note: {remark}" for remark in row.notes]
    if row.person is None:
        return facts
    left, top, right, bottom = (f"{side:.0%}" for side in row.person.box)
    where = f"{left} to {right} across, {top} to {bottom} down"
    return [f"person {row.person.number} of {row.person.of} from the left: {where}", *facts]


def verdict(row: Classification, *, several: bool = False) -> str:
    """The answer in words; see ``classification``."""
    best = row.predictions[0]
    if row.verdict == "yes":
        return f"yes: {best.label} ({percent(best.probability)})"
    if row.verdict is not None:
        return f'{row.verdict} ({percent(best.probability)} for "{best.label}")'
    if several:
        fitting = [p for p in row.predictions if p.probability >= _FITS]
        listed = ", ".join(f"{p.label} {percent(p.probability)}" for p in fitting)
        return listed or _nearly(row.predictions) or _none_fits(best)
    if row.unknown:
        return _none_fits(best)
    kind = row.coarse[0] if row.coarse else None
    if kind and best.probability < _FITS <= kind.probability:
        likely = f"most likely {best.label}, {percent(best.probability)}"
        return f"some kind of {kind.label}, {percent(kind.probability)} ({likely})"
    if row.unknown_probability > best.probability:
        unknown = percent(row.unknown_probability)
        return f"unsure: {best.label} {percent(best.probability)}, unknown {unknown}"
    return f"{best.label}, {percent(best.probability)}"


def _nearly(found: Sequence[Prediction]) -> str:
    """Labels that may each fit, though none is likely to; empty where all are far."""
    near = [f"{p.label} {percent(p.probability)}" for p in found if p.probability >= _NEARLY]
    return f"unsure: perhaps {', '.join(near)}" if near else ""


def _none_fits(best: Prediction) -> str:
    return f"unknown: nothing in the list fits (best: {best.label}, {percent(best.probability)})"


def _lost(share: float) -> str:
    """A remark where frames are missing or may be wrong."""
    return f"  ({percent(share)} of its frames are lost)" if share else ""


def percent(probability: float) -> str:
    """A probability for a sentence.

    >>> percent(0.634)
    '63 %'
    """
    return f"{100 * probability:.0f} %"


def hit(row: Hit) -> None:
    """One line: rank, probability, file, span, tags, copies; with operators that of each phrase."""
    tags = "".join(f"  {key}={value}" for key, value in sorted(row.tags.items()))
    span = f"{clock(row.start_s)} to {clock(row.end_s)}"
    span += "" if row.track is None else f"  person {row.track}"
    span += f"  ({row.stated})" if row.parts else ""
    copies = (f"{c.path} {clock(c.start_s)} to {clock(c.end_s)}" for c in row.also)
    also = f"  (the same in {', '.join(copies)})" if row.also else ""
    alone = "" if row.parts else f" {row.stated:>6}"
    line(
        f"{row.rank:3}.{alone}  {row.path}  {span}{tags}{also}{_lost(row.lost)}",
        flush=not row.caption,
    )
    if row.caption:
        line(f"      {row.caption}", flush=True)


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
        print(plain(f"{self._prefix}{record.getMessage()}"), file=sys.stderr, flush=True)


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
