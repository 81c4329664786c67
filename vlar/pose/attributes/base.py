"""Motion attributes of bodies: their definition, their discovery and their measurement.

An attribute is one number with a unit that a person can read off a video ("steps per second"),
together with its trust. ``Measurements.scaled`` maps both to -1 .. 1 by a fixed scale, the same for
all clips: ``trust * tanh((value - centre) / width)``. Positive is the high pole.

An attribute is one decorated function in any module of this package. No list names it: the modules
are discovered, and ``column`` fixes its place in the motion vector. A new attribute takes the next
free column, so that the columns of the others stay where they are.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from vlar.errors import UsageError
from vlar.pose import signals
from vlar.pose.body import JOINTS, KNEES, SHOULDERS, BodyMotion
from vlar.pose.hand_motion import HandsMotion
from vlar.pose.pair import ActorPair, pair_of
from vlar.registry import unknown_name
from vlar.types import Float32, Float64

_AT_SIDE = 0.05  # body heights from the side of the picture
_TURNED = 0.5  # share of the torso's length by which the shoulders are below the hips
_OUT = 0.02  # frame heights above or below the picture
_CUT_AT_WAIST = 0.7  # reliability lost by a body with one half above or below the picture

Measured = tuple[float, float]
OfActor = Callable[[BodyMotion], Measured]
OfGroup = Callable[[Sequence[BodyMotion]], Measured]
OfPair = Callable[[ActorPair], Measured]
OfHands = Callable[[HandsMotion], Measured]

_FULL_TRUST = 0.74  # mean trust of a person who is visible from head to foot


@dataclass(frozen=True)
class Scale:
    """One measurement with its scale, of bodies or of hands.

    Attributes:
        name: The name that the verb table uses.
        unit: Unit of the value; ``BH`` is body heights.
        centre: The value between the two poles.
        width: The distance from the centre at which a value clearly belongs to one pole.
        mean: Mean of the scaled value over ordinary clips, -1 to 1. The motion vector subtracts it:
            "stands upright, goes nowhere, one person" would otherwise fit most clips. Means come
            from the development half of the clips of evals/, without their labels; leaving out one
            data set changes no reported figure by more than its interval. 0 is a fair start.
        column: Place in the vector, 0 .. A-1.
        meaning: One line: what it measures and what each sign means.
    """

    name: str
    unit: str
    centre: float
    width: float
    mean: float
    column: int
    meaning: str


@dataclass(frozen=True)
class Attribute(Scale):
    """One measurement of bodies in motion.

    Attributes:
        measure: Maps people (the actor first) to value and trust (0 to 1).
        of_actor: True where it measures the actor alone, False for several people.
    """

    measure: OfGroup
    of_actor: bool


@dataclass(frozen=True)
class HandAttribute(Scale):
    """One measurement of hands.

    Attributes:
        measure: Maps the hands of a clip to value and trust (0 to 1).
    """

    measure: OfHands


Row = TypeVar("Row", bound=Scale)
Function = TypeVar("Function", bound=Callable[..., Measured])
_body_rows: dict[str, Attribute] = {}
_hand_rows: dict[str, HandAttribute] = {}


class AttributeDecorator(Generic[Function, Row]):
    """Decorator of functions that measure; the first line of a docstring is the meaning.

    Args:
        what: What a message calls an attribute.
        rows: The attributes by name.
        make: Makes one of a function and the fields of its ``Scale``.
    """

    def __init__(self, what: str, rows: dict[str, Row], make: Callable[..., Row]) -> None:
        self._what, self._rows, self._make = what, rows, make

    def __call__(
        self, name: str, unit: str, *, centre: float, width: float, mean: float, column: int
    ) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            if name in self._rows:
                raise ValueError(f"the {self._what} {name!r} is defined twice")
            meaning = (function.__doc__ or "").strip().partition("\n")[0]
            self._rows[name] = self._make(
                function,
                name=name,
                unit=unit,
                centre=centre,
                width=width,
                mean=mean,
                column=column,
                meaning=meaning,
            )
            return function

        return add


def _of_actor(function: OfActor, **scale: Any) -> Attribute:
    def measure_actor(people: Sequence[BodyMotion]) -> Measured:
        return function(people[0])

    return Attribute(**scale, measure=measure_actor, of_actor=True)


def _of_group(function: OfGroup, **scale: Any) -> Attribute:
    return Attribute(**scale, measure=function, of_actor=False)


def _of_pair(function: OfPair, **scale: Any) -> Attribute:
    def measure_pair(people: Sequence[BodyMotion]) -> Measured:
        pair = pair_of(people)
        return function(pair) if pair else (0.0, 0.0)

    return Attribute(**scale, measure=measure_pair, of_actor=False)


def _of_hands(function: OfHands, **scale: Any) -> HandAttribute:
    return HandAttribute(**scale, measure=function)


#: For functions that measure the actor.
attribute = AttributeDecorator[OfActor, Attribute]("motion attribute", _body_rows, _of_actor)
#: For functions that measure all people together.
group_attribute = AttributeDecorator[OfGroup, Attribute]("motion attribute", _body_rows, _of_group)
#: For functions that measure the actor and a partner; trust is 0 without a partner.
pair_attribute = AttributeDecorator[OfPair, Attribute]("motion attribute", _body_rows, _of_pair)
#: For functions that measure the hands.
hand_attribute = AttributeDecorator[OfHands, HandAttribute]("hand attribute", _hand_rows, _of_hands)


@functools.cache
def attributes() -> tuple[Attribute, ...]:
    """All attributes, in the order of the motion vector.

    Raises:
        ValueError: two attributes share a name or a column, or a column is free.
    """
    import_modules()
    return in_columns(_body_rows.values())


def import_modules() -> None:
    """Import every module of this package, which registers its attributes."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def in_columns(rows: Collection[Row]) -> tuple[Row, ...]:
    """Attributes sorted by column.

    Raises:
        ValueError: the columns are not 0 .. A-1; the message names the first attribute at fault.
    """
    ordered = sorted(rows, key=lambda row: row.column)
    for column, row in enumerate(ordered):
        if row.column != column:
            raise ValueError(
                f"the motion attribute {row.name!r} has column {row.column}, but the columns must "
                f"be 0 to {len(ordered) - 1}, each once; give a new attribute the next free column"
            )
    return tuple(ordered)


