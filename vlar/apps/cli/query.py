"""``vlar query``: find spans of a library by words, or by an expression."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from vlar import registry
from vlar.apps.cli import inputs, judgements, options, output
from vlar.apps.cli.progress import progress
from vlar.errors import LibraryError
from vlar.formatting import counted
from vlar.library.query.request import QueryRequest
from vlar.options import FILES, Fields, Option

if TYPE_CHECKING:
    from vlar.apps.answers import AnswerFiles
    from vlar.library.query.plan import QueryReport
    from vlar.library.query.rerankers import Reranker
    from vlar.model.model import Model
    from vlar.results import Hits
    from vlar.types import Hit

_ENCODING_S = 5.0  # after an answer


def query(
    library: options.Library,
    text: Annotated[
        str,
        Option(
            "What to look for: plain words, or phrases joined by AND, OR, NOT, "
            "THEN .. WITHIN 10s, DURING, LIKE clip.mp4, LIKE picture.jpg, IN "
            '"folder/*", [verb=cut|peel object=apple], says: words of a '
            'caption, says "words in sound", shows "words on screen".',
            "QUERY",
        ),
    ],
    /,
    *,
    asked: Annotated[dict[str, Any], Fields(QueryRequest)],
    rerank_weight: Annotated[float | None, options.RERANK_WEIGHT] = None,
    model: options.OwnModel = None,
    machine: options.Machine,
    cut: Annotated[
        Path | None, Option("Write each found span as a file of its own.", "FOLDER", FILES)
    ] = None,
    html: Annotated[Path | None, Option("A page with pictures inside.", group=FILES)] = None,
    csv: Annotated[Path | None, Option("A table: .csv or .parquet.", group=FILES)] = None,
    explain: Annotated[bool, Option("Show how the query was read and answered.")] = False,
) -> int:
    """Search a library in plain language.

    Answers carry start and end times.

    Examples:
        vlar query holiday.vlar '"riding a bike" AND NOT "a street"' --cut found
        vlar query holiday.vlar "riding a bike" --yes 2 --no 1
    """
    from vlar.library.library import Library

    yes, no, rerank = (asked.pop(name) for name in ("yes", "no", "rerank"))
    asked["miss"] = asked["miss"] and judgements.share(asked["miss"])
    request = QueryRequest(text, **asked)
    _check(request)  # a mistake shows before anything is loaded
    files = _files(cut, html, csv)
    Library(library, create=False).close()
    reranker: str | Reranker | None = None if rerank == "none" else rerank
    if rerank.partition(":")[0] in registry.names("answerer"):
        opinions = registry.shelf("apps.verbs.second_opinion", "--rerank")
        reranker = opinions.reranker(rerank, rerank_weight)
    reports: list[QueryReport] = []
    name = model or inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        loaded = inputs.load_model(name, machine.device, machine.dtype, library)
        shown.stage("searching")
        with Library(library, loaded, create=False) as opened:
            request = judgements.judged(opened, request, yes or [], no or [])
            hits = opened.search(replace(request, rerank=reranker, report=reports.append))
    _explain(reports, explain)
    for hit in hits:
        output.row(hit, *hit.lines())
    if hits.guarantee is None:
        _note(reports, hits, request.min_probability)
    judgements.note(hits)
    _encode(library, loaded, hits)
    failed = 0 if files is None else _write(files, text, hits)
    return 1 if failed or any(r.damaged or r.rerank_failed for r in reports) else 0


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


def _files(*paths: Path | None) -> AnswerFiles | None:
    """The files that are asked for, checked; None where none are."""
    if not any(paths):
        return None
    from vlar.apps.answers import AnswerFiles

    files = AnswerFiles(*paths)
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
            sound = ", without its sound, which cannot be read" if row.audio == "lost" else ""
            output.note(f"vlar: {row.path}: {output.span(row)}{sound}")
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
        help_text = "the library may not show this, or a larger model finds it: vlar models"
        output.note(f"vlar: the best match is weak ({which}); {help_text}")


def _nothing(reports: list[QueryReport], min_probability: float) -> str:
    best = max(
        (r.best_probability for r in reports if r.best_probability is not None), default=None
    )
    if best is None:
        return (
            "nothing in the library matches; use other words, loosen --where or IN, or add videos"
        )
    return (
        f"no match above {min_probability:.1%}; the best has {best:.1%} "
        "(--min-probability 0 shows all)"
    )
