"""The application and its verbs."""

from __future__ import annotations

import typer

from vlar.apps.cli import (
    adapt,
    agreement,
    classify,
    demo,
    describe,
    doctor,
    ethogram,
    evaluate,
    index,
    models,
    output,
    query,
    recordings,
    review,
    serve,
    timeline,
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


_VERBS = (
    *(classify.classify, timeline.timeline, adapt.adapt, adapt.calibrate, evaluate.evaluate),
    *(adapt.train, evaluate.eval_, evaluate.report, query.query, review.review, serve.watch),
    *(ethogram.ethogram, agreement.agreement),
    *(serve.serve, serve.mcp, serve.skill, describe.describe, recordings.bundle),
    *(recordings.check, recordings.shots, recordings.pose, recordings.events, models.export),
    *(doctor.doctor, demo.demo),
)
for each in _VERBS:
    verb(app)(each)
app.add_typer(index.app, name="index")
app.add_typer(models.app, name="models")
