"""Settings of an adapter from a file: names and kinds of values checked, for every method alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

from vlar.errors import ModelError
from vlar.registry import unknown_name

T = TypeVar("T")


def read_settings(config: type[T], values: Mapping[str, Any], what: str) -> T:
    """A configuration from ``to_dict``, or from a file; lists stand for tuples.

    Args:
        config: A dataclass; what a value must be is told by its annotation.
        values: Some of its fields.
        what: What a message calls a setting, ``LoRA setting``.

    Raises:
        UnknownNameError: a setting does not exist; the message names the nearest.
        ModelError: a value is of another kind, or out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(config)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown_name(what, name, sorted(hints))
        listed = get_origin(hints[name]) is tuple and isinstance(value, list)
        try:
            read[name] = TypeAdapter(hints[name]).validate_python(
                tuple(value) if listed else value, strict=True
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise ModelError(f"{what} {name} is {value!r}: {reason}; correct it") from error
    return config(**read)
