"""The application: its verbs, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
import typer

from vlar import __version__
from vlar.cli import adapt, check, classify, demo, doctor, index, models, output, query
from vlar.errors import VlarError

EXIT_FINE, EXIT_SOME_FAILED, EXIT_NOTHING_USABLE, EXIT_INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="vlar",
    help="Recognise actions in videos with plain words: classify, adapt, query. Works offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"vlar {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Options that stand before the verb."""


for verb in (classify, adapt, query, check, models, doctor, demo):
    app.command(name=verb.__name__.rpartition(".")[2])(verb.command)
app.add_typer(index.app, name="index")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 fine, 1 some failed, 2 nothing usable."""
    output.send_log_to_stderr()
    try:
        code = typer.main.get_command(app).main(
            args=list(arguments), prog_name="vlar", standalone_mode=False
        )
        sys.stdout.flush()
    except click.exceptions.Abort:
        output.note("stopped.")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        output.note("stopped. What was finished is kept; run the same command again to go on.")
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return EXIT_NOTHING_USABLE
    except VlarError as error:
        output.error(error.message)
        return EXIT_NOTHING_USABLE
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; keep the interpreter's own flush quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE
    return code if isinstance(code, int) else EXIT_FINE
