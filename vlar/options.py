"""Fields of requests as options: declared once, read by Python, command line, HTTP, MCP and TOML.

A request is a frozen dataclass. A field that a user may set has its help next to its type::

    shots: Annotated[int | None, Option("Use at most this many examples a label.", "1..")] = None

The command line makes ``--shots`` of it, with the type, the default and the group of the help;
``takes`` gives it to the method of Python, ``with_options`` to the JSON body of HTTP, ``tool`` to
the tool of an agent, and ``body_field`` to a configuration file. Nothing is written twice.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

from vlar import registry

T = TypeVar("T")
COMMON = "Common"
TIME = "Time"
FILES = "Files"
SECOND_OPINION = "Second opinion"
MACHINE = "Machine"
RARE = "Rarely needed"
#: Panels of a verb's help, in their order.
GROUPS = (COMMON, TIME, FILES, SECOND_OPINION, MACHINE, RARE)


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
            name = registry.PartSpec.parse(one).name
            if name not in names and name.partition("+")[0] not in names:
                raise registry.unknown_name(self.what, name, names)

    def complete(self, incomplete: str) -> list[str]:
        """The names that begin as the text on the command line does."""
        return [name for name in self.names() if name.startswith(incomplete)]


@dataclass(frozen=True)
class Option:
    """Metadata that makes a field of a request an option.

    Attributes:
        help: One or two sentences, in the words of the command line: ``'auto' goes by the model``.
        spelling: Names, metavar and limits where they do not follow from the field:
            ``-k --other METAVAR 1..9``; ``rare`` puts it into the last panel, ``RARE``.
        group: Panel of the help, one of ``GROUPS``; empty for the one that its name belongs to.
        choices: The names that it takes, or the kind of parts that has them; None for those of
            the type.
        type: What the command line reads, where the field has another type.
        remote: Whether HTTP and agents take it too; not what names a file or costs more.
    """

    help: str
    spelling: str = ""
    group: str = ""
    choices: Choices | str | None = None
    type: Any = None
    remote: bool = True

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Least and greatest number of ``1..9`` in the spelling; None for no limit."""
        words = self.spelling.split()
        least, most = next((w for w in words if ".." in w and w[0].isdigit()), "..").split("..")
        return _number(least), _number(most)


def _number(text: str) -> float | None:
    return (float(text) if "." in text else int(text)) if text else None


@dataclass(frozen=True)
class Fields:
    """Metadata of a verb's parameter that collects the options of a request, by name.

    ``asked: Annotated[dict[str, Any], Fields(AdaptRequest)]`` gives the verb an option for each
    field that has one and is not a parameter of the verb itself.

    Attributes:
        request: The dataclass.
        names: The fields that it collects; empty for all.
    """

    request: type
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class RequestField:
    """A field of a request that a user may set.

    Attributes:
        name: Name of the field.
        type: Type of its values.
        default: Its value where none is given; ``dataclasses.MISSING`` where one must be.
        option: Its help, group and spelling.
    """

    name: str
    type: Any
    default: Any
    option: Option


def fields_of(request: type) -> Iterator[RequestField]:
    """Yield the fields of a request that are options, in their order.

    Args:
        request: A dataclass. The names in the annotations of its options exist in the module that
            has it.
    """
    for row in dataclasses.fields(request):
        annotation: Any = row.type
        if isinstance(annotation, str) and annotation.startswith("Annotated["):
            annotation = _evaluated(request, row.name, annotation)
        notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
        option = next((note for note in notes if isinstance(note, Option)), None)
        if option is not None:
            made: Any = row.default_factory
            default: Any = row.default if made is dataclasses.MISSING else made()
            yield RequestField(row.name, get_args(annotation)[0], default, option)


def _evaluated(request: type, name: str, annotation: str) -> Any:
    """The annotation of a field from its text, where a module keeps annotations as texts."""
    owner = next(c for c in request.__mro__ if name in inspect.get_annotations(c))
    return eval(annotation, vars(sys.modules[owner.__module__]))  # source text, as Python runs it


