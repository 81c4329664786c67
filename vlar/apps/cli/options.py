"""Options of the verbs, made from their signatures and from docstrings.

A verb is a function. What stands before ``/`` in its signature are arguments, the others are
options; the annotation has the type and the choices. All else is a line of its section
``Options:``, or of that section of its module::

    name (-s --other METAVAR 1..9): Help.

What such a line lacks comes from ``SHARED``, or else from the request that the verb makes, or from
the method of the API that it carries out: their docstrings are read as text, and nothing is
imported.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from vlar import registry

# Lines for parameters of these names, or of these names with a default of None.
SHARED = """
paths (PATH): Files, or folders that are searched for recordings.
library (LIBRARY): Made by 'vlar index add'.
labels (-l LABELS): As for 'vlar classify'.
model (-m NAME): A name from 'vlar models', or the folder of a model.
model=None (-m NAME): Default: the library's own; 'lite' for a new library.
device (NAME): Where the model computes: cpu, cuda, cuda:1. Default: by the model.
dtype (NAME): Precision that the model computes in; bf16 and int8 are faster for CLIP models on a
    CPU. Default: by the model.
force: Replace an existing model.
tag (KEY=VALUE): Attach key=value to these recordings.
rerank_k: Options of a question, 2 to 26.
rerank_weights (A,B): How much both count, or the file of a run of 'vlar eval mcq'. Default: 1,0.1,
    where the answerer is sure.
