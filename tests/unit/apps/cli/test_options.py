"""Options that are made from the signatures of verbs, and of requests."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

import vlar
from tests.docs import verbs
from vlar.apps.cli import options
from vlar.apps.cli.verb import verb
from vlar.errors import UnknownNameError
from vlar.options import Choices, Option

COLOURS = Choices("colour", lambda: ("red", "green"))


def _made() -> tuple[typer.Typer, dict[str, object]]:
    app, given = typer.Typer(rich_markup_mode=None), {}

    @verb(app)
    def paint(
        place: Annotated[str, Option("A place of two lines.", "PLACE")],
        more: list[Path] | None = None,
        /,
        *,
        out: Annotated[str, Option("Where it goes; see: here.", "-o FOLDER")],
        coats: Annotated[int, Option("How many.", "1..3")] = 2,
        share: Annotated[float, Option("How much.", "SHARE 0.0..1.0")] = 0.5,
        colour: Annotated[str, Option("Which one", "--paint NAME", choices=COLOURS)] = "red",
        size: Literal["big", "small"] = "big",
        pair: tuple[str, str] | None = None,
        n: Annotated[int, Option("A letter.")] = 1,
        dry: bool = False,
        wash: bool = True,
        device: Annotated[str | None, options.DEVICE] = None,
    ) -> int:
        """Paint a place.

        More text.

        Examples:
            vlar paint wall
        """
        given.update(locals())
        return 0

    return app, given


def test_a_verb_gets_its_options():
    app, given = _made()
    run = CliRunner().invoke
    done = run(app, ["--help"])
    text = " ".join(done.output.split())
    for said in (
        "PLACE A place of two lines. [required]",
        "-o, --out FOLDER Where it goes; see: here. [required]",
        "--coats N How many. [default: 2; 1<=x<=3]",
        "--share SHARE How much. [default: 0.5; 0.0<=x<=1.0]",
        "--paint NAME Which one. One of: red, green. [default: red]",
        "One of: big, small. [default: big]",
        "-n N A letter. [default: 1]",
        "--wash / --no-wash",
        "--device NAME Where the model computes",
        "Examples: vlar paint wall",
    ):
        assert said in text
    assert "--no-dry" not in text
    assert (
        run(app, ["wall", "x", "y", "--out", "o", "--no-wash", "--pair", "a", "b"]).exit_code == 0
    )
    assert given["place"] == "wall"
    assert given["more"] == [Path("x"), Path("y")]
    assert (given["pair"], given["wash"], given["size"]) == (("a", "b"), False, "big")
    assert run(app, ["wall"]).exit_code == 2
    assert run(app, ["wall", "-o", "o", "--coats", "4"]).exit_code == 2
    assert run(app, ["wall", "-o", "o", "--paint", "gren"]).exit_code == 2
    assert run(app, ["wall", "-o", "o", "--size", "bigger"]).exit_code == 2


def test_names_that_are_not_among_the_choices_are_refused():
    COLOURS.check("red")
    with pytest.raises(UnknownNameError):
        COLOURS.check("gren")


def test_the_help_needs_no_docstrings_of_python():
    """With -OO Python drops docstrings; options keep their names and help."""
    main = "import sys; from vlar.apps.cli import main; main()"
    told = [
        subprocess.run(
            [sys.executable, *flags, "-c", main, "index", "add", "--help"],
            capture_output=True, text=True, check=True,
        ).stdout
        for flags in ([], ["-OO"])
    ]  # fmt: skip
    assert told[0] == told[1]
    assert "--retry" in told[0]


@pytest.mark.parametrize("words", [v for v in verbs.verbs() if not verbs.is_group(v)])
def test_every_option_has_a_help_text(words: str):
    bare = [p.name for p in verbs.commands()[words].params if not getattr(p, "help", None)]
    assert not bare


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("adapt", vlar.Model.adapt),
        ("classify", vlar.Model.classify),
        ("index add", vlar.Library.add),
        ("query", vlar.Library.query),
    ],
)
def test_defaults_are_those_of_the_api(words: str, method: Callable[..., object]):
    """An option of the name of an argument of the API has its default too."""
    api = inspect.signature(method).parameters
    options = [p for p in verbs.commands()[words].params if p.param_type_name == "option"]
    shared = [p for p in options if p.name in api]
    assert len(shared) > 3
    unequal = {p.name for p in shared if (p.default or None) != (api[p.name].default or None)}
    assert unequal <= {"zoom", "where"}  # "off" on the command line; may be given several times
