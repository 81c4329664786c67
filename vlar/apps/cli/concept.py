"""``vlar concept``: names for what judgements of hits taught, used like phrases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import inputs, judgements, options, output
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import verb
from vlar.errors import UsageError
from vlar.options import Option

if TYPE_CHECKING:
    from vlar.language.concept import Concept

_EXAMPLES = (
    'vlar concept save holiday.vlar "our street" "riding a bike" --yes 2 --no 1',
    "vlar concept list holiday.vlar",
)
app = typer.Typer(
    help="Keep what judgements of hits taught, under a name for queries.",
    epilog="\b\nExamples:\n  " + "\n  ".join(_EXAMPLES),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@verb(app)
def save(
    library: options.Library,
    name: Annotated[str, Option("How queries write it.")],
    text: Annotated[
        str, Option("The phrase whose hits are judged; a concept learns more.", "PHRASE")
    ],
    /,
    *,
    yes: Annotated[
        list[str] | None,
        Option(
            "A hit of the plain list that shows what is meant (3), or its row (row:57).", "NUMBER"
        ),
    ] = None,
    no: Annotated[list[str] | None, Option("A hit that does not show it.", "NUMBER")] = None,
    model: options.OwnModel = None,
) -> int:
    """Keep what judgements of the hits of a phrase teach.

    Examples:
        vlar concept save holiday.vlar "our street" "riding a bike" --yes 2 --no 1
        vlar concept save holiday.vlar forklift "a forklift" --yes 1 --yes row:57
    """
    from vlar.library.library import Library
    from vlar.library.query.plan import QueryRequest

    if not (yes or no):
        raise UsageError("a concept is learned from judgements: give --yes and --no")
    spec = model or inputs.own_model(library)
    with progress(f"loading {spec}") as shown:
        loaded = inputs.load_model(spec, None, None, library)
        shown.stage("searching")
        with Library(library, loaded, create=False) as opened:
            plain = QueryRequest(text, min_probability=0.0)
            judged = judgements.judged(opened, plain, yes or [], no or [])
            concept = opened.concepts.save(name, text, yes=judged.yes, no=judged.no)
    _show(concept)
    return 0


@verb(app, "list")
def list_(library: options.Library, /) -> int:
    """List the concepts of a library.

    Examples:
        vlar concept list holiday.vlar
        vlar concept list holiday.vlar --json
    """
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        for concept in opened.concepts.values():
            _show(concept)
    return 0


@verb(app)
def remove(
    library: options.Library, name: Annotated[str, Option("How queries write it.")], /
) -> int:
    """Forget a concept.

    Examples:
        vlar concept remove holiday.vlar "our street"
        vlar concept remove holiday.vlar forklift --quiet
    """
    from vlar.library.library import Library

    with Library(library, create=False) as opened:
        opened.concepts.remove(name)
    output.note(f"vlar: {name} is forgotten")
    return 0


def _show(concept: Concept) -> None:
    counts = f"{concept.yes} yes, {concept.no} no"
    output.row(concept.to_dict(), f"{concept.name}  ({concept.text}; {counts})")
