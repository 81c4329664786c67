"""A field of a request is declared once: every face takes its type, default, help and group."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from tests.refusals import refused
from vlar.apps.cli.verb import verb
from vlar.errors import UnknownNameError
from vlar.model.requests import AdaptRequest, ClassifyRequest
from vlar.options import GROUPS, TIME, Fields, Option, body_field, field_of, fields_of, with_options


@dataclass(frozen=True)
class Paced(AdaptRequest):
    """A request with one more option, which is written here and nowhere else."""

    pace_s: Annotated[
        float, Option("Seconds from one example to the next.", "S 0.0..9.0", TIME)
    ] = 1.5
    shy: Annotated[bool, Option("Say less.", "rare", remote=False)] = False


@pytest.fixture
def made() -> tuple[typer.Typer, list[dict[str, Any]]]:
    app, calls = typer.Typer(rich_markup_mode=None), []

    @verb(app)
    def learn(*, asked: Annotated[dict[str, Any], Fields(Paced)]) -> int:
        """Learn.

        Examples:
            vlar learn
        """
        calls.append(asked)
        return 0

    return app, calls


def test_a_new_field_is_an_option_of_the_command_line(
    made: tuple[typer.Typer, list[dict[str, Any]]],
):
    app, calls = made
    run = CliRunner().invoke
    said = " ".join(run(app, ["--help"]).output.split())
    panel = said.partition("Time:")[2].partition("Machine:")[0]
    assert "--pace-s S Seconds from one example to the next." in panel
    assert "[default: 1.5; 0.0<=x<=9.0]" in panel
    assert run(app, ["--pace-s", "2", "--shots", "3"]).exit_code == 0
    request = Paced(**{**calls[-1], "objectives": (), "settings": {}})
    assert (request.pace_s, request.shots, request.method) == (2.0, 3, "auto")
    assert run(app, ["--pace-s", "99"]).exit_code == 2  # the control: its limits hold


def test_a_verb_takes_some_fields_of_a_request():
    app, calls = typer.Typer(rich_markup_mode=None), []

    @verb(app)
    def learn(*, asked: Annotated[dict[str, Any], Fields(Paced, ("pace_s", "shots"))]) -> int:
        """Learn."""
        calls.append(asked)
        return 0

    run = CliRunner().invoke
    assert run(app, ["--pace-s", "2"]).exit_code == 0
    assert calls == [{"pace_s": 2.0, "shots": None}]
    assert run(app, ["--method", "auto"]).exit_code == 2  # the control: no other field


def test_what_is_rarely_needed_is_in_the_last_panel(made: tuple[typer.Typer, list[dict[str, Any]]]):
    app, calls = made
    run = CliRunner().invoke
    usual, _, rare = run(app, ["--help"]).output.partition("Rarely needed:")
    assert {"--seed", "--from", "--shy"} <= set(rare.split())
    assert not {"--seed", "--from", "--shy"} & set(usual.split())
    assert run(app, ["--shy", "--seed", "7", "--set", "epochs=3"]).exit_code == 0
    assert (calls[-1]["shy"], calls[-1]["seed"], calls[-1]["settings"]) == (True, 7, ["epochs=3"])
    assert run(app, ["--seed", "much"]).exit_code == 2
    assert run(app, ["--balance", "adjsut"]).exit_code == 2


def test_a_new_field_is_one_of_a_body_and_of_python():
    @with_options(Paced)
    class Body(BaseModel):
        name: str

    row = Body.model_fields["pace_s"]
    assert (row.default, row.description) == (1.5, "Seconds from one example to the next.")
    assert "shy" not in Body.model_fields  # the control: it is not for other machines
    assert "tree" not in Body.model_fields  # nor is what names a file
    assert body_field(Paced, "pace_s").default == 1.5
    assert replace(Paced(), pace_s=2.0).pace_s == 2.0


def test_options_of_requests_are_complete():
    for request in (AdaptRequest, ClassifyRequest):
        for row in fields_of(request):
            assert row.option.help.endswith("."), row
            assert row.option.group in ("", *GROUPS)
    assert field_of(AdaptRequest, "unknown").default == "familiarity"
    refused(UnknownNameError, "did you mean 'shots'", field_of, AdaptRequest, "shot")
