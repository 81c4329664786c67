"""Attributes of hands near the camera: their definition, their discovery and their measurement.

They are defined as those of bodies (``vlar.pose.attributes.base``), with columns of their own, in
any module of this package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlar.pose.attributes.base import Measured, centred, import_modules, in_columns, scaled
from vlar.pose.hands.motion import HandsMotion
from vlar.types import Float32, Float64

OfHands = Callable[[HandsMotion], Measured]

_registered: dict[str, HandAttribute] = {}


@dataclass(frozen=True)
class HandAttribute:
    """One measurement of hands; the fields are those of ``Attribute``."""

    name: str
    unit: str
    centre: float
    width: float
    mean: float
    column: int
    meaning: str
    measure: OfHands


def hand_attribute(
    name: str, unit: str, *, centre: float, width: float, mean: float, column: int
) -> Callable[[OfHands], OfHands]:
    """Function decorator: measures the hands. The first line of its docstring is the meaning."""

    def add(function: OfHands) -> OfHands:
        if name in _registered:
            raise ValueError(f"the hand attribute {name!r} is defined twice")
        meaning = (function.__doc__ or "").strip().partition("\n")[0]
        _registered[name] = HandAttribute(
            name, unit, centre, width, mean, column, meaning, function
        )
        return function

    return add


@functools.cache
def hand_attributes() -> tuple[HandAttribute, ...]:
    """All hand attributes, in the order of their vector.

    Raises:
        ValueError: two share a name or a column, or a column is free.
    """
    import_modules()
    return in_columns(_registered.values())


def hand_attribute_names() -> tuple[str, ...]:
    """The names of all hand attributes, in the order of their vector."""
    return tuple(row.name for row in hand_attributes())


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
    values, trust = np.zeros(len(rows)), np.zeros(len(rows))
    if hands is None:
        return HandMeasurements(values, trust, 0.0)
    for index, row in enumerate(rows):
        value, sure = row.measure(hands)
        if np.isfinite(value) and np.isfinite(sure):
            values[index], trust[index] = value, np.clip(sure, 0, 1)
    return HandMeasurements(values, trust, hands.visible)
