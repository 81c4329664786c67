"""``vlar query``: find spans of a library by words, or by an expression.

Options:
    text (QUERY): What to look for: plain words, or phrases joined by AND, OR, NOT, THEN .. WITHIN
        10s, DURING, LIKE clip.mp4, LIKE picture.jpg, IN "folder/*", [verb=cut|peel object=apple],
        ``says: words of a caption``, ``says "words in sound"``, ``shows "words on screen"``.
    who (TEXT): Only this person of each window: 'the person on the left', 'person 2' (libraries
        with --persons).
    search_device (rare NAME): Where to search: cpu, or cuda with faiss-gpu.
    cut (FOLDER): Write each found span as a file of its own.
    exact (rare): Cut files begin as found; without it, with a key frame.
    sheet: A picture of all answers: .png, .jpg, .webp.
    html: A page with pictures inside.
    csv: A table: .csv or .parquet.
    edl (rare): An edit list (CMX 3600).
    m3u (rare): A play list of the spans.
    otio (rare): A timeline of OpenTimelineIO.
    pictures (rare --inline/--no-inline): Pictures in the terminal. Default: where it is known to
        show them.
    explain: Show how the query was read and answered.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from vlar import registry
from vlar.apps.cli import inputs, judgements, options, output, shelves
from vlar.apps.cli.progress import progress
from vlar.errors import LibraryError, UsageError
from vlar.formatting import counted
from vlar.library.query.request import QueryRequest
from vlar.options import Fields

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlar.apps.answers import AnswerFiles
    from vlar.library.query.plan import QueryReport
    from vlar.library.query.rerankers import Reranker
    from vlar.model.model import Model
    from vlar.results import Hits
    from vlar.types import Hit

KITTY, ITERM, SIXEL = "kitty", "iterm2", "sixel"
WIDTH = 200  # pixels
_ENCODING_S = 5.0  # after an answer
_CHUNK = 4096
_COLOURS = 64
_ESC, _END = "\x1b", "\x1b\\"


def protocol(environment: Mapping[str, str] | None = None) -> str | None:
    """The protocol of a terminal that is sure to have one, by its environment; else None.

    >>> protocol({"TERM": "xterm-kitty"}), protocol({"TERM": "xterm-256color"})
    ('kitty', None)
    """
    variables = os.environ if environment is None else environment
    term, program = variables.get("TERM", ""), variables.get("TERM_PROGRAM", "")
    if "TMUX" in variables or term.startswith(("screen", "tmux")):
        return None  # it would have to pass them on
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return KITTY
    if program in ("iTerm.app", "WezTerm") or variables.get("LC_TERMINAL") == "iTerm2":
        return ITERM
    if "sixel" in term or term.startswith(("foot", "mlterm")):
        return SIXEL
    return None


def wanted(asked: bool | None) -> str | None:
    """The protocol to use on stdout; None for no pictures.

    Args:
        asked: ``--inline`` or ``--no-inline``; None where neither was given.

    Raises:
        UsageError: asked for, and stdout is not a terminal that can.
    """
    if asked is False or (asked is None and not sys.stdout.isatty()):
        return None
    graphics = protocol() if sys.stdout.isatty() else None
    if asked and graphics is None:
        raise UsageError(
            "--inline: the output is not a terminal that is known to show pictures (kitty, "
            "Ghostty, iTerm2, WezTerm, foot, mlterm; not in tmux); use --sheet FILE.png or --html"
        )
    return graphics


def show(picture: Image, kind: str) -> None:
    """Print a picture on stdout and end the line."""
    output.terminal_picture("".join(encoded(picture, kind)))


def encoded(picture: Image, kind: str) -> Iterator[str]:
    """The characters that make a terminal show a picture."""
    if kind == SIXEL:
        yield from _sixel(picture)
        return
    data = io.BytesIO()
    picture.save(data, "PNG")
    text = base64.b64encode(data.getvalue()).decode()
    if kind == ITERM:
        yield f"{_ESC}]1337;File=inline=1;size={len(data.getvalue())}:{text}\a"
        return
    for start in range(0, len(text), _CHUNK):
        more = int(start + _CHUNK < len(text))
        head = f"a=T,f=100,q=2,m={more}" if start == 0 else f"m={more}"
        yield f"{_ESC}_G{head};{text[start : start + _CHUNK]}{_END}"


def _sixel(picture: Image) -> Iterator[str]:
    """Bands of six rows; in each band, each colour draws its own pixels."""
    small = picture.convert("RGB").quantize(_COLOURS)
    width, height = small.size
    palette = small.getpalette() or []
    pixels = small.tobytes()
    yield f'{_ESC}Pq"1;1;{width};{height}'
    for colour in range(len(palette) // 3):
        shares = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
        yield f"#{colour};2;{';'.join(map(str, shares))}"
    for top in range(0, height, 6):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        for colour in sorted(set(b"".join(rows))):
            bits = (
                sum((row[x] == colour) << bit for bit, row in enumerate(rows)) for x in range(width)
            )
            yield f"#{colour}{_packed(bits)}$"
        yield "-"
    yield _END


def _packed(bits: Iterator[int]) -> str:
    """Sixels of one colour, equal ones in a row as a count."""
    text: list[str] = []
    last, count = -1, 0
    for value in (*bits, -1):
        if value == last:
            count += 1
            continue
        if count:
            letter = chr(63 + last)
            text.append(f"!{count}{letter}" if count > 3 else letter * count)
        last, count = value, 1
    return "".join(text)


def query(
    library: str,
    text: str,
    /,
    *,
    asked: Annotated[dict[str, Any], Fields(QueryRequest)],
    who: str | None = None,
    rerank_k: int = 5,
    rerank_weights: str | None = None,
    model: str | None = None,
    device: str | None = None,
    dtype: options.Dtype = None,
    search_device: str = "cpu",
    cut: Path | None = None,
    exact: bool = False,
    sheet: Path | None = None,
    html: Path | None = None,
    csv: Path | None = None,
    edl: Path | None = None,
    m3u: Path | None = None,
    otio: Path | None = None,
    pictures: bool | None = None,
    explain: bool = False,
) -> int:
    """Search a library in plain language.

    Answers carry start and end times.

    Examples:
        vlar query holiday.vlar '"riding a bike" AND NOT "a street"' --cut found
        vlar query holiday.vlar "riding a bike" --yes 2 --no 1
    """
    from vlar.library.library import Library

    yes, no, rerank = (asked.pop(name) for name in ("yes", "no", "rerank"))
    asked["where"] = [*(asked["where"] or []), *([] if who is None else [f"who={who}"])]
    asked["miss"] = asked["miss"] and judgements.share(asked["miss"])
    request = QueryRequest(text, **asked)
    _check(request)  # a mistake shows before anything is loaded
    files = _files(cut, exact, sheet, html, csv, edl, m3u, otio)
    shows = None if output.is_json() else wanted(pictures)
    Library(library, create=False).close()
    reranker: str | Reranker | None = None if rerank == "none" else rerank
    if rerank.partition(":")[0] in registry.names("answerer"):
        opinions = shelves.load("apps.verbs.second_opinion", "--rerank")
        reranker = opinions.reranker(rerank, rerank_k, rerank_weights)
    reports: list[QueryReport] = []
    name = model or inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        loaded = inputs.load_model(name, device, dtype, library)
        shown.stage("searching")
        with Library(library, loaded, create=False, device=search_device) as opened:
            request = judgements.judged(opened, request, yes or [], no or [])
            hits = opened.search(replace(request, rerank=reranker, report=reports.append))
    _explain(reports, explain)
    _print(hits, shows)
    if hits.guarantee is None:
        _note(reports, hits, request.min_probability)
    judgements.note(hits)
    _encode(library, loaded, hits)
    failed = 0 if files is None else _write(files, text, hits)
    unranked = reranker is None and rerank != "none"  # it was asked for and cannot be
    return 1 if failed or unranked or any(r.damaged or r.rerank_failed for r in reports) else 0


def _encode(library: str, model: Model, hits: Hits) -> None:
    """Encode the windows of a lazily upgraded library that were answers, for a few seconds."""
    from vlar.library.library import Library

    rows = [hit.row for hit in hits if hit.origin == "mapped"]
    if not rows:
        return
    with suppress(LibraryError), Library(library, model, create=False) as opened:
        report = opened.upgrade(lazy=True, minutes=_ENCODING_S / 60, rows=rows)
        if report.rows:
            windows = counted(report.rows, "windows")
            output.note(f"vlar: {windows} of these answers are encoded now; ask again")


def _explain(reports: list[QueryReport], explain: bool) -> None:
    """Print how the query was answered, where asked for, and the remarks of the re-ranker."""
    for report in reports:
        for line in report.lines():
            output.note(f"vlar: {line}") if explain else output.detail(line)
        for line in (*report.rerank_notes, *report.notes):
            output.note(f"vlar: {line}")


def _files(cut: Path | None, exact: bool, *lists: Path | None) -> AnswerFiles | None:
    """The files that are asked for, checked; None where none are."""
    if not (cut or exact or any(lists)):
        return None
    from vlar.apps.answers import AnswerFiles

    files = AnswerFiles(cut, exact, *lists)
    files.check()
    return files


def _check(request: QueryRequest) -> None:
    from vlar.errors import DecodeError
    from vlar.library.query.grammar import Like, QuerySyntaxError, leaves
    from vlar.library.query.plan import make_plan

    try:
        tree = make_plan(request).tree
    except QuerySyntaxError as problem:
        output.error_lines(problem.picture)
        raise
    for failure in inputs.absent([leaf.path for leaf in leaves(tree) if isinstance(leaf, Like)]):
        raise DecodeError(failure.message)


def _print(hits: list[Hit], shows: str | None) -> None:
    from vlar.types import Failure

    drawn: Iterable[Image | Failure | None] = [None] * len(hits)
    if shows:
        from vlar.apps.answers import pictures

        drawn = pictures(hits, WIDTH)
    for row, picture in zip(hits, drawn, strict=True):
        output.row(row, *row.lines())
        if shows and picture is not None and not isinstance(picture, Failure):
            show(picture, shows)


def _write(files: AnswerFiles, query: str, hits: list[Hit]) -> int:
    """Write the files that were asked for; the number of hits without a cut or a picture."""
    from vlar.media.video.cut import Cut
    from vlar.types import Failure

    failed = 0
    for row in files.write(query, hits):
        if isinstance(row, Failure):
            failed += 1
            output.failure(row)
        elif isinstance(row, Cut):
            output.row(row)
            how = "exact" if row.exact else "from a key frame on"
            sound = ", without its sound, which cannot be read" if row.audio == "lost" else ""
            output.note(f"vlar: {row.path}: {output.span(row)}, {how}{sound}")
        else:
            output.note(f"vlar: {row.what} written to {row.path}")
    return failed


def _note(reports: list[QueryReport], hits: Hits, min_probability: float) -> None:
    """Print that nothing was found, or that no answer is sure."""
    if not hits:
        output.note(f"vlar: {_nothing(reports, min_probability)}")
    elif hits.weak:
        least = f"{max(hit.probability for hit in hits):.1%}"
        which = f"its least sure phrase has {least}" if hits[0].parts else least
        output.note(f"vlar: the best match is weak ({which}); the library may not show this")


def _nothing(reports: list[QueryReport], min_probability: float) -> str:
    best = max(
        (r.best_probability for r in reports if r.best_probability is not None), default=None
    )
    if best is None:
        return "no window of the library matches; loosen --where or IN, or add videos"
    return (
        f"no match above {min_probability:.1%}; the best has {best:.1%} "
        "(--min-probability 0 shows all)"
    )