@functools.cache
def hand_attributes() -> tuple[HandAttribute, ...]:
    """All hand attributes, in the order of their vector.

    Raises:
        ValueError: two share a name or a column, or a column is free.
    """
    import_modules()
    return in_columns(_hand_rows.values())


def attribute_names() -> tuple[str, ...]:
    """The names of all attributes, in the order of the motion vector."""
    return tuple(row.name for row in attributes())


def hand_attribute_names() -> tuple[str, ...]:
    """The names of all hand attributes, in the order of their vector."""
    return tuple(row.name for row in hand_attributes())


def find(name: str) -> Attribute:
    """The attribute with a name.

    Raises:
        UnknownNameError: no attribute has this name.
    """
    names = attribute_names()
    if name not in names:
        raise unknown_name("motion attribute", name, names)
    return _body_rows[name]


@dataclass(frozen=True)
class Measurements:
    """All attributes of one clip.

    Attributes:
        values: (A,) float64 in the units of the attributes.
        trust: (A,) float64, 0 to 1; 0 where a value means nothing.
        visible_body: How much of a body can be measured, 0 (nobody) to 1.
    """

    values: Float64
    trust: Float64
    visible_body: float

    def scaled(self) -> Float32:
        """(A,) float32 in -1 .. 1: the sign is the pole, 0 means unknown."""
        return scaled(attributes(), self.values, self.trust)

    def centred(self) -> Float32:
        """(A,) float32: ``scaled`` minus the trusted mean of ordinary clips."""
        return centred(attributes(), self.values, self.trust)


def scaled(rows: Sequence[Scale], values: Float64, trust: Float64) -> Float32:
    """(A,) values and their trust to -1 .. 1: the sign is the pole, 0 means unknown."""
    centre = np.array([row.centre for row in rows])
    width = np.array([row.width for row in rows])
    return (trust * np.tanh((values - centre) / width)).astype(np.float32)


