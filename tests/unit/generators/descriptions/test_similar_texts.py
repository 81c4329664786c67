from __future__ import annotations

import numpy as np
import pytest

from vlar.encoders import sentence_tower
from vlar.generators.descriptions.offline import SimilarTexts

SPACE = {"run": (1.0, 0.0), "jog": (0.8, 0.6), "eat": (0.0, 1.0)}


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    embedded: list[str] = []

    def tower(texts: list[str]) -> np.ndarray:
        embedded.extend(texts)
        return np.array([SPACE[text] for text in texts], np.float32)

    monkeypatch.setattr(sentence_tower, "_tower", lambda: tower)
    monkeypatch.setattr("vlar.files.resources.cached", lambda folder, name, make, what: make())
    return embedded


def test_related_texts_come_nearest_first_with_their_values(space: list[str]):
    index = SimilarTexts(["eat", "jog", "run", "run"], [1, 2, 3, 4])
    found = index.search("run")
    assert [value for _, value in found] == [3, 4, 2]  # "eat" is unrelated
    assert [round(cosine, 3) for cosine, _ in found] == [1.0, 1.0, 0.8]
    assert space.count("run") == 2  # once as an entry, once as the query
    assert [value for _, value in index.search("eat", k=1)] == [1]
