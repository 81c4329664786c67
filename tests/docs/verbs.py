"""The verbs of the real command line, found by walking the application; nothing lists them here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import cache
from typing import Any

import typer

from vlar.apps.cli.app import app


@cache
def commands() -> dict[str, Any]:
    """Every command by its words: ``{"": the application, "classify": .., "index add": ..}``."""
    found: dict[str, Any] = {}
    waiting = [("", typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop(0)
        found[words] = command
        inner = getattr(command, "commands", {})
        waiting += [(f"{words} {name}".strip(), each) for name, each in inner.items()]
    return found


def verbs() -> list[str]:
    """All but the application itself, groups included."""
    return [words for words in commands() if words]


def is_group(words: str) -> bool:
    """Whether a command holds other commands."""
    return hasattr(commands()[words], "commands")


def options(words: str) -> set[str]:
    """The names of a command's options, with those that every command has."""
    parameters = commands()[words].params
    names = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"-h", "--help"}


def help_of(words: str) -> str:
    """The help text of a command."""
    command = commands()[words]
    context = command.make_context(f"vlar {words}".strip(), [], resilient_parsing=True)
    return command.get_help(context)


def examples(words: str) -> list[str]:
    """The lines after ``Examples:`` in the help of a command."""
    lines = [line.strip() for line in help_of(words).partition("Examples:\n")[2].splitlines()]
    return [line for line in lines if line]


def split(arguments: list[str]) -> tuple[str, list[str]]:
    """The longest command that the arguments begin with, and the other arguments.

    Raises:
        ValueError: there is no such command.
    """
    words, rest = "", list(arguments)
    while rest and rest[0] in options(words) and rest[0] not in ("-h", "--help"):
        rest.pop(0)  # flags may stand before a verb
    while rest and f"{words} {rest[0]}".strip() in commands():
        words = f"{words} {rest.pop(0)}".strip()
    if is_group(words) and rest and not rest[0].startswith("-") and "--card" not in rest:
        raise ValueError(f"vlar {words} has no verb {rest[0]!r}")
    return words, rest


def parse(line: str, also: Iterable[str] = ()) -> None:
    """Read a whole command line as the application does, and run nothing.

    Args:
        line: ``vlar VERB ...``.
        also: Names of parts that a page adds.

    Raises:
        ValueError: the application would refuse it; the message has its reason.
    """
    words, rest = split(shlex.split(line, comments=True)[1:])
    if {"-h", "--help"} & set(rest):
        return
    command = commands()[words]
    try:
        context = command.make_context(f"vlar {words}", list(rest))
        for name, known in getattr(command, "choices", {}).items():
            if context.params[name] not in list(also):
                known.check(context.params[name])
    except Exception as error:
        named = getattr(error, "format_message", None)  # errors of the command line have one
        reason = named() if named else str(error)
        raise ValueError(f"{line}: {reason}") from error
