"""What a motion attribute is, and the list of all of them.

An attribute is one number with a unit that a person could read off a video ("steps a second"), and
how far it can be trusted. ``scaled`` turns both into -1 .. 1 by a hand-set scale, the same for all
clips: ``trust * tanh((value - centre) / width)``. Positive is the high pole.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlar.errors import UsageError
from vlar.pose.body import BodyMotion
from vlar.pose.reliability import readable
from vlar.registry import unknown_name
from vlar.types import Float32, Float64

Measured = tuple[float, float]
_MODULES = ("locomotion", "legs", "posture", "head", "arms", "hands", "rhythm", "people", "pairs")


@dataclass(frozen=True)
class Attribute:
    """One measurement of a body in motion.

    Attributes:
        name: As the verb tables spell it.
        unit: Of the value; ``BH`` is body heights.
        centre: The value between the two poles.
        width: How far from the centre a value is clearly one or the other.
        meaning: One line: what it measures and which sign is which.
        measure: People (the actor first, then the others) to value and trust (0 to 1).
        of_actor: Whether one person is measured; else it is several.
    """

    name: str
    unit: str
    centre: float
    width: float
    meaning: str
    measure: Callable[[Sequence[BodyMotion]], Measured]
    of_actor: bool


_known: dict[str, Attribute] = {}
_Of = Callable[[BodyMotion], Measured]
_OfAll = Callable[[Sequence[BodyMotion]], Measured]


def attribute(name: str, unit: str, centre: float, width: float) -> Callable[[_Of], _Of]:
    """Function decorator: a measurement of the actor. Its docstring is the meaning."""

    def add(function: _Of) -> _Of:
        _add(name, unit, centre, width, function, lambda people: function(people[0]), True)
        return function

    return add


def attribute_of_people(
    name: str, unit: str, centre: float, width: float
) -> Callable[[_OfAll], _OfAll]:
    """Function decorator: a measurement of all the people together."""

    def add(function: _OfAll) -> _OfAll:
        _add(name, unit, centre, width, function, function, False)
        return function

    return add


def _add(
    name: str,
    unit: str,
    centre: float,
    width: float,
    function: Callable[..., Measured],
    measure: _OfAll,
    of_actor: bool,
) -> None:
    first_line = (function.__doc__ or "").strip().partition("\n")[0]
    _known[name] = Attribute(name, unit, centre, width, first_line, measure, of_actor)


@functools.cache
def attributes() -> tuple[Attribute, ...]:
    """All attributes, in the order of the motion vector."""
    for module in _MODULES:
        importlib.import_module(
            f"vlar.pose.attributes.{module}" if module != "people" else "vlar.pose.people"
        )
    return tuple(_known.values())


def attribute_names() -> tuple[str, ...]:
    """The names of all attributes, in order."""
    return tuple(attribute.name for attribute in attributes())


def find(name: str) -> Attribute:
    """The attribute of a name.

    Raises:
        UnknownNameError: there is none.
    """
    names = attribute_names()
    if name not in names:
        raise unknown_name("motion attribute", name, names)
    return _known[name]


@dataclass(frozen=True)
class Measurements:
    """All attributes of one clip.

    Attributes:
        values: (A,) in their units.
        trust: (A,) 0 to 1; 0 where a value means nothing.
        visible_body: How much of a body can be measured, 0 (nobody) to 1.
    """

    values: Float64
    trust: Float64
    visible_body: float

    def scaled(self) -> Float32:
        """(A,) in -1 .. 1: sure and high, to sure and low; 0 where nothing is known."""
        rows = attributes()
        centre = np.array([row.centre for row in rows])
        width = np.array([row.width for row in rows])
        return (self.trust * np.tanh((self.values - centre) / width)).astype(np.float32)


_FULL_TRUST = 0.74  # mean trust of a person who is seen from head to foot


def measure(people: Sequence[BodyMotion]) -> Measurements:
    """Measure all attributes.

    Args:
        people: Of ``prepare_all``; the first is the actor. Empty: nothing is claimed.
    """
    rows = attributes()
    values, trust = np.zeros(len(rows)), np.zeros(len(rows))
    if not people:
        return Measurements(values, trust, 0.0)
    for index, row in enumerate(rows):
        value, sure = row.measure(people)
        if np.isfinite(value) and np.isfinite(sure):
            values[index], trust[index] = value, np.clip(sure, 0, 1)
    of_actor = [row.of_actor for row in rows]
    visible = float(np.clip(trust[of_actor].mean() / _FULL_TRUST, 0, 1))
    believed = readable(people[0])
    return Measurements(values, trust * believed, visible * believed)


def vector(signs: dict[str, float]) -> Float32:
    """(A,) weights by attribute name, zero elsewhere.

    Raises:
        UsageError: a weight is not a finite number.
        UnknownNameError: an attribute does not exist.
    """
    names = attribute_names()
    weights = np.zeros(len(names), np.float32)
    for name, weight in signs.items():
        if not np.isfinite(weight):
            raise UsageError(f"the weight of {name!r} is {weight}; give a finite number")
        weights[names.index(find(name).name)] = weight
    return weights
