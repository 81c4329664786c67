"""Options of the verbs, made from their signatures and from the fields of requests.

A verb is a function. What stands before ``/`` in its signature are arguments, the others are
options; each is ``Annotated[type, Option(help, spelling, group)]`` (``vlar.options``). A parameter
with ``Fields(REQUEST)`` stands for all options of a request, one whose type is a dataclass for all
of its fields. An option that is ``rare`` stands in a panel of its own, below the others.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_origin

import typer

from vlar.options import (
    COMMON,
    FILES,
    MACHINE,
    RARE,
    SECOND_OPINION,
    Choices,
    Fields,
    Option,
    RequestField,
    fields_of,
)

if TYPE_CHECKING:
    from vlar.types import Failure

_RARE = "rare"
_USUAL = {int: "N", Path: "FILE"}  # metavars
DTYPES = Choices(
    "number type",
    lambda: ("auto", "float32", "bf16", "int8", "bfloat16", "float16", "fp32", "fp16"),
)
# Declarations that several verbs share.
Paths = Annotated[list[str], Option("Files, or folders that are searched for recordings.", "PATH")]
Library = Annotated[str, Option("Made by 'vlar index add'.", "LIBRARY")]
Model = Annotated[str, Option("A name from 'vlar models', or the folder of a model.", "-m NAME")]
OwnModel = Annotated[
    str | None, Option("Default: the library's own; 'lite' for a new library.", "-m NAME")
]
DEVICE = Option(
    "Where the model computes: cpu, cuda, cuda:1. Default: by the model.", "NAME", MACHINE
)
Force = Annotated[bool, Option("Replace an existing model.", group=FILES)]
Tag = Annotated[list[str] | None, Option("Attach key=value to these recordings.", "KEY=VALUE")]
RERANK_WEIGHT = Option(
    "How much its answer counts. Default: 0.1, where it is sure.",
    "rare 0.0..20.0 W",
    SECOND_OPINION,
)
LABELS = Option(
    "'a, b, c', a file (.txt, .csv, .json), or bank:NAME. A model made by 'vlar adapt' has its "
    "own.",
    "-l LABELS",
)
FPS = Option("Frames a second of tracks that state none; default: as learned.", "rare")


@dataclass(frozen=True)
class Machine:
    """Device and precision of a model."""

    device: Annotated[str | None, DEVICE] = None
    dtype: Annotated[
        str | None,
        Option(
            "Precision that the model computes in; bf16 and int8 are faster for CLIP models on a "
            "CPU. Default: that of a library or saved model, else bf16 on a CUDA card that has it.",
            "NAME",
            MACHINE,
            DTYPES,
        ),
    ] = None


#: Metadata of an argument: looks at the files that it names, and gives failures or raises an error.
InputCheck = Callable[[Any], "Sequence[Failure] | None"]


@dataclass
class VerbOptions:
    """All that the command line reads from a verb.

    Attributes:
        text: Its help.
        parameters: As typer reads them.
        choices: The names that an option takes, by parameter.
        groups: Panel of the help, by parameter.
        collected: By parameter that stands for several options: makes its value of them, and their
            names.
        inputs: Checks of files, by parameter, which run before the verb does.
    """

    text: str
    parameters: list[inspect.Parameter] = field(default_factory=list[inspect.Parameter])
    choices: dict[str, Choices] = field(default_factory=dict[str, Choices])
    groups: dict[str, str] = field(default_factory=dict[str, str])
    collected: dict[str, tuple[Callable[..., Any], list[str]]] = field(
        default_factory=dict[str, "tuple[Callable[..., Any], list[str]]"]
    )
    inputs: dict[str, InputCheck] = field(default_factory=dict[str, "InputCheck"])

    def spellings(self) -> dict[str, str]:
        """The options as they are typed, such as ``--no-files``, by their parameters."""
        typed: dict[str, str] = {}
        for row in self.parameters:
            option = get_args(row.annotation)[1]  # its first flag lies where a default does
            for flag in map(str, (option.default, *(option.param_decls or ()))):
                if flag.startswith("--"):
                    typed[row.name] = flag.partition("/")[0]
        return typed


def parameters(function: Callable[..., Any], added: Mapping[str, Option]) -> VerbOptions:
    """Help, choices and parameters of a verb, as typer reads them.

    Args:
        function: The verb.
        added: Flags and options that it has besides its own parameters.
    """
    verb_options = VerbOptions(inspect.cleandoc(function.__doc__ or _source_docstring(function)))
    signature = inspect.signature(function, eval_str=True).parameters
    for parameter in signature.values():
        asked, make = _note(parameter.annotation, Fields), cast(type, dict)
        if dataclasses.is_dataclass(parameter.annotation):
            make = cast(type, parameter.annotation)
            asked = Fields(make)
        if asked is None:
            _add(verb_options, parameter)
            continue
        fields = [row for row in fields_of(asked.request) if row.name not in signature]
        fields = [row for row in fields if row.name in asked.names or not asked.names]
        verb_options.collected[parameter.name] = make, [row.name for row in fields]
        for row in fields:
            _add(verb_options, _parameter(row))
    for name, option in added.items():
        value = option.type or bool
        _add(verb_options, _option(name, Annotated[value, option], None if option.type else False))
    return verb_options


def _source_docstring(function: Callable[..., Any]) -> str:
    """The docstring of a function from its source, since Python drops it under -OO."""
    source = re.search(r'"""(.*?)"""', inspect.getsource(function), re.DOTALL)
    return source[1] if source else ""


def _note(annotation: Any, kind: type) -> Any:
    """The metadata of a type that an annotation has; None without."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((note for note in notes if isinstance(note, kind)), None)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, only, default=default, annotation=annotation)


