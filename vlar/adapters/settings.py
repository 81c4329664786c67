"""Settings of a method from a file or a manifest: names, types and ranges, for every method alike.

The settings of a method are a frozen dataclass with the base ``Settings``. Annotations give the
types, which pydantic holds the values to (it is imported when the first values are checked);
``setting`` gives a range or the choices of a field, and ``check`` what several fields mean
together::

    @dataclass(frozen=True)
    class MyConfig(Settings):
        rank: int = setting(8, at_least=1)
        towers: str = setting("both", choices=("both", "text", "vision"))
        what: ClassVar[str] = "my setting"
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar, cast, get_args, get_origin, get_type_hints

from typing_extensions import Self

from vlar.errors import ModelError
from vlar.registry import unknown_name
from vlar.types import JsonDict

T = TypeVar("T")
_WHOLE = "a whole number"


def setting(
    default: T,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
) -> T:
    """A field with a default and the values it may take; ``X | None`` always takes None."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    bounds = {name: limit for name, limit in limits.items() if limit is not None}
    return field(default=default, metadata={"limits": bounds, "choices": tuple(choices)})


_HOLDS: dict[str, Callable[[Any, float], bool]] = {
    "at_least": lambda value, limit: value >= limit,
    "above": lambda value, limit: value > limit,
    "at_most": lambda value, limit: value <= limit,
    "below": lambda value, limit: value < limit,
}
_WORDS = {
    "at_least": "from {:g}",
    "above": "above {:g}",
    "at_most": "up to {:g}",
    "below": "below {:g}",
}


def check_settings(config: Any, what: str) -> None:
    """Hold the values of a configuration to the types and ranges of its fields.

    Args:
        config: A dataclass.
        what: What a message calls one of its fields, for example ``LoRA setting``.

    Raises:
        UnknownNameError: a value is not among the choices; the message names the nearest.
        ModelError: a value has another type or is out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    for row in (row for row in fields(config) if row.init):
        value, hint = getattr(config, row.name), _hint(type(config), row.name)
        choices = row.metadata.get("choices", ())
        if choices and value not in choices:
            raise unknown_name(f"value of {what} {row.name!r}", str(value), choices)
        limits: Mapping[str, float] = row.metadata.get("limits", {})
        try:
            TypeAdapter(hint).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            shown = f"{value!r}"[:80]
            form = "A,B" if get_origin(hint) is tuple else "VALUE"
            raise ModelError(
                f"{what} {row.name} is {shown}: {reason}; write --set {row.name}={form}"
            ) from error
        inside = value is None or all(_HOLDS[n](value, limit) for n, limit in limits.items())
        if not inside or (isinstance(value, float) and not math.isfinite(value)):
            raise bad_setting(what, row.name, value, _wanted(hint, limits))


@dataclass(frozen=True)
class Settings:
    """The base of the settings of a method: checked when made, read from and written to JSON.

    Attributes:
        what: What a message calls one of them, for example ``LoRA setting``.
    """

    what: ClassVar[str] = "setting"

    def __post_init__(self) -> None:
        check_settings(self, self.what)
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together.

        Raises:
            ModelError: they do not; the message names a setting.
        """

    def to_dict(self) -> JsonDict:
        """Settings for the manifest of a saved model."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: JsonDict) -> Self:
        """Build settings from ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, cls.what)

    def require_multiple(self, width: int | None, heads: int) -> None:
        """Refuse a ``width`` that the ``heads`` of an attention cannot share; None is free."""
        if width is not None and width % heads:
            raise bad_setting(self.what, "width", width, f"a multiple of heads ({heads})")

    def require_few(self, name: str, count: int, most: int, wanted: str) -> None:
        """Refuse a size of several settings above a limit."""
        if count > most:
            raise bad_setting(self.what, name, getattr(self, name), f"{wanted} up to {most:,}")


def bad_setting(
    what: str, name: str, value: object, wanted: str, *, several: bool = False
) -> ModelError:
    """The error for a setting out of range.

    Args:
        what: What the message calls a setting, for example ``LoRA setting``.
        name: Name of the field.
        value: The value.
        wanted: What to use instead.
        several: The setting takes several values, and ``value`` is one of them.
    """
    several = several or isinstance(value, (tuple, list))
    form = f" (several: --set {name}=A,B)" if several else ""
    return ModelError(f"{what} {name} is {value!r}; use {wanted}{form}")


def read_settings(config: type[T], values: Mapping[str, Any], what: str) -> T:
    """A configuration from a manifest or a file; lists and ``A,B`` stand for tuples.

    Args:
        config: A dataclass that calls ``check_settings`` when it is made.
        values: Some of its fields.
        what: What a message calls a setting, for example ``LoRA setting``.

    Raises:
        UnknownNameError: a setting does not exist; the message names the nearest.
        ModelError: a value has another type or is out of range.
    """
    rows = fields(cast("Any", config))
    names = sorted(row.name for row in rows if row.init)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            raise unknown_name(what, name, names)
        hint = _hint(config, name)
        read[name] = _several(value, hint) if get_origin(hint) is tuple else value
    return config(**read)


def _several(value: Any, hint: Any) -> Any:
    """A tuple from a list, from ``A,B`` as a command line has it, or from one value alone.

    >>> _several("1,2", tuple[int, ...]), _several(3, tuple[int, ...])
    ((1, 2), (3,))
    """
    if isinstance(value, (list, tuple)):
        return tuple(value)
    kind = get_args(hint)[0] if get_args(hint) else str
    parts = value.split(",") if isinstance(value, str) else [value]
    try:
        return tuple(kind(part.strip()) if isinstance(part, str) else part for part in parts)
    except ValueError:
        return value


def _hint(config: type, name: str) -> Any:
    """The annotation of a field as a type.

    ``get_type_hints`` reads all annotations of a class, of which some name types that are only
    imported for type checkers.
    """
    for base in config.__mro__:
        annotation = inspect.get_annotations(base).get(name)
        if annotation is not None:
            alone = type("_", (), {"__annotations__": {name: annotation}})
            return get_type_hints(alone, vars(sys.modules[base.__module__]))[name]
    raise AttributeError(f"{config.__name__} has no field {name!r}")


def _wanted(hint: Any, limits: Mapping[str, float]) -> str:
    kind = _WHOLE if hint is int or hint == int | None else "a number"
    bounds = " and ".join(_WORDS[name].format(limit) for name, limit in limits.items())
    return f"{kind} {bounds}"
