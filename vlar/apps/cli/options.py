"""Options of the verbs, made from the fields of requests and from signatures.

A verb is a function. What stands before ``/`` in its signature are arguments, the others are
options; the annotation has the type and the choices. A parameter with ``Fields(REQUEST)`` stands
for all options of a request (``vlar.options``), which declare themselves. What belongs to the
command line alone is a line of the section ``Options:`` of the verb, or of its module::

    name (-s --other METAVAR 1..9): Help.

What such a line lacks comes from ``SHARED``, or else from the field of that name of the request
that the verb makes. An option that is ``rare`` is not in the help: it is given by ``--set``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from vlar import registry
from vlar.library.query.request import QueryRequest
from vlar.model.requests import AdaptRequest, ClassifyRequest
from vlar.options import (
    COMMON,
    FILES,
    MACHINE,
    SECOND_OPINION,
    TIME,
    Choices,
    Fields,
    Option,
    RequestField,
    fields_of,
)

if TYPE_CHECKING:
    from vlar.types import Failure

# Lines for parameters of these names, or of these names with a default of None.
SHARED = """
paths (PATH): Files, or folders that are searched for recordings.
library (LIBRARY): Made by 'vlar index add'.
labels (-l LABELS): As for 'vlar classify'.
model (-m NAME): A name from 'vlar models', or the folder of a model.
model=None (-m NAME): Default: the library's own; 'lite' for a new library.
device (NAME): Where the model computes: cpu, cuda, cuda:1. Default: by the model.
dtype (NAME): Precision that the model computes in; bf16 and int8 are faster for CLIP models on a
    CPU. Default: that of a library or saved model, else bf16 on a CUDA card that has it.
