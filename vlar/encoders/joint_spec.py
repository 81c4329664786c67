"""Names of joined encoders: ``A+B``, where each part has its options: ``A?x=1+B?weight=2``."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

from vlar.encoders import spec as options
from vlar.errors import UsageError

WEIGHT = "weight"


def split_parts(spec: str, known: Collection[str]) -> list[str]:
    """The parts of a name; one part where nothing is joined.

    A ``+`` in a path stays, unless what follows it begins with a known name.

    >>> split_parts("hf:/a+b/c+motion", ["hf", "motion"])
    ['hf:/a+b/c', 'motion']
    >>> split_parts("lite+mot", ["lite", "motion"])
    ['lite', 'mot']

    Raises:
        UsageError: a part is empty, or one comes twice.
    """
    parts: list[str] = []
    for piece in spec.split("+"):
        if parts and _name(piece.strip()) not in known and _is_path(f"{parts[-1]}+{piece}"):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece.strip())
    if len(parts) > 1 and not all(parts):
        raise UsageError(f"the model {spec!r} has an empty part; write A+B, such as lite+motion")
    twice = next((part for part in parts if parts.count(part) > 1), None)
    if twice is not None:
        raise UsageError(f"the model {spec!r} holds {twice!r} twice; join encoders that differ")
    return parts


def split_weight(spec: str) -> tuple[str, float]:
    """A part without its option ``weight``, and the factor that the option gives; 1 without one.

    >>> split_weight("openclip:a?precision=int8&weight=2")
    ('openclip:a?precision=int8', 2.0)

    Raises:
        UsageError: the weight is not a number above 0.
    """
    main, _, query = spec.partition("?")
    given = [option for option in query.split("&") if option]
    own = [option for option in given if option.partition("=")[0] == WEIGHT]
    if not own:
        return spec, 1.0
    factor = options.number(WEIGHT, own[-1].partition("=")[2], float)
    if not 0 < factor < math.inf:
        raise UsageError(f"model option {own[-1]} must be a number above 0; 1 is the default")
    rest = "&".join(option for option in given if option not in own)
    return f"{main}?{rest}" if rest else main, factor


def with_weight(name: str, factor: float) -> str:
    """The part that ``split_weight`` splits into these two.

    >>> with_weight("motion", 1.0), with_weight("a?b=c", 0.5)
    ('motion', 'a?b=c&weight=0.5')
    """
    if factor == 1.0:
        return name
    number = repr(factor).removesuffix(".0")  # all digits: they are part of the fingerprint
    return f"{name}{'&' if '?' in name else '?'}{WEIGHT}={number}"


def _name(piece: str) -> str:
    return piece.partition(":")[0].partition("?")[0]


def _is_path(part: str) -> bool:
    """Whether the argument of a part can be nothing but a path, or is one that exists."""
    argument = part.partition(":")[2].partition("?")[0]
    return argument.startswith(("/", ".", "~")) or (bool(argument) and Path(argument).exists())