def field_of(request: type, name: str) -> RequestField:
    """The field of a request with a name.

    Raises:
        UnknownNameError: it has no such option.
    """
    fields = {row.name: row for row in fields_of(request)}
    if name not in fields:
        raise registry.unknown_name("option", name, fields)
    return fields[name]


def help_of(request: type, name: str) -> str:
    """The help of a field of a request, for a tool that describes an argument of its own.

    Raises:
        UnknownNameError: the request has no such option.
    """
    return field_of(request, name).option.help


def body_field(request: type, name: str, **limits: Any) -> Any:
    """The field of a JSON body or of a configuration that stands for a field of a request.

    Args:
        request: The dataclass.
        name: Name of its field, whose default and help it has.
        limits: What else ``pydantic.Field`` takes, such as ``ge`` and ``max_length``.

    Raises:
        UnknownNameError: the request has no such option.
    """
    from pydantic import Field

    row = field_of(request, name)
    return Field(row.default, description=row.option.help, **limits)


def takes(request: type, leave_out: Iterable[str] = ()) -> Callable[[T], T]:
    """Decorator of a method: it takes the fields of a request, with their types and defaults.

    Args:
        request: The dataclass, which the method makes of its arguments.
        leave_out: Fields that only vlar sets, or that the method takes under another name.
    """
    only = inspect.Parameter.KEYWORD_ONLY
    rows = [
        row.replace(kind=only, annotation=_plain(row.annotation))
        for row in inspect.signature(request).parameters.values()
        if row.name not in leave_out
    ]
    return lambda method: _extended(method, rows)


def _plain(annotation: Any) -> Any:
    """The type of a field without its metadata; a text where the type is one."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return getattr(bare, "__forward_arg__", bare)


def tool(body: Any, leave_out: Iterable[str] = ()) -> Callable[[T], T]:
    """Decorator of a tool of an agent, whose last parameter collects the fields of a JSON body.

    Args:
        body: A model of pydantic. The tool has its fields that it does not declare itself.
        leave_out: Names of fields that the tool has in another form, or not at all.
    """
    only = inspect.Parameter.KEYWORD_ONLY
    fields = [
        inspect.Parameter(
            name, only, default=row.get_default(), annotation=Annotated[row.annotation, row]
        )
        for name, row in body.model_fields.items()
        if name not in leave_out
    ]
    return lambda method: _extended(method, fields, eval_str=True)


def _extended(method: Any, fields: Iterable[inspect.Parameter], eval_str: bool = False) -> Any:
    """A method that states fields in place of its last parameter; editors and agents read them."""
    signature = inspect.signature(method, eval_str=eval_str)
    parameters = list(signature.parameters.values())[:-1]
    named = {row.name for row in parameters}
    parameters += [row for row in fields if row.name not in named]
    method.__signature__ = signature.replace(parameters=parameters)
    return method


def with_options(request: type) -> Callable[[type[T]], type[T]]:
    """Decorator of a model of pydantic: add the options of a request that may come from afar.

    Args:
        request: The dataclass; a field that the model declares itself stays as it is there.
    """

    def extended(base: Any) -> Any:
        from pydantic import create_model

        fields: dict[str, Any] = {
            row.name: (row.option.type or row.type, body_field(request, row.name, **_limits(row)))
            for row in fields_of(request)
            if row.option.remote and row.name not in base.model_fields
        }
        facts = {"__doc__": base.__doc__, "__module__": base.__module__}
        return create_model(base.__name__, __base__=base, **facts, **fields)

    return extended


def _limits(row: RequestField) -> dict[str, Any]:
    """Limits of a field as pydantic names them; a text is at most as long as a query."""
    kind = row.option.type or row.type
    if kind is str or str in get_args(kind):
        return {"max_length": 2000}
    least, most = row.option.limits
    return {name: limit for name, limit in (("ge", least), ("le", most)) if limit is not None}


def remote_values(request: type, body: Any) -> dict[str, Any]:
    """The options of a request that a body holds, by name; see ``with_options``."""
    return {row.name: getattr(body, row.name) for row in fields_of(request) if row.option.remote}