as_json (--json): Print one JSON object a line.
quiet (-q): Print answers and errors only.
verbose (-v): Print what is being done.
debug: Show the traceback of an error.
"""
# The request or method whose docstring describes options of a verb.
API = {
    "add": "library/library.py:add",
    "adapt": "model/requests.py:AdaptRequest",
    "classify": "model/requests.py:ClassifyOptions",
    "evaluate": "model/requests.py:ClassifyOptions",
    "query": "apps/answers.py:AnswerFiles",
}
_ROW = re.compile(r"(\S+?)(?: \((.*?)\))?:(?: (.*))?")
_SECTION = re.compile(r"\n(?:Args|Attributes|Options):\n((?: .*\n?|\n)*)")
# Of parameters without another one.
_METAVARS: dict[type | str, str] = {
    int: "N", Path: "FILE", "balance": "NAME", "cut": "FOLDER", "descriptions": "KINDS",
    "detector": "NAME", "learner": "NAME", "method": "NAME", "mode": "MODE", "tree": "FILE",
    "unknown": "NAME", "who": "TEXT", "zoom": "WHEN",
}  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """The names that an option takes; they are looked up when they are needed, not before.

    Used as metadata of a parameter: ``Annotated[str, METHODS]``. A ``Literal`` does the same, and
    the name of a kind of parts stands for all of them: ``Annotated[str, "runner"]``.

    Attributes:
        what: What a message calls one of them: ``method``.
        known: Gives the names.
        checked: False where other values are right too; the names only complete what is typed.
    """

    what: str
    known: Callable[[], Iterable[str]]
    checked: bool = True

    @staticmethod
    def of_kinds(what: str, *kinds: str, also: Iterable[str] = (), checked: bool = True) -> Choices:
        """The names of all parts of some kinds, and ``also`` others, which come first."""
        first = tuple(also)
        names = lambda: [*first, *(n for k in kinds for n in registry.names(k))]  # noqa: E731
        return Choices(what, names, checked)

    def names(self) -> list[str]:
        """All names, each once."""
        return list(dict.fromkeys(self.known()))

    def listing(self) -> str:
        """One sentence for the help."""
        return f"One of: {', '.join(self.names())}."

    def check(self, value: str | list[str] | None) -> None:
        """Refuse values that are not names; ``NAME:ARGUMENT`` is checked by its name.

        Raises:
            UnknownNameError: a value is not a name; the message names the nearest.
        """
        names = self.names()
        for one in [value] if isinstance(value, str) else value or ():
            name = one.partition(":")[0]
            if name not in names and name.partition("+")[0] not in names:
                raise registry.unknown_name(self.what, name, names)

    def complete(self, incomplete: str) -> list[str]:
        """The names that begin as the text on the command line does."""
        return [name for name in self.names() if name.startswith(incomplete)]


DTYPES = Choices(
    "number type",
    lambda: ("auto", "float32", "bf16", "int8", "bfloat16", "float16", "fp32", "fp16"),
)


Dtype = Annotated[str | None, DTYPES]


def rows(section: str) -> dict[str, tuple[str, str]]:
    r"""Name, what stands in parentheses, and help of each row of a section.

    >>> rows("k (1..): Answers\n    to show.")
    {'k': ('1..', 'Answers to show.')}
    """
    found: dict[str, tuple[str, str]] = {}
    name = ""
    for line in section.splitlines():
        if match := _ROW.fullmatch(line):
            name = match[1]
            found[name] = match[2] or "", match[3] or ""
        elif name:
            found[name] = found[name][0], f"{found[name][1]} {line.strip()}".strip()
    return found


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
    found = re.search(rf'{head}"""(.*?)"""', text, re.DOTALL)
    return found[1] if found else ""


@cache
def _of_module(name: str) -> dict[str, tuple[str, str]]:
    """The rows of the section ``Options:`` of a module."""
    module = sys.modules[name]  # without a docstring where Python runs with -OO
    return described(module.__doc__ or _docstring(str(module.__file__)))[1]


@cache
def of_api(place: str) -> dict[str, tuple[str, str]]:
    """The rows of the docstring of a class or function: ``model/requests.py:AdaptRequest``."""
    return described(_docstring(*place.split(":")))[1]


def _from_api(verb: str, name: str, options: Collection[str]) -> str:
    """The help of an option in the words of the API."""
    said = of_api(API[verb]).get(name, ("", ""))[1] if verb in API else ""
    return re.sub(r"``(.+?)``", lambda m: f"--{m[1]}" if m[1] in options else f"'{m[1]}'", said)


_SHARED = rows(SHARED)


def parameters(function: Callable[..., Any], added: Iterable[str]) -> tuple[
    str, dict[str, Choices], list[inspect.Parameter]
]:  # fmt: skip
    """Help, choices and parameters of a verb, as typer reads them.

    Args:
        function: The verb.
        added: Names of flags that it has besides its own parameters.
    """
    file = function.__code__.co_filename
    text, own = described(function.__doc__ or _docstring(file, function.__name__))
    own = {**_of_module(function.__module__), **own}
    choices: dict[str, Choices] = {}
    only = inspect.Parameter.KEYWORD_ONLY
    plain = list(inspect.signature(function, eval_str=True).parameters.values())
    plain += [inspect.Parameter(name, only, default=False, annotation=bool) for name in added]
    names = {parameter.name for parameter in plain}
    for number, parameter in enumerate(plain):
        name = parameter.name
        shared = _SHARED.get(name, ("", ""))
        if parameter.default is None:
            shared = _SHARED.get(f"{name}=None", shared)
        declared, said = own.get(name, ("", ""))
        said = said.replace("``", "") or shared[1] or _from_api(function.__name__, name, names)
        value, *notes = _plain(name, parameter.annotation)
        if notes and notes[0].checked:
            choices[name] = notes[0]
        facts = _facts(parameter, value, declared or shared[0], said)
        if notes:
            facts["autocompletion"] = notes[0].complete
        option = typer.Argument if parameter.kind is parameter.POSITIONAL_ONLY else typer.Option
        made = option(*facts.pop("names"), **facts)
        plain[number] = parameter.replace(kind=only, annotation=Annotated[value, made])
    return text, choices, plain


def _plain(name: str, annotation: Any) -> tuple[Any, ...]:
    """The type that typer reads, and the choices where there are some."""
    if get_origin(annotation) is Annotated:
        value, known = get_args(annotation)
        return value, Choices.of_kinds(known, known) if isinstance(known, str) else known
    if get_origin(annotation) is Literal:
        return str, Choices(name.replace("_", " "), lambda: get_args(annotation))
    return (annotation,)


def _number(text: str) -> float | None:
    return (float(text) if "." in text else int(text)) if text else None


def _facts(parameter: inspect.Parameter, value: Any, declared: str, said: str) -> dict[str, Any]:
    """Names, metavar, help and limits of an option or argument."""
    tokens = declared.split()
    names = [token for token in tokens if token.startswith("-")]
    limits = next((token for token in tokens if ".." in token and token[0].isdigit()), None)
    least, most = (limits or "..").split("..")
    words = [token for token in tokens if token not in (*names, limits)]
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
        "min": _number(least),
        "max": _number(most),
    }
