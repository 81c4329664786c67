"""``vlar query``: find spans of a library by words, or by an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli import inputs, options, output
from vlar.cli.choices import Choices
from vlar.cli.progress import progress

if TYPE_CHECKING:
    from vlar.query.report import QueryReport
    from vlar.types import Hit

MIN_PROBABILITY = 0.05  # vlar.query.plan.MIN_PROBABILITY, without its imports

Query = Annotated[
    str,
    typer.Argument(
        metavar="QUERY",
        help="What to look for: plain words, or phrases joined by AND, OR, NOT, THEN .. WITHIN "
        '10s, LIKE clip.mp4, IN "folder/*", [verb=cut|peel object=apple].',
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FILTER",
        help="A filter: place=gym, path=GLOB, 'start_s>=10', 'added>=DATE'.",
    ),
]
MinProbability = Annotated[
    float,
    typer.Option(
        "--min-probability",
        metavar="P",
        min=0.0,
        max=1.0,
        help="Hide answers below this probability; 0 shows all.",
    ),
]
_RERANKERS = Choices.of_kinds("re-ranker", "reranker", also=("auto", "none"))
Rerank = Annotated[
    str,
    typer.Option(
        "--rerank",
        metavar="NAME",
        autocompletion=_RERANKERS.complete,
        help="How the best candidates are ordered again; 'auto' goes by the model.",
    ),
    _RERANKERS,
]
SearchDevice = Annotated[
    str,
    typer.Option(
        "--search-device", metavar="NAME", help="Where to search: cpu, or cuda with faiss-gpu."
    ),
]


def command(
    library: Annotated[str, typer.Argument(metavar="LIBRARY", help="Made by 'vlar index add'.")],
    text: Query,
    where: Filters = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, help="Answers to show.")] = 10,
    min_probability: MinProbability = MIN_PROBABILITY,
    rerank: Rerank = "auto",
    model: options.LibraryModel = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    search_device: SearchDevice = "cpu",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how the query was read and answered.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Search a library in plain language.

    Answers carry start and end times.

    Examples:
        vlar query holiday.vlar "riding a bike"
        vlar query holiday.vlar '"riding a bike" AND NOT "a street"' --where year=2024
    """
    from vlar.library import Library
    from vlar.query.grammar import QuerySyntaxError
    from vlar.query.plan import make_plan

    try:
        make_plan(text, k, where, min_probability)  # a mistake shows before anything is loaded
    except QuerySyntaxError as problem:
        output.error_lines(problem.picture)
        raise
    reports: list[QueryReport] = []
    Library(library, create=False).close()
    name = model or inputs.own_model(library)
    with progress(f"loading {name}") as shown:
        loaded = inputs.load_model(name, device, dtype)
        shown.stage("searching")
        with Library(library, loaded, create=False, device=search_device) as opened:
            hits = opened.query(
                text,
                k,
                where=where,
                min_probability=min_probability,
                rerank=None if rerank == "none" else rerank,
                report=reports.append,
            )
    for report in reports if explain else ():
        for line in report.lines():
            output.note(f"vlar: {line}")
    for row in hits:
        if as_json:
            output.json_line(row)
        else:
            output.hit(row)
    _note(reports, hits, min_probability)
    return 1 if any(report.damaged for report in reports) else 0


def _note(reports: list[QueryReport], hits: list[Hit], min_probability: float) -> None:
    """What a list of answers does not show: that there are none, or that none is sure."""
    if not hits:
        output.note(f"vlar: {_nothing(reports, min_probability)}")
    elif any(report.weak for report in reports):
        output.note(
            f"vlar: the best match is weak ({max(h.probability for h in hits):.1%}); the library "
            "may not show this"
        )


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