def _parameter(row: RequestField) -> inspect.Parameter:
    """A field of a request as a parameter of a verb."""
    value = row.type if row.option.type is None else row.option.type
    default = inspect.Parameter.empty if row.default is dataclasses.MISSING else row.default
    if default in ((), {}) and list[str] in get_args(value):
        default = None  # an option that may be given several times
    return _option(row.name, Annotated[value, row.option], default)


def _add(found: VerbOptions, parameter: inspect.Parameter) -> None:
    """Add a parameter as an option or an argument."""
    name = parameter.name
    option = _note(parameter.annotation, Option) or Option("")
    value, *notes = get_args(parameter.annotation) if option.help else (parameter.annotation,)
    for check in filter(callable, notes):
        found.inputs[name] = cast(InputCheck, check)
    facts = _facts(parameter, value, option)
    literals = [kind for kind in (value, *get_args(value)) if get_origin(kind) is Literal]
    choices = option.choices
    if literals:
        value, choices = str, Choices(name.replace("_", " "), lambda: get_args(literals[0]))
    if isinstance(choices, str):
        choices = Choices.of_kinds(choices, choices)
    if choices is not None:
        facts["autocompletion"] = choices.complete
        if choices.checked:
            found.choices[name] = choices
    found.groups[name] = RARE if facts.pop("rare") else option.group or COMMON
    kind = typer.Argument if parameter.kind is parameter.POSITIONAL_ONLY else typer.Option
    option_made = kind(*facts.pop("names"), **facts)
    only = inspect.Parameter.KEYWORD_ONLY
    found.parameters.append(parameter.replace(kind=only, annotation=Annotated[value, option_made]))


def _facts(parameter: inspect.Parameter, value: Any, option: Option) -> dict[str, Any]:
    """Names, metavar, help and limits of an option or argument."""
    tokens = option.spelling.split()
    names = [token for token in tokens if token.startswith("-")]
    least, most = option.limits
    words = [t for t in tokens if t not in (*names, _RARE) and not (".." in t and t[0].isdigit())]
    kinds = set(get_args(value) or [value])
    if parameter.kind is not parameter.POSITIONAL_ONLY and "--" not in option.spelling:
        name = parameter.name.replace("_", "-")
        both = bool in kinds and parameter.default is not False
        long = f"--{name}/--no-{name}" if both else f"--{name}"
        names.insert(0, long if len(name) > 1 else f"-{name}")
    return {
        "names": names,
        "metavar": " ".join(words) or next(filter(None, map(_USUAL.get, kinds)), None),
        "help": option.help.replace("``", ""),
        "min": least,
        "max": most,
        "rare": _RARE in tokens,
    }
