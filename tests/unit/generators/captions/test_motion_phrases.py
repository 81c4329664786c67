from __future__ import annotations

import numpy as np

from vlar.generators.captions.concepts import PHRASES, motion_phrases
from vlar.pose.attributes.base import Measurements, attribute_names, attributes


def test_every_phrase_belongs_to_an_attribute():
    names = set(attribute_names())
    assert {name for name, _ in PHRASES} <= names
    assert {pole for _, pole in PHRASES} == {1, -1}


def measured(visible: float = 1.0, **poles: float) -> Measurements:
    rows = attributes()
    values, trust = np.zeros(len(rows)), np.zeros(len(rows))
    for place, row in enumerate(rows):
        if row.name in poles:
            values[place], trust[place] = row.centre + poles[row.name] * row.width, 1.0
    return Measurements(values, trust, visible)


def test_the_strongest_attributes_are_named_first():
    found = motion_phrases(measured(both_arms_up=3.0, kneeling=0.9, airborne=-3.0))
    assert {"raises both arms", "kneels"} == set(found)
    assert "leaves the ground with both feet" not in found
    assert len(motion_phrases(measured(**{name: 3.0 for name, _ in PHRASES}))) == 4


def test_nobody_does_nothing():
    assert motion_phrases(measured()) == []
    assert motion_phrases(measured(visible=0.0, both_arms_up=3.0)) == []
