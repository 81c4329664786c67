"""The application and its verbs."""

from __future__ import annotations

from types import ModuleType

import typer

from vlar.apps.cli import (
    adapt,
    calibrate,
    classify,
    demo,
    describe,
    doctor,
    eval,  # noqa: A004 - the verb is called so
    evaluate,
    export,
    index_maintenance,
    index_views,
    models,
    output,
    query,
    recordings,
    report,
    review,
    serve,
    timeline,
    train,
)
from vlar.apps.cli.verb import verb
from vlar.version import __version__

app = typer.Typer(
    name="vlar",
    help="Recognise actions in videos with plain words: classify, adapt, query. Works offline.",
    no_args_is_help=True,
    # Plain help: in markup, what stands in [brackets] is taken for a style and vanishes.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(value: bool) -> None:
    if value:
        output.line(f"vlar {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_print_version
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print answers and errors only."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Print what is being done."),
) -> None:
    """Options that stand before the verb."""
    output.send_log_to_stderr()
    output.set_volume(quiet=quiet, verbose=verbose)


_OLD = (classify, timeline, adapt, calibrate, evaluate, train, eval, report, query, review)
_VERBS = (
    *(serve.watch, serve.serve, serve.mcp, serve.skill, describe, recordings.bundle),
    *(recordings.check, recordings.shots, recordings.pose, recordings.events, export),
    *(doctor.doctor, demo.demo),
)
for each in (*_OLD, *_VERBS):
    if isinstance(each, ModuleType):
        verb(app, each.__name__.rpartition(".")[2])(each.command)
    else:
        verb(app)(each)
# Both add their verbs to the application of ``vlar index``.
assert index_maintenance.app is index_views.app
app.add_typer(index_views.app, name="index")
app.add_typer(models.app, name="models")
