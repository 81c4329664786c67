"""The options on people: ``--who``, ``--zoom``, ``--persons``, ``--detector``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.cli.choices import Choices

if TYPE_CHECKING:
    from vlar.types import JsonDict

_ZOOMS = Choices("zoom", lambda: ("off", "auto", "person"))
Who = Annotated[
    str | None,
    typer.Option(
        "--who",
        metavar="TEXT",
        help="Judge one person: 'the person on the left', 'the man in red', 'person 2'.",
    ),
]
Zoom = Annotated[
    str,
    typer.Option(
        "--zoom",
        metavar="WHEN",
        autocompletion=_ZOOMS.complete,
        help="Zoom in on the person who moves: 'person' always, 'auto' where small in the picture.",
    ),
    _ZOOMS,
]
Detector = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="NAME",
        help="What finds people and things for --who and --zoom: pose, motion, hf:FOLDER, "
        "rfdetr:FILE.",
    ),
]
Persons = Annotated[
    bool | None,
    typer.Option(
        "--persons/--no-persons",
        help="Next to each window, a row for each person in it. Default: the library's own; off in "
        "a new library.",
    ),
]
RowDetector = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="NAME",
        help="What finds people for --persons: pose, motion, hf:FOLDER, rfdetr:FILE.",
    ),
]
WhoInRows = Annotated[
    str | None,
    typer.Option(
        "--who",
        metavar="TEXT",
        help="Only this person of each window: 'the person on the left', 'person 2' (libraries "
        "with --persons).",
    ),
]


def asked(live: str | None, **given: str | None) -> JsonDict:
    """What --who, --zoom and --detector ask for, checked before a model is loaded."""
    from vlar.errors import UsageError

    if given == {"who": None, "zoom": "off", "detector": None}:
        return {}
    if live is not None:
        raise UsageError("--who and --zoom belong to recordings; a stream is judged as a whole")
    from vlar.detecting.focus import make_focus

    make_focus(**given)
    return {**given}