force: Replace an existing model.
tag (KEY=VALUE): Attach key=value to these recordings.
rerank_k (rare 2..26): Options of a question.
rerank_weight (rare 0.0..20.0 W): How much its answer counts. Default: 0.1, where it is sure.
as_json (--json): Print one JSON object a line.
quiet (-q): Print answers and errors only.
verbose (-v): Print what is being done.
debug: Show the traceback of an error.
"""
#: The request whose fields describe options of a verb.
API: dict[str, Any] = {
    "adapt": AdaptRequest,
    "classify": ClassifyRequest,
    "evaluate": ClassifyRequest,
    "query": QueryRequest,
}
#: Panels of the help, for options whose declaration does not name one.
_GROUPS = {
    TIME: "every at window stride long_windows shortest switch delay",
    FILES: "out csv html cut timeline_file kpi_out resume shards force",
    SECOND_OPINION: "rerank rerank_k rerank_weight",
    MACHINE: "device dtype runner seed quiet verbose debug",
}
GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names.split()}
RARE = "rare"
SET = "rare_settings"
_ROW = re.compile(r"(\S+?)(?: \((.*?)\))?:(?: (.*))?")
_SECTION = re.compile(r"\n(?:Args|Attributes|Options):\n((?: .*\n?|\n)*)")
# Of parameters without another one.
_METAVARS: dict[type | str, str] = {
    int: "N",
    Path: "FILE",
    "balance": "NAME",
    "cut": "FOLDER",
    "descriptions": "KINDS",
    "learner": "NAME",
    "method": "NAME",
    "mode": "MODE",
    "tree": "FILE",
    "unknown": "NAME",
    "who": "TEXT",
}


DTYPES = Choices(
    "number type",
    lambda: ("auto", "float32", "bf16", "int8", "bfloat16", "float16", "fp32", "fp16"),
)


Dtype = Annotated[str | None, DTYPES]
#: Metadata of an argument: looks at the files that it names, and gives failures or raises an error.
InputCheck = Callable[[Any], "Sequence[Failure] | None"]


def rows(section: str) -> dict[str, tuple[str, str]]:
    r"""Name, what stands in parentheses, and help of each row of a section.

    >>> rows("k (1..): Answers\n    to show.")
    {'k': ('1..', 'Answers to show.')}
    """
    rows_by_name: dict[str, tuple[str, str]] = {}
    name = ""
    for line in section.splitlines():
        if match := _ROW.fullmatch(line):
            name = match[1]
            rows_by_name[name] = match[2] or "", match[3] or ""
        elif name:
            rows_by_name[name] = (
                rows_by_name[name][0],
                f"{rows_by_name[name][1]} {line.strip()}".strip(),
            )
    return rows_by_name


def described(docstring: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """A docstring without the section of its arguments, and the rows of that section."""
    text = inspect.cleandoc(docstring)
    section = _SECTION.search(text)
    if section is None:
        return text, {}
    return f"{text[: section.start()]}\n{text[section.end() :]}", rows(dedent(section[1]))


def _docstring(file: str, name: str = "") -> str:
    """The docstring of a class, function or file in the text of the file, which may be relative."""
    text = (Path(registry.__file__).parent / file).read_text("utf-8")
    head = rf"(?:def|class) {name}\b(?:(?!(?:def|class) ).)*?" if name else ""
    match = re.search(rf'{head}"""(.*?)"""', text, re.DOTALL)
    return match[1] if match else ""


@cache
def _of_module(name: str) -> dict[str, tuple[str, str]]:
    """The rows of the section ``Options:`` of a module."""
    module = sys.modules[name]  # without a docstring where Python runs with -OO
    return described(module.__doc__ or _docstring(str(module.__file__)))[1]


def _from_request(verb: str, name: str) -> str:
    """The help of an option in the words of the request that a verb makes."""
    fields_by_name = {row.name: row for row in fields_of(API[verb])} if verb in API else {}
    return fields_by_name[name].option.help if name in fields_by_name else ""


_SHARED = rows(SHARED)


@dataclass
class VerbOptions:
    """All that the command line reads from a verb.

    Attributes:
        text: Its help.
        parameters: As typer reads them.
        choices: The names that an option takes, by parameter.
        groups: Panel of the help, by parameter.
        rare: Options that ``--set`` gives, by parameter.
        collected: Names of the options that a parameter with ``Fields`` collects.
        inputs: Checks of files, by parameter, which run before the verb does.
    """

    text: str
    parameters: list[inspect.Parameter] = field(default_factory=list[inspect.Parameter])
    choices: dict[str, Choices] = field(default_factory=dict[str, Choices])
    groups: dict[str, str] = field(default_factory=dict[str, str])
    rare: dict[str, str] = field(default_factory=dict[str, str])
    collected: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
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


def parameters(function: Callable[..., Any], added: Iterable[str]) -> VerbOptions:
    """Help, choices and parameters of a verb, as typer reads them.

    Args:
        function: The verb.
        added: Names of flags that it has besides its own parameters.
    """
    file = function.__code__.co_filename
    text, helps = described(function.__doc__ or _docstring(file, function.__name__))
    helps = {**_of_module(function.__module__), **helps}
    verb_options = VerbOptions(text)
    signature = inspect.signature(function, eval_str=True).parameters
    for parameter in signature.values():
        if (asked := _collects(parameter.annotation)) is None:
            _add(verb_options, function.__name__, parameter, helps)
            continue
        fields = [row for row in fields_of(asked.request) if row.name not in signature]
        fields = [row for row in fields if row.name in asked.names or not asked.names]
        verb_options.collected[parameter.name] = [row.name for row in fields]
        for row in fields:
            _add(verb_options, function.__name__, _parameter(row), helps, row.option)
    for name in added:
        _add(verb_options, function.__name__, _flag(name), helps)
    if verb_options.rare:
        _add_set(verb_options)
    return verb_options


def _add_set(found: VerbOptions) -> None:
    """Let ``--set KEY=VALUE`` of a verb take what is rarely needed; most verbs get it by this."""
    names = ", ".join(found.rare.values())
    settings_row = next((row for row in found.parameters if row.name == "settings"), None)
    if settings_row is not None:
        option = get_args(settings_row.annotation)[1]
        option.help = f"{option.help} Rarely needed: {names}."
        return
    help_text = f"What is rarely needed: {names}; may be given several times."
    option = typer.Option("--set", metavar="KEY=VALUE", help=help_text)
    row = Annotated[list[str] | None, option]
    only = inspect.Parameter.KEYWORD_ONLY
    found.groups[SET] = COMMON
    found.parameters.append(inspect.Parameter(SET, only, default=None, annotation=row))


def _collects(annotation: Any) -> Fields | None:
    """The request whose options a parameter collects; None for any other parameter."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((note for note in notes if isinstance(note, Fields)), None)


