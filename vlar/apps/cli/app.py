"""The application and its verbs."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from vlar.apps.cli import output, shelves
from vlar.version import __version__

_COLUMN = 30  # characters of a verb's name

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


#: Module and first sentence of the help, by verb; its module is imported when it is used.
VERBS = {
    verb: (f"vlar.apps.cli.{module}", summary)
    for verb, module, summary in (
        ("classify", "classify", "Find which labels fit each recording."),
        ("adapt", "adapt", "Learn labels from a few examples each."),
        ("calibrate", "adapt", "Fit the probabilities of a model, or --miss, on labelled clips."),
        ("query", "query", "Search a library in plain language."),
        ("link", "link", "Learn from unlabelled pairs to query by another sensor."),
        ("bundle", "recordings", "Make one recording of what several sensors took of one moment."),
        ("shots", "recordings", "Show where the shots of videos begin and end."),
        ("pose", "recordings", "Show the bodies and hands in a video and how they move."),
        ("doctor", "doctor", "Check the installation, or a file that another person sent."),
        ("demo", "demo", "Classify, index and query three real clips."),
        ("index", "index", "Make and keep a library of recordings."),
        ("concept", "concept", "Keep what judgements of hits taught, under a name for queries."),
        ("models", "models", "List the models, recommend one; fetch one with 'get'."),
    )
} | shelves.verbs()


class _Commands(dict[str, Any]):
    """Commands by verb; each is made when it is asked for."""

    def __getitem__(self, verb: str) -> Any:
        if super().__getitem__(verb) is None:
            self[verb] = _command(verb)
        return super().__getitem__(verb)

    def get(self, verb: str, default: Any = None) -> Any:
        """The command of a verb; ``default`` where there is none."""
        if verb not in self:
            return default
        return self[verb]

    def values(self) -> Any:
        """All commands."""
        return [self[verb] for verb in self]

    def items(self) -> Any:
        """Verbs with their commands."""
        return [(verb, self[verb]) for verb in self]


def _command(name: str) -> Any:
    from vlar.apps.cli.verb import verb

    module = importlib.import_module(VERBS[name][0])
    holder = typer.Typer(rich_markup_mode=None)
    groups = getattr(module, "app", None)
    if groups is not None and module.__name__.endswith(f".{name}"):
        holder.add_typer(groups, name=name)
    else:
        verb(holder)(getattr(module, name, None) or getattr(module, f"{name}_"))
    return typer.main.get_group(holder).commands[name]


class _Verbs(TyperGroup):
    """The application, whose help lists its verbs in groups."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        ordered = [verb for verbs in GROUPS.values() for verb in verbs.split() if verb in VERBS]
        self.commands = _Commands.fromkeys((*ordered, *VERBS))

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order of the help."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One section a group; the six verbs that most people need are the first."""
        grouped = [name for names in GROUPS.values() for name in names.split()]
        others = [name for name in self.commands if name not in grouped]
        for group, names in (*GROUPS.items(), ("More", " ".join(others))):
            rows = [(name, VERBS[name][1]) for name in names.split() if name in VERBS]
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
    batch: int | None = typer.Option(
        None,
        "--batch",
        metavar="N",
        min=1,
        help="Frames that a GPU encodes at a time. Default: 256, halved where memory runs out.",
    ),
) -> None:
    """Options that stand before the verb."""
    if batch is not None:
        from vlar.encoders.memory import set_batch

        set_batch(batch)
    output.send_log_to_stderr()
    output.set_volume(quiet=quiet, verbose=verbose)
