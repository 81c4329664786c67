"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from vlar import registry

if TYPE_CHECKING:
    from vlar.types import JsonDict


@dataclass(frozen=True)
class Choices:
    """The names that an option takes; they are looked up when they are needed, not before.

    Used as metadata of an option: ``Annotated[str, typer.Option("--method"), METHODS]``.

    Attributes:
        what: What a message calls one of them: ``method``.
        known: Gives the names.
    """

    what: str
    known: Callable[[], Iterable[str]]

    @staticmethod
    def of_kinds(what: str, *kinds: str, also: Iterable[str] = ()) -> Choices:
        """The names of all parts of some kinds, and ``also`` others, which come first."""
        first = tuple(also)
        return Choices(what, lambda: [*first, *(n for k in kinds for n in registry.names(k))])

    def names(self) -> list[str]:
        """All names, each once."""
        return list(dict.fromkeys(self.known()))

    def listing(self) -> str:
        """One sentence for the help."""
        return f"One of: {', '.join(self.names())}."

    def check(self, value: str | list[str] | None) -> None:
        """Refuse values that are not names; ``NAME:ARGUMENT`` is checked by its name.

        Raises:
            UnknownNameError: a value is not a name; the message names the nearest.
        """
        names = self.names()
        for one in [value] if isinstance(value, str) else value or ():
            name = one.partition(":")[0]
            if name not in names and name.partition("+")[0] not in names:
                raise registry.unknown_name(self.what, name, names)

    def complete(self, incomplete: str) -> list[str]:
        """The names that begin as the text on the command line does."""
        return [name for name in self.names() if name.startswith(incomplete)]


_DTYPES = Choices(
    "number type",
    lambda: ("auto", "float32", "bf16", "int8", "bfloat16", "float16", "fp32", "fp16"),
)

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace an existing model.")]
Model: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="NAME", help="A name from 'vlar models', or the folder of a model."
    ),
]
LibraryModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Default: the library's own; 'lite' for a new library.",
    ),
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where the model computes: cpu, cuda, cuda:1. Default: by the model.",
    ),
]
Dtype: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        autocompletion=_DTYPES.complete,
        help="Precision that the model computes in; bf16 and int8 are faster for CLIP models on "
        "a CPU. Default: by the model.",
    ),
    _DTYPES,
]
Support: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SUPPORT",
        help="A folder with one folder of recordings per label, or a CSV file with the columns "
        "path,label[,start_s,end_s].",
    ),
]
Recordings: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Files, or folders that are searched for recordings."),
]
Retry = Annotated[
    bool, typer.Option("--retry", help="Read files again that crashed or took too long before.")
]
Shots = Annotated[
    bool,
    typer.Option(
        "--shots",
        help="Judge a film with cuts shot by shot (once before: vlar models get shots).",
    ),
]


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
    """Values of --who, --zoom and --detector, checked before a model is loaded."""
    from vlar.errors import UsageError

    if given == {"who": None, "zoom": "off", "detector": None}:
        return {}
    if live is not None:
        raise UsageError("--who and --zoom belong to recordings; a stream is judged as a whole")
    from vlar.people.focus import make_focus

    make_focus(**given)
    return {**given}
