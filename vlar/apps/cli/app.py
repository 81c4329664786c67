"""The application and its verbs."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from vlar.apps.cli import (
    adapt,
    agreement,
    classify,
    concept,
    demo,
    doctor,
    index,
    link,
    models,
    output,
    query,
    recordings,
    shelves,
)
from vlar.apps.cli.verb import verb
from vlar.version import __version__

_WIDTH, _COLUMN = 100, 30  # characters of a verb's line, and of its name

#: Verbs in the order of the help; one that no row names comes last.
GROUPS = {
    "First": "classify adapt query index evaluate serve",
    "Ask": "timeline describe demo",
    "Teach": "train calibrate review models",
    "Library": "watch concept link",
    "Measure": "eval ethogram agreement report doctor",
    "Files": "check shots pose events bundle export",
    "Serve": "mcp skill",
}


class _Verbs(TyperGroup):
    """The application, whose help lists its verbs in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One section a group; the six verbs that most people need are the first."""
        grouped = [name for names in GROUPS.values() for name in names.split()]
        others = [name for name in self.list_commands(ctx) if name not in grouped]
        for group, names in (*GROUPS.items(), ("More", " ".join(others))):
            verbs = [(name, self.get_command(ctx, name)) for name in names.split()]
            rows = [(name, verb.get_short_help_str(_WIDTH)) for name, verb in verbs if verb]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows, col_max=_COLUMN, col_spacing=2)


app = typer.Typer(
    name="vlar",
    cls=_Verbs,
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
    *(classify.classify, adapt.adapt, adapt.calibrate, adapt.train, query.query),
    agreement.agreement,
    *(recordings.bundle, recordings.check, recordings.shots, recordings.pose, recordings.events),
    *(link.link, models.export, doctor.doctor, demo.demo, *shelves.verbs()),
)
#: In the help; others come after them.
_ORDER = (
    *("classify", "timeline", "adapt", "calibrate", "evaluate", "train", "eval_", "report"),
    *(
        *("query", "review", "link", "watch", "ethogram", "agreement", "serve", "mcp"),
        *("skill", "describe"),
    ),
    *("bundle", "check", "shots", "pose", "events", "export", "doctor", "demo"),
)
for function in sorted(_VERBS, key=lambda f: [*_ORDER, f.__name__].index(f.__name__)):
    verb(app)(function)
app.add_typer(index.app, name="index")
app.add_typer(concept.app, name="concept")
app.add_typer(models.app, name="models")