def _parameter(row: RequestField) -> inspect.Parameter:
    """A field of a request as a parameter of a verb."""
    value = row.type if row.option.type is None else row.option.type
    annotation = value if row.option.choices is None else Annotated[value, row.option.choices]
    default = inspect.Parameter.empty if row.default is dataclasses.MISSING else row.default
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(
        row.name, only, default=default or _empty(default, value), annotation=annotation
    )


def _empty(default: Any, value: Any) -> Any:
    """Default of an option that may be given several times: None for a field without values."""
    return None if default in ((), {}) and list[str] in get_args(value) else default


def _flag(name: str) -> inspect.Parameter:
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, only, default=False, annotation=bool)


def _add(
    found: VerbOptions,
    verb: str,
    parameter: inspect.Parameter,
    own: dict[str, tuple[str, str]],
    option: Option | None = None,
) -> None:
    """Add a parameter as an option or an argument."""
    name = parameter.name
    shared = _SHARED.get(name, ("", ""))
    if parameter.default is None:
        shared = _SHARED.get(f"{name}=None", shared)
    declared, help_text = own.get(name, ("", ""))
    if option is not None:
        declared, help_text = option.spelling, option.help
    help_text = help_text.replace("``", "") or shared[1] or _from_request(verb, name)
    value, *notes = _plain(name, parameter.annotation)
    if notes and not isinstance(notes[0], Choices):
        found.inputs[name] = notes.pop()
    if notes and notes[0].checked:
        found.choices[name] = notes[0]
    facts = _facts(parameter, value, declared or shared[0], help_text)
    if notes:
        facts["autocompletion"] = notes[0].complete
    if facts.pop("rare"):
        long = next(flag for flag in facts["names"] if flag.startswith("--"))
        found.rare[name] = long.partition("/")[0].removeprefix("--")
        facts["hidden"] = True
    group = option.group if option is not None else ""
    required = parameter.default is inspect.Parameter.empty
    found.groups[name] = group or COMMON if required else group or GROUP_OF.get(name, COMMON)
    kind = typer.Argument if parameter.kind is parameter.POSITIONAL_ONLY else typer.Option
    option_made = kind(*facts.pop("names"), **facts)
    only = inspect.Parameter.KEYWORD_ONLY
    found.parameters.append(parameter.replace(kind=only, annotation=Annotated[value, option_made]))


def _plain(name: str, annotation: Any) -> tuple[Any, ...]:
    """The type that typer reads, and the choices where there are some."""
    if get_origin(annotation) is Annotated:
        value, choices = get_args(annotation)
        return value, Choices.of_kinds(choices, choices) if isinstance(choices, str) else choices
    literals = [kind for kind in (annotation, *get_args(annotation)) if get_origin(kind) is Literal]
    if literals:
        return str, Choices(name.replace("_", " "), lambda: get_args(literals[0]))
    return (annotation,)


def _facts(parameter: inspect.Parameter, value: Any, declared: str, said: str) -> dict[str, Any]:
    """Names, metavar, help and limits of an option or argument."""
    tokens = declared.split()
    names = [token for token in tokens if token.startswith("-")]
    least, most = Option(said, declared).limits
    words = [t for t in tokens if t not in (*names, RARE) and not (".." in t and t[0].isdigit())]
    kinds = set(get_args(value) or [value])
    usual = _METAVARS.get(parameter.name) or next(filter(None, map(_METAVARS.get, kinds)), None)
    if parameter.kind is not parameter.POSITIONAL_ONLY and "--" not in declared:
        name = parameter.name.replace("_", "-")
        both = bool in kinds and parameter.default is not False
        long = f"--{name}/--no-{name}" if both else f"--{name}"
        names.insert(0, long if len(name) > 1 else f"-{name}")
    return {
        "names": names,
        "metavar": " ".join(words) or usual,
        "help": said,
        "min": least,
        "max": most,
        "rare": RARE in tokens,
    }
