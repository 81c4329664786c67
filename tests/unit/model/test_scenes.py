from __future__ import annotations

import numpy as np
import pytest

import vlar
from tests.fixtures.models_1 import tiny
from vlar.training.fit import scene_names, scene_posterior

__all__ = ["tiny"]


def test_the_places_are_names_each_once():
    names = scene_names()
    assert len(names) > 80
    assert len(set(names)) == len(names)
    assert "a kitchen" in names
    assert not any(name.startswith("#") for name in names)


def test_the_likeliest_place_is_the_one_whose_text_is_nearest():
    model = vlar.load("tiny-for-fixtures")
    texts = model.words.encode_queries(scene_names())
    found = scene_posterior(model.words, texts[[3, 40]])
    assert found.shape == (2, len(texts))
    assert found.argmax(axis=1).tolist() == [3, 40]
    assert found.sum(axis=1) == pytest.approx(np.ones(2), abs=1e-5)
