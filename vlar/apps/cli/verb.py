"""Common code of all verbs: examples in the help, choices, ``-q``, ``-v``."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, cast

import typer
from typer.core import TyperCommand

from vlar.apps.cli import options, output
from vlar.apps.cli.exits import EXIT_NOTHING_USABLE, run
from vlar.apps.cli.options import VerbOptions
from vlar.options import COMMON, FILES, GROUPS, MACHINE, RARE, Choices, Option
from vlar.registry import shelf

RECEIPT_VERBS = ("classify", "query", "timeline")
_EXAMPLES = "Examples:"
_SHORT_HELP = 100  # characters of a verb's line in a list of verbs
_NEAR = 0.7  # likeness of an option that may be meant
_MANY = 12  # options that a help shows without panels
_FLAGS = {
    "as_json": Option("Print one JSON object a line.", "--json"),
    "quiet": Option("Print answers and errors only.", "-q", MACHINE),
    "verbose": Option("Print what is being done.", "-v", MACHINE),
    "debug": Option("Show the traceback of an error.", group=MACHINE),
}
_RECEIPT = Option(
    "Write what the answer stands on, so that 'vlar doctor FILE' repeats it.",
    group=FILES,
    type=Path | None,
)
_NO_JSON = ("demo", "get", "mcp", "serve", "skill", "trust")

Verb = Callable[..., int]


def verb(
    app: typer.Typer, name: str | None = None, *, main: bool = False
) -> Callable[[Verb], Verb]:
    """Add a function to an application as a verb. It returns its exit code.

    The part of its docstring after ``Examples:`` stands in the help as it is written.

    Args:
        app: The application, or a group of verbs.
        name: Name of the verb; None for that of the function.
        main: Whether the function is what a group does where no verb follows.
    """

    def add(function: Verb) -> Verb:
        command_made, run = _runner(function, main)
        facts = {
            "choices": command_made.choices,
            "groups": command_made.groups,
        }
        command = type("Command", (_Command,), facts)
        text = command_made.text
        if main:
            text, _, examples = text.partition(_EXAMPLES)
            shown = indent(dedent(examples.strip("\n")), "  ")
            app.callback(help=text.strip(), epilog=f"\b\n{_EXAMPLES}\n{shown}")(run)
        else:
            app.command(name or function.__name__.rstrip("_"), cls=command, help=text)(run)
        return function

    return add


def _runner(function: Verb, main: bool) -> tuple[VerbOptions, Callable[..., None]]:
    """The options of a verb, and the verb as the command line calls it."""
    accepted = inspect.signature(function).parameters
    hidden = ("as_json",) if function.__name__ in _NO_JSON else ()
    added = {name: _FLAGS[name] for name in _FLAGS if name not in accepted and name not in hidden}
    if function.__name__ in RECEIPT_VERBS:
        added["receipt"] = _RECEIPT
    options_made = options.parameters(function, added)
    parameters = list(options_made.parameters)
    if main:
        only = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter("context", only, annotation=typer.Context))

    def runner(**values: Any) -> None:
        output.set_volume(quiet=values["quiet"], verbose=values["verbose"])
        output.set_json(values.get("as_json", False))
        if main and values.pop("context").invoked_subcommand:
            return
        debug = values["debug"]
        output.set_origins(shown=debug)
        receipt = values["receipt"] if "receipt" in added else None
        for name in added:
            del values[name]
        typed = dict(values)

        def checked() -> int:
            for name, choices in options_made.choices.items():
                choices.check(values[name])
            for name, look_at in options_made.inputs.items():
                if failures := look_at(values[name]):
                    for failure in failures:
                        output.failure(failure)
                    return EXIT_NOTHING_USABLE
            for name, (make, fields) in options_made.collected.items():
                values[name] = make(**{field: values.pop(field) for field in fields})
            first = [values.pop(p.name) for p in accepted.values() if p.kind is p.POSITIONAL_ONLY]
            call = functools.partial(function, *first, **values)
            if receipt is None:
                return call()
            defaults = {row.name: row.default for row in parameters}
            receipts = shelf("apps.receipts", "--receipt")
            return receipts.write(receipt, function.__name__, typed, defaults, call)

        output.set_options(options_made.spellings())
        code = run(checked, debug=debug)
        output.set_json(False)
        output.set_options({})
        raise typer.Exit(code)

    runner.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    runner.__annotations__ = {p.name: p.annotation for p in parameters}
    return options_made, runner


class _Command(TyperCommand):
    """A command whose help has panels, lists the choices of its options and shows examples."""

    choices: dict[str, Choices]
    groups: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text, _, examples = (self.help or "").partition(_EXAMPLES)
        self.help = text.strip()
        self.examples = [line.strip() for line in examples.splitlines() if line.strip()]

    def get_help(self, ctx: Any) -> str:
        """The help text, with the choices after the help of each option that has some."""
        for parameter in self.params:
            option: Any = parameter
            choices = self.choices.get(parameter.name or "")
            if choices is not None and "One of: " not in (option.help or ""):
                option.help = f"{(option.help or '').rstrip('.')}. {choices.listing()}".lstrip(". ")
            if parameter.param_type_name == "argument":
                option.get_help_record = functools.partial(_without_type, option.get_help_record)
        return super().get_help(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let the error of an unknown option name the one that is meant."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if (name := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
                self._suggest(cast("Any", error), name)
            raise

    def _suggest(self, error: Any, name: str) -> None:
        """Let the error of an unknown option name the one that is meant, and no others."""
        names = [option[2:] for p in self.params for option in p.opts if option.startswith("--")]
        near = difflib.get_close_matches(name.lstrip("-"), names, 1, _NEAR)
        error.possibilities = None
        if near:
            error.message = f"No such option: {name}; did you mean --{near[0]}?"
        elif any(parameter.name == "settings" for parameter in self.params):
            setting = name.lstrip("-").replace("-", "_")
            error.message = f"No such option: {name}; a setting is given by --set {setting}=VALUE"

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options in panels where there are many, those that everybody needs first."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        rows |= {"Options" if group == COMMON else group: [] for group in GROUPS}
        shown = self.get_params(ctx)
        several = len(shown) > _MANY
        for parameter in shown:
            group = self.groups.get(parameter.name or "", MACHINE)
            group = group if several or group == RARE else COMMON
            panel = "Options" if group == COMMON else group
            panel = "Arguments" if parameter.param_type_name == "argument" else panel
            record = parameter.get_help_record(ctx)
            if record is not None:
                rows[panel].append(record)
        for panel, records in rows.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``LIBRARY PATH...``, without the braces that some versions of typer put around them."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence, whole: a list of verbs is read once and never cut."""
        return super().get_short_help_str(max(limit, _SHORT_HELP))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples, one a line and never wrapped."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _without_type(record: Callable[..., Any], ctx: Any) -> tuple[str, str] | None:
    """The help of an argument by its name alone: ``<str>`` and ``<list[str]>`` mean Python."""
    raw = record(ctx)
    return raw and (raw[0].partition(" <")[0], raw[1])