def centred(rows: Sequence[Scale], values: Float64, trust: Float64) -> Float32:
    """(A,) the scaled values less the trusted means of ordinary clips."""
    mean = np.array([row.mean for row in rows], np.float32)
    return (scaled(rows, values, trust) - trust.astype(np.float32) * mean).astype(np.float32)


def measure(people: Sequence[BodyMotion]) -> Measurements:
    """Measure all attributes.

    Args:
        people: The people of one clip, the actor first; without people all trust is 0.
    """
    rows = attributes()
    values, trust = _measured(rows, people, bool(people))
    if not people:
        return Measurements(values, trust, 0.0)
    of_actor = [row.of_actor for row in rows]
    visible = float(np.clip(trust[of_actor].mean() / _FULL_TRUST, 0, 1))
    reliable = reliability(people[0])
    return Measurements(values, trust * reliable, visible * reliable)


def _measured(
    rows: Sequence[Attribute | HandAttribute], given: Any, there: bool
) -> tuple[Float64, Float64]:
    """Values (A,) and trust (A,) of all attributes; zeros where nothing is there to measure."""
    values, trust = np.zeros(len(rows)), np.zeros(len(rows))
    for index, row in enumerate(rows if there else ()):
        value, sure = row.measure(given)
        if np.isfinite(value) and np.isfinite(sure):
            values[index], trust[index] = value, np.clip(sure, 0, 1)
    return values, trust


def reliability(body: BodyMotion) -> float:
    """Factor on the trust of all attributes: 0 (half a body, or upside down) to 1."""
    places = body.picture[body.known]
    across, down = places[:, JOINTS, 0], places[..., 1]
    room = np.minimum(across.min(axis=1), body.aspect - across.max(axis=1))
    torso = (body.shoulders - body.hips)[body.known]
    out = (down < -_OUT) | (down > 1 + _OUT)
    # Shares of the frames: the body touches the left or right side of the picture, it is clearly
    # upside down, the knees or the shoulders are above or below the picture.
    at_side = float((room < _AT_SIDE * body.body_height).mean())
    upside_down = float((torso[:, 1] > _TURNED * np.linalg.norm(torso, axis=1)).mean())
    cut_at_waist = float(max(out[:, KNEES].mean(), out[:, SHOULDERS].mean()))
    half = signals.step(at_side, 0.40, 0.20)
    turned = signals.step(upside_down, 0.45, 0.15)
    waist = _CUT_AT_WAIST * signals.step(cut_at_waist, 0.50, 0.20)
    return float((1 - half) * (1 - turned) * (1 - waist))


def weight_vector(weights: dict[str, float], names: Sequence[str] | None = None) -> Float32:
    """(A,) float32 weights from weights by attribute name; 0 elsewhere.

    Args:
        weights: By name.
        names: Names of the attributes, in order; None for those of bodies.

    Raises:
        UsageError: a weight is not a finite number.
        UnknownNameError: an attribute does not exist.
    """
    names = attribute_names() if names is None else names
    row = np.zeros(len(names), np.float32)
    for name, weight in weights.items():
        if not np.isfinite(weight):
            raise UsageError(f"the weight of {name!r} is {weight}; give a finite number")
        if name not in names:
            raise unknown_name("motion attribute", name, names)
        row[names.index(name)] = weight
    return row


@dataclass(frozen=True)
class HandMeasurements:
    """All hand attributes of one clip.

    Attributes:
        values: (A,) float64 in the units of the attributes.
        trust: (A,) float64, 0 to 1; 0 where a value means nothing.
        visible: How well hands are seen, 0 (none) to 1.
    """

    values: Float64
    trust: Float64
    visible: float

    def scaled(self) -> Float32:
        """(A,) float32 in -1 .. 1: the sign is the pole, 0 means unknown."""
        return scaled(hand_attributes(), self.values, self.trust)

    def centred(self) -> Float32:
        """(A,) float32: ``scaled`` minus the trusted mean of ordinary clips with hands."""
        return centred(hand_attributes(), self.values, self.trust)


def measure_hands(hands: HandsMotion | None) -> HandMeasurements:
    """Measure all hand attributes of a clip; without hands all trust is 0."""
    rows = hand_attributes()
    values, trust = _measured(rows, hands, hands is not None)
    return HandMeasurements(values, trust, 0.0 if hands is None else hands.visible)
