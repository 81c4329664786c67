"""What every registered few-shot head must do."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from vlar import registry
from vlar.fewshot import FewShotHead

NAMES = registry.names("fewshot")


def _vectors(n, seed):
    vectors = np.random.default_rng(seed).normal(size=(n, 12))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_closed_forms_are_there():
    assert {"prototype", "cache", "ridge"} <= set(NAMES)


@pytest.fixture(params=NAMES)
def head(request) -> FewShotHead:
    y = ["b", "a", "c", "a", "b", "c"]
    zero_shot = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    return registry.get("fewshot", request.param)().fit(_vectors(6, 0), y, zero_shot)


def test_names_and_columns(head):
    assert head.config()["head"] == head.name
    assert registry.get("fewshot", head.name) is type(head)
    assert head.labels == ("a", "b", "c")
    assert head.scores(_vectors(4, 2)).shape == (4, 3)


def test_an_example_is_recognised(head):
    p = head.probabilities(_vectors(6, 0))
    assert [head.labels[i] for i in p.argmax(axis=1)] == ["b", "a", "c", "a", "b", "c"]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


def test_one_shot_works(head):
    again = type(head)().fit(_vectors(3, 0), ["a", "b", "c"])
    assert again.probabilities(_vectors(3, 0)).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_state_survives_safetensors_and_json(head):
    import json

    arrays = load(save({key: np.ascontiguousarray(a) for key, a in head.state().items()}))
    again = FewShotHead.from_state(json.loads(json.dumps(head.config())), arrays)
    prior = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    assert np.array_equal(again.scores(_vectors(4, 2), prior), head.scores(_vectors(4, 2), prior))


def test_batch_equals_single(head):
    queries = _vectors(5, 2)
    alone = np.concatenate([head.scores(row[None]) for row in queries])
    np.testing.assert_allclose(head.scores(queries), alone, atol=1e-5)
